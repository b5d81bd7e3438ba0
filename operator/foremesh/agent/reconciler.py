"""Holds the host to a config: takes a new one, compares, changes, tries again; says what came of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

from foremesh.agent.apply import Sight
from foremesh.agent.desired import ConfigRefused, Local, desired, overlaps
from foremesh.agent.diff import Change, SetPeer, diff
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


class HostPort(Protocol):
    """What the reconciler needs of a host; see ``apply.Host``."""

    async def observe(self, wanted: Desired | None, told: Mapping[str, str], *, now_s: float) -> Sight: ...

    async def foreign_routes(self) -> list[tuple[str, str]]: ...

    async def apply(self, changes: tuple[Change, ...]) -> None: ...


class Reconciler:
    """One config at a time.

    Args:
        host: Where it is set up.
        store: Remembers what was applied.
        local: What the host adds to the config.
        on_outcome: Told when a config was applied or refused, once per outcome.
        on_applied: Told what is set up after each successful comparison.

    Attributes:
        wanted: The config that the host is held to.
        applied: The last one that the host had in full.
        failure: Why the last attempt failed; empty if it did not.
    """

    def __init__(
        self,
        host: HostPort,
        store: ConfigStore,
        local: Local,
        *,
        on_outcome: Callable[[Acknowledgement], None] = lambda _: None,
        on_applied: Callable[[GatewayConfig, Desired, Sight], None] = lambda *_: None,
    ) -> None:
        self._host = host
        self._store = store
        self._local = local
        self._on_outcome = on_outcome
        self._on_applied = on_applied
        self._lock = asyncio.Lock()
        self._told: dict[str, str] = {}
        self._sources = Sources()
        self._addresses: dict[str, str | None] = {}
        self._last_outcome: Acknowledgement | None = None
        self.wanted: GatewayConfig | None = None
        self.applied: GatewayConfig | None = None
        self.failure = ""

    def use(self, local: Local) -> None:
        """Add this to configs from the next comparison on: the host's keys have changed."""
        self._local = local

    async def take(self, config: GatewayConfig) -> None:
        """Hold the host to another config, unless it is older, contradicts itself or meets routes of others."""
        try:
            if self.wanted and config.epoch < self.wanted.epoch:
                raise ConfigRefused(config.gateway, f"epoch {config.epoch} is older than {self.wanted.epoch}")
            desired(config, self._local)
            if found := overlaps(config, await self._host.foreign_routes()):
                raise ConfigRefused(config.gateway, "; ".join(found))
        except (ConfigRefused, HostError) as error:
            log.error("config refused epoch=%d revision=%s error=%s", config.epoch, config.revision, error)
            self._say(config, str(error))
            return
        self.wanted = config
        await self.reconcile()

    async def reconcile(self) -> None:
        """Compare the host with the config, and change what differs."""
        async with self._lock:
            config = self.wanted
            if config is None:
                return
            try:
                wanted, sight = await self._hold_to(config)
                if self.applied != config:
                    self._store.save(config)
            except (HostError, ConfigRefused) as error:
                self.failure = str(error)
                log.error("config not applied epoch=%d revision=%s error=%s", config.epoch, config.revision, error)
                self._say(config, str(error))
                return
            self.failure = ""
            self.applied = config
            self._on_applied(config, wanted, sight)
            self._say(config, "")

    async def adopt(self) -> None:
        """Go on with the config of before a restart: what stands as it says is not touched."""
        config = self._store.load()
        if config is None:
            return
        try:
            self._told = _endpoints(desired(config, await self._resolved(config)))
        except ConfigRefused as error:
            log.warning("stored config not adopted error=%s", error)
            return
        await self.take(config)

    async def _hold_to(self, config: GatewayConfig) -> tuple[Desired, Sight]:
        wanted = desired(config, await self._resolved(config))
        sight = await self._host.observe(wanted, self._told, now_s=time.time())
        if changes := diff(sight.observed, wanted):
            await self._host.apply(changes)
            self._told = _endpoints(wanted)
            sight = await self._host.observe(wanted, self._told, now_s=time.time())
            if rest := diff(sight.observed, wanted):
                log.warning("host differs after application changes=%d first=%s", len(rest), rest[0])
        await self._call_again(wanted)
        return wanted, sight

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

    async def _resolved(self, config: GatewayConfig) -> Local:
        """What the host adds, with the endpoints that are names looked up; a name that fails keeps its last address."""
        named = {peer.endpoint for peer in config.hop_peers} | {uplink.endpoint for uplink in config.uplinks}
        named |= {endpoint_of(machine.target) for machine in config.behind}
        for endpoint in sorted(name for name in named if name):
            if address := await _lookup(endpoint):
                self._addresses[endpoint] = address
            else:
                self._addresses.setdefault(endpoint, None)
        return replace(self._local, endpoints=self._addresses)

    def _say(self, config: GatewayConfig, error: str) -> None:
        applied = self.applied
        outcome = Acknowledgement(
            gateway=config.gateway,
            epoch=config.epoch,
            revision=config.revision,
            applied=not error,
            error=error,
            labels=applied.labels if applied else (),
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
