"""The mesh as a Mermaid flowchart, for pages that render it. Names are quoted, and what Mermaid or HTML could read as
anything but text is written as an entity."""

from __future__ import annotations

import re

from foremesh.drawing.figures import edge_label_p90, edge_lines, falls_over, path_text, short
from foremesh.drawing.markup import clean
from foremesh.drawing.style import colour
from foremesh.drawing.values import DrawnGateway, MeshPicture, edge_key
from foremesh.model.resource import Role

MOST_LINKS = 40
"""Links of a mesh that is drawn in full; of a larger one, only those that carry circuits are, with less text: Mermaid
refuses graphs of more than 500 edges or 50,000 characters, and lays out a fraction of that so that it can be read."""

MOST_STRANDS = 200
"""Lines of circuits that are drawn, and links below them, for the same reason."""

MOST_ROWS = 40
"""Intents beside the graph."""

PLAIN = re.compile(r"[^\w .,:/+()§→↔-]")


def mermaid(mesh: MeshPicture, *, title: str = "Mesh") -> str:
    """Draw the mesh: links dotted with median and p90 round trip, circuits coloured, and dashed where they fall
    over to."""
    numbers = {one.node.id: f"g{index}" for index, one in enumerate(mesh.gateways)}
    names = {one.node.id: one.name for one in mesh.gateways}
    # Two subgraphs, because those do not lie on top of each other.
    lines = ["flowchart LR", f"  %% {_comment(title)}", "  subgraph mesh [Mesh]"]
    lines += [f"  {numbers[one.node.id]}{_shape(one)}" for one in mesh.gateways]
    full = len(mesh.edges) <= MOST_LINKS
    carrying = {edge_key(link) for one in mesh.circuits for link in one.path.links}
    edges = [edge for edge in mesh.edges if full or edge.key in carrying][:MOST_STRANDS]
    if len(edges) < len(mesh.edges):
        lines.append(f"  %% {len(mesh.edges) - len(edges)} links are left out, of those that carry no circuit first")
    for edge in edges:
        said = edge_lines(edge, lambda id_: names.get(id_, id_))[1:] if full else [edge_label_p90(edge)]
        lines.append(f'  {numbers[edge.a]} -. "{"<br/>".join(map(_text, said))}" .- {numbers[edge.b]}')
    drawn = len(edges)
    styles: list[str] = []
    left_out = 0
    for index, circuit in enumerate(mesh.circuits):
        standby = circuit.standby.links if circuit.standby else ()
        if len(styles) + len(circuit.path.links) + len(standby) > MOST_STRANDS:
            left_out += 1
            continue
        for links, dashes in ((circuit.path.links, ""), (standby, ",stroke-dasharray:6 4")):
            # A path that is kept may lead through a gateway that has fallen silent.
            for link in (one for one in links if one.src in numbers and one.dst in numbers):
                lines.append(f"  {numbers[link.src]} ==> {numbers[link.dst]}")
                styles.append(f"  linkStyle {drawn} stroke:{colour(index)},stroke-width:3px{dashes}")
                drawn += 1
    if left_out:
        lines.append(f"  %% {left_out} more circuits are left out")
    return "\n".join([*lines, "  end", *styles, *_legend(mesh), ""])


def _legend(mesh: MeshPicture) -> list[str]:
    """Intents beside the graph: in the colour of their circuit, or with the reason why they have none."""
    rows: list[tuple[str, str]] = []
    for index, circuit in enumerate(mesh.circuits):
        said = f"{', '.join(map(short, circuit.intents))}: {path_text(circuit.path.gateways)}"
        said += f"; dashed: {falls_over(path_text(circuit.standby.gateways))}" if circuit.standby else ""
        said += f"; falls short: {circuit.unmet}" if circuit.unmet else ""
        rows.append((said, colour(index)))
    rows += [(f"{short(one)}: both ends at one gateway, no circuit needed", "") for one in mesh.local]
    rows += [(f"{short(one.intent)}: not placed: {one.why}", "") for one in mesh.unplaced]
    if not rows:
        return []
    lines = [f'    i{index}["{_text(said)}"]' for index, (said, _) in enumerate(rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS:
        lines.append(f'    more["and {len(rows) - MOST_ROWS} more"]')
    looks = [
        f"  style i{index} stroke:{look},stroke-width:3px" for index, (_, look) in enumerate(rows[:MOST_ROWS]) if look
    ]
    return ["  subgraph legend [Intents]", *lines, "  end", *looks]


def _shape(one: DrawnGateway) -> str:
    text = "<br/>".join(
        _text(part)
        for part in (one.name, " ".join(filter(None, (one.node.provider, one.node.region))), one.node.role.value)
        if part
    )
    left, right = {Role.CORE: ("[", "]"), Role.TRANSIT: ("{{", "}}"), Role.EDGE: ("([", "])")}[one.node.role]
    return f'{left}"{text}"{right}'


def _text(text: str) -> str:
    """Anything but letters, digits and harmless signs as ``#NUMBER;``, which Mermaid shows as that sign."""
    return PLAIN.sub(lambda found: f"#{ord(found[0])};", " ".join(clean(text).split()))


def _comment(text: str) -> str:
    """What is harmless of a text, for a comment; entities mean nothing there."""
    return PLAIN.sub("", " ".join(clean(text).split()))
