"""The mesh as SVG: a map where every gateway says where it is, with circuits along their links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from foremesh.drawing.axes import px
from foremesh.drawing.figures import circuit_lines, edge_label, edge_lines, share
from foremesh.drawing.labels import Canvas, text_width
from foremesh.drawing.layout import Layout, lay_out
from foremesh.drawing.legend import Block, labelled, legend, symbol
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.style import PALETTE, PICTURE, theme
from foremesh.drawing.values import DrawnEdge, DrawnGateway, EdgeKey, MeshPicture, edge_key

MOST_HOVERED = 700
"""Links without circuits that still show figures when pointed at; more of them make one faint web, as nobody could
point at any."""

MOST_IN_FULL = 24
"""Gateways that show where they are below their name; more have small symbols, and names where there is room."""

BEND = 0.07
"""How far links bend, as a share of their length, so that they do not run through gateways that lie in a row."""

STRAND_PX = 5.0
"""Pixels between circuits that share a link."""

BUNDLE_PX = 34.0
"""Pixels across all circuits of a link; more of them lie closer together."""

BUNDLE_LENGTH_PX = 90.0
"""Length of a link from which on its circuits lie that far apart; shorter ones would look like balloons."""

UNDERLAY_PX = 26.0
"""Pixels between the control points of links over different underlays."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Strand:
    """One circuit on one link."""

    circuit: int
    active: bool


@dataclass
class _Sheet:
    """What is known while one picture is drawn."""

    mesh: MeshPicture
    layout: Layout
    canvas: Canvas
    strands: dict[EdgeKey, list[Strand]] = field(default_factory=lambda: defaultdict(list))

    def name(self, id_: str) -> str:
        return self.names.get(id_, id_)

    def __post_init__(self) -> None:
        self.names = {one.node.id: one.name for one in self.mesh.gateways}
        self.few = len(self.mesh.gateways) <= MOST_IN_FULL
        self.parallel: dict[EdgeKey, int] = {}
        """Which of the underlays between its two gateways an edge is on, counted from 0."""
        for (a, b), edges in groupby(self.mesh.edges, lambda edge: (edge.a, edge.b)):
            self.parallel |= {(a, b, edge.underlay): place for place, edge in enumerate(edges)}
        for index, circuit in enumerate(self.mesh.circuits):
            for link in circuit.path.links:
                self.strands[edge_key(link)].append(Strand(index, True))
            for link in circuit.standby.links if circuit.standby else ():
                self.strands[edge_key(link)].append(Strand(index, False))


def svg(mesh: MeshPicture, *, title: str = "Mesh", alone: bool = True, layout: Layout | None = None) -> Markup:
    """Draw the mesh.

    Args:
        layout: Where gateways stand, if it is known already.
        title: What the picture is called by those who cannot see it.
        alone: With its own styles and legend, as a file; else as a part of a page that brings both.
    """
    layout = layout or lay_out(mesh)
    below = legend(mesh, layout) if alone else Block(Markup(), 0.0)
    height = layout.height + below.height
    sheet = _Sheet(mesh, layout, Canvas(layout.width, layout.height))
    around = 10.0 if sheet.few else 5.0
    for x, y in layout.at.values():
        sheet.canvas.take(x - around, y - around, x + around, y + around)
    parts = [
        tag("title", title),
        tag("desc", _described(mesh)),
        tag("style", Markup(theme(".fm") + PICTURE)) if alone else Markup(),
        tag("rect", class_="ground", width=px(layout.width), height=px(height)) if alone else Markup(),
        _graticule(layout),
        _edges(sheet),
        _circuits(sheet),
        _gateways(sheet),
        _link_labels(sheet),
        tag("g", below.markup, transform=f"translate(0 {px(layout.height)})") if alone else Markup(),
    ]
    return tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="fm mesh",
        viewBox=f"0 0 {px(layout.width)} {px(height)}",
        width=px(layout.width) if alone else None,
        height=px(height) if alone else None,
        role="img",
        aria_label=title,
    )


def _described(mesh: MeshPicture) -> str:
    pairs = len(mesh.edges)
    return (
        f"{len(mesh.gateways)} gateways, {pairs} pairs with a link, {len(mesh.circuits)} circuits, "
        f"{len(mesh.unplaced)} intents without one."
    )


def _graticule(layout: Layout) -> Markup:
    lines = []
    for one in layout.meridians:
        lines.append(tag("path", class_="grid", d=f"M{px(one.at)} 0V{px(layout.height)}"))
        lines.append(tag("text", one.text, class_="grid-text", x=px(one.at + 3), y=px(layout.height - 5)))
    for one in layout.parallels:
        lines.append(tag("path", class_="grid", d=f"M0 {px(one.at)}H{px(layout.width)}"))
        lines.append(tag("text", one.text, class_="grid-text", x="4", y=px(one.at - 3)))
    return tag("g", *lines, aria_hidden="true") if lines else Markup()


def _edges(sheet: _Sheet) -> Markup:
    plain = [edge for edge in sheet.mesh.edges if edge.key not in sheet.strands]
    carrying = [edge for edge in sheet.mesh.edges if edge.key in sheet.strands]
    many = len(plain) > MOST_HOVERED
    weight = "edge many" if len(plain) > 200 else "edge"
    parts = [_edge(sheet, edge, weight) for edge in (() if many else plain)]
    if many:
        web = "".join(_curve(sheet, edge.key, 0.0) for edge in plain)
        parts.append(tag("path", class_=weight, d=web))
    parts += [_edge(sheet, edge, "edge") for edge in carrying]
    return tag("g", *parts)


def _edge(sheet: _Sheet, edge: DrawnEdge, weight: str) -> Markup:
    line = _curve(sheet, edge.key, 0.0)
    return tag(
        "g",
        tag("title", "\n".join(edge_lines(edge, sheet.name))),
        tag("path", class_="hit", d=line),
        tag("path", class_=weight, d=line),
        class_="link",
    )


def _circuits(sheet: _Sheet) -> Markup:
    parts: dict[int, list[Markup]] = defaultdict(list)
    for key, strands in sheet.strands.items():
        for place, strand in enumerate(strands):
            line = _curve(sheet, key, _offset(place, len(strands)))
            if not line:
                continue
            look = f"{'active' if strand.active else 'standby'} c{strand.circuit % len(PALETTE)}"
            parts[strand.circuit].append(tag("path", class_=look, d=line))
            sheet.canvas.note_line(_points(sheet, key, _offset(place, len(strands))))
    drawn = [
        tag(
            "g",
            tag("title", "\n".join(circuit_lines(circuit))),
            # Standby below active, where a circuit's two paths share a link.
            *sorted(parts[index], key=lambda one: 'class="active' in one),
            class_="circuit",
            data_circuit=index,
        )
        for index, circuit in enumerate(sheet.mesh.circuits)
    ]
    return tag("g", *drawn)


def _gateways(sheet: _Sheet) -> Markup:
    busy = {id_ for one in sheet.mesh.circuits for id_ in one.path.gateways}
    symbols, names = [], []
    # Gateways with circuits first: their names get the best places.
    for one in sorted(sheet.mesh.gateways, key=lambda gateway: gateway.node.id not in busy):
        x, y = sheet.layout.at[one.node.id]
        symbols.append(
            tag("g", tag("title", gateway_text(one)), symbol(one.node.role, x, y, few=sheet.few), class_="gateway")
        )
        names.append(_name(sheet, one))
    return join([tag("g", *symbols), tag("g", *names)])


def gateway_text(one: DrawnGateway) -> str:
    """A gateway in words."""
    node = one.node
    where = " ".join(filter(None, (node.provider, node.region)))
    load = f"{share(node.load.median)} (p90 {share(node.load.pessimistic)})" if node.load else "unknown"
    lines = [node.id, f"{node.role} gateway" + (f" in {where}" if where else ""), f"load {load}"]
    if node.risk_groups:
        lines.append(f"shares fate with {', '.join(node.risk_groups)}")
    return "\n".join(lines)


def _name(sheet: _Sheet, one: DrawnGateway) -> Markup:
    few = sheet.few
    x, y = sheet.layout.at[one.node.id]
    size = 12.0 if few else 10.5
    where = " ".join(filter(None, (one.node.provider, one.node.region))) if few else ""
    wide = max(text_width(one.name, size, bold=True), text_width(where, 10.5))
    tall = size + (12.0 if where else 0.0)
    spot = sheet.canvas.beside(x, y, wide, tall, reach=11.0 if few else 7.0, must=few)
    if spot is None:
        return Markup()
    left, top, anchor = spot
    at = {"start": left, "middle": left + wide / 2, "end": left + wide}[anchor]
    look = "name halo" if few else "name halo small"
    lines = [tag("text", one.name, class_=look, x=px(at), y=px(top + size - 2), text_anchor=anchor)]
    if where:
        lines.append(tag("text", where, class_="soft small halo", x=px(at), y=px(top + tall - 2), text_anchor=anchor))
    return join(lines)


def _link_labels(sheet: _Sheet) -> Markup:
    """Median round trips on the links that carry circuits, where there is room."""
    edges = {edge.key: edge for edge in sheet.mesh.edges}
    labels = []
    for key in labelled(sheet.mesh):
        text = edge_label(edges[key])
        wide = text_width(text, 10.5)
        points = _points(sheet, key, 0.0)
        for share_of_way in (10, 8, 12, 6, 14):
            x, y = points[share_of_way] if points else (0.0, 0.0)
            if points and sheet.canvas.free(x - wide / 2, y - 6, x + wide / 2, y + 6):
                sheet.canvas.take(x - wide / 2, y - 6, x + wide / 2, y + 6)
                labels.append(tag("text", text, class_="small halo", x=px(x), y=px(y + 4), text_anchor="middle"))
                break
    return tag("g", *labels, aria_hidden="true")


def _offset(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * min(STRAND_PX, BUNDLE_PX / count)


def _bend(sheet: _Sheet, key: EdgeKey, offset: float) -> tuple[Point, Point, Point] | None:
    """Both ends and the control point of an edge's curve; None where an end is not in the picture."""
    first, last = sheet.layout.at.get(key[0]), sheet.layout.at.get(key[1])
    if first is None or last is None:
        return None
    dx, dy = last[0] - first[0], last[1] - first[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-6)
    offset *= min(1.0, length / BUNDLE_LENGTH_PX)
    # A curve's middle lies half way to its control point.
    away = length * BEND * 2 + 2 * offset + sheet.parallel.get(key, 0) * UNDERLAY_PX
    middle = ((first[0] + last[0]) / 2 - dy / length * away, (first[1] + last[1]) / 2 + dx / length * away)
    return first, middle, last


def _curve(sheet: _Sheet, key: EdgeKey, offset: float) -> str:
    found = _bend(sheet, key, offset)
    if found is None:
        return ""
    (x, y), (mx, my), (ex, ey) = found
    return f"M{px(x)} {px(y)}Q{px(mx)} {px(my)} {px(ex)} {px(ey)}"


def _points(sheet: _Sheet, key: EdgeKey, offset: float) -> list[Point]:
    """Twenty-one points along an edge's curve."""
    found = _bend(sheet, key, offset)
    if found is None:
        return []
    (x, y), (mx, my), (ex, ey) = found
    steps: Iterable[float] = (index / 20 for index in range(21))
    return [
        (
            (1 - t) ** 2 * x + 2 * t * (1 - t) * mx + t * t * ex,
            (1 - t) ** 2 * y + 2 * t * (1 - t) * my + t * t * ey,
        )
        for t in steps
    ]
