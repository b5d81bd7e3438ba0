"""Which neighbours this end gives way to, when both begin a WireGuard session at the same moment. Pure.

An end that hears a handshake begin gives up the one that it began itself, and each then answers one that the other has
given up. Nothing comes of either, and both try again five seconds later. What they send is spaced evenly (hellos,
probes), so they may meet again and again: for ever, if a packet takes longer than the pauses between what is sent. Over
150 ms one way a circuit between two gateways did not come up within a minute.

So of two ends that can both begin, one leaves the next attempt to the other. It begins first all the same: the other
may not know of it yet, or not be reached otherwise.

Source: the WireGuard paper, sections 5.4 and 6.4: https://www.wireguard.com/papers/wireguard.pdf.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from foremesh.agent import hops
from foremesh.agent.state import port_of
from foremesh.model.config import GatewayConfig

if TYPE_CHECKING:
    from foremesh.agent.desired import Local


def yields_to(config: GatewayConfig, local: Local) -> tuple[tuple[str, int], ...]:
    """IPv4 addresses and ports of the far ends that this one gives way to, sorted: of two that know where the other is,
    exactly one does; who cannot be dialled always does, as the other end does not know from where it will be heard."""
    return tuple(sorted({place for endpoint in _endpoints(config, local) if (place := _place(endpoint))}))


def _endpoints(config: GatewayConfig, local: Local) -> Iterable[str | None]:
    for link in config.hop_peers:
        if link.gateway < config.gateway or not hops.underlay_of(link, config, local).dialled:
            yield local.endpoint(link.endpoint)
    for end in config.circuits:
        if end.remote_gateway < config.gateway:
            for tunnel in end.tunnels:
                yield f"{end.remote_address}:{port_of(end.class_number, tunnel.slot)}"
    for uplink in config.uplinks:
        yield local.endpoint(uplink.endpoint)


def _place(endpoint: str | None) -> tuple[str, int] | None:
    """Address and port; None for one of IPv6, of which the tables know nothing, and where none is known now."""
    address, _, port = (endpoint or "").rpartition(":")
    try:
        return str(IPv4Address(address)), int(port)
    except AddressValueError:
        return None
