"""Circuits that take over where a site of several gateways loses one: which there are to be, and what their ends say of
them. Pure.

A placement has a circuit between two gateways. For every other gateway of the source's site there is one from there to
the same far gateway, for every other one of the destination's site one from the same near gateway: whichever single
gateway is lost, one of them is left. Both at once would take as many circuits as both numbers multiplied; the next plan
comes sooner than a second loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from foremesh.decide.stay import between
from foremesh.decide.values import Declared, Observed
from foremesh.model.circuit import Circuit
from foremesh.model.intent import Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.mesh import Member
from foremesh.model.plan import Placement, Plan
from foremesh.network.circuits import base_class, circuit_id, class_between
from foremesh.routing.demand import Demand

Ends = tuple[str, str]
Make = Callable[..., Plan]
"""``Planners.plan`` with policies and settings, and when it is made."""


def back_up(
    plan: Plan,
    demands: Iterable[Demand],
    members: Iterable[Member],
    declared: Declared,
    circuits: Mapping[str, Circuit],
    planned: Sequence[Circuit],
    graph: MeshGraph | None,
    make: Make,
) -> tuple[Placement, ...]:
    """Find the backups of a plan's placements.

    Each has the best path between its gateways that meets the requirements, or else one that is permitted at all, and
    a standby of its own. Where there is none because a gateway is silent, the circuit on record stays: silence is no
    proof that nothing passes.

    Args:
        demands: Unrestricted: with all gateways of both sites.
        circuits: All on record, by id.
        planned: The same, as the planner has them.
        graph: None while nothing can be known of the links: then everything stays as it is on record.
        make: Makes plans, each by its name.
    """
    by_key, by_id = {demand.key: demand for demand in demands}, {member.id: member for member in members}
    rounds: list[list[Demand]] = []
    for placement in plan.placements:
        demand = by_key.get((placement.intent, placement.source))
        for number, narrowed in enumerate(_others(placement, demand, by_id) if demand else ()):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(narrowed)
    found = []
    for number, asked in enumerate(rounds):
        placed = _plan(f"backups {number}", asked, planned, graph, make) if graph else {}
        for demand in asked:
            there = placed.get(demand.key) or _on_record(demand, declared, circuits)
            found += [there] if there else []
    return tuple(found)


def _plan(
    name: str, asked: Sequence[Demand], planned: Sequence[Circuit], graph: MeshGraph, make: Make
) -> dict[tuple[str, str], Placement]:
    """Demand's key to where it is placed. What backups carry now is nothing."""
    found: dict[tuple[str, str], Placement] = {}
    idle = {circuit.id: (0.0, 0.0) for circuit in planned}
    for which, wanted in ((name, asked), (f"{name} permitted", [_permitted(demand) for demand in asked])):
        open_ = [demand for demand in wanted if demand.key not in found]
        made = make(which, graph, open_, planned, measured_bps=idle)
        fitting = (one for one in made.placements if one.path and not one.infeasible)
        found |= {(one.intent, one.source): one for one in fitting}
        if len(found) == len(asked):
            break
    return found


def _others(placement: Placement, demand: Demand, members: Mapping[str, Member]) -> Iterator[Demand]:
    """The demand between each pair of gateways that is to have a backup circuit. A machine without an agent has none:
    its connections are translated by one gateway, and no other knows them."""
    path, destination = placement.path, members.get(placement.destination or "")
    source = members.get(placement.source)
    if path is None or source is None or destination is None or len(path.gateways) < 2:
        return
    if source.target or destination.target:
        return
    first, last = path.gateways[0], path.gateways[-1]
    pairs: list[Ends] = [(gateway, last) for gateway in source.gateways if gateway not in (first, last)]
    pairs += [(first, gateway) for gateway in destination.gateways if gateway not in (first, last)]
    for pair in pairs:
        if narrowed := _between(demand, destination.id, pair):
            yield narrowed


def _between(demand: Demand, destination: str, ends: Ends) -> Demand | None:
    """The demand from one gateway to another; None if they are none of its."""
    first, last = ends
    candidates = tuple(
        replace(one, gateways={last: one.gateways[last]})
        for one in demand.candidates
        if one.resource.id == destination and last in one.gateways
    )
    if first not in demand.source_gateways or not candidates:
        return None
    return replace(demand, source_gateways={first: demand.source_gateways[first]}, candidates=candidates)


def _permitted(demand: Demand) -> Demand:
    """The demand without requirements that are figures: too slow beats not at all."""
    needs = demand.intent.spec.requirements
    sets = Requirements(encryption=needs.encryption, regions=needs.regions, avoid=needs.avoid)
    spec = msgspec.structs.replace(demand.intent.spec, requirements=sets)
    return replace(demand, intent=msgspec.structs.replace(demand.intent, spec=spec))


def _on_record(demand: Demand, declared: Declared, circuits: Mapping[str, Circuit]) -> Placement | None:
    (first,) = demand.source_gateways
    ((candidate, last),) = ((one, last) for one in demand.candidates for last in one.gateways)
    circuit = circuits.get(circuit_id(first, last, class_between(demand.class_, first, last)))
    return between(demand, candidate.resource.id, circuit, declared) if circuit else None


# What the ends did by themselves


def detours(observed: Observed) -> frozenset[tuple[str, str, str]]:
    """Member, what its config prefers, and what it uses instead: gateways of uplinks, or circuits."""
    return frozenset(
        (id_, told, used) for id_, beacon in observed.beacons.items() for told, used in beacon.detours.items()
    )


def followed(
    demand: Demand, declared: Declared, circuits: Mapping[str, Circuit], taken: frozenset[tuple[str, str, str]]
) -> Demand:
    """The demand where its ends have taken it: what they left, the next plan does not use. Once that is on record, the
    ends are where they are told to be, and another plan may move them back."""
    if not taken:
        return demand
    left = {(member, told) for member, told, _ in taken}
    instead = {told: used for _, told, used in taken if told in circuits}
    status = declared.intent_status.get(demand.intent.id)
    carrier = next((one.circuit for one in status.placements if one.source == demand.source.id), "") if status else ""
    used = circuits.get(instead.get(carrier, ""))
    near, far = ({used.spec.from_}, {used.spec.to}) if used else (set[str](), set[str]())

    def narrow(gateways: Mapping[str, float | None], member: str, only: set[str]) -> Mapping[str, float | None]:
        rest = {id_: rtt_ms for id_, rtt_ms in gateways.items() if (member, id_) not in left}
        return {id_: rtt_ms for id_, rtt_ms in rest.items() if id_ in only} or rest or gateways

    candidates = tuple(replace(one, gateways=narrow(one.gateways, one.resource.id, far)) for one in demand.candidates)
    sources = narrow(demand.source_gateways, demand.source.id, near)
    return replace(demand, source_gateways=sources, candidates=candidates)


def first_for(circuits: Iterable[Circuit], declared: Declared) -> list[Circuit]:
    """Circuits as they are for whoever places what comes first: an Intent is carried by the circuit that its status
    names, not by those that back it up."""
    carried: dict[str, set[str]] = {}
    for id_, status in declared.intent_status.items():
        for one in status.placements:
            carried.setdefault(one.circuit, set()).add(id_)
    found = []
    for circuit in circuits:
        if circuit.spec.class_ != base_class(circuit.spec.class_):
            own = tuple(id_ for id_ in circuit.status.intents if id_ in carried.get(circuit.id, ()))
            circuit = msgspec.structs.replace(circuit, status=msgspec.structs.replace(circuit.status, intents=own))
        found.append(circuit)
    return found
