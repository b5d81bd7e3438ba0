"""What the API server has: everything declared, parsed, with the statuses as last read or written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from foremesh.controller.kubernetes import Kubernetes
from foremesh.controller.manifests import is_managed
from foremesh.decide import Declared
from foremesh.model.circuit import Circuit, Condition
from foremesh.model.intent import Intent
from foremesh.model.manifest import ManifestError, Spec, read
from foremesh.model.meta import API_VERSION
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus

log = logging.getLogger(__name__)

T = TypeVar("T")

Body = Mapping[str, Any]
"""A manifest as the API server sent it."""


class _Conditions(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    conditions: tuple[Condition, ...] = ()


@dataclass
class Record:
    """Keys are ids (``namespace/name``); ``bodies`` also has the kind."""

    resources: dict[str, Resource] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    """Those that foremesh made."""
    resource_status: dict[str, ResourceStatus] = field(default_factory=dict)
    intent_status: dict[str, IntentStatus] = field(default_factory=dict)
    policy_status: dict[str, PolicyStatus] = field(default_factory=dict)
    by_hand: dict[str, Body] = field(default_factory=dict)
    """Circuits that people made."""
    unreadable: list[tuple[Body, ManifestError]] = field(default_factory=list)
    bodies: dict[tuple[str, str], Body] = field(default_factory=dict)
    uids: set[str] = field(default_factory=set)
    """Of all objects there are, readable or not."""

    def declared(self) -> Declared:
        """What decisions are made from."""
        return Declared(
            resources=self.resources,
            resource_status=self.resource_status,
            intents=self.intents,
            intent_status=self.intent_status,
            policies=self.policies,
            policy_status=self.policy_status,
            circuits=self.circuits,
        )


async def read_all(kubernetes: Kubernetes) -> Record:
    """Read everything. An object that is being deleted counts as gone; one whose spec this version cannot read is set
    aside; a status that it cannot read counts as none, since the network itself shows what is allocated.

    Raises:
        KubernetesError: If it could not be read.
    """
    record = Record()
    for kind in ("MeshResource", "Intent", "MeshPolicy", "Circuit"):
        for body in await kubernetes.list(API_VERSION, kind):
            record.uids.add(body["metadata"]["uid"])
            if body["metadata"].get("deletionTimestamp"):
                continue
            try:
                id_ = _take(record, kind, body)
            except ManifestError as error:
                record.unreadable.append((body, error))
            else:
                record.bodies[kind, id_] = body
    return record


def conditions_of(body: Body) -> tuple[Condition, ...]:
    """The conditions of an object, whatever else its status says."""
    return _lenient(_Conditions, body).conditions


def _take(record: Record, kind: str, body: Body) -> str:
    if kind == "MeshResource":
        resource = Resource.from_manifest(body)
        record.resources[resource.id] = resource
        record.resource_status[resource.id] = _lenient(ResourceStatus, body)
        return resource.id
    if kind == "Intent":
        intent = Intent.from_manifest(body)
        record.intents[intent.id] = intent
        record.intent_status[intent.id] = _lenient(IntentStatus, body)
        return intent.id
    if kind == "MeshPolicy":
        policy = Policy.from_manifest(body)
        record.policies[policy.id] = policy
        record.policy_status[policy.id] = _lenient(PolicyStatus, body)
        return policy.id
    circuit = parse_circuit(body)
    if is_managed(body):
        record.circuits[circuit.id] = circuit
    else:
        record.by_hand[circuit.id] = body
    return circuit.id


def parse_circuit(body: Body) -> Circuit:
    """A Circuit, with an empty status where that cannot be read.

    Raises:
        ManifestError: If its spec cannot be read.
    """
    status = body.get("status")
    try:
        return Circuit.from_manifest(body)
    except ManifestError as error:
        circuit = Circuit.from_manifest({**body, "status": {}})
        log.error("status unreadable, read as empty circuit=%s status=%r error=%s", circuit.id, status, error)
        return circuit


def _lenient(structure: type[T], body: Body) -> T:
    name = f"{body['kind']} {body['metadata'].get('namespace', '')}/{body['metadata']['name']}"
    try:
        return read(structure, body.get("status") or {}, where=name)
    except ManifestError as error:
        log.error("status unreadable, read as empty object=%s error=%s", name, error)
        return msgspec.convert({}, structure)
