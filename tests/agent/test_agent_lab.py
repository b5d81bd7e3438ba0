"""Agents on real parts: WireGuard, routes and nftables in namespaces carry a ping from workload to workload."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.configs import BLOCKS, CIRCUIT, HOSTS, PORTS, configs, resource, workload_address
from agent.mesh_api import FakeMeshApi
from foremesh.agent.state import KeyRole
from foremesh.model.config import GatewayConfig
from lab.nodes import Node
from lab.process import Daemon, wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

AGENT = """
import asyncio, logging, sys
from pathlib import Path
from foremesh.agent import agent, settings
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
asyncio.run(getattr(agent, sys.argv[1])(settings.load(Path(sys.argv[2]))))
"""

DIFFERENCES = """
import asyncio, sys, time
from pathlib import Path
from foremesh.agent import agent, settings
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import diff
from foremesh.agent.keys import Keys
from foremesh.agent.state import Names
from foremesh.agent.store import ConfigStore
its = settings.load(Path(sys.argv[1]))
keys = Keys.load(Path(its.state_dir) / "keys")
wanted = desired(ConfigStore(Path(its.state_dir)).load(), Local(keys.public, dials_out=its.endpoint is None))
sight = asyncio.run(agent._host(its, Names(its.prefix), keys).observe(wanted, {}, now_s=time.time()))
for change in diff(sight.observed, wanted):
    print(change)
"""

MARKER = "4d41524b45523031"
"""What pings are filled with ("MARKER01"), to be looked for where it must not be seen."""

ONE_WAY_MS = 5.0


class Mesh:
    """The lab with an agent on every host."""

    def __init__(self, lab: Lab, api: FakeMeshApi, folder: Path) -> None:
        self.lab, self.api, self.folder = lab, api, folder
        self.agents: dict[str, Daemon] = {}
        self.epoch = 0
        self.underlay = {name: lab[name].underlay_address or "" for name in ("a", "t", "b")}

    def start(self, host: str) -> None:
        """Start the agent of a host, again if it ran before."""
        node = self.lab[host]
        token, settings = self.folder / f"{host}.token", self.folder / f"{host}.yaml"
        token.write_text(f"default.{host}.secret")
        settings.write_text(
            json.dumps(
                {
                    "resource": resource(host),
                    "apiUrl": self.api.url,
                    "tokenFile": str(token),
                    "stateDir": str(self.folder / host),
                    "metricsListen": f"{node.mgmt_address}:9466",
                    "probeInterval": "200ms",
                    "probeTimeout": "1s",
                    "reconcileInterval": "500ms",
                    "mtuProbeInterval": "1s",
                    **({"endpoint": f"{node.underlay_address}:51820"} if node.underlay_address else {}),
                }
            )
        )
        argv = [sys.executable, "-c", AGENT, "run", settings]
        self.agents[host] = node.daemon(argv, self.folder / f"{host}.log")

    def offer(self, **changes: object) -> dict[str, GatewayConfig]:
        """Give every agent a config of the next epoch, and wait until all have applied it."""
        self.epoch += 1
        made = configs(self.keys(), epoch=self.epoch, underlay=self.underlay, **changes)  # type: ignore[arg-type]
        self.api.offer(*made.values())
        for config in made.values():
            outcome = wait_until(lambda c=config: self.api.outcome(c), 30, what=f"word on {config.gateway}'s config")
            assert outcome.applied, outcome.error
        return made

    def keys(self) -> dict[str, dict[KeyRole, str]]:
        wait_until(lambda: len(self.api.registrations) == len(HOSTS), 30, what="all agents registered")
        keys = {host: self.api.registrations[resource(host)].keys for host in HOSTS}
        return {host: {role: getattr(k, role.value) for role in KeyRole} for host, k in keys.items()}

    def differences(self, host: str) -> str:
        return self.lab[host].exec(sys.executable, "-c", DIFFERENCES, self.folder / f"{host}.yaml").stdout

    def metric(self, host: str, name: str, **labels: str) -> float | None:
        """A sample of an agent's exporter; None if it has none, or does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.lab[host].mgmt_address}:9466/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        for line in text.splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                seen = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= seen.items():
                    return float(found[3])
        return None

    def ping(self, *options: object, count: int = 3) -> subprocess.CompletedProcess[str]:
        argv = ("ping", "-q", "-c", count, "-W", 2, *options, workload_address("wb"))
        return self.lab["wa"].exec(*argv, check=False)

    def flooding(self, while_doing: Callable[[], object], count: int = 1000) -> tuple[int, int]:
        """Ping 200 times a second during something that ends before the ping does; packets sent and answered."""
        argv = ("ping", "-q", "-i", "0.005", "-c", count, workload_address("wb"))
        process = self.lab["wa"].popen(*argv, stdout=subprocess.PIPE, text=True)
        while_doing()
        assert process.poll() is None, "the ping ended before what it was to watch"
        said = process.communicate(timeout=60)[0]
        sent, answered = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
        return int(sent), int(answered)

    def wireguards(self, host: str) -> dict[str, int]:
        """Process ids of userspace WireGuard by interface, of this host's namespace alone."""
        inside = self.lab[host].exec("ip", "netns", "pids", self.lab[host].netns).stdout.split()
        found = {}
        for pid in inside:
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[0].endswith(b"wireguard-go"):
                found[argv[1].decode()] = int(pid)
        return found


class Capture:
    """tcpdump on one interface of a host, from entering the context to leaving it; ``packets`` has them in text."""

    def __init__(self, node: Node, interface: str, *expression: str) -> None:
        self.node, self.interface, self.expression = node, interface, expression
        self.packets = ""

    def __enter__(self) -> Capture:
        argv = ["tcpdump", "-n", "-l", "-x", "--immediate-mode", "-i", self.interface, *self.expression]
        pipe = subprocess.PIPE
        self._process = self.node.popen(*argv, stdout=pipe, stderr=pipe, text=True)
        said = ""
        while "listening on" not in said:
            said = self._process.stderr.readline()
            assert said, f"tcpdump on {self.interface} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self.packets = self._process.communicate(timeout=10)[0]

    @property
    def octets(self) -> str:
        """All packets' octets in hexadecimal, without addresses and line breaks."""
        return "".join(re.findall(r"^\s+0x[0-9a-f]+:  (.*)$", self.packets, re.M)).replace(" ", "")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    names = ("a", "t", "b")
    ways = {(x, y): Pair(ONE_WAY_MS) for x in names for y in names if x != y}
    gateways = tuple(Gateway(name, "Transit" if name == "t" else "Core", f"s{name}", "eu", 0.0) for name in names)
    topology = Topology(gateways, (Workload("wa", "sa"), Workload("wb", "sb")), ways)
    with Lab(topology) as lab, FakeMeshApi(lab.mgmt_address) as api:
        running = Mesh(lab, api, tmp_path_factory.mktemp("agents"))
        for host in HOSTS:
            running.start(host)
        running.offer()
        wait_until(lambda: running.ping(count=1).returncode == 0, 30, what="a ping from wa to wb")
        yield running


def test_a_ping_takes_the_label_over_the_transit(mesh: Mesh) -> None:
    before = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert before is not None
    assert mesh.ping(count=5).returncode == 0
    after = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert after is not None
    assert after - before >= 10  # there and back


def test_a_transit_sees_only_ciphertext(mesh: Mesh) -> None:
    with Capture(mesh.lab["t"], "fm-hop") as transit, Capture(mesh.lab["b"], "fm-att") as behind_the_end:
        assert mesh.ping("-p", MARKER, "-s", 64).returncode == 0
    assert MARKER in behind_the_end.octets
    relayed = [line for line in transit.packets.splitlines() if " IP " in line and "51841" in line]
    assert len(relayed) >= 6
    assert MARKER not in transit.octets
    assert workload_address("wb") not in transit.packets


def test_probes_measure_links_circuits_and_uplinks(mesh: Mesh) -> None:
    def reported() -> bool:
        beacon = mesh.api.beacons.get(resource("a"))
        probe = beacon.probes.get(CIRCUIT) if beacon else None
        return bool(beacon and probe and beacon.peers_up == 1 and probe.answering and probe.mtu_fits)

    wait_until(reported, 20, what="a's beacon tells of the link and the circuit")
    probe = mesh.api.beacons[resource("a")].probes[CIRCUIT]
    assert probe.rtt_ms is not None
    assert 4 * ONE_WAY_MS <= probe.rtt_ms < 4 * ONE_WAY_MS + 30
    link = {"src": resource("a"), "dst": resource("t"), "link": "internet"}
    answered = mesh.metric("a", "foremesh_link_rtt_seconds_count", **link)
    total_s = mesh.metric("a", "foremesh_link_rtt_seconds_sum", **link)
    assert answered
    assert total_s
    assert 2 * ONE_WAY_MS <= 1000 * total_s / answered < 2 * ONE_WAY_MS + 30
    for name in ("receive_bytes_total", "transmit_bytes_total", "last_handshake_seconds"):
        assert mesh.metric("a", f"foremesh_link_{name}", **link), name
        assert mesh.metric("a", f"foremesh_circuit_{name}", circuit=CIRCUIT), name
    assert mesh.metric("a", "foremesh_circuit_probes_sent_total", src=resource("a"), dst=resource("b"))
    wait_until(
        lambda: mesh.api.beacons[resource("wa")].probes[resource("a")].answering, 20, what="wa's uplink is probed"
    )
    assert mesh.metric("wa", "foremesh_uplink_rtt_seconds_count", uplink=resource("a"))


def test_an_mtu_too_large_for_the_path_is_seen(mesh: Mesh) -> None:
    """Full-size packets are dropped on the way while small ones pass."""
    node = mesh.lab["t"]
    node.exec("nft", "add table ip narrow; add chain ip narrow forward { type filter hook forward priority -10; }")
    try:
        node.exec("nft", "add rule ip narrow forward meta length > 1300 drop")
        wait_until(
            lambda: mesh.api.beacons[resource("a")].probes[CIRCUIT].mtu_fits is False, 20, what="MTU found too large"
        )
        assert mesh.api.beacons[resource("a")].probes[CIRCUIT].answering
    finally:
        node.exec("nft", "delete table ip narrow")
    wait_until(lambda: mesh.api.beacons[resource("a")].probes[CIRCUIT].mtu_fits, 20, what="MTU fits again")


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_application_has_nothing_to_do(mesh: Mesh, host: str) -> None:
    assert mesh.differences(host) == ""


def test_an_equal_config_of_a_newer_epoch_touches_nothing(mesh: Mesh) -> None:
    def tables(host: str) -> str:
        # Handles are given anew to whatever is made anew; counters would start from 0.
        text = mesh.lab[host].exec("nft", "-a", "list", "ruleset").stdout
        return re.sub(r"packets \d+ bytes \d+", "", text)

    before = {host: tables(host) for host in HOSTS}
    forwarded = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    mesh.offer()
    assert {host: tables(host) for host in HOSTS} == before
    now = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert forwarded is not None
    assert now is not None
    assert now >= forwarded > 0


def test_an_older_epoch_is_refused(mesh: Mesh) -> None:
    old = configs(mesh.keys(), epoch=0, underlay=mesh.underlay, label=9)["t"]
    mesh.api.offer(old)
    outcome = wait_until(lambda: mesh.api.outcome(old), 20, what="word on the old config")
    assert not outcome.applied
    assert "older" in outcome.error
    assert outcome.labels == (5,)
    assert mesh.differences("t") == ""


def test_what_the_firewall_does_not_name_is_dropped(mesh: Mesh) -> None:
    address = workload_address("wb")
    for port in (PORTS[0], 9999):
        server = mesh.lab["wb"].popen("socat", f"TCP-LISTEN:{port},fork,reuseaddr", "SYSTEM:echo served")
        connect = ("socat", "-T", "2", "-", f"TCP:{address}:{port},connect-timeout=2")
        try:
            listening = ("ss", "-Hltn", f"sport = :{port}")
            wait_until(lambda command=listening: mesh.lab["wb"].exec(*command).stdout, 10, what=f"server on {port}")
            dropped = mesh.metric("a", "foremesh_circuit_dropped_packets_total", circuit=CIRCUIT) or 0
            said = mesh.lab["wa"].exec(*connect, check=False).stdout
            now = mesh.metric("a", "foremesh_circuit_dropped_packets_total", circuit=CIRCUIT) or 0
        finally:
            server.terminate()
            server.wait(10)
        assert (said, now > dropped) == (("served\n", False) if port in PORTS else ("", True)), port


def test_nothing_new_comes_from_the_far_end(mesh: Mesh) -> None:
    back = ("ping", "-q", "-c", 1, "-W", 1, workload_address("wa"))
    assert mesh.lab["wb"].exec(*back, check=False).returncode == 1


def test_a_workload_cannot_use_the_address_of_another(mesh: Mesh) -> None:
    stolen = "100.64.1.77"
    node = mesh.lab["wa"]
    node.exec("ip", "address", "add", f"{stolen}/32", "dev", "lo")
    try:
        with Capture(mesh.lab["a"], "fm-att", "icmp") as seen:
            assert mesh.ping("-I", stolen, count=1).returncode == 1
        assert stolen not in seen.packets
    finally:
        node.exec("ip", "address", "delete", f"{stolen}/32", "dev", "lo")


def test_a_move_to_another_label_loses_nothing(mesh: Mesh) -> None:
    def move() -> None:
        mesh.offer(label=5, labels=(6,))
        mesh.offer(label=6, labels=(5,))
        mesh.offer(label=6)

    sent, answered = mesh.flooding(move)
    assert answered == sent
    assert "100.112.0.10" not in mesh.lab["t"].exec("nft", "list", "ruleset").stdout
    assert [mesh.differences(host) for host in HOSTS] == [""] * len(HOSTS)


def test_a_restarted_agent_adopts_what_is_there(mesh: Mesh) -> None:
    before = {host: mesh.wireguards(host) for host in ("a", "t")}
    assert set(before["a"]) == {"fm-hop", "fm-att", "fm-c1"}

    def restart() -> None:
        for host in ("a", "t"):
            assert mesh.agents[host].stop() == 0
            mesh.start(host)
            wait_until(lambda h=host: mesh.metric(h, "foremesh_agent_config_applied") == 1, 20, what="applied again")

    sent, answered = mesh.flooding(restart, count=1500)
    assert answered == sent
    assert {host: mesh.wireguards(host) for host in ("a", "t")} == before


def test_agents_go_on_without_the_api_and_remember_over_a_restart(mesh: Mesh) -> None:
    mesh.api.failing = 503
    try:
        assert mesh.agents["a"].stop() == 0
        mesh.start("a")
        wait_until(lambda: mesh.metric("a", "foremesh_circuit_rtt_seconds_count"), 20, what="probes of the circuit")
        assert mesh.metric("a", "foremesh_agent_api_up") == 0
        assert mesh.ping().returncode == 0
    finally:
        mesh.api.failing = 0
    wait_until(lambda: mesh.metric("a", "foremesh_agent_api_up") == 1, 20, what="the API is asked again")


def test_an_api_that_forgot_is_told_again(mesh: Mesh) -> None:
    mesh.api.forget()
    wait_until(lambda: len(mesh.api.registrations) == len(HOSTS), 20, what="all registered again")


@pytest.mark.parametrize(
    ("host", "interface"), [("a", "fm-c1"), ("a", "fm-hop"), ("a", "fm-att"), ("wa", "fm-up0"), ("t", "fm-hop")]
)
def test_a_dead_wireguard_leaks_nothing_and_is_replaced(mesh: Mesh, host: str, interface: str) -> None:
    agent = mesh.agents[host]
    agent.signal(signal.SIGSTOP)  # nobody mends it while we look
    try:
        outside = [Capture(mesh.lab[name], "any", "net 100.64.0.0/10") for name in HOSTS]
        pid = mesh.wireguards(host)[interface]
        os.kill(pid, signal.SIGKILL)
        gone = ("ip", "link", "show", interface)
        wait_until(lambda: mesh.lab[host].exec(*gone, check=False).returncode, 10, what=f"{interface} gone")
        for capture in outside:
            capture.__enter__()
        assert mesh.ping("-i", "0.2", count=5).returncode != 0
        for capture in outside:
            capture.__exit__()
        for capture in outside:
            clear = [line for line in capture.packets.splitlines() if re.search(r" (eth0|lan0|mgmt0) +(In|Out) ", line)]
            assert clear == [], capture.node.name
    finally:
        agent.signal(signal.SIGCONT)
    wait_until(lambda: mesh.ping(count=1).returncode == 0, 40, what="a ping after the agent mended it")
    assert mesh.differences(host) == ""


def test_a_flushed_ruleset_comes_back(mesh: Mesh) -> None:
    mesh.lab["a"].exec("nft", "flush", "ruleset")
    wait_until(lambda: mesh.differences("a") == "", 20, what="tables set up again")
    assert mesh.ping().returncode == 0


def test_a_block_that_others_route_is_not_joined(mesh: Mesh) -> None:
    config = configs(mesh.keys(), epoch=mesh.epoch + 1, underlay=mesh.underlay)["wb"]
    mesh.epoch += 1
    node = mesh.lab["wb"]
    node.exec("ip", "route", "add", f"{BLOCKS.gateway_prefix(200)}", "dev", "lan0")
    try:
        mesh.api.offer(config)
        outcome = wait_until(lambda: mesh.api.outcome(config), 20, what="word on the config")
        assert not outcome.applied
        assert "overlaps" in outcome.error
        assert mesh.ping().returncode == 0
    finally:
        node.exec("ip", "route", "delete", f"{BLOCKS.gateway_prefix(200)}", "dev", "lan0")


def test_leaving_leaves_nothing(mesh: Mesh) -> None:
    """Last: it takes the mesh apart."""
    for host in HOSTS:
        assert mesh.agents[host].stop() == 0
        node = mesh.lab[host]
        assert mesh.wireguards(host)
        node.exec(sys.executable, "-c", AGENT, "leave", mesh.folder / f"{host}.yaml")
        assert mesh.wireguards(host) == {}
        assert "fm-" not in node.exec("ip", "link").stdout
        assert node.exec("ip", "route", "show", "table", "all", "proto", "152").stdout == ""
        assert "152" not in node.exec("ip", "-N", "rule").stdout
        assert "foremesh" not in node.exec("nft", "list", "tables").stdout
