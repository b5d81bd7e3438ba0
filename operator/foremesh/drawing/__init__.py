"""Pictures of a mesh (DOT, Mermaid, SVG, HTML) and the report of a simulated day.

Takes values, returns text: nothing is read, written, measured or decided here, and what is drawn loads nothing from
anywhere when it is opened. Imports nothing above ``decide``.
"""

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
]
