"""The agent's HTTP: what its client makes of a server's ways, and what its own server says."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from foremesh.agent.exposition import Family
from foremesh.agent.http import Answer, Client, HttpError, Page, Server

Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def speaking(speak: Speaker) -> AsyncIterator[Client]:
    """A client of a server that does what ``speak`` does on every connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await speak(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base/")
    try:
        yield client
    finally:
        client.close()
        server.close()


async def ask(client: Client, headers: dict[str, str] | None = None, timeout_s: float = 20.0) -> Answer:
    return await client.request("POST", "/v1/x?y=1", headers or {}, b"body", tls=None, timeout_s=timeout_s)


def saying(*answers: bytes, close: bool = False, heads: list[bytes] | None = None) -> Speaker:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"body"
            if heads is not None:
                heads.append(head)
            writer.write(answer)
            await writer.drain()
        if not close:
            await reader.read()

    return speak


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", Answer(200, b"yes")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1\r\ns\r\n0\r\n\r\n", Answer(200, b"yes")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"")),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Answer(503, b"")),
    ],
    ids=["whole", "chunked", "without-a-body", "after-a-hint"],
)
async def test_an_answer_is_read_whole(said: bytes, answer: Answer) -> None:
    heads: list[bytes] = []
    async with speaking(saying(said, heads=heads)) as client:
        assert await ask(client) == answer
    assert heads[0].startswith(b"POST /base/v1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_body_that_ends_with_the_connection_is_read() -> None:
    async with speaking(saying(b"HTTP/1.0 200 OK\r\n\r\nyes", close=True)) as client:
        assert await ask(client) == Answer(200, b"yes")


async def test_a_connection_is_kept_and_one_that_was_closed_meanwhile_is_replaced() -> None:
    yes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
    connections = 0

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(yes, yes, close=True)(reader, writer)

    async with speaking(speak) as client:
        for expected in (1, 1, 2, 2, 3):
            assert await ask(client) == Answer(200, b"yes")
            assert connections == expected


async def test_requests_beside_each_other_have_connections_of_their_own() -> None:
    together = asyncio.Barrier(2)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with speaking(speak) as client:
        assert await asyncio.gather(ask(client), ask(client)) == [Answer(200, b"")] * 2


@pytest.mark.parametrize(
    "said", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nyes", b""], ids=str
)
async def test_no_http_and_half_an_answer_are_errors(said: bytes) -> None:
    async with speaking(saying(said, close=True)) as client:
        with pytest.raises(HttpError, match="no answer in HTTP"):
            await ask(client)


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    async with speaking(saying(b"HTTP/1.1 200 OK\r\n")) as client:
        with pytest.raises(TimeoutError):
            await ask(client, timeout_s=0.2)


@pytest.mark.parametrize("token", ["secret\r\nX: y", "secret\u20ac", "secret\0"], ids=ascii)
async def test_a_header_that_cannot_be_sent_is_not_shown(token: str) -> None:
    async with speaking(saying()) as client:
        with pytest.raises(HttpError) as caught:
            await ask(client, {"Authorization": token})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@asynccontextmanager
async def serving(pages: dict[str, Page]) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = Server(pages)
    await server.listen("127.0.0.1", port)
    try:
        yield port
    finally:
        await server.close()


async def _page() -> bytes:
    return b"content"


async def _broken() -> bytes:
    raise RuntimeError("broken")


async def test_pages_are_served_over_one_connection() -> None:
    pages = {"/page": Page("text/x", _page), "/broken": Page("text/x", _broken)}
    async with serving(pages) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

        def get(method: str, path: str) -> tuple[int, str | None, bytes]:
            connection.request(method, path, body=b"x" * 100_000 if method == "POST" else None)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read()

        for method, path, expected in (
            ("GET", "/page?x=1", (200, "text/x", b"content")),
            ("HEAD", "/page", (200, "text/x", b"")),
            ("GET", "/", (404, "text/plain; charset=utf-8", b"")),
            ("POST", "/page", (405, "text/plain; charset=utf-8", b"")),
            ("GET", "/broken", (500, "text/x", b"")),
            ("GET", "/page", (200, "text/x", b"content")),
        ):
            assert await asyncio.to_thread(get, method, path) == expected
        connection.close()


async def test_who_speaks_no_http_is_left_and_others_are_served() -> None:
    async with serving({"/page": Page("text/x", _page)}) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        client = Client(f"http://127.0.0.1:{port}")
        assert await client.request("GET", "/page", {}, b"", tls=None, timeout_s=20) == Answer(200, b"content")
        client.close()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r")), st.floats(allow_nan=False))
def test_metrics_are_read_as_they_were_written(name: str, value: float) -> None:
    family = Family("fm_x_total", "About it", ("src", "dst"))
    assert list(family.lines()) == []
    family.add((name, "b"), value)
    (read,) = text_string_to_metric_families("".join(family.lines()))
    assert (read.name, read.type, read.documentation) == ("fm_x", "counter", "About it")
    (sample,) = read.samples
    assert (sample.labels, sample.value) == ({"src": name, "dst": "b"}, value)
