"""Manifests held to the CRDs' schemas, as an API server would; what does not fit is said in words.

It knows the part of OpenAPI that the CRDs use, and refuses to go on if one uses more. ``schemas.json`` is generated
from ``crds/`` by ``make charts``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from foremesh.files.documents import Step
from foremesh.files.errors import listed, nearest, shown
from foremesh.files.rules import LABEL_KEY, NAME, OF_UPDATES, RULES, WORDS

KINDS_OF_JSON: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "object": ("a mapping", (dict,)),
    "array": ("a list", (list,)),
    "string": ("text", (str,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
}

LARGEST: Final = {"int32": 2**31 - 1, "int64": 2**63 - 1}

_LABELS: Final = {
    "type": "object",
    "additionalProperties": {
        "type": "string",
        "maxLength": 63,
        "pattern": r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$",
    },
}
_ANYTHING: Final[dict[str, Any]] = {}

METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "pattern": NAME,
            "description": "Every object has a name of its own.",
        },
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": _LABELS,
        "uid": {"type": "string"},
        "generation": {"type": "integer", "format": "int64", "minimum": 0},
        "annotations": _ANYTHING,
        "creationTimestamp": _ANYTHING,
        "deletionGracePeriodSeconds": _ANYTHING,
        "deletionTimestamp": _ANYTHING,
        "finalizers": _ANYTHING,
        "generateName": _ANYTHING,
        "managedFields": _ANYTHING,
        "ownerReferences": _ANYTHING,
        "resourceVersion": _ANYTHING,
        "selfLink": _ANYTHING,
    },
}
"""What every API server demands of any object's metadata, as far as foremesh reads it."""


@dataclass(frozen=True)
class Fault:
    """Why a manifest would be refused: where in it, what is wrong, what to do."""

    where: tuple[Step, ...]
    cause: str
    cure: str


def first_fault(kind: str, body: Mapping[str, Any]) -> Fault | None:
    """The first thing in a manifest that an API server would refuse; None if it would take it.

    Args:
        kind: A foremesh kind.
        body: The manifest as plain data.
    """
    return next(_faults(_manifest(kind), body, ()), None)


@cache
def schemas() -> Mapping[str, Any]:
    """The schema of each kind's spec."""
    found: Mapping[str, Any] = json.loads(files("foremesh.files").joinpath("schemas.json").read_text())
    return found


@cache
def _manifest(kind: str) -> Mapping[str, Any]:
    described = {**schemas()[kind], "description": "It says what is wanted."}
    properties = {"apiVersion": _ANYTHING, "kind": _ANYTHING, "metadata": METADATA, "spec": described}
    return {"type": "object", "required": ["metadata", "spec"], "properties": {**properties, "status": _ANYTHING}}


def _faults(schema: Mapping[str, Any], value: Any, where: tuple[Step, ...]) -> Iterator[Fault]:
    if not schema:
        return
    wanted, types = KINDS_OF_JSON[schema["type"]]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield _of_another_type(schema, value, where, wanted)
        return
    if isinstance(value, dict):
        yield from _in_mapping(schema, value, where)
    elif isinstance(value, list):
        yield from _in_list(schema, value, where)
    elif isinstance(value, str):
        yield from _broken(schema, value, where)
        yield from _in_text(schema, value, where)
        return
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _in_number(schema, value, where)
    yield from _broken(schema, value, where)


def _in_mapping(schema: Mapping[str, Any], value: dict[str, Any], where: tuple[Step, ...]) -> Iterator[Fault]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, inner in value.items():
        if name in known:
            yield from _faults(known[name], inner, (*where, name))
        elif others is None:
            meant = nearest(name, known)
            cure = f"did you mean {meant}?" if meant else f"remove it; the fields are {listed(known)}"
            yield Fault((*where, name), f"unknown field {dotted((*where, name))}", cure)
        else:
            if not re.fullmatch(LABEL_KEY[1:-1], name):
                yield Fault((*where, name), f"{shown(name)} is no name of a label", WORDS[LABEL_KEY])
            yield from _faults(others, inner, (*where, name))
    for name in schema.get("required", ()):
        if name not in value:
            what = known[name].get("description", "").partition(". ")[0].rstrip(".")
            yield Fault(where, f"{dotted((*where, name))} is missing", f"give it: {what}" if what else "give it")
    most, least = schema.get("maxProperties", math.inf), schema.get("minProperties", 0)
    if not least <= len(value) <= most:
        yield Fault(where, f"{dotted(where)} has {len(value)} entries", _bounds(least, most, "entries"))


def _in_list(schema: Mapping[str, Any], value: list[Any], where: tuple[Step, ...]) -> Iterator[Fault]:
    for index, inner in enumerate(value):
        yield from _faults(schema["items"], inner, (*where, index))
    if len(value) > schema.get("maxItems", math.inf):
        cause = f"{dotted(where)} has {len(value)} entries"
        yield Fault((*where, schema["maxItems"]), cause, f"give at most {schema['maxItems']}")
    how = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: dict[Any, int] = {}
    for index, inner in enumerate(value if how in ("set", "map") else ()):
        same = inner
        if how == "map":
            same = tuple(inner.get(key, schema["items"]["properties"][key].get("default")) for key in keys)
        if same in seen:
            cause = f"{dotted((*where, index))} repeats {dotted((*where, seen[same]))}, {shown(same)}"
            yield Fault((*where, index), cause, "remove one of the two")
        seen[same] = index


def _in_text(schema: Mapping[str, Any], value: str, where: tuple[Step, ...]) -> Iterator[Fault]:
    if "enum" in schema and value not in schema["enum"]:
        meant = nearest(value, schema["enum"])
        cure = f"did you mean {meant}?" if meant else f"write one of {', '.join(schema['enum'])}"
        yield Fault(where, f"{dotted(where)} is {shown(value)}", cure)
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    if not value and least:
        yield Fault(where, f"{dotted(where)} is empty", "give it a value, or remove it")
    elif not least <= len(value) <= most:
        cause = f"{dotted(where)} is {shown(value)}, {len(value)} characters"
        yield Fault(where, cause, _bounds(least, most, "characters"))
    pattern = schema.get("pattern")
    if pattern and not re.fullmatch(pattern[1:-1], value):
        cure = WORDS.get(pattern) or f"it has to match {pattern}"
        yield Fault(where, f"{dotted(where)} is {shown(value)}", cure)


def _in_number(schema: Mapping[str, Any], value: float, where: tuple[Step, ...]) -> Iterator[Fault]:
    most = schema.get("maximum", LARGEST.get(schema.get("format", ""), math.inf))
    least = schema.get("minimum", -most)
    if not math.isfinite(value) or not least <= value <= most:
        yield Fault(where, f"{dotted(where)} is {shown(value)}", _bounds(least, most))


def _broken(schema: Mapping[str, Any], value: Any, where: tuple[Step, ...]) -> Iterator[Fault]:
    """Rules that a value of the right shape does not meet."""
    for rule in schema.get("x-kubernetes-validations", ()):
        message = rule["message"]
        if message in OF_UPDATES or RULES[message].holds(value):
            continue
        at = (*where, *rule.get("fieldPath", "").split(".")[1:])
        cause, _, cure = message.partition("; ")
        if not isinstance(value, dict):
            yield Fault(at, f"{dotted(at)} is {shown(value)}", message)
        elif RULES[message].cure:
            yield Fault(at, f"{dotted(where)}: {message}", RULES[message].cure)
        elif cure:
            yield Fault(at, f"{dotted(where)}: {cause}", cure)
        else:
            yield Fault(at, f"{dotted(where)} has {listed(value) or 'nothing in it'}", message)


def _of_another_type(schema: Mapping[str, Any], value: Any, where: tuple[Step, ...], wanted: str) -> Fault:
    if value is None:
        return Fault(where, f"{dotted(where)} is empty, and {wanted} is due", "give it a value, or remove it")
    cause = f"{dotted(where)} is {shown(value)}, {_called(value)}, and {wanted} is due"
    if schema["type"] != "string" or isinstance(value, (dict, list)):
        return Fault(where, cause, f"write {wanted}")
    rules = schema.get("x-kubernetes-validations", ())
    return Fault(where, cause, rules[0]["message"] if rules else f'put it in quotes, "{shown(value)}"')


def _called(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return next(name for name, types in KINDS_OF_JSON.values() if isinstance(value, types))


def _bounds(least: float, most: float, what: str = "") -> str:
    many = f" {what}" if what else ""
    if least <= 0 < most and what:
        return f"give at most {most:g}{many}"
    return f"give at least {least:g}{many}" if most == math.inf else f"give {least:g} to {most:g}{many}"


def dotted(where: tuple[Step, ...]) -> str:
    """A path as people write it: ``spec.traffic[0].ports``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".") or "the manifest"
