"""``optimize_path``: what is in place, optimised anew on new predictions, without Kubernetes or anything around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral

from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.intent import Destination, Intent, IntentSpec, Profile, Requirements, Source
from foremesh.model.link import MeshGraph
from foremesh.model.meta import Meta
from foremesh.model.plan import Infeasible, Path
from foremesh.model.resource import GatewaySpec, Resource, ResourceSpec, ResourceType, Role
from foremesh.routing.demand import Candidate, Demand, PlannerSettings
from foremesh.routing.given import check_count, check_graph, check_names, check_number, check_requirements
from foremesh.routing.planner import make_plan

HERE = "circuits"
"""Namespace of what is made up for the planner; nobody sees it."""


NOTHING_ASKED = Requirements()


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """A circuit between two gateways, and where it runs.

    Attributes:
        name: What it is called; no two are called alike.
        source: Gateway that it begins at.
        destination: Gateway that it ends at.
        path: Gateways that it runs over, from ``source`` to ``destination``; empty: nowhere yet.
        requirements: What must hold, as for ``select_path``.
        profile: What counts among the paths for which it does.
        priority: The higher one is placed first.
        carries_bps: What it is measured or expected to carry, there and back, in bit/s; it is in the predictions of
            the links of ``path`` already. None: what ``requirements`` ask for.
    """

    name: str
    source: str
    destination: str
    path: tuple[str, ...] = ()
    requirements: Requirements = NOTHING_ASKED
    profile: Profile = Profile.BALANCED
    priority: int = 0
    carries_bps: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do with a circuit.

    Attributes:
        name: The circuit's.
        before: Gateways that it runs over now.
        path: Where it should run, with what is predicted there; None: nothing serves it.
        reason: Why, in a sentence.
        infeasible: Why no path meets its requirements. With a path, that is the least bad one.
        runners_up: What else there was, by cost.
    """

    name: str
    before: tuple[str, ...]
    path: Path | None
    reason: str
    infeasible: Infeasible | None = None
    runners_up: tuple[Path, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether there is something to do: another path, or a first one."""
        return self.path is not None and self.path.gateways != self.before


def optimize_path(
    graph: MeshGraph, circuits: Iterable[InUse], settings: PlannerSettings | None = None
) -> tuple[Advice, ...]:
    """Optimise the paths of circuits that share a network, all together, each from where it is.

    As the operator does: by priority, each on what those before it have left; a circuit stays where it is as long as
    that will do and nothing beats it by more than the margin, and leaves at once when it will not.

    Example::

        >>> from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
        >>> from foremesh.model.resource import Role
        >>> def link(src, dst, rtt_ms):
        ...     rtt, loss = Figure(median=rtt_ms, pessimistic=rtt_ms + 2), Figure(median=0.0, pessimistic=0.001)
        ...     free = Figure(median=1e9, pessimistic=9e8)
        ...     return PredictedLink(
        ...         id=LinkId(src=src, dst=dst), rtt_ms=rtt, loss=loss, free_bps=free, egress_price=0.0
        ...     )
        >>> graph = MeshGraph(
        ...     nodes=tuple(Node(id=name, role=Role.CORE) for name in ("ams", "fra", "lon")),
        ...     links=(link("ams", "fra", 40.0), link("ams", "lon", 8.0), link("lon", "fra", 12.0)),
        ... )
        >>> direct = InUse(name="a", source="ams", destination="fra", path=("ams", "fra"))
        >>> short = InUse(name="b", source="lon", destination="fra", path=("lon", "fra"))
        >>> for advice in optimize_path(graph, [direct, short]):
        ...     print(advice.name, advice.moves, advice.reason)
        a True moved from ams > fra to ams > lon > fra: 40.0 -> 20.0 ms, cost 24% lower
        b False stays on lon > fra: 12.0 ms

    Args:
        graph: Gateways and links with what is predicted for them; as for ``select_path``.
        circuits: What is in place, and what is still to be placed.
        settings: Margins, and what else the planner can be told.

    Returns:
        What to do with each circuit, in the order of their names.

    Raises:
        ValueError: If two circuits are called alike, or a path does not lead from source to destination; if a
            figure, limit, rate or setting is negative or not finite, or a share over 1; if the graph
            contradicts itself, or something is not of the type that it is to have.

    Notes:
        Pure: the same circuits on the same predictions, in whatever order, get the same advice.
    """
    check_graph(graph)
    every = sorted(_in_use(circuits), key=lambda one: one.name)
    _check(every)
    _check_settings(PlannerSettings() if settings is None else settings)
    plan = make_plan(
        graph,
        [_demand(one) for one in every],
        [_circuit(one) for one in every if one.path],
        (),
        settings,
        made_at_s=0.0,
        measured_bps={_id(one): one.carries_bps for one in every if one.carries_bps is not None},
    )
    placed = {one.intent: one for one in plan.placements}
    return tuple(
        Advice(
            name=one.name,
            before=one.path,
            path=found.path,
            reason=found.reason,
            infeasible=found.infeasible,
            runners_up=found.runners_up,
        )
        for one in every
        if (found := placed[_id(one)])
    )


def _in_use(circuits: Iterable[InUse]) -> Iterator[InUse]:
    """The circuits, each of the types that it is to have."""
    if not isinstance(circuits, Iterable):
        raise ValueError(f"circuits is {circuits!r}; it must be a list of InUse")
    for one in circuits:
        if not isinstance(one, InUse):
            raise ValueError(f"one of the circuits is {one!r}; it must be an InUse")
        for name in ("name", "source", "destination"):
            if not isinstance(getattr(one, name), str):
                raise ValueError(f"circuit {one.name}: {name} is {getattr(one, name)!r}; it must be a string")
        check_names(f"circuit {one.name}: path", one.path)
        if not isinstance(one.priority, Integral):  # numpy has its own
            raise ValueError(f"circuit {one.name}: priority is {one.priority!r}; it must be a whole number")
        if one.profile not in tuple(Profile):
            raise ValueError(f"circuit {one.name}: profile is {one.profile!r}; it must be a Profile")
        if not (one.carries_bps is None or (isinstance(one.carries_bps, tuple) and len(one.carries_bps) == 2)):
            raise ValueError(
                f"circuit {one.name}: carries_bps is {one.carries_bps!r}; it must be a tuple of bit/s there and back, "
                "or None if it is what requirements ask for"
            )
        yield one


def _check(circuits: list[InUse]) -> None:
    names = Counter(one.name for one in circuits)
    for one in circuits:
        if names[one.name] > 1:
            raise ValueError(f"{names[one.name]} circuits are called {one.name}; advice would be about neither")
        if one.path and (one.path[0], one.path[-1]) != (one.source, one.destination):
            way = " > ".join(one.path)
            raise ValueError(f"circuit {one.name} is from {one.source} to {one.destination}, and its path is {way}")
        check_requirements(f"circuit {one.name}: ", one.requirements)
        for way, bps in zip(("there", "back"), one.carries_bps or (), strict=False):
            check_number(f"circuit {one.name}: carries_bps {way}", bps)


def _check_settings(settings: PlannerSettings) -> None:
    if not isinstance(settings, PlannerSettings):
        raise ValueError(f"settings is {settings!r}; it must be a PlannerSettings")
    for name in ("margin", "move_worth", "dwell_s", "margin_ms", "runners_up"):
        check_number(f"settings.{name}", getattr(settings, name))
    check_count("settings.runners_up", settings.runners_up)
    check_number("settings.most_moves", settings.most_moves, most=1.0)


def _id(one: InUse) -> str:
    return f"{HERE}/{one.name}"


def _demand(one: InUse) -> Demand:
    """The circuit as a demand of its own, which shares a path with nobody."""
    source, destination = _gateway(one.source), _gateway(one.destination)
    spec = IntentSpec(
        from_=Source(resource=one.source),
        to=Destination(resource=one.destination),
        requirements=one.requirements,
        profile=one.profile,
        priority=one.priority,
    )
    return Demand(
        intent=Intent(meta=Meta(name=one.name, namespace=HERE), spec=spec),
        source=source,
        source_gateways={one.source: 0.0},
        candidates=(Candidate(resource=destination, gateways={one.destination: 0.0}),),
        class_=one.name,
    )


def _gateway(id_: str) -> Resource:
    namespace, _, name = id_.rpartition("/")
    return Resource(
        meta=Meta(name=name, namespace=namespace),
        spec=ResourceSpec(type=ResourceType.GATEWAY, gateway=GatewaySpec(role=Role.CORE)),
    )


def _circuit(one: InUse) -> Circuit:
    return Circuit(
        meta=Meta(name=one.name, namespace=HERE),
        spec=CircuitSpec(from_=one.source, to=one.destination, class_=one.name),
        status=CircuitStatus(
            path=one.path,
            labels=(LabelAllocation(number=0, state=LabelState.ACTIVE, path=one.path),),
            intents=(_id(one),),
        ),
    )
