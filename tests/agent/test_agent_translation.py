"""What own addresses and machines without agents make of a host: rules, flows, refusals."""

from __future__ import annotations

import struct

import msgspec
import pytest

from agent.configs import BLOCKS, FAKE_KEYS, configs, resource, workload_address
from agent.fake_host import as_observed
from foremesh.agent import nft, rulesets
from foremesh.agent.conntrack import Flow, is_stale, parse
from foremesh.agent.desired import ConfigRefused, Local, desired
from foremesh.agent.diff import ForgetFlows, SetNames, diff
from foremesh.agent.state import Desired, Observed
from foremesh.agent.translation import endpoint_of
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import Behind, GatewayConfig, Name, OwnAddress
from foremesh.model.resource import Protocol
from network.golden import assert_text

WA, WB = workload_address("wa"), workload_address("wb")
MACHINE = BLOCKS.workload_address(1, 7)
LAN, OWN = "10.0.0.7", "10.0.0.9"
TCP = OwnAddress(own=OWN, mesh=WB, protocol=Protocol.TCP, ports=(5432,))
ICMP = OwnAddress(own=OWN, mesh=WB, protocol=Protocol.ICMP)
CALLED = FirewallRule(protocol=Protocol.TCP, ports=(5432,), sources=(f"{WA}/32",), destinations=(f"{WB}/32",))


def workload(**fields: object) -> GatewayConfig:
    return msgspec.structs.replace(configs()["wa"], **fields)


def gateway(target: str = LAN, **fields: object) -> GatewayConfig:
    machine = Behind(resource=resource("m"), address=MACHINE, target=target, own_addresses=(TCP, ICMP))
    return msgspec.structs.replace(configs()["a"], behind=(machine,), **fields)


def state(config: GatewayConfig, **endpoints: str | None) -> Desired:
    keys = FAKE_KEYS[config.gateway.partition("/")[2]]
    return desired(config, Local(public_keys=keys, endpoints=endpoints))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (workload(own_addresses=(TCP, ICMP), own_address=OWN, called=(CALLED,)), "workload-own-addresses"),
        (gateway(), "gateway-of-a-machine"),
    ],
)
def test_tables(config: GatewayConfig, name: str) -> None:
    tables = state(config).tables
    shown = [nft.render(tables[key], None) for key in (rulesets.GUARD, rulesets.TRANSLATE)]
    assert_text(f"agent-{name}.nft", "\n".join(shown))


def test_an_own_address_without_a_mesh_address_is_stopped_and_not_translated() -> None:
    tables = state(workload(own_addresses=(msgspec.structs.replace(TCP, mesh=None),))).tables
    assert "dnat" not in nft.render(tables[rulesets.TRANSLATE], None)
    assert f'oifname != "lo" ip daddr {OWN} tcp dport {{ 5432 }}' in nft.render(tables[rulesets.GUARD], None)


def test_a_transit_translates_nothing() -> None:
    assert rulesets.TRANSLATE not in state(configs()["t"]).tables


@pytest.mark.parametrize("address", [None, "127.0.0.1", "169.254.169.254", WB])
def test_a_name_that_leads_to_no_machine_is_not_served(address: str | None) -> None:
    config = gateway("f.example")
    found = {endpoint_of("f.example"): f"{address}:0" if address else None}
    assert rulesets.TRANSLATE not in state(config, **found).tables
    assert rulesets.TRANSLATE in state(config, **{endpoint_of("f.example"): f"{LAN}:0"}).tables


@pytest.mark.parametrize(
    "fields",
    [
        {"own_addresses": (TCP, msgspec.structs.replace(TCP, mesh=WA))},
        {"own_addresses": (msgspec.structs.replace(TCP, ports=()),)},
        {"own_addresses": (msgspec.structs.replace(TCP, own="127.0.0.1"),)},
        {"own_addresses": (msgspec.structs.replace(TCP, mesh="nowhere"),)},
        {"own_address": "10.0.0.0/8"},
        {"names": (Name(name="localhost", address=WB),)},
        {"names": (Name(name="a.mesh\n10.0.0.1 b", address=WB),)},
        {"names": (Name(name="db.shop.mesh", address="there"),)},
    ],
    ids=[
        "two-owners-of-a-port",
        "every-port",
        "loopback",
        "no-mesh-address",
        "own-address-is-a-prefix",
        "name-of-one-part",
        "name-of-two-lines",
        "name-of-no-address",
    ],
)
def test_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigRefused):
        state(workload(**fields))


def test_flows_are_forgotten_when_translation_changes_and_only_then() -> None:
    before, after = (state(workload(own_addresses=own)) for own in ((), (TCP,)))
    for have, want in ((before, after), (after, before), (after, Desired())):
        forgotten = [change for change in diff(as_observed(have), want) if isinstance(change, ForgetFlows)]
        assert forgotten == [ForgetFlows(want.flows)]
    assert diff(as_observed(after), after) == ()


def test_names_are_written_where_there_is_a_file_for_them() -> None:
    wanted = state(workload(names=(Name(name="db.shop.mesh", address=WB),)))
    assert SetNames(wanted.names) in diff(Observed(names=()), wanted)
    assert not any(isinstance(change, SetNames) for change in diff(Observed(), wanted))
    assert SetNames(()) in diff(Observed(names=wanted.names), Desired())


def flow(destination: str, answered_by: str, source: str = "10.0.0.5", protocol: str = "tcp", port: int = 5432) -> Flow:
    return Flow(source, destination, protocol, port, answered_by)


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (flow(OWN, WB), False),
        (flow(OWN, OWN), True),
        (flow(OWN, WA), True),
        (flow(OWN, OWN, port=80), False),
        (flow(OWN, WB, port=80), True),
        (flow(OWN, OWN, protocol="udp"), False),
        (flow(OWN, WB, protocol="icmp", port=0), False),
        (flow("10.96.0.1", "10.0.0.8"), False),
        (flow(WB, WB), False),
    ],
    ids=[
        "translated-as-wanted",
        "began-before-it-was-translated",
        "translated-to-another",
        "another-port-untouched",
        "a-port-no-longer-translated",
        "another-protocol-untouched",
        "icmp-has-no-port",
        "translated-by-others",
        "by-mesh-address",
    ],
)
def test_flows_at_the_source(one: Flow, stale: bool) -> None:
    assert is_stale(one, state(workload(own_addresses=(TCP, ICMP))).flows) is stale


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (flow(WB, OWN, WA), False),
        (flow(WB, WB, WA), True),
        (flow(WB, WB, "100.64.9.9"), False),
        (flow(WB, OWN, "100.64.9.9"), True),
    ],
    ids=["handed-over", "began-before", "of-somebody-else", "of-somebody-who-was-asked-before"],
)
def test_flows_at_the_destination(one: Flow, stale: bool) -> None:
    config = msgspec.structs.replace(configs()["wb"], own_address=OWN, called=(CALLED,))
    assert is_stale(one, state(config).flows) is stale


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (flow(MACHINE, LAN, WB, port=80), False),
        (flow(MACHINE, "10.0.0.8", WB, port=80), True),
        (flow(OWN, WB, LAN), False),
        (flow(OWN, OWN, LAN), True),
        (flow(OWN, OWN, "10.0.0.8"), False),
    ],
    ids=["to-the-machine", "to-where-it-was", "by-the-machine", "by-the-machine-before", "by-its-neighbour"],
)
def test_flows_of_a_machine_behind_its_gateway(one: Flow, stale: bool) -> None:
    assert is_stale(one, state(gateway()).flows) is stale


def test_a_flow_is_read_as_the_kernel_writes_it() -> None:
    """Attributes in the kernel's order, with one that is unknown and a zone."""

    def attribute(kind: int, value: bytes, nested: bool = False) -> bytes:
        return struct.pack("=HH", 4 + len(value), kind | (0x8000 if nested else 0)) + value + b"\0" * (-len(value) % 4)

    def side(source: str, destination: str, sport: int, dport: int) -> bytes:
        addresses = b"".join(attribute(n, bytes(map(int, a.split(".")))) for n, a in ((1, source), (2, destination)))
        ports = b"".join(attribute(n, struct.pack(">H", p)) for n, p in ((2, sport), (3, dport)))
        return attribute(1, addresses, True) + attribute(2, attribute(1, b"\x11") + ports, True)

    there, back = side("10.0.0.5", OWN, 40000, 53), side(WB, WA, 53, 40000)
    identifier, zone = attribute(12, struct.pack(">I", 77)), attribute(18, struct.pack(">H", 3))
    body = attribute(1, there, True) + attribute(2, back, True) + attribute(99, b"new") + identifier + zone
    found = parse(body)
    assert found == Flow("10.0.0.5", OWN, "udp", 53, WB, attribute(1, there, True) + identifier + zone)
    assert parse(attribute(1, attribute(1, attribute(3, b"\0" * 16), True), True)) is None
