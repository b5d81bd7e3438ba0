"""Pictures of a mesh (DOT, Mermaid, SVG, HTML) and the report of a simulated day.

Takes values, returns text: nothing is read, written, measured or decided here, and what is drawn loads nothing from
anywhere when it is opened. Imports nothing above ``decide``.
"""

from foremesh.drawing.dot import dot
from foremesh.drawing.graph import html
from foremesh.drawing.mermaid import mermaid
from foremesh.drawing.mesh import newest, picture, picture_of
from foremesh.drawing.report import render_report
from foremesh.drawing.svg import svg
from foremesh.drawing.values import (
    Applied,
    DrawnCircuit,
    DrawnEdge,
    DrawnGateway,
    DrawnWay,
    LinkObserved,
    MeshPicture,
    Report,
    ReportIntent,
    ReportMove,
    ReportPolicy,
    Series,
    Unplaced,
)

__all__ = [
    "Applied",
    "DrawnCircuit",
    "DrawnEdge",
    "DrawnGateway",
    "DrawnWay",
    "LinkObserved",
    "MeshPicture",
    "Report",
    "ReportIntent",
    "ReportMove",
    "ReportPolicy",
    "Series",
    "Unplaced",
    "dot",
    "html",
    "mermaid",
    "newest",
    "picture",
    "picture_of",
    "render_report",
    "svg",
]
