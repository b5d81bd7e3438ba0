"""A Kubernetes API in memory, as far as the operator uses it: generations, resource versions, refusals, outages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from foremesh.controller.kubernetes import KubernetesRefused, KubernetesUnavailable
from foremesh.model.meta import Ref

Key = tuple[str, str, str]
"""Kind, namespace, name."""


class FakeKubernetes:
    """The calls of ``controller.kubernetes.Kubernetes``.

    Attributes:
        objects: By kind, namespace and name.
        written: Every write that was taken: what was done, kind and name.
        away: Nothing answers.
        refuse: Says why an object is not taken, or nothing; called with the verb and the manifest.
        on_write: Called before every write.
    """

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.written: list[tuple[str, str, str]] = []
        self.away = False
        self.refuse: Callable[[str, Mapping[str, Any]], str] = lambda verb, manifest: ""
        self.on_write: Callable[[str, Mapping[str, Any]], None] = lambda verb, manifest: None
        self._version = 1
        for body in bodies:
            self.put(body)

    def put(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a person applies: the spec is replaced, the generation counts edits, the status stays."""
        key = _key(body)
        old = self.objects.get(key)
        new = copy.deepcopy(body)
        meta = new["metadata"]
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("uid", f"uid-{self._version}")
        if old is not None:
            meta["uid"] = old["metadata"]["uid"]
            changed = old.get("spec") != new.get("spec")
            meta["generation"] = old["metadata"]["generation"] + changed
            if "status" in old:
                new["status"] = old["status"]
        else:
            meta["generation"] = 1
        self.objects[key] = new
        return copy.deepcopy(new)

    def drop(self, kind: str, name: str, namespace: str = "shop") -> dict[str, Any]:
        """What a person, or garbage collection, deletes."""
        return self.objects.pop((kind, namespace, name))

    def status(self, kind: str, name: str, namespace: str = "shop") -> dict[str, Any]:
        return dict(self.objects[kind, namespace, name].get("status") or {})

    def condition(self, kind: str, name: str, type_: str, namespace: str = "shop") -> dict[str, Any]:
        listed = self.status(kind, name, namespace).get("conditions", [])
        return next((one for one in listed if one["type"] == type_), {})

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [body for key, body in sorted(self.objects.items()) if key[0] == kind]

    def events(self, name: str) -> list[dict[str, Any]]:
        """In the order in which they were told."""
        told = [body for key, body in self.objects.items() if key[0] == "Event"]
        return [event for event in told if event["regarding"]["name"] == name]

    # What the operator calls

    async def ping(self) -> None:
        self._answer("ask")

    async def list(
        self, api_version: str, kind: str, *, labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        self._answer(f"list {kind}")
        wanted = (labels or {}).items()
        return [copy.deepcopy(b) for b in self.of_kind(kind) if wanted <= (b["metadata"].get("labels") or {}).items()]

    async def get(self, api_version: str, kind: str, ref: Ref) -> dict[str, Any] | None:
        self._answer(f"get {kind} {ref}")
        return copy.deepcopy(self.objects.get((kind, ref.namespace, ref.name)))

    async def apply(self, manifest: Mapping[str, Any], *, subresource: str | None = None) -> dict[str, Any]:
        verb = f"apply {subresource}" if subresource else "apply"
        self._write(verb, manifest)
        key = _key(manifest)
        old = self.objects.get(key)
        version = manifest["metadata"].get("resourceVersion")
        if version is not None and (old is None or old["metadata"]["resourceVersion"] != version):
            raise KubernetesRefused(verb, "HTTP 409 the object has been modified", 409)
        if subresource is None:
            meta = {**((old or {}).get("metadata") or {}), **manifest["metadata"]}
            body = self.put({**(old or {}), **copy.deepcopy(dict(manifest)), "metadata": meta})
        elif old is None:
            raise KubernetesRefused(verb, "HTTP 404 not found", 404)
        else:
            self._version += 1
            old["metadata"]["resourceVersion"] = str(self._version)
            old["status"] = copy.deepcopy(manifest["status"])
            body = copy.deepcopy(old)
        self.written.append((verb, key[0], key[2]))
        return body

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self._write("create", manifest)
        self.written.append(("create", manifest["kind"], manifest["metadata"]["name"]))
        return self.put(dict(manifest))

    async def delete(self, api_version: str, kind: str, ref: Ref) -> None:
        manifest = {"kind": kind, "metadata": {"name": ref.name, "namespace": ref.namespace}}
        self._write("delete", manifest)
        if self.objects.pop((kind, ref.namespace, ref.name), None) is not None:
            self.written.append(("delete", kind, ref.name))

    def _write(self, verb: str, manifest: Mapping[str, Any]) -> None:
        self.on_write(verb, manifest)
        self._answer(f"{verb} {manifest['kind']}")
        if why := self.refuse(verb, manifest):
            raise KubernetesRefused(verb, why, 422)

    def _answer(self, action: str) -> None:
        if self.away:
            raise KubernetesUnavailable(action, "connection refused")


def _key(body: Mapping[str, Any]) -> Key:
    return (body["kind"], body["metadata"].get("namespace") or "", body["metadata"]["name"])
