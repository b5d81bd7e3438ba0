"""Circuits with numbers and labels: what the plan asks for, laid over what is on record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Circuit
from foremesh.model.mesh import PlacedCircuit
from foremesh.network.allocate import ClassUser, Held, assign, capacity, class_numbers
from foremesh.network.circuits import DesiredCircuit
from foremesh.network.handover import hand_over, narrowed
from foremesh.network.labels import Applied, advance_all, joins


@dataclass(frozen=True)
class Placed:
    """Circuits sorted by id, and the ids of those for which no number was left.

    A circuit that nobody wants is among the placed until its last label is free; then its record can go.
    """

    circuits: tuple[PlacedCircuit, ...]
    exhausted: tuple[str, ...]


def place_circuits(
    desired: Sequence[DesiredCircuit],
    recorded: Mapping[str, Circuit],
    applied: Applied,
    held: Held,
    *,
    members: Collection[str],
    epoch: int,
    blocks: Blocks,
) -> Placed:
    """Give every circuit its numbers and take its labels one step further.

    Args:
        desired: What the plan asks for.
        recorded: Circuits that exist, by id, with their statuses. A path pinned in a spec stands, whatever the plan
            says, as long as it joins the ends.
        applied: Configs in force and acknowledgements.
        held: Numbers in use.
        members: Ids of all declared resources; an end that is none of them is gone for good.
        epoch: Of the configs that will be compiled from the result.
    """
    wanted = {circuit.id: circuit for circuit in desired}
    specs = {id_: circuit.spec for id_, circuit in recorded.items() if circuit.status.labels}
    paths: dict[str, tuple[str, ...]] = {}
    for id_, circuit in wanted.items():
        pinned = recorded[id_].spec.path if id_ in recorded else ()
        if not joins(pinned, circuit.spec):
            pinned = ()
        specs[id_] = msgspec.structs.replace(circuit.spec, path=pinned)
        paths[id_] = pinned or circuit.path.gateways
    numbers = assign(specs, held.circuits, limit=capacity(blocks.circuits))
    classes = class_numbers(
        [ClassUser(id_, spec.from_, spec.to, spec.class_) for id_, spec in specs.items()],
        held.classes,
        busy={
            gateway: {number for circuit, number in there.items() if circuit not in specs}
            for gateway, there in held.classes_at.items()
        },
    )
    handover = hand_over(desired, recorded, classes, held.addresses)
    paths |= handover.staying
    circuits = [
        PlacedCircuit(
            id=id_,
            spec=specs[id_] if id_ in wanted else narrowed(specs[id_], handover.pairs[id_]),
            number=numbers[id_],
            class_number=classes[id_],
            labels=recorded[id_].status.labels if id_ in recorded else (),
            pairs=handover.pairs[id_],
        )
        for id_ in sorted(numbers.keys() & classes.keys())
    ]
    return Placed(
        circuits=advance_all(
            circuits,
            paths,
            applied,
            members=members,
            epoch=epoch,
            in_use=held.labels,
            blocks=blocks,
        ),
        exhausted=tuple(sorted(specs.keys() - (numbers.keys() & classes.keys()))),
    )
