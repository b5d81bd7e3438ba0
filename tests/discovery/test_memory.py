"""The in-memory store under a clock that the test turns."""

import pytest

from foremesh.discovery import memory
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.store import Compacted


async def test_leases_end_by_the_clock_handed_in() -> None:
    now_s = 100.0
    store = MemoryStore(clock=lambda: now_s)
    lease = await store.grant(10)
    await store.put("k", b"v", lease=lease)
    now_s = 109.9
    assert await store.get("k") is not None
    await store.keep_alive(lease)
    now_s = 119.8
    assert await store.get("k") is not None
    now_s = 119.9
    assert await store.get("k") is None


async def test_history_is_bounded_and_a_watch_left_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "HISTORY_EVENTS", 10)
    store = MemoryStore()
    revisions = [await store.put("k", str(number).encode()) for number in range(30)]
    recent = store.watch("", after=revisions[25])
    assert [(await anext(recent)).record.value for _ in range(4)] == [b"26", b"27", b"28", b"29"]
    with pytest.raises(Compacted) as told:
        await anext(store.watch("", after=revisions[5]))
    assert told.value.after == revisions[5]
