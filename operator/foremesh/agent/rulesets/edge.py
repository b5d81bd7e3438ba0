"""Workloads' traffic: steered into circuits, and each circuit's firewall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

import msgspec

from foremesh.agent import tunnels
from foremesh.agent.rulesets.matches import (
    ECHO,
    NOBODY,
    allowed,
    any_of,
    midway,
    prefixes,
    set_of,
    steered,
    steered_from_behind,
)
from foremesh.agent.rulesets.names import EDGE, STRAY, drop_counter, pass_counter, police_counter, tag_of
from foremesh.agent.rulesets.passage import passage
from foremesh.agent.state import MARK_MASK, PROBE_PORT, UPLINK_PORT, Chain, Names, Table, mark_of
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import CircuitEnd, GatewayConfig, Steer


def edge(names: Names, config: GatewayConfig, targets: Mapping[str, str] = NOBODY) -> Table:
    """Steers workloads' traffic by mark, and holds each circuit to its firewall.

    Args:
        targets: Resource behind this gateway to the address that its target has now.
    """
    classes = {end.circuit: end.class_number for end in config.circuits}
    ours = f'"{names.all}"'
    behind = {machine.address: targets[machine.resource] for machine in config.behind if machine.resource in targets}
    attached, outside = [], []
    for entry, several in _by_traffic(config.steering):
        if several and entry.answers:
            # By the circuit, and so the gateway, that the last packet of the connection came by.
            marks = set_of(f"{mark_of(classes[one.circuit]):#010x}" for one in (entry, *several))
            follow = f"ct mark & {MARK_MASK:#010x} {marks} meta mark set ct mark & {MARK_MASK:#010x} accept"
            attached.append(f"{steered(entry)} {follow}")
        mark = f"{_marked('meta', classes[entry.circuit])} {_marked('ct', classes[entry.circuit])} accept"
        attached.append(f"{steered(entry)} {mark}".strip())
        outside += [f"iifname != {ours} {match} {mark}" for match in steered_from_behind(entry, behind)]
    # An error about a packet has none of its ports: it goes back into the circuit that its conversation is in.
    arrived = [Chain(f"arrived_{number}", (_marked("ct", number),)) for number in sorted(set(classes.values()))]
    ways = set_of(f'"{device}" : goto arrived_{number}' for device, number in tunnels.classes(config, names).items())
    error = f"ct state related ct mark & {MARK_MASK:#010x} != 0 ip daddr {config.blocks.mesh}"
    steer = [
        *([f"iifname vmap {ways}"] if arrived else []),
        f"{error} meta mark set ct mark & {MARK_MASK:#010x} accept",
        *outside,
        f'iifname != "{names.attach}" return',
        *attached,
    ]

    forward = [
        f"iifname != {ours} oifname != {ours} accept",
        f'iifname "{names.hops}" oifname "{names.hops}" accept',
        "ct direction reply ct state { established, related } accept",
        "ct state related accept",
    ]
    among_own = [f'iifname "{names.attach}" oifname "{names.attach}"']
    if behind:
        among_own += [f'iifname "{names.attach}" oifname != {ours}', f'iifname != {ours} oifname "{names.attach}"']
    forward += [
        f"{way} {match} accept" for rule in config.local for match in allowed(rule, behind) for way in among_own
    ]
    forward += [
        f"{among_own[0]} {match} accept"
        for initiator in (True, False)
        for match in _midway(config, config.local, initiator=initiator)
    ]
    firewalls: list[Chain] = []
    for end in config.circuits:
        device, tag = any_of(tunnels.devices(end, names)), tag_of(end.circuit)
        remote = prefixes(end.remote_prefixes)
        drop = f"counter name {drop_counter(end.circuit)} drop"
        rules = tuple(f"{match} accept".strip() for rule in end.firewall for match in allowed(rule, behind))
        # New traffic comes from the circuit's ``from`` end alone; the other direction carries answers.
        answers = tuple(f"{match} accept" for match in _midway(config, end.firewall, initiator=end.initiator))
        leaving, arriving = (rules, answers) if end.initiator else (answers, rules)
        firewalls += [Chain(f"out_{tag}", (*leaving, drop)), Chain(f"in_{tag}", (*arriving, drop))]
        note = f'comment "circuit {end.circuit[:100]}"'
        forward.append(f"oifname {device} ip daddr {remote} goto out_{tag} {note}")
        forward.append(f"iifname {device} ip saddr {remote} goto in_{tag} {note}")
    forward.append(f"counter name {STRAY} drop")

    receive = [f"iifname != {ours} accept", f'iifname "{names.hops}" accept']
    if config.mesh_address:
        receive += [
            f"ip daddr {config.mesh_address} udp dport {PROBE_PORT} accept",
            f"ip daddr {config.mesh_address} {ECHO} accept",
        ]
    if any(workload.others for workload in config.attached):
        receive.append(f'iifname "{names.attach}" ip daddr {config.mesh_address} udp dport {UPLINK_PORT} accept')
    receive.append(f"counter name {STRAY} drop")

    return Table(
        EDGE,
        (
            *arrived,
            *firewalls,
            # After translation of destinations (-90): machines behind this gateway may call others by own addresses.
            Chain("steering", tuple(steer), "type filter hook prerouting priority -80; policy accept;"),
            Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
            Chain("receive", tuple(receive), "type filter hook input priority filter; policy accept;"),
            *passage(names, config),
        ),
        (STRAY, *(counter for end in config.circuits for counter in _counters(end))),
    )


def _by_traffic(steering: Iterable[Steer]) -> Iterable[tuple[Steer, tuple[Steer, ...]]]:
    """Rules that decide, in their order, each with the others about the same traffic."""
    same: dict[Steer, list[Steer]] = {}
    for entry in steering:
        same.setdefault(msgspec.structs.replace(entry, circuit="", backup=False), []).append(entry)
    for entries in same.values():
        first, *others = sorted(entries, key=lambda entry: entry.backup)
        yield first, tuple(others)


def _midway(config: GatewayConfig, rules: Iterable[FirewallRule], *, initiator: bool) -> list[str]:
    """Matches of answers in connections that another gateway of the site knows, and this one has not seen begin: the
    middle of TCP, which needs no more than that, since nothing can be opened by it."""
    moving = [IPv4Address(workload.address) for workload in config.attached if workload.others]
    found = []
    for rule in rules:
        own = rule.sources if initiator else rule.destinations
        if any(address in IPv4Network(prefix) for address in moving for prefix in own or ("0.0.0.0/0",)):
            found += midway(rule)
    return found


def _marked(what: str, class_number: int) -> str:
    """Gives a packet (``meta``) or its conversation (``ct``) a class, and leaves others' bits alone."""
    return f"{what} mark set {what} mark & {~MARK_MASK & 0xFFFFFFFF:#010x} | {mark_of(class_number):#010x}"


def _counters(end: CircuitEnd) -> tuple[str, ...]:
    policed = (police_counter(end.circuit),) if end.police_bps is not None else ()
    return (drop_counter(end.circuit), pass_counter(end.circuit), *policed)
