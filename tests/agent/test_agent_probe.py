"""Probes over loopback, and what a history of them says."""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from prometheus_client.exposition import generate_latest

from agent.configs import CIRCUIT, FAKE_KEYS, configs, resource
from foremesh.agent import rulesets
from foremesh.agent.desired import Local, desired
from foremesh.agent.load import ProcessorLoad
from foremesh.agent.metrics import Figures, Metrics
from foremesh.agent.probe import PACKET, History, Prober, Target
from foremesh.agent.state import PROBE_PORT, KeyRole, Names
from foremesh.agent.targets import CIRCUIT as CIRCUIT_KIND
from foremesh.agent.targets import LINK, UPLINK, listening, targets
from foremesh.agent.wireguard import Device, SeenPeer
from lab.process import wait_until_async

INTERVAL_S, TIMEOUT_S = 0.02, 0.2


class Sink:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.rtts_s: list[float] = []
        self.forgotten: list[Target] = []

    def sent(self, target: Target) -> None:
        self.counts["sent"] += 1

    def lost(self, target: Target) -> None:
        self.counts["lost"] += 1

    def answered(self, target: Target, rtt_s: float) -> None:
        self.counts["answered"] += 1
        self.rtts_s.append(rtt_s)

    def forget(self, target: Target) -> None:
        self.forgotten.append(target)


class Side:
    """A prober with an address of loopback of its own."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        self.prober = Prober(INTERVAL_S, TIMEOUT_S, 0.1, self.sink)

    def towards(self, other: Side, mtu: int | None = None) -> Target:
        return Target(LINK, "internet", "default/x", "default/y", "lo", other.address, mtu)

    def aim(self, *at: Target) -> None:
        self.prober.retarget(at, {"lo": (1, self.address)})


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    here, there = Side(), Side()
    there.aim()
    yield here, there
    for side in (here, there):
        side.prober.close()


async def test_answered_probes_have_a_round_trip_time(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there, mtu=1400)
    here.aim(target)
    await wait_until_async(lambda: here.prober.reports()[target].mtu_fits, 10)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 10, 10)
    report = here.prober.reports()[target]
    assert report.answering
    assert report.loss == 0.0
    assert all(0 < rtt_s < 0.1 for rtt_s in here.sink.rtts_s)
    assert report.rtt_ms is not None
    assert there.sink.counts["sent"] == 0


async def test_a_lost_probe_is_loss_and_no_latency(sides: tuple[Side, Side]) -> None:
    here, there = sides
    there.prober.close()
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["lost"] >= 3, 10)
    report = here.prober.reports()[target]
    assert (report.answering, report.rtt_ms, report.loss, report.mtu_fits) == (False, None, 1.0, None)
    assert here.sink.rtts_s == []


async def test_an_interface_that_is_gone_is_loss_too(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.prober.retarget([target], {})
    await wait_until_async(lambda: here.sink.counts["lost"] >= 3, 10)
    here.aim(target)
    await wait_until_async(lambda: here.prober.reports()[target].answering, 10)


async def test_a_target_that_goes_is_forgotten_and_one_that_stays_is_not(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 1, 10)
    here.aim(target)
    assert here.prober.reports()[target].answering
    here.aim()
    assert here.sink.forgotten == [target]
    assert here.prober.reports() == {}


async def test_foreign_packets_change_nothing(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 1, 10)
    sent = here.sink.counts["answered"]
    foreign = [b"", b"x", os.urandom(PACKET.size), *(PACKET.pack(b"FMP1", kind, 1, 1, 0, 0) for kind in (2, 9))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for packet in foreign:
            stranger.sendto(packet, (here.address, PROBE_PORT))
    await wait_until_async(lambda: here.sink.counts["answered"] >= sent + 3, 10)
    assert here.sink.counts["lost"] == 0


@pytest.mark.parametrize(
    ("probes", "answering", "loss"),
    [
        ([], False, None),
        ([0.01] * 60 + [None] * 2, True, 2 / 60),
        ([0.01] * 60 + [None] * 3, False, 3 / 60),
        ([None, 0.02], True, 0.5),
    ],
    ids=["unknown-at-first", "two-lost-still-answers", "three-lost-does-not", "back-at-once"],
)
def test_history(probes: list[float | None], answering: bool, loss: float | None) -> None:
    history = History()
    for rtt_s in probes:
        history.add(rtt_s)
    report = history.report()
    assert (report.answering, report.loss) == (answering, loss)
    assert (report.rtt_ms is not None) is answering


def test_full_packets_are_too_large_only_if_small_ones_pass() -> None:
    history = History()
    for _ in range(5):
        history.add_full(answered=False)
    assert history.mtu_fits is None
    history.add(0.01)
    for expected in (None, None, False):
        history.add_full(answered=False)
        assert history.mtu_fits is expected
    history.add_full(answered=True)
    assert history.mtu_fits is True


def test_targets_of_a_gateway_and_a_workload() -> None:
    names = Names()
    config = configs(mtu=1340)["a"]
    wanted = desired(config, Local(FAKE_KEYS["a"]))
    assert targets(config, wanted, names) == (
        Target(LINK, "internet", resource("a"), resource("t"), "fm-hop", "100.80.0.3"),
        Target(CIRCUIT_KIND, CIRCUIT, resource("a"), resource("b"), "fm-c1", "100.64.3.1", 1340),
    )
    assert listening(config, wanted, {"fm-hop": 4, "fm-c1": 5, "fm-att": 6}, names) == {
        "fm-hop": (4, "100.80.0.2"),
        "fm-c1": (5, "100.64.1.1"),
        "fm-att": (6, "100.64.1.1"),
    }
    workload = configs()["wa"]
    wanted = desired(workload, Local(FAKE_KEYS["wa"]))
    assert targets(workload, wanted, names) == (
        Target(UPLINK, resource("a"), resource("wa"), resource("a"), "fm-up0", "100.64.1.1"),
    )
    assert listening(workload, wanted, {"fm-up0": 9}, names) == {"fm-up0": (9, "100.64.1.2")}


def exported(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics_of_a_transit() -> None:
    metrics = Metrics(Names(), resource("t"), "1.2")
    config = configs(labels=(6,))["t"]
    key_a, key_b = FAKE_KEYS["a"][KeyRole.HOP], FAKE_KEYS["b"][KeyRole.HOP]
    hop = Device(
        "k", 51820, {key_a: SeenPeer(receive_bytes=11, transmit_bytes=22, last_handshake_s=1.7e9), key_b: SeenPeer()}
    )
    counters = {
        (rulesets.HOP, "label_5"): (3, 300),
        (rulesets.HOP, "label_6"): (4, 400),
        (rulesets.GUARD, "stopped"): (1, 64),
    }
    metrics.figures = Figures(config, {"fm-hop": hop}, counters)
    metrics.load_ratio = 0.25
    found = exported(metrics)

    def value(name: str, *labels: str) -> float | None:
        return next((v for k, v in found.items() if k.startswith(name) and all(label in k for label in labels)), None)

    assert value("foremesh_link_receive_bytes_total", 'dst="default/a"') == 11
    assert value("foremesh_link_transmit_bytes_total", 'dst="default/a"') == 22
    assert value("foremesh_link_last_handshake_seconds", 'dst="default/a"') == 1.7e9
    assert value("foremesh_link_last_handshake_seconds", 'dst="default/b"') is None, "no handshake is not one in 1970"
    assert found['foremesh_label_forwarded_packets_total{circuit="default/a-b",gateway="default/t"}'] == 7
    assert found['foremesh_label_forwarded_bytes_total{circuit="default/a-b",gateway="default/t"}'] == 700
    assert found['foremesh_gateway_load_ratio{gateway="default/t"}'] == 0.25
    assert found['foremesh_agent_stopped_packets_total{reason="clear"}'] == 1


def test_series_of_probes_come_and_go() -> None:
    metrics = Metrics(Names(), resource("a"), "1.2")
    target = Target(LINK, "internet", resource("a"), resource("t"), "fm-hop", "100.80.0.3")
    labels = 'dst="default/t",link="internet",src="default/a"'
    metrics.sent(target)
    found = exported(metrics)
    assert found[f"foremesh_link_probes_sent_total{{{labels}}}"] == 1
    assert found[f"foremesh_link_probes_lost_total{{{labels}}}"] == 0
    assert not [name for name in found if "rtt" in name], "no answer, no latency"
    metrics.answered(target, 0.0123)
    metrics.lost(target)
    found = exported(metrics)
    assert found[f"foremesh_link_rtt_seconds_sum{{{labels}}}"] == 0.0123
    assert found['foremesh_link_rtt_seconds_bucket{dst="default/t",le="0.01",link="internet",src="default/a"}'] == 0
    assert found['foremesh_link_rtt_seconds_bucket{dst="default/t",le="0.015",link="internet",src="default/a"}'] == 1
    metrics.forget(target)
    metrics.forget(target)
    assert not [name for name in exported(metrics) if "foremesh_link" in name]


def test_load_is_what_was_used_between_two_looks(tmp_path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu 100 0 50 800 50 0 0 0 0 0\n")
    load = ProcessorLoad(path)
    assert load.since_last() is None
    path.write_text("cpu 130 0 70 830 70 0 0 0 0 0\n")
    assert load.since_last() == pytest.approx(0.5)
    path.unlink()
    assert load.since_last() is None
