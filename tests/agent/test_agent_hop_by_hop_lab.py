"""Circuits encrypted hop by hop, on real parts: what a transit sees, moves under load, TCP, and what is forged."""

from __future__ import annotations

import re
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.configs import BLOCKS, CIRCUIT, HOSTS, resource, workload_address
from agent.running import AGENT, MARKER, Capture, Mesh, running_mesh
from foremesh.model.intent import Encryption
from lab.process import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

HOP_BY_HOP = Encryption.HOP_BY_HOP

OWN_PORT = 23_001
"""Where the end listens that did not open the circuit."""

SEND_UDP = """
import socket, sys
source, target, port, octets = *sys.argv[1:4], bytes.fromhex(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:
    to.bind((source, 0))
    for _ in range(5):
        to.sendto(octets, (target, int(port)))
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("agents"), encryption=HOP_BY_HOP, mtu=1370) as running:
        yield running


def test_the_interface_is_vxlan_with_the_room_it_leaves(mesh: Mesh) -> None:
    shown = mesh.lab["a"].exec("ip", "-d", "link", "show", "fm-c1").stdout
    assert "vxlan id 1 " in shown
    assert "mtu 1370 " in shown
    assert set(mesh.wireguards("a")) == {"fm-hop", "fm-att"}


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_application_has_nothing_to_do(mesh: Mesh, host: str) -> None:
    assert mesh.differences(host) == ""


@pytest.mark.parametrize("encryption", [HOP_BY_HOP, Encryption.END_TO_END])
def test_what_a_transit_sees(mesh: Mesh, encryption: Encryption) -> None:
    """The marker is in clear inside the transit where that is allowed, and never outside of it."""
    mesh.offer(encryption=encryption, mtu=1340)
    wait_until(lambda: mesh.ping(count=1).returncode == 0, 20, what="a ping after the change of encryption")
    with (
        Capture(mesh.lab["t"], "fm-hop") as inside,
        Capture(mesh.lab["t"], "eth0", "udp") as outside,
        Capture(mesh.lab["b"], "fm-att") as behind_the_end,
    ):
        assert mesh.ping("-p", MARKER, "-s", 64).returncode == 0
    assert MARKER in behind_the_end.octets
    assert (MARKER in inside.octets) is (encryption is HOP_BY_HOP)
    assert len(outside.packets.splitlines()) >= 12, "the transit's underlay carried the ping"
    assert MARKER not in outside.octets
    assert [mesh.differences(host) for host in HOSTS] == [""] * len(HOSTS)


def test_a_move_to_another_label_loses_nothing(mesh: Mesh) -> None:
    mesh.offer(encryption=HOP_BY_HOP)
    wait_until(lambda: mesh.ping(count=1).returncode == 0, 20, what="a ping hop by hop again")

    def move() -> None:
        mesh.offer(label=5, labels=(6,), encryption=HOP_BY_HOP)
        mesh.offer(label=6, labels=(5,), encryption=HOP_BY_HOP)
        mesh.drain()
        mesh.offer(label=6, encryption=HOP_BY_HOP)

    sent, answered = mesh.flooding(move, count=3000)
    assert answered == sent
    assert [mesh.differences(host) for host in HOSTS] == [""] * len(HOSTS)


def test_the_circuit_is_probed_and_counted(mesh: Mesh) -> None:
    def reported() -> bool:
        beacon = mesh.api.beacons.get(resource("a"))
        probe = beacon.probes.get(CIRCUIT) if beacon else None
        return bool(probe and probe.answering)

    wait_until(reported, 20, what="a's beacon tells of the circuit")
    for name in ("receive_bytes_total", "transmit_bytes_total"):
        assert mesh.metric("a", f"foremesh_circuit_{name}", circuit=CIRCUIT), name


def test_tcp_is_carried(mesh: Mesh, tmp_path: Path) -> None:
    """It hangs where checksums are left to a device that does not exist; a megabyte goes through, unharmed."""
    server = mesh.lab["wb"].popen("socat", "-u", "TCP-LISTEN:5201,reuseaddr", f"CREATE:{tmp_path}/arrived")
    try:
        listening = ("ss", "-Hltn", "sport = :5201")
        wait_until(lambda: mesh.lab["wb"].exec(*listening).stdout, 10, what="a server on 5201")
        text = "0123456789abcdef" * 65536
        client = ("socat", "-u", "-", f"TCP:{workload_address('wb')}:5201,connect-timeout=5")
        mesh.lab["wa"].exec(*client, input=text, timeout=30)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    assert (tmp_path / "arrived").read_text() == text


def test_trains_enter_wireguard_as_one(mesh: Mesh) -> None:
    """Not packet by packet, as what VXLAN wraps would by itself: the pair puts them together again."""

    def handed_over() -> tuple[int, int]:
        where = "/sys/class/net/fm-hop/statistics"
        said = mesh.lab["a"].exec("cat", f"{where}/tx_bytes", f"{where}/tx_packets").stdout.split()
        return int(said[0]), int(said[1])

    sink = mesh.lab["wb"].popen("socat", "-u", "TCP-LISTEN:5201,reuseaddr", "OPEN:/dev/null")
    try:
        listening = ("ss", "-Hltn", "sport = :5201")
        wait_until(lambda: mesh.lab["wb"].exec(*listening).stdout, 10, what="a server on 5201")
        before = handed_over()
        client = ("socat", "-u", "-b", 65536, "-", f"TCP:{workload_address('wb')}:5201,connect-timeout=5")
        mesh.lab["wa"].exec(*client, input="0123456789abcdef" * 262_144, timeout=60)
        assert sink.wait(60) == 0
    finally:
        sink.kill()
        sink.wait()
    octets, packets = (after - earlier for after, earlier in zip(handed_over(), before, strict=True))
    assert octets > 4_000_000
    assert octets / packets > 1420, "the MTU, of which no packet by itself is larger"


@pytest.mark.parametrize(("programs", "expected"), [(("ip", "tc"), True), (("ip",), False)], ids=["both", "no-tc"])
def test_a_host_that_cannot_gather_does_without(
    mesh: Mesh, tmp_path: Path, programs: tuple[str, ...], expected: bool
) -> None:
    """And one that was killed while it tried is in nobody's way."""
    for program in programs:
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    mesh.lab["t"].exec("ip", "link", "add", "try-gtry", "type", "veth", "peer", "name", "try-xtry")
    ask = "from foremesh.agent import gather, state; print(gather.supported(state.Names('try')))"
    said = mesh.lab["t"].exec("env", f"PATH={tmp_path}", sys.executable, "-c", ask)
    assert said.stdout == f"{expected}\n"
    assert "try-" not in mesh.lab["t"].exec("ip", "link").stdout


def test_what_does_not_come_from_a_link_is_dropped(mesh: Mesh) -> None:
    """VXLAN has no keys: from the underlay, from the host itself, or at another circuit's port it is forged; another
    circuit's identifier is none at this port."""
    source, target = (BLOCKS.workload_address(number, 0) for number in (1, 3))
    inner = _icmp(source, target)

    def strays() -> float:
        return mesh.metric("b", "foremesh_agent_stopped_packets_total", reason="stray") or 0

    frame = bytes.fromhex("0200000000020200000000010800") + inner
    own, identifier = struct.pack(">II", 0x08000000, 1 << 8), struct.pack(">II", 0x08000000, 9 << 8)
    underlay, circuit_a, circuit_b = mesh.lab["b"].underlay_address, *BLOCKS.circuit_pair(9)
    forged = (
        ("t", "0.0.0.0", underlay, OWN_PORT),
        ("b", "127.0.0.1", "127.0.0.1", OWN_PORT),
        ("a", circuit_a, circuit_b, OWN_PORT + 8),
    )
    with Capture(mesh.lab["b"], "fm-c1", "icmp") as arriving:
        send = (sys.executable, "-c", SEND_UDP)
        mesh.lab["a"].exec(*send, circuit_a, circuit_b, OWN_PORT, (identifier + frame).hex())
        for host, sender, address, port in forged:
            before = strays()
            mesh.lab[host].exec(*send, sender, address, port, (own + frame).hex())
            # Packets that pass the kernel as one are counted as one.
            wait_until(lambda least=before + 1: strays() >= least, 10, what=f"forged packets from {host} dropped")
    assert source not in arriving.packets


def _icmp(source: str, target: str) -> bytes:
    """An echo request in an IPv4 packet; checksums are not looked at before it would be seen."""
    octets = [bytes(map(int, address.split("."))) for address in (source, target)]
    header = struct.pack(">BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 1, 0) + b"".join(octets)
    return header + struct.pack(">BBHHH", 8, 0, 0, 1, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "ip link set dev fm-c1 down",
        "ip -4 neigh flush nud permanent dev fm-c1",
        "ip link delete dev fm-c1",
        "ip link delete dev fm-gop",
        "ip link set dev fm-gop down",
        "ip link set dev fm-xop down",
        "tc filter delete dev fm-xop ingress",
        "bridge fdb delete 02:00:00:00:00:02 dev fm-c1",
        "bridge fdb replace 02:00:00:00:00:02 dev fm-c1 dst {far} port 4789 permanent",
        "ip address flush dev fm-hop",
        "ip link set dev fm-c1 mtu 1280",
        "ip route flush table all proto 152",
        "ip rule delete pref 5200",
        "ip link delete dev fm-hop",
    ],
    ids=[
        "down",
        "neighbour-forgotten",
        "deleted",
        "pair-deleted",
        "pair-down",
        "exit-down",
        "exit-hands-nothing-over",
        "far-end-forgotten",
        "far-port-of-another-version",
        "addresses-gone",
        "mtu-lowered",
        "routes-gone",
        "rule-gone",
        "hop-deleted",
    ],
)
def test_what_was_damaged_is_mended(mesh: Mesh, damage: str) -> None:
    mesh.lab["a"].exec(*damage.format(far=BLOCKS.circuit_pair(9)[1]).split())
    wait_until(lambda: mesh.ping(count=1).returncode == 0, 20, what=f"a ping after {damage}")
    wait_until(lambda: mesh.differences("a") == "", 20, what="nothing left to mend")


def test_leaving_leaves_nothing(mesh: Mesh) -> None:
    """Last: it takes the mesh apart."""
    for host in ("a", "b"):
        assert mesh.agents[host].stop() == 0
        node = mesh.lab[host]
        assert "fm-c1" in node.exec("ip", "link").stdout
        node.exec(sys.executable, "-c", AGENT, "leave", mesh.folder / f"{host}.yaml")
        assert not re.search(r"\bfm-", node.exec("ip", "link").stdout)
        assert node.exec("ip", "-4", "neigh", "show", "nud", "permanent").stdout == ""
        assert node.exec("ip", "route", "show", "table", "all", "proto", "152").stdout == ""
