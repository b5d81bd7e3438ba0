"""A small mesh for tests: resources, registrations, placements, and a controller that cycles over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from foremesh.decide import as_told
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Circuit, CircuitStatus, Figures
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Destination, Intent, IntentSpec, Profile, Requirements, Source, Traffic
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member, MeshState
from foremesh.model.meta import LabelSelector, Meta, Ref
from foremesh.model.plan import Path, Placement, Plan
from foremesh.model.registration import Acknowledgement, Beacon, LinkReport, PublicKeys, Registration
from foremesh.model.resource import (
    GatewaySpec,
    Location,
    Protocol,
    Resource,
    ResourceSpec,
    ResourceType,
    Role,
    WorkloadSpec,
)
from foremesh.model.status import ResourceStatus
from foremesh.network.allocate import Held, enrol, held
from foremesh.network.circuits import Desired, desired_circuits
from foremesh.network.compile import compile_configs, diff
from foremesh.network.place import Placed, place_circuits
from foremesh.network.programmed import DRAIN_S, Applied
from foremesh.network.tunnels import NEVER, Rotation
from foremesh.routing.adjacency import adjacency

HTTPS = Traffic(protocol=Protocol.TCP, ports=(443,))


def gateway(name: str, site: str = "", *, number: int = 1) -> Resource:
    return Resource(
        meta=Meta(name=name, namespace="mesh"),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY,
            network="internet",
            location=Location(site=site or name),
            gateway=GatewaySpec(role=Role.CORE, endpoint=f"203.0.113.{number}:51820"),
        ),
    )


def workload(name: str, site: str) -> Resource:
    return Resource(
        meta=Meta(name=name, namespace="shop"),
        spec=ResourceSpec(
            type=ResourceType.CONTAINER,
            location=Location(site=site),
            workload=WorkloadSpec(selector=LabelSelector(match_labels={"app": name})),
        ),
    )


def registration(resource: Resource, *, number: int = 1) -> Registration:
    keys = PublicKeys(hop=f"hop:{resource.id}", circuit=f"circuit:{resource.id}", attach=f"attach:{resource.id}")
    attach = f"203.0.113.{number}:51821" if resource.is_gateway else None
    return Registration(resource=resource.id, keys=keys, attach_endpoint=attach)


def intent(
    name: str,
    *,
    traffic: tuple[Traffic, ...] = (),
    requirements: Requirements | None = None,
    profile: Profile = Profile.BALANCED,
    priority: int = 0,
    dedicated: bool = False,
    dscp: int | None = None,
) -> Intent:
    return Intent(
        meta=Meta(name=name, namespace="shop"),
        spec=IntentSpec(
            from_=Source(resource="any"),
            to=Destination(service="any"),
            requirements=requirements or Requirements(),
            traffic=traffic,
            profile=profile,
            priority=priority,
            dedicated=dedicated,
            dscp=dscp,
        ),
    )


def placed(
    intent: Intent, source: str, destination: str, *gateways: str, standby: tuple[str, ...] | None = None
) -> Placement:
    """A placement; ids without their namespaces, ``shop`` for workloads and ``mesh`` for gateways."""
    return Placement(
        intent=intent.id,
        source=f"shop/{source}",
        destination=f"shop/{destination}",
        path=path(*gateways),
        standby=path(*standby) if standby else None,
    )


def path(*gateways: str) -> Path:
    ids = tuple(f"mesh/{name}" for name in gateways)
    return Path(gateways=ids, links=tuple(LinkId(src=a, dst=b) for a, b in pairwise(ids)), figures=Figures())


def full_mesh(gateways: Sequence[str]) -> tuple[LinkId, ...]:
    return tuple(LinkId(src=a, dst=b) for a in sorted(gateways) for b in sorted(gateways) if a != b)


@dataclass
class Controller:
    """One planning cycle after another, as the operator runs them, with agents that do at once what they are told
    unless a test keeps them from it."""

    resources: dict[str, Resource]
    registrations: dict[str, Registration]
    intents: dict[str, Intent] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()
    backups: tuple[Placement, ...] = ()
    blocks: Blocks = field(default_factory=Blocks)
    statuses: dict[str, ResourceStatus] = field(default_factory=dict)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    configs: dict[str, GatewayConfig] = field(default_factory=dict)
    acknowledgements: dict[str, Acknowledgement] = field(default_factory=dict)
    beacons: dict[str, Beacon] = field(default_factory=dict)
    links: dict[str, dict[str, LinkReport]] = field(default_factory=dict)
    """What beacons go on saying of links."""
    epoch: int = 0
    rotation: Rotation = NEVER
    now_s: float = 0.0
    """Unix time; 0: every cycle takes a second."""
    desired: Desired = field(default_factory=Desired)
    placed: Placed = field(default_factory=lambda: Placed((), ()))
    state: MeshState = field(default_factory=lambda: MeshState(epoch=0))

    @classmethod
    def of(cls, *resources: Resource, **fields: object) -> Controller:
        registrations = {r.id: registration(r, number=n) for n, r in enumerate(resources, 1)}
        beacons = {r.id: Beacon() for r in resources}
        return cls({r.id: r for r in resources}, registrations, beacons=beacons, **fields)  # type: ignore[arg-type]

    def wish(self, wishes: Iterable[tuple[Intent, Placement]]) -> None:
        wishes = list(wishes)
        self.intents = {intent.id: intent for intent, _ in wishes}
        self.placements = tuple(placement for _, placement in wishes)

    def held(self) -> Held:
        return held(
            statuses=self.statuses,
            circuits=self.circuits,
            configs=self.configs,
            acknowledgements=self.acknowledgements,
            beacons=self.beacons,
            blocks=self.blocks,
        )

    def members(self) -> tuple[Member, ...]:
        return enrol(self.resources, self.registrations, frozenset(self.resources), self.held(), self.blocks)

    def _next_epoch(self) -> int:
        """As the operator has it: cycles in which nothing changes leave the clock its lead."""
        if not self.now_s:
            return self.epoch + 1
        heard = [config.epoch for config in self.configs.values()]
        heard += [one.epoch for circuit in self.placed.circuits for one in (*circuit.labels, *circuit.tunnels)]
        return max(math.ceil(self.now_s), max(heard, default=0) + 1)

    def cycle(self) -> tuple[str, ...]:
        """Plan to configs in force, once; the ids of members with a new config."""
        self.epoch = self._next_epoch()
        now_s = self.now_s or float(self.epoch)
        members = self.members()
        self.statuses = {
            m.id: ResourceStatus(number=m.number, mesh_address=m.address or "", attached_to=m.gateways) for m in members
        }
        plan = Plan(made_at_s=0.0, placements=self.placements)
        self.desired = desired_circuits(plan, self.intents, members, blocks=self.blocks, backups=self.backups)
        self.placed = place_circuits(
            self.desired.circuits,
            self.circuits,
            Applied(self.configs, self.acknowledgements, self.beacons),
            self.held(),
            members=members,
            epoch=self.epoch,
            now_s=now_s,
            blocks=self.blocks,
            rotation=self.rotation,
        )
        self.state = MeshState(
            epoch=self.epoch,
            blocks=self.blocks,
            members=members,
            links=adjacency(m.resource for m in members if m.is_gateway and m.registration),
            circuits=self.placed.circuits,
            local=self.desired.local,
            circuit_keys_since=self.rotation.since_s(now_s),
        )
        self.circuits = {
            circuit.id: Circuit(
                meta=Meta(name=Ref.parse(circuit.id).name, namespace=Ref.parse(circuit.id).namespace),
                spec=circuit.spec,
                status=CircuitStatus(
                    number=circuit.number,
                    class_number=circuit.class_number,
                    tunnels=circuit.tunnels,
                    labels=circuit.labels,
                ),
            )
            for circuit in self.placed.circuits
        }
        changes = diff(self.configs, compile_configs(self.state))
        self.configs = dict(changes.configs)
        return changes.changed

    def settle(self) -> Mapping[str, GatewayConfig]:
        """Cycle, every agent acknowledging, until nothing changes any more, and what drained is gone; the configs in
        force."""
        quiet = 0
        for _ in range(20):
            self.acknowledge(*self.configs)
            quiet = 0 if self.cycle() else quiet + 1
            if quiet > DRAIN_S:
                return self.configs
        raise AssertionError("twenty cycles, and configs still change")

    def acknowledge(self, *ids: str) -> None:
        """They apply what they are told; hellos pass on every label at once."""
        for id_ in ids:
            config = self.configs[id_]
            self.acknowledgements[id_] = Acknowledgement(
                gateway=id_, epoch=config.epoch, revision=config.revision, applied=True, labels=config.labels
            )
            said = Beacon(labels=config.labels, links=dict(self.links.get(id_, {})))
            self.beacons[id_] = as_told(said, config)
