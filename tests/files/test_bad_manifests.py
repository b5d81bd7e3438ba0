"""Manifests that are none: what is said, and at which line."""

from pathlib import Path

import pytest

from files.folders import INTENT, gateway, put, refused, small_mesh
from foremesh.files import InputError, documents, read_bundle
from foremesh.files.documents import DEEPEST, MOST_ALIASES, MOST_REPEATED, parse

HEAD = "apiVersion: foremesh.io/v1alpha1\nkind: Intent\nmetadata: {name: a}\n"

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)

CASES = {
    "tab": ("kind: Intent\nspec:\n\tfrom: {}\n", 3, "a tab stands where YAML wants spaces; replace the tabs by spaces"),
    "tab-in-front": ("\tkind: Intent\n", 1, "a tab stands"),
    "colon-in-text": ("kind: Intent\nspec: from: web\n", 2, "this is no YAML: mapping values are not allowed"),
    "bracket-open": (f"{HEAD}spec: {{from: {{resource: a}}\n", 5, "this is no YAML"),
    "two-keys": (f"{HEAD}spec:\n  profile: Cost\n  profile: Cost\n", 6, '"profile" is given twice, here and in line 5'),
    "two-keys-in-braces": (f"{HEAD}spec: {{a: 1, 'a': 2}}\n", 4, '"a" is given twice'),
    "key-is-a-list": ("? [a]\n: b\n", 1, "a list or mapping stands where a field's name is due"),
    "key-is-an-alias-of-a-list": ("a: &a [b]\n? *a\n: b\n", 2, "a list or mapping stands where"),
    "alias-of-nothing": ("a: *b\n", 1, "*b has no &b before it"),
    "alias-of-another-document": ("a: &b 1\n---\na: *b\n", 3, "*b has no &b before it"),
    "anchor-in-itself": ("a: &a\n  - 1\n  - [*a]\n", 3, "*a stands inside &a, so it would hold itself"),
    "bomb": (BOMB, 5, f"stand for more than {MOST_REPEATED} values"),
    "many-aliases": ("a: &a 1\nb:\n" + "- *a\n" * (MOST_ALIASES + 1), MOST_ALIASES + 3, "more than 100 aliases"),
    "deep": ("[" * 100_000, 1, f"more than {DEEPEST} levels of nesting"),
    "deep-by-indentation": ("".join(f"{' ' * level}a:\n" for level in range(60)), 51, "levels of nesting"),
    "deep-by-aliases": (
        "a: &a0 " + "[" * 30 + "]" * 30 + "\nb: &b " + "[" * 30 + "*a0" + "]" * 30 + "\n",
        2,
        "levels of nesting",
    ),
    "merge-of-text": ("a: {<<: [{b: c}, 1]}\n", 1, "<< merges something that is no mapping"),
    "tag": ("a: !!python/object/apply:os.system [ls]\nb: !secret x\n", 2, "makes this more than plain data"),
    "control-character": ("a: b\nc: \x07\n", 2, "control character 0x07"),
    "nul": ("a: b\n\x00\n", 2, "control character 0x00"),
    "not-utf-8": (b"a: b\nc: caf\xe9\n", 2, "holds the byte 0xe9, so it is no UTF-8 text"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "holds the byte 0x89"),
    "utf-16": ("a: b\n".encode("utf-16"), 1, "holds the byte 0xff"),
    "huge-number": (f"{HEAD}spec:\n  priority: {'9' * 5000}\n", 5, "a number of 5000 characters"),
    "large-number": (f"{HEAD}spec:\n  from: {{resource: a}}\n  priority: {'9' * 30}\n", 6, "give -1000 to 1000"),
    "no-number": ("a: !!int x\n", 1, '"x" is no number'),
    "text-alone": ("hello\n", 1, '"hello" is no manifest'),
    "list-alone": ("- a\n- b\n", 1, "is no manifest"),
    "no-api-version": ("kind: Intent\n", 1, "apiVersion is missing"),
    "no-kind": ("apiVersion: v1\n", 1, "kind is missing"),
    "kind-is-a-number": ("apiVersion: v1\nkind: 7\n", 2, "kind is 7, which is no text"),
    "values-of-a-chart": ("replicas: 3\nimage: x\n", 1, "keep other YAML out of this folder"),
    "version-unknown": ("apiVersion: foremesh.io/v2\nkind: Intent\n", 1, "does not know; write foremesh.io/v1alpha1"),
    "group-misspelled": ("apiVersion: formesh.io/v1alpha1\nkind: Intent\n", 1, "which is not foremesh's"),
    "kind-misspelled": ("apiVersion: foremesh.io/v1alpha1\nkind: Intents\n", 2, "did you mean Intent?"),
    "kind-unknown": ("apiVersion: foremesh.io/v1alpha1\nkind: Pod\n", 2, "the kinds are MeshResource, Intent"),
    "no-metadata": (
        "apiVersion: foremesh.io/v1alpha1\nkind: Intent\nspec: {from: {selector: {}}, to: {service: a}}\n",
        1,
        "Intent: metadata is missing",
    ),
    "no-name": (f"{HEAD}spec: {{}}\n".replace("name: a", "labels: {}"), 3, "metadata.name is missing"),
    "no-spec": (HEAD, 1, "Intent a: spec is missing"),
    "in-a-list": (
        f"apiVersion: v1\nkind: List\nitems:\n- {HEAD.replace(chr(10), chr(10) + '  ')}spec: {{}}\n",
        7,
        "spec.from",
    ),
    "item-that-is-none": ("apiVersion: v1\nkind: List\nitems:\n- 7\n", 4, "7 is no manifest"),
    "status-of-another-kind": (
        f"{HEAD}spec: {{from: {{resource: a}}, to: {{resource: b}}}}\nstatus:\n  circuits: 7\n",
        5,
        "remove status",
    ),
    "same-resource-in-full": (
        f"{HEAD}spec:\n  from: {{resource: web}}\n  to: {{resource: default/web}}\n",
        6,
        "from.resource and to.resource are the same, default/web",
    ),
}


@pytest.mark.parametrize(("content", "line", "said"), CASES.values(), ids=CASES)
def test_one_line_says_where_what_and_what_to_do(tmp_path: Path, content: str | bytes, line: int, said: str) -> None:
    error = refused(small_mesh(tmp_path, {"wrong.yaml": content}))
    assert (error.path, error.line) == (tmp_path / "wrong.yaml", line)
    assert said in str(error)


def test_an_object_declared_twice_names_both_places(tmp_path: Path) -> None:
    error = refused(small_mesh(tmp_path, {"more/again.yaml": f"# again\n---\n{INTENT}"}))
    assert (error.path, error.line) == (tmp_path / "more/again.yaml", 5)
    assert f"Intent shop/web-to-db is declared twice, here and at {tmp_path}/intent.yaml:3" in error.cause


def test_one_name_for_two_kinds_or_in_two_namespaces_is_no_mistake(tmp_path: Path) -> None:
    folder = small_mesh(tmp_path, {"a.yaml": gateway("ams", namespace="other"), "b.yaml": gateway("web-to-db")})
    assert {"mesh/ams", "other/ams", "mesh/web-to-db"} <= read_bundle(folder).declared.resources.keys()


def test_an_intent_that_names_what_is_not_there_is_for_the_plan_to_tell(tmp_path: Path) -> None:
    put(tmp_path, {"intent.yaml": INTENT})
    assert list(read_bundle(tmp_path).declared.intents) == ["shop/web-to-db"]


def test_a_path_that_a_terminal_would_obey_does_not_reach_it(tmp_path: Path) -> None:
    error = refused(put(tmp_path / "a\x1b[2Jb\nc", {"x.yaml": "a: \x1b\n"}))
    assert error.line == 1


def test_repeating_a_little_is_allowed() -> None:
    (document,) = parse("a: &a {b: [1, 2]}\nc: [*a, *a]\n", Path("x"))
    assert document.value == {"a": {"b": [1, 2]}, "c": [{"b": [1, 2]}] * 2}
    assert document.lines.at(("c", 1)) == 2
    assert document.lines.at(("a", "b", 1)) == 1


def test_a_file_of_too_many_values_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_VALUES", 100)
    assert parse(f"[{'1,' * 99}]", Path("x"))
    with pytest.raises(InputError, match="x:2: holds more than 100 values; split it"):
        parse(f"[\n{'1,' * 1000}]", Path("x"))


def test_the_bomb_is_one_for_a_reader_that_follows_aliases() -> None:
    assert BOMB.count("*") < MOST_ALIASES, "it must not be refused for its aliases alone"
    with pytest.raises(InputError):
        parse(BOMB, Path("bomb.yaml"))
