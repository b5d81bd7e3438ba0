"""In which order a search looks at the links of a gateway: the cheapest first, so that it can leave off where all that
follow are too dear."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foremesh.compiled import compiled
from foremesh.routing.values import Ints, Numbers


class Order(NamedTuple):
    """Links by the gateway that they leave (``ahead``) and by the one that they lead into (``behind``).

    Each gateway's are in the order of what they cost at least (``least``). Where each gateway's begin is said by the
    topology: ``out_start`` and ``into_start``.
    """

    ahead: Numbers
    ahead_dst: Numbers
    ahead_least: Ints
    behind: Numbers
    behind_src: Numbers
    behind_least: Ints

    @classmethod
    def of(cls, src: Ints, dst: Ints, out_start: Ints, into_start: Ints, least: Ints) -> Order:
        """The order by what links cost at least; nothing says that they cost no more."""
        size = least.size
        ahead, ahead_dst, behind, behind_src = np.empty((4, size), dtype=np.int32)
        ahead_least, behind_least = np.empty((2, size), dtype=np.int64)
        made = cls(ahead, ahead_dst, ahead_least, behind, behind_src, behind_least)
        sort(np.argsort(least), src, dst, out_start, into_start, least, *made)
        return made

    def lowered(self, links: Ints, src: Ints, dst: Ints, out_start: Ints, into_start: Ints, least: Ints) -> Order:
        """The same where some links cost less at least."""
        ahead, ahead_dst, behind, behind_src = np.array((self.ahead, self.ahead_dst, self.behind, self.behind_src))
        made = Order(ahead, ahead_dst, self.ahead_least.copy(), behind, behind_src, self.behind_least.copy())
        lower(links, src, out_start, least, made.ahead, made.ahead_dst, made.ahead_least)
        lower(links, dst, into_start, least, made.behind, made.behind_src, made.behind_least)
        return made


@compiled("void(i8[::1],i8[::1],i8[::1],i8[::1],i4[::1],i4[::1],i8[::1])")
def lower(links: Ints, gateway: Ints, begin: Ints, least: Ints, listed: Numbers, other: Numbers, costs: Ints) -> None:
    """Move links up in the lists of their gateways to where they belong by what they cost at least."""
    for link in links:
        first = place = begin[gateway[link]]
        while listed[place] != link:
            place += 1
        end, cost = other[place], least[link]
        while place > first and costs[place - 1] > cost:
            listed[place], other[place], costs[place] = listed[place - 1], other[place - 1], costs[place - 1]
            place -= 1
        listed[place], other[place], costs[place] = link, end, cost


@compiled("void(i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i4[::1],i4[::1],i8[::1],i4[::1],i4[::1],i8[::1])")
def sort(
    links: Ints,
    src: Ints,
    dst: Ints,
    out_start: Ints,
    into_start: Ints,
    least: Ints,
    ahead: Numbers,
    ahead_dst: Numbers,
    ahead_least: Ints,
    behind: Numbers,
    behind_src: Numbers,
    behind_least: Ints,
) -> None:
    """Deal links, given by what they cost at least, out to their gateways."""
    out, into = out_start.copy(), into_start.copy()
    for link in links:
        one, other = src[link], dst[link]
        place = out[one]
        ahead[place], ahead_dst[place], ahead_least[place] = link, other, least[link]
        out[one] = place + 1
        place = into[other]
        behind[place], behind_src[place], behind_least[place] = link, one, least[link]
        into[other] = place + 1
