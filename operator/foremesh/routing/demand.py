"""What the planner is asked: demands, the options that policies leave them, and how willing it is to move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from msgspec import structs

from foremesh.model.circuit import Circuit, LabelState
from foremesh.model.intent import Intent
from foremesh.model.plan import Infeasible, Shortfall
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.routing.arrays import Arrays, Topology
from foremesh.routing.ask import Ask, traffic_bps
from foremesh.routing.needs import LISTS, asked, asked_text
from foremesh.routing.policy import Effective, effective


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    margin: float = 0.1
    """Share of the current path's cost that the best one has to save before a circuit moves to it, where nobody knows
    how far forecasts err, default 0.1: smaller differences are within what they usually do."""
    move_worth: float = 0.02
    """The same where that is known of every link that makes a difference, default 0.02: what a move costs in probes,
    label space and reordered packets. By how much forecasts erred lately comes on top (``stability``). As large a share
    of the horizon within limits is worth a move as well (``steady``)."""
    dwell_s: float = 600.0
    """Seconds after a move in which a circuit is not moved again for the sake of cost, default 600, the horizon that it
    was moved for. A path that breaks its limits or dies is left at once all the same."""
    most_moves: float = 0.1
    """Share of the circuits that one plan moves onto a link for the sake of cost, default 0.1, and one at the least: a
    link that has just become the best fills step by step, while its forecast follows. Who waits differs from plan to
    plan."""
    next_s: float = 90.0
    """Seconds until a later plan can have moved somebody, with one plan to spare as forecasts are no clocks, default
    90: two plans, and half a minute for probing and switching. Who can leave a path then, before it gets bad, stays."""
    margin_ms: float = 0.0
    """Milliseconds of round trip, end to end, that it has to save as well, default 0: where people think of hysteresis
    in milliseconds (NetBird's is 10)."""
    weigh_risk: bool = True
    """Whether to weigh how likely limits are broken, for a circuit and for all that share its links, default yes; who
    knows no more of links than one value each has nothing to weigh."""
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


def effective_between(demand: Demand, candidate: Candidate, policies: Iterable[Policy]) -> Effective:
    """What holds for a demand towards one of its candidates, with what policies add."""
    return effective(
        demand.intent,
        demand.source,
        candidate.resource,
        policies,
        source_addresses=demand.source_addresses,
        destination_addresses=candidate.addresses,
    )


def options(demand: Demand, policies: Iterable[Policy]) -> tuple[list[Option], Infeasible | None]:
    """What policies leave of a demand, or why they leave nothing.

    Where several candidates stand behind one gateway, the one with the shortest known attachment counts, then the
    first by id.
    """
    rules, found, refused = tuple(policies), dict[Effective, list[Candidate]](), list[tuple[Infeasible, Effective]]()
    if not demand.candidates:
        return [], _nothing("candidates", "nobody but the source offers what it asks for")
    if not demand.source_gateways:
        return [], _nothing("gateways", f"source {demand.source.id} attaches to no gateway")
    for candidate in sorted(demand.candidates, key=lambda one: one.resource.id):
        holds = effective_between(demand, candidate, rules)
        problem = holds.refused or _unfit(candidate, holds)
        if problem is not None:
            refused.append((problem, holds))
        else:
            found.setdefault(holds, []).append(candidate)
    if not found:
        why = "; ".join(dict.fromkeys(one.message for one, _ in refused))
        first, holds = refused[0]
        return [], structs.replace(first, message=why, shortfalls=_beside(first, holds))
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


def _beside(refused: Infeasible, holds: Effective) -> tuple[Shortfall, ...]:
    """What leaves no destination, and what else is asked: none of that helps, however far it is relaxed."""
    if refused.requirement not in LISTS:
        return ()
    by, ask = (
        dict(holds.origins),
        Ask(sources={}, destinations={}, requirements=holds.requirements, weights=holds.weights, through=holds.through),
    )
    others = {name: asked_text(ask, name) for name in asked(ask) if name != refused.requirement}
    return tuple(
        Shortfall(
            requirement=name,
            asked=told,
            policy=by.get(name, ""),
            nearest=refused.nearest if name == refused.requirement else "",
        )
        for name, told in {refused.requirement: refused.asked, **others}.items()
    )


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


@dataclass(frozen=True, slots=True)
class InPlace:
    """What a circuit carries for one demand, in bit/s."""

    granted: Traffic
    """Within what its Intent asked for."""
    more: Traffic = (0.0, 0.0)
    """Beyond that."""

    @property
    def all(self) -> Traffic:
        return self.granted[0] + self.more[0], self.granted[1] + self.more[1]


def traffic_in_place(
    demands: Sequence[tuple[Demand, Circuit | None]], measured_bps: Mapping[str, Traffic]
) -> list[InPlace | None]:
    """What each demand's circuit carries for it; None for one that no circuit carries yet.

    Args:
        demands: Each with its circuit.
        measured_bps: By circuit id, what it carries or is expected to. One that is not known is taken to use what it
            asked for. What is known is shared as the bandwidths asked for are; alike, where none is asked for.
    """
    carried = [circuit is not None and one.intent.id in circuit.status.intents for one, circuit in demands]
    sharing: dict[str, list[Traffic]] = {}
    for (demand, circuit), is_carried in zip(demands, carried, strict=True):
        if circuit is not None and is_carried:
            sharing.setdefault(circuit.id, []).append(demand.asked_bps)

    def share(own: float, asked: list[float], sent: float) -> tuple[float, float]:
        total = sum(asked)
        part = sent * (own / total if total else 1 / len(asked))
        return min(own, part), max(0.0, part - own)

    def of(demand: Demand, circuit: Circuit) -> InPlace:
        there, back = (list(one) for one in zip(*sharing[circuit.id], strict=True))
        sent = measured_bps.get(circuit.id, (sum(there), sum(back)))
        ways = zip(demand.asked_bps, (there, back), sent, strict=True)
        (granted, more), (granted_back, more_back) = (share(*way) for way in ways)
        return InPlace((granted, granted_back), (more, more_back))

    return [
        of(demand, circuit) if circuit is not None and is_carried else None
        for (demand, circuit), is_carried in zip(demands, carried, strict=True)
    ]


def carried_in_place(arrays: Arrays, demands: Iterable[tuple[Circuit | None, InPlace | None]]) -> dict[int, float]:
    """What circuits in place carry for demands within what was asked for, by number of the link, in bit/s.

    It is part of the throughput that links are predicted to carry, so it has to be taken out of that before the same
    circuits are planned again; else a circuit that fills its link would find no room on it and wander to and fro for
    ever. What they carry beyond that stays where it is until their turn comes (``Placing.leaving``): nobody asked for
    room for it, so who is placed before them has to see it.

    Args:
        arrays: The snapshot.
        demands: The circuit of each and what it carries for it.
    """
    carried, reverse = dict[int, float](), arrays.topology.reverse.tolist()
    for circuit, traffic in demands:
        if circuit is None or traffic is None or not any(traffic.granted):
            continue
        there_bps, back_bps = traffic.granted
        for link in links_in_use(arrays, circuit):
            carried[link] = carried.get(link, 0.0) + there_bps
            if (other := reverse[link]) >= 0:
                carried[other] = carried.get(other, 0.0) + back_bps
    return carried


def links_in_use(arrays: Arrays, circuit: Circuit) -> list[int]:
    """Numbers of the links that a circuit runs over, as far as they are in the graph. Of parallel underlays, its labels
    name those of its path; where none does, the one that carries more is taken for the path's."""

    def used_bps(link: int) -> float:
        one = arrays.links[link]
        return 0.0 if one.free_bps is None or one.capacity_bps is None else one.capacity_bps - one.free_bps.median

    choices = links_over(arrays.topology, circuit.status.path, underlays_in_use(circuit))
    return [links[0] if len(links) == 1 else max(links, key=used_bps) for links in choices if links]


def links_over(topology: Topology, path: Sequence[str], underlays: Sequence[str]) -> list[Sequence[int]]:
    """By step of a path, the number of the link over the underlay that is named; else those of all parallel ones, and
    none if the graph has none."""
    choices: list[Sequence[int]] = [topology.over(*step) for step in pairwise(path)]
    if underlays and max(map(len, choices), default=0) > 1:
        for place, (links, underlay) in enumerate(zip(choices, underlays, strict=True)):
            named = [link for link in links if topology.link_ids[link].underlay == underlay]
            choices[place] = named if len(links) > 1 and named else links
    return choices


def runs_on(circuit: Circuit, gateways: Sequence[str], underlays: Sequence[str]) -> bool:
    """Whether this is the path that a circuit runs on: the same gateways, and as far as its labels tell, the same
    underlays."""
    return circuit.status.path == gateways and alike(underlays_in_use(circuit), underlays)


def came_from(circuit: Circuit, gateways: Sequence[str], underlays: Sequence[str]) -> bool:
    """Whether this is the path that a circuit had before."""
    status = circuit.status
    return status.moved_from == gateways and alike(status.moved_from_underlays, underlays)


def alike(told: Sequence[str], underlays: Sequence[str]) -> bool:
    """Whether underlays of the same steps are the same, as far as both are known."""
    pairs = zip(told, underlays, strict=False)
    return told == underlays or all(one == other for one, other in pairs if one and other)


def underlays_in_use(circuit: Circuit) -> tuple[str, ...]:
    """By link of the path in use, the underlay that it runs over; empty where no label tells."""
    told = [one for one in circuit.status.labels if one.path == circuit.status.path and one.underlays]
    told.sort(key=lambda one: one.state is not LabelState.ACTIVE)
    return told[0].underlays if told else ()
