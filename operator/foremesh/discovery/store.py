"""The port to what holds the discovered state: a small key-value store with revisions, leases and watches.

Everything behind it is soft state: a store may lose all it holds, and those who put it there put it again. A store
gives single-key atomicity and nothing more; whoever needs several keys to agree keeps them in one value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

Key: TypeAlias = str
"""Segments joined by slashes, for instance ``gateways/prod/ams-1/presence``; relative to the mesh's prefix."""

MAX_VALUE_BYTES = 1_000_000
"""Largest value a store takes; etcd refuses requests above 1.5 MiB, and its key and framing need room too."""


class Revision(int):
    """A point in a store's history: grows by at least one with every change.

    ``history`` names the history it counts in. A store that lost its data begins another one, whose numbers mean
    nothing in the first; without the name a watch would go on across the loss and miss what happened between.
    """

    history: str

    def __new__(cls, number: int, history: str) -> Revision:
        revision = super().__new__(cls, number)
        revision.history = history
        return revision

    def __getnewargs__(self) -> tuple[int, str]:  # type: ignore[override]
        return int(self), self.history


@dataclass(frozen=True)
class Record:
    """A key as stored; ``revision`` is that of its last change."""

    key: Key
    value: bytes
    revision: Revision


@dataclass(frozen=True)
class Lease:
    """Keys put under a lease go when it ends, unless it is renewed within ``ttl_s`` seconds."""

    id: int
    ttl_s: float
    """As granted; a store may grant more than was asked for."""


class EventKind(StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True)
class Event:
    """One change. Of a deleted key, ``record`` has an empty value and the deletion's revision.

    Several events can share a revision: the keys of a lease go together.
    """

    kind: EventKind
    record: Record


class StoreError(Exception):
    """Base of what a store raises."""


class StoreUnavailable(StoreError):
    """The store did not answer or refused to serve; a write may or may not have been stored.

    Attributes:
        endpoint: Where it was looked for.
        operation: What was asked of it.
        cause: What went wrong, without credentials.
    """

    def __init__(self, endpoint: str, operation: str, cause: str) -> None:
        self.endpoint = endpoint
        self.operation = operation
        self.cause = cause
        super().__init__(f"store {endpoint} is away: {operation}: {cause}; nothing new is learnt until it is back")


class Compacted(StoreError):
    """The changes after a revision are no longer on record, so a watch cannot go on: list again, then watch from there.

    Attributes:
        after: The revision the watch was at.
        cause: Why they are gone: compacted, or the store lost its data.
    """

    def __init__(self, after: int, cause: str) -> None:
        self.after = after
        self.cause = cause
        super().__init__(f"changes after revision {after} are gone: {cause}; what is there has to be listed again")


class LeaseLost(StoreError):
    """The lease has ended, and its keys with it; carries ``lease_id``."""

    def __init__(self, lease_id: int) -> None:
        self.lease_id = lease_id
        super().__init__(f"lease {lease_id:x} has ended and its keys are gone; a new one has to be granted")


class Conflict(StoreError):
    """A conditional change found another revision than it expected; carries ``key`` and ``expected``."""

    def __init__(self, key: Key, expected: int) -> None:
        self.key = key
        self.expected = expected
        found = f"is no longer at revision {expected}" if expected else "exists already"
        super().__init__(f"{key} {found}; nothing was changed, read it again")


class ValueTooLarge(StoreError):
    """A value above MAX_VALUE_BYTES; carries ``key`` and ``size`` in bytes."""

    def __init__(self, key: Key, size: int) -> None:
        self.key = key
        self.size = size
        super().__init__(f"{key} would take {size} bytes, the limit is {MAX_VALUE_BYTES}; it was not stored")


class DiscoveryStore(Protocol):
    """What every store does. Each call raises StoreUnavailable, within the store's timeout, if it cannot be served."""

    async def put(
        self, key: Key, value: bytes, *, lease: Lease | None = None, if_revision: int | None = None
    ) -> Revision:
        """Store a value; the key then belongs to ``lease``, and to no other it belonged to before.

        Args:
            if_revision: Store only if the key was last changed at this revision; 0 means that it must not exist.

        Raises:
            Conflict: If ``if_revision`` does not hold.
            LeaseLost: If the lease has ended.
            ValueTooLarge: If the value has more than MAX_VALUE_BYTES.
        """
        ...

    async def get(self, key: Key) -> Record | None:
        """The key's record, or None."""
        ...

    async def list(self, prefix: Key) -> tuple[list[Record], Revision]:
        """Every record below a prefix, sorted by key, and the revision at which that was so.

        A prefix is a folder: ``gateways/a`` holds ``gateways/a/x`` but neither ``gateways/ab`` nor itself; the empty
        one holds everything.
        """
        ...

    async def delete(self, key: Key, *, if_revision: int | None = None) -> None:
        """Delete a key; one that is not there is no error.

        Raises:
            Conflict: If ``if_revision`` does not hold.
        """
        ...

    def watch(self, prefix: Key, *, after: Revision) -> AsyncIterator[Event]:
        """Every change below a prefix after a revision, in order, none left out, until the consumer stops.

        It outlives reconnects shorter than the store's timeout. To resume after an error, watch again from the
        revision of the last event.

        Raises:
            Compacted: If changes are no longer on record; also if the store lost its data meanwhile.
            StoreUnavailable: If the store is away for longer.
        """
        ...

    async def grant(self, ttl_s: float) -> Lease:
        """A new lease."""
        ...

    async def keep_alive(self, lease: Lease) -> None:
        """Renew a lease for its full time.

        Raises:
            LeaseLost: If it has ended.
        """
        ...

    async def revoke(self, lease: Lease) -> None:
        """End a lease and delete its keys; one that has ended already is no error."""
        ...


def folder(prefix: Key) -> Key:
    """A prefix in the form that every key below it starts with."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def check_size(key: Key, value: bytes) -> None:
    """Raises ValueTooLarge if a value has more than MAX_VALUE_BYTES."""
    if len(value) > MAX_VALUE_BYTES:
        raise ValueTooLarge(key, len(value))
