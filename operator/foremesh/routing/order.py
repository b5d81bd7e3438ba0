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
