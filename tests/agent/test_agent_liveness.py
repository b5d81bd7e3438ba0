"""What the agent makes of the failover process: starts it or says why not, follows it, tells beacons and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.configs import CIRCUIT, FAKE_KEYS, SECOND, configs
from agent.fake_host import after
from foremesh.agent import reconciler
from foremesh.agent.apply import Sight
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import SetFailover
from foremesh.agent.failover.client import Failover, FailoverError, source_version
from foremesh.agent.failover.table import RouteState, State
from foremesh.agent.failover.told import failover_table
from foremesh.agent.liveness import Liveness
from foremesh.agent.reconciler import Reconciler
from foremesh.agent.state import Observed
from foremesh.agent.store import ConfigStore
from foremesh.model.registration import Acknowledgement
from lab.process import wait_until_async

CONFIG = configs(label=5, standby=6, over={6: SECOND})["a"]
TABLE = failover_table(CONFIG)
assert TABLE
ROUTES = {
    name: RouteState(labels=tuple(number for number, _, _ in route.labels), alive=True, rtt_ms=20.0, loss=0.0)
    for name, route in TABLE.routes.items()
}
STATE = State(source_version(), 1, TABLE.digest, {CIRCUIT: 5}, {CIRCUIT: 2}, (5, 6), ROUTES)


class Stub:
    """A control socket that answers with ``state`` and pushes what it is told to."""

    def __init__(self, path: Path) -> None:
        self.path, self.state = path, STATE
        self.asked: list[str] = []
        self._watching: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Stub:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._watching:
            writer.close()
        self.path.unlink(missing_ok=True)

    def push(self, state: State) -> None:
        self.state = state
        for writer in self._watching:
            writer.write(msgspec.json.encode(state) + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            what = json.loads(line)["do"]
            self.asked.append(what)
            if what == "watch":
                self._watching.append(writer)
            writer.write(msgspec.json.encode(self.state) + b"\n")
            await writer.drain()


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with Stub(tmp_path / "failover.sock") as running:
        yield running


class Following:
    """A Liveness that follows; ``missing`` counts how often it called for the process."""

    def __init__(self, socket: Path) -> None:
        self.missing = 0
        self.liveness = Liveness(Failover(socket, "foremesh_hop"), lambda: CONFIG, self._missing)

    async def _missing(self) -> None:
        self.missing += 1

    async def __aenter__(self) -> Following:
        self._task = asyncio.create_task(self.liveness.follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def metrics(self) -> dict[str, float]:
        lines = [line for family in self.liveness.collect() for line in family.lines() if line[0] != "#"]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_labels_of_one_route_share_it_and_others_have_their_own() -> None:
    shared = failover_table(configs(label=5, labels=(7,), standby=6, over={6: SECOND})["a"])
    assert shared
    assert sorted(tuple(n for n, _, _ in route.labels) for route in shared.routes.values()) == [(5, 7), (6,)]
    alone = failover_table(configs(label=5, labels=(7,))["a"])
    assert alone
    assert sorted(tuple(n for n, _, _ in route.labels) for route in alone.routes.values()) == [(5,), (7,)]


@pytest.mark.parametrize("host", ["t", "wa"], ids=["a-transit", "a-workload"])
def test_where_no_circuit_ends_there_is_nothing_to_watch(host: str) -> None:
    assert failover_table(configs()[host]) is None
    assert desired(configs()[host], Local(public_keys=FAKE_KEYS[host])).failover is None


async def test_news_reach_beacons(stub: Stub) -> None:
    async with Following(stub.path) as following:
        liveness = following.liveness
        await asyncio.wait_for(liveness.news.wait(), 20)
        assert (liveness.sending(), liveness.heard()) == ({CIRCUIT: 5}, (5, 6))
        liveness.news.clear()
        stub.push(msgspec.structs.replace(STATE, used={CIRCUIT: 6}, alive=(6,)))
        await asyncio.wait_for(liveness.news.wait(), 20)
        assert (liveness.sending(), liveness.heard()) == ({CIRCUIT: 6}, (6,))


async def test_figures_alone_are_no_news(stub: Stub) -> None:
    async with Following(stub.path) as following:
        await asyncio.wait_for(following.liveness.news.wait(), 20)
        following.liveness.news.clear()
        route = msgspec.structs.replace(next(iter(ROUTES.values())), rtt_ms=99.0)
        stub.push(msgspec.structs.replace(STATE, routes=dict.fromkeys(ROUTES, route)))
        await wait_until_async(lambda: all(r.rtt_ms == 99.0 for r in following.liveness.state.routes.values()), 20)
        assert not following.liveness.news.is_set()


async def test_a_process_that_is_gone_is_called_for_and_what_is_sent_on_stays_known(stub: Stub) -> None:
    async with Following(stub.path) as following:
        await wait_until_async(lambda: following.liveness.up, 20)
        await stub.__aexit__()
        await wait_until_async(lambda: following.missing > 0, 20)
        assert following.liveness.sending() == {CIRCUIT: 5}
        assert following.liveness.heard() == ()
        assert following.metrics()["foremesh_agent_failover_up"] == 0.0


async def test_metrics(stub: Stub) -> None:
    async with Following(stub.path) as following:
        await wait_until_async(lambda: following.liveness.up, 20)
        found = following.metrics()
    ends = f'src="default/a",dst="default/b",circuit="{CIRCUIT}"'
    for number, used in ((5, 1.0), (6, 0.0)):
        label = f'{{{ends},label="{number}"}}'
        assert found[f"foremesh_label_used{label}"] == used
        assert found[f"foremesh_label_up{label}"] == 1.0
        assert found[f"foremesh_label_rtt_seconds{label}"] == pytest.approx(0.02)
        assert found[f"foremesh_label_loss_ratio{label}"] == 0.0
        assert f"foremesh_label_jitter_seconds{label}" not in found  # not known
    assert found[f"foremesh_label_failovers_total{{{ends}}}"] == 2.0


async def test_a_process_of_another_version_holds_nothing(stub: Stub) -> None:
    stub.state = msgspec.structs.replace(STATE, version="older")
    state = await Failover(stub.path, "foremesh_hop").state()
    assert state
    assert (state.digest, state.used) == ("", {CIRCUIT: 5})


async def test_a_refusal_is_an_error_with_its_cause(stub: Stub) -> None:
    assert TABLE
    stub.state = msgspec.structs.replace(STATE, error="no such map")
    with pytest.raises(FailoverError, match="no such map"):
        await Failover(stub.path, "foremesh_hop").set(TABLE)


async def test_a_process_that_cannot_start_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert TABLE
    failover = Failover(tmp_path / "no-such-folder" / "failover.sock", "foremesh_hop")
    with pytest.raises(FailoverError, match="not started"):
        await failover.set(TABLE)
    assert "circuits stay on the labels they use" in capfd.readouterr().err
    assert await failover.state() is None
    await failover.end()


async def test_without_the_process_a_config_is_refused_with_the_cause_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "PAUSE_S", 0.0)
    time_s = 0.0
    said: list[Acknowledgement] = []

    class Host:
        state = Observed()
        works = False

        async def observe(self, *_: object, **__: object) -> Sight:
            return Sight(self.state, {}, {})

        async def foreign_routes(self) -> list[tuple[str, str]]:
            return []

        async def apply(self, changes: tuple[object, ...]) -> None:
            for change in changes:
                if isinstance(change, SetFailover) and not self.works:
                    raise FailoverError("failover process not started (exit 1)")
                self.state = after(self.state, change)  # type: ignore[arg-type]

    host = Host()
    local = Local(public_keys=FAKE_KEYS["a"])
    bench = Reconciler(host, ConfigStore(tmp_path), local, on_outcome=said.append, clock=lambda: time_s)
    await bench.take(CONFIG)
    assert [ack.applied for ack in said] == [False]
    assert "failover process not started" in said[0].error
    host.works = True
    time_s += reconciler.SHORTEST_REFUSAL_S
    await bench.reconcile()
    assert [ack.applied for ack in said] == [False, True]
    assert TABLE
    assert host.state.failover == TABLE.digest
