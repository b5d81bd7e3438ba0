"""Keys of circuits that change under traffic, on real parts: on a schedule of seconds, and with everything killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent import datagrams
from agent.controlled import Controlled
from agent.mesh_api import FakeMeshApi
from agent.running import Capture
from foremesh.decide.recover import recover
from foremesh.model.manifest import encode
from foremesh.network.tunnels import NEVER, Rotation
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair
from network.scene import Controller, gateway, intent, placed, workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

GATEWAYS, WORKLOADS = ("a", "b", "c"), ("wa", "wb", "wc")
PORT = 7000
PER_SECOND = 300


class Rotating(Controlled):
    """wa talks to wb and to wc by one class, so that its gateway has one inner interface for two circuits."""

    def inner(self, host: str) -> set[str]:
        """Inner interfaces that a host has."""
        found = json.loads(self.lab[host].exec("ip", "-json", "link", "show").stdout)
        return {item["ifname"] for item in found if item["ifname"].startswith("fm-c")}

    def key_files(self, host: str) -> list[Path]:
        return sorted((self.folder / host / "keys").glob("circuit*.key"))

    def public_keys(self, host: str) -> set[str]:
        """Of its inner interfaces, but for those that come or go at this moment."""
        asked = [self.lab[host].exec("wg", "show", name, "public-key", check=False) for name in self.inner(host)]
        return {said.stdout.strip() for said in asked if said.returncode == 0}

    def newest(self, host: str) -> str:
        return self.api.registrations[f"mesh/{host}"].circuits[0].key

    def at_rest(self) -> bool:
        """Nothing is on its way, and nothing is left of what was before."""
        alone = all(len(self.key_files(host)) == len(self.inner(host)) == 1 for host in GATEWAYS)
        return alone and self.settled()

    def force(self) -> None:
        """Keys that were made before now are not to be used."""
        self.controller.rotation = Rotation(not_before_s=time.time(), longest_spread_s=0.5)

    def wireguard(self, host: str, interface: str) -> int:
        """Process id of an interface's userspace WireGuard."""
        for pid in self.lab[host].exec("ip", "netns", "pids", self.lab[host].netns).stdout.split():
            with contextlib.suppress(OSError):
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if argv[0].endswith(b"wireguard-go") and argv[1].decode() == interface:
                    return int(pid)
        raise AssertionError(f"{host} has no WireGuard for {interface}")

    def replace_controller(self) -> None:
        """Another one takes over, which knows what the store has, and not what the one before had on record."""
        old = self.controller
        circuits = recover(old.configs, {}, old.blocks, classes={one.spec.class_ for one in old.placed.circuits})
        self.controller = Controller(
            old.resources,
            {},
            intents=old.intents,
            placements=old.placements,
            statuses=old.statuses,
            circuits=circuits,
            configs=old.configs,
            rotation=old.rotation,
            epoch=old.epoch,
        )

    @contextlib.contextmanager
    def streaming(self, source: str, destination: str, lost: list[int]) -> Iterator[None]:
        """Datagrams during the context; at its end, how many did not come is added to ``lost``."""
        script = Path(datagrams.__file__)
        receiver = self.lab[destination].popen(
            sys.executable, script, "receive", PORT, stdout=subprocess.PIPE, text=True
        )
        assert receiver.stdout.readline() == "listening\n"
        sender = self.lab[source].popen(sys.executable, script, "send", self.address(destination), PORT, PER_SECOND)
        try:
            assert receiver.stdout.readline() == "flowing\n"
            yield
        finally:
            sender.send_signal(signal.SIGTERM)
            sender.wait(20)
            # What is on its way arrives: a ping sent after it has come back.
            self.reaches(source, destination)
            receiver.send_signal(signal.SIGTERM)
            said = json.loads(receiver.communicate(timeout=20)[0])
        assert said["came"] > PER_SECOND
        lost.append(said["lost"])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotating]:
    ways = {(x, y): Pair(2.0) for x in GATEWAYS for y in GATEWAYS if x != y}
    gateways = tuple(Gateway(name, "Core", name, "eu", 0.0) for name in GATEWAYS)
    with (
        Lab(Topology(gateways, tuple(Workload(name, name[1]) for name in WORKLOADS), ways)) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
    ):
        declared = {name: gateway(name, number=n) for n, name in enumerate(GATEWAYS, 1)}
        declared |= {name: workload(name, name[1]) for name in WORKLOADS}
        settings = {
            name: {
                "endpoint": f"{lab[name].underlay_address}:51820",
                "attachEndpoint": f"{lab[name].lan_address}:51821",
            }
            for name in GATEWAYS
        }
        running = Rotating(lab, api, tmp_path_factory.mktemp("agents"), _at_home(declared, lab), settings)
        for host in running.resources:
            running.start(host)
        wait_until(running.registered, 60, what="all agents registered")
        one, other = intent("one"), intent("other")
        running.controller.wish(
            [(one, placed(one, "wa", "wb", "a", "b")), (other, placed(other, "wa", "wc", "a", "c"))]
        )
        running.drive(lambda: running.settled() and len(running.labels()) == 2, "both circuits set up")
        for destination in ("wb", "wc"):
            running.drive(lambda to=destination: running.reaches("wa", to), f"a ping from wa to {destination}")
        yield running


def _at_home(declared, lab):  # type: ignore[no-untyped-def]
    """Gateways with the endpoints that they have in the lab."""
    found = dict(declared)
    for name in GATEWAYS:
        made = declared[name]
        spec = msgspec.structs.replace(made.spec.gateway, endpoint=f"{lab[name].underlay_address}:51820")
        found[name] = msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, gateway=spec))
    return found


def test_keys_change_every_few_seconds_and_not_a_datagram_is_lost(mesh: Rotating) -> None:
    assert len(mesh.inner("a")) == 1
    seen = {host: {mesh.newest(host)} for host in GATEWAYS}
    secrets: set[str] = set()
    most = 0
    lost: list[int] = []

    def look() -> bool:
        nonlocal most
        most = max(most, len(mesh.inner("a")))
        for host in GATEWAYS:
            seen[host].add(mesh.newest(host))
            for file in mesh.key_files(host):
                with contextlib.suppress(FileNotFoundError):
                    secrets.add(file.read_text().strip())
        return all(len(keys) >= 3 for keys in seen.values())

    mesh.controller.rotation = Rotation(period_s=3.0, longest_spread_s=0.5)
    with mesh.streaming("wa", "wb", lost), mesh.flooding("wa", "wc") as ping:
        mesh.drive(look, "two keys more everywhere")
        mesh.controller.rotation = Rotation(not_before_s=1.0, longest_spread_s=0.5)
        mesh.drive(lambda: look() and mesh.at_rest(), "rest")
    assert lost == [0]
    assert ping.lost() == 0
    assert 2 <= most <= 3, "the next keys may come before the last circuit has left the ones before"
    for host in GATEWAYS:
        (file,) = mesh.key_files(host)
        assert file.stat().st_mode & 0o777 == 0o600
        assert mesh.public_keys(host) == {mesh.newest(host)}
    assert [mesh.differences(host) for host in GATEWAYS] == [""] * 3

    said = [encode(one).decode() for one in (*mesh.api.registrations.values(), *mesh.api.beacons.values())]
    said += [(mesh.folder / f"{host}.log").read_text() for host in GATEWAYS]
    said += [file.read_text() for host in GATEWAYS for file in (mesh.folder / host).glob("*.json")]
    assert len(secrets) >= 9
    assert not [text for text in said for secret in secrets if secret in text]


def _clear(captures: list[Capture]) -> list[str]:
    """Packets of the mesh's addresses on anything but a tunnel."""
    lines = [line for capture in captures for line in capture.packets.splitlines()]
    return [line for line in lines if re.search(r" (eth0|lan0|mgmt0) +(In|Out) ", line)]


def test_killed_at_the_wrong_moments_it_is_done_all_the_same(mesh: Rotating) -> None:
    (before,) = mesh.inner("a")
    old = {host: mesh.newest(host) for host in GATEWAYS}
    lost: list[int] = []
    captures = [Capture(mesh.lab[name], "any", "net", "100.64.0.0/10") for name in ("a", "b")]
    with contextlib.ExitStack() as watched:
        for capture in captures:
            watched.enter_context(capture)
        with mesh.streaming("wa", "wb", lost):
            mesh.force()
            mesh.drive(lambda: len(mesh.inner("a")) == 2, "the next interface")
            (following,) = mesh.inner("a") - {before}
            # Nobody sends through it yet: its WireGuard and its agent die, and the controller is another one.
            mesh.agents["a"].signal(signal.SIGKILL)
            os.kill(mesh.wireguard("a", following), signal.SIGKILL)
            wait_until(lambda: not mesh.agents["a"].running, 10, what="the agent is dead")
            wait_until(lambda: mesh.inner("a") == {before}, 10, what="the next interface is gone")
            mesh.replace_controller()
            mesh.start("a")
            wait_until(lambda: mesh.inner("a") == {before, following}, 60, what="the interface is back")
            mesh.drive(lambda: mesh.settled() and mesh.inner("a") == {following}, "the keys have changed")
        assert lost == [0]
        # Now it is what everything is sent through.
        mesh.agents["a"].signal(signal.SIGSTOP)  # nobody mends it while we look
        try:
            os.kill(mesh.wireguard("a", following), signal.SIGKILL)
            wait_until(lambda: not mesh.inner("a"), 10, what="the interface is gone")
            assert not mesh.reaches("wa", "wb")
        finally:
            mesh.agents["a"].signal(signal.SIGCONT)
        mesh.drive(lambda: mesh.reaches("wa", "wb") and mesh.reaches("wa", "wc"), "it is mended")
    assert _clear(captures) == []
    mesh.drive(mesh.at_rest, "old keys destroyed")
    for host in GATEWAYS:
        assert mesh.public_keys(host) == {mesh.newest(host)} != {old[host]}
        assert mesh.differences(host) == ""


def test_an_end_that_is_away_is_waited_for(mesh: Rotating) -> None:
    """The other circuit's keys change meanwhile, over an interface of its own."""
    mesh.controller.rotation = NEVER
    mesh.drive(mesh.settled, "rest")
    old = {host: mesh.newest(host) for host in GATEWAYS}
    lost: list[int] = []
    with mesh.streaming("wa", "wc", lost):
        mesh.agents["c"].signal(signal.SIGSTOP)
        try:
            mesh.force()
            mesh.drive(lambda: mesh.public_keys("b") == {mesh.newest("b")} != {old["b"]}, "b has changed its key")
            assert len(mesh.inner("a")) == 2
            assert mesh.public_keys("a") == {old["a"], mesh.newest("a")}
            assert mesh.reaches("wa", "wb")
        finally:
            mesh.agents["c"].signal(signal.SIGCONT)
        mesh.drive(lambda: mesh.settled() and len(mesh.inner("a")) == 1, "c has followed")
    assert lost == [0]
    assert mesh.public_keys("c") == {mesh.newest("c")} != {old["c"]}
