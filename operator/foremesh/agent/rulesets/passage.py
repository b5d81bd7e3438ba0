"""What becomes of traffic in a circuit beside its firewall: held to the reservation, counted, marked for queues."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.agent.rulesets.matches import any_of, prefixes, set_of
from foremesh.agent.rulesets.names import pass_counter, police_counter, tag_of
from foremesh.agent.state import MARK_MASK, Chain, Names
from foremesh.agent.tunnels import classes, devices
from foremesh.model.config import CircuitEnd, GatewayConfig

BURST_BYTES = 128 * 1024
"""What may come at once besides a second's worth of the rate, which nftables adds by itself: two of the largest packets
that the kernel makes of many, or a small reservation would never let one pass."""


def passage(names: Names, config: GatewayConfig) -> tuple[Chain, ...]:
    """Chains of what passed the firewall, and of all that enters a circuit, the gateway's own probes included."""
    by_class: dict[int, list[CircuitEnd]] = {}
    for end in config.circuits:
        by_class.setdefault(end.class_number, []).append(end)
    chains = [Chain(f"sent_{tag_of(end.circuit)}", tuple(_sent(end))) for end in config.circuits]
    for number, ends in by_class.items():
        to = (f"ip daddr {prefixes(end.remote_prefixes)} goto sent_{tag_of(end.circuit)}" for end in ends)
        from_ = (f"ip saddr {prefixes(end.remote_prefixes)} counter name {pass_counter(end.circuit)}" for end in ends)
        chains += [Chain(f"to_{number}", tuple(to)), Chain(f"from_{number}", tuple(from_))]
    passed = []
    if by_class:
        passed = [f"{way}ifname vmap {_jumps(names, config, to)}" for way, to in (("o", "to"), ("i", "from"))]
    # VXLAN looks up its own way with the mark of what it carries, which would lead back into the circuit.
    enter = [f'oifname "{names.circuits}" meta mark set meta mark & {~MARK_MASK & 0xFFFFFFFF:#010x}']
    enter += [
        f"oifname {any_of(devices(end, names))} ip daddr {prefixes(end.remote_prefixes)} ip dscp set {end.dscp}"
        for end in config.circuits
        if end.dscp is not None
    ]
    return (
        *chains,
        Chain("passed", tuple(passed), "type filter hook forward priority filter + 1; policy accept;"),
        Chain("enter", tuple(enter), "type filter hook postrouting priority mangle; policy accept;"),
    )


def _sent(end: CircuitEnd) -> Iterable[str]:
    """Rules of what leaves by a circuit, in whichever direction its conversations were opened."""
    if end.police_bps is not None:
        rate = max(1, round(end.police_bps / 8))
        over = f"limit rate over {rate} bytes/second burst {BURST_BYTES} bytes"
        yield f"{over} counter name {police_counter(end.circuit)} drop"
    yield f"counter name {pass_counter(end.circuit)}"


def _jumps(names: Names, config: GatewayConfig, to: str) -> str:
    return set_of(f'"{device}" : jump {to}_{number}' for device, number in classes(config, names).items())
