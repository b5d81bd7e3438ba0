"""The registry over every store: what is registered is discovered for as long as it can be used."""

import hashlib

import pytest

from discovery.conftest import World
from discovery.meshes import gateway, intent, offering, registration, resource
from foremesh.discovery.registry import Availability, NotRegistered, Registry
from foremesh.discovery.store import StoreUnavailable
from foremesh.model import tokens
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Acknowledgement, Beacon
from lab.process import wait_until_async

ORDERS = intent(to={"service": "orders-db"})
DB = resource("db", services=offering("orders-db"))
REPLICA = resource("replica", services=offering("orders-db"))


async def discovered(registry: Registry) -> tuple[list[str], dict[str, str]]:
    found = (await registry.discover_resources([ORDERS]))[ORDERS.id]
    return [one.id for one in found.matched], dict(found.rejected)


async def test_what_is_registered_is_discovered_until_it_is_unregistered(world: World) -> None:
    registry = Registry(world.store)
    await registry.register_resource(DB.id, DB, [ORDERS])
    await registry.register_resource(REPLICA.id, REPLICA)
    assert await discovered(Registry(world.connect())) == (["shop/db", "shop/replica"], {})
    record = (await registry.resources())[DB.id]
    assert record.resource == DB
    assert record.intents == (ORDERS,)
    await registry.register_resource(DB.id, DB)
    assert (await registry.resources())[DB.id].intents == ()
    await registry.unregister_resource(DB.id)
    assert await discovered(registry) == (["shop/replica"], {})


async def test_a_resource_reported_unavailable_is_no_candidate_until_it_is_available(world: World) -> None:
    registry = Registry(world.store)
    await registry.register_resource(DB.id, DB)
    await registry.update_resource_status(DB.id, Availability.UNAVAILABLE)
    assert await discovered(registry) == ([], {"shop/db": "was reported unavailable"})
    assert await registry.unavailable() == {"shop/db"}
    await registry.update_resource_status(DB.id, Availability.AVAILABLE)
    assert await discovered(registry) == (["shop/db"], {})


async def test_an_agent_that_falls_silent_is_no_candidate_and_comes_back_with_a_beacon(world: World) -> None:
    registry = Registry(world.store, presence_ttl_s=world.ttl_s)
    await registry.register_resource(DB.id, DB)
    await registry.register_agent(registration(DB.id))
    silent = {"shop/db": f"is silent: no beacon for more than {world.ttl_s:g} s"}
    assert await discovered(registry) == ([], silent)
    await registry.beacon(DB.id, Beacon(load=0.25))
    assert await discovered(registry) == (["shop/db"], {})

    async def gone() -> bool:
        return await registry.beacons() == {}

    await wait_until_async(gone, world.ttl_s + 5, what="presence ends with the lease")
    assert await discovered(registry) == ([], silent)
    assert await registry.registrations() == {DB.id: registration(DB.id)}
    await registry.beacon(DB.id, Beacon(load=0.5))
    assert await registry.beacons() == {DB.id: Beacon(load=0.5)}


async def test_beacons_keep_presence_whichever_replica_they_reach(world: World) -> None:
    one = Registry(world.store, presence_ttl_s=world.ttl_s)
    other = Registry(world.connect(), presence_ttl_s=world.ttl_s)
    await one.register_agent(registration(DB.id))
    await one.beacon(DB.id, Beacon(peers_up=1))
    # The first replica's lease is not renewed any more; its end must not take along what the second one put.
    witness = await world.store.put("witness", b"", lease=await world.store.grant(world.ttl_s))

    async def first_lease_ended() -> bool:
        await other.beacon(DB.id, Beacon(peers_up=2))
        assert await other.beacons() == {DB.id: Beacon(peers_up=2)}
        return await world.store.get("witness") is None

    await wait_until_async(first_lease_ended, world.ttl_s + 5)
    assert (await world.store.list("presence"))[0][0].revision > witness
    await one.beacon(DB.id, Beacon(peers_up=3))
    assert await other.beacons() == {DB.id: Beacon(peers_up=3)}


async def test_a_gateway_without_an_agent_is_no_candidate(world: World) -> None:
    registry = Registry(world.store)
    relay = gateway("gw", services=offering("orders-db"))
    await registry.register_resource(relay.id, relay)
    assert await discovered(registry) == ([], {"shop/gw": "is a gateway whose agent never registered"})
    await registry.register_agent(registration(relay.id))
    await registry.beacon(relay.id, Beacon())
    assert await discovered(registry) == (["shop/gw"], {})


async def test_a_beacon_of_a_stranger_is_refused(world: World) -> None:
    registry = Registry(world.store)
    with pytest.raises(NotRegistered, match="shop/db is not registered"):
        await registry.beacon(DB.id, Beacon())
    assert await registry.beacons() == {}


async def test_configs_of_two_owners_are_apart(world: World) -> None:
    east, west = Registry(world.store, owner="east"), Registry(world.store, owner="west")
    await east.put_config(GatewayConfig(gateway="shop/gw", epoch=1))
    await west.put_config(GatewayConfig(gateway="shop/gw", epoch=7))
    assert (await east.configs())["shop/gw"].epoch == 1
    assert (await west.configs())["shop/gw"].epoch == 7
    await east.delete_config("shop/gw")
    assert await east.configs() == {}
    assert list(await west.configs()) == ["shop/gw"]


async def test_acknowledgements_are_kept_by_gateway(world: World) -> None:
    registry = Registry(world.store)
    refused = Acknowledgement(gateway="shop/gw", epoch=3, revision="ab", applied=False, error="no such device")
    await registry.acknowledge(refused)
    assert await registry.acknowledgements() == {"shop/gw": refused}


async def test_no_token_is_stored(world: World) -> None:
    registry = Registry(world.store)
    token = tokens.new("shop", "db")
    await registry.put_token_digest(DB.id, tokens.digest(token))
    assert await registry.token_digest(DB.id) == hashlib.sha256(token.encode()).hexdigest()
    assert await registry.token_digests() == {DB.id: tokens.digest(token)}
    assert await registry.token_digest("shop/other") is None
    secret = token.rpartition(".")[2].encode()
    assert all(secret not in record.value for record in (await world.store.list(""))[0])
    await registry.unregister_resource(DB.id)
    assert await registry.token_digest(DB.id) is None


async def test_a_record_that_cannot_be_read_does_not_hide_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(world.store)
    await registry.register_resource(DB.id, DB)
    await world.store.put("resources/shop/broken", b'{"resource": 7}')
    assert list(await registry.resources()) == [DB.id]
    assert "key=resources/shop/broken" in caplog.text
    await registry.register_resource("shop/broken", resource("broken"))
    assert sorted(await registry.resources()) == ["shop/broken", "shop/db"]


async def test_a_store_that_lost_everything_is_full_again_when_all_have_spoken(world: World) -> None:
    registry = Registry(world.store, presence_ttl_s=world.ttl_s)

    async def everybody_speaks() -> None:
        await registry.register_resource(DB.id, DB, [ORDERS])
        await registry.register_agent(registration(DB.id))
        await registry.beacon(DB.id, Beacon(peers_up=2))

    await everybody_speaks()
    await world.wipe()

    async def beacon_refused() -> bool:
        # The agent learns by its next beacon that it has to register again.
        with pytest.raises(NotRegistered):
            await registry.beacon(DB.id, Beacon())
        return True

    await wait_until_async(beacon_refused, 10, ignoring=(StoreUnavailable,))
    assert await registry.resources() == {}
    await everybody_speaks()
    assert await discovered(registry) == (["shop/db"], {})
    assert await registry.beacons() == {DB.id: Beacon(peers_up=2)}
