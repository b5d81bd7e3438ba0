"""How large a packet may be: the ends own that, since a message of a gateway on the way would not reach them."""

from __future__ import annotations

from itertools import pairwise

from foremesh.model.circuit import LabelAllocation
from foremesh.model.intent import Encryption
from foremesh.model.link import LinkId
from foremesh.model.mesh import PlacedCircuit
from foremesh.network.programmed import Applied, ends_of

HOP_MTU = 1420
"""Bytes: WireGuard over an IPv6 underlay of 1500; over IPv4 it leaves 20 to spare."""
WIREGUARD_OVERHEAD = 60
"""Bytes that an inner WireGuard adds over IPv4, which labels are: IP 20, UDP 8, header and tag 32."""
VXLAN_OVERHEAD = 50
"""Bytes that VXLAN adds over IPv4: IP 20, UDP 8, VXLAN 8, the inner Ethernet header 14."""
MIN_MTU = 1280
"""Bytes: what IPv6 needs, and what many networks assume to pass."""
LEAST_LINK_MTU = MIN_MTU + WIREGUARD_OVERHEAD
"""Bytes that a link has to carry whole for any circuit to run over it."""


def overhead(encryption: Encryption) -> int:
    """Bytes that a circuit adds to every packet."""
    return WIREGUARD_OVERHEAD if encryption is Encryption.END_TO_END else VXLAN_OVERHEAD


def inner_mtu(encryption: Encryption, path_mtu: int | None = None) -> int:
    """What fits into a circuit, in bytes.

    Args:
        path_mtu: What its labels carry (``PlacedCircuit.path_mtu``); None: what links usually do.
    """
    return max(MIN_MTU, (HOP_MTU if path_mtu is None else path_mtu) - overhead(encryption))


def path_mtu(circuit: PlacedCircuit, applied: Applied) -> int:
    """The largest packet, in bytes, that all labels of a circuit carry whole, whatever their state: a Staging one
    counts before anybody sends on it, one that is left while packets are still under way.

    A link that was not measured, or is not measured any more, is taken to carry what links usually do, but what the
    ends were told is not raised for it.
    """
    measured = [link_mtu(link, applied) for label in circuit.labels for link in links_of(label)]
    carried = min([HOP_MTU, *(mtu for mtu in measured if mtu is not None)])
    if None not in measured:
        return carried
    configs = (applied.configs.get(end) for end in ends_of(circuit.spec))
    told = (one.mtu for config in configs if config for one in config.circuits if one.circuit == circuit.id)
    return min([carried, *(mtu + overhead(circuit.spec.encryption) for mtu in told)])


def link_mtu(link: LinkId, applied: Applied) -> int | None:
    """The largest packet, in bytes, that a link carries whole, by the less fortunate of its two gateways; None if
    neither has measured it."""
    found = []
    for own, far in ((link.src, link.dst), (link.dst, link.src)):
        beacon = applied.beacons.get(own)
        report = beacon.links.get(f"{far}/{link.underlay}") if beacon else None
        if report is not None and report.mtu is not None:
            found.append(report.mtu)
    return min(found, default=None)


def links_of(label: LabelAllocation) -> tuple[LinkId, ...]:
    """The links that a label runs over, from its first gateway on."""
    steps = pairwise(label.path)
    if not label.underlays:
        return tuple(LinkId(src=src, dst=dst) for src, dst in steps)
    return tuple(
        LinkId(src=src, dst=dst, underlay=underlay) for (src, dst), underlay in zip(steps, label.underlays, strict=True)
    )
