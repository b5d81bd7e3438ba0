"""Names that no gateway bears are pointed out, and no others."""

from __future__ import annotations

import pytest

from controller.scene import Mesh, gateway_body, intent_body, policy_body
from foremesh.decide import Gateways

AMS = gateway_body("ams", location={"site": "ams", "region": "eu", "provider": "one"}, labels={"tier": "gold"})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({"require": {"regions": ["eu"]}}, (), id="a-region-that-there-is"),
        pytest.param(
            {"require": {"regions": ["eu", "moon"]}},
            ("no gateway has region moon (spec.require.regions): nothing meets it",),
            id="a-region-that-there-is-not",
        ),
        pytest.param(
            {"avoid": {"providers": ["two"], "gateways": ["ams", "mesh/fra", "mesh/rome"]}},
            (
                "no gateway has provider two (spec.avoid.providers): it keeps nothing out",
                "no gateway is called mesh/rome (spec.avoid.gateways): it keeps nothing out",
            ),
            id="several-of-what-to-avoid",
        ),
        pytest.param(
            {"prefer": {"gatewayLabels": ["tier=gold", "tier=lead"]}},
            ("no gateway has label tier=lead (spec.prefer.gatewayLabels): it favours nothing",),
            id="a-label",
        ),
        pytest.param({"deny": True}, (), id="nothing-named"),
    ],
)
def test_in_a_policy(spec: dict[str, object], said: tuple[str, ...]) -> None:
    declared = Mesh.of(AMS, policy_body(**spec)).declared
    assert Gateways.of(declared.resources.values()).unnamed_in_policy(declared.policies["word"]) == said


def test_in_an_intent() -> None:
    needs = {"regions": ["eu", "mars"], "providers": ["one"], "avoid": {"gatewayLabels": ["tier=gold", "x=y"]}}
    declared = Mesh.of(AMS, intent_body(requirements=needs)).declared
    found = Gateways.of(declared.resources.values())
    assert found.unnamed_in_requirements(declared.intents["shop/orders"].spec.requirements) == (
        "no gateway has region mars (spec.requirements.regions): no gateway meets it",
        "no gateway has label x=y (spec.requirements.avoid.gatewayLabels): it keeps nothing out",
    )
