"""The agent's side of the mesh API: HTTPS with a bearer token. Knows routes and errors, decides nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from foremesh.agent.http import Client
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError, decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, Registration

T = TypeVar("T")

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
"""Seconds for a request that the API answers at once."""
CONFIG_WAIT_S = 25.0
"""Seconds that the API may hold a config request; below the 30 s that proxies commonly allow."""

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
"""Seconds between retries, doubling from the first to the longest and jittered: an API that returns is found within
five seconds, and not by all agents at once."""


class ApiError(RuntimeError):
    """The mesh API could not be asked, or said no."""


class ApiUnavailable(ApiError):
    """No answer, or one that another attempt may change."""


class ApiRefused(ApiError):
    """An answer that the same request will get again; carries ``status``."""

    def __init__(self, route: str, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"the mesh API refuses {route}: {status} {message}")


class NotRegistered(ApiRefused):
    """The API does not know this agent (any more)."""


class MeshClient:
    """Talks to the mesh API; used as a context.

    Args:
        url: Where it answers; all but ``http://`` is asked over TLS.
        token_file: Holds the bearer token; read for every request.
        ca_file: Authority to trust; None: the system's.
    """

    def __init__(self, url: str, token_file: Path, ca_file: Path | None) -> None:
        self._url = url
        self._token_file = token_file
        self._ca_file = ca_file
        self._tls: tuple[int, ssl.SSLContext] | None = None
        self._http = Client(url)
        self._in_clear = urlsplit(url).scheme == "http"
        if self._in_clear:
            log.warning("mesh API asked in clear api=%s; whoever is on the way can read the token", url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    async def register(self, registration: Registration) -> float | None:
        """Introduce the agent.

        Returns:
            Seconds between beacons that the API wishes for, if it says.
        """
        body = await self._request("POST", "/v1/agents/register", registration)
        try:
            interval_s = msgspec.json.decode(body or b"{}").get("beaconIntervalS")
        except (msgspec.DecodeError, AttributeError):
            return None
        return float(interval_s) if isinstance(interval_s, int | float) and interval_s > 0 else None

    async def beacon(self, beacon: Beacon) -> None:
        """Give a sign of life.

        Raises:
            NotRegistered: If the API asks for a registration first.
        """
        await self._request("POST", "/v1/agents/beacon", beacon)

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        await self._request("POST", "/v1/agents/ack", acknowledgement)

    async def config(self, revision: str, epoch: int) -> GatewayConfig | None:
        """Wait for a config other than the one known; None if there is none yet."""
        query = urlencode({"revision": revision, "epoch": epoch, "wait": f"{CONFIG_WAIT_S:.0f}s"})
        timeout_s = CONFIG_WAIT_S + REQUEST_TIMEOUT_S
        body = await self._request("GET", f"/v1/agents/config?{query}", timeout_s=timeout_s)
        if not body:
            return None
        try:
            return decode(GatewayConfig, body, where="config from the mesh API")
        except ManifestError as error:
            raise ApiUnavailable(f"the mesh API sends a config that cannot be read: {error}") from error

    async def _request(
        self,
        method: str,
        route: str,
        content: msgspec.Struct | None = None,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> bytes:
        try:
            headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
            if content is not None:
                headers["Content-Type"] = "application/json"
            sent = encode(content) if content is not None else b""
            response = await self._http.request(
                method, route, headers, sent, tls=self._tls_context(), timeout_s=timeout_s
            )
        except OSError as error:
            cause = str(error) or type(error).__name__
            raise ApiUnavailable(f"the mesh API at {self._url} cannot be asked ({cause})") from error
        body, route = response.body, route.partition("?")[0]
        if response.status < 300:
            return body
        if response.status == 304:
            return b""
        if response.status >= 500 or response.status == 429:
            raise ApiUnavailable(f"the mesh API answers {route} with {response.status} {_message(body)}")
        refusal = NotRegistered if response.status in (404, 410) else ApiRefused
        raise refusal(route, response.status, _message(body))

    def _tls_context(self) -> ssl.SSLContext | None:
        """The context of the current CA file, which is read again when it changes; None if the API speaks no TLS."""
        if self._in_clear:
            return None
        changed_ns = self._ca_file.stat().st_mtime_ns if self._ca_file else 0
        if self._tls is None or self._tls[0] != changed_ns:
            self._tls = (changed_ns, ssl.create_default_context(cafile=self._ca_file))
        return self._tls[1]


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


class Backoff:
    """Growing, jittered pauses between failures."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        pause_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._failures, 16))
        self._failures += 1
        return float(pause_s * random.uniform(0.5, 1.0))


async def until_done(request: Callable[[], Awaitable[T]], complain: Callable[[ApiError], None]) -> T:
    """Ask until there is an answer; ``complain`` hears of every failure."""
    backoff = Backoff()
    while True:
        try:
            return await request()
        except ApiError as error:
            complain(error)
        await asyncio.sleep(backoff.next_s())
