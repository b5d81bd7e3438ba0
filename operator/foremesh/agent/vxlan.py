"""VXLAN interfaces: the inner tunnels of circuits that are encrypted hop by hop.

Point to point: the far end is fixed, its MAC is known, nothing is learnt and nobody is asked. Encryption is the links',
which they run inside; what else reaches their UDP port is dropped by ``foremesh_hop``.

Whole trains of packets pass the gateway as one if they are cut and summed up only after they were wrapped. A checksum
yet to be completed survives a rewritten header only where the new addresses add up to what the old ones did
(``model.addresses``): nftables cannot tell it from a finished one, and TCP hangs. Where they do not, packets are
finished before they are wrapped.
"""

from __future__ import annotations

import contextlib

from foremesh.agent import ethtool
from foremesh.agent.host import HostError, run_command, write_sysctl
from foremesh.agent.state import Interface, Vxlan, vxlan_port_of
from foremesh.model.addresses import neutral
from foremesh.model.config import CircuitEnd

MACS = {True: "02:00:00:00:00:01", False: "02:00:00:00:00:02"}
"""MAC of each end of every circuit, the initiator's first: locally administered, and nobody but the far end sees it."""


def far_mac(mac: str) -> str:
    """The MAC of the other end."""
    return MACS[mac != MACS[True]]


def interface(end: CircuitEnd, mtu: int) -> Interface:
    """The interface of one end of a circuit; the route's next hop is the far circuit address."""
    return Interface(
        public_key="",
        mtu=mtu,
        vxlan=Vxlan(
            end.class_number,
            end.local_address,
            end.remote_address,
            MACS[end.initiator],
            vxlan_port_of(end.class_number, initiator=end.initiator),
            vxlan_port_of(end.class_number, initiator=not end.initiator),
        ),
        neighbours=frozenset({(end.remote_address, MACS[not end.initiator])}),
        offload=all(neutral((end.local_address, end.remote_address), (label.own, label.far)) for label in end.labels),
    )


async def create(name: str, wanted: Vxlan) -> None:
    """Make an interface, down.

    Raises:
        HostError: If it cannot be made, or is there already.
    """
    argv = f"ip link add name {name} address {wanted.mac} type vxlan id {wanted.identifier} local {wanted.local}"
    await run_command(f"{argv} remote {wanted.remote} dstport {wanted.port} nolearning".split())


async def prepare(name: str, wanted: Vxlan, *, offload: bool) -> None:
    """Say where the far end listens, and whether checksums and cutting up are left until packets are wrapped.

    Every new interface comes by here before it is up, also if the agent was killed after it had made it. So here it
    is kept from sending router solicitations into the circuit, too; a host without IPv6 has nothing to turn off.

    Raises:
        HostError: If it cannot be said.
    """
    with contextlib.suppress(HostError):
        write_sysctl(f"net.ipv6.conf.{name}.disable_ipv6", "1")
    ethtool.leave_checksums(name, offload)
    argv = f"bridge fdb replace {far_mac(wanted.mac)} dev {name} dst {wanted.remote} port {wanted.far_port} permanent"
    await run_command(argv.split())
