"""What links have no room for is refused by name: the bottleneck, who fills it, and who took it from whom."""

from __future__ import annotations

import pytest

from foremesh.model.intent import Requirements
from foremesh.model.plan import Infeasible, Placement
from foremesh.model.units import Bandwidth
from foremesh.routing import Demand, PlannerSettings, make_plan
from routing.crowds import crowd
from routing.demands import circuit, demand, intent
from routing.plans import AZ, bandwidth, plan, text
from routing.worlds import both, mesh, node

NARROW = mesh(node("a"), node("z"), links=both("a", "z", 10.0, free=1e9, capacity=1e9))


def named(name: str, bps: float, priority: int = 0) -> Demand:
    return demand(intent(name, requirements=bandwidth(bps), priority=priority), *AZ, class_=name)


def placed(*demands: Demand, running: tuple[str, ...] = ()) -> dict[str, Placement]:
    """What becomes of them where they all want one link, on which those named are running."""
    circuits = [circuit(name, "a", "z", intents=(f"lab/{name}",), class_=name) for name in running]
    used = sum(one.asked_bps[0] for one in demands if one.intent.meta.name in running)
    graph = mesh(node("a"), node("z"), links=both("a", "z", 10.0, free=1e9 - used, capacity=1e9))
    made = plan(graph, demands, circuits)
    return {one.intent.removeprefix("lab/"): one for one in made.placements}


def refusal(one: Placement) -> Infeasible:
    assert one.infeasible is not None
    return one.infeasible


def test_what_does_not_fit_is_refused_with_the_bottleneck_and_its_users() -> None:
    made = placed(named("big", 5e8, 2), named("small", 2e8, 1), named("new", 6e8))
    assert refusal(made["new"]).message == (
        "minBandwidth: asked 600M, nearest 300M by a > z; "
        "a->z has 300M of 1G left: lab/big has 500M, lab/small has 200M"
    )
    assert refusal(made["new"]).preempted_by == (), "it never had it"


def test_of_many_users_the_largest_are_named() -> None:
    made = placed(*(named(f"i{number}", (3 - 0.1 * number) * 1e8, 1) for number in range(3)), named("new", 6e8))
    crowd_of_five = placed(
        *(named(f"i{number}", (2 - 0.1 * number) * 1e8, 1) for number in range(5)), named("new", 6e8)
    )
    assert refusal(made["new"]).message.endswith("lab/i0 has 300M, lab/i1 has 290M, lab/i2 has 280M")
    assert refusal(crowd_of_five["new"]).message.endswith(
        "lab/i0 has 200M, lab/i1 has 190M, lab/i2 has 180M, 2 more the rest"
    )


def test_who_is_carried_yields_to_a_higher_priority_and_is_told_to_whom() -> None:
    made = placed(named("high", 7e8, 5), named("low", 6e8, 1), running=("low",))
    assert text(made["high"]) == "a > z"
    assert made["high"].infeasible is None
    low = refusal(made["low"])
    assert low.preempted_by == ("lab/high",)
    assert low.message == (
        "minBandwidth: asked 600M, nearest 300M by a > z; preempted by lab/high (priority 5, its own is 1): "
        "a->z has 300M of 1G left: lab/high has 700M"
    )
    assert text(made["low"]) == "a > z", "its traffic goes on, without a promise"
    assert made["low"].reason == f"{low.message}; meanwhile stays on a > z: 10.0 ms"


def test_equals_do_not_preempt() -> None:
    made = placed(named("a-new", 7e8, 1), named("old", 6e8, 1), running=("old",))
    assert made["old"].infeasible is None
    assert made["a-new"].path is None
    assert refusal(made["a-new"]).preempted_by == ()


def test_only_those_are_named_without_whom_it_would_fit() -> None:
    made = placed(named("high", 3e8, 5), named("equal", 5e8, 1), named("low", 6e8, 1), running=("equal", "low"))
    assert [name for name, one in made.items() if one.infeasible] == ["low"]
    assert refusal(made["low"]).preempted_by == (), "without the high one, there would be 500M"


def test_a_link_that_shrank_preempts_nobody() -> None:
    graph = mesh(node("a"), node("z"), links=both("a", "z", 10.0, free=0.0, capacity=4e8))
    running = [circuit("x", "a", "z", intents=("lab/x",), class_="x")]
    (made,) = plan(graph, [named("x", 6e8)], running).placements
    assert refusal(made).preempted_by == ()
    assert refusal(made).message == "minBandwidth: asked 600M, nearest 400M by a > z"


def test_bandwidth_back_is_a_bottleneck_too() -> None:
    back = Requirements(reverse=Bandwidth(6e8))
    asked = [demand(intent(name, requirements=back, priority=p), *AZ, class_=name) for name, p in (("x", 1), ("y", 0))]
    refused = plan(NARROW, asked).placements[1]
    assert (
        refusal(refused).message
        == "reverse: asked 600M, nearest 400M by a > z; z->a has 400M of 1G left: lab/x has 600M"
    )


@pytest.mark.parametrize("seed", range(4))
def test_without_those_who_preempted_it_a_demand_is_placed(seed: int) -> None:
    """Everybody below the highest priority is carried; then the highest come."""
    graph, demands, policies = crowd(seed, priorities=(0, 1, 2))
    lower = [one for one in demands if one.intent.spec.priority < 2]
    settings = PlannerSettings(runners_up=0)
    first = make_plan(graph, lower, (), policies, settings, made_at_s=0.0)
    classes = {one.key: one.class_ for one in demands}
    running = [
        circuit(one.intent[4:], *one.path.gateways, intents=(one.intent,), class_=classes[one.intent, one.source])
        for one in first.placements
        if one.path
    ]
    unused = {f"lab/{one.meta.name}": (0.0, 0.0) for one in running}
    made = make_plan(graph, demands, running, policies, settings, made_at_s=0.0, measured_bps=unused)
    preempted = [one for one in made.placements if one.infeasible and one.infeasible.preempted_by]
    by_key = {one.key: one for one in demands}
    for one in preempted:
        asked = by_key[one.intent, one.source]
        assert all(
            by_key[other, "lab/web"].intent.spec.priority > asked.intent.spec.priority
            for other in one.infeasible.preempted_by  # type: ignore[union-attr]
        )
    kept = {one.intent for one in made.placements if one.infeasible is None} | {one.intent for one in preempted}
    carried = {one.status.intents[0] for one in running}
    assert carried & {one.intent for one in preempted}, "somebody has to be preempted"
    assert all(one.intent in carried for one in preempted)
    assert len(carried - kept) <= len(carried) // 10, "most who lose their place lose it to a higher priority"


def test_without_explanations_nobody_is_named() -> None:
    asked = [named("x", 7e8, 1), named("y", 6e8)]
    refused = plan(NARROW, asked, explain=False).placements[1]
    assert refusal(refused).message == "it does not meet the requirements"
