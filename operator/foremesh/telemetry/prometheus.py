"""Link series from Prometheus: one range query for all links of a metric."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException
from urllib3.util.retry import Retry

from foremesh.model.series import Metric, SeriesBatch, SeriesKey
from foremesh.telemetry.queries import KEYS, query
from foremesh.telemetry.source import TelemetryUnavailable, WindowError, samples_in

log = logging.getLogger(__name__)

MOST_POINTS = 11_000
"""Points that Prometheus returns for a series at most; it refuses to answer a query that asks for more."""

RATE_WINDOW_S = 60.0
"""Seconds that each sample's rate looks back: four scrapes 15 s apart, so that a lost one makes no gap."""

TIMEOUT_S = 10.0
"""Seconds for an answer. A week of a hundred links takes under one; a plan made without an answer beats a late one."""

LONGEST_CAUSE = 200
"""Characters of a server's error that are repeated; the rest is its page's markup."""


class PrometheusSource:
    """Reads through prometheus-api-client, in a thread, without retries: the next plan asks again.

    Args:
        url: Where Prometheus is, with a path prefix if it has one.
        rate_window_s: Seconds that rates look back; at least twice the scrape interval.
        timeout_s: Seconds for a whole answer.
        headers: Sent with every request, such as a bearer token.
    """

    def __init__(
        self,
        url: str,
        *,
        rate_window_s: float = RATE_WINDOW_S,
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = _without_password(url)
        self._url = url.rstrip("/")
        self._rate_window_s = rate_window_s
        self._timeout_s = timeout_s
        self._headers = dict(headers or {})

    async def read(self, metric: Metric, *, end_s: float, window_s: float, step_s: float) -> SeriesBatch:
        """See ``SeriesSource``. Times are whole seconds: ``end_s`` is rounded down, a step may have no fraction."""
        samples = samples_in(window_s, step_s)
        if samples > MOST_POINTS:
            finest_s = int(-(-window_s // MOST_POINTS))
            raise WindowError(
                window_s,
                step_s,
                f"{samples} points a series, and Prometheus answers at most {MOST_POINTS}; use {finest_s} s or more",
            )
        if step_s != int(step_s):
            raise WindowError(window_s, step_s, "the client sends whole seconds; use a step without a fraction")
        last_s = int(end_s)
        first_s = last_s - (samples - 1) * int(step_s)
        # A coarse step is a mean over the whole of it, not over a minute picked out every hour.
        promql = query(metric, max(self._rate_window_s, step_s))
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await asyncio.to_thread(self._ask, promql, first_s, last_s, step_s)
            rows = _rows(result, metric, first_s, step_s, samples)
        except TimeoutError as error:
            raise TelemetryUnavailable(self.url, f"no answer within {self._timeout_s:g} s") from error
        except (RequestException, PrometheusApiClientException) as error:
            raise TelemetryUnavailable(self.url, _brief(error)) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise TelemetryUnavailable(self.url, f"its answer is not Prometheus's: {_brief(error)}") from error
        keys = tuple(sorted(rows, key=str))
        values = np.array([rows[key] for key in keys]).reshape(len(keys), samples)
        return SeriesBatch(metric, keys, values, step_s, last_s)

    def _ask(self, promql: str, first_s: int, last_s: int, step_s: float) -> list[Any]:
        # A client for each query: requests' sessions are not safe across threads, and one that timed out lives on.
        with PrometheusConnect(
            self._url,
            headers=self._headers,
            disable_ssl=False,
            retry=Retry(total=0),
            timeout=self._timeout_s,
        ) as client:
            result: list[Any] = client.custom_query_range(
                promql,
                start_time=datetime.fromtimestamp(first_s, tz=UTC),
                end_time=datetime.fromtimestamp(last_s, tz=UTC),
                step=f"{step_s:.0f}",
                params={"timeout": f"{self._timeout_s:g}s"},
            )
        return result


def _rows(
    result: list[Any], metric: Metric, first_s: int, step_s: float, samples: int
) -> dict[SeriesKey, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    rows = {}
    for series in result:
        try:
            key = KEYS[metric](series["metric"])
        except KeyError as missing:
            # Prometheus leaves an empty label out. One odd series must not hide all others.
            log.warning("series without a name metric=%s label=%s labels=%r", metric, missing, series["metric"])
            continue
        points = np.array(series["values"], dtype=np.float64)  # [[time, "text"], ...]; reads "NaN" and "+Inf" too
        row = np.full(samples, np.nan)
        row[np.rint((points[:, 0] - first_s) / step_s).astype(int)] = points[:, 1]
        row[~np.isfinite(row)] = np.nan
        if np.isfinite(row).any():
            rows[key] = row
    return rows


def _brief(error: Exception) -> str:
    # Chained library errors nest their causes; the innermost says what happened.
    innermost: BaseException = error
    while innermost.args and isinstance(innermost.args[-1], BaseException):
        innermost = innermost.args[-1]
    text = str(getattr(innermost, "reason", None) or innermost)
    return text if len(text) <= LONGEST_CAUSE else f"{text[:LONGEST_CAUSE]}..."


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
