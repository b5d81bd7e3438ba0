"""Answers of a workload with several uplinks: they go by the one that the last packet of their connection came by."""

from __future__ import annotations

from foremesh.agent.rulesets.matches import set_of
from foremesh.agent.rulesets.names import UPLINKS
from foremesh.agent.state import MARK_MASK, Chain, Names, Table, mark_of
from foremesh.model.config import GatewayConfig


def uplinks(names: Names, config: GatewayConfig) -> Table:
    """Whoever asks chooses the gateway, on both sides: one that he reaches this host by is alive."""
    numbers = range(len(config.uplinks))
    came = [Chain(f"came_{n}", (came_by(n),)) for n in numbers]
    ways = set_of(f'"{names.uplink(n)}" : goto came_{n}' for n in numbers)
    marks = set_of(f"{mark_of(n):#010x}" for n in numbers)
    answer = (
        f"ip daddr {config.blocks.mesh} ct direction reply ct mark & {MARK_MASK:#010x} {marks}"
        f" meta mark set ct mark & {MARK_MASK:#010x}"
    )
    return Table(
        UPLINKS,
        (
            *came,
            Chain("arrive", (f"iifname vmap {ways}",), "type filter hook prerouting priority -80; policy accept;"),
            Chain("answer", (answer,), "type route hook output priority mangle; policy accept;"),
        ),
    )


def came_by(number: int) -> str:
    """Writes down which way a connection's last packet came by; others' bits of the mark are left alone."""
    return f"ct mark set ct mark & {~MARK_MASK & 0xFFFFFFFF:#010x} | {mark_of(number):#010x}"
