"""Fake switches: they forward a packet by nothing but the configs, as agents would have the kernel do it.

Every choice that WireGuard, nftables or a routing table would make is made the way they make it: AllowedIPs by longest
prefix and checked on arrival, steering by the first rule, the inner peer by address on the class's interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from foremesh.model.circuit import FirewallRule
from foremesh.model.config import CircuitEnd, GatewayConfig, OwnAddress, Steer
from foremesh.model.resource import Protocol


class Dropped(Exception):
    """The packet did not arrive; ``at`` is where it ended."""

    def __init__(self, at: str, why: str) -> None:
        self.at = at
        super().__init__(f"{at}: {why}")


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    protocol: Protocol = Protocol.TCP
    sport: int = 40000
    dport: int = 443

    @property
    def answer(self) -> Packet:
        return Packet(self.destination, self.source, self.protocol, self.dport, self.sport)


@dataclass(frozen=True)
class Trace:
    """Where a packet went: the workload it reached, the gateways it passed, the circuit that carried it."""

    arrived: str
    gateways: tuple[str, ...]
    circuit: str = ""
    handed: str = ""
    """The address that the application there is called by."""


@dataclass
class Switches:
    """Hosts that run these configs; ``flows`` is what each gateway's connection tracking remembers."""

    configs: Mapping[str, GatewayConfig]
    flows: dict[str, set[Packet]] = field(default_factory=dict)

    def send(self, workload: str, packet: Packet) -> Trace:
        """Send a packet from a workload.

        Raises:
            Dropped: If it does not arrive.
        """
        host = self._host(workload)
        packet = _called(workload, host.own_addresses, packet)
        if not _within(packet.source, (host.blocks.mesh,)):
            # An application may be bound to an address of its own; only the mesh address passes the uplink.
            packet = replace(packet, source=host.mesh_address or "")
        uplinks = host.uplinks
        ways = [
            (-IPv4Network(prefix).prefixlen, order, uplink)
            for order, uplink in enumerate(uplinks)
            for prefix in uplink.destinations
            if _within(packet.destination, (prefix,))
        ]
        if not ways:
            raise Dropped(workload, f"no uplink to {packet.destination}")
        return self._from_workload(workload, min(ways, key=lambda way: way[:2])[2].gateway, packet)

    def send_from(self, machine: str, gateway: str, packet: Packet) -> Trace:
        """Send a packet from a machine without an agent that routes by a gateway.

        Raises:
            Dropped: If it does not arrive.
        """
        behind = [one for one in self._host(gateway).behind if one.resource == machine]
        if not behind or behind[0].target != packet.source:
            raise Dropped(gateway, f"{packet.source} is nobody's here")
        packet = replace(_called(gateway, behind[0].own_addresses, packet), source=behind[0].address)
        return self._from_gateway(gateway, packet)

    def carry(self, gateway: str, end: CircuitEnd, on: int | None = None) -> tuple[str, ...]:
        """Send an empty packet of a circuit's inner tunnel on the label in use, or another one; the gateways it passed.

        Raises:
            Dropped: If it does not arrive at the circuit's other end.
        """
        label = end.label(end.send_label if on is None else on)
        if label is None:
            raise Dropped(gateway, f"{end.circuit} has no label to send on")
        path, arrived = self._over_hops(gateway, label.own, label.far)
        if arrived.circuit != end.circuit or arrived.initiator == end.initiator:
            raise Dropped(path[-1], f"{end.circuit} arrived as {arrived.circuit}")
        return path

    def _from_workload(self, workload: str, gateway: str, packet: Packet) -> Trace:
        config = self._host(gateway)
        if not any(w.resource == workload and w.address == packet.source for w in config.attached):
            raise Dropped(gateway, f"{packet.source} is not the address of {workload}")
        return self._from_gateway(gateway, packet)

    def _from_gateway(self, gateway: str, packet: Packet) -> Trace:
        config = self._host(gateway)
        here = {one.address for one in (*config.attached, *config.behind)}
        if packet.destination in here and not self._steer(config, packet):
            if not self._passes(gateway, config.local, packet):
                raise Dropped(gateway, "not allowed between its workloads")
            arrived, handed = self._to_workload(gateway, packet)
            return Trace(arrived, (gateway,), handed=handed)
        steer = self._steer(config, packet)
        if steer is None:
            raise Dropped(gateway, "steered nowhere")
        number = next(end.class_number for end in config.circuits if end.circuit == steer.circuit)
        end = self._peer(gateway, number, packet.destination)
        if not self._passes(gateway, end.firewall if end.initiator else (), packet):
            raise Dropped(gateway, f"firewall of {end.circuit}")
        path = self.carry(gateway, end)
        far = self._peer(path[-1], number, packet.source)
        if far.circuit != end.circuit:
            raise Dropped(path[-1], f"{packet.source} belongs to {far.circuit}, not {end.circuit}")
        if not self._passes(path[-1], () if far.initiator else far.firewall, packet):
            raise Dropped(path[-1], f"firewall of {end.circuit}")
        arrived, handed = self._to_workload(path[-1], packet)
        return Trace(arrived, path, end.circuit, handed)

    def _to_workload(self, gateway: str, packet: Packet) -> tuple[str, str]:
        for machine in self._host(gateway).behind:
            if machine.address == packet.destination:
                return machine.resource, machine.target
        for attached in self._host(gateway).attached:
            if attached.address == packet.destination:
                uplinks = [u for u in self._host(attached.resource).uplinks if u.gateway == gateway]
                if not any(_within(packet.source, uplink.destinations) for uplink in uplinks):
                    raise Dropped(attached.resource, f"{packet.source} is not behind {gateway}")
                host = self._host(attached.resource)
                meant = any(_allows(rule, packet) for rule in host.called)
                return attached.resource, (host.own_address or "") if meant else packet.destination
        raise Dropped(gateway, f"{packet.destination} is not attached")

    def _over_hops(self, gateway: str, source: str, destination: str) -> tuple[tuple[str, ...], CircuitEnd]:
        path = [gateway]
        while True:
            config = self._host(path[-1])
            ends = [
                end for end in config.circuits if any((one.own, one.far) == (destination, source) for one in end.labels)
            ]
            if len(path) > 1 and ends:
                assert len(ends) == 1, f"{path[-1]} accepts {source} > {destination} for {len(ends)} circuits"
                return tuple(path), ends[0]
            if len(path) > 1 and not any({source, destination} == set(t.addresses) for t in config.transits):
                raise Dropped(path[-1], f"{source} > {destination} is not relayed here")
            towards = [peer for peer in config.hop_peers if destination in peer.labels]
            if not towards:
                raise Dropped(path[-1], f"no neighbour has {destination}")
            assert len(towards) == 1, f"{path[-1]} has {destination} in the direction of {towards}"
            way = towards[0]
            following = self._host(way.gateway)
            # A tunnel is a network and a key of each side; a packet comes out at the peer of the same one.
            tunnel = (path[-1], way.underlay, way.public_key, way.own_key)
            if not any(
                (peer.gateway, peer.underlay, peer.own_key, peer.public_key) == tunnel and source in peer.labels
                for peer in following.hop_peers
            ):
                raise Dropped(way.gateway, f"{source} may not come from {path[-1]} by this tunnel")
            path.append(way.gateway)
            assert len(path) <= len(self.configs), f"{source} > {destination} goes round in circles: {path}"

    def _peer(self, gateway: str, class_number: int, address: str) -> CircuitEnd:
        """The peer that has an address among its AllowedIPs on a class's interface."""
        ends = [end for end in self._host(gateway).circuits if end.class_number == class_number]
        found = [end for end in ends if _within(address, end.remote_prefixes)]
        assert len(found) <= 1, f"{gateway}: {address} has {len(found)} peers on the interface of class {class_number}"
        if not found:
            raise Dropped(gateway, f"no peer of class {class_number} has {address}")
        return found[0]

    def _steer(self, config: GatewayConfig, packet: Packet) -> Steer | None:
        return next((rule for rule in config.steering if _steers(rule, packet)), None)

    def _passes(self, gateway: str, rules: tuple[FirewallRule, ...], packet: Packet) -> bool:
        known = self.flows.setdefault(gateway, set())
        if packet.answer in known or packet in known:
            return True
        if not any(_allows(rule, packet) for rule in rules):
            return False
        known.add(packet)
        return True

    def _host(self, id_: str) -> GatewayConfig:
        if id_ not in self.configs:
            raise Dropped(id_, "runs nothing")
        return self.configs[id_]


def _called(at: str, entries: tuple[OwnAddress, ...], packet: Packet) -> Packet:
    """The packet with the mesh address in place of an own one, where its service is among those that are called so."""
    found = [
        entry
        for entry in entries
        if (entry.own, entry.protocol) == (packet.destination, packet.protocol)
        and (packet.dport in entry.ports or packet.protocol is Protocol.ICMP)
    ]
    assert len({entry.mesh for entry in found}) <= 1, f"{at} sends {packet} to {found}"
    if found and not found[0].mesh:
        raise Dropped(at, f"{packet.destination} has no mesh address")
    return replace(packet, destination=found[0].mesh) if found else packet


def _within(address: str, prefixes: tuple[str, ...]) -> bool:
    return any(IPv4Address(address) in IPv4Network(prefix) for prefix in prefixes)


def _allows(rule: FirewallRule, packet: Packet) -> bool:
    return (
        (rule.protocol is None or rule.protocol is packet.protocol)
        and (not rule.ports or packet.dport in rule.ports)
        and (not rule.sources or _within(packet.source, rule.sources))
        and (not rule.destinations or _within(packet.destination, rule.destinations))
    )


def _steers(rule: Steer, packet: Packet) -> bool:
    as_rule = FirewallRule(
        protocol=rule.protocol, ports=rule.ports, sources=rule.sources, destinations=rule.destinations
    )
    return _allows(as_rule, replace(packet, dport=packet.sport) if rule.answers else packet)
