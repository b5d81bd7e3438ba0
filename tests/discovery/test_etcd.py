"""What only a real etcd has: certificates, connections that break or hang, members that lose their leader."""

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from discovery.conftest import Watching
from foremesh.discovery.connect import connect
from foremesh.discovery.etcd import EtcdStore
from foremesh.discovery.etcd_wire import Tls
from foremesh.discovery.store import Compacted, DiscoveryStore, Revision, StoreUnavailable
from foremesh.settings import EtcdSettings, Settings
from lab import build
from lab.certs import Authority
from lab.etcd import EtcdServer
from lab.process import Daemon, free_port, wait_until_async

pytestmark = pytest.mark.etcd

Watch = Callable[[DiscoveryStore, str, Revision], Watching]


async def test_configured_with_all_files_of_mutual_tls(own_etcd: EtcdServer) -> None:
    assert own_etcd.client is not None
    settings = Settings(
        mesh="configured",
        etcd=EtcdSettings(
            endpoint=f"localhost:{own_etcd.port}",
            ca_file=str(own_etcd.ca_file),
            cert_file=str(own_etcd.client.cert_file),
            key_file=str(own_etcd.client.key_file),
        ),
    )
    async with connect(settings) as store:
        await store.put("k", b"v")
    assert await asyncio.to_thread(own_etcd.get, "/foremesh/configured/k") == "v"


@pytest.mark.parametrize("who", ["nobody", "stranger", "server-is-a-stranger"])
async def test_strangers_are_refused_and_no_credential_is_told(
    own_etcd: EtcdServer, who: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert own_etcd.ca_file is not None
    assert own_etcd.client is not None
    other = Authority(tmp_path, "another authority")
    stranger = other.issue("foremesh-client")
    own = own_etcd.client
    tls = {
        "nobody": None,
        "stranger": Tls(own_etcd.ca_file, stranger.cert_file, stranger.key_file),
        "server-is-a-stranger": Tls(other.cert_file, own.cert_file, own.key_file),
    }[who]
    async with EtcdStore([f"127.0.0.1:{own_etcd.port}"], mesh="x", tls=tls, timeout_s=2) as store:
        with pytest.raises(StoreUnavailable) as refused:
            await store.put("k", b"v")
    said = f"{refused.value} {caplog.text}"
    for pair in (stranger, own):
        assert pair.key_file.read_text().splitlines()[1] not in said
    assert "PRIVATE KEY" not in said


async def test_new_credentials_are_used_without_a_restart(own_etcd: EtcdServer, tmp_path: Path) -> None:
    """A client that started with credentials that are refused works as soon as the files hold good ones."""
    good = own_etcd.client
    assert good is not None
    assert own_etcd.ca_file is not None
    bad = Authority(tmp_path / "old").issue("foremesh-client")
    tls = Tls(own_etcd.ca_file, tmp_path / "tls.crt", tmp_path / "tls.key")
    async with EtcdStore([f"127.0.0.1:{own_etcd.port}"], mesh="rotation", tls=tls, timeout_s=2) as store:
        with pytest.raises(StoreUnavailable, match="credentials unreadable"):
            await store.get("k")
        for pair in (bad, good):
            shutil.copy(pair.cert_file, tmp_path / "tls.crt")
            shutil.copy(pair.key_file, tmp_path / "tls.key")
            if pair is bad:
                with pytest.raises(StoreUnavailable):
                    await store.get("k")
        assert await store.get("k") is None


class BreakingProxy:
    """Forwards to a server and breaks each connection after so many bytes towards the client, a few times over."""

    def __init__(self, target: int, *, break_after_bytes: int, breaks: int) -> None:
        self.port = free_port()
        self.broken = 0
        self._target = target
        self._break_after_bytes = break_after_bytes
        self._breaks = breaks

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        limit = self._break_after_bytes if self.broken < self._breaks else None
        up = asyncio.create_task(self._pump(reader, far_writer, None))
        down = asyncio.create_task(self._pump(far_reader, writer, limit))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            self.broken += down.done() and down.result()
        finally:
            for task in (up, down):
                task.cancel()
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> bool:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                passed += len(data)
                if limit is not None and passed > limit:
                    return True
                writer.write(data)
                await writer.drain()
        return False


async def test_a_watch_that_breaks_while_catching_up_misses_nothing(etcd_server: EtcdServer, watching: Watch) -> None:
    """etcd sends old changes in batches whose header already names the newest revision: who resumes after the header
    loses what was not sent yet."""
    async with EtcdStore([f"127.0.0.1:{etcd_server.port}"], mesh="catch-up") as direct:
        _, before = await direct.list("")
        count = 2500
        for number in range(count):
            await direct.put(f"many/{number}", b"x" * 64)
    proxy = BreakingProxy(etcd_server.port, break_after_bytes=120_000, breaks=2)
    async with proxy.running(), EtcdStore([f"127.0.0.1:{proxy.port}"], mesh="catch-up") as store:
        watch = watching(store, "many", before)
        await watch.until(count, timeout_s=20)
        assert proxy.broken == 2
        assert [event.record.key for event in watch.events] == [f"many/{number}" for number in range(count)]
        await watch.stop()


async def test_a_server_that_hangs_is_noticed(new_etcd: Callable[..., EtcdServer], watching: Watch) -> None:
    """Connections stay open and nothing is answered: only asking tells."""
    server = new_etcd()
    async with EtcdStore([f"127.0.0.1:{server.port}"], mesh="hang", timeout_s=0.6) as store:
        revision = await store.put("a/k", b"1")
        watch = watching(store, "a", revision)
        await store.put("a/k", b"2")
        await watch.until(1)
        server.pause()
        try:
            with pytest.raises(StoreUnavailable):
                await store.get("a/k")
            assert isinstance(await watch.end(timeout_s=5), StoreUnavailable)
        finally:
            server.resume()
        await wait_until_async(lambda: store.get("a/k"), 5, ignoring=(StoreUnavailable,))


async def test_an_idle_watch_on_a_healthy_server_goes_on(etcd_server: EtcdServer, watching: Watch) -> None:
    async with EtcdStore([f"127.0.0.1:{etcd_server.port}"], mesh="idle", timeout_s=0.2) as store:
        _, revision = await store.list("a")
        watch = watching(store, "a", revision)
        # Several times the silence after which the watch asks the server whether it is there.
        lease = await store.grant(2)
        witness = watching(store, "witness", await store.put("witness/k", b"", lease=lease))
        await witness.until(1)
        await store.put("a/k", b"1")
        await watch.until(1)
        await watch.stop()
        await witness.stop()


async def test_failed_attempts_leave_no_connection_behind() -> None:
    """Each failure makes a new connection; an outage of an hour must not run out of file descriptors."""
    async with EtcdStore([f"127.0.0.1:{free_port()}"], mesh="x", timeout_s=1) as store:

        async def fail(times: int) -> int:
            for _ in range(times):
                with pytest.raises(StoreUnavailable):
                    await store.get("k")
            return len(os.listdir("/proc/self/fd"))

        after_few = await fail(20)
        assert await fail(300) <= after_few + 10


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[int, Daemon]]:
    """Three members of one etcd, by client port."""
    ports = [(free_port(), free_port()) for _ in range(3)]
    everyone = ",".join(f"m{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
    members = {}
    for n, (client, peer) in enumerate(ports):
        argv: list[str | Path] = [
            build.ensure("etcd"),
            f"--name=m{n}",
            f"--data-dir={tmp_path / f'm{n}'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster={everyone}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        members[client] = Daemon(argv, log=tmp_path / f"m{n}.log", name=f"etcd m{n}")
    try:
        for member in members.values():
            member.start()
        yield members
    finally:
        for member in members.values():
            if member.running:
                member.kill()


async def test_members_may_be_lost_and_the_loss_of_the_majority_is_told(
    cluster: dict[int, Daemon], watching: Watch
) -> None:
    endpoints = [f"127.0.0.1:{port}" for port in cluster]
    async with EtcdStore(endpoints, mesh="m") as store, EtcdStore(endpoints[-1:], mesh="m") as last:
        await wait_until_async(lambda: last.put("a/k", b"start"), 20, ignoring=(StoreUnavailable,))
        watch = watching(store, "a", (await store.list("a"))[1])
        elsewhere = watching(last, "a", (await last.list("a"))[1])
        written: list[bytes] = []
        numbers = itertools.count()

        async def write() -> bool:
            value = str(next(numbers)).encode()
            await store.put("a/k", value)
            written.append(value)
            return True

        await write()
        members = list(cluster.values())
        # The first is the one the store is connected to; one of the three may be the leader, whichever it is.
        members[0].kill()
        await wait_until_async(write, 20, ignoring=(StoreUnavailable,), what="writing goes on with two members")
        await watch.until(len(written))
        await elsewhere.until(len(written))
        seen = [event.record.value for event in watch.events]
        # A write that was not answered may have been stored all the same.
        assert [value for value in seen if value in written] == written
        members[1].kill()
        with pytest.raises(StoreUnavailable):
            await last.put("a/k", b"no majority")
        # Its connection to the last member is well; that member just hears of nothing any more.
        assert isinstance(await elsewhere.end(timeout_s=25), (StoreUnavailable, Compacted))
        members[1].start()
        await wait_until_async(write, 20, ignoring=(StoreUnavailable,), what="writing goes on with a majority")
