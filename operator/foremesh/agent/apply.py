"""Carries changes out on the host, and reads back what is there. The only module that knows all the tools."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from foremesh.agent import conntrack, ethtool, gather, hosts, ip, nft, rulesets, vxlan
from foremesh.agent import diff as d
from foremesh.agent.changes import Changes
from foremesh.agent.failover.client import Failover
from foremesh.agent.host import HostError, filters_strictly, is_fixed, move_down, read_sysctl, write_sysctl
from foremesh.agent.keys import Keys
from foremesh.agent.state import LOOSE, SEND_REDIRECTS, Desired, Interface, Names, Observed, Peer, SeenTable, Vxlan
from foremesh.agent.wireguard import Device, PeerUpdate, SeenPeer, WireGuardDriver, WireGuardError

log = logging.getLogger(__name__)

SESSION_S = 180.0
"""Seconds after which WireGuard gives up a session that was not renewed."""

FOR_ALL = "net.ipv4.conf.all."
"""Settings of which the kernel takes the larger: this one, or the interface's own."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a host at one time.

    Attributes:
        observed: Its state, to be compared.
        devices: WireGuard's own figures by interface.
        indexes: The kernel's numbers of the interfaces: a new one means a new interface of the same name.
    """

    observed: Observed
    devices: Mapping[str, Device]
    indexes: Mapping[str, int]


class Host:
    """The host that the agent runs on, in its network namespace.

    Args:
        names: The agent's interfaces.
        wireguard: Driver of its WireGuard.
        keys: Its private keys.
        failover: Its failover process.
        hosts_file: Where names are written; None: nowhere.
    """

    def __init__(
        self,
        names: Names,
        wireguard: WireGuardDriver,
        keys: Keys,
        failover: Failover,
        *,
        hosts_file: Path | None = None,
    ) -> None:
        self._names = names
        self._hosts_file = hosts_file
        self._wireguard = wireguard
        self._keys = keys
        self._failover = failover
        self._changes = Changes()
        self._looking = asyncio.Lock()
        self._seen: tuple[int | None, ip.Network] = (None, ip.Network())
        self._ruleset: tuple[int | None, Mapping[str, SeenTable]] = (None, {})

    async def observe(self, desired: Desired | None, told: Mapping[str, str], *, now_s: float) -> Sight:
        """Look at what foremesh has set up here.

        Args:
            desired: What will be compared with; its sysctls are read.
            told: ``interface public-key`` to the endpoint that was last set: a peer that has moved since, and talks,
                counts as being there, or every look would fight WireGuard's roaming.
            now_s: Unix time.

        Raises:
            HostError: If the host cannot be read.
        """
        devices, indexes = {}, {}
        interfaces = {}
        network = await self._network()
        links, traffic = network.links, _traffic(network)
        for name, link in links.items():
            if not link.pair:
                indexes[name] = link.index
            if link.vxlan:
                devices[name] = _counted(traffic.get(name))
                interfaces[name] = Interface(
                    public_key="",
                    mtu=link.mtu,
                    addresses=link.addresses,
                    up=link.up,
                    vxlan=link.vxlan,
                    neighbours=network.neighbours.get(name, frozenset()),
                    offload=ethtool.leaves_checksums(name),
                )
                continue
            if link.pair:
                if self._names.is_gather(name):
                    hop = _gathers_for(self._names, link, network)
                    interfaces[name] = Interface("", link.mtu, 0, link.addresses, up=link.up, gathers_for=hop)
                continue
            try:
                device = devices[name] = await self._wireguard.read(name)
            except WireGuardError as error:
                if link.tun and name not in (desired.interfaces if desired else ()):
                    # Hung, or just starting: nobody needs to know more of it to remove it.
                    interfaces[name] = Interface("", link.mtu, 0, link.addresses, up=link.up)
                    continue
                raise WireGuardError(f"{error}; remove the interface if it is not foremesh's, or restart it") from error
            peers = {
                key: Peer(_endpoint(peer, told.get(f"{name} {key}"), now_s), peer.keepalive_s, peer.allowed)
                for key, peer in device.peers.items()
            }
            interfaces[name] = Interface(
                device.public_key, link.mtu, device.listen_port, link.addresses, peers, up=link.up
            )
        wanted = desired.sysctls if desired else {}
        sysctls = {name: value if _dispensable(name, value) else read_sysctl(name) for name, value in wanted.items()}
        tables = await self._tables()
        known = hosts.read(self._hosts_file, self._names.prefix) if self._hosts_file else None
        holds = await self._failover.state()
        # Killed, it leaves a socket behind: to be ended, or started anew.
        digest = holds.digest if holds else "" if self._failover.socket.exists() else None
        abandoned = {name for name in self._wireguard.abandoned() if self._names.owns(name)}
        abandoned -= {*links, self._failover.socket.stem}
        observed = Observed(
            interfaces,
            network.routes,
            network.rules,
            tables,
            sysctls,
            known,
            failover=digest,
            abandoned=frozenset(abandoned),
        )
        return Sight(observed, devices, indexes)

    async def _network(self) -> ip.Network:
        """Interfaces, routes and rules as they are; those of the last time while none has changed."""
        async with self._looking:  # or two looks at a time would count by what neither has seen yet
            count = self._changes.count({link.index for link in self._seen[1].links.values()})
            if count is None or count != self._seen[0]:
                self._seen = (count, await ip.network(self._names))
            return self._seen[1]

    async def _tables(self) -> Mapping[str, SeenTable]:
        """The tables as they are; those of the last time while nobody has changed any, since listing them takes more
        processor time than all the rest of a look."""
        generation = nft.generation()
        if generation is None or generation != self._ruleset[0]:
            self._ruleset = (generation, await nft.tables(rulesets.OWNED))
        return self._ruleset[1]

    async def foreign_routes(self) -> list[tuple[str, str]]:
        """Prefix and description of routes that others made."""
        return await ip.foreign_routes(self._names)

    async def figures(self) -> tuple[dict[str, Device], dict[tuple[str, str], tuple[int, int]]]:
        """What is counted: WireGuard's figures by interface; packets and bytes by nftables table and counter."""
        network = await self._network()
        traffic = _traffic(network)
        devices = {
            name: _counted(traffic.get(name)) if link.vxlan else await self._wireguard.read(name)
            for name, link in network.links.items()
            if not link.pair
        }
        return devices, await nft.counters(rulesets.OWNED)

    async def apply(self, changes: Iterable[d.Change]) -> None:
        """Make changes in their order; neighbours of one tool go in one call.

        Raises:
            HostError: At the first one that fails. What came before it is done; what it was to replace still works.
        """
        changes = list(changes)
        for tool, group in groupby(changes, key=_tool):
            batch = list(group)
            if tool == "ip":
                await ip.batch(line for change in batch for line in self._ip_lines(change))
            elif tool.startswith("peers "):
                await self._wireguard.update(tool.removeprefix("peers "), [_update(change) for change in batch])
            else:
                for change in batch:
                    await self._single(change)
        if changes:
            kinds = Counter(type(change).__name__ for change in changes)
            log.info("applied changes=%d %s", len(changes), " ".join(f"{k}={n}" for k, n in sorted(kinds.items())))

    def _ip_lines(self, change: d.Change) -> list[str]:
        match change:
            case d.SetMtu(name, mtu):
                return [f"link set dev {name} mtu {mtu}"]
            case d.SetUp(name):
                return [f"link set dev {name} up"]
            case d.AddAddress(name, address):
                return [f"address add {address} dev {name}"]
            case d.DeleteAddress(name, address):
                return [f"address delete {address} dev {name}"]
            case d.SetNeighbour(name, address, mac):
                return [f"neigh replace {address} lladdr {mac} dev {name} nud permanent"]
            case d.DeleteNeighbour(name, address):
                return [f"neigh delete {address} dev {name}"]
            case d.SetRoute(route):
                return [ip.route_line("replace", route)]
            case d.DeleteRoute(route):
                return [ip.route_line("delete", route)]
            case d.AddRule(rule):
                return [ip.rule_line("add", rule)]
            case d.DeleteRule(rule):
                return [ip.rule_line("delete", rule)]
        raise AssertionError(f"no line for {change}")

    async def _single(self, change: d.Change) -> None:
        match change:
            case d.CreateInterface(name, None, ""):
                await self._wireguard.create(name)
            case d.CreateInterface(_, None, hop):
                await gather.create(*self._names.gather(hop), hop)
            case d.CreateInterface(name, Vxlan() as wanted):
                await vxlan.create(name, wanted)
            case d.PrepareVxlan(name, wanted, offload):
                await vxlan.prepare(name, wanted, offload=offload)
            case d.DeleteInterface(name):
                await self._wireguard.destroy(name)  # deletes the others as well, for which no socket answers
            case d.SetKey(name, public_key, listen_port):
                await self._wireguard.configure(name, self._keys.of(public_key), listen_port)
            case d.DropAllowed(name, prefixes):
                await self._wireguard.drop_allowed(name, prefixes)
            case d.SetSysctl(name, value):
                if _dispensable(name, value):
                    pass
                elif name.startswith(FOR_ALL):
                    move_down(name.removeprefix(FOR_ALL))
                else:
                    write_sysctl(name, value)
            case d.SetTable(table, seen):
                await nft.run(nft.render(table, seen))
            case d.DeleteTable(name):
                await nft.run(f"delete table {nft.FAMILY} {name}\n")
            case d.SetFailover(table):
                await self._failover.set(table)
            case d.EndFailover():
                await self._failover.end()
            case d.ForgetFlows(flows):
                await conntrack.forget(flows)
            case d.SetNames(names) if self._hosts_file:
                try:
                    hosts.write(self._hosts_file, self._names.prefix, names)
                except HostError as error:
                    log.error("%s", error)  # no reason to do without the rest of a config
            case _:
                raise AssertionError(f"no way to make {change}")


IP_CHANGES = (
    d.SetMtu,
    d.SetUp,
    d.AddAddress,
    d.DeleteAddress,
    d.SetNeighbour,
    d.DeleteNeighbour,
    d.SetRoute,
    d.DeleteRoute,
    d.AddRule,
    d.DeleteRule,
)


def _dispensable(name: str, value: str) -> bool:
    """Whether a setting may stay as it is: a pod may not write it, and need not."""
    if name.endswith(SEND_REDIRECTS):
        return is_fixed(name)
    return value == LOOSE and not filters_strictly(name)


def _tool(change: d.Change) -> str:
    """What makes a change; changes with the same answer that follow each other are made together."""
    if isinstance(change, IP_CHANGES):
        return "ip"
    return f"peers {change.name}" if isinstance(change, d.SetPeer | d.DeletePeer) else "single"


def _update(change: d.Change) -> PeerUpdate:
    match change:
        case d.SetPeer(_, public_key, endpoint, keepalive_s, add):
            return PeerUpdate(public_key, endpoint, keepalive_s, add)
        case d.DeletePeer(_, public_key):
            return PeerUpdate(public_key, remove=True)
    raise AssertionError(f"{change} changes no peer")


def _traffic(network: ip.Network) -> Mapping[str, tuple[int, int]]:
    """Bytes by interface, where any is asked for them: WireGuard counts its own."""
    return ip.traffic() if any(link.vxlan for link in network.links.values()) else {}


def _counted(traffic: tuple[int, int] | None) -> Device:
    """VXLAN's traffic as that of one peer without a key."""
    received, sent = traffic or (0, 0)
    return Device(peers={"": SeenPeer(receive_bytes=received, transmit_bytes=sent)})


def _gathers_for(names: Names, link: ip.Link, network: ip.Network) -> str:
    """The hop interface that a whole pair gathers for, if it is still the same and the pair's exit, which is up, hands
    packets to it."""
    hop = next((name for name, hop in network.links.items() if link.alias == gather.alias(name, hop.index)), "?")
    exit_ = names.gather(hop)[1]
    whole = exit_ in network.links and network.links[exit_].up and network.redirects.get(exit_) == hop
    return hop if whole else "?"


def _endpoint(peer: SeenPeer, told: str | None, now_s: float) -> str | None:
    """A peer that roamed and is alive counts as being where it was told to be."""
    return told if told and now_s - peer.last_handshake_s < SESSION_S else peer.endpoint
