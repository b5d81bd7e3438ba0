"""A store in this process, with the semantics of the real one: for tests, simulation and meshes of one process.

Time is a function handed in. Leases end when the store is next used after their time, or when a watch waiting for it
looks; with a clock that a test turns, any call makes what is due happen.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from foremesh.discovery.store import (
    Compacted,
    Conflict,
    Event,
    EventKind,
    Key,
    Lease,
    LeaseLost,
    Record,
    Revision,
    StoreUnavailable,
    check_size,
    folder,
)

ENDPOINT = "memory"

HISTORY_EVENTS = 10_000
"""Changes kept for watches; a consumer further behind lists again. Bounds the memory of a long simulation."""


class MemoryStore:
    """An in-memory DiscoveryStore.

    Args:
        clock: Monotonic seconds.
        timeout_s: Seconds a watch waits for a store that is away before it raises.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, timeout_s: float = 1.0) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._lease_ids = itertools.count(1)
        self._changed = asyncio.Condition()
        self._away = ""
        self._begin()

    def _begin(self) -> None:
        self._history = uuid.uuid4().hex
        self._number = 1
        self._compacted = 0
        self._records: dict[Key, Record] = {}
        self._log: list[Event] = []
        self._leases: dict[int, tuple[Lease, float]] = {}
        self._owner: dict[Key, int] = {}

    # What happens to real stores, on demand.

    async def go_away(self, cause: str = "stopped") -> None:
        """Answer nothing from now on; what is stored stays."""
        self._away = cause
        await self._wake()

    async def come_back(self) -> None:
        """Serve again. As with etcd, leases have their full time once more."""
        self._away = ""
        self._leases = {i: (lease, self._clock() + lease.ttl_s) for i, (lease, _) in self._leases.items()}
        await self._wake()

    async def wipe(self) -> None:
        """Lose everything, leases and history too."""
        self._begin()
        await self._wake()

    async def compact(self) -> None:
        """Forget all history up to now."""
        self._compacted = self._number
        self._log.clear()
        await self._wake()

    # The port.

    async def put(
        self, key: Key, value: bytes, *, lease: Lease | None = None, if_revision: int | None = None
    ) -> Revision:
        check_size(key, value)
        await self._enter(f"put {key}")
        if lease is not None and lease.id not in self._leases:
            raise LeaseLost(lease.id)
        self._compare(key, if_revision)
        self._number += 1
        record = Record(key, bytes(value), self._revision)
        self._records[key] = record
        self._owner.pop(key, None)
        if lease is not None:
            self._owner[key] = lease.id
        await self._happened([Event(EventKind.PUT, record)])
        return record.revision

    async def get(self, key: Key) -> Record | None:
        await self._enter(f"get {key}")
        return self._records.get(key)

    async def list(self, prefix: Key) -> tuple[list[Record], Revision]:
        await self._enter(f"list {prefix}")
        below = folder(prefix)
        return sorted((r for r in self._records.values() if r.key.startswith(below)), key=_key), self._revision

    async def delete(self, key: Key, *, if_revision: int | None = None) -> None:
        await self._enter(f"delete {key}")
        self._compare(key, if_revision)
        await self._remove((key,))

    async def watch(self, prefix: Key, *, after: Revision) -> AsyncIterator[Event]:
        below, position = folder(prefix), int(after)
        while True:
            await self._back_in_time(f"watch {prefix}")
            await self._expire()
            if after.history != self._history:
                raise Compacted(position, "the store lost its data")
            if position < self._compacted:
                raise Compacted(position, f"compacted at revision {self._compacted}")
            upto = self._number
            for event in [e for e in self._log if e.record.revision > position and e.record.key.startswith(below)]:
                yield event
            position = upto
            async with self._changed:
                if self._number == position and after.history == self._history and not self._away:
                    await self._wait(self._next_end_s())

    async def grant(self, ttl_s: float) -> Lease:
        await self._enter("grant lease")
        lease = Lease(next(self._lease_ids), ttl_s)
        self._leases[lease.id] = (lease, self._clock() + ttl_s)
        await self._wake()
        return lease

    async def keep_alive(self, lease: Lease) -> None:
        await self._enter("renew lease")
        if lease.id not in self._leases:
            raise LeaseLost(lease.id)
        self._leases[lease.id] = (lease, self._clock() + lease.ttl_s)

    async def revoke(self, lease: Lease) -> None:
        await self._enter("revoke lease")
        await self._end(lease.id)

    # How it works.

    @property
    def _revision(self) -> Revision:
        return Revision(self._number, self._history)

    async def _enter(self, operation: str) -> None:
        if self._away:
            raise StoreUnavailable(ENDPOINT, operation, self._away)
        await self._expire()

    def _compare(self, key: Key, if_revision: int | None) -> None:
        record = self._records.get(key)
        if if_revision is not None and if_revision != (record.revision if record else 0):
            raise Conflict(key, if_revision)

    async def _remove(self, keys: Iterable[Key]) -> None:
        """Delete keys at one revision."""
        there = sorted(key for key in keys if key in self._records)
        if not there:
            return
        self._number += 1
        for key in there:
            del self._records[key]
            self._owner.pop(key, None)
        await self._happened([Event(EventKind.DELETE, Record(key, b"", self._revision)) for key in there])

    async def _happened(self, events: Sequence[Event]) -> None:
        self._log.extend(events)
        if len(self._log) > HISTORY_EVENTS:
            # All of a revision or none of it: half a revision would be a silent loss.
            self._compacted = int(self._log[-HISTORY_EVENTS].record.revision)
            self._log = [event for event in self._log if event.record.revision > self._compacted]
        await self._wake()

    async def _expire(self) -> None:
        now_s = self._clock()
        for lease_id in [i for i, (_, end_s) in self._leases.items() if end_s <= now_s]:
            await self._end(lease_id)

    async def _end(self, lease_id: int) -> None:
        if self._leases.pop(lease_id, None) is not None:
            await self._remove([key for key, owner in self._owner.items() if owner == lease_id])

    def _next_end_s(self) -> float | None:
        ends_s = [end_s for _, end_s in self._leases.values()]
        return max(0.0, min(ends_s) - self._clock()) if ends_s else None

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _back_in_time(self, operation: str) -> None:
        if not self._away:
            return
        async with self._changed:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._changed.wait_for(lambda: not self._away)
            except TimeoutError:
                raise StoreUnavailable(ENDPOINT, operation, self._away) from None


def _key(record: Record) -> Key:
    return record.key
