"""Pairs of interfaces that gather packets of a flow on their way into userspace WireGuard.

A tunnel device takes a train of packets as one, unless it was wrapped by VXLAN: that it has cut up, and WireGuard then
reads, encrypts and sends packet by packet. So circuits that are encrypted hop by hop take a detour through a pair: the
kernel cuts the train up at the entrance, generic receive offload puts the packets of one flow together again at the
exit, as plain UDP, and from there they are handed to the hop interface. To whoever relays and unwraps them, they stay
together.

They are put together as long as the kernel sees nothing but UDP in them: nobody may listen here on the port that they
are sent to (``state.vxlan_port_of``). Where WireGuard takes no trains at all, they pass a pair as they are.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
from functools import lru_cache

from foremesh.agent import ethtool
from foremesh.agent.host import COMMAND_TIMEOUT_S, CommandFailed, HostError, run_command, write_sysctl
from foremesh.agent.state import HOP_MTU, Names

log = logging.getLogger(__name__)

TRAINS = "tx-udp-segmentation"
"""What the kernel calls a device's taking trains of UDP as one, as current userspace WireGuard's does."""

MAC = "02:00:00:00:00:03"
"""Of both ends: what enters is for whoever is at the exit."""

MERGE = "rx-udp-gro-forwarding"
"""What the kernel calls putting together UDP that is not for this host (since 5.12)."""


def alias(hop: str, index: int) -> str:
    """What is written on an entrance last, when everything works: a hop interface made anew has another number."""
    return f"for {hop} {index}"


async def create(name: str, leaving: str, hop: str) -> None:
    """Make a pair, its entrance down.

    Args:
        name: The entrance.
        leaving: The exit.
        hop: Where packets are handed to.

    Raises:
        HostError: If it cannot be made, or is there already.
    """
    try:
        number = socket.if_nametoindex(hop)
    except OSError as error:
        raise HostError(f"interface {hop} is not there ({error}); no packets are gathered for it") from error
    for argv in _making(name, leaving, hop):
        await run_command(argv)
    if ethtool.is_on(hop, TRAINS):
        _prepare(name, leaving)
    await run_command(["ip", "link", "set", "dev", leaving, "up"])
    await run_command(["ip", "link", "set", "dev", name, "alias", alias(hop, number)])


def _making(name: str, leaving: str, hop: str) -> tuple[list[str], ...]:
    # Neighbours are not asked for: there is one way out of a pair.
    end = f"mtu {HOP_MTU} address {MAC} arp off"
    return (
        f"ip link add name {name} {end} type veth peer name {leaving} {end}".split(),
        f"tc qdisc add dev {leaving} clsact".split(),
        f"tc filter add dev {leaving} ingress protocol ip u32 match u32 0 0"
        f" action mirred egress redirect dev {hop}".split(),
    )


def _prepare(name: str, leaving: str) -> None:
    for one in (name, leaving):
        with contextlib.suppress(HostError):  # a host without IPv6 has nothing to turn off
            write_sysctl(f"net.ipv6.conf.{one}.disable_ipv6", "1")
    # Without it, nothing is cut up at the entrance, and checksums inside stay open that nobody would complete.
    ethtool.leave_checksums(name, False)
    ethtool.receive_offload(leaving)
    ethtool.turn_on(leaving, MERGE)


@lru_cache(maxsize=1)
def supported(names: Names) -> bool:
    """Whether this host's kernel can do all that, by trying it once, on a pair of the agent's own name."""
    name, leaving = names.gather(f"{names.prefix}-htry")
    try:
        _remove(name)  # of one that was killed while it tried
        for argv in _making(name, leaving, "lo"):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
            if done.returncode:
                raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
        _prepare(name, leaving)
    except (OSError, subprocess.TimeoutExpired, HostError) as error:
        log.warning("circuits encrypted hop by hop carry less: packets cannot be gathered error=%s", error)
        return False
    finally:
        _remove(name)
    return True


def _remove(name: str) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["ip", "link", "delete", "dev", name], capture_output=True, timeout=COMMAND_TIMEOUT_S)
