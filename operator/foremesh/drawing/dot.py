"""The mesh as DOT, for graphviz. Every name is a quoted string with its quotes and backslashes escaped."""

from __future__ import annotations

from foremesh.drawing.figures import circuit_lines, edge_label_p90, edge_lines, falls_over, path_text, short
from foremesh.drawing.layout import lay_out
from foremesh.drawing.markup import Markup, clean, join, tag
from foremesh.drawing.style import colour
from foremesh.drawing.svg import gateway_text
from foremesh.drawing.values import MeshPicture, edge_key
from foremesh.model.link import LinkId
from foremesh.model.resource import Role

SHAPES = {Role.CORE: "box", Role.TRANSIT: "hexagon", Role.EDGE: "ellipse"}

PIXELS_PER_INCH = 48.0
"""Of the map's pixels; less than a screen's, because graphviz puts the names inside the symbols."""

MOST_LABELLED = 30
"""Links that all show their round trips; with more, only those that carry circuits do. Tooltips have every figure."""


def dot(mesh: MeshPicture, *, title: str = "Mesh") -> str:
    """Draw the mesh as an undirected graph: a link is one grey edge with the figures of both directions, a circuit a
    coloured edge along each of its links, dashed where it falls over to. Positions are the map's: ``neato`` keeps
    them."""
    layout = lay_out(mesh)
    names = {one.node.id: one.name for one in mesh.gateways}
    carrying = {edge_key(link) for one in mesh.circuits for link in one.path.links}
    lines = [
        f"graph {_quoted(title)} {{",
        "  graph [layout=neato, splines=true, outputorder=edgesfirst, labelloc=b, labeljust=l, fontname=sans, "
        f"label=<{_legend(mesh, title)}>];",
        "  node [fontname=sans, fontsize=11, style=filled, fillcolor=white];",
        "  edge [fontname=sans, fontsize=9, color=gray70, fontcolor=gray30];",
    ]
    for gateway in mesh.gateways:
        x, y = layout.at[gateway.node.id]
        where = " ".join(filter(None, (gateway.node.provider, gateway.node.region)))
        label = "\n".join(filter(None, (gateway.name, where, gateway.node.role.value)))
        at = f"{x / PIXELS_PER_INCH:.2f},{(layout.height - y) / PIXELS_PER_INCH:.2f}!"
        look = f"label={_quoted(label)}, shape={SHAPES[gateway.node.role]}, pos={_quoted(at)}"
        lines.append(f"  {_quoted(gateway.node.id)} [{look}, tooltip={_quoted(gateway_text(gateway))}];")
    for edge in mesh.edges:
        figures = "\n".join(edge_lines(edge, lambda id_: names.get(id_, id_)))
        label = edge_label_p90(edge) if len(mesh.edges) <= MOST_LABELLED or edge.key in carrying else ""
        look = f"label={_quoted(label)}, tooltip={_quoted(figures)}"
        lines.append(f"  {_quoted(edge.a)} -- {_quoted(edge.b)} [{look}];")
    for index, circuit in enumerate(mesh.circuits):
        text = _quoted("\n".join(circuit_lines(circuit)))
        look = f'color="{colour(index)}", penwidth=2.5, tooltip={text}, label=""'
        lines += [f"  {_ends(link)} [{look}];" for link in circuit.path.links]
        if circuit.standby:
            lines += [f"  {_ends(link)} [{look}, style=dashed];" for link in circuit.standby.links]
    return "\n".join([*lines, "}", ""])


def _ends(link: LinkId) -> str:
    return f"{_quoted(link.src)} -- {_quoted(link.dst)}"


def _quoted(text: str) -> str:
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _legend(mesh: MeshPicture, title: str) -> Markup:
    """Intents in the colours of their circuits, as graphviz' own kind of markup: one line each, set to the left."""
    lines: list[object] = [tag("b", title)]
    for index, one in enumerate(mesh.circuits):
        line = f"{', '.join(map(short, one.intents))}: {path_text(one.path.gateways)}"
        line += f"; dashed: {falls_over(path_text(one.standby.gateways))}" if one.standby else ""
        line += f"; falls short: {one.unmet}" if one.unmet else ""
        lines.append(tag("font", line, color=colour(index)))
    lines += [f"{short(one)}: both ends at one gateway, no circuit needed" for one in mesh.local]
    lines += [f"{short(one.intent)}: not placed: {one.why}" for one in mesh.unplaced]
    return join([join([line, tag("br", align="left")]) for line in lines])
