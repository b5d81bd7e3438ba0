"""Who stands in the way of a demand that links have no room for: the bottleneck, and whose bandwidth fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from foremesh.model.units import Bandwidth
from foremesh.routing.arrays import BPS_SCALE
from foremesh.routing.ask import Ask, Router
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.needs import short, unit_text

if TYPE_CHECKING:
    from foremesh.routing.jobs import Job

MOST_NAMED = 3
"""Intents named as users of a bottleneck; of more, their number is told."""

Use = tuple["Job", float]
"""A demand, and what it is promised of a link, in bit/s."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a demand finds no room on links that have enough in all."""

    text: str
    """The bottleneck, what it has left, and who has the rest."""
    preempted_by: tuple[str, ...] = ()
    """Intents of higher priority without which it would have room."""


def users(router: Router, jobs: Iterable[Job]) -> dict[int, list[Use]]:
    """By link, who is promised bandwidth of it."""
    found: dict[int, list[Use]] = {}
    reverse = router.arrays.topology.reverse
    for job in jobs:
        if job.route is None or job.option is None:
            continue
        needs = job.option.effective.requirements
        there, back = (
            (asked or 0.0) + more
            for asked, more in zip((needs.min_bandwidth, needs.reverse), job.more_bps, strict=True)
        )
        for link in job.route.links:
            for one, bps in ((link, there), (int(reverse[link]), back)):
                if bps and one >= 0:
                    found.setdefault(one, []).append((job, bps))
    return found


def shortage(router: Router, job: Job, ask: Ask, promised: Mapping[int, list[Use]]) -> Shortage | None:
    """What keeps a demand from a path that it would have if nothing were promised to others; None if there is no such
    path.

    Args:
        job: The demand.
        ask: What it asks.
        promised: What ``users`` says.
    """
    ledger = router.ledger
    problem = router.frame(ask, router.prices(ask))
    route = first_route(replace(problem, free=ledger.unpromised_units))
    if route is None:
        return None
    lacking = _lacking(problem, route)
    if not lacking:
        return None
    by = _preempted_by(router, job, problem, promised) if job.carried else ()
    text = _told(router, lacking, promised)
    if by:
        first = max(by, key=_priority)
        names = _listed([one.demand.intent.id for one in by])
        text = f"preempted by {names} (priority {_priority(first)}, its own is {_priority(job)}): {text}"
    return Shortage(text, tuple(dict.fromkeys(one.demand.intent.id for one in by)))


def _lacking(problem: Problem, route: Route) -> dict[int, int]:
    """Links of a path that have not enough left, with what is asked of them."""
    reverse, found = problem.topology.reverse, dict[int, int]()
    for link in route.links:
        for one, asked in zip((link, int(reverse[link])), problem.least, strict=True):
            if asked > 0 and problem.free[one] < asked:
                found[one] = max(asked, found.get(one, 0))
    return found


def _preempted_by(router: Router, job: Job, problem: Problem, promised: Mapping[int, list[Use]]) -> tuple[Job, ...]:
    """Demands of higher priority on the links that would do if these were not there, nor newcomers who got only what it
    could not use."""

    def without(goes: Callable[[Job], bool]) -> Problem:
        back = np.zeros_like(problem.free)
        for link, uses in promised.items():
            back[link] = round(sum(bps for user, bps in uses if goes(user)) * BPS_SCALE)
        whole = router.ledger.unpromised_units
        return replace(problem, free=np.where(problem.free >= 0, np.minimum(problem.free + back, whole), problem.free))

    def is_behind(user: Job) -> bool:
        return _priority(user) <= _priority(job) and not user.carried

    route = first_route(without(lambda user: _priority(user) > _priority(job) or is_behind(user)))
    if route is None:
        return ()
    in_way = [
        user
        for link in _lacking(without(is_behind), route)
        for user, _ in sorted(promised.get(link, ()), key=lambda use: (-use[1], use[0].demand.key))
        if _priority(user) > _priority(job)
    ]
    return tuple({id(one): one for one in in_way}.values())


def _told(router: Router, lacking: Mapping[int, int], promised: Mapping[int, list[Use]]) -> str:
    """The tightest link, who uses it, and which others of the path have not enough either."""
    free = router.ledger.free_units
    link = min(lacking, key=lambda one: (free[one] / lacking[one], one))
    uses = promised.get(link, [])
    whole, left = _left(router.ledger.unpromised_units[link]), _left(free[link])
    taken: dict[str, float] = {}
    for job, bps in uses:
        taken[job.demand.intent.id] = taken.get(job.demand.intent.id, 0.0) + bps
    largest = sorted(taken, key=lambda name: (-taken[name], name))
    shares = [f"{name} has {unit_text(Bandwidth(taken[name]))}" for name in largest[:MOST_NAMED]]
    who = _listed(shares + [f"{len(largest) - MOST_NAMED} more the rest"] * (len(largest) > MOST_NAMED), all_=True)
    others = [f"{_named(router, one)} ({_left(free[one])} left)" for one in sorted(lacking) if one != link]
    more = f"; {_listed(others)} {'lacks' if len(others) == 1 else 'lack'} it too" if others else ""
    return f"{_named(router, link)} has {left} of {whole} left{f': {who}' if who else ''}{more}"


def _named(router: Router, link: int) -> str:
    id_ = router.arrays.topology.link_ids[link]
    return f"{short(id_.src)}->{short(id_.dst)}"


def _left(units: float) -> str:
    return unit_text(Bandwidth(float(units) / BPS_SCALE))


def _listed(names: list[str], *, all_: bool = False) -> str:
    names = list(dict.fromkeys(names))
    if not all_ and len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return ", ".join(names)


def _priority(job: Job) -> int:
    return job.demand.intent.spec.priority
