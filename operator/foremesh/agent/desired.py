"""GatewayConfig to the state of a host. Pure: what it cannot set up without risk it refuses before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from foremesh.agent import hops, openings, rulesets, translation, tunnels, vxlan
from foremesh.agent.failover.told import failover_table, spared
from foremesh.agent.state import (
    ATTACH_MTU,
    HOP_MTU,
    KEEPALIVE_S,
    LOOSE,
    MAX_CLASS,
    SEND_REDIRECTS,
    SPARED_METRIC,
    UNREACHABLE_METRIC,
    UPLINK_METRIC,
    VXLAN_MTU,
    Desired,
    Interface,
    KeyRole,
    Names,
    Peer,
    Route,
    Rule,
    mark_of,
    table_of,
    uplink_table_of,
)
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Encryption

DEFAULT_ROUTE_BITS = 8
"""Foreign routes with a shorter prefix are ways out to everywhere (defaults and halves of one, as VPNs set them)."""


class ConfigRefused(ValueError):
    """A config that would not do what it says, or would disturb the host; nothing of it is applied."""

    def __init__(self, gateway: str, cause: str) -> None:
        self.gateway = gateway
        self.cause = cause
        super().__init__(f"config of {gateway} refused: {cause}; the previous config stays")


@dataclass(frozen=True, slots=True)
class Local:
    """What a host adds to its config.

    Attributes:
        names: Names of its interfaces.
        public_keys: The agent's own, by role.
        hop_keys: Its hop keys and the slot of each, the newest first; none: the one in ``public_keys``, in slot 0.
        circuit_keys: Its circuit keys, the newest first; none: the one in ``public_keys``.
        underlays: How it sits on each network that links run over; ``hops.OWN`` is the gateway's own.
        attach_port: UDP port.
        gathers: Whether the host can gather packets on their way into WireGuard.
        endpoints: ``host:port`` as configs have it to ``address:port``, or to None if the name is not known; what is
            missing is an address already.
    """

    public_keys: Mapping[KeyRole, str]
    names: Names = field(default_factory=Names)
    hop_keys: tuple[tuple[str, int], ...] = ()
    circuit_keys: tuple[str, ...] = ()
    underlays: Mapping[str, hops.Underlay] = field(
        default_factory=lambda: {hops.OWN: hops.Underlay((51820, 51822), dialled=True)}
    )
    attach_port: int = 51821
    gathers: bool = False
    endpoints: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def hop_keys_held(self) -> tuple[tuple[str, int], ...]:
        return self.hop_keys or ((self.public_keys[KeyRole.HOP], 0),)

    @property
    def circuit_keys_held(self) -> tuple[str, ...]:
        return self.circuit_keys or (self.public_keys[KeyRole.CIRCUIT],)

    def endpoint(self, wanted: str | None) -> str | None:
        return self.endpoints.get(wanted, wanted) if wanted else None


def desired(config: GatewayConfig, local: Local) -> Desired:
    """The state that a config asks for.

    Raises:
        ConfigRefused: If the config contradicts itself.
    """
    check(config)
    interfaces = dict(_uplinks(config, local))
    routes = set(_never_in_clear(config)) | set(_uplink_routes(config, local.names))
    rules: set[Rule] = set()
    targets = translation.targets(config, local.endpoints)
    tables = {rulesets.GUARD: rulesets.guard(local.names, guarded(config), config, targets)}
    if table := rulesets.translate(local.names, config, targets):
        tables[rulesets.TRANSLATE] = table
    sysctls: dict[str, str] = {}
    if config.hop_address is not None:
        interfaces |= hops.interfaces(config, local)
        interfaces |= tunnels.interfaces(config, local) | dict(_hop_by_hop(config, local.names))
        if config.attached:
            interfaces[local.names.attach] = _attach(config, local)
        routes |= {*hops.routes(config, local), *_attach_routes(config, local.names)}
        routes |= set(_class_routes(config, local.names))
        rules |= set(_rules(config, local.names))
        tables[rulesets.HOP] = rulesets.hop(local.names, config)
        if config.circuits or config.attached:
            # Where nothing but labels passes, every packet would be asked about in vain.
            tables[rulesets.EDGE] = rulesets.edge(local.names, config, targets)
        if ports := _dialled_ports(config, local):
            tables[rulesets.ANSWER] = rulesets.answer(ports)
        # Sources in a circuit are unreachable by the main table, which reverse path filtering asks; WireGuard's own
        # source check is stricter. Redirects make no sense where one interface leads to many, and each packet asks.
        settings = ("rp_filter", SEND_REDIRECTS)
        sysctls = {f"net.ipv4.conf.{name}.{one}": "0" for name in ("all", *interfaces) for one in settings}
        sysctls["net.ipv4.ip_forward"] = "1"
    if table := rulesets.yielding(openings.yields_to(config, local)):
        tables[rulesets.YIELD] = table
    if len(config.uplinks) > 1:
        routes |= set(_answer_routes(config, local.names))
        rules |= {Rule(uplink_table_of(number), mark=mark_of(number)) for number in range(len(config.uplinks))}
        tables[rulesets.UPLINKS] = rulesets.uplinks(local.names, config)
        # What comes by one uplink may be answered by another.
        sysctls |= {f"net.ipv4.conf.{local.names.uplink(n)}.rp_filter": LOOSE for n in range(len(config.uplinks))}
    names = tuple((name.address, name.name) for name in config.names)
    flows = translation.flows(config, targets)
    circuits = failover_table(config, local.names)
    return Desired(interfaces, frozenset(routes), frozenset(rules), tables, sysctls, names, flows, failover=circuits)


def guarded(config: GatewayConfig) -> tuple[str, ...]:
    """Prefixes that must never leave but by a tunnel: the mesh's blocks, and what an uplink reaches outside of them."""
    blocks = [IPv4Network(block) for block in config.blocks.all]
    reached = {IPv4Network(prefix) for uplink in config.uplinks for prefix in uplink.destinations}
    outside = sorted(prefix for prefix in reached if not any(prefix.subnet_of(block) for block in blocks))
    return tuple(str(prefix) for prefix in (*blocks, *outside))


def overlaps(config: GatewayConfig, foreign: Iterable[tuple[str, str]]) -> list[str]:
    """Foreign routes inside or around the mesh's blocks, described; ``foreign`` has pairs of prefix and description."""
    found = []
    for block in map(IPv4Network, config.blocks.all):
        for prefix, description in foreign:
            network = IPv4Network(prefix)
            if network.prefixlen >= DEFAULT_ROUTE_BITS and network.overlaps(block):
                found.append(f"block {block} overlaps the route {description}")
    return found


def check(config: GatewayConfig) -> None:
    """Refuse what cannot be set up as it is written.

    Raises:
        ConfigRefused: With the first contradiction found.
    """

    def refuse(cause: str) -> None:
        raise ConfigRefused(config.gateway, cause)

    try:
        for prefix in _prefixes_of(config):
            IPv4Network(prefix)
        for address in _addresses_of(config):
            IPv4Address(address)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        refuse(f"no IPv4 address or prefix: {error}")

    for cause in translation.contradictions(config):
        refuse(cause)
    if config.hop_address is None and (config.hop_peers or config.circuits or config.attached or config.transits):
        refuse("links, labels, circuits or workloads without a hop address")
    if (config.circuits or config.attached) and config.mesh_address is None:
        refuse("circuits or workloads without a mesh address")
    for cause in (*hops.contradictions(config), *tunnels.contradictions(config)):
        refuse(cause)
    for end in config.circuits:
        if not 0 <= end.class_number <= MAX_CLASS:
            refuse(f"circuit {end.circuit}: class number {end.class_number} is not within 0 and {MAX_CLASS}")
        if not ATTACH_MTU <= end.mtu <= HOP_MTU:
            refuse(f"circuit {end.circuit}: MTU {end.mtu} is not within {ATTACH_MTU} and {HOP_MTU}")
        for label in (end.send_label, end.standby_label):
            if label is not None and end.label(label) is None:
                refuse(f"circuit {end.circuit}: sends on label {label} that it does not accept")
    for end in config.circuits:
        rivals = [e.circuit for e in config.circuits if e.class_number == end.class_number and e is not end]
        if end.encryption is Encryption.HOP_BY_HOP and rivals:
            refuse(f"circuit {end.circuit} is VXLAN and shares class {end.class_number} with {rivals[0]}")
    for number in sorted({end.class_number for end in config.circuits}):
        reached = [
            (IPv4Network(p), e.circuit) for e in config.circuits if e.class_number == number for p in tunnels.behind(e)
        ]
        for i, (network, circuit) in enumerate(reached):
            for other, rival in reached[:i]:
                if circuit != rival and network.overlaps(other):
                    refuse(f"class {number} reaches {network} by circuit {circuit} and {other} by {rival}")
    known = {end.circuit for end in config.circuits}
    for entry in config.steering:
        if entry.circuit not in known:
            refuse(f"traffic is steered into circuit {entry.circuit}, which does not end here")


def _prefixes_of(config: GatewayConfig) -> Iterable[str]:
    yield from config.blocks.all
    for end in config.circuits:
        yield from end.remote_prefixes
    for rule in (*(rule for end in config.circuits for rule in end.firewall), *config.local, *config.called):
        yield from (*rule.sources, *rule.destinations)
    for steer in config.steering:
        yield from (*steer.sources, *steer.destinations)
    for uplink in config.uplinks:
        yield from uplink.destinations


def _addresses_of(config: GatewayConfig) -> Iterable[str]:
    yield from (address for address in (config.mesh_address, config.hop_address) if address is not None)
    for peer in config.hop_peers:
        yield from (*((peer.hop_address,) if peer.hop_address else ()), *peer.labels)
    for transit in config.transits:
        yield from transit.addresses
    for workload in config.attached:
        yield workload.address
    for end in config.circuits:
        yield from (end.local_address, end.remote_address, end.probe_address)
        for label in end.labels:
            yield from (label.own, label.far)
    for uplink in config.uplinks:
        yield from (uplink.address, uplink.gateway_address)
    yield from translation.addresses(config)


def _dialled_ports(config: GatewayConfig, local: Local) -> set[int]:
    """UDP ports that others begin to talk to."""
    hop_ports = {port for underlay in local.underlays.values() if underlay.dialled for port in underlay.ports if port}
    return hop_ports | ({local.attach_port} if config.attached else set())


def _host(address: str) -> str:
    return f"{address}/32"


def _attach(config: GatewayConfig, local: Local) -> Interface:
    # One address a peer: WireGuard drops what a workload sends from any other.
    peers = {w.public_key: Peer(allowed=frozenset({_host(w.address)})) for w in config.attached}
    return Interface(local.public_keys[KeyRole.ATTACH], ATTACH_MTU, local.attach_port, peers=peers)


def _hop_by_hop(config: GatewayConfig, names: Names) -> Iterable[tuple[str, Interface]]:
    for end in config.circuits:
        if end.encryption is Encryption.HOP_BY_HOP:
            yield names.circuit(end.class_number), vxlan.interface(end, min(VXLAN_MTU, end.mtu))


def _uplinks(config: GatewayConfig, local: Local) -> Iterable[tuple[str, Interface]]:
    for number, uplink in enumerate(config.uplinks):
        allowed = frozenset(_networks((*uplink.destinations, _host(uplink.gateway_address))))
        peer = Peer(local.endpoint(uplink.endpoint), KEEPALIVE_S, allowed)
        yield (
            local.names.uplink(number),
            Interface(
                local.public_keys[KeyRole.ATTACH],
                ATTACH_MTU,
                addresses=frozenset({_host(uplink.address)}),
                peers={uplink.public_key: peer},
            ),
        )


def _networks(prefixes: Iterable[str]) -> Iterable[str]:
    """Prefixes as the kernel and WireGuard print them."""
    return (str(IPv4Network(prefix)) for prefix in prefixes)


def _never_in_clear(config: GatewayConfig) -> Iterable[Route]:
    for prefix in guarded(config):
        yield Route(prefix, metric=UNREACHABLE_METRIC)
    for number in {end.class_number for end in config.circuits}:
        yield Route("0.0.0.0/0", table=table_of(number), metric=UNREACHABLE_METRIC)


def _attach_routes(config: GatewayConfig, names: Names) -> Iterable[Route]:
    for workload in config.attached:
        yield Route(_host(workload.address), names.attach, config.mesh_address or "")


def _class_routes(config: GatewayConfig, names: Names) -> Iterable[Route]:
    spare = {(ways[0], prefix) for ways, prefixes in spared(config).items() for prefix in _networks(prefixes)}
    for end in config.circuits:
        for prefix in _networks(tunnels.behind(end)):
            device, table = names.circuit(end.class_number, end.slot), table_of(end.class_number)
            gateway = end.remote_address if end.encryption is Encryption.HOP_BY_HOP else ""
            metric = SPARED_METRIC if (end.circuit, prefix) in spare else 0
            yield Route(prefix, device, config.mesh_address or "", table, metric, gateway)


def _uplink_routes(config: GatewayConfig, names: Names) -> Iterable[Route]:
    for number, uplink in enumerate(config.uplinks):
        for prefix in _networks((*uplink.destinations, _host(uplink.gateway_address))):
            yield Route(prefix, names.uplink(number), uplink.address, metric=UPLINK_METRIC + number)


def _answer_routes(config: GatewayConfig, names: Names) -> Iterable[Route]:
    for number, uplink in enumerate(config.uplinks):
        table = uplink_table_of(number)
        yield Route(config.blocks.mesh, names.uplink(number), uplink.address, table, SPARED_METRIC)


def _rules(config: GatewayConfig, names: Names) -> Iterable[Rule]:
    for number in {end.class_number for end in config.circuits}:
        yield Rule(table_of(number), mark=mark_of(number))
    # Probes are bound to an interface of their class. An answer by one that the table does not lead through goes out by
    # it all the same: to the kernel, everything is on the link that a socket is bound to.
    for device, number in tunnels.classes(config, names).items():
        yield Rule(table_of(number), device=device)
