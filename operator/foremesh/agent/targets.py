"""What an agent probes and listens on, from its config. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from foremesh.agent.probe import Target
from foremesh.agent.state import Desired, Names
from foremesh.model.config import GatewayConfig

LINK, CIRCUIT, UPLINK = "link", "circuit", "uplink"


def targets(config: GatewayConfig, wanted: Desired, names: Names) -> tuple[Target, ...]:
    """Every link by its neighbour's hop address, every circuit by the far gateway's mesh address through the class's
    interface, every uplink by its gateway's mesh address."""
    own = config.gateway
    found = [Target(LINK, peer.underlay, own, peer.gateway, names.hop, peer.hop_address) for peer in config.hop_peers]
    for end in config.circuits:
        device = names.circuit(end.class_number)
        # A packet as large as the interface passes, which is the least of its circuits.
        mtu = wanted.interfaces[device].mtu
        found.append(Target(CIRCUIT, end.circuit, own, end.remote_gateway, device, end.probe_address, mtu))
    for number, uplink in enumerate(config.uplinks):
        found.append(Target(UPLINK, uplink.gateway, own, uplink.gateway, names.uplink(number), uplink.gateway_address))
    return tuple(found)


def listening(
    config: GatewayConfig, wanted: Desired, indexes: Mapping[str, int], names: Names
) -> dict[str, tuple[int, str]]:
    """Interface to its kernel index and the own address that probes there have."""
    addresses = {names.uplink(number): uplink.address for number, uplink in enumerate(config.uplinks)}
    for name in wanted.interfaces:
        address = config.hop_address if name == names.hop else config.mesh_address
        if address and name not in addresses:
            addresses[name] = address
    return {name: (indexes[name], address) for name, address in addresses.items() if name in indexes}
