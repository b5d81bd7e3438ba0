"""When over the horizon a circuit in place is best moved: now, later, for a while, or not at all. Pure.

A path that is to be chosen and kept is judged by the whole horizon at once: the mean of what is likely, and the worst
that may be. A circuit in place may wait besides. What it costs to stay and what it costs to be on another path is known
step by step where links are forecast to change, moves cost what a move is worth, and the plan after this one can move
as well: so of all that could be done from now on, the cheapest is looked for, and of that the first thing is done. A
congestion that is to come makes a circuit leave before it comes, not hours before; one that is shorter than a move is
worth is waited out; and nobody moves who would have to move back before both moves were worth it.

Where nothing is forecast to change this is the comparison of two costs that it always was, and nothing here is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from foremesh.model.link import Figure
from foremesh.model.series import Floats
from foremesh.routing.arrays import BPS_SCALE, log_loss
from foremesh.routing.ask import Ask, Router
from foremesh.routing.cost import (
    BANDWIDTH_UNIT_BPS,
    COST_SCALE,
    LATENCY_UNIT_MS,
    LEAST_FREE_BPS,
    LOSS_UNIT,
    MOST_LOSS,
    RISK_SHARE,
)
from foremesh.routing.labels import Route
from foremesh.routing.values import Bools

EQUAL = 1e-9
"""Share by which a gain may exceed what is due and still count as equal to it: noise of binary fractions."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a link will be at each step, less what it is over the whole horizon; shape (steps,)."""

    usual_ms: Floats
    worst_ms: Floats
    usual_lost: Floats
    """As -ln(1 - loss)."""
    worst_lost: Floats
    usual_free_bps: Floats
    worst_free_bps: Floats


class Horizon:
    """The steps to come on one snapshot.

    Args:
        router: The snapshot, with what is promised so far.
        now_s: Unix time at which the first step begins.
        next_s: Seconds until the next plan can have moved somebody.
    """

    def __init__(self, router: Router, *, now_s: float, next_s: float) -> None:
        self._router, self._now_s, self._next_s = router, now_s, next_s
        self._ahead: dict[int, Ahead] = {}

    def changes(self, links: Iterable[int]) -> bool:
        """Whether any of these links is forecast to change."""
        known = self._router.arrays.links
        return any(known[link].course is not None for link in links)

    @cached_property
    def _grid(self) -> tuple[float, int]:
        """Seconds of a step and how many there are, the same for all links that are told step by step; a single one
        without an end where none is."""
        told = (link.course for link in self._router.arrays.links if link.course is not None)
        course = next(told, None)
        return (math.inf, 1) if course is None else (course.step_s, course.steps)

    @property
    def step_s(self) -> float:
        return self._grid[0]

    @property
    def steps(self) -> int:
        return self._grid[1]

    @property
    def soon(self) -> int:
        """Steps that whoever does not move now stays at least."""
        return max(1, math.ceil(self._next_s / self.step_s * (1 - EQUAL)))

    def ahead(self, link: int) -> Ahead | None:
        """How a link differs step by step from what it is over the whole horizon; None where it does not."""
        predicted = self._router.arrays.links[link]
        course = predicted.course
        if course is None:
            return None
        if link not in self._ahead:
            usual_ms, worst_ms = self._apart(course.rtt_ms, predicted.rtt_ms)
            usual_free, worst_free = self._apart(course.free_bps, predicted.free_bps)
            lost = [_as_lost(one) for one in course.loss]
            usual_lost, worst_lost = self._apart(lost, predicted.loss and _as_lost(predicted.loss))
            self._ahead[link] = Ahead(usual_ms, worst_ms, usual_lost, worst_lost, usual_free, worst_free)
        return self._ahead[link]

    def _apart(self, steps: Sequence[Figure], whole: Figure | None) -> Floats:
        if whole is None or not steps:
            return np.zeros((2, self.steps))
        told = [(one.median - whole.median, one.pessimistic - whole.pessimistic) for one in steps]
        return np.array(told, dtype=np.float64).T

    def cost(self, route: Route, ask: Ask) -> Floats:
        """What a path costs at each step, in units of cost; as over the whole horizon where nothing changes.

        What is uncertain about a link is priced as at its least certain step, for all of them: that forecasts know less
        of later is no forecast of a change. That the round trip is forecast to rise is no risk beside that where it
        falls again; if it lasts to the end of the horizon, nobody knows how far it goes, and the steps at which it is
        high bear what that costs over the whole horizon. On the mean, what is free costs what it does over the whole
        horizon, too: a link that is full for a minute would outweigh all else.
        """
        arrays, weights, left_bps = self._router.arrays, ask.weights, self._router.ledger_of(ask).left_bps
        total = np.full(self.steps, route.cost / COST_SCALE)
        for link in route.links:
            one = self.ahead(link)
            if one is None:
                continue
            spread = arrays.rtt.pessimistic[link] - arrays.rtt.median[link]
            widest = max(0.0, float((spread + one.worst_ms - one.usual_ms).max()))
            delay_ms = one.usual_ms + RISK_SHARE * (widest - max(0.0, spread)) * (1 - self._lasting(one.usual_ms))
            total += weights.latency / LATENCY_UNIT_MS * np.nan_to_num(delay_ms)
            total += weights.loss / LOSS_UNIT * one.usual_lost
            filled = BANDWIDTH_UNIT_BPS / np.maximum(LEAST_FREE_BPS, left_bps[link] + one.usual_free_bps)
            total += weights.bandwidth * np.nan_to_num(filled - filled.mean())
        return total

    def _lasting(self, usual_ms: Floats) -> Floats:
        """How much each step bears of what a rise costs that lasts, 1 on the mean; nothing of one that does not."""
        high = usual_ms - usual_ms.min()
        lasts = high[-1] > 0 and high[-1] >= high.max() * (1 - EQUAL)
        shares: Floats = high / high.mean() if lasts else np.zeros(self.steps)
        return shares

    def breaks(self, route: Route, ask: Ask) -> dict[str, Bools]:
        """By limit on round trip, loss or bandwidth, the steps at which a path pessimistically breaks it; limits that
        it keeps are left out."""
        router, needs, links = self._router, ask.requirements, list(route.links)
        arrays, found = router.arrays, dict[str, Bools]()
        ahead = [one for one in map(self.ahead, links) if one is not None]
        if needs.max_latency is not None:
            gateways = router.gateways(route)
            attached = (ask.sources.get(gateways[0]), ask.destinations.get(gateways[-1]))
            rtt_ms = arrays.rtt.pessimistic[links].sum() + router.crowding.added_ms(*ask.traffic_bps)[links].sum()
            rtt_ms += sum(math.nan if one is None else one for one in attached)
            most = float(needs.max_latency) * (1 + EQUAL)
            found["maxLatency"] = ~(rtt_ms + self._sum([one.worst_ms for one in ahead]) <= most)
        if needs.max_loss is not None:
            lost = sum(log_loss(min(MOST_LOSS, loss)) for loss in arrays.loss.pessimistic[links].tolist())
            most = log_loss(needs.max_loss) * (1 + EQUAL)
            found["maxLoss"] = ~(lost + self._sum([one.worst_lost for one in ahead]) <= most)
        free_units, back = router.ledger_of(ask).free_units, arrays.topology.reverse[links].tolist()
        for name, asked, way in (("minBandwidth", needs.min_bandwidth, links), ("reverse", needs.reverse, back)):
            if asked is not None:
                short = [self._short(link, int(free_units[link]), float(asked)) for link in way]
                found[name] = np.logical_or.reduce(short) if short else self._sum([]) > 0
        return {name: broken for name, broken in found.items() if broken.any()}

    def _sum(self, parts: Sequence[Floats]) -> Floats:
        return np.sum(parts, axis=0) if parts else np.zeros(self.steps)

    def _short(self, link: int, free_units: int, asked_bps: float) -> Bools:
        """At which steps a link has less than is asked; what is not known is too little."""
        ahead = self.ahead(link) if link >= 0 else None
        free_bps = self._sum([ahead.worst_free_bps] if ahead else []) + free_units / BPS_SCALE
        return (free_bps < asked_bps * (1 - EQUAL)) | (free_units < 0)

    def best(self, stay: Floats, go: Floats, worth: float) -> tuple[int, ...]:
        """The steps at which to change between the path in use and another, so that all costs least: none to stay, 0
        first to move now.

        Args:
            stay: What the path in use costs at each step.
            go: The other.
            worth: What each move has to bring in, as a mean over the horizon, as costs are.
        """
        return schedule(stay.tolist(), go.tolist(), worth, self.soon)

    def why_waits(self, stay: Floats, go: Floats, worth: float, other: str) -> str:
        """Why the path in use is best kept for now although another is cheaper on the whole; empty if it is not.

        Args:
            other: The other path, for people; the rest as for ``best``.
        """
        changes, better = self.best(stay, go, worth), stay > go * (1 + EQUAL)
        if changes[:1] == (0,):
            return ""
        if changes:
            return f"{other} is forecast to be worth a move from {self.at(changes[0])} on, and there is time until then"
        return f"{other} is forecast to be better {self.told(better)}, and a move is worth more than that"

    def since(self, old: tuple[Route, Ask], new: tuple[Route, Ask]) -> str:
        """From when on another path is forecast to be better, where it is not yet."""
        if not self.changes((*old[0].links, *new[0].links)):
            return ""
        better = self.cost(*old) > self.cost(*new) * (1 + EQUAL)
        return "" if better[0] else self.told(better)

    def told(self, which: Bools) -> str:
        """When that is, for people: of several times, from the first on."""
        steps = np.flatnonzero(which)
        if not steps.size or steps.size == self.steps:
            return f"for {self.steps * self.step_s / 60:g} min" if steps.size else "at no time"
        start = f"from {self.at(int(steps[0]))}" if steps[0] else "from now"
        if steps[-1] == self.steps - 1 and steps.size == self.steps - steps[0]:
            return f"{start} on"
        return f"{start} for {steps.size * self.step_s / 60:g} min"

    def at(self, step: int) -> str:
        """When a step begins, for people."""
        return f"{datetime.fromtimestamp(self._now_s + step * self.step_s, UTC):%H:%M} UTC"


def schedule(stay: Sequence[float], go: Sequence[float], worth: float, soon: int) -> tuple[int, ...]:
    """The steps at which to change between two paths, so that the mean cost over all steps, with what each change has
    to be worth, is least; of equals the one with fewer changes.

    Changes are possible now, at step 0, and from step ``soon`` on, when there is another plan.
    """
    steps, due = len(stay), worth * len(stay) * (1 + EQUAL)
    costs = (stay, go)
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), (0.0, ())]
    """By path, what it costs at least from a step on, and the changes that takes."""
    for step in range(steps - 1, -1, -1):
        on = [(costs[way][step] + best[way][0], best[way][1]) for way in (0, 1)]
        if step and step < soon:
            best = on
            continue
        off = [(on[1 - way][0] + due, (step, *on[1 - way][1])) for way in (0, 1)]
        best = [min(on[way], off[way], key=lambda one: (round(one[0], 12), len(one[1]))) for way in (0, 1)]
    return best[0][1]


def _as_lost(figure: Figure) -> Figure:
    median, worst = (log_loss(min(MOST_LOSS, loss)) for loss in (figure.median, figure.pessimistic))
    return Figure(median=median, pessimistic=worst)
