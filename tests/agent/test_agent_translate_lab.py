"""Own addresses, names, and machines without agents, on real parts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest

from agent.configs import BLOCKS, CIRCUIT, resource, workload_address
from agent.running import AGENT, Capture, Mesh, running_mesh
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import Behind, GatewayConfig, Name, OwnAddress, Steer
from foremesh.model.resource import Protocol
from lab.process import wait_until
from lab.scenes import Workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

STEERED, OTHER = 5432, 9999
"""Ports: one that the Intent names, and one that it does not."""
WA, WB = workload_address("wa"), workload_address("wb")
MA, MB = BLOCKS.workload_address(1, 7), BLOCKS.workload_address(3, 7)
"""Mesh addresses of the machines without agents, behind a and b."""
SHARED = "10.0.0.9"
"""An address that both sides have in their own networks."""

SERVER = """
import socket, sys, threading
host, port = sys.argv[1], int(sys.argv[2])
tcp = socket.create_server((host, port))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((host, port))
def talk():
    while True:
        said, peer = udp.recvfrom(65535)
        udp.sendto(f"{peer[0]} {len(said)}".encode(), peer)
threading.Thread(target=talk, daemon=True).start()
print("ready", flush=True)
while True:
    one, peer = tcp.accept()
    one.sendall(f"{peer[0]} {one.getsockname()[0]}".encode())
    one.close()
"""

CLIENT = """
import socket, sys
kind, source, host, port, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
one.settimeout(2.0)
if source:
    one.bind((source, 0))
try:
    one.connect((host, port))
    if kind == "udp":
        one.send(b"x" * size)
    print(one.recv(65535).decode())
except OSError as error:
    print(type(error).__name__)
"""

TALKER = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(0.1)
one.connect((sys.argv[1], int(sys.argv[2])))
while True:
    try:
        one.send(b"x")
        print(one.recv(65535).decode().split()[0], flush=True)
    except OSError:
        print("nothing", flush=True)
"""
"""One socket that goes on for ever, as resolvers and telemetry do: its flow never ends by itself."""

PROXY = """
import os, socket, struct, sys
os.setuid(int(sys.argv[2]))
proxy = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    one, _ = proxy.accept()
    there = one.getsockopt(socket.SOL_IP, 80, 16)
    port, address = struct.unpack("!2xH4s8x", there)
    other = socket.socket()
    other.settimeout(2)
    other.connect((socket.inet_ntoa(address), port))
    one.sendall(b"by proxy: " + other.recv(65535))
    one.close()
"""
"""What the sidecar of a service mesh does: it asks for the original destination (SO_ORIGINAL_DST), and calls."""


WEB_SERVER = """
import http.server, socketserver, sys
class Resize(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"resized")
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer((sys.argv[1], int(sys.argv[2])), Resize).serve_forever()
"""


def with_(config: GatewayConfig, **fields: object) -> GatewayConfig:
    return msgspec.structs.replace(config, **fields)


def own(address: str, mesh: str | None) -> tuple[OwnAddress, ...]:
    """TCP and UDP of the steered port, and ICMP."""
    kinds = ((Protocol.TCP, (STEERED,)), (Protocol.UDP, (STEERED,)), (Protocol.ICMP, ()))
    return tuple(OwnAddress(own=address, mesh=mesh, protocol=protocol, ports=ports) for protocol, ports in kinds)


def between(source: str, destination: str) -> tuple[FirewallRule, ...]:
    kinds = ((Protocol.TCP, (STEERED,)), (Protocol.UDP, (STEERED,)), (Protocol.ICMP, ()))
    return tuple(
        FirewallRule(protocol=protocol, ports=ports, sources=(f"{source}/32",), destinations=(f"{destination}/32",))
        for protocol, ports in kinds
    )


class Steered:
    """The mesh, and what its tests change of its configs."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.lab = mesh, mesh.lab
        self._servers: list[subprocess.Popen[str]] = []

    def offer(self, edit: Callable[[dict[str, GatewayConfig]], None] = lambda made: None) -> None:
        """The circuit is open for what the tests send, between workloads and machines; ``edit`` says how they call
        each other."""
        pairs = [(WA, WB), (WA, MB), (MA, WB), (MA, MB)]
        firewall = tuple(rule for pair in pairs for rule in between(*pair))
        steering = tuple(
            Steer(circuit=CIRCUIT, sources=(f"{one}/32",), destinations=(f"{other}/32",), answers=answers)
            for answers in (False, True)
            for one, other in (pair[::-1] if answers else pair for pair in pairs)
        )

        def both(made: dict[str, GatewayConfig]) -> dict[str, GatewayConfig]:
            for host, answers in (("a", False), ("b", True)):
                made[host] = with_(
                    made[host],
                    circuits=tuple(with_(end, firewall=firewall) for end in made[host].circuits),  # type: ignore[type-var]
                    steering=tuple(steer for steer in steering if steer.answers is answers),
                )
            edit(made)
            return made

        self.mesh.offer(edit=both)

    def by_own_address(self, address: str, *, at: str | None = None) -> None:
        """wa calls wb by an address; ``at`` is what wb has itself."""

        def edit(made: dict[str, GatewayConfig]) -> None:
            made["wa"] = with_(made["wa"], own_addresses=own(address, WB))
            made["wb"] = with_(made["wb"], own_address=at or address, called=between(WA, WB))

        self.offer(edit)

    def serve(self, host: str, address: str, port: int = STEERED, program: str = SERVER) -> subprocess.Popen[str]:
        node = self.lab[host]
        server = node.popen(sys.executable, "-c", program, address, port, stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        return server

    def stop_serving(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait(10)
        self._servers.clear()

    def call(
        self, host: str, address: str, port: int = STEERED, *, source: str = "", kind: str = "tcp", size: int = 1
    ) -> str:
        """What the server answers: whom it takes the caller for, and more; or the error."""
        argv = (sys.executable, "-c", CLIENT, kind, source, address, port, size)
        return self.lab[host].exec(*argv).stdout.strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    folder = tmp_path_factory.mktemp("agents")
    machines = (Workload("ma", "sa"), Workload("mb", "sb"))
    with running_mesh(folder, machines=machines, settings={"wa": {"hostsFile": "/etc/hosts"}}) as mesh:
        # As in a pod: the file itself is a mount, so another cannot take its place. No config has named anybody yet.
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        mesh.lab["wa"].exec("mount", "--bind", folder / "hosts", "/etc/hosts")
        yield Steered(mesh)


@pytest.fixture
def mesh(running: Steered) -> Iterator[Steered]:
    yield running
    running.stop_serving()


def clear(capture: Capture) -> list[str]:
    """What was seen of packets, without the tunnel's."""
    return [line for line in capture.packets.splitlines() if " IP " in line]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("bound", [False, True], ids=["source-chosen-by-the-kernel", "source-bound-to-the-lan-address"])
def test_the_own_address_leads_through_the_mesh_to_an_application_bound_to_it(
    mesh: Steered, kind: str, bound: bool
) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    mesh.serve("wb", there)
    source = mesh.lab["wa"].lan_address if bound else ""
    with Capture(mesh.lab["wa"], "lan0", f"host {there}") as seen:
        assert mesh.call("wa", there, source=source, kind=kind).split()[0] == WA
    assert clear(seen) == []


def test_the_mesh_address_works_from_an_application_bound_to_its_lan_address(mesh: Steered) -> None:
    mesh.offer()
    mesh.serve("wb", "0.0.0.0")
    source = mesh.lab["wa"].lan_address
    assert mesh.call("wa", WB, source=source) == f"{WA} {WB}"
    assert mesh.call("wa", WB, source=source, kind="udp").split()[0] == WA


def test_what_the_intent_does_not_name_is_left_as_it_is(mesh: Steered) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    mesh.serve("wb", there, OTHER)
    mesh.serve("mb", mesh.lab["mb"].lan_address)
    assert mesh.call("wa", there, OTHER) == f"{mesh.lab['wa'].lan_address} {there}"
    other = mesh.lab["mb"].lan_address
    assert mesh.call("wa", other) == f"{mesh.lab['wa'].lan_address} {other}"
    # Who is not in the Intent calls wb by its own address, past the mesh and undisturbed.
    mesh.serve("wb", there)
    assert mesh.call("ma", there) == f"{mesh.lab['ma'].lan_address} {there}"


@pytest.mark.parametrize("size", [4000, 20_000])
def test_datagrams_larger_than_the_tunnel_arrive_in_fragments(mesh: Steered, size: int) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    mesh.serve("wb", there)
    assert mesh.call("wa", there, kind="udp", size=size) == f"{WA} {size}"


def test_icmp_errors_come_back_from_the_own_address(mesh: Steered) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    assert mesh.call("wa", there, kind="udp") == "ConnectionRefusedError"
    assert mesh.call("wa", there) == "ConnectionRefusedError"
    ping = mesh.lab["wa"].exec("ping", "-c", 1, "-W", 2, there, check=False)
    assert f"from {there}" in ping.stdout


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_both_sides_may_have_the_same_address_in_their_networks(mesh: Steered, kind: str) -> None:
    for host in ("wa", "wb"):
        mesh.lab[host].exec("ip", "address", "add", f"{SHARED}/24", "dev", "lan0")
    try:
        mesh.by_own_address(SHARED)
        mesh.serve("wb", SHARED)
        assert mesh.call("wa", SHARED, source=SHARED, kind=kind).split()[0] == WA
        assert mesh.call("wa", SHARED, kind=kind).split()[0] == WA
        mesh.serve("wa", SHARED, OTHER)  # and its own services there are its own
        assert mesh.call("wa", SHARED, OTHER) == f"{SHARED} {SHARED}"
        # Another of the same network, which the source takes for a neighbour.
        neighbour = "10.0.0.77"
        mesh.by_own_address(neighbour, at=SHARED)
        assert mesh.call("wa", neighbour, kind=kind).split()[0] == WA
    finally:
        for host in ("wa", "wb"):
            mesh.lab[host].exec("ip", "address", "delete", f"{SHARED}/24", "dev", "lan0")


def test_a_redirect_in_the_same_namespace_comes_first_and_its_proxy_is_steered(mesh: Steered) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    mesh.serve("wb", there)
    proxy = 1337
    node = mesh.lab["wa"]
    server = node.popen(sys.executable, "-c", PROXY, 15001, proxy, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        node.exec("nft", "add table ip sidecar; add chain ip sidecar out { type nat hook output priority -100; }")
        node.exec("nft", f"add rule ip sidecar out meta skuid != {proxy} tcp dport {STEERED} redirect to :15001")
        assert mesh.call("wa", there).startswith(f"by proxy: {WA}")
    finally:
        node.exec("nft", "delete", "table", "ip", "sidecar", check=False)
        server.kill()
        server.wait(10)


def test_a_destination_without_a_way_is_not_reached_in_clear(mesh: Steered) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.serve("wb", there)

    def nowhere(made: dict[str, GatewayConfig]) -> None:
        made["wa"] = with_(made["wa"], own_addresses=own(there, None))

    mesh.offer(nowhere)
    with Capture(mesh.lab["wa"], "lan0", f"host {there}") as seen:
        for kind in ("tcp", "udp"):
            assert mesh.call("wa", there, kind=kind) in ("TimeoutError", "PermissionError", "ConnectionRefusedError")
    assert clear(seen) == []


@pytest.mark.parametrize("lost", ["tunnel", "translation"])
def test_what_is_steered_never_falls_back_to_clear(mesh: Steered, lost: str) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.by_own_address(there)
    mesh.serve("wb", there)
    node, agent = mesh.lab["wa"], mesh.mesh.agents["wa"]
    agent.signal(signal.SIGSTOP)  # nobody mends it while we look
    try:
        if lost == "tunnel":
            node.exec("kill", "-9", mesh.mesh.wireguards("wa")["fm-up0"])
            gone = ("ip", "link", "show", "fm-up0")
            wait_until(lambda: node.exec(*gone, check=False).returncode, 10, what="fm-up0 gone")
        else:
            node.exec("nft", "delete", "table", "ip", "foremesh_translate")
        with Capture(node, "lan0", f"host {there}") as seen:
            for kind in ("tcp", "udp"):
                assert "Error" in mesh.call("wa", there, kind=kind)
        assert clear(seen) == []
    finally:
        agent.signal(signal.SIGCONT)
    wait_until(lambda: mesh.call("wa", there).startswith(WA), 40, what="steered again after the agent mended it")


def test_flows_follow_the_intent_at_once_in_both_directions(mesh: Steered) -> None:
    there = mesh.lab["wb"].lan_address
    mesh.serve("wb", there)
    mesh.offer()
    lan = mesh.lab["wa"].lan_address
    talker = mesh.lab["wa"].popen(sys.executable, "-c", TALKER, there, STEERED, stdout=subprocess.PIPE, text=True)
    try:

        def heard_as(whom: str) -> None:
            wait_until(lambda: talker.stdout.readline().strip() == whom, 20, what=f"heard as {whom}", every_s=0.0)

        heard_as(lan)
        mesh.by_own_address(there)
        heard_as(WA)
        mesh.offer()
        heard_as(lan)
        assert "foremesh" in mesh.lab["wa"].exec("nft", "list", "tables").stdout
        assert there not in mesh.lab["wa"].exec("nft", "list", "ruleset").stdout
        assert "dnat" not in mesh.lab["wb"].exec("nft", "list", "ruleset").stdout
    finally:
        talker.kill()
        talker.wait(10)


def test_names_stand_in_a_hosts_file_that_is_mounted_by_itself(mesh: Steered) -> None:
    node, file = mesh.lab["wa"], mesh.mesh.folder / "hosts"
    file.write_text("127.0.0.1 localhost\n")

    def named(made: dict[str, GatewayConfig]) -> None:
        made["wa"] = with_(made["wa"], names=(Name(name="orders-db.shop.mesh", address=WB),))

    mesh.offer(named)
    mesh.serve("wb", "0.0.0.0")
    assert node.exec("getent", "hosts", "localhost").returncode == 0
    assert mesh.call("wa", "orders-db.shop.mesh") == f"{WA} {WB}"
    node.exec("sh", "-c", "echo '10.0.0.1 mine' > /etc/hosts")
    wait_until(lambda: "orders-db.shop.mesh" in file.read_text(), 20, what="the name is back")
    assert "10.0.0.1 mine\n" in file.read_text()
    mesh.offer()
    assert file.read_text() == "10.0.0.1 mine\n"


def machines(mesh: Steered) -> Callable[[dict[str, GatewayConfig]], None]:
    """ma behind a, which calls wb and mb by their own addresses too, and mb behind b."""
    ma, mb, wb = (mesh.lab[host].lan_address for host in ("ma", "mb", "wb"))

    def edit(made: dict[str, GatewayConfig]) -> None:
        calls = (*own(wb, WB), *own(mb, MB))
        made["a"] = with_(
            made["a"], behind=(Behind(resource=resource("ma"), address=MA, target=ma, own_addresses=calls),)
        )
        made["b"] = with_(made["b"], behind=(Behind(resource=resource("mb"), address=MB, target=mb),))
        made["wa"] = with_(made["wa"], own_addresses=own(mb, MB))
        made["wb"] = with_(made["wb"], own_address=wb, called=between(MA, WB))

    return edit


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("by", ["mesh", "own"])
def test_a_machine_without_an_agent_is_reached_through_its_gateway(mesh: Steered, kind: str, by: str) -> None:
    mesh.offer(machines(mesh))
    there = mesh.lab["mb"].lan_address
    mesh.serve("mb", there)
    # It knows its gateway alone, on its own network: it needs no route.
    assert mesh.call("wa", MB if by == "mesh" else there, kind=kind).split()[0] == mesh.lab["b"].lan_address


def test_a_machine_without_an_agent_is_open_for_what_the_firewall_names(mesh: Steered) -> None:
    mesh.offer(machines(mesh))
    mesh.serve("mb", "0.0.0.0", OTHER)
    assert "Error" in mesh.call("wa", MB, OTHER)
    assert mesh.lab["wa"].exec("ping", "-q", "-c", 1, "-W", 2, MB, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(("whom", "by"), [("wb", "mesh"), ("wb", "own"), ("mb", "mesh"), ("mb", "own")])
def test_a_machine_without_an_agent_calls_through_its_gateway(mesh: Steered, kind: str, whom: str, by: str) -> None:
    mesh.offer(machines(mesh))
    node, there = mesh.lab["ma"], mesh.lab[whom].lan_address
    mesh.serve(whom, there)
    address = {"wb": WB, "mb": MB}[whom] if by == "mesh" else there
    node.exec("ip", "route", "replace", BLOCKS.mesh, "via", mesh.lab["a"].lan_address)
    try:
        with Capture(mesh.lab["a"], "eth0", f"host {there}") as seen:
            heard = mesh.call("ma", address, kind=kind).split()[0]
        assert heard == (MA if whom == "wb" else mesh.lab["b"].lan_address)
        assert clear(seen) == []
    finally:
        node.exec("ip", "route", "delete", BLOCKS.mesh)


def test_a_stranger_on_the_machines_network_is_not_let_in(mesh: Steered) -> None:
    """It routes by the gateway as the machine does, and is not it."""
    mesh.offer(machines(mesh))
    mesh.serve("wb", "0.0.0.0")
    node = mesh.lab["ma"]
    stranger = node.lan_address.rpartition(".")[0] + ".200"
    node.exec("ip", "address", "add", f"{stranger}/24", "dev", "lan0")
    node.exec("ip", "route", "replace", BLOCKS.mesh, "via", mesh.lab["a"].lan_address)
    try:
        assert "Error" in mesh.call("ma", WB, source=stranger)
        assert mesh.call("ma", WB, source=node.lan_address).split()[0] == MA
    finally:
        node.exec("ip", "route", "delete", BLOCKS.mesh)
        node.exec("ip", "address", "delete", f"{stranger}/24", "dev", "lan0")


def test_a_function_by_its_url_is_looked_up_by_the_gateway(mesh: Steered) -> None:
    """A tiny HTTP server under a name that only the gateway's network knows; it moves, and is found again."""
    gateway, file = mesh.lab["b"], mesh.mesh.folder / "gateway-hosts"
    first, second = (mesh.lab["mb"].lan_address, mesh.lab["mb"].lan_address.rpartition(".")[0] + ".201")
    file.write_text(f"{first} resize.example.com\n")
    node = mesh.lab["mb"]
    node.exec("ip", "address", "add", f"{second}/24", "dev", "lan0")
    gateway.exec("mount", "--bind", file, "/etc/hosts")

    def serve(address: str) -> subprocess.Popen[str]:
        argv = (sys.executable, "-c", WEB_SERVER, address, STEERED)
        server = node.popen(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: node.exec("ss", "-Hltn", "src", f"{address}:{STEERED}").stdout, 30, what="HTTP server")
        return server

    def function(made: dict[str, GatewayConfig]) -> None:
        made["b"] = with_(made["b"], behind=(Behind(resource=resource("mb"), address=MB, target="resize.example.com"),))

    def fetched() -> bool:
        url = f"http://{MB}:{STEERED}/"
        read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())"
        return mesh.lab["wa"].exec(sys.executable, "-c", read, url, check=False).stdout == "resized\n"

    server = serve(first)
    try:
        mesh.offer(function)
        assert fetched()
        server.kill()
        server.wait(10)
        server = serve(second)
        assert not fetched()
        file.write_text(f"{second} resize.example.com\n")
        wait_until(fetched, 20, what="the function at its new address")
    finally:
        server.kill()
        server.wait(10)
        gateway.exec("umount", "/etc/hosts")
        node.exec("ip", "address", "delete", f"{second}/24", "dev", "lan0")


def test_leaving_takes_translation_and_names_away(mesh: Steered) -> None:
    """Last: it takes wa out of the mesh."""
    there, node = mesh.lab["wb"].lan_address, mesh.lab["wa"]
    file = mesh.mesh.folder / "hosts"
    file.write_text("127.0.0.1 localhost\n")

    def named(made: dict[str, GatewayConfig]) -> None:
        made["wa"] = with_(made["wa"], own_addresses=own(there, WB), names=(Name(name="wb.default.mesh", address=WB),))

    mesh.offer(named)
    assert "wb.default.mesh" in file.read_text()
    assert mesh.mesh.agents["wa"].stop() == 0
    node.exec(sys.executable, "-c", AGENT, "leave", mesh.mesh.folder / "wa.yaml")
    assert file.read_text() == "127.0.0.1 localhost\n"
    assert node.exec("nft", "list", "ruleset").stdout == ""
    mesh.serve("wb", there)
    assert mesh.call("wa", there) == f"{node.lan_address} {there}"
