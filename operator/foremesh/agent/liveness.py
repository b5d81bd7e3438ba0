"""What the failover process says, followed: for beacons, which go out at once when it changes, and for the exporter."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from foremesh.agent.exposition import Family
from foremesh.agent.failover.client import Failover, FailoverError
from foremesh.agent.failover.table import RouteState, State
from foremesh.agent.failover.told import failover_table
from foremesh.agent.state import Names
from foremesh.model.config import GatewayConfig

log = logging.getLogger(__name__)

SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.1, 5.0
"""Seconds between attempts to reach a failover process, doubling; the circuits keep their labels meanwhile."""

LABELS = ("src", "dst", "circuit", "label")


class Liveness:
    """The newest state of the failover process.

    Args:
        failover: The process.
        config: The config that is set up, if any.
        missing: Called when it should run and does not.
        names: Interfaces of this agent.

    Attributes:
        state: What it said last; what it sends on stays true while it does not run.
        up: Whether it answers.
        news: Set when something changed that the controller should hear.
    """

    def __init__(
        self,
        failover: Failover,
        config: Callable[[], GatewayConfig | None],
        missing: Callable[[], Awaitable[None]],
        names: Names | None = None,
    ) -> None:
        self._names = names or Names()
        self._failover = failover
        self._config = config
        self._missing = missing
        self._known: tuple[GatewayConfig | None, str] = (None, "")
        self.state = State()
        self.up = False
        self.news = asyncio.Event()

    async def follow(self) -> None:
        """Keep ``state`` as the process says, until cancelled."""
        pause_s = SHORTEST_LOOK_S
        while True:
            try:
                async for state in self._failover.watch():
                    # News has no figures of routes: those that were asked for last stay.
                    self._take(state if state.routes else msgspec.structs.replace(state, routes=self.state.routes))
                    pause_s = SHORTEST_LOOK_S
            except FailoverError as error:
                log.debug("failover process not followed error=%s", error)
            if self.up:
                # Nothing is heard by whom nobody hears.
                self.up = False
                self._take(msgspec.structs.replace(self.state, alive=(), routes={}), up=False)
                log.warning("failover process gone; circuits stay on the labels they use until it is back")
            if self._wanted():
                await self._missing()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_LOOK_S if self._wanted() else 10 * SHORTEST_LOOK_S)

    async def refresh(self) -> None:
        """Ask for figures that change without being news: round-trip times."""
        state = await self._failover.state() if self.up else None
        if state:
            self._take(state)

    def sending(self) -> dict[str, int]:
        """Circuit to the number of the label that it sends on; empty if that is not known under the config that is set
        up: what was used under another one would look like a fail-over."""
        return dict(self.state.used) if self._up_to_date() else {}

    def detours(self) -> dict[str, str]:
        """Gateway of an uplink, or circuit, that the config prefers to the one that is used in its place; empty if that
        is not known under the config that is set up."""
        return dict(self.state.detours) if self._up_to_date() else {}

    def _up_to_date(self) -> bool:
        return self._wanted() and self._digest() == self.state.digest

    def _digest(self) -> str:
        """Of the table of the config that is set up; empty if there is nothing to watch."""
        config = self._config()
        if config is not self._known[0]:
            table = failover_table(config, self._names) if config else None
            self._known = (config, table.digest if table else "")
        return self._known[1]

    def heard(self) -> tuple[int, ...]:
        """Labels on which hellos pass both ways, sorted."""
        return self.state.alive

    def collect(self) -> Iterator[Family]:
        """Families for the exporter."""
        config = self._config()
        if config is None or not config.circuits:
            return
        up = Family("foremesh_agent_failover_up", "1 if the failover process answers")
        up.add((), int(self.up))
        alive = Family("foremesh_label_up", "1 if hellos pass in both directions", LABELS)
        used = Family("foremesh_label_used", "1 for the label that this end sends on", LABELS)
        rtt = Family("foremesh_label_rtt_seconds", "Round trip of hellos, smoothed", LABELS)
        jitter = Family("foremesh_label_jitter_seconds", "Variation of the delay towards here, smoothed", LABELS)
        loss = Family("foremesh_label_loss_ratio", "Share of the newest hellos towards here that did not come", LABELS)
        failovers = Family(
            "foremesh_label_failovers_total", "Times that this end left a label by itself", ("src", "dst", "circuit")
        )
        state = self.state
        routes = {number: route for route in state.routes.values() for number in route.labels}
        for end in config.circuits:
            ends = [config.gateway, end.remote_gateway, end.circuit]
            if end.circuit in state.failovers:
                failovers.add(ends, state.failovers[end.circuit])
            for label in end.labels:
                values = [*ends, str(label.number)]
                used.add(values, int(state.used.get(end.circuit) == label.number))
                route = routes.get(label.number, RouteState())
                if self.up:
                    alive.add(values, int(route.alive))
                for family, value in (
                    (rtt, route.rtt_ms and route.rtt_ms / 1000),
                    (jitter, route.jitter_ms and route.jitter_ms / 1000),
                    (loss, route.loss),
                ):
                    if value is not None:
                        family.add(values, value)
        yield from (up, alive, used, rtt, jitter, loss, failovers)

    def _take(self, state: State, *, up: bool = True) -> None:
        changed = up != self.up or any(
            getattr(state, name) != getattr(self.state, name) for name in ("digest", "used", "alive", "detours")
        )
        self.state, self.up = state, up
        if changed:
            self.news.set()

    def _wanted(self) -> bool:
        return bool(self._digest())

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until there is news."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
