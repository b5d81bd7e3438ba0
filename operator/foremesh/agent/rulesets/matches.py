"""Matches that several tables write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from foremesh.model.circuit import FirewallRule
from foremesh.model.config import OwnAddress, Steer
from foremesh.model.resource import Protocol

ECHO = "icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded }"


def set_of(items: Iterable[object]) -> str:
    """Items as an anonymous set or map."""
    return "{ " + ", ".join(str(item) for item in items) + " }"


def any_of(interfaces: Sequence[str]) -> str:
    """The match of one interface, or of several."""
    return f'"{interfaces[0]}"' if len(interfaces) == 1 else set_of(f'"{name}"' for name in interfaces)


def prefixes(wanted: Iterable[str]) -> str:
    """A set of prefixes; overlapping ones are merged, since a set of intervals refuses them."""
    return set_of(collapse_addresses(IPv4Network(prefix) for prefix in wanted))


def _ends(sources: tuple[str, ...], destinations: tuple[str, ...], behind: Mapping[str, str]) -> list[str]:
    """Matches of both ends. A machine behind this gateway is known by its target until its packets leave, and by the
    address that they were for once they have arrived."""
    froms = [f"ip saddr {prefixes(sources)} "] if sources else [""]
    froms += [f"ip saddr {target} " for address, target in behind.items() if _covers(sources, address)]
    tos = [f"ip daddr {prefixes(destinations)}"] if destinations else [""]
    tos += [f"ct original ip daddr {address}" for address in behind if _covers(destinations, address)]
    return [f"{one}{other}".strip() for one in froms for other in tos]


def _covers(wanted: Iterable[str], address: str) -> bool:
    return any(IPv4Address(address) in IPv4Network(prefix) for prefix in wanted)


def _service(protocol: Protocol | None, ports: tuple[int, ...], side: str) -> str:
    """The match of a protocol and its ports, of TCP and UDP if it is not given; ``side`` is dport or sport."""
    if protocol is Protocol.ICMP:
        return "ip protocol icmp"
    if not ports:
        return f"ip protocol {protocol.value.lower()}" if protocol else ""
    if protocol:
        return f"{protocol.value.lower()} {side} {set_of(sorted(set(ports)))}"
    return f"meta l4proto {{ tcp, udp }} th {side} {set_of(sorted(set(ports)))}"


NOBODY: Mapping[str, str] = {}


def allowed(rule: FirewallRule, behind: Mapping[str, str] = NOBODY) -> list[str]:
    """Matches of a rule's traffic; ``behind`` has mesh address to target of machines behind this gateway."""
    service = _service(rule.protocol, rule.ports, "dport")
    return [f"{ends} {service}".strip() for ends in _ends(rule.sources, rule.destinations, behind)]


def midway(rule: FirewallRule) -> list[str]:
    """Matches of answers to a rule's traffic from the middle of TCP connections: they acknowledge, and open nothing."""
    if rule.protocol not in (None, Protocol.TCP):
        return []
    asked = _ends(rule.destinations, rule.sources, NOBODY)[0]
    ports = f"tcp sport {set_of(sorted(set(rule.ports)))} " if rule.ports else ""
    return [f"{asked} {ports}tcp flags & (syn | ack) == ack".strip()]


def steered(entry: Steer) -> str:
    """The match of attached workloads' traffic."""
    service = _service(entry.protocol, entry.ports, "sport" if entry.answers else "dport")
    return f"{_ends(entry.sources, entry.destinations, NOBODY)[0]} {service}".strip()


def steered_from_behind(entry: Steer, behind: Mapping[str, str]) -> list[str]:
    """Matches of traffic of machines behind this gateway, their destinations translated already."""
    service = _service(entry.protocol, entry.ports, "sport" if entry.answers else "dport")
    to = f"ip daddr {prefixes(entry.destinations)} " if entry.destinations else ""
    found = []
    for address, target in behind.items():
        if _covers(entry.sources, address):
            # An answer belongs to whom was asked: several machines may have one target.
            asked = f"ct direction reply ct original ip daddr {address} " if entry.answers else ""
            found.append(f"{asked}ip saddr {target} {to}{service}".strip())
    return found


def called(entry: OwnAddress) -> str:
    """The match of what goes to a destination by its own address."""
    # Of ICMP what asks: answers and errors belong to flows of others.
    asked = entry.protocol is Protocol.ICMP
    return (
        f"ip daddr {entry.own} {'icmp type echo-request' if asked else _service(entry.protocol, entry.ports, 'dport')}"
    )
