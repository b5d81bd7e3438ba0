"""From a week that a real Prometheus holds to a forecast: both rooms as the operator puts them together."""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Metric
from foremesh.telemetry import LinkHistory, PrometheusSource

from .made import DAY_S, NOW_S, daily

SCRAPE_S = 60.0
RATE_S = 240.0
SWINGING = LinkId(src="ams", dst="fra")
STEADY = LinkId(src="fra", dst="ams")


def openmetrics(path: Path, rtt_ms: dict[LinkId, Floats], times_s: Floats) -> Path:
    """What the agents' exporter would have counted: ten probes a scrape, each of the time given."""
    lines = ["# TYPE foremesh_link_rtt_seconds histogram"]
    for link, values in rtt_ms.items():
        labels = f'src="{link.src}",dst="{link.dst}",link="{link.underlay}"'
        total, count = np.cumsum(values / 1000 * 10), 10 * np.arange(1, len(values) + 1)
        for name, counted in (("sum", total), ("count", count)):
            lines += [
                f"foremesh_link_rtt_seconds_{name}{{{labels}}} {value:.4f} {time_s:.0f}"
                for value, time_s in zip(counted, times_s, strict=True)
            ]
    path.write_text("\n".join([*lines, "# EOF\n"]))
    return path


@pytest.mark.prometheus
async def test_a_week_in_prometheus_teaches_the_rhythm(
    new_prometheus: Callable[..., Any], pool: Executor, tmp_path: Path
) -> None:
    times_s = np.arange(NOW_S - 7 * DAY_S, NOW_S + 1, SCRAPE_S)
    noise = np.random.default_rng(5).normal(0, 0.5, len(times_s))
    held = {SWINGING: daily(times_s, noise=0.5), STEADY: 20 + noise}
    server = new_prometheus({"scrape_configs": []}, backfill=openmetrics(tmp_path / "week.txt", held, times_s))
    history = LinkHistory(
        PrometheusSource(server.url, rate_window_s=RATE_S),
        recent_step_s=SCRAPE_S,
        recent_window_s=3600,
        past_step_s=300,
        past_window_s=7 * DAY_S,
    )
    series = await history.read(Metric.RTT, now_s=NOW_S)
    fitted = await refit(FittedModels(), series.past, pool=pool, horizon_s=3600)
    answer = quantile_forecast(series.recent, horizon_s=3600, step_s=300, past=series.past, fitted=fitted)
    assert answer.model(SWINGING) in ("additive", "prophet"), "both know the rhythm; which is nearer is noise"
    assert "last" not in answer.reason(SWINGING).partition("weights")[2]
    assert answer.model(STEADY) in ("median", "additive")
    came = daily(NOW_S + 300 * np.arange(1, 13), noise=0)
    assert answer.values[1, answer.keys.index(SWINGING)] == pytest.approx(came, abs=3)
    assert answer.values[1, answer.keys.index(STEADY)] == pytest.approx(20, abs=1)
