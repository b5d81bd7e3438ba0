"""Histories that cannot be used, and what the names of series mean."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from files.folders import gateway, refused, small_mesh
from foremesh.files import history, read_bundle
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric

HEAD = "series,time,value,metric\nams->fra,0,1,\n"

CASES = {
    "unknown-gateway": ("amz->fra,0,1,", 3, 'no manifest has a gateway "amz"; did you mean ams?'),
    "unknown-destination": ("ams->frb,0,1,", 3, 'no manifest has a gateway "frb"; did you mean fra?'),
    "unknown-destination-by-id": ("ams->mesh/frb,0,1,", 3, "mesh/frb"),
    "a-workload": ("web->ams,0,1,", 3, '"web" is no gateway; name a gateway: ams, fra, lon'),
    "no-arrow": ("probe-7,0,1,", 3, 'the series "probe-7" names no link; write it as src->dst'),
    "nothing-behind-the-arrow": ("ams->,0,1,", 3, "names no link"),
    "unknown-underlay": ("ams->fra/mpls,0,1,", 3, "that this mesh cannot have; there is mesh/ams->mesh/fra/internet"),
    "to-itself": ("ams->ams,0,1,", 3, "a link that this mesh cannot have"),
    "two-spellings": ("mesh/ams->fra,0,1,", 3, "are about the same, mesh/ams->mesh/fra/internet"),
    "load-of-a-link": ("ams->fra,0,0.5,load", 2, 'no manifest has a gateway "ams->fra"'),
    "demand-without-ends": (
        "mesh/c,0,1,demand",
        3,
        'the series "mesh/c" names no demand; write it as src->dst/circuit',
    ),
    "demand-to-nowhere": ("ams->frb/c,0,1,demand", 3, 'no manifest has a gateway "frb/c"'),
    "demand-of-too-much": ("ams->fra/a/b/c/d,0,1,demand", 3, "no manifest has a gateway"),
    "demand-negative": ("ams->fra/c,0,-1,demand", 3, "demand is -1, which is negative"),
    "unknown-metric": ("ams->fra,0,1,colour", 3, "unknown metric 'colour'; there are rtt, loss"),
    "rtt-negative": ("ams->fra,1,-1,rtt", 3, "rtt is -1, which is negative"),
    "loss-in-percent": ("ams->fra,1,5,loss", 3, "loss is 5, and a share is at most 1"),
    "no-number": ("\nams->fra,1,fast,", 4, "the value 'fast' is no number"),
    "no-time": ("ams->fra,soon,1,", 3, "the time 'soon' is none"),
    "time-missing": ("ams->fra,,1,", 3, "a row without a time"),
    "series-missing": (",1,1,", 3, "a row without a series"),
    "milliseconds": ("ams->fra,1700000000000,1,", 3, "but maybe of milliseconds"),
    "two-values-for-one-time": (
        "ams->fra,1970-01-01T00:00:00Z,2,",
        3,
        "ams->fra is 2, and at the same time it is 1 in line 2 already; remove one of the two rows",
    ),
    "field-too-many": ("ams->fra,1,1,rtt,x", 3, "a row of 5 fields below a header of 4"),
}


@pytest.mark.parametrize(("row", "line", "said"), CASES.values(), ids=CASES)
def test_rows_that_cannot_be_used(tmp_path: Path, row: str, line: int, said: str) -> None:
    error = refused(small_mesh(tmp_path, {"history.csv": f"{HEAD}{row}\n"}))
    assert (error.path, error.line) == (tmp_path / "history.csv", line)
    assert said in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("", "history.csv: is empty; the columns are series", id="empty"),
        pytest.param("\n \n", "history.csv: ", id="blank"),
        pytest.param("series,time\na->b,1\n", "has no column value, but 'series', 'time'", id="column"),
        pytest.param("series,time,value\n", "holds no sample", id="no-rows"),
        pytest.param(b"\xff\xfe\x00\x01", "is no text in UTF-8", id="binary"),
    ],
)
def test_files_that_are_no_history(tmp_path: Path, content: str | bytes, said: str) -> None:
    error = refused(small_mesh(tmp_path, {"history.csv": content}))
    assert error.path == tmp_path / "history.csv"
    assert said in str(error)


def test_a_row_written_twice_or_lost_and_taken_is_no_contradiction(tmp_path: Path) -> None:
    rows = "ams->fra,0,1,\nams->fra,0,,\nams->fra,0,0.5,loss\nfra->ams,0,2,\n"
    small_mesh(tmp_path, {"history.csv": HEAD + rows})
    found = read_bundle(tmp_path).series[Metric.RTT]
    assert set(found) >= {LinkId(src="mesh/ams", dst="mesh/fra"), LinkId(src="mesh/fra", dst="mesh/ams")}


def test_two_values_for_one_time_in_parquet(tmp_path: Path) -> None:
    small_mesh(tmp_path)
    path = tmp_path / "history.parquet"
    rows = pa.table({"series": ["ams->fra"] * 2, "time": [0, 0], "value": [1.0, 2.0]})
    pq.write_table(rows, path)
    error = refused(tmp_path)
    assert (error.path, error.line) == (path, None)
    assert "ams->fra is 2, and at the same time it is 1 already" in error.cause


def test_two_histories(tmp_path: Path) -> None:
    error = refused(small_mesh(tmp_path, {"history.csv": HEAD, "history.parquet": b""}))
    assert "holds two histories" in error.cause


def test_parquet(tmp_path: Path) -> None:
    small_mesh(tmp_path)
    path = tmp_path / "history.parquet"
    frame = pd.DataFrame({"series": ["ams->fra", "x->fra"], "time": pd.to_datetime([0, 60], unit="s"), "value": [1, 2]})
    frame.to_parquet(path)
    error = refused(tmp_path)
    assert (error.path, error.line) == (path, None)
    assert 'no manifest has a gateway "x"' in error.cause
    frame[:1].set_index(pd.Index([7])).to_parquet(path)
    assert read_bundle(tmp_path).series[Metric.RTT].keys() == {LinkId(src="mesh/ams", dst="mesh/fra")}
    path.write_text("series,time,value\n")
    assert "is no Parquet file" in refused(tmp_path).cause


def test_a_small_file_of_many_equal_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ROWS", 1000)
    small_mesh(tmp_path)
    rows = pa.table({"series": ["ams->fra"] * 1001, "time": [0] * 1001, "value": [1.0] * 1001})
    pq.write_table(rows, tmp_path / "history.parquet")
    assert "has 1,001 rows, and at most 1,000 are read" in refused(tmp_path).cause


@pytest.mark.parametrize(
    ("name", "dst"),
    [
        ("ams->internet/fra", "internet/fra"),
        ("ams->internet", "mesh/internet"),
        ("ams->internet/internet", "mesh/internet"),
        ("ams->internet/fra/internet", "internet/fra"),
        ("mesh/ams->mesh/fra", "mesh/fra"),
    ],
)
def test_a_slash_divides_whatever_the_mesh_has(tmp_path: Path, name: str, dst: str) -> None:
    more = "---\n".join([gateway("internet"), gateway("fra", namespace="internet")])
    small_mesh(tmp_path, {"more.yaml": more, "history.csv": f"series,time,value\n{name},0,1\n"})
    assert list(read_bundle(tmp_path).series[Metric.RTT]) == [LinkId(src="mesh/ams", dst=dst)]


def test_a_slash_that_can_mean_two_things(tmp_path: Path) -> None:
    more = "---\n".join([gateway("paris"), gateway("internet", namespace="paris")])
    error = refused(small_mesh(tmp_path, {"more.yaml": more, "history.csv": f"{HEAD}ams->paris/internet,0,1,\n"}))
    assert error.line == 3
    assert "can mean mesh/ams->paris/internet/internet, mesh/ams->mesh/paris/internet" in error.cause


@pytest.mark.parametrize(
    ("name", "circuit"),
    [
        pytest.param("ams->fra/mesh/c", "mesh/c", id="names"),
        pytest.param("mesh/ams->mesh/fra/mesh/c", "mesh/c", id="ids"),
        pytest.param("ams->mesh/fra/c", "mesh/c", id="a-circuit-in-its-gateway's-namespace"),
        pytest.param("ams->fra", "", id="all-between-two"),
    ],
)
def test_demand_is_of_a_circuit_and_a_direction(tmp_path: Path, name: str, circuit: str) -> None:
    small_mesh(tmp_path, {"history.csv": f"{HEAD}{name},0,5e6,demand\n"})
    found = read_bundle(tmp_path).series[Metric.DEMAND]
    assert [*found] == [Flow(src="mesh/ams", dst="mesh/fra", circuit=circuit)]
    assert found[Flow(src="mesh/ams", dst="mesh/fra", circuit=circuit)].values.tolist() == [5e6]
