"""What every store promises, held against each of them."""

from collections.abc import Callable

import pytest

from discovery.conftest import Watching, World
from foremesh.discovery.lease import KeptLease
from foremesh.discovery.store import (
    MAX_VALUE_BYTES,
    Compacted,
    Conflict,
    DiscoveryStore,
    EventKind,
    LeaseLost,
    Revision,
    StoreUnavailable,
    ValueTooLarge,
)
from lab.process import wait_until_async

Watch = Callable[[DiscoveryStore, str, Revision], Watching]


def said(watch: Watching) -> list[tuple[EventKind, str, bytes]]:
    return [(event.kind, event.record.key, event.record.value) for event in watch.events]


async def test_what_is_put_is_read_until_it_is_deleted(world: World) -> None:
    store = world.store
    assert await store.get("a/b") is None
    first = await store.put("a/b", b"one")
    second = await store.put("a/b", b"two")
    assert second > first
    record = await store.get("a/b")
    assert record is not None
    assert (record.key, record.value, record.revision) == ("a/b", b"two", second)
    await store.delete("a/b")
    assert await store.get("a/b") is None
    await store.delete("a/b")


async def test_a_prefix_is_a_folder(world: World) -> None:
    store = world.store
    for key in ("gateways/ab/x", "gateways/a/y", "gateways/a/x", "gateways/a", "gateways"):
        await store.put(key, key.encode())
    records, revision = await store.list("gateways/a")
    assert [record.key for record in records] == ["gateways/a/x", "gateways/a/y"]
    assert revision >= records[-1].revision
    everything, _ = await store.list("")
    assert [record.key for record in everything] == [
        "gateways",
        "gateways/a",
        "gateways/a/x",
        "gateways/a/y",
        "gateways/ab/x",
    ]


async def test_conditional_changes(world: World) -> None:
    store = world.store
    made = await store.put("k", b"1", if_revision=0)
    with pytest.raises(Conflict, match="exists already"):
        await store.put("k", b"2", if_revision=0)
    changed = await store.put("k", b"2", if_revision=made)
    with pytest.raises(Conflict, match=f"revision {made}"):
        await store.delete("k", if_revision=made)
    record = await store.get("k")
    assert record is not None
    assert record.value == b"2"
    await store.delete("k", if_revision=changed)
    with pytest.raises(Conflict):
        await store.put("k", b"3", if_revision=changed)


async def test_a_value_may_be_large_but_not_too_large(world: World) -> None:
    await world.store.put("large", b"x" * MAX_VALUE_BYTES)
    record = await world.store.get("large")
    assert record is not None
    assert len(record.value) == MAX_VALUE_BYTES
    with pytest.raises(ValueTooLarge, match="large would take 1000001 bytes"):
        await world.store.put("large", b"x" * (MAX_VALUE_BYTES + 1))


async def test_a_list_may_exceed_what_one_message_usually_holds(world: World) -> None:
    """gRPC's default limit for an answer is 4 MiB."""
    for number in range(6):
        await world.store.put(f"many/{number}", b"x" * MAX_VALUE_BYTES)
    records, _ = await world.store.list("many")
    assert len(records) == 6


async def test_a_watch_tells_every_change_below_its_prefix_in_order(world: World, watching: Watch) -> None:
    store = world.store
    await store.put("a/1", b"before")
    _, revision = await store.list("a")
    watch = watching(world.connect(), "a", revision)
    await store.put("a/1", b"x")
    await store.put("b/1", b"elsewhere")
    await store.delete("a/1")
    await store.put("a/2", b"y")
    await watch.until(3)
    assert said(watch) == [
        (EventKind.PUT, "a/1", b"x"),
        (EventKind.DELETE, "a/1", b""),
        (EventKind.PUT, "a/2", b"y"),
    ]
    revisions = [event.record.revision for event in watch.events]
    assert revisions == sorted(set(revisions))


async def test_a_watch_resumes_after_any_revision(world: World, watching: Watch) -> None:
    revisions = [await world.store.put("a/k", str(number).encode()) for number in range(5)]
    watch = watching(world.store, "a", revisions[2])
    await watch.until(2)
    assert [event.record.value for event in watch.events] == [b"3", b"4"]


async def test_a_lease_that_is_not_renewed_takes_its_keys_along(world: World, watching: Watch) -> None:
    store = world.store
    lease = await store.grant(world.ttl_s)
    assert lease.ttl_s >= world.ttl_s
    await store.put("p/kept", b"1")
    revision = await store.put("p/leased", b"1", lease=lease)
    watch = watching(store, "p", revision)
    await watch.until(1, timeout_s=world.ttl_s + 5)
    assert said(watch) == [(EventKind.DELETE, "p/leased", b"")]
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)
    with pytest.raises(LeaseLost):
        await store.put("p/leased", b"2", lease=lease)
    assert [record.key for record in (await store.list("p"))[0]] == ["p/kept"]
    await store.revoke(lease)


async def test_a_key_belongs_to_the_last_lease_it_was_put_under(world: World) -> None:
    store = world.store
    old, new = await store.grant(60), await store.grant(60)
    for key in ("moved", "freed", "left"):
        await store.put(key, b"1", lease=old)
    await store.put("moved", b"2", lease=new)
    await store.put("freed", b"2")
    await store.revoke(old)
    assert [record.key for record in (await store.list(""))[0]] == ["freed", "moved"]
    await store.revoke(new)
    assert [record.key for record in (await store.list(""))[0]] == ["freed"]


async def test_a_kept_lease_outlives_its_time_and_goes_with_its_holder(world: World, watching: Watch) -> None:
    _, revision = await world.store.list("")
    watch = watching(world.store, "", revision)
    async with KeptLease(world.store, ttl_s=world.ttl_s) as kept:
        await kept.put("kept", b"1")
        # A second lease that nobody renews is the clock: when it ends, the kept one has outlived its first term.
        await world.store.put("witness", b"1", lease=await world.store.grant(world.ttl_s))
        events = await watch.until(3, timeout_s=world.ttl_s + 5)
        assert [(event.kind, event.record.key) for event in events] == [
            (EventKind.PUT, "kept"),
            (EventKind.PUT, "witness"),
            (EventKind.DELETE, "witness"),
        ]
        assert kept.held
        assert kept.losses == 0
    await watch.until(4)
    assert said(watch)[3] == (EventKind.DELETE, "kept", b"")
    assert not kept.held


async def test_a_kept_lease_that_was_lost_puts_its_keys_again(world: World, watching: Watch) -> None:
    async with KeptLease(world.store, ttl_s=world.ttl_s) as kept:
        await kept.put("a", b"1")
        await kept.put("b", b"2")
        _, revision = await world.store.list("")
        watch = watching(world.store, "", revision)
        assert kept.lease is not None
        await world.store.revoke(kept.lease)
        await watch.until(4, timeout_s=world.ttl_s + 5)
        assert said(watch)[:2] == [(EventKind.DELETE, "a", b""), (EventKind.DELETE, "b", b"")]
        assert sorted(said(watch)[2:]) == [(EventKind.PUT, "a", b"1"), (EventKind.PUT, "b", b"2")]
        await wait_until_async(lambda: kept.held, 5)
        assert kept.losses == 1


async def test_a_watch_from_before_a_compaction_says_so(world: World, watching: Watch) -> None:
    store = world.store
    old = await store.put("a/k", b"0")
    for number in range(3):
        await store.put("a/k", str(number).encode())
    await world.compact()
    error = await watching(store, "a", old).end()
    assert isinstance(error, Compacted)
    assert error.after == old
    # The way out that the error names.
    records, revision = await store.list("a")
    assert [record.value for record in records] == [b"2"]
    watch = watching(store, "a", revision)
    await store.put("a/k", b"next")
    await watch.until(1)
    assert said(watch) == [(EventKind.PUT, "a/k", b"next")]


async def test_a_running_watch_does_not_mind_a_compaction(world: World, watching: Watch) -> None:
    watch = watching(world.store, "a", (await world.store.list("a"))[1])
    await world.store.put("a/k", b"1")
    await watch.until(1)
    await world.compact()
    await world.store.put("a/k", b"2")
    await watch.until(2)
    assert [event.record.value for event in watch.events] == [b"1", b"2"]


async def test_a_store_that_is_away_says_so_and_nothing_is_lost(world: World, watching: Watch) -> None:
    store = world.store
    before = await store.put("a/k", b"1")
    watch = watching(world.connect(), "a", before)
    await store.put("a/k", b"2")
    await watch.until(1)
    await world.stop()
    with pytest.raises(StoreUnavailable) as refused:
        await store.get("a/k")
    assert refused.value.operation == "get a/k"
    assert refused.value.endpoint in str(refused.value)
    for call in (store.put("a/k", b"x"), store.list("a"), store.delete("a/k"), store.grant(5)):
        with pytest.raises(StoreUnavailable):
            await call
    assert isinstance(await watch.end(), StoreUnavailable)
    await world.start()
    await wait_until_async(lambda: store.get("a/k"), 10, ignoring=(StoreUnavailable,))
    await store.put("a/k", b"3")
    resumed = watching(store, "a", watch.events[-1].record.revision)
    await resumed.until(1)
    assert said(resumed) == [(EventKind.PUT, "a/k", b"3")]


async def test_a_lease_survives_a_short_absence_of_the_store(world: World) -> None:
    async with KeptLease(world.store, ttl_s=world.ttl_s) as kept:
        await kept.put("kept", b"1")
        await world.stop()
        await wait_until_async(lambda: not kept.held, world.ttl_s + 5, what="the holder notices")
        await world.start()
        await wait_until_async(lambda: kept.held, 10, what="the lease is held again")
        record = await world.store.get("kept")
        assert record is not None
        assert record.value == b"1"


async def test_a_store_that_lost_its_data_ends_watches_and_is_filled_again(world: World, watching: Watch) -> None:
    """Also where the new history has grown past the position of the old watch, whose numbers would seem to fit."""
    store = world.store
    async with KeptLease(store, ttl_s=world.ttl_s) as kept:
        await kept.put("a/kept", b"1")
        _, revision = await store.list("a")
        await world.wipe()

        async def grown_past() -> bool:
            return await store.put("b/other", b"x") > revision

        await wait_until_async(grown_past, 10, ignoring=(StoreUnavailable,))
        error = await watching(store, "a", revision).end()
        assert isinstance(error, Compacted)
        assert "lost its data" in str(error)
        await wait_until_async(lambda: store.get("a/kept"), world.ttl_s + 5, what="the holder puts its key again")
