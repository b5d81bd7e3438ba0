"""One contract for every source of series: the same samples go into each, and the same must come out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey
from foremesh.telemetry import (
    MemorySource,
    PrometheusSource,
    RecordedSource,
    Samples,
    SeriesSource,
    WindowError,
)

STEP_S = 60.0
END_S = 1_700_000_040.0
SAMPLES = 30
AMS_FRA = LinkId(src="ams", dst="fra")
FRA_AMS = LinkId(src="fra", dst="ams")
AMS_SENDS = Flow(src="lab/ams", dst="lab/fra", circuit="lab/c")
FRA_SENDS = Flow(src="lab/fra", dst="lab/ams", circuit="lab/c")
GAP = slice(10, 15)

LINKS = {
    Metric.RTT: {AMS_FRA: 20.0, FRA_AMS: 35.5},
    Metric.LOSS: {AMS_FRA: 0.25, FRA_AMS: 0.0},
    Metric.THROUGHPUT: {AMS_FRA: 8e6, FRA_AMS: 1e5},
    Metric.LOAD: {"ams": 0.7, "fra": 0.1},
    Metric.JITTER: {AMS_FRA: 1.5, FRA_AMS: 0.25},
    Metric.DEMAND: {AMS_SENDS: 4e6, FRA_SENDS: 5e4},
}
"""What every source holds: constant levels, with a gap in what is about ``ams``."""


def held() -> dict[Metric, dict[SeriesKey, Samples]]:
    times_s = END_S - STEP_S * np.arange(SAMPLES - 1, -1, -1)
    series = {}
    for metric, levels in LINKS.items():
        series[metric] = {key: Samples(times_s, np.full(SAMPLES, level)) for key, level in levels.items()}
        for key in ("ams", AMS_FRA, AMS_SENDS):
            if key in series[metric]:
                series[metric][key].values[GAP] = np.nan
    return series


def memory(_: Path) -> SeriesSource:
    return MemorySource(held())


def recorded(suffix: str) -> Callable[[Path], SeriesSource]:
    def build(folder: Path) -> SeriesSource:
        files = {}
        for metric, keyed in held().items():
            files[metric] = folder / f"{metric}.{suffix}"
            rows = [
                (str(key), t, v)
                for key, samples in keyed.items()
                for t, v in zip(samples.times_s, samples.values, strict=True)
            ]
            frame = pd.DataFrame(rows, columns=["series", "time", "value"]).sample(frac=1.0, random_state=1)
            frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
            if suffix == "csv":
                frame.to_csv(files[metric], index=False)
            else:
                frame.to_parquet(files[metric], index=False)
        return RecordedSource(files)

    return build


SOURCES = {"memory": memory, "csv": recorded("csv"), "parquet": recorded("parquet")}


@pytest.fixture(params=[*SOURCES, pytest.param("prometheus", marks=pytest.mark.prometheus)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SeriesSource:
    if request.param in SOURCES:
        return SOURCES[request.param](tmp_path)
    start = request.getfixturevalue("new_prometheus")
    server = start({"scrape_configs": []}, backfill=openmetrics(tmp_path / "history.txt"))
    return PrometheusSource(server.url, rate_window_s=STEP_S)


def openmetrics(path: Path) -> Path:
    """The held levels as the agents' exporter would have counted them, a scrape each 15 s, none within the gap."""
    # Off the samples' times, so that no scrape lies on the edge of a rate's window.
    scrapes_s = np.arange(END_S - (SAMPLES + 1) * STEP_S + 7, END_S, 15.0)
    sample = SAMPLES - 1 - np.floor((END_S - scrapes_s) / STEP_S)
    silent = (sample >= GAP.start) & (sample < GAP.stop)

    def counter(name: str, labels: str, per_s: float, quiet: bool) -> Iterator[str]:
        for number, time_s in enumerate(scrapes_s):
            if not (quiet and silent[number]):
                yield f"{name}{{{labels}}} {per_s * (time_s - scrapes_s[0]):.6f} {time_s:.0f}"

    lines = ["# TYPE foremesh_link_rtt_seconds histogram"]
    for link in (AMS_FRA, FRA_AMS):
        quiet = link == AMS_FRA
        labels = f'src="{link.src}",dst="{link.dst}",link="{link.underlay}"'
        lines += counter("foremesh_link_rtt_seconds_sum", labels, LINKS[Metric.RTT][link] / 1000 * 2, quiet)
        lines += counter("foremesh_link_rtt_seconds_count", labels, 2.0, quiet)
        lines += counter("foremesh_link_rtt_seconds_bucket", f'{labels},le="+Inf"', 2.0, quiet)
    for name, metric, per_s in (
        ("foremesh_link_probes_sent", None, 2.0),
        ("foremesh_link_probes_lost", Metric.LOSS, 2.0),
        ("foremesh_link_transmit_bytes", Metric.THROUGHPUT, 1 / 8),
    ):
        lines.append(f"# TYPE {name} counter")
        for link in (AMS_FRA, FRA_AMS):
            labels = f'src="{link.src}",dst="{link.dst}",link="{link.underlay}"'
            level = LINKS[metric][link] if metric else 1.0
            lines += counter(f"{name}_total", labels, per_s * level, link == AMS_FRA)
    lines.append("# TYPE foremesh_circuit_transmit_bytes counter")
    for flow, bps in LINKS[Metric.DEMAND].items():
        labels = f'src="{flow.src}",dst="{flow.dst}",circuit="{flow.circuit}"'
        lines += counter("foremesh_circuit_transmit_bytes_total", labels, bps / 8, flow == AMS_SENDS)
    lines.append("# TYPE foremesh_gateway_load_ratio gauge")
    for gateway, level in LINKS[Metric.LOAD].items():
        for number, time_s in enumerate(scrapes_s):
            if not (gateway == "ams" and silent[number]):
                lines.append(f'foremesh_gateway_load_ratio{{gateway="{gateway}"}} {level} {time_s:.0f}')
    lines.append("# TYPE foremesh_link_jitter_seconds gauge")
    for link, jitter_ms in LINKS[Metric.JITTER].items():
        for way, factor in (("forward", 1e-3), ("reverse", 7e-3)):
            labels = f'src="{link.src}",dst="{link.dst}",link="{link.underlay}",direction="{way}"'
            for number, time_s in enumerate(scrapes_s):
                if not (link == AMS_FRA and silent[number]):
                    lines.append(f"foremesh_link_jitter_seconds{{{labels}}} {factor * jitter_ms} {time_s:.0f}")
    path.write_text("\n".join([*lines, "# EOF\n"]))
    return path


async def test_every_metric_comes_in_its_unit_with_its_gap_unknown(source: SeriesSource) -> None:
    for metric, levels in LINKS.items():
        batch = await source.read(metric, end_s=END_S, window_s=25 * STEP_S, step_s=STEP_S)
        assert batch.metric is metric
        assert batch.keys == tuple(sorted(levels, key=str))
        assert batch.values.shape == (2, 25)
        assert (batch.end_s, batch.step_s) == (END_S, STEP_S)
        about_ams, about_fra = batch.values
        known = np.isfinite(about_ams)
        level_ams, level_fra = levels.values()
        assert about_ams[known] == pytest.approx(level_ams, rel=1e-3)
        assert about_fra == pytest.approx(level_fra, rel=1e-3)
        assert np.flatnonzero(~known).tolist() == list(range(GAP.start - 5, GAP.stop - 5))


async def test_a_metric_without_series_is_an_empty_batch(source: SeriesSource) -> None:
    batch = await source.read(Metric.RTT, end_s=END_S - 86400, window_s=600, step_s=STEP_S)
    assert batch.keys == ()
    assert batch.values.shape == (0, 10)


async def test_samples_are_oldest_first_and_end_at_the_end(source: SeriesSource) -> None:
    batch = await source.read(Metric.RTT, end_s=END_S + 3 * STEP_S, window_s=5 * STEP_S, step_s=STEP_S)
    assert np.isfinite(batch.values[:, :2]).all()
    assert np.isnan(batch.values[:, -1]).all()


@pytest.mark.parametrize(
    ("window_s", "step_s"),
    [
        pytest.param(90.0, 60.0, id="window-is-no-multiple-of-the-step"),
        pytest.param(0.0, 60.0, id="empty-window"),
        pytest.param(60.0, 0.0, id="no-step"),
    ],
)
async def test_windows_that_cannot_be_read(source: SeriesSource, window_s: float, step_s: float) -> None:
    with pytest.raises(WindowError, match="nothing was read") as caught:
        await source.read(Metric.RTT, end_s=END_S, window_s=window_s, step_s=step_s)
    assert (caught.value.window_s, caught.value.step_s) == (window_s, step_s)
