"""What changes between two plans, as for a pull request: plain data first, then text from it.

The later plan starts from the earlier one carried out, so what stays keeps its numbers and addresses, and a difference
is what agents and the cluster would really see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from foremesh.cli.plan_document import PLACED
from foremesh.cli.plan_table import Line, Names, Page, counted, figures_text, shadow_lines
from foremesh.model.manifest import encode

Document = Mapping[str, Any]

Key = tuple[str, str | None]
"""Intent and source; no source where an intent is about nobody."""

KEPT = "kept"

NOTHING = "no difference"

BETWEEN, END_TO_END = "between its gateways", "end to end"
"""What a latency is of: a circuit's leaves out how its ends are attached, an Intent's does not."""

SIGNS = (("+", "added", "green"), ("-", "removed", "red"), ("~", "changed", ""))


def difference(before: Document, after: Document) -> dict[str, Any]:
    """Everything that the later plan changes; every list sorted, all of them empty where nothing does. Intents that are
    ``kept`` stay where they are although another path would be cheaper: no change, but what a reviewer may expect."""
    return {
        "circuits": _circuits(before, after),
        "intents": _intents(before, after),
        "policies": _policies(before, after),
        "notes": _notes(before, after),
        "configs": _configs(before["configs"], after["configs"]),
        "objects": _objects(before, after),
    }


def is_empty(found: Document) -> bool:
    return not any(entries for part in found.values() for name, entries in part.items() if name != KEPT)


def _circuits(before: Document, after: Document) -> dict[str, Any]:
    old = {one["circuit"]: one for one in before["circuits"]}
    new = {one["circuit"]: one for one in after["circuits"]}
    return {
        "made": [new[id_] for id_ in sorted(new.keys() - old.keys())],
        "removed": [old[id_] for id_ in sorted(old.keys() - new.keys())],
        "moved": [
            {"circuit": id_, "from": _way(old[id_]), "to": _way(new[id_])}
            for id_ in sorted(old.keys() & new.keys())
            if not _same_way(old[id_], new[id_])
        ],
        "standbys": [
            {"circuit": id_, "from": was and _way(was), "to": now and _way(now)}
            for id_ in sorted(old.keys() & new.keys())
            for was, now in [(old[id_].get("standby"), new[id_].get("standby"))]
            if not _same_way(was or {}, now or {})
        ],
    }


def _intents(before: Document, after: Document) -> dict[str, Any]:
    old, new = _by_key(before), _by_key(after)
    gone = {intent for intent, _ in old} - {intent for intent, _ in new}
    found: dict[str, list[Any]] = {
        "infeasible": [],
        "feasible": [],
        "rerouted": [],
        KEPT: [],
        "added": [],
        "removed": [],
    }
    for key, one in new.items():
        was = old.get(key)
        if one["state"] != PLACED:
            if _was_well(key, old):
                found["infeasible"].append(one)
        elif was is None:
            # A source that could not be found before has a name now.
            found["feasible" if not _was_well(key, old) else "added"].append(one)
        elif was["state"] != PLACED:
            found["feasible"].append(one)
        elif was["destination"] != one["destination"] or not _same_way(was, one):
            found["rerouted"].append(
                {
                    "intent": one["intent"],
                    "source": one["source"],
                    "from": {"destination": was["destination"], **_way(was)},
                    "to": {"destination": one["destination"], **_way(one)},
                    "reason": one["reason"],
                }
            )
        elif one["kept"]:
            found[KEPT].append({"intent": one["intent"], "source": one["source"], **_way(one), "reason": one["reason"]})
    for (intent, source), one in old.items():
        if (intent, source) not in new and (intent in gone or (intent, None) not in new):
            found["removed"].append({"intent": intent, "source": source, "pathText": one.get("pathText")})
    return found


def _by_key(document: Document) -> dict[Key, Document]:
    return {(one["intent"], one["source"]): one for one in document["placements"]}


def _was_well(key: Key, old: Mapping[Key, Document]) -> bool:
    """Whether an intent from a source was placed before, or is new."""
    if key in old:
        return bool(old[key]["state"] == PLACED)
    others = [one for (intent, _), one in old.items() if intent == key[0]]
    return not others or any(one["state"] == PLACED for one in others)


def _way(one: Document) -> dict[str, Any]:
    told = {"underlays": one["underlays"]} if "underlays" in one else {}
    return {"path": one.get("path"), **told, **{name: one.get(name) for name in ("pathText", "predicted")}}


def _same_way(one: Document, other: Document) -> bool:
    return (one.get("path"), one.get("underlays")) == (other.get("path"), other.get("underlays"))


def _policies(before: Document, after: Document) -> dict[str, Any]:
    """Policies by name; and of those in shadow that are new or other than they were, what they would change."""
    old, new = ({one["policy"]: one for one in document["policies"]} for document in (before, after))
    changed = [id_ for id_ in sorted(old.keys() & new.keys()) if old[id_]["spec"] != new[id_]["spec"]]
    added = sorted(new.keys() - old.keys())
    return {
        "added": added,
        "removed": sorted(old.keys() - new.keys()),
        "changed": changed,
        "shadows": [
            {"policy": id_, "shadow": new[id_]["shadow"]} for id_ in sorted([*added, *changed]) if "shadow" in new[id_]
        ],
    }


def _notes(before: Document, after: Document) -> dict[str, Any]:
    """What a person may have meant otherwise, and what nobody needs to be told any more."""
    return {
        "added": [note for note in after["notes"] if note not in before["notes"]],
        "removed": [note for note in before["notes"] if note not in after["notes"]],
    }


def _configs(old: Mapping[str, Document], new: Mapping[str, Document]) -> dict[str, Any]:
    changes = {id_: _fields(old[id_], new[id_]) for id_ in sorted(old.keys() & new.keys())}
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": [{"config": id_, "fields": fields} for id_, fields in changes.items() if fields],
    }


def _fields(old: Document, new: Document) -> dict[str, Any]:
    """Field to how many of its entries appear and disappear; the epoch, which counts changes, is none."""
    found = {}
    for name in sorted({*old, *new} - {"epoch"}):
        was, now = _entries(old.get(name)), _entries(new.get(name))
        if was != now:
            found[name] = {"added": (now - was).total(), "removed": (was - now).total()}
    return found


def _entries(value: Any) -> Counter[bytes]:
    if value is None:
        return Counter()
    return Counter(encode(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _objects(before: Document, after: Document) -> dict[str, Any]:
    old, new = ({_object_key(one): one for one in document["objects"]} for document in (before, after))
    return {
        "added": [_named(key) for key in sorted(new.keys() - old.keys())],
        "removed": [_named(key) for key in sorted(old.keys() - new.keys())],
        "changed": [_named(key) for key in sorted(old.keys() & new.keys()) if old[key] != new[key]],
    }


def _object_key(manifest: Document) -> tuple[str, str, str, str]:
    meta = manifest["metadata"]
    return (manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])


def _named(key: tuple[str, str, str, str]) -> dict[str, str]:
    return dict(zip(("apiVersion", "kind", "namespace", "name"), key, strict=True))


def difference_table(found: Document, before: Document, after: Document, width: int) -> list[Line]:
    """The difference for people: ``+`` comes, ``-`` goes, ``~`` changes, ``=`` stays for now, ``!`` cannot be
    placed."""
    page = Page(Names.of(before, after), width)
    if is_empty(found):
        return [(NOTHING, ""), *_kept_lines(found["intents"], page)]
    name = page.name
    lines = [*_circuit_lines(found["circuits"], page), *_intent_lines(found["intents"], page)]
    for sign, kind, style in SIGNS:
        lines += [line for id_ in found["policies"][kind] for line in page.wrapped(f"{sign} MeshPolicy ", id_, style)]
    lines += [line for one in found["policies"]["shadows"] for line in shadow_lines(one, page)]
    configs = found["configs"]
    for sign, kind, style in SIGNS[:2]:
        lines += [line for id_ in configs[kind] for line in page.wrapped(f"{sign} config ", name(id_), style)]
    for one in configs["changed"]:
        fields = ", ".join(f"{field} {_counts(count)}" for field, count in one["fields"].items())
        lines += page.wrapped(f"~ config {name(one['config'])}: ", fields)
    for sign, kind, style in SIGNS:
        for one in found["objects"][kind]:
            where = f"{one['namespace']}/" if one["namespace"] else ""
            lines += page.wrapped(f"{sign} {one['kind']} ", f"{where}{one['name']}", style)
    for note in found["notes"]["added"]:
        lines += page.wrapped("note: ", note, "yellow")
    for note in found["notes"]["removed"]:
        lines += page.wrapped("- note: ", note)
    return [*lines, *page.wrapped("", _summary(found, page), "bold")]


def _circuit_lines(circuits: Document, page: Page) -> Iterator[Line]:
    name = page.name
    for one in circuits["made"]:
        yield from page.wrapped(f"+ circuit {name(one['circuit'])}: ", _path_text(one, BETWEEN), "green")
    for one in circuits["removed"]:
        yield from page.wrapped(f"- circuit {name(one['circuit'])}: ", one.get("pathText") or "path unknown", "red")
    for one in circuits["moved"]:
        yield from page.wrapped("~ circuit ", f"{name(one['circuit'])} moves")
        yield from page.wrapped("    from ", _path_text(one["from"], BETWEEN))
        yield from page.wrapped("    to   ", _path_text(one["to"], BETWEEN))
    for one in circuits["standbys"]:
        was, now = ((one[when] or {}).get("pathText") or "nothing" for when in ("from", "to"))
        yield from page.wrapped("~ circuit ", f"{name(one['circuit'])} falls over to {now} instead of {was}")


def _intent_lines(intents: Document, page: Page) -> Iterator[Line]:
    name = page.name
    for one in intents["infeasible"]:
        why = one.get("infeasible") or one["problem"]
        yield from page.wrapped(
            f"! intent {_whose(one, name)} cannot be placed as it asks: ", why["message"], "bold red"
        )
    for one in intents["feasible"]:
        yield from page.wrapped(
            f"+ intent {_whose(one, name)} can be placed now: ", _path_text(one, END_TO_END), "green"
        )
    for one in intents["rerouted"]:
        if one["from"]["destination"] != one["to"]["destination"]:
            to = f"{name(one['from']['destination'])} to {name(one['to']['destination'])}"
            yield from page.wrapped("~ intent ", f"{_whose(one, name)} goes from {to}")
        yield from page.wrapped(f"~ intent {_whose(one, name)} ({END_TO_END}): ", one["reason"])
    yield from _kept_lines(intents, page)
    for one in intents["added"]:
        yield from page.wrapped(f"+ intent {_whose(one, name)}: ", _path_text(one, END_TO_END), "green")
    for one in intents["removed"]:
        yield from page.wrapped("- intent ", _whose(one, name), "red")


def _kept_lines(intents: Document, page: Page) -> Iterator[Line]:
    for one in intents[KEPT]:
        yield from page.wrapped(f"= intent {_whose(one, page.name)} stays: ", one["reason"])


def _whose(one: Document, name: Names) -> str:
    return f"{name(one['intent'])} from {name(one['source']) if one['source'] else 'nobody'}"


def _path_text(one: Document, where: str) -> str:
    return f"{one['pathText']} ({figures_text(one['predicted'], where)})" if one.get("pathText") else "path unknown"


def _counts(count: Mapping[str, int]) -> str:
    signs = (("+", count["added"]), ("-", count["removed"]))
    return " ".join(f"{sign}{number}" for sign, number in signs if number)


def _summary(found: Document, page: Page) -> str:
    circuits, configs, objects = found["circuits"], found["configs"], found["objects"]
    changed = sum(len(entries) for entries in configs.values())
    applied = sum(len(entries) for entries in objects.values())
    text = (
        f"circuits: {len(circuits['made'])} made, {len(circuits['removed'])} removed, {len(circuits['moved'])} moved, "
        f"{counted(len(circuits['standbys']), 'standby')} changed; "
        f"{counted(changed, 'config')}, {counted(applied, 'object')}"
    )
    failed = [*dict.fromkeys(page.name(one["intent"]) for one in found["intents"]["infeasible"])]
    return page.fitting(f"{text}; see ", failed) if failed else text
