"""Probes over loopback, and what a history of them says."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.configs import CIRCUIT, FAKE_KEYS, configs, resource
from foremesh.agent import rulesets
from foremesh.agent.desired import Local, desired
from foremesh.agent.history import History
from foremesh.agent.load import ProcessorLoad
from foremesh.agent.metrics import Figures, Metrics
from foremesh.agent.probe import Prober, Target
from foremesh.agent.probe_socket import PACKET, SMALL_BYTES
from foremesh.agent.state import PROBE_PORT, KeyRole, Names
from foremesh.agent.targets import CIRCUIT as CIRCUIT_KIND
from foremesh.agent.targets import LINK, LINK_SIZES, UPLINK, listening, targets
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

    def __init__(self, interval_s: float = INTERVAL_S, capacity_interval_s: float | None = None) -> None:
        self.sink = Sink()
        self.address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        timeout_s = max(TIMEOUT_S, 5 * interval_s)
        self.prober = Prober(
            interval_s, timeout_s, 0.1, self.sink, capacity_interval_s=capacity_interval_s, grace_s=0.0
        )

    def towards(self, other: Side) -> Target:
        return Target(LINK, "internet", "default/x", "default/y", "lo", other.address)

    def aim(self, *at: Target, sizes: tuple[int, ...] = ()) -> None:
        self.prober.retarget(dict.fromkeys(at, sizes), {"lo": (1, self.address)})

    def history(self, target: Target) -> History:
        return self.prober.histories()[target]


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    here, there = Side(), Side()
    there.aim()
    yield here, there
    for side in (here, there):
        side.prober.close()


async def test_answered_probes_have_a_round_trip_time(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target, sizes=(1400,))
    await wait_until_async(lambda: here.history(target).probe_report().mtu_fits, 10)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 10, 10)
    report = here.history(target).link_report()
    assert report.mtu == 1400
    assert report.jitter_ms is not None
    assert 0 < report.jitter_ms < 100
    report = here.history(target).probe_report()
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
    report = here.history(target).probe_report()
    assert (report.answering, report.rtt_ms, report.loss, report.mtu_fits) == (False, None, 1.0, None)
    assert here.sink.rtts_s == []


async def test_what_waited_for_the_other_end_to_come_up_is_neither_loss_nor_latency() -> None:
    """The first probe is lost and the second held until the third, as WireGuard does until a handshake is done."""
    here = Side(interval_s=0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.bind((f"127.77.0.{random.randrange(1, 255)}", PROBE_PORT))
        target = Target(LINK, "internet", "default/x", "default/y", "lo", other.getsockname()[0])
        came: list[bytes] = []

        def answer() -> None:
            packet, sender = other.recvfrom(2048)
            came.append(packet)
            for request in {2: [], 3: came[1:]}.get(len(came), [packet] if len(came) > 3 else []):
                _, _, session, sequence, sent_ns, _, _ = PACKET.unpack(request)
                other.sendto(PACKET.pack(b"FMP2", 2, session, sequence, sent_ns, sent_ns + 7, 0), sender)

        asyncio.get_running_loop().add_reader(other, answer)
        try:
            here.aim(target)
            await wait_until_async(lambda: here.sink.counts["answered"] >= 2, 20)
            assert len(came) >= 5
            assert all(rtt_s < 0.15 for rtt_s in here.sink.rtts_s)
            assert here.sink.counts["lost"] == 0
            assert here.history(target).loss == 0
            assert here.history(target).rtt_ms < 150
        finally:
            asyncio.get_running_loop().remove_reader(other)
            here.prober.close()


async def test_capacity_is_measured_only_where_it_is_asked_for() -> None:
    here, there, idle = Side(capacity_interval_s=1.0), Side(), Side()
    there.aim()
    try:
        target = here.towards(there)
        for side in (here, idle):
            side.aim(target, sizes=(1400,))
        await wait_until_async(lambda: here.history(target).capacity_bps, 20)
        assert here.history(target).capacity_bps > 1e6
        assert here.history(target).link_report().capacity_bps
        assert idle.history(target).path.mtu == 1400
        assert idle.history(target).capacity_bps is None
    finally:
        for side in (here, there, idle):
            side.prober.close()


async def test_an_interface_that_is_gone_is_loss_too(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.prober.retarget({target: ()}, {})
    await wait_until_async(lambda: here.sink.counts["lost"] >= 3, 10)
    here.aim(target)
    await wait_until_async(lambda: here.history(target).answering, 10)


async def test_a_target_that_goes_is_forgotten_and_one_that_stays_is_not(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 1, 10)
    here.aim(target)
    assert here.history(target).answering
    here.aim()
    assert here.sink.forgotten == [target]
    assert here.prober.histories() == {}


async def test_a_target_by_another_interface_goes_on_as_the_same(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 1, 10)
    other = replace(target, device="lo2")
    here.aim(other)
    assert here.prober.histories().keys() == {other}
    assert here.history(other).answering
    assert here.sink.forgotten == []


async def test_foreign_packets_change_nothing(sides: tuple[Side, Side]) -> None:
    here, there = sides
    target = here.towards(there)
    here.aim(target)
    await wait_until_async(lambda: here.sink.counts["answered"] >= 1, 10)
    sent = here.sink.counts["answered"]
    foreign = [
        b"",
        b"x",
        os.urandom(PACKET.size),
        *(PACKET.pack(b"FMP2", kind, 1, 1, 0, 0, 0) for kind in (2, 3, 4, 9)),
    ]
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
    history = History(SMALL_BYTES)
    for rtt_s in probes:
        if rtt_s is None:
            history.lose()
        else:
            history.answer(rtt_s)
    report = history.probe_report()
    assert (report.answering, report.loss) == (answering, loss)
    assert (report.rtt_ms is not None) is answering


def test_full_packets_are_too_large_only_if_small_ones_pass() -> None:
    history = History(SMALL_BYTES)
    history.check_sizes((1360,))
    for _ in range(5):
        history.lose_full(1360)
    assert history.probe_report().mtu_fits is None
    history.answer(0.01)
    for expected in (None, None, False):
        history.lose_full(1360)
        assert history.probe_report().mtu_fits is expected
    history.answer_full(1360)
    assert history.probe_report().mtu_fits is True


def test_targets_of_a_gateway_and_a_workload() -> None:
    names = Names()
    config = configs(mtu=1340)["a"]
    wanted = desired(config, Local(FAKE_KEYS["a"]))
    assert targets(config, wanted, names) == {
        Target(LINK, "internet", resource("a"), resource("t"), "fm-hop", "100.80.0.3"): LINK_SIZES,
        Target(CIRCUIT_KIND, CIRCUIT, resource("a"), resource("b"), "fm-c1", "100.64.3.1"): (1340,),
    }
    assert listening(config, wanted, {"fm-hop": 4, "fm-c1": 5, "fm-att": 6}, names) == {
        "fm-hop": (4, "100.80.0.2"),
        "fm-c1": (5, "100.64.1.1"),
        "fm-att": (6, "100.64.1.1"),
    }
    workload = configs()["wa"]
    wanted = desired(workload, Local(FAKE_KEYS["wa"]))
    assert targets(workload, wanted, names) == {
        Target(UPLINK, resource("a"), resource("wa"), resource("a"), "fm-up0", "100.64.1.1"): (),
    }
    assert listening(workload, wanted, {"fm-up0": 9}, names) == {"fm-up0": (9, "100.64.1.2")}


def exported(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
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
    assert found['foremesh_label_forwarded_packets_total{gateway="default/t",circuit="default/a-b"}'] == 7
    assert found['foremesh_label_forwarded_bytes_total{gateway="default/t",circuit="default/a-b"}'] == 700
    assert found['foremesh_gateway_load_ratio{gateway="default/t"}'] == 0.25
    assert found['foremesh_agent_stopped_packets_total{reason="clear"}'] == 1


def test_series_of_probes_come_and_go() -> None:
    metrics = Metrics(Names(), resource("a"), "1.2")
    target = Target(LINK, "internet", resource("a"), resource("t"), "fm-hop", "100.80.0.3")
    labels = 'src="default/a",dst="default/t",link="internet"'
    probes = metrics.probes
    probes.sent(target)
    found = exported(metrics)
    assert found[f"foremesh_link_probes_sent_total{{{labels}}}"] == 1
    assert found[f"foremesh_link_probes_lost_total{{{labels}}}"] == 0
    assert not [name for name in found if "rtt" in name], "no answer, no latency"
    probes.answered(target, 0.0123)
    probes.lost(target)
    found = exported(metrics)
    assert found[f"foremesh_link_rtt_seconds_sum{{{labels}}}"] == 0.0123
    assert found[f"foremesh_link_rtt_seconds_count{{{labels}}}"] == 1
    assert found[f'foremesh_link_rtt_seconds_bucket{{{labels},le="0.01"}}'] == 0
    assert found[f'foremesh_link_rtt_seconds_bucket{{{labels},le="0.015"}}'] == 1
    assert found[f'foremesh_link_rtt_seconds_bucket{{{labels},le="+Inf"}}'] == 1
    probes.forget(target)
    probes.forget(target)
    assert not [name for name in exported(metrics) if "foremesh_link" in name]


def test_what_the_exporter_says_is_what_prometheus_reads() -> None:
    metrics = Metrics(Names(), resource("a"), "1.2")
    odd = Target(LINK, 'an "odd"\\ name', resource("a"), resource("t"), "fm-hop", "100.80.0.3")
    circuit = Target(CIRCUIT_KIND, CIRCUIT, resource("a"), resource("b"), "fm-c1", "100.64.3.1")
    histories = {one: History(SMALL_BYTES) for one in (odd, circuit)}
    metrics.histories = lambda: histories
    for target, history in histories.items():
        history.check_sizes((1400,))
        for number in range(3):
            metrics.probes.sent(target)
            metrics.probes.answered(target, 0.02 + number)
            history.answer(0.02, (7_000_000 + number * 1_000_000, 13_000_000))
        history.answer_full(1400)
    histories[odd].capacity_bps = 2.5e7
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    rtt = families["foremesh_link_rtt_seconds"]
    assert rtt.type == "histogram"
    assert {sample.labels["link"] for sample in rtt.samples} == {odd.name}
    counts = [sample.value for sample in rtt.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 3
    assert families["foremesh_circuit_probes_sent"].samples[0].value == 3
    jitter = {
        (sample.labels["circuit"], sample.labels["direction"]): sample.value
        for sample in families["foremesh_circuit_jitter_seconds"].samples
    }
    assert jitter == {(CIRCUIT, "forward"): pytest.approx(0.001), (CIRCUIT, "reverse"): 0.0}
    assert families["foremesh_link_mtu_bytes"].samples[0].value == 1400
    assert families["foremesh_link_capacity_estimate_bps"].samples[0].value == 2.5e7


def test_load_is_what_was_used_between_two_looks(tmp_path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu 100 0 50 800 50 0 0 0 0 0\n")
    load = ProcessorLoad(path)
    assert load.since_last() is None
    path.write_text("cpu 130 0 70 830 70 0 0 0 0 0\n")
    assert load.since_last() == pytest.approx(0.5)
    path.unlink()
    assert load.since_last() is None
