"""Manifests are refused here for what an API server would refuse them for: one corpus, one set of rules."""

import copy
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crds.schemas import CORPUS, KINDS, ROOT
from files.folders import outcome, put, refused
from foremesh.files import read_bundle
from foremesh.files.manifests import KINDS as READ_KINDS
from foremesh.files.rules import OF_UPDATES, RULES, WORDS
from foremesh.files.schema import KINDS_OF_JSON, METADATA, first_fault, schemas

ACCEPTED = sorted((CORPUS / "accepted").glob("*.yaml"))
REJECTED = sorted((CORPUS / "rejected").glob("*.yaml"))
EXPECT = "# expect: "

KNOWN = {
    *("type", "properties", "required", "items", "additionalProperties", "enum", "pattern", "format", "description"),
    *("minLength", "maxLength", "minimum", "maximum", "maxItems", "minProperties", "maxProperties", "default"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}
"""The words of OpenAPI that ``files.schema`` understands, or that constrain nothing."""


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_what_an_api_server_accepts_is_read(tmp_path: Path, file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    bundle = read_bundle(put(tmp_path, {file.name: file.read_bytes()}))
    read = {
        **bundle.declared.resources,
        **bundle.declared.intents,
        **bundle.declared.policies,
        **dict.fromkeys(bundle.by_hand),
    }
    (id_,) = read
    assert id_.rpartition("/")[2] == manifest["metadata"]["name"]


@pytest.mark.parametrize("file", REJECTED, ids=lambda file: file.stem)
def test_what_an_api_server_refuses_is_refused_in_its_words(tmp_path: Path, file: Path) -> None:
    text = file.read_text()
    error = refused(put(tmp_path, {file.name: text}))
    assert error.line is not None
    assert text.splitlines()[error.line - 1].strip() not in ("", "---")
    first = next(line.removeprefix(EXPECT) for line in text.splitlines() if line.startswith(EXPECT))
    if first in OF_UPDATES:  # a folder has no before: the two versions of an object are one too many
        assert "is declared twice" in error.cause
    elif re.search(r"Required value|Unsupported value|in body|Duplicate value|unknown field", first):
        field = re.search(r"spec[\w.\[\]]*", first)  # the server's words for shapes are for programs
        assert field
        assert field[0] in error.cause
    else:
        assert first in f"{error.cause}; {error.cure}"


def _walk(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    inner = [*schema.get("properties", {}).values()]
    for one in [*inner, *(schema[name] for name in ("items", "additionalProperties") if name in schema)]:
        yield from _walk(one)


def test_the_schemas_are_those_of_the_crds() -> None:
    path = ROOT / "charts/generate.py"
    spec = importlib.util.spec_from_file_location("charts_generate", path)
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generate
    spec.loader.exec_module(generate)
    assert generate.SCHEMAS.read_text() == generate.schemas(), "run make charts"
    assert schemas().keys() == KINDS.keys() == READ_KINDS.keys()


def test_every_rule_of_the_crds_is_known_here_and_none_else() -> None:
    messages = {
        rule["message"]
        for kind in KINDS.values()
        for schema in _walk(kind.schema()["properties"]["spec"])
        for rule in schema.get("x-kubernetes-validations", ())
    }
    assert messages == RULES.keys() | OF_UPDATES
    assert not RULES.keys() & OF_UPDATES


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_uses_no_word_that_would_be_overlooked(kind: str) -> None:
    for schema in _walk(schemas()[kind]):
        assert schema.keys() <= KNOWN
        assert schema["type"] in KINDS_OF_JSON
        pattern = schema.get("pattern", "^$")
        assert (pattern[0], pattern[-1]) == ("^", "$")
        assert "x-kubernetes-validations" in schema or pattern == "^$" or pattern in WORDS


METADATA_CASES = [
    ("name", "Web", "use lower-case"),
    ("name", "a" * 254, "254 characters"),
    ("name", None, "empty"),
    ("name", 7, 'put it in quotes, "7"'),
    ("namespace", "a.b", "use lower-case"),
    ("labels", {"a b": "c"}, "no name of a label"),
    ("labels", {"a": "b c"}, "metadata.labels.a"),
    ("labels", {"a": 1}, 'put it in quotes, "1"'),
    ("labels", ["a"], "a list, and a mapping is due"),
    ("generation", -1, "metadata.generation"),
    ("generation", True, "true or false, and a whole number is due"),
    ("lables", {}, "did you mean labels?"),
]


@pytest.mark.parametrize(("field", "value", "said"), METADATA_CASES, ids=lambda value: str(value)[:20])
def test_metadata(field: str, value: Any, said: str) -> None:
    body = yaml.safe_load((CORPUS / "accepted/policy-about-everything.yaml").read_text())
    body["metadata"][field] = value
    fault = first_fault("MeshPolicy", body)
    assert fault
    assert fault.where[:2] == ("metadata", field)
    assert said in f"{fault.cause}; {fault.cure}"


SHAPES = [
    ("spec", None, "spec is empty, and a mapping is due"),
    ("spec", [], "a list, and a mapping is due"),
    ("metadata", "web", "text, and a mapping is due"),
    ("sepc", {}, "did you mean spec?"),
    ("spec.weights.latency", 10**30, "give 0 to 100"),
    ("spec.weights.latency", float("nan"), "give 0 to 100"),
    ("spec.weights.latency", "2", "text, and a number is due"),
    ("spec.match.namespaces", ["a"] * 65, "give at most 64"),
    ("spec.match.application", "a" * 64, "64 characters"),
    ("spec.deny", "yes", "text, and true or false is due"),
]


@pytest.mark.parametrize(
    ("field", "value", "said"), SHAPES, ids=[f"{field}-{str(value)[:9]}" for field, value, _ in SHAPES]
)
def test_shapes(field: str, value: Any, said: str) -> None:
    body = yaml.safe_load((CORPUS / "accepted/policy-with-all-fields.yaml").read_text())
    *parents, last = field.split(".")
    owner = body
    for parent in parents:
        owner = owner[parent]
    owner[last] = value
    fault = first_fault("MeshPolicy", body)
    assert fault
    assert said in f"{fault.cause}; {fault.cure}"


def test_metadata_may_hold_whatever_an_api_server_adds() -> None:
    assert {"managedFields", "ownerReferences", "resourceVersion", "finalizers"} <= METADATA["properties"].keys()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    steps = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in list(steps):
        yield value, step
        yield from _places(value[step])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(file=st.sampled_from(ACCEPTED), value=JSON, data=st.data())
def test_whatever_stands_in_a_manifest_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: Path, value: Any, data: st.DataObject
) -> None:
    body = copy.deepcopy(yaml.safe_load(file.read_text()))
    owner, step = data.draw(st.sampled_from(list(_places(body))))
    owner[step] = value
    folder = put(tmp_path_factory.mktemp("mesh"), {"a.yaml": yaml.safe_dump(body)})
    said = outcome(folder)
    assert said.isprintable()
    assert len(said) < 1000
