"""Inner tunnels of circuits: how a circuit moves from one pair of keys to the next without losing a packet.

    ──► Staging ──► Active ──► Draining ──►

========  =======================================  ==================================================================
state     configs                                  left when
========  =======================================  ==================================================================
Staging   both ends take packets from it, neither  both ends acknowledged a config that has it, and say that they shook
          sends through it                         hands in it: Active, and its predecessor Draining in the same epoch.
                                                   A key of it is lost: gone
Active    both ends send through it                another one takes its place
Draining  as Staging                               both ends acknowledged a config in which they do not send through
                                                   it, and what they sent has arrived: gone
========  =======================================  ==================================================================

Hands are shaken before, because the first attempt may come before the other end is ready, and the next is made five
seconds later: nobody's packets wait for that. Each end may switch alone and in any order, since both take packets from
whatever either may send through. There is one Active tunnel, and one other at most; the first tunnel of a circuit is
Active at once, as nothing is sent before its labels are.

A tunnel lies in a *slot* of its class, the same at both ends: one interface and one key of each. Circuits of one class
whose keys are replaced together move to the same slot, and so share interfaces again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from foremesh.model.circuit import Tunnel, TunnelState, key_name
from foremesh.model.config import GatewayConfig, TunnelEnd
from foremesh.model.intent import Encryption
from foremesh.model.mesh import Member, PlacedCircuit
from foremesh.model.registration import CircuitKey, Registration
from foremesh.network.programmed import Applied, drained, ends_of

SLOTS = 4
"""Inner interfaces of a class at one gateway, each with a key of its own; what agents take. Two are enough unless an
end is away or of an older version for longer than keys last."""

SPREAD = 0.1
"""Share of the time between two replacements over which circuits are spread, so that not all move at once ..."""
LONGEST_SPREAD_S = 600.0
"""... and seconds that they are spread over at most: meanwhile every class costs its gateways a second process."""


@dataclass(frozen=True)
class Rotation:
    """When keys are to be replaced.

    Attributes:
        period_s: Seconds that a key is used; 0: however long it lasts.
        not_before_s: Unix time; no key of before is used from then on.
        longest_spread_s: Seconds over which circuits are spread at most.
    """

    period_s: float = 0.0
    not_before_s: float = 0.0
    longest_spread_s: float = LONGEST_SPREAD_S

    def since_s(self, now_s: float) -> int:
        """Unix time from which on keys are to be, the same for all gateways: a multiple of the period."""
        started_s = now_s - now_s % self.period_s if self.period_s else 0.0
        return int(max(started_s, self.not_before_s if self.not_before_s <= now_s else 0.0))

    def is_due(self, circuit: str, now_s: float) -> bool:
        """Whether it is a circuit's turn, now that there are new keys."""
        digest = hashlib.sha256(circuit.encode()).digest()
        return now_s >= self.since_s(now_s) + self.spread_s * int.from_bytes(digest[:4]) / 2**32

    @property
    def spread_s(self) -> float:
        """Seconds over which circuits are spread."""
        return min(self.longest_spread_s, self.period_s * SPREAD if self.period_s else self.longest_spread_s)


NEVER = Rotation()
"""Keys are used for as long as they last."""


def keys_of(registration: Registration) -> tuple[CircuitKey, ...]:
    """A gateway's circuit keys, the newest first; one of an older version has one, of unknown age."""
    return registration.circuits or (CircuitKey(key=registration.keys.circuit, made_s=0),)


@dataclass(frozen=True)
class End:
    """A gateway that a circuit ends at.

    Attributes:
        place: 0 for the ``from`` end, 1 for the ``to`` end.
    """

    id: str
    place: int
    registration: Registration

    @property
    def newest(self) -> CircuitKey:
        return keys_of(self.registration)[0]

    def key(self, tunnel: Tunnel) -> CircuitKey:
        """The key that a tunnel means here. One that is gone, as after a loss of all keys, is replaced by the newest;
        a tunnel that names none means the oldest."""
        keys = keys_of(self.registration)
        if not tunnel.keys:
            return keys[-1]
        return next((one for one in keys if key_name(one.key) == tunnel.keys[self.place]), keys[0])


def tunnels_at(circuit: PlacedCircuit, own: End, far: End) -> tuple[TunnelEnd, TunnelEnd | None]:
    """The tunnel that one end of a circuit sends through, and the one that it only takes packets from."""
    ends = [
        TunnelEnd(slot=tunnel.slot, own_key=own.key(tunnel).key, public_key=far.key(tunnel).key)
        for tunnel in sorted(circuit.tunnels or (Tunnel(),), key=lambda one: one.state is not TunnelState.ACTIVE)
    ]
    return ends[0], ends[1] if len(ends) > 1 else None


@dataclass(frozen=True)
class Behind:
    """Why a circuit goes on with older keys than it ought to.

    Attributes:
        who: The end that keeps it from changing them, or nobody: then it is under way.
    """

    why: str
    who: str = ""


def behind(circuit: PlacedCircuit, members: Mapping[str, Member], since_s: int) -> Behind | None:
    """Why a circuit goes on with keys of before ``since_s``; None if it does not."""
    active = next((one for one in circuit.tunnels if one.state is TunnelState.ACTIVE), None)
    ends = _ends(circuit, members)
    if active is None or ends is None or all(end.key(active).made_s >= since_s for end in ends):
        return None
    for end in ends:
        if not members[end.id].present:
            return Behind(f"{end.id} is silent", end.id)
        if not end.registration.circuits:
            return Behind(f"the agent of {end.id} is of a version that cannot replace its key", end.id)
    waiting = [end.id for end in ends if end.newest.made_s < since_s]
    if waiting:
        return Behind(f"{' and '.join(waiting)} is yet to make the next key")
    if len(circuit.tunnels) > 1:
        return Behind("its ends set the next tunnel up")
    return Behind("the next tunnel waits for its turn, or for an interface of its class")


def advance_tunnels(
    circuits: Sequence[PlacedCircuit],
    members: Mapping[str, Member],
    applied: Applied,
    rotation: Rotation,
    *,
    wanted: Iterable[str],
    epoch: int,
    now_s: float,
) -> tuple[PlacedCircuit, ...]:
    """Take every circuit's tunnels one step further; without news they stay as they are.

    Args:
        circuits: With their class numbers, and the tunnels on record.
        members: By id.
        wanted: Ids of circuits that are to stay; the others' keys are not replaced any more.
        epoch: Of the configs that will be compiled from the result.
        now_s: Unix time.

    Returns:
        The circuits, with tunnels. One that is not on record yet and finds no slot is left out.
    """
    step = _Step(members, applied, rotation, frozenset(wanted), epoch, now_s)
    encrypted = [one for one in circuits if one.spec.encryption is not Encryption.HOP_BY_HOP]
    for circuit in encrypted:
        step.note(circuit)
    moved = {circuit.id: step.advance(circuit) for circuit in encrypted}
    return tuple(
        msgspec.structs.replace(circuit, tunnels=moved.get(circuit.id) or ())
        for circuit in circuits
        if moved.get(circuit.id, ()) is not None
    )


Place = tuple[str, int, int]
"""A gateway, a class and a slot: an inner interface."""
Ends = tuple[End, End]


@dataclass
class _Step:
    """One step of all circuits, and the interfaces that they take up."""

    members: Mapping[str, Member]
    applied: Applied
    rotation: Rotation
    wanted: frozenset[str]
    epoch: int
    now_s: float
    keys: dict[Place, str] = field(default_factory=dict)
    """Public key of every interface that there is."""

    def note(self, circuit: PlacedCircuit) -> None:
        """The interfaces that a circuit has are taken."""
        if ends := _ends(circuit, self.members):
            for tunnel in circuit.tunnels or ((Tunnel(),) if circuit.labels else ()):
                self._take(circuit, tunnel, ends)

    def advance(self, circuit: PlacedCircuit) -> tuple[Tunnel, ...] | None:
        """A circuit's tunnels from this epoch on; None: it has none, and finds no place for one."""
        ends, tunnels = _ends(circuit, self.members), circuit.tunnels
        if ends is None:
            return tunnels  # nothing can be set up without both ends' keys
        if not tunnels and circuit.labels:
            # Of before tunnels were recorded: what configs that named none had.
            tunnels = (Tunnel(keys=tuple(key_name(keys_of(end.registration)[-1].key) for end in ends)),)
        if not tunnels:
            first = self._place(circuit, ends, TunnelState.ACTIVE)
            return (first,) if first else None
        active = next(one for one in tunnels if one.state is TunnelState.ACTIVE)
        other = next((one for one in tunnels if one is not active), None)
        if other is None:
            following = self._following(circuit, active, ends)
            return (active, following) if following else (active,)
        if other.state is TunnelState.DRAINING:
            return (active,) if self._is_given_up(circuit, other) else (active, other)
        if any(key_name(end.key(other).key) != other.keys[end.place] for end in ends):
            return (active,)  # nobody sends through it, and nobody will
        if self._is_set_up(circuit, other, *ends):
            return (self._enter(TunnelState.ACTIVE, other), self._enter(TunnelState.DRAINING, active))
        return (active, other)

    def _following(self, circuit: PlacedCircuit, active: Tunnel, ends: Ends) -> Tunnel | None:
        """The next tunnel, if it is time for it: both ends are there, and have made their next keys."""
        there = all(self.members[end.id].present and end.registration.circuits for end in ends)
        if circuit.id not in self.wanted or not there:
            return None
        changed = {end for end in ends if key_name(end.newest.key) != active.keys[end.place]}
        since_s = self.rotation.since_s(self.now_s)
        ready = all(end in changed or end.newest.made_s >= since_s for end in ends)
        if not changed or not ready or not self.rotation.is_due(circuit.id, self.now_s):
            return None
        return self._place(msgspec.structs.replace(circuit, tunnels=(active,)), ends, TunnelState.STAGING)

    def _place(self, circuit: PlacedCircuit, ends: Ends, state: TunnelState) -> Tunnel | None:
        """A tunnel by the newest keys in the slot that takes the fewest new interfaces; None: there is no slot."""
        names = tuple(key_name(end.newest.key) for end in ends)
        # An agent of an older version knows the first slot alone.
        slots = range(SLOTS if all(end.registration.circuits for end in ends) else 1)
        own = {one.slot for one in circuit.tunnels}
        found = []
        for slot in slots:
            there = [self.keys.get((end.id, circuit.class_number, slot)) for end in ends]
            if slot not in own and all(key in (None, end.newest.key) for key, end in zip(there, ends, strict=True)):
                found.append((there.count(None), slot))
        if not found:
            return None
        tunnel = Tunnel(slot=min(found)[1], keys=names, state=state, epoch=self.epoch)
        self._take(circuit, tunnel, ends)
        return tunnel

    def _take(self, circuit: PlacedCircuit, tunnel: Tunnel, ends: Ends) -> None:
        for end in ends:
            self.keys[end.id, circuit.class_number, tunnel.slot] = end.key(tunnel).key

    def _enter(self, state: TunnelState, tunnel: Tunnel) -> Tunnel:
        return msgspec.structs.replace(tunnel, state=state, epoch=self.epoch)

    def _is_set_up(self, circuit: PlacedCircuit, tunnel: Tunnel, *ends: End) -> bool:
        """Whether both ends are known to take packets from a tunnel, and to have shaken hands in it."""

        def confirms(own: End, far: End) -> bool:
            there, _ = tunnels_at(msgspec.structs.replace(circuit, tunnels=(tunnel,)), own, far)

            def shows(config: GatewayConfig) -> bool:
                return any(end.circuit == circuit.id and there in end.tunnels for end in config.circuits)

            return (
                self.applied.confirms(own.id, shows, since=tunnel.epoch)
                and self.applied.reported(own.id, shows, since=tunnel.epoch)
                and circuit.id in self.applied.beacons[own.id].tunnels_up
            )

        return all(confirms(own, far) for own, far in (ends, ends[::-1]))

    def _is_given_up(self, circuit: PlacedCircuit, tunnel: Tunnel) -> bool:
        """Whether neither end can send through a tunnel any more."""

        def shows(config: GatewayConfig) -> bool:
            return all(end.circuit != circuit.id or end.slot != tunnel.slot for end in config.circuits)

        return drained(tunnel.epoch, self.now_s) and all(
            id_ not in self.members or self.applied.confirms(id_, shows, since=tunnel.epoch)
            for id_ in ends_of(circuit.spec)
        )


def _ends(circuit: PlacedCircuit, members: Mapping[str, Member]) -> Ends | None:
    """The ``from`` and the ``to`` end; None while either has no agent."""
    from_, to = (members[id_].registration if id_ in members else None for id_ in ends_of(circuit.spec))
    if from_ is None or to is None:
        return None
    return End(circuit.spec.from_, 0, from_), End(circuit.spec.to, 1, to)
