"""In which order a search looks at the links of a gateway: the cheapest first, so that it can leave off where all that
follow are too dear."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foremesh.compiled import compiled
from foremesh.routing.values import Ints

LEAST, OTHER, LINK = range(3)
"""Columns: what a link costs at least, the gateway at its other end, its number. Side by side, since a search that is
not in the processor's caches waits for each of them."""


class Order(NamedTuple):
    """Links by the gateway that they leave (``ahead``) and by the one that they lead into (``behind``), a row for each.

    Each gateway's are in the order of what they cost at least. Where each gateway's begin is said by the topology:
    ``out_start`` and ``into_start``.
    """

    ahead: Ints
    behind: Ints

    @classmethod
    def of(cls, src: Ints, dst: Ints, out_start: Ints, into_start: Ints, least: Ints) -> Order:
        """The order by what links cost at least; nothing says that they cost no more."""
        made = cls(*np.empty((2, least.size, 3), dtype=np.int64))
        sort(np.argsort(least), src, dst, out_start, into_start, least, *made)
        return made

    def lowered(self, links: Ints, src: Ints, dst: Ints, out_start: Ints, into_start: Ints, least: Ints) -> Order:
        """The same where some links cost less at least."""
        made = Order(self.ahead.copy(), self.behind.copy())
        lower(links, src, out_start, least, made.ahead)
        lower(links, dst, into_start, least, made.behind)
        return made


@compiled("void(i8[::1],i8[::1],i8[::1],i8[::1],i8[:,::1])")
def lower(links: Ints, gateway: Ints, begin: Ints, least: Ints, rows: Ints) -> None:
    """Move links up in the lists of their gateways to where they belong by what they cost at least."""
    for link in links:
        first = place = begin[gateway[link]]
        while rows[place, LINK] != link:
            place += 1
        other, cost = rows[place, OTHER], least[link]
        while place > first and rows[place - 1, LEAST] > cost:
            rows[place] = rows[place - 1]
            place -= 1
        rows[place, LEAST], rows[place, OTHER], rows[place, LINK] = cost, other, link


@compiled("void(i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[:,::1],i8[:,::1])")
def sort(
    links: Ints, src: Ints, dst: Ints, out_start: Ints, into_start: Ints, least: Ints, ahead: Ints, behind: Ints
) -> None:
    """Deal links, given by what they cost at least, out to their gateways."""
    out, into = out_start.copy(), into_start.copy()
    for link in links:
        one, other = src[link], dst[link]
        place = out[one]
        ahead[place, LEAST], ahead[place, OTHER], ahead[place, LINK] = least[link], other, link
        out[one] = place + 1
        place = into[other]
        behind[place, LEAST], behind[place, OTHER], behind[place, LINK] = least[link], one, link
        into[other] = place + 1
