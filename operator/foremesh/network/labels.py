"""The life of a label: how a circuit moves from one path to another without losing a packet.

    free ──► Staging ──► Active ──► Draining ──► free
                └────────► free (the plan changed before anyone sent on it)

=========  ==================================  =====================================================================
state      configs                             left when
=========  ==================================  =====================================================================
Staging    every gateway of the path relays    every gateway of the path acknowledged a config that has it: it becomes
           it, both ends accept it, nobody     Active and the former Active label Draining, in one epoch. Or the plan
           sends on it                         wants another path: free
Active     as Staging, and both ends send on   the plan wants no path any more, or the next label becomes Active:
           it                                  Draining
Draining   as Staging                          both ends acknowledged a config in which they do not send on it: free
=========  ==================================  =====================================================================

Each end may switch alone and in any order, since both accept every label listed. No transit forgets a label before
both senders have confirmed that they gave it up. An end that does not answer holds its label in Draining; an end whose
resource was deleted is waited for no longer once its neighbour on the path has confirmed that it is cut off.

A freed number is not free for others yet: ``allocate.held`` keeps it while a config in force or an agent has it.

An acknowledgement alone does not say what a gateway runs, nor does the config in force: it may be newer than what
was acknowledged, or older than the state if its writer died in between. ``Applied.confirms`` asks both.

One Active label, no standby yet. A standby will be a label that was staged and stays; probing a Staging label will be
one more condition in ``_is_staged``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, LabelAllocation, LabelState
from foremesh.model.config import CircuitEnd, GatewayConfig
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.registration import Acknowledgement
from foremesh.network.allocate import capacity


@dataclass(frozen=True)
class Applied:
    """What agents were told last, and what they said to it."""

    configs: Mapping[str, GatewayConfig] = field(default_factory=dict)
    acknowledgements: Mapping[str, Acknowledgement] = field(default_factory=dict)

    def confirms(self, gateway: str, shows: Callable[[GatewayConfig], bool], *, since: int | None = None) -> bool:
        """Whether a gateway is known to run a config that shows something.

        Args:
            since: Every config of this epoch or later shows it, so an acknowledgement of any of them will do; without
                it only that of the config in force counts.
        """
        config, word = self.configs.get(gateway), self.acknowledgements.get(gateway)
        if config is None or word is None or not word.applied or not shows(config):
            return False
        # A config older than the state that shows it anyway had no need to change.
        return word.epoch >= (config.epoch if since is None else min(config.epoch, since))


@dataclass(frozen=True)
class Move:
    """What a circuit's labels have to be decided from.

    Attributes:
        path: Gateway ids that the plan wants the circuit to run along; None withdraws the circuit.
        members: Ids of all declared resources; an end that is not among them is not coming back.
        epoch: Of the configs that will be compiled from the result.
    """

    path: tuple[str, ...] | None
    applied: Applied
    members: Collection[str]
    epoch: int


def advance(
    circuit: PlacedCircuit, move: Move, blocks: Blocks, *, free: int | None = None
) -> tuple[LabelAllocation, ...]:
    """Take a circuit's labels one step further; without news they stay as they are.

    Args:
        free: The number for a new label; None: there is none, so the circuit stays where it is.

    Returns:
        The labels in use from ``move.epoch`` on, sorted by number.

    Raises:
        ValueError: If the path does not join the circuit's ends, or passes a gateway twice.
    """
    path = move.path
    if path is not None and not joins(path, circuit.spec):
        raise ValueError(f"circuit {circuit.id}: {' > '.join(path)} is no path between its ends; nothing is moved")
    active = [label for label in circuit.labels if label.state is LabelState.ACTIVE]
    staging = [label for label in circuit.labels if label.state is LabelState.STAGING and label.path == path]
    draining = [
        label
        for label in circuit.labels
        if label.state is LabelState.DRAINING and not _is_withdrawn(circuit, label, move, blocks)
    ]
    if path is None:
        draining += [_enter(LabelState.DRAINING, label, move.epoch) for label in active]
        active, staging = [], []
    elif any(label.path == path for label in active):
        staging = []
    elif staging:
        if _is_staged(circuit, staging[0], move, blocks):
            draining += [_enter(LabelState.DRAINING, label, move.epoch) for label in active]
            active, staging = [_enter(LabelState.ACTIVE, staging[0], move.epoch)], []
    elif free is not None:
        staging = [LabelAllocation(number=free, state=LabelState.STAGING, path=path, epoch=move.epoch)]
    return tuple(sorted((*active, *staging, *draining), key=lambda label: label.number))


def advance_all(
    circuits: Iterable[PlacedCircuit],
    paths: Mapping[str, tuple[str, ...]],
    applied: Applied,
    *,
    members: Collection[str],
    epoch: int,
    in_use: Collection[int],
    blocks: Blocks,
) -> tuple[PlacedCircuit, ...]:
    """Advance every circuit, new labels numbered with the lowest that nobody holds.

    Args:
        paths: Circuit id to the path the plan wants; a circuit without one is withdrawn.
        in_use: Label numbers that configs in force program or agents report (``Held.labels``).
    """
    circuits = sorted(circuits, key=lambda circuit: circuit.id)
    taken = set(in_use) | {label.number for circuit in circuits for label in circuit.labels}
    free = (number for number in range(capacity(blocks.labels)) if number not in taken)
    spare = next(free, None)
    result = []
    for circuit in circuits:
        move = Move(paths.get(circuit.id), applied, members, epoch)
        labels = advance(circuit, move, blocks, free=spare)
        if any(label.number == spare for label in labels):
            spare = next(free, None)
        result.append(msgspec.structs.replace(circuit, labels=labels))
    return tuple(result)


def joins(path: tuple[str, ...], spec: CircuitSpec) -> bool:
    """Whether a path leads from one end of a circuit to the other and passes no gateway twice."""
    return bool(path) and (path[0], path[-1]) == (spec.from_, spec.to) and len(set(path)) == len(path)


def programs(config: GatewayConfig, circuit: PlacedCircuit, label: LabelAllocation, blocks: Blocks) -> bool:
    """Whether a config has a label in its place: its addresses with the right neighbours, relayed or accepted."""
    pair = blocks.label_pair(label.number)
    place = label.path.index(config.gateway)
    before, after = label.path[:place][-1:], label.path[place + 1 :][:1]
    towards = {address: peer.gateway for peer in config.hop_peers for address in peer.labels}
    if any(towards.get(pair[0]) != gateway for gateway in before):
        return False
    if any(towards.get(pair[1]) != gateway for gateway in after):
        return False
    if before and after:
        return any(transit.label == label.number and transit.circuit == circuit.id for transit in config.transits)
    own, far = pair if after else (pair[1], pair[0])
    return any((one.own, one.far) == (own, far) for end in _ends_in(config, circuit) for one in end.labels)


def sends(config: GatewayConfig, circuit: PlacedCircuit, label: LabelAllocation) -> bool:
    """Whether a config lets its gateway send on a label."""
    return any(label.number in (end.send_label, end.standby_label) for end in _ends_in(config, circuit))


def _ends_in(config: GatewayConfig, circuit: PlacedCircuit) -> Iterable[CircuitEnd]:
    return (end for end in config.circuits if end.circuit == circuit.id)


def _enter(state: LabelState, label: LabelAllocation, epoch: int) -> LabelAllocation:
    return msgspec.structs.replace(label, state=state, epoch=epoch)


def _is_staged(circuit: PlacedCircuit, label: LabelAllocation, move: Move, blocks: Blocks) -> bool:
    return all(
        move.applied.confirms(gateway, lambda config: programs(config, circuit, label, blocks), since=label.epoch)
        for gateway in label.path
    )


def _is_withdrawn(circuit: PlacedCircuit, label: LabelAllocation, move: Move, blocks: Blocks) -> bool:
    return all(_gave_up(circuit, label, move, blocks, path) for path in (label.path, label.path[::-1]))


def _gave_up(circuit: PlacedCircuit, label: LabelAllocation, move: Move, blocks: Blocks, path: tuple[str, ...]) -> bool:
    """Whether the end that ``path`` begins with cannot send on the label any more."""
    if path[0] in move.members:
        return move.applied.confirms(path[0], lambda config: not sends(config, circuit, label), since=label.epoch)
    left = next((place for place, gateway in enumerate(path) if gateway in move.members), None)
    if left is None:
        return True
    lost = path[left - 1]
    return move.applied.confirms(path[left], lambda config: all(peer.gateway != lost for peer in config.hop_peers))
