"""What the planner is asked: demands, the options that policies leave them, and how willing it is to move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from foremesh.model.circuit import Circuit, LabelState
from foremesh.model.intent import Intent
from foremesh.model.plan import Infeasible
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.routing.arrays import Arrays
from foremesh.routing.policy import Effective, effective


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    margin: float = 0.1
    """Share of the current path's cost that the best one has to save before a circuit moves to it, default 0.1: smaller
    differences are within what forecasts err by, and a move costs probes, label space and reordered packets."""
    margin_ms: float = 0.0
    """Milliseconds of round trip, end to end, that it has to save as well, default 0: where people think of hysteresis
    in milliseconds (NetBird's is 10)."""
    standby: bool = False
    """Whether to look for the path to fall over to as well, default no: it costs a search or two a circuit."""
    runners_up: int = 2
    """Paths listed after the chosen one, default 2."""
    explain: bool = True
    """Whether to work out which requirement binds where nothing fits, default yes. It takes about ten times as long as
    finding a path does; who makes thousands of plans and reads none of the reasons can do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A resource that would do as the destination."""

    resource: Resource
    gateways: Mapping[str, float | None]
    """Gateways that it attaches to, with the round trip in milliseconds between the two: 0 if it is the gateway itself,
    None if unknown."""
    addresses: tuple[str, ...] = ()
    """Known addresses beyond those of its manifest; for policies that match prefixes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One Intent from one of its sources."""

    intent: Intent
    source: Resource
    source_gateways: Mapping[str, float | None]
    """Gateways that the source attaches to, as in ``Candidate``."""
    candidates: tuple[Candidate, ...]
    class_: str
    """Class of traffic: demands of one class between the same two gateways share a circuit, and so a path."""
    source_addresses: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Names the demand; plans are sorted by it."""
        return (self.intent.id, self.source.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Destinations of a demand between which nothing but the path makes a difference: the same policies hold."""

    effective: Effective
    destinations: Mapping[str, float | None]
    """Gateway to the round trip of the attachment behind it."""
    resources: Mapping[str, str]
    """Gateway to the destination behind it."""


def options(demand: Demand, policies: Iterable[Policy]) -> tuple[list[Option], Infeasible | None]:
    """What policies leave of a demand, or why they leave nothing.

    Where several candidates stand behind one gateway, the one with the shortest known attachment counts, then the
    first by id.
    """
    rules, found, refused = tuple(policies), dict[Effective, list[Candidate]](), list[Infeasible]()
    if not demand.candidates:
        return [], _nothing("candidates", "nobody but the source offers what it asks for")
    if not demand.source_gateways:
        return [], _nothing("gateways", f"source {demand.source.id} attaches to no gateway")
    for candidate in sorted(demand.candidates, key=lambda one: one.resource.id):
        holds = effective(
            demand.intent,
            demand.source,
            candidate.resource,
            rules,
            source_addresses=demand.source_addresses,
            destination_addresses=candidate.addresses,
        )
        problem = holds.refused or _unfit(candidate, holds)
        if problem is not None:
            refused.append(problem)
        else:
            found.setdefault(holds, []).append(candidate)
    if not found:
        why = "; ".join(dict.fromkeys(one.message for one in refused))
        first = refused[0]
        return [], Infeasible(requirement=first.requirement, asked=first.asked, nearest=first.nearest, message=why)
    return [_option(holds, candidates) for holds, candidates in found.items()], None


def _option(holds: Effective, candidates: Iterable[Candidate]) -> Option:
    behind: dict[str, list[tuple[bool, float, str]]] = {}
    for candidate in candidates:
        for gateway, rtt_ms in candidate.gateways.items():
            behind.setdefault(gateway, []).append((rtt_ms is None, rtt_ms or 0.0, candidate.resource.id))
    nearest = {gateway: min(entries) for gateway, entries in sorted(behind.items())}
    return Option(
        effective=holds,
        destinations={gateway: None if unknown else rtt_ms for gateway, (unknown, rtt_ms, _) in nearest.items()},
        resources={gateway: resource for gateway, (_, _, resource) in nearest.items()},
    )


def _unfit(candidate: Candidate, holds: Effective) -> Infeasible | None:
    """Why a candidate is out of the question before any path is looked for."""
    regions, region, name = holds.requirements.regions, candidate.resource.spec.location.region, candidate.resource.id
    if not candidate.gateways:
        return _nothing("gateways", f"destination {name} attaches to no gateway")
    if regions and region not in regions:
        by = dict(holds.origins).get("regions")
        asked, where = ", ".join(regions), f"is in {region}" if region else "does not state its region"
        return Infeasible(
            requirement="regions",
            asked=asked,
            nearest=", ".join(sorted({*regions, region})) if region else "",
            message=f"regions: asked {asked}{f' by MeshPolicy {by}' if by else ''}; destination {name} {where}",
        )
    return None


def _nothing(requirement: str, cause: str) -> Infeasible:
    return Infeasible(requirement=requirement, asked="", nearest="", message=f"{requirement}: {cause}")


class Circuits:
    """The circuits in place, found by what they are for."""

    def __init__(self, circuits: Iterable[Circuit]) -> None:
        self._by_ends: dict[tuple[str, str, str], list[Circuit]] = {}
        for one in circuits:
            self._by_ends.setdefault((one.spec.class_, one.spec.from_, one.spec.to), []).append(one)

    def of(self, demand: Demand) -> Circuit | None:
        """The circuit that carries a demand now, or would if its class and ends stay as they are: one that lists the
        intent before one that does not, one with an active label before one that drains, then by id."""
        ends = dict.fromkeys(gateway for candidate in demand.candidates for gateway in candidate.gateways)
        fitting = [
            circuit
            for first in demand.source_gateways
            for last in ends
            for circuit in self._by_ends.get((demand.class_, first, last), ())
        ]

        def rank(circuit: Circuit) -> tuple[bool, bool, str]:
            active = any(label.state is LabelState.ACTIVE for label in circuit.status.labels)
            return (demand.intent.id not in circuit.status.intents, not active, circuit.id)

        return fitting[0] if len(fitting) == 1 else min(fitting, key=rank, default=None)


def carried_in_place(
    arrays: Arrays, jobs: Iterable[tuple[Demand, Circuit | None]], measured_bps: Mapping[str, tuple[float, float]]
) -> dict[int, float]:
    """What the circuits in place carry within their rights, by number of the link, in bit/s.

    It is part of the throughput that links are predicted to carry, so it has to be taken out of that before the same
    circuits are planned again; else a circuit that fills its link would find no room on it and wander to and fro for
    ever. Traffic beyond what a circuit asked for counts as anybody's.

    Args:
        arrays: The snapshot.
        jobs: Demands, each with its circuit.
        measured_bps: By circuit id, what it carries forward and back. One that is not measured is taken to use what it
            asked for.
    """
    promised: dict[str, tuple[Circuit, float, float]] = {}
    for demand, circuit in jobs:
        if circuit is None or demand.intent.id not in circuit.status.intents:
            continue
        needs = demand.intent.spec.requirements
        _, forward, back = promised.get(circuit.id, (circuit, 0.0, 0.0))
        promised[circuit.id] = (circuit, forward + (needs.min_bandwidth or 0.0), back + (needs.reverse or 0.0))

    def in_use(link: int) -> float:
        one = arrays.links[link]
        return 0.0 if one.free_bps is None or one.capacity_bps is None else one.capacity_bps - one.free_bps.median

    carried: dict[int, float] = {}
    for circuit, forward, back in promised.values():
        sent, received = measured_bps.get(circuit.id, (forward, back))
        taken = (min(forward, sent), min(back, received))
        for step in pairwise(circuit.status.path) if any(taken) else ():
            # The status names gateways: of parallel underlays, the one that carries more is taken for the path's.
            links = arrays.topology.over(*step)
            if links:
                link = links[0] if len(links) == 1 else max(links, key=in_use)
                for number, bps in zip((link, int(arrays.topology.reverse[link])), taken, strict=True):
                    if number >= 0:
                        carried[number] = carried.get(number, 0.0) + bps
    return carried
