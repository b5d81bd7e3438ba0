"""Figures as statuses show them: measured, predicted, rounded."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from foremesh.decide import Decision, Observed, attachment_rtt_ms
from foremesh.model.circuit import Figures
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.plan import Placement

DECIMALS = {"latency_ms": 3, "latency_p90_ms": 3, "loss": 6, "bandwidth_bps": 0, "egress_price": 6, "cost": 6}
"""Decimals that mean something: a microsecond, a packet in a million, a bit, a ten-thousandth of a cent."""


def rounded(figures: Figures) -> Figures:
    """Figures without digits that nobody can measure."""
    values = {name: getattr(figures, name) for name in DECIMALS}
    return msgspec.structs.replace(
        figures, **{name: round(value, DECIMALS[name]) for name, value in values.items() if value is not None}
    )


def text(path: Iterable[str]) -> str:
    """A path for people: gateway names without their namespaces."""
    return " > ".join(gateway.rpartition("/")[2] for gateway in path)


def measured_circuit(circuit: PlacedCircuit, observed: Observed) -> Figures | None:
    """What a circuit's own end-to-end probes measured, seen from its ``from`` end; None if nothing was."""
    beacon = observed.beacons.get(circuit.spec.from_)
    report = beacon.probes.get(circuit.id) if beacon else None
    if report is None or report.rtt_ms is None:
        return None
    return rounded(Figures(latency_ms=report.rtt_ms, loss=report.loss))


def measured_placement(placement: Placement, decision: Decision, observed: Observed) -> Figures | None:
    """The circuit's probe and the measured ways from both workloads to their gateways; None if a part is unknown."""
    if placement.path is None:
        return None
    first, last = placement.path.gateways[0], placement.path.gateways[-1]
    ways_ms = (
        attachment_rtt_ms(placement.source, first, observed),
        attachment_rtt_ms(placement.destination or "", last, observed),
    )
    between = Figures(latency_ms=0.0)
    if len(placement.path.gateways) > 1:
        id_ = decision.circuit_of(placement)
        circuit = next((one for one in decision.state.circuits if one.id == id_), None)
        between = (measured_circuit(circuit, observed) if circuit else None) or Figures()
    parts_ms = [part for part in (*ways_ms, between.latency_ms) if part is not None]
    if len(parts_ms) < 3:
        return None
    return rounded(Figures(latency_ms=sum(parts_ms), loss=between.loss))


def link_latency_ms(graph: MeshGraph, links: Iterable[LinkId]) -> float | None:
    """Predicted round trip along links, without the attachments at either end; None if one is unknown."""
    known = {link.id: link.rtt_ms for link in graph.links}
    parts = [known.get(link) for link in links]
    return sum(part.median for part in parts if part) if all(parts) else None
