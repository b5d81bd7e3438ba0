"""What the chart records is what is asked, and what was recorded is read as what was counted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from foremesh.model.series import Flow, Metric
from foremesh.telemetry import PrometheusSource
from foremesh.telemetry.queries import KEYS, RECORDED, query, recorded_query, rule
from lab.requirements import require
from telemetry.test_prometheus import WINDOW, Server

RULES = Path(__file__).parents[2] / "charts/foremesh/files/alerts.yaml"


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        yield running


def recorded_in_the_chart() -> dict[str, str]:
    rules = [one for group in yaml.safe_load(RULES.read_text()) for one in group["rules"]]
    return {one["record"]: one["expr"] for one in rules if "record" in one}


@pytest.mark.parametrize("metric", Metric)
def test_the_chart_records_every_metric_as_it_is_asked(metric: Metric) -> None:
    name, labels = RECORDED[metric]
    assert recorded_in_the_chart()[name] == rule(metric)
    named = dict.fromkeys(labels.split(", "), "x")
    assert KEYS[metric](named), "a series is named by what its rule keeps"
    assert f"by ({labels})" in rule(metric)


async def test_the_past_is_read_from_what_was_recorded(server: Server) -> None:
    labels = {"src": "ams", "dst": "fra", "circuit": "mesh/c"}
    server.answer({"metric": labels, "values": [[WINDOW["end_s"], "5"]]})
    batch = await PrometheusSource(server.url, recorded=True).read(Metric.DEMAND, **{**WINDOW, "step_s": 300.0})
    assert batch.keys == (Flow(src="ams", dst="fra", circuit="mesh/c"),)
    assert [one["query"] for one in server.requests] == [recorded_query(Metric.DEMAND, 300)]
    assert "avg_over_time(foremesh:circuit_demand:bps[300s])" in server.requests[0]["query"]


async def test_where_nothing_was_recorded_counters_are_read(server: Server) -> None:
    def answered(asked: dict[str, str]) -> list[dict[str, Any]]:
        if "foremesh:" in asked["query"]:
            return []
        return [{"metric": {"src": "ams", "dst": "fra", "link": "internet"}, "values": [[WINDOW["end_s"], "5"]]}]

    server.answer_with = answered
    batch = await PrometheusSource(server.url, recorded=True).read(Metric.THROUGHPUT, **WINDOW)
    assert batch.values[0, -1] == 5
    assert [one["query"] for one in server.requests] == [
        recorded_query(Metric.THROUGHPUT, 60),
        query(Metric.THROUGHPUT, 60),
    ]


LINK = 'dst="lab/fra",link="internet",src="lab/ams"'
DARK = 'dst="lab/lon",link="internet",src="lab/ams"'
CIRCUIT = 'circuit="lab/c",dst="lab/fra",src="lab/ams"'

COUNTED = {
    # A probe a second, a quarter of them lost; those that were answered took 20 ms each.
    f"foremesh_link_probes_sent_total{{{LINK}}}": "0+60x40",
    f"foremesh_link_probes_lost_total{{{LINK}}}": "0+15x40",
    f"foremesh_link_rtt_seconds_count{{{LINK}}}": "0+45x40",
    f"foremesh_link_rtt_seconds_sum{{{LINK}}}": "0+0.9x40",
    # A link that answered in its first ten minutes and then lost everything.
    f"foremesh_link_probes_sent_total{{{DARK}}}": "0+60x40",
    f"foremesh_link_probes_lost_total{{{DARK}}}": "0x10 60+60x29",
    f"foremesh_link_rtt_seconds_count{{{DARK}}}": "0+60x10 600x29",
    f"foremesh_link_rtt_seconds_sum{{{DARK}}}": "0+3x10 30x29",
    # 1.5 MB a minute are 200 kbit/s, scraped under two jobs.
    f'foremesh_circuit_transmit_bytes_total{{{CIRCUIT},job="a"}}': "0+1500000x40",
    f'foremesh_circuit_transmit_bytes_total{{{CIRCUIT},job="b"}}': "0+1500000x40",
    f"foremesh_link_transmit_bytes_total{{{LINK}}}": "0+3000000x40",
    'foremesh_gateway_load_ratio{gateway="lab/ams"}': "0.25x40",
    # One way varies more than the other.
    f'foremesh_link_jitter_seconds{{{LINK},direction="forward"}}': "0.0015x40",
    f'foremesh_link_jitter_seconds{{{LINK},direction="reverse"}}': "0.009x40",
}
"""What agents count, a sample a minute."""

EXPECTED: dict[str, dict[str, float]] = {
    "foremesh:link_rtt:milliseconds": {LINK: 20.0},
    "foremesh:link_loss:ratio": {LINK: 0.25, DARK: 1.0},
    "foremesh:link_throughput:bps": {LINK: 400e3},
    "foremesh:gateway_load:ratio": {'gateway="lab/ams"': 0.25},
    "foremesh:link_jitter:milliseconds": {LINK: 1.5},
    "foremesh:circuit_demand:bps": {CIRCUIT: 200e3},
}
"""What is recorded of it after half an hour: lost probes are loss and no latency, and what nothing answers has none."""


def evaluated(tmp_path: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Let promtool evaluate the chart's rules, with windows of five minutes as samples are a minute apart."""
    rules, case = tmp_path / "rules.yaml", tmp_path / "case.yaml"
    rules.write_text(yaml.safe_dump({"groups": yaml.safe_load(RULES.read_text().replace("[60s]", "[300s]"))}))
    series = [{"series": name, "values": values} for name, values in COUNTED.items()]
    body = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    case.write_text(yaml.safe_dump(body))
    return subprocess.run(["promtool", "test", "rules", case], capture_output=True, text=True, timeout=60)


def holds(tmp_path: Path, promql: str, at: str, expected: dict[str, float]) -> None:
    """Fail unless a query answers just that, to a millionth."""
    samples = [{"labels": f"{{{labels}}}", "value": value} for labels, value in expected.items()]
    answer = evaluated(tmp_path, [{"expr": f"round({promql}, 1e-6)", "eval_time": at, "exp_samples": samples}])
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.prometheus
@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_recorded_is_what_was_counted(tmp_path: Path, name: str) -> None:
    require("prometheus")
    holds(tmp_path, name, "30m", EXPECTED[name])


@pytest.mark.prometheus
@pytest.mark.parametrize("metric", Metric)
def test_means_of_what_was_recorded_are_what_is_read(tmp_path: Path, metric: Metric) -> None:
    require("prometheus")
    holds(tmp_path, recorded_query(metric, 600), "30m", EXPECTED[RECORDED[metric][0]])


@pytest.mark.prometheus
def test_a_mean_is_of_what_was_answered_where_a_part_of_it_was_not(tmp_path: Path) -> None:
    """Four minutes after the last answer of a link, its ten minutes' mean is that of the six before."""
    require("prometheus")
    holds(tmp_path, recorded_query(Metric.RTT, 600), "14m", {LINK: 20.0, DARK: 50.0})
