"""What a decision rests on and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from foremesh.model.circuit import Circuit
from foremesh.model.config import GatewayConfig
from foremesh.model.explanation import Explanation
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import LinkFacts, LinkId, MeshGraph, PredictedLink
from foremesh.model.mesh import MeshState
from foremesh.model.plan import Placement, Plan
from foremesh.model.policy import Policy
from foremesh.model.registration import Acknowledgement, Beacon, Registration
from foremesh.model.resource import Resource
from foremesh.model.series import Metric, SeriesBatch
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus, ShadowStatus
from foremesh.network.circuits import Desired
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from foremesh.routing.assumed import Assumptions
from foremesh.routing.demand import Demand

if TYPE_CHECKING:
    from foremesh.decide.pinning import Pinned


@dataclass(frozen=True)
class Declared:
    """What people declared, and what is on record for it; keys are ids (``namespace/name``)."""

    resources: Mapping[str, Resource] = field(default_factory=dict)
    resource_status: Mapping[str, ResourceStatus] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    intent_status: Mapping[str, IntentStatus] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    policy_status: Mapping[str, PolicyStatus] = field(default_factory=dict)
    circuits: Mapping[str, Circuit] = field(default_factory=dict)
    """Those that foremesh made for Intents; the ones that people make are not served yet."""
    links: Mapping[LinkId, LinkFacts] = field(default_factory=dict)
    """What is known of single links beyond what their gateways declare."""


@dataclass(frozen=True)
class Observed:
    """What agents said, as the store has it; keys are member ids."""

    registrations: Mapping[str, Registration] = field(default_factory=dict)
    beacons: Mapping[str, Beacon] = field(default_factory=dict)
    """Only of members that are present: a beacon lives as long as its lease."""
    acks: Mapping[str, Acknowledgement] = field(default_factory=dict)
    configs: Mapping[str, GatewayConfig] = field(default_factory=dict)
    """In force: what agents were told last."""
    unavailable: frozenset[str] = frozenset()
    """Resources reported unavailable."""


@dataclass(frozen=True)
class Forecasts:
    """Every metric's forecast, and what it rests on."""

    by_metric: Mapping[Metric, Forecast] = field(default_factory=dict)
    past: Mapping[Metric, SeriesBatch] = field(default_factory=dict)
    """Days of the samples behind it, of what was read."""
    problem: str = ""
    """Why telemetry could not be read; empty if it was."""
    newest_s: float | None = None
    """Unix time of the newest sample of any link; None if none was read."""


@dataclass(frozen=True)
class Problem:
    """Why something cannot be done: a CamelCase reason and a message for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Resolution:
    """Who an Intent is about: its demands, one for each source, or why there are none."""

    demands: tuple[Demand, ...] = ()
    problem: Problem | None = None
    left_out: tuple[str, ...] = ()
    """Why sources that match have no demand."""


@dataclass(frozen=True)
class Chosen:
    """The part of a decision that acknowledgements do not change."""

    plan: Plan
    graph: MeshGraph
    resolved: Mapping[str, Resolution]
    problem: str
    """Why telemetry could not be read; empty if it was."""
    matched: Mapping[str, int]
    """Policy id to the number of intents it is about."""
    epoch: int
    """The epoch in which it was chosen: what the ends of circuits did since outweighs it."""
    silent: frozenset[LinkId]
    """Links that passed no hellos then."""
    backups: tuple[Placement, ...] = ()
    """Where placements go whose sites lose a gateway; see ``backups``."""
    detours: frozenset[tuple[str, str, str]] = frozenset()
    """What ends had left by themselves then; see ``backups.detours``."""
    links: tuple[LinkId, ...] = ()
    """Links that the mesh has, whether or not their gateways are heard from; sorted."""
    forecasts: Forecasts = field(default_factory=Forecasts)
    """What it rests on."""
    shadows: Mapping[str, ShadowStatus] = field(default_factory=dict)
    """By policy in shadow, what it would change; nothing while telemetry is away."""

    remarks: Mapping[str, Problem] = field(default_factory=dict)
    """By policy that makes no difference, or leaves nothing to choose by, how that is; see ``idle``."""

    @cached_property
    def by_intent(self) -> Mapping[str, tuple[Placement, ...]]:
        """The placements of each intent that has any, gathered once: statuses are made intent by intent."""
        found: dict[str, list[Placement]] = {}
        for one in self.plan.placements:
            found.setdefault(one.intent, []).append(one)
        return {intent: tuple(some) for intent, some in found.items()}

    @cached_property
    def predicted(self) -> Mapping[LinkId, PredictedLink]:
        """The links of the graph."""
        return {link.id: link for link in self.graph.links}

    @cached_property
    def router(self) -> Router:
        """For questions about the graph that the plan did not ask; nothing is promised to anybody."""
        return Router(Arrays(self.graph))

    @cached_property
    def assumptions(self) -> Assumptions:
        """What is assumed where nobody knows."""
        return Assumptions(self.router)

    @cached_property
    def explanations(self) -> dict[tuple[str, str], Explanation]:
        """Those that were asked for so far: the same until the next plan, however often statuses are looked at."""
        return {}


@dataclass(frozen=True)
class Decision:
    """What follows from what is declared, observed and forecast."""

    chosen: Chosen
    state: MeshState
    desired: Desired
    unserved: Mapping[tuple[str, str], Problem]
    """Intent id and source to why its placement is not carried out."""
    pinned: tuple[Pinned, ...]
    """Network policies that hold workloads to their gateways, in the order to apply them."""
    configs: Mapping[str, GatewayConfig]
    """Every member's config, epochs assigned."""
    changed: tuple[str, ...]
    """Ids of whoever is to get a new config: members, and those that leave."""
    removed: tuple[str, ...]
    """Ids of those that left and have taken everything down."""
    outdated: str
    """Why it is time for another plan; empty if it is not."""
    pressing: bool = False
    """That plan had better not wait for new forecasts: something was lost that the ones there are do not know of."""
    unpinned: Mapping[str, str] = field(default_factory=dict)
    """Workload to why ``pinned`` has no policy for it, where that was asked for; see ``pinning_policies``."""

    @property
    def served(self) -> Mapping[str, tuple[str, ...]]:
        """Circuit id to the ids of the intents it carries."""
        return {circuit.id: circuit.intents for circuit in self.desired.circuits}

    def circuit_of(self, placement: Placement) -> str:
        """Id of the circuit that carries a placement; empty if it needs none or has none."""
        key = (placement.intent, placement.source)
        return "" if key in self.unserved else self.desired.carriers.get(key, "")
