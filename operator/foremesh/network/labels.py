"""The life of a label: how a circuit moves from one path to another, and is ready to, without losing a packet.

    free ──► Staging ──► Active ◄──► Standby
                │          │            │
                └──────────┴────────────┴──► Draining ◄──► Quarantined ──► free

===========  ================================  =====================================================================
state        configs                           left when
===========  ================================  =====================================================================
Staging      every gateway of the path relays  every gateway of the path acknowledged a config that has it, and both
             it, both ends accept it, nobody   ends hear hellos on it: Active or Standby, whichever it was staged for,
             sends on it                       in one epoch with what becomes of its predecessor. Or the plan wants
                                               another path: Draining
Active       as Staging, and both ends send    another label takes its place: Standby if the plan wants it as that,
             on it                             else Draining. The circuit is withdrawn: Draining
Standby      as Staging, and each end may      the plan wants its path, and both ends hear it: Active. The ends say that
             switch to it by itself            they send on it: Active, and the former Active is the Standby. Another
                                               one takes its place, or none is wanted: Draining
Draining     as Staging                        both ends acknowledged a config in which they may not send on it, and
                                               what they sent has arrived: free
Quarantined  as Draining, but an end that has  it is heard again: Draining. It is deleted, and its neighbour on the
             not confirmed is silent           path confirmed that it is cut off: free
===========  ================================  =====================================================================

Each end may switch alone and in any order, since both accept every label listed. No transit forgets a label before
both senders have confirmed that they gave it up, nor before what they sent last has had ``DRAIN_S`` to arrive. There is
one label in each state but the last two, and at most one Staging label for each purpose. A freed number is not free for
others yet: ``allocate.held`` keeps it while a config in force or an agent has it.

Who hears a label says so in beacons, and only while the fail-over process runs beside the agent. An end without it, or
a silent one, is waited for ``PATIENCE_S`` and then taken as it is. Where nothing is carried yet, nobody waits for
hellos: a path that may be dead is no worse than none.

No reflex back: what the ends did since the plan was made outweighs the plan, and roles that were just swapped are not
swapped again within ``RETURN_S``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Circuit, CircuitSpec, LabelAllocation, LabelState, Route
from foremesh.model.config import GatewayConfig
from foremesh.model.mesh import PlacedCircuit
from foremesh.network.programmed import Applied, drained, ends_of, has_roles, passed, programs, sends, unheard_by

PATIENCE_S = 10.0
"""Seconds after which hellos are not waited for any more where there may be none. An agent whose beacons did not come
for so long counts as silent, so whoever could have told has."""

RETURN_S = 60.0
"""Seconds before a circuit goes back to the path that it just left for its standby. Rates are means over a minute:
before that, measurements know little of what made the ends switch."""

LEAVING = (LabelState.DRAINING, LabelState.QUARANTINED)


@dataclass(frozen=True)
class Wanted:
    """Where the plan wants a circuit, and where it is to fall over to; None: there is no other way."""

    active: Route
    standby: Route | None = None


@dataclass(frozen=True)
class Move:
    """What a circuit's labels have to be decided from.

    Attributes:
        wanted: None withdraws the circuit.
        members: Ids of all declared resources; an end that is not among them is not coming back.
        epoch: Of the configs that will be compiled from the result.
        now_s: Unix time; epochs start from it, so a state is as old as its epoch lies back.
        planned: The epoch in which the plan was made. None: it has seen all that is in ``applied``.
        unknown: Gateways of which nobody knows what they run: no label is laid over them before they have told.
    """

    wanted: Wanted | None
    applied: Applied
    members: Collection[str]
    epoch: int
    now_s: float
    planned: int | None = None
    unknown: frozenset[str] = frozenset()


def advance(
    circuit: PlacedCircuit, move: Move, blocks: Blocks, *, free: Sequence[int] = ()
) -> tuple[LabelAllocation, ...]:
    """Take a circuit's labels one step further; without news they stay as they are.

    Args:
        free: Numbers for new labels, of which two are enough; without any, the circuit stays where it is.

    Returns:
        The labels in use from ``move.epoch`` on, sorted by number.

    Raises:
        ValueError: If a wanted path does not join the circuit's ends, or passes a gateway twice.
    """
    life = _Life(circuit, move, blocks)
    life.note_fail_over()
    if move.wanted is None:
        life.withdraw()
    else:
        wanted = life.still_wanted(move.wanted)
        life.activate(wanted)
        life.protect(wanted)
        life.stage(wanted, iter(free))
    return life.labels()


def failed_over(id_: str, spec: CircuitSpec, labels: Iterable[LabelAllocation], applied: Applied) -> bool:
    """Whether the ends say that they send on the standby by themselves: both, or one while the other says nothing.

    The word of an end counts if it was sent under a config with the roles on record: before that it sends on what was
    Active then, and means nothing by it.

    Args:
        id_: The circuit's.
        labels: On record.
    """
    by_state = {label.state: label for label in labels}
    active, standby = by_state.get(LabelState.ACTIVE), by_state.get(LabelState.STANDBY)
    if active is None or standby is None:
        return False
    roles, since = (active.number, standby.number), max(active.epoch, standby.epoch)
    used = set()
    for end in ends_of(spec):
        beacon = applied.beacons.get(end)
        if beacon is not None and id_ in beacon.sending:
            counts = applied.reported(end, lambda config: has_roles(config, id_, *roles), since=since)
            used.add(beacon.sending[id_] if counts else None)
    return used == {standby.number}


def note_fail_over(circuit: Circuit, applied: Applied) -> Circuit:
    """A circuit on record as its ends say that it runs now, for whoever plans with it."""
    status = circuit.status
    if not failed_over(circuit.id, circuit.spec, status.labels, applied):
        return circuit
    other = {LabelState.ACTIVE: LabelState.STANDBY, LabelState.STANDBY: LabelState.ACTIVE}
    labels = tuple(msgspec.structs.replace(one, state=other.get(one.state, one.state)) for one in status.labels)
    path = next(label.path for label in labels if label.state is LabelState.ACTIVE)
    return msgspec.structs.replace(circuit, status=msgspec.structs.replace(status, labels=labels, path=path))


def advance_all(
    circuits: Iterable[PlacedCircuit],
    wanted: Mapping[str, Wanted],
    applied: Applied,
    *,
    members: Collection[str],
    epoch: int,
    now_s: float,
    in_use: Collection[int],
    blocks: Blocks,
    planned: int | None = None,
    unknown: frozenset[str] = frozenset(),
) -> tuple[PlacedCircuit, ...]:
    """Advance every circuit, new labels numbered with the lowest that nobody holds.

    Args:
        wanted: By circuit id; a circuit without an entry is withdrawn.
        in_use: Label numbers that configs in force program or agents report (``Held.labels``).
        planned, unknown: See ``Move``.
    """
    circuits = sorted(circuits, key=lambda circuit: circuit.id)
    taken = set(in_use) | {label.number for circuit in circuits for label in circuit.labels}
    free = (number for number in range(blocks.most_labels) if number not in taken)
    spare: list[int] = []
    result = []
    for circuit in circuits:
        spare += islice(free, 2 - len(spare))
        move = Move(wanted.get(circuit.id), applied, members, epoch, now_s, planned, unknown)
        labels = advance(circuit, move, blocks, free=spare)
        used = {label.number for label in labels}
        spare = [number for number in spare if number not in used]
        switched = failed_over(circuit.id, circuit.spec, circuit.labels, applied)
        result.append(msgspec.structs.replace(circuit, labels=labels, failed_over=switched))
    return tuple(result)


def joins(path: tuple[str, ...], spec: CircuitSpec) -> bool:
    """Whether a path leads from one end of a circuit to the other and passes no gateway twice."""
    return bool(path) and (path[0], path[-1]) == ends_of(spec) and len(set(path)) == len(path)


class _Life:
    """One step in the life of a circuit's labels."""

    def __init__(self, circuit: PlacedCircuit, move: Move, blocks: Blocks) -> None:
        self._circuit, self._move, self._blocks = circuit, move, blocks
        self._active = _in_state(circuit, LabelState.ACTIVE)
        self._standby = _in_state(circuit, LabelState.STANDBY)
        self._staging = [label for label in circuit.labels if label.state is LabelState.STAGING]
        self._leaving = [label for label in circuit.labels if label.state in LEAVING]

    def note_fail_over(self) -> None:
        """What the ends did by themselves is put on record."""
        circuit = self._circuit
        if failed_over(circuit.id, circuit.spec, circuit.labels, self._move.applied):
            self._swap()

    def still_wanted(self, wanted: Wanted) -> Wanted:
        """What is wanted, unless the ends have moved since the plan was made: then they stay until the next one."""
        for route in (wanted.active, wanted.standby):
            if route is not None and not joins(route.gateways, self._circuit.spec):
                path = " > ".join(route.gateways)
                raise ValueError(f"circuit {self._circuit.id}: {path} is no path between its ends; nothing is moved")
        active, planned = self._active, self._move.planned
        if active is None or planned is None or active.epoch < planned or active.route == wanted.active:
            return wanted
        return Wanted(active.route, self._standby.route if self._standby else wanted.standby)

    def withdraw(self) -> None:
        self._give_up(self._active, self._standby, *self._staging)
        self._active, self._standby, self._staging = None, None, []

    def activate(self, wanted: Wanted) -> None:
        """Send on the wanted path as soon as everything on it is ready for that."""
        if self._active is not None and self._active.route == wanted.active:
            return
        if self._standby is not None and self._standby.route == wanted.active:
            if self._may_swap(self._active, self._standby):
                self._swap()
            return
        label = self._take_staged(wanted.active)
        if label is None:
            return
        former, self._active = self._active, self._enter(LabelState.ACTIVE, label)
        if former is not None and former.route == wanted.standby:
            self._give_up(self._standby)
            self._standby = self._enter(LabelState.STANDBY, former)
        else:
            self._give_up(former)

    def protect(self, wanted: Wanted) -> None:
        """Have the wanted standby beside the wanted path: it was chosen to share little with that, not with another."""
        if self._active is None or self._active.route != wanted.active:
            return
        if wanted.standby is None or wanted.standby == wanted.active:
            self._give_up(self._standby)
            self._standby = None
        elif self._standby is None or self._standby.route != wanted.standby:
            # A step later than the Active label: those of one epoch are those that changed roles, see ``_may_swap``.
            label = self._take_staged(wanted.standby) if self._active.epoch < self._move.epoch else None
            if label is not None:
                self._give_up(self._standby)
                self._standby = self._enter(LabelState.STANDBY, label)

    def stage(self, wanted: Wanted, free: Iterator[int]) -> None:
        """Keep one Staging label for each wanted route that has no label yet, and no other."""
        there = [label.route for label in (self._active, self._standby) if label is not None]
        missing = [route for route in dict.fromkeys((wanted.active, wanted.standby)) if route and route not in there]
        kept = {label.route: label for label in reversed(self._staging) if label.route in missing}
        self._give_up(*(label for label in self._staging if label not in kept.values()))
        for route in missing:
            if route in kept or not self._move.unknown.isdisjoint(route.gateways):
                continue
            number = next(free, None)
            if number is not None:
                kept[route] = LabelAllocation(
                    number=number,
                    state=LabelState.STAGING,
                    path=route.gateways,
                    underlays=route.underlays,
                    keys=route.keys,
                    epoch=self._move.epoch,
                )
        self._staging = list(kept.values())

    def labels(self) -> tuple[LabelAllocation, ...]:
        leaving = [self._waiting(label) for label in self._leaving if not self._is_withdrawn(label)]
        used = [label for label in (self._active, self._standby) if label is not None]
        return tuple(sorted((*used, *self._staging, *leaving), key=lambda label: label.number))

    # Steps

    def _swap(self) -> None:
        active, standby = self._active, self._standby
        assert standby is not None
        self._active = self._enter(LabelState.ACTIVE, standby)
        self._standby = self._enter(LabelState.STANDBY, active) if active is not None else None

    def _take_staged(self, route: Route) -> LabelAllocation | None:
        label = next((label for label in self._staging if label.route == route), None)
        if label is None or not self._is_staged(label):
            return None
        self._staging.remove(label)
        return label

    def _give_up(self, *labels: LabelAllocation | None) -> None:
        self._leaving += [self._enter(LabelState.DRAINING, label) for label in labels if label is not None]

    def _enter(self, state: LabelState, label: LabelAllocation) -> LabelAllocation:
        return msgspec.structs.replace(label, state=state, epoch=self._move.epoch)

    # Questions

    def _is_staged(self, label: LabelAllocation) -> bool:
        def shows(config: GatewayConfig) -> bool:
            return programs(config, self._circuit, label, self._blocks)

        confirmed = (self._move.applied.confirms(gateway, shows, since=label.epoch) for gateway in label.path)
        return all(confirmed) and self._is_heard(label)

    def _is_heard(self, label: LabelAllocation) -> bool:
        """Whether both ends hear a label, or need not be waited for."""
        doubtful = unheard_by(self._circuit, label, self._move.applied)
        if not doubtful or self._active is None:
            return True
        waited = passed(PATIENCE_S, label.epoch, self._move.now_s)
        return waited and not any(self._move.applied.watches(end) for end in doubtful)

    def _may_swap(self, active: LabelAllocation | None, standby: LabelAllocation) -> bool:
        just_swapped = (
            active is not None
            and active.epoch == standby.epoch
            and not passed(RETURN_S, standby.epoch, self._move.now_s)
        )
        return not just_swapped and self._is_heard(standby)

    def _is_withdrawn(self, label: LabelAllocation) -> bool:
        given_up = all(self._gave_up(label, path) for path in (label.path, label.path[::-1]))
        return given_up and drained(label.epoch, self._move.now_s)

    def _gave_up(self, label: LabelAllocation, path: tuple[str, ...]) -> bool:
        """Whether the end that ``path`` begins with cannot send on the label any more."""
        applied, members = self._move.applied, self._move.members
        if path[0] in members:
            return applied.confirms(path[0], lambda config: not sends(config, self._circuit, label), since=label.epoch)
        left = next((place for place, gateway in enumerate(path) if gateway in members), None)
        if left is None:
            return True
        lost = path[left - 1]
        return applied.confirms(path[left], lambda config: all(peer.gateway != lost for peer in config.hop_peers))

    def _waiting(self, label: LabelAllocation) -> LabelAllocation:
        """A label that is not free yet; an end that is waited for may be silent."""
        silent = any(
            path[0] in self._move.members
            and path[0] not in self._move.applied.beacons
            and not self._gave_up(label, path)
            for path in (label.path, label.path[::-1])
        )
        state = LabelState.QUARANTINED if silent else LabelState.DRAINING
        return msgspec.structs.replace(label, state=state)


def _in_state(circuit: PlacedCircuit, state: LabelState) -> LabelAllocation | None:
    return next((label for label in circuit.labels if label.state is state), None)
