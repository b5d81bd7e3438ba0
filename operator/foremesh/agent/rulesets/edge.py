"""Workloads' traffic: steered into circuits, and each circuit's firewall."""

from __future__ import annotations

from foremesh.agent.rulesets.matches import ECHO, allowed, prefixes, steered
from foremesh.agent.rulesets.names import EDGE, STRAY, drop_counter, tag_of
from foremesh.agent.state import MARK_MASK, PROBE_PORT, Chain, Names, Table, mark_of
from foremesh.model.config import GatewayConfig


def edge(names: Names, config: GatewayConfig) -> Table:
    """Steers attached workloads' traffic by mark, and holds each circuit to its firewall."""
    classes = {end.circuit: end.class_number for end in config.circuits}
    steer = [f'iifname != "{names.attach}" return']
    others = ~MARK_MASK & 0xFFFFFFFF
    for entry in config.steering:
        mark = mark_of(classes[entry.circuit])
        steer.append(f"{steered(entry)} meta mark set meta mark & {others:#010x} | {mark:#010x} accept".strip())

    ours = f'"{names.all}"'
    forward = [
        f"iifname != {ours} oifname != {ours} accept",
        f'iifname "{names.hops}" oifname "{names.hops}" accept',
        "ct direction reply ct state { established, related } accept",
        "ct state related accept",
    ]
    among_own = f'iifname "{names.attach}" oifname "{names.attach}"'
    forward += [f"{among_own} {allowed(rule)} accept" for rule in config.local]
    firewalls: list[Chain] = []
    for end in config.circuits:
        device, tag = names.circuit(end.class_number), tag_of(end.circuit)
        remote = prefixes(end.remote_prefixes)
        drop = f"counter name {drop_counter(end.circuit)} drop"
        rules = tuple(f"{allowed(rule)} accept".strip() for rule in end.firewall)
        # New traffic comes from the circuit's ``from`` end alone; the other direction carries answers.
        leaving, arriving = (rules, ()) if end.initiator else ((), rules)
        firewalls += [Chain(f"out_{tag}", (*leaving, drop)), Chain(f"in_{tag}", (*arriving, drop))]
        note = f'comment "circuit {end.circuit[:100]}"'
        forward.append(f'oifname "{device}" ip daddr {remote} goto out_{tag} {note}')
        forward.append(f'iifname "{device}" ip saddr {remote} goto in_{tag} {note}')
    forward.append(f"counter name {STRAY} drop")

    receive = [f"iifname != {ours} accept", f'iifname "{names.hops}" accept']
    if config.mesh_address:
        receive += [
            f"ip daddr {config.mesh_address} udp dport {PROBE_PORT} accept",
            f"ip daddr {config.mesh_address} {ECHO} accept",
        ]
    receive.append(f"counter name {STRAY} drop")

    # VXLAN looks up its own way with the mark of what it carries, which would lead back into the circuit.
    enter = f'oifname "{names.circuits}" meta mark set meta mark & {others:#010x}'

    return Table(
        EDGE,
        (
            *firewalls,
            Chain("steer", tuple(steer), "type filter hook prerouting priority mangle; policy accept;"),
            Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
            Chain("receive", tuple(receive), "type filter hook input priority filter; policy accept;"),
            Chain("enter", (enter,), "type filter hook postrouting priority mangle; policy accept;"),
        ),
        (STRAY, *(drop_counter(end.circuit) for end in config.circuits)),
    )
