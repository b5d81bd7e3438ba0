"""A config's nftables tables: what may pass the tunnels, what is rewritten and steered, what never leaves in clear.

Pure. Three tables, so that a change of one does not touch the others:

- ``foremesh_guard``: nothing from or to the mesh's blocks leaves by an interface that is not foremesh's;
- ``foremesh_hop``: labels: relayed at a transit, exchanged for circuit addresses at the ends; nothing else passes;
- ``foremesh_edge``: workloads' traffic: steered into circuits, and each circuit's firewall.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network, collapse_addresses

from foremesh.agent.state import MARK_MASK, PROBE_PORT, Chain, Names, Table, mark_of, port_of
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import GatewayConfig, Steer
from foremesh.model.resource import Protocol

GUARD, HOP, EDGE = "foremesh_guard", "foremesh_hop", "foremesh_edge"
OWNED = (GUARD, HOP, EDGE)

STOPPED = "stopped"
"""Counter of the guard: packets that would have left in clear."""
STRAY = "stray"
"""Counter of what arrived on a tunnel and is not in the config."""

ECHO = "icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded }"


def label_counter(label: int) -> str:
    """Name of the counter of a label relayed here."""
    return f"label_{label}"


def drop_counter(circuit: str) -> str:
    """Name of the counter of what a circuit's firewall dropped here."""
    return f"dropped_{_tag(circuit)}"


def _tag(circuit: str) -> str:
    """A circuit id as part of an nftables name: ids hold characters that names cannot."""
    return hashlib.sha256(circuit.encode()).hexdigest()[:12]


def _set(items: Iterable[object]) -> str:
    return "{ " + ", ".join(str(item) for item in items) + " }"


def _prefixes(prefixes: Iterable[str]) -> str:
    """A set of prefixes; overlapping ones are merged, since a set of intervals refuses them."""
    return _set(collapse_addresses(IPv4Network(prefix) for prefix in prefixes))


def guard(names: Names, guarded: Iterable[str]) -> Table:
    """Stops what is for or from ``guarded`` prefixes on every interface that is not foremesh's.

    After source translation, so that a gateway may still translate for machines outside the mesh.
    """
    prefixes = _prefixes(guarded)
    rules = (
        'oifname "lo" accept',
        f'oifname "{names.all}" accept',
        f"ip daddr {prefixes} counter name {STOPPED} drop",
        f"ip saddr {prefixes} counter name {STOPPED} drop",
    )
    chain = Chain("leave", rules, "type filter hook postrouting priority 300; policy accept;")
    return Table(GUARD, (chain,), (STOPPED,))


def hop(names: Names, config: GatewayConfig) -> Table:
    """Relays labels between neighbours, and exchanges labels for circuit addresses at the ends."""
    on_hop = f'iifname "{names.hop}"'
    ports = _set(sorted({port_of(end.class_number) for end in config.circuits}))

    arrive = [f"{on_hop} notrack"]
    accepted = [(own, far, end) for end in config.circuits for own, far in end.accept_labels]
    if accepted:
        arrive.append(
            f"{on_hop} udp dport {ports} ip saddr . ip daddr {_set(f'{far} . {own}' for own, far, _ in accepted)}"
            f" ip saddr set ip saddr map {_set(f'{far} : {end.remote_address}' for _, far, end in accepted)}"
            f" ip daddr set ip daddr map {_set(f'{own} : {end.local_address}' for own, _, end in accepted)}"
        )
    send = []
    sending = [(end.send_label, end) for end in config.circuits if end.send_label]
    if sending:
        send.append(
            f"ip saddr . ip daddr {_set(f'{end.local_address} . {end.remote_address}' for _, end in sending)}"
            f" ip saddr set ip saddr map {_set(f'{end.local_address} : {label[0]}' for label, end in sending)}"
            f" ip daddr set ip daddr map {_set(f'{end.remote_address} : {label[1]}' for label, end in sending)}"
        )
    # A circuit without a label to send on stays silent; redirects make no sense between labels.
    send += [
        f"ip daddr {config.blocks.circuits} counter name {STRAY} drop",
        f'oifname "{names.hop}" icmp type redirect drop',
    ]

    forward = [f'iifname != "{names.hop}" oifname != "{names.hop}" accept']
    if config.transits:
        ways = [(transit.addresses, label_counter(transit.label)) for transit in config.transits]
        elements = [f'{x} . {y} : "{name}"' for (a, b), name in ways for x, y in ((a, b), (b, a))]
        forward.append(f'{on_hop} oifname "{names.hop}" counter name ip saddr . ip daddr map {_set(elements)} accept')
    forward.append(f"counter name {STRAY} drop")

    receive = [
        f'iifname != "{names.hop}" accept',
        f"ip saddr {config.blocks.hops} ip daddr {config.hop_address} udp dport {PROBE_PORT} accept",
        f"{ECHO} accept",
    ]
    if config.circuits:
        pairs = _set(f"{end.remote_address} . {end.local_address}" for end in config.circuits)
        receive.append(f"ip saddr . ip daddr {pairs} udp dport {ports} accept")
    receive.append(f"counter name {STRAY} drop")

    return Table(
        HOP,
        (
            Chain("arrive", tuple(arrive), "type filter hook prerouting priority raw; policy accept;"),
            Chain("untracked", (f'oifname "{names.hop}" notrack',), "type filter hook output priority raw;"),
            Chain("send", tuple(send), "type route hook output priority mangle; policy accept;"),
            Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
            Chain("receive", tuple(receive), "type filter hook input priority filter; policy accept;"),
        ),
        (STRAY, *(label_counter(transit.label) for transit in config.transits)),
    )


def edge(names: Names, config: GatewayConfig) -> Table:
    """Steers attached workloads' traffic by mark, and holds each circuit to its firewall."""
    classes = {end.circuit: end.class_number for end in config.circuits}
    steer = [f'iifname != "{names.attach}" return']
    others = ~MARK_MASK & 0xFFFFFFFF
    for entry in config.steering:
        mark = mark_of(classes[entry.circuit])
        steer.append(f"{_steered(entry)} meta mark set meta mark & {others:#010x} | {mark:#010x} accept".strip())

    ours = f'"{names.all}"'
    forward = [
        f"iifname != {ours} oifname != {ours} accept",
        f'iifname "{names.hop}" oifname "{names.hop}" accept',
        "ct direction reply ct state { established, related } accept",
        "ct state related accept",
    ]
    among_own = f'iifname "{names.attach}" oifname "{names.attach}"'
    forward += [f"{among_own} {_allowed(rule)} accept" for rule in config.local]
    firewalls: list[Chain] = []
    for end in config.circuits:
        device, tag = names.circuit(end.class_number), _tag(end.circuit)
        remote = _prefixes(end.remote_prefixes)
        drop = f"counter name {drop_counter(end.circuit)} drop"
        rules = tuple(f"{_allowed(rule)} accept".strip() for rule in end.firewall)
        # New traffic comes from the circuit's ``from`` end alone; the other direction carries answers.
        leaving, arriving = (rules, ()) if end.initiator else ((), rules)
        firewalls += [Chain(f"out_{tag}", (*leaving, drop)), Chain(f"in_{tag}", (*arriving, drop))]
        note = f'comment "circuit {end.circuit[:100]}"'
        forward.append(f'oifname "{device}" ip daddr {remote} goto out_{tag} {note}')
        forward.append(f'iifname "{device}" ip saddr {remote} goto in_{tag} {note}')
    forward.append(f"counter name {STRAY} drop")

    receive = [f"iifname != {ours} accept", f'iifname "{names.hop}" accept']
    if config.mesh_address:
        receive += [
            f"ip daddr {config.mesh_address} udp dport {PROBE_PORT} accept",
            f"ip daddr {config.mesh_address} {ECHO} accept",
        ]
    receive.append(f"counter name {STRAY} drop")

    return Table(
        EDGE,
        (
            *firewalls,
            Chain("steer", tuple(steer), "type filter hook prerouting priority mangle; policy accept;"),
            Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
            Chain("receive", tuple(receive), "type filter hook input priority filter; policy accept;"),
        ),
        (STRAY, *(drop_counter(end.circuit) for end in config.circuits)),
    )


def _ends(sources: tuple[str, ...], destinations: tuple[str, ...]) -> str:
    matches = []
    if sources:
        matches.append(f"ip saddr {_prefixes(sources)}")
    if destinations:
        matches.append(f"ip daddr {_prefixes(destinations)}")
    return " ".join(matches)


def _service(protocol: Protocol | None, ports: tuple[int, ...], side: str) -> str:
    """The match of a protocol and its ports, of TCP and UDP if it is not given; ``side`` is dport or sport."""
    if protocol is Protocol.ICMP:
        return "ip protocol icmp"
    if not ports:
        return f"ip protocol {protocol.value.lower()}" if protocol else ""
    if protocol:
        return f"{protocol.value.lower()} {side} {_set(sorted(set(ports)))}"
    return f"meta l4proto {{ tcp, udp }} th {side} {_set(sorted(set(ports)))}"


def _allowed(rule: FirewallRule) -> str:
    return f"{_ends(rule.sources, rule.destinations)} {_service(rule.protocol, rule.ports, 'dport')}".strip()


def _steered(entry: Steer) -> str:
    service = _service(entry.protocol, entry.ports, "sport" if entry.answers else "dport")
    return f"{_ends(entry.sources, entry.destinations)} {service}".strip()
