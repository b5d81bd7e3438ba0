"""Short ways to write intents, resources, circuits and demands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.intent import Destination, Intent, IntentSpec, Profile, Requirements, Source, Traffic
from foremesh.model.meta import Meta
from foremesh.model.policy import Policy, PolicySpec
from foremesh.model.resource import Location, MachineSpec, Resource, ResourceSpec, ResourceType
from foremesh.routing import Candidate, Demand


def intent(
    name: str,
    *,
    requirements: Requirements | None = None,
    profile: Profile = Profile.BALANCED,
    priority: int = 0,
    dedicated: bool = False,
    application: str = "",
    traffic: tuple[Traffic, ...] | None = None,
) -> Intent:
    return Intent(
        meta=Meta(name=name, namespace="lab"),
        spec=IntentSpec(
            from_=Source(resource="web"),
            to=Destination(resource="db"),
            requirements=requirements or Requirements(),
            traffic=(Traffic(ports=(443,), application=application),) if traffic is None else traffic,
            profile=profile,
            priority=priority,
            dedicated=dedicated,
        ),
    )


def workload(
    name: str, *, labels: dict[str, str] | None = None, address: str | None = None, region: str = ""
) -> Resource:
    machine = None if address is None else MachineSpec(address=address)
    kind = ResourceType.CONTAINER if machine is None else ResourceType.VIRTUAL_MACHINE
    return Resource(
        meta=Meta(name=name, namespace="lab", labels=labels or {}),
        spec=ResourceSpec(type=kind, machine=machine, location=Location(region=region)),
    )


def policy(name: str, **spec: Any) -> Policy:
    return Policy(meta=Meta(name=name), spec=PolicySpec(**spec))


def candidate(name: str, *gateways: str, labels: dict[str, str] | None = None, region: str = "") -> Candidate:
    return Candidate(resource=workload(name, labels=labels, region=region), gateways=dict.fromkeys(gateways, 0.0))


def demand(
    asked: Intent,
    gateways: Mapping[str, float | None] | str,
    *candidates: Candidate,
    class_: str = "default",
    source: str = "web",
) -> Demand:
    ends = {gateways: 0.0} if isinstance(gateways, str) else gateways
    return Demand(intent=asked, source=workload(source), source_gateways=ends, candidates=candidates, class_=class_)


def circuit(
    name: str,
    *path: str,
    intents: tuple[str, ...] = (),
    class_: str = "default",
    pinned: tuple[str, ...] = (),
    active: bool = True,
) -> Circuit:
    """A circuit that runs along a path of gateways."""
    state = LabelState.ACTIVE if active else LabelState.DRAINING
    return Circuit(
        meta=Meta(name=name, namespace="lab"),
        spec=CircuitSpec(from_=path[0], to=path[-1], class_=class_, path=pinned),
        status=CircuitStatus(path=path, intents=intents, labels=(LabelAllocation(number=1, state=state, path=path),)),
    )
