"""How links answer to load, and which way the underlay sends traffic by itself. It knows nothing of Foremesh.

Queueing follows the M/M/1/K queue: smooth through saturation, bounded by the buffer, and with a loss that goes with it.
Its customers are bursts, not packets.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from foremesh.model.series import Floats

BURSTS = 100
"""Bursts that fill a buffer (K of the queue). A 40 ms buffer then waits 0.9 ms at 70 % utilisation, 3.6 ms at 90 % and
20 ms at 100 %: next to nothing below 70 %, as measured on backbones (Papagiannaki et al., "Measurement and Analysis of
Single-Hop Delay on an IP Backbone Network", 2003), and 30 to 50 ms on a link that is kept full (Lee et al., "Operating
a Network Link at 100%", PAM 2011)."""

BUFFER_MS = (20.0, 60.0)
"""Milliseconds that a full buffer takes to drain, uniform over directed links. Lee et al. (2011) found 30 to 50 ms
added by a full link; delay plateaus of congested links between providers are of this size (Luckie et al., "Challenges
in Inferring Internet Interdomain Congestion", IMC 2014; Dhamdhere et al., "Inferring Persistent Interdomain
Congestion", SIGCOMM 2018)."""

INELASTIC = 0.1
"""Share of offered traffic above capacity that is still sent: some nine tenths of bytes are TCP's, which gives way.
With it a link offered 20 % too much loses 2 % and not 17 %; loss on a full link is surprisingly low (Lee et al.,
2011)."""

MOST_USED = 3.0
"""Utilisation at which tables end: more is as bad."""


def _tables() -> tuple[Floats, Floats, Floats]:
    """Utilisation, and for each the share of the buffer that is full in the mean and the share of packets lost."""
    used = np.unique(np.concatenate([np.linspace(0.0, 0.8, 161), np.linspace(0.8, 1.2, 401), [1.5, 2.0, MOST_USED]]))
    offered = np.where(used > 1, 1 + INELASTIC * (used - 1), used)
    states = np.arange(BURSTS + 1)
    logs = states[None, :] * np.log(np.maximum(offered, 1e-12))[:, None]
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return used, weights @ states / BURSTS, weights[:, -1]


USED, FILLED, LOST = _tables()


def filled(used: NDArray[np.floating]) -> Floats:
    """Mean share of a buffer that is full at a utilisation, 0 to 1; it never falls as utilisation rises."""
    share: Floats = np.interp(used, USED, FILLED)
    return share


def lost(used: NDArray[np.floating]) -> Floats:
    """Share of packets that find the buffer full at a utilisation, 0 to 1."""
    share: Floats = np.interp(used, USED, LOST)
    return share


class Underlay:
    """Shortest paths by base round trip, over links given by the places (numbers) that they join.

    A pair of places with a link of its own uses it, though two other links may be shorter: the underlay's routing does
    not minimise delay, which is what overlays live on (Savage et al., "The End-to-End Effects of Internet Path
    Selection", SIGCOMM 1999).
    """

    def __init__(self, places: int, src: Sequence[int], dst: Sequence[int], cost: Sequence[float]) -> None:
        self._out: list[list[tuple[int, int, float]]] = [[] for _ in range(places)]
        self._direct: dict[tuple[int, int], int] = {}
        for link, (a, b, weight) in enumerate(zip(src, dst, cost, strict=True)):
            self._out[a].append((link, b, weight))
            held = self._direct.get((a, b))
            if held is None or weight < cost[held]:
                self._direct[a, b] = link

    def paths(self, src: int) -> dict[int, list[int]]:
        """Links from a place to every other that can be reached."""
        found = self._search(src, frozenset(), None)
        for dst in list(found):
            if (src, dst) in self._direct:
                found[dst] = [self._direct[src, dst]]
        return found

    def detour(self, src: int, dst: int, without: Iterable[int]) -> list[int]:
        """Links from a place to another around some links; empty if there is no way."""
        return self._search(src, frozenset(without), dst).get(dst, [])

    def _search(self, src: int, without: frozenset[int], until: int | None) -> dict[int, list[int]]:
        best, came = {src: 0.0}, {}
        queue = [(0.0, src)]
        done: set[int] = set()
        while queue:
            cost, here = heapq.heappop(queue)
            if here in done:
                continue
            done.add(here)
            if here == until:
                break
            for link, there, weight in self._out[here]:
                if link not in without and cost + weight < best.get(there, np.inf):
                    best[there] = cost + weight
                    came[there] = (link, here)
                    heapq.heappush(queue, (cost + weight, there))
        paths = {src: list[int]()}
        for place in sorted(done, key=best.__getitem__):
            if place != src:
                link, before = came[place]
                paths[place] = [*paths[before], link]
        del paths[src]
        return paths
