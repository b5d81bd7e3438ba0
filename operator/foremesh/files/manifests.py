"""The manifests of a folder as what people declared, and where each of them stands."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from foremesh.decide.values import Declared
from foremesh.files.documents import Document, parse
from foremesh.files.errors import InputError, listed, nearest, shown
from foremesh.files.schema import first_fault
from foremesh.files.text import read_text, unreadable
from foremesh.model.circuit import Circuit
from foremesh.model.intent import Intent
from foremesh.model.manifest import ManifestError, Spec, read
from foremesh.model.meta import API_VERSION, GROUP
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus

SUFFIXES: Final = (".yaml", ".yml")

DEFAULT_NAMESPACE = "default"
"""Where kubectl puts an object whose manifest names no namespace."""

MANAGED_BY: Final = ("app.kubernetes.io/managed-by", "foremesh")
"""The label of what foremesh made itself."""

Object = Resource | Intent | Policy | Circuit

KINDS: Final[dict[str, type[Object]]] = {
    "MeshResource": Resource,
    "Intent": Intent,
    "MeshPolicy": Policy,
    "Circuit": Circuit,
}

STATUSES: Final[dict[str, type[Spec]]] = {
    "MeshResource": ResourceStatus,
    "Intent": IntentStatus,
    "MeshPolicy": PolicyStatus,
}
"""A Circuit reads its own."""


@dataclass
class Manifests:
    """Every foremesh object of a folder."""

    objects: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """Kind to id to object."""
    statuses: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in STATUSES})
    places: dict[tuple[str, str], Document] = field(default_factory=dict)
    """Kind and id to the document."""
    by_hand: tuple[str, ...] = ()
    """Circuits that people made."""

    def declared(self) -> Declared:
        circuits = {id_: one for id_, one in self.objects["Circuit"].items() if id_ not in self.by_hand}
        return Declared(
            resources=self.objects["MeshResource"],
            resource_status=self.statuses["MeshResource"],
            intents=self.objects["Intent"],
            intent_status=self.statuses["Intent"],
            policies=self.objects["MeshPolicy"],
            policy_status=self.statuses["MeshPolicy"],
            circuits=circuits,
        )


def read_manifests(folder: Path) -> Manifests:
    """Read every ``*.yaml`` and ``*.yml`` in a folder and below; hidden ones and those of other programs are left out.

    Raises:
        InputError: If there is none, or one is not what its kind demands.
    """
    found = Manifests()
    files = list(_files(folder))
    for path in files:
        for document in parse(read_text(path), path):
            for one in _objects(document):
                _take(found, one)
    if not found.places:
        count = f"{len(files)} YAML file{'s' * (len(files) > 1)}"
        cause = f"holds no foremesh manifest ({count})" if files else "holds no YAML file"
        cure = f"put MeshResources and Intents of {API_VERSION} into it, as *.yaml"
        raise InputError(folder, None, cause, cure)
    managed = {
        id_ for id_, one in found.objects["Circuit"].items() if one.meta.labels.get(MANAGED_BY[0]) == MANAGED_BY[1]
    }
    found.by_hand = tuple(sorted(found.objects["Circuit"].keys() - managed))
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Files in the order of their paths; links to folders are not followed, so that none leads back."""
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError as error:
        raise InputError(folder, None, "does not exist", "name the folder that holds the manifests") from error
    except OSError as error:
        raise unreadable(folder, error) from error
    if not is_folder:
        raise InputError(folder, None, "is no folder", "name the folder that holds the manifests")

    def refuse(error: OSError) -> None:
        raise unreadable(Path(error.filename), error)

    found = []
    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
    yield from sorted(found)


def _objects(document: Document) -> Iterator[Document]:
    """The foremesh objects of a document: itself, or the items of a list."""
    body = document.value
    if not isinstance(body, dict):
        raise document.error((), f"{shown(body)} is no manifest", "give apiVersion, kind, metadata and spec")
    for name in ("apiVersion", "kind"):
        if name not in body:
            cure = f"a manifest has both, for instance apiVersion: {API_VERSION}; keep other YAML out of this folder"
            raise document.error((), f"{name} is missing", cure)
        if not isinstance(body[name], str):
            raise document.error((name,), f"{name} is {shown(body[name])}, which is no text", f"write {name} as text")
    version, kind = body["apiVersion"], body["kind"]
    if isinstance(body.get("items"), list) and kind.endswith("List"):
        for index in range(len(body["items"])):
            yield from _objects(document.part("items", index))
        return
    group = version.partition("/")[0]
    if group != GROUP:
        if kind in KINDS and nearest(group, [GROUP]):
            cause = f"apiVersion is {shown(version)}, which is not foremesh's"
            raise document.error(("apiVersion",), cause, f"write {API_VERSION}")
        return
    if version != API_VERSION:
        cause = f"apiVersion is {shown(version)}, a version that this foremesh does not know"
        raise document.error(("apiVersion",), cause, f"write {API_VERSION}")
    if kind not in KINDS:
        meant = nearest(kind, KINDS)
        cure = f"did you mean {meant}?" if meant else f"the kinds are {listed(KINDS)}"
        raise document.error(("kind",), f"{GROUP} has no kind {shown(kind)}", cure)
    yield document


def _take(found: Manifests, document: Document) -> None:
    body = document.value
    kind = body["kind"]
    fault = first_fault(kind, body)
    if fault is not None:
        raise document.error(fault.where, f"{_called(body)}: {fault.cause}", fault.cure)
    if body["metadata"].get("deletionTimestamp"):
        return  # on its way out: the operator does not count it either
    if kind != "MeshPolicy":
        metadata = {**body["metadata"], "namespace": body["metadata"].get("namespace") or DEFAULT_NAMESPACE}
        body = {**body, "metadata": metadata}
    try:
        one = KINDS[kind].from_manifest(body)
        status = read(STATUSES[kind], body.get("status") or {}) if kind in STATUSES else None
    except ManifestError as error:  # the spec was checked, so it is the status
        cure = "take it as kubectl get -o yaml shows it, or remove status"
        raise document.error(("status",), f"{_called(body)}: {error.cause}", cure) from error
    _check_ends(one, document)
    if (before := found.places.get((kind, one.id))) is not None:
        cause = f"{kind} {one.id} is declared twice, here and at {before.path}:{before.lines.at(('metadata', 'name'))}"
        raise document.error(("metadata", "name"), cause, "remove one of the two, or give it another name")
    found.places[kind, one.id] = document
    found.objects[kind][one.id] = one
    if status is not None:
        found.statuses[kind][one.id] = status


def _called(body: dict[str, Any]) -> str:
    """Kind and name, as far as they are there."""
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{body['kind']} {name}" if isinstance(name, str) and name else str(body["kind"])


def _check_ends(one: Object, document: Document) -> None:
    """An Intent may name its own source in full, which the CRD's rule cannot see."""
    if not isinstance(one, Intent) or one.spec.from_.resource is None or one.spec.to.resource is None:
        return
    ends = [
        name if "/" in name else f"{one.meta.namespace}/{name}"
        for name in (one.spec.from_.resource, one.spec.to.resource)
    ]
    if ends[0] == ends[1]:
        cause = f"{_called(document.value)}: from.resource and to.resource are the same, {ends[0]}"
        raise document.error(("spec", "to", "resource"), cause, "an Intent is between two different resources")
