"""Who is in question where links cannot hold everybody: circuits that may move, demands that found no room, what links
have for all of them together, and the paths that each may take.

A part of ``repair``, which decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from foremesh.routing.ask import least_units
from foremesh.routing.demand import Option
from foremesh.routing.jobs import Job, Pair, Question
from foremesh.routing.labels import Route, first_route
from foremesh.routing.packing import MOST_ROUNDS, NONE, Way
from foremesh.routing.placing import Placing
from foremesh.routing.sharing import asked_together
from foremesh.routing.values import Ints

MOST_UNITS = 400
"""Circuits that are looked at together, at most. Those with the largest bandwidths count."""
MOST_LINKS = 200_000_000
"""Links that searches for a plan may look at: about six seconds."""
MOST_PACKED = 6 * MOST_ROUNDS
"""Rounds of packing for a plan: about six seconds."""
ADMITTED = 1_000
"""How many times the bandwidth of newcomers that of a demand is worth which a circuit carries already."""
SENIORITY = 1.0
"""Share of its path's cost that others have to gain before a circuit in place, or one of higher priority, moves for
their cost; it moves for their being placed at all. When it moves for its own is said in ``stability``."""
SEARCH = 2_000
"""What a search takes before it looks at links, as a number of links."""
CIRCUIT = 200
"""What it takes to note a circuit that is there, as a number of links."""

Key = tuple[tuple[int, ...], int]
"""Steps of a path, and how many newcomers it serves: names one of the ways of a unit."""


@dataclass(slots=True)
class Effort:
    """What is left of the effort that one plan may take to place demands jointly. It is counted instead of timed, so
    that the same question has the same answer.

    Each priority in question may take half of what those above it left: so what a higher one gets hangs on no lower
    one, and however many there are, a plan takes no more than twice as long as for one.
    """

    links: int = MOST_LINKS
    rounds: int = MOST_PACKED

    def half(self) -> Effort:
        return Effort(self.links // 2, self.rounds // 2)

    def spend(self, granted: Effort, left: Effort) -> None:
        """Take off what was spent of what was granted."""
        self.links -= granted.links - left.links
        self.rounds -= granted.rounds - left.rounds


@dataclass(slots=True)
class Group:
    """Who takes one path as a whole: the demands of a circuit, or one that has none yet."""

    members: list[Job]
    """Who is placed, on one path."""
    extras: list[tuple[Job, Option]]
    """Who would have to share it, and how, and found no room; all of a unit without members."""
    questions: list[tuple[Question, int]] = field(default_factory=list)
    """What it may be asked, and how many extras are served by the answer."""
    must: bool = False
    stays: int = 0
    """What it costs to leave the path that it has, beyond what the other one costs."""
    found: dict[Key, tuple[Way, Route, int]] = field(default_factory=dict)
    """By steps and number of extras served: the way, its route, the number of its question."""

    @property
    def jobs(self) -> list[Job]:
        return [*self.members, *(job for job, _ in self.extras)]

    @property
    def route(self) -> Route | None:
        return self.members[0].route if self.members else None


def most_asked(job: Job) -> int:
    return max((max(least_of(ask.requirements)) for _, ask in job.prepared.asks), default=-1)


def least_of(needs: Any) -> tuple[int, int]:
    return least_units(needs.min_bandwidth), least_units(needs.reverse)


def worth_of(job: Job) -> int:
    """What it is worth that a demand is placed."""
    return sum(max(0, one) for one in least_of(job.demand.intent.spec.requirements)) * (ADMITTED if job.carried else 1)


class Crowd:
    """Units of one priority, and of higher ones whose circuits use the same links.

    Args:
        placing: The plan so far.
        priority: That of the demands that it is about.
        effort: What it may take; what is taken is taken off.
    """

    def __init__(self, placing: Placing, priority: int, effort: Effort) -> None:
        self.placing, self.priority, self.effort = placing, priority, effort
        effort.links -= CIRCUIT * len(placing.sharing)
        self.router = placing.router
        self.reverse = placing.router.arrays.topology.reverse
        self.units: list[Group] = []
        self.circuits: dict[tuple[str, Pair], Group] = {}
        """Units by the circuit that they are, or might become."""
        self.free = placing.router.ledger.free_units.copy()
        """What links have for the units together."""
        self.unpromised = placing.router.ledger.unpromised_units
        self.using: dict[int, list[tuple[str, Pair]]] = {}
        for key, members in placing.sharing.items():
            if members[0].route and any(most_asked(job) > 0 for job in members):
                for link in members[0].route.links:
                    for one in (link, int(self.reverse[link])):
                        self.using.setdefault(one, []).append(key)

    def unit_of(self, job: Job) -> Group | None:
        """The unit that a demand belongs to; None if it cannot move."""
        if job.path is not None:
            return self.unit_at((job.prepared.sharing, job.ends))
        with self.placing.leaving(job):
            questions = self.placing.open_questions(job, self.is_taken)
        if questions:
            return Group([], [(job, questions[0].option)], [(one, 1) for one in questions])
        for option, ask in job.prepared.asks:
            for pair in ((first, last) for first in ask.sources for last in ask.destinations):
                unit = self.unit_at((job.prepared.sharing, pair))
                if unit is None or (job, option) in unit.extras:
                    continue
                unit.extras.append((job, option))
                together = self.together(unit, pair, len(unit.extras))
                if together is None:
                    unit.extras.pop()
                    continue
                unit.questions.append((together, len(unit.extras)))
                return unit
        return None

    def unit_at(self, key: tuple[str, Pair]) -> Group | None:
        """The unit that is a circuit now."""
        if key in self.circuits:
            return self.circuits[key]
        members = self.placing.sharing.get(key)
        if not members or self.placing.is_pinned(members[0], key[1]) or not members[0].route:
            return None
        unit = Group(list(members), [])
        self.lift(unit)
        if len(members) == 1:
            unit.questions = [(one, 0) for one in self.placing.open_questions(members[0], self.is_taken, key)]
        else:
            together = self.together(unit, key[1], 0)
            unit.questions = [] if together is None else [(together, 0)]
        self.put_back(unit)
        unit.must = any(job.carried or job.demand.intent.spec.priority > self.priority for job in members)
        cost = self.cost_now(unit)
        if cost is None:
            return None
        unit.stays = round(SENIORITY * cost) if unit.must else 0
        return unit

    def is_taken(self, key: tuple[str, Pair]) -> bool:
        return key in self.circuits

    def together(self, unit: Group, pair: Pair, count: int) -> Question | None:
        """What the members and so many extras ask for together."""
        parts = [(job, job.option) for job in unit.members if job.option] + unit.extras[:count]
        ask = asked_together(pair, parts)
        if ask is None:
            return None
        asked = self.placing.question(parts[0][1], ask)
        return _own(asked)

    def enter(self, unit: Group) -> None:
        """Let a unit be moved: what it is promised is free for all units."""
        if any(unit is one for one in self.units):
            return
        self.units.append(unit)
        for question, _ in unit.questions:
            for key in self.placing.keys_of(unit.jobs[0], question.ask):
                if key not in self.placing.sharing:
                    self.circuits.setdefault(key, unit)
        for job in unit.members:
            self.circuits[job.prepared.sharing, job.ends] = unit
        for link, units in self.taken_now(unit).items():
            self.free[link] += units
        self.in_place(unit)

    def begin(self, unit: Group) -> None:
        """Take the best path of each question into the list: one that serves fewer may fit where none fits all."""
        for number, (question, _) in enumerate(unit.questions):
            self.effort.links -= SEARCH + self.reverse.size
            route = first_route(replace(question.problem, free=self.unpromised))
            if route is not None:
                self.note(unit, route, number)

    def enter_users(self, links: Iterable[int]) -> None:
        keys = dict.fromkeys(key for link in sorted(links) for key in self.using.get(link, ()))
        for key in keys:
            if len(self.units) >= MOST_UNITS:
                return
            if key not in self.circuits and (unit := self.unit_at(key)):
                self.enter(unit)

    def lift(self, unit: Group) -> None:
        for job in unit.members:
            self.placing.promise(job, -1)

    def put_back(self, unit: Group) -> None:
        for job in unit.members:
            self.placing.promise(job, +1)

    def more_of(self, jobs: Iterable[Job]) -> tuple[int, int]:
        there, back = 0.0, 0.0
        for job in jobs:
            there, back = there + job.more_bps[0], back + job.more_bps[1]
        return least_units(there), least_units(back)

    def loads(self, route: Route, least: tuple[int, int], more: tuple[int, int] = (0, 0)) -> dict[int, int]:
        """By link, what a path takes of those whose bandwidth is known."""
        loads: dict[int, int] = {}
        there, back = (max(0, own) + beyond for own, beyond in zip(least, more, strict=True))
        for link in route.links:
            for one, units in ((link, there), (int(self.reverse[link]), back)):
                if units and self.free[one] >= 0:
                    loads[one] = loads.get(one, 0) + units
        return loads

    def taken_now(self, unit: Group) -> dict[int, int]:
        """By link, what a unit is promised now."""
        loads: dict[int, int] = {}
        for job in unit.members:
            if job.route and job.option:
                asked = least_of(job.option.effective.requirements)
                for link, units in self.loads(job.route, asked, self.more_of([job])).items():
                    loads[link] = loads.get(link, 0) + units
        return loads

    def left_for(self, link: int, unit: Group) -> int:
        """What a link has for a unit that gives up what it has of it."""
        return int(self.router.ledger.free_units[link]) + self.taken_now(unit).get(link, 0)

    def cost_now(self, unit: Group) -> int | None:
        """What the path costs that a unit has, as it asks for it; None if that is no answer any more."""
        route = unit.route
        costs = [
            answer.cost
            for question, served in unit.questions
            if route and not served and (answer := self.answer(question, route))
        ]
        return min(costs, default=None)

    def answer(self, question: Question, route: Route) -> Route | None:
        """A path as the answer to a question, if nobody else were there."""
        return replace(question.problem, free=self.unpromised).route(route.steps)

    def cheapest(self, unit: Group, dearer: Ints | None = None) -> tuple[Route | None, int]:
        """The best path if nobody else were there, and the number of the question that it answers: one that serves as
        many as can be."""
        best, number, most = None, NONE, NONE
        for index, (question, served) in enumerate(unit.questions):
            if served < most:
                continue
            self.effort.links -= SEARCH + self.reverse.size
            problem = replace(question.problem, free=self.unpromised)
            if dearer is not None:
                problem = replace(problem, link=problem.link + dearer)
            route = first_route(problem)
            if route is not None and (best is None or served > most or route.key < best.key):
                best, number, most = route, index, served
        return best, number

    def note(self, unit: Group, route: Route, number: int) -> Way:
        """Take a path into the list of those that a unit may take."""
        question, served = unit.questions[number]
        key = (route.steps, served)
        if key not in unit.found:
            plain = self.answer(question, route)
            assert plain is not None, "a path found at other prices is one at these"
            extras = [job for job, _ in unit.extras[:served]]
            gained = extras if unit.must else [*unit.members, *extras]
            way = Way(
                cost=plain.cost * max(1, len(unit.members) + served) + (0 if self.stays(unit, route) else unit.stays),
                value=sum(map(worth_of, gained)),
                loads=self.loads(route, question.problem.least, self.more_of([*unit.members, *extras])),
            )
            unit.found[key] = (way, plain, number)
        return unit.found[key][0]

    def carried(self, unit: Group) -> list[Job]:
        return [job for job in unit.jobs if job.carried and job.in_use]

    def stays(self, unit: Group, route: Route) -> bool:
        """Whether a unit that takes a path does not move: it is the one in use, or else the one that it has in the plan
        so far."""
        if carried := self.carried(unit):
            return self.placing.is_in_use(carried[0], route)
        return unit.route is not None and unit.route.steps == route.steps

    def present(self, unit: Group) -> Key | None:
        """The path that a unit has now, as one of those that it may take."""
        route = unit.route
        for number, (question, served) in enumerate(unit.questions) if route else ():
            if route and not served and self.answer(question, route):
                self.note(unit, route, number)
                return route.steps, 0
        return None

    def in_place(self, unit: Group) -> Key | None:
        """The path by which a circuit carries a unit, as one of those that it may take, or the same over parallel
        underlays; that which it has in the plan so far, if it is not to be had."""
        carried = self.carried(unit)
        for number, (question, served) in enumerate(unit.questions) if carried else ():
            free = replace(question, problem=replace(question.problem, free=self.unpromised))
            route = self.placing.as_carried(free, carried[0]) or self.placing.along(free, carried[0].in_use)
            if route is not None and served == len(unit.extras):
                self.note(unit, route, number)
                return route.steps, served
        return self.present(unit)

    def contended_links(self) -> list[int]:
        """Links that could not hold everybody who might use them."""
        wished: dict[int, int] = {}
        for unit in self.units:
            most: dict[int, int] = {}
            for way, _, _ in unit.found.values():
                for link, units in way.loads.items():
                    most[link] = max(most.get(link, 0), units)
            for link, units in most.items():
                wished[link] = wished.get(link, 0) + units
        return [link for link, units in wished.items() if units > self.free[link]]


def _own(question: Question) -> Question:
    """A question whose prices stay what they are when promises change."""
    return replace(question, problem=replace(question.problem, link=question.problem.link.copy()))
