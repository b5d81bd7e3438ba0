"""Random configs on a host of values: killed and failing at any step, it ends as the config says, and nothing is left.

``test_agent_robust_lab`` does the same to a real host, with fewer changes; ``make bench-robustness`` with a thousand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from agent.configs import FAKE_KEYS, fake_key
from agent.fake_host import Impossible, after, as_observed, killed
from agent.random_configs import Drawn
from agent.test_agent_reconciler import FakeHost
from foremesh.agent import reconciler
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import Change, ForgetFlows, SetNames, diff
from foremesh.agent.host import HostError
from foremesh.agent.reconciler import Reconciler
from foremesh.agent.state import Desired, KeyRole, Observed, Peer
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Acknowledgement

HOP_KEYS = (FAKE_KEYS["a"][KeyRole.HOP], fake_key("the next hop key"))
LOCAL = Local(public_keys=FAKE_KEYS["a"], hop_keys=((HOP_KEYS[1], 1), (HOP_KEYS[0], 0)), gathers=True)
CHANGES = 1000
THOROUGH = 12
"""Changes of which every single step is a killer, or fails."""


class Kill(BaseException):
    """The agent ends here: nothing of it may go on."""


@cache
def wanted_by(config: GatewayConfig) -> Desired:
    return desired(config, LOCAL)


class MemoryStore:
    """The store, on a disk that cannot fail."""

    def __init__(self) -> None:
        self.config: GatewayConfig | None = None

    def load(self) -> GatewayConfig | None:
        return self.config

    def save(self, config: GatewayConfig) -> None:
        self.config = config


class Stage(FakeHost):
    """A host and its agent; what a change cannot do, because something died before it, fails as it would in fact."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Observed(names=())
        self.store = MemoryStore()
        self.said: list[Acknowledgement] = []
        self.time_s = 0.0
        self.restart()

    def restart(self) -> None:
        self.agent = Reconciler(
            self,
            self.store,
            LOCAL,
            on_outcome=self.said.append,
            clock=lambda: self.time_s,  # type: ignore[arg-type]
        )

    async def apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.obstacle(change)
            try:
                self.state = after(self.state, change)
            except (Impossible, KeyError) as error:
                raise HostError(f"{change}: {error}") from error

    async def refusal_over(self) -> None:
        self.time_s += reconciler.LONGEST_REFUSAL_S
        await self.agent.reconcile()

    def begin(self, config: GatewayConfig | None) -> None:
        """A host that has a config in full, and an agent that has started since."""
        self.state = as_observed(wanted_by(config)) if config else Observed(names=())
        self.store.config = config
        self.obstacle = lambda _: None
        self.restart()

    def steps_to(self, config: GatewayConfig) -> int:
        return len(diff(self.state, wanted_by(config)))


def stop_after(steps: int, what: Callable[[], None]) -> Callable[[Change], None]:
    """An obstacle that does something once, before the change that follows so many others."""
    left = [steps]

    def obstacle(_: Change) -> None:
        left[0] -= 1
        if left[0] == -1:
            what()

    return obstacle


def kill() -> None:
    raise Kill


def assert_holds(state: Observed, wanted: Desired, said: object = "") -> None:
    """The host has what is wanted and nothing else: no peer, prefix, address, route, rule, table, setting or name."""
    expected = as_observed(wanted)
    found = replace(state, interfaces={}, sysctls={})
    assert found == replace(expected, interfaces={}, sysctls={}), said
    assert set(state.interfaces) == set(expected.interfaces), said
    for name, interface in expected.interfaces.items():
        seen = state.interfaces[name]
        # What is wanted without an endpoint or port keeps the one that it has.
        peers = {
            key: replace(peer, endpoint=seen.peers.get(key, Peer()).endpoint) if peer.endpoint is None else peer
            for key, peer in interface.peers.items()
        }
        port = interface.listen_port if wanted.interfaces[name].listen_port else seen.listen_port
        assert seen == replace(interface, peers=peers, listen_port=port), said
    assert {name: state.sysctls.get(name) for name in wanted.sysctls} == wanted.sysctls, said
    lost = [name for name in state.sysctls if ".fm-" in name and name.split(".")[3] not in state.interfaces]
    assert lost == [], said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PAUSE_S", 0.0)
    # The same configs are looked at again and again.
    monkeypatch.setattr(reconciler, "desired", lambda config, _: wanted_by(config))


def some_changes(seed: int, count: int) -> list[tuple[GatewayConfig | None, GatewayConfig]]:
    """Pairs of a config and the next; the first has none before it."""
    random, drawn = Random(seed), Drawn(own_keys=("", *HOP_KEYS))
    configs: list[GatewayConfig] = []
    for _ in range(count):
        drawn = drawn.changed(random)
        configs.append(drawn.config())
    return list(zip((None, *configs), configs, strict=False))


async def test_an_agent_killed_at_any_step_converges_after_a_restart() -> None:
    """Without the API to what was before, which is complete; then to what it was told."""
    stage = Stage()
    killed_at = 0
    for before, config in some_changes(1, THOROUGH):
        stage.begin(before)
        for step in range(stage.steps_to(config) + 1):
            stage.begin(before)
            stage.obstacle = stop_after(step, kill)
            with contextlib.suppress(Kill):  # the last is not killed before it has ended
                await stage.agent.take(config)
            killed_at += 1
            stage.obstacle = lambda _: None
            stage.restart()
            await stage.agent.adopt()
            if stage.store.config is not None:
                assert_holds(stage.state, wanted_by(stage.store.config), (config.epoch, step))
            await stage.agent.take(config)
            assert_holds(stage.state, wanted_by(config), (config.epoch, step))
    assert killed_at > 10 * THOROUGH


async def test_a_config_that_fails_at_any_step_is_rolled_back() -> None:
    stage = Stage()
    failed = 0
    for before, config in some_changes(2, THOROUGH):
        stage.begin(before)
        for culprit in diff(stage.state, wanted_by(config)):
            if isinstance(culprit, ForgetFlows | SetNames):
                continue  # what fails of these is logged, and no reason to do without the rest
            stage.begin(before)
            if before is not None:
                await stage.agent.adopt()
            del stage.said[:]
            failing = [True]

            def obstacle(change: Change, culprit: Change = culprit, failing: list[bool] = failing) -> None:
                if change == culprit and failing[0]:
                    raise HostError("exit 1")

            stage.obstacle = obstacle
            back = wanted_by(before) if before else Desired()
            await stage.agent.take(config)
            assert [(word.epoch, word.applied) for word in stage.said] == [(config.epoch, False)]
            assert "exit 1" in stage.said[0].error
            assert_holds(stage.state, back, (config.epoch, culprit))
            assert stage.said[0].labels == (before.labels if before else ())
            failed += 1
            failing[0] = False
            await stage.refusal_over()
            assert stage.said[-1].applied
            assert_holds(stage.state, wanted_by(config), (config.epoch, culprit))
    assert failed > 10 * THOROUGH


async def test_after_a_thousand_changes_kills_and_failures_nothing_is_left() -> None:
    random = Random(3)
    stage = Stage()
    happened = dict.fromkeys(("killed", "failed", "once", "died", "nothing"), 0)
    for _, config in some_changes(4, CHANGES):
        steps = stage.steps_to(config)
        event = random.choice(list(happened)) if steps else "nothing"
        happened[event] += 1
        step = random.randrange(steps) if steps else 0
        stage.obstacle = {
            "killed": lambda step=step: stop_after(step, kill),
            "failed": lambda step=step: failing_from(step),
            "once": lambda step=step: stop_after(step, fail),
            "died": lambda step=step: stop_after(step, lambda: something_dies(stage, random)),
            "nothing": lambda: lambda _: None,
        }[event]()
        try:
            await stage.agent.take(config)
        except Kill:
            something_dies(stage, random)
            stage.obstacle = lambda _: None
            stage.restart()
            await stage.agent.adopt()
            await stage.agent.take(config)
        stage.obstacle = lambda _: None
        if event == "failed":
            await stage.agent.reconcile()
            if stage.store.config is not None and stage.store.config != config:
                assert_holds(stage.state, wanted_by(stage.store.config), (event, config.epoch, step))
            await stage.refusal_over()
        elif event == "died":
            await stage.agent.reconcile()  # as every few seconds
        assert_holds(stage.state, wanted_by(config), (event, config.epoch, step))
        assert stage.agent.failure == ""
    assert min(happened.values()) > CHANGES / 20, happened
    stage.state = after_all(stage.state)
    of_all = {f"net.ipv4.conf.all.{setting}": "0" for setting in ("rp_filter", "send_redirects")}
    assert stage.state == Observed(names=(), sysctls={"net.ipv4.ip_forward": "1", **of_all})


def fail() -> None:
    raise HostError("exit 1")


def failing_from(step: int) -> Callable[[Change], None]:
    """An obstacle to everything from some step on, until it is taken away: rolling back fails too."""
    left = [step]

    def obstacle(_: Change) -> None:
        left[0] -= 1
        if left[0] < 0:
            fail()

    return obstacle


def something_dies(stage: Stage, random: Random) -> None:
    """A WireGuard or the failover process is killed."""
    tunnels = sorted(name for name, seen in stage.state.interfaces.items() if seen.vxlan is None)
    if stage.state.failover is not None and random.random() < 0.3:
        stage.state = replace(stage.state, failover="")
    elif tunnels:
        stage.state = killed(stage.state, random.choice(tunnels))


def after_all(state: Observed) -> Observed:
    """Leave."""
    for change in diff(state, Desired()):
        state = after(state, change)
    return state
