"""A plan in the making: what is placed so far, what circuits are shared, what bandwidth is promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from itertools import islice, pairwise

import numpy as np
from msgspec import structs

from foremesh.model.link import LinkId
from foremesh.model.plan import Infeasible
from foremesh.model.units import Milliseconds
from foremesh.routing.ask import Ask, Router, traffic_bps
from foremesh.routing.demand import Option, PlannerSettings, links_in_use
from foremesh.routing.explain import explain
from foremesh.routing.jobs import Job, Pair, Question, gain, within_ms, within_share
from foremesh.routing.labels import Route, first_route, routes
from foremesh.routing.needs import path_text
from foremesh.routing.policy import Effective, tighten

NOTHING_PROMISED: Mapping[LinkId, float] = {}

UNEXPLAINED = "it does not meet the requirements"
"""Said of a path, or of every path, where reasons are not worked out."""

Found = tuple[Route, Question]


class Placing:
    """Places demands one after the other, each on what those before it have left.

    Args:
        router: The snapshot; its ledger takes the promises.
        pins: By class and ends, the path of gateways that somebody pinned a circuit to.
        settings: Margins and number of runners-up.
    """

    def __init__(
        self, router: Router, pins: Mapping[tuple[str, Pair], tuple[str, ...]], settings: PlannerSettings
    ) -> None:
        self.router = router
        self.settings = settings
        self.sharing: dict[tuple[str, Pair], list[Job]] = {}
        """By what shares a circuit and ends, the demands that one circuit carries."""
        self._pins = pins
        self._turn: dict[tuple[str, Pair], int] = {}
        """When a circuit was first used: of several that a demand could share, the first counts."""

    def place(self, job: Job) -> None:
        """Find a path for one more demand."""
        job.infeasible = job.prepared.refused
        if not job.prepared.asks:
            return
        with self.leaving(job):
            questions = [self.question(option, ask) for option, ask in job.prepared.asks]
            found = self.answers(job, questions)
            if found:
                self._choose(job, questions, found)
            elif job.pinned or not self._join(job):
                job.infeasible = self._explain(job, questions[0])

    @contextmanager
    def leaving(self, job: Job) -> Iterator[None]:
        """While a path is looked for, the demand's traffic is not on the one in use; it is again if none is found."""
        crowding = self.router.crowding
        links, traffic = list[int](), (0.0, 0.0)
        if crowding.matters and job.carried and job.circuit and job.prepared.asks:
            links, traffic = links_in_use(self.router.arrays, job.circuit), job.prepared.asks[0][1].traffic_bps
        crowding.move(links, *(-bps for bps in traffic))
        yield
        if job.path is None:
            crowding.move(links, *traffic)

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
            route = self._along(question, job.in_use if fixed is None else fixed)
            if route is not None and (fixed is None or self.router.gateways(route) == job.in_use):
                found.append((route, question))
        return min(found, key=lambda one: one[0].key, default=None)

    def settle(self, job: Job, found: Found, others: Sequence[Found] = ()) -> None:
        """Take a path, promise its bandwidth, share its circuit."""
        route, question = found
        job.option, job.ask, job.route = question.option, question.ask, route
        job.path = self.router.path(route, question.ask, question.prices)
        rest = (one for one in others if one[0].steps != route.steps)
        job.runners_up = tuple(
            self.router.path(one, asked.ask, asked.prices) for one, asked in islice(rest, self.settings.runners_up)
        )
        self.promise(job, +1)
        key = (job.prepared.sharing, job.ends)
        self._turn.setdefault(key, len(self._turn))
        self.sharing.setdefault(key, []).append(job)

    def promise(self, job: Job, sign: int) -> None:
        """Put a demand on its path and reserve its bandwidth there, or take both back."""
        if job.route is None or job.option is None or job.ask is None:
            return
        needs, reverse = job.option.effective.requirements, self.router.arrays.topology.reverse
        self.router.crowding.move(job.route.links, *(sign * bps for bps in job.ask.traffic_bps))
        for link in job.route.links:
            for number, bps in ((link, needs.min_bandwidth), (int(reverse[link]), needs.reverse)):
                if bps and number >= 0:
                    self.router.ledger.add(number, sign * bps)

    def stays(self, job: Job, old: Found, new: Found) -> str:
        """Why a circuit stays where it is although another path is cheaper; empty if it does not: because the other is
        better by more than the margins, or alive while the one in use is dead."""
        if self._is_dead(old[0]) and not self._is_dead(new[0]):
            return ""
        text, settings = path_text(self.router.gateways(new[0])), self.settings
        kept = f"kept {path_text(job.in_use)}: "
        if within_share(settings, old[0], new[0]):
            saved = gain(old[0].cost, new[0].cost)
            return f"{kept}gain {saved:.1%} by {text} is within the {settings.margin:.0%} margin"
        if not settings.margin_ms:
            return ""
        before, after = (self.router.path(route, asked.ask, asked.prices) for route, asked in (old, new))
        if not within_ms(settings, before, after):
            return ""
        if after.figures.latency_ms is None:
            return f"{kept}the round trip by {text} is not known"
        saved_ms = (before.figures.latency_ms or 0.0) - after.figures.latency_ms
        return f"{kept}gain {saved_ms:.1f} ms by {text} is within the {settings.margin_ms:g} ms margin"

    def _is_dead(self, route: Route) -> bool:
        return not all(self.router.arrays.alive[link] for link in route.links)

    def move(self, job: Job, questions: Sequence[Question], found: Sequence[Found]) -> bool:
        """Take the best path, unless the one in use is nearly as good.

        Returns:
            Whether the path in use, if there is one, answers the questions.
        """
        chosen = found[0]
        old = None
        if job.in_use and not job.pinned:
            same = self.router.gateways(chosen[0]) == job.in_use
            old = chosen if same else self.by_use(job, questions)
        if old is not None and old is not chosen:
            job.kept = self.stays(job, old, chosen)
            if job.kept:
                chosen = old
            else:
                job.current = self.router.path(old[0], old[1].ask, old[1].prices)
        self.settle(job, chosen, found)
        if old is not None and job.current is None:
            job.current = job.path
        return old is not None

    def _choose(self, job: Job, questions: Sequence[Question], found: Sequence[Found]) -> None:
        if not self.move(job, questions, found) and job.in_use and not job.pinned:
            job.lost = self._why_lost(job)

    def _fixed(self, job: Job, ask: Ask) -> dict[Pair, tuple[str, ...] | Route]:
        """Ends between which there is nothing to choose, with the gateways or the route to use: the demand's class has
        a circuit there that was placed before, or is pinned."""
        if not self._pins and not self.sharing:
            return {}
        fixed: dict[Pair, tuple[str, ...] | Route] = {}
        for pair in ((first, last) for first in ask.sources for last in ask.destinations):
            members = self.sharing.get((job.prepared.sharing, pair))
            if members and members[0].route:
                fixed[pair] = members[0].route
            elif (job.demand.class_, pair) in self._pins:
                fixed[pair] = self._pins[job.demand.class_, pair]
        return fixed

    def _listing(self, job: Job, question: Question, count: int) -> Iterator[Route]:
        """The best paths that one option has."""
        fixed = self._fixed(job, question.ask)
        if job.pinned:
            way = fixed.get((job.pinned[0], job.pinned[-1]), job.pinned)
            route = self._along(question, way)
            if route is not None:
                yield route
            return
        if not fixed:
            yield from islice(routes(question.problem), count)
            return
        number = self.router.arrays.number
        for source in question.ask.sources:
            ends = [end for end in question.ask.destinations if (source, end) not in fixed and end in number]
            if ends and source in number:
                open_ends = question.problem.between([number[source]], [number[end] for end in ends])
                yield from islice(routes(open_ends), count)
        for way in fixed.values():
            route = self._along(question, way)
            if route is not None:
                yield route

    def _along(self, question: Question, way: tuple[str, ...] | Route) -> Route | None:
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

    def _join(self, job: Job) -> bool:
        """Look for a path that serves a demand together with those whose circuit it has to share."""
        for option, ask in job.prepared.asks:
            pairs = ((first, last) for first in ask.sources for last in ask.destinations)
            shared = [key for pair in pairs if (key := (job.prepared.sharing, pair)) in self.sharing]
            for key in sorted(shared, key=self._turn.__getitem__):
                if (job.demand.class_, key[1]) not in self._pins and self._serve_all(job, option, ask, key):
                    return True
        return False

    def _serve_all(self, job: Job, option: Option, ask: Ask, key: tuple[str, Pair]) -> bool:
        pair, members = key[1], self.sharing[key]
        everyone = [(one, one.option, one.ask) for one in members if one.option and one.ask] + [(job, option, ask)]
        together = self.together(pair, [(one, part) for one, part, _ in everyone])
        if together is None:
            return False
        for member in members:
            self.promise(member, -1)
        route = first_route(self.question(option, together).problem)
        served = []
        for one, part, asked in everyone if route else ():
            question = self.question(part, asked)
            answer = question.problem.route(route.steps) if route else None
            if answer is not None:
                path = self.router.path(answer, asked, question.prices)
                served.append((one, part, asked, answer, path))
        if len(served) == len(everyone):
            for one, part, asked, answer, path in served:
                one.option, one.ask, one.route, one.path = part, asked, answer, path
                one.kept, one.joint = "", True
            members.append(job)
        for member in members:
            self.promise(member, +1)
        return job.joint

    def together(self, pair: Pair, parts: Sequence[tuple[Job, Option]]) -> Ask | None:
        """What several demands ask of the path between two gateways; None if nothing can do."""
        effective = reduce(both, (gateway_to_gateway(one, pair, part) for one, part in parts))
        if effective is None:
            return None
        return Ask(
            sources={pair[0]: 0.0},
            destinations={pair[1]: 0.0},
            requirements=effective.requirements,
            weights=effective.weights,
            traffic_bps=traffic_bps(effective.requirements),
            prefer=effective.prefer,
            through=effective.through,
        )

    def _confined(self, ask: Ask, way: tuple[str, ...] | Route) -> Ask:
        """The Ask confined to one path, for explanations."""
        topology = self.router.arrays.topology
        gateways = self.router.gateways(way) if isinstance(way, Route) else way
        if isinstance(way, Route):
            numbers = list(way.links)
        else:
            numbers = [link for step in pairwise(gateways) for link in topology.over(*step)]
        return replace(
            ask,
            sources={gateway: rtt for gateway, rtt in ask.sources.items() if gateway == gateways[0]},
            destinations={gateway: rtt for gateway, rtt in ask.destinations.items() if gateway == gateways[-1]},
            along=frozenset(topology.link_ids[link] for link in numbers),
        )

    def _why_lost(self, job: Job) -> str:
        """Why the path in use is not among those that a demand may use."""
        if not self.settings.explain:
            return UNEXPLAINED
        for _, ask in job.prepared.asks:
            old = self._confined(ask, job.in_use)
            if not (old.sources and old.destinations):
                continue
            if self.router.best(old) is not None:
                return "its circuit is shared with intents placed before"
            return explain(self.router, old).message
        return "its ends are no longer candidates"

    def _explain(self, job: Job, question: Question) -> Infeasible:
        if not self.settings.explain:
            return Infeasible(requirement="", asked="", nearest="", message=UNEXPLAINED)
        ask, prefix, suffix = question.ask, "", ""
        fixed = self._fixed(job, ask)
        if job.pinned:
            ask = self._confined(ask, job.pinned)
            prefix = f"pinned to {path_text(job.pinned)}: "
        elif fixed and first_route(question.problem) is not None:
            pair = min(fixed, key=lambda pair: self._turn.get((job.prepared.sharing, pair), -1))
            partners = self.sharing.get((job.prepared.sharing, pair))
            ask = self._confined(ask, fixed[pair])
            whose = f"shared with {partners[0].demand.intent.id}" if partners else "pinned"
            prefix = f"the circuit of class {job.demand.class_} {path_text(pair)} is {whose}: "
        needs = ask.requirements
        if (needs.min_bandwidth or needs.reverse) and self.router.ledger.changes:
            free = replace(ask, reserved_bps=NOTHING_PROMISED)
            if self.router.best(free) is not None:
                suffix = "; there would be a path but for the bandwidth promised to intents placed before"
        why = explain(self.router, ask, origins=dict(question.option.effective.origins))
        return structs.replace(why, message=prefix + why.message + suffix)


def gateway_to_gateway(job: Job, pair: Pair, option: Option) -> Effective | None:
    """What a demand asks of the path between its gateways: its latency less that of its attachments."""
    needs = option.effective.requirements
    if needs.max_latency is None:
        return option.effective
    offsets = (job.demand.source_gateways[pair[0]], option.destinations[pair[1]])
    known = [rtt_ms for rtt_ms in offsets if rtt_ms is not None]
    left = needs.max_latency - sum(known)
    if len(known) < len(offsets) or left < 0:
        return None
    return replace(option.effective, requirements=structs.replace(needs, max_latency=Milliseconds(left)))


def both(one: Effective | None, other: Effective | None) -> Effective | None:
    return None if one is None or other is None else tighten(one, other)
