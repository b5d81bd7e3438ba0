"""Answers of WireGuard leave from the address that was asked, on hosts that have several.

A neighbour sends to one of them and believes no other, and neither does what translates addresses on the way. Kernels
let a program say which one to answer from; userspace WireGuard that takes many packets at once does not keep it
(wireguard-go since December 2023), and the routes would choose.
"""

from __future__ import annotations

from collections.abc import Collection

from foremesh.agent.rulesets.matches import set_of
from foremesh.agent.rulesets.names import ANSWER
from foremesh.agent.state import Chain, Table

ASKED = "asked"
"""Map: a neighbour's address and port and the own port that it sent to, to the own address that it sent to."""

ASKED_TYPE = "type ipv4_addr . inet_service . inet_service : ipv4_addr; flags dynamic,timeout; timeout 3m; size 65535;"
"""Forgotten after three minutes of silence, when WireGuard's session is over, too."""


def answer(ports: Collection[int]) -> Table:
    """Remembers which address was asked, by UDP ports of tunnels that neighbours dial."""
    own = set_of(sorted(ports))
    ask = f"udp dport {own} update @{ASKED} {{ ip saddr . udp sport . udp dport : ip daddr }}"
    # Before connections are tracked: to them an answer from another address would be a new one.
    return Table(
        ANSWER,
        (
            Chain("ask", (ask,), "type filter hook input priority filter; policy accept;"),
            Chain(
                "answer",
                (f"udp sport {own} ip saddr set ip daddr . udp dport . udp sport map @{ASKED}",),
                "type route hook output priority raw - 10; policy accept;",
            ),
        ),
        maps={ASKED: ASKED_TYPE},
    )
