"""What MeshPolicies make of an Intent."""

from __future__ import annotations

import random
from typing import Any

import pytest

from foremesh.model.intent import Avoid, Encryption, Intent, Profile, Requirements, Traffic
from foremesh.model.link import MeshGraph
from foremesh.model.meta import LabelSelector
from foremesh.model.policy import CostWeights, Mode, Policy, PolicyMatch, PolicySpec, Prefer, Require
from foremesh.model.resource import Protocol
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import PROFILES, effective, select_path
from foremesh.routing.policy import Effective, tighten
from routing.demands import intent, policy, workload
from routing.worlds import link, mesh, node

WEB = workload("web", labels={"tier": "front"})
DB = workload("db", labels={"tier": "data"})
MACHINE = workload("vm", address="10.1.2.3")


def apply(asked: Intent, *policies: Policy, **addresses: Any) -> Effective:
    return effective(asked, WEB, DB, policies, **addresses)


MATCHES = {
    "an-empty-match-is-everything": (PolicyMatch(), True),
    "namespace-listed": (PolicyMatch(namespaces=("other", "lab")), True),
    "namespace-not-listed": (PolicyMatch(namespaces=("other",)), False),
    "source-labels-hold": (PolicyMatch(source=LabelSelector(match_labels={"tier": "front"})), True),
    "source-labels-differ": (PolicyMatch(source=LabelSelector(match_labels={"tier": "data"})), False),
    "destination-labels-hold": (PolicyMatch(destination=LabelSelector(match_labels={"tier": "data"})), True),
    "every-part-has-to-hold": (
        PolicyMatch(namespaces=("lab",), destination=LabelSelector(match_labels={"tier": "front"})),
        False,
    ),
    "application-named-by-the-traffic": (PolicyMatch(application="postgres"), True),
    "application-not-named": (PolicyMatch(application="redis"), False),
    "source-address-within": (PolicyMatch(source_cidrs=("198.51.100.0/24", "10.0.0.0/8")), True),
    "source-address-outside": (PolicyMatch(source_cidrs=("172.16.0.0/12",)), False),
    "destination-address-of-the-other-family": (PolicyMatch(destination_cidrs=("10.0.0.0/8",)), False),
    "destination-address-within-v6": (PolicyMatch(destination_cidrs=("2001:db8::/32",)), True),
}


PORTS = {
    "a-port-that-traffic-goes-to": ((Traffic(ports=(80, 443)),), PolicyMatch(ports=(25, 443)), True),
    "a-port-that-it-does-not": ((Traffic(ports=(80,)),), PolicyMatch(ports=(443,)), False),
    "traffic-without-ports-goes-to-all-of-them": ((Traffic(),), PolicyMatch(ports=(443,)), True),
    "an-intent-without-traffic-carries-everything": ((), PolicyMatch(ports=(443,)), True),
    "everything-is-of-every-protocol": ((), PolicyMatch(protocol=Protocol.UDP), True),
    "pings-go-to-no-port": ((Traffic(protocol=Protocol.ICMP),), PolicyMatch(ports=(443,)), False),
    "another-protocol": ((Traffic(ports=(53,)),), PolicyMatch(protocol=Protocol.UDP, ports=(53,)), False),
    "one-entry-has-to-meet-all": (
        (Traffic(ports=(80,), application="web"), Traffic(ports=(443,))),
        PolicyMatch(ports=(443,), application="web"),
        False,
    ),
    "one-entry-meets-all": (
        (Traffic(ports=(80,)), Traffic(ports=(443,), application="web")),
        PolicyMatch(ports=(443,), application="web", protocol=Protocol.TCP),
        True,
    ),
    "nobody-named-an-application": ((), PolicyMatch(application="web"), False),
}


@pytest.mark.parametrize(("traffic", "match", "matches"), PORTS.values(), ids=PORTS.keys())
def test_matching_traffic(traffic: tuple[Traffic, ...], match: PolicyMatch, matches: bool) -> None:
    found = apply(intent("shop", traffic=traffic), policy("p", match=match, deny=True))
    assert (found.refused is not None) == matches


def test_a_shadow_changes_nothing() -> None:
    asked = intent("x")
    loud = policy("p", deny=True, mode=Mode.SHADOW)
    assert apply(asked, loud) == apply(asked)


@pytest.mark.parametrize(("match", "matches"), MATCHES.values(), ids=MATCHES.keys())
def test_matching(match: PolicyMatch, matches: bool) -> None:
    asked = intent("shop", application="postgres")
    found = apply(
        asked, policy("p", match=match, deny=True), source_addresses=["10.9.9.9"], destination_addresses=["2001:db8::7"]
    )
    assert (found.refused is not None) == matches


def test_a_machine_is_matched_by_the_address_it_declares() -> None:
    denying = policy("p", match=PolicyMatch(source_cidrs=("10.1.0.0/16",)), deny=True)
    assert effective(intent("x"), MACHINE, DB, [denying]).refused is not None
    assert effective(intent("x"), WEB, DB, [denying]).refused is None, "an address that is not known lies nowhere"


def test_a_denied_intent_names_the_policy() -> None:
    refused = apply(intent("x"), policy("allow"), policy("no-db", deny=True)).refused
    assert refused is not None
    assert (refused.requirement, refused.message) == ("policy", "MeshPolicy no-db denies it")


def test_restrictions_accumulate() -> None:
    asked = intent("x", requirements=Requirements(regions=("eu", "uk", "us"), avoid=Avoid(gateways=("old",))))
    found = apply(
        asked,
        policy("a", require=Require(regions=("eu", "uk"), gateways=("lab/fw",)), avoid=Avoid(providers=("one",))),
        policy("b", require=Require(regions=("uk", "ca"), gateways=("lab/dpi",)), avoid=Avoid(gateways=("lab/x",))),
    )
    needs = found.requirements
    assert needs.regions == ("uk",)
    assert needs.avoid == Avoid(providers=("one",), gateways=("lab/x", "old"))
    assert found.through == (("lab/fw",), ("lab/dpi",))
    assert dict(found.origins) == {"regions": "a, b", "policy": "a, b", "avoid": "a, b"}


def test_providers_and_labels_accumulate_too() -> None:
    asked = intent("x", requirements=Requirements(providers=("one", "two"), gateway_labels=("tier=gold",)))
    found = apply(
        asked,
        policy("a", require=Require(providers=("two", "three"), gateway_labels=("pci=yes",))),
        policy("b", avoid=Avoid(gateway_labels=("old=yes",))),
    )
    assert found.requirements.providers == ("two",)
    assert found.requirements.gateway_labels == ("pci=yes", "tier=gold")
    assert found.requirements.avoid.gateway_labels == ("old=yes",)
    assert dict(found.origins) == {"providers": "a", "gatewayLabels": "a", "avoid": "b"}
    refused = apply(asked, policy("c", require=Require(providers=("three",)))).refused
    assert refused is not None
    assert (
        refused.message == "providers: asked one, two; MeshPolicy c requires three, and none of these is among one, two"
    )


def two_ways(**first: Any) -> MeshGraph:
    """By b it is shorter than by c."""
    return mesh(
        *(node(name, **more) for name, more in (("a", first), ("b", {}), ("c", first), ("z", first))),
        links=(link("a", "b", 1.0), link("b", "z", 1.0), link("a", "c", 9.0), link("c", "z", 9.0)),
    )


@pytest.mark.parametrize(
    ("graph", "needs"),
    [
        pytest.param(two_ways(provider="one"), Requirements(providers=("one",)), id="a-provider"),
        pytest.param(two_ways(labels=("tier=gold", "x=y")), Requirements(gateway_labels=("tier=gold",)), id="a-label"),
        pytest.param(two_ways(labels=("a=1", "b=2")), Requirements(gateway_labels=("a=1", "b=2")), id="all-labels"),
    ],
)
def test_what_every_gateway_has_to_be(graph: MeshGraph, needs: Requirements) -> None:
    def by(requirements: Requirements) -> str:
        path = select_path(graph, {"a": 0.0}, {"z": 0.0}, requirements).path
        assert path is not None
        return path.text

    assert by(Requirements()) == "a > b > z"
    assert by(needs) == "a > c > z", "who does not say what it is, is not it"


def test_a_label_to_avoid() -> None:
    graph = mesh(node("a"), node("b", labels=("tier=lab",)), node("c"), node("z"), links=two_ways().links)
    needs = Requirements(avoid=Avoid(gateway_labels=("tier=lab", "x=y")))
    path = select_path(graph, {"a": 0.0}, {"z": 0.0}, needs).path
    assert path is not None
    assert path.text == "a > c > z"


@pytest.mark.parametrize(
    "prefer",
    [
        pytest.param(Prefer(providers=("two", "one")), id="provider"),
        pytest.param(Prefer(gateway_labels=("x=y", "tier=gold")), id="label"),
        pytest.param(Prefer(regions=("us",), gateway_labels=("tier=gold",)), id="one-of-its-kinds-is-enough"),
    ],
)
def test_preferred_by_provider_or_label(prefer: Prefer) -> None:
    graph = mesh(
        node("a"),
        node("b"),
        node("c", provider="one", labels=("tier=gold",)),
        node("z"),
        links=(link("a", "b", 10.0), link("b", "z", 10.0), link("a", "c", 11.0), link("c", "z", 10.0)),
    )
    path = select_path(graph, {"a": 0.0}, {"z": 0.0}, prefer=[prefer]).path
    assert path is not None
    assert path.text == "a > c > z"


def test_of_weights_the_highest_priority_wins() -> None:
    found = apply(
        intent("x"),
        policy("z", weights=CostWeights(latency=7.0, loss=2.0)),
        policy("a", priority=10, weights=CostWeights(latency=5.0)),
    )
    assert (found.weights.latency, found.weights.loss) == (5.0, 2.0), "weight by weight"


def test_priority_overrules_no_restriction() -> None:
    found = apply(
        intent("x"),
        policy("a", priority=-10, avoid=Avoid(regions=("us",))),
        policy("z", priority=10, prefer=Prefer(regions=("us",)), avoid=Avoid(regions=("uk",))),
    )
    assert found.requirements.avoid.regions == ("uk", "us")
    assert apply(intent("x"), policy("a", priority=-10, deny=True), policy("z", priority=10)).refused is not None


def test_a_policy_cannot_loosen_what_is_asked() -> None:
    asked = intent("x", requirements=Requirements(encryption=Encryption.END_TO_END, regions=("eu",)))
    found = apply(asked, policy("a", minimum_encryption=Encryption.HOP_BY_HOP, require=Require(regions=("eu", "us"))))
    assert found.requirements.encryption is Encryption.END_TO_END
    assert found.requirements.regions == ("eu",)


@pytest.mark.parametrize(
    ("asked", "minimum", "holds"),
    [
        pytest.param(None, None, Encryption.END_TO_END, id="end-to-end-unless-said-otherwise"),
        pytest.param(Encryption.HOP_BY_HOP, None, Encryption.HOP_BY_HOP, id="hop-by-hop-if-asked"),
        pytest.param(Encryption.HOP_BY_HOP, Encryption.END_TO_END, Encryption.END_TO_END, id="the-minimum-wins"),
        pytest.param(None, Encryption.HOP_BY_HOP, Encryption.END_TO_END, id="a-lower-minimum-changes-nothing"),
    ],
)
def test_encryption(asked: Encryption | None, minimum: Encryption | None, holds: Encryption) -> None:
    found = apply(intent("x", requirements=Requirements(encryption=asked)), policy("a", minimum_encryption=minimum))
    assert found.requirements.encryption is holds


def test_regions_that_exclude_each_other_leave_nothing() -> None:
    asked = intent("x", requirements=Requirements(regions=("us",)))
    refused = apply(asked, policy("eu-only", require=Require(regions=("eu",)))).refused
    assert refused is not None
    assert refused.requirement == "regions"
    assert refused.message == "regions: asked us; MeshPolicy eu-only requires eu, and none of these is among us"


def test_of_weights_the_last_name_wins() -> None:
    found = apply(
        intent("x", profile=Profile.LATENCY),
        policy("b", weights=CostWeights(latency=7.0)),
        policy("a", weights=CostWeights(latency=5.0, loss=2.0)),
    )
    assert (found.weights.latency, found.weights.loss) == (7.0, 2.0)
    assert found.weights.hops == PROFILES[Profile.LATENCY].hops


def test_the_order_in_which_policies_are_told_does_not_matter() -> None:
    policies = [
        policy("a", require=Require(regions=("eu",)), prefer=Prefer(gateways=("lab/a",))),
        policy("b", avoid=Avoid(regions=("us",)), weights=CostWeights(hops=2.0)),
        policy("c", prefer=Prefer(regions=("eu",)), weights=CostWeights(hops=3.0)),
    ]
    expected = apply(intent("x"), *policies)
    for seed in range(10):
        assert apply(intent("x"), *random.Random(seed).sample(policies, 3)) == expected


@pytest.mark.parametrize(
    ("dearer", "taken"),
    [
        pytest.param(1.2, "a > pref > z", id="preferred-wins-while-a-fifth-dearer"),
        pytest.param(1.6, "a > other > z", id="preferred-loses-when-far-dearer"),
    ],
)
def test_a_preference_is_a_factor_on_cost(dearer: float, taken: str) -> None:
    graph = mesh(
        *(node(name) for name in ("a", "pref", "other", "z")),
        links=(
            link("a", "pref", 100.0 * dearer),
            link("pref", "z", 10.0),
            link("a", "other", 100.0),
            link("other", "z", 10.0),
        ),
    )
    without = select_path(graph, {"a": 0.0}, {"z": 0.0}).path
    assert without is not None
    assert without.text == "a > other > z"
    found = select_path(graph, {"a": 0.0}, {"z": 0.0}, prefer=[Prefer(gateways=("pref",))]).path
    assert found is not None
    assert found.text == taken
    assert found.terms["prefer"] > 0, "the last gateway is not preferred either"


def test_weights_that_would_break_the_search_are_refused() -> None:
    with pytest.raises(ValueError, match="cost weight loss is -1"):
        PROFILES[Profile.BALANCED].override(CostWeights(loss=-1.0))


def test_tightening_takes_the_stricter_of_each_and_adds_bandwidths() -> None:
    one = apply(intent("x", requirements=Requirements(max_latency=Milliseconds(20), min_bandwidth=Bandwidth(1e8))))
    other = apply(intent("y", requirements=Requirements(max_latency=Milliseconds(30), min_bandwidth=Bandwidth(2e8))))
    both = tighten(one, other)
    assert both is not None
    assert (both.requirements.max_latency, both.requirements.min_bandwidth) == (20.0, 3e8)
    eu, us = (apply(intent("x", requirements=Requirements(regions=(region,)))) for region in ("eu", "us"))
    assert tighten(eu, us) is None


def test_policy_specs_without_anything_change_nothing() -> None:
    asked = intent("x", requirements=Requirements(max_hops=3))
    assert apply(asked, policy("a")) == apply(asked)
    assert PolicySpec() == policy("a").spec
