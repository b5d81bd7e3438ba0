"""Own addresses for mesh addresses, and back: at both ends of a conversation, and for machines without an agent."""

from __future__ import annotations

from collections.abc import Mapping

from foremesh.agent.rulesets.matches import allowed, called
from foremesh.agent.rulesets.names import TRANSLATE
from foremesh.agent.state import Chain, Names, Table
from foremesh.model.config import GatewayConfig

AFTER_OTHERS = -90
"""Priority of destination translation: a redirect in the same namespace, such as a service mesh's, comes first (-100),
and what its proxy then sends is translated."""
BEFORE_OTHERS = 90
"""Priority of source translation: what enters a tunnel gets the address that its peer expects, whatever a container
runtime would masquerade (100)."""


def translate(names: Names, config: GatewayConfig, targets: Mapping[str, str]) -> Table | None:
    """Translates by connection tracking; None if there is nothing to translate.

    Only what the host itself sends is translated for its own mesh address, not what it forwards for others.

    Args:
        targets: Resource behind this gateway to the address that its target has now; one that is missing is not served.
    """
    ours = f'"{names.all}"'
    call = [f"{called(entry)} dnat to {entry.mesh}" for entry in config.own_addresses if entry.mesh]
    arrive = []
    leave = []
    if config.own_address:
        arrive += [
            f'iifname "{names.uplinks}" {match} dnat to {config.own_address}'
            for rule in config.called
            for match in allowed(rule)
        ]
    if config.uplinks and config.mesh_address:
        # An application may be bound to an address of its own; WireGuard lets no other than the mesh address pass.
        leave.append(
            f'oifname "{names.uplinks}" ip saddr != {config.mesh_address} fib saddr type local'
            f" snat to {config.mesh_address}"
        )
    served = [(machine, targets[machine.resource]) for machine in config.behind if machine.resource in targets]
    for machine, target in served:
        arrive.append(f"iifname {ours} ip daddr {machine.address} dnat to {target}")
        arrive += [
            f"iifname != {ours} ip saddr {target} {called(entry)} dnat to {entry.mesh}"
            for entry in machine.own_addresses
            if entry.mesh
        ]
        leave.append(f"oifname != {ours} ct original ip daddr {machine.address} masquerade")
        leave.append(f"oifname {ours} ip saddr {target} snat to {machine.address}")
    chains = [
        Chain("call", tuple(call), f"type nat hook output priority {AFTER_OTHERS}; policy accept;"),
        Chain("arrive", tuple(arrive), f"type nat hook prerouting priority {AFTER_OTHERS}; policy accept;"),
        Chain("leave", tuple(leave), f"type nat hook postrouting priority {BEFORE_OTHERS}; policy accept;"),
    ]
    if served:
        # Machines outside the mesh know nothing of its MTU, and not every network lets them be told.
        fit = f"iifname {ours} oifname != {ours} {SYN}", f"iifname != {ours} oifname {ours} {SYN}"
        chains.append(Chain("fit", fit, "type filter hook forward priority mangle; policy accept;"))
    chains = [chain for chain in chains if chain.rules]
    return Table(TRANSLATE, tuple(chains)) if chains else None


SYN = "tcp flags syn / syn,rst tcp option maxseg size set rt mtu"
"""Match of a packet that opens a TCP connection or answers one that does; its segments are to fit the way it takes."""
