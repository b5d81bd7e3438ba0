"""What a config would set up on a host, as the texts that people know: WireGuard, nftables, routes. Pure.

The agent does not apply these: it speaks to WireGuard's socket and to nftables, so that nothing is replaced that could
be added to. They say the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from foremesh.agent import nft
from foremesh.agent.desired import Local, desired
from foremesh.agent.state import Desired, Interface, KeyRole, Names
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import PublicKeys


def as_texts(config: GatewayConfig, keys: PublicKeys) -> Mapping[str, str]:
    """Texts by file name.

    Args:
        keys: The agent's own public keys; the private ones never leave it, so they are not in any text.

    Raises:
        ConfigRefused: If the config contradicts itself.
    """
    own = {KeyRole.HOP: keys.hop, KeyRole.CIRCUIT: keys.circuit, KeyRole.ATTACH: keys.attach}
    wanted = desired(config, Local(public_keys=own))
    texts = {f"{name}.conf": _wireguard(name, one) for name, one in sorted(wanted.interfaces.items())}
    texts["nftables.nft"] = "\n".join(nft.render(table, None) for table in wanted.tables.values())
    texts["routes.txt"] = _routes(wanted)
    return texts


def _wireguard(name: str, interface: Interface) -> str:
    role = Names().role_of(name)
    lines = [
        "[Interface]",
        f"# public key {interface.public_key}; the agent keeps the private one of role {role}",
        f"# MTU {interface.mtu}, addresses {', '.join(sorted(interface.addresses)) or 'none'}",
    ]
    if interface.listen_port:
        lines.append(f"ListenPort = {interface.listen_port}")
    for key, peer in sorted(interface.peers.items()):
        lines += ["", "[Peer]", f"PublicKey = {key}"]
        if peer.endpoint:
            lines.append(f"Endpoint = {peer.endpoint}")
        lines.append(f"AllowedIPs = {', '.join(sorted(peer.allowed))}")
        if peer.keepalive_s:
            lines.append(f"PersistentKeepalive = {peer.keepalive_s}")
    return "\n".join(lines) + "\n"


def _routes(wanted: Desired) -> str:
    lines = []
    for route in sorted(wanted.routes, key=lambda one: (one.table, one.metric, one.destination)):
        way = f"{route.destination} dev {route.device}" if route.device else f"unreachable {route.destination}"
        source = f" src {route.source}" if route.source else ""
        lines.append(f"ip route add {way}{source} table {route.table} metric {route.metric}")
    for rule in sorted(wanted.rules):
        what = f"fwmark {rule.mark:#x}" if rule.mark else f"oif {rule.device}"
        lines.append(f"ip rule add {what} lookup {rule.table}")
    lines += [f"sysctl -w {key}={value}" for key, value in sorted(wanted.sysctls.items())]
    return "\n".join(lines) + "\n"
