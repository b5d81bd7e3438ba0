"""What an agent probes and listens on, from its config, and what it tells of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from foremesh.agent.history import History
from foremesh.agent.hops import device_of
from foremesh.agent.probe import Target
from foremesh.agent.state import HOP_MTU, Desired, Names
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import LinkReport, ProbeReport

LINK, CIRCUIT, UPLINK = "link", "circuit", "uplink"

LINK_SIZES = (HOP_MTU, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1000, 576)
"""Bytes, largest first, of which the largest that passes a link is its MTU: steps of 20, which is what tunnels under
the underlay take, down to where no circuit fits any more, and a few to tell how bad it is."""


def targets(config: GatewayConfig, wanted: Desired, names: Names) -> dict[Target, tuple[int, ...]]:
    """Every link by its neighbour's hop address, every circuit by the far gateway's mesh address through the class's
    interface, every uplink by its gateway's mesh address; with the packet sizes to check, largest first."""
    own = config.gateway
    found: dict[Target, tuple[int, ...]] = {}
    for peer in config.hop_peers:
        if peer.hop_address:
            device = device_of(peer, config, names, wanted.interfaces)
            found[Target(LINK, peer.underlay, own, peer.gateway, device, peer.hop_address)] = LINK_SIZES
    for end in config.circuits:
        device = names.circuit(end.class_number, end.slot)
        # A packet as large as the interface passes, which is the least of its circuits.
        mtu = wanted.interfaces[device].mtu
        found[Target(CIRCUIT, end.circuit, own, end.remote_gateway, device, end.probe_address)] = (mtu,)
    for number, uplink in enumerate(config.uplinks):
        device = names.uplink(number)
        found[Target(UPLINK, uplink.gateway, own, uplink.gateway, device, uplink.gateway_address)] = ()
    return found


def listening(
    config: GatewayConfig, wanted: Desired, indexes: Mapping[str, int], names: Names
) -> dict[str, tuple[int, str]]:
    """Interface to its kernel index and the own address that probes there have."""
    addresses = {names.uplink(number): uplink.address for number, uplink in enumerate(config.uplinks)}
    for name in wanted.interfaces:
        address = config.hop_address if names.is_hop(name) else config.mesh_address
        if address and name not in addresses:
            addresses[name] = address
    return {name: (indexes[name], address) for name, address in addresses.items() if name in indexes}


def link_reports(histories: Mapping[Target, History]) -> dict[str, LinkReport]:
    """``gateway/underlay`` of every neighbour to what the link's probes say. Where a link runs on two interfaces, while
    keys rotate, the one that answers speaks for it."""
    links = [(target, history) for target, history in histories.items() if target.kind == LINK]
    links.sort(key=lambda one: one[1].answering)
    return {f"{target.dst}/{target.name}": history.link_report() for target, history in links}


def probe_reports(histories: Mapping[Target, History]) -> dict[str, ProbeReport]:
    """Circuit, or an uplink's gateway, to what its probes say."""
    return {target.name: history.probe_report() for target, history in histories.items() if target.kind != LINK}


def links_up(histories: Mapping[Target, History]) -> int:
    """Links whose probes are answered."""
    return sum(history.answering for target, history in histories.items() if target.kind == LINK)
