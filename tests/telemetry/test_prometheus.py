"""What Prometheus is asked, and what follows when it does not answer as it should."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from foremesh.model.link import LinkId
from foremesh.model.series import Metric
from foremesh.telemetry import PrometheusSource, TelemetryUnavailable, WindowError

WINDOW = {"end_s": 1_700_000_000.0, "window_s": 900.0, "step_s": 15.0}


class Server:
    """Answers every request with the same bytes and remembers what was asked. ``stall`` holds answers back."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.requests: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer_with: Callable[[dict[str, str]], list[dict[str, Any]]] | None = None
        """Makes the series of an answer from what was asked."""
        self.refuse: Callable[[dict[str, str]], bool] = lambda _: False
        self.stall = threading.Event()
        self.stall.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append({key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()})
                outer.headers.append(dict(self.headers))
                outer.stall.wait(30)
                if outer.answer_with is not None:
                    outer.answer(*outer.answer_with(outer.requests[-1]))
                refused = outer.refuse(outer.requests[-1])
                body = b'{"error": "too much"}' if refused else outer.body
                self.send_response(422 if refused else outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, *series: dict[str, Any]) -> None:
        data = {"resultType": "matrix", "result": list(series)}
        self.body = json.dumps({"status": "success", "data": data}).encode()

    def close(self) -> None:
        self.stall.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        yield running


def labels(src: str, dst: str, link: str = "internet") -> dict[str, str]:
    return {"src": src, "dst": dst, "link": link}


async def test_one_query_for_all_links_of_a_metric(server: Server) -> None:
    server.answer(
        {"metric": labels("ams", "fra"), "values": [[WINDOW["end_s"], "20.5"]]},
        {"metric": labels("ams", "fra", "lte"), "values": [[WINDOW["end_s"] - 15, "80"]]},
    )
    batch = await PrometheusSource(server.url, rate_window_s=45).read(Metric.RTT, **WINDOW)
    assert batch.keys == (LinkId(src="ams", dst="fra"), LinkId(src="ams", dst="fra", underlay="lte"))
    assert batch.values[0, -1] == 20.5
    assert batch.values[1, -2] == 80
    assert np.isfinite(batch.values).sum() == 2
    (request,) = server.requests
    assert request["query"].count("[45s]") == 2
    assert (request["start"], request["end"], request["step"]) == ("1699999115", "1700000000", "15")
    assert server.headers[0].get("Authorization") is None


async def test_a_token_is_sent(server: Server) -> None:
    server.answer()
    await PrometheusSource(server.url, headers={"Authorization": "Bearer t"}).read(Metric.RTT, **WINDOW)
    assert server.headers[0]["Authorization"] == "Bearer t"


async def test_not_a_number_and_infinity_are_unknown(server: Server) -> None:
    end_s = WINDOW["end_s"]
    server.answer(
        {"metric": labels("ams", "fra"), "values": [[end_s - 30, "NaN"], [end_s - 15, "+Inf"], [end_s, "1"]]},
        {"metric": labels("ams", "lon"), "values": [[end_s, "NaN"]]},
    )
    batch = await PrometheusSource(server.url).read(Metric.RTT, **WINDOW)
    assert batch.keys == (LinkId(src="ams", dst="fra"),), "a link nobody measured is not in the batch"
    assert batch.newest()[0].tolist() == [1.0]
    assert np.isfinite(batch.values).sum() == 1


async def test_a_series_without_its_labels_hides_no_other(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    good = {"metric": labels("ams", "fra"), "values": [[WINDOW["end_s"], "1"]]}
    server.answer({"metric": {"src": "ams"}, "values": [[WINDOW["end_s"], "1"]]}, good)
    batch = await PrometheusSource(server.url).read(Metric.RTT, **WINDOW)
    assert len(batch.keys) == 1
    assert "series without a name" in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        pytest.param(422, b'{"error": "query timed out"}', "query timed out", id="refused-query"),
        pytest.param(503, b"starting", "503", id="not-ready"),
        pytest.param(200, b"<html>log in</html>", "Expecting value", id="a-page-of-something-else"),
        pytest.param(200, b'{"status": "success"}', "not Prometheus's", id="no-result"),
        pytest.param(200, b'{"data": {"result": [{"metric": {}}]}}', None, id="series-without-points"),
        pytest.param(200, b"[1, 2]", "not Prometheus's", id="some-other-json"),
    ],
)
async def test_an_answer_that_is_none(server: Server, status: int, body: bytes, cause: str | None) -> None:
    server.status, server.body = status, body
    source = PrometheusSource(server.url)
    if cause is None:
        assert (await source.read(Metric.RTT, **WINDOW)).keys == ()
        return
    with pytest.raises(TelemetryUnavailable) as caught:
        await source.read(Metric.RTT, **WINDOW)
    assert caught.value.url == server.url
    assert cause in caught.value.cause
    assert len(server.requests) == 1, "the next plan asks again; a retry would only be later"


async def test_a_dead_server_is_said_in_a_line_and_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TelemetryUnavailable) as caught:
            await PrometheusSource(f"http://me:secret@127.0.0.1:{port}/prom").read(Metric.RTT, **WINDOW)
    assert caught.value.url == f"http://127.0.0.1:{port}/prom"
    assert "Connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_server_that_hangs_is_given_up(server: Server) -> None:
    server.stall.clear()
    with pytest.raises(TelemetryUnavailable, match=r"0\.2 s|timed out|Read timed"):
        await PrometheusSource(server.url, timeout_s=0.2).read(Metric.RTT, **WINDOW)


@pytest.mark.parametrize(
    ("window_s", "step_s", "cause"),
    [
        pytest.param(1.5, 0.5, "whole seconds", id="fractions-of-seconds"),
    ],
)
async def test_windows_prometheus_cannot_answer(server: Server, window_s: float, step_s: float, cause: str) -> None:
    with pytest.raises(WindowError, match=cause):
        await PrometheusSource(server.url).read(Metric.RTT, end_s=WINDOW["end_s"], window_s=window_s, step_s=step_s)
    assert server.requests == []


async def test_the_most_that_is_allowed_is_read_at_once(server: Server) -> None:
    server.answer()
    batch = await PrometheusSource(server.url).read(Metric.RTT, end_s=1.7e9, window_s=11_000 * 60.0, step_s=60.0)
    assert batch.values.shape == (0, 11_000)
    assert len(server.requests) == 1


async def test_more_than_a_server_answers_is_asked_for_in_parts(server: Server) -> None:
    """Every part is answered with a sample at its first and last place, whatever was asked before."""
    server.answer_with = lambda asked: [
        {
            "metric": labels("ams", "fra"),
            "values": [[float(asked[name]), str(int(asked[name]) % 1000)] for name in ("start", "end")],
        }
    ]
    batch = await PrometheusSource(server.url).read(Metric.RTT, end_s=1.7e9, window_s=7 * 86400.0, step_s=15.0)
    parts = [(int(one["start"]), int(one["end"])) for one in server.requests]
    assert [(end - start) // 15 + 1 for start, end in parts] == [11_000, 11_000, 11_000, 7_320]
    assert [start for start, _ in parts[1:]] == [end + 15 for _, end in parts[:-1]], "no gap, nothing twice"
    assert parts[-1][1] == 1_700_000_000
    known = np.flatnonzero(np.isfinite(batch.values[0]))
    assert batch.times_s[known].tolist() == [time_s for part in parts for time_s in part]
    assert batch.values[0, known].tolist() == [time_s % 1000 for part in parts for time_s in part]


async def test_one_part_that_is_not_answered_is_none_of_the_answer(server: Server) -> None:
    server.answer()
    server.refuse = lambda asked: int(asked["end"]) == 1_700_000_000
    with pytest.raises(TelemetryUnavailable, match="too much"):
        await PrometheusSource(server.url).read(Metric.RTT, end_s=1.7e9, window_s=7 * 86400.0, step_s=15.0)


@pytest.mark.prometheus
async def test_the_real_server_agrees_on_the_limit(new_prometheus: Callable[..., Any]) -> None:
    server = new_prometheus({"scrape_configs": []})
    source = PrometheusSource(server.url)
    batch = await source.read(Metric.LOSS, end_s=1.7e9, window_s=11_000 * 60.0, step_s=60.0)
    assert batch.keys == ()
    server.stop()
    with pytest.raises(TelemetryUnavailable):
        await source.read(Metric.LOSS, end_s=1.7e9, window_s=600.0, step_s=60.0)
    server.start()
    await source.read(Metric.LOSS, end_s=1.7e9, window_s=600.0, step_s=60.0)
