"""The plan: a path for every demand, in the order of priority, each on what those before it have left.

A circuit stays on its path while that is feasible and nothing beats it by more than a margin; it leaves at once when
its path becomes infeasible. Pure: no clock, no memory; what is in place is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from foremesh.collection import uncollected
from foremesh.model.circuit import Circuit
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.policy import Policy
from foremesh.routing.arrays import Arrays, Topology
from foremesh.routing.ask import Ask, Router, traffic_bps
from foremesh.routing.crowd import Effort
from foremesh.routing.crowding import Crowding
from foremesh.routing.demand import (
    Circuits,
    Demand,
    Option,
    PlannerSettings,
    carried_in_place,
    options,
    traffic_in_place,
)
from foremesh.routing.jobs import Job, Prepared
from foremesh.routing.placing import Placing
from foremesh.routing.repair import contended, repair
from foremesh.routing.replan import Memory, Watched
from foremesh.routing.rescue import rescue
from foremesh.routing.restandby import Standbys
from foremesh.routing.runs import seek_all
from foremesh.routing.standby import stand_by
from foremesh.routing.standing import Standing
from foremesh.routing.steady import weigh


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
        settings: Margins, number of runners-up, whether to look for standby paths.
        made_at_s: Unix time of the newest input, copied into the plan.
        measured_bps: By circuit id, what it carries forward and back, or is predicted to; a circuit of which that is
            not known is taken to use what its intents asked for. It is counted once: taken off the path in use while
            its demand is placed, and put on the path chosen.

    Returns:
        A placement for each demand, sorted by intent and source. Demands of one class between the same gateways get the
        same path, and their bandwidths add up; if a later one cannot use the path of those before it, a path that
        serves all of them is looked for. A pinned path is used if it meets every requirement, whatever it costs, and
        otherwise reported infeasible. A demand that a circuit carries already and that no path serves any more gets the
        least bad one (``rescue``): its placement has both a path and ``infeasible``.
    """
    planner = Planner(demands, policies, settings or PlannerSettings())
    return planner.plan(graph, current, made_at_s=made_at_s, measured_bps=measured_bps)


class Planner:
    """``make_plan`` for many plans of the same demands under the same policies: what depends on those alone is worked
    out once, and what depends on who is linked with whom as long as that stays the same."""

    @uncollected()
    def __init__(self, demands: Iterable[Demand], policies: Iterable[Policy], settings: PlannerSettings) -> None:
        rules = tuple(policies)
        listed = sorted(demands, key=attrgetter("key"))
        turns = sorted(range(len(listed)), key=lambda number: -listed[number].intent.spec.priority)
        self._prepared = [prepare(listed[number], rules) for number in turns]
        self._listed = sorted(range(len(turns)), key=turns.__getitem__)
        self._settings = settings
        self._topology: Topology | None = None
        self.last: Memory | None = None
        """The newest plan and what it was made of."""

    @uncollected()
    def replan(
        self,
        graph: MeshGraph,
        current: Iterable[Circuit],
        *,
        made_at_s: float,
        measured_bps: Mapping[str, tuple[float, float]] | None = None,
    ) -> Plan:
        """The same as ``plan``, to the letter; far quicker where little has changed since the last plan (see
        ``routing.replan``)."""
        circuits, measured = sorted(current, key=lambda circuit: circuit.id), measured_bps or {}
        found = self.last and self.last.replan(graph, circuits, measured, made_at_s)
        return found or self.plan(graph, circuits, made_at_s=made_at_s, measured_bps=measured)

    def warm(self) -> None:
        """Work out what the first ``replan`` after this needs besides the plan; to be called while nobody waits."""
        if self.last is not None:
            self.last.warm()

    @uncollected()
    def plan(
        self,
        graph: MeshGraph,
        current: Iterable[Circuit],
        *,
        made_at_s: float,
        measured_bps: Mapping[str, tuple[float, float]] | None = None,
    ) -> Plan:
        """Place every demand; arguments as for ``make_plan``."""
        if self._topology is None or not self._topology.fits(graph):
            self._topology = Topology(graph)
        circuits = sorted(current, key=lambda circuit: circuit.id)
        in_place = Circuits(circuits)
        jobs = [Job(prepared, in_place.of(prepared.demand)) for prepared in self._prepared]
        arrays = Arrays(graph, self._topology)
        crowding = Crowding(arrays)  # before anything is released: forecasts hold for what is there now
        sent = traffic_in_place([(job.demand, job.circuit) for job in jobs], measured_bps or {})
        carried = carried_in_place(arrays, zip((job.circuit for job in jobs), sent, strict=True))
        arrays.release(carried)
        for job, traffic in zip(jobs, sent, strict=True) if measured_bps else ():
            if traffic is not None:
                job.prepared, job.more_bps = job.prepared.sending(traffic.all), traffic.more
        pins = {(one.spec.class_, (one.spec.from_, one.spec.to)): one.spec.path for one in circuits if one.spec.path}
        moves = Watched(made_at_s, len(circuits), self._settings.most_moves)
        placing = Placing(Router(arrays, crowding), pins, self._settings, moves)
        turns = sorted(range(len(jobs)), key=lambda number: _turn(jobs[number]))
        jobs, place = [jobs[number] for number in turns], {number: turn for turn, number in enumerate(turns)}
        listed, crowded, effort = [place[number] for number in self._listed], False, Effort()
        for _, group in groupby(jobs, key=lambda job: job.demand.intent.spec.priority):
            tier = list(group)
            seek_all(placing, tier)
            if contended(placing, tier):
                crowded = True
                repair(placing, tier, effort)
            for job in tier:
                placing.refuse(job)
        rescue(placing, jobs)
        if self._settings.weigh_risk and circuits:
            weigh(placing, jobs)  # only where traffic moves round trips, where replans are full plans
        standbys = None
        if self._settings.standby:
            standbys = Standbys.before(placing.router)
            number = {id(job): turn for turn, job in enumerate(jobs)}
            standbys.members = {key: [number[id(job)] for job in members] for key, members in placing.sharing.items()}
            standbys.kept = stand_by(placing)
        plan = Plan(made_at_s=made_at_s, placements=tuple([jobs[turn].placement() for turn in listed]))
        standing = Standing(
            circuits={one.id: one for one in circuits},
            measured_bps=measured_bps or {},
            prepared=[self._prepared[number] for number in turns],
            sent=[sent[number] for number in turns],
            carried_bps=carried,
        )
        self.last = Memory(
            graph, standing, arrays, pins, self._settings, jobs, listed, plan, moves.asked, standbys, crowded
        )
        return plan


def _turn(job: Job) -> tuple[int, bool]:
    """Whose turn it is first; else it goes by the order of demands. Who is carried already goes before newcomers of his
    priority: what was admitted stays so."""
    return (-job.demand.intent.spec.priority, not job.carried)


def prepare(demand: Demand, policies: tuple[Policy, ...]) -> Prepared:
    """What a demand asks, with what policies leave of it."""
    choices, refused = options(demand, policies)
    dedicated = demand.intent.spec.dedicated
    return Prepared(
        demand=demand,
        asks=tuple((option, _ask(demand, option)) for option in choices),
        refused=refused,
        sharing=f"{demand.class_} of {demand.intent.id}" if dedicated else demand.class_,
    )


def _ask(demand: Demand, option: Option) -> Ask:
    return Ask(
        sources=demand.source_gateways,
        destinations=option.destinations,
        requirements=option.effective.requirements,
        weights=option.effective.weights,
        traffic_bps=traffic_bps(option.effective.requirements),
        prefer=option.effective.prefer,
        through=option.effective.through,
    )
