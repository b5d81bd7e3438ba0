"""What there is to know about the demands of a plan, for all of them at once, so that it can be made again after small
changes; see ``replan``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from foremesh.model.series import Floats
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from foremesh.routing.demand import PlannerSettings, Traffic, links_in_use
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.kernels import NEVER
from foremesh.routing.passing import Row, Trail
from foremesh.routing.repair import asked_units
from foremesh.routing.sides import Sides
from foremesh.routing.stability import RETURN
from foremesh.routing.values import Bools, Ints

Key = tuple[str, Pair]


@dataclass
class Index:
    """Kept from plan to plan."""

    place: Ints
    """Of each turn, in the plan."""
    tiers: list[int]
    """The turns at which priorities end."""
    trail: Trail
    anew: Bools
    """Demands to place anew whatever changed."""
    bare: Router
    """Nothing is promised of it."""
    sides: Sides
    leaving_bps: Floats
    """By link, what no more is given back than at anybody's turn, as ``sides`` has it."""
    asked: Ints
    """Every bandwidth that is asked for."""
    promises: bool
    """Whether anything is promised."""
    groups: Mapping[Key, list[int]]
    """Turns of demands that may share a circuit."""
    classes: Mapping[str, list[int]]
    """Turns of demands by class."""

    @classmethod
    def of(
        cls,
        jobs: Sequence[Job],
        listed: Sequence[int],
        arrays: Arrays,
        settings: PlannerSettings,
        timed: frozenset[str],
        now_s: float,
    ) -> Index:
        place = np.empty(len(jobs), dtype=np.int64)
        place[listed] = np.arange(len(jobs))
        trail = Trail([row_of(job, arrays) for job in jobs])
        leaving_bps = trail.leaving_bps(arrays.topology.reverse)
        groups, classes = dict[Key, list[int]](), dict[str, list[int]]()
        for turn, job in enumerate(jobs):
            classes.setdefault(job.demand.class_, []).append(turn)
            for key in keys_of(job):
                groups.setdefault(key, []).append(turn)
        asked = [(turn, ask, most_of(job, settings)) for turn, job in enumerate(jobs) for _, ask in job.prepared.asks]
        tiers = [len(list(tier)) for _, tier in groupby(jobs, key=lambda job: job.demand.intent.spec.priority)]
        return cls(
            place=place,
            tiers=np.cumsum(tiers).tolist(),
            trail=trail,
            anew=np.array([unsettled(job, arrays, settings, timed, now_s) for job in jobs], dtype=np.bool_),
            bare=(bare := Router(arrays).bare()),
            sides=Sides(asked, len(jobs), unloaded(bare, leaving_bps)),
            leaving_bps=leaving_bps,
            asked=asked_units(jobs),
            promises=bool(trail.bps.any()),
            groups={key: turns for key, turns in groups.items() if len(turns) > 1},
            classes=classes,
        )

    def take(
        self,
        jobs: Mapping[int, Job],
        arrays: Arrays,
        settings: PlannerSettings,
        timed: frozenset[str],
        now_s: float,
    ) -> None:
        """Follow what was placed anew."""
        turns = sorted(jobs)
        self.trail.put(np.array(turns, dtype=np.int64), [row_of(jobs[turn], arrays) for turn in turns])
        self.anew[turns] = [unsettled(jobs[turn], arrays, settings, timed, now_s) for turn in turns]
        self.sides.most({turn: most_of(job, settings) for turn, job in jobs.items()})


def unloaded(bare: Router, leaving_bps: Floats) -> Router:
    """One of whose links no less is taken at anybody's turn."""
    router = bare.fork()
    for link in np.flatnonzero(leaving_bps).tolist():
        router.ledger.add(link, -float(leaving_bps[link]))
    return router


def most_of(job: Job, settings: PlannerSettings) -> int:
    """The cost above which another path makes no difference; NEVER if there may be one more on the list."""
    wanted = 1 + (0 if job.pinned else settings.runners_up)
    return NEVER if len(job.listed) < wanted else max(route.cost for route in job.listed)


def keys_of(job: Job) -> Iterable[Key]:
    """The circuits that a demand might be carried by."""
    sharing = job.prepared.sharing
    pairs = ((first, last) for _, ask in job.prepared.asks for first in ask.sources for last in ask.destinations)
    return [(sharing, pair) for pair in dict.fromkeys(pairs)]


def row_of(job: Job, arrays: Arrays) -> Row:
    """What a demand did at its turn. Who found no path then, though he may have got one in the end, is placed anew in
    any case."""
    if job.route is None or job.infeasible:
        return Row()
    others: dict[int, None] = {}
    for route in job.listed:
        others.update(dict.fromkeys(route.links))
    for step in pairwise(job.in_use):
        others.update(dict.fromkeys(arrays.topology.over(*step)))
    for link in job.route.links:
        others.pop(link, None)
    left = left_by(job, arrays)
    return Row(
        own=job.route.links,
        others=[*others],
        promised_bps=promised(job),
        left=left.left,
        left_bps=left.left_bps,
        looks_back=any(ask.requirements.reverse is not None for _, ask in job.prepared.asks),
    )


def left_by(job: Job, arrays: Arrays) -> Row:
    """What a demand takes off the path in use at its turn."""
    if job.circuit is None or not (job.carried and job.prepared.asks and any(job.more_bps)):
        return Row()
    return Row(left=links_in_use(arrays, job.circuit), left_bps=job.more_bps)


def promised(job: Job) -> Traffic:
    """What a demand with a path is promised, and what it sends beyond."""
    if job.option is None or job.infeasible:
        return 0.0, 0.0
    needs, more = job.option.effective.requirements, job.more_bps
    return (needs.min_bandwidth or 0.0) + more[0], (needs.reverse or 0.0) + more[1]


def unsettled(job: Job, arrays: Arrays, settings: PlannerSettings, timed: frozenset[str], now_s: float) -> bool:
    """Whether a demand has no path that meets what it asks, or more than paths decided where its circuit is: the time,
    or how many others move.

    Args:
        timed: Circuits that asked whether they may move.
    """
    if job.path is None or job.route is None or job.infeasible:
        return bool(job.prepared.asks)
    if not job.in_use:
        return False
    if not job.is_on(job.path) or job.circuit is None or job.circuit.id in timed:
        return True
    if not job.kept:
        return False
    moved_at = job.circuit.status.moved_at
    if moved_at is not None and now_s - moved_at.timestamp() < RETURN * settings.dwell_s:
        return True
    links = {*job.route.links, *(link for route in job.listed for link in route.links)}
    return any(arrays.links[link].course is not None for link in links)
