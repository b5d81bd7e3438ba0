"""From a plan to circuits, and circuits by hand."""

from __future__ import annotations

import re

import pytest

from foremesh.model.circuit import CircuitSpec, FirewallRule
from foremesh.model.config import CircuitEnd
from foremesh.model.intent import Encryption, Intent, Profile, Requirements, Traffic
from foremesh.model.mesh import MeshState, PlacedCircuit
from foremesh.model.plan import Placement, Plan
from foremesh.model.resource import Protocol
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.network.circuits import Desired, circuit_id, class_of, desired_circuits
from foremesh.network.compile import compile_configs
from foremesh.network.specs import CircuitError, create_circuit, remove_firewall_rule, update_firewall_rule
from network.scene import HTTPS, Controller, gateway, intent, placed, workload

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def desired(*wishes: tuple[Intent, Placement]) -> Desired:
    controller = Controller.of(
        gateway("a"),
        gateway("b"),
        gateway("t"),
        gateway("w1", "west"),
        gateway("w2", "west"),
        *(workload(name, name[0]) for name in ("a1", "a2", "b1", "b2")),
        workload("far", "west"),
        workload("lone", ""),
    )
    plan = Plan(made_at_s=0.0, placements=tuple(placement for _, placement in wishes))
    return desired_circuits(plan, {intent.id: intent for intent, _ in wishes}, controller.members())


def needs(**requirements: object) -> Requirements:
    return Requirements(**requirements)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(
            {"requirements": needs(min_bandwidth=Bandwidth(2e6))},
            {"requirements": needs(min_bandwidth=Bandwidth(1e6))},
            True,
            id="bandwidth-adds-up",
        ),
        pytest.param({}, {"requirements": needs(min_bandwidth=Bandwidth(1e6))}, False, id="reserved-or-not"),
        pytest.param({}, {"requirements": needs(reverse=Bandwidth(1e6))}, False, id="reserved-backwards-or-not"),
        pytest.param({"dscp": 46}, {"dscp": 46}, True, id="same-code-point"),
        pytest.param({}, {"dscp": 0}, False, id="code-point-zero-is-one"),
        pytest.param({}, {"requirements": needs(encryption=Encryption.END_TO_END)}, True, id="end-to-end-is-default"),
        pytest.param({}, {"traffic": (HTTPS,)}, True, id="traffic-is-no-class"),
        pytest.param({}, {"priority": 9}, True, id="priority-is-no-class"),
        pytest.param({}, {"profile": Profile.COST}, False, id="profile"),
        pytest.param({}, {"requirements": needs(encryption=Encryption.HOP_BY_HOP)}, False, id="encryption"),
        pytest.param({}, {"requirements": needs(max_latency=Milliseconds(40))}, False, id="latency"),
        pytest.param({"dedicated": True}, {"dedicated": True}, False, id="dedicated"),
    ],
)
def test_class(one: dict, other: dict, same: bool) -> None:  # type: ignore[type-arg]
    assert (class_of(intent("one", **one)) == class_of(intent("other", **other))) is same


def test_intents_of_a_class_share_a_circuit() -> None:
    web = intent(
        "web", traffic=(HTTPS,), requirements=needs(min_bandwidth=Bandwidth(2e6), reverse=Bandwidth(2e5), max_hops=3)
    )
    small = needs(min_bandwidth=Bandwidth(1e6), reverse=Bandwidth(1e5), max_hops=3)
    ping = intent("ping", traffic=(Traffic(protocol=Protocol.ICMP),), requirements=small)
    bulk = intent("bulk", requirements=needs(min_bandwidth=Bandwidth(1e6), reverse=Bandwidth(5e5), max_hops=3))
    result = desired(
        (web, placed(web, "a1", "b1", "a", "t", "b")),
        (web, placed(web, "a2", "b1", "a", "t", "b")),
        (ping, placed(ping, "a1", "b1", "a", "t", "b")),
        (bulk, placed(bulk, "a2", "b2", "a", "t", "b")),
    )
    (circuit,) = result.circuits
    assert circuit.intents == ("shop/bulk", "shop/ping", "shop/web")
    assert result.carriers == {
        ("shop/web", "shop/a1"): circuit.id,
        ("shop/web", "shop/a2"): circuit.id,
        ("shop/ping", "shop/a1"): circuit.id,
        ("shop/bulk", "shop/a2"): circuit.id,
    }
    assert circuit.spec.requirements == needs(min_bandwidth=Bandwidth(6e6), reverse=Bandwidth(1e6), max_hops=3)
    assert circuit.spec.path == (), "the plan's path is status, not spec"
    assert circuit.path.gateways == ("mesh/a", "mesh/t", "mesh/b")
    address = {"a1": "100.64.0.2/32", "a2": "100.64.0.3/32", "b1": "100.64.1.2/32", "b2": "100.64.1.3/32"}
    assert circuit.spec.firewall == (
        FirewallRule(protocol=Protocol.ICMP, sources=(address["a1"],), destinations=(address["b1"],)),
        FirewallRule(protocol=Protocol.TCP, ports=(443,), sources=(address["a1"],), destinations=(address["b1"],)),
        FirewallRule(protocol=Protocol.TCP, ports=(443,), sources=(address["a2"],), destinations=(address["b1"],)),
        FirewallRule(sources=(address["a2"],), destinations=(address["b2"],)),
    )


def test_everything_swallows_what_is_named() -> None:
    everything, web = intent("everything"), intent("web", traffic=(HTTPS,))
    for wishes in ((everything, web), (web, everything)):
        result = desired(*((one, placed(one, "a1", "b1", "a", "b")) for one in wishes))
        assert [pair.traffic for pair in result.circuits[0].pairs] == [()]


def test_more_important_intent_decides_what_is_shared() -> None:
    low, high = intent("aaa"), intent("zzz", priority=5)
    result = desired((low, placed(low, "a1", "b1", "a", "b")), (high, placed(high, "a2", "b1", "a", "t", "b")))
    (circuit,) = result.circuits
    assert circuit.path.gateways == ("mesh/a", "mesh/t", "mesh/b")


def test_workload_uses_one_gateway_for_one_destination() -> None:
    low, high = intent("aaa", traffic=(HTTPS,)), intent("zzz", priority=5)
    result = desired((low, placed(low, "a1", "far", "a", "w1")), (high, placed(high, "a1", "far", "a", "w2")))
    assert [circuit.spec.to for circuit in result.circuits] == ["mesh/w2"]
    (refused,) = result.unserved
    assert (refused.intent, refused.source) == ("shop/aaa", "shop/a1")
    assert "shop/far already reaches shop/a1 through mesh/w2" in refused.reason


@pytest.mark.parametrize(
    ("destination", "path", "reason"),
    [
        pytest.param("lone", ("a", "b"), "shop/lone has no mesh address", id="no-address"),
        pytest.param("ghost", ("a", "b"), "shop/ghost has no mesh address", id="no-such-resource"),
        pytest.param("b1", ("a", "t"), "shop/b1 is not attached to mesh/t", id="path-ends-elsewhere"),
    ],
)
def test_placement_that_cannot_be_carried_out_says_why(destination: str, path: tuple[str, ...], reason: str) -> None:
    web = intent("web")
    result = desired((web, placed(web, "a1", destination, *path)))
    assert result.circuits == ()
    assert [one.reason.startswith(reason) for one in result.unserved] == [True]


def test_infeasible_placement_and_forgotten_intent_ask_for_nothing() -> None:
    web, gone = intent("web"), intent("gone")
    plan = Plan(
        made_at_s=0.0,
        placements=(Placement(intent=web.id, source="shop/a1"), placed(gone, "a1", "b1", "a", "b")),
    )
    assert desired_circuits(plan, {web.id: web}, ()) == Desired()


def test_names_are_labels_and_tell_apart_what_they_shorten() -> None:
    long = "gateway-with-a-name-as-long-as-names.may-be.in.kubernetes"
    ids = {
        circuit_id(source, destination, class_)
        for source in ("mesh/a", f"mesh/{long}-1", f"mesh/{long}-2", "other/a")
        for destination in ("mesh/b", f"mesh/{long}-3")
        for class_ in ("x", "y")
    }
    assert len(ids) == 16
    for id_ in ids:
        namespace, _, name = id_.partition("/")
        assert namespace in ("mesh", "other")
        assert len(name) <= 63
        assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param({"destination": "mesh/a"}, "to itself", id="one-gateway"),
        pytest.param({"path": ("mesh/a", "mesh/c")}, "does not lead", id="path-ends-elsewhere"),
        pytest.param({"path": ("mesh/a", "mesh/t", "mesh/t", "mesh/b")}, "twice", id="path-repeats"),
        pytest.param(
            {"encryption": Encryption.HOP_BY_HOP, "requirements": needs(encryption=Encryption.END_TO_END)},
            "does not meet",
            id="encryption-too-weak",
        ),
        pytest.param({"firewall": (FirewallRule(ports=(0,)),)}, "port 0", id="port"),
        pytest.param(
            {"firewall": (FirewallRule(protocol=Protocol.ICMP, ports=(1,)),)}, "ICMP has no ports", id="icmp-port"
        ),
        pytest.param({"firewall": (FirewallRule(sources=("100.64.0.1/24",)),)}, "no IPv4 prefix", id="prefix"),
        pytest.param({"firewall": (FirewallRule(sources=("10.0.0.0/8",)),)}, "outside the mesh's", id="outside"),
    ],
)
def test_circuit_that_makes_no_sense_is_refused(change: dict, cause: str) -> None:  # type: ignore[type-arg]
    arguments: dict = {"source": "mesh/a", "destination": "mesh/b", "class_": "x"} | change  # type: ignore[type-arg]
    with pytest.raises(CircuitError, match=cause):
        create_circuit(**arguments)


def test_rules_are_added_replaced_and_removed_once() -> None:
    spec = create_circuit("mesh/a", "mesh/b", ("mesh/a", "mesh/t", "mesh/b"), class_="x")
    assert spec == CircuitSpec(from_="mesh/a", to="mesh/b", class_="x", path=("mesh/a", "mesh/t", "mesh/b"))
    ssh, web, all_web = (FirewallRule(ports=ports) for ports in ((22,), (443,), (80, 443)))
    spec = update_firewall_rule(update_firewall_rule(spec, ssh), web)
    assert spec.firewall == (ssh, web)
    assert update_firewall_rule(spec, web) == spec
    wider = update_firewall_rule(spec, all_web, replaces=web)
    assert wider.firewall == (ssh, all_web)
    assert update_firewall_rule(wider, all_web, replaces=web) == wider
    with pytest.raises(CircuitError, match="to replace"):
        update_firewall_rule(wider, FirewallRule(ports=(2222,)), replaces=web)
    assert remove_firewall_rule(remove_firewall_rule(wider, ssh), ssh).firewall == (all_web,)


def test_a_code_point_goes_from_the_intent_to_both_ends() -> None:
    voice = intent("voice", dscp=46)
    (circuit,) = desired((voice, placed(voice, "a1", "b1", "a", "b"))).circuits
    assert circuit.spec.dscp == 46
    assert {end.dscp for end in _ends_of(voice)} == {46}


@pytest.mark.parametrize("policing", [True, False])
def test_each_end_is_held_to_what_is_reserved_in_its_direction(policing: bool) -> None:
    bulk = intent("bulk", requirements=needs(min_bandwidth=Bandwidth(5e6), reverse=Bandwidth(1e6)))
    ends = {end.initiator: end.police_bps for end in _ends_of(bulk, policing=policing)}
    assert ends == ({True: 5e6, False: 1e6} if policing else {True: None, False: None})
    free = intent("free")
    assert [end.police_bps for end in _ends_of(free, policing=policing)] == [None, None]


def _ends_of(one: Intent, *, policing: bool = True) -> list[CircuitEnd]:
    """Both ends of the circuit of an intent from a1 to b1, as they are compiled."""
    controller = Controller.of(gateway("a"), gateway("b"), workload("a1", "a"), workload("b1", "b"))
    (circuit,) = desired((one, placed(one, "a1", "b1", "a", "b"))).circuits
    placed_circuit = PlacedCircuit(id=circuit.id, spec=circuit.spec, number=0, class_number=0, pairs=circuit.pairs)
    state = MeshState(epoch=1, members=controller.members(), circuits=(placed_circuit,), policing=policing)
    return [end for config in compile_configs(state).values() for end in config.circuits]
