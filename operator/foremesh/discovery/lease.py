"""Keys that are there for as long as somebody holds them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from types import TracebackType
from typing import Self

from foremesh.discovery.store import DiscoveryStore, Key, Lease, LeaseLost, StoreError

log = logging.getLogger(__name__)

RENEWALS_PER_TTL = 3
"""Renewals within a lease's time: two may fail before it ends."""


class KeptLease:
    """Holds keys under a lease, renews it at a third of its time, and starts over when it was lost.

    Use as an async context manager; on leaving, the lease is revoked and the keys go at once. While the store is away
    it keeps trying; the keys are put again under a new lease when the old one did not survive.

    Args:
        store: Where the keys are held.
        ttl_s: Seconds for which the keys outlive their holder.

    Attributes:
        lease: The lease under which the keys are held now; None before the first key and after a loss.
        losses: How often the lease was lost and granted again.
    """

    def __init__(self, store: DiscoveryStore, *, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._values: dict[Key, bytes] = {}
        self._missing: set[Key] = set()
        self.lease: Lease | None = None
        self._held_until_s = float("-inf")
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.losses = 0

    @property
    def held(self) -> bool:
        """True while others certainly see the keys: all are put and the lease was renewed less than its time ago."""
        return self.lease is not None and not self._missing and time.monotonic() < self._held_until_s

    async def put(self, key: Key, value: bytes) -> None:
        """Hold a key with a value from now on, also across a loss of the lease.

        Raises:
            StoreUnavailable: If the store is away; the key is put when it is back.
        """
        async with self._busy:
            self._values[key] = value
            self._missing.add(key)
            await self._put_missing()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name="kept-lease")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.lease is not None:
            # If the store is away the keys go by themselves, a little later.
            with contextlib.suppress(StoreError):
                await self._store.revoke(self.lease)
            self.lease = None

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep((self.lease.ttl_s if self.lease else self._ttl_s) / RENEWALS_PER_TTL)
            try:
                async with self._busy:
                    await self._renew()
            except StoreError as error:
                log.warning("lease not renewed held=%s keys=%d error=%s", self.held, len(self._values), error)

    async def _renew(self) -> None:
        if self.lease is not None:
            asked_s = time.monotonic()
            try:
                await self._store.keep_alive(self.lease)
                self._held_until_s = asked_s + self.lease.ttl_s
            except LeaseLost:
                self._forget_lease()
        await self._put_missing()

    async def _put_missing(self) -> None:
        while self._missing:
            if self.lease is None:
                asked_s = time.monotonic()
                self.lease = await self._store.grant(self._ttl_s)
                self._held_until_s = asked_s + self.lease.ttl_s
            key = min(self._missing)
            try:
                await self._store.put(key, self._values[key], lease=self.lease)
                self._missing.discard(key)
            except LeaseLost:
                self._forget_lease()

    def _forget_lease(self) -> None:
        self.losses += 1
        log.warning("lease lost losses=%d keys=%d: putting them again", self.losses, len(self._values))
        self.lease = None
        self._missing = set(self._values)
