"""Demands that are passed over when a plan is made again: what they looked at, left and were promised, a row each, so
that all of it is done again without looking for their paths. See ``replan``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from foremesh.compiled import compiled
from foremesh.model.series import Floats
from foremesh.routing.ledger import Ledger, promise_path
from foremesh.routing.values import Bools, Ints

EQUAL = 1e-9
"""Share by which sums may differ for having been added up in another order."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one demand did at its turn."""

    own: Sequence[int] = ()
    """Links of its path,"""
    others: Sequence[int] = ()
    """and further ones that its choice hung on."""
    promised_bps: tuple[float, float] = (0.0, 0.0)
    """What it was promised on its path, there and back."""
    left: Sequence[int] = ()
    """Links in use that it left at its turn,"""
    left_bps: tuple[float, float] = (0.0, 0.0)
    """and what it took off them."""
    looks_back: bool = False
    """Whether it looked at what is free the other way, too."""

    def net(self, reverse: Ints) -> dict[int, float]:
        """By link, what it takes in the end beyond what it took before."""
        sums: dict[int, float] = {}
        for links, sign, (there, back) in ((self.left, -1.0, self.left_bps), (self.own, 1.0, self.promised_bps)):
            for link in links:
                for one, bps in ((link, there), (int(reverse[link]), back)):
                    if bps and one >= 0:
                        sums[one] = sums.get(one, 0.0) + sign * bps
        return sums


class Trail:
    """Rows in the order of turns, as arrays."""

    def __init__(self, rows: Sequence[Row]) -> None:
        count = len(rows)
        self.first, self.own, self.seen, self.left_first, self.left = np.zeros((5, count), dtype=np.int64)
        self.bps = np.zeros((4, count))
        """What is promised there and back, and what is left there and back."""
        self.looks_back = np.zeros(count, dtype=np.bool_)
        self.links = self.left_links = np.empty(0, dtype=np.int64)
        self.put(np.arange(count), rows)

    def put(self, turns: Ints, rows: Sequence[Row]) -> None:
        """Other rows for some turns."""
        self.own[turns] = [len(row.own) for row in rows]
        self.seen[turns] = sizes = np.array([len(row.own) + len(row.others) for row in rows], dtype=np.int64)
        self.first[turns] = self.links.size + np.cumsum(sizes) - sizes
        self.links = np.append(self.links, _flat(part for row in rows for part in (row.own, row.others)))
        self.left[turns] = sizes = np.array([len(row.left) for row in rows], dtype=np.int64)
        self.left_first[turns] = self.left_links.size + np.cumsum(sizes) - sizes
        self.left_links = np.append(self.left_links, _flat(row.left for row in rows))
        told = [(*row.promised_bps, *row.left_bps) for row in rows]
        self.bps[:, turns] = np.array(told, dtype=np.float64).reshape(-1, 4).T
        self.looks_back[turns] = [row.looks_back for row in rows]

    def row(self, turn: int) -> Row:
        first, left = int(self.first[turn]), int(self.left_first[turn])
        middle, end = first + int(self.own[turn]), first + int(self.seen[turn])
        there, back, left_there, left_back = self.bps[:, turn].tolist()
        return Row(
            own=self.links[first:middle].tolist(),
            others=self.links[middle:end].tolist(),
            promised_bps=(there, back),
            left=self.left_links[left : left + int(self.left[turn])].tolist(),
            left_bps=(left_there, left_back),
            looks_back=bool(self.looks_back[turn]),
        )

    def met(self, turn: int, changed: Bools, reverse: Ints) -> bool:
        """Whether a demand looked at a link that is not what it was."""
        links = self.links[self.first[turn] : self.first[turn] + self.seen[turn]]
        if self.looks_back[turn]:
            back = reverse[links]
            links = np.append(links, back[back >= 0])
        return bool(changed[links].any())

    def leaving_bps(self, reverse: Ints, rows: Iterable[Row] = ()) -> Floats:
        """By link, what all demands leave together, and these besides: no more is given back of a link at anybody's
        turn."""
        sums = np.zeros(reverse.size)
        leaving = (self.row(turn) for turn in np.flatnonzero(self.bps[2:].any(axis=0)).tolist())
        for row in (*leaving, *rows):
            for link in row.left:
                for one, bps in zip((link, int(reverse[link])), row.left_bps, strict=True):
                    if one >= 0:
                        sums[one] += bps
        return sums * (1 + EQUAL)

    def walk(self, ledger: Ledger, turn: int, stop: Bools, changed: Bools) -> int:
        """Do again what was done before, demand by demand, as long as that is certain to be the same.

        Args:
            ledger: Takes the promises.
            turn: Whose turn it is.
            stop: Demands to stop before.
            changed: Links that are not what they were: no demand is passed over that looked at one of these.

        Returns:
            Whose turn it is then; the number of demands if all is done.
        """
        ledger.grow(2 * (self.links.size + self.left_links.size))
        turn, ledger.count = walk(
            turn,
            stop,
            changed,
            self.first,
            self.own,
            self.seen,
            self.links,
            self.left_first,
            self.left,
            self.left_links,
            self.bps,
            self.looks_back,
            ledger.reverse,
            ledger.low_bps,
            ledger.median_bps,
            ledger.taken_bps,
            ledger.free_units,
            ledger.left_bps,
            ledger.events,
            ledger.count,
        )
        return turn


def _flat(parts: Iterable[Sequence[int]]) -> Ints:
    return np.array([*chain.from_iterable(parts)], dtype=np.int64)


@compiled(
    "UniTuple(i8,2)(i8,b1[::1],b1[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],f8[:,::1],b1[::1],"
    "i8[::1],f8[::1],f8[::1],f8[::1],i8[::1],f8[::1],i8[::1],i8)"
)
def walk(
    turn: int,
    stop: Bools,
    changed: Bools,
    first: Ints,
    own: Ints,
    seen: Ints,
    links: Ints,
    left_first: Ints,
    left: Ints,
    left_links: Ints,
    bps: Floats,
    looks_back: Bools,
    reverse: Ints,
    low_bps: Floats,
    median_bps: Floats,
    taken_bps: Floats,
    free_units: Ints,
    left_bps: Floats,
    events: Ints,
    count: int,
) -> tuple[int, int]:
    """``Trail.walk``; how many events there are then as well."""
    while turn < stop.size and not stop[turn]:
        begin = first[turn]
        for place in range(begin, begin + seen[turn]):
            other = reverse[links[place]] if looks_back[turn] else -1
            if changed[links[place]] or (other >= 0 and changed[other]):
                return turn, count
        left_begin = left_first[turn]
        parts = (
            (left_links[left_begin : left_begin + left[turn]], -bps[2, turn], -bps[3, turn]),
            (links[begin : begin + own[turn]], bps[0, turn], bps[1, turn]),
        )
        for path, there, back in parts:
            count = promise_path(
                path,
                reverse,
                there,
                back,
                low_bps,
                median_bps,
                taken_bps,
                free_units,
                left_bps,
                events,
                count,
            )
        turn += 1
    return turn, count
