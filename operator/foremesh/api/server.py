"""HTTP routes of the mesh API.

Every agent route is authenticated by the agent's bearer token, which names its MeshResource; an agent can speak for no
other. Errors are JSON ``{"error": "..."}``: 400 what cannot be read, 401 a bad token, 404 not registered, 503 a store
that is away.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foremesh.api.configs import ConfigFeed
from foremesh.discovery.registry import NotRegistered, Registry
from foremesh.discovery.store import StoreUnavailable
from foremesh.model import tokens
from foremesh.model.manifest import ManifestError, decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, Registration

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 55.0
"""Seconds that a config request may wait; below the idle timeout of common proxies (60 s)."""

METRICS = CollectorRegistry()
REQUESTS = Counter("foremesh_api_requests_total", "Requests of agents", ["route", "status"], registry=METRICS)
STORE_UP = Gauge("foremesh_dependency_up", "1 while a dependency answers", ["dependency"], registry=METRICS)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RESOURCE = web.RequestKey("resource", str)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    route = request.match_info.route.resource.canonical if request.match_info.route.resource else "unknown"
    try:
        response = await handler(request)
    except tokens.Unauthorized as error:
        response = _error(401, str(error))
    except ManifestError as error:
        response = _error(400, str(error))
    except NotRegistered as error:
        response = _error(404, str(error))
    except StoreUnavailable as error:
        STORE_UP.labels("etcd").set(0)
        response = _error(503, str(error))
    except web.HTTPException as error:
        response = _error(error.status, error.reason)
    REQUESTS.labels(route, response.status).inc()
    return response


class MeshApi:
    """The routes over a registry and a feed of configs."""

    def __init__(self, registry: Registry, feed: ConfigFeed) -> None:
        self._registry = registry
        self._feed = feed

    def agents(self) -> web.Application:
        """What agents reach, over HTTPS."""
        app = web.Application(middlewares=[_errors_as_json, self._authenticated])
        app.add_routes(
            [
                web.post("/v1/agents/register", self._register),
                web.post("/v1/agents/beacon", self._beacon),
                web.get("/v1/agents/config", self._config),
                web.post("/v1/agents/ack", self._acknowledge),
            ]
        )
        return app

    def inside(self) -> web.Application:
        """What only the cluster reaches: health, metrics, Prometheus' targets."""
        app = web.Application(middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.get("/healthz", self._healthy),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/v1/sd/prometheus", self._targets),
            ]
        )
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise tokens.Unauthorized("the Authorization header carries no bearer token")
        resource = tokens.resource_of(token.strip())
        tokens.check(token.strip(), await self._registry.token_digest(resource))
        request[RESOURCE] = resource
        return await handler(request)

    async def _register(self, request: web.Request) -> web.Response:
        registration = decode(Registration, await request.read(), where="registration")
        resource = request[RESOURCE]
        if registration.resource != resource:
            raise tokens.Unauthorized(f"the bearer token is for {resource}, not for {registration.resource}")
        await self._registry.register_agent(registration)
        log.info("registered resource=%s endpoint=%s version=%s", resource, registration.endpoint, registration.version)
        return web.json_response({"id": resource, "beaconIntervalS": self._registry.presence_ttl_s / 3})

    async def _beacon(self, request: web.Request) -> web.Response:
        beacon = decode(Beacon, await request.read(), where="beacon")
        await self._registry.beacon(request[RESOURCE], beacon)
        return web.json_response({})

    async def _config(self, request: web.Request) -> web.Response:
        try:
            wait_s = min(LONGEST_WAIT_S, max(0.0, float(request.query.get("wait", "0").removesuffix("s"))))
            epoch = int(request.query.get("epoch", "-1"))
        except ValueError as error:
            raise ManifestError("config request", f"wait and epoch are numbers: {error}") from error
        config = await self._feed.wait(
            request[RESOURCE], known_revision=request.query.get("revision", ""), known_epoch=epoch, timeout_s=wait_s
        )
        if config is None:
            return web.Response(status=304)
        return web.Response(body=encode(config), content_type="application/json")

    async def _acknowledge(self, request: web.Request) -> web.Response:
        ack = decode(Acknowledgement, await request.read(), where="acknowledgement")
        resource = request[RESOURCE]
        if ack.gateway != resource:
            raise tokens.Unauthorized(f"the bearer token is for {resource}, not for {ack.gateway}")
        await self._registry.acknowledge(ack)
        log.log(
            logging.INFO if ack.applied else logging.WARNING,
            "acknowledged gateway=%s epoch=%d revision=%s applied=%s error=%s",
            resource,
            ack.epoch,
            ack.revision,
            ack.applied,
            ack.error or "-",
        )
        return web.json_response({})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        STORE_UP.labels("etcd").set(self._feed.following)
        if not self._feed.following:
            return _error(503, "etcd is away: agents keep their configs, new ones wait")
        return web.json_response({"status": "ready"})

    async def _metrics(self, _: web.Request) -> web.Response:
        STORE_UP.labels("etcd").set(self._feed.following)
        return web.Response(body=generate_latest(METRICS), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _targets(self, _: web.Request) -> web.Response:
        """One target for each registered agent, in the form of Prometheus' HTTP service discovery."""
        registrations = await self._registry.registrations()
        targets = [
            {"targets": [registration.metrics_endpoint], "labels": {"resource": registration.resource}}
            for registration in registrations.values()
            if registration.metrics_endpoint
        ]
        return web.Response(body=msgspec.json.encode(targets), content_type="application/json")
