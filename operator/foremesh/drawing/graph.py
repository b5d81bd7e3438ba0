"""The mesh as a page: the map, what each circuit serves, and the figures of every link."""

from __future__ import annotations

from foremesh.drawing.figures import at_least, circuit_lines, ms, rate, share, short, way_figures
from foremesh.drawing.layout import lay_out
from foremesh.drawing.legend import key
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.page import Row, page, path_cell, row, swatch, table, wide
from foremesh.drawing.svg import svg
from foremesh.drawing.values import DrawnCircuit, MeshPicture

MOST_ROWS = 600
"""Links in the table; with more, only those that carry circuits are listed."""

MORE = "Point at or tap anything for more; on a keyboard, focus a picture and step through it with the arrow keys."


def html(mesh: MeshPicture, *, title: str = "Mesh") -> str:
    """The mesh as one self-contained page."""
    body = [tag("h1", title), tag("p", _summary(mesh), class_="soft"), map_figure(mesh, title), circuit_table(mesh)]
    return page(title, *body, tag("h2", "Links"), link_table(mesh))


def map_figure(mesh: MeshPicture, title: str) -> Markup:
    """The map with its key."""
    layout = lay_out(mesh)
    drawn = svg(mesh, title=title, alone=False, layout=layout)
    more = tag("p", MORE, class_="soft note")
    return tag("figure", wide(drawn), tag("figcaption", key(mesh, layout), more), id="map")


def circuit_table(mesh: MeshPicture) -> Markup:
    """Every intent: its circuit's paths and predicted figures, or why it has none."""
    heads = [("Intent", ""), ("Path", ""), ("Round trip", "n"), ("p90", "n"), ("Loss", "n"), ("Free", "n")]
    # Who plans with standby paths finds one or says that there is none; who plans without has no word on them.
    standby = any(one.standby for one in mesh.circuits)
    heads += [("Falls over to", "")] if standby else []
    rows = [_circuit_row(index, one, standby) for index, one in enumerate(mesh.circuits)]
    for intent in mesh.local:
        rows.append(row(short(intent), ("both ends at one gateway: no circuit is needed", "soft"), title=intent))
    for one in mesh.unplaced:
        why = (f"✕ not placed: {one.why}", "bad")
        rows.append(row(short(one.intent), why, title=f"{one.intent} from {one.source}"))
    if not rows:
        return tag("p", "No intent is declared, so there is no circuit.")
    return table(heads, rows)


def link_table(mesh: MeshPicture) -> Markup:
    """Figures of every link in both directions, or of those that carry circuits where there are too many."""
    carrying = {link for one in mesh.circuits for link in one.path.links}
    ways = [way for edge in mesh.edges for way in (edge.there, edge.back) if way is not None]
    listed = ways if len(ways) <= MOST_ROWS else [way for way in ways if {way.link.id, way.link.id.reverse} & carrying]
    names = {one.node.id: one.name for one in mesh.gateways}
    rows = []
    for way in listed:
        title = f"{names.get(way.link.id.src, way.link.id.src)} → {names.get(way.link.id.dst, way.link.id.dst)}"
        rows.append(row(title, (way.link.id.underlay, "soft"), way_figures(way)))
    left = len(ways) - len(listed)
    note = f"{left} directed links that carry no circuit are left out." if left else ""
    told = "Predicted, and observed last" if mesh.observed else "Predicted"
    body = table([("Link", ""), ("Underlay", ""), (told, "")], rows, caption=note)
    return tag("details", tag("summary", f"Figures of {len(listed)} directed links"), body)


def _summary(mesh: MeshPicture) -> str:
    served = len({intent for one in mesh.circuits for intent in one.intents} | set(mesh.local))
    failed = len({one.intent for one in mesh.unplaced})
    return (
        f"{len(mesh.gateways)} gateways, {len(mesh.edges)} pairs of them linked, {len(mesh.circuits)} circuits; "
        f"intents placed {served}, not placed {failed}."
    )


def _circuit_row(index: int, one: DrawnCircuit, standby: bool) -> Row:
    figures = one.path.figures
    names = join([swatch(index), ", ".join(map(short, one.intents))])
    path = path_cell(one.path.gateways)
    if one.unmet:
        path = join([path, tag("div", f"falls short: {one.unmet}", class_="bad")])
    other = (path_cell(one.standby.gateways), "") if one.standby else ("no other way", "soft")
    return row(
        names,
        path,
        (ms(figures.latency_ms), "n"),
        (ms(at_least(figures.latency_ms, figures.latency_p90_ms)), "n"),
        (share(figures.loss), "n"),
        (rate(figures.bandwidth_bps), "n"),
        *([other] if standby else []),
        data_lights=index,
        tabindex=0,
        title="\n".join(circuit_lines(one)),
    )
