"""A path's cost counts what gateways are going to be loaded with, not what they are loaded with now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controller.scene import BY_LON, BY_PAR, NOW_S, Mesh, forecasts, intent_body, path_of
from foremesh.forecast import quantile_forecast
from foremesh.model.forecast import Forecast
from foremesh.model.series import Floats, Metric, SeriesBatch

STEP_S = 300.0
GATEWAYS = ("mesh/ams", "mesh/fra", "mesh/lon", "mesh/par")
AHEAD_S = 6 * 3600.0
RISES_S = 3 * 3600.0


def loads(times_s: Floats) -> Floats:
    """Only lon is ever busy: from three hours from now on, for half of every day."""
    phase = (times_s - NOW_S - RISES_S) % 86_400.0
    busy = np.where(phase < 43_200.0, 0.97, 0.05)
    idle = np.full(len(times_s), 0.05)
    noise = np.random.default_rng(1).normal(0, 0.005, (4, len(times_s)))
    return np.array([idle, idle, busy, idle]) + noise


def load_forecast(*, past: bool) -> Forecast:
    times_s = NOW_S - STEP_S * np.arange(7 * 288 - 1, -1, -1)
    week = SeriesBatch(Metric.LOAD, GATEWAYS, loads(times_s), STEP_S, NOW_S)
    recent = SeriesBatch(Metric.LOAD, GATEWAYS, loads(times_s)[:, -12:], STEP_S, NOW_S)
    return quantile_forecast(recent, horizon_s=AHEAD_S, step_s=1800.0, past=week if past else None)


@pytest.mark.parametrize(("past", "path"), [(False, BY_LON), (True, BY_PAR)], ids=["newest-value", "forecast"])
def test_a_gateway_that_is_going_to_be_busy_is_left_in_time(past: bool, path: tuple[str, ...]) -> None:
    """By lon it is 20 ms and by par 30, which lon's load now does not outweigh, but that of six hours does."""
    load = load_forecast(past=past)
    now = load.values[1, 2, 0]
    assert now < 0.1, "nothing is to be seen of it yet"
    known = forecasts()
    mesh = Mesh.of(
        intent_body(profile="Throughput"), forecasts=replace(known, by_metric={**known.by_metric, Metric.LOAD: load})
    )
    assert path_of(mesh.plan()) == path
