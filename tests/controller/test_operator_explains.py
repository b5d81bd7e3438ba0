"""What the operator writes of why, and when: with what changed, and not with every figure."""

from __future__ import annotations

from typing import Any

import pytest

from controller.scene import gateway_body, intent_body, policy_body
from controller.world import World
from foremesh.decide import Unexplained

SHADOW = policy_body(mode="Shadow", avoid={"gateways": ["mesh/lon"], "regions": ["moon"]})


async def settled(*bodies: dict[str, Any]) -> World:
    world = World(intent_body(), *bodies)
    await world.agents()
    await world.settle()
    return world


async def test_intents_say_why_and_policies_in_shadow_what_they_would_do() -> None:
    world = await settled(SHADOW)
    status = world.kubernetes.status("Intent", "orders")
    told = status["explanation"]
    assert told["source"] == "shop/web"
    assert sum(told["terms"].values()) > 0
    assert [one["policy"] for one in told["policies"]] == ["word"]
    assert status["runnersUp"][0]["lost"].startswith("costs ")
    shadow = world.kubernetes.status("MeshPolicy", "word", "")
    assert shadow["shadow"]["movedIntents"] == 1
    assert world.kubernetes.condition("MeshPolicy", "word", "Ready", "")["reason"] == "Shadow"
    assert world.kubernetes.condition("MeshPolicy", "word", "NamesKnown", "")["reason"] == "UnknownName"
    (news,) = world.kubernetes.events("word")
    assert (news["reason"], news["type"]) == ("UnknownName", "Warning")
    assert "no gateway has region moon" in news["note"]


async def test_another_plan_of_the_same_writes_nothing() -> None:
    world = await settled(SHADOW)
    before = len(world.kubernetes.written)
    await world.plan()
    await world.progress()
    assert len(world.kubernetes.written) == before


async def test_what_does_not_fit_is_written_with_what_can_be_had() -> None:
    world = await settled(intent_body("fast", requirements={"maxLatency": "5ms"}))
    (placement,) = world.kubernetes.status("Intent", "fast")["placements"]
    assert [*placement["infeasible"]["shortfalls"]] == [
        {"requirement": "maxLatency", "asked": "5ms", "best": "22ms", "nearest": "22ms", "path": "ams > lon > fra"}
    ]


async def test_whoever_asks_the_operator_is_told_of_the_newest_plan() -> None:
    world = await settled()
    page = world.operator.explanations.page("intent/shop/orders")
    assert page["intents"][0]["placements"][0]["path"] == "ams > lon > fra"
    world.kubernetes.drop("Intent", "orders")
    await world.plan()
    with pytest.raises(Unexplained, match="there is no intent shop/orders"):
        world.operator.explanations.page("intent/shop/orders")


async def test_gateways_at_one_endpoint_hear_of_it() -> None:
    par = gateway_body("par", gateway={"role": "Core", "endpoint": "203.0.113.1:51820"})
    world = await settled(par)
    assert world.kubernetes.condition("MeshResource", "par", "Unique", "mesh")["reason"] == "EndpointShared"
    world.kubernetes.put(gateway_body("par"))
    await world.settle()
    types = {one["type"] for one in world.kubernetes.status("MeshResource", "par", "mesh")["conditions"]}
    assert "Unique" not in types
