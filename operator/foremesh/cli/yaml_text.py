"""Plain data as YAML, quickly: what is written again and again (names, addresses, numbers) is worked out once.

PyYAML's own ``dump`` makes a node of every value, looks for each whether it could be taken for a number or a date, and
remembers all of them in case one comes twice. Here values go to its emitter right away; the text is the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import yaml

WIDTH = 120
"""Columns after which texts go on in the next line."""

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_text(found: Any) -> str:
    """Dictionaries, lists, texts, numbers, booleans and None as one document, in their order and without aliases."""
    text: str = yaml.emit(_document(found), Dumper=_Dumper, width=WIDTH, allow_unicode=True)
    return text


def _document(found: Any) -> Iterator[yaml.Event]:
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield from _Events().of(found)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


class _Events:
    def __init__(self) -> None:
        self._rules = yaml.SafeDumper(io.StringIO())
        self._known: dict[type, dict[Any, yaml.Event]] = {kind: {} for kind in (str, int, float, bool, type(None))}
        self._list = yaml.SequenceStartEvent(None, None, implicit=True, flow_style=False)
        self._mapping = yaml.MappingStartEvent(None, None, implicit=True, flow_style=False)

    def of(self, value: Any) -> Iterator[yaml.Event]:
        """Events in the order of the text; written without recursion, of which each level would hand on every event."""
        ends: list[tuple[Iterator[Any], yaml.Event]] = [(iter((value,)), yaml.StreamEndEvent())]
        while ends:
            rest, end = ends[-1]
            for one in rest:
                if isinstance(one, dict):
                    yield self._mapping
                    ends.append((_alternating(one), yaml.MappingEndEvent()))
                    break
                if isinstance(one, list | tuple):
                    yield self._list
                    ends.append((iter(one), yaml.SequenceEndEvent()))
                    break
                known, key = self._known[type(one)], repr(one) if isinstance(one, float) else one  # -0.0 == 0.0
                yield known.get(key) or known.setdefault(key, self._scalar(one))
            else:
                ends.pop()
                if ends:
                    yield end

    def _scalar(self, value: Any) -> yaml.Event:
        node, rules = self._rules.represent_data(value), self._rules
        plain, quoted = (rules.resolve(yaml.ScalarNode, node.value, told) for told in ((True, False), (False, True)))
        return yaml.ScalarEvent(None, node.tag, (node.tag == plain, node.tag == quoted), node.value, style=node.style)


def _alternating(mapping: dict[Any, Any]) -> Iterator[Any]:
    for key, value in mapping.items():
        yield key
        yield value
