"""``foremesh graph``: the mesh as DOT, Mermaid, SVG or HTML."""

from __future__ import annotations

from pathlib import Path

import click

from foremesh.cli.terminal import check_writable, told, write


@click.command(short_help="Draw the mesh that a folder describes, and its circuits.")
@click.option("-f", "folder", type=click.Path(path_type=Path), required=True, help="Manifests, with links.csv beside.")
@click.option("--history", type=click.Path(path_type=Path), help="Measured series, if not in the folder.")
@click.option(
    "-o",
    "output",
    type=click.Choice(["dot", "mermaid", "svg", "html"]),
    default="dot",
    show_default=True,
    help="html: one page that needs no network.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the terminal.")
@told
def graph(folder: Path, history: Path | None, output: str, out: Path | None) -> None:
    """Draw the mesh that a folder describes, with the circuits that the operator would make.

    Links carry what is predicted and, with a history, what was observed last; a figure that nobody knows is said to be
    unknown.
    """
    from foremesh import drawing
    from foremesh.files import read_bundle
    from foremesh.offline import plan_bundle
    from foremesh.settings import Settings

    check_writable(out)
    bundle = read_bundle(folder, history=history)
    decision = plan_bundle(bundle, Settings())
    # Without a history, the figures of links.csv are what somebody wrote down: nobody observed them.
    observed = drawing.newest(bundle.series) if bundle.now_s else {}
    mesh = drawing.picture_of(decision, bundle.declared, observed)
    draw = {"dot": drawing.dot, "mermaid": drawing.mermaid, "svg": drawing.svg, "html": drawing.html}[output]
    text = draw(mesh, title=f"Mesh of {folder.resolve().name}")
    write(text if text.endswith("\n") else f"{text}\n", out)
