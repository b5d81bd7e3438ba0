"""Against a real Prometheus: under a path prefix, behind a door that wants a header, over more points than one answer
has, and with the chart's rules at work."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey
from foremesh.telemetry import LinkHistory, PrometheusSource, TelemetryUnavailable
from foremesh.telemetry.queries import RECORDED
from lab.process import wait_until_async
from lab.prometheus import PrometheusServer

pytestmark = pytest.mark.prometheus

RULES = Path(__file__).parents[2] / "charts/foremesh/files/alerts.yaml"
TENANT = "X-Scope-OrgID"
LINK = LinkId(src="lab/ams", dst="lab/fra", underlay="internet")
FLOW = Flow(src="lab/ams", dst="lab/fra", circuit="lab/c")
STEP_S = 60
SAMPLES = 25_000
END_S = 1_700_000_040
DEADLINE_S = 60.0

NewPrometheus = Callable[..., PrometheusServer]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of HTTP on a free port; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def door(behind: str) -> type[BaseHTTPRequestHandler]:
    """What lets requests of one tenant through to a Prometheus, as Mimir does, and refuses all others."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = 401, b'{"status": "error", "error": "no org id"}'
            if self.headers.get(TENANT) == "foremesh":
                try:
                    with urllib.request.urlopen(f"{behind}{self.path}", timeout=10) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, body = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Door


def ramp(path: Path) -> Path:
    """A gateway whose load grows from 0 to 1 over 25,000 minutes, as OpenMetrics."""
    lines = ["# TYPE foremesh_gateway_load_ratio gauge"]
    for number in range(SAMPLES):
        at_s = END_S - (SAMPLES - 1 - number) * STEP_S
        lines.append(f'foremesh_gateway_load_ratio{{gateway="lab/ams"}} {number / SAMPLES} {at_s}')
    path.write_text("\n".join([*lines, "# EOF\n"]))
    return path


async def test_a_long_past_behind_a_prefix_and_a_header_comes_whole(
    new_prometheus: NewPrometheus, tmp_path: Path
) -> None:
    kept = new_prometheus({"scrape_configs": []}, backfill=ramp(tmp_path / "ramp.txt"), prefix="/prometheus")
    headers = tmp_path / "headers"
    headers.write_text(f"{TENANT}: foremesh\n")
    window = {"end_s": float(END_S), "window_s": SAMPLES * float(STEP_S), "step_s": float(STEP_S)}
    with serving(door(kept.url.removesuffix("/prometheus"))) as url:
        batch = await PrometheusSource(f"{url}/prometheus/", headers_file=headers).read(Metric.LOAD, **window)
        assert batch.keys == ("lab/ams",)
        assert batch.values[0] == pytest.approx(np.arange(SAMPLES) / SAMPLES, abs=1e-4), "three answers, joined"
        for refused in (PrometheusSource(f"{url}/prometheus"), PrometheusSource(url, headers_file=headers)):
            with pytest.raises(TelemetryUnavailable, match=r"no org id|404"):
                await refused.read(Metric.LOAD, **window)


async def test_while_the_long_past_is_away_the_short_one_serves(new_prometheus: NewPrometheus, tmp_path: Path) -> None:
    near = new_prometheus({"scrape_configs": []}, backfill=ramp(tmp_path / "ramp.txt"))
    far = new_prometheus({"scrape_configs": []})
    far.stop()
    history = LinkHistory(
        PrometheusSource(near.url),
        recent_step_s=60,
        recent_window_s=900,
        past_step_s=300,
        past_window_s=7 * 86_400,
        past_source=PrometheusSource(far.url),
    )
    series = await history.read(Metric.LOAD, now_s=END_S)
    assert series.past.keys == series.recent.keys == ("lab/ams",)
    far.start()
    series = await history.read(Metric.LOAD, now_s=END_S + 60)
    assert series.past.keys == ("lab/ams",), "it answers now, and has nothing"
    assert series.past.end_s == END_S + 60


def counting(began_s: float) -> type[BaseHTTPRequestHandler]:
    """An agent's exporter: ten answered probes of 20 ms and two lost ones a second, 1 Mbit/s in a circuit."""

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ran_s = time.time() - began_s
            link = f'src="{LINK.src}",dst="{LINK.dst}",link="{LINK.underlay}"'
            circuit = f'src="{FLOW.src}",dst="{FLOW.dst}",circuit="{FLOW.circuit}"'
            body = (
                f"foremesh_link_rtt_seconds_sum{{{link}}} {0.2 * ran_s}\n"
                f"foremesh_link_rtt_seconds_count{{{link}}} {10 * ran_s}\n"
                f"foremesh_link_probes_sent_total{{{link}}} {12 * ran_s}\n"
                f"foremesh_link_probes_lost_total{{{link}}} {2 * ran_s}\n"
                f"foremesh_link_transmit_bytes_total{{{link}}} {2e6 / 8 * ran_s}\n"
                f"foremesh_circuit_transmit_bytes_total{{{circuit}}} {1e6 / 8 * ran_s}\n"
                f'foremesh_gateway_load_ratio{{gateway="{LINK.src}"}} 0.25\n'
                f'foremesh_link_jitter_seconds{{{link},direction="forward"}} 0.0015\n'
                f'foremesh_link_jitter_seconds{{{link},direction="reverse"}} 0.009\n'
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Agent


EXPECTED: dict[Metric, tuple[SeriesKey, float]] = {
    Metric.RTT: (LINK, 20.0),
    Metric.LOSS: (LINK, 1 / 6),
    Metric.THROUGHPUT: (LINK, 2e6),
    Metric.DEMAND: (FLOW, 1e6),
    Metric.LOAD: (LINK.src, 0.25),
    Metric.JITTER: (LINK, 1.5),
}


async def test_the_charts_rules_record_what_is_read(new_prometheus: NewPrometheus, tmp_path: Path) -> None:
    """With windows of five seconds, so that nobody has to wait for a minute of scrapes."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": yaml.safe_load(RULES.read_text().replace("[60s]", "[5s]"))}))
    with serving(counting(time.time() - 1000)) as url:
        server = new_prometheus(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [
                    {"job_name": "agents", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
                ],
            }
        )
        source = PrometheusSource(server.url, rate_window_s=5, recorded=True)
        for metric, (key, value) in EXPECTED.items():

            async def read(metric: Metric = metric, key: SeriesKey = key, value: float = value) -> bool:
                if not server.query(RECORDED[metric][0], time_s=int(time.time())):
                    return False  # until something is recorded, counters are read
                batch = await source.read(metric, end_s=time.time(), window_s=5.0, step_s=5.0)
                return batch.keys == (key,) and batch.values[0, 0] == pytest.approx(value, rel=0.02)

            await wait_until_async(read, DEADLINE_S, what=f"{metric} as it was counted")
