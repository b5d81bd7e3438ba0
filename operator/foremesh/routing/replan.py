"""The plan after small changes: the same as one from nothing, in a small part of the time.

Demands take their turns as in a full plan, but most of them are passed over: one whose choice is certain to come out
as it did is only promised its bandwidth again. That is certain while

- its circuit is what it was, and carries what it did;
- no link that the choice hung on has changed, nor carries other promises than it did at that turn: those of the path,
  of the runners-up, and of the path in use;
- and no path over a link that has become better, by its own figures or because somebody moved away, could be among the
  best: whatever is promised, the cheapest way to that link, over it and on from it costs more than the last of the
  paths that were listed.

Everybody else is placed anew, at his turn, on the promises of all before him. What is moved changes links for those
who come later, and so on. Standbys follow in the same way (``restandby``).

Whom nothing met, or who was moved, or stayed for reasons that pass with time, is placed anew in any case.

``Memory.replan`` gives up, and a full plan is due, where that is not sound or does not pay: where gateways or pins are
not what they were, or others are carried; where many links or circuits changed or many demands would be placed anew;
where round trips are known to rise with traffic, so that each move changes them for all; where what links have free is
known of some only, for what is unknown costs as much as the worst that is known, which hangs on every promise; where a
path had to be found that serves several at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

import numpy as np

from foremesh.model.circuit import Circuit
from foremesh.model.link import MeshGraph, PredictedLink
from foremesh.model.plan import Plan
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from foremesh.routing.demand import InPlace, PlannerSettings, Traffic, carried_in_place
from foremesh.routing.differences import FullPlan, changed_links
from foremesh.routing.index import Index, Key, keys_of, left_by, row_of, unloaded
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.placing import Placing
from foremesh.routing.repair import scarce
from foremesh.routing.rescue import rescue
from foremesh.routing.restandby import Standbys
from foremesh.routing.sides import improved
from foremesh.routing.stability import Moves
from foremesh.routing.standing import Rearranged, Standing, rearrange, sending, ways
from foremesh.routing.values import Bools

MOST_CHANGED = 0.02
"""Share of links that may have changed. Each takes two searches over the whole mesh for every kind of price, about what
placing ten demands takes."""
MOST_PLACED = 0.2
"""Share of demands that may be placed anew before a full plan is begun instead: at most so much of one is then lost."""
FEW = 10
"""Demands and links that may be so many however small the mesh is."""

Pins = Mapping[tuple[str, Pair], tuple[str, ...]]
Anew = Mapping[int, tuple[Circuit | None, InPlace | None]]
"""By turn, another circuit than before, and what that carries."""


class Watched(Moves):
    """``Moves`` that remember who asked: what they were told hangs on the time and on others."""

    asked: frozenset[str] = frozenset()

    def admits(self, circuit: Circuit, links: Iterable[int]) -> bool:
        self.asked |= {circuit.id}
        return super().admits(circuit, links)


@dataclass
class Memory:
    """The last plan with what it was made of."""

    graph: MeshGraph
    standing: Standing
    arrays: Arrays
    """With what is to be planned anew released."""
    pins: Pins
    settings: PlannerSettings
    jobs: list[Job]
    """In the order of their turns."""
    listed: Sequence[int]
    """Turns in the order of the plan."""
    plan: Plan
    timed: frozenset[str]
    """Circuits that asked whether they may move."""
    standbys: Standbys | None = None
    crowded: bool = False
    """Somebody stood in another's way, and paths were chosen jointly."""
    told: str = ""
    """Why the last try to plan again was given up,"""
    why: str = ""
    """and in a word."""
    placed: int = 0
    """How many demands were placed anew by the last one that was not."""
    _index: Index | None = field(default=None, repr=False)

    def replan(
        self, graph: MeshGraph, circuits: Sequence[Circuit], measured_bps: Mapping[str, Traffic], made_at_s: float
    ) -> Plan | None:
        """The plan on another snapshot; None if a full one is due (``told`` says why)."""
        try:
            self._replan(graph, {one.id: one for one in circuits}, measured_bps, made_at_s)
        except FullPlan as reason:
            self.why, self.told = reason.why, str(reason)
            return None
        self.why = self.told = ""
        return self.plan

    def warm(self) -> None:
        """Work out beforehand what the first replan needs; to be called when nobody waits."""
        try:
            self._known()
        except FullPlan:
            return

    def _known(self) -> Index:
        if self._index is None:
            if Router(self.arrays).crowding.matters:
                raise FullPlan("queues", "traffic moves round trips")
            if any(job.joint for job in self.jobs):
                raise FullPlan("shared", "one path serves demands that one by one would have chosen others")
            self._index = Index.of(self.jobs, self.listed, self.arrays, self.settings, self.timed, self.plan.made_at_s)
        return self._index

    def _replan(
        self,
        graph: MeshGraph,
        circuits: dict[str, Circuit],
        measured_bps: Mapping[str, Traffic],
        made_at_s: float,
    ) -> None:
        if self.crowded:
            raise FullPlan("joint", "links do not hold everybody, so that paths are chosen jointly")
        if bool(measured_bps) != bool(self.standing.measured_bps):
            raise FullPlan("circuits", "circuits are not what they were: what they carry was not known, or is not")
        if made_at_s < self.plan.made_at_s:
            raise FullPlan("clock", "the clock went back")
        others = self.standing.others(circuits, measured_bps)
        if len(others) > max(FEW, MOST_PLACED * len(circuits)):
            raise FullPlan("circuits", f"{len(others)} circuits are not what they were")
        changed = changed_links(self.graph, graph, self.arrays)
        if len(changed) > max(FEW, MOST_CHANGED * len(graph.links)):
            raise FullPlan("links", f"{len(changed)} links changed")
        index = self._known()
        try:
            anew = rearrange(self.standing, self.jobs, others, circuits, measured_bps, index.classes)
        except Rearranged as reason:
            raise FullPlan("circuits", str(reason)) from reason
        arrays, standing = self._arrays(changed, anew, circuits, measured_bps)
        moves = Watched(made_at_s, len(circuits), self.settings.most_moves)
        index.bare = Router(arrays).bare(index.bare, np.array(list(changed), dtype=np.int64))
        again = Again(self, index, standing, index.bare.fork(), changed, anew, moves)
        again.run()
        kept, numbers = self.standbys, np.array(list(changed), dtype=np.int64)
        if kept is not None:
            kept = kept.again(
                self.jobs, again.jobs, again.placing, again.members(), again.unloaded, numbers, again.numbers
            )
        self._take(graph, again, standing, kept, made_at_s)

    def _arrays(
        self,
        changed: dict[int, PredictedLink],
        anew: dict[int, tuple[Circuit | None, InPlace | None]],
        circuits: dict[str, Circuit],
        measured_bps: Mapping[str, Traffic],
    ) -> tuple[Arrays, Standing]:
        """The snapshot with what circuits in place carry released; links of which that is not what it was are added to
        those that changed, and whose circuit is known now to run over others to ``anew``."""
        before, topology = self.standing, self.arrays.topology
        forked = {pair for one in changed.values() if len(topology.over(*(pair := (one.id.src, one.id.dst)))) > 1}
        # Of parallel links, what they carry may tell which of them is in use.
        for turn, job in enumerate(self.jobs) if forked else ():
            if turn not in anew and job.carried and not forked.isdisjoint(_both_ways(job.in_use)):
                anew[turn] = (job.circuit, before.sent[turn])
        concerned = [one for turn, (one, _) in anew.items() for one in (one, self.jobs[turn].circuit) if one]
        touched = ways(self.arrays, concerned)
        links = self.arrays.links
        arrays = self.arrays.with_changes({**{link: links[link] for link in touched - changed.keys()}, **changed})
        sent = list(before.sent)
        for turn, (_, traffic) in anew.items():
            sent[turn] = traffic
        carried = dict(before.carried_bps)
        if anew:
            place = [anew[turn][0] if turn in anew else job.circuit for turn, job in enumerate(self.jobs)]
            carried = carried_in_place(arrays, zip(place, sent, strict=True))
        some = touched | changed.keys()
        arrays.release({link: carried[link] for link in some if link in carried})
        for link in touched - changed.keys():
            if any(getattr(arrays.free, way)[link] != getattr(self.arrays.free, way)[link] for way in _FREE):
                changed[link] = links[link]
        return arrays, Standing(circuits, measured_bps, before.prepared, sent, carried)

    def _take(
        self, graph: MeshGraph, again: Again, standing: Standing, kept: Standbys | None, made_at_s: float
    ) -> None:
        """Remember the new plan in the place of the old."""
        assert self._index is not None
        self.timed = (self.timed - {job.circuit.id for job in again.jobs.values() if job.circuit}) | again.moves.asked
        self._index.take(again.jobs, again.router.arrays, self.settings, self.timed, made_at_s)
        placements, fallen = list(self.plan.placements), kept.fallen if kept else {}
        for turn, job in chain(again.jobs.items(), fallen.items()):
            self.jobs[turn] = job
            placements[self._index.place[turn]] = job.placement()
        self.graph, self.arrays, self.standing, self.standbys = graph, again.router.arrays, standing, kept
        self.placed = again.looked_for
        self.plan = Plan(made_at_s=made_at_s, placements=tuple(placements))


_FREE = ("median", "pessimistic")


def _both_ways(path: Sequence[str]) -> set[tuple[str, str]]:
    return {*pairwise(path), *pairwise(path[::-1])}


class Again:
    """One more pass over the demands of a plan."""

    def __init__(
        self,
        memory: Memory,
        index: Index,
        standing: Standing,
        router: Router,
        changed: Mapping[int, PredictedLink],
        anew: Anew,
        moves: Watched,
    ) -> None:
        self.router, self.moves = router, moves
        self.jobs: dict[int, Job] = {}
        """Those placed anew, by turn."""
        self.placing = Placing(router, memory.pins, memory.settings, moves)
        self._memory, self._index, self._standing, self._anew = memory, index, standing, anew
        self._stop = index.anew.copy()
        """Those to be placed anew, whatever comes of it,"""
        self._stop[list(anew)] = True
        self._near = np.zeros_like(self._stop)
        """and those for whom there could be another path among the best."""
        self.looked_for = 0
        """How many demands a path was looked for."""
        self._changed = np.zeros(router.arrays.topology.src.size, dtype=np.bool_)
        self.numbers = np.array(list(changed), dtype=np.int64)
        self._changed[self.numbers] = True
        topology, leaving = router.arrays.topology, [left_by(self._begin(turn), router.arrays) for turn in anew]
        leaving_bps = index.trail.leaving_bps(topology.reverse, leaving)
        self.unloaded = unloaded(index.bare, leaving_bps)
        """With no less taken of a link than at anybody's turn."""
        self.numbers = np.union1d(self.numbers, np.flatnonzero(leaving_bps != index.leaving_bps))
        index.leaving_bps = leaving_bps
        self._rescued: list[int] = []

    def run(self) -> None:
        """Let everybody have his turn.

        Raises:
            FullPlan: If a full plan is due.
        """
        router, index = self.router, self._index
        if router.crowding.matters:
            raise FullPlan("queues", "traffic moves round trips")
        if index.promises and _in_part(np.isnan(router.ledger.left_bps)):
            raise FullPlan("free", "what links have free is not known of all")
        better = index.sides.follow(self.unloaded, self.numbers)
        if better is None:
            raise FullPlan("prices", "prices changed of links that did not")
        better |= improved(self._memory.arrays, router.arrays, self.numbers)
        self._look_out(self.numbers[better].tolist(), -1)
        begin, leaves = 0, bool(index.trail.bps[2:].any())
        for end in index.tiers:
            turn, waiting = begin, list[int]()
            while (turn := self._walk(turn, end)) < end:
                if self._is_as_it_was(turn):
                    self._near[turn] = False
                    continue
                self._place(turn)
                if self.jobs[turn].path is None and self.jobs[turn].prepared.asks:
                    waiting.append(turn)
                turn += 1
            if (leaves or waiting or end == index.tiers[-1]) and scarce(self.placing, index.asked):
                raise FullPlan("joint", "links do not hold everybody any more")
            if waiting:
                self._share_all(end)
                for one in waiting:
                    self.placing.refuse(self.jobs[one])
            begin = end
        waiting = [turn for turn, job in self.jobs.items() if job.path is None]
        rescue(self.placing, [self.jobs[turn] for turn in waiting])
        self._rescued = [turn for turn in waiting if self.jobs[turn].path is not None]

    def members(self) -> dict[Key, list[int]]:
        """By circuit, whom it carries, in the order in which a full plan comes to them."""
        found: dict[Key, list[int]] = {}
        rescued = set(self._rescued)
        for turn in chain((turn for turn in range(len(self._memory.jobs)) if turn not in rescued), self._rescued):
            job = self._job(turn)
            if job.path is not None:
                found.setdefault((job.prepared.sharing, job.ends), []).append(turn)
        return found

    def _job(self, turn: int) -> Job:
        return self.jobs.get(turn) or self._memory.jobs[turn]

    def _walk(self, turn: int, end: int) -> int:
        stop = self._stop[:end] | self._near[:end]
        return self._index.trail.walk(self.router.ledger, turn, stop, self._changed)

    def _is_as_it_was(self, turn: int) -> bool:
        """Whether a demand that nothing else has happened to than that another path could be among the best finds those
        that it found before. Then all comes out as it did.

        Raises:
            FullPlan: If a path was looked for too often.
        """
        if self.looked_for >= max(FEW, MOST_PLACED * len(self._memory.jobs)):
            count = len(self._memory.jobs)
            raise FullPlan(
                "demands", f"{self.looked_for} demands would be placed anew before the {turn + 1}. of {count}"
            )
        self.looked_for += 1
        self._share(turn)
        old, topology = self._memory.jobs[turn], self.router.arrays.topology
        if self._stop[turn] or any(old.more_bps) or self._index.trail.met(turn, self._changed, topology.reverse):
            return False
        questions = [self.placing.question(option, ask) for option, ask in old.prepared.asks]
        if len(questions) == 1:
            problem = replace(questions[0].problem, known=old.listed[0].cost)
            questions = [replace(questions[0], problem=problem)]
        return tuple([route for route, _ in self.placing.answers(old, questions)]) == old.listed

    def _place(self, turn: int) -> None:
        old, reverse = self._memory.jobs[turn], self.router.arrays.topology.reverse
        job = self.jobs[turn] = self._begin(turn)
        self.placing.seek(job)
        if job.joint:
            raise FullPlan("shared", "one path serves demands that one by one would have chosen others")
        if job.path is not None and len(self.placing.sharing[key := (job.prepared.sharing, job.ends)]) == 1:
            self.placing.found_at(key, turn)
        if _way(old) != _way(job) or old.option is not job.option:
            for key in keys_of(job):
                for other in self._index.groups.get(key, ()):
                    self._stop[other] |= other > turn
        before, after = self._index.trail.row(turn).net(reverse), row_of(job, self.router.arrays).net(reverse)
        if before != after:
            differ = [link for link in before.keys() | after.keys() if before.get(link, 0.0) != after.get(link, 0.0)]
            self._changed[differ] = True
            self._look_out(sorted(one for one in differ if after.get(one, 0.0) < before.get(one, 0.0)), turn)

    def _begin(self, turn: int) -> Job:
        """A demand before its turn."""
        old = self._memory.jobs[turn]
        if turn not in self._anew:
            return Job(old.prepared, old.circuit, more_bps=old.more_bps)
        circuit, traffic = self._anew[turn]
        measured = bool(self._standing.measured_bps)
        prepared, more_bps = sending(self._standing.prepared[turn], traffic, measured=measured)
        return Job(prepared, circuit, more_bps=more_bps)

    def _share(self, turn: int) -> None:
        """Let a demand find circuits that were placed before and carry only such as are passed over."""
        for key in keys_of(self._memory.jobs[turn]):
            before = [one for one in self._index.groups.get(key, ()) if one < turn]
            members = [job for job in map(self._job, before) if _shares(job, key)]
            if members:
                first = next(one for one in before if _shares(self._job(one), key))
                self.placing.sharing[key] = members
                self.placing.found_at(key, first)

    def _share_all(self, end: int) -> None:
        """The same for all who come before a turn: who is refused is told by whom."""
        self.placing.sharing.clear()
        for turn in range(end):
            job = self._job(turn)
            if job.path is not None and not job.infeasible:
                key = (job.prepared.sharing, job.ends)
                self.placing.sharing.setdefault(key, []).append(job)
                if len(self.placing.sharing[key]) == 1:
                    self.placing.found_at(key, turn)

    def _look_out(self, links: Sequence[int], turn: int) -> None:
        """Find out whose paths over links that became better could be among the best, of those who come later."""
        self._near |= self._index.sides.concerned(links, turn, known=self._stop | self._near)


def _shares(job: Job, key: Key) -> bool:
    return job.path is not None and not job.infeasible and (job.prepared.sharing, job.ends) == key


def _way(job: Job) -> tuple[int, ...] | None:
    """The path on which others find a demand's circuit."""
    return None if job.route is None or job.infeasible else job.route.steps


def _in_part(unknown: Bools) -> bool:
    return bool(unknown.any() and not unknown.all())
