"""One policy through one world: plan, carry, measure, plan again; and what came of it minute by minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.link import MeshGraph
from foremesh.model.meta import Meta, Ref
from foremesh.model.plan import Path, Placement
from foremesh.model.series import Floats, Metric
from foremesh.network.circuits import circuit_id
from foremesh.routing import build_graph
from foremesh.routing.planner import Planner
from foremesh.simulation.history import MINUTE_S, Measured
from foremesh.simulation.policies import Expectation, Policy, idle
from foremesh.simulation.scene import Scene, rates_bps
from foremesh.simulation.world import LinkState, World

EVERY_MINUTES = 5
"""Minutes between plans. The operator plans at least every half minute; a tenth of that is what can be waited for, and
it is the same for every policy."""


@dataclass(frozen=True)
class Move:
    """A demand's traffic changed its path."""

    demand: int
    minute: int
    """Counted from the end of the warm-up."""
    before: str
    after: str
    why: str


@dataclass(frozen=True, eq=False)
class Run:
    """What became of every demand, in the order of the scene; minutes count from the end of the warm-up."""

    policy: str
    start_s: float
    """Unix time at the end of the warm-up."""
    every: int
    """Minutes between plans."""
    rtt_ms: Floats
    """True round trip, shape (demands, minutes); NaN while not placed or cut off."""
    violated: np.ndarray
    """Whether a requirement was missed, shape (demands, minutes)."""
    predicted_ms: Floats
    """What the plan in force predicted, median and 90th percentile, shape (2, demands, plans); NaN where unknown."""
    placements: tuple[Placement, ...]
    """What the last plan said of each."""
    graph: MeshGraph
    """What it rested on."""
    moves: tuple[Move, ...]
    egress_usd: float
    plan_seconds: float
    """Spent on forecasts and plans, all of them."""
    plans: int
    models: Mapping[str, int] = field(default_factory=dict)
    """How many links the last plan's forecasts of round trips took from each model."""

    @property
    def days(self) -> float:
        """How long it ran."""
        return self.rtt_ms.shape[1] * MINUTE_S / 86400


def run(
    scene: Scene,
    world: World,
    policy: Policy,
    *,
    every: int = EVERY_MINUTES,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Let a policy choose paths through a world.

    A plan made at a minute rests on what was measured up to the minute before, and carries the traffic from then on.

    Args:
        every: Minutes between plans.
        progress: Called with the number of minutes that went by.
    """
    return _Runner(scene, world, policy).run(every, progress or (lambda _: None))


class _Runner:
    def __init__(self, scene: Scene, world: World, policy: Policy) -> None:
        self._scene = scene
        self._world = world
        self._policy = policy
        self._planner = Planner(scene.demands, scene.policies, policy.settings)
        self._row = {link: row for row, link in enumerate(scene.links)}
        self._idle = idle(scene.links, np.array([scene.base_rtt_ms[link] for link in scene.links]))
        self._price = np.array([scene.facts[link].egress_price or 0.0 for link in scene.links])
        self._forward_bps, self._back_bps = rates_bps(scene.demands)
        count = len(scene.demands)
        needs = [demand.intent.spec.requirements for demand in scene.demands]
        self._most_ms = np.array([np.inf if need.max_latency is None else float(need.max_latency) for need in needs])
        self._most_loss = np.array([1.0 if need.max_loss is None else float(need.max_loss) for need in needs])
        self._asks_bps = np.array([need.min_bandwidth is not None or need.reverse is not None for need in needs])
        self._on = np.zeros((count, len(scene.links)), dtype=bool)
        """Which links each demand's path has, forward."""
        self._back = np.zeros_like(self._on)
        self._attached_ms = np.zeros(count)
        self._placed: list[Placement] = [Placement(intent=one.intent.id, source=one.source.id) for one in scene.demands]
        self._graph = MeshGraph(nodes=(), links=())
        self._moves: list[Move] = []

    def run(self, every: int, progress: Callable[[int], None]) -> Run:
        world, policy, minutes = self._world, self._policy, self._world.minutes
        first, count = world.warmup_minutes, len(self._scene.demands)
        measured = Measured(self._scene.links, world.start_s, minutes)
        measured.add(_metrics(world.probed(slice(0, first), world.actual(slice(0, first), self._own_bps()))))
        rtt_ms, violated = np.full((count, minutes - first), np.nan), np.ones((count, minutes - first), dtype=bool)
        predicted_ms, egress_usd, seconds, plans = [], 0.0, 0.0, 0
        expected: Expectation = self._idle
        for minute in range(first, minutes, every):
            now = slice(minute, min(minute + every, minutes))
            if policy.expect or minute == first:
                started = time.process_time()
                if policy.expect:
                    expected = policy.expect(measured, lambda now=now: self._truth(now))
                self._plan(expected, measured.now_s, minute - first)
                seconds += time.process_time() - started
                plans += 1
            own_bps = self._own_bps()
            state = world.actual(now, own_bps)
            if policy.expect:
                measured.add(_metrics(world.probed(now, state)))
            here = slice(now.start - first, now.stop - first)
            rtt_ms[:, here], violated[:, here] = self._judge(state)
            egress_usd += float(self._price @ own_bps) * MINUTE_S * (now.stop - now.start) / 8e9
            predicted_ms.append(self._predicted())
            progress(now.stop - now.start)
        models = expected[Metric.RTT].models
        return Run(
            policy=policy.name,
            start_s=world.start_s + MINUTE_S * first,
            every=every,
            rtt_ms=rtt_ms,
            violated=violated,
            predicted_ms=np.stack(predicted_ms, axis=2),
            placements=tuple(self._placed),
            graph=self._graph,
            moves=tuple(self._moves),
            egress_usd=egress_usd,
            plan_seconds=seconds,
            plans=plans,
            models={name: models.count(name) for name in sorted(set(models))},
        )

    def _plan(self, expected: Expectation, now_s: float, minute: int) -> None:
        scene = self._scene
        if self._policy.by_hops:
            level = np.ones(len(self._scene.links))
            expected = idle(self._scene.links, level)
        self._graph = build_graph(scene.gateways, scene.links, expected, scene.facts)
        plan = self._planner.plan(self._graph, self._circuits(), made_at_s=now_s)
        by_key = {(placement.intent, placement.source): placement for placement in plan.placements}
        for index, demand in enumerate(scene.demands):
            after, before = by_key[demand.key], self._placed[index]
            if before.path and after.path and before.path.links != after.path.links:
                self._moves.append(Move(index, minute, before.path.text, after.path.text, after.reason))
            self._place(index, after)

    def _place(self, index: int, placement: Placement) -> None:
        self._placed[index] = placement
        self._on[index] = self._back[index] = False
        if placement.path is None:
            return
        for link in placement.path.links:
            self._on[index, self._row[link]] = True
            if link.reverse in self._row:
                self._back[index, self._row[link.reverse]] = True
        self._attached_ms[index] = self._attachments_ms(index, placement.path, placement.destination or "")

    def _attachments_ms(self, index: int, path: Path, destination: str) -> float:
        demand = self._scene.demands[index]
        ends = [demand.source_gateways.get(path.gateways[0])]
        ends += [one.gateways.get(path.gateways[-1]) for one in demand.candidates if one.resource.id == destination]
        return sum(rtt_ms or 0.0 for rtt_ms in ends)

    def _circuits(self) -> list[Circuit]:
        """What is in place, as the operator would have it on record."""
        found: dict[str, Circuit] = {}
        for demand, placement in zip(self._scene.demands, self._placed, strict=True):
            if placement.path is None or not placement.path.links:
                continue
            gateways = placement.path.gateways
            id_ = circuit_id(gateways[0], gateways[-1], demand.class_)
            shared = found[id_].status.intents if id_ in found else ()
            found[id_] = _circuit(id_, demand.class_, gateways, (*shared, demand.intent.id))
        return list(found.values())

    def _own_bps(self) -> Floats:
        return self._forward_bps @ self._on + self._back_bps @ self._back

    def _truth(self, now: slice) -> Mapping[Metric, Floats]:
        state = self._world.actual(now, self._own_bps())
        base_ms = self._idle[Metric.RTT].values[0]
        return {
            Metric.RTT: np.where(state.up, state.rtt_ms, base_ms),
            Metric.LOSS: np.where(state.up, state.loss, 1.0),
            Metric.THROUGHPUT: state.throughput_bps,
        }

    def _judge(self, state: LinkState) -> tuple[Floats, np.ndarray]:
        """Each demand's true round trip and whether it missed a requirement, shape (demands, minutes)."""
        on = self._on.astype(np.float64)
        placed = np.array([one.path is not None for one in self._placed])[:, None]
        cut = on @ ~state.up > 0
        rtt_ms = on @ np.where(state.up, state.rtt_ms, 0.0) + self._attached_ms[:, None]
        loss = 1 - np.exp(on @ np.log1p(-np.clip(state.loss, 0.0, 1 - 1e-12)))
        full = (on @ (state.free_bps <= 0) > 0) & self._asks_bps[:, None]
        violated = ~placed | cut | (rtt_ms > self._most_ms[:, None]) | (loss > self._most_loss[:, None]) | full
        return np.where(placed & ~cut, rtt_ms, np.nan), violated

    def _predicted(self) -> Floats:
        """Median and pessimistic round trip of the plan in force, shape (2, demands)."""
        figures = [one.path.figures if one.path else None for one in self._placed]
        return np.array(
            [
                [np.nan if each is None or each.latency_ms is None else each.latency_ms for each in figures],
                [np.nan if each is None or each.latency_p90_ms is None else each.latency_p90_ms for each in figures],
            ]
        )


def _metrics(probed: LinkState) -> dict[Metric, Floats]:
    return {Metric.RTT: probed.rtt_ms, Metric.LOSS: probed.loss, Metric.THROUGHPUT: probed.throughput_bps}


def _circuit(id_: str, class_: str, gateways: tuple[str, ...], intents: tuple[str, ...]) -> Circuit:
    ref = Ref.parse(id_)
    return Circuit(
        meta=Meta(name=ref.name, namespace=ref.namespace),
        spec=CircuitSpec(from_=gateways[0], to=gateways[-1], class_=class_),
        status=CircuitStatus(
            path=gateways,
            intents=intents,
            labels=(LabelAllocation(number=0, state=LabelState.ACTIVE, path=gateways),),
        ),
    )
