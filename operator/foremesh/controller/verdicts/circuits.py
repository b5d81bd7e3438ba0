"""What is true of a Circuit: whether it has a path, whether the gateways have set it up, whether packets pass."""

from __future__ import annotations

from datetime import datetime

import msgspec

from foremesh.controller.conditions import as_bool, merge, state
from foremesh.controller.verdicts.figures import link_latency_ms, measured_circuit, rounded, text, why_text
from foremesh.controller.verdicts.keys import keys_current
from foremesh.controller.verdicts.protection import protected
from foremesh.decide import Decision, Observed
from foremesh.model.circuit import Circuit, CircuitStatus, Condition, Figures, LabelAllocation, LabelState
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.plan import Path, way_text
from foremesh.network.mtu import links_of
from foremesh.network.programmed import Applied, unheard_by
from foremesh.routing.demand import alike, runs_on, underlays_in_use


def circuit_status(
    circuit: PlacedCircuit, old: Circuit, decision: Decision, observed: Observed, *, now: str
) -> CircuitStatus:
    """The status of a Circuit: the record of what is allocated to it, and how it does.

    ``path`` is where packets go: that of the active label, or before there is one the path being set up. Predictions
    are about that path; those of another one that is only planned wait until packets take it.
    """
    before = old.status
    active, standby = _label(circuit, LabelState.ACTIVE), _label(circuit, LabelState.STANDBY)
    chosen, fallback = _chosen(decision, circuit.id)
    staging, next_standby = _staging(circuit, fallback)
    served = decision.served.get(circuit.id, ())
    path = active.path if active else before.path or (staging.path if staging else ())
    predicted, models, why = before.predicted, before.forecast_model, before.forecast_reason
    if chosen is not None and _runs(chosen, path, active) and not decision.chosen.problem:
        predicted, models = _predicted(chosen, decision), ", ".join(chosen.forecast_models)
        why = why_text(chosen.links, decision.chosen.forecasts)
    conditions = [
        _planned(active, staging, bool(served), _waits_for_hellos(circuit, staging, observed)),
        _programmed(active, staging, observed),
        _forwarding(circuit, active, observed),
    ]
    conditions.append(_ready(conditions))
    conditions.append(protected(circuit, active, standby, next_standby, observed, decision.state.members))
    conditions += keys_current(circuit, decision.state)
    generation = old.meta.generation
    moved = active is not None and bool(before.path) and not runs_on(old, active.path, active.underlays)
    return CircuitStatus(
        number=circuit.number,
        class_number=circuit.class_number,
        tunnels=circuit.tunnels,
        path=path,
        path_text=text(path),
        standby_path=standby.path if standby else (),
        standby_path_text=text(standby.path) if standby else "",
        labels=circuit.labels,
        predicted=predicted,
        observed=measured_circuit(circuit, observed) if active else None,
        forecast_model=models,
        forecast_reason=why,
        intents=served,
        moves=before.moves + (moved and not circuit.failed_over),
        moved_at=datetime.fromisoformat(now) if moved else before.moved_at,
        moved_from=before.path if moved else before.moved_from,
        moved_from_underlays=underlays_in_use(old) if moved else before.moved_from_underlays,
        failovers=before.failovers + circuit.failed_over,
        observed_generation=generation,
        conditions=merge(before.conditions, conditions, generation=generation, now=now),
    )


def _runs(chosen: Path, path: tuple[str, ...], active: LabelAllocation | None) -> bool:
    """Whether packets take the path that the plan has, and not one over a parallel underlay."""
    there = active.underlays if active else ()
    return chosen.gateways == path and alike(there, [link.underlay for link in chosen.links])


def _label(circuit: PlacedCircuit, wanted: LabelState) -> LabelAllocation | None:
    return next((label for label in circuit.labels if label.state is wanted), None)


def _staging(circuit: PlacedCircuit, fallback: Path | None) -> tuple[LabelAllocation | None, LabelAllocation | None]:
    """The labels being set up: the next active one, and the next standby."""
    staging = [label for label in circuit.labels if label.state is LabelState.STAGING]

    def is_standby(label: LabelAllocation) -> bool:
        return fallback is not None and (label.path, links_of(label)) == (fallback.gateways, fallback.links)

    return (
        next((label for label in staging if not is_standby(label)), None),
        next((label for label in staging if is_standby(label)), None),
    )


def _chosen(decision: Decision, circuit_id: str) -> tuple[Path | None, Path | None]:
    """The path that the plan has for a circuit, and the one to fall over to."""
    desired = next((one for one in decision.desired.circuits if one.id == circuit_id), None)
    return (desired.path, desired.standby) if desired else (None, None)


def _predicted(path: Path, decision: Decision) -> Figures:
    """A circuit joins gateways; the plan's figures include the ways from the workloads to them."""
    latency_ms = link_latency_ms(decision.chosen.graph, path.links)
    return rounded(msgspec.structs.replace(path.figures, latency_ms=latency_ms, latency_p90_ms=None))


def _waits_for_hellos(circuit: PlacedCircuit, staging: LabelAllocation | None, observed: Observed) -> str:
    """Who has everything for a new path and hears no hellos on it; empty if that is not what it waits for."""
    if staging is None:
        return ""
    words = (observed.acks.get(gateway) for gateway in staging.path)
    if not all(word is not None and word.applied and word.epoch >= staging.epoch for word in words):
        return ""
    deaf = unheard_by(circuit, staging, Applied(beacons=observed.beacons))
    return f"; every gateway has it, but {' and '.join(deaf)} hears no hellos on it" if deaf else ""


def _planned(active: LabelAllocation | None, staging: LabelAllocation | None, served: bool, waits: str) -> Condition:
    if not served:
        if active is not None:
            return state(
                "Planned", True, "HandingOver", "it carries its traffic until the circuit that follows it does"
            )
        return state(
            "Planned", False, "NotWanted", "no Intent asks for it any more; it is taken down, then this object goes"
        )
    if staging is not None and active is not None:
        return state(
            "Planned",
            True,
            "Moving",
            f"it moves to {_way(staging, active)}; {_way(active, staging)} serves till then{waits}",
        )
    chosen = active or staging
    if chosen is None:
        message = "no label is free for its path, or a gateway of it has not told yet what it runs"
        return state("Planned", False, "NoLabel", f"{message}; nothing is sent through it")
    return state("Planned", True, "PathChosen", f"it runs {text(chosen.path)}")


def _way(label: LabelAllocation, other: LabelAllocation) -> str:
    """The way of a label, and over which underlays if that is all that it differs in from another's."""
    told = label.underlays if label.path == other.path and label.underlays != other.underlays else ()
    return way_text(label.path, told)


def _programmed(active: LabelAllocation | None, staging: LabelAllocation | None, observed: Observed) -> Condition:
    def stays() -> str:
        return f"traffic stays on {text(active.path)}" if active else "nothing is sent on it before that"

    if staging is not None:
        words = {gateway: observed.acks.get(gateway) for gateway in staging.path}
        refusing = [f"{id_} ({word.error})" for id_, word in words.items() if word and not word.applied]
        if refusing:
            message = f"refused by {', '.join(refusing)}, so {text(staging.path)} cannot be used; {stays()}"
            return state("Programmed", False, "ConfigRefused", message)
        behind = [id_ for id_, word in words.items() if word is None or word.epoch < staging.epoch]
        if active is None:
            waiting = f"{', '.join(behind)} not heard to have applied it" if behind else "all have it; it is used next"
            return state("Programmed", False, "WaitingForHops", f"{text(staging.path)}: {waiting}; {stays()}")
    if active is None:
        return state("Programmed", False, "NoLabel", "no label is in use; nothing is sent through it")
    return state("Programmed", True, "AllHopsAcknowledged", f"every gateway of {text(active.path)} has applied it")


def _forwarding(circuit: PlacedCircuit, active: LabelAllocation | None, observed: Observed) -> Condition:
    if active is None:
        return state("Forwarding", None, "NotProgrammed", "nothing is sent through it, so nothing is probed")
    from_ = circuit.spec.from_
    beacon = observed.beacons.get(from_)
    if beacon is None:
        return state(
            "Forwarding", None, "EndSilent", f"{from_}, which probes it, is silent; whether packets pass is unknown"
        )
    report = beacon.probes.get(circuit.id)
    if report is None:
        return state(
            "Forwarding", None, "NotProbed", f"{from_} has not reported a probe yet; whether packets pass is unknown"
        )
    if not report.answering:
        return state("Forwarding", False, "NoAnswer", "end-to-end probes are not answered; traffic in it is lost")
    if report.mtu_fits is False:
        return state(
            "Forwarding", False, "MTUTooSmall", "full-size probes are lost: the path carries less than its MTU says"
        )
    return state("Forwarding", True, "ProbesAnswered", "end-to-end probes are answered")


def _ready(conditions: list[Condition]) -> Condition:
    """All of them; the first that is False decides, then the first that is Unknown."""
    for status in (False, None):
        for condition in conditions:
            if as_bool(condition) is status:
                return state("Ready", status, condition.reason, condition.message)
    return state("Ready", True, "Forwarding", "packets pass from end to end")
