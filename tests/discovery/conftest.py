"""The stores as the contract sees them: the same handles on the in-memory one and on a real etcd."""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from foremesh.discovery.etcd import EtcdStore
from foremesh.discovery.etcd_wire import Tls
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.store import DiscoveryStore, Event, Revision
from lab.etcd import EtcdServer

TIMEOUT_S = 1.0
"""Seconds of the stores' timeout here: a test waits it out."""

meshes = itertools.count(1)
"""Tests that share a server keep apart by the name of their mesh."""


@dataclass
class World:
    """A store and what can happen to it."""

    store: DiscoveryStore
    connect: Callable[[], DiscoveryStore]
    """Another client of the same store."""
    ttl_s: float
    """The shortest lease the store grants."""
    stop: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]
    compact: Callable[[], Awaitable[None]]
    wipe: Callable[[], Awaitable[None]]
    """Lose all data, and serve again."""


@contextlib.asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    store = MemoryStore(timeout_s=TIMEOUT_S)

    async def wipe() -> None:
        await store.wipe()
        await store.come_back()

    yield World(store, lambda: store, 0.3, store.go_away, store.come_back, store.compact, wipe)


@contextlib.asynccontextmanager
async def etcd_world(server: EtcdServer) -> AsyncIterator[World]:
    stores: list[EtcdStore] = []
    mesh = f"contract-{next(meshes)}"

    def connect() -> EtcdStore:
        endpoint = f"{server.host}:{server.port}"
        stores.append(EtcdStore([endpoint], mesh=mesh, tls=tls_of(server), timeout_s=TIMEOUT_S))
        return stores[-1]

    # Blocking calls: starting it in this thread lets the kernel end the server if the test run is killed.
    async def stop() -> None:
        server.daemon.kill()

    async def start() -> None:
        server.start()

    async def compact() -> None:
        server.compact()

    async def wipe() -> None:
        server.daemon.kill()
        shutil.rmtree(server.daemon.log.parent / "data")
        server.start()

    try:
        yield World(connect(), connect, 2.0, stop, start, compact, wipe)
    finally:
        for store in stores:
            await store.close()
        if not server.daemon.running:
            server.start()


def tls_of(server: EtcdServer) -> Tls | None:
    """Credentials that the server accepts; None if it talks in clear."""
    if server.ca_file is None or server.client is None:
        return None
    return Tls(server.ca_file, server.client.cert_file, server.client.key_file)


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each kind of store in turn, empty; etcd as it is meant to be run, with mutual TLS."""
    memory = request.param == "memory"
    async with memory_world() if memory else etcd_world(request.getfixturevalue("own_etcd")) as made:
        yield made


@pytest.fixture(scope="session")
def own_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd with mutual TLS that the tests here may stop, compact and wipe, one after the other."""
    with EtcdServer(tmp_path_factory.mktemp("own-etcd"), mutual_tls=True) as running:
        yield running
        # Asked to end, etcd waits some seconds for clients to leave by themselves.
        running.daemon.kill()


class Watching:
    """A watch in the background: what came so far, and how it ended."""

    def __init__(self, store: DiscoveryStore, prefix: str, after: Revision) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(store, prefix, after))

    async def _follow(self, store: DiscoveryStore, prefix: str, after: Revision) -> None:
        try:
            async for event in store.watch(prefix, after=after):
                async with self._came:
                    self.events.append(event)
                    self._came.notify_all()
        finally:
            async with self._came:
                self._came.notify_all()

    async def until(self, count: int, *, timeout_s: float = 10.0) -> list[Event]:
        """The events as soon as there are so many; raises what ended the watch before."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.events) >= count or self._task.done())
        if self._task.done():
            self._task.result()
        return self.events

    async def end(self, *, timeout_s: float = 10.0) -> BaseException | None:
        """What ended the watch."""
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        assert done, f"the watch goes on after {timeout_s:g} s; events so far: {self.events}"
        return self._task.exception()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def watching() -> AsyncIterator[Callable[[DiscoveryStore, str, Revision], Watching]]:
    """Start watches that end with the test."""
    started: list[Watching] = []

    def start(store: DiscoveryStore, prefix: str, after: Revision) -> Watching:
        started.append(Watching(store, prefix, after))
        return started[-1]

    yield start
    for each in started:
        await each.stop()
