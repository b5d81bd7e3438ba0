"""Whether a Circuit's keys are as new as they are to be, and who keeps them from it."""

from __future__ import annotations

from foremesh.controller.conditions import state
from foremesh.model.circuit import Condition
from foremesh.model.intent import Encryption
from foremesh.model.mesh import MeshState, PlacedCircuit
from foremesh.network.tunnels import behind


def keys_current(circuit: PlacedCircuit, mesh: MeshState) -> list[Condition]:
    """The condition ``KeysCurrent``; none where there are no keys, or they last for ever."""
    if circuit.spec.encryption is Encryption.HOP_BY_HOP or not mesh.circuit_keys_since or not circuit.tunnels:
        return []
    late = behind(circuit, {member.id: member for member in mesh.members}, mesh.circuit_keys_since)
    if late is None:
        return [state("KeysCurrent", True, "KeysReplaced", "its keys are as new as the schedule wants them")]
    if not late.who:
        return [state("KeysCurrent", True, "KeysChanging", f"{late.why}; traffic uses the keys before until then")]
    return [state("KeysCurrent", False, "EndCannotFollow", f"{late.why}; both ends go on with the keys that they have")]
