"""The store in etcd (3.5 or newer). Why not with one of the existing clients: docs/adr/0002-etcd-client.md.

Keys live below ``/foremesh/<mesh>/``. One more key there, ``history``, holds a random name and is made with the first
use of an empty store: it is how a watch notices that the store lost its data, though the numbers go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from foremesh.discovery import etcd_wire as wire
from foremesh.discovery.etcd_wire import Connection, Tls, message
from foremesh.discovery.store import (
    Compacted,
    Conflict,
    Event,
    EventKind,
    Key,
    Lease,
    LeaseLost,
    Record,
    Revision,
    StoreUnavailable,
    check_size,
    folder,
)

log = logging.getLogger(__name__)

ROOT = "/foremesh"
HISTORY = "history"

TIMEOUT_S = 5.0
"""Seconds for a call and for reconnecting a watch; longer than the election of a new leader (1 to 2 s by default)."""

RECONNECT_S = 0.1
"""Seconds between attempts to reconnect a watch; a refused connection costs next to nothing."""

ANOTHER_ENDPOINT_MAY_DO = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class EtcdStore:
    """A DiscoveryStore in etcd. Use as an async context manager, or ``close`` it.

    Args:
        endpoints: ``host:port`` of one or more members; another one is tried when one does not answer.
        mesh: Name of the mesh, which sets its keys apart.
        tls: Credentials for mutual TLS; None talks in clear and is for tests.
        timeout_s: Seconds for a call, and for a watch to reconnect.
    """

    def __init__(
        self, endpoints: Sequence[str], *, mesh: str, tls: Tls | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._endpoints = list(endpoints)
        self._root = f"{ROOT}/{mesh}/"
        self._tls = tls
        self._timeout_s = timeout_s
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def put(
        self, key: Key, value: bytes, *, lease: Lease | None = None, if_revision: int | None = None
    ) -> Revision:
        check_size(key, value)
        put = message("PutRequest", key=self._path(key), value=value, lease=lease.id if lease else 0)
        operation = message("RequestOp", request_put=put)
        answer, history = await self._txn(f"put {key}", operation, key, if_revision, lease)
        return Revision(answer.header.revision, history)

    async def get(self, key: Key) -> Record | None:
        answer, history = await self._read(f"get {key}", message("RangeRequest", key=self._path(key)))
        return next((self._record(kv, history) for kv in answer.responses[0].response_range.kvs), None)

    async def list(self, prefix: Key) -> tuple[list[Record], Revision]:
        first, end = self._range(prefix)
        answer, history = await self._read(f"list {prefix}", message("RangeRequest", key=first, range_end=end))
        records = [self._record(kv, history) for kv in answer.responses[0].response_range.kvs]
        return [record for record in records if record.key != HISTORY], Revision(answer.header.revision, history)

    async def delete(self, key: Key, *, if_revision: int | None = None) -> None:
        operation = message("RequestOp", request_delete_range=message("DeleteRangeRequest", key=self._path(key)))
        await self._txn(f"delete {key}", operation, key, if_revision)

    async def grant(self, ttl_s: float) -> Lease:
        answer = await self._call("grant lease", "grant", message("LeaseGrantRequest", TTL=math.ceil(ttl_s)))
        return Lease(answer.ID, float(answer.TTL))

    async def keep_alive(self, lease: Lease) -> None:
        answer = await self._call("renew lease", "keep_alive", message("LeaseKeepAliveRequest", ID=lease.id))
        if answer.TTL <= 0:
            raise LeaseLost(lease.id)

    async def revoke(self, lease: Lease) -> None:
        with contextlib.suppress(LeaseLost):
            await self._call("revoke lease", "revoke", message("LeaseRevokeRequest", ID=lease.id), lease=lease)

    async def watch(self, prefix: Key, *, after: Revision) -> AsyncIterator[Event]:
        position = int(after)
        broken: tuple[float, StoreUnavailable] | None = None
        while True:
            try:
                async with contextlib.aclosing(self._stream(prefix, position, after.history)) as answers:
                    async for answer in answers:
                        broken = None
                        for event in answer.events:
                            # Its own position, never the header's, which is ahead while old changes are sent.
                            position = event.kv.mod_revision
                            if (change := self._event(event, after.history)).record.key != HISTORY:
                                yield change
            except StoreUnavailable as error:
                # What broke the stream says more than why the last attempt to reconnect failed.
                broken = broken or (time.monotonic(), error)
                since_s, cause = broken
                if time.monotonic() - since_s > self._timeout_s:
                    raise cause from error
                log.info("watch reconnects prefix=%s after=%d cause=%s", prefix, position, error.cause)
                await asyncio.sleep(RECONNECT_S)

    async def _stream(self, prefix: Key, position: int, history: str) -> AsyncGenerator[Any]:
        """One stream's answers, for as long as it lasts; the first is empty and says that it has begun."""
        operation = f"watch {prefix}"
        first, end = self._range(prefix)
        create = message("WatchCreateRequest", key=first, range_end=end, start_revision=position + 1)
        async with self._connect(operation).used() as connection:
            stream = connection.watch(metadata=wire.REQUIRE_LEADER)
            try:
                await self._in_time(stream.write(message("WatchRequest", create_request=create)))
                answer = await self._in_time(stream.read())
                # Only now that the stream stands: it does not outlive a store that loses its data after this check.
                await self._check_history(position, history)
                while answer is not grpc.aio.EOF:
                    if answer.compact_revision:
                        raise Compacted(position, f"compacted at revision {answer.compact_revision}")
                    if answer.canceled:
                        raise StoreUnavailable(connection.endpoint, operation, answer.cancel_reason or "canceled")
                    yield answer
                    answer = await self._next(stream)
                raise StoreUnavailable(connection.endpoint, operation, "the stream ended")
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                self._retire(connection)
                raise StoreUnavailable(connection.endpoint, operation, self._cause(error)) from error
            finally:
                stream.cancel()

    async def _next(self, stream: Any) -> Any:
        """The next answer. A silent stream is asked for its progress: an answer proves that it lives."""
        reading = asyncio.ensure_future(stream.read())
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._timeout_s / 2)
            if not done:
                progress = message("WatchRequest", progress_request=message("WatchProgressRequest"))
                await self._in_time(stream.write(progress))
            return await self._in_time(reading)
        finally:
            reading.cancel()

    async def _in_time(self, awaitable: Awaitable[Any]) -> Any:
        async with asyncio.timeout(self._timeout_s / 2):
            return await awaitable

    async def _check_history(self, position: int, history: str) -> None:
        answer, current = await self._read("read history", message("RangeRequest", key=self._path(HISTORY)))
        if current != history or answer.header.revision < position:
            raise Compacted(position, "the store lost its data")

    async def _read(self, operation: str, request: Any) -> tuple[Any, str]:
        return await self._txn(operation, message("RequestOp", request_range=request))

    async def _txn(
        self, what: str, operation: Any, key: Key = "", if_revision: int | None = None, lease: Lease | None = None
    ) -> tuple[Any, str]:
        """Run an operation, under a condition or not; returns etcd's answer and the name of the store's history.

        Raises:
            Conflict: If the condition does not hold.
            LeaseLost: If the operation names a lease that has ended.
        """
        compare = []
        if if_revision is not None:
            compare = [message("Compare", target=wire.MOD, key=self._path(key), mod_revision=if_revision)]
        read_history = message("RequestOp", request_range=message("RangeRequest", key=self._path(HISTORY)))
        request = message("TxnRequest", compare=compare, success=[operation, read_history])
        answer = await self._call(what, "txn", request, lease=lease, again=not compare)
        if not answer.succeeded:
            raise Conflict(key, if_revision or 0)
        history = answer.responses[-1].response_range.kvs
        return answer, history[0].value.decode() if history else await self._begin_history()

    async def _begin_history(self) -> str:
        name, path = uuid.uuid4().hex, self._path(HISTORY)
        absent = message("Compare", target=wire.CREATE, key=path, create_revision=0)
        put = message("RequestOp", request_put=message("PutRequest", key=path, value=name.encode()))
        get = message("RequestOp", request_range=message("RangeRequest", key=path))
        # Run twice, it finds what the first run put.
        request = message("TxnRequest", compare=[absent], success=[put, get], failure=[get, get])
        answer = await self._call("begin history", "txn", request)
        return str(answer.responses[1].response_range.kvs[0].value.decode())

    async def _call(
        self, operation: str, method: str, request: Any, *, lease: Lease | None = None, again: bool = True
    ) -> Any:
        """Call a method; on every endpoint in turn until one answers, if ``again`` says that twice does no harm.

        Raises:
            StoreUnavailable: If none answers, or one refuses.
            LeaseLost: If there is no such lease.
        """
        deadline_s = time.monotonic() + self._timeout_s
        attempts = len(self._endpoints) if again else 1
        while True:
            # A silent endpoint must leave time for the others.
            timeout_s = max(0.0, deadline_s - time.monotonic()) / attempts
            attempts -= 1
            async with self._connect(operation).used() as connection:
                try:
                    return await getattr(connection, method)(request, timeout=timeout_s)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.NOT_FOUND and lease is not None:
                        raise LeaseLost(lease.id) from None
                    self._retire(connection)
                    if not attempts or error.code() not in ANOTHER_ENDPOINT_MAY_DO:
                        raise StoreUnavailable(connection.endpoint, operation, self._cause(error)) from error

    def _connect(self, operation: str) -> Connection:
        if self._connection is None:
            try:
                self._connection = Connection(self._endpoints[0], self._tls)
            except OSError as error:
                raise StoreUnavailable(self._endpoints[0], operation, f"credentials unreadable: {error}") from error
        return self._connection

    def _retire(self, connection: Connection) -> None:
        """From now on use a fresh connection: to the next endpoint, without back-off, with credentials read anew."""
        connection.retired = True
        if connection is self._connection:
            self._connection = None
            self._endpoints.append(self._endpoints.pop(0))

    def _cause(self, error: Exception) -> str:
        if isinstance(error, grpc.aio.AioRpcError):
            return f"{error.code().name}: {error.details()}"
        return f"no answer for {self._timeout_s / 2:g} s" if isinstance(error, TimeoutError) else "the stream ended"

    def _path(self, key: Key) -> bytes:
        return f"{self._root}{key}".encode()

    def _range(self, prefix: Key) -> tuple[bytes, bytes]:
        first = self._path(folder(prefix))
        # Ends with a slash, whose successor is '0': everything from "a/" to before "a0".
        return first, first[:-1] + b"0"

    def _record(self, kv: Any, history: str) -> Record:
        return Record(kv.key.decode()[len(self._root) :], kv.value, Revision(kv.mod_revision, history))

    def _event(self, event: Any, history: str) -> Event:
        kind = EventKind.DELETE if event.type == wire.DELETE_EVENT else EventKind.PUT
        return Event(kind, self._record(event.kv, history))
