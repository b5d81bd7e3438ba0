"""The plan: a path for every demand, in the order of priority, each on what those before it have left.

A circuit stays on its path while that is feasible and nothing beats it by more than a margin; it leaves at once when
its path becomes infeasible. Pure: no clock, no memory; what is in place is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.plan import Infeasible, Path, Placement, Plan
from foremesh.model.policy import Policy
from foremesh.model.units import Milliseconds
from foremesh.routing.arrays import Arrays, link_key
from foremesh.routing.ask import Ask, Router
from foremesh.routing.demand import (
    Demand,
    Option,
    PlannerSettings,
    carried_in_place,
    circuit_of,
    options,
    pairs_along,
)
from foremesh.routing.explain import explain
from foremesh.routing.needs import path_text
from foremesh.routing.policy import Effective, tighten
from foremesh.routing.search import paths

EQUAL = 1e-9
"""Share by which a gain may exceed the margin and still count as equal to it: noise of binary fractions."""


def make_plan(
    graph: MeshGraph,
    demands: Iterable[Demand],
    current: Iterable[Circuit],
    policies: Iterable[Policy],
    settings: PlannerSettings | None = None,
    *,
    made_at_s: float,
    measured_bps: Mapping[str, tuple[float, float]] | None = None,
) -> Plan:
    """Place every demand.

    Args:
        graph: The snapshot with its predictions.
        demands: Who wants what; placed by descending priority, then by intent and source.
        current: Circuits as they are: their status says where they run, their spec whether they are pinned.
        policies: Every MeshPolicy.
        settings: Margin and number of runners-up.
        made_at_s: Unix time of the newest input, copied into the plan.
        measured_bps: By circuit id, what it carries forward and back; a circuit that is not measured is taken to use
            what its intents asked for.

    Returns:
        A placement for each demand, sorted by intent and source. Demands of one class between the same gateways get the
        same path, and their bandwidths add up; if a later one cannot use the path of those before it, a path that
        serves all of them is looked for. A pinned path is used if it meets every requirement, whatever it costs, and
        otherwise reported infeasible.
    """
    planner = Planner(demands, policies, settings or PlannerSettings())
    return planner.plan(graph, current, made_at_s=made_at_s, measured_bps=measured_bps)


class Planner:
    """``make_plan`` for many plans of the same demands under the same policies: what depends on those alone is worked
    out once. Holds no state between plans that shows in one."""

    def __init__(self, demands: Iterable[Demand], policies: Iterable[Policy], settings: PlannerSettings) -> None:
        self._demands = sorted(demands, key=lambda demand: (-demand.intent.spec.priority, demand.key))
        self._policies = tuple(policies)
        self._settings = settings

    def plan(
        self,
        graph: MeshGraph,
        current: Iterable[Circuit],
        *,
        made_at_s: float,
        measured_bps: Mapping[str, tuple[float, float]] | None = None,
    ) -> Plan:
        """Place every demand; arguments as for ``make_plan``."""
        circuits = sorted(current, key=lambda circuit: circuit.id)
        jobs = [(demand, circuit_of(demand, circuits)) for demand in self._demands]
        carried = carried_in_place(graph, jobs, measured_bps or {})
        pins = {(one.spec.class_, (one.spec.from_, one.spec.to)): one.spec.path for one in circuits if one.spec.path}
        planner = _Planner(graph, carried, pins, self._policies, self._settings)
        for demand, circuit in jobs:
            planner.place(demand, circuit)
        return Plan(made_at_s=made_at_s, placements=tuple(planner.placements()))


@dataclass(slots=True)
class _Job:
    """A demand and what has become of it so far."""

    demand: Demand
    circuit: Circuit | None
    option: Option | None = None
    path: Path | None = None
    runners_up: tuple[Path, ...] = ()
    current: Path | None = None
    """The path in use as it is now predicted, if it still meets the requirements."""
    better: Path | None = None
    """The cheapest path, where the one in use is kept instead."""
    lost: str = ""
    """Why the path in use will no longer do, where it will not."""
    joint: bool = False
    """The path serves several demands that one by one would have chosen others."""
    infeasible: Infeasible | None = None

    @property
    def in_use(self) -> tuple[str, ...]:
        return self.circuit.status.path if self.circuit else ()

    @property
    def carried(self) -> bool:
        """Whether the circuit carries this demand already, and not only others of its class."""
        return self.circuit is not None and self.demand.intent.id in self.circuit.status.intents

    @property
    def pinned(self) -> tuple[str, ...]:
        return self.circuit.spec.path if self.circuit else ()


_Pair = tuple[str, str]
"""First and last gateway of a circuit."""


class _Planner:
    def __init__(
        self,
        graph: MeshGraph,
        carried_bps: Mapping[LinkId, float],
        pins: Mapping[tuple[str, _Pair], tuple[str, ...]],
        policies: tuple[Policy, ...],
        settings: PlannerSettings,
    ) -> None:
        self._graph = graph
        arrays = Arrays(graph)
        numbers = arrays.topology.link_number
        arrays.release({numbers[link]: bps for link, bps in carried_bps.items() if link in numbers})
        self._router = Router(arrays)
        self._pins = pins
        self._policies = policies
        self._settings = settings
        self._jobs: list[_Job] = []
        self._sharing: dict[tuple[str, _Pair], list[_Job]] = {}
        """By class and ends, the demands that one circuit carries."""

    def place(self, demand: Demand, circuit: Circuit | None) -> None:
        """Find a path for one more demand, on what the others have left."""
        job = _Job(demand, circuit)
        self._jobs.append(job)
        choices, job.infeasible = options(demand, self._policies)
        if not choices:
            return
        asks = [(option, self._ask(job, option)) for option in choices]
        if job.pinned:
            asks = [(option, self._along(ask, job.pinned)) for option, ask in asks]
        found = [(path, option) for option, ask in asks for path in self._listing(job, ask)]
        found.sort(key=lambda one: _rank(one[0]))
        if found:
            self._choose(job, asks, found)
        elif job.pinned or not self._join(job, asks):
            job.infeasible = self._explain(job, *asks[0])

    def placements(self) -> list[Placement]:
        """What has become of all of them, sorted by intent and source."""
        return [_placement(job, self._settings) for job in sorted(self._jobs, key=lambda job: job.demand.key)]

    def _ask(self, job: _Job, option: Option) -> Ask:
        return Ask(
            sources=job.demand.source_gateways,
            destinations=option.destinations,
            requirements=option.effective.requirements,
            weights=option.effective.weights,
            prefer=option.effective.prefer,
            through=option.effective.through,
        )

    def _along(self, ask: Ask, gateways: tuple[str, ...]) -> Ask:
        """The Ask confined to one path of gateways."""
        first, last = gateways[:1], gateways[-1:]
        return replace(
            ask,
            sources={gateway: rtt for gateway, rtt in ask.sources.items() if gateway in first},
            destinations={gateway: rtt for gateway, rtt in ask.destinations.items() if gateway in last},
            along=pairs_along(self._graph, gateways),
        )

    def _fixed(self, job: _Job, ask: Ask) -> dict[_Pair, frozenset[LinkId]]:
        """Ends between which there is nothing to choose, with the links to use: the demand's class has a circuit there
        that was placed before, or is pinned."""
        fixed = {}
        for (class_, pair), gateways in self._pins.items():
            if class_ == job.demand.class_:
                fixed[pair] = pairs_along(self._graph, gateways)
        for (class_, pair), members in self._sharing.items():
            if class_ == _class(job.demand) and members[0].path:
                fixed[pair] = frozenset(members[0].path.links)
        return {pair: links for pair, links in fixed.items() if pair[0] in ask.sources and pair[1] in ask.destinations}

    def _listing(self, job: _Job, ask: Ask) -> list[Path]:
        """The best paths that a demand may use."""
        count = 1 + (0 if job.pinned else self._settings.runners_up)
        fixed = self._fixed(job, ask)
        if not fixed:
            return paths(self._router, ask, count)
        found = []
        for source, rtt_ms in ask.sources.items():
            open_ends = {end: rtt for end, rtt in ask.destinations.items() if (source, end) not in fixed}
            found += paths(self._router, replace(ask, sources={source: rtt_ms}, destinations=open_ends), count)
        for pair, links in fixed.items():
            found += paths(self._router, _between(ask, pair, links), 1)
        return found

    def _choose(self, job: _Job, asks: list[tuple[Option, Ask]], found: list[tuple[Path, Option]]) -> None:
        """Take the cheapest path, unless the one in use is nearly as good."""
        path, option = found[0]
        if job.in_use and not job.pinned:
            listings = [(one, self._listing(job, self._along(ask, job.in_use))) for one, ask in asks]
            usable = [(old, one) for one, listing in listings for old in listing if old.gateways == job.in_use]
            if usable:
                job.current, its_option = min(usable, key=lambda one: _rank(one[0]))
                if path.gateways != job.in_use and not _saves_enough(job.current, path, self._settings):
                    job.better, path, option = path, job.current, its_option
            else:
                job.lost = self._why_lost(job, [ask for _, ask in asks])
        job.path, job.option = path, option
        others = (one for one, _ in found if (one.gateways, one.links) != (path.gateways, path.links))
        job.runners_up = tuple(others)[: self._settings.runners_up]
        self._reserve(job, +1)
        self._sharing.setdefault((_class(job.demand), _ends(path)), []).append(job)

    def _reserve(self, job: _Job, sign: int) -> None:
        if job.path is None or job.option is None:
            return
        needs = job.option.effective.requirements
        for link in job.path.links:
            for id, bps in ((link, needs.min_bandwidth), (link.reverse, needs.reverse)):
                number = self._router.arrays.topology.link_number.get(id)
                if bps and number is not None:
                    self._router.ledger.add(number, sign * bps)

    def _join(self, job: _Job, asks: list[tuple[Option, Ask]]) -> bool:
        """Look for a path that serves a demand together with those whose circuit it has to share."""
        for option, ask in asks:
            for (class_, pair), members in self._sharing.items():
                fits = class_ == _class(job.demand) and pair[0] in ask.sources and pair[1] in ask.destinations
                if not fits or (job.demand.class_, pair) in self._pins:
                    continue
                everyone = [*((member, member.option) for member in members if member.option), (job, option)]
                together = reduce(_both, (_gateway_to_gateway(one, pair, part) for one, part in everyone))
                if together is None:
                    continue
                for member in members:
                    self._reserve(member, -1)
                asked = replace(
                    self._ask(job, Option(effective=together, destinations={pair[1]: 0.0}, resources={})),
                    sources={pair[0]: 0.0},
                )
                found = paths(self._router, asked, 1)
                links = frozenset(found[0].links) if found else frozenset()
                served = [
                    (one, part, paths(self._router, _between(self._ask(one, part), pair, links), 1))
                    for one, part in everyone
                    if found
                ]
                if served and all(path for _, _, path in served):
                    for one, part, (path,) in served:
                        one.option, one.path, one.better, one.joint = part, path, None, True
                    members.append(job)
                for member in members:
                    self._reserve(member, +1)
                if job.joint:
                    return True
        return False

    def _why_lost(self, job: _Job, asks: list[Ask]) -> str:
        """Why the path in use is not among those that a demand may use."""
        for ask in asks:
            old = self._along(ask, job.in_use)
            if not (old.sources and old.destinations):
                continue
            if self._router.best(old) is not None:
                return "its circuit is shared with intents placed before"
            return explain(self._router, old).message
        return "its ends are no longer candidates"

    def _explain(self, job: _Job, option: Option, ask: Ask) -> Infeasible:
        origins = dict(option.effective.origins)
        prefix, suffix = "", ""
        if job.pinned:
            prefix = f"pinned to {path_text(job.pinned)}: "
        elif self._router.best(ask) is not None:
            pair, links = next(iter(self._fixed(job, ask).items()))
            ask = _between(ask, pair, links)
            partners = self._sharing.get((_class(job.demand), pair))
            whose = f"shared with {partners[0].demand.intent.id}" if partners else "pinned"
            prefix = f"the circuit of class {job.demand.class_} {path_text(pair)} is {whose}: "
        if self._router.best(replace(ask, reserved_bps={})) is not None:
            suffix = "; there would be a path but for the bandwidth promised to intents placed before"
        why = explain(self._router, ask, origins=origins)
        return structs.replace(why, message=prefix + why.message + suffix)


def _class(demand: Demand) -> str:
    """What shares a circuit; a dedicated intent shares it with nobody but its own sources."""
    return f"{demand.class_} of {demand.intent.id}" if demand.intent.spec.dedicated else demand.class_


def _ends(path: Path) -> _Pair:
    return (path.gateways[0], path.gateways[-1])


def _between(ask: Ask, pair: _Pair, links: frozenset[LinkId]) -> Ask:
    """The Ask confined to one path of links."""
    first, last = pair
    return replace(
        ask,
        sources={first: ask.sources[first]},
        destinations={last: ask.destinations[last]},
        along=links,
    )


def _gateway_to_gateway(job: _Job, pair: _Pair, option: Option) -> Effective | None:
    """What a demand asks of the path between its gateways: its latency less that of its attachments."""
    needs = option.effective.requirements
    if needs.max_latency is None:
        return option.effective
    offsets = (job.demand.source_gateways[pair[0]], option.destinations[pair[1]])
    known = [rtt_ms for rtt_ms in offsets if rtt_ms is not None]
    left = needs.max_latency - sum(known)
    if len(known) < len(offsets) or left < 0:
        return None
    return replace(option.effective, requirements=structs.replace(needs, max_latency=Milliseconds(left)))


def _both(one: Effective | None, other: Effective | None) -> Effective | None:
    return None if one is None or other is None else tighten(one, other)


def _rank(path: Path) -> tuple[float, int, tuple[str, ...], tuple[tuple[str, str, str], ...]]:
    links = tuple(link_key(link) for link in path.links)
    return (path.figures.cost or 0.0, len(path.links), path.gateways, links)


def _gain(old: Path, new: Path) -> float:
    """Share of the old path's cost that the new one saves."""
    before, after = old.figures.cost or 0.0, new.figures.cost or 0.0
    return (before - after) / before if before > 0 else 0.0


def _saves_enough(old: Path, new: Path, settings: PlannerSettings) -> bool:
    """Whether a path is better than the one in use by more than both margins. A round trip that is not known is not
    shorter than one that is."""
    if _gain(old, new) <= settings.margin * (1 + EQUAL):
        return False
    before_ms, after_ms = old.figures.latency_ms, new.figures.latency_ms
    if not settings.margin_ms or before_ms is None:
        return True
    return after_ms is not None and before_ms - after_ms > settings.margin_ms * (1 + EQUAL)


def _placement(job: _Job, settings: PlannerSettings) -> Placement:
    intent, source = job.demand.key
    if job.path is None or job.option is None:
        reason = job.infeasible.message if job.infeasible else ""
        return Placement(intent=intent, source=source, infeasible=job.infeasible, reason=reason)
    path = job.path
    chosen = (path.gateways, path.links)
    return Placement(
        intent=intent,
        source=source,
        destination=job.option.resources[path.gateways[-1]],
        path=path,
        runners_up=tuple(one for one in job.runners_up if (one.gateways, one.links) != chosen),
        kept=job.better is not None,
        reason=_reason(job, path, settings),
    )


def _reason(job: _Job, path: Path, settings: PlannerSettings) -> str:
    if job.pinned:
        return f"pinned to {path.text}: {_latency(path)}"
    if job.better is not None:
        gain = f"gain {_gain(path, job.better):.1%} by {job.better.text}"
        return f"kept {path.text}: {gain} is within the {settings.margin:.0%} margin"
    shared = ", which serves all that share the circuit" if job.joint else ""
    if not (job.in_use and job.carried):
        return f"placed on {path.text}: {_latency(path)}{shared}"
    if path.gateways == job.in_use:
        return f"stays on {path.text}: {_latency(path)}{shared}"
    moved = f"moved from {path_text(job.in_use)} to {path.text}"
    if job.current is None:
        why = f"; the old path will not do ({job.lost})" if job.lost else ""
        return f"{moved}: {_latency(path)}{why}{shared}"
    cheaper = f", cost {_gain(job.current, path):.0%} lower" if not job.joint else ""
    return f"{moved}: {_latency(job.current, unit='')} -> {_latency(path)}{cheaper}{shared}"


def _latency(path: Path, unit: str = " ms") -> str:
    latency_ms = path.figures.latency_ms
    return "round trip unknown" if latency_ms is None else f"{latency_ms:.1f}{unit}"
