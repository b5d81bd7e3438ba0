"""Configs as agents wait for them: a picture of the store kept current by a watch, so that a store that is away does
not disturb agents that are served already."""

from __future__ import annotations

import asyncio
import logging

from foremesh.discovery import keys
from foremesh.discovery.store import Compacted, DiscoveryStore, EventKind, StoreUnavailable
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError, decode

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Seconds between attempts to follow a store that is away."""


class ConfigFeed:
    """The newest config of every gateway and workload."""

    def __init__(self, store: DiscoveryStore) -> None:
        self._store = store
        self._configs: dict[str, GatewayConfig] = {}
        self._changed = asyncio.Condition()
        self.following = False
        """The picture is current: listed, and watched since."""

    def current(self, member: str) -> GatewayConfig | None:
        """The config of a member, or None if there is none."""
        return self._configs.get(member)

    async def wait(
        self, member: str, *, known_revision: str, known_epoch: int, timeout_s: float
    ) -> GatewayConfig | None:
        """The member's config as soon as it is another than the one known; None after the timeout."""

        def news() -> bool:
            config = self._configs.get(member)
            return config is not None and (config.epoch, config.revision) != (known_epoch, known_revision)

        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(news)
        except TimeoutError:
            return None
        return self._configs.get(member)

    async def follow(self) -> None:
        """Keep the picture current until cancelled."""
        while True:
            try:
                await self._follow_once()
            except Compacted:
                log.info("configs compacted, listing again")
            except StoreUnavailable as error:
                self.following = False
                log.warning("configs not followed error=%s", error)
                await asyncio.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        records, revision = await self._store.list(keys.CONFIGS)
        async with self._changed:
            self._configs = {}
            for record in records:
                self._take(record.key, record.value)
            self.following = True
            self._changed.notify_all()
        async for event in self._store.watch(keys.CONFIGS, after=revision):
            async with self._changed:
                if event.kind is EventKind.DELETE:
                    self._configs.pop(keys.id_in(event.record.key), None)
                else:
                    self._take(event.record.key, event.record.value)
                self._changed.notify_all()

    def _take(self, key: str, value: bytes) -> None:
        member = keys.id_in(key)
        try:
            self._configs[member] = decode(GatewayConfig, value, where=f"config of {member}")
        except ManifestError as error:
            log.error("config unreadable member=%s error=%s", member, error)
