"""Circuits with numbers and labels: what the plan asks for, laid over what is on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Circuit, LabelState, Route
from foremesh.model.intent import Encryption
from foremesh.model.mesh import Member, PlacedCircuit
from foremesh.model.plan import Path
from foremesh.network.allocate import ClassUser, Held, assign, class_numbers
from foremesh.network.circuits import DesiredCircuit
from foremesh.network.handover import hand_over, label_in, narrowed
from foremesh.network.labels import Wanted, advance_all, joins
from foremesh.network.links import route_of
from foremesh.network.mtu import links_of, path_mtu
from foremesh.network.programmed import Applied
from foremesh.network.tunnels import NEVER, Rotation, advance_tunnels


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
    members: Sequence[Member],
    epoch: int,
    now_s: float,
    blocks: Blocks,
    planned: int | None = None,
    rotation: Rotation = NEVER,
) -> Placed:
    """Give every circuit its numbers and take its labels one step further.

    Args:
        desired: What the plan asks for.
        recorded: Circuits that exist, by id, with their statuses. A path pinned in a spec stands, whatever the plan
            says, as long as it joins the ends.
        applied: Configs in force, acknowledgements, and what ends report.
        held: Numbers in use.
        members: All declared resources; an end that is none of them is gone for good. Routes name the newest hop keys
            that their gateways registered.
        epoch: Of the configs that will be compiled from the result.
        now_s: Unix time.
        planned: The epoch in which the plan was made; None: just now.
        rotation: When keys of circuits are replaced.
    """
    wanted = {circuit.id: circuit for circuit in desired}
    specs = {id_: circuit.spec for id_, circuit in recorded.items() if circuit.status.labels}
    by_id = {member.id: member for member in members}
    routes: dict[str, Wanted] = {}
    for id_, circuit in wanted.items():
        pinned = recorded[id_].spec.path if id_ in recorded else ()
        if not joins(pinned, circuit.spec):
            pinned = ()
        specs[id_] = msgspec.structs.replace(circuit.spec, path=pinned)
        routes[id_] = Wanted(
            _route(pinned or circuit.path.gateways, circuit.path, recorded.get(id_), by_id),
            route_of(circuit.standby.gateways, by_id, circuit.standby.links) if circuit.standby else None,
        )
    numbers = assign(specs, held.circuits, limit=blocks.most_circuits)
    classes = class_numbers(
        [
            ClassUser(id_, spec.from_, spec.to, spec.class_, spec.encryption is Encryption.HOP_BY_HOP)
            for id_, spec in specs.items()
        ],
        held.classes,
        busy={
            gateway: {number for circuit, number in there.items() if circuit not in specs}
            for gateway, there in held.classes_at.items()
        },
    )
    handover = hand_over(desired, recorded, classes, held.addresses, applied)
    routes |= handover.staying
    circuits: Sequence[PlacedCircuit] = [
        PlacedCircuit(
            id=id_,
            spec=specs[id_] if id_ in wanted else narrowed(specs[id_], handover.pairs[id_]),
            number=numbers[id_],
            class_number=classes[id_],
            tunnels=recorded[id_].status.tunnels if id_ in recorded else (),
            labels=recorded[id_].status.labels if id_ in recorded else (),
            pairs=handover.pairs[id_],
        )
        for id_ in sorted(numbers.keys() & classes.keys())
    ]
    circuits = advance_tunnels(circuits, by_id, applied, rotation, wanted=routes.keys(), epoch=epoch, now_s=now_s)
    circuits = advance_all(
        circuits,
        routes,
        applied,
        members=by_id.keys(),
        epoch=epoch,
        now_s=now_s,
        in_use=held.labels,
        blocks=blocks,
        planned=planned,
        unknown=_unknown(members, applied),
    )
    return Placed(
        circuits=tuple(msgspec.structs.replace(one, path_mtu=path_mtu(one, applied)) for one in circuits),
        exhausted=tuple(sorted(specs.keys() - {circuit.id for circuit in circuits})),
    )


def _route(gateways: tuple[str, ...], path: Path, circuit: Circuit | None, members: Mapping[str, Member]) -> Route:
    """The route over these gateways: by the plan's links, or where it has another path, by those in use."""
    active = label_in(circuit, LabelState.ACTIVE) if circuit else None
    if path.gateways == gateways:
        return route_of(gateways, members, path.links)
    return route_of(gateways, members, links_of(active) if active and active.path == gateways else ())


def _unknown(members: Iterable[Member], applied: Applied) -> frozenset[str]:
    """Gateways that have an agent, and of which no config in force, no acknowledgement and no beacon tells what they
    run: the store was lost, and they have not been heard since."""
    told = applied.configs.keys() | applied.acknowledgements.keys() | applied.beacons.keys()
    return frozenset(member.id for member in members if member.is_gateway and member.registration) - told
