"""HTTP/1.1 over asyncio's streams: a client of one server, and a server of a few pages. h11 knows the protocol.

A library that does all of HTTP takes twelve megabytes, a quarter of an agent, and there is an agent beside every
workload. No redirects, no proxies, no compression.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import h11

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
NEXT_ADDRESS_S = 0.25
"""Seconds until the next address of a name is tried beside the one before; RFC 8305, section 8."""
IDLE_S = 120.0
"""Seconds for which a connection without a request is kept open for its client: two scrapes of Prometheus' default."""


class HttpError(OSError):
    """The other side does not speak HTTP, or what is to be said cannot be said in it. Never carries a header."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body."""

    status: int
    body: bytes


class _Connection:
    """A connection, and where in the protocol it is."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]):
        self.protocol = h11.Connection(role)
        self._reader, self._writer = streams

    async def next_event(self) -> object:
        while (event := self.protocol.next_event()) is h11.NEED_DATA:
            self.protocol.receive_data(await self._reader.read(READ_BYTES))
        return event

    async def send(self, *events: h11.Event) -> None:
        for event in events:
            self._writer.write(self.protocol.send(event) or b"")
        await self._writer.drain()

    def renew(self) -> bool:
        """Make ready for another request; whether it can be."""
        if self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE:
            self.protocol.start_next_cycle()
            return True
        return False

    def close(self) -> None:
        self._writer.close()


class Client:
    """Asks one server, over connections that it keeps.

    Args:
        url: Begins with ``http://`` or ``https://``; what is asked for comes after it.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._kept: list[tuple[ssl.SSLContext | None, _Connection]] = []

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        tls: ssl.SSLContext | None,
        timeout_s: float,
    ) -> Answer:
        """Ask. What finds a kept connection closed is asked once more, so it has to be something that may be.

        Args:
            tls: How to trust the server; None: it is asked in clear. A kept connection of another context is not used.

        Raises:
            OSError: If the server cannot be reached, is not trusted or speaks no HTTP.
            TimeoutError: If it takes longer than ``timeout_s`` (an OSError too).
        """
        try:
            asked = h11.Request(
                method=method,
                target=self._url.path.rstrip("/") + path,
                headers=[
                    ("Host", self._url.netloc.rpartition("@")[2]),
                    ("Content-Length", str(len(body))),
                    *headers.items(),
                ],
            )
        except (h11.LocalProtocolError, UnicodeError):
            raise HttpError("a header has characters that no header may have") from None
        async with asyncio.timeout(timeout_s):
            while self._kept:
                trusted, connection = self._kept.pop()
                if trusted is not tls:
                    connection.close()
                    continue
                with contextlib.suppress(OSError):  # closed meanwhile by the server, or by what is in between
                    return await self._exchange(tls, connection, asked, body)
            host, port = self._url.hostname or "", self._url.port or (443 if tls else 80)
            streams = await asyncio.open_connection(host, port, ssl=tls, happy_eyeballs_delay=NEXT_ADDRESS_S)
            return await self._exchange(tls, _Connection(h11.CLIENT, streams), asked, body)

    async def _exchange(
        self, tls: ssl.SSLContext | None, connection: _Connection, asked: h11.Request, body: bytes
    ) -> Answer:
        status, parts = 0, []
        try:
            await connection.send(asked, h11.Data(data=body), h11.EndOfMessage())
            while not isinstance(event := await connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
            renewed = connection.renew()
        except h11.ProtocolError as error:
            connection.close()
            raise HttpError(f"no answer in HTTP ({error})") from None
        except BaseException:
            connection.close()
            raise
        if renewed:
            self._kept.append((tls, connection))
        else:
            connection.close()
        return Answer(status, b"".join(parts))

    def close(self) -> None:
        while self._kept:
            self._kept.pop()[1].close()


@dataclass(frozen=True, slots=True)
class Page:
    """Something that is served: its type, and what makes it anew for every request."""

    content_type: str
    make: Callable[[], Awaitable[bytes]]


class Server:
    """Serves pages by path.

    Args:
        pages: Path to page.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> None:
        """Serve there from now on; an empty host is every address.

        Raises:
            OSError: If it cannot.
        """
        self._server = await asyncio.start_server(self._accept, host or None, port)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(_Connection(h11.SERVER, (reader, writer))))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: _Connection) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    asked = await connection.next_event()
                    if not isinstance(asked, h11.Request):
                        return
                    while isinstance(await connection.next_event(), h11.Data):
                        pass
                await self._answer(connection, asked)
                if not connection.renew():
                    return
        except (OSError, h11.ProtocolError) as error:
            log.debug("connection ended error=%s", error)
        finally:
            connection.close()

    async def _answer(self, connection: _Connection, asked: h11.Request) -> None:
        page = self._pages.get(asked.target.decode("ascii").partition("?")[0])
        kind, body = "text/plain; charset=utf-8", b""
        if page is None:
            status = HTTPStatus.NOT_FOUND
        elif asked.method not in (b"GET", b"HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
        else:
            status, kind = HTTPStatus.OK, page.content_type
            try:
                body = await page.make()
            except Exception:
                log.exception("page not served path=%s", asked.target.decode("ascii"))
                status = HTTPStatus.INTERNAL_SERVER_ERROR
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        answer = h11.Response(status_code=status, headers=headers, reason=status.phrase)
        data = [h11.Data(data=body)] if asked.method != b"HEAD" else []
        await connection.send(answer, *data, h11.EndOfMessage())
