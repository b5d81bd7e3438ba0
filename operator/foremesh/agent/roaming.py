"""Notices that the host sends from another address than before.

WireGuard remembers the address that it sends a peer's packets from. When that goes, ``wireguard-go`` needs 15 seconds
of silence to forget it. Told the peer's endpoint once more, it asks the routes at once; and the peer, which knows it by
its key, answers to where it is heard from. So an edge that moves is found again by its next packet.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from foremesh.agent.changes import ADDRESSES, ROUTES, subscribed

BURST_S = 0.05
"""Seconds to let a burst of changes pass: an address comes with its routes."""


def source_towards(endpoint: str) -> str | None:
    """The own address that ``address:port`` is sent to from, by the routes; None if there is no way now."""
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))  # nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


class Sources:
    """The own address towards each endpoint, as of the last look."""

    def __init__(self) -> None:
        self._known: Mapping[str, str] = {}

    def moved(self, endpoints: Iterable[str]) -> frozenset[str]:
        """Take a look; the endpoints, of those known, that are sent to from another address than at the last one."""
        before = self._known
        seen = {endpoint: source_towards(endpoint) or before.get(endpoint, "") for endpoint in set(endpoints)}
        self._known = {endpoint: source for endpoint, source in seen.items() if source}
        return frozenset(endpoint for endpoint in self._known if before.get(endpoint, seen[endpoint]) != seen[endpoint])

    @property
    def stale(self) -> bool:
        """Whether a look now would find that something has moved."""
        return any(source_towards(endpoint) not in (source, None) for endpoint, source in self._known.items())


class Watch:
    """Tells when the host's addresses or routes change; a context."""

    def __enter__(self) -> Self:
        self._kernel = subscribed(ADDRESSES, ROUTES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kernel.close()

    async def change(self) -> None:
        """Return when something has changed since the last call."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_recv(self._kernel, 1 << 16)
            await asyncio.sleep(BURST_S)
            while True:
                self._kernel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            return  # more changes than the kernel keeps; what they were does not matter
