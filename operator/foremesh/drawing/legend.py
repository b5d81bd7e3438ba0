"""What the map's symbols, lines and figures mean; only of what the map at hand shows. Under an SVG, or in a page."""

from __future__ import annotations

from dataclasses import dataclass

from foremesh.drawing.axes import px
from foremesh.drawing.figures import circuit_lines, falls_over, ms, path_text, short
from foremesh.drawing.labels import text_width
from foremesh.drawing.layout import Layout
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.style import PALETTE
from foremesh.drawing.values import EdgeKey, MeshPicture, edge_key
from foremesh.model.resource import Role

MOST_LABELLED = 40
"""Links whose round trips stand beside them; more of them would hide the map."""

ROW_PX = 22.0
"""Pixels between lines of the legend."""

ROLES = {Role.CORE: "core gateway", Role.TRANSIT: "transit gateway", Role.EDGE: "edge gateway"}


@dataclass(frozen=True)
class Block:
    """A part of a picture, and how tall it is in pixels."""

    markup: Markup
    height: float


def labelled(mesh: MeshPicture) -> list[EdgeKey]:
    """Links that carry circuits and show their round trips; none where they are too many."""
    carrying = {edge_key(link) for one in mesh.circuits for link in one.path.links} & {edge.key for edge in mesh.edges}
    return sorted(carrying) if len(carrying) <= MOST_LABELLED else []


def entries(mesh: MeshPicture) -> list[tuple[Markup, str]]:
    """Marks in a field of 34 by 16 pixels, and what they mean."""
    roles = {one.node.role for one in mesh.gateways}
    found = [(symbol(role, 17.0, 8.0, few=True), text) for role, text in ROLES.items() if role in roles]
    active = {edge_key(link) for one in mesh.circuits for link in one.path.links}
    standby = {edge_key(link) for one in mesh.circuits for link in (one.standby.links if one.standby else ())}
    if active:
        found.append((tag("path", class_="active c0", d="M0 8h34"), "path of a circuit"))
    if standby:
        found.append((tag("path", class_="standby c0", d="M0 8h34"), "where a circuit falls over to"))
    if any(edge.key not in active | standby for edge in mesh.edges):
        found.append((tag("path", class_="edge", d="M0 8h34"), "link without a circuit"))
    return found


def key(mesh: MeshPicture, layout: Layout) -> Markup:
    """The legend in a page, whose text wraps."""
    marks = [
        tag(
            "span",
            tag("svg", mark, class_="fm", viewBox="0 0 34 16", width="34", height="16", aria_hidden="true"),
            text,
        )
        for mark, text in entries(mesh)
    ]
    said = " ".join(filter(None, (_figures(mesh), layout.note)))
    return join([tag("p", *marks, class_="soft key"), tag("p", said, class_="soft note") if said else ""])


def legend(mesh: MeshPicture, layout: Layout) -> Block:
    """The legend below an SVG: symbols, then one row per circuit, then what is not placed; lines are cut to the
    width."""
    rows: list[Markup] = []
    x, y = 18.0, ROW_PX
    for mark, text in entries(mesh):
        wide = 42 + text_width(text, 12.0) + 20
        if x + wide > layout.width:
            x, y = 18.0, y + ROW_PX
        rows.append(tag("g", tag("g", mark, transform=f"translate({px(x)} {px(y - 12)})"), _text(text, x + 42, y)))
        x += wide
    for said in filter(None, (_figures(mesh), layout.note)):
        y += ROW_PX
        rows.append(_text(said, 18.0, y, "soft"))
    for index, circuit in enumerate(mesh.circuits):
        y += ROW_PX
        names = ", ".join(map(short, circuit.intents))
        text = f"{names}: {path_text(circuit.path.gateways)}, {ms(circuit.path.figures.latency_ms)}"
        text += f"; {falls_over(path_text(circuit.standby.gateways))}" if circuit.standby else ""
        text += f"; falls short: {circuit.unmet}" if circuit.unmet else ""
        line = tag("path", class_=f"active c{index % len(PALETTE)}", d=f"M18 {px(y - 4)}h26")
        rows.append(tag("g", tag("title", "\n".join(circuit_lines(circuit))), line, _row(text, y, layout.width)))
    for intent in mesh.local:
        y += ROW_PX
        rows.append(_row(f"{short(intent)}: both ends at one gateway, no circuit needed", y, layout.width))
    for one in mesh.unplaced:
        y += ROW_PX
        rows.append(_row(f"✕ {short(one.intent)}: not placed: {one.why}", y, layout.width, "bad"))
    return Block(join(rows), y + 16)


def symbol(role: Role, x: float, y: float, *, few: bool) -> Markup:
    """A gateway's symbol around a point; smaller where there are many."""
    size = 7.0 if few else 4.5
    if role is Role.CORE:
        return tag("circle", class_="node core", cx=px(x), cy=px(y), r=px(size))
    if role is Role.TRANSIT:
        return tag("polygon", class_="node transit", points=_diamond(x, y, size + 1.5))
    return tag("circle", class_="node edge-role", cx=px(x), cy=px(y), r=px(size - 0.5))


def _diamond(x: float, y: float, size: float) -> str:
    corners = ((x, y - size), (x + size, y), (x, y + size), (x - size, y))
    return " ".join(f"{px(one)},{px(other)}" for one, other in corners)


def _figures(mesh: MeshPicture) -> str:
    return "Figures on links are median round trips." if labelled(mesh) else ""


def _text(text: str, x: float, y: float, look: str | None = None) -> Markup:
    return tag("text", text, class_=look, x=px(x), y=px(y))


def _row(text: str, y: float, width: float, look: str | None = None) -> Markup:
    fits = int((width - 70) / 6.6)
    cut = text if len(text) <= fits else text[: fits - 1] + "…"
    return tag("text", tag("title", text), cut, class_=look, x="54", y=px(y))
