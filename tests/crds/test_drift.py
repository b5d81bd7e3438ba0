"""A field exists in exactly two places, the CRD and a structure of the model; here they are compared, both ways."""

import copy
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
import pytest

from crds.schemas import KINDS, Kind
from foremesh.model.units import Unit

SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", datetime: "string"}

ENUM_OF_TEXT = re.compile(r".*\.conditions\[\]\.status")
"""Text in the model, since controllers of other projects write conditions too; metav1.Condition fixes its values."""


def differences(where: str, schema: dict[str, Any], type_: Any, *, defaults: bool) -> Iterator[str]:
    """Every way in which a schema and a type of the model say different things.

    Args:
        where: The path of the field, for the report.
        defaults: Whether defaults must agree. The API server fills them in; in a status there may be none, or a status
            that nobody wrote would say something.
    """
    type_ = _without_none(type_)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        yield from _struct_differences(where, schema, type_, defaults=defaults)
    elif get_origin(type_) is tuple:
        yield from _expect(where, "type", schema.get("type"), "array")
        yield from differences(f"{where}[]", schema.get("items", {}), get_args(type_)[0], defaults=defaults)
    elif get_origin(type_) is dict:
        yield from _expect(where, "type", schema.get("type"), "object")
        values = schema.get("additionalProperties", {})
        yield from differences(f"{where}.*", values, get_args(type_)[1], defaults=defaults)
    elif issubclass(type_, StrEnum):
        yield from _expect(where, "type", schema.get("type"), "string")
        yield from _expect(where, "enum", sorted(schema.get("enum", [])), sorted(member.value for member in type_))
    else:
        yield from _expect(where, "type", schema.get("type"), "string" if issubclass(type_, Unit) else SCALARS[type_])
        if not ENUM_OF_TEXT.fullmatch(where):
            yield from _expect(where, "enum", schema.get("enum"), None)


def _struct_differences(
    where: str, schema: dict[str, Any], struct: type[msgspec.Struct], *, defaults: bool
) -> Iterator[str]:
    yield from _expect(where, "type", schema.get("type"), "object")
    properties = schema.get("properties", {})
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in sorted(properties.keys() - fields.keys()):
        yield f"{where}.{name}: in the CRD, not in {struct.__name__}"
    for name in sorted(fields.keys() - properties.keys()):
        yield f"{where}.{name}: in {struct.__name__}, not in the CRD"
    required = sorted(name for name, field in fields.items() if field.required)
    yield from _expect(where, "required", sorted(schema.get("required", [])), required)
    for name in sorted(properties.keys() & fields.keys()):
        value = _default(fields[name]) if defaults else None
        yield from _expect(f"{where}.{name}", "default", properties[name].get("default"), value)
        yield from differences(f"{where}.{name}", properties[name], fields[name].type, defaults=defaults)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    """What the API server has to fill in; None where leaving the field out already means the model's default."""
    if (
        field.default is msgspec.NODEFAULT
        or field.default in (None, "", ())
        or isinstance(field.default, msgspec.Struct)
    ):
        return None
    return field.default


def _expect(where: str, what: str, crd: Any, model: Any) -> Iterator[str]:
    if crd != model or isinstance(crd, bool) != isinstance(model, bool):
        yield f"{where}: {what} is {crd!r} in the CRD and {model!r} in the model"


def _without_none(type_: Any) -> Any:
    options = [option for option in get_args(type_) if option is not NoneType]
    return options[0] if NoneType in get_args(type_) and len(options) == 1 else type_


def all_differences(kind: Kind, schema: dict[str, Any]) -> list[str]:
    spec, status = schema["properties"]["spec"], schema["properties"]["status"]
    return [
        *differences("spec", spec, kind.spec, defaults=True),
        *differences("status", status, kind.status, defaults=False),
    ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_crd_and_model_say_the_same(kind: Kind) -> None:
    assert all_differences(kind, kind.schema()) == []


def _intent_without(path: str) -> Callable[[dict[str, Any]], None]:
    *parents, last = path.split(".")

    def change(schema: dict[str, Any]) -> None:
        for parent in parents:
            schema = schema[parent]
        del schema[last]

    return change


def _add_field(schema: dict[str, Any]) -> None:
    schema["properties"]["spec"]["properties"]["requirements"]["properties"]["maxJitter"] = {"type": "string"}


def _change_default(schema: dict[str, Any]) -> None:
    schema["properties"]["spec"]["properties"]["priority"]["default"] = 1


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        pytest.param(_add_field, "spec.requirements.maxJitter: in the CRD", id="field-only-in-the-crd"),
        pytest.param(
            _intent_without("properties.status.properties.placements.items.properties.reason"),
            "status.placements[].reason: in PlacementStatus",
            id="field-only-in-the-model",
        ),
        pytest.param(
            _intent_without("properties.spec.properties.profile.enum"), "spec.profile: enum", id="enum-not-in-the-crd"
        ),
        pytest.param(_intent_without("properties.spec.required"), "spec: required", id="required-only-in-the-model"),
        pytest.param(_change_default, "spec.priority: default", id="another-default"),
        pytest.param(
            _intent_without("properties.spec.properties.dedicated.default"),
            "spec.dedicated: default",
            id="default-only-in-the-model",
        ),
    ],
)
def test_each_kind_of_drift_is_reported(change: Callable[[dict[str, Any]], None], reported: str) -> None:
    kind = KINDS["Intent"]
    schema = copy.deepcopy(kind.schema())
    change(schema)
    (difference,) = all_differences(kind, schema)
    assert difference.startswith(reported)


def test_requirements_are_the_same_in_intents_and_circuits() -> None:
    intent, circuit = (
        KINDS[name].schema()["properties"]["spec"]["properties"]["requirements"] for name in ("Intent", "Circuit")
    )
    assert intent == circuit


def undescribed(where: str, schema: dict[str, Any]) -> Iterator[str]:
    if not schema.get("description", "").strip():
        yield where
    for name, inner in schema.get("properties", {}).items():
        # The API server refuses a description of metadata: it is the same for all kinds.
        if (where, name) != ("", "metadata"):
            yield from undescribed(f"{where}.{name}", inner)
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from undescribed(f"{where}.{name}", schema[name])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_field_has_a_description(kind: Kind) -> None:
    assert list(undescribed("", kind.schema())) == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_printer_column_shows_a_field_that_exists(kind: Kind) -> None:
    (version,) = kind.load()["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        if column["jsonPath"] == ".metadata.creationTimestamp":
            continue
        assert column["description"]
        schema = kind.schema()
        for step in re.findall(r"\.(\w+|\*)(?:\[\?\(.*?\)\])?", column["jsonPath"]):
            if step == "*":
                break
            schema = schema.get("items", schema)["properties"][step]
