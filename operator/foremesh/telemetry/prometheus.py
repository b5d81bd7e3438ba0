"""Link series from Prometheus: one range query for all links of a metric."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException
from urllib3.util.retry import Retry

from foremesh.model.series import Floats, Metric, SeriesBatch, SeriesKey
from foremesh.telemetry.queries import KEYS, query, recorded_query
from foremesh.telemetry.source import TelemetryUnavailable, WindowError, samples_in

log = logging.getLogger(__name__)

_Rows: TypeAlias = dict[SeriesKey, Floats]

MOST_POINTS = 11_000
"""Points that Prometheus returns for a series at most; it refuses to answer a query that asks for more."""

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token, of which HTTP makes names of headers (RFC 9110, 5.6.2)."""

RATE_WINDOW_S = 60.0
"""Seconds that each sample's rate looks back: four scrapes 15 s apart, so that a lost one makes no gap."""

TIMEOUT_S = 10.0
"""Seconds for an answer. A week of a hundred links takes under one; a plan made without an answer beats a late one."""

LONGEST_CAUSE = 200
"""Characters of a server's error that are repeated; the rest is its page's markup."""


class PrometheusSource:
    """Reads through prometheus-api-client, in a thread, without retries: the next plan asks again.

    Args:
        url: Where Prometheus is, or what else speaks its query API, with a path prefix if it has one.
        rate_window_s: Seconds that rates look back; at least twice the scrape interval.
        timeout_s: Seconds for a whole answer.
        headers: Sent with every request, such as a bearer token.
        headers_file: More of them, one a line; read anew for every query.
        recorded: Whether to ask for what rules recorded, where there is any.
    """

    def __init__(
        self,
        url: str,
        *,
        rate_window_s: float = RATE_WINDOW_S,
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        headers_file: Path | None = None,
        recorded: bool = False,
    ) -> None:
        self.url = _without_password(url)
        self._url = url.rstrip("/")
        self._rate_window_s = rate_window_s
        self._timeout_s = timeout_s
        self._headers = dict(headers or {})
        self._headers_file = headers_file
        self._recorded = recorded

    async def read(self, metric: Metric, *, end_s: float, window_s: float, step_s: float) -> SeriesBatch:
        """See ``SeriesSource``. Times are whole seconds: ``end_s`` is rounded down, a step may have no fraction.

        A window of more samples than a server answers at once is asked for in parts, one after the other.
        """
        samples = samples_in(window_s, step_s)
        if step_s != int(step_s):
            raise WindowError(window_s, step_s, "the client sends whole seconds; use a step without a fraction")
        last_s = int(end_s)
        # A coarse step is a mean over the whole of it, not over a minute picked out every hour.
        queries = [query(metric, max(self._rate_window_s, step_s))]
        if self._recorded:
            queries.insert(0, recorded_query(metric, max(self._rate_window_s, step_s)))
        rows: _Rows = {}
        for promql in queries:
            rows = await self._asked(metric, promql, last_s, int(step_s), samples)
            if rows:
                break
        keys = tuple(sorted(rows, key=str))
        values = np.array([rows[key] for key in keys]).reshape(len(keys), samples)
        return SeriesBatch(metric, keys, values, step_s, last_s)

    async def _asked(self, metric: Metric, promql: str, last_s: int, step_s: int, samples: int) -> _Rows:
        """The answer to one query, in as many parts as it takes."""
        first_s, rows = last_s - (samples - 1) * step_s, _Rows()
        try:
            headers = self._headers | await asyncio.to_thread(_headers_in, self._headers_file)
            for begun in range(0, samples, MOST_POINTS):
                width = min(MOST_POINTS, samples - begun)
                from_s = first_s + begun * step_s
                async with asyncio.timeout(self._timeout_s):
                    result = await asyncio.to_thread(
                        self._ask, promql, from_s, from_s + (width - 1) * step_s, step_s, headers
                    )
                for key, part in _rows(result, metric, from_s, step_s, width).items():
                    rows.setdefault(key, np.full(samples, np.nan))[begun : begun + width] = part
        except TimeoutError as error:
            raise TelemetryUnavailable(self.url, f"no answer within {self._timeout_s:g} s") from error
        except (RequestException, PrometheusApiClientException) as error:
            raise TelemetryUnavailable(self.url, _brief(error)) from error
        except HeadersError as error:
            raise TelemetryUnavailable(self.url, str(error)) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise TelemetryUnavailable(self.url, f"its answer is not Prometheus's: {_brief(error)}") from error
        return rows

    def _ask(self, promql: str, first_s: int, last_s: int, step_s: int, headers: Mapping[str, str]) -> list[Any]:
        # A client for each query: requests' sessions are not safe across threads, and one that timed out lives on.
        with PrometheusConnect(
            self._url,
            headers=dict(headers),
            disable_ssl=False,
            retry=Retry(total=0),
            timeout=self._timeout_s,
        ) as client:
            result: list[Any] = client.custom_query_range(
                promql,
                start_time=datetime.fromtimestamp(first_s, tz=UTC),
                end_time=datetime.fromtimestamp(last_s, tz=UTC),
                step=f"{step_s}",
                params={"timeout": f"{self._timeout_s:g}s"},
            )
        return result


class HeadersError(ValueError):
    """A file of headers that cannot be used; carries ``path`` and ``cause``, and nothing of what is in it."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        self.cause = cause
        super().__init__(f"headers in {path}: {cause}; it was not asked")


def _headers_in(path: Path | None) -> dict[str, str]:
    """Headers as a file has them, ``Name: value`` a line; lines that are empty or begin with # say nothing.

    Raises:
        HeadersError: If it cannot be read, or a line is no header.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "is no text"
        raise HeadersError(path, cause) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not (colon and HEADER_NAME.fullmatch(name) and value.isprintable()):
            raise HeadersError(path, f"line {number} is no header, which is written Name: value")
        found[name] = value
    return found


def _rows(result: list[Any], metric: Metric, first_s: int, step_s: float, samples: int) -> _Rows:
    rows: _Rows = {}
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
