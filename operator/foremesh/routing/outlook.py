"""How likely a path is to keep what is asked of it, as links are forecast and as the plan so far loads them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from foremesh.model.forecast import QUANTILES
from foremesh.routing.arrays import log_loss
from foremesh.routing.ask import Ask, Router
from foremesh.routing.horizon import Horizon
from foremesh.routing.labels import Route

TO_PESSIMISTIC = 1.2815515655446004
"""Standard deviations from the middle of a normal distribution to its 0.9 quantile, the pessimistic one."""

SELDOM = 1 - QUANTILES[-1]
"""How often something is worse than its pessimistic figure."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """What a link will be at each step, less what it is over the whole horizon."""

    ms: list[float]
    variance: list[float]
    usual: list[float]
    worst: list[float]
    """Of what is lost, as -ln(1 - loss)."""


class Outlook:
    """Odds on the links of one snapshot, as its plan so far loads them. Numbers are kept one by one, as a path has few
    links and is asked about often."""

    def __init__(self, router: Router, horizon: Horizon | None = None) -> None:
        arrays = router.arrays
        self._router = router
        self._reverse: list[int] = arrays.topology.reverse.tolist()
        self._median_ms: list[float] = arrays.rtt.median.tolist()
        spread = (arrays.rtt.pessimistic - arrays.rtt.median) / TO_PESSIMISTIC
        self._variance: list[float] = (spread * spread).tolist()
        with np.errstate(divide="ignore"):
            usual, worst = (-np.log1p(-figures) for figures in (arrays.loss.median, arrays.loss.pessimistic))
        self._lost: tuple[list[float], list[float]] = usual.tolist(), worst.tolist()
        self._alive: list[bool] = arrays.alive.tolist()
        self._horizon = horizon
        self._steps: dict[int, _Steps] = {}
        self._ms = self._median_ms.copy()
        self.follow(range(len(self._ms)))

    def follow(self, links: Iterable[int]) -> None:
        """Take note that the plan's traffic on these links has changed."""
        if self._router.crowding.matters:
            touched = [*links]
            touched += [other for link in touched if (other := self._reverse[link]) >= 0]
            added = self._router.crowding.added_ms(0.0, 0.0, np.array(touched, dtype=np.int64)).tolist()
            for link, more_ms in zip(touched, added, strict=True):
                self._ms[link] = self._median_ms[link] + more_ms

    def broken(self, route: Route, ask: Ask) -> float:
        """How likely the limits on round trip and loss are broken on a path, 0 to 1: at any moment of the horizon.

        The path's own traffic has to be on it already (``Placing.promise``).

        The round trip of a path is taken for normal: the medians of its links add up, and so do the squares of their
        spreads, as links err for themselves. Their pessimistic figures alone would overstate it, for not all links are
        slow at once. Loss is there or not: where only the pessimistic figure breaks the limit, that is as likely as the
        figure says. What is not known keeps no limit.
        """
        return _broken(ask, *self._stand(route, ask)) if self._lives(route) else 1.0

    def by_step(self, route: Route, ask: Ask) -> list[float]:
        """The same step by step of the horizon; for a path that is forecast to change."""
        assert self._horizon is not None
        if not self._lives(route):
            return [1.0] * self._horizon.steps
        middle_ms, variance, usual, worst = self._stand(route, ask)
        ahead = [one for one in map(self._of, route.links) if one is not None]
        return [
            _broken(
                ask,
                middle_ms + sum(one.ms[step] for one in ahead),
                max(0.0, variance + sum(one.variance[step] for one in ahead)),
                usual + sum(one.usual[step] for one in ahead),
                worst + sum(one.worst[step] for one in ahead),
            )
            for step in range(self._horizon.steps)
        ]

    def _lives(self, route: Route) -> bool:
        return all(map(self._alive.__getitem__, route.links))

    def _stand(self, route: Route, ask: Ask) -> tuple[float, float, float, float]:
        """What a path comes to: its round trip, the square of its spread, what is usually lost and what may be; NaN is
        unknown."""
        ids, links = self._router.arrays.topology.ids, route.links
        ends = (ask.sources.get(ids[route.steps[0]]), ask.destinations.get(ids[route.end]))
        attached_ms = math.nan if None in ends else sum([rtt_ms for rtt_ms in ends if rtt_ms])
        middle_ms = sum([self._ms[link] for link in links]) + attached_ms
        variance = sum([self._variance[link] for link in links])
        usual, worst = (sum([lost[link] for link in links]) for lost in self._lost)
        return middle_ms, variance, usual, worst

    def _of(self, link: int) -> _Steps | None:
        if link not in self._steps:
            assert self._horizon is not None
            ahead = self._horizon.ahead(link)
            if ahead is None:
                return None
            variance = self._variance[link]
            spread = (math.sqrt(variance) + (ahead.worst_ms - ahead.usual_ms) / TO_PESSIMISTIC).clip(min=0.0)
            self._steps[link] = _Steps(
                ahead.usual_ms.tolist(),
                (spread * spread - variance).tolist(),
                ahead.usual_lost.tolist(),
                ahead.worst_lost.tolist(),
            )
        return self._steps[link]


def _broken(ask: Ask, middle_ms: float, variance: float, usual: float, worst: float) -> float:
    """How likely the limits of an Ask are broken by what a path comes to."""
    needs, keeps = ask.requirements, 1.0
    if needs.max_latency is not None:
        keeps *= 1 - _over(float(needs.max_latency), middle_ms, math.sqrt(variance))
    if needs.max_loss is not None:
        most = log_loss(needs.max_loss)
        if math.isnan(usual):
            return 1.0
        keeps *= SELDOM if usual > most else 1 - SELDOM if worst > most else 1.0
    return 1 - keeps


def _over(limit: float, middle: float, deviation: float) -> float:
    """How likely a normal variable is over a limit."""
    if math.isnan(middle):
        return 1.0
    if deviation == 0:
        return float(middle > limit)
    return math.erfc((limit - middle) / deviation / math.sqrt(2)) / 2
