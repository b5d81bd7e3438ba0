"""From a graph and a plan to the picture that every format draws: both directions of a pair become one edge, placements
that share a circuit become one line. Pure; formats only write down what is decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from foremesh.decide import Decision, Declared
from foremesh.drawing.figures import short
from foremesh.drawing.values import (
    DrawnCircuit,
    DrawnEdge,
    DrawnGateway,
    DrawnWay,
    LinkFigures,
    LinkObserved,
    MeshPicture,
    Unplaced,
)
from foremesh.model.link import LinkId, MeshGraph, PredictedLink
from foremesh.model.plan import Path, Placement, Plan
from foremesh.model.resource import Resource
from foremesh.model.series import Metric, SeriesKey
from foremesh.telemetry.recorded import Samples


def picture_of(decision: Decision, declared: Declared, observed: LinkFigures | None = None) -> MeshPicture:
    """The picture of what was decided."""
    return picture(
        decision.chosen.graph,
        decision.chosen.plan,
        resources=declared.resources,
        observed=observed,
        carriers=decision.desired.carriers,
        problems={
            **{(id_, ""): one.problem.message for id_, one in decision.chosen.resolved.items() if one.problem},
            **{key: problem.message for key, problem in decision.unserved.items()},
        },
    )


def picture(
    graph: MeshGraph,
    plan: Plan,
    *,
    resources: Mapping[str, Resource] | None = None,
    observed: LinkFigures | None = None,
    carriers: Mapping[tuple[str, str], str] | None = None,
    problems: Mapping[tuple[str, str], str] | None = None,
) -> MeshPicture:
    """The picture of a plan.

    Args:
        resources: By id; gateways' coordinates come from them.
        observed: What was measured last, by link; none where nobody can have measured.
        carriers: Intent id and source to the circuit that carries the placement; without it placements are grouped by
            intent and path.
        problems: Intent id and source (empty: all of them) to why it is not served, beside what the plan says.
    """
    placements = sorted(plan.placements, key=lambda one: (one.intent, one.source))
    placed = [one for one in placements if one.path is not None]
    troubles = dict(problems or {})
    for one in placements:
        if one.path is None:
            said = one.infeasible.message if one.infeasible else one.reason
            troubles.setdefault((one.intent, one.source), said or "no path was found")
    served = [one for one in placed if (one.intent, one.source) not in troubles]
    return MeshPicture(
        gateways=_gateways(graph, resources or {}),
        edges=_edges(graph.links, observed or {}),
        circuits=_circuits([one for one in served if one.path and one.path.links], carriers or {}),
        local=tuple(sorted({one.intent for one in served if one.path and not one.path.links})),
        unplaced=tuple(Unplaced(intent, source, why) for (intent, source), why in sorted(troubles.items())),
    )


def newest(series: Mapping[Metric, Mapping[SeriesKey, Samples]]) -> dict[LinkId, LinkObserved]:
    """The newest known sample of every link's series; what no sample tells stays unknown."""
    found: dict[LinkId, dict[Metric, float]] = {}
    for metric, samples in series.items():
        for key, one in samples.items():
            known = one.values[np.isfinite(one.values)]
            if isinstance(key, LinkId) and len(known):
                found.setdefault(key, {})[metric] = float(known[-1])
    return {
        link: LinkObserved(values.get(Metric.RTT), values.get(Metric.LOSS), values.get(Metric.THROUGHPUT))
        for link, values in found.items()
    }


def _gateways(graph: MeshGraph, resources: Mapping[str, Resource]) -> tuple[DrawnGateway, ...]:
    used = Counter(short(node.id) for node in graph.nodes)
    drawn = []
    for node in sorted(graph.nodes, key=lambda one: one.id):
        resource = resources.get(node.id)
        where = resource.spec.location if resource else None
        drawn.append(
            DrawnGateway(
                node,
                short(node.id) if used[short(node.id)] == 1 else node.id,
                where.latitude if where else None,
                where.longitude if where else None,
            )
        )
    return tuple(drawn)


def _edges(links: Iterable[PredictedLink], observed: LinkFigures) -> tuple[DrawnEdge, ...]:
    ways = {link.id: DrawnWay(link, observed.get(link.id, LinkObserved()) if observed else None) for link in links}
    keys = {(min(one.src, one.dst), max(one.src, one.dst), one.underlay) for one in ways}
    return tuple(
        DrawnEdge(
            a,
            b,
            underlay,
            ways.get(LinkId(src=a, dst=b, underlay=underlay)),
            ways.get(LinkId(src=b, dst=a, underlay=underlay)),
        )
        for a, b, underlay in sorted(keys)
    )


def _circuits(placed: Iterable[Placement], carriers: Mapping[tuple[str, str], str]) -> tuple[DrawnCircuit, ...]:
    groups: dict[tuple[str, tuple[LinkId, ...]], list[tuple[Placement, Path]]] = {}
    for one in placed:
        if one.path is not None:
            carrier = carriers.get((one.intent, one.source)) or one.intent
            groups.setdefault((carrier, one.path.links), []).append((one, one.path))
    return tuple(
        DrawnCircuit(
            id=carrier,
            intents=tuple(sorted({one.intent for one, _ in group})),
            path=group[0][1],
            standby=next((one.standby for one, _ in group if one.standby), None),
            unmet="; ".join(sorted({one.infeasible.message for one, _ in group if one.infeasible})),
        )
        for (carrier, _), group in sorted(groups.items(), key=lambda one: (one[1][0][0].intent, one[0][0]))
    )
