"""From what is declared and measured to what every gateway has to do: the rooms, composed.

``decide`` is a pure function, clock included; ``Pipeline`` feeds it from the store and Prometheus and hands its configs
out. Nothing here knows Kubernetes, so the operator, the simulator and the command line run the same code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from foremesh.discovery.matching import Candidates, match
from foremesh.discovery.registry import Registry
from foremesh.forecast import FittedModels, quantile_forecast
from foremesh.model.circuit import Circuit
from foremesh.model.config import GatewayConfig
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import MeshGraph
from foremesh.model.mesh import Member, MeshState, PlacedCircuit
from foremesh.model.plan import Plan
from foremesh.model.policy import Policy
from foremesh.model.registration import Acknowledgement, Beacon, Registration
from foremesh.model.resource import Resource
from foremesh.model.series import Metric
from foremesh.model.status import ResourceStatus
from foremesh.settings import PlanningSettings, Settings
from foremesh.telemetry import LinkHistory, TelemetryUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declared:
    """What people declared, and what is on record for it; keys are ids (``namespace/name``)."""

    resources: Mapping[str, Resource] = field(default_factory=dict)
    resource_status: Mapping[str, ResourceStatus] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    circuits: Mapping[str, Circuit] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What agents said, as the store has it; keys are member ids."""

    registrations: Mapping[str, Registration] = field(default_factory=dict)
    beacons: Mapping[str, Beacon] = field(default_factory=dict)
    """Only of those present: a beacon lives as long as its lease."""
    acks: Mapping[str, Acknowledgement] = field(default_factory=dict)
    configs: Mapping[str, GatewayConfig] = field(default_factory=dict)
    """In force: what agents were last told."""


@dataclass(frozen=True)
class Forecasts:
    """Every metric's forecast, and how fresh what it rests on is."""

    by_metric: Mapping[Metric, Forecast] = field(default_factory=dict)
    newest_sample_s: float | None = None
    problem: str = ""
    """Why telemetry could not be read; empty if it was."""


@dataclass(frozen=True)
class Decision:
    """What follows from what is declared, observed and forecast."""

    plan: Plan
    graph: MeshGraph
    state: MeshState
    resolved: Mapping[str, Resolution]
    """Per intent: who talks to whom, or why nobody does."""
    served: Mapping[str, tuple[str, ...]]
    """Circuit id to the intents it carries."""
    configs: Mapping[str, GatewayConfig]
    """Every member's config, epochs assigned."""
    changed: tuple[str, ...]
    """Members whose config is new."""
    removed: tuple[str, ...]
    """Members that had a config and have none any more."""
    forecasts: Forecasts


def decide(
    declared: Declared, observed: Observed, forecasts: Forecasts, settings: Settings, *, now_s: float
) -> Decision:
    """Choose paths for every intent and compile what follows. Pure: equal inputs give equal decisions.

    Args:
        now_s: Unix time; new epochs start from it, so that they grow even when every store was lost.
    """
    members = enrol(declared, observed, settings)
    graph = build_graph(
        [member.resource for member in members if member.resource.is_gateway and member.present],
        adjacency(member.resource for member in members if member.resource.is_gateway and member.present),
        forecasts.by_metric,
    )
    resolved = {intent.id: resolve(intent, declared, members, observed) for intent in declared.intents.values()}
    demands = [demand for resolution in resolved.values() for demand in resolution.demands]
    plan = make_plan(
        graph,
        demands,
        current=paths_in_use(declared.circuits.values()),
        policies=tuple(declared.policies.values()),
        settings=PlannerSettings(margin=settings.planning.margin),
        now_s=now_s,
    )
    return carry_on(declared, observed, plan, graph, resolved, forecasts, settings, now_s=now_s)
