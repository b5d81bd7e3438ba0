"""What is true of every object after a decision: statuses with their conditions. Pure.

Each message says state, cause and consequence, for somebody who reads it in ``kubectl describe``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from foremesh.controller.conditions import merge, state
from foremesh.decide import Decision, Observed, attachment_rtt_ms
from foremesh.model.circuit import Circuit, CircuitStatus, Condition, Figures, LabelState
from foremesh.model.intent import Intent, Requirements
from foremesh.model.mesh import Member, PlacedCircuit
from foremesh.model.plan import Path, Placement
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.model.status import IntentStatus, PlacementStatus, PolicyStatus, ResourceStatus, RunnerUp

RUNNERS_UP_SHOWN = 3
"""Paths that were not chosen and are shown; more does not help a person."""


def resource_status(
    resource: Resource, member: Member | None, old: ResourceStatus, observed: Observed, *, secret: str, now: str
) -> ResourceStatus:
    """The status of a MeshResource."""
    registered = member is not None and member.registration is not None
    present = member is not None and member.present
    ack = observed.acks.get(resource.id)
    conditions = [
        state("Registered", True, "AgentRegistered", "its agent has introduced itself and its keys are known")
        if registered
        else state(
            "Registered",
            False,
            "NoAgent",
            f"no agent has registered, so nothing is routed to or through it; use the token in Secret {secret}",
        ),
        state("Reachable", True, "Beaconing", "its agent's beacons arrive")
        if present
        else state("Reachable", False, "NoBeacon", "no beacon of its agent arrives; no path is planned through it"),
        state("Quarantined", False, "NotQuarantined", "nothing is held against it"),
    ]
    if not registered or not present:
        conditions.append(state("Ready", False, "NotReachable", "its agent is not there; see Registered and Reachable"))
    elif ack is not None and not ack.applied:
        conditions.append(
            state(
                "Ready",
                False,
                "ConfigRefused",
                f"its agent refused the newest config and keeps the one before: {ack.error}",
            )
        )
    elif member is not None and member.address is None:
        conditions.append(
            state(
                "Ready", False, "NotAttached", "it has no mesh address: no registered gateway shares its location.site"
            )
        )
    else:
        conditions.append(state("Ready", True, "Serving", "it takes part in the mesh"))
    prefix = ""
    if member is not None and member.is_gateway and member.address is not None:
        prefix = f"{member.address.rpartition('.')[0]}.0/24"
    return ResourceStatus(
        number=member.number if member else old.number,
        mesh_address=(member.address if member else None) or "",
        mesh_prefix=prefix,
        attached_to=member.gateways if member else (),
        agent_secret=secret,
        last_beacon_time=now if present else old.last_beacon_time,
        observed_generation=resource.meta.generation,
        conditions=merge(old.conditions, conditions, generation=resource.meta.generation, now=now),
    )


def circuit_status(
    circuit_id: str,
    placed: PlacedCircuit,
    old: Circuit | None,
    decision: Decision,
    observed: Observed,
    *,
    now: str,
) -> CircuitStatus:
    """The status of a Circuit: the record of what is allocated to it, and how it does."""
    before = old.status if old else CircuitStatus()
    active = next((label for label in placed.labels if label.state is LabelState.ACTIVE), None)
    newest = active or next((label for label in placed.labels if label.state is LabelState.STAGING), None)
    path = newest.path if newest else ()
    predicted = _predicted(decision, circuit_id)
    moved = bool(before.path) and bool(path) and path != before.path and active is not None
    conditions = [
        state("Planned", True, "PathChosen", f"it runs {_text(path)}")
        if path
        else state("Planned", False, "NoPath", "no path is chosen for it; nothing is sent through it"),
        state("Programmed", True, "AllHopsAcknowledged", "every gateway of the path has applied it")
        if active
        else state(
            "Programmed",
            False,
            "WaitingForHops",
            f"{_waiting(newest.path if newest else (), observed, newest.epoch if newest else 0)} not acknowledged yet; "
            "traffic is not sent on the new path before that",
        ),
        _forwarding(circuit_id, placed, observed),
    ]
    ready = all(condition.status == "True" for condition in conditions)
    blocker = next((condition for condition in conditions if condition.status != "True"), None)
    conditions.append(
        state("Ready", True, "Forwarding", "packets pass end to end")
        if ready
        else state("Ready", False if blocker and blocker.status == "False" else None, blocker.reason, blocker.message)
        if blocker
        else state("Ready", None, "Pending", "")
    )
    generation = old.meta.generation if old else 1
    return CircuitStatus(
        number=placed.number,
        class_number=placed.class_number,
        path=path if active or not before.path else before.path,
        path_text=_text(path if active or not before.path else before.path),
        labels=placed.labels,
        predicted=_shown(predicted.figures) if predicted else before.predicted,
        observed=observed_figures(circuit_id, placed, observed),
        forecast_model=", ".join(dict.fromkeys(predicted.forecast_models)) if predicted else before.forecast_model,
        intents=decision.served.get(circuit_id, ()),
        moves=before.moves + moved,
        observed_generation=generation,
        conditions=merge(before.conditions, conditions, generation=generation, now=now),
    )


def observed_figures(circuit_id: str, placed: PlacedCircuit, observed: Observed) -> Figures | None:
    """What the circuit's own end-to-end probes measured, seen from its ``from`` end; None if nothing was."""
    beacon = observed.beacons.get(placed.spec.from_)
    report = beacon.probes.get(circuit_id) if beacon else None
    if report is None or report.rtt_ms is None:
        return None
    return Figures(latency_ms=round(report.rtt_ms, 3), loss=report.loss)


def _forwarding(circuit_id: str, placed: PlacedCircuit, observed: Observed) -> Condition:
    beacon = observed.beacons.get(placed.spec.from_)
    report = beacon.probes.get(circuit_id) if beacon else None
    if report is None:
        return state(
            "Forwarding", None, "NotProbed", "no end-to-end probe has reported yet; whether packets pass is unknown"
        )
    if not report.answering:
        return state("Forwarding", False, "NoAnswer", "end-to-end probes are not answered; traffic in it is lost")
    if report.mtu_fits is False:
        return state(
            "Forwarding", False, "MTUTooSmall", "full-size probes are lost: the path carries less than its MTU says"
        )
    return state("Forwarding", True, "ProbesAnswered", "end-to-end probes are answered")


def intent_status(
    intent: Intent,
    old: IntentStatus,
    decision: Decision,
    ready_circuits: frozenset[str],
    observed: Observed,
    *,
    now: str,
) -> IntentStatus:
    """The status of an Intent: who it resolved to, where it was placed, and whether it holds on measured data."""
    resolution = decision.chosen.resolved[intent.id]
    placements = [placement for placement in decision.chosen.plan.placements if placement.intent == intent.id]
    generation = intent.meta.generation
    if resolution.problem is not None:
        conditions = [
            state("Resolved", False, resolution.problem.reason, resolution.problem.message),
            state("Satisfied", None, "NotResolved", "nobody to talk to is known, so nothing is measured"),
            state("Ready", False, resolution.problem.reason, resolution.problem.message),
        ]
        return IntentStatus(
            observed_generation=generation, conditions=merge(old.conditions, conditions, generation=generation, now=now)
        )
    shown = [_placement_status(placement, decision) for placement in placements]
    placed = [placement for placement in placements if placement.path is not None]
    failed = next((placement for placement in placements if placement.infeasible is not None), None)
    worst = max(placed, key=lambda placement: _latency(placement.path), default=None)
    circuits = tuple(dict.fromkeys(status.circuit for status in shown if status.circuit))
    measured = _end_to_end(worst, decision, observed) if worst else None
    conditions = [
        state(
            "Resolved",
            True,
            "ResourcesMatched",
            f"{len(placements)} source(s) matched, each with a destination to choose",
        ),
        _satisfied(intent.spec.requirements, measured, decision, bool(placed)),
    ]
    waiting = [circuit for circuit in circuits if circuit not in ready_circuits]
    if failed is not None and failed.infeasible is not None:
        kept = "; the path in use is kept" if failed.path is not None else "; no traffic is carried"
        reason = "Denied" if failed.infeasible.requirement == "policy" else "NoFeasiblePath"
        conditions.append(state("Ready", False, reason, failed.infeasible.message + kept))
    elif not placed:
        conditions.append(
            state(
                "Ready",
                None,
                "Pending",
                decision.chosen.forecasts.problem or "no plan has placed it yet; no traffic is carried",
            )
        )
    elif lacking := next(filter(None, map(decision.unserved, placed)), ""):
        conditions.append(state("Ready", False, "NotServed", f"{lacking}; no traffic is carried"))
    elif waiting:
        conditions.append(
            state("Ready", False, "CircuitNotReady", f"circuit {waiting[0]} is not ready; see its conditions")
        )
    else:
        conditions.append(
            state("Ready", True, "Placed", f"traffic takes {worst.path.text}" if worst and worst.path else "")
        )
    return IntentStatus(
        path=worst.path.text if worst and worst.path else "",
        destination=(worst.destination if worst else None) or "",
        circuits=circuits,
        placements=tuple(shown),
        predicted=_shown(worst.path.figures) if worst and worst.path else None,
        observed=measured,
        forecast_model=", ".join(dict.fromkeys(worst.path.forecast_models)) if worst and worst.path else "",
        runners_up=tuple(
            RunnerUp(path=path.text, predicted=_shown(path.figures))
            for path in (worst.runners_up if worst else ())[:RUNNERS_UP_SHOWN]
        ),
        observed_generation=generation,
        conditions=merge(old.conditions, conditions, generation=generation, now=now),
    )


def policy_status(policy: Policy, old: PolicyStatus, matched: int, *, now: str) -> PolicyStatus:
    """The status of a MeshPolicy."""
    generation = policy.meta.generation
    conditions = [state("Ready", True, "InForce", "every plan follows it")]
    return PolicyStatus(
        matched_intents=matched,
        observed_generation=generation,
        conditions=merge(old.conditions, conditions, generation=generation, now=now),
    )


def first_sight(generation: int, now: str) -> tuple[Condition, ...]:
    """What an object says before anything was decided about it."""
    new = [state("Ready", None, "Pending", "it has been seen and is waiting for the next plan")]
    return merge((), new, generation=generation, now=now)


def _satisfied(required: Requirements, measured: Figures | None, decision: Decision, placed: bool) -> Condition:
    if decision.chosen.forecasts.problem:
        return state(
            "Satisfied",
            None,
            "TelemetryUnavailable",
            f"{decision.chosen.forecasts.problem}; paths stay as they are and traffic flows",
        )
    if not placed:
        return state("Satisfied", None, "NotPlaced", "no path carries it, so nothing is measured")
    if measured is None or measured.latency_ms is None:
        return state("Satisfied", None, "NotMeasured", "no end-to-end measurement has arrived yet")
    if required.max_latency is not None and measured.latency_ms > required.max_latency:
        return state(
            "Satisfied",
            False,
            "LatencyTooHigh",
            f"measured {measured.latency_ms:.1f} ms, {required.max_latency} required",
        )
    if required.max_loss is not None and measured.loss is not None and measured.loss > required.max_loss:
        return state(
            "Satisfied", False, "LossTooHigh", f"measured {measured.loss:.2%} loss, {required.max_loss} required"
        )
    return state("Satisfied", True, "RequirementsHold", "measurements meet the requirements on latency and loss")


def _end_to_end(placement: Placement, decision: Decision, observed: Observed) -> Figures | None:
    """Circuit probe plus the measured ways from both workloads to their gateways; None if the circuit has none."""
    assert placement.path is not None
    extra = attachment_rtt_ms(placement.source, placement.path.gateways[0], observed) or 0.0
    extra += attachment_rtt_ms(placement.destination or "", placement.path.gateways[-1], observed) or 0.0
    if len(placement.path.gateways) == 1:
        return Figures(latency_ms=round(extra, 3)) if extra else None
    circuit = decision.circuit_of(placement)
    placed = next((one for one in decision.state.circuits if one.id == circuit), None)
    figures = observed_figures(circuit, placed, observed) if placed else None
    if figures is None or figures.latency_ms is None:
        return None
    return Figures(latency_ms=round(figures.latency_ms + extra, 3), loss=figures.loss)


def _placement_status(placement: Placement, decision: Decision) -> PlacementStatus:
    return PlacementStatus(
        source=placement.source,
        destination=placement.destination or "",
        circuit=decision.circuit_of(placement),
        path=placement.path.text if placement.path else "",
        reason=placement.reason,
        infeasible=placement.infeasible,
    )


def _predicted(decision: Decision, circuit_id: str) -> Path | None:
    for placement in decision.chosen.plan.placements:
        if decision.circuit_of(placement) == circuit_id:
            return placement.path
    return None


def _shown(figures: Figures) -> Figures:
    """Figures for people: to a microsecond and a thousandth of a percent, which is finer than anything is measured."""
    numbers = msgspec.structs.asdict(figures).items()
    return Figures(**{name: round(n, DECIMALS.get(name, 6)) if isinstance(n, float) else n for name, n in numbers})


DECIMALS = {"latency_ms": 3, "latency_p90_ms": 3, "loss": 5, "bandwidth_bps": 0}
"""Decimals kept of a figure; six of those that are not named."""


def _latency(path: Path | None) -> float:
    return path.figures.latency_ms if path and path.figures.latency_ms is not None else -1.0


def _waiting(path: Iterable[str], observed: Observed, epoch: int) -> str:
    def behind(gateway: str) -> bool:
        ack = observed.acks.get(gateway)
        return ack is None or not ack.applied or ack.epoch < epoch

    return ", ".join(gateway for gateway in path if behind(gateway)) or "its gateways have"


def _text(path: tuple[str, ...]) -> str:
    return " > ".join(gateway.rpartition("/")[2] for gateway in path)


def refused(generation: int, message: str, now: str) -> tuple[Condition, ...]:
    """What an object says that this version cannot read."""
    return merge((), [state("Ready", False, "Invalid", message)], generation=generation, now=now)


def unwanted_circuit(circuit: Circuit, now: str) -> CircuitStatus:
    """A Circuit that somebody made by hand, and that no Intent asks for."""
    generation = circuit.meta.generation
    message = "no Intent asks for it, so nothing is set up; circuits are made from Intents"
    conditions = [state("Planned", False, "NoIntent", message), state("Ready", False, "NoIntent", message)]
    return CircuitStatus(
        observed_generation=generation,
        conditions=merge(circuit.status.conditions, conditions, generation=generation, now=now),
    )


def store_away(old: IntentStatus, message: str, now: str) -> IntentStatus:
    """An Intent while the mesh's etcd does not answer: what was set up stays, what is measured is not known."""
    away = state("Satisfied", None, "StoreUnavailable", message)
    others = [condition for condition in old.conditions if condition.type != "Satisfied"]
    conditions = merge(old.conditions, [*others, away], generation=old.observed_generation, now=now)
    return msgspec.structs.replace(old, conditions=conditions)


def events(old: IntentStatus, new: IntentStatus) -> list[tuple[str, str, str]]:
    """Type, reason and message of each decision that people should hear of."""
    told = []
    if new.path and new.path != old.path:
        what = "PathChanged" if old.path else "PathChosen"
        reason = new.placements[0].reason if new.placements else ""
        told.append(("Normal", what, f"{new.path}; {reason}" if reason else new.path))
    before, after = _find(old.conditions, "Ready"), _find(new.conditions, "Ready")
    if after is not None and after.status == "False" and (before is None or before.reason != after.reason):
        told.append(("Warning", after.reason, after.message))
    was, is_ = _find(old.conditions, "Satisfied"), _find(new.conditions, "Satisfied")
    if is_ is not None and is_.status == "False" and (was is None or was.status != "False"):
        told.append(("Warning", is_.reason, is_.message))
    return told


def is_ready(conditions: Iterable[Condition]) -> bool:
    return ready_status(conditions) == "True"


def ready_status(conditions: Iterable[Condition]) -> str:
    """``True``, ``False`` or ``Unknown``."""
    ready = _find(conditions, "Ready")
    return ready.status if ready else "Unknown"


def _find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def differs(old: Any, new: Any) -> bool:
    """Whether a status is worth writing: anything but figures changed, or a figure by a quarter of what is written."""
    return _without_figures(old) != _without_figures(new) or any(
        _far(getattr(old, name, None), getattr(new, name, None)) for name in ("predicted", "observed")
    )


def _without_figures(status: Any) -> Any:
    fields: dict[str, Any] = {}
    if isinstance(status, IntentStatus):
        fields = {
            "runners_up": (),
            "placements": tuple((p.source, p.destination, p.circuit, p.path) for p in status.placements),
        }
    if isinstance(status, ResourceStatus):
        fields = {"last_beacon_time": ""}
    if hasattr(status, "predicted"):
        fields |= {"predicted": None, "observed": None}
    conditions = tuple((c.type, c.status, c.reason, c.observed_generation) for c in status.conditions)
    return {**msgspec.structs.asdict(status), **fields, "conditions": conditions}


def _far(old: Figures | None, new: Figures | None) -> bool:
    if old is None or new is None or old.latency_ms is None or new.latency_ms is None:
        return (old is None) != (new is None)
    return abs(new.latency_ms - old.latency_ms) > 0.25 * max(old.latency_ms, 1.0)
