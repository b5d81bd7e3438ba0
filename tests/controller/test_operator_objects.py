"""The objects that the operator makes: Circuits, Secrets, network policies."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from controller.scene import (
    FAST_DIRECT,
    GATEWAYS,
    body,
    gateway_body,
    intent_body,
)
from controller.world import MEMBERS, World
from foremesh.model import tokens
from foremesh.settings import ApiSettings, Settings

# Circuits as objects


async def test_a_circuit_goes_when_its_labels_are_free(world: World) -> None:
    world.kubernetes.drop("Intent", "orders")
    await world.plan()
    circuit = world.circuit
    assert [label["state"] for label in circuit["status"]["labels"]] == ["Draining", "Draining"]
    assert circuit["spec"].get("firewall", []) == []
    assert circuit["metadata"].get("ownerReferences", []) == []
    assert (
        world.kubernetes.condition("Circuit", circuit["metadata"]["name"], "Planned", "mesh")["reason"] == "NotWanted"
    )
    await world.settle()
    assert world.kubernetes.of_kind("Circuit") == []
    assert not any(config.circuits or config.transits for config in (await world.registry.configs()).values())


async def test_a_circuit_that_kubernetes_collected_is_made_again_and_drains(world: World) -> None:
    name = world.circuit["metadata"]["name"]
    world.kubernetes.drop("Intent", "orders")
    world.kubernetes.drop("Circuit", name, "mesh")
    await world.plan()
    assert [label["state"] for label in world.circuit["status"]["labels"]] == ["Draining", "Draining"]
    await world.settle()
    assert world.kubernetes.of_kind("Circuit") == []


async def test_a_circuit_whose_namespace_is_gone_is_taken_down_without_a_record(world: World) -> None:
    for kind, namespace, name in list(world.kubernetes.objects):
        if kind != "Event":
            world.kubernetes.drop(kind, name, namespace)
    world.kubernetes.refuse = lambda verb, manifest: "namespace not found" if manifest["kind"] == "Circuit" else ""
    await world.settle()
    configs = await world.registry.configs()
    assert not any(config.circuits or config.hop_peers or config.uplinks for config in configs.values())
    await world.acknowledge()
    await world.plan()
    assert await world.registry.configs() == {}
    await world.plan()
    assert await world.registry.token_digests() == {}


@pytest.mark.parametrize(
    ("others", "owned"),
    [([], False), (["mesh"], False)],
    ids=["of-another-namespace", "of-both"],
)
async def test_intents_of_other_namespaces_own_no_circuit(world: World, others: list[str], owned: bool) -> None:
    for namespace in others:
        near = intent_body("near", **{"from": {"resource": "shop/web"}})
        near["metadata"] |= {"namespace": namespace, "uid": "near"}
        world.kubernetes.put(near)
    await world.plan()
    assert bool(world.circuit["metadata"].get("ownerReferences")) is owned


async def test_intents_of_the_circuits_namespace_own_it_and_owners_follow() -> None:
    def here(name: str) -> dict[str, Any]:
        one = intent_body(name, **{"from": {"resource": "shop/web"}})
        one["metadata"] |= {"namespace": "mesh", "uid": name}
        return one

    world = World(here("one"))
    await world.plan()
    await world.agents()
    await world.settle()
    assert [owner["uid"] for owner in world.circuit["metadata"]["ownerReferences"]] == ["one"]
    generation = world.circuit["metadata"]["generation"]
    world.kubernetes.put(here("two"))
    await world.plan()
    assert {owner["uid"] for owner in world.circuit["metadata"]["ownerReferences"]} == {"one", "two"}
    assert world.circuit["metadata"]["generation"] == generation, "only owners changed"


async def test_a_circuit_made_by_hand_is_left_alone_and_says_that_it_is_not_served(world: World) -> None:
    mine = body("Circuit", "mine", "mesh", **{"from": "mesh/ams", "to": "mesh/fra", "class": "mine"})
    world.kubernetes.put(mine)
    for _ in range(2):
        await world.settle()
    assert world.ready("Circuit", "mine", "mesh") == ("False", "NoIntent")
    assert world.kubernetes.objects["Circuit", "mesh", "mine"]["spec"] == mine["spec"]
    assert [c for _, kind, c in world.kubernetes.written if (kind, c) == ("Circuit", "mine")] == ["mine"]


async def test_a_pinned_path_is_followed_and_never_written(world: World) -> None:
    name = world.circuit["metadata"]["name"]
    pinned = {**world.circuit, "spec": {**world.circuit["spec"], "path": ["mesh/ams", "mesh/par", "mesh/fra"]}}
    world.kubernetes.put(pinned)
    world.kubernetes.on_write = lambda verb, manifest: (
        pytest.fail("spec.path written") if verb == "apply" and "path" in manifest.get("spec", {}) else None
    )
    await world.settle()
    assert world.kubernetes.status("Circuit", name, "mesh")["pathText"] == "ams > par > fra"


async def test_a_circuit_that_kubernetes_does_not_take_stalls_nobody_else(world: World) -> None:
    world.kubernetes.put(intent_body("batch", profile="Cost"))
    known = world.circuit["metadata"]["name"]
    world.kubernetes.refuse = lambda verb, manifest: (
        "too many rules" if manifest["kind"] == "Circuit" and manifest["metadata"]["name"] != known else ""
    )
    await world.settle()
    assert world.ready("Intent", "batch") == ("False", "CircuitRefused")
    assert "too many rules" in world.kubernetes.condition("Intent", "batch", "Ready")["message"]
    assert world.ready("Intent", "orders") == ("True", "Placed")
    told = {end.circuit for config in (await world.registry.configs()).values() for end in config.circuits}
    assert told == {f"mesh/{known}"}
    world.kubernetes.refuse = lambda verb, manifest: ""
    await world.settle()
    assert world.ready("Intent", "batch") == ("True", "Placed")


# Agents


async def test_a_gateway_falling_silent_is_said_with_the_time_it_was_last_heard(world: World) -> None:
    world.now = datetime(2030, 1, 1, tzinfo=UTC)
    await world.progress()
    world.now = datetime(2030, 1, 2, tzinfo=UTC)
    await world.store.delete("presence/mesh/lon")
    await world.plan()
    assert world.ready("MeshResource", "lon", "mesh") == ("False", "NotReachable")
    assert world.kubernetes.condition("MeshResource", "lon", "Reachable", "mesh")["reason"] == "NoBeacon"
    assert world.kubernetes.status("MeshResource", "lon", "mesh")["lastBeaconTime"] == "2030-01-01T00:00:00Z"


async def test_a_refused_config_is_said_of_the_gateway_and_of_the_circuit(world: World) -> None:
    world.pipeline.answer = FAST_DIRECT
    await world.plan()
    await world.acknowledge("mesh/fra", error="block overlaps route eth7")
    await world.progress()
    assert world.ready("MeshResource", "fra", "mesh") == ("False", "ConfigRefused")
    programmed = world.kubernetes.condition("Circuit", world.circuit["metadata"]["name"], "Programmed", "mesh")
    assert (programmed["status"], programmed["reason"]) == ("False", "ConfigRefused")
    assert "mesh/fra (block overlaps route eth7)" in programmed["message"]
    assert "traffic stays on ams > lon > fra" in programmed["message"]


async def test_every_agent_gets_a_token_that_survives_the_operator(world: World) -> None:
    secrets = {body["metadata"]["name"]: body for body in world.kubernetes.of_kind("Secret")}
    assert set(secrets) == {f"{name}-foremesh-agent" for name in (*GATEWAYS, "web", "db")}
    owner = secrets["ams-foremesh-agent"]["metadata"]["ownerReferences"]
    assert [one["uid"] for one in owner] == ["MeshResource-ams"]
    digests = await world.registry.token_digests()
    world.restart()
    await world.plan()
    await world.store.wipe()
    await world.agents()
    await world.plan()
    assert await world.registry.token_digests() == digests
    assert not any("token" in record.key and b"." in record.value for record in (await world.store.list("tokens"))[0])


async def test_a_resource_that_is_made_again_gets_its_secret_again(world: World) -> None:
    world.kubernetes.drop("MeshResource", "par", "mesh")
    world.kubernetes.drop("Secret", "par-foremesh-agent", "mesh")
    again = gateway_body("par")
    again["metadata"]["uid"] = "another-life"
    world.kubernetes.put(again)
    await world.plan()
    secret = world.kubernetes.objects["Secret", "mesh", "par-foremesh-agent"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "another-life"


async def test_a_secret_that_cannot_be_made_stalls_nobody_else() -> None:
    world = World(intent_body())
    world.kubernetes.refuse = lambda verb, manifest: (
        "namespace is being terminated" if manifest["metadata"]["name"] == "par-foremesh-agent" else ""
    )
    await world.plan()
    assert len(world.kubernetes.of_kind("Secret")) == len(MEMBERS) - 1


async def test_a_forged_secret_is_not_taken(world: World) -> None:
    """Whoever may write Secrets of one namespace must not speak for a resource of another."""
    forged = tokens.new("mesh", "fra")
    data = {"token": base64.b64encode(forged.encode()).decode()}
    world.kubernetes.objects["Secret", "mesh", "par-foremesh-agent"]["data"] = data
    await world.store.delete("tokens/mesh/par")
    await world.plan()
    assert (await world.registry.token_digests())["mesh/par"] != tokens.digest(forged)


# Network policies


PINNING = Settings(api=ApiSettings(address="203.0.113.200:8443", presence=3600.0))  # type: ignore[arg-type]


async def test_workloads_are_pinned_and_their_policies_go_with_them() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    policies = {one["metadata"]["name"]: one for one in world.kubernetes.of_kind("NetworkPolicy")}
    assert set(policies) == {"foremesh-web", "foremesh-db"}
    assert policies["foremesh-web"]["metadata"]["ownerReferences"][0]["uid"] == "MeshResource-web"
    world.kubernetes.drop("MeshResource", "web")
    await world.plan()
    assert [one["metadata"]["name"] for one in world.kubernetes.of_kind("NetworkPolicy")] == ["foremesh-db"]


async def test_policies_of_an_earlier_life_are_found_and_deleted_but_nobody_elses() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    world.kubernetes.put({**theirs, "metadata": {"name": "theirs", "namespace": "shop"}, "spec": {}})
    world.kubernetes.drop("MeshResource", "web")
    world.restart()
    await world.plan()
    assert [one["metadata"]["name"] for one in world.kubernetes.of_kind("NetworkPolicy")] == ["foremesh-db", "theirs"]


async def test_a_policy_that_somebody_deletes_is_made_again_by_the_next_plan() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    world.kubernetes.drop("NetworkPolicy", "foremesh-web")
    await world.plan()
    assert ("NetworkPolicy", "shop", "foremesh-web") in world.kubernetes.objects


async def test_a_calico_tier_goes_after_its_policies() -> None:
    world = World(settings=msgspec.structs.replace(PINNING, network_policies="Calico"))
    await world.plan()
    await world.agents()
    await world.plan()
    policies = world.kubernetes.of_kind("NetworkPolicy")
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in policies} == {"MeshResource-web", "MeshResource-db"}
    for one in policies:  # as Calico's API server does
        one["metadata"]["labels"]["projectcalico.org/tier"] = "foremesh"
    for name in ("web", "db"):
        world.kubernetes.drop("MeshResource", name)
    await world.plan()
    deleted = [kind for verb, kind, _ in world.kubernetes.written if verb == "delete"]
    assert deleted == ["NetworkPolicy", "NetworkPolicy", "Tier"]
