"""A config's nftables tables: what may pass the tunnels, what is rewritten and steered, what never leaves in clear.

Pure. Four tables, so that a change of one does not touch the others:

- ``foremesh_guard``: nothing from or to the mesh's blocks leaves by an interface that is not foremesh's;
- ``foremesh_translate``: own addresses for mesh addresses and back, where there are any;
- ``foremesh_hop``: labels: relayed at a transit, exchanged for circuit addresses at the ends; nothing else passes;
- ``foremesh_edge``: workloads' traffic: steered into circuits, and each circuit's firewall and reservation.
"""

from __future__ import annotations

from foremesh.agent.rulesets.edge import edge
from foremesh.agent.rulesets.guard import guard
from foremesh.agent.rulesets.hop import hop
from foremesh.agent.rulesets.names import (
    EDGE,
    GUARD,
    HOP,
    OWNED,
    STOPPED,
    STRAY,
    TRANSLATE,
    drop_counter,
    label_counter,
    pass_counter,
    police_counter,
)
from foremesh.agent.rulesets.translate import translate

__all__ = [
    "EDGE",
    "GUARD",
    "HOP",
    "OWNED",
    "STOPPED",
    "STRAY",
    "TRANSLATE",
    "drop_counter",
    "edge",
    "guard",
    "hop",
    "label_counter",
    "pass_counter",
    "police_counter",
    "translate",
]
