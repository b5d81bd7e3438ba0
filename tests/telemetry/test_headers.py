"""Headers from a file: sent with every query, read anew each time, and never told to anybody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foremesh.model.series import Metric
from foremesh.telemetry import PrometheusSource, TelemetryUnavailable
from telemetry.test_prometheus import WINDOW, Server

SECRET = "s3cret"


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        running.answer()
        yield running


async def test_headers_are_sent_and_a_new_one_with_the_next_query(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# of the mesh\nX-Scope-OrgID: foremesh\n\nAuthorization:Bearer a:b \n")
    source = PrometheusSource(server.url, headers={"X-Own": "yes"}, headers_file=file)
    await source.read(Metric.RTT, **WINDOW)
    sent = server.headers[0]
    assert (sent["X-Scope-OrgID"], sent["Authorization"], sent["X-Own"]) == ("foremesh", "Bearer a:b", "yes")
    file.write_text("X-Scope-OrgID: others\n")
    await source.read(Metric.RTT, **WINDOW)
    assert server.headers[1]["X-Scope-OrgID"] == "others"
    assert "Authorization" not in server.headers[1]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"\xff\xfe", "is no text", id="no-text"),
        pytest.param(f"X-Fine: yes\n{SECRET}\n".encode(), "line 2 is no header", id="no-colon"),
        pytest.param(f"X Scope: {SECRET}\n".encode(), "line 1 is no header", id="a-name-with-a-blank"),
        pytest.param(f"X-Scope: {SECRET}\x07\n".encode(), "line 1 is no header", id="a-control-character"),
    ],
)
async def test_a_file_that_holds_no_headers_is_said_and_not_shown(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, cause: str
) -> None:
    file = tmp_path / "headers"
    if content is not None:
        file.write_bytes(content)
    with caplog.at_level(logging.DEBUG), pytest.raises(TelemetryUnavailable) as caught:
        await PrometheusSource(server.url, headers_file=file).read(Metric.RTT, **WINDOW)
    assert cause in caught.value.cause
    assert str(file) in caught.value.cause
    assert server.requests == [], "nothing is asked without them"
    assert SECRET not in str(caught.value) + caplog.text
