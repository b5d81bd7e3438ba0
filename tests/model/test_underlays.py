"""On which networks a gateway sits, and which links follow."""

from __future__ import annotations

import pytest

from foremesh.model.link import LinkId
from foremesh.model.meta import Meta
from foremesh.model.resource import GatewaySpec, GatewayUnderlay, Resource, ResourceSpec, ResourceType, Role
from foremesh.routing.adjacency import adjacency


def gateway(name: str, network: str = "", role: Role = Role.CORE, *, dialled: bool = True, **others: bool) -> Resource:
    """``others``: further networks, and whether the gateway can be dialled there."""
    underlays = tuple(GatewayUnderlay(name=n, endpoint=f"{n}.example.com:1" if d else None) for n, d in others.items())
    spec = GatewaySpec(role=role, endpoint=f"{name}.example.com:1" if dialled else None, underlays=underlays)
    return Resource(
        meta=Meta(name=name, namespace="mesh"),
        spec=ResourceSpec(type=ResourceType.GATEWAY, network=network, gateway=spec),
    )


def test_the_own_network_comes_first_and_has_a_name_without_being_given_one() -> None:
    assert list(gateway("a", mpls=False).underlays.items()) == [
        ("internet", "a.example.com:1"),
        ("mpls", None),
    ]


@pytest.mark.parametrize(
    ("one", "other", "underlays"),
    [
        pytest.param(gateway("a", mpls=True), gateway("b", mpls=True), ["internet", "mpls"], id="two-in-common"),
        pytest.param(gateway("a", "mpls"), gateway("b", mpls=True), ["mpls"], id="own-of-one-and-further-of-the-other"),
        pytest.param(gateway("a", mpls=True), gateway("b"), ["internet"], id="further-network-of-one-alone"),
        pytest.param(gateway("a", "lab", mpls=True), gateway("b", "home"), [], id="none-in-common"),
        pytest.param(
            gateway("a", dialled=False, mpls=True),
            gateway("b", dialled=False, mpls=False),
            ["mpls"],
            id="reachable-on-one-of-two",
        ),
        pytest.param(
            gateway("a", role=Role.EDGE, mpls=True), gateway("b", role=Role.EDGE, mpls=True), [], id="edges-never"
        ),
    ],
)
def test_a_link_for_every_network_in_common(one: Resource, other: Resource, underlays: list[str]) -> None:
    links = adjacency((one, other))
    assert links == tuple(
        LinkId(src=src, dst=dst, underlay=underlay)
        for src, dst in (("mesh/a", "mesh/b"), ("mesh/b", "mesh/a"))
        for underlay in underlays
    )
