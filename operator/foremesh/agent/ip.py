"""Interfaces, addresses, routes and rules by ``ip``, and what belongs to them by ``bridge`` and ``tc``: what these say,
and ``ip``'s batch lines. Only what is foremesh's."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from foremesh.agent.host import CommandFailed, HostError, run_command
from foremesh.agent.state import MAIN_TABLE, MARK_MASK, ROUTE_PROTOCOL, RULE_PRIORITY, Names, Route, Rule, Vxlan
from foremesh.agent.vxlan import far_mac

STOPPING_TYPES = frozenset({"6", "7", "8", "9", "blackhole", "unreachable", "prohibit", "throw"})
"""Types of routes that lead nowhere, by number and by name."""

UNICAST = ("1", "unicast")
LOCAL_TABLE = "255"

TRAFFIC = Path("/proc/thread-self/net/dev")
REDIRECT = re.compile(r"mirred \(Egress Redirect to device (\S+)\)")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface: index, MTU in bytes, whether it is up, IPv4 addresses as prefixes; ``vxlan``
    if it is that, ``tun`` if a process drives it, ``pair`` if it is an end of one; its ``alias``."""

    index: int
    mtu: int
    up: bool
    addresses: frozenset[str]
    vxlan: Vxlan | None = None
    tun: bool = False
    pair: bool = False
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """All of it.

    Attributes:
        links: Interfaces by name.
        neighbours: Interface to the neighbours that were set on it: addresses and MACs.
        redirects: Exit of a pair to the interface that what comes out of it is handed to.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    neighbours: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()


async def network(names: Names) -> Network:
    """Look at all of it.

    Raises:
        CommandFailed: If it cannot be read.
    """
    # First, since it waits for whoever changes links: their routes may be gone a moment after that was told.
    found = await links(names)
    vxlans = any(link.vxlan for link in found.values())
    return Network(
        await forwarding(found) if vxlans else found,
        await neighbours(names) if vxlans else {},
        {name: await redirect(name) for name, link in found.items() if link.pair and not names.is_gather(name)},
        await routes(),
        await rules(),
    )


async def _query(*arguments: str, program: tuple[str, ...] = ("ip", "-N")) -> list[dict[str, Any]]:
    """Numbers instead of names: names of protocols and tables differ from host to host."""
    text = await run_command([*program, "-json", *arguments])
    return [item for item in json.loads(text or "[]") if item]


async def links(names: Names) -> dict[str, Link]:
    """The agent's own interfaces by name; not yet where VXLAN's far ends listen."""
    return parse_links(await _query("-details", "address", "show"), names)


def parse_links(items: Iterable[Mapping[str, Any]], names: Names) -> dict[str, Link]:
    found = {}
    for item in items:
        if names.owns(item["ifname"]):
            addresses = [
                f"{a['local']}/{a['prefixlen']}" for a in item.get("addr_info", ()) if a.get("family") == "inet"
            ]
            kind = item.get("linkinfo", {})
            found[item["ifname"]] = Link(
                item["ifindex"],
                item["mtu"],
                "UP" in item["flags"],
                frozenset(addresses),
                _vxlan(kind["info_data"], item["address"]) if kind.get("info_kind") == "vxlan" else None,
                kind.get("info_kind") == "tun",
                kind.get("info_kind") == "veth",
                item.get("ifalias", ""),
            )
    return found


def _vxlan(data: Mapping[str, Any], mac: str) -> Vxlan:
    return Vxlan(data["id"], data.get("local", ""), data.get("remote", ""), mac, data["port"])


async def forwarding(links: Mapping[str, Link]) -> dict[str, Link]:
    """The same with the ports at which VXLAN's far ends listen, as it was told; 0 where it was not."""
    return parse_forwarding(await _query("fdb", "show", program=("bridge",)), links)


def parse_forwarding(items: Iterable[Mapping[str, Any]], links: Mapping[str, Link]) -> dict[str, Link]:
    found = dict(links)
    for item in items:
        link = found.get(item.get("ifname", ""))
        if not link or not link.vxlan or item.get("state") != "permanent":
            continue
        if (item["mac"], item.get("dst")) == (far_mac(link.vxlan.mac), link.vxlan.remote):
            # What is the same as its own port is not said.
            far_port = item.get("port", link.vxlan.port)
            found[item["ifname"]] = replace(link, vxlan=replace(link.vxlan, far_port=far_port))
    return found


async def redirect(name: str) -> str:
    """The interface that what an interface receives is handed to; empty if to none, or if it is gone."""
    try:
        return parse_redirect(await run_command(["tc", "filter", "show", "dev", name, "ingress"]))
    except CommandFailed:
        with contextlib.suppress(OSError):
            socket.if_nametoindex(name)
            raise  # it is there: a look that failed says nothing of what is
        return ""


def parse_redirect(text: str) -> str:
    """Not of its JSON, which before iproute2 6 is none for these filters."""
    found = REDIRECT.search(text)
    return found[1] if found else ""


def traffic(where: Path = TRAFFIC) -> dict[str, tuple[int, int]]:
    """Bytes that each interface of this network namespace has received and sent.

    Raises:
        HostError: If they cannot be read.
    """
    try:
        text = where.read_text(errors="replace")  # others may name their interfaces in any bytes
    except OSError as error:
        raise HostError(f"bytes of interfaces cannot be read: {error}") from error
    rows = (line.partition(":") for line in text.splitlines())
    return {name.strip(): (int(row[0]), int(row[8])) for name, _, rest in rows if len(row := rest.split()) > 8}


async def neighbours(names: Names) -> dict[str, frozenset[tuple[str, str]]]:
    """Interface to the neighbours that were set on it: addresses and MACs."""
    found: dict[str, set[tuple[str, str]]] = {}
    for item in await _query("-4", "neigh", "show", "nud", "permanent"):
        if names.owns(item["dev"]) and "lladdr" in item:
            found.setdefault(item["dev"], set()).add((item["dst"], item["lladdr"]))
    return {device: frozenset(pairs) for device, pairs in found.items()}


async def routes() -> frozenset[Route]:
    """Every route that foremesh made, in all tables."""
    return parse_routes(await _query("-4", "route", "show", "table", "all", "proto", str(ROUTE_PROTOCOL)))


def parse_routes(items: Iterable[Mapping[str, Any]]) -> frozenset[Route]:
    return frozenset(
        Route(
            destination=_network(item["dst"]),
            device="" if str(item.get("type", "1")) in STOPPING_TYPES else item.get("dev", ""),
            source=item.get("prefsrc", ""),
            table=int(item.get("table", MAIN_TABLE)),
            metric=item.get("metric", 0),
            gateway=item.get("gateway", ""),
        )
        for item in items
    )


async def foreign_routes(names: Names) -> list[tuple[str, str]]:
    """Prefix and description of every route that others made and that leads somewhere."""
    return parse_foreign(await _query("-4", "route", "show", "table", "all"), names)


def parse_foreign(items: Iterable[Mapping[str, Any]], names: Names) -> list[tuple[str, str]]:
    found = []
    for item in items:
        ours = str(item.get("protocol")) == str(ROUTE_PROTOCOL) or names.owns(item.get("dev", ""))
        stops = str(item.get("type", "1")) in STOPPING_TYPES
        broadcast = str(item.get("type", "1")) not in UNICAST and str(item.get("table")) == LOCAL_TABLE
        if not ours and not stops and not (broadcast and item.get("dev") == "lo"):
            where = f"dev {item['dev']}" if "dev" in item else f"via {item.get('gateway', 'several ways')}"
            table = item.get("table", MAIN_TABLE)
            found.append((_network(item["dst"]), f"{item['dst']} {where} (table {table})"))
    return found


async def rules() -> frozenset[Rule]:
    """Every routing rule that foremesh made."""
    return parse_rules(await _query("-4", "rule", "show"))


def parse_rules(items: Iterable[Mapping[str, Any]]) -> frozenset[Rule]:
    return frozenset(
        Rule(table=int(item["table"]), mark=int(item.get("fwmark", "0"), 0), device=item.get("oif", ""))
        for item in items
        if str(item.get("protocol")) == str(ROUTE_PROTOCOL)
    )


def _network(destination: str) -> str:
    return "0.0.0.0/0" if destination == "default" else str(IPv4Network(destination))


def route_line(verb: str, route: Route) -> str:
    """A batch line; ``verb`` is replace or delete."""
    kind = "" if route.device else "unreachable "
    line = f"route {verb} {kind}{route.destination} table {route.table} proto {ROUTE_PROTOCOL}"
    if route.gateway:
        line += f" via {route.gateway} dev {route.device} onlink"
    elif route.device:
        line += f" dev {route.device} scope link"
    if route.source:
        line += f" src {route.source}"
    return f"{line} metric {route.metric}" if route.metric else line


def rule_line(verb: str, rule: Rule) -> str:
    """A batch line; ``verb`` is add or delete."""
    match = f"oif {rule.device}" if rule.device else f"fwmark {rule.mark:#x}/{MARK_MASK:#x}"
    return f"rule {verb} pref {RULE_PRIORITY} {match} table {rule.table} protocol {ROUTE_PROTOCOL}"


async def batch(lines: Iterable[str]) -> None:
    """Run lines in order.

    Raises:
        CommandFailed: At the first line that fails; those before it are done, those after it are not.
    """
    text = "".join(f"{line}\n" for line in lines)
    if text:
        await run_command(["ip", "-4", "-batch", "-"], input=text)
