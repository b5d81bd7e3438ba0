"""Standbys after small changes: the same as if all were looked for again. Those are kept that are certain to come out
as they did; see ``replan``.

Circuits take their turns as in ``stand_by``. One is passed over while its path and its labels are what they were; no
link that its standby was chosen by has changed, nor is left with another bandwidth; no link that became better could
serve it as well; and what others keep for the failures of its path leaves room where it did and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from foremesh.model.series import Floats
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router, least_units
from foremesh.routing.jobs import Job
from foremesh.routing.kernels import NEVER
from foremesh.routing.placing import Placing
from foremesh.routing.reserve import Failure, Reserve
from foremesh.routing.sides import Sides, improved
from foremesh.routing.standby import Kept, Key, keep, reserved_for, stand_by_for
from foremesh.routing.values import Bools, Ints


@dataclass
class Standbys:
    """The standbys of one plan, and what they were chosen on.

    Args:
        kept: In the order of turns.
        members: By circuit, whom it carries, by turn.
        arrays, left_bps, free_units: The snapshot, and what was left of its links.
    """

    kept: dict[Key, Kept]
    members: Mapping[Key, Sequence[int]]
    arrays: Arrays
    left_bps: Floats
    free_units: Ints
    fallen: dict[int, Job] = field(default_factory=dict)
    """By turn, demands that were passed over and got another standby."""
    looked_for: int = 0
    """How many standbys were looked for."""
    _sides: Sides | None = field(default=None, repr=False)

    @classmethod
    def before(cls, router: Router) -> Standbys:
        """None yet, but what they are going to be chosen on."""
        ledger = router.ledger
        return cls({}, {}, router.arrays, ledger.left_bps.copy(), ledger.free_units.copy())

    def again(
        self,
        jobs: Sequence[Job],
        placed: Mapping[int, Job],
        placing: Placing,
        members: Mapping[Key, Sequence[int]],
        unloaded: Router,
        changed: Ints,
        repriced: Ints,
    ) -> Standbys:
        """The standbys after demands were placed again.

        Args:
            jobs: All of them, as they were, by turn.
            placed: Those placed anew.
            placing: The new plan so far.
            members: By circuit, whom it carries now, in the order in which a full plan comes to them.
            unloaded: The new snapshot, with no less taken of a link than at anybody's turn.
            changed: Links whose figures changed.
            repriced: Those that have another price in ``unloaded``.
        """
        new = Standbys.before(placing.router)
        new.members = members
        differ, better = self._differ(new, changed)
        concerned = dict(zip(self.kept, self._concerned(unloaded, repriced, better).tolist(), strict=True))
        reserves = _Reserves(placing, [*self.kept.items()])
        reverse = placing.router.arrays.topology.reverse
        leaves_traces = not all(float(bps).is_integer() for job in jobs for bps in _amounts(job))

        def job_of(turn: int) -> Job:
            return placed.get(turn) or new.fallen.get(turn) or jobs[turn]

        def priority(item: tuple[Key, Sequence[int]]) -> int:
            return -max(jobs[turn].demand.intent.spec.priority for turn in item[1])

        for key, turns in sorted(members.items(), key=priority):
            route, kept = job_of(turns[0]).route, self.kept.get(key)
            if route is None or not route.hops:
                continue
            if (
                kept is not None
                and not concerned[key]
                and [*self.members[key]] == [*turns]
                and all(_same(jobs[turn], placed[turn]) for turn in turns if turn in placed)
                and not any(differ[link] for link in kept.seen)
                and not reserves.differ(key, kept, self.free_units, new.free_units)
            ):
                for turn in turns:
                    if turn in placed:
                        placed[turn].standby, placed[turn].standby_reserved = (
                            jobs[turn].standby,
                            jobs[turn].standby_reserved,
                        )
                if leaves_traces:  # what is taken away and added again may not be quite what it was
                    for sign in (-1, +1):
                        for turn in turns:
                            placing.promise(job_of(turn), sign)
            else:
                for turn in turns:
                    if turn not in placed:
                        new.fallen[turn] = job = copy(jobs[turn])
                        job.standby, job.standby_reserved = None, False
                kept = stand_by_for(placing, key, [job_of(turn) for turn in turns], reserves.now)
                new.looked_for += 1
            new.kept[key] = kept
            reserves.keep(key, kept, reverse)
        new._sides = self._follow(new)
        return new

    def _differ(self, new: Standbys, changed: Ints) -> tuple[Bools, list[int]]:
        """By link, whether it or the link the other way is not what it was; and those that became better."""
        before, after = self.arrays, new.arrays
        known = ~(np.isnan(self.left_bps) & np.isnan(new.left_bps))
        units, others = self.free_units[:-1], new.free_units[:-1]
        differ = (known & (self.left_bps != new.left_bps)) | (units != others)
        better = (known & ~(new.left_bps <= self.left_bps)) | (others > units) | (after.alive & ~before.alive)
        better[changed] |= improved(before, after, changed)
        differ[changed] = True
        reverse = after.topology.reverse
        both = reverse >= 0
        for mask in (differ, better):
            mask[both] |= mask[reverse[both]]
        return differ, np.flatnonzero(better).tolist()

    def _concerned(self, unloaded: Router, repriced: Ints, better: list[int]) -> Bools:
        """By circuit, whether links that became better could serve its standby."""
        kept = [*self.kept.values()]
        found = np.array([bool(better) and one.most == NEVER for one in kept], dtype=np.bool_)
        if not better:
            if self._sides is not None and self._sides.follow(unloaded, repriced) is None:
                self._sides = None
            return found
        if self._sides is None or self._sides.follow(unloaded, repriced) is None:
            asked = [(row, one.ask, one.most) for row, one in enumerate(kept) if one.ask is not None]
            self._sides = Sides(asked, len(kept), unloaded)
        if len(better) * len(self._sides.kinds) > len(kept):
            return ~np.zeros_like(found)  # to ask about so many links takes as long as to look for all again
        return self._sides.concerned(better, known=found)

    def _follow(self, new: Standbys) -> Sides | None:
        """What is known of the questions, if they are still the same."""
        if self._sides is None or [*self.kept] != [*new.kept]:
            return None
        others = [row for row, key in enumerate(self.kept) if new.kept[key] is not self.kept[key]]
        olds, news = [*self.kept.values()], [*new.kept.values()]
        if any(olds[row].ask != news[row].ask for row in others):
            return None
        self._sides.most({row: news[row].most for row in others})
        return self._sides


def _same(old: Job, new: Job) -> bool:
    """Whether all that a standby hangs on is what it was."""
    return (
        old.route is not None
        and new.route is not None
        and old.route.steps == new.route.steps
        and old.option is new.option
        and old.ask is new.ask
        and old.circuit is new.circuit
    )


def _amounts(job: Job) -> Sequence[float]:
    if job.option is None:
        return ()
    needs = job.option.effective.requirements
    return (needs.min_bandwidth or 0.0, needs.reverse or 0.0, *job.more_bps)


class _Reserves:
    """What standbys keep: now, and at the same turn of the plan before."""

    def __init__(self, placing: Placing, before: Sequence[tuple[Key, Kept]]) -> None:
        arrays = placing.router.arrays
        self.now = Reserve(arrays.topology, arrays.nodes)
        self._reverse = arrays.topology.reverse
        self._before, self._next = before, 0
        self._place = {key: place for place, (key, _) in enumerate(before)}
        self._more: dict[Failure, dict[int, int]] = {}
        """By failure and link, how much more is kept now than was."""

    def differ(self, key: Key, kept: Kept, was_free: Ints, is_free: Ints) -> bool:
        """Whether what is kept for others makes a difference to a standby at its turn."""
        place = self._place[key]
        if place < self._next:
            return True
        while self._next < place:
            self._note(self._before[self._next][1], -1)
            self._next += 1
        failures = self.now.failures(kept.path)
        more = {one: self._more[one] for one in failures if one in self._more}
        if not more:
            return False
        if kept.ask is None:
            return True
        needs = kept.ask.requirements
        least = [one for one in map(least_units, (needs.min_bandwidth, needs.reverse)) if one > 0]
        own = {end for link in kept.path.links for end in (link, int(self._reverse[link]))}
        for link in {link for links in more.values() for link in links} if least else ():
            needed = [(self.now.needed(one, link), more.get(one, {}).get(link, 0)) for one in failures]
            now, was = max(one for one, _ in needed), max(one - extra for one, extra in needed)
            if now != was and (
                link in own or any((was_free[link] - was >= one) != (is_free[link] - now >= one) for one in least)
            ):
                return True
        return False

    def keep(self, key: Key, kept: Kept, reverse: Ints) -> None:
        """Keep what a standby needs from its turn on."""
        keep(kept, self.now, reverse)
        if self._next < len(self._before) and self._before[self._next] == (key, kept):
            self._next += 1  # as before
            return
        self._note(kept, +1)

    def _note(self, kept: Kept, sign: int) -> None:
        loads = reserved_for(kept, self._reverse)
        for failure in self.now.failures(kept.path) if loads else ():
            more = self._more.setdefault(failure, {})
            for link, units in loads.items():
                more[link] = more.get(link, 0) + sign * units
                if not more[link]:
                    del more[link]
            if not more:
                del self._more[failure]
