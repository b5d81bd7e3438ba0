"""By which addresses and names applications reach each other, from manifests to packets on fake switches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scene import DB, ORDERS, WEB, Mesh, body, intent_body, workload_body
from foremesh.agent.desired import check
from foremesh.decide import Decision
from foremesh.model.registration import Registration
from foremesh.model.resource import Protocol
from foremesh.model.status import ResourceStatus
from network.switches import Dropped, Packet, Switches

LAN = "10.0.0.9"
"""An address that hosts of several sites have in their own networks."""
PORT, OTHER = 5432, 80
VM, FUNCTION = "shop/vm", "shop/f"


def calling(to: str = "db", *, name: str = "orders", ports: tuple[int, ...] = (PORT,), **spec: Any) -> dict[str, Any]:
    return intent_body(name, to={"resource": to}, traffic=[{"ports": list(ports)}], steering="OwnAddress", **spec)


def machine(name: str = "vm", site: str = "fra", address: str = LAN) -> dict[str, Any]:
    return body("MeshResource", name, type="VirtualMachine", machine={"address": address}, location={"site": site})


def function(site: str = "fra", **how: Any) -> dict[str, Any]:
    return body(
        "MeshResource",
        "f",
        type="Function",
        function=how or {"url": "https://f.example:8443/x"},
        location={"site": site},
    )


def mesh_of(*bodies: dict[str, Any], agentless: tuple[str, ...] = (), own: dict[str, str] | None = None) -> Mesh:
    """A mesh in which some resources have no agent, and others' agents report addresses of their own."""
    mesh = Mesh.of(*bodies)
    said = mesh.observed
    reported = {
        id_: msgspec.structs.replace(one, own_address=(own or {}).get(id_))
        for id_, one in said.registrations.items()
        if id_ not in agentless
    }
    beacons = {id_: one for id_, one in said.beacons.items() if id_ not in agentless}
    mesh.observed = replace(said, registrations=reported, beacons=beacons)
    return mesh


def settled(mesh: Mesh) -> tuple[Switches, Decision]:
    decision = mesh.settle()
    for config in decision.configs.values():
        check(config)
    return Switches(decision.configs), decision


def problem_of(decision: Decision, intent: str = ORDERS) -> str:
    found = decision.chosen.resolved[intent].problem
    return found.reason if found else ""


# Own addresses


@pytest.mark.parametrize("source", ["10.9.9.9", LAN], ids=["from-another-network", "from-the-same-address"])
def test_the_own_address_leads_to_its_owner_and_is_what_the_application_sees(source: str) -> None:
    switches, _ = settled(mesh_of(calling(), own={DB: LAN}))
    trace = switches.send(WEB, Packet(source, LAN, dport=PORT))
    assert (trace.arrived, trace.handed) == (DB, LAN)
    assert trace.circuit


def test_the_mesh_address_works_with_and_without() -> None:
    for steering in ("MeshAddress", "OwnAddress"):
        spec = {**calling()["spec"], "steering": steering}
        switches, decision = settled(mesh_of(intent_body(**spec), own={DB: LAN}))
        address = decision.configs[DB].mesh_address or ""
        trace = switches.send(WEB, Packet("10.9.9.9", address, dport=PORT))
        assert trace.arrived == DB
        assert trace.handed == (LAN if steering == "OwnAddress" else address)


def test_nothing_is_translated_that_nobody_asked_for() -> None:
    spec = {**calling()["spec"], "steering": "MeshAddress"}
    _, decision = settled(mesh_of(intent_body(**spec), own={DB: LAN}))
    for config in decision.configs.values():
        assert (config.own_addresses, config.own_address, config.called) == ((), None, ())


@pytest.mark.parametrize(
    "packet",
    [
        Packet("10.9.9.9", LAN, dport=OTHER),
        Packet("10.9.9.9", LAN, Protocol.UDP, dport=PORT),
        Packet("10.9.9.9", "10.0.0.10", dport=PORT),
    ],
    ids=["another-port", "another-protocol", "another-destination"],
)
def test_what_the_intent_does_not_name_stays_outside_the_mesh(packet: Packet) -> None:
    switches, _ = settled(mesh_of(calling(), own={DB: LAN}))
    with pytest.raises(Dropped, match="no uplink"):
        switches.send(WEB, packet)


def test_without_a_path_it_is_translated_all_the_same_and_goes_nowhere() -> None:
    mesh = mesh_of(calling(requirements={"maxLatency": "1ms"}), own={DB: LAN})
    switches, decision = settled(mesh)
    assert decision.chosen.plan.placements[0].path is None
    assert [one.own for one in decision.configs[WEB].own_addresses] == [LAN]
    with pytest.raises(Dropped, match="steered nowhere"):
        switches.send(WEB, Packet("10.9.9.9", LAN, dport=PORT))


def test_a_destination_that_has_no_mesh_address_yet_is_called_by_nobody() -> None:
    """Its address is declared, so what goes there is stopped before the mesh can carry it."""
    switches, decision = settled(mesh_of(calling("vm"), machine(site="nowhere"), agentless=(VM,)))
    assert [(one.own, one.mesh) for one in decision.configs[WEB].own_addresses] == [(LAN, None)]
    with pytest.raises(Dropped, match="no mesh address"):
        switches.send(WEB, Packet("10.9.9.9", LAN, dport=PORT))


def test_an_own_address_that_nobody_knows_is_a_problem() -> None:
    _, decision = settled(mesh_of(calling()))
    assert problem_of(decision) == "NoOwnAddress"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "100.64.0.77", "0.0.0.0", "224.0.0.1", "fe80::1"])
def test_an_address_that_no_machine_has_is_never_called(address: str) -> None:
    _, decision = settled(mesh_of(calling(), own={DB: address}))
    assert problem_of(decision) == "NoOwnAddress"
    assert decision.configs[WEB].own_addresses == ()


def test_of_two_with_one_address_the_more_important_intent_has_it_and_the_other_says_so() -> None:
    first = calling("vm", name="first", priority=10)
    mesh = mesh_of(calling(), first, machine(), own={DB: LAN})
    switches, decision = settled(mesh)
    assert (problem_of(decision, "shop/first"), problem_of(decision)) == ("", "NoOwnAddress")
    assert switches.send(WEB, Packet("10.9.9.9", LAN, dport=PORT)).arrived == VM


def test_two_with_one_address_are_told_apart_by_port() -> None:
    other = calling("vm", name="other", ports=(OTHER,))
    switches, decision = settled(mesh_of(calling(), other, machine(), own={DB: LAN}))
    assert (problem_of(decision, "shop/other"), problem_of(decision)) == ("", "")
    for port, whom in ((PORT, DB), (OTHER, VM)):
        assert switches.send(WEB, Packet("10.9.9.9", LAN, dport=port)).arrived == whom


@settings(max_examples=25)
@given(
    wishes=st.lists(
        st.tuples(st.sampled_from(["db", "vm"]), st.sets(st.integers(1, 5), min_size=1), st.integers(-2, 2)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_declared_each_port_leads_to_one_owner_of_the_address(
    wishes: list[tuple[str, set[int], int]],
) -> None:
    intents = [
        calling(to, name=f"i{number}", ports=tuple(sorted(ports)), priority=priority)
        for number, (to, ports, priority) in enumerate(wishes)
    ]
    switches, decision = settled(mesh_of(*intents, machine(), own={DB: LAN}))
    ordered = sorted(((-priority, f"i{number}", to, ports) for number, (to, ports, priority) in enumerate(wishes)))
    for port in range(1, 6):
        claims = [to for _, _, to, ports in ordered if port in ports]
        packet = Packet("10.9.9.9", LAN, dport=port)
        if not claims:
            with pytest.raises(Dropped, match="no uplink"):
                switches.send(WEB, packet)
            continue
        try:
            assert switches.send(WEB, packet).arrived == f"shop/{claims[0]}"
        except Dropped as dropped:
            # The Intent that has the address lost another port to a rival, and says so.
            first = next(name for _, name, _, ports in ordered if port in ports)
            assert problem_of(decision, f"shop/{first}") == "NoOwnAddress", dropped  # noqa: PT017


# Names


def test_a_workload_knows_the_names_of_whom_it_may_talk_to() -> None:
    mesh = mesh_of(intent_body())
    mesh.settings = msgspec.structs.replace(mesh.settings, domain="fm.internal")
    _, decision = settled(mesh)
    address = decision.configs[DB].mesh_address
    names = {one.name: one.address for one in decision.configs[WEB].names}
    assert names == {"db.shop.fm.internal": address}
    assert decision.configs[DB].names == ()


def test_a_services_name_is_that_of_the_destination_chosen() -> None:
    spare = workload_body("spare", "lon", services=[{"name": "db", "port": PORT}])
    mesh = mesh_of(intent_body(), spare)
    _, decision = settled(mesh)
    assert decision.chosen.plan.placements[0].destination == DB
    assert [(one.name, one.address) for one in decision.configs[WEB].names] == [
        ("db.shop.mesh", decision.configs[DB].mesh_address)
    ]
    mesh.silence(DB)
    _, decision = settled(mesh)
    address = decision.configs["shop/spare"].mesh_address
    assert [(one.name, one.address) for one in decision.configs[WEB].names] == [
        ("db.shop.mesh", address),
        ("spare.shop.mesh", address),
    ]


# Machines and functions without an agent


@pytest.mark.parametrize(
    ("what", "target"),
    [
        (machine("f"), LAN),
        (machine("f", address="vm.example.com"), "vm.example.com"),
        (function(), "f.example"),
        (function(serviceRef={"name": "resize"}), "resize.shop.svc"),
        (function(serviceRef={"name": "resize", "namespace": "media"}), "resize.media.svc"),
    ],
    ids=["machine-by-address", "machine-by-name", "url", "service", "service-of-another-namespace"],
)
def test_what_has_no_agent_is_reached_through_its_gateway(what: dict[str, Any], target: str) -> None:
    mesh = mesh_of(intent_body(to={"resource": "f"}, traffic=[{"ports": [PORT]}]), what, agentless=(FUNCTION,))
    switches, decision = settled(mesh)
    address = next(member.address for member in decision.state.members if member.id == FUNCTION) or ""
    assert [(one.resource, one.address, one.target) for one in decision.configs["mesh/fra"].behind] == [
        (FUNCTION, address, target)
    ]
    trace = switches.send(WEB, Packet("10.9.9.9", address, dport=PORT))
    assert (trace.arrived, trace.handed, trace.gateways[-1]) == (FUNCTION, target, "mesh/fra")
    with pytest.raises(Dropped, match="steered nowhere"):
        switches.send(WEB, Packet("10.9.9.9", address, dport=OTHER))


@pytest.mark.parametrize("by", ["mesh", "own"])
def test_a_machine_without_an_agent_calls_through_its_gateway(by: str) -> None:
    intent = calling(**{"from": {"resource": "vm"}})
    mesh = mesh_of(intent, machine(site="ams"), agentless=(VM,), own={DB: "10.7.7.7"})
    switches, decision = settled(mesh)
    there = "10.7.7.7" if by == "own" else decision.configs[DB].mesh_address or ""
    trace = switches.send_from(VM, "mesh/ams", Packet(LAN, there, dport=PORT))
    assert (trace.arrived, trace.handed, trace.gateways[0]) == (DB, "10.7.7.7", "mesh/ams")
    with pytest.raises(Dropped, match="nobody's"):
        switches.send_from(VM, "mesh/ams", Packet("10.0.0.10", there, dport=PORT))


def test_a_latency_is_promised_up_to_the_gateway_of_what_has_no_agent() -> None:
    intent = intent_body(to={"resource": "f"}, requirements={"maxLatency": "500ms"})
    _, decision = settled(mesh_of(intent, function(), agentless=(FUNCTION,)))
    assert decision.chosen.plan.placements[0].path is not None


def test_its_agent_takes_over_with_the_same_address() -> None:
    mesh = mesh_of(calling("vm"), machine(), agentless=(VM,))
    switches, decision = settled(mesh)
    address = decision.configs["mesh/fra"].behind[0].address
    example = mesh.observed.registrations[WEB]
    joined = Registration(resource=VM, keys=example.keys, own_address=LAN)
    mesh.observed = replace(mesh.observed, registrations={**mesh.observed.registrations, VM: joined})
    switches, decision = settled(mesh)
    assert decision.configs["mesh/fra"].behind == ()
    assert decision.configs[VM].mesh_address == address
    trace = switches.send(WEB, Packet("10.9.9.9", LAN, dport=PORT))
    assert (trace.arrived, trace.handed) == (VM, LAN)


def test_an_agent_that_was_there_once_is_not_replaced_by_its_gateway_in_clear() -> None:
    """The store lost its registration: the machine is waited for, not reached without its encryption."""
    mesh = mesh_of(calling("vm"), machine(), agentless=(VM,))
    known = ResourceStatus(last_beacon_time="2033-05-18T03:33:20Z")
    mesh.declared = replace(mesh.declared, resource_status={VM: known})
    decision = mesh.plan()
    assert decision.configs["mesh/fra"].behind == ()
    assert problem_of(decision) == "NoAgent"


def test_two_without_agents_at_one_gateway_are_told_that_it_does_not_translate_between_them() -> None:
    intent = intent_body(**{"from": {"resource": "vm"}, "to": {"resource": "f"}})
    mesh = mesh_of(intent, machine(), function(), agentless=(VM, FUNCTION))
    _, decision = settled(mesh)
    assert "does not translate between them" in decision.unserved[ORDERS, VM].message
