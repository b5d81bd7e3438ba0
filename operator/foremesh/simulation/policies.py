"""The policies that compete: what each expects of the links, and how willing it is to move.

All of them search with the same planner, see the same probes and start from the same week. They differ in what they
hand to it: what an administrator knows of idle links, the newest sample, an average, a forecast, or the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from foremesh.decide.planning import planner_settings
from foremesh.forecast import quantile_forecast, queueing_ms
from foremesh.model.forecast import QUANTILES, Forecast
from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Metric
from foremesh.routing import PlannerSettings
from foremesh.settings import PlanningSettings
from foremesh.simulation.history import Measured
from foremesh.simulation.world import MINUTE_S

EWMA_WEIGHT = 1 / 8
"""Share of the newest minute in the moving average: what TCP smooths its round trip with (RFC 6298, section 2.3)."""

HYSTERESIS_MS = 10.0
"""Milliseconds that another path has to be faster before the hysteretic policy moves, as NetBird's routes have it."""

MARGIN = 0.1
"""Share of a path's cost that another one has to save before the other hysteretic policy moves: what Foremesh itself
had when it knew nothing of its forecasts' errors."""

EWMA_MINUTES = 60
"""Minutes that the moving average looks back; older ones weigh less than a thousandth together."""

Expectation = Mapping[Metric, Forecast]

Expect = Callable[[Measured], Expectation]
"""From what was measured to what is expected."""


Learn = Callable[[Measured, Mapping[LinkId, float]], Mapping[LinkId, float]]
"""From what was measured, and the capacities of links in bit/s, to how they queue; see ``PredictedLink``."""


@dataclass(frozen=True)
class Policy:
    """A competitor."""

    name: str
    what: str
    """For people, in a few words."""
    expect: Expect | None
    """None: it expects of every link what it has when idle, for ever, and so never moves."""
    settings: PlannerSettings
    learn: Learn | None = None
    """None: it does not ask what its own traffic does to links."""
    by_hops: bool = False
    """It takes the path with the fewest links, whatever their round trips."""
    clairvoyant: bool = False
    """It is told what will be true until the next plan, in place of what it expects."""


def held(measured: Measured, values: Mapping[Metric, Floats], model: str) -> Expectation:
    """Forecasts that hold one value per link, without any spread."""
    return {
        metric: Forecast(
            metric=metric,
            keys=measured.links,
            step_s=MINUTE_S,
            start_s=measured.now_s,
            values=np.broadcast_to(row[None, :, None], (len(QUANTILES), len(row), 1)),
            models=(model,) * len(row),
            reasons=("",) * len(row),
        )
        for metric, row in values.items()
    }


def idle(links: tuple[LinkId, ...], rtt_ms: Floats) -> Expectation:
    """What an administrator knows who looks round trips up once: no queues, no loss, nobody else's traffic."""
    nothing = Measured(links, 0.0, 1)
    return held(nothing, {Metric.RTT: rtt_ms, Metric.LOSS: 0 * rtt_ms, Metric.THROUGHPUT: 0 * rtt_ms}, "idle")


def last_value(measured: Measured) -> Expectation:
    """The newest minute of every link; its newest known round trip, while all probes are lost."""
    return held(measured, {metric: _newest(measured.newest(metric, EWMA_MINUTES)) for metric in METRICS}, "last")


def moving_average(measured: Measured) -> Expectation:
    """Exponentially weighted averages of round trip and throughput; loss as it is now, or dead links would be used."""
    values = {metric: _average(measured.newest(metric, EWMA_MINUTES)) for metric in (Metric.RTT, Metric.THROUGHPUT)}
    return held(measured, {**values, Metric.LOSS: _newest(measured.newest(Metric.LOSS, EWMA_MINUTES))}, "ewma")


def forecast(measured: Measured) -> Expectation:
    """What the operator forecasts, with its own settings; no Prophet, which would take a minute for each fit of all."""
    planning = PlanningSettings()
    return {
        metric: quantile_forecast(
            measured.recent(metric), horizon_s=planning.horizon, step_s=planning.step, past=measured.past(metric)
        )
        for metric in METRICS
    }


def queueing(measured: Measured, capacity_bps: Mapping[LinkId, float]) -> Mapping[LinkId, float]:
    """How links queue, as the operator learns it."""
    return queueing_ms(measured.past(Metric.RTT), measured.past(Metric.THROUGHPUT), capacity_bps)


def exactly(measured: Measured, truth: Mapping[Metric, Floats]) -> Expectation:
    """What will be true of each link, shape (links, minutes): median its mean, pessimistic its worst. As one step, for
    nobody plans again before all of it is over."""
    return {
        metric: Forecast(
            metric=metric,
            keys=measured.links,
            step_s=MINUTE_S * values.shape[1],
            start_s=measured.now_s,
            values=np.array([values.min(axis=1), values.mean(axis=1), values.max(axis=1)])[:, :, None],
            models=("truth",) * len(values),
            reasons=("",) * len(values),
        )
        for metric, values in truth.items()
    }


METRICS = (Metric.RTT, Metric.LOSS, Metric.THROUGHPUT)

AT_ONCE = PlannerSettings(margin=0.0, move_worth=0.0, dwell_s=0.0, most_moves=1.0, runners_up=0, weigh_risk=False)

POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("direct", "fewest links, never moves", None, AT_ONCE, by_hops=True),
        Policy("static", "shortest on idle links, never moves", None, AT_ONCE),
        Policy("reactive", "the last minute", last_value, AT_ONCE),
        Policy(
            "reactive-hysteresis",
            "the last minute, moves for 10 ms",
            last_value,
            replace(AT_ONCE, margin_ms=HYSTERESIS_MS),
        ),
        Policy("reactive-margin", "the last minute, moves for 10 %", last_value, replace(AT_ONCE, margin=MARGIN)),
        Policy("ewma", "a moving average", moving_average, AT_ONCE),
        Policy(
            "predictive",
            "Foremesh: forecasts",
            forecast,
            planner_settings(PlanningSettings(), runners_up=0),
            learn=queueing,
        ),
        Policy("oracle", "knows what will be", last_value, AT_ONCE, clairvoyant=True),
    )
}

REACTIVE = ("reactive", "reactive-hysteresis", "reactive-margin", "ewma")
"""Those that wait for a path to be bad: the ones to beat."""


def _newest(minutes: Floats) -> Floats:
    known = np.isfinite(minutes)
    back = np.argmax(known[:, ::-1], axis=1)
    newest: Floats = minutes[np.arange(len(minutes)), minutes.shape[1] - 1 - back]
    return newest


def _average(minutes: Floats) -> Floats:
    weights = (1 - EWMA_WEIGHT) ** np.arange(minutes.shape[1] - 1, -1, -1.0)
    known = np.isfinite(minutes)
    total = (known * weights).sum(axis=1)
    with np.errstate(invalid="ignore"):
        average: Floats = np.where(known, minutes, 0.0) @ weights / total
    return average
