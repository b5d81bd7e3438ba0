"""The plan: a path for every demand, in the order of priority, each on what those before it have left.

A circuit stays on its path while that is feasible and nothing beats it by more than a margin; it leaves at once when
its path becomes infeasible. Pure: no clock, no memory; what is in place is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from foremesh.model.circuit import Circuit
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.policy import Policy
from foremesh.routing.arrays import Arrays, Topology
from foremesh.routing.ask import Ask, Router, traffic_bps
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
from foremesh.routing.rescue import rescue
from foremesh.routing.standby import stand_by


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
        measured_bps: By circuit id, what it carries forward and back; a circuit that is not measured is taken to use
            what its intents asked for.

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

    def __init__(self, demands: Iterable[Demand], policies: Iterable[Policy], settings: PlannerSettings) -> None:
        rules = tuple(policies)
        ordered = sorted(demands, key=lambda demand: (-demand.intent.spec.priority, demand.key))
        self._prepared = [_prepare(demand, rules) for demand in ordered]
        self._listed = sorted(range(len(ordered)), key=lambda number: ordered[number].key)
        self._settings = settings
        self._topology: Topology | None = None

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
        arrays.release(carried_in_place(arrays, zip((job.circuit for job in jobs), sent, strict=True)))
        for job, traffic in zip(jobs, sent, strict=True) if measured_bps else ():
            if traffic is not None:
                job.prepared = job.prepared.sending(traffic)
        pins = {(one.spec.class_, (one.spec.from_, one.spec.to)): one.spec.path for one in circuits if one.spec.path}
        placing = Placing(Router(arrays, crowding), pins, self._settings)
        for job in jobs:
            placing.place(job)
        rescue(placing, jobs)
        if self._settings.standby:
            stand_by(placing)
        return Plan(made_at_s=made_at_s, placements=tuple([jobs[number].placement() for number in self._listed]))


def _prepare(demand: Demand, policies: tuple[Policy, ...]) -> Prepared:
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
