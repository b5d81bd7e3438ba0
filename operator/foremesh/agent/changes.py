"""Whether the network of this host has changed, as the kernel tells: a look at it takes several programs, and is taken
only then.

Source: rtnetlink(7); linux/rtnetlink.h, linux/neighbour.h and linux/pkt_sched.h.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Collection

from foremesh.agent.failover.netlink import messages

ADDRESSES, ROUTES = 5, 7
GROUPS = (1, 3, 4, ADDRESSES, ROUTES, 8)
"""What is told of: links, neighbours, traffic control, IPv4 addresses, routes and rules."""

NEIGHBOURS, TRAFFIC_CONTROL = range(28, 30), range(36, 46)
"""Messages about one interface, whose number they hold: resolving a neighbour somewhere else is no change."""
NUMBER, NUMBER_AT = struct.Struct("=i"), 4


def subscribed(*groups: int) -> socket.socket:
    """A socket, not blocking, on which the kernel tells of these groups.

    Raises:
        OSError: If it does not.
    """
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    try:
        kernel.bind((0, sum(1 << (group - 1) for group in groups)))
    except OSError:
        kernel.close()
        raise
    return kernel


class Changes:
    """Counts them, of the network namespace in which it is made."""

    def __init__(self) -> None:
        self._count = 0
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._socket = subscribed(*GROUPS)

    def count(self, own: Collection[int]) -> int | None:
        """A number that is another one after every change of a link, an address, a route or a rule, and of a neighbour
        or a filter of ``own`` interfaces, by their number. None: not known."""
        before = self._count
        while self._socket is not None:
            try:
                octets = self._socket.recv(1 << 16)
            except BlockingIOError:
                return self._count
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    break
                self._count += 1  # there were more than there was room for
            else:
                if self._count == before:  # else they are a flood, and one that matters is enough
                    self._count += any(matters(kind, content, own) for _, kind, content in messages(octets))
        return None


def matters(kind: int, content: bytes, own: Collection[int]) -> bool:
    """Whether a message tells of a change that a look would show."""
    if kind in NEIGHBOURS or kind in TRAFFIC_CONTROL:
        return NUMBER.unpack_from(content, NUMBER_AT)[0] in own
    return True
