"""Circuits fail over on real parts: two gateways, two transits, WireGuard, and 1,000 datagrams a second all the while.

Bounds are generous, for machines that do other things too; how fast it is, ``make bench-convergence`` says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent import datagrams
from agent.configs import BLOCKS, CIRCUIT, HOSTS, SECOND, resource, workload_address
from agent.mesh_api import FakeMeshApi
from agent.running import AGENT, ONE_WAY_MS, Mesh
from foremesh.agent.state import FAILOVER_PORT
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import GatewayConfig
from foremesh.model.resource import Protocol
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

PORT = 7000
ACTIVE, STANDBY = 5, 6
WAYS = {ACTIVE: "t", STANDBY: SECOND}
LONGEST_GAP_S = 1.0
"""Seconds; three missed hellos are 0.15."""


@dataclass
class Stream:
    """What came of the datagrams; filled at the stream's end."""

    came: int = 0
    lost: int = 0
    longest_gap_s: float = 0.0


class TwoWays(Mesh):
    """A circuit from a to b that sends over t and may send over u."""

    hosts = (*HOSTS, SECOND)

    def prefer(self, label: int) -> None:
        """Have both ends send on a label, the other being the standby, and wait until both do.

        An end that failed over follows only another word than before, and only to a label that is not known to be
        dead. On a starved machine one may do so at any time, so that the word is given up to three times.
        """
        other = STANDBY if label == ACTIVE else ACTIVE
        for left in (2, 1, 0):
            if other in self.used():
                self.offer(edit=_open_for_datagrams, label=other, standby=label, over=WAYS)
                self.wait_clean()
            self.offer(edit=_open_for_datagrams, label=label, standby=other, over=WAYS)
            self.wait_heard((ACTIVE, STANDBY))
            try:
                self.wait_used(label, 10)
                return
            except TimeoutError:
                if not left:
                    raise

    def used(self) -> set[int | None]:
        """Labels that the two ends send on, as their beacons say."""
        beacons = [self.api.beacons.get(resource(host)) for host in "ab"]
        return {beacon.sending.get(CIRCUIT) if beacon else None for beacon in beacons}

    def wait_used(self, label: int, timeout_s: float = 30) -> None:
        wait_until(lambda: self.used() == {label}, timeout_s, what=f"both ends send on label {label}")

    def wait_heard(self, labels: tuple[int, ...]) -> None:
        def heard() -> bool:
            return all(self.api.beacons[resource(host)].heard == labels for host in "ab")

        wait_until(heard, 30, what=f"both ends hear labels {labels}")

    def wait_clean(self) -> None:
        """Until no label is dead, and none has lost a hello for a second."""
        self.wait_heard((ACTIVE, STANDBY))

        def clean() -> bool:
            return all(
                self.metric(host, "foremesh_label_loss_ratio", label=str(label)) == 0.0
                for host in "ab"
                for label in (ACTIVE, STANDBY)
            )

        wait_until(clean, 30, what="hellos without loss on both labels")

    def failover_pid(self, host: str) -> int | None:
        """None while one has ended and the next has not begun."""
        inside = subprocess.run(
            ["ip", "netns", "pids", self.lab[host].netns], capture_output=True, text=True, check=True
        ).stdout.split()
        found = [pid for pid in inside if b"fm-failover.sock" in _command_line(pid)]
        assert len(found) <= 1, found
        return int(found[0]) if found else None

    def failovers(self, host: str) -> float:
        return self.metric(host, "foremesh_label_failovers_total", circuit=CIRCUIT) or 0.0

    @contextlib.contextmanager
    def streaming(self) -> Iterator[Stream]:
        """1,000 datagrams a second from wa to wb during the context; told of in what it gives, afterwards."""
        script = Path(datagrams.__file__)
        receiver = self.lab["wb"].popen(sys.executable, script, "receive", PORT, stdout=subprocess.PIPE, text=True)
        stream = Stream()
        assert receiver.stdout.readline() == "listening\n"
        sender = self.lab["wa"].popen(sys.executable, script, "send", workload_address("wb"), PORT, 1000)
        try:
            assert receiver.stdout.readline() == "flowing\n"
            yield stream
        finally:
            for process in (sender, receiver):
                process.send_signal(signal.SIGTERM)
            said = receiver.communicate(timeout=20)[0]
            sender.wait(20)
        for name, value in json.loads(said).items():
            setattr(stream, name, value)


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _open_for_datagrams(made: dict[str, GatewayConfig]) -> dict[str, GatewayConfig]:
    rule = FirewallRule(protocol=Protocol.UDP, ports=(PORT,))
    for host in "ab":
        (end,) = made[host].circuits
        opened = msgspec.structs.replace(end, firewall=(*end.firewall, rule))
        made[host] = msgspec.structs.replace(made[host], circuits=(opened,))
    return made


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWays]:
    names = ("a", "t", "b", SECOND)
    ways = {(x, y): Pair(ONE_WAY_MS) for x in names for y in names if x != y}
    gateways = tuple(Gateway(name, "Core" if name in "ab" else "Transit", f"s{name}", "eu", 0.0) for name in names)
    topology = Topology(gateways, (Workload("wa", "sa"), Workload("wb", "sb")), ways)
    with Lab(topology) as lab, FakeMeshApi(lab.mgmt_address) as api:
        running = TwoWays(lab, api, tmp_path_factory.mktemp("agents"))
        for host in running.hosts:
            running.start(host)
        running.prefer(ACTIVE)
        wait_until(lambda: running.ping(count=1).returncode == 0, 30, what="a ping from wa to wb")
        yield running


@pytest.fixture(autouse=True)
def as_it_was(mesh: TwoWays) -> Iterator[None]:
    """Every test begins on the active label, with both alive."""
    mesh.prefer(ACTIVE)
    mesh.wait_clean()
    yield
    mesh.lab.internet.restore()


def test_a_second_application_has_nothing_to_do(mesh: TwoWays) -> None:
    assert [mesh.differences(host) for host in mesh.hosts] == [""] * len(mesh.hosts)


def test_labels_are_measured(mesh: TwoWays) -> None:
    for label in (ACTIVE, STANDBY):
        ends = {"circuit": CIRCUIT, "label": str(label)}
        assert mesh.metric("a", "foremesh_label_up", **ends) == 1.0
        assert mesh.metric("a", "foremesh_label_used", **ends) == float(label == ACTIVE)
        rtt_s = mesh.metric("a", "foremesh_label_rtt_seconds", **ends)
        assert rtt_s is not None
        assert 4 * ONE_WAY_MS <= rtt_s * 1000 < 4 * ONE_WAY_MS + 60
    assert mesh.metric("a", "foremesh_agent_failover_up") == 1.0


@pytest.mark.parametrize(
    "cuts", [[("a", "t"), ("t", "a")], [("t", "b")], [("t", "a")]], ids=["both-ways", "there", "back"]
)
def test_a_cut_link_is_left_by_both_ends_and_nobody_goes_back(mesh: TwoWays, cuts: list[tuple[str, str]]) -> None:
    before = {host: mesh.failovers(host) for host in "ab"}
    with mesh.streaming() as stream:
        for src, dst in cuts:
            mesh.lab.internet.cut(src, dst)
        mesh.wait_used(STANDBY)
        for src, dst in cuts:
            mesh.lab.internet.restore(src, dst)
        mesh.wait_heard((ACTIVE, STANDBY))
    assert mesh.used() == {STANDBY}
    assert {host: mesh.failovers(host) - before[host] for host in "ab"} == {"a": 1.0, "b": 1.0}
    assert stream.came > 0
    assert stream.longest_gap_s < LONGEST_GAP_S


def test_a_transit_whose_wireguard_is_killed_is_left(mesh: TwoWays) -> None:
    mesh.agents["t"].signal(signal.SIGSTOP)  # nobody mends it meanwhile
    try:
        with mesh.streaming() as stream:
            os.kill(mesh.wireguards("t")["fm-hop"], signal.SIGKILL)
            mesh.wait_used(STANDBY)
            assert mesh.ping().returncode == 0
    finally:
        mesh.agents["t"].signal(signal.SIGCONT)
    assert stream.longest_gap_s < LONGEST_GAP_S


def test_a_lossy_link_is_left_while_the_standby_is_good(mesh: TwoWays) -> None:
    mesh.lab.internet.degrade("a", "t", loss=0.3)
    mesh.wait_used(STANDBY)
    assert mesh.ping().returncode == 0


def test_without_agents_circuits_fail_over_all_the_same(mesh: TwoWays) -> None:
    for host in "ab":
        mesh.agents[host].kill()
    with mesh.streaming() as stream:
        mesh.lab.internet.cut("a", "t", both_ways=True)
        over_u = mesh.metric(SECOND, "foremesh_label_forwarded_packets_total", circuit=CIRCUIT) or 0.0

        def passes() -> bool:
            now = mesh.metric(SECOND, "foremesh_label_forwarded_packets_total", circuit=CIRCUIT) or 0.0
            return now > over_u + 1000

        wait_until(passes, 30, what="the stream over the second transit")
    assert stream.longest_gap_s < LONGEST_GAP_S
    for host in "ab":
        mesh.start(host)
    mesh.wait_used(STANDBY)  # they are told what the processes did meanwhile, and change nothing


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_failover_process_that_is_gone_is_replaced_without_a_switch(mesh: TwoWays, how: signal.Signals) -> None:
    """On a busy machine another takes longer to begin than hellos may be missed, so three may try."""
    for _ in range(3):
        mesh.prefer(ACTIVE)
        stream, switched = _replaced(mesh, how)
        if not switched:
            break
    assert not switched
    assert mesh.used() == {ACTIVE}
    assert stream.lost == 0


def _replaced(mesh: TwoWays, how: signal.Signals) -> tuple[Stream, bool]:
    """End the process of one end; what became of datagrams meanwhile, and whether an end went to its standby."""
    before = {host: mesh.failovers(host) for host in "ab"}
    old = mesh.failover_pid("a")
    assert old is not None
    with mesh.streaming() as stream:
        os.kill(old, how)
        wait_until(lambda: mesh.failover_pid("a") not in (None, old), 20, what="another process")
        wait_until(lambda: mesh.metric("a", "foremesh_agent_failover_up") == 1.0, 20, what="another process answers")
        mesh.wait_heard((ACTIVE, STANDBY))
    return stream, mesh.failovers("a") != 0.0 or mesh.failovers("b") != before["b"]


def test_a_move_by_the_configs_word_loses_nothing(mesh: TwoWays) -> None:
    with mesh.streaming() as stream:
        mesh.prefer(STANDBY)
        mesh.prefer(ACTIVE)
    assert stream.came > 1000
    assert stream.lost == 0


def test_hellos_from_elsewhere_are_dropped(mesh: TwoWays) -> None:
    """One on the same network segment may send to a label's address; it must not reach the process."""
    gateway, sender = mesh.lab["a"], mesh.lab["wa"]
    label = BLOCKS.label_pair(ACTIVE)[0]
    assert label in gateway.exec("ip", "-4", "-o", "address", "show", "dev", "fm-hop").stdout
    before = mesh.metric("a", "foremesh_agent_stopped_packets_total", reason="stray") or 0.0
    way = (f"{label}/32", "via", str(gateway.lan_address), "dev", "lan0")
    sender.exec("ip", "route", "replace", *way)
    sender.exec("nft", "flush", "chain", "ip", "foremesh_guard", "leave")  # an agent's own host lets nothing out
    try:
        code = "import socket, sys; socket.socket(2, 2).sendto(bytes(36), (sys.argv[1], int(sys.argv[2])))"
        sender.exec(sys.executable, "-c", code, label, FAILOVER_PORT)

        def dropped() -> bool:
            return (mesh.metric("a", "foremesh_agent_stopped_packets_total", reason="stray") or 0.0) > before

        wait_until(dropped, 20, what="the forged hello among the strays")
    finally:
        sender.exec("ip", "route", "delete", *way)
        sender.exec("nft", "delete", "table", "ip", "foremesh_guard")  # its agent makes it anew


def test_leaving_ends_the_process(mesh: TwoWays) -> None:
    """Last: it takes an end away."""
    assert mesh.agents["a"].stop() == 0
    pid = mesh.failover_pid("a")
    mesh.lab["a"].exec(sys.executable, "-c", AGENT, "leave", mesh.folder / "a.yaml")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10, what="failover process gone")
