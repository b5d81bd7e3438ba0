"""``foremesh explain`` by kubeconfig, as a person runs it, against a real API server that an operator wrote into."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from controller.scene import gateway_body, intent_body
from controller.world import World
from foremesh.cli.main import cli
from foremesh.controller.kubernetes import Kubernetes
from foremesh.controller.read_back import read_back
from foremesh.model.manifest import write
from lab.controlplane import ControlPlane

GIVEN = ("uid", "generation", "resourceVersion", "ownerReferences")
"""What the API server sets; and owners, whose uids it would look for."""


def run(kubeconfig: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments], env={"KUBECONFIG": str(kubeconfig), "COLUMNS": "100"})


async def settled() -> World:
    """A mesh with one Intent that is placed, and one that cannot be."""
    world = World(intent_body(), intent_body("fast", requirements={"maxLatency": "5ms"}))
    await world.agents()
    await world.settle()
    return world


@pytest.fixture
def told(control_plane: ControlPlane, namespace: str) -> list[Any]:
    """Everything that people and the operator said, on the real API server; what the fake one has of the Intents."""

    async def copy() -> list[Any]:
        world = await settled()
        async with Kubernetes(control_plane.kubeconfig) as kubernetes:
            for body in world.kubernetes.objects.values():
                if body["apiVersion"] != "foremesh.io/v1alpha1":
                    continue
                own = json.loads(re.sub(r"\b(shop|mesh)\b", namespace, json.dumps(body)))
                own["metadata"] = {key: value for key, value in own["metadata"].items() if key not in GIVEN}
                status = own.pop("status", None)
                await kubernetes.apply(own)
                if status:
                    await kubernetes.apply({**own, "status": status}, subresource="status")
        found = [await read_back(world.kubernetes, f"intent/{name}", "shop") for name in ("orders", "fast")]
        return [json.loads(re.sub(r"\b(shop|mesh)\b", namespace, json.dumps(write(one)))) for (one,) in found]

    return asyncio.run(copy())


def test_a_placed_intent(control_plane: ControlPlane, namespace: str, told: list[Any]) -> None:
    shown = run(control_plane.kubeconfig, "intent/orders", "-n", namespace)
    assert shown.exit_code == 0, shown.output
    assert "web to db: placed" in shown.stdout
    for text in (
        "  ams > lon > fra  ",
        "  falls over to ams > par > fra",
        "  circuit: ",
        "  why: ",
        "  next ams > par > fra",
    ):
        assert text in shown.stdout, shown.stdout
    named = run(control_plane.kubeconfig, f"intent/{namespace}/orders", "-o", "json")
    assert json.loads(named.stdout)["intents"] == [told[0]], "nothing is lost on the way through the CRD"
    (circuit,) = {one["circuit"] for one in told[0]["placements"]}
    carried = run(control_plane.kubeconfig, f"circuit/{circuit}", "-o", "json")
    assert json.loads(carried.stdout)["intents"] == [told[0]]


def test_an_intent_that_does_not_fit(control_plane: ControlPlane, namespace: str, told: list[Any]) -> None:
    shown = run(control_plane.kubeconfig, "intent/fast", "-n", namespace)
    assert shown.exit_code == 3, shown.output
    assert re.search(r"maxLatency +5ms +22ms +22ms +ams > lon > fra", shown.stdout), shown.stdout
    read = run(control_plane.kubeconfig, "intent/fast", "-n", namespace, "-o", "yaml")
    assert yaml.safe_load(read.stdout)["intents"] == [told[1]]


def test_before_the_operator_has_said_anything(control_plane: ControlPlane, namespace: str) -> None:
    asked = {**intent_body("new"), "metadata": {"name": "new", "namespace": namespace}}
    control_plane.apply({**gateway_body("ams"), "metadata": {"name": "ams", "namespace": namespace}}, asked)
    shown = run(control_plane.kubeconfig, "intent/new", "-n", namespace)
    assert shown.exit_code == 3
    assert "problem: the operator has said nothing of it yet; see that it runs" in shown.stdout


def test_the_namespace_is_that_of_the_context(
    control_plane: ControlPlane, namespace: str, told: list[Any], tmp_path: Path
) -> None:
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    for arguments in ((), ("--context", control_plane.context_name)):
        shown = run(tmp_path / "config", "intent/orders", *arguments, "-o", "json")
        assert json.loads(shown.stdout)["intents"] == [told[0]]


def test_refusals_are_one_line(control_plane: ControlPlane, namespace: str, told: list[Any], tmp_path: Path) -> None:
    def refused(kubeconfig: Path, *arguments: str) -> str:
        result = run(kubeconfig, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        (line,) = result.stderr.splitlines()
        return line

    nobody = refused(control_plane.kubeconfig, "intent/nobody", "-n", namespace)
    assert f"there is no intent {namespace}/nobody; there are: " in nobody
    control_plane.kubectl("create", "serviceaccount", "stranger", "-n", namespace)
    stranger = control_plane.service_account_kubeconfig(namespace, "stranger")
    line = refused(stranger, "intent/orders", "-n", namespace)
    assert f"get Intent {namespace}/orders: HTTP 403 " in line
    assert line.endswith("; see that foremesh is installed and you may read it")
    control_plane.kubectl("create", "role", "one", "-n", namespace, "--verb=get", "--resource=intents.foremesh.io")
    control_plane.kubectl(
        "create", "rolebinding", "one", "-n", namespace, "--role=one", f"--serviceaccount={namespace}:stranger"
    )
    line = refused(stranger, "intent/nobody", "-n", namespace)
    assert line.endswith("; give its namespace with -n, or as namespace/name"), "who may not list is told no names"
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": "expired"}
    (tmp_path / "expired").write_text(yaml.safe_dump(config))
    assert "HTTP 401" in refused(tmp_path / "expired", "intent/orders", "-n", namespace)
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "away").write_text(yaml.safe_dump(config))
    line = refused(tmp_path / "away", "intent/orders", "-n", namespace)
    assert "ask what the API server serves: " in line
    assert line.endswith("; give -f DIR, --api URL, or a --context of a cluster that answers")
