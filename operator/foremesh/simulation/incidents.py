"""What happens to links unannounced: cuts, brown-outs, loss, and reroutes that shift a base round trip for hours.

Incidents strike corridors, so both directions at once. None follows a clock, so no forecaster can know of one before
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from foremesh.model.series import Floats


class What(StrEnum):
    """Kinds of incident."""

    CUT = "cut"
    BROWN_OUT = "brown-out"
    LOSS = "loss"
    REROUTE = "reroute"


@dataclass(frozen=True)
class Incident:
    """Something that happens to a corridor."""

    what: What
    corridor: str
    start_minute: int
    """From the first minute of the warm-up."""
    minutes: int
    added_ms: float = 0.0
    """To the round trip; a reroute may take some away."""
    loss: float = 0.0
    """Share of packets lost on top, 0 to 1."""

    @property
    def span(self) -> slice:
        """Its minutes."""
        return slice(self.start_minute, self.start_minute + self.minutes)


CUTS_PER_DAY = 1 / 30
"""Cuts of a corridor a day: six in three days on 60 corridors, and a few that they take along. Edges of a large
backbone fail every few weeks to months (Meza et al., "A Large Scale Study of Data Center Network Reliability", IMC
2018), routes between providers more often (Labovitz et al., "Experimental Study of Internet Stability and Backbone
Failures", FTCS 1999)."""

CUT_MIN = (8.0, 1.6)
"""Duration of a cut: median in minutes, and log-sigma. Most link failures last under ten minutes (Iannaccone et al.,
"Analysis of Link Failures in an IP Backbone", IMW 2002); the tail is hours, where fibre has to be mended (Meza et al.,
2018)."""

SHARED_CUTS, SHARED_WITH = 0.3, 2
"""Share of cuts that take other corridors of one end along, and how many at most: almost 30 % of unplanned failures hit
several links, through a router or optical equipment (Markopoulou et al., "Characterization of Failures in an
Operational IP Backbone Network", 2008)."""

BROWN_OUTS_PER_DAY = 1 / 30
"""Brown-outs of a corridor a day: as often as cuts. Together they are 0.07 a day; 132 paths had 32 outages of over half
an hour in 64 hours, 0.09 a day (Andersen et al., "Resilient Overlay Networks", SOSP 2001). That links limp as well as
die: Fontugne et al., "Pinpointing Delay and Forwarding Anomalies Using Large-Scale Traceroute Measurements", IMC
2017."""

BROWN_OUT_MIN, BROWN_OUT_MS, BROWN_OUT_LOSS = (25.0, 1.2), (20.0, 0.7), (0.002, 0.03)
"""Duration (median minutes, log-sigma: two in five over half an hour), added round trip (median
milliseconds, log-sigma: half of a full buffer, ``network.BUFFER_MS``), and loss (log-uniform)."""

LOSSES_PER_DAY = 1 / 30
"""Loss episodes of a corridor a day, without delay (a bad optic, a full line card): as often as the two other kinds,
for want of a figure of their own."""

LOSS_MIN, LOSS_SHARE = (10.0, 1.2), (0.005, 0.1)
"""Duration (median minutes, log-sigma) and share lost (log-uniform). Loss stays in one of a few regimes for minutes to
tens of minutes (Zhang et al., "On the Constancy of Internet Path Properties", IMW 2001), with a heavy tail (Paxson,
"End-to-End Internet Packet Dynamics", 1999)."""

EVERYDAY_LOSS = (5e-5, 1.0)
"""Share lost on a corridor when nothing is wrong: median and log-sigma. Backbones promise 1e-3 and keep far below."""

LIVELY, LIVELY_PER_DAY, CALM_PER_DAY = 1 / 3, 1 / 3, 1 / 10
"""Share of corridors whose routes change often, and how often a lively and a calm one leaves its usual route. Two
thirds of paths keep a route for days or weeks, the others do not (Paxson, "End-to-End Routing Behavior in the
Internet", 1997); most changes of routes do not change delay (Shao et al., "One-to-One Matching of RTT and Path
Changes", ITC 2017), so these are fewer than changes of routes."""

AWAY_MIN = (90.0, 1.5)
"""Minutes until the usual route is back: median and log-sigma. Paths are dominated by one route (Paxson, 1997); states
of RIPE Atlas round trips last from under an hour to days (Mouchet et al., "Large-Scale Characterization and
Segmentation of Internet Path Delays with Infinite HMMs", IEEE Access 2020)."""

ROUTES = 3
"""Other routes of a corridor, each with an effect of its own: 72.5 % of changes of routes have the same effect each
time they occur (Rimondini et al., "Towards an Automated Investigation of the Impact of BGP Routing Changes on Network
Delay Variations", PAM 2014), and states recur (Mouchet et al., 2020)."""

ROUTE_SHARE, ROUTE_MS = 0.12, 1.5
"""Mean of what another route adds: share of the base round trip plus milliseconds, both exponential. Most shifts are
small, a few are large (Pucha et al., "Understanding Network Delay Changes Caused by Routing Events", SIGMETRICS
2007)."""

SHORTER, SHORTEST = 0.25, 0.1
"""Share of other routes that are shorter (routing does not minimise delay), and by what share of the base at most."""


def strike(
    corridors: Sequence[str],
    ends: Sequence[tuple[int, int]],
    base_ms: Floats,
    minutes: int,
    rng: dict[str, Generator],
) -> tuple[Incident, ...]:
    """Everything that happens within so many minutes, by start.

    Args:
        corridors: Names; both directions of a pair of places.
        ends: Numbers of each one's two places.
        base_ms: Usual round trip of each.
        rng: A generator each for ``cuts``, ``brown-outs``, ``losses`` and ``reroutes``.
    """
    days = minutes / 1440
    found: list[Incident] = []

    def starts(source: Generator, per_day: Floats) -> list[tuple[int, int]]:
        """Corridor and minute of each."""
        counts = source.poisson(per_day * days)
        return [(row, int(at)) for row, count in enumerate(counts) for at in source.integers(0, minutes, count)]

    everywhere = np.ones(len(corridors))
    source = rng["cuts"]
    beside = [
        [other for other, pair in enumerate(ends) if other != row and end in pair] for row, (end, _) in enumerate(ends)
    ]
    for row, at in starts(source, everywhere * CUTS_PER_DAY):
        lasting = _minutes(source, CUT_MIN)
        struck = [row]
        if source.random() < SHARED_CUTS and beside[row]:
            struck += [int(one) for one in source.permutation(beside[row])[: source.integers(1, SHARED_WITH + 1)]]
        found += [Incident(What.CUT, corridors[one], at, lasting, loss=1.0) for one in struck]

    source = rng["brown-outs"]
    for row, at in starts(source, everywhere * BROWN_OUTS_PER_DAY):
        lasting, added_ms = _minutes(source, BROWN_OUT_MIN), _log_normal(source, BROWN_OUT_MS)
        loss = _log_uniform(source, BROWN_OUT_LOSS)
        found.append(Incident(What.BROWN_OUT, corridors[row], at, lasting, added_ms, loss))

    source = rng["losses"]
    for row, at in starts(source, everywhere * LOSSES_PER_DAY):
        lasting, loss = _minutes(source, LOSS_MIN), _log_uniform(source, LOSS_SHARE)
        found.append(Incident(What.LOSS, corridors[row], at, lasting, loss=loss))

    source = rng["reroutes"]
    lively = source.random(len(corridors)) < LIVELY
    shares, fixed_ms = source.exponential(size=(2, len(corridors), ROUTES))
    added = ROUTE_SHARE * shares * base_ms[:, None] + ROUTE_MS * fixed_ms
    shorter = source.random(added.shape) < SHORTER
    added = np.where(shorter, -np.minimum(added, SHORTEST * base_ms[:, None]), added)
    until = np.zeros(len(corridors), dtype=int)
    for row, at in sorted(starts(source, np.where(lively, LIVELY_PER_DAY, CALM_PER_DAY))):
        lasting, route = _minutes(source, AWAY_MIN), int(source.integers(ROUTES))
        if at >= until[row]:  # one other route at a time
            found.append(Incident(What.REROUTE, corridors[row], at, lasting, float(added[row, route])))
            until[row] = at + lasting
    return tuple(sorted(found, key=lambda one: (one.start_minute, one.what, one.corridor)))


def everyday_loss(count: int, rng: Generator) -> Floats:
    """Share lost on each of so many corridors when nothing is wrong."""
    median, sigma = EVERYDAY_LOSS
    return median * np.exp(sigma * rng.standard_normal(count))


def _log_normal(rng: Generator, shape: tuple[float, float]) -> float:
    median, sigma = shape
    return float(median * np.exp(sigma * rng.standard_normal()))


def _minutes(rng: Generator, shape: tuple[float, float]) -> int:
    return max(1, round(_log_normal(rng, shape)))


def _log_uniform(rng: Generator, ends: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(ends))))
