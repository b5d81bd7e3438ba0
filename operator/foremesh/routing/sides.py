"""Who asks for paths, by what these are summed up of: prices of one kind, or the figures that a requirement limits.
With the bounds that go with them, it is quickly told whose paths one link could matter for; see ``replan``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import numpy as np

from foremesh.compiled import compiled
from foremesh.model.intent import Encryption
from foremesh.routing.arrays import UNKNOWN, Arrays
from foremesh.routing.ask import Ask, Router, attachment_ns, limits
from foremesh.routing.cost import COST_SCALE
from foremesh.routing.kernels import NEVER
from foremesh.routing.kernels.over import DEAR, UNTOLD, judge
from foremesh.routing.needs import SUMS
from foremesh.routing.prices import Prices
from foremesh.routing.trees import Trees
from foremesh.routing.values import Bools, Ints

ROUNDS = 10
"""Prices of a limited sum that are tried for one question: three tell most."""

MANY = 10
"""Questions of which it takes as long to see whether the cheapest paths over a link keep a limit, which lax ones are
kept by, as it takes to work out what paths over it sum up to at least."""

Asked = tuple[int, Ask, int]
"""A question: whose it is, by turn, and above what cost another path is of no interest."""


@dataclass
class Side:
    """Questions that sum up the same figures of links."""

    trees: Trees
    """What ways cost at least, or sum up to, whatever is promised."""
    job: Ints
    """Whose questions they are, by turn, in the order of turns,"""
    most: Ints
    """and above what sum paths are of no interest to them."""
    starts: tuple[Ints, Ints, Ints]
    """Place of each question's first gateway to begin at, gateways, costs."""
    ends: tuple[Ints, Ints, Ints]
    row: Ints
    """By turn, its question; UNKNOWN where it has none or several."""

    def least(self, link: int, rows: Ints) -> Ints:
        """What paths over a link come to at least, for some questions; NEVER where there is none."""
        found = np.empty(rows.size, dtype=np.int64)
        least_over(rows, *self.starts, *self.ends, *self.trees.over(link), int(self.trees.link[link]), found)
        return found


@dataclass
class Limit(Side):
    """Who must keep the sums of his path within a limit."""

    name: str


@dataclass
class Kind(Side):
    """Prices of one kind and who asks at them."""

    ask: Ask
    """One of them."""
    start: Ints
    unknown: int | None
    """Cost of an attachment of which nobody knows how long it takes; None if there is none."""
    exposure: Ints
    """By question, what each gateway inside a path costs, for it sees the traffic in clear."""

    def fits(self, prices: Prices, changed: Ints) -> bool:
        """Whether no price has changed but those of links that have themselves: what is unknown costs as much as the
        worst that is known."""
        others = self.trees.link != prices.link
        others[changed] = False
        return (
            not others.any()
            and np.array_equal(self.start, prices.start)
            and (self.unknown is None or self.unknown == prices.offset(None))
        )


class Sides:
    """Questions by all that they sum up.

    Args:
        asked: The questions, in the order of turns.
        turns: How many turns there are.
        router: The snapshot, with nothing promised that could not be taken back.
    """

    def __init__(self, asked: Sequence[Asked], turns: int, router: Router) -> None:
        turn = np.array([one for one, _, _ in asked], dtype=np.int64)
        self._turns, self._alone = turns, np.bincount(turn, minlength=turns) == 1
        self.kinds = _kinds(asked, turn, self._alone, router)
        self.limits = _limits(asked, turn, self._alone, router.arrays)
        ends = (len(one) for kind in self.kinds for one in (kind.job, kind.starts[1], kind.ends[1]))
        self._nothing = np.zeros(max(len(router.arrays.links), len(router.arrays.nodes), *ends, 0), dtype=np.int64)

    def follow(self, router: Router, changed: Ints) -> Bools | None:
        """Go on with other figures of some links; by changed link, whether it became better in any way that is summed
        up. None if prices of others changed as well."""
        better = np.zeros(changed.size, dtype=np.bool_)
        for kind in self.kinds:
            prices = router.prices(kind.ask)
            if not kind.fits(prices, changed):
                return None
            better |= prices.link[changed] < kind.trees.link[changed]
            kind.trees.follow(prices.link.copy(), changed)
        for limit in self.limits:
            sums = router.arrays.sums((limit.name,))[0][0]
            better |= sums[changed] < limit.trees.link[changed]
            limit.trees.follow(sums, changed)
        return better

    def concerned(self, links: Iterable[int], turn: int = -1, *, known: Bools | None = None) -> Bools:
        """By turn, whose paths over one of these links could be among the best.

        Args:
            links: Those that became better.
            turn: The last one whose turn has been; of interest are those who come later.
            known: Who need not be asked about.
        """
        found = np.zeros(self._turns, dtype=np.bool_) if known is None else known.copy()
        for link in links:
            for kind in self.kinds:
                rows = np.flatnonzero((kind.job > turn) & ~found[kind.job])
                if rows.size:
                    least = kind.least(link, rows)
                    near = (least <= kind.most[rows]) & (least != NEVER)
                    found[kind.job[self._nearer(kind, link, rows[near], least[near])]] = True
        return found

    def most(self, turns: Mapping[int, int]) -> None:
        """Other costs above which paths are of no interest to some."""
        for kind in self.kinds if turns else ():
            rows = np.flatnonzero(np.isin(kind.job, list(turns)))
            kind.most[rows] = [turns[turn] for turn in kind.job[rows].tolist()]

    def _nearer(self, kind: Kind, link: int, rows: Ints, least: Ints) -> Ints:
        """Those of some questions that may have a path over a link near enough that keeps each of their limits."""
        for limit in (None, *self.limits):
            of = rows if limit is None else limit.row[kind.job[rows]]
            some = np.flatnonzero(kind.exposure[rows] > 0 if limit is None else of >= 0)
            if some.size:
                told = self._judge(kind, limit, link, rows[some], of[some], least[some])
                keep = np.ones(rows.size, dtype=np.bool_)
                keep[some[told == DEAR]] = False
                rows, least = rows[keep], least[keep]
        return rows

    def _judge(self, kind: Kind, limit: Limit | None, link: int, rows: Ints, of: Ints, least: Ints) -> Ints:
        """What paths over a link are to some questions that have a limit, or none at all (see ``judge``).

        Args:
            of: The same questions, by row of the limit.
            least: What such paths cost at least.
        """
        topology, nothing, found = kind.trees.topology, self._nothing, np.empty(rows.size, dtype=np.int64)
        asked = (*kind.starts, *kind.ends, kind.trees.link, *kind.trees.over(link), kind.most, kind.exposure)
        sides, most = (kind, nothing) if limit is None else (limit, limit.most)
        (begin, _, begin_sum), (end, _, end_sum), sums = sides.starts, sides.ends, sides.trees.link
        if limit is None:
            begin_sum = end_sum = sums = nothing
        leaving, coming = (topology.src, topology.dst, topology.out_start), (topology.into_start, topology.into_src)
        mesh = (link, *leaving, *coming, topology.into, topology.relays)
        limited = (begin, begin_sum, end, end_sum, sums)
        if limit is None or (rows.size < MANY and not limit.trees.has(link)):
            judge(*mesh, rows, *asked, of, *limited, nothing, nothing, most, np.zeros(rows.size), 1, found)
            if limit is None or not (found == UNTOLD).any():
                return found
        else:
            found[:] = UNTOLD
        room = most[of] - limit.least(link, of)
        found[(found == UNTOLD) & (room < 0)] = DEAR
        some = np.flatnonzero((found == UNTOLD) & (kind.most[rows] != NEVER))
        rates, told = (kind.most[rows[some]] - least[some]) / np.maximum(1, room[some]), found[some]
        judge(*mesh, rows[some], *asked, of[some], *limited, *limit.trees.over(link), most, rates, ROUNDS, told)
        found[some] = told
        return found


@compiled("void(i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8,i8[::1])")
def least_over(
    rows: Ints,
    starts_at: Ints,
    start: Ints,
    start_cost: Ints,
    ends_at: Ints,
    end: Ints,
    end_cost: Ints,
    towards: Ints,
    onwards: Ints,
    price: int,
    found: Ints,
) -> None:
    """``Side.least``.

    Args:
        starts_at, start, start_cost: Where paths may begin and what that costs, with the place of each question's
            first, one more at the end; likewise where they may end.
        towards, onwards: The least that it costs to come to the link, and to go on from it, by gateway.
        price: Of the link.
    """
    for index in range(rows.size):
        row, before, after = rows[index], NEVER, NEVER
        for place in range(starts_at[row], starts_at[row + 1]):
            if towards[start[place]] != NEVER:
                before = min(before, start_cost[place] + towards[start[place]])
        for place in range(ends_at[row], ends_at[row + 1]):
            if onwards[end[place]] != NEVER:
                after = min(after, end_cost[place] + onwards[end[place]])
        found[index] = NEVER if before == NEVER or after == NEVER else before + price + after


def improved(before: Arrays, after: Arrays, links: Ints) -> Bools:
    """Of some links, whether they may serve somebody whom they did not: a limit holds for less, or is known at last."""
    figures = (
        (before.rtt.pessimistic, after.rtt.pessimistic),
        (before.loss.pessimistic, after.loss.pessimistic),
        (before.price, after.price),
        (-before.free.pessimistic, -after.free.pessimistic),
    )
    found = np.zeros(links.size, dtype=np.bool_)
    for was, now in figures:
        found |= ~((now[links] >= was[links]) | np.isnan(now[links]))
    return found


class _Ends:
    """Where questions begin or end, as arrays: the place of each one's first gateway, gateways, round trips."""

    def __init__(self, sides: Sequence[Mapping[str, float | None]], number: Mapping[str, int]) -> None:
        told = [[(number[one], rtt_ms) for one, rtt_ms in side.items() if one in number] for side in sides]
        sizes = np.array([len(side) for side in told], dtype=np.int64)
        self._first = np.cumsum(sizes) - sizes
        self._sizes = sizes
        self._gateway = np.array([one for one, _ in chain.from_iterable(told)], dtype=np.int64)
        self._rtt_ms = np.array([rtt_ms for _, rtt_ms in chain.from_iterable(told)], dtype=np.float64)

    def of(self, rows: Ints, cost: Callable[[float | None], int], begun: Ints | None = None) -> tuple[Ints, Ints, Ints]:
        """Those of some questions, with what they cost."""
        sizes = self._sizes[rows]
        place = np.append(0, np.cumsum(sizes))
        among = np.arange(place[-1]) + np.repeat(self._first[rows] - place[:-1], sizes)
        gateways = self._gateway[among]
        values, which = np.unique(self._rtt_ms[among], return_inverse=True)
        costs = np.array([cost(None if np.isnan(one) else one) for one in values.tolist()], dtype=np.int64)[which]
        return place, gateways, costs if begun is None else costs + begun[gateways]

    def blind(self, rows: Ints) -> bool:
        """Whether some of these know not all round trips."""
        unknown = np.append(0, np.cumsum(np.isnan(self._rtt_ms)))
        first = self._first[rows]
        return bool((unknown[first + self._sizes[rows]] > unknown[first]).any())


def _kinds(asked: Sequence[Asked], turn: Ints, alone: Bools, router: Router) -> list[Kind]:
    """By the prices that are asked at."""
    groups: dict[int, list[int]] = {}
    codes, seen = dict[object, int](), dict[tuple[int, int], int]()  # most are the same objects, and slow to compare
    for row, (_, ask, _) in enumerate(asked):
        code = seen.get(same := (id(ask.weights), id(ask.prefer)))
        if code is None:
            code = seen[same] = codes.setdefault((ask.weights, ask.prefer), len(codes))
        groups.setdefault(code, []).append(row)
    number, found = router.arrays.number, list[Kind]()
    starts, ends = (_Ends([side(ask) for _, ask, _ in asked], number) for side in _SIDES)
    most = np.array([one for _, _, one in asked], dtype=np.int64)
    in_clear = np.array([ask.encryption is Encryption.HOP_BY_HOP for _, ask, _ in asked], dtype=np.bool_)
    for listed in groups.values():
        rows = np.array(listed, dtype=np.int64)
        ask = asked[listed[0]][1]
        prices = router.prices(ask)
        exposure = round(ask.weights.encryption * COST_SCALE)
        found.append(
            Kind(
                trees=Trees(router.arrays.topology, prices.link.copy()),
                job=turn[rows],
                most=most[rows],
                starts=starts.of(rows, prices.offset, prices.start),
                ends=ends.of(rows, prices.offset),
                row=_row_of(turn[rows], alone),
                ask=ask,
                start=prices.start,
                unknown=prices.offset(None) if starts.blind(rows) or ends.blind(rows) else None,
                exposure=np.where(in_clear[rows], exposure, 0),
            )
        )
    return found


def _row_of(turn: Ints, alone: Bools) -> Ints:
    """By turn, the place of its only question."""
    row = np.full(alone.size, UNKNOWN, dtype=np.int64)
    row[turn] = np.arange(turn.size)
    return np.where(alone, row, UNKNOWN)


def _limits(asked: Sequence[Asked], turn: Ints, alone: Bools, arrays: Arrays) -> list[Limit]:
    """Requirements on sums, each with those who have it."""
    needed, found = [limits(ask) for _, ask, _ in asked], list[Limit]()
    for name in SUMS:
        rows = np.array([row for row, most in enumerate(needed) if name in most], dtype=np.int64)
        if not rows.size:
            continue
        of = attachment_ns if name == "maxLatency" else _nothing
        listed = rows.tolist()
        starts, ends = (_Ends([side(asked[row][1]) for row in listed], arrays.number) for side in _SIDES)
        every = np.arange(rows.size)
        found.append(
            Limit(
                trees=Trees(arrays.topology, arrays.sums((name,))[0][0]),
                job=turn[rows],
                most=np.array([needed[row][name] for row in listed], dtype=np.int64),
                starts=starts.of(every, of),
                ends=ends.of(every, of),
                row=_row_of(turn[rows], alone),
                name=name,
            )
        )
    return found


_SIDES: tuple[Callable[[Ask], Mapping[str, float | None]], ...] = (attrgetter("sources"), attrgetter("destinations"))
"""Where a question may begin, and where it may end."""


def _nothing(rtt_ms: float | None) -> int:
    return 0
