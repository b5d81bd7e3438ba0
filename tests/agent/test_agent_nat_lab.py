"""Edges behind address translation: they dial out, talk through a transit, move house and are found again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from agent.controlled import Controlled
from agent.mesh_api import FakeMeshApi
from foremesh.agent.state import KEEPALIVE_S
from foremesh.model.resource import Resource, Role
from lab.nodes import Node
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.traffic import Ping
from lab.world import Pair
from network.scene import gateway, intent, placed, workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

TRANSIT = "transit.foremesh.test"
"""The transit's name in the hosts file of the edges: the DNS of this lab."""

FOUND_AGAIN_S = 5.0
"""Seconds in which an edge has to be heard again; on an idle machine it takes 0.2. Left to itself, ``wireguard-go``
takes 15."""

NAT = """
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname "eth0" meta l4proto udp masquerade to :20000-60000 random
    oifname "eth0" masquerade
  }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan0" accept
  }
}
"""
"""What home routers do: nobody comes in unless somebody went out, and ports outside are not those inside."""

GONE = """
table ip gone {{
  chain in {{
    type filter hook input priority -300;
    ip daddr {address} udp dport 51820 drop
  }}
  chain out {{
    type filter hook output priority -300;
    ip saddr {address} udp sport 51820 drop
  }}
}}
"""
"""An address that is WireGuard's no more."""

FORGET_FLOWS = """
import socket, struct
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
kernel.send(struct.pack("=IHHII", 20, 1 << 8 | 2, 5, 1, 0) + struct.pack("!BBH", socket.AF_INET, 0, 0))
(length, kind, _, _, _, error) = struct.unpack_from("=IHHIIi", kernel.recv(4096))
assert (kind, error) == (2, 0), (kind, error)
"""
"""Empties connection tracking, as a router's restart does (``conntrack -F``, which few machines have)."""


class Home:
    """The network of an edge behind a router that translates."""

    def __init__(self, lab: Lab, router: str, edge: str) -> None:
        self.router, self.edge = lab[router], lab[edge]
        self._prefix = self.edge.lan_address.rpartition(".")[0]
        self._last = 200
        self.address = ""
        self.router.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.router.exec("nft", "-f", "-", input=NAT)
        self.move()

    def move(self) -> None:
        """Send from another address from now on; the one that workloads attach to stays."""
        before, self._last = self.address, self._last + 1
        self.address = f"{self._prefix}.{self._last}"
        lines = [
            f"address add {self.address}/24 dev lan0",
            f"route replace default via {self.router.lan_address} src {self.address}",
            *([f"address delete {before}/24 dev lan0"] if before else []),
        ]
        self.edge.exec("ip", "-batch", "-", input="\n".join(lines) + "\n")

    def forget(self) -> None:
        self.router.exec(sys.executable, "-c", FORGET_FLOWS)


def declared(lab: Lab) -> dict[str, Resource]:
    found = {"t": gateway("t"), "e1": gateway("e1", "n1"), "e2": gateway("e2", "n2")}
    for name, made in found.items():
        assert made.spec.gateway is not None
        role, endpoint = (Role.TRANSIT, f"{TRANSIT}:51820") if name == "t" else (Role.EDGE, None)
        spec = msgspec.structs.replace(made.spec.gateway, role=role, endpoint=endpoint)
        found[name] = msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, gateway=spec))
    return found | {"w1": workload("w1", "n1"), "w2": workload("w2", "n2")}


class Edges(Controlled):
    """w1 talks to w2 from edge e1 by transit t to edge e2, both behind a translating router."""

    def __init__(self, lab: Lab, api: FakeMeshApi, folder: Path) -> None:
        settings: dict[str, dict[str, object]] = {
            name: {"attachEndpoint": f"{lab[name].lan_address}:51821"} for name in ("e1", "e2")
        }
        settings["t"] = {"endpoint": f"{TRANSIT}:51820"}
        super().__init__(lab, api, folder, declared(lab), settings)
        self.homes = {edge: Home(lab, router, edge) for edge, router in (("e1", "n1"), ("e2", "n2"))}
        self.name_transit(lab["t"].underlay_address or "")
        for host in self.resources:
            lab[host].exec("mount", "--bind", self._hosts, "/etc/hosts")

    @property
    def _hosts(self) -> Path:
        return self.folder / "hosts"

    def name_transit(self, address: str) -> None:
        """Where the transit's name leads from now on."""
        self._hosts.write_text(f"127.0.0.1 localhost\n{address} {TRANSIT}\n")

    def endpoints(self) -> dict[str, str]:
        """Where the transit last heard its neighbours, by address."""
        shown = self.lab["t"].exec("wg", "show", "fm-hop", "endpoints").stdout.split()
        return dict(endpoint.rsplit(":", 1) for endpoint in shown[1::2])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edges]:
    names = ("n1", "t", "n2")
    ways = {(x, y): Pair(2.0) for x in names for y in names if x != y}
    gateways = tuple(Gateway(name, "Core", name, "eu", 0.0) for name in names)
    workloads = tuple(Workload(f"{kind}{n}", f"n{n}") for n in (1, 2) for kind in "ew")
    with Lab(Topology(gateways, workloads, ways)) as lab, FakeMeshApi(lab.mgmt_address) as api:
        running = Edges(lab, api, tmp_path_factory.mktemp("agents"))
        for host in running.resources:
            running.start(host)
        wait_until(running.registered, 40, what="all agents registered")
        one = intent("one")
        running.controller.wish([(one, placed(one, "w1", "w2", "e1", "t", "e2"))])
        running.drive(lambda: running.settled() and running.labels(), "the circuit set up")
        running.drive(lambda: running.reaches("w1", "w2"), "a ping from w1 to w2")
        yield running


def longest_gap_s(ping: Ping) -> float:
    """Between two packets that were answered, by when they were sent."""
    sent = sorted(reply.at_s - reply.rtt_ms / 1e3 for reply in ping.replies())
    return max(later - earlier for earlier, later in pairwise(sent))


def dialled(edge: Node) -> str:
    return edge.exec("wg", "show", "fm-hop", "endpoints").stdout


def report(what: str, ping: Ping) -> float:
    gap_s = longest_gap_s(ping)
    print(f"{what}: longest gap {gap_s:.2f} s, {ping.lost()} of 200 packets/s lost")
    return gap_s


def test_two_edges_behind_translation_talk_through_a_transit(mesh: Edges) -> None:
    assert mesh.reaches("w1", "w2")
    seen = mesh.endpoints()
    assert set(seen) == {mesh.lab[name].underlay_address for name in ("n1", "n2")}
    assert "51820" not in seen.values(), "the routers translate ports"


def test_only_who_dials_out_keeps_the_way_open(mesh: Edges) -> None:
    def kept(host: str) -> set[str]:
        return set(mesh.lab[host].exec("wg", "show", "fm-hop", "persistent-keepalive").stdout.split()[1::2])

    assert kept("e1") == kept("e2") == {str(KEEPALIVE_S)}
    assert kept("t") == {"off"}


@pytest.mark.parametrize("edge", ["e1", "e2"])
def test_an_edge_that_moves_is_found_again_without_registering(mesh: Edges, edge: str) -> None:
    home, registration = mesh.homes[edge], mesh.api.registrations[mesh.resources[edge].id]
    outside = home.router.underlay_address or ""
    before = mesh.endpoints()[outside]
    with mesh.flooding("w1", "w2") as ping:
        ping.wait_for(50)
        home.move()
        home.forget()
        wait_until(lambda: mesh.endpoints()[outside] != before, 30, what="another hole in the router")
        ping.wait_for(200)
    assert report(f"{edge} moved", ping) < FOUND_AGAIN_S
    assert mesh.api.registrations[mesh.resources[edge].id] is registration


def test_a_router_that_forgets_its_flows_is_passed_again(mesh: Edges) -> None:
    home = mesh.homes["e1"]
    outside = home.router.underlay_address or ""
    before = mesh.endpoints()[outside]
    with mesh.flooding("w1", "w2") as ping:
        ping.wait_for(50)
        home.forget()
        wait_until(lambda: mesh.endpoints()[outside] != before, 30, what="another hole in the router")
        ping.wait_for(200)
    assert report("router forgot", ping) < FOUND_AGAIN_S


def test_a_name_that_leads_elsewhere_is_followed(mesh: Edges) -> None:
    node: Node = mesh.lab["t"]
    registrations = dict(mesh.api.registrations)
    try:
        with mesh.flooding("w1", "w2") as ping:
            ping.wait_for(50)
            node.exec("nft", "-f", "-", input=GONE.format(address=node.underlay_address))
            mesh.name_transit(node.lan_address)
            edges = [mesh.lab[edge] for edge in ("e1", "e2")]
            wait_until(
                lambda: all(node.lan_address in dialled(edge) for edge in edges), 30, what="the name is followed"
            )
            ping.wait_for(200)
        assert report("name leads elsewhere", ping) < FOUND_AGAIN_S
        assert all(mesh.api.registrations[id_] is one for id_, one in registrations.items())
    finally:
        node.exec("nft", "delete table ip gone", check=False)
