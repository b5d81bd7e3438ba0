"""Nothing of the mesh leaves in clear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from foremesh.agent.rulesets.matches import NOBODY, called, prefixes
from foremesh.agent.rulesets.names import GUARD, STOPPED
from foremesh.agent.state import Chain, Names, Table
from foremesh.model.config import GatewayConfig


def guard(names: Names, guarded: Iterable[str], config: GatewayConfig, targets: Mapping[str, str] = NOBODY) -> Table:
    """Stops what is for or from ``guarded`` prefixes on every interface that is not foremesh's, and what is for an own
    address that ought to have been translated.

    After source translation, so that a gateway may still translate for machines outside the mesh.

    Args:
        targets: Resource behind this gateway to the address that its target has now.
    """
    ours, stop = f'"{names.all}"', f"counter name {STOPPED} drop"
    blocks = prefixes(guarded)
    served = [(machine, targets[machine.resource]) for machine in config.behind if machine.resource in targets]
    leave = [
        'oifname "lo" accept',
        f"oifname {ours} accept",
        # Whom a machine behind this gateway called by a mesh address answers from that.
        *(f"ip daddr {target} ct direction reply ct original ip saddr {target} accept" for _, target in served),
        f"ip daddr {blocks} {stop}",
        f"ip saddr {blocks} {stop}",
    ]
    # After translation: whatever still has the own address was not translated, for whatever reason.
    call = [f'oifname != "lo" {called(entry)} {stop}' for entry in config.own_addresses]
    forward = [
        f"iifname != {ours} ip saddr {target} {called(entry)} {stop}"
        for machine, target in served
        for entry in machine.own_addresses
    ]
    chains = (
        Chain("leave", tuple(leave), "type filter hook postrouting priority 300; policy accept;"),
        Chain("call", tuple(call), "type filter hook output priority filter; policy accept;"),
        Chain("forward", tuple(forward), "type filter hook forward priority filter; policy accept;"),
    )
    return Table(GUARD, tuple(chain for chain in chains if chain.rules), (STOPPED,))
