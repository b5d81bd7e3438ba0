"""Compiled configs and circuits as a person reviews them."""

from __future__ import annotations

from foremesh.agent.desired import check
from foremesh.model.intent import Intent
from foremesh.model.manifest import read, write
from foremesh.model.plan import Placement
from foremesh.model.registration import Beacon, PublicKeys, Registration
from foremesh.model.resource import Resource
from network.golden import assert_golden, load
from network.scene import Controller


def settled() -> Controller:
    given = load("network-mesh.yaml")
    resources = {resource.id: resource for resource in map(Resource.from_manifest, given["resources"])}
    registrations = {
        id_: Registration(
            resource=id_,
            keys=PublicKeys(hop=f"hop key of {id_}", circuit=f"circuit key of {id_}", attach=f"attach key of {id_}"),
            attach_endpoint=given["attachEndpoints"].get(id_),
        )
        for id_ in resources
    }
    controller = Controller(resources, registrations, beacons={id_: Beacon() for id_ in resources})
    controller.intents = {intent.id: intent for intent in map(Intent.from_manifest, given["intents"])}
    controller.placements = tuple(read(Placement, placement) for placement in given["placements"])
    controller.settle()
    return controller


def test_configs_as_reviewed() -> None:
    configs = settled().configs
    for config in configs.values():
        check(config)
    assert_golden("network-configs.yaml", *(write(configs[id_]) for id_ in sorted(configs)))


def test_circuits_as_reviewed() -> None:
    assert_golden("network-circuits.yaml", *(write(circuit) for circuit in settled().placed.circuits))
