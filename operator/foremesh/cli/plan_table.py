"""A plan for people: a block for each intent and source, as wide as may be, and a last line that says what to do."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foremesh.cli.plan_document import NOT_PLACED, PLACED
from foremesh.cli.terminal import WIDTH
from foremesh.model.meta import Ref
from foremesh.model.units import Bandwidth
from foremesh.routing.relax import WITHOUT

Line = tuple[str, str]
"""Text without a line break, and a style of rich's for all of it."""

COLUMNS = ("RTT ms", "P90", "LOSS", "FREE", "USD/GB")
"""Figures of a path; the last ones are left out first where there is no room."""
COLUMN = 8
LEAST_LEFT = 36
"""Columns that a path has before its figures, at the least."""

MOST_NAMES = 4
"""Links that are listed as unknown for one reason; JSON has them all."""

SINGLE = "a single figure"
"""What the reason of a forecast ends with that rests on one: nothing that a person would not see."""

LEAST_SHOWN = 0.0005
"""Difference in a term of the cost below which it is not shown: three decimals are."""

UNKNOWN_NAMES = {
    "roundTrip": "round trip",
    "loss": "loss",
    "freeBandwidth": "free bandwidth",
    "egressPrice": "egress price",
    "attachment": "round trip to the gateway",
}

Document = Mapping[str, Any]


class Names:
    """Ids as people read them: without the namespace where all of them are in one."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._short = len({Ref.parse(id_).namespace for id_ in ids}) < 2

    def __call__(self, id_: str) -> str:
        return id_.rpartition("/")[2] if self._short else id_

    @classmethod
    def of(cls, *documents: Document) -> Names:
        placements = [one for document in documents for one in document["placements"]]
        others = [other for one in placements for other in one.get("runnersUp", ())]
        ids = [
            one[name] for one in (*placements, *others) for name in ("intent", "source", "destination") if one.get(name)
        ]
        circuits = (one["circuit"] for document in documents for one in document["circuits"])
        return cls([*ids, *circuits, *(id_ for document in documents for id_ in document["configs"])])


@dataclass(frozen=True)
class Page:
    """What lines are written on: how names are written, and how many columns there are."""

    name: Names
    width: int

    @property
    def figures(self) -> int:
        """Figures of a path that there is room for."""
        return min(len(COLUMNS), (self.width - LEAST_LEFT) // COLUMN)

    @property
    def left(self) -> int:
        """Columns that a path has before its figures."""
        return self.width - COLUMN * self.figures

    def wrapped(self, start: str, text: str, style: str = "") -> Iterator[Line]:
        """Text in lines that fit, those after the first indented under it."""
        indent = " " * min(len(start), 8)
        for line in textwrap.wrap(start + text, self.width, subsequent_indent=indent, break_on_hyphens=False):
            yield line, style

    def fitting(self, start: str, entries: Sequence[str]) -> str:
        """As many entries as a line has room for; on a narrow page it is wrapped afterwards."""
        for shown in range(len(entries), 0, -1):
            more = f" and {len(entries) - shown} more" if shown < len(entries) else ""
            text = start + ", ".join(entries[:shown]) + more
            if len(text) <= WIDTH:
                return text
        return f"{start.removesuffix('see ')}{len(entries)} to be looked at above"


def table(document: Document, title: str, width: int) -> list[Line]:
    """The whole plan.

    Args:
        document: From ``plan_document``.
        title: What was planned, as the person named it.
        width: Columns that every line fits.
    """
    page = Page(Names.of(document), width)
    return [
        *_head(document, title, page),
        *(line for one in document["placements"] for line in _placement(one, page)),
        *(line for one in document["policies"] for line in shadow_lines(one, page)),
        *_demand(document.get("demand", {}), page),
        *_unknown(document["unknown"], page),
        *(line for note in document["notes"] for line in page.wrapped("note: ", note, "yellow")),
        *page.wrapped("", totals(document, page), "bold"),
    ]


def _head(document: Document, title: str, page: Page) -> Iterator[Line]:
    mesh = document["mesh"]
    counts = ", ".join(
        counted(mesh[name], one)
        for name, one in (
            ("gateways", "gateway"),
            ("workloads", "workload"),
            ("intents", "intent"),
            ("policies", "policy"),
            ("links", "link"),
        )
    )
    basis = {
        "history": f"history until {mesh['newestSample']}",
        "links": "links.csv as it stands",
        None: "none, as there is neither links.csv nor a history",
    }[mesh["figures"]]
    yield from page.wrapped("", f"{title}: {counts}; figures: {basis}; an agent is taken to run on each", "bold")
    if any(one["state"] != NOT_PLACED for one in document["placements"]):
        yield from left_out(page)
        yield " " * page.left + "".join(f"{column:>{COLUMN}}" for column in COLUMNS[: page.figures]), "dim"


def _placement(one: Document, page: Page) -> Iterator[Line]:
    name = page.name
    profile = f"{one['profile']} profile"
    ends = " to ".join(name(one[end]) for end in ("source", "destination") if one.get(end))
    about = f"{name(one['intent'])} ({', '.join(part for part in (ends, profile) if part)})"
    if one["state"] != PLACED:
        state = "not placed" if one["state"] == NOT_PLACED else "requirements not met"
        yield from page.wrapped("", f"{about}: {state}", "bold red")
        why = one.get("infeasible") or one["problem"]
        yield from page.wrapped("  why: ", why["message"], "red")
        yield from _nearest(why.get("shortfalls", ()), page)
    else:
        yield from page.wrapped("", about, "bold")
    if one["state"] == NOT_PLACED:
        yield from _policies(one, page)
        return
    yield from path_line(page, "  ", one)
    if one["standby"]:
        yield from path_line(page, "  falls over to ", one["standby"], "dim")
    if one["circuit"]:
        forecast = one["forecastModel"] or "unknown"
        yield from page.wrapped("  circuit: ", f"{name(one['circuit'])}, class {one['class']}, forecast {forecast}")
        yield from _reasons(one["forecastReasons"], page)
    else:
        yield "  no circuit: both ends are attached to one gateway", ""
    if one["state"] == PLACED:
        fresh = one["reason"].startswith("placed on ") and not {*",;"} & {*one["reason"]}
        why = one["explanation"] if fresh else f"{one['reason']}; {one['explanation']}"
        yield from page.wrapped("  why: ", why)
    yield from _policies(one, page)
    for other in one["runnersUp"]:
        terms = {term: extra for term, extra in other["extraTerms"].items() if abs(extra) >= LEAST_SHOWN}
        parts = ", ".join(f"{term} {extra:+.3f}" for term, extra in terms.items()) or "every term alike"
        to = f" to {name(other['destination'])}" if other.get("destination") else ""
        yield from page.wrapped(f"  next {other['extraCost']:+.3f}: ", f"{other['pathText']}{to}: {parts}", "dim")


def _nearest(shortfalls: Sequence[Document], page: Page) -> Iterator[Line]:
    """How near the network comes to each of several requirements if nothing else is asked."""
    if len(shortfalls) > 1 and any(one.get("best") for one in shortfalls):
        had = (f"{one['requirement']} {one['best']} (asked {one['asked']})" for one in shortfalls if one.get("best"))
        yield from page.wrapped("  best alone: ", ", ".join(had))


def _policies(one: Document, page: Page) -> Iterator[Line]:
    if one.get("policies"):
        yield from page.wrapped("  MeshPolicy: ", ", ".join(one["policies"]))
    if one.get("shadowPolicies"):
        yield from page.wrapped("  MeshPolicy in shadow, not followed: ", ", ".join(one["shadowPolicies"]), "dim")


def left_out(page: Page) -> Iterator[Line]:
    """Says which figures of paths there is no room for, where there are some."""
    if names := COLUMNS[page.figures :]:
        yield from page.wrapped("", f"no room for {' and '.join(names)}: -o json has all", "dim")


def path_line(page: Page, indent: str, path: Document, style: str = "") -> Iterator[Line]:
    """A path with its figures in columns; a path too long for its column has lines of its own."""
    lines = textwrap.wrap(path["pathText"], page.left - len(indent), break_on_hyphens=False)
    for number, text in enumerate(lines):
        before = indent if number == 0 else " " * len(indent)
        shown = figure_texts(path["predicted"])[: page.figures] if number == 0 else []
        figures = "".join(f"{text:>{COLUMN}}" for text in shown)
        yield f"{before + text:<{page.left}}{figures}".rstrip(), style


def figure_texts(predicted: Document) -> list[str]:
    """Latency, its pessimistic end, loss, free bandwidth, price; what is not known says so."""
    bandwidth = predicted["bandwidthBps"]
    # Where there is no link, none limits the bandwidth.
    free = "any" if predicted["hops"] == 0 else bandwidth_text(bandwidth)
    return [
        _number(predicted["latencyMs"], "{:.1f}"),
        _number(predicted["latencyP90Ms"], "{:.1f}"),
        _number(predicted["loss"], "{:.2%}"),
        free,
        _number(predicted["egressPrice"], "{:.3g}"),
    ]


def figures_text(predicted: Document, where: str) -> str:
    """The same in a sentence, and where the latency is: a circuit's path has no attachments, an Intent's has."""
    latency, _, loss, free, price = figure_texts(predicted)
    latency = f"latency {latency} {where}" if latency == "unknown" else f"{latency} ms {where}"
    return f"{latency}, loss {loss}, {free} free, {price} USD/GB"


def bandwidth_text(bps: float | None) -> str:
    return "unknown" if bps is None else str(Bandwidth(float(f"{bps:.3g}")))


def _number(value: float | None, how: str) -> str:
    return "unknown" if value is None else how.format(value)


def shadow_lines(one: Document, page: Page) -> Iterator[Line]:
    """What a policy that is not in force would change."""
    if "shadow" not in one:
        return
    yield from page.wrapped(f"shadow MeshPolicy {one['policy']}: ", one["shadow"]["summary"], "yellow")
    for example in one["shadow"].get("examples", ()):
        whose = f"{page.name(example['intent'])} from {page.name(example['source'])}"
        way = f"{example.get('path') or 'nowhere'} to {example.get('newPath') or 'nowhere'}"
        told = f": {example['message']}" if "message" in example else ""
        yield from page.wrapped("  ", f"{whose}: {way}{told}", "dim")


def _demand(demand: Document, page: Page) -> Iterator[Line]:
    """What is expected between gateways, both figures."""
    for one in demand.get("pairs", ()):
        ends = f"{page.name(one['from'])}->{page.name(one['to'])}"
        figures = f"{bandwidth_text(one['bandwidthBps'])}, at most {bandwidth_text(one['bandwidthP90Bps'])}"
        yield from page.wrapped("demand ", f"{ends}: {figures if one['bandwidthBps'] is not None else 'unknown'}")


def _reasons(reasons: Mapping[str, str], page: Page) -> Iterator[Line]:
    """Why links are forecast as they are, where there was a past to ask."""
    for link, why in reasons.items():
        if not why.endswith(SINGLE):
            yield from page.wrapped("  forecast ", f"{_where({'link': link}, page.name)}: {why}", "dim")


def _unknown(unknown: Mapping[str, Sequence[Document]], page: Page) -> Iterator[Line]:
    for kind, entries in unknown.items():
        ends = Counter(entry["link"].rpartition("/")[0] for entry in entries if "link" in entry)
        reasons = Counter(entry["why"] if kind != "egressPrice" else "the gateway declares none" for entry in entries)
        for reason, count in sorted(reasons.items()):
            alike = [entry for entry in entries if kind == "egressPrice" or entry["why"] == reason]
            where = [_where(entry, page.name, ends) for entry in alike[:MOST_NAMES]]
            more = f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
            what = f"{UNKNOWN_NAMES[kind]} ({reason}): {', '.join(where)}{more}"
            yield from page.wrapped("unknown ", what, "yellow")


def _where(entry: Document, name: Names, ends_of: Mapping[str, int] = {}) -> str:
    """Whose figure it is; of several links between the same gateways, over which underlay."""
    if "gateway" in entry:
        return f"{name(entry['resource'])}-{name(entry['gateway'])}"
    ends, _, underlay = entry["link"].rpartition("/")
    over = f" ({underlay})" if ends_of.get(ends, 1) > 1 else ""
    return "->".join(name(end) for end in ends.split("->")) + over


def totals(document: Document, page: Page) -> str:
    """What there is of everything, and what would help what could not be placed; in one line that fits."""
    count = document["totals"]
    every = count["placed"] + count["unmet"] + count["notPlaced"]
    # An Intent is placed source by source.
    placed = "placed" if every == document["mesh"]["intents"] else "sources of Intents placed"
    text = (
        f"{count['placed']} of {every} {placed}, {counted(count['circuits'], 'circuit')}, "
        f"{counted(count['configs'], 'config')}, {counted(count['objects'], 'object')}"
    )
    failed = [one for one in document["placements"] if one["state"] != PLACED]
    return page.fitting(f"{text}; ", [*dict.fromkeys(_cure(one, page.name) for one in failed)]) if failed else text


def _cure(one: Document, name: Names) -> str:
    why = one.get("infeasible")
    if why is not None and why["requirement"] == "dedicated":
        return f"set dedicated: {why['nearest']} in {name(one['intent'])}"
    if why is not None and why["nearest"]:
        to = ":" if why["nearest"].startswith(WITHOUT) else " to"
        return f"relax {name(one['intent'])}{to} {why['requirement']} {why['nearest']}"
    return f"see {name(one['intent'])} ({why['requirement'] if why else one['problem']['reason']})"


def counted(count: int, one: str) -> str:
    """``3 gateways``, ``1 policy``."""
    if count == 1:
        return f"1 {one}"
    return f"{count} policies" if one == "policy" else f"{count} {one}s"
