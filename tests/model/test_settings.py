"""The operator's and the API's configuration: what cannot work is refused when it is read, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foremesh.forecast import HorizonError, quantile_forecast
from foremesh.model.checks import check_multiple
from foremesh.model.manifest import ManifestError
from foremesh.model.series import Metric, SeriesBatch
from foremesh.settings import Settings, load
from foremesh.telemetry.source import WindowError, samples_in


def loaded(folder: Path, text: str) -> Settings:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("planning: {horizon: 90s}", "planning.horizon of 90 s", id="horizon-is-no-multiple"),
        pytest.param("planning: {horizon: 0s}", "planning.horizon is 0 s", id="no-horizon"),
        pytest.param("planning: {horizon: 30s}", "planning.horizon of 30 s", id="horizon-below-the-step"),
        pytest.param("planning: {step: 0s}", "planning.step is 0 s", id="no-step"),
        pytest.param("planning: {interval: 0s}", "planning.interval", id="no-interval"),
        pytest.param("planning: {refit: 0s}", "planning.refit", id="no-time-between-fits"),
        pytest.param("planning: {fitWorkers: 0}", "fitWorkers", id="nobody-fits"),
        pytest.param("planning: {edgeNeighbours: 0}", "edgeNeighbours", id="edges-without-links"),
        pytest.param("prometheus: {recentWindow: 100s}", "prometheus.recentWindow of 100 s", id="window-no-multiple"),
        pytest.param("prometheus: {recentStep: 0s}", "prometheus.recentStep is 0 s", id="no-recent-step"),
        pytest.param("prometheus: {recentStep: 500ms}", "whole seconds", id="step-with-a-fraction"),
        pytest.param("prometheus: {historyWindow: 7m}", "prometheus.historyWindow", id="history-no-multiple"),
        pytest.param("prometheus: {rateWindow: 0s}", "prometheus.rateWindow", id="no-rate-window"),
        pytest.param("prometheus: {url: banana}", "prometheus.url 'banana'", id="url-without-a-scheme"),
        pytest.param("prometheus: {url: 'ftp://prometheus'}", "prometheus.url", id="url-of-another-scheme"),
        pytest.param("prometheus: {url: 'http://'}", "prometheus.url", id="url-without-a-host"),
        pytest.param("prometheus: {url: 'http://p:99999'}", "prometheus.url", id="url-without-such-a-port"),
        pytest.param("prometheus: {historyUrl: mimir}", "prometheus.historyUrl", id="history-without-a-scheme"),
        pytest.param("etcd: {caFile: ca.crt}", "etcd: mutual TLS needs", id="some-files-of-etcd"),
        pytest.param("dask: {certFile: c, keyFile: k}", "dask: mutual TLS needs", id="some-files-of-dask"),
        pytest.param("api: {presence: 0s}", "api.presence", id="agents-gone-at-once"),
        pytest.param("api: {operatorUrl: 'operator:9464'}", "api.operatorUrl", id="operator-without-a-scheme"),
        pytest.param("blocks: {mesh: 100.80.0.0/12}", "blocks.mesh 100.80.0.0/12 overlaps blocks.hops", id="overlap"),
        pytest.param("blocks: {hops: 'fd00::/64'}", "blocks.hops 'fd00::/64' is no IPv4 prefix", id="ipv6-block"),
        pytest.param("blocks: {mesh: 10.0.0.1/8}", "blocks.mesh '10.0.0.1/8' is no IPv4", id="block-with-host-bits"),
        pytest.param("blocks: {mesh: 10.0.0.0/25}", "10.0.0.0/25 has no room", id="block-without-room"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(ManifestError) as caught:
        loaded(tmp_path, text)
    assert caught.value.where == f"configuration {tmp_path / 'config.yaml'}"
    assert cause in caught.value.cause


def test_a_refused_url_shows_no_password(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        loaded(tmp_path, "prometheus: {url: 'ftp://me:secret@prometheus'}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{}", id="defaults"),
        pytest.param(
            "planning: {quiet: 0s, keyRotation: 0s, neighbourTrial: 0s, fullMesh: 0}", id="none-that-means-so"
        ),
        pytest.param("planning: {horizon: 300ms, step: 100ms}", id="steps-below-a-second"),
        pytest.param("prometheus: {url: 'HTTPS://me:secret@[fd00::1]:9090/prom'}", id="url-with-everything"),
        pytest.param(
            "blocks: {mesh: 10.0.0.0/24, hops: 10.0.1.0/30, circuits: 10.0.2.0/31, labels: 10.0.2.2/31}", id="small"
        ),
    ],
)
def test_what_works_is_read(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, text).mesh == "default"


TENTHS_S = st.integers(0, 40).map(lambda tenths: tenths / 10)


@given(whole_s=TENTHS_S, step_s=TENTHS_S)
@example(whole_s=0.3, step_s=0.1)
def test_multiples_are_what_forecasts_and_telemetry_take_for_such(whole_s: float, step_s: float) -> None:
    batch = SeriesBatch(Metric.LOAD, (), np.empty((0, 3)), 1.0, 0.0)

    def refused(error: type[ValueError], work: object, *args: object, **kwargs: object) -> bool:
        try:
            work(*args, **kwargs)  # type: ignore[operator]
        except error:
            return True
        return False

    here = refused(ValueError, check_multiple, "horizon", whole_s, "step", step_s)
    assert here == refused(HorizonError, quantile_forecast, batch, horizon_s=whole_s, step_s=step_s)
    assert here == refused(WindowError, samples_in, whole_s, step_s)
