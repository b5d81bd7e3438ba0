"""A config's nftables tables: what may pass the tunnels, what is rewritten and steered, what never leaves in clear.

Pure. Seven tables, so that a change of one does not touch the others:

- ``foremesh_guard``: nothing from or to the mesh's blocks leaves by an interface that is not foremesh's;
- ``foremesh_translate``: own addresses for mesh addresses and back, where there are any;
- ``foremesh_hop``: labels: relayed at a transit, exchanged for circuit addresses at the ends; nothing else passes;
- ``foremesh_edge``: workloads' traffic: steered into circuits, and each circuit's firewall and reservation;
- ``foremesh_uplinks``: a workload's answers, which go by the uplink that they were asked by, where there are several;
- ``foremesh_answer``: the tunnels' own answers, which leave from the address that was asked;
- ``foremesh_yield``: handshakes of tunnels, of which two ends must not begin one each at the same moment for ever.
"""

from __future__ import annotations

from foremesh.agent.rulesets.answer import answer
from foremesh.agent.rulesets.edge import edge
from foremesh.agent.rulesets.guard import guard
from foremesh.agent.rulesets.hop import hop
from foremesh.agent.rulesets.names import (
    ANSWER,
    EDGE,
    GUARD,
    HOP,
    OWNED,
    STOPPED,
    STRAY,
    TRANSLATE,
    UPLINKS,
    YIELD,
    drop_counter,
    label_counter,
    pass_counter,
    police_counter,
)
from foremesh.agent.rulesets.translate import translate
from foremesh.agent.rulesets.uplinks import uplinks
from foremesh.agent.rulesets.yielding import yielding

__all__ = [
    "ANSWER",
    "EDGE",
    "GUARD",
    "HOP",
    "OWNED",
    "STOPPED",
    "STRAY",
    "TRANSLATE",
    "UPLINKS",
    "YIELD",
    "answer",
    "drop_counter",
    "edge",
    "guard",
    "hop",
    "label_counter",
    "pass_counter",
    "police_counter",
    "translate",
    "uplinks",
    "yielding",
]
