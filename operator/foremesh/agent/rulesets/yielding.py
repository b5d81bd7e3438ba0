"""Of two ends that begin a WireGuard session at the same moment, again and again, one gives way; see ``openings``.

WireGuard itself cannot be told to wait, but a handshake is known by its first bytes: one of a far end that this one
gives way to is noted, and while it is, none is begun towards it. That is the next attempt after two that crossed; the
far end makes another one then, and nobody interrupts it. Sessions that stand are not touched.
"""

from __future__ import annotations

from collections.abc import Collection

from foremesh.agent.rulesets.matches import set_of
from foremesh.agent.rulesets.names import YIELD
from foremesh.agent.state import Chain, Table

CALLED = "called"
"""Set: address and port of a far end that has begun a handshake, and the own port that it called."""

CALLED_TYPE = "type ipv4_addr . inet_service . inet_service; flags dynamic,timeout; timeout 8s; size 65535;"
"""Forgotten after the next attempt, 5 to 5.4 seconds later, and before the one after that: it is this end's again."""

BEGINNING = "udp length 156 @th,64,32 0x01000000"
"""Match of the packet that begins a handshake: 148 bytes, the first four of which are its type."""


def yielding(places: Collection[tuple[str, int]]) -> Table | None:
    """Gives way to far ends, by address and port; None if there are none."""
    if not places:
        return None
    they = set_of(f"{address} . {port}" for address, port in places)
    note = f"{BEGINNING} ip saddr . udp sport {they} update @{CALLED} {{ ip saddr . udp sport . udp dport }}"
    # Before labels take the place of circuits' addresses, and after they have given it back.
    return Table(
        YIELD,
        (
            Chain("hear", (note,), "type filter hook input priority filter; policy accept;"),
            Chain(
                "begin",
                (f"{BEGINNING} ip daddr . udp dport . udp sport @{CALLED} counter drop",),
                "type filter hook output priority raw - 10; policy accept;",
            ),
        ),
        sets={CALLED: CALLED_TYPE},
    )
