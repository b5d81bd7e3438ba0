"""The mesh API over HTTP, with a store in memory: every route, everything that can be wrong with a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from foremesh.api.feed import Feed
from foremesh.api.server import MeshApi, config_feed, token_feed
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.registry import Registry
from foremesh.model import tokens
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, PublicKeys, Registration
from lab.process import wait_until_async

AMS, FRA = "mesh/ams", "mesh/fra"
PRESENCE_S = 6.0
AGENT_ROUTES = [
    ("POST", "/v1/agents/register"),
    ("POST", "/v1/agents/beacon"),
    ("GET", "/v1/agents/config"),
    ("POST", "/v1/agents/ack"),
]


def registration(resource: str, *, metrics: str | None = "198.51.100.7:9466") -> Registration:
    keys = PublicKeys(hop="h", circuit="c", attach="a")
    return Registration(resource=resource, keys=keys, metrics_endpoint=metrics, version="1")


@dataclass
class Api:
    """Both listeners, and what is behind them."""

    store: MemoryStore
    registry: Registry
    agents: TestClient[Any, Any]
    inside: TestClient[Any, Any]
    tokens: dict[str, str]

    async def say(
        self, method: str, route: str, content: Any = None, *, who: str = AMS, **query: str
    ) -> ClientResponse:
        """A request as the agent of ``who`` makes it."""
        data = content if isinstance(content, bytes | None) else encode(content)
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return await self.agents.request(method, f"/v1/agents/{route}", data=data, headers=headers, params=query)

    async def config(self, wait: str = "5s", **known: Any) -> ClientResponse:
        return await self.say("GET", "config", wait=wait, **{key: str(value) for key, value in known.items()})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store = MemoryStore(timeout_s=0.05)
    registry = Registry(store, presence_ttl_s=PRESENCE_S)
    given = {id_: tokens.new(*id_.split("/")) for id_ in (AMS, FRA)}
    for id_, token in given.items():
        await registry.put_token_digest(id_, tokens.digest(token))
    feeds = config_feed(store), token_feed(store)
    following = [asyncio.create_task(feed.follow()) for feed in feeds]
    mesh = MeshApi(registry, *feeds)
    async with TestClient(TestServer(mesh.agents())) as agents, TestClient(TestServer(mesh.inside())) as inside:
        await wait_until_async(lambda: all(feed.following for feed in feeds), 5, what="feeds")
        yield Api(store, registry, agents, inside, given)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def error_of(response: ClientResponse) -> str:
    body = await response.json()
    assert set(body) == {"error"}
    return str(body["error"])


async def test_an_agent_registers_beacons_and_acknowledges(api: Api) -> None:
    answer = await api.say("POST", "register", registration(AMS))
    assert answer.status == 200
    assert await answer.json() == {"id": AMS, "beaconIntervalS": PRESENCE_S / 3}
    assert (await api.say("POST", "beacon", Beacon(applied_epoch=7))).status == 200
    ack = Acknowledgement(gateway=AMS, epoch=7, revision="r", applied=False, error="no room")
    assert (await api.say("POST", "ack", ack)).status == 200
    assert await api.registry.registrations() == {AMS: registration(AMS)}
    assert await api.registry.beacons() == {AMS: Beacon(applied_epoch=7)}
    assert await api.registry.acknowledgements() == {AMS: ack}


async def test_nobody_registers_by_a_token_that_was_taken_back_a_moment_ago(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tokens.digest(api.tokens[AMS])
    monkeypatch.setattr(Feed, "current", lambda _, id_: known)
    await api.registry.unregister_resource(AMS)
    assert (await api.say("POST", "register", registration(AMS))).status == 401
    assert await api.registry.registrations() == {}


async def test_a_beacon_before_registration_asks_for_one(api: Api) -> None:
    answer = await api.say("POST", "beacon", Beacon())
    assert answer.status == 404
    assert "has to register" in await error_of(answer)


@pytest.mark.parametrize(("method", "route"), AGENT_ROUTES)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic bWVzaDphbXM=",
        "Bearer",
        "Bearer nonsense",
        "Bearer mesh.ams.guess",
        "Bearer mesh.nobody.guess",
        "Bearer mesh.ams.gu\u00e9ss",
        "Bearer ../tokens.mesh/ams.guess",
    ],
    ids=["none", "empty", "basic", "no-token", "no-parts", "wrong", "unknown-resource", "not-ascii", "path"],
)
async def test_who_has_no_good_token_gets_nowhere(api: Api, method: str, route: str, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    answer = await api.agents.request(
        method, route, headers=headers, data=encode(registration(AMS)) if method == "POST" else None
    )
    assert answer.status == 401
    assert "guess" not in await error_of(answer)
    assert await api.registry.registrations() == {}


@pytest.mark.parametrize(
    ("route", "content"),
    [
        ("register", registration(FRA)),
        ("ack", Acknowledgement(gateway=FRA, epoch=1, revision="", applied=True)),
    ],
)
async def test_nobody_speaks_for_another(api: Api, route: str, content: Any) -> None:
    answer = await api.say("POST", route, content)
    assert answer.status == 403
    assert FRA in await error_of(answer)
    assert await api.registry.registrations() == {}
    assert await api.registry.acknowledgements() == {}


@pytest.mark.parametrize("route", ["register", "beacon", "ack"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"resource": 7, "gateway": 7, "load": "high"}', b"\xff", b'{"labels": "x"}'],
    ids=["empty", "cut-off", "list", "wrong-types", "not-utf8", "wrong-type"],
)
async def test_what_cannot_be_read_is_told_back(api: Api, route: str, content: bytes) -> None:
    answer = await api.say("POST", route, content)
    assert answer.status == 400
    assert await error_of(answer)


async def test_too_much_is_refused(api: Api) -> None:
    assert (await api.say("POST", "beacon", b"x" * 2_000_000)).status == 413


@pytest.mark.parametrize("query", [{"wait": "soon"}, {"epoch": "newest"}, {"epoch": "9" * 5000}])
async def test_a_config_request_that_makes_no_sense_is_told_back(api: Api, query: dict[str, str]) -> None:
    assert (await api.say("GET", "config", **query)).status == 400


async def test_an_unknown_route_is_json_too(api: Api) -> None:
    answer = await api.say("GET", "nothing")
    assert answer.status == 404
    assert await error_of(answer)


async def test_there_is_no_config_before_there_is_one(api: Api) -> None:
    assert (await api.config(wait="0")).status == 304


async def test_a_config_that_is_not_known_is_handed_out_at_once(api: Api) -> None:
    config = GatewayConfig(gateway=AMS, epoch=3, number=1)
    await api.registry.put_config(config)
    answer = await api.config()
    assert decode(GatewayConfig, await answer.read()) == config


@pytest.mark.parametrize(
    "new",
    [GatewayConfig(gateway=AMS, epoch=4, number=2), GatewayConfig(gateway=AMS, epoch=4, number=1)],
    ids=["another-content", "another-epoch-alone"],
)
async def test_a_waiting_agent_hears_of_a_new_config(api: Api, new: GatewayConfig) -> None:
    known = GatewayConfig(gateway=AMS, epoch=3, number=1)
    await api.registry.put_config(known)
    waiting = asyncio.create_task(api.config(wait="30s", epoch=known.epoch, revision=known.revision))
    await asyncio.sleep(0)
    await api.registry.put_config(GatewayConfig(gateway=FRA, epoch=9))
    assert not waiting.done()
    await api.registry.put_config(new)
    answer = await asyncio.wait_for(waiting, 5)
    assert decode(GatewayConfig, await answer.read()) == new


async def test_a_known_config_is_not_sent_again(api: Api) -> None:
    known = GatewayConfig(gateway=AMS, epoch=3)
    await api.registry.put_config(known)
    assert (await api.config(wait="0.05s", epoch=3, revision=known.revision)).status == 304


async def test_an_agent_sees_no_config_but_its_own(api: Api) -> None:
    await api.registry.put_config(GatewayConfig(gateway=FRA, epoch=3))
    assert (await api.config(wait="0.05s")).status == 304


async def test_while_the_store_is_away_configs_go_on_being_served(api: Api) -> None:
    config = GatewayConfig(gateway=AMS, epoch=3)
    await api.registry.put_config(config)
    await api.config()
    waiting = asyncio.create_task(api.config(wait="30s", epoch=3, revision=config.revision))
    await asyncio.sleep(0)
    await api.store.go_away()
    for method, route in (("POST", "register"), ("POST", "beacon"), ("POST", "ack")):
        content = {"register": registration(AMS), "beacon": Beacon()}.get(
            route, Acknowledgement(gateway=AMS, epoch=1, revision="", applied=True)
        )
        answer = await api.say(method, route, content)
        assert answer.status == 503, route
        assert "is away" in await error_of(answer)
    assert (await api.config(wait="0")).status == 200
    await wait_until_async(lambda: not_ready(api), 5, what="readyz says that etcd is away")
    assert 'foremesh_dependency_up{dependency="etcd"} 0.0' in await (await api.inside.get("/metrics")).text()
    assert not waiting.done()
    await api.store.come_back()
    newer = GatewayConfig(gateway=AMS, epoch=4)
    await api.registry.put_config(newer)
    assert decode(GatewayConfig, await (await asyncio.wait_for(waiting, 5)).read()) == newer
    assert (await api.inside.get("/readyz")).status == 200


async def not_ready(api: Api) -> bool:
    return (await api.inside.get("/readyz")).status == 503


async def test_a_token_that_nobody_can_check_is_no_bad_token(api: Api) -> None:
    """An agent that comes while the store is away has to try again, not give up."""
    await api.store.go_away()
    answer = await api.agents.get("/v1/agents/config", headers={"Authorization": "Bearer mesh.new.secret"})
    assert answer.status == 503


async def test_a_token_is_good_as_soon_as_the_store_has_it_and_no_longer(api: Api) -> None:
    token = api.tokens["mesh/new"] = tokens.new("mesh", "new")
    await api.registry.put_token_digest("mesh/new", tokens.digest(token))
    assert (await api.say("POST", "register", registration("mesh/new"), who="mesh/new")).status == 200
    await api.registry.unregister_resource("mesh/new")

    async def refused() -> bool:
        return (await api.say("POST", "beacon", Beacon(), who="mesh/new")).status == 401

    await wait_until_async(refused, 5, what="token revoked")


async def test_a_store_that_lost_everything_and_was_compacted_is_followed_again(api: Api) -> None:
    await api.registry.put_config(GatewayConfig(gateway=AMS, epoch=3))
    await api.config()
    await api.store.wipe()
    for id_, token in api.tokens.items():
        await api.registry.put_token_digest(id_, tokens.digest(token))
    await api.registry.put_config(GatewayConfig(gateway=AMS, epoch=4))
    await api.store.compact()

    async def current() -> bool:
        answer = await api.config(wait="0")
        return answer.status == 200 and decode(GatewayConfig, await answer.read()).epoch == 4

    await wait_until_async(current, 5, what="the config of after the loss")


async def test_a_record_that_cannot_be_read_stands_in_nobodys_way(api: Api) -> None:
    await api.store.put(f"configs/{FRA}/local", b"not json")
    await api.registry.put_config(GatewayConfig(gateway=AMS, epoch=3))
    assert (await api.config()).status == 200


async def test_no_token_reaches_a_log_or_an_error(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = api.tokens[AMS].rpartition(".")[2]
    texts = []
    for content in (registration(AMS), registration(FRA), b"{"):
        texts.append(await (await api.say("POST", "register", content)).text())
    wrong = {"Authorization": f"Bearer mesh.fra.{secret}"}
    texts.append(await (await api.agents.post("/v1/agents/beacon", headers=wrong)).text())
    await api.store.go_away()
    texts.append(await (await api.say("POST", "beacon", Beacon())).text())
    texts.append(await (await api.inside.get("/metrics")).text())
    assert "registered resource=mesh/ams" in caplog.text
    assert secret not in "".join([*texts, caplog.text])


async def test_log_lines_cannot_be_forged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ack = Acknowledgement(gateway=AMS, epoch=1, revision="r", applied=False, error="x\nINFO all is well")
    await api.say("POST", "ack", ack)
    assert "all is well" in caplog.text
    assert not any("\n" in record.getMessage() for record in caplog.records)


async def test_a_fault_of_the_api_itself_is_an_error_in_json(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret thought")

    monkeypatch.setattr(api.registry, "register_agent", broken)
    answer = await api.say("POST", "register", registration(AMS))
    assert answer.status == 500
    assert "thought" not in await error_of(answer)


async def test_prometheus_finds_every_registered_agent(api: Api) -> None:
    await api.registry.register_agent(registration(FRA, metrics="198.51.100.8:9466"))
    await api.registry.register_agent(registration(AMS))
    await api.registry.register_agent(registration("mesh/shy", metrics=None))
    answer = await api.inside.get("/v1/sd/prometheus")
    assert answer.content_type == "application/json"
    assert await answer.json() == [
        {"targets": ["198.51.100.7:9466"], "labels": {"resource": AMS}},
        {"targets": ["198.51.100.8:9466"], "labels": {"resource": FRA}},
    ]


async def test_targets_are_an_error_while_the_store_is_away_so_that_prometheus_keeps_its_list(api: Api) -> None:
    await api.store.go_away()
    assert (await api.inside.get("/v1/sd/prometheus")).status == 503


async def test_health_metrics_and_agents_are_apart(api: Api) -> None:
    assert (await api.inside.get("/healthz")).status == 200
    assert (await api.inside.get("/readyz")).status == 200
    await api.say("POST", "register", registration(AMS))
    exported = await (await api.inside.get("/metrics")).text()
    assert 'foremesh_dependency_up{dependency="etcd"} 1.0' in exported
    assert 'foremesh_api_requests_total{route="/v1/agents/register",status="200"}' in exported
    assert (await api.inside.post("/v1/agents/register")).status == 404
    assert (await api.say("GET", "../../metrics")).status in (401, 404)
