"""Recordings in place of a made world: any file in the long format, read as it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from foremesh.files import InputError
from foremesh.model.link import LinkId
from foremesh.simulation import topology
from foremesh.simulation.replay import replay
from foremesh.simulation.world import World
from foremesh.telemetry import Samples

LINK = LinkId(src="simulated/a", dst="simulated/b")
OTHER = LinkId(src="simulated/b", dst="simulated/c")


def _samples(values: list[float], step_s: float = 240.0, start_s: float = 1.5e9) -> Samples:
    return Samples(start_s + step_s * np.arange(len(values)), np.array(values, dtype=float))


def _row(made: World, link: LinkId = LINK) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True and measured round trips, true and measured loss of a link."""
    every = slice(0, made.minutes)
    state = made.actual(every, np.zeros(len(made.links)))
    probed = made.probed(every, state)
    row = made.links.index(link)
    return state.rtt_ms[row], probed.rtt_ms[row], state.loss[row], probed.loss[row]


def test_truth_is_held_and_measured_only_where_it_was() -> None:
    made = replay({LINK: _samples([10, 20, 30, 40, 50, 60, 70, 80, 90, 100])})
    true_ms, measured_ms, _, loss = _row(made)
    assert made.minutes == 37
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(measured_ms)), np.arange(0, 37, 4))
    np.testing.assert_array_equal(measured_ms[::4], np.arange(10, 101, 10))
    np.testing.assert_array_equal(true_ms[:8], [10, 10, 10, 20, 20, 20, 20, 30])
    np.testing.assert_array_equal(np.isfinite(loss), np.isfinite(measured_ms))
    assert made.start_s == 1.5e9


def test_a_lost_sample_is_a_link_that_is_down() -> None:
    made = replay({LINK: _samples([10, np.nan, 30] + [10] * 10)})
    true_ms, measured_ms, true_loss, loss = _row(made)
    assert np.isnan(measured_ms[4])
    assert loss[4] == 1
    assert np.isnan(true_ms[4])
    assert true_loss[4] == 1
    assert not made.actual(slice(4, 5), np.zeros(2)).up.any()


def test_a_gap_is_a_link_that_is_down() -> None:
    samples = _samples([10.0] * 40)
    kept = np.r_[0:10, 25:40]
    made = replay({LINK: Samples(samples.times_s[kept], samples.values[kept])})
    true_ms, *_ = _row(made)
    gone = np.flatnonzero(np.isnan(true_ms))
    assert gone[0] == 9 * 4 + 5
    assert gone[-1] == 25 * 4 - 5


def test_several_samples_a_minute_are_averaged_and_their_losses_counted() -> None:
    made = replay({LINK: _samples([10, 20, np.nan, 30] * 30, step_s=15, start_s=1.5e9)})
    true_ms, measured_ms, true_loss, _ = _row(made)
    assert made.minutes == 30
    np.testing.assert_allclose(measured_ms, 20)
    np.testing.assert_allclose(true_ms, 20)
    np.testing.assert_allclose(true_loss, 0.25)


def test_series_differ_in_length_and_step() -> None:
    made = replay({LINK: _samples([5.0] * 100), OTHER: _samples([7.0] * 20, step_s=600, start_s=1.5e9 + 3600)})
    first_ms, *_ = _row(made)
    second_ms, *_ = _row(made, OTHER)
    assert np.isfinite(first_ms).all()
    known = np.flatnonzero(np.isfinite(second_ms))
    assert (known[0], known[-1]) == (60 - 10, 60 + 190 + 10)


def test_a_link_recorded_one_way_has_its_way_back() -> None:
    made = replay({LINK: _samples([10.0] * 30)})
    assert made.links == (LINK, LINK.reverse)
    np.testing.assert_array_equal(_row(made)[0], _row(made, LINK.reverse)[0])


def test_traffic_changes_nothing() -> None:
    made = replay({LINK: _samples(list(np.linspace(10, 20, 30)))})
    idle, loaded = (made.actual(slice(0, made.minutes), np.full(2, rate)) for rate in (0.0, 9e9))
    np.testing.assert_array_equal(idle.rtt_ms, loaded.rtt_ms)
    np.testing.assert_array_equal(idle.loss, loaded.loss)
    assert (loaded.free_bps > 0).all()


@pytest.mark.parametrize(
    ("recorded_days", "asked", "warmup_days", "days"),
    [(10, None, 7, 3), (10, 1, 7, 1), (4, None, 2, 2), (4, 1, 2, 1), (8, None, 4, 4)],
    ids=["long", "long-cut", "short", "short-cut", "just-short"],
)
def test_what_is_for_learning(recorded_days: int, asked: float | None, warmup_days: int, days: int) -> None:
    made = replay({LINK: _samples([10.0] * (recorded_days * 360))}, days=asked)
    assert made.warmup_minutes == pytest.approx(warmup_days * 1440, abs=3)
    assert made.minutes - made.warmup_minutes == pytest.approx(days * 1440, abs=5)


@pytest.mark.parametrize("values", [[], [1.0, 2.0]], ids=["empty", "short"])
def test_too_short_a_recording_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="trace: "):
        replay({LINK: _samples(values)})
    with pytest.raises(InputError, match=r"mine\.csv: "):
        replay({LINK: _samples(values)}, path=Path("mine.csv"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_trace_is_read_from_a_file(tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    path = tmp_path / f"trace.{suffix}"
    frame = pd.DataFrame(
        {
            "series": ["a->b"] * 30 + ["ns/b->a"] * 0 + ["b->c/mpls"] * 30,
            "time": pd.to_datetime(np.tile(np.arange(30) * 240, 2), unit="s", utc=True),
            "value": [*np.linspace(5, 9, 30), np.nan, *[3.0] * 29],
        }
    )
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    trace = topology.read_trace(path)
    assert set(trace) == {LINK, LinkId(src="simulated/b", dst="simulated/c", underlay="mpls")}
    found = topology.from_trace(trace)
    assert {(link.src, link.dst): link.rtt_ms for link in found.links} == {
        ("a", "b"): 5, ("b", "a"): 5, ("b", "c"): 3, ("c", "b"): 3,
    }  # fmt: skip
    assert {link.id for link in found.links} == set(replay(trace).links)
    assert all(place.latitude is None for place in found.places)


def test_names_with_namespaces_become_places(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("series,time,value\n" + "".join(f"n/a->n/b/internet,{60 * i},5\n" for i in range(30)))
    assert set(topology.read_trace(path)) == {LinkId(src="simulated/n-a", dst="simulated/n-b")}


@pytest.mark.parametrize(
    "text",
    [
        "series,time,value\nprobe-1,0,5\n",
        "series,time,value\na->a,0,5\n",
        "series,time,value\na->b,0,5\na->b/internet,0,5\n",
        "series,time,value\na->b,0,\n",
        "name,time,value\na->b,0,5\n",
    ],
    ids=["no-link", "to-itself", "twice", "all-lost", "wrong-column"],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="name series src->dst"):
        topology.read_trace(path)


@pytest.mark.skipif("FOREMESH_SHARED" not in os.environ, reason="needs the shared measurements")
def test_ripe_atlas_round_trips_replay(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(Path(os.environ["FOREMESH_SHARED"]) / "data" / "atlas_rtt_ms.parquet")
    frame["series"] += "->target"
    frame.to_csv(tmp_path / "atlas.csv", index=False)
    made = replay(topology.read_trace(tmp_path / "atlas.csv"), days=3)
    state = made.actual(slice(0, made.minutes), np.zeros(len(made.links)))
    probed = made.probed(slice(0, made.minutes), state)
    assert len(made.links) == 50
    assert np.median(state.up.mean(axis=1)) > 0.99
    assert np.median(np.isfinite(probed.rtt_ms).mean(axis=1)) == pytest.approx(0.25, abs=0.01)
