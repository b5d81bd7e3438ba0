"""What people with a kubeconfig alone are told: the same story, as far as statuses have it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.scene import intent_body, replica_body
from controller.world import World
from foremesh.controller.read_back import read_back
from foremesh.decide import Unexplained
from foremesh.model.explanation import IntentExplanation
from foremesh.model.manifest import read


async def settled(*bodies: dict[str, Any]) -> World:
    world = World(intent_body(), *bodies)
    await world.agents()
    await world.agents(*(f"shop/{one['metadata']['name']}" for one in bodies if one["kind"] == "MeshResource"))
    await world.settle()
    return world


async def test_it_is_what_the_operator_says() -> None:
    world = await settled(replica_body())
    (told,) = await read_back(world.kubernetes, "intent/orders", "shop")
    page = world.operator.explanations.page("intent/shop/orders")
    (whole,) = read(tuple[IntentExplanation, ...], page["intents"])
    assert (told.intent, told.profile, told.requirements) == (whole.intent, whole.profile, whole.requirements)
    (ours,), (theirs,) = told.placements, whole.placements
    assert ours.state == theirs.state == "Placed"
    for name in ("destination", "circuit", "path", "standby", "predicted"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.because == theirs.because
    others = [(one.path, one.destination) for one in ours.runners_up]
    assert others == [(one.path, one.destination) for one in theirs.runners_up][: len(others)]
    assert "shop/db" in dict(others).values(), "the replica is nearer"


async def test_of_a_circuit_every_intent_that_it_carries() -> None:
    world = await settled()
    circuit = world.kubernetes.status("Intent", "orders")["circuits"][0]
    (told,) = await read_back(world.kubernetes, f"circuit/{circuit}", "elsewhere")
    assert told.intent == "shop/orders"


async def test_what_does_not_fit_says_how_near_the_network_comes() -> None:
    world = await settled(intent_body("fast", requirements={"maxLatency": "5ms"}))
    (told,) = await read_back(world.kubernetes, "intents/shop/fast", "default")
    (placement,) = told.placements
    assert placement.state == "NotPlaced"
    assert placement.infeasible is not None
    assert [one.best for one in placement.infeasible.shortfalls] == ["22ms"]


async def test_who_has_no_status_yet_is_told_so() -> None:
    world = World(intent_body())
    (told,) = await read_back(world.kubernetes, "intent/orders", "shop")
    assert told.placements == ()
    assert told.problem == "the operator has said nothing of it yet; see that it runs"


async def test_an_intent_that_was_changed_since_says_so() -> None:
    world = await settled()
    world.kubernetes.put(intent_body(requirements={"maxLatency": "100ms"}))
    (told,) = await read_back(world.kubernetes, "intent/orders", "shop")
    assert told.notes == ("it was changed since; the operator has not said yet what that means",)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("intent/nobody", "there is no intent shop/nobody; there are: shop/orders"),
        ("intent/default/orders", "there is no intent default/orders; there are: shop/orders"),
        ("pod/web", "'pod/web' cannot be explained; give intent/NAME or circuit/NAME"),
    ],
)
async def test_a_name_that_nobody_has(what: str, said: str) -> None:
    world = World(intent_body())
    with pytest.raises(Unexplained) as raised:
        await read_back(world.kubernetes, what, "shop")
    assert str(raised.value) == said
