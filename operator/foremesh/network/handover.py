"""A pair that changes circuits keeps the old one until the new one carries.

An Intent whose requirements are edited belongs to another class, hence to another circuit. The new circuit is opened
for the pair at once and the old one stays open until its last label is free; traffic is steered into the old one until
the new one has an Active label, which every gateway has acknowledged. So each end may switch alone. Where the two begin
or end at different gateways of a site, the old one also stays until the workload has acknowledged the change.

Not where both circuits share an inner interface (one class, another far end): there an address can only have one peer,
and the pair moves at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from foremesh.model.circuit import Circuit, CircuitSpec, FirewallRule, LabelAllocation, LabelState
from foremesh.model.intent import Traffic
from foremesh.model.mesh import SteeredPair
from foremesh.network.circuits import DesiredCircuit, base_class
from foremesh.network.labels import Wanted
from foremesh.network.programmed import Applied, Shows


@dataclass(frozen=True)
class Handover:
    """Who carries what for now.

    Attributes:
        pairs: Circuit id to its pairs, for circuits that are desired and those that are handing over.
        staying: Circuits nobody asks for that still carry, and the routes that they stay on.
    """

    pairs: Mapping[str, tuple[SteeredPair, ...]]
    staying: Mapping[str, Wanted]


def hand_over(
    desired: Sequence[DesiredCircuit],
    recorded: Mapping[str, Circuit],
    class_numbers: Mapping[str, int],
    addresses: Mapping[str, str],
    applied: Applied,
) -> Handover:
    """Decide which circuit carries each pair while circuits come and go.

    Args:
        recorded: Circuits that exist, by id. What an old one carried stands in its firewall.
        class_numbers: Inner interface of every circuit, old and new.
        addresses: Resource id to mesh address, as on record.
        applied: What members run: a workload that may still send by way of an old circuit's gateway keeps that.
    """
    owners = {address: id_ for id_, address in addresses.items()}
    wanted = {circuit.id: circuit for circuit in desired}
    carriers: dict[tuple[str, str], list[DesiredCircuit]] = {}
    for circuit in desired:
        for pair in circuit.pairs:
            if not pair.backup:
                carriers.setdefault((pair.source, pair.destination), []).append(circuit)
    withheld: set[tuple[str, str, str]] = set()
    pairs: dict[str, tuple[SteeredPair, ...]] = {}
    staying: dict[str, Wanted] = {}
    for id_, old in recorded.items():
        if id_ in wanted or id_ not in class_numbers:
            continue
        active = label_in(old, LabelState.ACTIVE)
        kept = []
        for pair in _pairs_of(old.spec.firewall, owners):
            heirs = carriers.get((pair.source, pair.destination), [])
            if not heirs or any(_share_interface(old, heir, class_numbers) for heir in heirs):
                continue
            waiting = [heir.id for heir in heirs if heir.id not in recorded or not _carries(recorded[heir.id])]
            still_here = active is not None and bool(waiting)
            stays = active is not None and (still_here or _may_send(old.spec, pair, applied))
            kept.append(msgspec.structs.replace(pair, steered=stays, backup=not still_here))
            if active is not None and stays:
                withheld |= {(heir, pair.source, pair.destination) for heir in waiting}
                standby = label_in(old, LabelState.STANDBY)
                staying[id_] = Wanted(active.route, standby.route if standby else None)
        pairs[id_] = tuple(kept)
    for circuit in desired:
        pairs[circuit.id] = tuple(
            msgspec.structs.replace(pair, steered=(circuit.id, pair.source, pair.destination) not in withheld)
            for pair in circuit.pairs
        )
    classes = {id_: base_class(circuit.spec.class_) for id_, circuit in recorded.items()}
    classes |= {id_: base_class(circuit.spec.class_) for id_, circuit in wanted.items()}
    near = {id_: circuit.spec.from_ for id_, circuit in wanted.items()}
    return Handover(_carrying_first(pairs, recorded, classes, near), staying)


def _carrying_first(
    pairs: Mapping[str, tuple[SteeredPair, ...]],
    recorded: Mapping[str, Circuit],
    classes: Mapping[str, str],
    near: Mapping[str, str],
) -> dict[str, tuple[SteeredPair, ...]]:
    """Where a backup has an Active label already, and the circuit that comes first has none, they change parts."""
    carrying = {id_ for id_ in pairs if id_ in recorded and _carries(recorded[id_])}
    users: dict[tuple[str, str, str], list[tuple[bool, str]]] = {}
    for id_, listed in pairs.items():
        for pair in listed:
            if pair.steered:
                users.setdefault((classes[id_], pair.source, pair.destination), []).append((pair.backup, id_))
    change: set[tuple[str, str, str]] = set()
    for (_, source, destination), found in users.items():
        first = [id_ for backup, id_ in found if not backup]
        ready = [id_ for backup, id_ in found if backup and id_ in carrying]
        if len(first) == 1 and first[0] not in carrying and ready:
            # The near gateway was chosen; another one may be gone.
            ready.sort(key=lambda id_: (recorded[id_].spec.from_ != near.get(first[0]), id_))
            change |= {(first[0], source, destination), (ready[0], source, destination)}
    return {
        id_: tuple(
            msgspec.structs.replace(pair, backup=pair.backup ^ ((id_, pair.source, pair.destination) in change))
            for pair in listed
        )
        for id_, listed in pairs.items()
    }


def _may_send(spec: CircuitSpec, pair: SteeredPair, applied: Applied) -> bool:
    """Whether a workload of several gateways may still be told to use one of this circuit's for a pair."""

    def left(gateway: str, far_address: str) -> Shows:
        return lambda config: (
            not any(
                uplink.gateway == gateway and f"{far_address}/32" in uplink.destinations for uplink in config.uplinks
            )
        )

    ends = ((pair.source, spec.from_, pair.destination_address), (pair.destination, spec.to, pair.source_address))
    return any(
        own in applied.configs and not applied.confirms(own, left(gateway, far))
        for own, gateway, far in ends
        if base_class(spec.class_) != spec.class_
    )


def label_in(circuit: Circuit, state: LabelState) -> LabelAllocation | None:
    """A circuit's label in a state, by its status; of those that it may have several of, the first."""
    return next((label for label in circuit.status.labels if label.state is state), None)


def _carries(circuit: Circuit) -> bool:
    return label_in(circuit, LabelState.ACTIVE) is not None


def narrowed(spec: CircuitSpec, pairs: Iterable[SteeredPair]) -> CircuitSpec:
    """A spec whose firewall is about these pairs only."""
    known = {((f"{pair.source_address}/32",), (f"{pair.destination_address}/32",)) for pair in pairs}
    rules = tuple(rule for rule in spec.firewall if (rule.sources, rule.destinations) in known)
    return msgspec.structs.replace(spec, firewall=rules)


def _share_interface(old: Circuit, new: DesiredCircuit, class_numbers: Mapping[str, int]) -> bool:
    common = {old.spec.from_, old.spec.to} & {new.spec.from_, new.spec.to}
    return bool(common) and class_numbers.get(new.id) == class_numbers[old.id]


def _pairs_of(rules: Iterable[FirewallRule], owners: Mapping[str, str]) -> list[SteeredPair]:
    """The pairs that a firewall was made from; rules about anything but two members' addresses are passed over."""
    found: dict[tuple[str, str], list[FirewallRule]] = {}
    for rule in rules:
        if len(rule.sources) == 1 and len(rule.destinations) == 1:
            source, destination = rule.sources[0].removesuffix("/32"), rule.destinations[0].removesuffix("/32")
            if source in owners and destination in owners:
                found.setdefault((source, destination), []).append(rule)
    return [
        SteeredPair(
            source=owners[source],
            source_address=source,
            destination=owners[destination],
            destination_address=destination,
            traffic=tuple(Traffic(protocol=rule.protocol, ports=rule.ports) for rule in rules if rule.protocol)
            if all(rule.protocol for rule in rules)
            else (),
        )
        for (source, destination), rules in sorted(found.items())
    ]
