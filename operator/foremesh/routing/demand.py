"""What the planner is asked: demands, the options that policies leave them, and how willing it is to move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from foremesh.model.circuit import Circuit, LabelState
from foremesh.model.intent import Intent
from foremesh.model.plan import Infeasible
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import traffic_bps
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

    @property
    def asked_bps(self) -> Traffic:
        """The bandwidth that its Intent asks for."""
        return traffic_bps(self.intent.spec.requirements)


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


Traffic = tuple[float, float]
"""What is sent, and what comes back, in bit/s."""


def traffic_in_place(
    demands: Sequence[tuple[Demand, Circuit | None]], measured_bps: Mapping[str, Traffic]
) -> list[Traffic | None]:
    """What each demand's circuit carries for it within its rights; None for one that no circuit carries yet.

    Traffic beyond what a circuit asked for counts as anybody's.

    Args:
        demands: Each with its circuit.
        measured_bps: By circuit id, what it carries. One that is not measured is taken to use what it asked for; what
            is measured is shared as the bandwidths asked for are.
    """
    carried = [circuit is not None and one.intent.id in circuit.status.intents for one, circuit in demands]
    asked: dict[str, Traffic] = {}
    for (demand, circuit), is_carried in zip(demands, carried, strict=True):
        if circuit is not None and is_carried:
            there, back = asked.get(circuit.id, (0.0, 0.0))
            more_there, more_back = demand.asked_bps
            asked[circuit.id] = (there + more_there, back + more_back)

    def share(demand: Demand, circuit: Circuit) -> Traffic:
        all_of_it = asked[circuit.id]
        found = zip(demand.asked_bps, all_of_it, measured_bps.get(circuit.id, all_of_it), strict=True)
        there, back = (own * min(1.0, sent / total) if total else 0.0 for own, total, sent in found)
        return there, back

    return [
        share(demand, circuit) if circuit is not None and is_carried else None
        for (demand, circuit), is_carried in zip(demands, carried, strict=True)
    ]


def carried_in_place(arrays: Arrays, demands: Iterable[tuple[Circuit | None, Traffic | None]]) -> dict[int, float]:
    """What circuits in place carry for demands, by number of the link, in bit/s.

    It is part of the throughput that links are predicted to carry, so it has to be taken out of that before the same
    circuits are planned again; else a circuit that fills its link would find no room on it and wander to and fro for
    ever.

    Args:
        arrays: The snapshot.
        demands: The circuit of each and what it carries for it.
    """
    carried: dict[int, float] = {}
    for circuit, traffic in demands:
        for link in links_in_use(arrays, circuit) if circuit and traffic and any(traffic) else ():
            for number, bps in zip((link, int(arrays.topology.reverse[link])), traffic or (), strict=True):
                if number >= 0:
                    carried[number] = carried.get(number, 0.0) + bps
    return carried


def links_in_use(arrays: Arrays, circuit: Circuit) -> list[int]:
    """Numbers of the links that a circuit runs over, as far as they are in the graph. Its status names gateways: of
    parallel underlays, the one that carries more is taken for the path's."""

    def used_bps(link: int) -> float:
        one = arrays.links[link]
        return 0.0 if one.free_bps is None or one.capacity_bps is None else one.capacity_bps - one.free_bps.median

    choices = (arrays.topology.over(*step) for step in pairwise(circuit.status.path))
    return [links[0] if len(links) == 1 else max(links, key=used_bps) for links in choices if links]
