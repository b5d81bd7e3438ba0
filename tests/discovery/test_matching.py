"""Who an Intent is about."""

from typing import Any

import pytest

from discovery.meshes import gateway, intent, offering, resource
from foremesh.discovery.matching import Match, match_candidates, match_destinations, match_sources

RESOURCES = [
    resource("web", labels={"tier": "front"}),
    resource("web-2", labels={"tier": "front"}),
    resource("db-fra", services=offering("orders-db"), region="eu-central-1", labels={"tier": "data"}),
    resource(
        "db-ams",
        services=offering("orders-db"),
        region="eu-west-1",
        labels={"tier": "data", "ssd": "yes"},
        capabilities=["ssd"],
    ),
    resource("db-nowhere", services=offering("orders-db")),
    resource("db-away", namespace="other", services=offering("orders-db"), region="us-east-1", labels={"tier": "data"}),
    gateway("gw", labels={"tier": "front"}),
]


def ids(match: Match) -> list[str]:
    return [one.id for one in match.matched]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        pytest.param(
            {"service": "orders-db"},
            ["other/db-away", "shop/db-ams", "shop/db-fra", "shop/db-nowhere"],
            id="a-service-in-any-namespace",
        ),
        pytest.param({"resource": "db-fra"}, ["shop/db-fra"], id="a-bare-name-is-of-the-intents-namespace"),
        pytest.param({"resource": "other/db-away"}, ["other/db-away"], id="a-full-name-is-of-any-namespace"),
        pytest.param({"resource": "gw"}, ["shop/gw"], id="a-gateway-by-name"),
        pytest.param(
            {"selector": {"matchLabels": {"tier": "data"}}},
            ["shop/db-ams", "shop/db-fra"],
            id="a-selector-stays-in-its-namespace",
        ),
        pytest.param(
            {"selector": {"matchLabels": {"tier": "data", "ssd": "yes"}}}, ["shop/db-ams"], id="every-label-counts"
        ),
    ],
)
def test_destinations(to: dict[str, Any], expected: list[str]) -> None:
    asked = intent(to=to)
    assert ids(match_destinations(asked, RESOURCES)) == expected
    assert ids(match_destinations(asked, reversed(RESOURCES))) == expected


@pytest.mark.parametrize(
    ("to", "reason", "message"),
    [
        ({"service": "orders"}, "NoCandidate", "no MeshResource offers service orders"),
        ({"resource": "db-away"}, "UnknownReference", "MeshResource shop/db-away does not exist"),
        (
            {"selector": {"matchLabels": {"tier": "data", "ssd": "no"}}},
            "NoCandidate",
            "no MeshResource of namespace shop has ssd=no, tier=data",
        ),
    ],
)
def test_nobody_is_said_with_the_reason(to: dict[str, Any], reason: str, message: str) -> None:
    found = match_destinations(intent(to=to), RESOURCES)
    assert (found.matched, found.reason, found.message) == ((), reason, message)


def test_sources_are_named_or_selected_and_never_gateways() -> None:
    to = {"service": "orders-db"}
    assert ids(match_sources(intent(to=to), RESOURCES)) == ["shop/web"]
    selected = intent(to=to, source={"selector": {"matchLabels": {"tier": "front"}}})
    assert ids(match_sources(selected, RESOURCES)) == ["shop/web", "shop/web-2"]
    everyone = intent(to=to, source={"selector": {}})
    assert "shop/gw" not in ids(match_sources(everyone, RESOURCES))
    assert len(ids(match_sources(everyone, RESOURCES))) == 5


def test_every_candidate_that_cannot_be_used_is_told_why() -> None:
    found = match_candidates(
        intent(to={"service": "orders-db"}, requirements={"regions": ["eu-west-1", "eu-central-1"]}),
        RESOURCES,
        unavailable={"shop/db-fra": "was reported unavailable"},
    )
    assert ids(found) == ["shop/db-ams"]
    assert found.rejected == {
        "other/db-away": "is in us-east-1, allowed: eu-west-1, eu-central-1",
        "shop/db-fra": "was reported unavailable",
        "shop/db-nowhere": "does not state its region, allowed: eu-west-1, eu-central-1",
    }
    assert (found.reason, found.message) == ("", "")


def test_capabilities_and_avoided_regions_narrow_the_choice() -> None:
    asked = intent(to={"service": "orders-db"}, requirements={"avoid": {"regions": ["us-east-1"]}})
    found = match_candidates(asked, RESOURCES, capabilities=["ssd", "gpu"], unavailable={})
    assert found.matched == ()
    assert found.rejected["shop/db-ams"] == "lacks gpu"
    assert found.rejected["shop/db-fra"] == "lacks gpu, ssd"
    assert ids(match_candidates(asked, RESOURCES, capabilities=["ssd"], unavailable={})) == ["shop/db-ams"]
    without = match_candidates(asked, RESOURCES, unavailable={})
    assert without.rejected == {"other/db-away": "is in us-east-1, which is to be avoided"}


def test_where_none_is_left_the_message_has_every_reason() -> None:
    found = match_candidates(
        intent(to={"resource": "db-fra"}), RESOURCES, unavailable={"shop/db-fra": "was reported unavailable"}
    )
    assert (found.reason, found.message) == ("NoCandidate", "shop/db-fra was reported unavailable")
    loop = match_candidates(intent(to={"selector": {"matchLabels": {"tier": "front"}}}), RESOURCES, unavailable={})
    assert ids(loop) == ["shop/web-2"]
    assert loop.rejected == {"shop/web": "is the source itself"}
