"""What statuses say of why: term by term, who had a word, how near; and that they stay small and quiet."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from controller.said import LATER, NOW, circuits_with_status, of_intent, settled
from controller.scene import AWAY, ORDERS, Mesh, gateway_body, intent_body, policy_body, replica_body, workload_body
from foremesh.controller import verdicts
from foremesh.controller.conditions import find
from foremesh.decide import Gateways
from foremesh.model.manifest import encode
from foremesh.model.plan import Infeasible
from foremesh.model.status import IntentStatus, PolicyStatus, ShadowExample, ShadowStatus

BIG = 100
"""Of everything that a person could declare too much of."""


def status(mesh: Mesh, old: IntentStatus | None = None) -> IntentStatus:
    """As the operator asks for it."""
    assert mesh.decision is not None
    return verdicts.intent_status(
        mesh.declared.intents[ORDERS],
        old or IntentStatus(),
        mesh.decision,
        circuits_with_status(mesh),
        mesh.observed,
        now=NOW,
        declared=mesh.declared,
        gateways=Gateways.of(mesh.declared.resources.values()),
    )


def test_the_path_is_explained_term_by_term() -> None:
    found = status(settled(intent_body(profile="Latency")))
    told = found.explanation
    assert told is not None
    assert found.predicted is not None
    assert sum(told.terms.values()) == pytest.approx(found.predicted.cost, abs=1e-5)
    assert told.terms["latency"] == pytest.approx(told.weights["latency"] * 0.22), "with both attachments"
    assert [(one.link, one.model, one.rtt_ms) for one in told.forecasts] == [
        ("mesh/ams->mesh/lon/internet", "last-value", 10.0),
        ("mesh/lon->mesh/fra/internet", "last-value", 10.0),
    ]
    first = found.runners_up[0]
    assert first.path == "ams > par > fra"
    assert first.lost.startswith(f"costs {first.extra_cost:.3f} more: latency +")


def test_a_runner_up_that_leads_to_another_destination_names_it() -> None:
    found = status(settled(intent_body(profile="Latency"), replica_body()))
    assert (found.path, found.destination) == ("ams > lon", "shop/replica")
    assert [(one.path, one.destination) for one in found.runners_up] == [
        ("ams > lon > fra", "shop/db"),
        ("ams > par > fra", "shop/db"),
    ]
    alone = status(settled(intent_body(profile="Latency")))
    assert [one.destination for one in alone.runners_up] == ["", ""], "that is said once, of the path chosen"


def test_what_nobody_knows_is_told_with_what_it_counts_as() -> None:
    told = status(settled(intent_body())).explanation
    assert told is not None
    assert told.assumed.keys() == {"bandwidth", "egressPrice", "load"}
    assert told.assumed["load"] == "load of ams, lon, fra is unknown: each counts as 10% in use, as none is known"


def test_policies_are_told_with_those_that_overrule_others_first() -> None:
    found = status(
        settled(
            intent_body(),
            policy_body("a", priority=1, weights={"latency": 2}),
            policy_body("b", weights={"latency": 3}, avoid={"gateways": ["mesh/par"]}),
            policy_body("c", mode="Shadow", deny=True),
            policy_body("d", match={"namespaces": ["other"]}, deny=True),
        )
    )
    assert found.explanation is not None
    assert [(one.policy, one.mode.value, one.effects) for one in found.explanation.policies] == [
        ("a", "Enforce", ("sets weight latency to 2",)),
        ("c", "Shadow", ("denies the traffic",)),
        ("b", "Enforce", ("avoids gateways mesh/par", "sets weight latency to 3, overruled by a")),
    ]
    assert found.explanation.weights["latency"] == 2


def test_each_requirement_that_cannot_be_met_is_told_with_what_can_be_had() -> None:
    needs = {"maxLatency": "5ms", "maxHops": 1}
    mesh = Mesh.of(intent_body(requirements=needs), policy_body(avoid={"gateways": ["mesh/lon"]}))
    mesh.settle()
    assert mesh.decision is not None
    (one,) = verdicts.told_at_length(status(mesh), ORDERS, mesh.decision).placements
    assert one.infeasible is not None
    told = {each.requirement: each for each in one.infeasible.shortfalls}
    assert set(told) == {"maxLatency", "maxHops", "avoid"}
    assert (told["maxLatency"].asked, told["maxLatency"].best, told["maxLatency"].nearest) == ("5ms", "22ms", "202ms")
    assert told["maxLatency"].path == "ams > fra"
    assert (told["maxHops"].best, told["maxHops"].nearest) == ("1", ""), "one hop can be had, and alone it is no help"
    assert told["avoid"].policy == "word"


def test_nothing_is_explained_anew_while_nothing_is_known() -> None:
    mesh = settled()
    before = status(mesh)
    mesh.forecasts = AWAY
    mesh.plan()
    assert status(mesh, before).explanation == before.explanation


def test_new_figures_alone_are_not_written_but_a_policy_is() -> None:
    mesh = settled(intent_body(), policy_body(prefer={"regions": ["eu"]}))
    old = status(mesh)
    assert old.explanation is not None
    terms = {name: 1.01 * cost for name, cost in old.explanation.terms.items()}
    again = msgspec.structs.replace(old, explanation=msgspec.structs.replace(old.explanation, terms=terms))
    assert not verdicts.worth_writing(old, again)
    mesh.declare(policy_body("more", prefer={"regions": ["uk"]}))
    mesh.settle()
    assert verdicts.worth_writing(old, status(mesh, old))


def test_a_status_stays_small_whatever_is_declared() -> None:
    names = [f"name-of-a-region-that-is-quite-long-{number}" for number in range(32)]
    policies = [
        policy_body(f"policy-{number:03}", avoid={"regions": names, "providers": names}) for number in range(BIG)
    ]
    mesh = settled(intent_body(requirements={"maxLatency": "100ms", "avoid": {"regions": names}}), *policies)
    assert len(encode(status(mesh))) < 50_000
    mesh = Mesh.of(intent_body(requirements={"maxLatency": "1ms", "avoid": {"regions": names}}), *policies)
    mesh.settle()
    assert len(encode(status(mesh))) < 50_000


def test_only_one_source_is_told_at_length() -> None:
    everybody = {"selector": {"matchLabels": {}}}
    mesh = Mesh.of(intent_body(**{"from": everybody}, requirements={"maxLatency": "1ms"}), workload_body("api", "ams"))
    mesh.settle()
    lost = [one.infeasible for one in status(mesh).placements if one.infeasible]
    assert len(lost) > 1
    assert [bool(one.shortfalls) for one in lost].count(True) == 1


def test_names_that_nobody_bears_are_a_condition_and_an_event() -> None:
    mesh = settled(intent_body(requirements={"avoid": {"regions": ["moon"]}}))
    found = status(mesh)
    condition = find(found.conditions, "NamesKnown")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "UnknownName")
    assert condition.message == "no gateway has region moon (spec.requirements.avoid.regions): it keeps nothing out"
    assert ("Warning", "UnknownName", condition.message) in verdicts.intent_news(IntentStatus(), found)
    assert ("Warning", "UnknownName", condition.message) not in verdicts.intent_news(found, found)
    mesh.declare(gateway_body("par", location={"site": "par", "region": "moon"}))
    mesh.settle()
    assert find(status(mesh, found).conditions, "NamesKnown") is None


def of_policy(mesh: Mesh, old: PolicyStatus | None = None) -> PolicyStatus:
    assert mesh.decision is not None
    policy = mesh.declared.policies["word"]
    return verdicts.policy_status(
        policy, old or PolicyStatus(), 1, mesh.decision.chosen.shadows.get("word"), unnamed=(), now=LATER
    )


def test_a_policy_in_shadow_says_what_it_would_change() -> None:
    mesh = settled(intent_body(), policy_body(mode="Shadow", avoid={"gateways": ["mesh/lon"]}))
    found = of_policy(mesh)
    ready = find(found.conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "Shadow")
    assert ready.message.startswith("no plan follows it; enforced, it would move 1 Intent (cost +")
    assert ready.message.endswith("round trip +10.0 ms) and leave 0 Intents without a path")
    assert found.shadow is not None
    assert found.shadow.moved_intents == 1
    mesh.forecasts = AWAY
    mesh.plan()
    assert of_policy(mesh, found).shadow == found.shadow, "what was known is still the newest"
    mesh.declare(policy_body(avoid={"gateways": ["mesh/lon"]}))
    assert of_policy(mesh, found).shadow is None
    assert find(of_policy(mesh, found).conditions, "Ready").reason == "InForce"  # type: ignore[union-attr]


def test_shadows_are_written_when_something_else_would_change() -> None:
    def shadow(cost: float, path: str = "a > b", moved: int = 1) -> PolicyStatus:
        example = ShadowExample(intent="i", source="s", path="a > c", new_path=path, message=f"{cost} ms")
        return PolicyStatus(shadow=ShadowStatus(moved_intents=moved, cost_difference_percent=cost, examples=(example,)))

    assert not verdicts.worth_writing(shadow(1.0), shadow(2.0))
    assert verdicts.worth_writing(shadow(1.0), shadow(1.0, moved=2))
    assert verdicts.worth_writing(shadow(1.0), shadow(1.0, path="a > d"))


def test_the_operator_can_be_asked_without_what_was_declared() -> None:
    """As tests of everything else do."""
    assert of_intent(settled()).explanation is None


def test_who_is_preempted_has_a_condition_that_says_by_whom() -> None:
    mesh = settled()
    before = status(mesh)
    assert find(before.conditions, "Preempted") is None
    assert mesh.decision is not None
    chosen = mesh.decision.chosen
    lost = Infeasible(
        requirement="minBandwidth", asked="1G", nearest="300M", message="no room", preempted_by=("shop/first",)
    )
    (placement,) = chosen.plan.placements
    plan = msgspec.structs.replace(chosen.plan, placements=(msgspec.structs.replace(placement, infeasible=lost),))
    mesh.decision = replace(mesh.decision, chosen=replace(chosen, plan=plan))
    found = status(mesh, before)
    condition = find(found.conditions, "Preempted")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "HigherPriority")
    assert condition.message == (
        "shop/web: shop/first has the bandwidth now that carried it, by its higher priority; no room"
    )
    ready = find(found.conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "Preempted")
