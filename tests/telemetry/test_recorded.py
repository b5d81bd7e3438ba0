"""Recordings in the long format: what is read, and what is refused with a message a person can act on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.model.link import LinkId
from foremesh.model.series import Metric
from foremesh.telemetry import MemorySource, RecordedSource, RecordingError, Samples
from foremesh.telemetry.recorded import load, load_metrics, series_key


def test_times_are_iso_or_unix_and_rows_in_any_order(tmp_path: Path) -> None:
    iso, unix = tmp_path / "iso.csv", tmp_path / "unix.csv"
    iso.write_text("series,time,value\na,1970-01-01T00:05:00Z,2\na,1970-01-01 00:00:00,1\nb,1970-01-01T00:00:00Z,\n")
    unix.write_text("value,series,time,more\n2,a,300,x\n1,a,0,x\n,b,0,x\n")
    for path in (iso, unix):
        series = load(path)
        assert list(series) == ["a", "b"]
        assert series["a"].times_s.tolist() == [0, 300]
        assert series["a"].values.tolist() == [1, 2]
        assert series["a"].step_s == 300
        assert np.isnan(series["b"].values).all()


def test_a_file_may_hold_several_metrics(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("series,time,value,metric\nb,0,0.5,loss\nNA,0,7,\na,60,9,rtt\na,0,8,rtt\n007,0,0.25,load\n")
    found = load_metrics(path)
    values = {metric: {name: one.values.tolist() for name, one in series.items()} for metric, series in found.items()}
    assert values == {Metric.RTT: {"NA": [7], "a": [8, 9]}, Metric.LOSS: {"b": [0.5]}, Metric.LOAD: {"007": [0.25]}}
    assert load(path).keys() == {"NA", "a"}
    assert load(path, Metric.LOSS).keys() == {"b"}


def test_a_file_of_one_metric_is_of_whatever_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "any.csv"
    path.write_text("series,time,value\na,0,-3\n")
    assert load(path, Metric.LOAD)["a"].values.tolist() == [-3], "recordings of anything serve backtests"
    with pytest.raises(RecordingError, match=r"any\.csv:2: rtt is -3, which is negative"):
        load_metrics(path)


def test_the_line_of_a_row_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text("series,time,value\n\na,0,1\n\na,60,fast\n")
    with pytest.raises(RecordingError) as caught:
        load(path)
    assert caught.value.line == 5


def test_times_of_both_kinds_and_none_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text("series,time,value\na,60,1\na,1970-01-01T00:00:30Z,2\n")
    assert load(path)["a"].times_s.tolist() == [30, 60]
    path.write_text("series,time,value\na,1700000000000,1\n")
    with pytest.raises(RecordingError, match="no count of seconds"):
        load(path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("series,value\na,1\n", "no column time", id="column-missing"),
        pytest.param("series,time,value\na,soon,1\n", "soon", id="time-unreadable"),
        pytest.param("series,time,value\na,,1\n", "without a time", id="time-missing"),
        pytest.param("series,time,value\na,0,fast\n", "fast", id="value-unreadable"),
        pytest.param("series,time,value\na,0,inf\n", "infinite", id="value-infinite"),
        pytest.param("", "rtt.csv: is empty", id="empty"),
    ],
)
def test_files_that_are_no_recording(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=cause):
        RecordedSource({Metric.RTT: path})


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "text.parquet"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.parquet").write_text("series,time,value\n")
    with pytest.raises(RecordingError, match="nothing was read") as caught:
        load(tmp_path / name)
    assert caught.value.path == tmp_path / name


@given(
    st.builds(
        LinkId,
        src=st.from_regex(r"[a-z][a-z0-9-]{0,5}(/[a-z][a-z0-9-]{0,5}[a-z])?", fullmatch=True).filter(
            lambda name: "->" not in name
        ),
        dst=st.from_regex(r"[a-z][a-z0-9]{0,5}(/[a-z][a-z0-9-]{0,5}[a-z])?", fullmatch=True),
        underlay=st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True),
    )
)
def test_a_link_is_read_back_from_its_name(link: LinkId) -> None:
    assert series_key(str(link)) == link


def test_other_names_stay_names() -> None:
    assert series_key("probe-11119") == "probe-11119"


async def test_a_sample_is_the_mean_of_its_step_and_knows_nothing_later() -> None:
    samples = Samples(np.array([1.0, 9.0, 10.0, 10.5, 20.0]), np.array([7.0, 1.0, 3.0, 100.0, np.nan]))
    batch = await MemorySource({Metric.RTT: {"a": samples}}).read(Metric.RTT, end_s=10, window_s=10, step_s=5)
    assert batch.values.tolist() == [[7.0, 2.0]]
    with pytest.raises(ValueError, match="oldest first"):
        Samples(np.array([2.0, 1.0]), np.zeros(2))
