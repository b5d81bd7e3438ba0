"""What is true of an Intent: who it is about, where traffic goes, whether the requirements hold on measured data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from foremesh.controller.conditions import find, merge, readiness, replaced, state
from foremesh.controller.verdicts.basic import names_known
from foremesh.controller.verdicts.figures import measured_placement, rounded, text
from foremesh.decide import Decision, Declared, Gateways, Observed, Problem, at_length, contenders, explanation
from foremesh.model.circuit import Circuit, Condition, Figures
from foremesh.model.explanation import Contender, Explanation
from foremesh.model.intent import Encryption, Intent, Requirements
from foremesh.model.plan import Placement
from foremesh.model.status import IntentStatus, PlacementStatus, RunnerUp

RUNNERS_UP_SHOWN = 3
"""Paths that were not chosen and are shown; more does not help a person."""

MOST_POLICIES, MOST_EFFECTS, MOST_LINKS = 10, 12, 12
"""Policies of an explanation in a status, what each does, and links of the path: more than anybody reads there."""

LONGEST_REASON = 300
"""Characters of one reason in a status; so much for all of them that the whole stays under 10 KiB a path."""

AWAY = "; the Kubernetes API did not answer from "
"""Begins what ``Ready`` says after an outage; it stays there until the condition has something else to say."""

UNKNOWN_MS = -1.0
"""Sorts a path of unknown latency before all others."""


def intent_status(
    intent: Intent,
    old: IntentStatus,
    decision: Decision,
    circuits: Mapping[str, Circuit],
    observed: Observed,
    *,
    now: str,
    declared: Declared | None = None,
    gateways: Gateways | None = None,
) -> IntentStatus:
    """The status of an Intent.

    ``path`` is where packets go. While a circuit is on its way to another path, that is still the old one, and so are
    the predictions shown.

    Args:
        circuits: Every circuit with the status it has now.
        declared: What the decision was made from, for explanations; without it there are none.
        gateways: What gateways are called, to point out what requirements name and nobody is.
    """
    generation = intent.meta.generation
    problem = decision.chosen.resolved[intent.id].problem
    placements = decision.chosen.by_intent.get(intent.id, ())
    placed = [one for one in placements if one.path is not None]
    conditions = [
        _resolved(intent, decision),
        _satisfied(intent.spec.requirements, placed, problem, decision, observed),
        _ready(intent, placements, problem, decision, circuits),
        *_preempted(placements),
        *names_known(gateways.unnamed_in_requirements(intent.spec.requirements) if gateways else ()),
    ]
    worst = max(placed, key=_predicted_ms, default=None)
    told = next((one for one in placements if one.infeasible is not None), worst)
    status = IntentStatus(
        observed_generation=generation,
        placements=tuple(_placement_status(one, decision, circuits, at_length=one is told) for one in placements),
        conditions=merge(old.conditions, conditions, generation=generation, now=now),
        explanation=_bounded(explanation(told, decision, declared)) if told and declared else old.explanation,
    )
    if worst is None or worst.path is None:
        return status
    path = _path_in_use(worst, decision, circuits)
    status = msgspec.structs.replace(
        status,
        path=path,
        destination=worst.destination or "",
        circuits=tuple(dict.fromkeys(one.circuit for one in status.placements if one.circuit)),
        observed=measured_placement(worst, decision, observed),
    )
    if path == old.path and (decision.chosen.problem or path != text(worst.path.gateways)):
        return msgspec.structs.replace(
            status,
            predicted=old.predicted,
            forecast_model=old.forecast_model,
            runners_up=old.runners_up,
            explanation=old.explanation,
        )
    return msgspec.structs.replace(
        status,
        predicted=rounded(worst.path.figures),
        forecast_model=", ".join(worst.path.forecast_models),
        runners_up=tuple(map(_runner_up, islice(contenders(worst), RUNNERS_UP_SHOWN))),
    )


def _runner_up(other: Contender) -> RunnerUp:
    return RunnerUp(
        path=other.path,
        destination=other.destination,
        predicted=other.predicted,
        extra_cost=other.extra_cost,
        lost=other.lost[:LONGEST_REASON],
    )


def _bounded(told: Explanation) -> Explanation:
    """As much of it as fits into a status, whatever a mesh looks like; the mesh API tells the rest."""
    return msgspec.structs.replace(
        told,
        assumed={term: text[:LONGEST_REASON] for term, text in told.assumed.items()},
        policies=tuple(
            msgspec.structs.replace(one, effects=tuple(text[:LONGEST_REASON] for text in one.effects[:MOST_EFFECTS]))
            for one in told.policies[:MOST_POLICIES]
        ),
        forecasts=tuple(
            msgspec.structs.replace(one, reason=one.reason[:LONGEST_REASON]) for one in told.forecasts[:MOST_LINKS]
        ),
    )


def told_at_length(status: IntentStatus, intent: str, decision: Decision) -> IntentStatus:
    """The same, where nothing fits, with the best that can be had of each requirement: searches that are made for a
    status that is written, and not for each that is looked at."""
    return msgspec.structs.replace(
        status,
        placements=tuple(
            one
            if one.infeasible is None or not one.infeasible.shortfalls
            else msgspec.structs.replace(one, infeasible=at_length(one.infeasible, intent, one.source, decision))
            for one in status.placements
        ),
    )


def store_is_away(old: IntentStatus, generation: int, message: str, now: str) -> IntentStatus:
    """An Intent while the mesh's etcd does not answer: what was set up stays, what is measured is not known."""
    away = state("Satisfied", None, "StoreUnavailable", f"{message}; traffic flows as it did")
    conditions = replaced(old.conditions, away, generation=generation, now=now)
    return msgspec.structs.replace(old, conditions=conditions)


def kubernetes_was_away(status: IntentStatus, since: str, until: str, now: str) -> IntentStatus:
    """An Intent after an outage of the API server, during which nothing could be written: ``Ready`` says so."""
    ready = find(status.conditions, "Ready")
    if ready is None:
        return status
    said = f"{ready.message.partition(AWAY)[0]}{AWAY}{since} to {until}, and nothing was changed meanwhile"
    new = msgspec.structs.replace(ready, message=said)
    conditions = replaced(status.conditions, new, generation=ready.observed_generation, now=now)
    return msgspec.structs.replace(status, conditions=conditions)


def _resolved(intent: Intent, decision: Decision) -> Condition:
    found = decision.chosen.resolved[intent.id]
    if found.problem is not None:
        return state("Resolved", False, found.problem.reason, found.problem.message)
    count = len(found.demands)
    message = f"{count} source{'s' if count > 1 else ''} matched, each with a destination to choose"
    if found.left_out:
        message += f"; left out: {'; '.join(found.left_out)}"
    return state("Resolved", True, "ResourcesMatched", message)


def _ready(
    intent: Intent,
    placements: Sequence[Placement],
    problem: Problem | None,
    decision: Decision,
    circuits: Mapping[str, Circuit],
) -> Condition:
    if problem is not None:
        return state("Ready", False, problem.reason, problem.message)
    for one in placements:
        whose = f"{one.source}: " if len(placements) > 1 else ""
        if one.infeasible is not None:
            kept = "no traffic is carried" if one.path is None else _kept(one, circuits.get(decision.circuit_of(one)))
            reason = "Denied" if one.infeasible.requirement == "policy" else "NoFeasiblePath"
            reason = "Preempted" if one.infeasible.preempted_by else reason
            return state("Ready", False, reason, f"{whose}{one.infeasible.message}; {kept}")
        unserved = decision.unserved.get((one.intent, one.source))
        if unserved is not None:
            return state("Ready", False, unserved.reason, f"{whose}{unserved.message}; no traffic is carried")
    if len(placements) < len(decision.chosen.resolved[intent.id].demands):
        why = decision.chosen.problem or "no plan has placed it yet"
        return state("Ready", None, "Pending", f"{why}; no traffic of it is carried before that is over")
    used = dict.fromkeys(circuit for one in placements if (circuit := decision.circuit_of(one)))
    for status in (False, None):
        for id_ in used:
            conditions = circuits[id_].status.conditions if id_ in circuits else ()
            if readiness(conditions) is status:
                ready = find(conditions, "Ready")
                why = ready.message if ready else "it has not been set up"
                return state("Ready", status, "CircuitNotReady", f"circuit {id_}: {why}")
    paths = ", ".join(dict.fromkeys(_path_in_use(one, decision, circuits) for one in placements))
    stronger = _stronger(intent, (circuits[id_] for id_ in used if id_ in circuits))
    return state("Ready", True, "Placed", f"traffic takes {paths}{stronger}")


def _preempted(placements: Sequence[Placement]) -> list[Condition]:
    """Who took the bandwidth, where somebody did; nothing where nobody has."""
    for one in placements:
        if one.infeasible is not None and one.infeasible.preempted_by:
            by = ", ".join(one.infeasible.preempted_by)
            message = f"{one.source}: {by} has the bandwidth now that carried it, by its higher priority"
            return [state("Preempted", True, "HigherPriority", f"{message}; {one.infeasible.message}")]
    return []


def _stronger(intent: Intent, circuits: Iterable[Circuit]) -> str:
    asked = intent.spec.requirements.encryption
    if asked is Encryption.HOP_BY_HOP and any(c.spec.encryption is Encryption.END_TO_END for c in circuits):
        return ", encrypted from end to end, as a MeshPolicy demands: more than was asked for"
    return ""


def _satisfied(
    required: Requirements,
    placed: Sequence[Placement],
    problem: Problem | None,
    decision: Decision,
    observed: Observed,
) -> Condition:
    if problem is not None:
        return state("Satisfied", None, "NotResolved", "its ends are not known or not reached, so nothing is measured")
    if decision.chosen.problem:
        message = f"{decision.chosen.problem}; paths stay as they are and traffic flows"
        return state("Satisfied", None, "TelemetryUnavailable", message)
    if not placed:
        return state("Satisfied", None, "NotPlaced", "no path carries it, so nothing is measured")
    measured = [(one, measured_placement(one, decision, observed)) for one in placed]
    for one, figures in measured:
        if breach := _breach(required, figures):
            return state("Satisfied", False, breach.reason, f"{one.source} to {one.destination}: {breach.message}")
    for one, figures in measured:
        if figures is None or (required.max_loss is not None and figures.loss is None):
            what = "measurement" if figures is None else "measurement of loss"
            message = f"{one.source} to {one.destination}: a part of the way has no {what} (any more)"
            return state("Satisfied", None, "NotMeasured", f"{message}; whether the requirements hold is unknown")
    return state("Satisfied", True, "RequirementsHold", "measurements meet the requirements on latency and loss")


def _breach(required: Requirements, measured: Figures | None) -> Problem | None:
    if measured is None:
        return None
    latency_ms, loss = measured.latency_ms, measured.loss
    if required.max_latency is not None and latency_ms is not None and latency_ms > required.max_latency:
        return Problem("LatencyTooHigh", f"measured {latency_ms:.1f} ms, at most {required.max_latency} is required")
    if required.max_loss is not None and loss is not None and loss > required.max_loss:
        return Problem("LossTooHigh", f"measured {loss:.2%} loss, at most {required.max_loss} is required")
    return None


def _kept(placement: Placement, circuit: Circuit | None) -> str:
    """What the least bad path means for traffic: it can be the one in use, and that can be dead, too."""
    if circuit is not None and placement.path is not None and placement.path.gateways != circuit.status.path:
        return f"traffic moves to the least bad path, {placement.path.text}"
    dead = circuit and any(c.type == "Forwarding" and c.status == "False" for c in circuit.status.conditions)
    return "the path in use is kept" + (", and nothing passes it: its probes are not answered" if dead else "")


def _path_in_use(placement: Placement, decision: Decision, circuits: Mapping[str, Circuit]) -> str:
    """The path that packets of a placement take, for people."""
    circuit = circuits.get(decision.circuit_of(placement))
    if circuit is not None:
        return text(circuit.status.path)
    return placement.path.text if placement.path else ""


def _placement_status(
    placement: Placement, decision: Decision, circuits: Mapping[str, Circuit], *, at_length: bool
) -> PlacementStatus:
    """One source; requirement by requirement only for the one that the status is about at length."""
    infeasible = placement.infeasible
    if infeasible is not None and not at_length:
        infeasible = msgspec.structs.replace(infeasible, shortfalls=())
    return PlacementStatus(
        source=placement.source,
        destination=placement.destination or "",
        circuit=decision.circuit_of(placement),
        path=_path_in_use(placement, decision, circuits),
        reason=placement.reason,
        infeasible=infeasible,
    )


def _predicted_ms(placement: Placement) -> float:
    latency_ms = placement.path.figures.latency_ms if placement.path else None
    return UNKNOWN_MS if latency_ms is None else latency_ms
