"""YAML as PyYAML writes it, to the byte, and read back as what it was."""

from __future__ import annotations

import math
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from foremesh.cli.yaml_text import WIDTH, yaml_text

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(
        ["yes", "1", "1.0", "null", "~", "2026-11-22", "0x1f", "1_000", "", " a", "a: b", "- a", "#", "a\nb"]
    ),
)
KEYS = st.one_of(st.text(), st.integers(), st.booleans())
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner)), max_leaves=40)


class _Fast(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


@given(VALUES)
def test_it_is_what_pyyaml_writes_and_reads(value: Any) -> None:
    text = yaml_text(value)
    assert text == yaml.dump(value, Dumper=_Fast, sort_keys=False, width=WIDTH, allow_unicode=True)
    assert yaml.safe_load(text) == value


def test_what_is_not_finite_is_what_it_is() -> None:
    text = yaml_text([math.inf, -math.inf, math.nan, True, 1, 1.0, "1"])
    assert text == "- .inf\n- -.inf\n- .nan\n- true\n- 1\n- 1.0\n- '1'\n"


def test_what_comes_twice_is_written_twice() -> None:
    one = {"a": ["b"]}
    assert "&" not in yaml_text([one, one])
    assert yaml.safe_load(yaml_text([one, one])) == [one, one]


def test_long_texts_go_on_in_the_next_line() -> None:
    text = yaml_text({"why": "word " * 60})
    assert max(map(len, text.splitlines())) <= WIDTH + len("word ")
    assert yaml.safe_load(text) == {"why": "word " * 60}
