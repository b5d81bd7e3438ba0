"""Inner WireGuard of circuits: which interfaces there are, by class and key, and who is reached through them. Pure.

Circuits of one class share an interface. A key that is being replaced has one of its own beside it, in another slot,
until the last circuit has moved over: an interface has one key and one peer for an address. Both serve one class: its
mark and its routing table stay, and the table says which of the two is sent through.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from foremesh.agent.state import (
    CIRCUIT_MTU,
    CIRCUIT_SLOTS,
    KEEPALIVE_S,
    Interface,
    Names,
    Peer,
    port_of,
)
from foremesh.agent.wireguard import Device
from foremesh.model.config import CircuitEnd, GatewayConfig, TunnelEnd

if TYPE_CHECKING:
    from foremesh.agent.desired import Local


def devices(end: CircuitEnd, names: Names) -> tuple[str, ...]:
    """The interfaces that packets of a circuit may come by, sorted; it sends through that of ``end.slot``."""
    slots = {end.slot, *(tunnel.slot for tunnel in end.tunnels)}
    return tuple(names.circuit(end.class_number, slot) for slot in sorted(slots))


def classes(config: GatewayConfig, names: Names) -> dict[str, int]:
    """Every circuit interface and the class that it serves, sorted by class."""
    found = {device: end.class_number for end in config.circuits for device in devices(end, names)}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def interfaces(config: GatewayConfig, local: Local) -> dict[str, Interface]:
    """The inner interfaces that a config needs, by name."""
    found: dict[tuple[int, int], list[tuple[CircuitEnd, TunnelEnd]]] = defaultdict(list)
    for end in config.circuits:
        for tunnel in end.tunnels:
            found[end.class_number, tunnel.slot].append((end, tunnel))
    made = {}
    for (number, slot), members in sorted(found.items()):
        port = port_of(number, slot)
        peers = {
            tunnel.public_key: Peer(
                f"{end.remote_address}:{port}",
                # A tunnel that is not sent through yet shakes hands before it is, so that no packet waits for that.
                KEEPALIVE_S if tunnel is end.second else 0,
                frozenset(str(IPv4Network(prefix)) for prefix in behind(end)),
            )
            for end, tunnel in members
        }
        mtu = min(end.mtu for end in config.circuits if end.class_number == number)
        key = _held(members[0][1].own_key, local)
        made[local.names.circuit(number, slot)] = Interface(key, min(CIRCUIT_MTU, mtu), port, peers=peers)
    return made


def up(config: GatewayConfig, seen: Mapping[str, Device], names: Names) -> tuple[str, ...]:
    """Circuits in whose second tunnel the ends have shaken hands, sorted: packets pass it both ways."""
    found = []
    for end in config.circuits:
        device = seen.get(names.circuit(end.class_number, end.second.slot)) if end.second else None
        peer = device.peers.get(end.second.public_key) if device and end.second else None
        if peer and peer.last_handshake_s:
            found.append(end.circuit)
    return tuple(sorted(found))


def contradictions(config: GatewayConfig) -> Iterable[str]:
    """What no set of inner interfaces can do."""
    own: dict[tuple[int, int], str] = {}
    for end in config.circuits:
        slots = [tunnel.slot for tunnel in end.tunnels]
        if len(set(slots)) < len(slots):
            yield f"circuit {end.circuit} has two tunnels in slot {slots[0]} of class {end.class_number}"
        for tunnel in end.tunnels:
            if not 0 <= tunnel.slot < CIRCUIT_SLOTS:
                yield f"circuit {end.circuit}: slot {tunnel.slot} is not within 0 and {CIRCUIT_SLOTS - 1}"
            if own.setdefault((end.class_number, tunnel.slot), tunnel.own_key) != tunnel.own_key:
                yield f"slot {tunnel.slot} of class {end.class_number} is to have two keys"
    far = Counter(
        (end.class_number, tunnel.slot, tunnel.public_key) for end in config.circuits for tunnel in end.tunnels
    )
    for (number, slot, _), count in far.items():
        if count > 1:
            yield f"class {number} has {count} circuits to the same far end in slot {slot}"


def behind(end: CircuitEnd) -> tuple[str, ...]:
    """Prefixes reached through a circuit: those behind its far end, and the address there that answers probes."""
    probe = IPv4Address(end.probe_address)
    if any(probe in IPv4Network(prefix) for prefix in end.remote_prefixes):
        return end.remote_prefixes
    return (*end.remote_prefixes, f"{end.probe_address}/32")


def _held(own_key: str, local: Local) -> str:
    """The key that a config names. One that is gone is replaced by the newest, as whoever wrote the config will do
    once it is told; a config that names none knows of the oldest alone."""
    held = local.circuit_keys_held
    if not own_key:
        return held[-1]
    return own_key if own_key in held else held[0]
