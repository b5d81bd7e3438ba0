"""Which gateways are linked, and what a snapshot knows about the links."""

from __future__ import annotations

import math

import networkx
import numpy as np
import pytest

from foremesh.model.forecast import Forecast
from foremesh.model.link import Course, Figure, LinkId
from foremesh.model.meta import Meta
from foremesh.model.resource import GatewaySpec, Location, Resource, ResourceSpec, ResourceType, Role
from foremesh.model.series import Metric, SeriesKey
from foremesh.model.units import Bandwidth, Price
from foremesh.routing import adjacency, build_graph, to_networkx


def gateway(
    name: str,
    role: Role = Role.CORE,
    *,
    network: str = "internet",
    endpoint: str | None = "203.0.113.1:51820",
    capacity: float | None = 1e9,
    price: float | None = None,
    provider: str = "",
    region: str = "",
) -> Resource:
    return Resource(
        meta=Meta(name=name, namespace="lab"),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY,
            network=network,
            location=Location(provider=provider, region=region),
            egress_price=None if price is None else Price(price),
            gateway=GatewaySpec(
                role=role, endpoint=endpoint, capacity=None if capacity is None else Bandwidth(capacity)
            ),
        ),
    )


def forecast(metric: Metric, values: dict[SeriesKey, list[list[float]]], model: str = "prophet") -> Forecast:
    """Values by key: for each of the quantiles 0.1, 0.5 and 0.9 the steps."""
    keys = tuple(values)
    return Forecast(
        metric=metric,
        keys=keys,
        step_s=60.0,
        start_s=0.0,
        values=np.array([values[key] for key in keys], dtype=np.float64).transpose(1, 0, 2),
        models=(model,) * len(keys),
        reasons=("",) * len(keys),
    )


CASES = {
    "core-and-core-are-linked-both-ways": (gateway("a"), gateway("b"), True),
    "core-and-transit-are-linked": (gateway("a"), gateway("b", Role.TRANSIT), True),
    "transit-and-transit-are-linked": (gateway("a", Role.TRANSIT), gateway("b", Role.TRANSIT), True),
    "edge-is-linked-to-core": (gateway("a", Role.EDGE), gateway("b"), True),
    "edge-is-linked-to-transit": (gateway("a", Role.EDGE), gateway("b", Role.TRANSIT), True),
    "edge-is-never-linked-to-edge": (gateway("a", Role.EDGE), gateway("b", Role.EDGE), False),
    "one-endpoint-is-enough": (gateway("a", endpoint=None), gateway("b"), True),
    "without-any-endpoint-nobody-can-dial": (gateway("a", endpoint=None), gateway("b", endpoint=None), False),
    "other-networks-are-out-of-reach": (gateway("a", network="mpls"), gateway("b"), False),
    "a-network-of-its-own-is-the-underlay": (gateway("a", network="mpls"), gateway("b", network="mpls"), True),
}


@pytest.mark.parametrize(("one", "other", "linked"), CASES.values(), ids=CASES.keys())
def test_adjacency(one: Resource, other: Resource, linked: bool) -> None:
    underlay = one.spec.network
    there = LinkId(src="lab/a", dst="lab/b", underlay=underlay)
    assert adjacency([one, other]) == ((there, there.reverse) if linked else ())
    assert adjacency([other, one]) == adjacency([one, other])


def test_adjacency_leaves_out_what_is_no_gateway() -> None:
    pod = Resource(meta=Meta(name="pod", namespace="lab"), spec=ResourceSpec(type=ResourceType.CONTAINER))
    assert adjacency([pod, gateway("a")]) == ()


AB = LinkId(src="lab/a", dst="lab/b")


def test_a_forecast_becomes_the_mean_median_and_the_worst_pessimistic_step() -> None:
    rtt = forecast(Metric.RTT, {AB: [[9, 9], [10, 14], [20, 30]]}, model="last-value")
    graph = build_graph([gateway("a"), gateway("b")], [AB], {Metric.RTT: rtt})
    (link,) = graph.links
    assert link.rtt_ms == Figure(median=12.0, pessimistic=30.0)
    assert link.forecast_model == "last-value"
    assert (link.loss, link.free_bps, link.egress_price) == (None, None, None), "what nobody predicted is unknown"


def test_a_series_of_nan_is_unknown() -> None:
    rtt = forecast(Metric.RTT, {AB: [[math.nan]] * 3}, model="unknown")
    (link,) = build_graph([gateway("a"), gateway("b")], [AB], {Metric.RTT: rtt}).links
    assert (link.rtt_ms, link.forecast_model) == (None, "")


@pytest.mark.parametrize(
    ("mine", "theirs", "free"),
    [
        pytest.param(1e9, 5e8, Figure(median=4e8, pessimistic=3e8), id="the-smaller-capacity-less-what-is-carried"),
        pytest.param(1e9, 1.5e8, Figure(median=5e7, pessimistic=0.0), id="never-below-zero"),
        pytest.param(1e9, None, None, id="an-undeclared-capacity-is-unknown"),
    ],
)
def test_free_bandwidth(mine: float, theirs: float | None, free: Figure | None) -> None:
    carried = forecast(Metric.THROUGHPUT, {AB: [[5e7], [1e8], [2e8]]})
    ends = [gateway("a", capacity=mine), gateway("b", capacity=theirs)]
    (link,) = build_graph(ends, [AB], {Metric.THROUGHPUT: carried}).links
    assert link.free_bps == free


EU = {"provider": "one", "region": "eu"}
PRICES = {
    "the-price-is-that-of-the-gateway-left": (gateway("a", price=0.09), gateway("b", price=0.02), 0.09),
    "undeclared-is-unknown": (gateway("a"), gateway("b", price=0.02), None),
    "free-within-a-provider-and-region": (gateway("a", price=0.09, **EU), gateway("b", **EU), 0.0),
    "free-there-even-if-undeclared": (gateway("a", **EU), gateway("b", **EU), 0.0),
    "another-region-is-paid": (gateway("a", price=0.09, **EU), gateway("b", provider="one", region="us"), 0.09),
    "same-region-without-provider-is-paid": (gateway("a", price=0.09, region="eu"), gateway("b", region="eu"), 0.09),
}


@pytest.mark.parametrize(("src", "dst", "price"), PRICES.values(), ids=PRICES.keys())
def test_egress_price(src: Resource, dst: Resource, price: float | None) -> None:
    (link,) = build_graph([src, dst], [AB], {}).links
    assert link.egress_price == price


def test_the_graph_is_sorted_and_holds_only_links_between_its_gateways() -> None:
    gone = LinkId(src="lab/a", dst="lab/gone")
    load = forecast(Metric.LOAD, {"lab/a": [[0.1], [0.2], [0.4]]})
    ends = [gateway("b"), gateway("a", Role.EDGE, **EU)]
    graph = build_graph(ends, [AB.reverse, gone, AB, AB], {Metric.LOAD: load})
    assert [node.id for node in graph.nodes] == ["lab/a", "lab/b"]
    assert [link.id for link in graph.links] == [AB, AB.reverse]
    assert (graph.nodes[0].role, graph.nodes[0].region, graph.nodes[0].provider) == (Role.EDGE, "eu", "one")
    assert (graph.nodes[0].load, graph.nodes[1].load) == (Figure(median=0.2, pessimistic=0.4), None)


def test_the_graph_can_be_handed_to_networkx() -> None:
    rtt = forecast(Metric.RTT, {AB: [[1], [10], [12]]})
    exported = to_networkx(build_graph([gateway("a"), gateway("b")], [AB, AB.reverse], {Metric.RTT: rtt}))
    assert networkx.is_strongly_connected(exported)
    assert exported.edges["lab/a", "lab/b", "internet"]["rtt_p90_ms"] == 12.0
    assert exported.edges["lab/b", "lab/a", "internet"]["rtt_ms"] is None


def test_links_that_are_forecast_to_change_have_their_steps() -> None:
    link = LinkId(src="lab/a", dst="lab/b")
    rising = {link: [[9.0, 13.0], [10.0, 14.0], [11.0, 17.0]]}
    sent = {link: [[1e8, 1e8], [2e8, 9e8], [3e8, 2e9]]}
    forecasts = {Metric.RTT: forecast(Metric.RTT, rising), Metric.THROUGHPUT: forecast(Metric.THROUGHPUT, sent)}
    (built,) = build_graph([gateway("a"), gateway("b")], [link], forecasts).links
    assert built.course == Course(
        step_s=60.0,
        rtt_ms=(Figure(median=10.0, pessimistic=11.0), Figure(median=14.0, pessimistic=17.0)),
        free_bps=(Figure(median=8e8, pessimistic=7e8), Figure(median=1e8, pessimistic=0.0)),
    )


STEADY = {
    "as-good-as-flat": (Metric.RTT, [[9.0, 9.0], [10.0, 10.1], [11.0, 11.1]]),
    "no-more-than-it-is-uncertain": (Metric.RTT, [[9.0, 9.0], [10.0, 12.0], [12.0, 15.0]]),
    "only-the-uncertainty-grows": (Metric.RTT, [[9.0, 7.0], [10.0, 10.0], [11.0, 20.0]]),
    "a-little-loss": (Metric.LOSS, [[0.0, 0.0], [0.0, 0.0005], [0.0005, 0.001]]),
    "unknown": (Metric.RTT, [[math.nan] * 2] * 3),
}


@pytest.mark.parametrize(("metric", "values"), STEADY.values(), ids=STEADY.keys())
def test_of_what_hardly_changes_there_are_no_steps(metric: Metric, values: list[list[float]]) -> None:
    link = LinkId(src="lab/a", dst="lab/b")
    flat = {Metric.RTT: forecast(Metric.RTT, {link: [[9.0] * 2, [10.0] * 2, [11.0] * 2]})}
    forecasts = {**flat, metric: forecast(metric, {link: values})}
    (built,) = build_graph([gateway("a"), gateway("b")], [link], forecasts).links
    assert built.course is None


def test_steps_of_other_lengths_are_not_told_beside_those_of_round_trips() -> None:
    link = LinkId(src="lab/a", dst="lab/b")
    forecasts = {
        Metric.RTT: forecast(Metric.RTT, {link: [[9.0, 13.0], [10.0, 14.0], [11.0, 17.0]]}),
        Metric.LOSS: forecast(Metric.LOSS, {link: [[0.0, 0.0, 0.1], [0.0, 0.0, 0.1], [0.0, 0.0, 0.2]]}),
    }
    (built,) = build_graph([gateway("a"), gateway("b")], [link], forecasts).links
    assert built.course is not None
    assert (len(built.course.rtt_ms), built.course.loss) == (2, ())
