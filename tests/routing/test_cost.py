"""What paths cost: which figure decides, and for whom."""

from __future__ import annotations

import pytest

from foremesh.model.intent import Profile
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.series import Metric
from foremesh.routing import PROFILES, Selection, build_graph, select_path
from foremesh.routing.cost import JITTER_UNIT_MS, TERMS
from routing.test_graph import forecast, gateway
from routing.worlds import link, mesh, node


def two_ways(by_fast: dict[str, float], by_slow: dict[str, float]) -> MeshGraph:
    """From a to z by one of two gateways; the figures are those of the first link, the second is alike on both."""
    return mesh(
        *(node(name) for name in ("a", "fast", "slow", "z")),
        links=(
            link("a", "fast", **by_fast),  # type: ignore[arg-type]
            link("a", "slow", **by_slow),  # type: ignore[arg-type]
            link("fast", "z", free=10e9),
            link("slow", "z", free=10e9),
        ),
    )


def chosen(graph: MeshGraph, profile: Profile) -> Selection:
    return select_path(graph, {"a": 0.0}, {"z": 0.0}, weights=PROFILES[profile])


def taken(graph: MeshGraph, profile: Profile) -> str:
    path = chosen(graph, profile).path
    assert path is not None
    return path.gateways[1]


@pytest.mark.parametrize(
    ("price", "throughput", "bulk", "cost"),
    [
        pytest.param(0.0, "fast", "fast", "fast", id="throughput-for-nothing"),
        pytest.param(0.03, "fast", "fast", "slow", id="worth-its-price"),
        pytest.param(0.05, "fast", "slow", "slow", id="not-worth-it"),
        pytest.param(0.20, "fast", "slow", "slow", id="throughput-whatever-it-costs"),
    ],
)
def test_bulk_takes_throughput_as_long_as_it_is_worth_its_price(
    price: float, throughput: str, bulk: str, cost: str
) -> None:
    """1 Gbit/s that is paid for, or 200 Mbit/s for nothing: a gigabyte takes 8 s or 40 s, which is worth 4 cents."""
    graph = two_ways({"free": 1e9, "price": price}, {"free": 200e6})
    assert [taken(graph, one) for one in (Profile.THROUGHPUT, Profile.BULK, Profile.COST)] == [throughput, bulk, cost]


def test_bulk_turns_where_a_gigabyte_costs_what_its_time_is_worth() -> None:
    """The dearest price that throughput is paid for grows with what it saves: it is a rate, not a threshold."""

    def worth(slow_bps: float) -> float:
        prices = [number / 1000 for number in range(100)]
        ways = [two_ways({"free": 1e9, "price": price}, {"free": slow_bps}) for price in prices]
        return max(price for price, graph in zip(prices, ways, strict=True) if taken(graph, Profile.BULK) == "fast")

    assert worth(500e6) == pytest.approx(0.01, abs=0.001)
    assert worth(200e6) == pytest.approx(0.04, abs=0.001)
    assert worth(100e6) == pytest.approx(0.09, abs=0.001)


def test_latency_is_nothing_to_bulk_and_all_to_latency() -> None:
    graph = two_ways({"rtt_ms": 20.0, "free": 200e6}, {"rtt_ms": 120.0, "free": 1e9})
    assert (taken(graph, Profile.LATENCY), taken(graph, Profile.BULK)) == ("fast", "slow")


def test_of_two_paths_the_steadier_wins() -> None:
    graph = two_ways({"rtt_ms": 10.0, "jitter": 20.0}, {"rtt_ms": 12.0, "jitter": 1.0})
    assert taken(graph, Profile.LATENCY) == "slow"
    path = chosen(graph, Profile.LATENCY).path
    assert path is not None
    weight = PROFILES[Profile.LATENCY].jitter
    assert path.terms["jitter"] == pytest.approx(weight * (1.0 + 20.0) / JITTER_UNIT_MS), "unknown is the worst known"


def test_jitter_that_nobody_tells_costs_nothing() -> None:
    path = chosen(two_ways({}, {}), Profile.LATENCY).path
    assert path is not None
    assert path.terms["jitter"] == 0.0


def test_terms_are_named_and_add_up() -> None:
    graph = two_ways({"jitter": 3.0, "loss": 0.01, "price": 0.02}, {"rtt_ms": None})
    path = chosen(graph, Profile.BALANCED).path
    assert path is not None
    assert tuple(path.terms) == TERMS
    assert sum(path.terms.values()) == pytest.approx(path.figures.cost, abs=1e-9)


def test_jitter_comes_from_its_forecast() -> None:
    there = LinkId(src="lab/a", dst="lab/b")
    told = forecast(Metric.JITTER, {there: [[1.0, 2.0], [3.0, 5.0], [9.0, 9.0]]})
    graph = build_graph([gateway("a"), gateway("b")], [there, there.reverse], {Metric.JITTER: told})
    assert [one.jitter_ms for one in graph.links] == [4.0, None], "the mean of the medians; unknown is not 0"
