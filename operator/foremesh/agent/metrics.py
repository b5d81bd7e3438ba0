"""The exporter: probes as they happen, and WireGuard's and nftables' counters at the time of the scrape.

Series of a target that is gone are removed. What is not known has no sample; it is never 0.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from foremesh.agent import rulesets
from foremesh.agent.exposition import CONTENT_TYPE, Family
from foremesh.agent.history import History
from foremesh.agent.hops import device_of
from foremesh.agent.host import HostError
from foremesh.agent.http import Page
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

    Attributes:
        more: Families of others, asked at every scrape.
        epoch: Of the applied config.
        applied: Whether the host is as the newest config says.
        api_up: Whether the mesh API answered last time.
        outcomes: How many configs were applied, and how many were not.
    """

    def __init__(self, names: Names, resource: str, version: str) -> None:
        self._names = names
        self._resource = resource
        self._version = version
        self.more: Callable[[], Iterable[Family]] = tuple
        self.probes = ProbeSeries()
        self.histories: Callable[[], Mapping[Target, History]] = dict
        """Asked at every scrape."""
        self.figures = Figures()
        self.load_ratio: float | None = None
        self.epoch = 0
        self.applied = False
        self.api_up = False
        self.outcomes: Counter[bool] = Counter()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        lines = [line for family in (*self._own(), *self._of_host(), *self.more()) for line in family.lines()]
        return ("".join(lines) + self.probes.text(self.histories())).encode()

    def _own(self) -> Iterator[Family]:
        epoch = Family("foremesh_agent_config_epoch", "Epoch of the applied config")
        epoch.add((), self.epoch)
        applied = Family("foremesh_agent_config_applied", "1 if the host is as the newest config says")
        applied.add((), int(self.applied))
        up = Family("foremesh_agent_api_up", "1 if the mesh API answered last time")
        up.add((), int(self.api_up))
        info = Family("foremesh_agent_info", "The running agent", ("gateway", "version"))
        info.add((self._resource, self._version), 1)
        outcomes = Family("foremesh_agent_configs_total", "Configs by outcome", ("applied",))
        for outcome, count in self.outcomes.items():
            outcomes.add((str(outcome).lower(),), count)
        yield from (epoch, applied, up, info, outcomes)

    def _of_host(self) -> Iterator[Family]:
        config = self.figures.config
        if self.load_ratio is not None and config and config.hop_address:  # a workload's load is nobody's business
            family = Family("foremesh_gateway_load_ratio", "Share of the host's processors in use", ("gateway",))
            family.add((self._resource,), self.load_ratio)
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

    def _counted(self, config: GatewayConfig) -> Iterator[Family]:
        own, labels = config.gateway, ("gateway", "circuit")
        packets = Family("foremesh_label_forwarded_packets_total", "Packets relayed on a circuit's labels", labels)
        volume = Family("foremesh_label_forwarded_bytes_total", "Bytes relayed on a circuit's labels", labels)
        relayed: dict[str, tuple[int, int]] = {}
        for transit in config.transits:
            count = self.figures.counters.get((rulesets.HOP, rulesets.label_counter(transit.label)))
            if count:
                before = relayed.get(transit.circuit, (0, 0))
                relayed[transit.circuit] = (before[0] + count[0], before[1] + count[1])
        for circuit, count in relayed.items():
            packets.add((own, circuit), count[0])
            volume.add((own, circuit), count[1])
        stopped = Family(
            "foremesh_agent_stopped_packets_total",
            "Packets stopped by reason: clear (would have left outside the tunnels),"
            " stray (arrived on a tunnel, in no config)",
            ("reason",),
        )
        for reason, parts in (
            ("clear", [(rulesets.GUARD, rulesets.STOPPED)]),
            ("stray", [(rulesets.HOP, rulesets.STRAY), (rulesets.EDGE, rulesets.STRAY)]),
        ):
            counts = [self.figures.counters[part][0] for part in parts if part in self.figures.counters]
            if counts:
                stopped.add((reason,), sum(counts))
        yield from (packets, volume, stopped, *self._at_circuits(config))

    def _at_circuits(self, config: GatewayConfig) -> Iterator[Family]:
        """What circuits' firewalls and reservations did at this end, in both directions."""
        for name, counter, what in (
            ("foremesh_circuit_passed", rulesets.pass_counter, "that passed a circuit's firewall at this end"),
            ("foremesh_circuit_dropped", rulesets.drop_counter, "that a circuit's firewall dropped at this end"),
            ("foremesh_circuit_policed", rulesets.police_counter, "that exceeded what was reserved for a circuit"),
        ):
            labels = ("src", "dst", "circuit")
            packets = Family(f"{name}_packets_total", f"Packets {what}", labels)
            volume = Family(f"{name}_bytes_total", f"Bytes {what}", labels)
            for end in config.circuits:
                count = self.figures.counters.get((rulesets.EDGE, counter(end.circuit)))
                if count:
                    packets.add((config.gateway, end.remote_gateway, end.circuit), count[0])
                    volume.add((config.gateway, end.remote_gateway, end.circuit), count[1])
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


def _traffic(kind: str, peers: Iterable[tuple[list[str], SeenPeer]]) -> Iterator[Family]:
    labels = ("src", "dst", NAME_OF[kind])
    received = Family(f"foremesh_{kind}_receive_bytes_total", "Bytes from the other end", labels)
    sent = Family(f"foremesh_{kind}_transmit_bytes_total", "Bytes to the other end", labels)
    handshake = Family(f"foremesh_{kind}_last_handshake_seconds", "Unix time of the last WireGuard handshake", labels)
    for values, peer in peers:
        received.add(values, peer.receive_bytes)
        sent.add(values, peer.transmit_bytes)
        if peer.last_handshake_s:
            handshake.add(values, peer.last_handshake_s)
    yield from (received, sent, handshake)


def pages(metrics: Metrics, refresh: Callable[[], Awaitable[None]]) -> dict[str, Page]:
    """``/metrics``, and ``/healthz`` which answers as long as the agent runs."""

    async def scrape() -> bytes:
        try:
            await refresh()
        except HostError as error:
            log.warning("figures not refreshed error=%s", error)
        return metrics.text()

    async def healthy() -> bytes:
        return b'{"status": "ok"}'

    return {"/metrics": Page(CONTENT_TYPE, scrape), "/healthz": Page("application/json", healthy)}
