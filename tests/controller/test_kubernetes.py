"""What the operator relies on of the API server, held by the one in memory and by the real one; and what kopf leaves on
objects, which is nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kopf
import pytest
import yaml

from controller.fake import FakeKubernetes
from controller.scene import intent_body
from foremesh.controller import handlers
from foremesh.controller.kubernetes import Kubernetes, KubernetesRefused, KubernetesUnavailable
from foremesh.model.meta import API_VERSION, Ref
from lab.controlplane import ControlPlane
from lab.process import wait_until_async

CONDITION = {"type": "Ready", "status": "True", "reason": "Placed", "message": "m"}


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.apiserver)])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, str]]:
    """The API server and a namespace."""
    if request.param == "memory":
        yield FakeKubernetes(), "shop"
        return
    namespace: str = request.getfixturevalue("namespace")
    plane: ControlPlane = request.getfixturevalue("control_plane")
    async with Kubernetes(plane.kubeconfig) as kubernetes:
        yield kubernetes, namespace


def manifest(namespace: str, name: str = "orders", **spec: Any) -> dict[str, Any]:
    """As somebody applies it: no uid, no generation."""
    body = intent_body(name, **spec)
    meta = {"name": name, "namespace": namespace, "labels": {"made-by": "test"}}
    return {**body, "metadata": meta}


def status_of(body: dict[str, Any], reason: str) -> dict[str, Any]:
    meta = {key: body["metadata"][key] for key in ("name", "namespace")}
    status = {"conditions": [{**CONDITION, "reason": reason}]}
    return {"apiVersion": API_VERSION, "kind": "Intent", "metadata": meta, "status": status}


async def test_generations_count_edits_of_the_spec_alone(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    first = await kubernetes.apply(manifest(namespace))
    same = await kubernetes.apply(manifest(namespace))
    labelled = await kubernetes.apply(
        {**manifest(namespace), "metadata": {**manifest(namespace)["metadata"], "labels": {"a": "b"}}}
    )
    said = await kubernetes.apply(status_of(first, "Placed"), subresource="status")
    edited = await kubernetes.apply(manifest(namespace, priority=7))
    generations = [one["metadata"]["generation"] for one in (first, same, labelled, said, edited)]
    assert generations == [1, 1, 1, 1, 2]
    assert edited["status"]["conditions"][0]["reason"] == "Placed", "an edit leaves the status alone"
    assert edited["metadata"]["uid"] == first["metadata"]["uid"]


async def test_a_status_for_a_version_that_is_gone_is_refused(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    body = await kubernetes.apply(manifest(namespace))
    await kubernetes.apply(status_of(body, "Newer"), subresource="status")
    stale = status_of(body, "Older")
    stale["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"]
    with pytest.raises(KubernetesRefused) as refused:
        await kubernetes.apply(stale, subresource="status")
    assert refused.value.status == 409
    found = await kubernetes.get(API_VERSION, "Intent", Ref(namespace=namespace, name="orders"))
    assert found["status"]["conditions"][0]["reason"] == "Newer"


async def test_a_status_of_what_is_gone_is_refused(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    with pytest.raises(KubernetesRefused) as refused:
        await kubernetes.apply(status_of(manifest(namespace, "gone"), "Placed"), subresource="status")
    assert refused.value.status == 404


async def test_lists_are_by_label(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    await kubernetes.apply(manifest(namespace))
    other = manifest(namespace, "other")
    other["metadata"]["labels"] = {}
    await kubernetes.apply(other)

    async def names(**arguments: Any) -> set[str]:
        found = await kubernetes.list(API_VERSION, "Intent", **arguments)
        assert {(one["apiVersion"], one["kind"]) for one in found} == {(API_VERSION, "Intent")}
        return {one["metadata"]["name"] for one in found if one["metadata"]["namespace"] == namespace}

    assert await names() == {"orders", "other"}
    assert await names(labels={"made-by": "test"}) == {"orders"}


async def test_what_is_not_there_is_none_and_can_be_deleted(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    ref = Ref(namespace=namespace, name="orders")
    assert await kubernetes.get(API_VERSION, "Intent", ref) is None
    await kubernetes.delete(API_VERSION, "Intent", ref)
    await kubernetes.apply(manifest(namespace))
    await kubernetes.delete(API_VERSION, "Intent", ref)
    assert await kubernetes.get(API_VERSION, "Intent", ref) is None


async def test_owners_are_those_of_the_last_application(served: tuple[Any, str]) -> None:
    kubernetes, namespace = served
    body = manifest(namespace)

    def owned_by(*uids: str) -> dict[str, Any]:
        owners = [{"apiVersion": API_VERSION, "kind": "Intent", "name": uid, "uid": uid} for uid in uids]
        return {**body, "metadata": {**body["metadata"], "ownerReferences": owners}}

    for uids in (("a", "b"), ("b",), ()):
        applied = await kubernetes.apply(owned_by(*uids))
        assert {one["uid"] for one in applied["metadata"].get("ownerReferences", [])} == set(uids)


async def test_who_answers_is_there(served: tuple[Any, str]) -> None:
    kubernetes, _ = served
    await kubernetes.ping()


# The real one alone


@pytest.mark.apiserver
async def test_an_invalid_object_is_refused_with_the_api_servers_words(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with Kubernetes(control_plane.kubeconfig) as kubernetes:
        for spec, word in (({"priority": "high"}, "priority"), ({"x": 1}, "x"), ({"priority": -5000}, "priority")):
            with pytest.raises(KubernetesRefused, match=word):
                await kubernetes.apply(manifest(namespace, **spec))
        with pytest.raises(KubernetesRefused) as nowhere:
            await kubernetes.apply(manifest("no-such-namespace"))
        assert nowhere.value.status == 404
        with pytest.raises(KubernetesRefused) as unknown:
            await kubernetes.list("example.org/v1", "Nothing")
        assert unknown.value.status == 404


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(nowhere))
    async with Kubernetes(path) as kubernetes:
        for request in (kubernetes.ping(), kubernetes.list(API_VERSION, "Intent")):
            with pytest.raises(KubernetesUnavailable, match="circuits stay as they are"):
                await request


class Noticed:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, str, str]] = []

    async def noticed(self, event: str | None, body: Any) -> None:
        self.seen.append((event, body["kind"], body["metadata"]["name"]))

    def has(self, event: str | None, kind: str, name: str) -> bool:
        return (event, kind, name) in self.seen


@pytest.mark.apiserver
async def test_kopf_notices_every_change_and_leaves_no_mark(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="kopf")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    listener, stop = Noticed(), asyncio.Event()
    name = f"kopf-{namespace}"
    policy = {"apiVersion": API_VERSION, "kind": "MeshPolicy", "metadata": {"name": name}, "spec": {"deny": True}}
    control_plane.apply(manifest(namespace, "before"))
    operator = asyncio.create_task(
        kopf.operator(
            clusterwide=True, memo=SimpleNamespace(listener=listener), stop_flag=stop, registry=handlers.registry
        )
    )
    try:
        await wait_until_async(lambda: listener.has(None, "Intent", "before"), 30, what="what was there")
        control_plane.apply(manifest(namespace, "after"), policy)
        await wait_until_async(lambda: listener.has("ADDED", "Intent", "after"), 10, what="an Intent added")
        # Listed rather than added, if that watch began late.
        await wait_until_async(
            lambda: listener.has("ADDED", "MeshPolicy", name) or listener.has(None, "MeshPolicy", name),
            20,
            what="a MeshPolicy",
        )
        control_plane.apply(manifest(namespace, "after", priority=7))
        await wait_until_async(lambda: listener.has("MODIFIED", "Intent", "after"), 10, what="an edit")
        for kind, one in (("intent", "before"), ("intent", "after"), ("meshpolicy", name)):
            meta = control_plane.get(kind, one, f"--namespace={namespace}", "--show-managed-fields")["metadata"]
            assert meta.get("finalizers", []) == []
            assert meta.get("annotations", {}) == {}
            assert {field["manager"] for field in meta["managedFields"]} == {"kubectl"}
        control_plane.kubectl("delete", "intent", "after", f"--namespace={namespace}", "--timeout=10s")
        await wait_until_async(lambda: listener.has("DELETED", "Intent", "after"), 10, what="a deletion")
    finally:
        stop.set()
        await asyncio.wait_for(operator, 30)
        control_plane.kubectl("delete", "meshpolicy", name, "--ignore-not-found")
    assert "Forbidden" not in caplog.text
