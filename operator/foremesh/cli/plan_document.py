"""A plan as plain data, the one value that every format shows: JSON, YAML, the table, the difference.

Keys are camelCase as in the CRDs, and where a CRD has a field for it, it has the same name here. Null is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec

from foremesh.cli.plan_notes import Document, notes, unknown
from foremesh.controller import manifests
from foremesh.controller.verdicts import shadow_text
from foremesh.decide import Decision, Forecasts, at_length
from foremesh.decide.explained import MOST_SEARCHED
from foremesh.decide.usage import pairs, total
from foremesh.files import Bundle
from foremesh.model.circuit import Figures
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent, Requirements
from foremesh.model.link import LinkId, PredictedLink
from foremesh.model.manifest import write
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.plan import Path, Placement, way_text
from foremesh.model.policy import Policy
from foremesh.model.series import Flow, Metric, SeriesKey
from foremesh.routing import Candidate, Demand
from foremesh.routing.policy import matches

DECIMALS = {"latencyMs": 3, "latencyP90Ms": 3, "loss": 6, "bandwidthBps": 0, "egressPrice": 6, "cost": 6}
"""Decimals that mean something, as in statuses: a microsecond, a packet in a million, a bit."""

FIGURES = tuple((field.name, field.encode_name) for field in msgspec.structs.fields(Figures))
"""Field and name in a document of every figure; asked for once, since msgspec works it out anew each time."""

LEAST_TERM = 0.5e-6
"""Cost below which a difference in a term is rounded away."""

PLACED, UNMET, NOT_PLACED = "Placed", "Unmet", "NotPlaced"
"""A path meets the requirements; traffic stays on one that does not; no traffic is carried."""


@dataclass(frozen=True)
class Planned:
    """A plan with what it rests on."""

    bundle: Bundle
    forecasts: Forecasts
    decision: Decision
    apart: frozenset[tuple[str, str]] = frozenset()
    """Further gateways between which underlays are told apart, as they are in a plan that this is compared with."""

    @cached_property
    def parallel(self) -> frozenset[tuple[str, str]]:
        """Gateways that more than one underlay joins."""
        counts = Counter((link.id.src, link.id.dst) for link in self.decision.chosen.graph.links)
        return self.apart | {ends for ends, count in counts.items() if count > 1}

    def way(self, path: Path) -> Document:
        """A path with its figures; and over which underlays, where it could be others."""
        there = [link.underlay for link in path.links]
        told = [link.underlay if (link.src, link.dst) in self.parallel else "" for link in path.links]
        return {
            "path": list(path.gateways),
            **({"underlays": there} if any(told) else {}),
            "pathText": way_text(path.gateways, told),
            "predicted": figures(path.figures),
        }

    @cached_property
    def searched(self) -> frozenset[tuple[str, str]]:
        """Intents and sources for which it is worked out how near the network comes to each requirement."""
        nowhere = [(one.intent, one.source) for one in self.decision.chosen.plan.placements if one.infeasible]
        return frozenset(nowhere[:MOST_SEARCHED])

    @cached_property
    def circuits(self) -> dict[str, PlacedCircuit]:
        return {circuit.id: circuit for circuit in self.decision.state.circuits}

    @cached_property
    def served(self) -> Mapping[str, tuple[str, ...]]:
        """Circuit id to the ids of the intents it carries."""
        return self.decision.served

    @cached_property
    def carried(self) -> dict[str, Placement]:
        """Circuit id to a placement that it carries; they all have one path."""
        placements = self.decision.chosen.plan.placements
        return {id_: one for one in reversed(placements) if one.path and (id_ := self.decision.circuit_of(one))}

    @cached_property
    def links(self) -> dict[LinkId, PredictedLink]:
        return {link.id: link for link in self.decision.chosen.graph.links}


def standby_of(placement: Placement) -> Path | None:
    return getattr(placement, "standby", None)


def document(planned: Planned, *, applied: bool = True) -> Document:
    """Everything the operator would do, in a fixed order: equal plans give equal documents.

    Args:
        applied: With configs and objects as they would be applied; without, only their number is known.
    """
    decision = planned.decision
    placements = _placements(planned)
    states = [one["state"] for one in placements]
    return {
        "mesh": _mesh(planned),
        "placements": placements,
        "circuits": [_circuit(planned, circuit) for circuit in decision.state.circuits],
        **_usage(planned),
        "policies": [_policy(planned, policy) for _, policy in sorted(planned.bundle.declared.policies.items())],
        "unknown": unknown(planned),
        "notes": list(notes(planned)),
        "configs": {id_: write(decision.configs[id_]) for id_ in sorted(decision.configs)} if applied else {},
        "objects": [*_circuit_manifests(planned), *(one.manifest for one in decision.pinned)] if applied else [],
        "totals": {
            "placed": states.count(PLACED),
            "unmet": states.count(UNMET),
            "notPlaced": states.count(NOT_PLACED),
            "circuits": len(decision.state.circuits),
            "configs": len(decision.configs),
            "objects": len(decision.state.circuits) + len(decision.pinned),
        },
    }


def _mesh(planned: Planned) -> Document:
    declared = planned.bundle.declared
    gateways = sum(resource.is_gateway for resource in declared.resources.values())
    now_s = planned.bundle.now_s
    return {
        "gateways": gateways,
        "workloads": len(declared.resources) - gateways,
        "intents": len(declared.intents),
        "policies": len(declared.policies),
        "links": len(planned.decision.chosen.graph.links),
        "figures": "history" if now_s else "links" if planned.bundle.measured else None,
        "newestSample": datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if now_s else None,
    }


def _policy(planned: Planned, policy: Policy) -> Document:
    """How far a policy reaches; of one in shadow, also what it would change."""
    chosen = planned.decision.chosen
    found = {"policy": policy.id, "matchedIntents": chosen.matched[policy.id], "spec": write(policy.spec)}
    shadow = chosen.shadows.get(policy.id)
    return found if shadow is None else {**found, "shadow": {"summary": shadow_text(shadow), **write(shadow)}}


def _placements(planned: Planned) -> list[Document]:
    """One for each intent and source, sorted; one for an intent that nobody or nothing matches."""
    decision = planned.decision
    found = []
    for id_, intent in planned.bundle.declared.intents.items():
        problem = decision.chosen.resolved[id_].problem
        if problem is not None:
            found.append(_nowhere(intent, problem.reason, problem.message))
    found += [_placement(planned, placement) for placement in decision.chosen.plan.placements]
    return sorted(found, key=lambda one: (one["intent"], one["source"] or ""))


def _nowhere(intent: Intent, reason: str, message: str) -> Document:
    return {
        "intent": intent.id,
        "source": None,
        "state": NOT_PLACED,
        "profile": str(intent.spec.profile),
        "requirements": _requirements(intent.spec.requirements),
        "problem": {"reason": reason, "message": message},
    }


def _placement(planned: Planned, placement: Placement) -> Document:
    decision, declared = planned.decision, planned.bundle.declared
    intent = declared.intents[placement.intent]
    demand = _demand(planned, placement)
    found: Document = {
        "intent": placement.intent,
        "source": placement.source,
        "state": NOT_PLACED,
        "profile": str(intent.spec.profile),
        "requirements": _requirements(intent.spec.requirements),
        **_policies(planned, demand, placement.destination),
    }
    unserved = decision.unserved.get((placement.intent, placement.source))
    if unserved is not None:
        return {**found, "problem": {"reason": unserved.reason, "message": unserved.message}}
    if placement.infeasible is not None:
        infeasible = placement.infeasible
        if (placement.intent, placement.source) in planned.searched:
            infeasible = at_length(infeasible, placement.intent, placement.source, decision)
        found["infeasible"] = msgspec.to_builtins(infeasible)
    if placement.path is None:
        return found
    path, circuit = placement.path, planned.circuits.get(decision.circuit_of(placement))
    return {
        **found,
        "state": UNMET if placement.infeasible else PLACED,
        "destination": placement.destination,
        "circuit": circuit.id if circuit else None,
        "class": circuit.spec.class_ if circuit else None,
        **planned.way(path),
        "standby": planned.way(standby) if (standby := standby_of(placement)) else None,
        "forecastModel": ", ".join(path.forecast_models),
        "forecastReasons": _reasons(planned, path),
        "kept": placement.kept,
        "reason": placement.reason,
        "explanation": _explanation(intent, placement),
        "costTerms": _terms(path.terms),
        "runnersUp": [
            _runner_up(planned, one, to, path)
            for one, to in zip(placement.runners_up, placement.runners_up_to, strict=True)
        ],
    }


def _reasons(planned: Planned, path: Path) -> dict[str, str]:
    """Why the round trip of each link is forecast as it is; of those that are known."""
    rtt = planned.forecasts.by_metric.get(Metric.RTT)
    return {str(link): rtt.reason(link) for link in path.links if rtt and link in rtt}


def _usage(planned: Planned) -> Document:
    """What people are going to use, where their circuits were measured."""
    demand = planned.forecasts.by_metric.get(Metric.DEMAND)
    if demand is None:
        return {}
    by_circuit = [_demanded(demand, key, circuit=key.circuit) for key in demand.keys if isinstance(key, Flow)]
    between, mesh = pairs(demand), total(demand)
    return {
        "demand": {
            "circuits": [one for one in by_circuit if one["circuit"]],
            "pairs": [_demanded(between, key) for key in between.keys if isinstance(key, Flow)],
            "mesh": _rates(mesh, "") if mesh.keys else None,
        }
    }


def _demanded(demand: Forecast, flow: Flow, **more: str) -> Document:
    why = {"forecastModel": demand.model(flow), "forecastReason": demand.reason(flow)}
    return {"from": flow.src, "to": flow.dst, **more, **_rates(demand, flow), **why}


def _rates(demand: Forecast, key: SeriesKey) -> Document:
    figure = demand.figure(key)
    return {
        "bandwidthBps": None if figure is None else round(figure.median),
        "bandwidthP90Bps": None if figure is None else round(figure.pessimistic),
    }


def _explanation(intent: Intent, placement: Placement) -> str:
    """Why this path and no other, beyond what the reason says."""
    assert placement.path is not None
    cost = placement.path.figures.cost or 0.0
    needs = requirements_text(_requirements(intent.spec.requirements))
    if placement.infeasible is not None:
        return f"it does not meet {needs}; nothing does"
    chosen_freely = all((one.figures.cost or 0.0) >= cost for one in placement.runners_up)
    which = "cheapest path" if chosen_freely and not placement.kept else "path"
    known = placement.path.figures
    blind = None in (known.latency_ms, known.loss, known.bandwidth_bps, known.egress_price) and known.hops
    price = f"cost {cost:.3f}{', the unknown taken for as bad as the worst known' if blind else ''}"
    return f"{which} that meets {needs} ({price})" if needs else f"{which} ({price})"


def requirements_text(asked: Mapping[str, Any]) -> str:
    """Requirements in one line, as they stand in the manifest: ``maxLatency 40ms, avoid providers cloud-b``."""
    parts = []
    for name, value in asked.items():
        if isinstance(value, Mapping):
            parts += [f"{name} {kind} {', '.join(entries)}" for kind, entries in value.items()]
        else:
            parts.append(f"{name} {', '.join(value) if isinstance(value, list | tuple) else value}")
    return ", ".join(parts)


def _demand(planned: Planned, placement: Placement) -> Demand:
    demands = planned.decision.chosen.resolved[placement.intent].demands
    return next(one for one in demands if one.source.id == placement.source)


def _policies(planned: Planned, demand: Demand, destination: str | None) -> Document:
    """MeshPolicies that are about a demand and where it goes to; about any of its candidates, if nowhere. Those in
    shadow, which nothing follows, by themselves."""

    def about(candidate: Candidate) -> bool:
        return destination is None or candidate.resource.id == destination

    found = [
        policy
        for _, policy in sorted(planned.bundle.declared.policies.items())
        if any(
            matches(
                policy.spec.match,
                demand.intent,
                (demand.source, demand.source_addresses),
                (candidate.resource, candidate.addresses),
            )
            for candidate in demand.candidates
            if about(candidate)
        )
    ]
    shadows = [policy.id for policy in found if not policy.in_force]
    followed: Document = {"policies": [policy.id for policy in found if policy.in_force]}
    return {**followed, "shadowPolicies": shadows} if shadows else followed


def _runner_up(planned: Planned, path: Path, to: str, chosen: Path) -> Document:
    """A path that was not chosen; where it leads, if that is not where the chosen one does."""
    extra = (path.figures.cost or 0.0) - (chosen.figures.cost or 0.0)
    return {
        **({"destination": to} if to else {}),
        **planned.way(path),
        "extraCost": round(extra, DECIMALS["cost"]),
        "extraTerms": _terms({name: value - chosen.terms.get(name, 0.0) for name, value in path.terms.items()}),
    }


def _terms(terms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DECIMALS["cost"]) for name, value in terms.items() if abs(value) >= LEAST_TERM}


def figures(known: Figures) -> dict[str, float | int | None]:
    """Every figure, rounded to what can be measured; null where it is unknown."""
    found: dict[str, float | int | None] = {}
    for field, name in FIGURES:
        value, decimals = getattr(known, field), DECIMALS.get(name)
        rounded = value if value is None or decimals is None else round(value, decimals)
        found[name] = int(rounded) if decimals == 0 and rounded is not None else rounded
    return found


def _requirements(asked: Requirements) -> Document:
    found: Document = write(asked)
    return found


def _circuit(planned: Planned, circuit: PlacedCircuit) -> Document:
    found = {
        "circuit": circuit.id,
        "from": circuit.spec.from_,
        "to": circuit.spec.to,
        "class": circuit.spec.class_,
        "intents": list(planned.served.get(circuit.id, ())),
    }
    placement = planned.carried.get(circuit.id)
    if placement is None or placement.path is None:
        return found
    standby = standby_of(placement)
    return {
        **found,
        **planned.way(_between_gateways(placement.path, planned)),
        "standby": planned.way(_between_gateways(standby, planned)) if standby else None,
        "forecastModel": ", ".join(placement.path.forecast_models),
    }


def _between_gateways(path: Path, planned: Planned) -> Path:
    """A path with the latency of its links alone: a circuit joins gateways, whoever is attached to them."""
    rtts = [planned.links[link].rtt_ms for link in path.links if link in planned.links]
    known = [rtt for rtt in rtts if rtt is not None]
    complete = len(known) == len(path.links)
    between = msgspec.structs.replace(
        path.figures,
        latency_ms=math.fsum(rtt.median for rtt in known) if complete else None,
        latency_p90_ms=math.fsum(rtt.pessimistic for rtt in known) if complete else None,
        cost=None,
    )
    return msgspec.structs.replace(path, figures=between)


def _circuit_manifests(planned: Planned) -> Iterable[Document]:
    for circuit in planned.decision.state.circuits:
        manifest = manifests.circuit(circuit, [])
        # Kubernetes collects a Circuit with the Intents that own it; their uids are the API server's to give.
        del manifest["metadata"]["ownerReferences"]
        yield manifest
