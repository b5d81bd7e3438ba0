"""Numbers and addresses: given once, kept as long as anything holds them.

What a status records stays. What is free is what no status records, no config in force programs and no agent reports;
new numbers are the lowest free ones, so equal inputs give equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import chain

from foremesh.model.addresses import BlockExhausted, Blocks
from foremesh.model.circuit import Circuit
from foremesh.model.config import GatewayConfig
from foremesh.model.mesh import Member
from foremesh.model.registration import Acknowledgement, Beacon, Registration
from foremesh.model.resource import Resource
from foremesh.model.status import ResourceStatus
from foremesh.network.attachment import attach, target_of

CLASSES = 100
"""Inner WireGuard interfaces of one gateway; each costs a process where WireGuard runs in userspace."""
CLASS_NUMBERS = 4095
"""Numbers that a packet's mark tells apart; VXLAN, which costs no process, has those from ``CLASSES`` on."""

GATEWAY_ADDRESSES = 256
"""Addresses of a gateway's prefix, a /24."""


def gateway_capacity(blocks: Blocks) -> int:
    """Gateways that have both a prefix and a hop address."""
    hops = IPv4Network(blocks.hops).num_addresses - 2
    return max(0, min(IPv4Network(blocks.mesh).num_addresses // GATEWAY_ADDRESSES, hops))


def assign(
    wanted: Iterable[str], held: Mapping[str, int], *, limit: int, busy: Set[int] = frozenset()
) -> dict[str, int]:
    """Give every id a number of its own.

    Args:
        wanted: Ids that need one.
        held: Numbers on record, of these ids and of others. Where two ids claim one number, the lower id keeps it.
        limit: Numbers go from 0 to below this.

    Returns:
        A number for each id; an id is missing where nothing is left for it.
    """
    ids = sorted(set(wanted))
    taken = {number for key, number in held.items() if key not in ids}
    kept: dict[str, int] = {}
    for key in ids:
        number = held.get(key)
        if number is not None and 0 <= number < limit and number not in kept.values():
            kept[key] = number
    taken |= set(kept.values())
    free = (number for number in range(limit) if number not in taken)
    result = {}
    for key in ids:
        number = kept[key] if key in kept else next(free, None)
        if number is not None:
            result[key] = number
    return result


def workload_addresses(first_gateways: Mapping[str, int], held: Mapping[str, str], blocks: Blocks) -> dict[str, str]:
    """Give every workload a mesh address.

    Args:
        first_gateways: Workload id to the number of the first gateway that it attaches to.
        held: Addresses on record, of these workloads and of others. An address stays when its workload attaches
            elsewhere: circuits reach every workload by its own /32.

    Returns:
        An address for each workload; one is missing where its gateway's prefix is exhausted.
    """
    mesh = IPv4Network(blocks.mesh)
    taken = {address for key, address in held.items() if key not in first_gateways}
    result: dict[str, str] = {}
    for key in sorted(first_gateways):
        address = held.get(key)
        if address and IPv4Address(address) in mesh and address not in result.values():
            result[key] = address
    taken |= set(result.values())
    for key in sorted(first_gateways.keys() - result.keys()):
        for index in range(GATEWAY_ADDRESSES):
            try:
                address = blocks.workload_address(first_gateways[key], index)
            except BlockExhausted:
                break
            if address not in taken:
                result[key] = address
                taken.add(address)
                break
    return result


@dataclass(frozen=True)
class ClassUser:
    """A circuit as the numbering of inner interfaces sees it."""

    id: str
    from_: str
    to: str
    class_: str
    hop_by_hop: bool = False

    @property
    def numbers(self) -> range:
        """Where its number may lie."""
        return range(CLASSES, CLASS_NUMBERS) if self.hop_by_hop else range(CLASSES)

    @property
    def ends(self) -> frozenset[str]:
        return frozenset((self.from_, self.to))

    def may_share(self, other: ClassUser) -> bool:
        """Whether the two can have one number: WireGuard wants distinct peers on an interface, and classes apart; VXLAN
        has one circuit on an interface."""
        common = self.ends & other.ends
        shareable = not self.hop_by_hop and not other.hop_by_hop and self.class_ == other.class_
        return not common or (shareable and len(common) == 1)


def class_numbers(
    circuits: Iterable[ClassUser], held: Mapping[str, int], *, busy: Mapping[str, Set[int]] | None = None
) -> dict[str, int]:
    """Number the inner interfaces: one number for both ends of a circuit, shared by circuits of a class that leave a
    gateway for different ones. Gateways that no circuit joins use the same numbers independently.

    Args:
        held: Circuit id to the number on record; kept unless it contradicts that of a circuit with a lower id.
        busy: Gateway id to numbers programmed there by circuits that are not among these.

    Returns:
        Circuit id to number, one of its ``numbers``; a circuit is missing where none of them is free at both its ends.
    """
    by_id = {circuit.id: circuit for circuit in circuits}
    ends = {gateway for circuit in by_id.values() for gateway in circuit.ends}
    placed: dict[str, dict[int, list[ClassUser]]] = {gateway: {} for gateway in ends}
    blocked = busy or {}
    result: dict[str, int] = {}

    def fits(circuit: ClassUser, number: int) -> bool:
        rivals = (rival for gateway in circuit.ends for rival in placed[gateway].get(number, ()))
        return all(circuit.may_share(rival) for rival in rivals)

    def take(circuit: ClassUser, number: int) -> None:
        result[circuit.id] = number
        for gateway in circuit.ends:
            placed[gateway].setdefault(number, []).append(circuit)

    for key in sorted(by_id.keys() & held.keys()):
        if held[key] in by_id[key].numbers and fits(by_id[key], held[key]):
            take(by_id[key], held[key])
    for key in sorted(by_id.keys() - result.keys()):
        circuit = by_id[key]
        # An interface that one of the ends has for this class already saves that end a new one.
        known = sorted({number for gateway in circuit.ends for number in placed[gateway]})
        for number in chain((n for n in known if n in circuit.numbers), circuit.numbers):
            if fits(circuit, number) and not any(number in blocked.get(gateway, ()) for gateway in circuit.ends):
                take(circuit, number)
                break
    return result


@dataclass(frozen=True)
class Held:
    """Who holds which number, by the word of statuses, configs in force and agents' reports."""

    gateways: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    circuits: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    classes_at: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Gateway id to the circuits programmed there and their class numbers."""
    labels: frozenset[int] = frozenset()
    agents: frozenset[str] = frozenset()
    """Ids of those whose agents have been heard, whether or not their registrations are known."""


def held(
    *,
    statuses: Mapping[str, ResourceStatus],
    circuits: Mapping[str, Circuit],
    configs: Mapping[str, GatewayConfig],
    acknowledgements: Mapping[str, Acknowledgement],
    beacons: Mapping[str, Beacon],
    blocks: Blocks,
) -> Held:
    """Collect what is in use. A status outweighs a config: it is the record, a config only its consequence."""
    gateways: dict[str, int] = {}
    addresses: dict[str, str] = {}
    numbers: dict[str, int] = {}
    classes: dict[str, int] = {}
    classes_at: dict[str, dict[str, int]] = {}
    labels: set[int] = set()
    for key, config in configs.items():
        if config.number is not None:
            gateways[key] = config.number
        addresses |= {workload.resource: workload.address for workload in config.attached}
        addresses |= {machine.resource: machine.address for machine in config.behind}
        for uplink in config.uplinks:
            addresses[key] = uplink.address
        classes_at[key] = {end.circuit: end.class_number for end in config.circuits}
        classes |= classes_at[key]
        for end in config.circuits:
            number = blocks.circuit_number(end.local_address)
            numbers |= {end.circuit: number} if number is not None else {}
        labels |= {transit.label for transit in config.transits}
        in_reach = {blocks.label_number(address) for peer in config.hop_peers for address in peer.labels}
        labels |= {number for number in in_reach if number is not None}
        labels |= {label.number for end in config.circuits for label in end.labels}
    for key, status in statuses.items():
        if status.number is not None:
            gateways[key] = status.number
        elif status.mesh_address:
            addresses[key] = status.mesh_address
    for key, circuit in circuits.items():
        if circuit.status.number is not None:
            numbers[key] = circuit.status.number
        if circuit.status.class_number is not None:
            classes[key] = circuit.status.class_number
        labels |= {label.number for label in circuit.status.labels}
    for reported in (*(ack.labels for ack in acknowledgements.values()), *(b.labels for b in beacons.values())):
        labels |= set(reported)
    labels |= {number for beacon in beacons.values() for number in (*beacon.sending.values(), *beacon.heard)}
    return Held(
        gateways=gateways,
        addresses=addresses,
        circuits=numbers,
        classes=classes,
        classes_at=classes_at,
        labels=frozenset(labels),
        agents=frozenset(key for key, status in statuses.items() if status.last_beacon_time) | configs.keys(),
    )


def enrol(
    resources: Mapping[str, Resource],
    registrations: Mapping[str, Registration],
    present: Set[str],
    held: Held,
    blocks: Blocks,
) -> tuple[Member, ...]:
    """Make members of all declared resources, with numbers, addresses and attachments.

    Args:
        registrations: The newest registration of every agent, those that have fallen silent included: a gateway that
            is left out here loses its links.
        present: Ids of members that sent a beacon lately.

    Returns:
        Members sorted by id. One for which nothing was left in a block has no address.
    """
    gateways = [resource for resource in resources.values() if resource.is_gateway]
    numbers = assign((gateway.id for gateway in gateways), held.gateways, limit=gateway_capacity(blocks))
    attached = {key: attach(resource, gateways) for key, resource in resources.items() if not resource.is_gateway}
    first = {
        key: numbers[attachment.gateways[0]]
        for key, attachment in attached.items()
        if attachment.gateways and attachment.gateways[0] in numbers
    }
    addresses = workload_addresses(first, held.addresses, blocks)
    addresses |= {key: blocks.gateway_address(number) for key, number in numbers.items()}
    return tuple(
        Member(
            id=key,
            resource=resources[key],
            registration=registrations.get(key),
            number=numbers.get(key),
            address=addresses.get(key),
            gateways=attached[key].gateways if key in attached else (),
            present=key in present,
            target=target_of(resources[key], blocks) if key not in registrations and key not in held.agents else "",
        )
        for key in sorted(resources)
    )
