"""Nothing of the mesh leaves in clear."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.agent.rulesets.matches import prefixes
from foremesh.agent.rulesets.names import GUARD, STOPPED
from foremesh.agent.state import Chain, Names, Table


def guard(names: Names, guarded: Iterable[str]) -> Table:
    """Stops what is for or from ``guarded`` prefixes on every interface that is not foremesh's.

    After source translation, so that a gateway may still translate for machines outside the mesh.
    """
    blocks = prefixes(guarded)
    rules = (
        'oifname "lo" accept',
        f'oifname "{names.all}" accept',
        f"ip daddr {blocks} counter name {STOPPED} drop",
        f"ip saddr {blocks} counter name {STOPPED} drop",
    )
    chain = Chain("leave", rules, "type filter hook postrouting priority 300; policy accept;")
    return Table(GUARD, (chain,), (STOPPED,))
