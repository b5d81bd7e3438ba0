"""How large packets may be, by what links are measured to carry."""

from __future__ import annotations

import msgspec
import pytest

from foremesh.model.circuit import LabelState
from foremesh.model.intent import Encryption
from foremesh.model.link import LinkId
from foremesh.model.registration import Beacon, LinkReport
from foremesh.network.mtu import HOP_MTU, LEAST_LINK_MTU, MIN_MTU, inner_mtu, link_mtu
from foremesh.network.programmed import Applied
from network.scene import Controller, gateway, intent, placed, workload


def measuring(own: str, far: str, mtu: int | None) -> dict[str, Beacon]:
    return {f"mesh/{own}": Beacon(links={f"mesh/{far}/internet": LinkReport(mtu=mtu)})}


@pytest.mark.parametrize(
    ("beacons", "mtu"),
    [
        ({}, None),
        (measuring("a", "t", None), None),
        (measuring("a", "t", 1380), 1380),
        (measuring("t", "a", 1380), 1380),
        (measuring("a", "t", 1380) | measuring("t", "a", 1300), 1300),
        (measuring("a", "b", 1300), None),
    ],
    ids=["nobody-reports", "not-measured", "by-the-one", "by-the-other", "the-less-fortunate-counts", "another-link"],
)
def test_a_link_carries_what_both_its_gateways_find(beacons: dict[str, Beacon], mtu: int | None) -> None:
    assert link_mtu(LinkId(src="mesh/a", dst="mesh/t"), Applied(beacons=beacons)) == mtu


@pytest.mark.parametrize(
    ("encryption", "path_mtu", "inner"),
    [
        (Encryption.END_TO_END, None, 1360),
        (Encryption.HOP_BY_HOP, None, 1370),
        (Encryption.END_TO_END, 1400, 1340),
        (Encryption.HOP_BY_HOP, 1400, 1350),
        (Encryption.END_TO_END, LEAST_LINK_MTU, MIN_MTU),
        (Encryption.END_TO_END, 576, MIN_MTU),
    ],
)
def test_a_circuit_takes_its_overhead_off_and_stops_at_the_floor(
    encryption: Encryption, path_mtu: int | None, inner: int
) -> None:
    assert inner_mtu(encryption, path_mtu) == inner


def carrying() -> Controller:
    controller = Controller.of(
        *(gateway(name, number=n) for n, name in enumerate(("a", "b", "t", "u"), 1)),
        workload("a1", "a"),
        workload("b1", "b"),
    )
    wish(controller, "t")
    controller.settle()
    return controller


def wish(controller: Controller, by: str, standby: str = "") -> None:
    web = intent("web")
    other = ("a", standby, "b") if standby else None
    controller.wish([(web, placed(web, "a1", "b1", "a", by, "b", standby=other))])


def measure(controller: Controller, own: str, far: str, mtu: int | None) -> None:
    links = controller.links.setdefault(f"mesh/{own}", {})
    links[f"mesh/{far}/internet"] = LinkReport(mtu=mtu)
    controller.beacons[f"mesh/{own}"] = msgspec.structs.replace(controller.beacons[f"mesh/{own}"], links=dict(links))


def told(controller: Controller) -> set[int]:
    return {end.mtu for name in "ab" for end in controller.configs[f"mesh/{name}"].circuits}


def test_both_ends_follow_a_link_that_got_narrower() -> None:
    controller = carrying()
    assert told(controller) == {HOP_MTU - 60}
    measure(controller, "t", "b", 1380)
    controller.cycle()
    assert told(controller) == {1320}


def test_it_is_lowered_before_a_move_and_raised_after_it() -> None:
    controller = carrying()
    measure(controller, "u", "b", 1380)
    wish(controller, "u")
    controller.cycle()
    (circuit,) = controller.placed.circuits
    assert {label.state for label in circuit.labels} == {LabelState.ACTIVE, LabelState.STAGING}
    assert told(controller) == {1320}, "nobody sends on the new label yet"
    for name, far in (("a", "t"), ("t", "b"), ("a", "u")):
        measure(controller, name, far, HOP_MTU)
    controller.settle()
    wish(controller, "t")
    controller.cycle()
    controller.acknowledge(*controller.configs)
    controller.cycle()
    (circuit,) = controller.placed.circuits
    assert LabelState.DRAINING in {label.state for label in circuit.labels}
    assert told(controller) == {1320}, "packets may still be under way on the label that is left"
    controller.settle()
    assert told(controller) == {HOP_MTU - 60}


def test_a_standby_counts_as_well() -> None:
    controller = carrying()
    measure(controller, "u", "b", 1400)
    wish(controller, "t", standby="u")
    controller.settle()
    assert told(controller) == {1340}


def test_what_is_not_measured_any_more_raises_nothing() -> None:
    controller = carrying()
    measure(controller, "t", "b", 1380)
    controller.settle()
    measure(controller, "t", "b", None)
    controller.settle()
    assert told(controller) == {1320}
    for name, far in (("a", "t"), ("t", "b")):
        measure(controller, name, far, HOP_MTU)
    controller.settle()
    assert told(controller) == {HOP_MTU - 60}
