"""A demand while a plan is made: what it asks, where it runs, what has become of it, and how that is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from foremesh.model.circuit import Circuit
from foremesh.model.plan import Infeasible, Path, Placement, way_text
from foremesh.routing.ask import Ask
from foremesh.routing.demand import Demand, Option, Traffic, runs_on, underlays_in_use
from foremesh.routing.labels import Problem, Route
from foremesh.routing.prices import Prices
from foremesh.routing.stability import gain

TOLD_LOSS = 0.005
"""Difference in loss from which a move is about that as well."""

Pair = tuple[str, str]
"""First and last gateway of a circuit."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A demand with what policies leave of it."""

    demand: Demand
    asks: tuple[tuple[Option, Ask], ...]
    refused: Infeasible | None
    """Why nothing is left."""
    sharing: str
    """What shares a circuit; a dedicated intent shares it with nobody but its own sources."""

    def sending(self, traffic_bps: Traffic) -> Prepared:
        """The same demand while it sends so much and gets so much back."""
        asks = tuple((option, replace(ask, traffic_bps=traffic_bps)) for option, ask in self.asks)
        return replace(self, asks=asks)


@dataclass(frozen=True, slots=True)
class Question:
    """One option of a demand, laid over the snapshot at the prices of the moment."""

    option: Option
    ask: Ask
    prices: Prices
    problem: Problem


@dataclass(slots=True)
class Job:
    """A demand and what has become of it so far."""

    prepared: Prepared
    circuit: Circuit | None
    option: Option | None = None
    ask: Ask | None = None
    route: Route | None = None
    path: Path | None = None
    """The route with its figures; set with it."""
    listed: tuple[Route, ...] = ()
    """The routes that it was chosen from, best first."""
    runners_up: tuple[tuple[Path, Option], ...] = ()
    standby: Path | None = None
    standby_reserved: bool = False
    current: Path | None = None
    """The path in use as it is now predicted, where it is left although it would do."""
    kept: str = ""
    """Why the path in use is kept, where another is cheaper."""
    lost: str = ""
    """Why the path in use will no longer do, where it will not."""
    when: str = ""
    """When the path in use is forecast to get worse, where it is left in time for that."""
    shares: str = ""
    """The intent that its circuit was chosen for, if that is another one."""
    joint: bool = False
    """The path serves several demands that one by one would have chosen others."""
    yielded: str = ""
    """For whom it left a path that it would rather have, as the end of a reason."""
    infeasible: Infeasible | None = None
    more_bps: Traffic = (0.0, 0.0)
    """What it sends and gets back beyond what it asked for: it goes where the demand goes."""

    @property
    def demand(self) -> Demand:
        return self.prepared.demand

    @property
    def in_use(self) -> tuple[str, ...]:
        return self.circuit.status.path if self.circuit else ()

    def is_on(self, path: Path) -> bool:
        """Whether the circuit runs on a path already."""
        return self.circuit is not None and runs_on(
            self.circuit, path.gateways, tuple([one.underlay for one in path.links])
        )

    @property
    def carried(self) -> bool:
        """Whether the circuit carries this demand already, and not only others of its class."""
        return self.circuit is not None and self.demand.intent.id in self.circuit.status.intents

    @property
    def pinned(self) -> tuple[str, ...]:
        return self.circuit.spec.path if self.circuit else ()

    @property
    def ends(self) -> Pair:
        assert self.path is not None
        return (self.path.gateways[0], self.path.gateways[-1])

    def placement(self) -> Placement:
        """What the plan says."""
        intent, source = self.demand.key
        if self.path is None or self.option is None:
            reason = self.infeasible.message if self.infeasible else ""
            return Placement(intent=intent, source=source, infeasible=self.infeasible, reason=reason)
        chosen = (self.path.gateways, self.path.links)
        destination = self.option.resources[self.path.gateways[-1]]
        others = [(one, option) for one, option in self.runners_up if (one.gateways, one.links) != chosen]
        ends = [option.resources[one.gateways[-1]] for one, option in others]
        return Placement(
            intent=intent,
            source=source,
            destination=destination,
            path=self.path,
            runners_up=tuple(one for one, _ in others),
            runners_up_to=tuple("" if end == destination else end for end in ends),
            standby=self.standby,
            standby_reserved=self.standby_reserved,
            infeasible=self.infeasible,
            kept=bool(self.kept),
            reason=self._reason(self.path),
        )

    def _reason(self, path: Path) -> str:
        if self.pinned:
            return "; ".join(filter(None, (f"pinned to {path.text}: {latency_text(path)}", self.kept)))
        shared = ", which serves all that share the circuit" if self.joint else ""
        if self.shares and not self.joint:
            shared = f", on the circuit of {self.shares}"
        if self.infeasible is not None:
            told = self._told(path, "") if not self.kept else self.kept
            return f"{self.infeasible.message}; meanwhile {told}"
        return (self.kept or self._told(path, shared) + self.yielded) + self._unprotected()

    def _unprotected(self) -> str:
        asked = self.ask and (self.ask.requirements.min_bandwidth or self.ask.requirements.reverse)
        if self.standby is None or self.standby_reserved or not asked:
            return ""
        return f"; no bandwidth is left for its standby {self.standby.text}"

    def _left(self, path: Path) -> str:
        """The path in use, and over which underlays it runs if another one differs in nothing else."""
        underlays = underlays_in_use(self.circuit) if self.circuit and path.gateways == self.in_use else ()
        return way_text(self.in_use, underlays)

    def _told(self, path: Path, shared: str) -> str:
        if not (self.in_use and self.carried):
            return f"placed on {path.text}: {latency_text(path)}{shared}"
        if self.is_on(path):
            return f"stays on {path.text}: {latency_text(path)}{shared}"
        moved = f"moved from {self._left(path)} to {path.text}"
        if self.current is None:
            why = f"; the old path will not do ({self.lost})" if self.lost else ""
            return f"{moved}: {latency_text(path)}{why}{shared}"
        saved = gain(cost_of(self.current), cost_of(path))
        cheaper = f", cost {saved:.0%} lower" if not self.joint and (saved >= 0 or not self.yielded) else ""
        latency = f"{latency_text(self.current, unit='')} -> {latency_text(path)}"
        when = f"; {self._left(path)} is forecast to be worse {self.when}" if self.when else ""
        return f"{moved}: {latency}{loss_text(self.current, path)}{cheaper}{when}{shared}"


def cost_of(path: Path) -> float:
    return path.figures.cost or 0.0


def loss_text(before: Path, after: Path) -> str:
    """What becomes of the loss, where that is what matters."""
    lost, still = before.figures.loss, after.figures.loss
    if lost is None or still is None or abs(lost - still) < TOLD_LOSS:
        return ""
    return f", loss {lost:.1%} -> {still:.1%}"


def latency_text(path: Path, unit: str = " ms") -> str:
    latency_ms = path.figures.latency_ms
    return "round trip unknown" if latency_ms is None else f"{latency_ms:.1f}{unit}"
