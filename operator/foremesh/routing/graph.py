"""The mesh as a graph: a snapshot of the links with what is predicted for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from foremesh.model.forecast import UNKNOWN, Forecast
from foremesh.model.link import Course, Figure, LinkFacts, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.resource import GatewaySpec, Resource
from foremesh.model.series import Metric
from foremesh.routing.arrays import link_key

_NOTHING = LinkFacts()


def build_graph(
    gateways: Iterable[Resource],
    links: Iterable[LinkId],
    forecasts: Mapping[Metric, Forecast],
    facts: Mapping[LinkId, LinkFacts] | None = None,
    queueing_ms: Mapping[LinkId, float] | None = None,
) -> MeshGraph:
    """Put gateways, links and forecasts together into a snapshot.

    Args:
        gateways: Resources of type Gateway; others are ignored.
        links: Directed links; those whose ends are not among the gateways are left out.
        forecasts: By metric. Each is reduced over its horizon: the mean of the medians, and the worst step of the
            pessimistic quantile, because a requirement has to hold all the time. Links of which the round trip, the
            loss or the throughput changes meanwhile have their steps besides (``PredictedLink.course``).
        facts: What is known of single links; it goes before what their gateways declare.
        queueing_ms: How much round trips rise with load, where that is known; see ``PredictedLink``.

    Returns:
        The graph, sorted by id. Free bandwidth is what both gateways declare they can carry (the smaller capacity) less
        the predicted throughput; its pessimistic figure subtracts the pessimistic throughput. The egress price of a
        link is that of the gateway it leaves; 0 between gateways of the same provider and region where both are named,
        which clouds do not bill as egress. Whatever is not declared or not predicted is None: unknown.
    """
    ends = {gateway.id: _End.of(gateway, gateway.spec.gateway) for gateway in gateways if gateway.spec.gateway}
    rtt, loss, throughput, load, jitter = (
        _reader(forecasts.get(metric))
        for metric in (Metric.RTT, Metric.LOSS, Metric.THROUGHPUT, Metric.LOAD, Metric.JITTER)
    )
    courses = _courses(forecasts)
    models, known, rises = forecasts.get(Metric.RTT), facts or {}, queueing_ms or {}
    edges = []
    for link in dict.fromkeys(links):
        src, dst = ends.get(link.src), ends.get(link.dst)
        if src is None or dst is None:
            continue
        capacity, price = _smaller(src.capacity, dst.capacity), _price(src, dst)
        if known:
            fact = known.get(link, _NOTHING)
            capacity, price = _first(fact.capacity_bps, capacity), _first(fact.egress_price, price)
        name = UNKNOWN if models is None else models.model(link)
        edges.append(
            PredictedLink(
                id=link,
                rtt_ms=rtt(link),
                loss=loss(link),
                jitter_ms=None if (varies := jitter(link)) is None else max(0.0, varies.median),
                free_bps=_free(capacity, throughput(link)),
                capacity_bps=capacity,
                queueing_ms=rises.get(link),
                rtt_error_ms=None if models is None else models.error(link),
                egress_price=price,
                forecast_model="" if name == UNKNOWN else name,
                course=courses(link, capacity),
            )
        )
    nodes = (structs.replace(end.node, load=load(id)) for id, end in ends.items())
    return MeshGraph(
        nodes=tuple(sorted(nodes, key=lambda node: node.id)),
        links=tuple(sorted(edges, key=lambda edge: link_key(edge.id))),
    )


def capacities(
    gateways: Iterable[Resource], links: Iterable[LinkId], facts: Mapping[LinkId, LinkFacts] | None = None
) -> dict[LinkId, float]:
    """What links can carry, in bit/s, as ``build_graph`` has it; those of which nobody knows are left out."""
    ends = {gateway.id: gateway.spec.gateway.capacity for gateway in gateways if gateway.spec.gateway}
    found = {}
    for link in links:
        fact = (facts or {}).get(link, _NOTHING).capacity_bps
        capacity = _first(fact, _smaller(ends.get(link.src), ends.get(link.dst)))
        if capacity is not None:
            found[link] = capacity
    return found


@dataclass(frozen=True, slots=True)
class _End:
    """What a gateway declares that its links depend on."""

    node: Node
    place: tuple[str, str] | None
    """Provider and region, if both are named."""
    capacity: float | None
    price: float | None

    @classmethod
    def of(cls, gateway: Resource, spec: GatewaySpec) -> _End:
        location, price = gateway.spec.location, gateway.spec.egress_price
        return cls(
            node=Node(
                id=gateway.id,
                role=spec.role,
                region=location.region,
                provider=location.provider,
                risk_groups=spec.risk_groups,
                labels=tuple(sorted(f"{key}={value}" for key, value in gateway.meta.labels.items())),
            ),
            place=(location.provider, location.region) if location.provider and location.region else None,
            capacity=None if spec.capacity is None else float(spec.capacity),
            price=None if price is None else float(price),
        )


def _reader(forecast: Forecast | None) -> Callable[[LinkId | str], Figure | None]:
    return (lambda _: None) if forecast is None else forecast.figures.get


def _courses(forecasts: Mapping[Metric, Forecast]) -> Callable[[LinkId, float | None], Course | None]:
    """By link and capacity, how its figures change. Forecasts whose steps are not those of round trips have none that
    could be told beside them."""
    rtt = forecasts.get(Metric.RTT)
    if rtt is None:
        return lambda link, capacity_bps: None
    step_s, grid = rtt.step_s, (rtt.step_s, rtt.values.shape[2])
    told = (forecasts.get(metric) for metric in (Metric.RTT, Metric.LOSS, Metric.THROUGHPUT))
    rtts, losses, throughputs = (
        one.courses if one and (one.step_s, one.values.shape[2]) == grid else {} for one in told
    )

    def course(link: LinkId, capacity_bps: float | None) -> Course | None:
        rtt_ms, lost, sent = rtts.get(link, ()), losses.get(link, ()), throughputs.get(link, ())
        if not (rtt_ms or lost or sent):
            return None
        free = [_free(capacity_bps, figure) for figure in sent]
        found = Course(step_s=step_s, rtt_ms=rtt_ms, loss=lost, free_bps=tuple([one for one in free if one]))
        return found if found.rtt_ms or found.loss or found.free_bps else None

    return course


def _first(known: float | None, otherwise: float | None) -> float | None:
    return otherwise if known is None else known


def _smaller(src: float | None, dst: float | None) -> float | None:
    """A capacity that one side does not declare is not taken from the other: it could be anything."""
    return None if src is None or dst is None else min(float(src), float(dst))


def _free(capacity_bps: float | None, throughput: Figure | None) -> Figure | None:
    if capacity_bps is None or throughput is None:
        return None
    return Figure(
        median=max(0.0, capacity_bps - max(0.0, throughput.median)),
        pessimistic=max(0.0, capacity_bps - max(0.0, throughput.pessimistic)),
    )


def _price(src: _End, dst: _End) -> float | None:
    return 0.0 if src.place is not None and src.place == dst.place else src.price


def to_networkx(graph: MeshGraph) -> Any:
    """The graph as a ``networkx.MultiDiGraph``, for people and tests: gateways and links carry their figures as
    attributes (``rtt_ms``, ``rtt_p90_ms``, ``jitter_ms``, ``loss``, ``free_bps``, ``egress_price``), None where
    unknown; a link's key is its underlay."""
    import networkx  # only at this edge: planning does without it

    exported = networkx.MultiDiGraph()
    for node in graph.nodes:
        load = None if node.load is None else node.load.median
        exported.add_node(node.id, role=str(node.role), region=node.region, provider=node.provider, load=load)
    for link in graph.links:
        exported.add_edge(
            link.id.src,
            link.id.dst,
            key=link.id.underlay,
            rtt_ms=None if link.rtt_ms is None else link.rtt_ms.median,
            rtt_p90_ms=None if link.rtt_ms is None else link.rtt_ms.pessimistic,
            jitter_ms=link.jitter_ms,
            loss=None if link.loss is None else link.loss.pessimistic,
            free_bps=None if link.free_bps is None else link.free_bps.pessimistic,
            egress_price=link.egress_price,
        )
    return exported
