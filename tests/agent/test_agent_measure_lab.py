"""What probes say of links on real parts: jitter each way, sizes that pass, and what a link carries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.configs import CIRCUIT, resource
from agent.running import ONE_WAY_MS, Mesh, running_mesh
from foremesh.agent.history import JITTER_PROBES
from foremesh.agent.train import TRAINS
from foremesh.model.registration import LinkReport
from lab.process import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

TO_T = f"{resource('t')}/internet"

PROBES = 5 * JITTER_PROBES
"""Probes until nothing is left in jitter of how it was before: (15/16) ** 80 is under 1 %."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    quick = {"probeInterval": "100ms", "mtuProbeInterval": "2s", "capacityProbe": "5s"}
    with running_mesh(tmp_path_factory.mktemp("agents"), settings={"a": quick}) as running:
        yield running


def link(mesh: Mesh) -> LinkReport:
    """What a says of its link to t."""
    beacon = mesh.api.beacons.get(resource("a"))
    return beacon.links.get(TO_T, LinkReport()) if beacon else LinkReport()


def sent(mesh: Mesh) -> float:
    return mesh.metric("a", "foremesh_link_probes_sent_total", dst=resource("t")) or 0.0


def test_a_link_that_comes_up_has_no_loss_and_no_latency_but_its_own(mesh: Mesh) -> None:
    wait_until(lambda: link(mesh).rtt_ms, 20, what="a's beacon tells of the link")
    assert link(mesh).loss == 0
    for kind, label in (("link", "internet"), ("circuit", CIRCUIT)):
        assert mesh.metric("a", f"foremesh_{kind}_probes_lost_total", **{kind: label}) == 0
        # WireGuard's first handshakes take several round trips; a probe that waited for one would be far above.
        counted = mesh.metric("a", f"foremesh_{kind}_rtt_seconds_count", **{kind: label})
        quick = mesh.metric("a", f"foremesh_{kind}_rtt_seconds_bucket", le="0.1", **{kind: label})
        assert counted
        assert quick >= counted  # one more may have come between the two looks


def test_jitter_is_that_of_its_own_direction(mesh: Mesh) -> None:
    def jitter_ms(direction: str) -> float:
        found = mesh.metric("a", "foremesh_link_jitter_seconds", dst=resource("t"), direction=direction)
        return 1000 * (found or 0.0)

    # Far above what a busy machine adds by itself.
    mesh.lab.internet.set_pair("a", "t", delay_ms=30.0, jitter_ms=24.0)
    try:
        before = sent(mesh)
        wait_until(lambda: sent(mesh) >= before + PROBES, 60, what="enough probes")
        # Two delays that are even over 48 ms differ by a third of that on average.
        assert 9 < jitter_ms("forward") < 25
        assert jitter_ms("reverse") < jitter_ms("forward") / 2
        assert link(mesh).jitter_ms == pytest.approx(jitter_ms("forward"), rel=0.5)
        circuit = mesh.metric("a", "foremesh_circuit_jitter_seconds", circuit=CIRCUIT, direction="forward")
        assert circuit is not None
        assert circuit > 5e-3
    finally:
        mesh.lab.internet.set_pair("a", "t", delay_ms=ONE_WAY_MS, jitter_ms=0.0)


def test_the_largest_packet_that_passes_a_link_is_found_and_followed(mesh: Mesh) -> None:
    wait_until(lambda: link(mesh).mtu == 1420, 20, what="the link's MTU")
    node = mesh.lab["t"]
    node.exec("nft", "add table ip narrow; add chain ip narrow input { type filter hook input priority -10; }")
    try:
        # 60 bytes around what WireGuard carries, which it fills up to a multiple of 16.
        node.exec("nft", "add rule ip narrow input udp dport 51820 meta length > 1440 drop")
        wait_until(lambda: link(mesh).mtu == 1360, 30, what="the MTU of a narrow link")
        assert mesh.metric("a", "foremesh_link_mtu_bytes", dst=resource("t")) == 1360
        assert link(mesh).loss == 0, "full-size probes that are lost are no loss"
    finally:
        node.exec("nft", "delete table ip narrow")
    wait_until(lambda: link(mesh).mtu == 1420, 30, what="the MTU of before")


@pytest.mark.parametrize("rate_mbps", [10, 40])
def test_bursts_tell_what_a_link_carries(mesh: Mesh, rate_mbps: int) -> None:
    mesh.lab.internet.set_pair("a", "t", rate_bps=rate_mbps * 1e6)
    # What is inside: WireGuard adds 60 bytes to each full packet.
    truth = rate_mbps * 1e6 * 1420 / 1480
    try:
        before = sent(mesh)
        # A burst a second and ten probes: by then the estimate is of new ones alone.
        wait_until(lambda: sent(mesh) >= before + 10 * (TRAINS + 3), 40, what="enough bursts")
        measured = link(mesh).capacity_bps
        print(f"{rate_mbps} Mbit/s: {truth / 1e6:.2f} inside, measured {(measured or 0) / 1e6:.2f}")
        assert measured == pytest.approx(truth, rel=0.2)
        exported = mesh.metric("a", "foremesh_link_capacity_estimate_bps", dst=resource("t"))
        assert exported == pytest.approx(truth, rel=0.3)
        assert link(mesh).rtt_ms is not None
        assert link(mesh).rtt_ms < 2 * ONE_WAY_MS + 30, "bursts do not sit in the way of probes"
    finally:
        mesh.lab.internet.set_pair("a", "t", rate_bps=None)
