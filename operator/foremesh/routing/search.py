"""``select_path``: the cheapest path that meets every requirement, without Kubernetes or anything else around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from itertools import islice

from msgspec import structs

from foremesh.model.intent import Profile, Requirements
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.plan import Infeasible, Path
from foremesh.model.policy import Prefer
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router, traffic_bps
from foremesh.routing.cost import PROFILES, Weights
from foremesh.routing.explain import explain, reached
from foremesh.routing.given import (
    check_count,
    check_ends,
    check_graph,
    check_number,
    check_prefer,
    check_rates,
    check_requirements,
    check_through,
)

RUNNERS_UP = 2
"""Paths listed after the chosen one: enough to see what it was chosen over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The answer: either a path, with those that come next, or why there is none."""

    path: Path | None
    runners_up: tuple[Path, ...] = ()
    infeasible: Infeasible | None = None


def select_path(
    graph: MeshGraph,
    source_gateways: Mapping[str, float | None],
    destination_gateways: Mapping[str, float | None],
    requirements: Requirements | None = None,
    weights: Weights = PROFILES[Profile.BALANCED],
    *,
    reserved_bps: Mapping[LinkId, float] | None = None,
    through: Iterable[Iterable[str]] = (),
    prefer: Iterable[Prefer] = (),
    runners_up: int = RUNNERS_UP,
) -> Selection:
    """Choose the path with the lowest predicted cost among those that meet every requirement, exactly.

    Example::

        >>> from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
        >>> from foremesh.model.resource import Role
        >>> from foremesh.model.units import Milliseconds
        >>> def link(src, dst, rtt_ms):
        ...     return PredictedLink(id=LinkId(src=src, dst=dst), rtt_ms=Figure(median=rtt_ms, pessimistic=rtt_ms + 2))
        >>> graph = MeshGraph(
        ...     nodes=tuple(Node(id=name, role=Role.CORE) for name in ("ams", "fra", "lon")),
        ...     links=(link("ams", "fra", 40.0), link("ams", "lon", 8.0), link("lon", "fra", 12.0)),
        ... )
        >>> chosen = select_path(graph, {"ams": 0.0}, {"fra": 0.0}, Requirements(max_latency=Milliseconds(25)))
        >>> chosen.path.text, chosen.path.figures.latency_p90_ms
        ('ams > lon > fra', 24.0)
        >>> nothing = select_path(graph, {"ams": 0.0}, {"fra": 0.0}, Requirements(max_latency=Milliseconds(20)))
        >>> nothing.infeasible.message
        'maxLatency: asked 20ms, nearest 24ms by ams > lon > fra'

    Args:
        graph: Gateways and links with what is predicted for them. A figure that is None is unknown: it costs as much
            as the worst known one and meets no requirement.
        source_gateways: Where the path may begin: gateway to the round trip, in milliseconds, of the attachment behind
            it; 0 if the gateway itself is the end, None if it is unknown.
        destination_gateways: Where it may end, likewise; any of them will do (any-cast).
        requirements: What must hold. Sums (latency, loss, hops, egress price) and bottlenecks (bandwidth, forward on
            the path's links and ``reverse`` on those the other way) are judged by pessimistic figures; exactly what is
            asked for is enough. Latency is the round trip from end to end, with what the bandwidth asked for adds to
            queues where it is known how links queue. Edge gateways only begin or end a path.
        weights: Importance of the terms of the cost; ``PROFILES`` has one set per profile.
        reserved_bps: What others have been promised on links, in bit/s; it is not free.
        through: Groups of gateways, of each of which the path must pass at least one; its ends count.
        prefer: What policies prefer.
        runners_up: How many further paths to list, by cost.

    Returns:
        The path and its runners-up, ties broken by fewer links, then by ids; or the requirement that binds with the
        nearest figure that could be had. A source that is also a destination is a path of no links.

    Raises:
        ValueError: If a figure, limit, round trip or rate is negative or not finite, or a share over 1; if names are
            given as anything but a tuple; if every weight is 0. The message says which, what it is, and what it may
            be. What is unknown is None, never NaN.

    Notes:
        Pure: the answer depends on the arguments only, and not on the order of anything in them.
    """
    needs = Requirements() if requirements is None else requirements
    check_graph(graph)
    check_ends("source_gateways", source_gateways)
    check_ends("destination_gateways", destination_gateways)
    check_requirements("", needs)
    check_rates("reserved_bps", {} if reserved_bps is None else reserved_bps)
    check_count("runners_up", runners_up)
    check_number("runners_up", runners_up)
    if not isinstance(weights, Weights):
        raise ValueError(f"weights is {weights!r}; it must be a Weights, such as PROFILES[Profile.LATENCY]")
    if not any(astuple(weights)):
        raise ValueError("every cost weight is 0, so that all paths cost the same; one must be over 0")
    ask = Ask(
        sources=source_gateways,
        destinations=destination_gateways,
        requirements=needs,
        weights=weights,
        traffic_bps=traffic_bps(needs),
        prefer=check_prefer(prefer),
        through=check_through(through),
        reserved_bps=reserved_bps or {},
    )
    return select(Router(Arrays(graph)), ask, runners_up=runners_up)


def select(router: Router, ask: Ask, *, runners_up: int = RUNNERS_UP) -> Selection:
    """``select_path`` for one of many questions to the same snapshot."""
    found = paths(router, ask, 1 + runners_up)
    if not found:
        why = explain(router, ask)
        told = structs.replace(why, shortfalls=reached(router, ask, why.shortfalls))
        return Selection(path=None, infeasible=told)
    return Selection(path=found[0], runners_up=tuple(found[1:]))


def paths(router: Router, ask: Ask, count: int) -> list[Path]:
    """The ``count`` best paths that meet an Ask, best first."""
    prices = router.prices(ask)
    return [router.path(route, ask, prices) for route in islice(router.routes(ask, prices), count)]
