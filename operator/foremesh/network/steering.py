"""Who reaches whom, by which address: rules that steer into circuits, uplinks, own addresses, names.

Own addresses follow from what Intents declare, not from where they are placed: what is to go through the mesh must not
leave outside of it while there is no path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from foremesh.model.addresses import Blocks, is_own_address
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import Name, OwnAddress, Steer
from foremesh.model.intent import Traffic
from foremesh.model.mesh import Call, Member, MeshState, PlacedCircuit, SteeredPair
from foremesh.model.meta import Ref
from foremesh.model.resource import Protocol
from foremesh.network.attachment import target_of
from foremesh.network.circuits import base_class, firewall_of

LONGEST_NAME = 253
"""Characters of a name that resolvers take."""


def own_addresses(member: Member, blocks: Blocks) -> tuple[str, ...]:
    """The addresses that a member has in its own network: the declared one, and the one that its agent reports."""
    declared = target_of(member.resource, blocks)
    reported = member.registration.own_address if member.registration else None
    return tuple(dict.fromkeys(one for one in (declared, reported) if one and is_own_address(one, blocks)))


def obstacles(calls: Sequence[Call], members: Mapping[str, Member], blocks: Blocks) -> dict[tuple[str, str], str]:
    """Intent and source to why the source cannot call the destination by its own address.

    Args:
        calls: The most important one first; where two destinations have one address, it is that one's.
    """
    found: dict[tuple[str, str], str] = {}
    taken: dict[tuple[str, str, Protocol, int], Call] = {}
    for call in calls:
        addresses = own_addresses(members[call.destination], blocks)
        if not addresses:
            found[call.intent, call.source] = (
                f"the own address of {call.destination} is not known, so nothing that is sent there can be steered; "
                "declare spec.machine.address as an IPv4 address, or wait for its agent"
            )
        for own, protocol, port in _keys(addresses, call.traffic):
            first = taken.setdefault((call.source, own, protocol, port), call)
            if first.destination != call.destination:
                what = f"{protocol} port {port}" if port else str(protocol)
                found[call.intent, call.source] = (
                    f"{own} is also the own address of {first.destination}, which Intent {first.intent} steers "
                    f"{what} of {call.source} to; call {call.destination} by its mesh address or name"
                )
    return found


def steers(circuits: Iterable[PlacedCircuit], gateway: str) -> tuple[Steer, ...]:
    """What a gateway steers into the circuits that end there."""
    found = []
    for circuit in circuits:
        answers = circuit.spec.to == gateway
        for pair in circuit.pairs:
            for rule in firewall_of([pair] if pair.steered else ()):
                sources, destinations = rule.sources, rule.destinations
                if answers:
                    sources, destinations = destinations, sources
                found.append(
                    Steer(
                        circuit=circuit.id,
                        sources=sources,
                        destinations=destinations,
                        protocol=rule.protocol,
                        ports=rule.ports,
                        answers=answers,
                        backup=pair.backup,
                    )
                )
    # The first that matches decides, so what names ports comes before what takes everything.
    return tuple(
        sorted(found, key=lambda s: (not s.ports, s.protocol is None, s.backup, s.circuit, s.sources, s.destinations))
    )


def spares(circuits: Iterable[PlacedCircuit], gateway: str) -> dict[str, tuple[str, ...]]:
    """Circuit id to those that may carry what it does, since they end at this gateway, too, and serve the same pairs
    under the same requirements, by another gateway at the far end; without circuits that have none."""
    ending = [circuit for circuit in circuits if gateway in (circuit.spec.from_, circuit.spec.to)]
    users: dict[tuple[str, str, str, bool], list[str]] = defaultdict(list)
    for circuit in ending:
        for pair in circuit.pairs if base_class(circuit.spec.class_) != circuit.spec.class_ else ():
            key = (base_class(circuit.spec.class_), pair.source, pair.destination, circuit.spec.to == gateway)
            users[key].append(circuit.id)
    found: dict[str, set[str]] = defaultdict(set)
    for ids in users.values():
        for id_ in ids:
            found[id_] |= {other for other in ids if other != id_}
    return {id_: tuple(sorted(others)) for id_, others in found.items() if others}


class Steering:
    """Who may talk to whom in a state of the mesh, by member."""

    def __init__(self, state: MeshState) -> None:
        self._state = state
        self._members = {member.id: member for member in state.members}
        self._ways: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._spoken_to: dict[str, list[SteeredPair]] = defaultdict(list)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._called: dict[str, list[Call]] = defaultdict(list)
        placed = [(c.spec.from_, c.spec.to, pair) for c in state.circuits for pair in c.pairs]
        placed += [(local.gateway, local.gateway, local.pair) for local in state.local]
        for from_, to, pair in placed:
            self._spoken_to[pair.source].append(pair)
            if pair.steered and not pair.backup:
                self._ways[pair.source, from_].add(pair.destination_address)
                self._ways[pair.destination, to].add(pair.source_address)
        for call in state.calls:
            self._calls[call.source].append(call)
            self._called[call.destination].append(call)

    def tied(self, workload: str, gateway: str) -> tuple[str, ...]:
        """Prefixes that a workload reaches through one gateway of its site, whichever is its first."""
        return tuple(sorted(f"{address}/32" for address in self._ways.get((workload, gateway), ())))

    def own_addresses(self, member: str) -> tuple[OwnAddress, ...]:
        """Whom a member calls by their own addresses; of two with one address, the more important one has it."""
        found: dict[tuple[str, Protocol, int], str | None] = {}
        for call in self._calls.get(member, ()):
            to = self._members[call.destination]
            for key in _keys(own_addresses(to, self._state.blocks), call.traffic):
                found.setdefault(key, to.address)
        ports: dict[tuple[str, Protocol, str | None], set[int]] = defaultdict(set)
        for (own, protocol, port), mesh in found.items():
            ports[own, protocol, mesh] |= {port} if port else set()
        entries = [
            OwnAddress(own=own, mesh=mesh, protocol=protocol, ports=tuple(sorted(named)))
            for (own, protocol, mesh), named in ports.items()
        ]
        return tuple(sorted(entries, key=lambda one: (one.own, one.protocol, one.ports)))

    def called(self, member: str) -> tuple[str | None, tuple[FirewallRule, ...]]:
        """The own address that a member's host is called by, and by whom, with which traffic."""
        to = self._members[member]
        reported = to.registration.own_address if to.registration else None
        known = own_addresses(to, self._state.blocks)
        rules = [
            rule
            for call in self._called.get(member, ())
            if (source := self._members[call.source]).address and to.address
            for rule in firewall_of([_pair(source, to, call.traffic)])
        ]
        if not rules or not known:
            return None, ()
        # Its agent knows the host; what is declared may be an address that a cloud translates.
        rules = list(dict.fromkeys(rules))
        rules.sort(key=lambda rule: (rule.sources, str(rule.protocol), rule.ports))
        return reported if reported in known else known[0], tuple(rules)

    def names(self, member: str) -> tuple[Name, ...]:
        """Names of those that a member may talk to; a service's name comes before that of a resource."""
        domain = self._state.domain
        found: dict[str, str] = {}
        pairs = sorted(self._spoken_to.get(member, ()), key=lambda pair: (pair.destination, not pair.steered))
        services = [(name, pair.destination_address) for pair in pairs for name in pair.services]
        resources = [(_dotted(pair.destination), pair.destination_address) for pair in pairs]
        for name, address in (*services, *resources):
            found.setdefault(f"{name}.{domain}", address)
        return tuple(Name(name=name, address=found[name]) for name in sorted(found) if len(name) <= LONGEST_NAME)


def _dotted(id_: str) -> str:
    ref = Ref.parse(id_)
    return f"{ref.name}.{ref.namespace}"


def _pair(source: Member, destination: Member, traffic: tuple[Traffic, ...]) -> SteeredPair:
    return SteeredPair(
        source=source.id,
        source_address=source.address or "",
        destination=destination.id,
        destination_address=destination.address or "",
        traffic=traffic,
    )


def _keys(addresses: Iterable[str], traffic: Iterable[Traffic]) -> list[tuple[str, Protocol, int]]:
    """What traffic to addresses is told apart by; port 0 is ICMP, which has none."""
    return [
        (address, kind.protocol, port)
        for address in addresses
        for kind in traffic
        for port in (kind.ports or ((0,) if kind.protocol is Protocol.ICMP else ()))
    ]
