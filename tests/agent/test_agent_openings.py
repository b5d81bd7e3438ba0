"""Who gives way when both ends of a tunnel begin its session at the same moment."""

from __future__ import annotations

from itertools import combinations

import msgspec
import pytest

from agent.configs import BLOCKS, FAKE_KEYS, UNDERLAY, configs, resource
from foremesh.agent import rulesets
from foremesh.agent.desired import Local, desired
from foremesh.agent.hops import OWN, Underlay
from foremesh.agent.openings import yields_to
from foremesh.agent.state import port_of
from foremesh.model.config import GatewayConfig, TunnelEnd
from foremesh.model.intent import Encryption

DIALLED, DIALS_OUT = ({OWN: Underlay((51820, 51822), dialled=dialled)} for dialled in (True, False))
CIRCUIT_ADDRESSES = dict(zip("ab", BLOCKS.circuit_pair(9), strict=True))


def local(host: str, *, dialled: bool = True, endpoints: dict[str, str | None] | None = None) -> Local:
    underlays = DIALLED if dialled else DIALS_OUT
    return Local(public_keys=FAKE_KEYS[host], underlays=underlays, endpoints=endpoints or {})


def places(host: str) -> set[tuple[str, int]]:
    """Where others find the tunnels of a host."""
    found = {(UNDERLAY[host], 51820), (UNDERLAY[host], 51821)}
    return found | ({(CIRCUIT_ADDRESSES[host], port_of(1))} if host in CIRCUIT_ADDRESSES else set())


def links(one: str, other: str) -> int:
    """Tunnels of the configs between two hosts."""
    return int({one, other} in ({"a", "t"}, {"b", "t"}, {"a", "b"}, {"a", "wa"}, {"b", "wb"}))


def test_exactly_one_of_two_ends_gives_way() -> None:
    made = configs()
    for one, other in combinations(made, 2):
        ways = [
            place
            for here, there in ((one, other), (other, one))
            for place in yields_to(made[here], local(here))
            if place in places(there)
        ]
        assert len(ways) == links(one, other), (one, other)


def test_who_cannot_be_dialled_gives_way_to_all() -> None:
    config = configs()["a"]
    link = (UNDERLAY["t"], 51820)
    assert link not in yields_to(config, local("a"))  # "a" comes before "t"
    assert link in yields_to(config, local("a", dialled=False))


@pytest.mark.parametrize("endpoint", ["[2001:db8::1]:51820", None], ids=["of-ipv6", "unknown"])
def test_who_is_not_at_a_known_ipv4_address_is_not_waited_for(endpoint: str | None) -> None:
    config = configs()["wa"]
    (uplink,) = config.uplinks
    assert yields_to(config, local("wa")) == ((UNDERLAY["a"], 51821),)
    assert yields_to(config, local("wa", endpoints={uplink.endpoint: endpoint})) == ()


def test_names_count_as_the_address_that_they_have_now() -> None:
    config = msgspec.structs.replace(
        configs()["wa"], uplinks=(msgspec.structs.replace(configs()["wa"].uplinks[0], endpoint="gw.example.com:51821"),)
    )
    known = local("wa", endpoints={"gw.example.com:51821": "203.0.113.77:51821"})
    assert yields_to(config, known) == (("203.0.113.77", 51821),)


def test_every_tunnel_of_a_circuit_counts_and_vxlan_has_none() -> None:
    def inner(config: GatewayConfig) -> set[tuple[str, int]]:
        return {place for place in yields_to(config, local("b")) if place[0] == CIRCUIT_ADDRESSES["a"]}

    config = configs()["b"]
    (end,) = config.circuits
    second = msgspec.structs.replace(end, second=TunnelEnd(slot=1, public_key=end.public_key))
    changing = msgspec.structs.replace(config, circuits=(second,))
    assert inner(changing) == {(CIRCUIT_ADDRESSES["a"], port_of(1)), (CIRCUIT_ADDRESSES["a"], port_of(1, 1))}
    assert inner(configs(encryption=Encryption.HOP_BY_HOP)["b"]) == set()


def test_a_host_that_gives_way_to_nobody_has_no_table_for_it() -> None:
    made = configs()
    assert rulesets.YIELD not in desired(made["a"], local("a")).tables
    assert rulesets.YIELD in desired(made["b"], local("b")).tables
    assert yields_to(made["a"], local("a")) == ()
    assert made["a"].gateway == resource("a")
