"""What configs and words of agents show of labels: who relays one, who accepts it, who may send on it, who hears it.

Facts only: what follows from them for a label is decided in ``labels``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, LabelAllocation, key_name
from foremesh.model.config import CircuitEnd, GatewayConfig, HopPeer
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.registration import Acknowledgement, Beacon

Shows = Callable[[GatewayConfig], bool]

DRAIN_S = 2.0
"""Seconds that what was sent last may take to arrive: the longest ways over the Internet take less than half a second,
a gateway short of processor time keeps packets in its userspace WireGuard for as long again."""


FAR_AHEAD_S = 300.0
"""Seconds. Steps that follow each other within a second put epochs a little ahead of the clock, never so far; what is
further ahead is of a clock that was put back since, and tells no age."""


def passed(seconds: float, since: int, now_s: float) -> bool:
    """Whether at least so much time has passed since an epoch, or nobody can tell."""
    return now_s - since >= seconds or since - now_s >= FAR_AHEAD_S


def drained(since: int, now_s: float) -> bool:
    """Whether what was sent before an epoch has arrived."""
    return passed(DRAIN_S, since, now_s)


@dataclass(frozen=True)
class Applied:
    """What agents were told last, what they said to it, and what they report; keys are member ids.

    Attributes:
        configs: In force.
        acknowledgements: The last word of each.
        beacons: Only of members that are present.
    """

    configs: Mapping[str, GatewayConfig] = field(default_factory=dict)
    acknowledgements: Mapping[str, Acknowledgement] = field(default_factory=dict)
    beacons: Mapping[str, Beacon] = field(default_factory=dict)

    def confirms(self, gateway: str, shows: Shows, *, since: int | None = None) -> bool:
        """Whether a gateway is known to run a config that shows something.

        An acknowledgement alone does not say what a gateway runs, nor does the config in force: it may be newer than
        what was acknowledged, or older than the state if its writer died in between. So both are asked.

        Args:
            since: Every config of this epoch or later shows it, so an acknowledgement of any of them will do; without
                it only that of the config in force counts.
        """
        word = self.acknowledgements.get(gateway)
        return word is not None and word.applied and self._reached(gateway, word.epoch, shows, since)

    def reported(self, gateway: str, shows: Shows, *, since: int) -> bool:
        """Whether a gateway's beacon was sent by an agent that ran a config which shows something; see ``confirms``."""
        beacon = self.beacons.get(gateway)
        return beacon is not None and self._reached(gateway, beacon.applied_epoch, shows, since)

    def _reached(self, gateway: str, epoch: int, shows: Shows, since: int | None) -> bool:
        config = self.configs.get(gateway)
        if config is None or not shows(config):
            return False
        # A config older than the state that shows it anyway had no need to change.
        return epoch >= (config.epoch if since is None else min(config.epoch, since))

    def hears(self, gateway: str, number: int) -> bool:
        """Whether an end says that hellos pass on a label in both directions."""
        beacon = self.beacons.get(gateway)
        return beacon is not None and number in beacon.heard

    def watches(self, gateway: str) -> bool:
        """Whether what an end does not hear is dead: it is present, and its fail-over process runs."""
        beacon = self.beacons.get(gateway)
        return beacon is not None and beacon.watching


def ends_of(spec: CircuitSpec) -> tuple[str, str]:
    """The two gateways that a circuit joins."""
    return (spec.from_, spec.to)


def unheard_by(circuit: PlacedCircuit, label: LabelAllocation, applied: Applied) -> tuple[str, ...]:
    """The ends of a circuit that do not say that hellos pass on one of its labels."""
    return tuple(end for end in ends_of(circuit.spec) if not applied.hears(end, label.number))


def programs(config: GatewayConfig, circuit: PlacedCircuit, label: LabelAllocation, blocks: Blocks) -> bool:
    """Whether a config has a label in its place: its addresses with the right neighbours, relayed or accepted."""
    pair = blocks.label_pair(label.number)
    place = label.path.index(config.gateway)
    if place and not _lies_towards(config, label, place, place - 1, pair[0]):
        return False
    if place + 1 < len(label.path) and not _lies_towards(config, label, place, place + 1, pair[1]):
        return False
    if 0 < place < len(label.path) - 1:
        return any(transit.label == label.number and transit.circuit == circuit.id for transit in config.transits)
    own, far = pair[::-1] if place else pair
    return any((one.own, one.far) == (own, far) for end in _ends_in(config, circuit.id) for one in end.labels)


def sends(config: GatewayConfig, circuit: PlacedCircuit, label: LabelAllocation) -> bool:
    """Whether a config lets its gateway send on a label: at once, or when its fail-over process so decides."""
    return any(label.number in (end.send_label, end.standby_label) for end in _ends_in(config, circuit.id))


def has_roles(config: GatewayConfig, circuit: str, active: int, standby: int) -> bool:
    """Whether a config tells an end to send on one label and to fall over to the other."""
    return any((end.send_label, end.standby_label) == (active, standby) for end in _ends_in(config, circuit))


def _lies_towards(config: GatewayConfig, label: LabelAllocation, place: int, neighbour: int, address: str) -> bool:
    """Whether a label's address lies in the direction of a neighbour on its path, and of nobody else, over the link
    that its route names."""

    def is_the_link(peer: HopPeer) -> bool:
        if peer.gateway != label.path[neighbour]:
            return False
        if label.underlays and peer.underlay != label.underlays[min(place, neighbour)]:
            return False
        if not label.keys:
            return True
        # A config that knows of one own key alone does not name it.
        own_fits = not peer.own_key or key_name(peer.own_key) == label.keys[place]
        return own_fits and key_name(peer.public_key) == label.keys[neighbour]

    holding = [peer for peer in config.hop_peers if address in peer.labels]
    return len(holding) == 1 and is_the_link(holding[0])


def _ends_in(config: GatewayConfig, circuit: str) -> Iterable[CircuitEnd]:
    return (end for end in config.circuits if end.circuit == circuit)
