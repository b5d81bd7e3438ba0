"""Matches that several tables write."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, collapse_addresses

from foremesh.model.circuit import FirewallRule
from foremesh.model.config import Steer
from foremesh.model.resource import Protocol

ECHO = "icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded }"


def set_of(items: Iterable[object]) -> str:
    """Items as an anonymous set or map."""
    return "{ " + ", ".join(str(item) for item in items) + " }"


def prefixes(wanted: Iterable[str]) -> str:
    """A set of prefixes; overlapping ones are merged, since a set of intervals refuses them."""
    return set_of(collapse_addresses(IPv4Network(prefix) for prefix in wanted))


def _ends(sources: tuple[str, ...], destinations: tuple[str, ...]) -> str:
    matches = []
    if sources:
        matches.append(f"ip saddr {prefixes(sources)}")
    if destinations:
        matches.append(f"ip daddr {prefixes(destinations)}")
    return " ".join(matches)


def _service(protocol: Protocol | None, ports: tuple[int, ...], side: str) -> str:
    """The match of a protocol and its ports, of TCP and UDP if it is not given; ``side`` is dport or sport."""
    if protocol is Protocol.ICMP:
        return "ip protocol icmp"
    if not ports:
        return f"ip protocol {protocol.value.lower()}" if protocol else ""
    if protocol:
        return f"{protocol.value.lower()} {side} {set_of(sorted(set(ports)))}"
    return f"meta l4proto {{ tcp, udp }} th {side} {set_of(sorted(set(ports)))}"


def allowed(rule: FirewallRule) -> str:
    return f"{_ends(rule.sources, rule.destinations)} {_service(rule.protocol, rule.ports, 'dport')}".strip()


def steered(entry: Steer) -> str:
    service = _service(entry.protocol, entry.ports, "sport" if entry.answers else "dport")
    return f"{_ends(entry.sources, entry.destinations)} {service}".strip()
