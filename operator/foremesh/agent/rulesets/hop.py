"""Labels: relayed at a transit, exchanged for circuit addresses at the ends."""

from __future__ import annotations

from foremesh.agent.rulesets.matches import ECHO, set_of
from foremesh.agent.rulesets.names import HOP, SEND_FAR, SEND_OWN, SEND_TYPE, STRAY, label_counter
from foremesh.agent.state import CIRCUIT_SLOTS, FAILOVER_PORT, PROBE_PORT, Chain, Names, Table, port_of, vxlan_port_of
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Encryption


def hop(names: Names, config: GatewayConfig) -> Table:
    """Relays labels between neighbours, and exchanges labels for circuit addresses at the ends."""
    on_hop = f'iifname "{names.hops}"'
    hop_by_hop = [end for end in config.circuits if end.encryption is Encryption.HOP_BY_HOP]
    # Of every slot: when keys change and the next interface shakes hands, its port is open already.
    classes = {end.class_number for end in config.circuits if end.tunnels}
    inner = {port_of(number, slot) for number in classes for slot in range(CIRCUIT_SLOTS)}
    listens = {end.circuit: vxlan_port_of(end.class_number, initiator=end.initiator) for end in hop_by_hop}
    ports = set_of(sorted(inner | {*listens.values()}))

    arrive = [f"{on_hop} notrack"]
    accepted = [(label.own, label.far, end) for end in config.circuits for label in end.labels]
    if accepted:
        arrive.append(
            f"{on_hop} udp dport {ports} ip saddr . ip daddr {set_of(f'{far} . {own}' for own, far, _ in accepted)}"
            f" ip saddr set ip saddr map {set_of(f'{far} : {end.remote_address}' for _, far, end in accepted)}"
            f" ip daddr set ip daddr map {set_of(f'{own} : {end.local_address}' for own, _, end in accepted)}"
        )
    send = [
        # What an inner tunnel makes of packets has no class of service of its own, and transits see nothing else.
        f"ip saddr {end.local_address} ip daddr {end.remote_address} ip dscp set {end.dscp}"
        for end in config.circuits
        if end.dscp is not None
    ]
    if config.circuits:
        # Which label that is, the failover process writes into the maps.
        send.append(
            f"ip saddr . ip daddr {set_of(f'{end.local_address} . {end.remote_address}' for end in config.circuits)}"
            f" ip saddr set ip saddr map @{SEND_OWN} ip daddr set ip daddr map @{SEND_FAR}"
        )
    # A circuit without a label to send on stays silent; redirects make no sense between labels.
    send += [
        f"ip daddr {config.blocks.circuits} counter name {STRAY} drop",
        f'oifname "{names.hops}" icmp type redirect drop',
    ]

    # What is gathered comes from here: nobody's packets are forwarded into a pair.
    forward = [f'iifname != "{names.hops}" oifname != "{names.hops}" oifname != "{names.gathers}" accept']
    if config.transits:
        ways = [(transit.addresses, label_counter(transit.label)) for transit in config.transits]
        elements = [f'{x} . {y} : "{name}"' for (a, b), name in ways for x, y in ((a, b), (b, a))]
        relayed = set_of(f"{x} . {y}" for (a, b), _ in ways for x, y in ((a, b), (b, a)))
        # What is counted is what circuits carry: a standby on which hellos alone pass has relayed nothing.
        forward.append(
            f'{on_hop} oifname "{names.hops}" udp dport {FAILOVER_PORT} ip saddr . ip daddr {relayed} accept'
        )
        forward.append(
            f'{on_hop} oifname "{names.hops}" counter name ip saddr . ip daddr map {set_of(elements)} accept'
        )
    forward.append(f"counter name {STRAY} drop")

    # Hellos for labels of VXLAN leave by a pair.
    untracked = tuple(f'oifname "{way}" notrack' for way in (names.hops, names.gathers))
    receive = [
        f'iifname != "{names.hops}" accept',
        f"ip saddr {config.blocks.hops} ip daddr {config.hop_address} udp dport {PROBE_PORT} accept",
        f"{ECHO} accept",
    ]
    if accepted:
        pairs = set_of(f"{far} . {own}" for own, far, _ in accepted)
        receive.append(f"ip saddr . ip daddr {pairs} udp dport {FAILOVER_PORT} accept")
        # The failover process knows labels by their addresses, and listens on every interface.
        forged = f"ip daddr {config.blocks.labels} udp dport {FAILOVER_PORT} counter name {STRAY} drop"
        receive.insert(0, f'iifname != "{names.hops}" {forged}')
    if hop_by_hop:
        # VXLAN knows no keys: what does not come from a link is forged, and so is what has another circuit's port. Of
        # another circuit's identifier the kernel knows nothing at this port.
        ends = (f"{end.remote_address} . {end.local_address} . {listens[end.circuit]}" for end in hop_by_hop)
        forged = f"udp dport {set_of(sorted(listens.values()))} counter name {STRAY} drop"
        receive.insert(0, f'iifname != "{names.hops}" {forged}')
        receive.append(f"ip saddr . ip daddr . udp dport {set_of(ends)} accept")
        receive.append(forged)
    if config.circuits:
        pairs = set_of(f"{end.remote_address} . {end.local_address}" for end in config.circuits)
        receive.append(f"ip saddr . ip daddr {pairs} udp dport {ports} accept")
    receive.append(f"counter name {STRAY} drop")

    return Table(
        HOP,
        (
            Chain("arrive", tuple(arrive), "type filter hook prerouting priority raw; policy accept;"),
            Chain("untracked", untracked, "type filter hook output priority raw;"),
            Chain("send", tuple(send), "type route hook output priority mangle; policy accept;"),
            Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
            Chain("receive", tuple(receive), "type filter hook input priority filter; policy accept;"),
        ),
        (STRAY, *(label_counter(transit.label) for transit in config.transits)),
        {SEND_OWN: SEND_TYPE, SEND_FAR: SEND_TYPE},
    )
