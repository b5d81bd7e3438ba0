"""charts/foremesh on a real API server: installed, upgraded and removed by helm; its rights asked of the server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.conftest import CHARTS, Helm, Render
from lab.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver

RELEASE, NAMESPACE = "chart-test-foremesh", "chart-test"
"""Not the names that people use, and other tests too: cluster-wide objects would meet."""


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, run_helm: Helm) -> Iterator[ControlPlane]:
    """A control plane with the chart installed, in a namespace that enforces the strictest pod security."""
    control_plane.kubectl("create", "namespace", NAMESPACE)
    control_plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    target = ("--namespace", NAMESPACE, "--kubeconfig", control_plane.kubeconfig)
    run_helm("install", RELEASE, CHARTS / "foremesh", *target)
    # An upgrade with other values, as people do.
    run_helm("upgrade", RELEASE, CHARTS / "foremesh", *target, "--set", "api.replicas=3,etcd.tlsSecret=etcd-client")
    yield control_plane
    run_helm("uninstall", RELEASE, *target)
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_an_upgrade_changes_what_was_asked(installed: ControlPlane) -> None:
    answer = installed.kubectl("get", "deployment", f"{RELEASE}-api", "-n", NAMESPACE, "-o", "json")
    assert json.loads(answer.stdout)["spec"]["replicas"] == 3


@pytest.mark.parametrize("name", ["operator", "api"])
def test_pods_pass_the_restricted_pod_security_standard(installed: ControlPlane, name: str) -> None:
    answer = installed.kubectl("get", "deployment", f"{RELEASE}-{name}", "-n", NAMESPACE, "-o", "json")
    template = json.loads(answer.stdout)["spec"]["template"]
    template["metadata"] |= {"name": f"{name}-pod", "namespace": NAMESPACE}
    # Pods are judged when they are made, and no controller here makes them.
    pod = yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **template})
    answer = installed.kubectl("apply", "--dry-run=server", "-f", "-", stdin=pod, check=False)
    assert answer.returncode == 0, answer.stderr
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_namespace_refuses_a_pod_with_more_privilege(installed: ControlPlane) -> None:
    """Shows that the test above can fail."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
    }
    answer = installed.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod), check=False)
    assert 'violates PodSecurity "restricted:latest"' in answer.stderr


ALLOWED = [
    *(
        (verb, f"{kind}.foremesh.io")
        for kind in ("meshresources", "intents", "meshpolicies")
        for verb in ("list", "watch")
    ),
    *((verb, "circuits.foremesh.io") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(("patch", f"{kind}.foremesh.io/status") for kind in ("meshresources", "intents", "circuits", "meshpolicies")),
    ("create", "events.events.k8s.io"),
    ("get", "secrets"),
    ("patch", "secrets"),
    ("patch", "networkpolicies.networking.k8s.io"),
    ("watch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("watch", "namespaces"),
]
DENIED = [
    ("create", "intents.foremesh.io"),
    ("delete", "intents.foremesh.io"),
    ("delete", "meshresources.foremesh.io"),
    ("create", "meshpolicies.foremesh.io"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("delete", "secrets"),
    ("get", "pods"),
    ("create", "pods"),
    ("get", "configmaps"),
    ("delete", "namespaces"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("patch", "ciliumnetworkpolicies.cilium.io"),
    ("create", "clusterroles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
]


def _may(control_plane: ControlPlane, account: str, verb: str, resource: str) -> bool:
    """Ask the server itself: ``kubectl auth can-i`` guesses the group of a kind that is not served here."""
    resource, _, subresource = resource.partition("/")
    resource, _, group = resource.partition(".")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "default"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{account}", "resourceAttributes": asked},
    }
    answer = control_plane.kubectl("create", "-o", "json", "-f", "-", stdin=yaml.safe_dump(review))
    return json.loads(answer.stdout)["status"]["allowed"]


def test_the_operator_may_do_its_work(installed: ControlPlane) -> None:
    assert [case for case in ALLOWED if not _may(installed, "operator", *case)] == []


def test_the_operator_may_do_nothing_else(installed: ControlPlane) -> None:
    assert [case for case in DENIED if _may(installed, "operator", *case)] == []


def test_the_mesh_api_may_do_nothing(installed: ControlPlane) -> None:
    assert [case for case in ALLOWED + DENIED if _may(installed, "api", *case)] == []


def test_monitoring_objects_are_what_the_prometheus_operator_takes(
    control_plane: ControlPlane, render: Render, shared: Path
) -> None:
    folder = shared / "crds/prometheus-operator"
    files = [folder / f"monitoring.coreos.com_{plural}.yaml" for plural in ("servicemonitors", "prometheusrules")]
    crds: list[dict[str, Any]] = [yaml.safe_load(file.read_text()) for file in files]
    names = [crd["metadata"]["name"] for crd in crds]
    control_plane.kubectl("apply", "--server-side", *(part for file in files for part in ("-f", file)))
    try:
        control_plane.wait_established(*names)
        versions = [f"monitoring.coreos.com/v1/{crd['spec']['names']['kind']}" for crd in crds]
        objects = render("foremesh", *(part for version in versions for part in ("--api-versions", version)))
        chosen = [one for one in objects if one["apiVersion"] == "monitoring.coreos.com/v1"]
        assert len(chosen) == 2
        for one in chosen:
            one["metadata"]["namespace"] = "default"
        control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(chosen))
    finally:
        control_plane.kubectl("delete", "crd", *names)
