"""Which gateways are neighbours over which network and by which keys, and where labels lie."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import LabelAllocation, LabelState, Route, key_name
from foremesh.model.config import HopPeer
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member
from foremesh.model.registration import HopInterface, PublicKeys, Registration
from foremesh.model.resource import GatewayUnderlay
from foremesh.network.links import Links, route_of
from foremesh.routing.adjacency import adjacency
from network.scene import gateway

BLOCKS = Blocks()
OLD, NEW = "old-key-of-", "new-key-of-"


def member(name: str, number: int, *, keys: Sequence[str] = (OLD,), underlays: Sequence[str] = ()) -> Member:
    """A gateway whose hop keys are these, the newest last; the second answers at port 51822."""
    resource = gateway(name, number=number)
    assert resource.spec.gateway is not None
    further = tuple(GatewayUnderlay(name=one, endpoint=f"10.9.0.{number}:51824") for one in underlays)
    spec = msgspec.structs.replace(
        resource.spec, gateway=msgspec.structs.replace(resource.spec.gateway, underlays=further)
    )
    hops = tuple(
        HopInterface(key=named(kind, name), underlay=underlay, port=51822 if place else None)
        for place, kind in reversed(list(enumerate(keys)))
        for underlay in ("", *underlays)
    )
    return Member(
        id=resource.id,
        resource=msgspec.structs.replace(resource, spec=spec),
        registration=Registration(
            resource=resource.id,
            keys=PublicKeys(hop=named(keys[-1], name), circuit="", attach=""),
            hops=hops if len(keys) > 1 or underlays else (),
        ),
        number=number,
    )


def named(kind: str, name: str) -> str:
    """A key that differs from others in its first characters."""
    return f"{name}-{kind}{name}"


def label(number: int, *path: str, underlays: Sequence[str] = (), keys: Sequence[str] = ()) -> LabelAllocation:
    return LabelAllocation(
        number=number,
        state=LabelState.ACTIVE,
        path=tuple(f"mesh/{name}" for name in path),
        underlays=tuple(underlays),
        keys=tuple(key_name(named(kind, name)) for kind, name in zip(keys, path, strict=False)),
    )


def peers(
    members: Sequence[Member], *labels: LabelAllocation, links: Sequence[LinkId] | None = None
) -> Mapping[str, tuple[HopPeer, ...]]:
    found = adjacency(one.resource for one in members) if links is None else links
    made = Links({one.id: one for one in members}, found, labels, BLOCKS)
    return {one.id: made.peers(one.id) for one in members}


def test_a_link_over_each_network_and_a_label_on_the_one_it_names() -> None:
    both = [member(name, n, underlays=("mpls",)) for n, name in enumerate("ab", 1)]
    seen = peers(both, label(5, "a", "b", underlays=("mpls",)), label(6, "a", "b", underlays=("internet",)))
    assert [(p.underlay, p.endpoint, p.labels, p.hop_address) for p in seen["mesh/a"]] == [
        ("internet", "203.0.113.2:51820", (BLOCKS.label_pair(6)[1],), BLOCKS.hop_address(2)),
        ("mpls", "10.9.0.2:51824", (BLOCKS.label_pair(5)[1],), BLOCKS.hop_address(2)),
    ]
    assert [p.labels for p in seen["mesh/b"]] == [(BLOCKS.label_pair(6)[0],), (BLOCKS.label_pair(5)[0],)]


def test_a_label_that_names_no_network_takes_the_first() -> None:
    both = [member(name, n, underlays=("mpls",)) for n, name in enumerate("ab", 1)]
    internet, mpls = peers(both, label(5, "a", "b"))["mesh/a"]
    assert (internet.labels, mpls.labels) == ((BLOCKS.label_pair(5)[1],), ())


def test_a_label_keeps_a_link_that_nobody_lists_any_more() -> None:
    both = [member("a", 1), member("b", 2)]
    (peer,) = peers(both, label(5, "a", "b", underlays=("mpls",)), links=())["mesh/a"]
    assert (peer.underlay, peer.labels) == ("mpls", (BLOCKS.label_pair(5)[1],))


def test_while_keys_change_each_label_has_the_peers_of_its_own_keys() -> None:
    members = [member("a", 1), member("t", 2, keys=(OLD, NEW)), member("b", 3)]
    seen = peers(members, label(5, "a", "t", "b", keys=(OLD, OLD, OLD)), label(6, "a", "t", "b", keys=(OLD, NEW, OLD)))
    towards = {(p.gateway, p.public_key): p for p in seen["mesh/a"]}
    old, new = towards["mesh/t", named(OLD, "t")], towards["mesh/t", named(NEW, "t")]
    assert (old.labels, old.endpoint) == ((BLOCKS.label_pair(5)[1],), "203.0.113.2:51820")
    assert (new.labels, new.endpoint) == ((BLOCKS.label_pair(6)[1],), "203.0.113.2:51822")
    assert (old.hop_address, new.hop_address) == (BLOCKS.hop_address(2), None), "probed where labels are"
    mine = {(p.gateway, p.own_key): p.labels for p in seen["mesh/t"]}
    assert mine["mesh/a", named(OLD, "t")] == (BLOCKS.label_pair(5)[0],)
    assert mine["mesh/b", named(NEW, "t")] == (BLOCKS.label_pair(6)[1],)


def test_a_link_without_labels_is_probed_by_its_newest_keys() -> None:
    (peer,) = peers([member("a", 1), member("b", 2, keys=(OLD, NEW))])["mesh/a"]
    assert (peer.public_key, peer.hop_address) == (named(NEW, "b"), BLOCKS.hop_address(2))


@pytest.mark.parametrize("keys", [(OLD,), (NEW,), (OLD, NEW)], ids=["kept", "lost-and-made-anew", "changing"])
def test_a_key_that_is_gone_is_replaced_by_the_newest(keys: Sequence[str]) -> None:
    seen = peers([member("a", 1), member("b", 2, keys=keys)], label(5, "a", "b", keys=(OLD, OLD)))
    carrying = [p.public_key for p in seen["mesh/a"] if p.labels]
    assert carrying == [named(keys[0], "b")]


@pytest.mark.parametrize("rotating", [c for n in range(4) for c in itertools.combinations("atb", n)], ids="+".join)
def test_both_ends_of_every_tunnel_agree(rotating: tuple[str, ...]) -> None:
    members = [
        member(name, n, keys=(OLD, NEW) if name in rotating else (OLD,), underlays=("mpls",))
        for n, name in enumerate("atb", 1)
    ]
    ways = itertools.product(*((OLD, NEW) if name in rotating else (OLD,) for name in "atb"))
    labels = [label(n, "a", "t", "b", underlays=("internet", "mpls"), keys=keys) for n, keys in enumerate(ways)]
    seen = peers(members, *labels)
    tunnels = {(own, p.own_key, p.gateway, p.public_key, p.underlay): p for own, found in seen.items() for p in found}
    assert len(tunnels) == sum(map(len, seen.values())), "no tunnel twice"
    for (own, own_key, far, far_key, underlay), peer in tunnels.items():
        back = tunnels[far, far_key, own, own_key, underlay]
        assert (back.hop_address is None) == (peer.hop_address is None)
        assert set(map(BLOCKS.label_number, back.labels)) == set(map(BLOCKS.label_number, peer.labels))
    for own, found in seen.items():
        probed = [(p.gateway, p.underlay) for p in found if p.hop_address]
        assert sorted(probed) == sorted({(p.gateway, p.underlay) for p in found}), own
        addresses = [address for p in found for address in p.labels]
        assert len(addresses) == len(set(addresses)), own


def test_a_route_names_what_is_newest_now() -> None:
    members = {
        one.id: one
        for one in (member("a", 1, keys=(OLD, NEW), underlays=("mpls",)), member("b", 2, underlays=("mpls",)))
    }
    ends = ("mesh/a", "mesh/b")
    over = [LinkId(src="mesh/a", dst="mesh/b", underlay="mpls")]
    keys = (key_name(named(NEW, "a")), key_name(named(OLD, "b")))
    assert route_of(ends, members, over) == Route(gateways=ends, underlays=("mpls",), keys=keys)
    assert route_of(ends, members).underlays == ("internet",)
