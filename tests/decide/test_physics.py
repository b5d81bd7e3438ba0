"""Forecasts stay within what can be, and what is measured is believed over what is declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scene import gateway_body
from foremesh.decide import Declared, within_physics
from foremesh.model.forecast import Forecast
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.resource import Resource
from foremesh.model.series import Floats, Flow, Metric, SeriesBatch, SeriesKey

LINK = LinkId(src="mesh/ams", dst="mesh/fra")
FLOW = Flow(src="mesh/ams", dst="mesh/fra", circuit="mesh/c")
PLACES = {"ams": (52.3667, 4.9), "fra": (50.1109, 8.6821)}
LEAST_MS = 2.41
"""Round trip of light between the two."""


def declared(capacity: str = "1G", *, facts: LinkFacts | None = None, placed: bool = True) -> Declared:
    resources = {}
    for name, (latitude, longitude) in PLACES.items():
        location = {"site": name, **({"latitude": latitude, "longitude": longitude} if placed else {})}
        gateway = {"role": "Core", "endpoint": "203.0.113.1:51820", "capacity": capacity}
        resource = Resource.from_manifest(gateway_body(name, location=location, gateway=gateway))
        resources[resource.id] = resource
    return Declared(resources=resources, links={LINK: facts} if facts else {})


def forecast(metric: Metric, key: SeriesKey, values: Floats) -> dict[Metric, Forecast]:
    return {metric: Forecast(metric, (key,), 60.0, 0.0, values[:, None, :], ("last",), ("why",))}


def seen(*values_ms: float) -> dict[Metric, SeriesBatch]:
    return {Metric.RTT: SeriesBatch(Metric.RTT, (LINK,), np.array([values_ms]), 15.0, 0.0)}


quantiles = st.lists(st.lists(st.floats(0, 1e10), min_size=3, max_size=3), min_size=1, max_size=4).map(
    lambda steps: np.sort(np.array(steps), axis=1).T
)


@given(quantiles)
def test_no_quantile_of_a_round_trip_is_under_light_time(values: Floats) -> None:
    found = within_physics(forecast(Metric.RTT, LINK, values), seen(5.0), declared())[Metric.RTT].values[:, 0]
    least = found.min()
    assert least == pytest.approx(LEAST_MS, rel=0.01) or least > LEAST_MS
    assert (found >= values).all()
    assert (np.diff(found, axis=0) >= 0).all(), "ordered, as they were"
    assert (found[values > LEAST_MS * 1.01] == values[values > LEAST_MS * 1.01]).all()


@given(quantiles, st.sampled_from([(Metric.THROUGHPUT, LINK), (Metric.DEMAND, FLOW)]))
def test_no_quantile_of_a_rate_is_over_the_capacity(values: Floats, what: tuple[Metric, SeriesKey]) -> None:
    found = within_physics(forecast(*what, values), {}, declared("1G"))[what[0]].values[:, 0]
    assert (found == np.minimum(values, 1e9)).all()


def test_the_capacity_of_the_link_goes_before_that_of_its_gateways() -> None:
    values = np.full((3, 2), 5e9)
    known = declared("1G", facts=LinkFacts(capacity_bps=2e8))
    assert within_physics(forecast(Metric.THROUGHPUT, LINK, values), {}, known)[Metric.THROUGHPUT].values.max() == 2e8
    assert within_physics(forecast(Metric.DEMAND, FLOW, values), {}, known)[Metric.DEMAND].values.max() == 1e9


def test_a_link_that_is_faster_than_its_declared_places_allow_is_not_there() -> None:
    values = np.full((3, 2), 0.9)
    assert within_physics(forecast(Metric.RTT, LINK, values), seen(1.0, 0.9, np.nan), declared())[
        Metric.RTT
    ].values.max() == pytest.approx(0.9)
    assert within_physics(forecast(Metric.RTT, LINK, values), seen(3.0, 0.9, 3.1), declared())[
        Metric.RTT
    ].values.min() == pytest.approx(LEAST_MS, rel=0.01)


def test_what_is_not_declared_bounds_nothing() -> None:
    fast = forecast(Metric.RTT, LINK, np.full((3, 2), 0.1))
    assert within_physics(fast, {}, declared(placed=False))[Metric.RTT] is fast[Metric.RTT]
    assert within_physics(fast, {}, Declared())[Metric.RTT] is fast[Metric.RTT]
    unknown = forecast(Metric.RTT, LINK, np.full((3, 2), np.nan))
    assert np.isnan(within_physics(unknown, {}, declared())[Metric.RTT].values).all()


def test_other_metrics_and_keys_are_left_alone() -> None:
    loss = forecast(Metric.LOSS, LINK, np.full((3, 1), 0.5))
    named = forecast(Metric.RTT, "recorded", np.full((3, 1), 0.1))
    assert within_physics(loss, {}, declared()) == loss
    assert within_physics(named, {}, declared())[Metric.RTT] is named[Metric.RTT]
    assert replace(loss[Metric.LOSS]).figure(LINK) is not None
