"""A workload behind two gateways and one it talks to behind two others: any of the four may go, and connections stay.

On real WireGuard. Nobody plans while a gateway is lost: what carries on was there before. Bounds are generous, for
machines that do other things too; the gaps that were measured are in the tests' output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent import datagrams, transfers
from agent.controlled import Controlled
from agent.mesh_api import FakeMeshApi
from foremesh.model.intent import Traffic
from foremesh.model.resource import Protocol, Resource
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair
from network.scene import gateway, intent, placed, workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

GATEWAYS = {"g1": "s", "g2": "s", "h1": "d", "h2": "d"}
UP, DOWN, DATAGRAMS = 7001, 7002, 7003
LONGEST_GAP_S = 8.0
"""Seconds; a gateway counts as dead after 0.8, and TCP, which doubles its waits meanwhile, sends again after 1.4."""

CALLS = intent(
    "calls",
    traffic=(
        Traffic(protocol=Protocol.TCP, ports=(UP, DOWN)),
        Traffic(protocol=Protocol.UDP, ports=(DATAGRAMS,)),
        Traffic(protocol=Protocol.ICMP),
    ),
)


class Mesh(Controlled):
    """w talks to d, by the circuit that the test wishes first and two that back it up."""

    def wish(self, first: str, last: str) -> None:
        """Have it go from one gateway to another, and wait until every end does as it is told."""
        others = [(near, last) for near in ("g1", "g2") if near != first]
        others += [(first, far) for far in ("h1", "h2") if far != last]
        self.controller.wish([(CALLS, placed(CALLS, "w", "d", first, last))])
        self.controller.backups = tuple(placed(CALLS, "w", "d", *ends) for ends in others)
        self.drive(lambda: self.settled() and len(self.labels()) == 3 and not self.detours(), f"{first} to {last}")
        self.drive(lambda: self.heard() == 6, "hellos on three circuits")
        self.drive(lambda: self.reaches("w", "d"), "a ping from w to d")

    def detours(self) -> dict[str, str]:
        """What any end left by itself."""
        return {told: used for beacon in self.api.beacons.values() for told, used in beacon.detours.items()}

    def heard(self) -> int:
        return sum(len(beacon.heard) for beacon in self.api.beacons.values())

    def gone(self, host: str) -> None:
        """Kill all that this host runs for the mesh, at once."""
        for pid in self.processes(host):
            os.kill(pid, signal.SIGKILL)
        self.agents[host].kill()

    def processes(self, host: str, which: str = "") -> list[int]:
        """Process ids of an agent's programs beside it: WireGuard and fail-over."""
        inside = subprocess.run(
            ["ip", "netns", "pids", self.lab[host].netns], capture_output=True, text=True, check=True
        ).stdout.split()
        found = []
        for pid in inside:
            with contextlib.suppress(OSError):
                said = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if ("wireguard-go" in said or "failover.sock" in said) and which in said:
                    found.append(int(pid))
        return found

    @contextlib.contextmanager
    def talking(self, what: str) -> Iterator[dict[str, dict[str, float]]]:
        """Three streams during the context: over TCP up and down, each one connection, and datagrams up. What came of
        each is in what it gives, afterwards."""
        source, destination = self.lab["w"], self.lab["d"]
        address, tcp, udp = self.address("d"), Path(transfers.__file__), Path(datagrams.__file__)
        running: list[subprocess.Popen[str]] = []

        def start(node: object, *argv: object) -> subprocess.Popen[str]:
            made = node.popen(sys.executable, *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # type: ignore[attr-defined]
            running.append(made)
            return made

        receivers = {}
        try:
            serving = {port: start(destination, tcp, "serve", port) for port in (UP, DOWN)}
            receivers["udp"] = start(destination, udp, "receive", DATAGRAMS)
            for one in (*serving.values(), receivers["udp"]):
                assert one.stdout.readline() == "listening\n"
            calls = {UP: "up", DOWN: "down"}
            calling = {port: start(source, tcp, "call", address, port, how) for port, how in calls.items()}
            start(source, udp, "send", address, DATAGRAMS, 200)
            receivers |= {"up": serving[UP], "down": calling[DOWN]}
            for one in receivers.values():
                assert one.stdout.readline() == "flowing\n"
            told: dict[str, dict[str, float]] = {}
            yield told
            for name, one in receivers.items():
                assert one.poll() is None, (name, one.communicate())
                one.send_signal(signal.SIGTERM)
                said, complaint = one.communicate(timeout=20)
                assert one.returncode == 0, (name, complaint)
                told[name] = json.loads(said)
            gaps = ", ".join(f"{name} {one['longest_gap_s']:.2f} s" for name, one in sorted(told.items()))
            print(f"{what}: longest gaps {gaps}; {told['udp']['lost']:.0f} datagrams lost")
        finally:
            for one in running:
                one.kill()
                one.communicate()

    def flows_again(self) -> None:
        """Until packets pass whatever was lost."""
        wait_until(lambda: self.reaches("w", "d"), 30, what="a ping from w to d")


def declared(lab: Lab) -> dict[str, Resource]:
    found = {}
    for name, site in GATEWAYS.items():
        made = gateway(name, site)
        assert made.spec.gateway is not None
        spec = msgspec.structs.replace(made.spec.gateway, endpoint=f"{lab[name].underlay_address}:51820")
        found[name] = msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, gateway=spec))
    return found | {"w": workload("w", "s"), "d": workload("d", "d")}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    ways = {(x, y): Pair(2.0) for x in GATEWAYS for y in GATEWAYS if x != y}
    gateways = tuple(Gateway(name, "Core", site, "eu", 0.0) for name, site in GATEWAYS.items())
    topology = Topology(gateways, (Workload("w", "s"), Workload("d", "d")), ways)
    with Lab(topology) as lab, FakeMeshApi(lab.mgmt_address) as api:
        settings = {
            name: {
                "endpoint": f"{lab[name].underlay_address}:51820",
                "attachEndpoint": f"{lab[name].lan_address}:51821",
            }
            for name in GATEWAYS
        }
        running = Mesh(lab, api, tmp_path_factory.mktemp("agents"), declared(lab), settings)
        for host in running.resources:
            running.start(host)
        wait_until(running.registered, 60, what="all agents registered")
        running.wish("g1", "h1")
        yield running


@pytest.fixture(autouse=True)
def as_it_was(mesh: Mesh) -> Iterator[None]:
    """Every test begins with all four gateways, and everything going by g1 and h1."""
    yield
    mesh.lab.internet.restore()
    for host in GATEWAYS:
        if not mesh.agents[host].running:
            mesh.start(host)
    mesh.drive(lambda: mesh.heard() == 6, "hellos on three circuits")
    if mesh.detours():
        # The record follows the ends first; only another word than before brings them back.
        mesh.wish("g2", "h2")
    mesh.wish("g1", "h1")


def test_a_second_application_has_nothing_to_do(mesh: Mesh) -> None:
    assert [mesh.differences(host) for host in mesh.resources] == [""] * len(mesh.resources)


def test_a_workload_survives_the_death_of_its_gateway_and_stays_where_it_went(mesh: Mesh) -> None:
    with mesh.talking("all of g1 killed") as streams:
        mesh.gone("g1")
        mesh.flows_again()
        # Back again, it is not gone back to.
        mesh.start("g1")
        wait_until(lambda: mesh.heard() == 6, 40, what="hellos on three circuits")
        wait_until(lambda: mesh.detours() == {"mesh/g1": "mesh/g2"}, 20, what="w's word")
    assert max(one["longest_gap_s"] for one in streams.values()) < LONGEST_GAP_S
    # Neither another process nor another agent undoes it.
    with mesh.talking("failover process and agent of w killed") as streams:
        (pid,) = mesh.processes("w", "failover.sock")
        os.kill(pid, signal.SIGKILL)
        mesh.agents["w"].kill()
        mesh.start("w")
        wait_until(lambda: mesh.processes("w", "failover.sock") not in ([], [pid]), 30, what="another process")
        wait_until(lambda: mesh.detours() == {"mesh/g1": "mesh/g2"}, 20, what="w's word")
    assert streams["udp"]["lost"] == 0
    # The record follows, and then its word counts.
    mesh.wish("g2", "h1")
    mesh.wish("g1", "h1")


def test_a_gateway_that_is_cut_off_from_the_mesh_is_left(mesh: Mesh) -> None:
    with mesh.talking("g1 cut off") as streams:
        mesh.lab.internet.cut("g1", both_ways=True)
        mesh.flows_again()
    assert max(one["longest_gap_s"] for one in streams.values()) < LONGEST_GAP_S


def test_a_destination_survives_the_death_of_its_gateway(mesh: Mesh) -> None:
    with mesh.talking("all of h1 killed") as streams:
        mesh.gone("h1")
        mesh.flows_again()
    assert max(one["longest_gap_s"] for one in streams.values()) < LONGEST_GAP_S


def test_a_destinations_gateway_that_is_cut_off_is_left(mesh: Mesh) -> None:
    with mesh.talking("h1 cut off") as streams:
        mesh.lab.internet.cut("h1", both_ways=True)
        mesh.flows_again()
    assert max(one["longest_gap_s"] for one in streams.values()) < LONGEST_GAP_S
