"""The mesh as a graph: which gateways can be linked, and a snapshot of the links with what is predicted for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foremesh.model.forecast import UNKNOWN, Forecast
from foremesh.model.link import Figure, LinkFacts, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.resource import Resource, Role
from foremesh.model.series import Metric
from foremesh.routing.arrays import link_key

DEFAULT_UNDERLAY = "internet"
"""The underlay of gateways whose manifest names no network."""


_NOTHING = LinkFacts()


def adjacency(gateways: Iterable[Resource]) -> tuple[LinkId, ...]:
    """The links that gateways can have, both ways each, sorted.

    Two gateways can be linked if they sit on the same network, at least one of them has an endpoint that the other can
    dial, and not both are Edge: Core and Transit link with everybody, Edge gateways never with each other.
    """
    found = sorted((one for one in gateways if one.spec.gateway), key=lambda one: one.id)
    links = []
    for src in found:
        for dst in found:
            a, b = src.spec.gateway, dst.spec.gateway
            if src.id == dst.id or a is None or b is None or src.spec.network != dst.spec.network:
                continue
            if Role.EDGE is a.role is b.role or not (a.endpoint or b.endpoint):
                continue
            links.append(LinkId(src=src.id, dst=dst.id, underlay=src.spec.network or DEFAULT_UNDERLAY))
    return tuple(links)


def build_graph(
    gateways: Iterable[Resource],
    links: Iterable[LinkId],
    forecasts: Mapping[Metric, Forecast],
    facts: Mapping[LinkId, LinkFacts] | None = None,
) -> MeshGraph:
    """Put gateways, links and forecasts together into a snapshot.

    Args:
        gateways: Resources of type Gateway; others are ignored.
        links: Directed links; those whose ends are not among the gateways are left out.
        forecasts: By metric. Each is reduced over its horizon: the mean of the medians, and the worst step of the
            pessimistic quantile, because a requirement has to hold all the time.
        facts: What is known of single links; it goes before what their gateways declare.

    Returns:
        The graph, sorted by id. Free bandwidth is what both gateways declare they can carry (the smaller capacity) less
        the predicted throughput; its pessimistic figure subtracts the pessimistic throughput. The egress price of a
        link is that of the gateway it leaves; 0 between gateways of the same provider and region where both are named,
        which clouds do not bill as egress. Whatever is not declared or not predicted is None: unknown.
    """
    by_id = {gateway.id: gateway for gateway in gateways if gateway.spec.gateway}

    def predicted(metric: Metric, key: LinkId | str) -> Figure | None:
        forecast = forecasts.get(metric)
        return None if forecast is None else forecast.figure(key)

    def model(key: LinkId) -> str:
        forecast = forecasts.get(Metric.RTT)
        name = UNKNOWN if forecast is None else forecast.model(key)
        return "" if name == UNKNOWN else name

    nodes, edges = [], []
    for gateway in by_id.values():
        spec, location = gateway.spec.gateway, gateway.spec.location
        if spec is None:
            continue
        nodes.append(
            Node(
                id=gateway.id,
                role=spec.role,
                region=location.region,
                provider=location.provider,
                risk_groups=spec.risk_groups,
                load=predicted(Metric.LOAD, gateway.id),
            )
        )
    for link in {*links}:
        if link.src not in by_id or link.dst not in by_id:
            continue
        fact = (facts or {}).get(link, _NOTHING)
        capacity = _first(fact.capacity_bps, _capacity(by_id[link.src], by_id[link.dst]))
        edges.append(
            PredictedLink(
                id=link,
                rtt_ms=predicted(Metric.RTT, link),
                loss=predicted(Metric.LOSS, link),
                free_bps=_free(capacity, predicted(Metric.THROUGHPUT, link)),
                capacity_bps=capacity,
                egress_price=_first(fact.egress_price, _price(by_id[link.src], by_id[link.dst])),
                forecast_model=model(link),
            )
        )
    return MeshGraph(
        nodes=tuple(sorted(nodes, key=lambda node: node.id)),
        links=tuple(sorted(edges, key=lambda edge: link_key(edge.id))),
    )


def _first(known: float | None, otherwise: float | None) -> float | None:
    return otherwise if known is None else known


def _capacity(src: Resource, dst: Resource) -> float | None:
    """A capacity that one side does not declare is not taken from the other: it could be anything."""
    ends = [end.spec.gateway.capacity for end in (src, dst) if end.spec.gateway]
    declared = [capacity for capacity in ends if capacity is not None]
    return float(min(declared)) if len(declared) == 2 else None


def _free(capacity_bps: float | None, throughput: Figure | None) -> Figure | None:
    if capacity_bps is None or throughput is None:
        return None
    return Figure(
        median=max(0.0, capacity_bps - max(0.0, throughput.median)),
        pessimistic=max(0.0, capacity_bps - max(0.0, throughput.pessimistic)),
    )


def _price(src: Resource, dst: Resource) -> float | None:
    here, there = src.spec.location, dst.spec.location
    if here.provider and here.region and (here.provider, here.region) == (there.provider, there.region):
        return 0.0
    price = src.spec.egress_price
    return None if price is None else float(price)


def to_networkx(graph: MeshGraph) -> Any:
    """The graph as a ``networkx.MultiDiGraph``, for people and tests: gateways and links carry their figures as
    attributes (``rtt_ms``, ``rtt_p90_ms``, ``loss``, ``free_bps``, ``egress_price``), None where unknown; a link's key
    is its underlay."""
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
            loss=None if link.loss is None else link.loss.pessimistic,
            free_bps=None if link.free_bps is None else link.free_bps.pessimistic,
            egress_price=link.egress_price,
        )
    return exported
