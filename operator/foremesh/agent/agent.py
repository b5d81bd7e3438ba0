"""The agent as a whole: ``run`` keeps a host as the mesh wants it, ``leave`` takes everything away again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from foremesh.agent import gather, rulesets, tunnels
from foremesh.agent.apply import Host, Sight
from foremesh.agent.client import ApiError, ApiRefused, Backoff, MeshClient, NotRegistered, until_done
from foremesh.agent.desired import Local
from foremesh.agent.diff import diff
from foremesh.agent.failover.client import Failover
from foremesh.agent.hops import OWN, Underlay
from foremesh.agent.host import HostError, address_towards
from foremesh.agent.http import Server
from foremesh.agent.keys import Keys
from foremesh.agent.liveness import Liveness
from foremesh.agent.load import ProcessorLoad
from foremesh.agent.metrics import Figures, Metrics, pages
from foremesh.agent.probe import Prober
from foremesh.agent.reconciler import Reconciler
from foremesh.agent.roaming import Watch
from foremesh.agent.rotation import Rotation
from foremesh.agent.settings import AgentSettings, check_authority
from foremesh.agent.settings import ports as settings_ports
from foremesh.agent.state import Desired, Names
from foremesh.agent.store import ConfigStore
from foremesh.agent.targets import link_reports, links_up, listening, probe_reports, targets
from foremesh.agent.wireguard import UserspaceWireGuard
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError
from foremesh.model.registration import Acknowledgement, Beacon, HopInterface, Registration

log = logging.getLogger(__name__)

SHORTEST_BEACON_INTERVAL_S = 0.1
"""Seconds between two beacons when there is news every moment, as on a path that comes and goes."""

LONGEST_PREFIX = 8
"""Characters of an interface prefix: Linux allows 15, and "-c4094", "-up9", "-h1a2b1" and "-g1a2b1" follow."""


async def run(settings: AgentSettings) -> None:
    """Run until SIGTERM or SIGINT, and then leave everything that was set up running.

    Raises:
        ManifestError: If the settings cannot work.
        HostError: If the keys cannot be read or made, or metrics not be served.
    """
    check_authority(settings)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    agent = Agent(settings)
    work = asyncio.create_task(agent.work())
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            log.info("stopping; tunnels stay as they are")
    finally:
        for task in (work, waiting):
            task.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def leave(settings: AgentSettings) -> None:
    """Remove the interfaces, routes, rules and tables of this agent, and forget its config; its keys stay.

    The agent must not run meanwhile: it would set everything up again. ``ip_forward`` stays on, others may use it.

    Raises:
        HostError: If something cannot be removed.
    """
    names = _names(settings)
    host = _host(settings, names, Keys({}))
    sight = await host.observe(None, {}, now_s=0.0)
    await host.apply(diff(sight.observed, Desired()))
    ConfigStore(Path(settings.state_dir)).forget()


def local_of(settings: AgentSettings, names: Names, keys: Keys) -> Local:
    """What this host adds to its configs, with the keys that it has now.

    Raises:
        ManifestError: If the settings contradict themselves.
    """
    endpoints = {OWN: settings.endpoint} | {one.name: one.endpoint for one in settings.underlays}
    return Local(
        public_keys=keys.public,
        names=names,
        hop_keys=tuple((one.key.public, one.slot) for one in keys.hops),
        circuit_keys=tuple(one.key.public for one in keys.circuits),
        underlays={
            name: Underlay(ports, dialled=endpoints[name] is not None)
            for name, ports in settings_ports(settings).items()
        },
        attach_port=settings.attach_port,
        gathers=gather.supported(names),
    )


def hop_interfaces(settings: AgentSettings, keys: Keys) -> tuple[HopInterface, ...]:
    """What the mesh is told of this host's hop interfaces; nothing where there is one of the usual port."""
    if not settings.underlays and [one.slot for one in keys.hops] == [0]:
        return ()
    endpoints = {OWN: settings.endpoint} | {one.name: one.endpoint for one in settings.underlays}
    return tuple(
        HopInterface(
            key=one.key.public, underlay=name, endpoint=endpoints[name], port=ports[one.slot] if one.slot else None
        )
        for one in keys.hops
        for name, ports in settings_ports(settings).items()
    )


def _names(settings: AgentSettings) -> Names:
    if not 0 < len(settings.prefix) <= LONGEST_PREFIX or not settings.prefix.isalnum():
        raise ManifestError(
            "agent configuration", f"prefix {settings.prefix!r} is not 1 to {LONGEST_PREFIX} letters and digits"
        )
    return Names(settings.prefix)


def _host(settings: AgentSettings, names: Names, keys: Keys) -> Host:
    hosts_file = Path(settings.hosts_file) if settings.hosts_file else None
    wireguard = UserspaceWireGuard(settings.wireguard, Path(settings.control_dir))
    return Host(names, wireguard, keys, _failover(settings), hosts_file=hosts_file)


def _failover(settings: AgentSettings) -> Failover:
    return Failover(Path(settings.control_dir) / f"{settings.prefix}-failover.sock", rulesets.HOP)


class Agent:
    """Its parts and how they are connected."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._names = _names(settings)
        state = Path(settings.state_dir)
        keys = Keys.load(state / "keys")
        self._keys = keys
        self._rotation = Rotation(keys, settings.key_rotation)
        self._keys_changed = asyncio.Event()
        self._version = _version()
        self._metrics = Metrics(self._names, settings.resource, self._version)
        self._prober = Prober(
            settings.probe_interval,
            settings.probe_timeout,
            settings.mtu_probe_interval,
            self._metrics.probes,
            capacity_interval_s=settings.capacity_probe,
        )
        self._metrics.histories = self._prober.histories
        self._host = _host(settings, self._names, keys)
        self._reconciler = Reconciler(
            self._host,
            ConfigStore(state),
            local_of(settings, self._names, keys),
            on_outcome=self._outcome,
            on_applied=self._set_up,
        )
        self._liveness = Liveness(
            _failover(settings), lambda: self._reconciler.applied, missing=self._reconciler.reconcile, names=self._names
        )
        self._metrics.more = self._liveness.collect
        self._load = ProcessorLoad()
        self._unsent: asyncio.Queue[Acknowledgement] = asyncio.Queue()
        self._said: Acknowledgement | None = None
        self._known = ("", -1)  # revision and epoch of the newest config seen, refused ones too: not to be sent again
        self._tunnels_up: tuple[str, ...] = ()
        self._beacon_interval_s = float(settings.beacon_interval)

    async def work(self) -> None:
        """Everything, until cancelled."""
        settings = self._settings
        client = MeshClient(
            settings.api_url, Path(settings.token_file), Path(settings.ca_file) if settings.ca_file else None
        )
        exporter = Server(pages(self._metrics, self._refresh))
        try:
            await _listen(exporter, settings.metrics_listen)
            # First what was set up before, whatever the API does now.
            await self._reconciler.adopt()
            async with client, asyncio.TaskGroup() as group:
                group.create_task(self._reconcile_forever())
                group.create_task(self._follow_moves())
                group.create_task(self._liveness.follow())
                group.create_task(self._converse(client))
        finally:
            self._prober.close()
            await exporter.close()

    async def _reconcile_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.reconcile_interval)
            await self._reconciler.reconcile()
            self._rotate()
            self._metrics.applied = not self._reconciler.failure and self._reconciler.applied is not None

    async def _follow_moves(self) -> None:
        with Watch() as watch:
            while True:
                await watch.change()
                if self._reconciler.has_moved:
                    await self._reconciler.reconcile()

    def _rotate(self) -> None:
        """Make or drop keys if it is time to, and tell the mesh."""
        try:
            changed = self._rotation.step(self._reconciler.applied, now_s=time.time())
        except HostError as error:
            log.error("keys not changed error=%s", error)
            return
        if changed:
            self._reconciler.use(local_of(self._settings, self._names, self._keys))
            self._keys_changed.set()

    async def _converse(self, client: MeshClient) -> None:
        await self._register(client)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(lambda: self._beacon(client)))
            group.create_task(self._repeat(lambda: self._watch(client)))
            group.create_task(self._repeat(lambda: self._acknowledge(client)))
            group.create_task(self._repeat(lambda: self._tell_keys(client)))

    async def _register(self, client: MeshClient) -> None:
        settings = self._settings
        registration = Registration(
            resource=settings.resource,
            keys=self._keys.wire,
            endpoint=settings.endpoint,
            hops=hop_interfaces(settings, self._keys),
            circuits=self._keys.circuits_wire,
            attach_endpoint=settings.attach_endpoint,
            metrics_endpoint=settings.metrics_endpoint,
            version=self._version,
            own_address=self._own_address(),
        )
        wished_s = await until_done(lambda: client.register(registration), self._api_failed)
        self._beacon_interval_s = min(settings.beacon_interval, wished_s or settings.beacon_interval)
        self._metrics.api_up = True
        if self._said is not None and self._unsent.empty():  # an API that forgot the agent forgot its word too
            self._unsent.put_nowait(self._said)
        log.info("registered resource=%s api=%s", settings.resource, settings.api_url)

    def _own_address(self) -> str | None:
        return self._settings.own_address or address_towards(self._settings.api_url)

    async def _tell_keys(self, client: MeshClient) -> None:
        await self._keys_changed.wait()
        self._keys_changed.clear()
        await self._register(client)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                await step()
                self._metrics.api_up = True
                backoff.reset()
            except ApiError as error:
                self._api_failed(error)
                await asyncio.sleep(backoff.next_s())

    def _api_failed(self, error: ApiError) -> None:
        if not isinstance(error, ApiRefused):
            self._metrics.api_up = False
        log.warning("mesh API error=%s; going on with what is set up", error)

    async def _beacon(self, client: MeshClient) -> None:
        self._liveness.news.clear()
        try:
            await client.beacon(self._state_of_things())
        except NotRegistered as error:
            log.info("registering again cause=%s", error)
            await self._register(client)
            return
        await asyncio.sleep(min(self._beacon_interval_s, SHORTEST_BEACON_INTERVAL_S))
        await self._liveness.pause(self._beacon_interval_s - SHORTEST_BEACON_INTERVAL_S)

    async def _watch(self, client: MeshClient) -> None:
        config = await client.config(*self._known)
        if config is None:
            return
        self._known = (config.revision, config.epoch)
        await self._reconciler.take(config)

    async def _acknowledge(self, client: MeshClient) -> None:
        acknowledgement = await self._unsent.get()
        while not self._unsent.empty():  # the newest word is what counts
            acknowledgement = self._unsent.get_nowait()
        try:
            await client.acknowledge(acknowledgement)
        except ApiError as error:
            # An API that has forgotten this agent, or does not know its token yet, will want to know all the same.
            unreadable = isinstance(error, ApiRefused) and error.status == HTTPStatus.BAD_REQUEST
            if not unreadable and self._unsent.empty():
                self._unsent.put_nowait(acknowledgement)
            raise

    def _state_of_things(self) -> Beacon:
        applied = self._reconciler.applied
        histories = self._prober.histories()
        self._metrics.load_ratio = self._load.since_last()
        return Beacon(
            applied_revision=applied.revision if applied else "",
            applied_epoch=applied.epoch if applied else 0,
            labels=self._reconciler.labels,
            load=self._metrics.load_ratio,
            peers_up=links_up(histories),
            probes=probe_reports(histories),
            links=link_reports(histories),
            sending=self._liveness.sending(),
            detours=self._liveness.detours(),
            heard=self._liveness.heard(),
            watching=self._liveness.up,
            tunnels_up=self._tunnels_up,
        )

    def _outcome(self, acknowledgement: Acknowledgement) -> None:
        self._said = acknowledgement
        self._unsent.put_nowait(acknowledgement)
        self._metrics.outcomes[acknowledgement.applied] += 1
        self._metrics.applied = acknowledgement.applied

    def _set_up(self, config: GatewayConfig, wanted: Desired, sight: Sight) -> None:
        self._prober.retarget(
            targets(config, wanted, self._names), listening(config, wanted, sight.indexes, self._names)
        )
        tunnels_up = tunnels.up(config, sight.devices, self._names)
        if tunnels_up != self._tunnels_up:
            self._tunnels_up = tunnels_up
            self._liveness.news.set()
        self._metrics.epoch = config.epoch
        self._metrics.figures = Figures(config, sight.devices, self._metrics.figures.counters)

    async def _refresh(self) -> None:
        await self._liveness.refresh()
        devices, counters = await self._host.figures()
        self._metrics.figures = Figures(self._reconciler.applied, devices, counters)


async def _listen(exporter: Server, where: str) -> None:
    host, _, port = where.rpartition(":")
    try:
        await exporter.listen(host, int(port))
    except (OSError, ValueError) as error:
        raise HostError(f"metrics cannot be served at {where} ({error}); the agent does not start") from error


def _version() -> str:
    try:
        return version("foremesh")
    except PackageNotFoundError:
        return "unknown"
