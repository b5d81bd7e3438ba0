"""Resources, intents and registrations in a line each."""

from typing import Any

from foremesh.model.intent import Intent
from foremesh.model.registration import PublicKeys, Registration
from foremesh.model.resource import Resource


def resource(
    name: str, *, namespace: str = "shop", labels: dict[str, str] | None = None, region: str = "", **spec: Any
) -> Resource:
    """A MeshResource: a container unless ``spec`` says otherwise."""
    body = {"type": "Container", "workload": {"selector": {"matchLabels": {"app": name}}}} if "type" not in spec else {}
    return Resource.from_manifest(
        {
            "kind": "MeshResource",
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {**body, "location": {"region": region}, **spec},
        }
    )


def gateway(name: str, **more: Any) -> Resource:
    return resource(name, type="Gateway", gateway={"role": "Core", "endpoint": "203.0.113.1:51820"}, **more)


def offering(service: str) -> list[dict[str, Any]]:
    """``spec.services`` with one service."""
    return [{"name": service, "port": 5432}]


def intent(*, to: dict[str, Any], source: dict[str, Any] | None = None, name: str = "orders", **spec: Any) -> Intent:
    """An Intent of namespace shop, from resource ``web`` unless ``source`` says otherwise."""
    return Intent.from_manifest(
        {
            "kind": "Intent",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"from": source or {"resource": "web"}, "to": to, **spec},
        }
    )


def registration(id_: str) -> Registration:
    keys = PublicKeys(hop=f"hop {id_}", circuit=f"circuit {id_}", attach=f"attach {id_}")
    return Registration(resource=id_, keys=keys, endpoint="203.0.113.1:51820", version="1")
