"""Which links the mesh has, from what is declared, measured, set up and in use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np

from foremesh.decide.values import Forecasts, Observed
from foremesh.model.circuit import Circuit
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member
from foremesh.model.series import Metric, SeriesKey
from foremesh.routing.neighbours import Limits, Pair, Seen, neighbours, pair
from foremesh.settings import PlanningSettings

LOST = 0.5
"""Share of lost probes from which a link is no neighbour to count on; queues and bad radio stay far below."""


def mesh_links(
    members: Iterable[Member],
    observed: Observed,
    forecasts: Forecasts,
    circuits: Iterable[Circuit],
    planning: PlanningSettings,
    *,
    now_s: float,
) -> tuple[LinkId, ...]:
    """The links between gateways whose agents have registered, silent ones too; see ``neighbours``.

    Args:
        circuits: All on record: the links that their labels run over stay.
    """
    gateways = [member for member in members if member.is_gateway and member.registration]
    limits = Limits(
        full_mesh=planning.full_mesh,
        edge_neighbours=planning.edge_neighbours,
        max_neighbours=planning.max_neighbours,
        trial_s=planning.neighbour_trial,
    )
    resources = [member.resource for member in gateways]
    if len(gateways) <= limits.full_mesh:
        return neighbours(resources, Seen(), limits, now_s=now_s)
    paths = (label.path for circuit in circuits for label in circuit.status.labels)
    seen = Seen(
        rtt_ms=measured_ms(forecasts),
        linked=frozenset(
            pair(id_, peer.gateway) for id_, config in observed.configs.items() for peer in config.hop_peers
        ),
        used=frozenset(pair(*step) for path in paths for step in pairwise(path)),
        absent=frozenset(member.id for member in gateways if not member.present),
    )
    return neighbours(resources, seen, limits, now_s=now_s)


def measured_ms(forecasts: Forecasts) -> Mapping[Pair, float]:
    """Round trips in milliseconds between gateways, over the best link of each pair; infinite where all are dead.

    A link that is not there any more, after a trial, is as it was when it was measured last: the past remembers it.
    """
    rtt_ms, loss = _newest(forecasts, Metric.RTT), _newest(forecasts, Metric.LOSS)
    found: dict[Pair, float] = {}
    for link in rtt_ms.keys() | loss.keys():
        if not isinstance(link, LinkId):
            continue
        dead = loss.get(link, 0.0) >= LOST
        if dead or link in rtt_ms:
            ends = pair(link.src, link.dst)
            found[ends] = min(found.get(ends, np.inf), np.inf if dead else rtt_ms[link])
    return found


def _newest(forecasts: Forecasts, metric: Metric) -> dict[SeriesKey, float]:
    """What is expected of every series, or else the newest sample there is."""
    found: dict[SeriesKey, float] = {}
    past, forecast = forecasts.past.get(metric), forecasts.by_metric.get(metric)
    if past is not None and past.keys:
        values, _ = past.newest()
        found |= {key: float(value) for key, value in zip(past.keys, values, strict=True) if np.isfinite(value)}
    for key in forecast.keys if forecast else ():
        if figure := forecast.figure(key) if forecast else None:
            found[key] = figure.median
    return found
