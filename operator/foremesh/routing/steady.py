"""What a plan proposes is weighed once more: by how likely limits are broken, on the path itself and on others'.

Placing takes a path that keeps its limits for certain as good, and any other as bad. Here it is a matter of odds: who
is likely to break a limit, or is to move, is asked what each of his paths would do, to him and to all whose links he
would fill, and takes the best. Paths compete by

- how likely limits are broken (``outlook``), summed over all who are concerned and are of no lower priority,
- plus what they cost, as a multiple of what the path in use costs,
- plus what a move has to be worth (``stability.due``) where they are not the path in use.

So a per cent of the time ahead within limits is worth as much as a per cent of a path's cost. Where links are forecast
to change, the path in use and the best one are held against each other step by step as well, and who had better move
later stays for now (``horizon``). Who is on a path
that keeps his limits does not leave it just after a move, nor for one that too many come to with the same plan, as
when he moves for the sake of cost. Only done where it is known how links queue; elsewhere nobody harms anybody by
moving, but for bandwidth, which is promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foremesh.model.series import Floats
from foremesh.routing.ask import Ask
from foremesh.routing.cost import COST_SCALE
from foremesh.routing.demand import Option, came_from
from foremesh.routing.jobs import Job, Pair, Question
from foremesh.routing.labels import Route, first_route
from foremesh.routing.needs import without
from foremesh.routing.outlook import Outlook
from foremesh.routing.placing import Placing
from foremesh.routing.sharing import asked_together
from foremesh.routing.stability import due, gain, is_dead, why_dwells, why_queues

CAUTIONS = (1.0, 0.5, 0.0)
"""How far from medians to pessimistic figures the paths that compete keep their limits; one more keeps none of those on
round trip and loss."""

PROMISED = ("maxLatency", "maxLoss")
"""Requirements that are weighed here; the others hold, or are not this room's to let go of."""

ROUNDS = 2
"""How often everybody has his turn at most: what one does changes the odds of others."""

MOST_WEIGHED = 200
"""Circuits that have a turn in a round, those most at risk first: each takes four searches, a second in all where
meshes are large."""

Steps = tuple[int, ...]


def weigh(placing: Placing, jobs: Sequence[Job]) -> None:
    """Let circuits that are at risk, or are to move, take the path that is best for all concerned."""
    if placing.router.crowding.matters:
        weighing = _Weighing(placing, jobs)
        for _ in range(ROUNDS):
            if not weighing.round():
                return


@dataclass(frozen=True, slots=True)
class _Circuit:
    """Demands that share a path."""

    key: tuple[str, Pair]
    members: list[Job]

    @property
    def in_use(self) -> tuple[str, ...]:
        return self.members[0].in_use

    @property
    def priority(self) -> int:
        return max(job.demand.intent.spec.priority for job in self.members)

    @property
    def route(self) -> Route:
        route = self.members[0].route
        assert route is not None
        return route


@dataclass(frozen=True, slots=True)
class _Way:
    """A path that competes."""

    route: Route
    option: Option
    ask: Ask
    sure: bool = False
    """It keeps every requirement on pessimistic figures."""


class _Weighing:
    def __init__(self, placing: Placing, jobs: Sequence[Job]) -> None:
        self.placing, self.router = placing, placing.router
        self._outlook = Outlook(self.router, placing.horizon)
        self._usable = self.router.arrays.alive & self.router.arrays.measured
        order = {id(job): number for number, job in enumerate(jobs)}
        self._circuits = [
            _Circuit(key, members)
            for key, members in placing.sharing.items()
            if all(id(job) in order and job.route and job.route.links and not job.pinned for job in members)
        ]
        self._on: dict[int, set[int]] = {}
        """By link, those whose round trips change with its traffic, by number."""
        self._risks: dict[int, float] = {}
        """By number, what is known of it as things are."""
        for number in range(len(self._circuits)):
            self._note(number)

    def round(self) -> bool:
        """Let everybody have his turn; whether anybody took another path than the plan had for him."""
        placing, worth = self.placing, self.placing.settings.move_worth
        risks = [self._risk(number) for number in range(len(self._circuits))]
        waiting = [
            number
            for number, circuit in enumerate(self._circuits)
            if risks[number] > worth or (circuit.in_use and not self._is_in_use(circuit, circuit.route))
        ]
        waiting.sort(key=lambda number: (-self._circuits[number].priority, -risks[number], self._circuits[number].key))
        changed = False
        for number in waiting[:MOST_WEIGHED]:
            circuit = self._circuits[number]
            self._forget(number)
            self._promise(circuit, -1)
            members = placing.sharing.pop(circuit.key)
            ways, stay = self._ways(circuit)
            placing.sharing[circuit.key] = members
            best, why = self._best(circuit, ways, stay)
            if best != circuit.route.steps:
                changed = True
                circuit = self._circuits[number] = self._take(circuit, ways, best, stay, why)
            self._promise(circuit, +1)
            self._note(number)
        return changed

    def _ways(self, circuit: _Circuit) -> tuple[dict[Steps, _Way], Steps | None]:
        """Paths that compete, and which of them is in use."""
        placing, job = self.placing, circuit.members[0]
        assert job.option is not None
        asks, found = self._asks(circuit), {circuit.route.steps: _Way(circuit.route, job.option, self._asked(job))}
        listed = [[placing.question(option, ask, caution=caution) for option, ask in asks] for caution in CAUTIONS]
        lenient = [placing.question(option, without(ask, PROMISED), caution=0.0) for option, ask in asks]
        for questions, caution in zip((*listed, lenient), (*CAUTIONS, None), strict=True):
            confined = [
                Question(one.option, one.ask, one.prices, one.problem.within(self._usable)) for one in questions
            ]
            answers = list(self._answers(circuit, confined))
            if caution is None and circuit.in_use:
                answers += [(route, one) for one in confined if (route := placing.as_carried(one, job))]
            for route, question in answers:
                ends = self._gateways(route)[:: max(1, route.hops)]
                if (circuit.key[0], ends) not in placing.sharing:  # another circuit's path is not its own to choose
                    ask = next(ask for option, ask in asks if option is question.option)
                    found.setdefault(route.steps, _Way(route, question.option, ask, sure=caution == CAUTIONS[0]))
        for steps, way in found.items():  # all at the same prices
            priced = [one.problem.route(steps) for one in lenient if one.option is way.option]
            if priced and priced[0]:
                found[steps] = replace(way, route=priced[0])
        stay = next((steps for steps, way in found.items() if self._is_in_use(circuit, way.route)), None)
        return found, stay

    def _asks(self, circuit: _Circuit) -> Sequence[tuple[Option, Ask]]:
        job = circuit.members[0]
        if len(circuit.members) == 1:
            return job.prepared.asks
        parts = [(one, one.option) for one in circuit.members if one.option]
        together = asked_together(circuit.key[1], parts)
        assert job.option is not None
        return () if together is None else ((job.option, together),)

    def _answers(self, circuit: _Circuit, questions: Sequence[Question]) -> Iterator[tuple[Route, Question]]:
        if len(circuit.members) == 1:
            yield from self.placing.answers(circuit.members[0], questions)[:1]
            return
        for question in questions:
            if route := first_route(question.problem):
                yield route, question

    def _best(self, circuit: _Circuit, ways: dict[Steps, _Way], stay: Steps | None) -> tuple[Steps, str]:
        """The best path to be on now, and why that is the one in use although another is better on the whole."""
        reverse = self.router.arrays.topology.reverse
        everywhere = set.intersection(*({*steps[1:]} for steps in ways))
        links = {link for steps in ways for link in steps[1:]} - everywhere
        touched = links | {int(reverse[link]) for link in links}
        numbers = sorted(set[int]().union(*(self._on.get(link, ()) for link in touched)))
        others = [number for number in numbers if self._circuits[number].priority >= circuit.priority]
        before = max(1, ways[circuit.route.steps if stay is None else stay].route.cost)
        values, moving = dict[Steps, float](), dict[Steps, float]()
        for steps, way in ways.items():
            self._load(circuit, way.route, +1)
            risk = sum([self._outlook.broken(way.route, self._asked(job, way)) for job in circuit.members])
            risk += sum(map(self._risk, others))
            self._load(circuit, way.route, -1)
            moving[steps] = 0.0 if stay is None or steps == stay else self._worth(circuit, ways[stay], way)
            values[steps] = risk + way.route.cost / before + moving[steps]
        ranked = sorted(values, key=lambda steps: (round(values[steps], 9), steps != stay, len(steps), steps))
        best = ranked[0]
        if stay is None or best == stay:
            return best, ""
        horizon = self.placing.horizon
        if horizon.changes((*stay[1:], *best[1:])):
            old, new = (self._course(circuit, ways[steps], others, before) for steps in (stay, best))
            if why := horizon.why_waits(old, new, moving[best], self.router.text(ways[best].route)):
                return stay, why
        if best != circuit.route.steps and (why := self._why_held(circuit, ways[stay], ways[best])):
            return next(steps for steps in ranked if steps in (stay, circuit.route.steps)), why
        return best, ""

    def _course(self, circuit: _Circuit, way: _Way, others: Sequence[int], before: int) -> Floats:
        """What a path is worth step by step, moving left aside; others are taken to fare alike at every step."""
        self._load(circuit, way.route, +1)
        odds = np.sum([self._outlook.by_step(way.route, self._asked(job, way)) for job in circuit.members], axis=0)
        risk = sum(map(self._risk, others))
        self._load(circuit, way.route, -1)
        found: Floats = odds + risk + self.placing.horizon.cost(way.route, way.ask) * COST_SCALE / before
        return found

    def _why_held(self, circuit: _Circuit, old: _Way, new: _Way) -> str:
        """Why a circuit may not take a path yet that the plan did not have for it: it has just moved, or others come to
        it first. Nobody is held on a path that is dead or may break his limits; empty if he may."""
        placing, record = self.placing, circuit.members[0].circuit
        keeps = placing.question(old.option, old.ask).problem.route(old.route.steps)
        if record is None or keeps is None or is_dead(self.router, old.route):
            return ""
        dwells = why_dwells(placing.settings, record, placing.moves)
        return dwells or why_queues(self.router, placing.settings, record, old.route, new.route, placing.moves)

    def _worth(self, circuit: _Circuit, old: _Way, new: _Way) -> float:
        """What a move has to bring in, as a share of what the path in use costs."""
        settings, record, router = self.placing.settings, circuit.members[0].circuit, self.router
        asked = self.placing.question(old.option, old.ask)
        needed, known = due(router, settings, (old.route, asked), new.route)
        there = router.gateways(new.route), router.underlays(new.route)
        back = settings.margin if record and came_from(record, *there) else 0.0
        return (needed * COST_SCALE / max(1, old.route.cost) if known else settings.move_worth) + back

    def _take(self, circuit: _Circuit, ways: dict[Steps, _Way], best: Steps, stay: Steps | None, why: str) -> _Circuit:
        """Give a circuit another path than the plan had for it."""
        placing, router, way = self.placing, self.router, ways[best]
        old = None if stay is None else ways[stay]
        other = router.text(circuit.route)
        placing.sharing.pop(circuit.key)
        for job in circuit.members:
            asked = self._asked(job, way)
            if len(circuit.members) == 1:
                job.option, job.ask = way.option, asked
            job.route, job.path = way.route, router.path(way.route, asked, router.prices(asked))
            job.kept, job.lost, job.current = "", "", None
            job.infeasible = None if way.sure else job.infeasible
            if best == stay:
                job.current = job.path
                why = why or f"with all that share links, {other} is not worth a move"
                job.kept = f"kept {router.text(way.route)}: {why}"
            elif old is not None and gain(old.route.cost, way.route.cost) > 0:
                job.current = router.path(old.route, asked, router.prices(asked))
            else:
                job.lost = "limits are likelier to be broken there"
        key = (circuit.key[0], circuit.members[0].ends)
        placing.sharing[key] = circuit.members
        return _Circuit(key, circuit.members)

    def _asked(self, job: Job, way: _Way | None = None) -> Ask:
        """What a demand asks, whatever was let go of to place it."""
        option = way.option if way and any(way.option is one for one, _ in job.prepared.asks) else job.option
        assert option is not None
        return self.placing.ask_of(job, option)

    def _risk(self, number: int) -> float:
        if number not in self._risks:
            circuit = self._circuits[number]
            self._risks[number] = sum(
                [self._outlook.broken(circuit.route, self._asked(job)) for job in circuit.members]
            )
        return self._risks[number]

    def _is_in_use(self, circuit: _Circuit, route: Route) -> bool:
        return self.placing.is_in_use(circuit.members[0], route)

    def _gateways(self, route: Route) -> tuple[str, ...]:
        return self.router.gateways(route)

    def _promise(self, circuit: _Circuit, sign: int) -> None:
        for job in circuit.members:
            self.placing.promise(job, sign)
        self._follow(circuit.route)

    def _load(self, circuit: _Circuit, route: Route, sign: int) -> None:
        for job in circuit.members:
            self.router.crowding.move(route.links, *(sign * bps for bps in self._asked(job).traffic_bps))
        self._follow(route)

    def _follow(self, route: Route) -> None:
        self._outlook.follow(route.links)
        for link in route.links:
            for number in self._on.get(link, ()):
                self._risks.pop(number, None)

    def _touched(self, route: Route) -> Iterable[int]:
        for link in route.links:
            yield link
            yield int(self.router.arrays.topology.reverse[link])

    def _note(self, number: int) -> None:
        self._risks.pop(number, None)
        for link in self._touched(self._circuits[number].route):
            self._on.setdefault(link, set()).add(number)

    def _forget(self, number: int) -> None:
        for link in self._touched(self._circuits[number].route):
            self._on[link].discard(number)
