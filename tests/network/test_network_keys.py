"""Hop keys that are replaced while circuits run: label by label, and never under one in use."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest

from foremesh.decide import as_told
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Beacon, HopInterface
from network.scene import Controller, gateway, intent, placed, workload
from network.switches import Packet, Switches

NAMES = ("a", "t", "b")


def running() -> Controller:
    controller = Controller.of(
        *(gateway(name, number=n) for n, name in enumerate(NAMES, 1)), workload("a1", "a"), workload("b1", "b")
    )
    one = intent("one")
    controller.wish([(one, placed(one, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    return controller


def register(controller: Controller, name: str, *keys: str) -> None:
    """A gateway says which hop keys it has, the newest first; every other has a port of its own."""
    before = controller.registrations[f"mesh/{name}"]
    hops = tuple(HopInterface(key=key, port=51822 if key.startswith("new") else None) for key in keys)
    controller.registrations[f"mesh/{name}"] = msgspec.structs.replace(
        before, keys=msgspec.structs.replace(before.keys, hop=keys[0]), hops=hops
    )


def own_keys(controller: Controller, name: str) -> set[str]:
    return {peer.own_key for peer in controller.configs[f"mesh/{name}"].hop_peers}


@pytest.mark.parametrize("rotating", [c for n in (1, 2, 3) for c in itertools.combinations(NAMES, n)], ids="+".join)
@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)), ids="".join)
def test_no_packet_is_lost_whoever_applies_first(rotating: tuple[str, ...], order: Sequence[str]) -> None:
    controller = running()
    address = {key: status.mesh_address for key, status in controller.statuses.items()}
    packet = Packet(address["shop/a1"], address["shop/b1"])
    hosts: dict[str, GatewayConfig] = dict(controller.configs)
    old = {name: controller.registrations[f"mesh/{name}"].keys.hop for name in rotating}
    for name in rotating:
        register(controller, name, f"new:{name}", old[name])
    for _ in range(12):
        controller.cycle()
        for name in (*(f"mesh/{one}" for one in order), *(id_ for id_ in hosts if not id_.startswith("mesh/"))):
            hosts[name] = controller.configs[name]
            for source, sent in (("shop/a1", packet), ("shop/b1", packet.answer)):
                switches = Switches(hosts)
                switches.flows = {id_: {packet} for id_ in hosts}
                assert switches.send(source, sent).arrived
            controller.acknowledge(name)
            controller.beacons[name] = as_told(Beacon(labels=hosts[name].labels), hosts[name])
    for name in rotating:
        assert own_keys(controller, name) == {f"new:{name}"}, "the old one can go"
        register(controller, name, f"new:{name}")
    configs = dict(controller.configs)
    controller.settle()
    unchanged = {id_ for id_, config in controller.configs.items() if config.revision == configs[id_].revision}
    assert unchanged == configs.keys(), "that the old one is gone changes nothing"


def test_a_key_that_is_not_heard_moves_nothing() -> None:
    """A firewall that has the new port closed: acknowledged everywhere, and silent."""
    controller = running()
    old = controller.registrations["mesh/t"].keys.hop
    register(controller, "t", "new:t", old)
    (circuit,) = controller.placed.circuits
    (label,) = circuit.labels
    for _ in range(30):
        controller.cycle()
        controller.acknowledge(*controller.configs)
        for id_, beacon in controller.beacons.items():
            heard = tuple(number for number in beacon.heard if number == label.number)
            controller.beacons[id_] = msgspec.structs.replace(beacon, heard=heard)
    sending = {end.send_label for config in controller.configs.values() for end in config.circuits}
    assert sending == {label.number}
    assert own_keys(controller, "t") == {old, "new:t"}
    probed = [peer.own_key for peer in controller.configs["mesh/t"].hop_peers if peer.hop_address]
    assert set(probed) == {old}, "the link is measured where it carries"
