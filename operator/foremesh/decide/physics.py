"""Forecasts within what can be: no round trip under that of light, no rate over a capacity. Pure.

A forecaster knows a series and not what it is about; what is declared of gateways knows better than any past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from foremesh.decide.values import Declared
from foremesh.forecast.levels import median
from foremesh.model.forecast import Forecast
from foremesh.model.link import LinkId
from foremesh.model.physics import light_rtt_ms
from foremesh.model.resource import Location, Resource
from foremesh.model.series import Flow, Metric, SeriesBatch, SeriesKey
from foremesh.routing.graph import capacities

NO_BOUNDS: Mapping[SeriesKey, float] = {}


def within_physics(
    forecasts: Mapping[Metric, Forecast], seen: Mapping[Metric, SeriesBatch], declared: Declared
) -> dict[Metric, Forecast]:
    """Forecasts with every quantile within the bounds of what is declared.

    Args:
        forecasts: By metric.
        seen: The newest samples. A link that was measured to be faster than light between the places declared for its
            gateways is not there: it is left as it is forecast.
        declared: Where gateways are, and what they and their links can carry. What is not declared bounds nothing.
    """
    found = dict(forecasts)
    if rtt := found.get(Metric.RTT):
        found[Metric.RTT] = rtt.within(least_rtt_ms(rtt, seen.get(Metric.RTT), declared), NO_BOUNDS)
    for metric in (Metric.THROUGHPUT, Metric.DEMAND):
        if rates := found.get(metric):
            found[metric] = rates.within(NO_BOUNDS, most_bps(rates, declared))
    return found


def least_rtt_ms(forecast: Forecast, seen: SeriesBatch | None, declared: Declared) -> dict[SeriesKey, float]:
    """The shortest round trip of every link whose ends' places are known."""
    links = [link for link in forecast.keys if isinstance(link, LinkId)]
    places = [[_place(declared.resources.get(end)) for end in (link.src, link.dst)] for link in links]
    where = np.array(places, dtype=np.float64).reshape(len(links), 4)
    least_ms = light_rtt_ms(*where.T)
    bounds: dict[SeriesKey, float] = {
        link: ms for link, ms in zip(links, least_ms.tolist(), strict=True) if math.isfinite(ms)
    }
    if seen is not None and bounds:
        middle_ms = median(seen.values)
        for link, ms in zip(seen.keys, middle_ms.tolist(), strict=True):
            if ms < bounds.get(link, -math.inf):
                del bounds[link]
    return bounds


def _place(gateway: Resource | None) -> tuple[float | None, float | None]:
    location = gateway.spec.location if gateway else Location()
    return location.latitude, location.longitude


def most_bps(forecast: Forecast, declared: Declared) -> dict[SeriesKey, float]:
    """What every link can carry, and what a flow's two gateways can; those of which nobody says are left out."""
    gateways = [resource for resource in declared.resources.values() if resource.is_gateway]
    ends = {key: LinkId(src=key.src, dst=key.dst) if isinstance(key, Flow) else key for key in forecast.keys}
    # A flow may take any link between its ends, or none: only the gateways' own capacities bound it.
    facts = {} if forecast.metric is Metric.DEMAND else declared.links
    links = [end for end in ends.values() if isinstance(end, LinkId)]
    known = capacities(gateways, dict.fromkeys(links), facts)
    return {key: known[end] for key, end in ends.items() if isinstance(end, LinkId) and end in known}
