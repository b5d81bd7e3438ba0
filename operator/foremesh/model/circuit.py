"""Circuit: one placed path between two fixed gateways for one class of traffic."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from foremesh.model.intent import Encryption, Profile, Requirements
from foremesh.model.manifest import Spec, read
from foremesh.model.meta import Meta
from foremesh.model.resource import Protocol


class FirewallRule(Spec, frozen=True, kw_only=True):
    """Traffic that may pass a circuit; whatever no rule names is dropped at both ends. Empty fields match all."""

    protocol: Protocol | None = None
    ports: tuple[int, ...] = ()
    """Destination ports, seen from the circuit's ``from`` end; answers to them pass."""
    sources: tuple[str, ...] = ()
    """Prefixes of mesh addresses on the ``from`` end."""
    destinations: tuple[str, ...] = ()
    """Prefixes of mesh addresses on the ``to`` end."""


class CircuitSpec(Spec, frozen=True, kw_only=True):
    """Ends are gateway ids (``namespace/name``)."""

    from_: str
    to: str
    class_: str = msgspec.field(name="class")
    """Intents of the same ends and class share a circuit."""
    encryption: Encryption = Encryption.END_TO_END
    profile: Profile = Profile.BALANCED
    requirements: Requirements = Requirements()
    path: tuple[str, ...] = ()
    """A path pinned by hand, as gateway ids from end to end; empty lets foremesh choose."""
    firewall: tuple[FirewallRule, ...] = ()
    dscp: int | None = None
    """Differentiated services code point, 0 to 63, that packets in the circuit carry; unset leaves it as it is."""


class LabelState(StrEnum):
    """Where a label is in its life; a free one is not listed. ``network.labels`` has the transitions."""

    STAGING = "Staging"
    """Being programmed along its path; nobody may send on it."""
    STANDBY = "Standby"
    """Programmed everywhere; each end may switch to it by itself at any time."""
    ACTIVE = "Active"
    DRAINING = "Draining"
    """Given up; it is free once both ends have confirmed that they cannot send on it any more."""
    QUARANTINED = "Quarantined"
    """Given up, but an end that may still send on it is silent."""


KEY_NAME = 8
"""Characters of a public key that name it in a route: 48 bits tell apart the two that a gateway has at a time."""


def key_name(public_key: str) -> str:
    """What a route calls a hop key, and a tunnel a circuit key."""
    return public_key[:KEY_NAME]


class Route(Spec, frozen=True, kw_only=True):
    """One way through the mesh, exactly: gateways, the underlay of each link, the hop key that each gateway uses."""

    gateways: tuple[str, ...]
    underlays: tuple[str, ...] = ()
    """One for each link; empty: whatever underlay joins the two, the first by name."""
    keys: tuple[str, ...] = ()
    """One for each gateway: the first characters of the public key of its hop interface (``key_name``); empty: the
    oldest that it has."""


class LabelAllocation(Spec, frozen=True, kw_only=True):
    """A label in use: its number in the mesh's label block, its state and the way it runs (see ``Route``)."""

    number: int
    state: LabelState
    path: tuple[str, ...]
    underlays: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    epoch: int = 0
    """The epoch of the config that last changed the state; acknowledgements are compared with it."""

    @property
    def route(self) -> Route:
        return Route(gateways=self.path, underlays=self.underlays, keys=self.keys)


class TunnelState(StrEnum):
    """Where an inner tunnel is in its life; ``network.tunnels`` has the transitions."""

    STAGING = "Staging"
    """Being set up at both ends; nobody may send through it."""
    ACTIVE = "Active"
    DRAINING = "Draining"
    """Given up; it goes once both ends have confirmed that they do not send through it any more."""


class Tunnel(Spec, frozen=True, kw_only=True):
    """An inner WireGuard tunnel of a circuit: one interface and one key at each end."""

    slot: int = 0
    """Place of its interface among those of the class, the same at both ends."""
    keys: tuple[str, ...] = ()
    """Circuit keys of the ``from`` and the ``to`` end (``key_name``)."""
    state: TunnelState = TunnelState.ACTIVE
    epoch: int = 0
    """The epoch of the config that last changed the state."""


class Figures(Spec, frozen=True, kw_only=True):
    """What a path offers; unset is unknown."""

    latency_ms: float | None = None
    """Round trip between the ends, median."""
    latency_p90_ms: float | None = None
    loss: float | None = None
    bandwidth_bps: float | None = None
    hops: int | None = None
    egress_price: float | None = None
    cost: float | None = None


class Condition(Spec, frozen=True, kw_only=True):
    """``metav1.Condition``."""

    type: str
    status: str
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class CircuitStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The record of what is allocated to the circuit; it is read back by whoever takes over."""

    number: int | None = None
    """Number in the mesh's block of circuit addresses."""
    class_number: int | None = None
    """Number of the class's inner interface, the same at both ends."""
    tunnels: tuple[Tunnel, ...] = ()
    """Its inner tunnels: one, and two while keys change; none where it is hop by hop."""
    path: tuple[str, ...] = ()
    path_text: str = ""
    standby_path: tuple[str, ...] = ()
    """Where its ends fall over to by themselves; empty: nowhere yet."""
    standby_path_text: str = ""
    labels: tuple[LabelAllocation, ...] = ()
    predicted: Figures | None = None
    observed: Figures | None = None
    forecast_model: str = ""
    """Who forecast the round trips of the path's links."""
    forecast_reason: str = ""
    """Why those, link by link; as it was when the status was written."""
    intents: tuple[str, ...] = ()
    moves: int = 0
    """Paths that it was given by plans after the first."""
    moved_at: datetime | None = None
    """When it came to its path, if it had another before."""
    moved_from: tuple[str, ...] = ()
    """The path that it had before."""
    moved_from_underlays: tuple[str, ...] = ()
    """The underlay of each of its links; empty where no label told."""
    failovers: int = 0
    """Times that its ends went to the standby by themselves."""
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class Circuit(Spec, frozen=True, kw_only=True):
    meta: Meta
    spec: CircuitSpec
    status: CircuitStatus = CircuitStatus()

    @property
    def id(self) -> str:
        return self.meta.id

    @classmethod
    def from_manifest(cls, body: Any) -> Circuit:
        """Raises ManifestError if the manifest is no Circuit that the CRD would accept."""
        meta = Meta.from_manifest(body)
        where = f"Circuit {meta.ref}"
        return cls(
            meta=meta,
            spec=read(CircuitSpec, body.get("spec") or {}, where=where),
            status=read(CircuitStatus, body.get("status") or {}, where=where),
        )
