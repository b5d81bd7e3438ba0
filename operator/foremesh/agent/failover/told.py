"""From a config to what the failover process is told. Pure; the agent's side only."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from foremesh.agent.failover.table import CircuitLabels, DetourRoutes, FailoverTable, RouteLabels
from foremesh.agent.state import MAIN_TABLE, Names, table_of, uplink_table_of
from foremesh.model.config import CircuitEnd, GatewayConfig, Uplink
from foremesh.model.intent import Encryption

DEFAULT = Names()


def failover_table(config: GatewayConfig, names: Names = DEFAULT) -> FailoverTable | None:
    """The table of a config; None if no circuit ends here, no workload asks, and there is one gateway at most: then
    there is nothing to watch."""
    asked = len(config.uplinks) > 1
    answers = config.mesh_address if any(workload.others for workload in config.attached) else None
    if not (config.circuits or asked or answers):
        return None
    labels: dict[str, set[tuple[int, str, str]]] = {}
    far: dict[str, str] = {}
    for end in config.circuits:
        for label in end.labels:
            name = f"{end.remote_gateway} {label.route}" if label.route else f"label {label.number}"
            labels.setdefault(name, set()).add((label.number, label.own, label.far))
            far[name] = end.remote_gateway
    watched = config.hello if config.circuits else config.uplink_hello
    return FailoverTable(
        interval_ms=watched.interval_ms,
        missed=watched.missed,
        routes={name: RouteLabels(far[name], tuple(sorted(labels[name]))) for name in sorted(labels)},
        circuits={
            end.circuit: CircuitLabels(end.local_address, end.remote_address, end.send_label, end.standby_label)
            for end in sorted(config.circuits, key=lambda end: end.circuit)
        },
        uplink_interval_ms=config.uplink_hello.interval_ms,
        uplink_missed=config.uplink_hello.missed,
        uplinks={
            uplink.gateway: (names.uplink(number), uplink.address, uplink.gateway_address)
            for number, uplink in enumerate(config.uplinks)
            if asked
        },
        detours=detours(config, names),
        answers_as=answers or "",
    )


def spared(config: GatewayConfig) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Circuits of this end that reach the same, the one first whose routes it is about, and the prefixes that all of
    them reach, sorted."""
    by_id = {end.circuit: end for end in config.circuits}
    found: dict[tuple[str, ...], set[str]] = {}
    for end in config.circuits:
        spares = [by_id[spare] for spare in end.spares if spare in by_id]
        for prefix in end.remote_prefixes:
            ways = tuple(spare.circuit for spare in spares if prefix in spare.remote_prefixes)
            if ways:
                found.setdefault((end.circuit, *ways), set()).add(prefix)
    return {ways: tuple(sorted(prefixes)) for ways, prefixes in sorted(found.items())}


def tied(uplink: Uplink, config: GatewayConfig) -> tuple[str, ...]:
    """Prefixes that a config wants reached through one uplink, and not only as a way for what has none."""
    return tuple(prefix for prefix in uplink.destinations if prefix != config.blocks.mesh)


def detours(config: GatewayConfig, names: Names) -> dict[str, DetourRoutes]:
    """Routes that several uplinks, or several circuits, can serve."""
    found = {}
    for number, uplink in enumerate(config.uplinks if len(config.uplinks) > 1 else ()):
        order = sorted(range(len(config.uplinks)), key=lambda other: (other != number, other))
        # All reach the whole mesh, and the first by metric does.
        reached = _networks(tied(uplink, config) if number else uplink.destinations)
        prefixes = {(MAIN_TABLE, prefix) for prefix in reached}
        found[uplink.gateway] = DetourRoutes(
            ways=tuple((config.uplinks[other].gateway, names.uplink(other), "") for other in order),
            prefixes=tuple(sorted(prefixes | {(uplink_table_of(number), config.blocks.mesh)})),
            source=uplink.address,
            firm=bool(tied(uplink, config)),
        )
    by_id = {end.circuit: end for end in config.circuits}
    preferred = {steer.circuit for steer in config.steering if not (steer.answers or steer.backup)}
    for ways, reached in spared(config).items():
        told = by_id[ways[0]]
        found[" ".join(ways)] = DetourRoutes(
            ways=tuple(_way(by_id[way], names) for way in ways),
            prefixes=tuple((table_of(told.class_number), prefix) for prefix in _networks(reached)),
            source=config.mesh_address or "",
            # Answers go where questions come from, so there is nothing to hold on to.
            firm=told.initiator and told.circuit in preferred,
        )
    return found


def _way(end: CircuitEnd, names: Names) -> tuple[str, str, str]:
    next_hop = end.remote_address if end.encryption is Encryption.HOP_BY_HOP else ""
    return end.circuit, names.circuit(end.class_number, end.slot), next_hop


def _networks(prefixes: Iterable[str]) -> list[str]:
    return sorted(str(IPv4Network(prefix)) for prefix in prefixes)
