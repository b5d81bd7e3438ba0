"""Names of tables and counters, as rules and the exporter share them."""

from __future__ import annotations

import hashlib

GUARD, TRANSLATE, HOP, EDGE = "foremesh_guard", "foremesh_translate", "foremesh_hop", "foremesh_edge"
UPLINKS, ANSWER, YIELD = "foremesh_uplinks", "foremesh_answer", "foremesh_yield"
OWNED = (GUARD, TRANSLATE, HOP, EDGE, UPLINKS, ANSWER, YIELD)

STOPPED = "stopped"
"""Counter of the guard: packets that would have left in clear."""
STRAY = "stray"
"""Counter of what arrived on a tunnel and is not in the config."""

SEND_OWN, SEND_FAR = "send_own", "send_far"
"""Maps: a circuit's local address to the own one of the label that it sends on, its remote address to the far one."""
SEND_TYPE = "type ipv4_addr : ipv4_addr;"


def label_counter(label: int) -> str:
    """Name of the counter of a label relayed here."""
    return f"label_{label}"


def drop_counter(circuit: str) -> str:
    """Name of the counter of what a circuit's firewall dropped here."""
    return f"dropped_{tag_of(circuit)}"


def pass_counter(circuit: str) -> str:
    """Name of the counter of what passed a circuit's firewall here."""
    return f"passed_{tag_of(circuit)}"


def police_counter(circuit: str) -> str:
    """Name of the counter of what exceeded a circuit's reservation here."""
    return f"policed_{tag_of(circuit)}"


def tag_of(circuit: str) -> str:
    """A circuit id as part of an nftables name: ids hold characters that names cannot."""
    return hashlib.sha256(circuit.encode()).hexdigest()[:12]
