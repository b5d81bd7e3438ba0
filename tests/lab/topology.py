"""Gateways and workloads in network namespaces around an emulated Internet: the lab.

    with Lab(five_gateways()) as lab:
        lab["app"].exec("ping", "-c", "1", lab["ams"].lan_address)
        lab.internet.degrade("ams", "lon", delay_ms=30)

Three kinds of network, all of them in namespaces of the lab:

- the underlay: each gateway has a /30 of 203.0.113.0/24, and its default route leads to the namespace ``inet``, which
  holds the Internet;
- the LANs: one per site, 10.201.N.0/24, a bridge in the namespace ``switch``; a workload's default route is its site's
  first gateway. The Internet carries LAN addresses too: what misses its tunnel travels in clear, and is counted;
- management: a /26 of 198.51.100.0/24, a bridge in ``switch`` joined by all nodes and the root namespace: its API
  and Prometheus reach the agents so. That link is all a lab has in the root namespace.

Gateways and workloads do not forward: whoever runs on a gateway turns that on if it means to. Run as
``python -m lab.topology --clean`` it removes the labs of processes that died.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import cleanup
from lab.internet import Emulated, Internet
from lab.netem import Netem
from lab.nodes import Addresses, LabError, Namespace, Node
from lab.scenes import Topology, five_gateways
from lab.world import World

__all__ = ["Lab", "LabError", "Terminated", "Topology", "five_gateways", "main"]

UNDERLAY = IPv4Network("203.0.113.0/24")
MANAGEMENT = IPv4Network("198.51.100.0/24")
MANAGEMENT_PREFIX = 26
"""Four labs at a time on a machine, of up to 61 nodes."""

LANS = IPv4Network("10.201.0.0/16")
SITES_TABLE = 100
"""Routing table of what comes from the sites: into the emulator's device. What comes back from it uses the main one."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; like an interrupt, so that every context on the way out cleans up."""


class Lab:
    """The lab of a topology, from entering the context until leaving it, however it is left.

    Attributes:
        prefix: What the names of all its namespaces and links begin with.
        gateways, workloads: Nodes by name; ``lab[name]`` finds either.
        internet: Hold of the Internet between the gateways.
        mgmt_address: The root namespace's address on the management network.
        mgmt_network: The management network.
        netem: Whether the kernel carries the packets rather than the emulator.

    Raises:
        LabError: On entering, if it cannot be built; nothing is left behind then.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.prefix = f"fm{secrets.token_hex(2)}"
        self.gateways: dict[str, Node] = {}
        self.workloads: dict[str, Node] = {}
        self.internet: Internet
        self.mgmt_address = ""
        self.netem = False
        self._inet = Namespace("inet", f"{self.prefix}-inet")
        self._switch = Namespace("switch", f"{self.prefix}-switch")
        self._owner = 0
        self._previous_handler: Any = None

    def __getitem__(self, name: str) -> Node:
        return (self.gateways | self.workloads)[name]

    @property
    def nodes(self) -> list[Node]:
        """Gateways, then workloads, in the topology's order."""
        return [*self.gateways.values(), *self.workloads.values()]

    def __enter__(self) -> Lab:
        if os.geteuid() != 0:
            raise LabError("not root: no network namespaces, no lab")
        if missing := [tool for tool in ("ip", "nsenter", "tc") if not shutil.which(tool)]:
            raise LabError(f"not installed: {', '.join(missing)}; no lab (Debian packages iproute2, util-linux)")
        self._owner = os.getpid()
        atexit.register(self.close)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._previous_handler = signal.signal(signal.SIGTERM, _terminate)
        try:
            self._build()
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError) and not isinstance(error, LabError):
                raise LabError(f"lab {self.prefix} not built: {error}") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process in the lab and remove it. Does nothing in a fork, or the second time."""
        if self._owner != os.getpid():
            return
        main = threading.current_thread() is threading.main_thread()
        # A second signal must not interrupt the cleaning it asks for.
        blocked = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)} if main else {}
        try:
            if hasattr(self, "internet"):
                self.internet.close()
            cleanup.remove(self.prefix)
            for namespace in (self._inet, self._switch, *self.nodes):
                namespace.stop()
            self._owner = 0
            atexit.unregister(self.close)
        finally:
            for number, handler in blocked.items():
                signal.signal(number, handler)
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def leftovers(self) -> list[str]:
        """What of this lab is on the machine; empty after its end."""
        return cleanup.leftovers(self.prefix)

    def _build(self) -> None:
        with cleanup.exclusive():
            cleanup.remove_dead()
            self._folder = cleanup.claim(self.prefix)
            self.mgmt_network = _free_network()
            hosts = self.mgmt_network.hosts()
            self.mgmt_address = str(next(hosts))
            uplink = f"{self.prefix}-mgmt"
            cleanup.ip(
                batch=f"netns add {self._switch.netns}\n"
                f"link add {uplink} type veth peer name root netns {self._switch.netns}\n"
                f"addr add {self.mgmt_address}/{MANAGEMENT_PREFIX} dev {uplink}\n"
                f"link set {uplink} up\n"
            )
        self._make_nodes([str(host) for host in islice(hosts, 60)])
        self._connect()
        self.internet = self._start_internet()

    def _make_nodes(self, mgmt: list[str]) -> None:
        lans: dict[str, list[str]] = {}
        for number, site in enumerate(dict.fromkeys(g.site for g in self.topology.gateways), start=1):
            lans[site] = [str(host) for host in islice(IPv4Network((int(LANS[0]) + 256 * number, 24)).hosts(), 100)]
        self._lans = {site: f"{hosts[0].rpartition('.')[0]}.0/24" for site, hosts in lans.items()}
        for number, gateway in enumerate(self.topology.gateways, start=1):
            addresses = Addresses(mgmt.pop(0), lans[gateway.site].pop(0), str(UNDERLAY[4 * number + 2]))
            self.gateways[gateway.name] = Node(gateway.name, f"{self.prefix}-{gateway.name}", gateway.site, addresses)
        for workload in self.topology.workloads:
            addresses = Addresses(mgmt.pop(0), lans[workload.site].pop(0))
            self.workloads[workload.name] = Node(
                workload.name, f"{self.prefix}-{workload.name}", workload.site, addresses
            )
        cleanup.ip(batch="".join(f"netns add {node.netns}\n" for node in (self._inet, *self.nodes)))
        quiet = {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1}
        any_source = {"ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0}
        self._inet.start({"ipv4/ip_forward": 1, **any_source, **quiet})
        self._switch.start({"ipv4/ip_forward": 0, **quiet})
        for node in self.nodes:  # a new namespace may inherit forwarding from a machine that runs containers
            node.start({"ipv4/ip_forward": 0})
        for namespace in (self._inet, self._switch, *self.nodes):
            namespace.ready()

    def _connect(self) -> None:
        switch, inet = self._switch.netns, self._inet.netns
        links = []
        for node in self.nodes:
            links += [
                f"link add m-{node.name} netns {switch} type veth peer name mgmt0 netns {node.netns}",
                f"link add l-{node.name} netns {switch} type veth peer name lan0 netns {node.netns}",
            ]
        links += [
            f"link add to-{g.name} netns {inet} type veth peer name eth0 netns {g.netns}"
            for g in self.gateways.values()
        ]
        _batch([], links)
        bridges = ["mgmt", *(f"lan-{site}" for site in self._lans)]
        ports = ["link set root master mgmt", *(f"link set m-{n.name} master mgmt" for n in self.nodes)]
        ports += [f"link set l-{n.name} master lan-{n.site}" for n in self.nodes]
        up = [*bridges, "root", *(f"{kind}-{n.name}" for n in self.nodes for kind in "ml")]
        # No forwarding delay and no snooping: a bridge of the lab has no loops, and is up when it says so.
        created = [f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0" for bridge in bridges]
        _batch(["-n", switch], [*created, *ports, *(f"link set {link} up" for link in up)])
        for node in self.nodes:
            first = next(g for g in self.gateways.values() if g.site == node.site)
            lines = [
                f"addr add {node.mgmt_address}/{MANAGEMENT_PREFIX} dev mgmt0",
                f"addr add {node.lan_address}/24 dev lan0",
                "link set mgmt0 up",
                "link set lan0 up",
            ]
            if node.underlay_address:
                lines += [f"addr add {node.underlay_address}/30 dev eth0", "link set eth0 up"]
            via = _router(node.underlay_address) if node.underlay_address else first.lan_address
            _batch(["-n", node.netns], [*lines, f"route add default via {via}"])

    def _start_internet(self) -> Internet:
        addresses = {name: g.underlay_address or "" for name, g in self.gateways.items()}
        front = {site: next(a for n, a in addresses.items() if self.gateways[n].site == site) for site in self._lans}
        behind = {lan: front[site] for site, lan in self._lans.items()}
        pairs = {(addresses[src], addresses[dst]): pair for (src, dst), pair in self.topology.pairs.items()}
        world = World(pairs, behind, self.topology.seed)
        lines = []
        for name, address in addresses.items():
            lines += [f"addr add {_router(address)}/30 dev to-{name}", f"link set to-{name} up"]
        lines += [f"route add {lan} via {address}" for lan, address in behind.items()]
        self.netem = (
            self._inet.exec("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", check=False).returncode
            == 0
        )
        if self.netem:
            _batch(["-n", self._inet.netns], lines)
            devices = {address: f"to-{name}" for name, address in addresses.items()}
            carrier = Netem(lambda argv, text: self._inet.exec("tc", *argv, input=text).stdout, devices, world)
            return Internet(addresses, world, carrier)
        # A long device queue: it is the emulator that knows how long queues are in this world, so bursts must reach it.
        lines += ["tuntap add inet0 mode tun", "link set inet0 txqueuelen 10000 up"]
        lines += [f"route add default dev inet0 table {SITES_TABLE}"]
        lines += [f"rule add iif to-{name} lookup {SITES_TABLE} pref 100" for name in addresses]
        _batch(["-n", self._inet.netns], lines)
        return Internet(addresses, world, self._start_emulator(world))

    def _start_emulator(self, world: World) -> Emulated:
        world_path, control, log = (self._folder / n for n in ("world.json", "control.sock", "emulator.log"))
        world_path.write_text(world.to_json())
        argv = [sys.executable, "-m", "lab.emulator", "inet0", world_path, control]
        carrier = Emulated(str(control))
        self._inet.daemon(argv, log, env={"PYTHONPATH": str(Path(__file__).parents[1])}, ready=carrier.counters)
        return carrier


def _terminate(_number: int, _frame: object) -> None:
    raise Terminated("SIGTERM")


def _router(address: str) -> str:
    """The Internet's end of a gateway's /30."""
    return str(IPv4Address(address) - 1)


def _batch(where: list[str], lines: list[str]) -> None:
    cleanup.ip(*where, batch="\n".join(lines) + "\n")


def _free_network() -> IPv4Network:
    """A part of the management network that the root namespace has no address in and no route to.

    Raises:
        LabError: If there is none.
    """
    links: list[Mapping[str, Any]] = json.loads(cleanup.ip("-j", "-4", "addr") or "[]")
    routes: list[Mapping[str, Any]] = json.loads(cleanup.ip("-j", "-4", "route") or "[]")
    used = [
        IPv4Network((a["local"], a["prefixlen"]), strict=False) for link in links for a in link.get("addr_info", ())
    ]
    used += [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    for network in MANAGEMENT.subnets(new_prefix=MANAGEMENT_PREFIX):
        if not any(network.overlaps(other) for other in used):
            return network
    labs = sorted(p.name for p in cleanup.STATE.iterdir() if p.is_dir())
    raise LabError(f"{MANAGEMENT} is all in use on this machine (labs running: {', '.join(labs) or 'none'}); no lab")


def main(argv: list[str]) -> int:
    """``--clean`` removes the labs whose process is dead; prints them."""
    if argv != ["--clean"]:
        print("usage: python -m lab.topology --clean", file=sys.stderr)
        return 2
    with cleanup.exclusive():
        removed = cleanup.remove_dead()
    print(f"removed {', '.join(removed)}" if removed else "no dead labs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
