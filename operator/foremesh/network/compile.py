"""The mesh's state to one config for each agent, and what changed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from foremesh.model.circuit import LabelAllocation, LabelState, Route
from foremesh.model.config import AttachedWorkload, Behind, CircuitEnd, GatewayConfig, LabelEnd, Transit, Uplink
from foremesh.model.manifest import encode
from foremesh.model.mesh import Member, MeshState, PlacedCircuit
from foremesh.model.registration import Registration
from foremesh.network.circuits import firewall_of
from foremesh.network.links import Links
from foremesh.network.mtu import inner_mtu
from foremesh.network.steering import Steering, spares, steers
from foremesh.network.tunnels import End, keys_of, tunnels_at


def route_digest(route: Route) -> str:
    """A short name of a route, the same at both its ends."""
    return hashlib.sha256(encode(route)).hexdigest()[:12]


def compile_configs(state: MeshState) -> dict[str, GatewayConfig]:
    """Write the config of every gateway and workload whose agent has registered.

    All have the state's epoch; ``diff`` gives back the epochs of those that did not change. A gateway without a number
    or an agent is left out everywhere, and so is what needs it. A neighbour stays a neighbour while a label runs over
    the link, whether or not the link is among the state's: absence is no reason to forget a path.
    """
    mesh = _Mesh(state)
    configs = {id_: mesh.gateway(mesh.gateways[id_]) for id_ in sorted(mesh.gateways)}
    configs |= {id_: mesh.workload(mesh.workloads[id_]) for id_ in sorted(mesh.workloads)}
    return configs


@dataclass(frozen=True)
class Changes:
    """What is in force after a compilation.

    Attributes:
        configs: Every member's config; those that did not change keep their epoch.
        changed: Ids of members with a new config, sorted.
        removed: Ids of members that had a config and have none any more, sorted.
    """

    configs: Mapping[str, GatewayConfig]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def diff(old: Mapping[str, GatewayConfig], new: Mapping[str, GatewayConfig]) -> Changes:
    """Find what changed between the configs in force and newly compiled ones, epochs aside."""
    same = {
        id_
        for id_, config in new.items()
        if id_ in old and msgspec.structs.replace(old[id_], epoch=config.epoch) == config
    }
    return Changes(
        configs={id_: old[id_] if id_ in same else new[id_] for id_ in sorted(new)},
        changed=tuple(sorted(new.keys() - same)),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


@dataclass(frozen=True)
class _Gateway:
    """A gateway that can be set up."""

    id: str
    member: Member
    registration: Registration
    number: int


@dataclass(frozen=True)
class _Workload:
    id: str
    member: Member
    registration: Registration
    address: str


class _Mesh:
    """The state, indexed by what a config needs."""

    def __init__(self, state: MeshState) -> None:
        self.state = state
        self.blocks = state.blocks
        self.gateways: dict[str, _Gateway] = {}
        self.workloads: dict[str, _Workload] = {}
        for member in state.members:
            if member.registration is None:
                continue
            if member.is_gateway and member.number is not None:
                self.gateways[member.id] = _Gateway(member.id, member, member.registration, member.number)
            elif not member.is_gateway and member.address is not None:
                self.workloads[member.id] = _Workload(member.id, member, member.registration, member.address)
        self.links = Links(
            {id_: gateway.member for id_, gateway in self.gateways.items()},
            state.links,
            (label for circuit in state.circuits for label in circuit.labels),
            self.blocks,
        )
        self.steering = Steering(state)
        self.ending: dict[str, list[PlacedCircuit]] = defaultdict(list)
        """Gateway id to the circuits that end there."""
        self.passing: dict[str, list[tuple[PlacedCircuit, LabelAllocation]]] = defaultdict(list)
        """Gateway id to the labels that run along it."""
        for circuit in state.circuits:
            ends = (circuit.spec.from_, circuit.spec.to)
            if all(end in self.gateways for end in ends):
                for end in ends:
                    self.ending[end].append(circuit)
            for label in circuit.labels:
                for id_ in label.path:
                    self.passing[id_].append((circuit, label))

    def gateway(self, gateway: _Gateway) -> GatewayConfig:
        blocks = self.blocks
        spare = spares(self.ending[gateway.id], gateway.id)
        return GatewayConfig(
            gateway=gateway.id,
            epoch=self.state.epoch,
            blocks=blocks,
            number=gateway.number,
            mesh_address=blocks.gateway_address(gateway.number),
            hop_address=blocks.hop_address(gateway.number),
            underlay=gateway.member.resource.underlay,
            mesh_prefix=blocks.gateway_prefix(gateway.number),
            hop_peers=self.links.peers(gateway.id),
            transits=tuple(self._transits(gateway)),
            attached=tuple(
                AttachedWorkload(
                    resource=id_,
                    public_key=w.registration.keys.attach,
                    address=w.address,
                    others=len(self._uplinks(w)) > 1,
                )
                for id_, w in sorted(self.workloads.items())
                if gateway.id in w.member.gateways
            ),
            circuits=tuple(
                self._end(circuit, gateway, spare.get(circuit.id, ())) for circuit in self.ending[gateway.id]
            ),
            steering=steers(self.ending[gateway.id], gateway.id),
            local=firewall_of(local.pair for local in self.state.local if local.gateway == gateway.id),
            circuit_key=keys_of(gateway.registration)[0].key,
            circuit_keys_since=self.state.circuit_keys_since,
            behind=tuple(
                Behind(
                    resource=member.id,
                    address=member.address,
                    target=member.target,
                    own_addresses=self.steering.own_addresses(member.id),
                )
                for member in self.state.members
                if member.target and member.address and gateway.id in member.gateways
            ),
        )

    def workload(self, workload: _Workload) -> GatewayConfig:
        """The first uplink carries whatever no circuit ties to another. Where there are several, each names what it is
        preferred for, and the workload uses another one while a gateway is dead."""
        gateways = self._uplinks(workload)
        uplinks = [
            Uplink(
                gateway=gateway.id,
                public_key=gateway.registration.keys.attach,
                endpoint=endpoint,
                address=workload.address,
                gateway_address=self.blocks.gateway_address(gateway.number),
                destinations=(
                    self.blocks.mesh,
                    *(self.steering.tied(workload.id, gateway.id) if len(gateways) > 1 else ()),
                ),
            )
            for gateway, endpoint in gateways
        ]
        own_address, called = self.steering.called(workload.id)
        return GatewayConfig(
            gateway=workload.id,
            epoch=self.state.epoch,
            blocks=self.blocks,
            mesh_address=workload.address,
            uplinks=tuple(uplinks),
            own_addresses=self.steering.own_addresses(workload.id),
            own_address=own_address,
            called=called,
            names=self.steering.names(workload.id),
        )

    def _uplinks(self, workload: _Workload) -> list[tuple[_Gateway, str]]:
        """Gateways that a workload can reach, and where."""
        known = [self.gateways[id_] for id_ in workload.member.gateways if id_ in self.gateways]
        return [(one, one.registration.attach_endpoint) for one in known if one.registration.attach_endpoint]

    def _transits(self, gateway: _Gateway) -> Iterable[Transit]:
        relayed = [
            (label.number, circuit.id) for circuit, label in self.passing[gateway.id] if gateway.id in label.path[1:-1]
        ]
        for number, circuit_id in sorted(relayed):
            yield Transit(label=number, circuit=circuit_id, addresses=self.blocks.label_pair(number))

    def _end(self, circuit: PlacedCircuit, gateway: _Gateway, spare: tuple[str, ...]) -> CircuitEnd:
        initiator = circuit.spec.from_ == gateway.id
        far = self.gateways[circuit.spec.to if initiator else circuit.spec.from_]
        probe_address = self.blocks.gateway_address(far.number)
        behind = {pair.destination_address if initiator else pair.source_address for pair in circuit.pairs}
        local, remote = _own_first(self.blocks.circuit_pair(circuit.number), initiator)
        labels = tuple(
            LabelEnd(number=label.number, own=own, far=far_end, route=route_digest(label.route))
            for label in circuit.labels
            for own, far_end in [_own_first(self.blocks.label_pair(label.number), initiator)]
        )
        needs = circuit.spec.requirements
        reserved = needs.min_bandwidth if initiator else needs.reverse
        by_state = {label.state: label.number for label in circuit.labels}
        used, second = tunnels_at(
            circuit, End(gateway.id, 1 - initiator, gateway.registration), End(far.id, initiator, far.registration)
        )
        return CircuitEnd(
            circuit=circuit.id,
            class_number=circuit.class_number,
            encryption=circuit.spec.encryption,
            local_address=local,
            remote_address=remote,
            public_key=used.public_key,
            slot=used.slot,
            own_key=used.own_key,
            second=second,
            remote_gateway=far.id,
            # Nothing but what is spoken to: one interface serves all circuits of a class, and an address has one peer.
            remote_prefixes=tuple(sorted(f"{address}/32" for address in behind | {probe_address})),
            labels=tuple(sorted(labels, key=lambda label: label.number)),
            send_label=by_state.get(LabelState.ACTIVE),
            standby_label=by_state.get(LabelState.STANDBY),
            # Whoever stopped wanting the circuit has no word in it any more.
            firewall=circuit.spec.firewall if circuit.pairs else (),
            initiator=initiator,
            spares=spare,
            probe_address=probe_address,
            mtu=inner_mtu(circuit.spec.encryption, circuit.path_mtu),
            police_bps=float(reserved) if reserved and self.state.policing else None,
            dscp=circuit.spec.dscp,
        )


def _own_first(pair: tuple[str, str], initiator: bool) -> tuple[str, str]:
    """A pair of ``from`` and ``to`` addresses as its own and the far one of an end."""
    return pair if initiator else (pair[1], pair[0])
