"""Hand-written configs of a small mesh: workloads wa and wb behind gateways a and b, which meet at transit t.

Each host has an underlay address; keys are whatever the caller says they are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from foremesh.agent.state import KeyRole
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import (
    AttachedWorkload,
    CircuitEnd,
    GatewayConfig,
    HopPeer,
    LabelEnd,
    Steer,
    Transit,
    Uplink,
)
from foremesh.model.intent import Encryption
from foremesh.model.resource import Protocol

BLOCKS = Blocks()
HOSTS = ("a", "t", "b", "wa", "wb")
SECOND = "u"
"""A second transit, in configs where a label runs over it."""
UNDERLAY = {host: f"203.0.113.{number}" for number, host in enumerate((*HOSTS, SECOND), start=1)}
NUMBERS = {"a": 1, "t": 2, "b": 3, SECOND: 4}
CIRCUIT = "default/a-b"
PORTS = (5201, 8080)

Keyring = Mapping[str, Mapping[KeyRole, str]]


def fake_key(*parts: object) -> str:
    """A WireGuard public key that is nobody's."""
    return base64.b64encode(hashlib.sha256(repr(parts).encode()).digest()).decode()


FAKE_KEYS: Keyring = {host: {role: fake_key(host, role.value) for role in KeyRole} for host in (*HOSTS, SECOND)}


def workload_address(host: str) -> str:
    return BLOCKS.workload_address(NUMBERS[host[1:]], 0)


def resource(host: str) -> str:
    return f"default/{host}"


def configs(
    keys: Keyring = FAKE_KEYS,
    *,
    label: int = 5,
    labels: tuple[int, ...] = (),
    standby: int | None = None,
    over: Mapping[int, str] | None = None,
    epoch: int = 1,
    mtu: int = 1280,
    encryption: Encryption = Encryption.END_TO_END,
    underlay: Mapping[str, str] = UNDERLAY,
) -> dict[str, GatewayConfig]:
    """One config a host: a circuit from a to b over t, open for TCP ``PORTS`` and ICMP from wa to wb.

    Args:
        label: The one that both ends send on; ``labels`` are programmed besides it.
        standby: The one that they may switch to.
        over: Label to the transit that it runs over, if that is not t.
        underlay: Host to the address where its WireGuard is reached.
    """
    numbers = tuple(sorted({label, *labels, *([] if standby is None else [standby])}))
    pairs = {number: BLOCKS.label_pair(number) for number in numbers}
    way = {number: (over or {}).get(number, "t") for number in numbers}
    transits = tuple(sorted({"t", *way.values()}))

    def neighbour(host: str, side: int, transit: str) -> HopPeer:
        return HopPeer(
            gateway=resource(host),
            underlay="internet",
            public_key=keys[host][KeyRole.HOP],
            endpoint=f"{underlay[host]}:51820",
            hop_address=BLOCKS.hop_address(NUMBERS[host]),
            labels=tuple(pairs[number][side] for number in numbers if way[number] == transit),
        )

    def end(own: str, far: str, side: int) -> GatewayConfig:
        own_first = tuple(
            LabelEnd(number=n, own=pair[side], far=pair[1 - side], route=f"a-{way[n]}-b" if over else "")
            for n, pair in pairs.items()
        )
        peers = tuple(neighbour(transit, 1 - side, transit) for transit in transits)
        return _end(own, far, keys, label, standby, own_first, peers, epoch=epoch, mtu=mtu, encryption=encryption)

    return {
        "a": end("a", "b", 0),
        "b": end("b", "a", 1),
        **{
            transit: GatewayConfig(
                gateway=resource(transit),
                epoch=epoch,
                number=NUMBERS[transit],
                mesh_address=BLOCKS.gateway_address(NUMBERS[transit]),
                hop_address=BLOCKS.hop_address(NUMBERS[transit]),
                hop_peers=(neighbour("a", 0, transit), neighbour("b", 1, transit)),
                transits=tuple(
                    Transit(label=number, circuit=CIRCUIT, addresses=pairs[number])
                    for number in numbers
                    if way[number] == transit
                ),
            )
            for transit in transits
        },
        "wa": _workload("wa", keys, epoch, underlay),
        "wb": _workload("wb", keys, epoch, underlay),
    }


def _end(
    own: str,
    far: str,
    keys: Keyring,
    send_label: int,
    standby: int | None,
    labels: tuple[LabelEnd, ...],
    hop_peers: tuple[HopPeer, ...],
    *,
    epoch: int,
    mtu: int,
    encryption: Encryption,
) -> GatewayConfig:
    initiator = own == "a"
    pair = BLOCKS.circuit_pair(9)
    local, remote = pair if initiator else pair[::-1]
    own_workload, far_workload = workload_address(f"w{own}"), workload_address(f"w{far}")
    end = CircuitEnd(
        circuit=CIRCUIT,
        class_number=1,
        encryption=encryption,
        local_address=local,
        remote_address=remote,
        public_key=keys[far][KeyRole.CIRCUIT],
        remote_gateway=resource(far),
        remote_prefixes=(BLOCKS.gateway_prefix(NUMBERS[far]),),
        send_label=send_label,
        standby_label=standby,
        labels=labels,
        firewall=(
            FirewallRule(protocol=Protocol.TCP, ports=PORTS, sources=(f"{workload_address('wa')}/32",)),
            FirewallRule(protocol=Protocol.ICMP),
        ),
        initiator=initiator,
        probe_address=BLOCKS.gateway_address(NUMBERS[far]),
        mtu=mtu,
    )
    steer = Steer(
        circuit=CIRCUIT,
        sources=(f"{own_workload}/32",),
        destinations=(f"{far_workload}/32",),
        answers=not initiator,
    )
    return GatewayConfig(
        gateway=resource(own),
        epoch=epoch,
        number=NUMBERS[own],
        mesh_address=BLOCKS.gateway_address(NUMBERS[own]),
        hop_address=BLOCKS.hop_address(NUMBERS[own]),
        mesh_prefix=BLOCKS.gateway_prefix(NUMBERS[own]),
        hop_peers=hop_peers,
        attached=(
            AttachedWorkload(
                resource=resource(f"w{own}"), public_key=keys[f"w{own}"][KeyRole.ATTACH], address=own_workload
            ),
        ),
        circuits=(end,),
        steering=(steer,),
    )


def _workload(host: str, keys: Keyring, epoch: int, underlay: Mapping[str, str]) -> GatewayConfig:
    gateway = host[1:]
    return GatewayConfig(
        gateway=resource(host),
        epoch=epoch,
        mesh_address=workload_address(host),
        uplinks=(
            Uplink(
                gateway=resource(gateway),
                public_key=keys[gateway][KeyRole.ATTACH],
                endpoint=f"{underlay[gateway]}:51821",
                address=workload_address(host),
                gateway_address=BLOCKS.gateway_address(NUMBERS[gateway]),
                destinations=(BLOCKS.mesh,),
            ),
        ),
    )
