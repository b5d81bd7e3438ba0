"""What becomes of traffic that no path serves for certain: it takes the least bad one, for a slow path beats none.

Only as far as the world is to blame: latency, loss and bandwidth change by themselves and are let go of; regions,
gateways to pass or to avoid, hops and prices are somebody's word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from foremesh.model.units import Bandwidth, Milliseconds, Ratio
from foremesh.routing.ask import Ask
from foremesh.routing.jobs import Job, Question
from foremesh.routing.needs import PASSING, without
from foremesh.routing.placing import Placing
from foremesh.routing.values import Bools

NEARLY = 1.02
"""Limits are wider by so much for a path in use where no other is certain to keep them: two paths that both miss them
by what probes can hardly tell would otherwise take turns."""

LESS_CAUTIOUS = (0.5, 0.0)
"""How far from the medians to the pessimistic figures requirements are held to, one after the other: halfway first, as
risk is priced (``cost.RISK_SHARE``)."""


def rescue(placing: Placing, jobs: Iterable[Job]) -> None:
    """Find the least bad path for those whose requirements nothing meets for certain.

    They come after all others, who keep what they were promised. A circuit in place that nearly does stays. Else the
    requirements are held against less pessimistic figures, at last against medians. Who has no circuit yet gets none if
    that fails too. Of the others' requirements those on what changes by itself are let go of, and the cheapest path
    counts. Only links that are measured and alive are used, and last those of which nothing is known. Where every way
    is dead, the circuit stays where it is, if its links are still there.
    """
    for job in jobs:
        if job.path is None and job.infeasible is not None and not job.pinned:
            with placing.leaving(job):
                _rescue(placing, job)


def _rescue(placing: Placing, job: Job) -> None:
    router = placing.router
    alive, measured = router.arrays.alive, router.arrays.measured
    asks = job.prepared.asks
    placed = job.carried and bool(job.in_use)

    def within(questions: Iterable[Question], usable: Bools) -> list[Question]:
        return [replace(question, problem=question.problem.within(usable)) for question in questions]

    if placed:
        nearly = within((placing.question(option, _nearly(ask)) for option, ask in asks), alive & measured)
        if old := placing.by_use(job, nearly):
            job.kept = f"kept {placing.router.text(old[0])}: it nearly does, and no other is certain to"
            placing.settle(job, old)
            return
    for caution in LESS_CAUTIOUS:
        asked = within((placing.question(option, ask, caution=caution) for option, ask in asks), alive & measured)
        if found := placing.answers(job, asked):
            placing.move(job, asked, found)
            return
    if not placed:
        return
    loose = [placing.question(option, without(ask, PASSING)) for option, ask in asks]
    for usable in (alive & measured, alive):
        asked = within(loose, usable)
        if found := placing.answers(job, asked):
            placing.move(job, asked, found)
            return
    if old := placing.by_use(job, loose):
        job.kept = f"kept {router.text(old[0])}: every way is dead"
        placing.settle(job, old)
    elif found := placing.answers(job, loose):
        placing.settle(job, found[0], found)


def _nearly(ask: Ask) -> Ask:
    """The Ask with limits that are a little wider, on what changes by itself."""
    needs = ask.requirements
    return replace(
        ask,
        requirements=structs.replace(
            needs,
            max_latency=None if needs.max_latency is None else Milliseconds(needs.max_latency * NEARLY),
            max_loss=None if needs.max_loss is None else Ratio(min(1.0, needs.max_loss * NEARLY)),
            min_bandwidth=None if needs.min_bandwidth is None else Bandwidth(needs.min_bandwidth / NEARLY),
            reverse=None if needs.reverse is None else Bandwidth(needs.reverse / NEARLY),
        ),
    )
