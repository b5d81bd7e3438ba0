"""What whoever decides again and again keeps between decisions: planners, so that a plan after a small change need not
be made from nothing.

It is a memory and no input: ``Planner.replan`` gives the same plan as one from nothing, so a decision is the same with
and without it (docs/adr/0028).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from foremesh.decide.values import Observed
from foremesh.model.circuit import Circuit
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.policy import Policy
from foremesh.routing.demand import Demand, PlannerSettings, Traffic
from foremesh.routing.planner import Planner

MAIN = "plan"
"""The plan that is carried out; beside it there are those of backups and of policies in shadow."""


def as_measured(observed: Observed, before: Observed) -> Observed:
    """What agents say, with the round trips that they told before: those change with every beacon, and a plan that does
    not wait for new forecasts is made on one set of figures, from end to end."""
    beacons = {}
    for id, beacon in observed.beacons.items():
        known = before.beacons[id].probes if id in before.beacons else {}
        probes = {
            to: msgspec.structs.replace(report, rtt_ms=known[to].rtt_ms) if to in known else report
            for to, report in beacon.probes.items()
        }
        beacons[id] = msgspec.structs.replace(beacon, probes=probes)
    return replace(observed, beacons=beacons)


@dataclass(frozen=True, slots=True)
class Made:
    """How a plan was made."""

    why: str = ""
    """Why it was made from nothing, in a word; empty if it was made again."""
    told: str = ""
    """The same at length."""
    placed: int = 0
    """Demands that a path was looked for."""
    demands: int = 0


@dataclass
class _Kept:
    asked: tuple[tuple[Demand, ...], tuple[Policy, ...], PlannerSettings]
    planner: Planner


@dataclass
class Planners:
    """Keeps one planner for each plan that a decision takes. Not to be used by two decisions at once."""

    made: dict[str, Made] = field(default_factory=dict)
    """By name, how the plans of the newest decision were made."""
    _kept: dict[str, _Kept] = field(default_factory=dict)

    def begin(self) -> None:
        """A decision begins; what the last one did not ask for is forgotten."""
        if self.made:
            self._kept = {name: one for name, one in self._kept.items() if name in self.made}
        self.made = {}

    def plan(
        self,
        name: str,
        graph: MeshGraph,
        demands: Iterable[Demand],
        circuits: Iterable[Circuit],
        policies: Iterable[Policy],
        settings: PlannerSettings,
        *,
        made_at_s: float,
        measured_bps: Mapping[str, Traffic] | None = None,
    ) -> Plan:
        """``make_plan``, to the letter.

        Args:
            name: What the plan is for: of one decision, no two may have the same.
        """
        asked = (tuple(demands), tuple(policies), settings)
        kept = self._kept.get(name)
        if kept is None or kept.asked != asked:
            why, told = ("first", "there was none before") if kept is None else ("asked", "demands or policies changed")
            kept = self._kept[name] = _Kept(asked, Planner(*asked))
            plan = kept.planner.plan(graph, circuits, made_at_s=made_at_s, measured_bps=measured_bps)
            self.made[name] = Made(why, told, len(asked[0]), len(asked[0]))
            return plan
        before = kept.planner.last
        plan = kept.planner.replan(graph, circuits, made_at_s=made_at_s, measured_bps=measured_bps)
        if before is not None and not before.told:
            self.made[name] = Made(placed=before.placed, demands=len(asked[0]))
        else:
            why, told = (before.why, before.told) if before is not None else ("first", "there was none before")
            self.made[name] = Made(why, told, len(asked[0]), len(asked[0]))
        return plan

    def warm(self) -> None:
        """Work out what the next decision's plans need to be made again; to be called while nobody waits."""
        for one in list(self._kept.values()):
            one.planner.warm()
