"""Many demands placed at once by one compiled function, in the order of their turns: each on what those before it have
left, as ``Placing.seek`` does it one by one, but without coming back to Python in between.

It takes those about whom nothing is decided but by cost: who has no circuit, one option, and ends between which there
is no circuit of his class. What it finds is what ``Placing.seek`` finds. All others are left to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from foremesh.model.intent import Requirements
from foremesh.model.series import Floats
from foremesh.routing.arrays import UNKNOWN
from foremesh.routing.ask import Ask, Ground, least_units, limits_of
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.kernels import turns
from foremesh.routing.labels import Route
from foremesh.routing.order import Order
from foremesh.routing.placing import Placing
from foremesh.routing.prices import Prices, Tables
from foremesh.routing.values import Ints

FEWEST = 16
"""Demands for which it pays to lay out tables of prices: that takes as long as looking for some paths."""
MOST_BYTES = 2**30
"""Of those tables, for one run: demands that need more of them are placed in several."""
COPIES = 8
"""Of each kind of prices, as a multiple of what the prices take."""
STEPS = 8
"""Room for the steps of so long a path for each demand, to begin with."""


def seek_all(placing: Placing, jobs: Iterable[Job]) -> None:
    """Find a path for each of some demands, in this order."""
    run = _Run(placing) if _suits(placing) else None
    for job in jobs:
        if run is None:
            placing.seek(job)
        elif not run.admits(job):
            run.place()
            run = _Run(placing)
            if not run.admits(job):
                placing.seek(job)
        elif run.bytes > MOST_BYTES:
            run.place()
            run = _Run(placing)
    if run is not None:
        run.place()


def _suits(placing: Placing) -> bool:
    """Whether a promise changes the prices of the links that it is made on, and nothing else."""
    unknown = np.isnan(placing.router.ledger.left_bps)
    in_part = unknown.any() and not unknown.all()
    return not (in_part or placing.settings.runners_up or placing.router.crowding.matters)


@dataclass(frozen=True, slots=True)
class _Row:
    job: Job
    ask: Ask
    prices: Prices
    kind: int
    """Among prices of links; they are the same whether transits see the traffic or not."""
    ground: int


class _Run:
    """Demands that come one after the other and can be placed at once."""

    def __init__(self, placing: Placing) -> None:
        self._placing, self._router = placing, placing.router
        self._rows: list[_Row] = []
        self._keys: set[tuple[str, Pair]] = set()
        """Circuits that one of them might get."""
        self._kinds: list[Prices] = []
        self._number_of: dict[object, int] = {}
        self._kind_of: dict[object, tuple[Prices, int]] = {}
        self._grounds: list[Ground] = []
        self._ground_of: dict[object, int] = {}
        self.bytes = 0
        """What tables take."""

    def admits(self, job: Job) -> bool:
        """Take one more demand, if it can be placed with the others."""
        if len(job.prepared.asks) != 1 or job.circuit is not None or any(job.more_bps):
            return False
        ask = job.prepared.asks[0][1]
        if ask.through or ask.along is not None or ask.reserved_bps is not None:
            return False
        sharing, placing = job.prepared.sharing, self._placing
        keys = [(sharing, (first, last)) for first in ask.sources for last in ask.destinations]
        if any(key in self._keys or key in placing.sharing or placing.is_pinned(job, key[1]) for key in keys):
            return False
        self._keys.update(keys)
        prices, kind = self._kind(ask)
        self._rows.append(_Row(job, ask, prices, kind, self._ground(ask.requirements)))
        return True

    def _kind(self, ask: Ask) -> tuple[Prices, int]:
        asked = (id(ask.weights), ask.encryption, ask.prefer)
        found = self._kind_of.get(asked)
        if found is None:
            prices, for_links = self._router.prices(ask), (ask.weights, ask.prefer)
            if for_links not in self._number_of:
                self._number_of[for_links] = len(self._kinds)
                self._kinds.append(prices)
                self.bytes += COPIES * prices.link.nbytes
            found = self._kind_of[asked] = (prices, self._number_of[for_links])
        return found

    def _ground(self, needs: Requirements) -> int:
        limited = (needs.max_latency is None, needs.max_loss is None, needs.max_hops is None)
        asked = (
            needs.regions,
            needs.providers,
            needs.gateway_labels,
            needs.avoid,
            limited,
            needs.max_egress_price is None,
        )
        found = self._ground_of.get(asked)
        if found is None:
            found = self._ground_of[asked] = len(self._grounds)
            self._grounds.append(self._router.ground(needs))
            self.bytes += self._grounds[-1].usable.nbytes + self._grounds[-1].sums.nbytes
        return found

    def place(self) -> None:
        """Give everybody his path."""
        if len(self._rows) < FEWEST:
            for row in self._rows:
                self._placing.seek(row.job)
            return
        begin, found, steps, bandwidth = self._run()
        terms, figures = self._terms(begin, steps, bandwidth), self._router.arrays.figures[steps].tolist()
        begins, answers, all_steps = begin.tolist(), found.tolist(), steps.tolist()
        for turn, row in enumerate(self._rows):
            job, first, last = row.job, begins[turn], begins[turn + 1]
            job.infeasible = job.prepared.refused
            if first == last:
                continue
            cost, end, free = answers[turn]
            job.option, job.ask = job.prepared.asks[0]
            job.route = Route(cost, tuple(all_steps[first:last]), end)
            job.listed = (job.route,)
            job.path = self._router.told(job.route, row.ask, row.prices, figures[first + 1 : last], free, terms[turn])
            self._placing.take(job)

    def _run(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Where the steps of each one's path begin, its answer, all steps, and what is paid for bandwidth at each."""
        router, count = self._router, len(self._rows)
        topology, ledger = router.arrays.topology, router.ledger
        for prices in self._kinds:
            prices.follow()
        orders = Order(*map(np.stack, zip(*[prices.order for prices in self._kinds], strict=True)))
        tables = Tables(*map(np.stack, zip(*[prices.tables() for prices in self._kinds], strict=True)))
        seen = np.full(len(self._kinds), ledger.count, dtype=np.int64)
        sums, sums_at = _joined([ground.sums for ground in self._grounds])
        usable = np.stack([ground.usable for ground in self._grounds])
        allowed = np.stack([ground.allowed for ground in self._grounds])
        asked, asked_bps = self._asked(sums_at)
        ends = _ends([row.ask for row in self._rows], router.arrays.number)
        begin, found = np.zeros(count + 1, dtype=np.int64), np.zeros((count, 3), dtype=np.int64)
        steps, bandwidth = np.zeros((2, STEPS * count), dtype=np.int64)
        turn = 0
        while True:
            ledger.grow(2 * steps.size)
            turn, ledger.count = turns.take_turns(
                turn,
                orders.ahead,
                orders.behind,
                topology.into_src,
                topology.dst,
                topology.out_start,
                topology.into_start,
                topology.into,
                topology.reverse,
                topology.relays,
                *tables,
                seen,
                usable,
                allowed,
                sums,
                asked,
                asked_bps,
                *ends,
                ledger.low_bps,
                ledger.median_bps,
                ledger.taken_bps,
                ledger.free_units,
                ledger.left_bps,
                ledger.events,
                ledger.count,
                begin,
                found,
                steps,
                bandwidth,
            )
            if turn == count:
                return begin, found, steps[: begin[count]], bandwidth[: begin[count]]
            steps, bandwidth = (np.concatenate((one, np.zeros_like(one))) for one in (steps, bandwidth))

    def _asked(self, sums_at: list[int]) -> tuple[Ints, Floats]:
        """What ``take_turns`` wants to know of demands."""
        asked, asked_bps = list[list[int]](), list[tuple[float, float]]()
        for row in self._rows:
            needs, ground, most = row.ask.requirements, self._grounds[row.ground], limits_of(row.ask)
            least = (least_units(needs.min_bandwidth), least_units(needs.reverse))
            own = [row.kind, row.ground, sums_at[row.ground], len(most), ground.timed, row.prices.exposure, *least]
            asked.append([*own, *most, *[0] * (turns.MOST_LIMITS - len(most))])
            asked_bps.append((needs.min_bandwidth or 0.0, needs.reverse or 0.0))
        return np.array(asked, dtype=np.int64), np.array(asked_bps, dtype=np.float64)

    def _terms(self, begin: Ints, steps: Ints, bandwidth: Ints) -> list[list[int]]:
        """What paths cost, term by term."""
        kind, sizes = np.array([row.kind for row in self._rows]), np.diff(begin)
        terms = np.zeros((kind.size, 8), dtype=np.int64)
        for number, prices in enumerate(self._kinds):
            rows = np.flatnonzero((kind == number) & (sizes > 0))
            links = np.append(0, np.cumsum(sizes[rows] - 1))
            where = np.repeat(begin[rows] + 1 - links[:-1], sizes[rows] - 1) + np.arange(links[-1])
            terms[rows] = prices.terms_of(steps[begin[rows]], links, steps[where], bandwidth[where])
        listed: list[list[int]] = terms.tolist()
        return listed


def _joined(tables: list[Ints]) -> tuple[Ints, list[int]]:
    """Rows of some tables, each table once, and where those of each begin."""
    begin, once, size = dict[int, int](), list[Ints](), 0
    for table in tables:
        if id(table) not in begin:
            begin[id(table)], size = size, size + table.shape[0]
            once.append(table)
    return np.concatenate(once), [begin[id(table)] for table in tables]


def _ends(asks: Iterable[Ask], number: Mapping[str, int]) -> tuple[Ints, Ints, Floats]:
    """Where paths may begin and end: where each side of each question begins in the others, gateways, round trips of
    the attachments behind them, in milliseconds."""
    begin, gateways, rtts_ms = [0], list[int](), list[float]()
    for ask in asks:
        for side in (ask.sources, ask.destinations):
            for gateway, rtt_ms in side.items():
                place = number.get(gateway, UNKNOWN)
                if place != UNKNOWN:
                    gateways.append(place)
                    rtts_ms.append(math.nan if rtt_ms is None else rtt_ms)
            begin.append(len(gateways))
    return np.array(begin), np.array(gateways, dtype=np.int64), np.array(rtts_ms, dtype=np.float64)
