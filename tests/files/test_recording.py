"""Recordings for backtests: any series in the long format, put on steps, and what is said to those that cannot be."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foremesh.files import InputError
from foremesh.files.recording import read_recording
from foremesh.model.series import Metric

HEAD = "series,time,value\n"
START_S = 1_700_000_000


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows(name: str, at_s: list[float], values: list[object]) -> str:
    return "".join(f"{name},{time},{value}\n" for time, value in zip(at_s, values, strict=True))


def test_series_are_put_on_steps_that_end_with_their_newest_sample(tmp_path: Path) -> None:
    text = HEAD + rows("a", [0, 60, 180, 240], [1, 2, 4, 5]) + rows("b", [0, 60, 120, 180, 240], [-1, "", -3, -4, -5])
    found = read_recording(written(tmp_path / "r.csv", text), 60.0)
    (batch,) = found.batches
    assert (batch.keys, batch.step_s, batch.end_s, found.merged, found.series) == (("a", "b"), 60.0, 240.0, 0, 2)
    np.testing.assert_array_equal(batch.values, [[1, 2, np.nan, 4, 5], [-1, np.nan, -3, -4, -5]])


def test_csv_and_parquet_and_any_order_of_rows_are_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "series": ["a"] * 50 + ["b"] * 30,
            "time": pd.to_datetime([*range(50), *range(30)], unit="m", utc=True),
            "value": random.normal(size=80),
        }
    )
    frame.to_parquet(tmp_path / "r.parquet")
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "r.csv", index=False)
    one, other = (read_recording(tmp_path / name, 60.0).batches for name in ("r.parquet", "r.csv"))
    assert [batch.keys for batch in one] == [batch.keys for batch in other] == [("a",), ("b",)]
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine.values, theirs.values)
        assert mine.end_s == theirs.end_s


def test_a_coarser_step_is_the_mean_of_what_came_within_it(tmp_path: Path) -> None:
    text = HEAD + rows("a", [60.0 * place for place in range(1, 7)], [1, 2, 3, 4, 5, 6])
    found = read_recording(written(tmp_path / "r.csv", text), 180.0)
    np.testing.assert_array_equal(found.batches[0].values, [[2, 5]])
    assert found.merged == 0


def test_clocks_may_wander_and_samples_of_one_step_are_one(tmp_path: Path) -> None:
    text = HEAD + rows("a", [0, 61, 119, 181, 181, 240], [1, 2, 3, 4, 6, 7])
    found = read_recording(written(tmp_path / "r.csv", text), 60.0)
    np.testing.assert_array_equal(found.batches[0].values, [[1, 2, 3, 5, 7]])
    assert found.merged == 1


def test_series_with_fewer_than_two_samples_are_counted_and_left_out(tmp_path: Path) -> None:
    text = HEAD + rows("a", [0, 60], [1, 2]) + rows("b", [0], [1]) + rows("c", [0, 60], ["", "nan"])
    found = read_recording(written(tmp_path / "r.csv", text), 60.0)
    assert (found.series, found.empty) == (1, 2)


def test_metrics_of_one_file_are_told_apart(tmp_path: Path) -> None:
    text = "series,time,value,metric\na,0,10,rtt\na,60,11,rtt\na,0,0.5,load\na,60,0.6,load\n"
    found = read_recording(written(tmp_path / "r.csv", text), 60.0)
    assert {(batch.metric, batch.keys) for batch in found.batches} == {
        (Metric.LOAD, ("load of a",)),
        (Metric.RTT, ("rtt of a",)),
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param(
            "",
            None,
            "is empty; the columns are series, time (ISO 8601 or Unix seconds) and value (a number, or nothing)",
            id="empty",
        ),
        pytest.param(HEAD, None, "holds no sample; give it a row for each sample", id="no-rows"),
        pytest.param(
            "series,time\na,0\n", None, "no column value, but 'series', 'time'; the columns are series", id="column"
        ),
        pytest.param(
            "name,when,value\na,0,1\n", None, "has no column series, time, but 'name', 'when', 'value'", id="columns"
        ),
        pytest.param(
            HEAD + "a,0,1\na,60,fast\n", 3, "the value 'fast' is no number; the columns are series, time", id="text"
        ),
        pytest.param(HEAD + "a,0,1\na,60,inf\n", 3, "is infinite", id="infinite"),
        pytest.param(
            HEAD + "a,noon,1\n", 2, "the time 'noon' is none; the columns are series, time (ISO 8601", id="time"
        ),
        pytest.param(HEAD + "a,0,1\na,b,60,1\n", 3, "a row of 4 fields below a header of 3", id="fields"),
        pytest.param(HEAD + "a,0,1\n,60,1\n", 3, "a row without a series", id="no-series"),
        pytest.param(HEAD + "a,0,1\na,1700000000000,1\n", 3, "but maybe of milliseconds", id="milliseconds"),
        pytest.param(HEAD + "a,7,1\na,7,2\n", None, 'the samples of "a" all have the same time', id="one-time"),
        pytest.param(HEAD + "a,0,1\n", None, "holds no series with two samples", id="one-sample"),
        pytest.param(
            HEAD + "a,0,1\na,300,1\na,600,1\n",
            None,
            '"a" has a sample every 300 s, which a step of 60 s does not fit; give --step 300 or a multiple',
            id="step-too-fine",
        ),
        pytest.param(
            HEAD + "a,0,1\na,40,1\na,80,1\n", None, "every 40 s, which a step of 60 s does not fit", id="step-between"
        ),
        pytest.param(
            HEAD + "a,0,1\na,60,1\na,120,1\na,180,1\na,99999999,1\n",
            None,
            'the 5 samples of "a" are spread over 1,666,668 steps of 60 s; look for wrong times',
            id="a-gap-of-years",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    path = written(tmp_path / "r.csv", text)
    with pytest.raises(InputError) as raised:
        read_recording(path, 60.0)
    assert (raised.value.path, raised.value.line) == (path, line)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes((HEAD + "a,0,1\n").encode("utf-16"))
    with pytest.raises(
        InputError, match=r"is no text in UTF-8; save it as UTF-8, or name it \.parquet if it is Parquet"
    ):
        read_recording(tmp_path / "r.csv", 60.0)


def test_extreme_series_are_brought_near_one_and_others_are_left_as_they_are(tmp_path: Path) -> None:
    text = HEAD + "".join(
        rows(name, [0, 60], [scale, -scale / 2]) for name, scale in zip("abc", (2.0**900, 8.0, 2.0**-900), strict=True)
    )
    (batch,) = read_recording(written(tmp_path / "r.csv", text), 60.0).batches
    np.testing.assert_array_equal(batch.values, [[0.5, -0.25], [8, -4], [0.5, -0.25]])


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no Parquet file"):
        read_recording(written(tmp_path / "r.parquet", HEAD), 60.0)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; check the path"):
        read_recording(tmp_path / "gone.csv", 60.0)


def test_demand_is_a_metric_as_any_other(tmp_path: Path) -> None:
    """What Prometheus has of a circuit, exported with its labels in one column."""
    name = "mesh/ams->mesh/fra/mesh/ams-fra-0a1b2c3d"
    text = "series,time,value,metric\n" + "".join(f"{name},{60 * place},{1e6 * place},demand\n" for place in range(5))
    (batch,) = read_recording(written(tmp_path / "r.csv", text), 60.0).batches
    assert (batch.metric, batch.keys) == (Metric.DEMAND, (name,))
    np.testing.assert_array_equal(batch.values, [[0, 1e6, 2e6, 3e6, 4e6]])
