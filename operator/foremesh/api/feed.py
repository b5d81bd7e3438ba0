"""A folder of the store as it is now: listed, then kept current by a watch, so that a store that is away does not
disturb agents that are served already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from foremesh.discovery import keys
from foremesh.discovery.store import Compacted, DiscoveryStore, EventKind, Key, StoreUnavailable
from foremesh.model.manifest import ManifestError

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""Seconds between attempts to follow a store that is away."""


class Feed(Generic[T]):
    """The newest value of every id in a folder.

    Args:
        read: Makes a value of what is stored under a key; raises ManifestError if it cannot.

    Attributes:
        following: The picture is current: listed, and watched since.
    """

    def __init__(self, store: DiscoveryStore, folder: Key, read: Callable[[Key, bytes], T]) -> None:
        self._store = store
        self._folder = folder
        self._read = read
        self._values: dict[str, T] = {}
        self._news: dict[str, asyncio.Event] = {}
        self.following = False

    def current(self, id_: str) -> T | None:
        """The value of an id, or None if there is none."""
        return self._values.get(id_)

    async def wait(self, id_: str, wanted: Callable[[T], bool], *, timeout_s: float) -> T | None:
        """The value of an id as soon as there is one that is wanted; None after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                while (value := self._values.get(id_)) is None or not wanted(value):
                    await self._news.setdefault(id_, asyncio.Event()).wait()
        except TimeoutError:
            return None
        return value

    async def follow(self) -> None:
        """Keep the picture current until cancelled."""
        while True:
            try:
                await self._follow_once()
            except Compacted:
                log.info("compacted, listing again folder=%s", self._folder)
            except StoreUnavailable as error:
                self.following = False
                log.warning("not followed folder=%s error=%s", self._folder, error)
                await asyncio.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        records, revision = await self._store.list(self._folder)
        self._values = {}
        for record in records:
            self._take(record.key, record.value)
        self.following = True
        async for event in self._store.watch(self._folder, after=revision):
            if event.kind is EventKind.DELETE:
                self._values.pop(keys.id_in(event.record.key), None)
            else:
                self._take(event.record.key, event.record.value)

    def _take(self, key: Key, value: bytes) -> None:
        id_ = keys.id_in(key)
        try:
            self._values[id_] = self._read(key, value)
        except ManifestError as error:
            log.error("record unreadable key=%s error=%s", key, error)
            return
        if waited_for := self._news.pop(id_, None):
            waited_for.set()
