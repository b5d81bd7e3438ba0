"""The exporter: probes as they happen, and WireGuard's and nftables' counters at the time of the scrape.

Series of a target that is gone are removed. What is not known has no sample; it is never 0.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foremesh.agent import rulesets
from foremesh.agent.history import History
from foremesh.agent.hops import device_of
from foremesh.agent.host import HostError
from foremesh.agent.probe import Target
from foremesh.agent.series import ProbeSeries
from foremesh.agent.state import Names
from foremesh.agent.targets import CIRCUIT, LINK, UPLINK
from foremesh.agent.wireguard import Device, SeenPeer
from foremesh.model.config import CircuitEnd, GatewayConfig
from foremesh.model.intent import Encryption

log = logging.getLogger(__name__)

NAME_OF = {LINK: "link", CIRCUIT: "circuit", UPLINK: "uplink"}
"""Kind of target to the label that names it and the middle of the metric names."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the kernel and WireGuard count."""

    config: GatewayConfig | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    counters: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


class Metrics:
    """All series of one agent.

    Args:
        names: Interface names.
        resource: The agent's id.
        version: Of the program.
    """

    def __init__(self, names: Names, resource: str, version: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._names = names
        self._resource = resource
        self.registry = CollectorRegistry()
        self.probes = ProbeSeries()
        self.histories: Callable[[], Mapping[Target, History]] = dict
        """Asked at every scrape."""
        self.figures = Figures()
        self.load_ratio: float | None = None
        registry = self.registry
        info = Gauge("foremesh_agent_info", "The running agent", ("gateway", "version"), registry=registry)
        info.labels(resource, version).set(1)
        self.epoch = Gauge("foremesh_agent_config_epoch", "Epoch of the applied config", registry=registry)
        self.applied = Gauge(
            "foremesh_agent_config_applied", "1 if the host is as the newest config says", registry=registry
        )
        self.api_up = Gauge("foremesh_agent_api_up", "1 if the mesh API answered last time", registry=registry)
        self.outcomes = Counter("foremesh_agent_configs", "Configs by outcome", ("applied",), registry=registry)
        self.registry.register(self)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry) + self.probes.text(self.histories()).encode()

    def collect(self) -> Iterator[Metric]:
        """Families made from ``figures`` (called by the registry)."""
        config = self.figures.config
        if self.load_ratio is not None and config and config.hop_address:  # a workload's load is nobody's business
            family = GaugeMetricFamily(
                "foremesh_gateway_load_ratio", "Share of the host's processors in use", labels=["gateway"]
            )
            family.add_metric([self._resource], self.load_ratio)
            yield family
        if config is None:
            return
        for kind, peers in self._peers(config).items():
            yield from _traffic(kind, peers)
        yield from self._counted(config)

    def _peers(self, config: GatewayConfig) -> dict[str, list[tuple[list[str], SeenPeer]]]:
        """By kind: label values and WireGuard's figures of every peer that is there."""
        own, names = config.gateway, self._names
        wanted: list[tuple[str, list[str], str, str]] = [
            (LINK, [own, p.gateway, p.underlay], device_of(p, config, names, self.figures.devices), p.public_key)
            for p in config.hop_peers
        ]
        wanted += [
            (CIRCUIT, [own, e.remote_gateway, e.circuit], names.circuit(e.class_number, e.slot), _peer_of(e))
            for e in config.circuits
        ]
        wanted += [
            (UPLINK, [own, u.gateway, u.gateway], names.uplink(n), u.public_key) for n, u in enumerate(config.uplinks)
        ]
        found: dict[str, dict[tuple[str, ...], SeenPeer]] = {kind: {} for kind in NAME_OF}
        for kind, labels, device, key in wanted:
            seen = self.figures.devices.get(device)
            if seen and key in seen.peers:
                # While keys change, a link has a peer for the old and one for the new.
                found[kind][tuple(labels)] = _both(found[kind].get(tuple(labels)), seen.peers[key])
        return {kind: [(list(labels), peer) for labels, peer in peers.items()] for kind, peers in found.items()}

    def _counted(self, config: GatewayConfig) -> Iterator[Metric]:
        own = config.gateway
        packets = CounterMetricFamily(
            "foremesh_label_forwarded_packets", "Packets relayed on a circuit's labels", labels=["gateway", "circuit"]
        )
        volume = CounterMetricFamily(
            "foremesh_label_forwarded_bytes", "Bytes relayed on a circuit's labels", labels=["gateway", "circuit"]
        )
        relayed: dict[str, tuple[int, int]] = {}
        for transit in config.transits:
            count = self.figures.counters.get((rulesets.HOP, rulesets.label_counter(transit.label)))
            if count:
                before = relayed.get(transit.circuit, (0, 0))
                relayed[transit.circuit] = (before[0] + count[0], before[1] + count[1])
        for circuit, count in relayed.items():
            packets.add_metric([own, circuit], count[0])
            volume.add_metric([own, circuit], count[1])
        stopped = CounterMetricFamily(
            "foremesh_agent_stopped_packets",
            "Packets stopped by reason: clear (would have left outside the tunnels),"
            " stray (arrived on a tunnel, in no config)",
            labels=["reason"],
        )
        for reason, parts in (
            ("clear", [(rulesets.GUARD, rulesets.STOPPED)]),
            ("stray", [(rulesets.HOP, rulesets.STRAY), (rulesets.EDGE, rulesets.STRAY)]),
        ):
            counts = [self.figures.counters[part][0] for part in parts if part in self.figures.counters]
            if counts:
                stopped.add_metric([reason], sum(counts))
        yield from (packets, volume, stopped, *self._at_circuits(config))

    def _at_circuits(self, config: GatewayConfig) -> Iterator[Metric]:
        """What circuits' firewalls and reservations did at this end, in both directions."""
        for name, counter, what in (
            ("foremesh_circuit_passed", rulesets.pass_counter, "that passed a circuit's firewall at this end"),
            ("foremesh_circuit_dropped", rulesets.drop_counter, "that a circuit's firewall dropped at this end"),
            ("foremesh_circuit_policed", rulesets.police_counter, "that exceeded what was reserved for a circuit"),
        ):
            labels = ["src", "dst", "circuit"]
            packets = CounterMetricFamily(f"{name}_packets", f"Packets {what}", labels=labels)
            volume = CounterMetricFamily(f"{name}_bytes", f"Bytes {what}", labels=labels)
            for end in config.circuits:
                count = self.figures.counters.get((rulesets.EDGE, counter(end.circuit)))
                if count:
                    packets.add_metric([config.gateway, end.remote_gateway, end.circuit], count[0])
                    volume.add_metric([config.gateway, end.remote_gateway, end.circuit], count[1])
            yield from (packets, volume)


def _peer_of(end: CircuitEnd) -> str:
    """The key under which an end's traffic is counted; VXLAN has none."""
    return "" if end.encryption is Encryption.HOP_BY_HOP else end.public_key


def _both(one: SeenPeer | None, other: SeenPeer) -> SeenPeer:
    """What two peers of one link counted together."""
    if one is None:
        return other
    return SeenPeer(
        receive_bytes=one.receive_bytes + other.receive_bytes,
        transmit_bytes=one.transmit_bytes + other.transmit_bytes,
        last_handshake_s=max(one.last_handshake_s, other.last_handshake_s),
    )


def _traffic(kind: str, peers: Iterable[tuple[list[str], SeenPeer]]) -> Iterator[Metric]:
    labels = ["src", "dst", NAME_OF[kind]]
    received = CounterMetricFamily(f"foremesh_{kind}_receive_bytes", "Bytes from the other end", labels=labels)
    sent = CounterMetricFamily(f"foremesh_{kind}_transmit_bytes", "Bytes to the other end", labels=labels)
    handshake = GaugeMetricFamily(
        f"foremesh_{kind}_last_handshake_seconds", "Unix time of the last WireGuard handshake", labels=labels
    )
    for values, peer in peers:
        received.add_metric(values, peer.receive_bytes)
        sent.add_metric(values, peer.transmit_bytes)
        if peer.last_handshake_s:
            handshake.add_metric(values, peer.last_handshake_s)
    yield from (received, sent, handshake)


def application(metrics: Metrics, refresh: Callable[[], Awaitable[None]]) -> web.Application:
    """``/metrics``, and ``/healthz`` which answers as long as the agent runs."""

    async def scrape(_: web.Request) -> web.Response:
        try:
            await refresh()
        except HostError as error:
            log.warning("figures not refreshed error=%s", error)
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape), web.get("/healthz", healthy)])
    return app
