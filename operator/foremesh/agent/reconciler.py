"""Holds the host to a config: takes a new one, compares, changes, tries again; says what came of it.

One that cannot be carried out to its end is refused, and the host goes back to the one before, which is complete and
known to work. Either way of ending in the middle is the same: whoever is killed goes back when it starts again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Protocol

from foremesh.agent.apply import Sight
from foremesh.agent.desired import ConfigRefused, Local, desired, overlaps
from foremesh.agent.diff import Change, ForgetFlows, SetPeer, diff
from foremesh.agent.host import HostError
from foremesh.agent.roaming import Sources
from foremesh.agent.state import Desired, KeyRole
from foremesh.agent.store import ConfigStore
from foremesh.agent.translation import endpoint_of
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Acknowledgement

log = logging.getLogger(__name__)

LOOKUP_TIMEOUT_S = 5.0
"""Seconds to look up a neighbour's name; the others must not wait for it longer."""

ATTEMPTS, PAUSE_S = 3, 0.5
"""How often a config is tried before it is refused, and seconds in between: a WireGuard that dies or does not start
once does start then; until then traffic runs as before, since what is new is set up beside it."""
SHORTEST_REFUSAL_S, LONGEST_REFUSAL_S = 10.0, 300.0
"""Seconds until a refused config is tried again, doubling: what stood in its way may be gone, such as a route of
others, and whoever wrote the config need not write another."""


class HostPort(Protocol):
    """What the reconciler needs of a host; see ``apply.Host``."""

    async def observe(self, wanted: Desired | None, told: Mapping[str, str], *, now_s: float) -> Sight: ...

    async def foreign_routes(self) -> list[tuple[str, str]]: ...

    async def apply(self, changes: tuple[Change, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A config that is not tried before a time of the clock, and why."""

    config: GatewayConfig
    error: str
    pause_s: float
    again_s: float


class Reconciler:
    """One config at a time.

    Args:
        host: Where it is set up.
        store: Remembers what was applied.
        local: What the host adds to the config.
        on_outcome: Told when a config was applied or refused, once per outcome.
        on_applied: Told what is set up after each successful comparison, also with the config before a refused one.
        clock: Seconds, for the time until a refused config is tried again.

    Attributes:
        wanted: The newest config.
        applied: The one that the host is held to; another one than ``wanted`` if that is refused.
        failure: Why ``wanted`` is not applied; empty if it is.
    """

    def __init__(
        self,
        host: HostPort,
        store: ConfigStore,
        local: Local,
        *,
        on_outcome: Callable[[Acknowledgement], None] = lambda _: None,
        on_applied: Callable[[GatewayConfig, Desired, Sight], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._store = store
        self._local = local
        self._on_outcome = on_outcome
        self._on_applied = on_applied
        self._clock = clock
        self._lock = asyncio.Lock()
        self._told: dict[str, str] = {}
        self._sources = Sources()
        self._addresses: dict[str, str | None] = {}
        self._made: tuple[GatewayConfig, Local, Desired] | None = None
        self._last_outcome: Acknowledgement | None = None
        self._complete: GatewayConfig | None = None  # the last that the host had in full, before a restart perhaps
        self._begun: set[int] = set()  # labels of what was begun since, and not ended
        self._found_nothing: bool | None = None  # whether the host was without anything of ours at the first look
        self._flows_follow = False
        self._refusal: _Refusal | None = None
        self.wanted: GatewayConfig | None = None
        self.applied: GatewayConfig | None = None
        self.failure = ""

    @property
    def labels(self) -> tuple[int, ...]:
        """Numbers of the labels that may be programmed here, sorted."""
        return tuple(sorted({*self._begun, *(self._complete.labels if self._complete else ())}))

    def use(self, local: Local) -> None:
        """Add this to configs from the next comparison on: the host's keys have changed."""
        self._local = local

    async def take(self, config: GatewayConfig) -> None:
        """Hold the host to another config, unless it is older."""
        if self.wanted and config.epoch < self.wanted.epoch:
            refused = ConfigRefused(config.gateway, f"epoch {config.epoch} is older than {self.wanted.epoch}")
            log.error("config refused epoch=%d revision=%s error=%s", config.epoch, config.revision, refused)
            self._say(config, str(refused))
            return
        self.wanted = config
        await self.reconcile()

    async def reconcile(self) -> None:
        """Compare the host with the config, and change what differs; with the one before, if it is refused."""
        async with self._lock:
            config = self.wanted
            if config is None:
                return
            refusal = self._refusal if self._refusal and self._refusal.config is config else None
            if refusal is None or self._clock() >= refusal.again_s:
                error = await self._attempt(config)
                if self.wanted is not config:
                    return  # there is a newer one, and whoever brought it waits
                if not error:
                    self._refusal = None
                    self._conclude(config, "")
                    return
                if config == self._complete:
                    self._conclude(config, error)  # it had been applied, and something is broken since
                    return
                pause_s = min(2 * refusal.pause_s, LONGEST_REFUSAL_S) if refusal else SHORTEST_REFUSAL_S
                refusal = self._refusal = _Refusal(config, error, pause_s, self._clock() + pause_s)
            self._conclude(config, f"{refusal.error}; {await self._go_back()}")

    def _conclude(self, config: GatewayConfig, error: str) -> None:
        if error and error != self.failure:
            log.error("config not applied epoch=%d revision=%s error=%s", config.epoch, config.revision, error)
        self.failure = error
        self._say(config, error)

    async def _attempt(self, config: GatewayConfig) -> str:
        """Hold the host to a config; why it cannot be, or empty."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._hold_to(config)
            except ConfigRefused as error:
                return str(error)
            except HostError as error:
                if attempt == ATTEMPTS or self.wanted is not config:
                    return f"config of epoch {config.epoch} not applied: {error}"
                log.warning("config tried again epoch=%d attempt=%d error=%s", config.epoch, attempt, error)
            else:
                return ""
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("the last attempt returns")

    async def _go_back(self) -> str:
        """Hold the host to the last config that it had in full, and to nothing if it never had any; what came of it."""
        last = self._complete
        try:
            if last:
                await self._hold_to(last)
                return f"epoch {last.epoch} is in force"
            if not self._found_nothing:
                return "what was here before is not known, and stays beside what is new"
            sight = await self._host.observe(None, {}, now_s=time.time())
            await self._host.apply(diff(sight.observed, Desired()))
            self._begun.clear()
            return "nothing of it is left"
        except (ConfigRefused, HostError) as error:
            before = f"epoch {last.epoch}" if last else "removing what was begun"
            return f"{before} failed as well and is tried again ({error})"

    async def adopt(self) -> None:
        """Go on with the config of before a restart: what stands as it says is not touched."""
        config = self._store.load()
        if config is None:
            return
        try:
            self._told = _endpoints(await self._desired(config))
        except ConfigRefused as error:
            log.warning("stored config not adopted error=%s", error)
            return
        self._complete = config
        await self.take(config)

    async def _hold_to(self, config: GatewayConfig) -> None:
        wanted = await self._desired(config)
        if config != self.applied and (found := overlaps(config, await self._host.foreign_routes())):
            raise ConfigRefused(config.gateway, "; ".join(found))
        sight = await self._host.observe(wanted, self._told, now_s=time.time())
        if self._found_nothing is None:
            self._found_nothing = not diff(sight.observed, Desired())
        if changes := diff(sight.observed, wanted):
            self._begun |= set(config.labels)
            self._flows_follow = False
            # If this ends half way, nobody knows which endpoint a peer was told last, unless both are the same.
            told = _endpoints(wanted)
            self._told = {peer: endpoint for peer, endpoint in told.items() if self._told.get(peer) == endpoint}
            await self._host.apply(changes)
            self._told = told
            sight = await self._host.observe(wanted, self._told, now_s=time.time())
            if rest := diff(sight.observed, wanted):
                log.warning("host differs after application changes=%d first=%s", len(rest), rest[0])
        if not self._flows_follow:
            # Flows do not show whether they follow the rules: an application that ended half way may not have come
            # to them.
            if not any(isinstance(change, ForgetFlows) for change in changes):
                await self._host.apply((ForgetFlows(wanted.flows),))
            self._flows_follow = True
        await self._call_again(wanted)
        if config != self._complete:
            self._store.save(config)
        self._complete = self.applied = config
        self._begun.clear()
        self._on_applied(config, wanted, sight)

    @property
    def has_moved(self) -> bool:
        """Whether peers are sent to from other addresses than at the last comparison."""
        return self._sources.stale

    async def _call_again(self, wanted: Desired) -> None:
        """Make WireGuard ask the routes anew for peers that are to be sent to from another address."""
        outside = {
            (name, key): peer.endpoint
            for name, interface in wanted.interfaces.items()
            for key, peer in interface.peers.items()
            if peer.endpoint and self._local.names.role_of(name) is not KeyRole.CIRCUIT
        }
        moved = self._sources.moved(outside.values())
        again = [SetPeer(name, key, end, None, ()) for (name, key), end in outside.items() if end in moved]
        if again:
            log.info("own address changed peers=%d", len(again))
            await self._host.apply(tuple(again))

    async def _desired(self, config: GatewayConfig) -> Desired:
        """What a config wants here: that of the last time, as long as nothing has changed that it follows from."""
        local = await self._resolved(config)
        if self._made is None or self._made[0] is not config or self._made[1] != local:
            self._made = (config, local, desired(config, local))
        return self._made[2]

    async def _resolved(self, config: GatewayConfig) -> Local:
        """What the host adds, with the endpoints that are names looked up; a name that fails keeps its last address."""
        named = {peer.endpoint for peer in config.hop_peers} | {uplink.endpoint for uplink in config.uplinks}
        named |= {endpoint_of(machine.target) for machine in config.behind}
        known = self._addresses
        self._addresses = {
            name: await _lookup(name) or known.get(name) for name in sorted(name for name in named if name)
        }
        return replace(self._local, endpoints=self._addresses)

    def _say(self, config: GatewayConfig, error: str) -> None:
        outcome = Acknowledgement(
            gateway=config.gateway,
            epoch=config.epoch,
            revision=config.revision,
            applied=not error,
            error=error,
            labels=self.labels,
        )
        if outcome != self._last_outcome:
            self._last_outcome = outcome
            self._on_outcome(outcome)


def _endpoints(wanted: Desired) -> dict[str, str]:
    return {
        f"{name} {key}": peer.endpoint
        for name, interface in wanted.interfaces.items()
        for key, peer in interface.peers.items()
        if peer.endpoint
    }


async def _lookup(endpoint: str) -> str | None:
    """``host:port`` as ``address:port``; None if the name is not known now."""
    host, _, port = endpoint.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return endpoint
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET)
    except (OSError, TimeoutError) as error:
        log.warning("endpoint unknown endpoint=%s error=%s", endpoint, error or "timeout")
        return None
    return f"{min(item[4][0] for item in found)}:{port}"
