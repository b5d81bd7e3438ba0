"""Forecasts and explanations by way of the mesh API: what the operator says, or why there is nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port
from yarl import URL

from controller.scene import Mesh, intent_body
from foremesh.api import server
from foremesh.api.server import MeshApi, config_feed, token_feed
from foremesh.controller.explanations import Explanations
from foremesh.controller.foretold import Foretold
from foremesh.controller.run import metrics_app
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.registry import Registry


def mesh_api(operator_url: str | None) -> web.Application:
    store = MemoryStore()
    return MeshApi(Registry(store), config_feed(store), token_feed(store), operator_url=operator_url).inside()


async def asked(operator_url: str | None, **query: str) -> tuple[int, Any]:
    async with TestClient(TestServer(mesh_api(operator_url))) as api:
        response = await api.get("/v1/forecasts", params=query)
        return response.status, await response.json()


async def test_the_api_says_what_the_operator_says() -> None:
    async with TestServer(metrics_app(Foretold())) as operator:
        url = str(operator.make_url("/"))
        assert await asked(url, metric="rtt") == (200, {"problem": None, "newestSample": None, "series": []})
        status, body = await asked(url, colour="red")
        assert status == 400
        assert "colour" in body["error"]


async def test_an_operator_that_is_not_there_is_said() -> None:
    status, body = await asked(f"http://127.0.0.1:{unused_port()}")
    assert status == 503
    assert "operator does not answer" in body["error"]


async def test_an_operator_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OPERATOR_TIMEOUT_S", 0.05)
    told = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        await told.wait()
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.get("/v1/forecasts", never)])
    async with TestServer(app) as operator:
        status, _ = await asked(str(operator.make_url("/")))
        told.set()
    assert status == 503


async def test_an_api_that_knows_no_operator_says_so() -> None:
    status, body = await asked(None)
    assert status == 404
    assert "api.operatorUrl" in body["error"]


async def test_the_api_explains_what_the_operator_explains() -> None:
    mesh, pages = Mesh.of(intent_body()), Explanations()
    pages.keep(mesh.settle(), mesh.declared)
    async with (
        TestServer(metrics_app(Foretold(), pages)) as operator,
        TestClient(TestServer(mesh_api(str(operator.make_url("/"))))) as api,
    ):
        response = await api.get("/v1/explanations/intent/shop/orders")
        (told,) = (await response.json())["intents"]
        assert (response.status, told["intent"], told["placements"][0]["path"]) == (
            200,
            "shop/orders",
            "ams > lon > fra",
        )
        missing = await api.get("/v1/explanations/intent/nobody")
        assert missing.status == 404
        assert "there is no intent nobody" in (await missing.json())["error"]
        for elsewhere in ("/v1/explanations/../metrics", "/v1/explanations/intent/%2e%2e/%2e%2e/metrics"):
            other = await api.get(URL(elsewhere, encoded=True))
            assert "foremesh_plans" not in await other.text(), (
                "nothing else of the operator's is reached by way of this"
            )


async def test_agents_cannot_ask() -> None:
    store = MemoryStore()
    agents = MeshApi(Registry(store), config_feed(store), token_feed(store), operator_url="http://x").agents()
    async with TestClient(TestServer(agents)) as api:
        for page in ("/v1/forecasts", "/v1/explanations/intent/shop/orders"):
            assert (await api.get(page)).status in (401, 404)
