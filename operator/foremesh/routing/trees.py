"""The least that ways to a gateway cost from everywhere, and ways on from it: worked out when first asked for, and kept
while links only get dearer, as bounds from below."""

from __future__ import annotations

import numpy as np

from foremesh.routing import kernels
from foremesh.routing.arrays import Topology
from foremesh.routing.values import Ints

MOST_KEPT_BYTES = 2**26
"""All bounds of one kind of price are forgotten beyond that: a thousand gateways' both ways take a quarter."""
MEDIAN = 8
"""Buckets that the median of prices above nothing spans; half or twice as many make no difference."""


class Trees:
    """Bounds at one kind of price, for one topology.

    Args:
        link: Prices of links; what they become is told by ``follow``.
    """

    def __init__(self, topology: Topology, link: Ints) -> None:
        self.topology, self.link = topology, link
        self._kept: dict[tuple[bool, int], Ints] = {}
        self._into: Ints | None = None
        """Prices in the order of where links lead to."""
        some = link[link > 0]
        self._shift = max(1, int(np.median(some)) // MEDIAN if some.size else 1).bit_length() - 1

    def follow(self, link: Ints, changed: Ints) -> None:
        """Go on with other prices of some links. Those that are dearer make bounds less close, no more."""
        too_many = len(self._kept) * self.topology.relays.size * link.itemsize > MOST_KEPT_BYTES
        if too_many or (link[changed] < self.link[changed]).any():
            self._kept.clear()
        self.link, self._into = link, None

    def over(self, link: int) -> tuple[Ints, Ints]:
        """By gateway, what it costs at least to come from it to where a link begins, and to it from where that ends."""
        return self.to(int(self.topology.src[link])), self.onwards(self.topology.ends[link])

    def has(self, link: int) -> bool:
        """Whether that is worked out."""
        return {(True, int(self.topology.src[link])), (False, self.topology.ends[link])} <= self._kept.keys()

    def to(self, gateway: int) -> Ints:
        """By gateway, what it costs at least to come from it to this one."""
        return self._get(True, gateway)

    def onwards(self, gateway: int) -> Ints:
        """By gateway, what it costs at least to come to it from this one."""
        return self._get(False, gateway)

    def _get(self, backwards: bool, root: int) -> Ints:
        if (backwards, root) not in self._kept:
            self._kept[backwards, root] = self._grow(backwards, root)
        return self._kept[backwards, root]

    def _grow(self, backwards: bool, root: int) -> Ints:
        topology, sums = self.topology, np.empty(self.topology.relays.size, dtype=np.int64)
        if backwards and self._into is None:
            self._into = self.link[topology.into]
        begin, other = (topology.into_start, topology.into_src) if backwards else (topology.out_start, topology.dst)
        link = self._into if backwards and self._into is not None else self.link
        kernels.distances(begin, other, topology.relays, link, root, self._shift, sums)
        return sums
