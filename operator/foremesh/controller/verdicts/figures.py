"""Figures as statuses show them: measured, predicted, rounded."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from foremesh.decide import Decision, Forecasts, Observed, attachment_rtt_ms
from foremesh.model.circuit import Figures
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.plan import Placement
from foremesh.model.series import Metric

DECIMALS = {"latency_ms": 3, "latency_p90_ms": 3, "loss": 6, "bandwidth_bps": 0, "egress_price": 6, "cost": 6}
"""Decimals that mean something: a microsecond, a packet in a million, a bit, a ten-thousandth of a cent."""


LONGEST_WHY = 1000
"""Characters of reasons in a status: those of some five links. The operator's page of forecasts has all."""


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
    ways = [_attachment(placement.source, first, observed), _attachment(placement.destination or "", last, observed)]
    between = Figures(latency_ms=0.0, loss=0.0)
    if len(placement.path.gateways) > 1:
        id_ = decision.circuit_of(placement)
        circuit = next((one for one in decision.state.circuits if one.id == id_), None)
        between = (measured_circuit(circuit, observed) if circuit else None) or Figures()
    parts = (*ways, between)
    known_ms = [part.latency_ms for part in parts if part.latency_ms is not None]
    if len(known_ms) < len(parts):
        return None
    losses = [part.loss for part in parts if part.loss is not None]
    loss = 1 - math.prod(1 - one for one in losses) if len(losses) == len(parts) else None
    return rounded(Figures(latency_ms=sum(known_ms), loss=loss))


def _attachment(end: str, gateway: str, observed: Observed) -> Figures:
    """What an end measures of the way to its gateway; nothing is lost on it if it is the gateway itself."""
    beacon = observed.beacons.get(end)
    report = beacon.probes.get(gateway) if beacon else None
    loss = 0.0 if end == gateway else report.loss if report else None
    return Figures(latency_ms=attachment_rtt_ms(end, gateway, observed), loss=loss)


def why_text(links: Iterable[LinkId], forecasts: Forecasts) -> str:
    """Why the round trips of links are forecast as they are, in one line; links that have one reason share it."""
    rtt = forecasts.by_metric.get(Metric.RTT)
    if rtt is None:
        return ""
    alike: dict[str, list[str]] = {}
    for link in links:
        alike.setdefault(rtt.reason(link), []).append(f"{text([link.src])}->{text([link.dst])}")
    parts = [f"{', '.join(names)}: {reason}" for reason, names in alike.items()]
    told = "; ".join(parts)
    return told if len(told) <= LONGEST_WHY else f"{told[:LONGEST_WHY]}..."


def link_latency_ms(graph: MeshGraph, links: Iterable[LinkId]) -> float | None:
    """Predicted round trip along links, without the attachments at either end; None if one is unknown."""
    known = {link.id: link.rtt_ms for link in graph.links}
    parts = [known.get(link) for link in links]
    return sum(part.median for part in parts if part) if all(parts) else None
