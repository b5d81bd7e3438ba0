"""A reconciler holds a host to a config, says what came of it, and is patient with what fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from agent.configs import BLOCKS, FAKE_KEYS, configs, resource
from agent.fake_host import after
from foremesh.agent import reconciler
from foremesh.agent.apply import Sight, _endpoint
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import Change, DropAllowed, ForgetFlows, SetPeer, SetTable
from foremesh.agent.host import HostError
from foremesh.agent.reconciler import Reconciler
from foremesh.agent.state import Desired, Observed
from foremesh.agent.store import ConfigStore
from foremesh.agent.wireguard import SeenPeer
from foremesh.model.registration import Acknowledgement


class FakeHost:
    """A host of values; ``foreign`` are routes of others, ``obstacle`` may raise before a change is made, and peers
    have talked just now if ``alive``."""

    def __init__(self) -> None:
        self.state = Observed()
        self.made: list[Change] = []
        self.told: dict[str, str] = {}
        self.foreign: list[tuple[str, str]] = []
        self.obstacle: Callable[[Change], None] = lambda _: None
        self.alive = False

    async def observe(self, wanted: Desired | None, told: dict[str, str], *, now_s: float) -> Sight:
        self.told = dict(told)
        return Sight(self._seen(told) if self.alive else self.state, {}, dict.fromkeys(self.state.interfaces, 1))

    def _seen(self, told: dict[str, str]) -> Observed:
        """Peers that talk count as being where they were told to be."""
        interfaces = {
            name: replace(
                seen,
                peers={
                    key: replace(peer, endpoint=told.get(f"{name} {key}", peer.endpoint))
                    for key, peer in seen.peers.items()
                },
            )
            for name, seen in self.state.interfaces.items()
        }
        return replace(self.state, interfaces=interfaces)

    async def foreign_routes(self) -> list[tuple[str, str]]:
        return self.foreign

    async def apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.obstacle(change)
            self.state = after(self.state, change)
            if not isinstance(change, ForgetFlows):  # which changes nothing that can be seen
                self.made.append(change)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.host = FakeHost()
        self.said: list[Acknowledgement] = []
        self.store = ConfigStore(folder)
        self.time_s = 0.0
        self.local = Local(public_keys=FAKE_KEYS["t"])
        self.reconciler = self.restarted()

    def restarted(self) -> Reconciler:
        self.reconciler = Reconciler(
            self.host, self.store, self.local, on_outcome=self.said.append, clock=lambda: self.time_s
        )
        return self.reconciler

    async def refusal_over(self) -> None:
        """Look again when a refused config is to be tried again."""
        self.time_s += reconciler.LONGEST_REFUSAL_S
        await self.reconciler.reconcile()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(reconciler, "PAUSE_S", 0.0)
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


def refuse(*kinds: type, times: int = 1 << 30) -> Callable[[Change], None]:
    """An obstacle to changes of some kinds, so many times."""
    left = [times]

    def obstacle(change: Change) -> None:
        if isinstance(change, kinds) and left[0] > 0:
            left[0] -= 1
            raise HostError("nft: exit 1: no")

    return obstacle


async def test_a_config_that_fails_is_rolled_back_said_and_tried_again_later(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    before = bench.host.state
    bench.host.obstacle = refuse(SetTable)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    assert (bench.said[-1].epoch, bench.said[-1].applied, bench.said[-1].labels) == (2, False, (5,))
    assert "nft: exit 1: no" in bench.said[-1].error
    assert bench.said[-1].error.endswith("epoch 1 is in force")
    assert bench.host.state == before
    assert (bench.reconciler.applied, bench.reconciler.wanted) == (
        configs(epoch=1)["t"],
        configs(epoch=2, label=6)["t"],
    )
    stored = bench.store.load()
    assert stored is not None
    assert stored.epoch == 1

    bench.host.obstacle = lambda _: None
    made, said = len(bench.host.made), len(bench.said)
    bench.time_s += reconciler.SHORTEST_REFUSAL_S - 1
    await bench.reconciler.reconcile()
    assert (len(bench.host.made), len(bench.said)) == (made, said)
    bench.time_s += 1
    await bench.reconciler.reconcile()
    assert (bench.said[-1].epoch, bench.said[-1].applied, bench.said[-1].labels) == (2, True, (6,))
    assert bench.reconciler.failure == ""


async def test_what_fails_once_is_tried_again_before_it_is_refused(bench: Bench) -> None:
    bench.host.obstacle = refuse(SetTable, times=reconciler.ATTEMPTS - 1)
    await bench.reconciler.take(configs()["t"])
    assert [ack.applied for ack in bench.said] == [True]


async def test_a_refused_config_is_tried_less_and_less_often(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    tried: list[float] = []

    def note(change: Change) -> None:
        if isinstance(change, SetTable):
            tried.append(bench.time_s)
            raise HostError("no")

    bench.host.obstacle = note
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    for _ in range(1000):
        bench.time_s += 1
        await bench.reconciler.reconcile()
    times = sorted(set(tried))
    assert [now - before for before, now in pairwise(times)] == [10, 20, 40, 80, 160, 300, 300]
    assert [ack.applied for ack in bench.said] == [True, False]  # and said once


async def test_what_breaks_under_a_refused_config_is_mended(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    before = bench.host.state
    bench.host.obstacle = refuse(SetTable)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    bench.host.state = replace(before, routes=frozenset())
    await bench.reconciler.reconcile()
    assert bench.host.state == before
    assert not bench.said[-1].applied


async def test_a_newer_config_ends_the_wait_of_a_refused_one(bench: Bench) -> None:
    bench.host.obstacle = refuse(SetTable)
    await bench.reconciler.take(configs(epoch=1)["t"])
    bench.host.obstacle = lambda _: None
    await bench.reconciler.take(configs(epoch=2)["t"])
    assert [(ack.epoch, ack.applied) for ack in bench.said] == [(1, False), (2, True)]


async def test_a_first_config_that_fails_leaves_nothing(bench: Bench) -> None:
    bench.host.obstacle = refuse(SetTable, times=reconciler.ATTEMPTS * 2)
    await bench.reconciler.take(configs()["t"])
    left = bench.host.state
    assert (left.interfaces, left.routes, left.rules, left.tables) == ({}, frozenset(), frozenset(), {})
    assert bench.said[-1].error.endswith("nothing of it is left")
    assert bench.said[-1].labels == ()


async def test_what_an_unknown_config_has_set_up_is_not_torn_down_by_one_that_fails(bench: Bench) -> None:
    """The state folder was lost while traffic flows."""
    await bench.reconciler.take(configs(epoch=1)["t"])
    bench.store.forget()
    bench.restarted()
    bench.host.obstacle = refuse(SetTable)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    allowed = {p for peer in bench.host.state.interfaces["fm-hop"].peers.values() for p in peer.allowed}
    assert {f"{BLOCKS.label_pair(number)[0]}/32" for number in (5, 6)} <= allowed
    assert "not known" in bench.said[-1].error
    assert bench.said[-1].labels == (6,)  # nobody may have it meanwhile


async def test_a_rollback_that_fails_is_said_and_happens_later(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    before = bench.host.state
    bench.host.obstacle = refuse(SetTable, DropAllowed)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    assert "epoch 1 failed as well and is tried again" in bench.said[-1].error
    assert bench.said[-1].labels == (5, 6)
    bench.host.obstacle = refuse(SetTable)
    await bench.reconciler.reconcile()
    assert bench.host.state == before
    assert bench.said[-1].error.endswith("epoch 1 is in force")
    assert bench.said[-1].labels == (5,)


async def test_a_config_that_cannot_be_remembered_is_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart would go back behind what was acknowledged."""
    await bench.reconciler.take(configs(epoch=1)["t"])
    before = bench.host.state

    def full(_: object) -> None:
        raise HostError("config.json cannot be written (no space)")

    monkeypatch.setattr(bench.store, "save", full)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    assert "no space" in bench.said[-1].error
    assert bench.host.state == before


async def test_a_peer_is_called_back_to_where_it_was_when_a_config_fails(bench: Bench) -> None:
    """It is alive at its new place, so that looking at WireGuard does not tell who sent it there."""
    config = configs(epoch=1)["t"]
    await bench.reconciler.take(config)
    a, b = config.hop_peers
    moved = msgspec.structs.replace(
        config, epoch=2, hop_peers=(msgspec.structs.replace(a, endpoint="203.0.113.77:51820"), b)
    )
    bench.host.alive = True
    bench.host.obstacle = refuse(SetTable)
    moved = msgspec.structs.replace(moved, transits=())
    await bench.reconciler.take(moved)
    assert bench.host.state.interfaces["fm-hop"].peers[a.public_key].endpoint == a.endpoint
    bench.host.obstacle = lambda _: None
    await bench.refusal_over()
    assert bench.host.state.interfaces["fm-hop"].peers[a.public_key].endpoint == "203.0.113.77:51820"


async def test_flows_follow_the_rules_after_an_application_that_ended_half_way(bench: Bench) -> None:
    forgotten: list[object] = []

    def note(change: Change) -> None:
        if isinstance(change, ForgetFlows):
            forgotten.append(change.flows)

    bench.host.obstacle = note
    config = configs(epoch=1)["t"]
    await bench.reconciler.take(config)
    await bench.reconciler.reconcile()
    assert forgotten == [desired(config, bench.local).flows]  # once: an earlier agent may have ended before it
    del forgotten[:]
    bench.host.obstacle = refuse(SetTable, times=1)
    await bench.reconciler.take(configs(epoch=2, label=6)["t"])
    bench.host.obstacle = note
    await bench.restarted().adopt()
    assert forgotten


async def test_a_route_of_others_that_goes_lets_a_refused_config_in(bench: Bench) -> None:
    bench.host.foreign = [("100.64.0.0/10", "100.64.0.0/10 dev tun9")]
    await bench.reconciler.take(configs()["t"])
    bench.host.foreign = []
    await bench.refusal_over()
    assert [ack.applied for ack in bench.said] == [False, True]


async def test_a_refusal_is_the_last_word_until_something_changes(bench: Bench) -> None:
    await bench.reconciler.take(configs(epoch=1)["t"])
    bench.host.foreign = [("100.64.0.0/10", "100.64.0.0/10 dev tun9")]
    await bench.reconciler.take(configs(epoch=2)["t"])
    for _ in range(3):
        await bench.reconciler.reconcile()
    assert [(ack.epoch, ack.applied) for ack in bench.said] == [(1, True), (2, False)]


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
