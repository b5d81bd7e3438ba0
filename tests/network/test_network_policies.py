"""Network policies: golden files, and the word of an API server with the real schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from foremesh.model.mesh import Member
from foremesh.model.registration import PublicKeys, Registration
from foremesh.model.resource import Protocol, Resource
from foremesh.network.policies import Flavour, PodGroup, PolicyError, Target, prerequisites, render, target
from lab.controlplane import ControlPlane
from lab.process import wait_until
from network.golden import assert_golden, load
from network.scene import gateway, workload

ESTABLISHED_S = 60.0
"""Seconds for the API server to serve a new kind; it takes under one on an idle machine."""


def member(id_: str, endpoint: str | None) -> Member:
    keys = PublicKeys(hop="hop", circuit="circuit", attach="attach")
    return Member(
        id=id_,
        resource=gateway(id_.removeprefix("mesh/"), "ams"),
        registration=Registration(resource=id_, keys=keys, attach_endpoint=endpoint),
    )


def rendered(flavour: Flavour) -> list[dict[str, Any]]:
    given = load("network-policy.yaml")
    resource = Resource.from_manifest(given["workload"])
    gateways = [member(id_, endpoint) for id_, endpoint in given["gateways"].items()]
    return [
        *prerequisites(flavour),
        *render(
            Member(id=resource.id, resource=resource, gateways=tuple(given["gateways"])),
            gateways,
            flavour,
            api=target(given["api"]["endpoint"], Protocol.TCP, pods=PodGroup(**given["api"]["pods"]), what="mesh API"),
            pods={id_: PodGroup(**pods) for id_, pods in given["gatewayPods"].items()},
            allow=[target(given["allow"]["endpoint"], Protocol.TCP, what="database")],
        ),
    ]


@pytest.mark.parametrize("flavour", list(Flavour))
def test_rendered_as_reviewed(flavour: Flavour) -> None:
    assert_golden(f"network-policy-{flavour.lower()}.yaml", *rendered(flavour))


def structural(schema: Any) -> Any:
    """A closed JSON schema as a CustomResourceDefinition takes it: unknown fields are refused by strict validation
    there, and ``additionalProperties: false`` has no place beside properties."""
    if isinstance(schema, list):
        return [structural(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: structural(value) for key, value in schema.items() if (key, value) != ("additionalProperties", False)}


def definitions(flavour: Flavour, crds: Path) -> list[dict[str, Any]]:
    """The real CustomResourceDefinitions of a flavour's kinds."""
    match flavour:
        case Flavour.KUBERNETES:
            return []
        case Flavour.CALICO:
            names = ("networkpolicies", "tiers")
            files = [crds / "calico" / "v3" / f"projectcalico.org_{name}.yaml" for name in names]
            return [yaml.safe_load(file.read_text()) for file in files]
        case Flavour.CILIUM:
            schema = structural(json.loads((crds / "cilium" / "ciliumnetworkpolicy_v2.json").read_text()))
            kind, plural = "CiliumNetworkPolicy", "ciliumnetworkpolicies"
            version = {"name": "v2", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            return [
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": f"{plural}.cilium.io"},
                    "spec": {
                        "group": "cilium.io",
                        "names": {"kind": kind, "plural": plural},
                        "scope": "Namespaced",
                        "versions": [version],
                    },
                }
            ]


def resource_of(manifest: dict[str, Any]) -> str:
    """A kind as kubectl tells it from others of the same name: ``Kind.version.group``."""
    group, _, version = manifest["apiVersion"].partition("/")
    return f"{manifest['kind']}.{version}.{group}"


@pytest.mark.apiserver
@pytest.mark.shared
@pytest.mark.parametrize("flavour", list(Flavour))
def test_api_server_accepts_and_keeps_every_field(flavour: Flavour, control_plane: ControlPlane, shared: Path) -> None:
    namespace = f"policies-{flavour.lower()}"
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for definition in definitions(flavour, shared / "crds"):
        control_plane.apply(definition)
    for manifest in rendered(flavour):
        if "namespace" in manifest["metadata"]:
            manifest["metadata"] |= {"namespace": namespace}
        text = yaml.safe_dump(manifest)

        def apply(text: str = text) -> bool:
            control_plane.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)
            return True

        # A new kind is served a moment after its definition was accepted.
        wait_until(apply, ESTABLISHED_S, what=f"{manifest['kind']} of {flavour}", ignoring=(RuntimeError,))
        kept = control_plane.get(resource_of(manifest), manifest["metadata"]["name"], f"--namespace={namespace}")
        assert kept["spec"] == manifest["spec"], "nothing was pruned or filled in"


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        pytest.param("ams.example.net:51821", "no IP address", id="name-outside-the-cluster"),
        pytest.param("203.0.113.7", "is not host:port", id="no-port"),
    ],
)
def test_endpoint_that_a_policy_cannot_express_is_refused(endpoint: str, cause: str) -> None:
    one = workload("checkout", "ams")
    with pytest.raises(PolicyError, match=cause) as error:
        render(
            Member(id=one.id, resource=one),
            [member("mesh/ams-1", endpoint)],
            Flavour.KUBERNETES,
            api=Target(Protocol.TCP, 8443, address="203.0.113.1"),
        )
    assert error.value.what == "mesh/ams-1"


def test_target_is_pods_or_an_address() -> None:
    one = workload("checkout", "ams")
    with pytest.raises(PolicyError, match="exactly one"):
        render(Member(id=one.id, resource=one), [], Flavour.CILIUM, api=Target(Protocol.TCP, 8443))


def test_workload_without_pods_has_no_policy() -> None:
    one = gateway("ams-1")
    api = Target(Protocol.TCP, 8443, address="203.0.113.1")
    assert render(Member(id=one.id, resource=one), [], Flavour.CALICO, api=api) == []
