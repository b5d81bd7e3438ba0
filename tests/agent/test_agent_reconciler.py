"""A reconciler holds a host to a config, says what came of it, and is patient with what fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.configs import FAKE_KEYS, configs, resource
from agent.fake_host import after
from foremesh.agent.apply import Sight, _endpoint
from foremesh.agent.desired import Local
from foremesh.agent.diff import Change, SetPeer, SetTable
from foremesh.agent.host import HostError
from foremesh.agent.reconciler import Reconciler
from foremesh.agent.state import Desired, Observed
from foremesh.agent.store import ConfigStore
from foremesh.agent.wireguard import SeenPeer
from foremesh.model.registration import Acknowledgement


class FakeHost:
    """A host of values; ``foreign`` are routes of others, ``obstacle`` may raise before a change is made."""

    def __init__(self) -> None:
        self.state = Observed()
        self.made: list[Change] = []
        self.told: dict[str, str] = {}
        self.foreign: list[tuple[str, str]] = []
        self.obstacle: Callable[[Change], None] = lambda _: None

    async def observe(self, wanted: Desired | None, told: dict[str, str], *, now_s: float) -> Sight:
        self.told = dict(told)
        return Sight(self.state, {}, dict.fromkeys(self.state.interfaces, 1))

    async def foreign_routes(self) -> list[tuple[str, str]]:
        return self.foreign

    async def apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.obstacle(change)
            self.state = after(self.state, change)
            self.made.append(change)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.host = FakeHost()
        self.said: list[Acknowledgement] = []
        self.store = ConfigStore(folder)
        self.reconciler = self.restarted()

    def restarted(self) -> Reconciler:
        local = Local(public_keys=FAKE_KEYS["t"])
        self.reconciler = Reconciler(self.host, self.store, local, on_outcome=self.said.append)
        return self.reconciler


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state")


async def test_a_config_is_applied_acknowledged_and_remembered(bench: Bench) -> None:
    config = configs()["t"]
    await bench.reconciler.take(config)
    assert [(ack.gateway, ack.epoch, ack.revision, ack.applied, ack.labels) for ack in bench.said] == [
        (resource("t"), 1, config.revision, True, (5,))
    ]
    assert bench.store.load() == config


async def test_nothing_is_made_or_said_twice(bench: Bench) -> None:
    await bench.reconciler.take(configs()["t"])
    made = len(bench.host.made)
    for _ in range(3):
        await bench.reconciler.reconcile()
    assert (len(bench.host.made), len(bench.said)) == (made, 1)


async def test_an_equal_config_of_a_newer_epoch_is_acknowledged_without_a_change(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    made = len(bench.host.made)
    await bench.reconciler.take(configs(epoch=2)["t"])
    assert len(bench.host.made) == made
    assert [(ack.epoch, ack.applied) for ack in bench.said] == [(1, True), (2, True)]
    stored = bench.store.load()
    assert stored is not None
    assert stored.epoch == 2


async def test_an_older_epoch_is_refused_even_after_a_restart(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=7)["t"])
    await bench.restarted().adopt()
    made = len(bench.host.made)
    await bench.reconciler.take(configs(epoch=6, label=9)["t"])
    assert len(bench.host.made) == made
    assert not bench.said[-1].applied
    assert "older than 7" in bench.said[-1].error
    assert bench.said[-1].labels == (5,)


async def test_a_restart_adopts_what_stands(bench: Bench) -> None:
    await bench.reconciler.take(configs()["t"])
    made = len(bench.host.made)
    await bench.restarted().adopt()
    assert len(bench.host.made) == made
    assert bench.said[-1].applied
    # Where it had sent its peers is known, so that one that roamed is not called back.
    assert set(bench.host.told.values()) == {"203.0.113.1:51820", "203.0.113.3:51820"}


async def test_overlapping_blocks_are_not_joined(bench: Bench) -> None:
    bench.host.foreign = [("100.64.0.0/10", "100.64.0.0/10 dev tun9")]
    await bench.reconciler.take(configs()["t"])
    assert bench.host.made == []
    assert not bench.said[-1].applied
    assert "overlaps the route 100.64.0.0/10 dev tun9" in bench.said[-1].error
    assert bench.store.load() is None


async def test_a_failed_application_is_said_and_tried_again(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])

    def refuse_tables(change: Change) -> None:
        if isinstance(change, SetTable):
            raise HostError("nft: exit 1: no")

    bench.host.obstacle = refuse_tables
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    assert (bench.said[-1].epoch, bench.said[-1].applied, bench.said[-1].labels) == (2, False, (5,))
    # What was there before still stands beside what is new.
    allowed = {p for peer in bench.host.state.interfaces["fm-hop"].peers.values() for p in peer.allowed}
    assert {"100.112.0.10/32", "100.112.0.12/32"} <= allowed
    stored = bench.store.load()
    assert stored is not None
    assert stored.epoch == 1

    bench.host.obstacle = lambda _: None
    await bench.reconciler.reconcile()
    assert (bench.said[-1].epoch, bench.said[-1].applied, bench.said[-1].labels) == (2, True, (6,))


async def test_a_stored_config_that_cannot_be_read_is_none(bench: Bench, tmp_path: Path) -> None:
    await bench.reconciler.take(configs()["t"])
    (tmp_path / "state" / "config.json").write_text("{")
    await bench.restarted().adopt()
    assert bench.reconciler.wanted is None


@pytest.mark.parametrize(
    ("age_s", "told", "found"),
    [(10.0, "t:1", "t:1"), (1000.0, "t:1", "r:2"), (10.0, None, "r:2")],
    ids=["a-live-peer-may-roam", "a-dead-one-is-called-back", "untold-is-as-seen"],
)
def test_roaming(age_s: float, told: str | None, found: str) -> None:
    assert _endpoint(SeenPeer(endpoint="r:2", last_handshake_s=5000.0 - age_s), told, 5000.0) == found


async def test_names_are_looked_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configs()["t"]
    a, b = config.hop_peers
    named = msgspec.structs.replace(
        config,
        hop_peers=(
            msgspec.structs.replace(a, endpoint="localhost:51820"),
            msgspec.structs.replace(b, endpoint="no-such-host.invalid:51820"),
        ),
    )
    await bench.reconciler.take(named)
    endpoints = [change.endpoint for change in bench.host.made if isinstance(change, SetPeer)]
    assert sorted(endpoints, key=str) == ["127.0.0.1:51820", None]
    assert bench.said[-1].applied
