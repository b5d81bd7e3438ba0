"""Plans a mesh that a folder describes: what the operator would decide if an agent ran for every resource.

The same decision as the operator's, with files in the place of agents and Prometheus. Pure: no I/O, no clock; time is
that of the newest sample, so equal files give equal plans.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from foremesh.decide import (
    Decision,
    Declared,
    Forecasts,
    Observed,
    as_told,
    carry_on,
    decide,
    joined,
    pinning_policies,
    usage,
    within_physics,
)
from foremesh.forecast import quantile_forecast
from foremesh.model.circuit import Circuit, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.forecast import QUANTILES, UNKNOWN, Forecast
from foremesh.model.mesh import MeshState
from foremesh.model.meta import Meta, Ref
from foremesh.model.registration import Acknowledgement
from foremesh.model.series import Metric, SeriesBatch, SeriesKey
from foremesh.model.status import IntentStatus, PlacementStatus
from foremesh.network.compile import diff
from foremesh.network.programmed import DRAIN_S
from foremesh.settings import ApiPods, ApiSettings, PlanningSettings, Settings
from foremesh.telemetry import Samples, on_grid

if TYPE_CHECKING:
    from foremesh.files import Bundle

FEWEST_RECENT = 5
"""Samples that say where a series stands, at the least; see ``forecast.levels``."""

LONGEST_AGE_S = 120.0
"""Seconds that a single figure may be older than the newest sample of all, as for series in the operator."""

MOST_ROUNDS = 12
"""Rounds of configs and acknowledgements until every circuit runs where it should; a move takes four."""

ROUND_S = DRAIN_S + 1.0
"""Seconds from one round to the next: what drains has had its time, though epochs are whole seconds."""

RATES = (Metric.THROUGHPUT, Metric.DEMAND)
"""What is put on the same grids, to be compared."""

HELD = "last"
"""Name of the forecaster that holds the newest value."""


def installed_settings() -> Settings:
    """The operator's settings as the Helm chart installs it by default, under the name that the README gives."""
    labels = {
        "app.kubernetes.io/name": "foremesh",
        "app.kubernetes.io/instance": "foremesh",
        "app.kubernetes.io/component": "api",
    }
    return Settings(api=ApiSettings(pods=ApiPods(namespace="foremesh-system", match_labels=labels)))


def plan_bundle(
    bundle: Bundle, settings: Settings, *, forecasts: Forecasts | None = None, before: Decision | None = None
) -> Decision:
    """Decide as the operator would, and carry on until every agent has done what it was told.

    Args:
        bundle: What the files say. Circuits with a status are in place, and stay as the operator would let them.
        settings: As the operator reads them.
        forecasts: From ``forecasts_of``, if they are at hand.
        before: A decision that is carried out already, from which this one starts: circuits stay or move as they would
            in a running mesh, and numbers and addresses that are given stay so.

    Returns:
        The decision with configs as they end up: circuits active on the paths chosen, nothing on its way any more.
        ``changed`` names those that differ from ``before``, ``removed`` those that are gone.
    """
    declared = bundle.declared
    known = forecasts_of(bundle, settings) if forecasts is None else forecasts
    # Policies depend on members alone: rendered once at the end instead of in every round.
    without_policies = msgspec.structs.replace(settings, network_policies="None", planning=_full_mesh(settings))
    observed = joined(declared.resources, bundle.attachment_rtt_ms)
    if before is not None:
        observed, declared = _acknowledged(observed, before), _recorded(declared, before)
        known = _without_traffic_of(declared.circuits.values(), bundle, known, settings)
    decision = decide(declared, observed, known, without_policies, now_s=bundle.now_s)
    decision = _settled(decision, declared, observed, without_policies, now_s=bundle.now_s)
    changes = diff(before.configs if before else {}, decision.configs)
    unpinned: dict[str, str] = {}
    return replace(
        decision,
        pinned=pinning_policies(decision.state.members, settings, unpinned),
        unpinned=unpinned,
        changed=changes.changed,
        removed=changes.removed,
    )


def _without_traffic_of(
    circuits: Iterable[Circuit], bundle: Bundle, forecasts: Forecasts, settings: Settings
) -> Forecasts:
    """Forecasts that say of circuits which are in place in a decision alone that they carry nothing: links were
    measured without them. Those that the files know, or whose demand they do, are left as they are."""
    running = {id_ for id_, one in bundle.declared.circuits.items() if one.status.path}
    demand = forecasts.by_metric.get(Metric.DEMAND)
    flows = {flow for one in circuits if one.id not in running for flow in usage.flows_of(one)}
    none = Samples(np.array([bundle.now_s]), np.zeros(1))
    idle: dict[SeriesKey, Samples] = {flow: none for flow in flows if demand is None or flow not in demand}
    nothing = _held(Metric.DEMAND, idle, bundle.now_s, LONGEST_AGE_S, settings)
    joint = nothing if demand is None else _joined(demand, nothing)
    return replace(forecasts, by_metric={**forecasts.by_metric, Metric.DEMAND: joint})


def _full_mesh(settings: Settings) -> PlanningSettings:
    """A folder describes the links there are, so none is left out for being one of too many."""
    return msgspec.structs.replace(settings.planning, full_mesh=sys.maxsize)


def forecasts_of(bundle: Bundle, settings: Settings) -> Forecasts:
    """Forecast every series of a bundle over the planning horizon.

    A series with a history gets the forecaster that its past favours, as in the operator but without fitted models. A
    single figure is held. A link without any sample is in no forecast: it stays unknown. Where circuits are in place
    whose demand is known, a link's throughput is theirs and that of the rest.
    """
    series = {metric: _with_samples(held) for metric, held in bundle.series.items()}
    newest = [one.times_s[-1] for held in series.values() for one in held.values()]
    grids = {
        metric: _grids(metric, held, _alike(metric, series), bundle.now_s, settings) for metric, held in series.items()
    }
    past = {metric: grid.past for metric, grid in grids.items() if grid is not None}
    seen = {metric: grid.recent for metric, grid in grids.items() if grid is not None}
    counted, sent = grids.get(Metric.THROUGHPUT), grids.get(Metric.DEMAND)
    on = usage.carried(bundle.declared.circuits.values()) if counted and sent else {}
    if counted and sent and on:
        grids[Metric.THROUGHPUT] = replace(
            counted,
            recent=usage.beside(counted.recent, sent.recent, on, settled=False),
            past=usage.beside(counted.past, sent.past, on, settled=True),
        )
    found = {
        metric: _forecast(metric, held, grids[metric], bundle.now_s, settings)
        for metric, held in series.items()
        if held
    }
    if on:
        found[Metric.THROUGHPUT] = usage.with_demand(found[Metric.THROUGHPUT], found[Metric.DEMAND], on)
    return Forecasts(
        within_physics(found, seen, bundle.declared), past, newest_s=float(max(newest)) if newest else None
    )


def _with_samples(series: Mapping[SeriesKey, Samples]) -> dict[SeriesKey, Samples]:
    """The series without samples that could not be taken; those of which nothing is left are left out."""
    found = {}
    for key, one in series.items():
        if len(one.values) == 1 and math.isfinite(one.values[0]):
            found[key] = one
            continue
        known = np.isfinite(one.values)
        kept = one if known.all() else Samples(one.times_s[known], one.values[known])
        if len(kept.values):
            found[key] = kept
    return found


@dataclass(frozen=True)
class _Grids:
    """Series with a history at two resolutions, and the age in seconds at which their newest sample is too old."""

    recent: SeriesBatch
    past: SeriesBatch
    longest_age_s: float


def _forecast(
    metric: Metric, series: Mapping[SeriesKey, Samples], grids: _Grids | None, now_s: float, settings: Settings
) -> Forecast:
    """The forecast of series that have a history and of those that are a single figure."""
    planning = settings.planning
    single = {key: one for key, one in series.items() if len(one.values) == 1}
    if grids is None:
        return _held(metric, single, now_s, LONGEST_AGE_S, settings)
    predicted = quantile_forecast(
        grids.recent,
        horizon_s=planning.horizon,
        step_s=planning.step,
        past=grids.past,
        max_age_s=grids.longest_age_s,
    )
    return _joined(predicted, _held(metric, single, now_s, grids.longest_age_s, settings)) if single else predicted


def _alike(metric: Metric, series: Mapping[Metric, Mapping[SeriesKey, Samples]]) -> list[Samples]:
    """All that share a metric's grids: what circuits carry is taken off what links do, sample by sample."""
    together = RATES if metric in RATES else (metric,)
    return [one for each in together for one in series.get(each, {}).values() if len(one.values) > 1]


def _grids(
    metric: Metric,
    series: Mapping[SeriesKey, Samples],
    alike: Sequence[Samples],
    now_s: float,
    settings: Settings,
) -> _Grids | None:
    """Those that have a history, put on grids that suit all that are alike; None if there are none."""
    history = {key: one for key, one in series.items() if len(one.values) > 1}
    if not history:
        return None
    prometheus = settings.prometheus
    usual_s = float(np.median([one.step_s for one in alike]))
    span_s = now_s - min(float(one.times_s[0]) for one in alike)
    # Recordings are often coarser than what the operator reads; a finer grid than theirs would be mostly gaps.
    recent_s, past_s = max(prometheus.recent_step, usual_s), max(prometheus.history_step, usual_s)
    recent = max(FEWEST_RECENT, math.ceil(prometheus.recent_window / recent_s))
    samples = max(FEWEST_RECENT, math.ceil(min(prometheus.history_window, span_s + past_s) / past_s))
    return _Grids(
        on_grid(metric, history, end_s=now_s, window_s=recent * recent_s, step_s=recent_s),
        on_grid(metric, history, end_s=now_s, window_s=samples * past_s, step_s=past_s),
        max(LONGEST_AGE_S, 4 * recent_s),
    )


def _held(
    metric: Metric, single: Mapping[SeriesKey, Samples], now_s: float, longest_age_s: float, settings: Settings
) -> Forecast:
    """Single figures, taken to hold: no spread is known, so all quantiles are the same."""
    planning = settings.planning
    keys = tuple(sorted(single, key=str))
    steps = max(1, round(planning.horizon / planning.step))
    values = np.array([single[key].values[0] for key in keys], dtype=np.float64)
    ages_s = now_s - np.array([single[key].times_s[0] for key in keys], dtype=np.float64)
    values[ages_s > longest_age_s] = np.nan
    known = np.isfinite(values)
    return Forecast(
        metric,
        keys,
        planning.step,
        now_s,
        np.broadcast_to(np.clip(values, 0.0, metric.ceiling)[None, :, None], (len(QUANTILES), len(keys), steps)),
        tuple(HELD if one else UNKNOWN for one in known),
        tuple(
            f"{HELD}: a single figure" if one else f"{UNKNOWN}: no sample in the last {longest_age_s:g} s"
            for one in known
        ),
    )


def _joined(one: Forecast, other: Forecast) -> Forecast:
    """Two forecasts of one metric over the same steps as one."""
    return Forecast(
        one.metric,
        (*one.keys, *other.keys),
        one.step_s,
        one.start_s,
        np.concatenate([one.values, other.values], axis=1),
        (*one.models, *other.models),
        (*one.reasons, *other.reasons),
        one.quantiles,
        None if one.errors is None else np.append(one.errors, np.full(len(other.keys), np.nan)),
    )


def _settled(
    decision: Decision, declared: Declared, observed: Observed, settings: Settings, *, now_s: float
) -> Decision:
    """The decision once every agent has applied its configs, round after round, and everything is on record."""
    begun_s = max(now_s, decision.state.epoch)  # what is in place may have come there in rounds as well
    for number in range(1, 1 + MOST_ROUNDS):
        if not _on_its_way(decision.state) and decision.configs.keys() <= declared.resources.keys():
            return decision
        observed = _acknowledged(observed, decision)
        declared = _recorded(declared, decision)
        decision = carry_on(declared, observed, decision.chosen, settings, now_s=begun_s + number * ROUND_S)
        if not (decision.changed or decision.removed):
            return decision
    moving = sorted(circuit.id for circuit in decision.state.circuits if _moves(circuit.labels))
    raise RuntimeError(f"circuits {', '.join(moving)} still move after {MOST_ROUNDS} rounds; the plan is not complete")


def _on_its_way(state: MeshState) -> bool:
    return any(_moves(circuit.labels) or not all(pair.steered for pair in circuit.pairs) for circuit in state.circuits)


def _moves(labels: tuple[LabelAllocation, ...]) -> bool:
    return not labels or any(label.state not in (LabelState.ACTIVE, LabelState.STANDBY) for label in labels)


def _acknowledged(observed: Observed, decision: Decision) -> Observed:
    """The same a moment later: every config is in force and applied, ends hear each other, and who has left is
    forgotten."""
    configs = {id_: config for id_, config in decision.configs.items() if id_ not in decision.removed}
    acks = {
        id_: Acknowledgement(
            gateway=id_, epoch=config.epoch, revision=config.revision, applied=True, labels=config.labels
        )
        for id_, config in configs.items()
    }
    beacons = {
        id_: as_told(beacon, configs[id_]) if id_ in configs else beacon for id_, beacon in observed.beacons.items()
    }
    return replace(observed, configs=configs, acks=acks, beacons=beacons)


def _recorded(declared: Declared, decision: Decision) -> Declared:
    """The same with everything that was allocated and chosen on record, as the operator writes it."""
    served, statuses = decision.served, dict(declared.intent_status)
    for id_, placements in groupby(decision.chosen.plan.placements, key=lambda one: one.intent):
        if id_ in declared.intents:
            statuses[id_] = IntentStatus(
                placements=tuple(
                    PlacementStatus(
                        source=one.source,
                        destination=one.destination or "",
                        circuit=decision.circuit_of(one),
                        path=one.path.text if one.path else "",
                        reason=one.reason,
                        infeasible=one.infeasible,
                    )
                    for one in placements
                )
            )
    circuits = {}
    for placed in decision.state.circuits:
        ref, old = Ref.parse(placed.id), declared.circuits.get(placed.id)
        active = next((label.path for label in placed.labels if label.state is LabelState.ACTIVE), ())
        circuits[placed.id] = Circuit(
            meta=old.meta if old else Meta(name=ref.name, namespace=ref.namespace),
            spec=placed.spec,
            status=CircuitStatus(
                number=placed.number,
                class_number=placed.class_number,
                tunnels=placed.tunnels,
                path=active,
                labels=placed.labels,
                intents=served.get(placed.id, ()),
            ),
        )
    return replace(declared, circuits=circuits, intent_status=statuses)
