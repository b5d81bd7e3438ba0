"""Two MeshResources for one thing are pointed out, both of them, and nothing else is."""

from __future__ import annotations

from typing import Any

from controller.scene import Mesh, gateway_body, workload_body
from foremesh.controller import verdicts
from foremesh.controller.conditions import find
from foremesh.decide import doubles
from foremesh.model.status import ResourceStatus


def selecting(name: str, **labels: str) -> dict[str, Any]:
    return workload_body(name, "ams", workload={"selector": {"matchLabels": labels}})


def found(*bodies: dict[str, Any]) -> dict[str, str]:
    return {id_: one.reason for id_, one in doubles(Mesh.of(*bodies).declared.resources).items()}


def test_a_mesh_as_it_should_be() -> None:
    assert found() == {}
    assert found(selecting("a", app="a", tier="x"), selecting("b", app="b", tier="x")) == {}


def test_two_gateways_at_one_endpoint() -> None:
    par = gateway_body("par", gateway={"role": "Core", "endpoint": "203.0.113.1:51820"})
    assert found(par) == {"mesh/ams": "EndpointShared", "mesh/par": "EndpointShared"}


def test_gateways_that_only_dial_out_share_nothing() -> None:
    assert found(*(gateway_body(name, gateway={"role": "Edge"}) for name in ("par", "lon"))) == {}


def test_an_underlays_endpoint_counts_too() -> None:
    other = [{"name": "mpls", "endpoint": "203.0.113.1:51820"}]
    par = gateway_body("par", gateway={"role": "Core", "endpoint": "203.0.113.4:51820", "underlays": other})
    assert set(found(par)) == {"mesh/ams", "mesh/par"}


def test_two_resources_for_the_same_pods() -> None:
    assert found(selecting("a", app="a"), selecting("b", app="a")) == {"shop/a": "PodsShared", "shop/b": "PodsShared"}


def test_a_selector_that_asks_for_less_has_the_pods_of_one_that_asks_for_more() -> None:
    """The narrower one is told: all of its pods are the wider one's as well."""
    assert found(selecting("wide", app="a"), selecting("narrow", app="a", tier="x")) == {"shop/narrow": "PodsShared"}


def test_pods_of_other_sites_are_other_pods() -> None:
    elsewhere = workload_body("b", "fra", workload={"selector": {"matchLabels": {"app": "a"}}})
    assert found(selecting("a", app="a"), elsewhere) == {}


def test_it_is_a_condition_and_an_event_once() -> None:
    mesh = Mesh.of(selecting("a", app="a"), selecting("b", app="a"))
    decision, twice = mesh.settle(), doubles(mesh.declared.resources)

    def status(old: ResourceStatus) -> ResourceStatus:
        return verdicts.resource_status(
            mesh.declared.resources["shop/a"],
            old,
            decision.state,
            mesh.observed,
            secret="",
            heard_at="",
            now="2030-01-01T00:00:00Z",
            double=twice.get("shop/a"),
        )

    first = status(ResourceStatus())
    condition = find(first.conditions, "Unique")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "PodsShared")
    assert condition.message == "its pods are selected by shop/b, too; a pod's agent speaks for one of them only"
    assert ("Warning", "PodsShared", condition.message) in verdicts.resource_news(ResourceStatus(), first)
    assert verdicts.resource_news(first, status(first)) == []
