"""HTTP routes of the mesh API.

Every agent route is authenticated by the agent's bearer token, which names its MeshResource; an agent can speak for no
other. Errors are JSON ``{"error": "..."}``: 400 what cannot be read, 401 a bad token, 403 somebody else's resource, 404
not registered, 503 a store that is away. No token is ever part of an error or a log line.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foremesh.api.feed import Feed
from foremesh.discovery import keys
from foremesh.discovery.registry import NotRegistered, Registry, TokenRecord
from foremesh.discovery.store import DiscoveryStore, Key, StoreError
from foremesh.model import tokens
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError, decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, Registration

log = logging.getLogger(__name__)

EXPLAINED = "[a-z]+(/[a-z0-9]([-.a-z0-9]*[a-z0-9])?)+"
"""A kind and a name, as ``intent/shop/web``: nothing else of the operator's is reached by way of this."""

LONGEST_WAIT_S = 55.0
"""Seconds that a config request may wait; below the idle timeout of common proxies (60 s)."""

OPERATOR_TIMEOUT_S = 10.0
"""Seconds that the operator gets to tell its forecasts, or a story; a thousand links take it a tenth of one."""

METRICS = CollectorRegistry()
REQUESTS = Counter("foremesh_api_requests_total", "Requests of agents", ["route", "status"], registry=METRICS)
STORE_UP = Gauge("foremesh_dependency_up", "1 while a dependency answers", ["dependency"], registry=METRICS)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RESOURCE, TOKEN = web.RequestKey("resource", str), web.RequestKey("token", str)


class WrongResource(PermissionError):
    """An agent speaks for another resource than its token is for; carries ``own`` and ``other``."""

    def __init__(self, own: str, other: str) -> None:
        self.own = own
        self.other = other
        super().__init__(f"the bearer token is for {own}, not for {other}; nothing was stored")


@dataclass(frozen=True)
class Offer:
    """A config as it is handed out, with what tells it from another."""

    epoch: int
    revision: str
    body: bytes


def config_feed(store: DiscoveryStore) -> Feed[Offer]:
    """Follows the config of every gateway and workload."""

    def read(key: Key, value: bytes) -> Offer:
        config = decode(GatewayConfig, value, where=key)
        return Offer(config.epoch, config.revision, encode(config))

    return Feed(store, keys.CONFIGS, read)


def token_feed(store: DiscoveryStore) -> Feed[str]:
    """Follows the digests of agents' tokens."""
    return Feed(store, keys.TOKENS, lambda key, value: decode(TokenRecord, value, where=key).sha256)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    route = request.match_info.route.resource.canonical if request.match_info.route.resource else "unknown"
    try:
        response = await handler(request)
    except tokens.Unauthorized as error:
        response = _error(401, str(error))
    except WrongResource as error:
        response = _error(403, str(error))
    except ManifestError as error:
        response = _error(400, f"{error.where}: {error.cause}; it was not taken")
    except NotRegistered as error:
        response = _error(404, str(error))
    except StoreError as error:
        response = _error(503, str(error))
    except web.HTTPException as error:
        response = _error(error.status, error.reason)
    except Exception:
        log.exception("request failed route=%s", route)
        response = _error(500, "internal error; the log of the mesh API has it")
    REQUESTS.labels(route, response.status).inc()
    return response


class MeshApi:
    """The routes over a registry, with configs and tokens as the feeds have them.

    Args:
        operator_url: Where the operator serves what it forecasts; None: nowhere.
    """

    def __init__(
        self, registry: Registry, configs: Feed[Offer], digests: Feed[str], *, operator_url: str | None = None
    ) -> None:
        self._operator_url = operator_url
        self._registry = registry
        self._configs = configs
        self._digests = digests

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
                web.get("/v1/forecasts", self._from_operator),
                web.get(f"/v1/explanations/{{what:{EXPLAINED}}}", self._from_operator),
            ]
        )
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii():
            raise tokens.Unauthorized("the Authorization header carries no bearer token")
        resource = tokens.resource_of(token)
        if self._digests.current(resource) != tokens.digest(token):
            # The feed may be a moment behind, so only the store can say no.
            tokens.check(token, await self._registry.token_digest(resource))
        request[RESOURCE], request[TOKEN] = resource, token
        return await handler(request)

    async def _register(self, request: web.Request) -> web.Response:
        registration = decode(Registration, await request.read(), where="registration")
        resource = _own(request, registration.resource)
        # A registration stays, and the feed may be a moment behind with a token that is no longer good.
        tokens.check(request[TOKEN], await self._registry.token_digest(resource))
        await self._registry.register_agent(registration)
        log.info("registered resource=%s endpoint=%r version=%r", resource, registration.endpoint, registration.version)
        return web.json_response({"id": resource, "beaconIntervalS": self._registry.presence_ttl_s / 3})

    async def _beacon(self, request: web.Request) -> web.Response:
        beacon = decode(Beacon, await request.read(), where="beacon")
        await self._registry.beacon(request[RESOURCE], beacon)
        return web.json_response({})

    async def _config(self, request: web.Request) -> web.Response:
        """Hold the request until there is another config than the one known, or the time asked for is over (304)."""
        try:
            wait_s = min(LONGEST_WAIT_S, max(0.0, float(request.query.get("wait", "0").removesuffix("s"))))
            known = (int(request.query.get("epoch", "-1")), request.query.get("revision", ""))
        except ValueError as error:
            raise ManifestError("config request", f"wait and epoch are numbers: {error}") from error
        offer = await self._configs.wait(
            request[RESOURCE], lambda one: (one.epoch, one.revision) != known, timeout_s=wait_s
        )
        if offer is None:
            return web.Response(status=304)
        return web.Response(body=offer.body, content_type="application/json")

    async def _acknowledge(self, request: web.Request) -> web.Response:
        ack = decode(Acknowledgement, await request.read(), where="acknowledgement")
        resource = _own(request, ack.gateway)
        await self._registry.acknowledge(ack)
        log.log(
            logging.INFO if ack.applied else logging.WARNING,
            "acknowledged gateway=%s epoch=%d revision=%r applied=%s error=%r",
            resource,
            ack.epoch,
            ack.revision,
            ack.applied,
            ack.error,
        )
        return web.json_response({})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    @property
    def _following(self) -> bool:
        return self._configs.following and self._digests.following

    async def _ready(self, _: web.Request) -> web.Response:
        if not self._following:
            return _error(503, "etcd is away: agents keep their configs, new ones wait")
        return web.json_response({"status": "ready"})

    async def _metrics(self, _: web.Request) -> web.Response:
        STORE_UP.labels("etcd").set(self._following)
        return web.Response(body=generate_latest(METRICS), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _from_operator(self, request: web.Request) -> web.Response:
        """What the operator forecasts, and why it decided as it did, as it says it; agents have no part in this, and no
        way to it."""
        if self._operator_url is None:
            return _error(404, "this API was not told where the operator is (api.operatorUrl); it has no such page")
        url = f"{self._operator_url.rstrip('/')}{request.path}"
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=OPERATOR_TIMEOUT_S)) as session,
                session.get(url, params=request.query) as answer,
            ):
                body = await answer.read()
                return web.Response(status=answer.status, body=body, content_type="application/json")
        except (ClientError, TimeoutError) as error:
            log.warning("operator not reached url=%s error=%r", url, error)
            return _error(503, "the operator does not answer; paths stay as they are, and so do forecasts")

    async def _targets(self, _: web.Request) -> web.Response:
        """One target for each registered agent, in the form of Prometheus' HTTP service discovery."""
        registrations = await self._registry.registrations()
        targets = [
            {"targets": [registration.metrics_endpoint], "labels": {"resource": registration.resource}}
            for _, registration in sorted(registrations.items())
            if registration.metrics_endpoint
        ]
        return web.Response(body=msgspec.json.encode(targets), content_type="application/json")


def _own(request: web.Request, resource: str) -> str:
    """The resource that an agent speaks for.

    Raises:
        WrongResource: If its token is for another one.
    """
    if resource != request[RESOURCE]:
        raise WrongResource(request[RESOURCE], resource)
    return resource
