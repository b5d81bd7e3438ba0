"""The mesh as SVG: a map where every gateway says where it is, with circuits along their links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from foremesh.drawing.axes import px
from foremesh.drawing.figures import edge_label, edge_lines, ms, path_figures, path_text, share, short
from foremesh.drawing.labels import Canvas, text_width
from foremesh.drawing.layout import Layout, lay_out
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.style import PALETTE, PICTURE, theme
from foremesh.drawing.values import DrawnCircuit, DrawnEdge, DrawnGateway, EdgeKey, MeshPicture, edge_key
from foremesh.model.resource import Role

MOST_HOVERED = 700
"""Links without circuits that still show figures when pointed at; more of them make one faint web, as nobody could
point at any."""

MOST_IN_FULL = 24
"""Gateways that show where they are below their name; more have small symbols, and names where there is room."""

MOST_LABELLED = 40
"""Links whose round trips stand beside them; more of them would hide the map."""

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


def svg(mesh: MeshPicture, *, title: str = "Mesh", alone: bool = True) -> Markup:
    """Draw the mesh.

    Args:
        title: What the picture is called by those who cannot see it.
        alone: With its own styles and legend, as a file; else as a part of a page that brings both.
    """
    layout = lay_out(mesh)
    legend = _legend(mesh, layout.width) if alone else _Block(Markup(), 0.0)
    height = layout.height + legend.height
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
        tag("g", legend.markup, transform=f"translate(0 {px(layout.height)})") if alone else Markup(),
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


def circuit_lines(circuit: DrawnCircuit) -> list[str]:
    """A circuit in words: whom it serves, its path with figures, its standby."""
    lines = [
        f"{', '.join(map(short, circuit.intents))}",
        f"active {path_text(circuit.path.gateways)}: {path_figures(circuit.path.figures)}",
    ]
    if circuit.standby:
        lines.append(f"standby {path_text(circuit.standby.gateways)}: {path_figures(circuit.standby.figures)}")
    if circuit.unmet:
        lines.append(f"falls short: {circuit.unmet}")
    return lines


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
        symbols.append(tag("g", tag("title", gateway_text(one)), _symbol(one, x, y, sheet.few), class_="gateway"))
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


def _symbol(one: DrawnGateway, x: float, y: float, few: bool) -> Markup:
    size = 7.0 if few else 4.5
    role = one.node.role
    if role is Role.CORE:
        return tag("circle", class_="node core", cx=px(x), cy=px(y), r=px(size))
    if role is Role.TRANSIT:
        return tag("polygon", class_="node transit", points=_diamond(x, y, size + 1.5))
    return tag("circle", class_="node edge-role", cx=px(x), cy=px(y), r=px(size - 0.5))


def _diamond(x: float, y: float, size: float) -> str:
    corners = ((x, y - size), (x + size, y), (x, y + size), (x - size, y))
    return " ".join(f"{px(one)},{px(other)}" for one, other in corners)


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
    carrying = [key for key, strands in sheet.strands.items() if key in edges and any(one.active for one in strands)]
    for key in sorted(carrying) if len(carrying) <= MOST_LABELLED else ():
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


@dataclass(frozen=True)
class _Block:
    markup: Markup
    height: float


def _legend(mesh: MeshPicture, width: float) -> _Block:
    """Symbols, then one row per circuit, then what is not placed; lines are cut to the width."""
    rows: list[Markup] = []
    y = 22.0
    symbols: list[object] = []
    for place, (look, text) in enumerate((("core", "core"), ("transit", "transit"), ("edge-role", "edge"))):
        x = 24.0 + place * 90
        if look == "transit":
            symbols.append(tag("polygon", class_="node transit", points=_diamond(x, y - 4, 8)))
        else:
            symbols.append(tag("circle", class_=f"node {look}", cx=px(x), cy=px(y - 4), r="6.5"))
        symbols.append(tag("text", text, x=px(x + 14), y=px(y)))
    symbols.append(tag("path", class_="active c0", d=f"M300 {px(y - 4)}h34"))
    symbols.append(tag("text", "active path", x="342", y=px(y)))
    symbols.append(tag("path", class_="standby c0", d=f"M440 {px(y - 4)}h34"))
    symbols.append(tag("text", "standby path", x="482", y=px(y)))
    symbols.append(tag("text", "figures on links: median round trips", class_="soft", x="590", y=px(y)))
    rows.append(tag("g", *symbols))
    for index, circuit in enumerate(mesh.circuits):
        y += 22
        names = ", ".join(map(short, circuit.intents))
        text = f"{names}: {path_text(circuit.path.gateways)}, {ms(circuit.path.figures.latency_ms)}"
        text += f"; standby {path_text(circuit.standby.gateways)}" if circuit.standby else "; no standby"
        text += f"; falls short: {circuit.unmet}" if circuit.unmet else ""
        line = tag("path", class_=f"active c{index % len(PALETTE)}", d=f"M18 {px(y - 4)}h26")
        rows.append(tag("g", tag("title", "\n".join(circuit_lines(circuit))), line, _row(text, y, width)))
    for intent in mesh.local:
        y += 22
        rows.append(_row(f"{short(intent)}: both ends at one gateway, no circuit needed", y, width))
    for one in mesh.unplaced:
        y += 22
        rows.append(_row(f"✕ {short(one.intent)}: not placed: {one.why}", y, width, "bad"))
    return _Block(join(rows), y + 16)


def _row(text: str, y: float, width: float, look: str | None = None) -> Markup:
    fits = int((width - 70) / 6.6)
    cut = text if len(text) <= fits else text[: fits - 1] + "…"
    return tag("text", tag("title", text), cut, class_=look, x="54", y=px(y))


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
