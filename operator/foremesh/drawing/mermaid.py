"""The mesh as a Mermaid flowchart, for pages that render it. Names are quoted, and what Mermaid or HTML could read as
anything but text is written as an entity."""

from __future__ import annotations

import re

from foremesh.drawing.figures import edge_label_p90, path_text, short
from foremesh.drawing.style import colour
from foremesh.drawing.values import DrawnGateway, MeshPicture, edge_key
from foremesh.model.resource import Role

MOST_LINKS = 150
"""Links without circuits that are drawn; with more, only those that carry circuits are: Mermaid refuses graphs of more
than 500 edges or 50,000 characters, and nobody reads one of half as many."""

MOST_STRANDS = 300
"""Circuit lines that are drawn, for the same reason."""

PLAIN = re.compile(r"[^\w .,:/+()§→↔-]")


def mermaid(mesh: MeshPicture, *, title: str = "Mesh") -> str:
    """Draw the mesh: links dotted with median and p90 round trip, circuits coloured, standby paths dashed."""
    numbers = {one.node.id: f"g{index}" for index, one in enumerate(mesh.gateways)}
    lines = ["flowchart LR", f"  %% {_comment(title)}"]
    lines += [f"  {numbers[one.node.id]}{_shape(one)}" for one in mesh.gateways]
    drawn = 0
    carrying = {edge_key(link) for one in mesh.circuits for link in one.path.links}
    edges = [edge for edge in mesh.edges if len(mesh.edges) <= MOST_LINKS or edge.key in carrying]
    if len(edges) < len(mesh.edges):
        lines.append(f"  %% {len(mesh.edges) - len(edges)} links that carry no circuit are left out")
    for edge in edges:
        lines.append(f'  {numbers[edge.a]} -. "{_text(edge_label_p90(edge))}" .- {numbers[edge.b]}')
        drawn += 1
    styles: list[str] = []
    left_out = 0
    for index, circuit in enumerate(mesh.circuits):
        standby = circuit.standby.links if circuit.standby else ()
        if len(styles) + len(circuit.path.links) + len(standby) > MOST_STRANDS:
            left_out += 1
            continue
        for links, dashes in ((circuit.path.links, ""), (standby, ",stroke-dasharray:6 4")):
            for link in links:
                lines.append(f"  {numbers[link.src]} ==> {numbers[link.dst]}")
                styles.append(f"  linkStyle {drawn} stroke:{colour(index)},stroke-width:3px{dashes}")
                drawn += 1
    if left_out:
        lines.append(f"  %% {left_out} more circuits are left out")
    return "\n".join([*lines, *styles, *_legend(mesh), ""])


def _legend(mesh: MeshPicture) -> list[str]:
    """Intents beside the graph: the colour of their circuit, or why they have none."""
    if not (mesh.circuits or mesh.local or mesh.unplaced):
        return []
    lines, looks = ["  subgraph legend [Intents]"], []
    for index, circuit in enumerate(mesh.circuits[:MOST_STRANDS]):
        said = f"{', '.join(map(short, circuit.intents))}: {path_text(circuit.path.gateways)}"
        said += f"; falls short: {circuit.unmet}" if circuit.unmet else ""
        lines.append(f'    c{index}["{_text(said)}"]')
        looks.append(f"  style c{index} stroke:{colour(index)},stroke-width:3px")
    for index, intent in enumerate(mesh.local):
        lines.append(f'    l{index}["{_text(short(intent))}: both ends at one gateway, no circuit needed"]')
    for index, one in enumerate(mesh.unplaced):
        lines.append(f'    u{index}["{_text(short(one.intent))}: not placed: {_text(one.why)}"]')
    return [*lines, "  end", *looks]


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
    return PLAIN.sub(lambda found: f"#{ord(found[0])};", " ".join(text.split()))


def _comment(text: str) -> str:
    """Text that cannot end a comment, nor be taken for a directive."""
    return " ".join(text.replace("{", "(").replace("}", ")").split())
