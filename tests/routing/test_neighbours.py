"""Which links large meshes have: enough, not too many, the same ones tomorrow."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.model.link import LinkId
from foremesh.model.meta import Meta
from foremesh.model.resource import GatewaySpec, Location, Resource, ResourceSpec, ResourceType, Role
from foremesh.routing.adjacency import adjacency
from foremesh.routing.neighbours import Limits, Pair, Seen, neighbours, pair

LIMITS = Limits(full_mesh=12, edge_neighbours=3, max_neighbours=10, trial_s=900)
NOW_S = 1_790_000_000.0


def gateway(
    name: str,
    role: Role = Role.CORE,
    *,
    at: tuple[float, float] | None = None,
    region: str = "",
    site: str = "",
    groups: tuple[str, ...] = (),
    network: str = "",
    endpoint: str | None = "203.0.113.1:51820",
) -> Resource:
    latitude, longitude = at or (None, None)
    return Resource(
        meta=Meta(name=name, namespace="lab"),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY,
            network=network,
            location=Location(region=region, site=site, latitude=latitude, longitude=longitude),
            gateway=GatewaySpec(role=role, endpoint=endpoint, risk_groups=groups),
        ),
    )


def world(seed: int, size: int, relays: float, *, regions: int = 6, placed: float = 1.0) -> list[Resource]:
    """Gateways around some cities, the share ``placed`` of them with coordinates."""
    random = Random(seed)
    cities = [(random.uniform(-60, 70), random.uniform(-180, 180)) for _ in range(regions)]
    made = []
    for number in range(size):
        city = random.randrange(regions)
        where = tuple(degrees + random.uniform(-3, 3) for degrees in cities[city])
        role = random.choice((Role.CORE, Role.TRANSIT)) if random.random() < relays else Role.EDGE
        at = where if random.random() < placed else None
        made.append(gateway(f"g{number:04}", role, at=at, region=f"r{city}" if random.random() < 0.8 else ""))
    return made


worlds = st.builds(
    world,
    st.integers(0, 10**6),
    st.integers(13, 45),
    st.sampled_from((0.1, 0.3, 0.7, 1.0)),
    regions=st.integers(1, 12),
    placed=st.sampled_from((0.0, 0.5, 1.0)),
)


def pairs(links: tuple[LinkId, ...]) -> set[Pair]:
    return {pair(link.src, link.dst) for link in links}


def degrees(found: set[Pair]) -> Counter[str]:
    return Counter(end for one in found for end in one)


def relays_of(gateways: list[Resource]) -> set[str]:
    return {one.id for one in gateways if one.role is not Role.EDGE}


def measured(found: set[Pair], seed: int) -> dict[Pair, float]:
    random = Random(seed)
    return {one: random.uniform(2, 200) for one in sorted(found)}


@given(worlds, st.integers(0, 2**31), st.booleans())
@settings(max_examples=25)
def test_links_are_symmetric_possible_connected_and_no_more_than_wished(
    gateways: list[Resource], seed: int, known: bool
) -> None:
    possible = adjacency(gateways)
    seen = Seen(rtt_ms=measured(pairs(possible), seed)) if known else Seen()
    links = neighbours(gateways, seen, LIMITS, now_s=None)
    assert set(links) <= set(possible)
    assert {link.reverse for link in links} == set(links)
    assert list(links) == sorted(links, key=lambda link: (link.src, link.dst, link.underlay))
    found, relays = pairs(links), relays_of(gateways)
    between = {one for one in found if relays.issuperset(one)}
    graph = networkx.Graph(sorted(between))
    graph.add_nodes_from(relays)
    assert len(relays) < 2 or networkx.is_connected(graph)
    # Every gateway chooses at most so many; at worst pairs of two join what would be apart.
    apart = 2 * len(relays) if len(relays) > LIMITS.max_neighbours + 1 else 0
    assert len(between) <= max(LIMITS.max_neighbours / 2, LIMITS.edge_neighbours) * len(relays) + apart
    towards = degrees(found - between)
    for one in gateways:
        if one.role is Role.EDGE:
            assert towards[one.id] == min(LIMITS.edge_neighbours, len(relays))


@given(worlds, st.integers(0, 2**31), st.floats(0.0, 0.05))
@settings(max_examples=25)
def test_what_round_trips_wander_by_changes_nothing(gateways: list[Resource], seed: int, noise: float) -> None:
    """Neither when the first figures come, nor when they wander, nor when telemetry is away."""
    rtt_ms = measured(pairs(adjacency(gateways)), seed)
    found = pairs(neighbours(gateways, Seen(rtt_ms=rtt_ms), LIMITS, now_s=None))
    random = Random(seed + 1)
    for _ in range(3):
        wandered = {one: ms * (1 + random.uniform(-noise, noise)) for one, ms in rtt_ms.items()}
        assert pairs(neighbours(gateways, Seen(rtt_ms=wandered, linked=found), LIMITS, now_s=None)) == found


@given(worlds, st.integers(0, 2**31))
@settings(max_examples=25)
def test_a_mesh_that_comes_up_keeps_the_links_it_has_begun_with(gateways: list[Resource], seed: int) -> None:
    """Figures come link by link, and none of what is not linked: no guess takes the place of a measurement."""
    random = Random(seed)
    first = pairs(neighbours(gateways, Seen(), LIMITS, now_s=NOW_S))
    known = {one: random.uniform(2, 200) for one in sorted(first) if random.random() < 0.5}
    without_trials = pairs(neighbours(gateways, Seen(), LIMITS, now_s=None))
    second = pairs(neighbours(gateways, Seen(rtt_ms=known, linked=first), LIMITS, now_s=None))
    assert second <= first, "nothing but what was linked or tried"
    assert len(second) >= len(without_trials) / 2
    assert without_trials <= first


@given(worlds, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_in_which_gateways_come_says_nothing(gateways: list[Resource], random: Random) -> None:
    shuffled = list(gateways)
    random.shuffle(shuffled)
    assert neighbours(shuffled, Seen(), LIMITS, now_s=NOW_S) == neighbours(gateways, Seen(), LIMITS, now_s=NOW_S)


def test_small_meshes_have_every_link_that_can_be() -> None:
    small = world(3, LIMITS.full_mesh, 0.5)
    assert neighbours(small, Seen(), LIMITS, now_s=NOW_S) == adjacency(small)
    large = world(3, LIMITS.full_mesh + 1, 0.5)
    assert len(neighbours(large, Seen(), LIMITS, now_s=NOW_S)) < len(adjacency(large))


def edge_and(relays: list[Resource]) -> list[Resource]:
    """An Edge gateway at the origin with these relays, and far away enough others to be no small mesh."""
    far = [gateway(f"far{number}", at=(60.0, 100.0 + number)) for number in range(12)]
    return [gateway("edge", Role.EDGE, at=(0.0, 0.0)), *relays, *far]


def of_edge(gateways: list[Resource], seen: Seen | None = None, now_s: float | None = None) -> set[str]:
    links = neighbours(gateways, seen or Seen(), LIMITS, now_s=now_s)
    return {link.dst.removeprefix("lab/") for link in links if link.src == "lab/edge"}


def to(name: str) -> Pair:
    return pair("lab/edge", f"lab/{name}")


NEAR = [gateway(name, at=(0.0, float(number))) for number, name in enumerate("abcde", start=1)]


def test_the_map_says_who_is_nearest_until_it_is_measured() -> None:
    gateways = edge_and(NEAR)
    assert of_edge(gateways) == {"a", "b", "c"}
    known = {to("a"): 80.0, to("b"): 12.0, to("c"): 14.0, to("d"): 9.0}
    linked = frozenset(map(to, "abc"))
    assert of_edge(gateways, Seen(rtt_ms=known, linked=linked)) == {"b", "c", "d"}, "d was tried, e is only guessed"
    assert of_edge(gateways, Seen(rtt_ms=known)) == {"b", "c", "d"}


@pytest.mark.parametrize(
    ("challenger_ms", "taken"), [(11.6, True), (12.4, False)], ids=["clearly-better-is-taken", "a-little-better-is-not"]
)
def test_a_link_that_is_there_has_to_be_beaten_clearly(challenger_ms: float, taken: bool) -> None:
    known = {to("a"): 5.0, to("b"): 6.0, to("c"): 17.0, to("d"): challenger_ms}
    seen = Seen(rtt_ms=known, linked=frozenset(map(to, "abc")))
    assert ("d" in of_edge(edge_and(NEAR), seen)) is taken


def test_a_dead_link_is_replaced_and_one_in_use_stays() -> None:
    known = {to("a"): float("inf"), to("b"): 6.0, to("c"): 7.0}
    linked = frozenset(map(to, "abc"))
    assert of_edge(edge_and(NEAR), Seen(rtt_ms=known, linked=linked)) == {"b", "c", "d"}
    used = Seen(rtt_ms=known, linked=linked, used=frozenset({to("a")}))
    assert of_edge(edge_and(NEAR), used) == {"a", "b", "c", "d"}


def test_a_silent_gateway_keeps_its_links_and_nobody_counts_on_it() -> None:
    linked = frozenset(map(to, "abc"))
    seen = Seen(linked=linked, absent=frozenset({"lab/a", "lab/e"}))
    assert of_edge(edge_and(NEAR), seen) == {"a", "b", "c", "d"}


def test_the_last_way_in_shares_no_fate_with_the_others() -> None:
    together = [replace_fate(one, groups=("fibre-7",)) for one in NEAR[:4]]
    assert of_edge(edge_and([*together, NEAR[4]])) == {"a", "b", "e"}
    one_site = [replace_fate(one, site="s1") for one in NEAR[:4]]
    assert of_edge(edge_and([*one_site, NEAR[4]])) == {"a", "b", "e"}


def replace_fate(one: Resource, *, groups: tuple[str, ...] = (), site: str = "") -> Resource:
    location = one.spec.location
    return gateway(one.meta.name, at=(location.latitude, location.longitude), groups=groups, site=site)


def test_everybody_has_a_turn_one_at_a_time() -> None:
    unplaced = [gateway("edge", Role.EDGE), *(gateway(f"c{number:02}") for number in range(20))]
    chosen = of_edge(unplaced)
    turns = [of_edge(unplaced, now_s=NOW_S + number * LIMITS.trial_s) for number in range(20)]
    assert all(chosen <= turn for turn in turns)
    assert all(len(turn) <= LIMITS.edge_neighbours + 1 for turn in turns)
    assert set.union(*turns) == {f"c{number:02}" for number in range(20)}
    within = [of_edge(unplaced, now_s=NOW_S + number) for number in range(0, int(LIMITS.trial_s), 30)]
    changes = sum(one != other for one, other in pairwise(within))
    assert changes <= 1


def test_who_is_too_far_for_light_is_not_tried() -> None:
    gateways = edge_and(NEAR)
    seen = Seen(rtt_ms={to("a"): 5.0, to("b"): 6.0, to("c"): 17.0}, linked=frozenset(map(to, "abc")))
    tried = set.union(*(of_edge(gateways, seen, NOW_S + number * LIMITS.trial_s) for number in range(17)))
    assert tried == {"a", "b", "c", "d", "e"}


def test_edges_do_not_all_change_at_once() -> None:
    gateways = world(5, 200, 0.1)
    before = pairs(neighbours(gateways, Seen(), LIMITS, now_s=NOW_S))
    after = pairs(neighbours(gateways, Seen(), LIMITS, now_s=NOW_S + LIMITS.trial_s / 10))
    assert 0 < len(after - before) < 40


def test_every_region_is_reached_and_no_single_gateway_holds_two_halves_together() -> None:
    gateways = world(9, 120, 1.0, regions=5)
    found = pairs(neighbours(gateways, Seen(), replace(LIMITS, max_neighbours=30), now_s=None))
    graph = networkx.Graph(sorted(found))
    assert networkx.is_biconnected(graph)
    by_region = {one.id: one.spec.location.region for one in gateways}
    joined = {frozenset((by_region[one], by_region[other])) for one, other in found}
    named = sorted({name for name in by_region.values() if name})
    assert all(frozenset((one, other)) in joined for one in named for other in named if one < other)


def test_parallel_networks_are_parallel_links() -> None:
    gateways = [gateway(f"m{number:02}", network="mpls") for number in range(14)]
    gateways += [gateway(f"i{number:02}", endpoint=None) for number in range(3)]
    links = neighbours(gateways, Seen(), LIMITS, now_s=None)
    assert {link.underlay for link in links} == {"mpls"}, "those without an endpoint cannot dial each other"


@pytest.mark.parametrize("relays", [0.1, 1.0], ids=["most-are-edges", "all-are-relays"])
def test_a_thousand_gateways_take_less_than_a_second(relays: float) -> None:
    gateways = world(1, 1000, relays, regions=20)
    limits = replace(LIMITS, max_neighbours=50)
    first = neighbours(gateways, Seen(), limits, now_s=NOW_S)
    seen = Seen(rtt_ms=measured(pairs(first), 1), linked=frozenset(pairs(first)))
    best_s = float("inf")
    for _ in range(3):
        began_s = time.process_time()
        neighbours(gateways, seen, limits, now_s=NOW_S)
        best_s = min(best_s, time.process_time() - began_s)
    assert best_s < 1.0
