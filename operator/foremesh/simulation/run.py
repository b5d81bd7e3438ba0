"""One policy through one world: plan, carry, measure, plan again; and what came of it minute by minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foremesh.decide.planning import PLANS
from foremesh.model.circuit import Figures
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Placement, Plan
from foremesh.model.series import Floats, Metric
from foremesh.routing import Planner, PlannerSettings, build_graph, capacities
from foremesh.simulation.carried import Carried
from foremesh.simulation.history import Measured
from foremesh.simulation.policies import Expectation, Policy, exactly, idle
from foremesh.simulation.scene import Scene
from foremesh.simulation.world import MINUTE_S, LinkState, World

LOOKS_AHEAD = 3
"""Times that the oracle plans for the same minutes, each with the traffic of the plan before on the links."""

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
    egress_usd: float | None
    """None where the price of a link is unknown."""
    plan_seconds: float
    """Spent on forecasts and plans, all of them."""

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
    explain: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Let a policy choose paths through a world.

    A plan made at a minute rests on what was measured up to the minute before, and carries the traffic from then on.

    Args:
        every: Minutes between plans.
        explain: Whether reasons are wanted; finding words takes longer than finding paths.
        progress: Called with the number of minutes that went by.
    """
    return _Runner(scene, world, policy, explain, every).run(every, progress or (lambda _: None))


class _Runner:
    def __init__(self, scene: Scene, world: World, policy: Policy, explain: bool, every: int) -> None:
        self._scene = scene
        self._world = world
        self._policy = policy
        settings = replace(policy.settings, explain=explain, next_s=PLANS * every * MINUTE_S)
        self._planner = Planner(scene.demands, scene.policies, settings)
        self._idle = idle(scene.links, np.array([scene.base_rtt_ms[link] for link in scene.links]))
        prices = [scene.facts[link].egress_price for link in scene.links]
        self._price = np.array([np.nan if price is None else price for price in prices])
        self._capacity_bps = capacities(scene.gateways, scene.links, scene.facts)
        self._graph = MeshGraph(nodes=(), links=())

    def run(self, every: int, progress: Callable[[int], None]) -> Run:
        scene, world, policy = self._scene, self._world, self._policy
        first, minutes = world.warmup_minutes, world.minutes
        measured = self._warmed_up()
        nowhere = [Placement(intent=demand.intent.id, source=demand.source.id) for demand in scene.demands]
        carried, moves = Carried(scene, nowhere), list[Move]()
        rtt_ms, violated, predicted_ms = [], [], []
        egress_usd, seconds = 0.0, 0.0
        for minute in range(first, minutes, every):
            now = slice(minute, min(minute + every, minutes))
            if policy.expect or minute == first:
                started = time.process_time()
                before = carried
                if policy.clairvoyant:
                    carried = self._foresee(before, now, measured)
                else:
                    expected = policy.expect(measured) if policy.expect else self._looked_up()
                    carried = self._planned(expected, before, measured)
                moves += _moves(before, carried, minute - first)
                seconds += time.process_time() - started
            state = world.actual(now, carried.own_bps)
            if policy.expect:
                measured.add(_metrics(world.probed(now, state)))
            for kept, values in zip((rtt_ms, violated), carried.judge(state), strict=True):
                kept.append(values)
            predicted_ms.append(_predicted(carried))
            egress_usd += float(self._price @ carried.own_bps) * MINUTE_S * (now.stop - now.start) / 8e9
            progress(now.stop - now.start)
        return Run(
            policy=policy.name,
            start_s=world.start_s + MINUTE_S * first,
            every=every,
            rtt_ms=np.concatenate(rtt_ms, axis=1),
            violated=np.concatenate(violated, axis=1),
            predicted_ms=np.stack(predicted_ms, axis=2),
            placements=carried.placements,
            graph=self._graph,
            moves=tuple(moves),
            egress_usd=egress_usd if np.isfinite(egress_usd) else None,
            plan_seconds=seconds,
        )

    def _warmed_up(self) -> Measured:
        """A week of measurements with the traffic where an administrator would have put it: the same for everyone."""
        scene, world = self._scene, self._world
        by_hand = Planner(scene.demands, scene.policies, PlannerSettings(runners_up=0, explain=False))
        graph = build_graph(scene.gateways, scene.links, self._idle, scene.facts)
        carried = Carried(scene, _in_order(scene, by_hand.plan(graph, (), made_at_s=world.start_s)))
        week = slice(0, world.warmup_minutes)
        measured = Measured(scene.links, world.start_s, world.minutes)
        measured.add(_metrics(world.probed(week, world.actual(week, carried.own_bps))))
        return measured

    def _looked_up(self) -> Expectation:
        """What a policy that never looks at the network takes links to be."""
        return idle(self._scene.links, np.ones(len(self._scene.links))) if self._policy.by_hops else self._idle

    def _planned(self, expected: Expectation, before: Carried, measured: Measured) -> Carried:
        scene, learn = self._scene, self._policy.learn
        queueing_ms = learn(measured, self._capacity_bps) if learn else None
        self._graph = build_graph(scene.gateways, scene.links, expected, scene.facts, queueing_ms)
        plan = self._planner.plan(self._graph, before.circuits, made_at_s=measured.now_s)
        return Carried(scene, _in_order(scene, plan), before, now_s=measured.now_s)

    def _foresee(self, before: Carried, now: slice, measured: Measured) -> Carried:
        """The best that a planner who knows the future finds: it looks at what its own traffic would do to the links,
        plans again, and takes the plan that misses least, staying where it is included."""
        best, least, carried = before, _missed(before, self._world.actual(now, before.own_bps)), before
        for look in range(1, LOOKS_AHEAD + 1):
            state = self._world.actual(now, carried.own_bps)
            base_ms = self._idle[Metric.RTT].values[0]
            truth = {
                Metric.RTT: np.where(state.up, state.rtt_ms, base_ms),
                Metric.LOSS: np.where(state.up, state.loss, 1.0),
                Metric.THROUGHPUT: state.throughput_bps,
            }
            if look == LOOKS_AHEAD:
                # Where no path is good in every minute, one that is in most of them will do.
                truth = {metric: values.mean(axis=1, keepdims=True) for metric, values in truth.items()}
            carried = self._planned(exactly(measured, truth), carried, measured)
            missed = _missed(carried, self._world.actual(now, carried.own_bps))
            if missed < least:
                best, least = carried, missed
            if not least[0]:
                break
        return best


def _missed(carried: Carried, state: LinkState) -> tuple[int, float]:
    """How bad a plan turns out: requirements missed, then round trips."""
    rtt_ms, missed = carried.judge(state)
    return int(missed.sum()), float(np.nansum(rtt_ms))


def _in_order(scene: Scene, plan: Plan) -> list[Placement]:
    by_key = {(placement.intent, placement.source): placement for placement in plan.placements}
    return [by_key[demand.key] for demand in scene.demands]


def _moves(before: Carried, after: Carried, minute: int) -> list[Move]:
    return [
        Move(index, minute, old.path.text, new.path.text, new.reason)
        for index, (old, new) in enumerate(zip(before.placements, after.placements, strict=True))
        if old.path and new.path and old.path.links != new.path.links
    ]


def _predicted(carried: Carried) -> Floats:
    """Median and pessimistic round trip of the plan in force, shape (2, demands)."""
    figures = [one.path.figures if one.path else Figures() for one in carried.placements]
    return np.array([[each.latency_ms for each in figures], [each.latency_p90_ms for each in figures]], dtype=float)


def _metrics(probed: LinkState) -> dict[Metric, Floats]:
    return {Metric.RTT: probed.rtt_ms, Metric.LOSS: probed.loss, Metric.THROUGHPUT: probed.throughput_bps}
