"""Circuits in place as a plan sees them, and for whom they are others in the next: whose circuit it is, what it
carries, and over which links. See ``replan``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from foremesh.model.circuit import Circuit, CircuitStatus
from foremesh.routing.arrays import Arrays
from foremesh.routing.demand import Circuits, InPlace, Traffic, traffic_in_place
from foremesh.routing.jobs import Job, Prepared

UNSEEN = frozenset(
    (
        *("number", "class_number", "tunnels", "labels", "path_text", "standby_path", "standby_path_text"),
        *("predicted", "observed", "forecast_model", "forecast_reason", "moves", "failovers"),
        *("observed_generation", "conditions"),
    )
)
"""What of a circuit's status no plan depends on; of its labels, only what ``_label`` takes."""
_status = attrgetter(*(name for name in CircuitStatus.__struct_fields__ if name not in UNSEEN))
_label = attrgetter("state", "path", "underlays")


def same(one: Circuit, other: Circuit) -> bool:
    """Whether plans can tell two records of a circuit apart."""
    if one is other or one == other:
        return True
    return (
        one.spec == other.spec
        and _status(one.status) == _status(other.status)
        and [*map(_label, one.status.labels)] == [*map(_label, other.status.labels)]
    )


@dataclass
class Standing:
    """The circuits in place of one plan."""

    circuits: dict[str, Circuit]
    measured_bps: Mapping[str, Traffic]
    prepared: Sequence[Prepared]
    """Demands in the order of their turns, without what they send."""
    sent: list[InPlace | None]
    """What each one's circuit carries for it."""
    carried_bps: Mapping[int, float]
    """What was released of each link, by number."""

    def others(self, circuits: Mapping[str, Circuit], measured_bps: Mapping[str, Traffic]) -> set[str]:
        """Ids of circuits that came, went, or are not what they were."""
        mine = self.circuits
        found = mine.keys() ^ circuits.keys()
        found |= {id for id, one in circuits.items() if id in mine and not same(mine[id], one)}
        if measured_bps is not self.measured_bps:
            known = self.measured_bps.keys() | measured_bps.keys()
            found |= {id for id in known if self.measured_bps.get(id) != measured_bps.get(id)}
        return found


class Rearranged(Exception):
    """Who has his turn when, or may choose, is not what it was; says why."""


def rearrange(
    standing: Standing,
    jobs: Sequence[Job],
    ids: set[str],
    circuits: Mapping[str, Circuit],
    measured_bps: Mapping[str, Traffic],
    classes: Mapping[str, Sequence[int]],
) -> dict[int, tuple[Circuit | None, InPlace | None]]:
    """Whose circuit is not what it was, by turn.

    Args:
        ids: The circuits that are not what they were.
        classes: Turns by the class of demands.

    Raises:
        Rearranged: If who is carried is not who was.
    """
    either = [one for id in ids for one in (standing.circuits.get(id), circuits.get(id)) if one is not None]
    if any(one.spec.path for one in either):
        raise Rearranged("a path is pinned, or was")
    turns = sorted({turn for name in {one.spec.class_ for one in either} for turn in classes.get(name, ())})
    wanted = {one.spec.class_ for one in either}
    in_place = Circuits([one for one in circuits.values() if one.spec.class_ in wanted])
    now = {turn: in_place.of(standing.prepared[turn].demand) for turn in turns}
    concerned = [
        turn
        for turn, one in now.items()
        if (one is not None and one.id in ids) or ((old := jobs[turn].circuit) is not None and old.id in ids)
    ]
    for turn in concerned:
        job, one = jobs[turn], now[turn]
        if job.carried != (one is not None and job.demand.intent.id in one.status.intents):
            raise Rearranged("who is carried by a circuit is not who was")
    # What a circuit carries is shared by all whom it carries.
    sharing = {one.id for turn in concerned if (one := now[turn]) is not None}
    users = [turn for turn in turns if (one := now[turn]) is not None and one.id in sharing]
    sent = traffic_in_place([(jobs[turn].demand, now[turn]) for turn in users], measured_bps)
    traffic = dict(zip(users, sent, strict=True))
    return {turn: (now[turn], traffic.get(turn)) for turn in sorted({*concerned, *users})}


def sending(prepared: Prepared, traffic: InPlace | None, *, measured: bool) -> tuple[Prepared, Traffic]:
    """A demand with what it sends, and what that is beyond what it asked for."""
    if traffic is None or not measured:
        return prepared, (0.0, 0.0)
    return prepared.sending(traffic.all), traffic.more


def ways(arrays: Arrays, circuits: Iterable[Circuit]) -> set[int]:
    """Links that circuits may run over, and those the other way."""
    topology = arrays.topology
    there = {link for one in circuits for step in pairwise(one.status.path) for link in topology.over(*step)}
    return there | {back for link in there if (back := int(topology.reverse[link])) >= 0}
