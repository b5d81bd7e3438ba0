"""Manifests to structures and back.

One generic reader for every kind, so that a field exists in exactly two places: the CRD's schema and a structure
here. It reads what an API server has validated, and reports what it cannot read by the field's path.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from foremesh.model.units import Unit

T = TypeVar("T")


class ManifestError(ValueError):
    """A manifest that is not what its kind demands; carries ``where`` (kind and name) and ``cause``."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        self.cause = cause
        super().__init__(f"{where}: {cause}")


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Base of what mirrors part of a CRD: camelCase in YAML, snake_case here, unknown fields refused."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every structure that travels between foremesh's own programs: unknown fields are ignored, so that an
    older reader understands a newer writer."""


def _read_unit(expected: type, value: Any) -> Any:
    if issubclass(expected, Unit):
        return expected.parse(value)
    raise TypeError(f"no reader for {expected.__name__}")


def _write_unit(value: Any) -> Any:
    if isinstance(value, Unit):
        return str(value)
    raise TypeError(f"no writer for {type(value).__name__}")


def read(kind: type[T], data: Any, *, where: str = "") -> T:
    """Read plain data (as from YAML or JSON) into a structure.

    Raises:
        ManifestError: With the path of the first field that does not fit and what would.
    """
    try:
        return msgspec.convert(data, kind, dec_hook=_read_unit)
    except (msgspec.ValidationError, ValueError) as error:
        raise ManifestError(where or kind.__name__, str(error)) from error


def write(value: Any) -> Any:
    """The plain data of a structure, as it would stand in YAML; unset and default fields are left out."""
    return msgspec.to_builtins(value, enc_hook=_write_unit, str_keys=True)


def encode(value: Any) -> bytes:
    """Canonical JSON of a structure: equal values give equal bytes."""
    return msgspec.json.encode(value, enc_hook=_write_unit, order="deterministic")


def decode(kind: type[T], data: bytes | str, *, where: str = "") -> T:
    """Read JSON into a structure.

    Raises:
        ManifestError: As ``read`` does.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_read_unit)
    except (msgspec.DecodeError, ValueError) as error:
        raise ManifestError(where or kind.__name__, str(error)) from error
