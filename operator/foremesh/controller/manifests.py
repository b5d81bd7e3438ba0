"""Objects that the operator writes, as plain manifests. Pure, except that an event carries the time of its making."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from foremesh.model import tokens
from foremesh.model.manifest import write
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.meta import API_VERSION, Ref
from foremesh.model.resource import Resource, ResourceType

MANAGED = {"app.kubernetes.io/managed-by": "foremesh"}
FOR_RESOURCE = "foremesh.io/resource"
"""Annotation: the MeshResource (``namespace/name``) that an object was made for."""
TOKEN_KEY = "token"
COMPONENT = "foremesh-operator"


def with_status(body: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest that server-side applies a status to an object."""
    meta = {key: body["metadata"][key] for key in ("name", "namespace") if body["metadata"].get(key)}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": meta, "status": dict(status)}


def owned(manifest: Mapping[str, Any], owners: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest with owner references, so that Kubernetes collects it when all owners are gone."""
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in owners
    ]
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": references}}


def is_managed(body: Mapping[str, Any]) -> bool:
    """Whether foremesh made an object; what people made is never deleted."""
    return MANAGED.items() <= (body["metadata"].get("labels") or {}).items()


def owners_of(body: Mapping[str, Any], kind: str) -> frozenset[str]:
    """The uids of an object's owners of a foremesh kind; it goes when all its owners have gone."""
    references = body["metadata"].get("ownerReferences") or ()
    return frozenset(one["uid"] for one in references if (one["apiVersion"], one["kind"]) == (API_VERSION, kind))


def common_owners(namespace: str, owners: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Owners for an object of a namespace: all, or none if one of them is elsewhere. Kubernetes takes an owner of
    another namespace for one that is gone, and would collect the object while somebody still needs it."""
    listed = list(owners)
    return listed if all(one["metadata"].get("namespace") == namespace for one in listed) else []


def circuit(placed: PlacedCircuit, owners: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A Circuit, owned by the Intents it serves. A pinned path is people's: it is never written here."""
    ref = Ref.parse(placed.id)
    spec = write(placed.spec)
    spec.pop("path", None)
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Circuit",
        "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": MANAGED},
        "spec": spec,
    }
    return owned(manifest, common_owners(ref.namespace, owners))


def wants_agent(resource: Resource) -> bool:
    """Functions, and machines without an agent, are reached through the gateway of their network."""
    return resource.spec.type is not ResourceType.FUNCTION


def secret_name(resource: Resource) -> str:
    return f"{resource.meta.name}-foremesh-agent"


def agent_secret(resource: Resource, token: str) -> dict[str, Any]:
    """The Secret that an agent authenticates with; it goes when its MeshResource goes."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret_name(resource),
            "namespace": resource.meta.namespace,
            "labels": MANAGED,
            "annotations": {FOR_RESOURCE: resource.id},
        },
        "data": {TOKEN_KEY: base64.b64encode(token.encode()).decode()},
    }
    owner = {
        "apiVersion": API_VERSION,
        "kind": "MeshResource",
        "metadata": {"name": resource.meta.name, "uid": resource.meta.uid},
    }
    return owned(manifest, [owner])


def token_in(secret: Mapping[str, Any] | None, resource: Resource) -> str | None:
    """The token that a Secret holds for a MeshResource; None if it has none, or one that cannot be its."""
    data = ((secret or {}).get("data") or {}).get(TOKEN_KEY)
    try:
        token = base64.b64decode(data or "").decode()
        return token if tokens.resource_of(token) == resource.id else None
    except ValueError:
        return None


def event(about: Mapping[str, Any], type_: str, reason: str, message: str) -> dict[str, Any]:
    """A Kubernetes event; ``type_`` is Normal or Warning."""
    meta = about["metadata"]
    namespace = meta.get("namespace") or "default"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace"),
            "uid": meta.get("uid"),
        },
        "type": type_,
        "reason": reason,
        "note": message[:1000],
        "action": reason,
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": COMPONENT,
        "reportingInstance": COMPONENT,
    }
