"""A mesh API of the tests' own: answers agents from memory, and can be made to fail."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

from aiohttp import web

from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, Registration


class FakeMeshApi:
    """Serves in a thread of its own while its context lasts.

    Args:
        host: Address to listen on.
        tls: Serve HTTPS with this context.

    Attributes:
        registrations, beacons, acknowledgements: What agents said, by resource; of beacons the newest.
        tokens: Every bearer token that was seen.
        failing: Status to answer everything with; 0: work.
    """

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._host, self._tls = host, tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._configs: dict[str, GatewayConfig] = {}
        self._changed: asyncio.Event
        self.registrations: dict[str, Registration] = {}
        self.beacons: dict[str, Beacon] = {}
        self.acknowledgements: dict[str, list[Acknowledgement]] = defaultdict(list)
        self.tokens: list[str] = []
        self.failing = 0
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def offer(self, *configs: GatewayConfig) -> None:
        """Give agents these configs from now on; returns when all of them can be had."""

        def change() -> None:
            self._configs |= {config.gateway: config for config in configs}
            self._changed.set()
            self._changed = asyncio.Event()

        async def in_loop() -> None:
            change()

        asyncio.run_coroutine_threadsafe(in_loop(), self._loop).result(10)

    def forget(self) -> None:
        """Lose all registrations, as a store that was emptied would."""
        self.registrations.clear()

    def outcome(self, config: GatewayConfig) -> Acknowledgement | None:
        """The newest word on a config; None if there is none yet."""
        said = [
            ack
            for ack in self.acknowledgements[config.gateway]
            if (ack.revision, ack.epoch) == (config.revision, config.epoch)
        ]
        return said[-1] if said else None

    async def _serve(self) -> None:
        self._changed = asyncio.Event()
        app = web.Application(middlewares=[self._gate])
        app.add_routes(
            [
                web.post("/v1/agents/register", self._register),
                web.post("/v1/agents/beacon", self._beacon),
                web.get("/v1/agents/config", self._config),
                web.post("/v1/agents/ack", self._acknowledge),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://{self._host}:{port}"

    @web.middleware
    async def _gate(self, request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.failing:
            return web.json_response({"error": "failing as told"}, status=self.failing)
        return await handler(request)

    async def _register(self, request: web.Request) -> web.Response:
        registration = decode(Registration, await request.read())
        self.registrations[registration.resource] = registration
        return web.json_response({"id": registration.resource, "beaconIntervalS": 1})

    async def _beacon(self, request: web.Request) -> web.Response:
        resource = self._resource(request)
        if resource not in self.registrations:
            return web.json_response({"error": f"{resource} is not registered"}, status=404)
        self.beacons[resource] = decode(Beacon, await request.read())
        return web.json_response({})

    async def _config(self, request: web.Request) -> web.Response:
        resource, query = self._resource(request), request.query
        deadline = self._loop.time() + float(query["wait"].removesuffix("s"))
        while True:
            changed, config = self._changed, self._configs.get(resource)
            if config and (config.revision, str(config.epoch)) != (query["revision"], query["epoch"]):
                return web.Response(body=encode(config), content_type="application/json")
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return web.Response(status=304)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        acknowledgement = decode(Acknowledgement, await request.read())
        self.acknowledgements[self._resource(request)].append(acknowledgement)
        return web.json_response({})

    def _resource(self, request: web.Request) -> str:
        """Tokens of the tests are ``namespace.name.anything``."""
        namespace, name, _ = request.headers["Authorization"].removeprefix("Bearer ").split(".", 2)
        return f"{namespace}/{name}"
