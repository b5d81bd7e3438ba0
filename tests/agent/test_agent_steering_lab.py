"""Applications as they are, through circuits of either encryption: UDP, fragments, ICMP errors, redirects, and what
circuits do to their packets besides: firewall, reservation, code points.

Steered by protocol and port, as circuits that the network room compiles are.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from agent.configs import CIRCUIT, workload_address
from agent.running import Capture, Edit, Mesh, running_mesh
from foremesh.agent.rulesets.passage import BURST_BYTES
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import GatewayConfig, Steer
from foremesh.model.intent import Encryption
from foremesh.model.resource import Protocol
from foremesh.network.specs import create_circuit, update_firewall_rule
from lab.process import wait_until
from lab.traffic import Ping

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

PORT, CLOSED, SINK, OTHER = 7000, 7010, 7011, 7001
"""Ports: one with a server that answers, one without a server, one with a silent server, and one that is not let
through."""
WA, WB = workload_address("wa"), workload_address("wb")
DSCP = 46

SERVER = """
import socket, sys, threading
port = int(sys.argv[1])
tcp, udp = socket.create_server(("", port)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", port))
def echo():
    while True:
        octets, peer = udp.recvfrom(65535)
        udp.sendto(peer[0].encode() + b" " + octets, peer)
threading.Thread(target=echo, daemon=True).start()
print("ready", flush=True)
while True:
    one, peer = tcp.accept()
    one.sendall(peer[0].encode() + b" tcp")
    one.close()
"""
"""Answers with the caller's address and, in UDP, with all that was sent."""

CLIENT = """
import socket, sys
kind, source, port, size = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
one.settimeout(5)
one.bind((source, 0))
one.connect((sys.argv[1], port))
octets = bytes(n % 251 for n in range(size))
try:
    if kind == "udp":
        one.send(octets)
    caller, _, said = one.recv(65535).partition(b" ")
    print(caller.decode(), "whole" if said in (b"tcp", octets) else "harmed")
except OSError as error:
    print(type(error).__name__)
"""

SEND = """
import socket, sys, time
to = (sys.argv[1], int(sys.argv[2]))
bps, seconds = float(sys.argv[3]), float(sys.argv[4])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent, octets = time.monotonic(), 0, b"x" * 1000
while (now := time.monotonic() - began) < seconds:
    while sent * 8 < now * bps:
        one.sendto(octets, to)
        sent += len(octets) + 28
    time.sleep(0.002)
print(sent, time.monotonic() - began)
"""
"""Sends datagrams at a rate, and says how many bytes of IP they were in how many seconds."""


@pytest.fixture(scope="module", params=list(Encryption))
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("agents")
    with running_mesh(folder, encryption=request.param) as running:
        running.encryption = request.param  # type: ignore[attr-defined]
        running.offer(edit=edited(), encryption=request.param)
        server = running.lab["wb"].popen(sys.executable, "-c", SERVER, PORT, stdout=subprocess.PIPE, text=True)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield running
        server.kill()
        server.wait(10)


Kinds = tuple[tuple[Protocol | None, tuple[int, ...]], ...]
KINDS: Kinds = ((Protocol.TCP, (PORT,)), (Protocol.UDP, (PORT, CLOSED, SINK)), (Protocol.ICMP, ()))
OPEN = tuple(
    FirewallRule(protocol=protocol, ports=ports, sources=(f"{WA}/32",), destinations=(f"{WB}/32",))
    for protocol, ports in KINDS
)


ALL: Kinds = ((None, ()),)


def edited(*, firewall: tuple[FirewallRule, ...] = OPEN, steered: Kinds = KINDS, **fields: object) -> Edit:
    """Configs with this firewall, and these kinds of traffic steered; ``fields`` are those of a's circuit."""

    def edit(made: dict[str, GatewayConfig]) -> dict[str, GatewayConfig]:
        for host, own, far in (("a", WA, WB), ("b", WB, WA)):
            end = msgspec.structs.replace(made[host].circuits[0], firewall=firewall)
            if host == "a":
                end = msgspec.structs.replace(end, **fields)
            ways = tuple(
                Steer(
                    circuit=CIRCUIT,
                    sources=(f"{own}/32",),
                    destinations=(f"{far}/32",),
                    protocol=protocol,
                    ports=ports,
                    answers=host == "b",
                )
                for protocol, ports in steered
            )
            made[host] = msgspec.structs.replace(made[host], circuits=(end,), steering=ways)
        return made

    return edit


def offer(mesh: Mesh, edit: Edit) -> None:
    mesh.offer(edit=edit, encryption=mesh.encryption)  # type: ignore[attr-defined]


def call(mesh: Mesh, kind: str, port: int = PORT, *, source: str = "", size: int = 1) -> str:
    return mesh.lab["wa"].exec(sys.executable, "-c", CLIENT, WB, kind, source, port, size).stdout.strip()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("own", [False, True], ids=["any-address", "bound-to-the-lan-address"])
def test_an_application_reaches_another(mesh: Mesh, kind: str, own: bool) -> None:
    source = mesh.lab["wa"].lan_address if own else ""
    assert call(mesh, kind, source=source or "") == f"{WA} whole"


def test_a_large_datagram_goes_in_fragments_there_and_back(mesh: Mesh) -> None:
    with Capture(mesh.lab["a"], "fm-c1", "ip[6:2] & 0x1fff != 0") as fragments:
        assert call(mesh, "udp", size=4000) == f"{WA} whole"
    assert len([line for line in fragments.packets.splitlines() if " IP " in line]) >= 6


def test_a_closed_port_is_said_to_be_closed(mesh: Mesh) -> None:
    """Nothing but UDP of some ports is steered; the error has no ports, and yet goes the way of what it is about."""
    offer(mesh, edited(firewall=OPEN[1:2], steered=KINDS[1:2]))
    try:
        assert call(mesh, "udp", CLOSED) == "ConnectionRefusedError"
    finally:
        offer(mesh, edited())


def test_a_packet_too_large_is_said_to_be_too_large(mesh: Mesh) -> None:
    """A workload whose own interface lets more through than the circuit holds is told so by its gateway."""
    agent, node = mesh.agents["wa"], mesh.lab["wa"]
    agent.signal(signal.SIGSTOP)  # it would set the MTU right
    try:
        node.exec("ip", "link", "set", "dev", "fm-up0", "mtu", 1400)
        large = ("ping", "-c", 1, "-W", 2, "-M", "do", "-s", 1350, WB)
        assert "(mtu = 1280)" in node.exec(*large, check=False).stdout
    finally:
        node.exec("ip", "link", "set", "dev", "fm-up0", "mtu", 1280)
        node.exec("ip", "route", "flush", "cache")
        agent.signal(signal.SIGCONT)
    assert mesh.ping("-M", "do", "-s", 1252, count=1).returncode == 0


def test_a_redirect_in_the_workloads_namespace_is_left_alone(mesh: Mesh) -> None:
    """As a service mesh does it: what applications send goes to a proxy, and what the proxy sends goes out."""
    node, proxy_user, proxy_port = mesh.lab["wa"], 1337, 15001
    node.exec(
        "nft",
        "add table ip sidecar; add chain ip sidecar output { type nat hook output priority -100; };"
        f"add rule ip sidecar output meta skuid != {proxy_user} tcp dport {PORT} counter redirect to :{proxy_port}",
    )
    listen, reach = f"TCP-LISTEN:{proxy_port},fork,reuseaddr", f"TCP:{WB}:{PORT}"
    proxy = node.popen("setpriv", "--reuid", proxy_user, "--clear-groups", "socat", listen, reach)
    try:
        listening = ("ss", "-Hltn", f"sport = :{proxy_port}")
        wait_until(lambda: node.exec(*listening).stdout, 10, what="the proxy listens")
        assert call(mesh, "tcp") == f"{WA} whole"
        assert "counter packets 1 " in node.exec("nft", "list", "table", "ip", "sidecar").stdout
    finally:
        proxy.terminate()
        proxy.wait(10)
        node.exec("nft", "delete", "table", "ip", "sidecar")


def test_a_code_point_is_on_labels_and_on_what_they_carry(mesh: Mesh) -> None:
    marked = f"ip[1] & 0xfc == {DSCP << 2}"
    try:
        for dscp in (DSCP, None):
            offer(mesh, edited(dscp=dscp))
            with (
                Capture(mesh.lab["t"], "fm-hop", "udp", "and", marked) as on_labels,
                Capture(mesh.lab["wb"], "fm-up0", "icmp", "and", marked) as at_the_end,
            ):
                assert mesh.ping(count=3).returncode == 0
            for seen in (on_labels, at_the_end):
                packets = [line for line in seen.packets.splitlines() if " IP " in line]
                assert len(packets) >= 3 if dscp else not packets, seen.interface
    finally:
        offer(mesh, edited())


def test_a_circuit_carries_what_was_reserved_and_no_more(mesh: Mesh) -> None:
    reserved_bps = 4e6
    at_once = reserved_bps / 8 + BURST_BYTES
    offer(mesh, edited(police_bps=reserved_bps))
    sink = mesh.lab["wb"].popen("socat", "-u", f"UDP-RECV:{SINK}", "OPEN:/dev/null")
    try:
        wait_until(lambda: mesh.lab["wb"].exec("ss", "-Hlun", f"sport = :{SINK}").stdout, 10, what="a silent server")
        for factor in (0.5, 3.0):
            before = [mesh.metric("a", f"foremesh_circuit_{what}_bytes_total") or 0 for what in ("passed", "policed")]
            argv = (sys.executable, "-c", SEND, WB, SINK, factor * reserved_bps, 4)
            sent, seconds = map(float, mesh.lab["wa"].exec(*argv).stdout.split())
            now = [mesh.metric("a", f"foremesh_circuit_{what}_bytes_total") or 0 for what in ("passed", "policed")]
            passed, policed = (after - earlier for earlier, after in zip(before, now, strict=True))
            allowed = reserved_bps / 8 * seconds
            if factor < 1:
                assert policed == 0
                assert passed >= 0.95 * sent
            else:
                assert policed > 0
                # On a busy machine the sender pauses for longer than the burst lasts.
                assert 0.7 * allowed <= passed <= 1.02 * (allowed + at_once)
        assert mesh.ping().returncode == 0
    finally:
        sink.kill()
        sink.wait(10)
        offer(mesh, edited())


def test_a_firewall_changes_from_one_set_of_rules_to_another_and_to_nothing_between(mesh: Mesh) -> None:
    """Fifty times under traffic: what both allow is never lost, and what neither does never passes."""
    icmp = FirewallRule(protocol=Protocol.ICMP)
    spare = [FirewallRule(protocol=Protocol.UDP, ports=(PORT + n,)) for n in (20, 21)]
    spec = create_circuit("default/a", "default/b", class_="any", firewall=(icmp, spare[0]))
    forbidden = mesh.lab["wa"].popen(
        sys.executable, "-c", SEND, WB, OTHER, 1e6, 600, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    offer(mesh, edited(firewall=spec.firewall, steered=ALL))
    try:
        with (
            Capture(mesh.lab["wb"], "fm-up0", f"udp port {OTHER}") as slipped,
            Ping(mesh.lab["wa"], WB, mesh.folder / "ping.txt", every_s=0.005) as ping,
        ):
            ping.wait_for(20)
            dropped = mesh.metric("a", "foremesh_circuit_dropped_packets_total") or 0
            for n in range(50):
                spec = update_firewall_rule(spec, spare[(n + 1) % 2], replaces=spare[n % 2])
                assert spare[n % 2] not in spec.firewall
                offer(mesh, edited(firewall=spec.firewall, steered=ALL))
            ping.wait_for(20)
        assert ping.lost() == 0
        assert " IP " not in slipped.packets
        # Some at every change, however quickly it was made.
        assert (mesh.metric("a", "foremesh_circuit_dropped_packets_total") or 0) - dropped > 50 * 5
    finally:
        forbidden.kill()
        forbidden.wait(10)
        offer(mesh, edited())
