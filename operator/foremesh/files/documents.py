"""YAML to plain data that knows its lines, read from the parser's events.

Events, and not PyYAML's own loader, because they tell where everything stands, show a key that is given twice, and can
be stopped before a small file has become a large structure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

from foremesh.files.errors import InputError, shown

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml: the same answers, ten times as slow
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

DEEPEST = 50
"""Levels of nesting; a Circuit with its status has ten."""

MOST_ALIASES = 100
"""Aliases in one file; people use a handful."""

MOST_REPEATED = 10_000
"""Values that the aliases of one file stand for, all together: what makes a YAML bomb is copies of copies."""

MOST_VALUES = 1_000_000
"""Values in one file: the objects of ten large meshes, and still less than a gigabyte of memory."""

LONGEST_NUMBER = 40
"""Characters of a number; no field takes one of more than twenty digits."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_TEXT: Final = frozenset({f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value", "!"})
_TRUE: Final = frozenset({"yes", "true", "on"})

Step = str | int


_NOTHING: Final[Mapping[Step, Any]] = MappingProxyType({})


class Lines:
    """The lines, counted from 1, at which a value and everything in it stands."""

    __slots__ = ("inner", "line")

    def __init__(self, line: int, inner: Mapping[Step, Lines] = _NOTHING) -> None:
        self.line = line
        self.inner = inner

    def at(self, path: Iterable[Step]) -> int:
        """The line of what a path leads to, or of the last step on the way that is there."""
        here = self
        for step in path:
            if step not in here.inner:
                break
            here = here.inner[step]
        return here.line


@dataclass(frozen=True, slots=True)
class Document:
    """One document, or a part of one: dictionaries, lists, text, numbers, booleans and None."""

    path: Path
    value: Any
    lines: Lines

    def part(self, *steps: Step) -> Document:
        value, lines = self.value, self.lines
        for step in steps:
            value, lines = value[step], lines.inner[step]
        return Document(self.path, value, lines)

    def error(self, where: Iterable[Step], cause: str, cure: str) -> InputError:
        """An error at the line of what a path leads to."""
        return InputError(self.path, self.lines.at(where), cause, cure)


def parse(text: str, path: Path) -> list[Document]:
    """Read every document of a file; empty ones are left out.

    Raises:
        InputError: If it is no YAML, repeats a key, refers to itself, or is too deep or too repetitive.
    """
    try:
        return list(_Reader(text, path).documents())
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(text, path, error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        cause = f"holds the control character 0x{ord(text[error.position]):02x}" if error.position < len(text) else ""
        cause = cause or "holds a character that YAML does not allow"
        raise InputError(path, line, cause, "remove it, or the file if it is no YAML") from error


class _Open:
    """A list or mapping whose end has not come yet."""

    __slots__ = ("anchor", "height", "inner", "key", "key_line", "lines", "merged", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any], line: int, anchor: str | None) -> None:
        self.value = value
        self.inner: dict[Step, Lines] = {}
        self.lines = Lines(line, self.inner)
        self.anchor = anchor
        self.key: str | None = None
        self.key_line = 0
        self.merged: list[tuple[dict[str, Any], Lines]] = []
        self.size = 1
        """Values in it, aliases followed."""
        self.height = 1
        """Levels below and including it, aliases followed."""


@dataclass(slots=True)
class _Anchored:
    value: Any
    lines: Lines
    size: int = 1
    height: int = 0


class _Merge:
    """Stands for the key ``<<``."""


class _Reader:
    def __init__(self, text: str, path: Path) -> None:
        self._loader = Loader(text)
        self._path = path
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._aliases = 0
        self._repeated = 0
        self._values = 0

    def documents(self) -> Iterator[Document]:
        try:
            while self._loader.check_event():
                event = self._loader.get_event()
                if isinstance(event, yaml.DocumentStartEvent):
                    self._anchors = {}
                    self._top: _Anchored | None = None
                elif isinstance(event, yaml.DocumentEndEvent):
                    if self._top and self._top.value is not None:
                        yield Document(self._path, self._top.value, self._top.lines)
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close()
        finally:
            self._loader.dispose()

    def _node(self, event: yaml.NodeEvent) -> None:
        self._values += 1
        line = event.start_mark.line + 1  # type: ignore[union-attr]  # only events made by hand have no mark
        if self._values > MOST_VALUES:
            raise InputError(self._path, line, f"holds more than {MOST_VALUES:,} values", "split it into several files")
        if isinstance(event, yaml.AliasEvent):
            self._put(self._alias(str(event.anchor), line), line)
        elif isinstance(event, yaml.ScalarEvent):
            owner = self._open[-1] if self._open else None
            if owner and isinstance(owner.value, dict) and owner.key is None:
                self._name(owner, event, line)
                return
            one = _Anchored(self._scalar(event, line), Lines(line))
            if event.anchor:
                self._anchors[event.anchor] = one
            self._put(one, line)
        else:
            if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
                raise InputError(self._path, line, "a list or mapping stands where a field's name is due", _QUOTE)
            if len(self._open) >= DEEPEST:
                raise self._too_deep(line)
            if event.anchor:
                self._anchors[event.anchor] = None  # known, but not complete: an alias here would hold itself
            value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._open.append(_Open(value, line, event.anchor))

    def _name(self, owner: _Open, event: yaml.ScalarEvent, line: int) -> None:
        """A key. JSON has none but text, so that is what numbers and such become, as they are written."""
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(event.value, Lines(line))
        owner.key, owner.key_line = event.value, line
        if event.value == "<<" and self._tag(event) == _MERGE:
            return
        if event.value in owner.inner:
            before = owner.inner[event.value].line
            cause = f"{shown(event.value)} is given twice, here and in line {before}"
            raise InputError(self._path, line, cause, "remove one of the two")

    def _put(self, one: _Anchored, line: int) -> None:
        """Give a complete value to the list or mapping that it stands in."""
        if not self._open:
            self._top = one
            return
        owner = self._open[-1]
        owner.size += one.size
        owner.height = max(owner.height, one.height + 1)
        if isinstance(owner.value, list):
            owner.inner[len(owner.value)] = _lines_from(line, one)
            owner.value.append(one.value)
        elif owner.key is None:  # an alias as a key
            if not isinstance(one.value, str):
                raise InputError(self._path, line, "a list or mapping stands where a field's name is due", _QUOTE)
            owner.key, owner.key_line = one.value, line
        elif owner.key == "<<" and (isinstance(one.value, (dict, list))):
            self._merge(owner, one, line)
        else:
            owner.inner[owner.key] = _lines_from(owner.key_line, one)
            owner.value[owner.key] = one.value
            owner.key = None

    def _merge(self, owner: _Open, one: _Anchored, line: int) -> None:
        parts = [(one.value, one.lines)]
        if isinstance(one.value, list):
            parts = [(value, one.lines.inner[index]) for index, value in enumerate(one.value)]
        if not all(isinstance(value, dict) for value, _ in parts):
            raise InputError(self._path, line, "<< merges something that is no mapping", "merge mappings alone")
        owner.merged += parts
        owner.key = None

    def _close(self) -> None:
        done = self._open.pop()
        for value, lines in done.merged:
            for key, inner in value.items():  # what is given here, or merged before, goes first
                if key not in done.value:
                    done.value[key] = inner  # type: ignore[call-overload]
                    done.inner[key] = lines.inner[key]
        one = _Anchored(done.value, done.lines, done.size, done.height)
        if done.anchor:
            self._anchors[done.anchor] = one
        self._put(one, done.lines.line)

    def _alias(self, name: str, line: int) -> _Anchored:
        if name not in self._anchors:
            raise InputError(
                self._path, line, f"*{name} has no &{name} before it", f"define &{name}, or remove *{name}"
            )
        one = self._anchors[name]
        if one is None:
            raise InputError(self._path, line, f"*{name} stands inside &{name}, so it would hold itself", _WRITE_OUT)
        self._aliases += 1
        self._repeated += one.size
        if self._aliases > MOST_ALIASES:
            raise InputError(self._path, line, f"more than {MOST_ALIASES} aliases (*{name} and others)", _WRITE_OUT)
        if self._repeated > MOST_REPEATED:
            cause = f"the aliases up to *{name} stand for more than {MOST_REPEATED} values"
            raise InputError(self._path, line, cause, _WRITE_OUT)
        if len(self._open) + one.height > DEEPEST:
            raise self._too_deep(line)
        return one

    def _too_deep(self, line: int) -> InputError:
        cause = f"more than {DEEPEST} levels of nesting"
        return InputError(
            self._path, line, cause, "no foremesh kind has so many; check the brackets and the indentation"
        )

    def _tag(self, event: yaml.ScalarEvent) -> str:
        if event.tag is not None and not (event.tag == "!" and event.implicit[0]):
            return str(event.tag)
        resolved: str = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        return resolved

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        tag, text = self._tag(event), event.value
        if tag in _TEXT or tag == _MERGE:
            return text
        if tag == f"{_TAG}null":
            return None
        try:
            if tag == f"{_TAG}bool":
                return text.lower() in _TRUE
            if tag in (f"{_TAG}int", f"{_TAG}float"):
                if len(text) > LONGEST_NUMBER:
                    cause = f"a number of {len(text)} characters, which no field takes"
                    raise InputError(self._path, line, cause, "write a smaller number, or text in quotes")
                return _integer(text) if tag == f"{_TAG}int" else _float(text)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(self._path, line, f"{shown(text)} is no number", "write a number") from error
        cause = f"the tag {shown(tag.replace(_TAG, '!!'))} makes this more than plain data"
        raise InputError(self._path, line, cause, "remove the tag")


_QUOTE = "names are text: put it in quotes, for instance if it holds braces"
_WRITE_OUT = "write the values out where they are meant"


def _lines_from(line: int, one: _Anchored) -> Lines:
    """An entry stands where its key or dash does; what is in it, where that was written."""
    return one.lines if one.lines.line == line else Lines(line, one.lines.inner)


def _integer(text: str) -> int | str:
    if ":" in text:  # 1:30 is ninety in YAML 1.1, but text to every Kubernetes tool
        return text
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if digits[:2] in ("0b", "0x"):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)


def _float(text: str) -> float | str:
    if ":" in text:
        return text
    return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


def _not_yaml(text: str, path: Path, error: yaml.MarkedYAMLError) -> InputError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return InputError(path, None, f"is no YAML: {error.problem}", "correct it")
    line, rows = mark.line + 1, text.splitlines()
    row = rows[mark.line] if mark.line < len(rows) else ""
    if row[mark.column : mark.column + 1] == "\t":
        return InputError(path, line, "a tab stands where YAML wants spaces", "replace the tabs by spaces")
    why = ", ".join(part for part in (error.context, error.problem) if part)
    return InputError(
        path, line, f"this is no YAML: {why}", "look at the indentation, colons, brackets and quotes here"
    )
