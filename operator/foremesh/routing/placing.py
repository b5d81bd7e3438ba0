"""A plan in the making: what is placed so far, what circuits are shared, what bandwidth is promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice, pairwise

import numpy as np
from msgspec import structs

from foremesh.model.plan import Infeasible, way_text
from foremesh.routing.admission import Use, shortage, users
from foremesh.routing.ask import Ask, Router
from foremesh.routing.demand import Option, PlannerSettings, links_in_use, links_over, runs_on, underlays_in_use
from foremesh.routing.explain import explain
from foremesh.routing.horizon import Horizon
from foremesh.routing.jobs import Job, Pair, Question
from foremesh.routing.labels import Problem, Route, first_route, routes
from foremesh.routing.needs import PASSING, without
from foremesh.routing.sharing import asked_together
from foremesh.routing.stability import Moves, stays_for_now, why_stays

UNEXPLAINED = "it does not meet the requirements"
"""Said of a path, or of every path, where reasons are not worked out."""

Found = tuple[Route, Question]


class Placing:
    """Places demands one after the other, each on what those before it have left.

    Args:
        router: The snapshot; its ledger takes the promises.
        pins: By class and ends, the path of gateways that somebody pinned a circuit to.
        settings: Margins and number of runners-up.
        moves: What is moved for the sake of cost, and when.
    """

    def __init__(
        self,
        router: Router,
        pins: Mapping[tuple[str, Pair], tuple[str, ...]],
        settings: PlannerSettings,
        moves: Moves | None = None,
    ) -> None:
        self.router = router
        self.moves = moves or Moves()
        self.settings = settings
        self.sharing: dict[tuple[str, Pair], list[Job]] = {}
        """By what shares a circuit and ends, the demands that one circuit carries."""
        self.horizon = Horizon(router, now_s=self.moves.now_s, next_s=settings.next_s)
        self._pins = pins
        self._turn: dict[tuple[str, Pair], int] = {}
        """When a circuit was first used: of several that a demand could share, the first counts."""
        self._users: tuple[int, dict[int, list[Use]]] | None = None

    def place(self, job: Job) -> None:
        """Find a path for one more demand, or say why there is none."""
        self.seek(job)
        self.refuse(job)

    def seek(self, job: Job) -> None:
        """Find a path for one more demand."""
        job.infeasible = job.prepared.refused
        if not job.prepared.asks:
            return
        with self.leaving(job):
            questions = [self.question(option, ask) for option, ask in job.prepared.asks]
            found = self.answers(job, questions)
            if stays := self._waits(job, questions, found):
                self.settle(job, stays, found)
            elif found:
                self._choose(job, questions, found)
            elif not job.pinned:
                self._join(job)

    def refuse(self, job: Job) -> None:
        """Say why a demand has no path, if it has none."""
        if job.path is None and job.prepared.asks:
            with self.leaving(job):
                job.infeasible = self._explain(job, self.question(*job.prepared.asks[0]))

    @contextmanager
    def leaving(self, job: Job) -> Iterator[None]:
        """While a path is looked for, the demand's traffic is not on the one in use; it is again if none is found.

        What it asked for is off the ledger already: everybody's is, until it is promised.
        """
        crowding = self.router.crowding
        links, traffic = list[int](), (0.0, 0.0)
        if job.carried and job.circuit and job.prepared.asks and (crowding.matters or any(job.more_bps)):
            links, traffic = links_in_use(self.router.arrays, job.circuit), job.prepared.asks[0][1].traffic_bps
        crowding.move(links, *(-bps for bps in traffic))
        self._reserve(links, *(-bps for bps in job.more_bps))
        yield
        if job.path is None:
            crowding.move(links, *traffic)
            self._reserve(links, *job.more_bps)

    def question(self, option: Option, ask: Ask, *, caution: float = 1.0) -> Question:
        prices = self.router.prices(ask)
        return Question(option, ask, prices, self.router.frame(ask, prices, caution=caution))

    def answers(self, job: Job, questions: Sequence[Question]) -> list[Found]:
        """The best paths that a demand may use, over all its options, best first."""
        count = 1 + (0 if job.pinned else self.settings.runners_up)
        found = [(route, question) for question in questions for route in self._listing(job, question, count)]
        found.sort(key=lambda one: one[0].key)
        return found

    def by_use(self, job: Job, questions: Sequence[Question]) -> Found | None:
        """The path in use as it is now predicted, if it answers one of the questions."""
        found = []
        for question in questions:
            fixed = self._fixed(job, question.ask).get((job.in_use[0], job.in_use[-1]))
            if isinstance(fixed, Route):
                route = self.along(question, fixed)
            else:
                route = self.as_carried(question, job) if fixed in (None, job.in_use) else None
            if route is not None and self.is_in_use(job, route):
                found.append((route, question))
        return min(found, key=lambda one: one[0].key, default=None)

    def is_in_use(self, job: Job, route: Route) -> bool:
        """Whether a demand's circuit runs on this very route; as far as is known over which underlays."""
        router = self.router
        return job.circuit is not None and runs_on(job.circuit, router.gateways(route), router.underlays(route))

    def settle(self, job: Job, found: Found, others: Sequence[Found] = ()) -> None:
        """Take a path, promise its bandwidth, share its circuit."""
        route, question = found
        job.option, job.ask, job.route = question.option, question.ask, route
        job.path = self.router.path(route, question.ask, question.prices)
        job.listed = tuple([one for one, _ in others])
        rest = (one for one in others if one[0].steps != route.steps)
        job.runners_up = tuple(
            (self.router.path(one, asked.ask, asked.prices), asked.option)
            for one, asked in islice(rest, self.settings.runners_up)
        )
        self.promise(job, +1)
        self.take(job)

    def take(self, job: Job) -> None:
        """Let a demand that has its path and its bandwidth share the circuit."""
        key = (job.prepared.sharing, job.ends)
        self._turn.setdefault(key, len(self._turn))
        members = self.sharing.setdefault(key, [])
        first = members[0].demand.intent.id if members else ""
        job.shares = first if first != job.demand.intent.id else ""
        members.append(job)

    def lift(self, job: Job) -> None:
        """Take a demand off its path, and what is promised to it."""
        self.promise(job, -1)
        key = (job.prepared.sharing, job.ends)
        self.sharing[key].remove(job)
        if not self.sharing[key]:
            del self.sharing[key]
        job.route = job.path = job.ask = None

    def promise(self, job: Job, sign: int) -> None:
        """Put a demand on its path and reserve its bandwidth there, and what it uses beyond; or take both back."""
        if job.route is None or job.option is None or job.ask is None:
            return
        needs = job.option.effective.requirements
        self.router.crowding.move(job.route.links, *(sign * bps for bps in job.ask.traffic_bps))
        asked = (needs.min_bandwidth or 0.0, needs.reverse or 0.0)
        self._reserve(job.route.links, *(sign * (own + more) for own, more in zip(asked, job.more_bps, strict=True)))

    def _reserve(self, links: Sequence[int], there_bps: float, back_bps: float) -> None:
        if there_bps or back_bps:
            self.router.ledger.add_path(np.array(links, dtype=np.int64), there_bps, back_bps)

    def found_at(self, key: tuple[str, Pair], turn: int) -> None:
        """Let a circuit count as first used at this turn."""
        self._turn[key] = turn

    def move(self, job: Job, questions: Sequence[Question], found: Sequence[Found]) -> bool:
        """Take the best path, unless the one in use is nearly as good.

        Returns:
            Whether the path in use, if there is one, answers the questions.
        """
        chosen = found[0]
        old = None
        if job.in_use and job.pinned in ((), job.in_use):  # a pin leaves open which of parallel underlays it is
            old = chosen if self.is_in_use(job, chosen[0]) else self.by_use(job, questions)
        if old is not None and old is not chosen and job.circuit is not None:
            job.kept = why_stays(self.router, self.settings, job.circuit, old, chosen, self.moves, self.horizon)
            if job.kept:
                chosen = old
            else:
                job.current = self.router.path(old[0], old[1].ask, old[1].prices)
                job.when = self.horizon.since(*((route, asked.ask) for route, asked in (old, chosen)))
        self.settle(job, chosen, found)
        if old is not None and job.current is None:
            job.current = job.path
        return old is not None

    def _waits(self, job: Job, questions: Sequence[Question], found: Sequence[Found]) -> Found | None:
        """The path in use where it is best kept for now, though it does not keep its limits over the whole horizon."""
        if not job.in_use or job.pinned or job.circuit is None:
            return None
        horizon, router = self.horizon, self.router
        if found and self.is_in_use(job, found[0][0]):
            return None
        if not horizon.changes(links_in_use(router.arrays, job.circuit)) or self.by_use(job, questions):
            return None
        shared = any(key in self.sharing for one in questions for key in self.keys_of(job, one.ask))
        loose = {id(one.option): self.question(one.option, without(one.ask, PASSING)) for one in questions}
        old = self.by_use(job, [*loose.values()]) if found or shared else None
        if old is None:
            return None
        in_use = (old[0], next(one for one in questions if one.option is old[1].option))
        job.kept, job.when = stays_for_now(router, self.settings, in_use, found[0] if found else None, horizon)
        return in_use if job.kept else None

    def _choose(self, job: Job, questions: Sequence[Question], found: Sequence[Found]) -> None:
        if not self.move(job, questions, found) and job.in_use and not job.pinned:
            job.lost = ", ".join(filter(None, (self._why_lost(job), job.when)))

    def _fixed(self, job: Job, ask: Ask) -> dict[Pair, tuple[str, ...] | Route]:
        """Ends between which there is nothing to choose, with the gateways or the route to use: the demand's class has
        a circuit there that was placed before, or is pinned."""
        if not self._pins and not self.sharing:
            return {}
        fixed: dict[Pair, tuple[str, ...] | Route] = {}
        for key in self.keys_of(job, ask):
            members = self.sharing.get(key)
            if members and members[0].route:
                fixed[key[1]] = members[0].route
            elif self.is_pinned(job, key[1]):
                fixed[key[1]] = self._pins[job.demand.class_, key[1]]
        return fixed

    def is_pinned(self, job: Job, pair: Pair) -> bool:
        return (job.demand.class_, pair) in self._pins

    def keys_of(self, job: Job, ask: Ask) -> list[tuple[str, Pair]]:
        """The circuits that a demand might be carried by, in the order of its ends."""
        return [(job.prepared.sharing, (first, last)) for first in ask.sources for last in ask.destinations]

    def ask_of(self, job: Job, option: Option) -> Ask:
        """What a demand asks under one of its options."""
        return next(ask for one, ask in job.prepared.asks if one is option)

    def open_questions(
        self, job: Job, taken: Callable[[tuple[str, Pair]], bool], own: tuple[str, Pair] | None = None
    ) -> list[Question]:
        """What a demand asks between ends where it is free to choose its path: between which there is no circuit of its
        class but perhaps its ``own``, none is pinned, and which nobody has ``taken``."""
        found, number = list[Question](), self.router.arrays.number
        for option, ask in job.prepared.asks:
            question, problems = self.question(option, ask), list[Problem]()
            for source in ask.sources:
                ends = [
                    pair[1]
                    for pair in ((source, end) for end in ask.destinations if end in number)
                    if not self.is_pinned(job, pair)
                    and ((key := (job.prepared.sharing, pair)) == own or not (key in self.sharing or taken(key)))
                ]
                if ends and source in number:
                    problems.append(question.problem.between([number[source]], [number[end] for end in ends]))
            found += [replace(question, problem=replace(one, link=one.link.copy())) for one in problems]
        return found

    def _listing(self, job: Job, question: Question, count: int) -> Iterator[Route]:
        """The best paths that one option has."""
        fixed = self._fixed(job, question.ask)
        if job.pinned:
            way = fixed.get((job.pinned[0], job.pinned[-1]), job.pinned)
            route = self.along(question, way)
            if route is not None:
                yield route
            return
        if not fixed:
            yield from _first(question.problem, count)
            return
        number = self.router.arrays.number
        for source in question.ask.sources:
            ends = [end for end in question.ask.destinations if (source, end) not in fixed and end in number]
            if ends and source in number:
                yield from _first(question.problem.between([number[source]], [number[end] for end in ends]), count)
        for way in fixed.values():
            route = self.along(question, way)
            if route is not None:
                yield route

    def along(self, question: Question, way: tuple[str, ...] | Route) -> Route | None:
        """The path by these gateways in this order, or by this very route, if it solves the problem; of parallel
        underlays, the best."""
        problem, topology = question.problem, self.router.arrays.topology
        if isinstance(way, Route):
            return problem.route(way.steps)
        number = topology.number
        if len({*way} & number.keys()) != len(way):
            return None
        choices = [topology.over(*step) for step in pairwise(way)]
        if all(len(links) == 1 for links in choices):
            return problem.route([number[way[0]], *(links[0] for links in choices)])
        usable = np.zeros_like(problem.usable)
        usable[[link for links in choices for link in links]] = True
        confined = problem.between([number[way[0]]], [number[way[-1]]]).within(usable)
        return first_route(confined) if all(choices) else None

    def as_carried(self, question: Question, job: Job) -> Route | None:
        """The path in use, if it solves the problem: over the very links that it runs over or, where it is not known of
        parallel ones which these are, over the best."""
        topology, underlays = self.router.arrays.topology, underlays_in_use(job.circuit) if job.circuit else ()
        steps = links_over(topology, job.in_use, underlays) if underlays else ()
        if steps and all(len(one) == 1 for one in steps):
            route = question.problem.route((topology.number[job.in_use[0]], *(one[0] for one in steps)))
        else:
            route = self.along(question, job.in_use)
        return route if route is not None and self.is_in_use(job, route) else None

    def _join(self, job: Job) -> bool:
        """Look for a path that serves a demand together with those whose circuit it has to share."""
        for option, ask in job.prepared.asks:
            shared = [key for key in self.keys_of(job, ask) if key in self.sharing]
            for key in sorted(shared, key=self._turn.__getitem__):
                if not self.is_pinned(job, key[1]) and self._serve_all(job, option, ask, key):
                    return True
        return False

    def _serve_all(self, job: Job, option: Option, ask: Ask, key: tuple[str, Pair]) -> bool:
        members = self.sharing[key]
        everyone = [(one, one.option, one.ask) for one in members if one.option and one.ask] + [(job, option, ask)]
        asked = asked_together(key[1], [(one, part) for one, part, _ in everyone])
        if asked is None:
            return False
        for member in members:
            self.promise(member, -1)
        route = first_route(self.question(option, asked).problem)
        served = []
        for one, part, own in everyone if route else ():
            question = self.question(part, own)
            answer = question.problem.route(route.steps) if route else None
            if answer is not None:
                path = self.router.path(answer, own, question.prices)
                served.append((one, part, own, answer, path))
        if len(served) == len(everyone):
            for one, part, own, answer, path in served:
                one.option, one.ask, one.route, one.path = part, own, answer, path
                one.kept, one.joint = "", True
            members.append(job)
        for member in members:
            self.promise(member, +1)
        return job.joint

    def _why_lost(self, job: Job) -> str:
        """Why the path in use is not among those that a demand may use."""
        if not self.settings.explain:
            return UNEXPLAINED
        again = [gateway for number, gateway in enumerate(job.in_use) if gateway in job.in_use[:number]]
        if again:
            return f"it passes {way_text(again[:1])} twice"
        for option, ask in job.prepared.asks:
            old = self.router.confined(ask, job.in_use, underlays_in_use(job.circuit) if job.circuit else ())
            if not (old.sources and old.destinations):
                continue
            if self.router.best(old) is not None:
                return "its circuit is shared with intents placed before"
            return explain(self.router, old, origins=dict(option.effective.origins)).message
        return "its ends are no longer candidates"

    def _explain(self, job: Job, question: Question) -> Infeasible:
        if not self.settings.explain:
            return Infeasible(requirement="", asked="", nearest="", message=UNEXPLAINED)
        ask, prefix, suffix, by = question.ask, "", "", tuple[str, ...]()
        fixed, partners = self._fixed(job, ask), list[Job]()
        alone = first_route(question.problem) if fixed and not job.pinned else None
        if job.pinned:
            ask = self.router.confined(ask, job.pinned)
            prefix = f"pinned to {way_text(job.pinned)}: "
        elif alone is not None:
            pair = min(fixed, key=lambda pair: self._turn.get((job.prepared.sharing, pair), -1))
            partners = self.sharing.get((job.prepared.sharing, pair), [])
            ask = self.router.confined(ask, fixed[pair])
            whose = f"shared with {partners[0].demand.intent.id}" if partners else "pinned"
            prefix = f"the circuit of class {job.demand.class_} {way_text(pair)} is {whose}: "
        needs = ask.requirements
        if needs.min_bandwidth or needs.reverse:
            found = shortage(self.router, job, ask, self._promised())
            if found is not None:
                suffix, by = f"; {found.text}", found.preempted_by
        why = explain(self.router, ask, origins=dict(question.option.effective.origins), narrowest=not suffix)
        why = structs.replace(why, message=prefix + why.message + suffix, preempted_by=by)
        # Sources of one intent share its circuit even where it is dedicated.
        if alone is None or not partners or job.demand.intent.id in {one.demand.intent.id for one in partners}:
            return why
        way = self.router.text(alone)
        told = f"{why.message}; with dedicated: true, a circuit of its own, it gets {way}"
        return structs.replace(why, requirement="dedicated", asked="false", nearest="true", message=told)

    def _promised(self) -> dict[int, list[Use]]:
        """Who is promised what, worked out anew once anything was promised."""
        seen = self.router.ledger.changes.size
        if self._users is None or self._users[0] != seen:
            self._users = (seen, users(self.router, chain.from_iterable(self.sharing.values())))
        return self._users[1]


def _first(problem: Problem, count: int) -> Iterable[Route]:
    """The best paths; a single one without the preparations for more."""
    if count > 1:
        return islice(routes(problem), count)
    route = first_route(problem)
    return () if route is None else (route,)
