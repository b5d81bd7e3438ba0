"""A plan after few links changed is the plan from nothing, to the letter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from msgspec import structs

from foremesh.model.circuit import Circuit, Figures, LabelAllocation, LabelState
from foremesh.model.intent import Avoid, Encryption, Profile, Requirements
from foremesh.model.link import Course, Figure, LinkId, MeshGraph, PredictedLink
from foremesh.model.plan import Plan
from foremesh.model.policy import CostWeights, Policy, Prefer
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import Demand, Planner, PlannerSettings
from foremesh.routing.arrays import Arrays
from routing.demands import candidate, circuit, demand, intent, policy
from routing.plans import AZ, diamond
from routing.test_planner import circuits_of
from routing.worlds import node, steady


def random_link(rng: random.Random, id: LinkId, told: bool) -> PredictedLink:
    rtt_ms, free_bps = rng.randint(1, 60) * 1.0, rng.randint(4, 40) * 25e6
    return PredictedLink(
        id=id,
        rtt_ms=Figure(median=rtt_ms, pessimistic=rtt_ms + rng.randint(0, 5)),
        loss=steady(rng.choice((0.0, 0.0, 0.001, 0.01))),
        free_bps=Figure(median=free_bps + 10e6, pessimistic=free_bps) if told else None,
        capacity_bps=1e9 if told else None,
        egress_price=rng.choice((0.0, 0.01, 0.02, 0.09)),
        course=random_course(rng, rtt_ms) if rng.random() < 0.1 else None,
    )


def random_course(rng: random.Random, rtt_ms: float) -> Course:
    """Round trips that are forecast to change."""
    steps = [rtt_ms * rng.choice((0.5, 1.0, 3.0)) for _ in range(3)]
    return Course(step_s=60.0, rtt_ms=tuple(Figure(median=one, pessimistic=one + 5) for one in steps))


def random_mesh(rng: random.Random) -> MeshGraph:
    """Up to sixteen gateways, of which some only begin and end paths; sometimes nobody knows what links have free."""
    names, told = [f"lab/g{index:02}" for index in range(rng.randint(6, 16))], rng.random() < 0.85
    nodes = tuple(node(name, Role.EDGE if rng.random() < 0.15 else Role.CORE, load=0.25) for name in names)
    links = [
        random_link(rng, LinkId(src=src, dst=dst, underlay=underlay), told)
        for src in names
        for dst in names
        for underlay in ("internet", "mpls")
        if src != dst and rng.random() < (0.5 if underlay == "internet" else 0.05)
    ]
    return MeshGraph(nodes=nodes, links=tuple(links))


def random_demands(rng: random.Random, graph: MeshGraph) -> list[Demand]:
    """Demands that a path can mostly be found for; some share circuits, some may go to several places."""
    names, made = [one.id for one in graph.nodes], []
    for index in range(rng.randint(8, 40)):
        needs = Requirements(
            min_bandwidth=Bandwidth(rng.choice((1, 5, 10, 25, 60)) * 1e6) if rng.random() < 0.7 else None,
            reverse=Bandwidth(5e6) if rng.random() < 0.2 else None,
            max_latency=Milliseconds(rng.choice((60, 90, 150))) if rng.random() < 0.3 else None,
            max_loss=Ratio(0.03) if rng.random() < 0.2 else None,
            max_egress_price=Price(0.2) if rng.random() < 0.2 else None,
            encryption=Encryption.HOP_BY_HOP if rng.random() < 0.2 else None,
            avoid=Avoid(gateways=(rng.choice(names),)) if rng.random() < 0.1 else Avoid(),
        )
        asked = intent(
            f"i{index}", requirements=needs, priority=rng.randint(0, 2), profile=rng.choice(list(Profile)[:3])
        )
        ends = [
            candidate(f"d{number}", *rng.sample(names, rng.randint(1, 2)), region=rng.choice(("eu", "us")))
            for number in range(rng.choice((1, 1, 2)))
        ]
        class_ = "shared" if rng.random() < 0.2 else f"own-{index}"
        made.append(demand(asked, dict.fromkeys(rng.sample(names, rng.randint(1, 2)), 0.5), *ends, class_=class_))
    return made


def random_policies(rng: random.Random, graph: MeshGraph) -> list[Policy]:
    some = policy("some", weights=CostWeights(latency=2.0), prefer=Prefer(gateways=(rng.choice(graph.nodes).id,)))
    return [some] if rng.random() < 0.3 else []


def changed(rng: random.Random, graph: MeshGraph) -> MeshGraph:
    """The mesh with other figures for a link or a few; sometimes one dies, or is back."""
    links = list(graph.links)
    for number in rng.sample(range(len(links)), rng.choice((1, 1, 1, 2, 4))):
        old = links[number]
        new = random_link(rng, old.id, old.free_bps is not None)
        links[number] = rng.choice(
            (new, structs.replace(old, loss=steady(1.0)), structs.replace(old, rtt_ms=new.rtt_ms))
        )
    return structs.replace(graph, links=tuple(links))


def label(number: int, path: Sequence[str], state: LabelState) -> LabelAllocation:
    return LabelAllocation(number=number, state=state, path=tuple(path), epoch=number)


def in_place(rng: random.Random, made: Plan, demands: Sequence[Demand]) -> list[Circuit]:
    """The circuits that a plan leads to, with their standbys, some of which run elsewhere than the plan says, some of
    which have just moved."""
    ways = {}
    for one in made.placements:
        if one.path is not None:
            others = [path.gateways for path in one.runners_up if path.gateways[::99] == one.path.gateways[::99]]
            ways[one.path.gateways] = (others, one.standby)
    found = []
    for one in circuits_of(made, list(demands)):
        others, standby = ways[one.status.path]
        status = one.status
        if others and rng.random() < 0.3:
            path = rng.choice(others)
            status = structs.replace(status, path=path, labels=(label(1, path, LabelState.ACTIVE),))
        if standby is not None and rng.random() < 0.8:
            status = structs.replace(status, labels=(*status.labels, label(2, standby.gateways, LabelState.STANDBY)))
        if rng.random() < 0.3:
            moved_at = datetime.fromtimestamp(START_S - rng.choice((10, 700, 5000)), UTC)
            status = structs.replace(status, moved_at=moved_at, moved_from=one.status.path[::-1])
        found.append(structs.replace(one, status=status))
    return found


def circuit_changed(rng: random.Random, one: Circuit, now_s: float) -> Circuit:
    """A circuit later on: it fell over, its labels went on, or only what statuses tell is another."""
    status, standbys = one.status, [each for each in one.status.labels if each.state is LabelState.STANDBY]
    if standbys and rng.random() < 0.6:
        path = standbys[0].path
        labels = (label(3, path, LabelState.ACTIVE), label(4, status.path, LabelState.STANDBY))
        at = datetime.fromtimestamp(now_s, UTC)
        status = structs.replace(status, path=path, labels=labels, moved_at=at, moved_from=status.path)
    elif rng.random() < 0.5:
        labels = tuple(structs.replace(each, state=LabelState.DRAINING) for each in status.labels[1:])
        status = structs.replace(status, labels=(*status.labels[:1], *labels))
    else:
        status = structs.replace(status, predicted=Figures(latency_ms=rng.random()), moves=status.moves + 1)
    return structs.replace(one, status=status)


def in_full(
    graph: MeshGraph,
    demands: Sequence[Demand],
    here: Sequence[Circuit],
    rules: Sequence[Policy],
    how: PlannerSettings,
    now_s: float = 7.0,
    sent: Mapping[str, tuple[float, float]] | None = None,
) -> object:
    return Planner(demands, rules, how).plan(graph, here, made_at_s=now_s, measured_bps=sent)


def random_traffic(rng: random.Random) -> tuple[float, float]:
    return rng.random() * 8e6, rng.random() * 4e6


START_S = 1e9


def test_it_is_the_plan_from_nothing() -> None:
    """Worlds with and without circuits in place, standbys, traffic beyond what was asked for, shared circuits,
    policies, runners-up; links are full now and then, circuits fall over and move."""
    seen = Counter[str]()
    for seed in range(60):
        rng = random.Random(seed)
        graph = random_mesh(rng)
        demands, rules = random_demands(rng, graph), random_policies(rng, graph)
        how = PlannerSettings(
            runners_up=rng.choice((0, 0, 2)),
            explain=rng.random() < 0.3,
            standby=rng.random() < 0.6,
            weigh_risk=rng.random() < 0.8,
        )
        planner, here, now_s = Planner(demands, rules, how), list[Circuit](), START_S
        sent: dict[str, tuple[float, float]] = {}
        first = planner.plan(graph, (), made_at_s=now_s)
        if rng.random() < 0.7:
            here = in_place(rng, first, demands)
            if rng.random() < 0.6:
                sent = {one.id: random_traffic(rng) for one in here if rng.random() < 0.8}
            planner.plan(graph, here, made_at_s=now_s, measured_bps=sent)
        for _ in range(8):
            now_s += rng.choice((0, 2, 30))
            if not here or rng.random() < 0.7:
                graph = changed(rng, graph)
            for number in rng.sample(range(len(here)), min(len(here), rng.choice((0, 0, 1, 2)))):
                here[number] = circuit_changed(rng, here[number], now_s)
            if sent and rng.random() < 0.2:
                sent = sent | {rng.choice(sorted(sent)): random_traffic(rng)}
            if here and rng.random() < 0.05:
                here.pop()
            before = planner.last
            made = planner.replan(graph, here, made_at_s=now_s, measured_bps=sent)
            assert made == in_full(graph, demands, here, rules, how, now_s, sent), f"seed {seed}"
            assert before is not None
            how_made = f"full: {before.told}" if before.told else "again"
            seen[how_made] += 1
            if not before.told:
                seen["placed"] += before.placed
                seen["passed over"] += len(demands) - before.placed
                seen["again with circuits in place"] += bool(here)
                seen["again with traffic"] += bool(sent)
                if before.standbys is not None:
                    seen["again with standbys"] += 1
                    seen["standbys looked for"] += before.standbys.looked_for
                    seen["standbys passed over"] += len(before.standbys.kept) - before.standbys.looked_for
    assert seen["again"] > 150, "most of the time it is not given up"
    assert seen["placed"] > 300
    assert seen["passed over"] > seen["placed"]


def test_a_snapshot_with_changes_is_the_one_made_anew() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        graph = random_mesh(rng)
        arrays = Arrays(graph)
        names = ("maxLatency", "maxLoss", "maxEgressPrice")
        arrays.sums(names)
        for _ in range(3):
            after = changed(rng, graph)
            numbers = {arrays.topology.link_number[one.id]: one for one in after.links if one not in graph.links}
            arrays, graph, anew = arrays.with_changes(numbers), after, Arrays(after)
            for name in ("rtt", "loss", "free"):
                ours, theirs = getattr(arrays, name), getattr(anew, name)
                np.testing.assert_array_equal((ours.median, ours.pessimistic), (theirs.median, theirs.pessimistic))
            for name in ("price", "jitter_ms", "capacity_bps", "queueing_ms", "alive", "measured", "figures"):
                np.testing.assert_array_equal(getattr(arrays, name), getattr(anew, name), err_msg=name)
            np.testing.assert_array_equal(arrays.sums(names)[0], anew.sums(names)[0])
            assert arrays.links == anew.links


def told(planner: Planner, graph: MeshGraph, here: Sequence[Circuit] = ()) -> str:
    before = planner.last
    planner.replan(graph, here, made_at_s=1.0)
    assert before is not None
    return before.told


def test_it_says_why_a_full_plan_was_due() -> None:
    graph, asked = diamond(), [demand(intent("x"), *AZ)]
    slower = structs.replace(graph.links[0], rtt_ms=steady(25.0))
    other = structs.replace(graph, links=(slower, *graph.links[1:]))
    planner = Planner(asked, (), PlannerSettings())
    planner.plan(graph, (), made_at_s=0.0)
    assert told(planner, other) == ""
    assert planner.last is not None
    assert planner.last.placed == 1
    assert told(planner, other) == "", "nothing changed"
    assert planner.last.placed == 0
    carrying = circuit("c", "a", "n", "z", intents=(asked[0].intent.id,), class_=asked[0].class_)
    assert told(planner, other, [carrying]) == "who is carried by a circuit is not who was"
    pinned = circuit("c", "a", "n", "z", intents=(asked[0].intent.id,), class_=asked[0].class_, pinned=("a", "n", "z"))
    assert told(planner, other, [pinned]) == "a path is pinned, or was"
    planner.plan(graph, (), made_at_s=0.0)
    assert told(planner, structs.replace(graph, links=graph.links[1:])) == "links came or went"
    queues = tuple(structs.replace(one, queueing_ms=1.0) for one in graph.links)
    planner.plan(structs.replace(graph, links=queues), (), made_at_s=0.0)
    assert told(planner, structs.replace(other, links=(slower, *queues[1:]))) == "traffic moves round trips"
