"""When traffic stays where it is: measurements are away, or nothing better can be had.

The world may take away what a path offers; only a person's word takes away the path.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import msgspec

from foremesh.decide.values import Declared
from foremesh.model.circuit import Circuit, Figures, LabelAllocation, LabelState
from foremesh.model.link import LinkId
from foremesh.model.plan import Infeasible, Path, Placement, Plan, way_text
from foremesh.model.status import PlacementStatus
from foremesh.network.circuits import base_class
from foremesh.network.handover import label_in
from foremesh.network.mtu import links_of
from foremesh.routing.adjacency import adjacency
from foremesh.routing.demand import Demand, options
from foremesh.routing.graph import build_graph
from foremesh.routing.needs import short
from foremesh.routing.search import select_path


def hold(demands: Iterable[Demand], declared: Declared, circuits: Mapping[str, Circuit], *, now_s: float) -> Plan:
    """A plan that leaves everything where statuses record it, for as long as nothing can be known of the links.

    Args:
        circuits: All on record.

    Returns:
        No placement for what was never placed: it waits. A path that is not permitted any more is given up.
    """
    placements = []
    for demand in demands:
        before = recorded(demand, declared, circuits)
        if before is None:
            continue
        refused = forbidden(before, demand, declared)
        if refused is None:
            placements.append(before)
        else:
            placements.append(
                Placement(intent=before.intent, source=before.source, infeasible=refused, reason=refused.message)
            )
    return Plan(made_at_s=now_s, placements=tuple(sorted(placements, key=lambda p: (p.intent, p.source))))


def keep_flowing(plan: Plan, demands: Iterable[Demand], declared: Declared, circuits: Mapping[str, Circuit]) -> Plan:
    """Where the planner finds no path at all, because gateways are silent or no circuit is needed, traffic stays where
    it is: a slow path beats none.

    Not for an Intent that was changed to ask for something else, nor on a path that is not permitted any more. Where
    there are paths and none meets the requirements, the planner itself takes the least bad one.
    """
    by_key = {demand.key: demand for demand in demands}

    def kept(placement: Placement) -> Placement:
        demand = by_key.get((placement.intent, placement.source))
        if placement.path is not None or demand is None:
            return placement
        before = recorded(demand, declared, circuits)
        if before is None or _asks_for_else(demand, declared, circuits) or forbidden(before, demand, declared):
            return placement
        return msgspec.structs.replace(before, infeasible=placement.infeasible, reason=placement.reason)

    return msgspec.structs.replace(plan, placements=tuple(kept(placement) for placement in plan.placements))


def keep_protected(
    plan: Plan,
    demands: Iterable[Demand],
    declared: Declared,
    circuits: Mapping[str, Circuit],
    unfit: Container[LinkId],
) -> Plan:
    """Where the planner finds nothing to fall over to, because gateways are silent, the standby stays that is there:
    the path may live though its gateways' beacons do not arrive, and a label that waits costs nothing.

    Not on a path that is not permitted any more.

    Args:
        unfit: Links that no path may use.
    """
    by_key = {demand.key: demand for demand in demands}

    def kept(placement: Placement) -> Placement:
        demand = by_key.get((placement.intent, placement.source))
        if placement.path is None or placement.standby is not None or demand is None:
            return placement
        before = recorded(demand, declared, circuits)
        standby = before.standby if before else None
        if before is None or standby is None or any(link in unfit for link in standby.links):
            return placement
        same_ends = (standby.gateways[0], standby.gateways[-1]) == (
            placement.path.gateways[0],
            placement.path.gateways[-1],
        )
        if not same_ends or standby.links == placement.path.links:
            return placement
        if forbidden(msgspec.structs.replace(before, path=standby), demand, declared):
            return placement
        return msgspec.structs.replace(placement, standby=standby)

    return msgspec.structs.replace(plan, placements=tuple(kept(placement) for placement in plan.placements))


def recorded(demand: Demand, declared: Declared, circuits: Mapping[str, Circuit]) -> Placement | None:
    """Where statuses say that a demand is placed; None if nowhere."""
    status = _status(demand, declared)
    if status is None:
        return None
    circuit, standby = circuits.get(status.circuit), None
    if circuit is not None:
        path = _in_use(circuit)
        standby = _path_of(label_in(circuit, LabelState.STANDBY))
    else:
        path = Path(gateways=_shared_gateway(demand, status), links=(), figures=Figures(hops=0))
    if not path.gateways:
        return None
    return Placement(
        intent=demand.intent.id,
        source=demand.source.id,
        destination=status.destination,
        path=path,
        standby=standby,
        kept=True,
        reason=status.reason,
    )


def between(demand: Demand, destination: str, circuit: Circuit, declared: Declared) -> Placement | None:
    """A circuit that carries, as a placement of a demand between its ends; None if it does not, or is not permitted any
    more."""
    path = _path_of(label_in(circuit, LabelState.ACTIVE))
    if path is None:
        return None
    placement = Placement(
        intent=demand.intent.id,
        source=demand.source.id,
        destination=destination,
        path=path,
        standby=_path_of(label_in(circuit, LabelState.STANDBY)),
        kept=True,
    )
    return None if forbidden(placement, demand, declared) else placement


def _in_use(circuit: Circuit) -> Path:
    """The path that a circuit's status shows, over the links of the label that carries it."""
    gateways, figures = circuit.status.path, circuit.status.predicted or Figures()
    active = label_in(circuit, LabelState.ACTIVE)
    path = _path_of(active) if active and active.path == gateways else None
    links = path.links if path else tuple(LinkId(src=src, dst=dst) for src, dst in pairwise(gateways))
    return Path(gateways=gateways, links=links, figures=figures)


def _path_of(label: LabelAllocation | None) -> Path | None:
    return Path(gateways=label.path, links=links_of(label), figures=Figures()) if label else None


def forbidden(placement: Placement, demand: Demand, declared: Declared) -> Infeasible | None:
    """Why a placement is not permitted, by what is declared alone; None if it is.

    Latency, loss and bandwidth are left aside, and so is whether a gateway is present: they change by themselves.
    """
    assert placement.path is not None
    path = placement.path.gateways
    there = tuple(one for one in demand.candidates if one.resource.id == placement.destination)
    if not there:
        return _given_up(path, f"{placement.destination} is no destination of it any more")
    permitted, refused = options(replace(demand, candidates=there), declared.policies.values())
    if not permitted:
        return refused
    (option,) = permitted
    if path[0] not in demand.source_gateways or path[-1] not in option.destinations:
        return _given_up(path, "its ends are attached elsewhere now")
    gateways = [declared.resources[id_] for id_ in path if id_ in declared.resources]
    steps = set(pairwise(path)) | set(pairwise(path[::-1]))
    graph = build_graph(gateways, [link for link in adjacency(gateways) if (link.src, link.dst) in steps], {})
    static = msgspec.structs.replace(
        option.effective.requirements, max_latency=None, max_loss=None, min_bandwidth=None, reverse=None
    )
    found = select_path(graph, {path[0]: 0.0}, {path[-1]: 0.0}, static, through=option.effective.through, runners_up=0)
    if found.path is None:
        cause = found.infeasible.message if found.infeasible else "no path"
        return _given_up(path, cause, found.infeasible)
    return None


def _asks_for_else(demand: Demand, declared: Declared, circuits: Mapping[str, Circuit]) -> bool:
    """Whether an Intent's requirements, bandwidth aside, are others than those its circuit was made for."""
    status = _status(demand, declared)
    circuit = circuits.get(status.circuit) if status else None
    return circuit is not None and base_class(circuit.spec.class_) != demand.class_


def _status(demand: Demand, declared: Declared) -> PlacementStatus | None:
    status = declared.intent_status.get(demand.intent.id)
    return next((one for one in status.placements if one.source == demand.source.id), None) if status else None


def _shared_gateway(demand: Demand, status: PlacementStatus) -> tuple[str, ...]:
    """The one gateway of a placement without a circuit; the status has its name without the namespace."""
    behind = {gateway for one in demand.candidates if one.resource.id == status.destination for gateway in one.gateways}
    both = sorted(behind & demand.source_gateways.keys())
    return tuple(gateway for gateway in both if short(gateway) == status.path)[:1]


def _given_up(path: tuple[str, ...], cause: str, why: Infeasible | None = None) -> Infeasible:
    return Infeasible(
        requirement=why.requirement if why else "candidates",
        asked=why.asked if why else "",
        nearest="",
        message=f"the path in use, {way_text(path)}, is not permitted any more: {cause}",
    )
