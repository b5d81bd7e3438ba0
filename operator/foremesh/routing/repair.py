"""What placing one after the other got wrong: who found no room, or not the path he would have taken, though all
together fit better. Others make room, as few as can be, and nobody loses his place.

Only those are looked at who meet on links that cannot hold them all; where links hold everybody, nothing is done.
First everybody in question looks for paths while links get dearer the more wish to use them (negotiated congestion);
then one of each one's paths is chosen so that all fit (``packing``). Search, prices and requirements are the ones of
placing, and what is chosen is put through them again: if anything does not hold, everything stays as it was.

References: McMurchie and Ebeling, "PathFinder: a negotiation-based performance-driven router for FPGAs", FPGA 1995.
Barnhart, Hane and Vance, "Using branch-and-price-and-cut to solve origin-destination integer multicommodity flow
problems", Operations Research 48(2), 2000: whose paths become columns as prices ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import numpy as np

from foremesh.model.series import Floats
from foremesh.routing import packing
from foremesh.routing.ask import least_units
from foremesh.routing.crowd import CIRCUIT, MOST_UNITS, Crowd, Effort, Group, Key, least_of, most_asked
from foremesh.routing.jobs import Job
from foremesh.routing.labels import Route
from foremesh.routing.packing import NONE, Way, pack
from foremesh.routing.placing import Placing
from foremesh.routing.values import Ints

ASKING = 0.4
"""Share of the effort that may be spent on asking demands whether they would have liked another path better, those with
the largest bandwidths first."""
SCOPES = 3
"""How often those are added who use links that come into question; seldom more than twice."""
ROUNDS = 30
"""Rounds in which everybody looks for a path at the prices of the moment; most crowds come apart after a few."""
PRESSURE, GROWTH, MEMORY = 0.1, 1.2, 0.2
"""What a link costs that is overused by one average bandwidth, as a multiple of an average link: in the second round;
how it grows by the round; and how much of it stays for all rounds to come."""
REFINEMENTS = 2
"""How often those who were chosen look for paths again among themselves; a third time gains nothing."""


def repair(placing: Placing, tier: Sequence[Job], effort: Effort) -> None:
    """Find room for those of one priority who have none, and better paths for those whom others crowded out.

    Demands of higher priority have been placed; they, and whoever a circuit carries already, keep a path that meets
    their requirements, but perhaps another one. Of those of this priority whom no circuit carries, such are placed as
    ask for the most bandwidth together, at the least cost.

    Args:
        effort: What is left for this priority and those below it; what is taken is taken off.
    """
    wanting, granted = _wanting(tier), effort.half()
    if wanting and granted.links > CIRCUIT * len(placing.sharing):
        left = replace(granted)
        _Repair(placing, tier[0].demand.intent.spec.priority, left).run(wanting)
        effort.spend(granted, left)


def contended(placing: Placing, jobs: Iterable[Job]) -> bool:
    """Whether a link that could serve one of these demands alone no longer can, for what is promised to others."""
    return scarce(placing, asked_units(jobs))


def asked_units(jobs: Iterable[Job]) -> Ints:
    """Every bandwidth that is asked for, once, in BPS_SCALE."""
    needs = (ask.requirements for job in jobs for _, ask in job.prepared.asks)
    asked = {bps for one in needs for bps in (one.min_bandwidth, one.reverse) if bps}
    return np.array(sorted(map(least_units, asked)), dtype=np.int64)


def scarce(placing: Placing, steps: Ints) -> bool:
    """``contended`` for whom asks for these bandwidths."""
    there, left = placing.router.ledger.unpromised_units, placing.router.ledger.free_units
    return bool((np.searchsorted(steps, there, "right") > np.searchsorted(steps, left, "right")).any())


def _wanting(tier: Sequence[Job]) -> list[Job]:
    """Those of a tier who might do better: who has no path first, and the largest bandwidths."""
    asking = [job for job in tier if not job.pinned and most_asked(job) > 0]
    asking.sort(key=lambda job: -most_asked(job))
    blocked = [job for job in asking if job.path is None]
    placed = [job for job in asking if job.path is not None]
    return blocked + placed


class _Repair(Crowd):
    def run(self, wanting: Sequence[Job]) -> None:
        scarce, enough = set[int](), self.effort.links * (1 - ASKING)
        for job in wanting:
            if len(self.units) >= MOST_UNITS or self.effort.links < enough:
                break
            unit = self.unit_of(job)
            if unit is None:
                continue
            ideal, number = self.cheapest(unit)
            now = unit.route
            if ideal is None or (now is not None and not unit.extras and ideal.cost >= (self.cost_now(unit) or 0)):
                continue
            least = unit.questions[number][0].problem.least
            lacking = [link for link, units in self.loads(ideal, least).items() if self.left_for(link, unit) < units]
            if lacking:
                self.enter(unit)
                scarce.update(lacking)
        if not self.units:
            return
        self.enter_users(scarce)
        for unit in self.units:
            if len(unit.questions) > 1:
                self.begin(unit)
        choice = self._negotiate()
        for _ in range(SCOPES):
            count = len(self.units)
            self.enter_users(self.contended_links())
            if len(self.units) == count:
                break
            choice = self._negotiate()
        self._decide(choice)

    def _negotiate(self, chosen: Sequence[Key | None] | None = None) -> list[Key | None]:
        """Everybody looks for a path, again and again, while links get dearer that more wish to use than they hold.

        Args:
            chosen: By unit, the path to begin with; those that have none only look on, and tell at last what they would
                take. If None, everybody takes part.

        Returns:
            By unit, the path that it took at last; not all of them need fit together.
        """
        taking = [self.present(unit) for unit in self.units] if chosen is None else list(chosen)
        part = [index for index in range(len(taking)) if chosen is None or taking[index] is not None]
        used = np.zeros(self.free.size, dtype=np.int64)
        for unit, key in zip(self.units, taking, strict=True):
            if key is not None:
                _add(used, unit.found[key][0].loads, +1)
        sizes = [max(least_of(job.demand.intent.spec.requirements)) for unit in self.units for job in unit.jobs]
        typical = max(1.0, float(np.mean(sizes)))
        history = np.zeros(self.free.size)
        pressure = 0.0
        for turn in range(ROUNDS):
            if self.effort.links < 0:
                break
            for index in part:
                unit, key = self.units[index], taking[index]
                if key is not None:
                    _add(used, unit.found[key][0].loads, -1)
                taking[index] = key = self._take(unit, self._dearer(unit, used, history, pressure, typical))
                if key is not None:
                    _add(used, unit.found[key][0].loads, +1)
            over = np.maximum(0, used - np.maximum(self.free, 0)) / typical
            if turn and not over.any():
                break
            history += MEMORY * over
            pressure = PRESSURE if turn == 0 else pressure * GROWTH
        for index, unit in enumerate(self.units):
            if taking[index] is None and self.effort.links > 0:
                self._take(unit, self._dearer(unit, used, history, pressure, typical))
        return taking

    def _take(self, unit: Group, dearer: Ints) -> Key | None:
        """The path that a unit takes at these prices."""
        route, number = self.cheapest(unit, dearer)
        if route is None:
            return None
        self.note(unit, route, number)
        return route.steps, unit.questions[number][1]

    def _dearer(self, unit: Group, used: Ints, history: Floats, pressure: float, typical: float) -> Ints:
        """By link, what is added to its cost for a unit: the more, the more it asks for."""
        question = unit.questions[-1][0]
        total = np.zeros(self.reverse.size)
        ways = (np.arange(self.reverse.size), self.reverse)
        for least, where in zip(question.problem.least, ways, strict=True):
            if least > 0:
                over = np.maximum(0, used[where] + least - np.maximum(self.free[where], 0)) / typical
                total += least / typical * (history[where] + pressure * over)
        link = question.problem.link
        return np.rint(total * max(1.0, float(np.median(link)))).astype(np.int64)

    def _decide(self, negotiated: Sequence[Key | None]) -> None:
        now = [self.present(unit) for unit in self.units]
        if any(key is None and unit.must for key, unit in zip(now, self.units, strict=True)):
            return  # somebody's path is no answer any more: it is for the next plan to mend
        before = self._worth(now)
        admitted = [self.in_place(unit) if unit.must or self.carried(unit) else None for unit in self.units]
        starts = (now, admitted, list(negotiated))
        chosen = max(starts, key=self._worth)
        for turn in range(REFINEMENTS + 1):
            if turn:
                self._negotiate(chosen)
            units, room = self._packable()
            numbers = [NONE if key is None else list(unit.found).index(key) for key, unit in self._with(chosen)]
            packed = pack(units, room, numbers, self._rounds(units, REFINEMENTS + 1 - turn))
            chosen = [
                None if way == NONE else list(unit.found)[way] for way, unit in zip(packed, self.units, strict=True)
            ]
        after = self._worth(chosen)
        if after <= before:
            return
        changed = [
            (unit, None if key is None else unit.found[key])
            for key, old, unit in zip(chosen, now, self.units, strict=True)
            if key != old
        ]
        if self._apply(changed, for_room=after[0] > before[0]):
            self._seek_again()

    def _rounds(self, units: Sequence[packing.Unit], times: int) -> int:
        """Rounds that the next packing may take, of as many as are still to come; they count as taken."""
        rounds = min(packing.rounds_for(units), self.effort.rounds // times)
        self.effort.rounds -= rounds
        return rounds

    def _seek_again(self) -> None:
        """Who made way for more than he asks for may find room elsewhere, on a path that nobody has looked at."""
        left_out = [job for unit in self.units for job in unit.jobs if job.path is None]
        for job in sorted(left_out, key=lambda job: (not job.carried, -most_asked(job), job.demand.key)):
            self.placing.seek(job)

    def _with(self, chosen: Sequence[Key | None]) -> Iterable[tuple[Key | None, Group]]:
        return zip(chosen, self.units, strict=True)

    def _packable(self) -> tuple[list[packing.Unit], dict[int, int]]:
        units = [packing.Unit(tuple(way for way, _, _ in unit.found.values()), unit.must) for unit in self.units]
        return units, {link: int(self.free[link]) for link in self.contended_links()}

    def _worth(self, chosen: Sequence[Key | None]) -> tuple[int, int]:
        units, room = self._packable()
        numbers = [NONE if key is None else list(unit.found).index(key) for key, unit in self._with(chosen)]
        return packing.worth(units, room, numbers)

    def _apply(self, changed: Sequence[tuple[Group, tuple[Way, Route, int] | None]], *, for_room: bool) -> bool:
        """Put everybody on the path chosen; if that does not hold, or costs more after all, back again."""
        placing = self.placing
        cost = self._cost_of_all()
        jobs = [job for unit, _ in changed for job in unit.jobs]
        kept = [(job, {one.name: getattr(job, one.name) for one in fields(job)}) for job in jobs]
        sharing = {key: list(members) for key, members in placing.sharing.items()}
        for unit, _ in changed:
            for job in unit.members:
                placing.lift(job)
        if self._settle(changed) and (for_room or self._cost_of_all() < cost):
            self._tell(changed, kept)
            return True
        for job in jobs:
            if job.route is not None:
                placing.promise(job, -1)
        for job, values in kept:
            for name, value in values.items():
                setattr(job, name, value)
            if job.route is not None:
                placing.promise(job, +1)
        placing.sharing.clear()
        placing.sharing.update(sharing)
        return False

    def _settle(self, changed: Any) -> bool:
        order = sorted(changed, key=lambda one: -max(job.demand.intent.spec.priority for job in one[0].jobs))
        for unit, taken in order:
            if taken is None:
                continue
            _, route, number = taken
            question, served = unit.questions[number]
            if len(unit.members) + served == 1:
                parts = [(unit.jobs[0], question.option)]
            else:
                parts = [(job, job.option) for job in unit.members] + unit.extras[:served]
            with ExitStack() as stack:
                for job, _ in unit.extras[:served]:
                    stack.enter_context(self.placing.leaving(job))
                for job, option in parts:
                    asked = self.placing.question(option, self.placing.ask_of(job, option))
                    answer = asked.problem.route(route.steps)
                    if answer is None:
                        return False
                    before = job.runners_up
                    self.placing.settle(job, (answer, asked))
                    job.runners_up = before
        return True

    def _cost_of_all(self) -> int:
        """What all paths cost at the prices that hold, each without what it takes itself."""
        total = 0
        for unit in self.units:
            for job in unit.members:
                if job.route is None or job.option is None or job.ask is None:
                    continue
                self.placing.promise(job, -1)
                answer = self.placing.question(job.option, job.ask).problem.route(job.route.steps)
                self.placing.promise(job, +1)
                total += job.route.cost if answer is None else answer.cost
        return total

    def _tell(self, changed: Any, kept: Any) -> None:
        """Say of those who moved for whom they did."""
        before = {id(job): values for job, values in kept}
        placed = [job for unit, taken in changed if taken and not unit.members for job in unit.jobs]
        for unit, _ in changed:
            for job in unit.members:
                values = before[id(job)]
                job.kept = ""
                if job.path is None:
                    continue
                old, new = values["route"], job.route
                if job.is_on(values["path"]):
                    job.current = values["path"]
                if new.cost <= old.cost or new.steps == old.steps:
                    continue
                left = {*old.links} - {*new.links}
                names = [one.demand.intent.id for one in placed if one.route and left & {*one.route.links}]
                whom = f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}" if names else "others"
                job.yielded = f"; {values['path'].text} is left to {whom}"


def _add(used: Ints, loads: Any, sign: int) -> None:
    for link, units in loads.items():
        used[link] += sign * units
