"""What becomes of traffic that no path serves any more: it takes the least bad one, for a slow path beats none.

Only for demands that a circuit carries already, and only as far as the world is to blame: latency, loss and bandwidth
change by themselves and are let go of; regions, gateways to pass or to avoid, hops and prices are somebody's word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from foremesh.routing.jobs import Job
from foremesh.routing.needs import path_text, without
from foremesh.routing.placing import Placing

PASSING = ("maxLatency", "maxLoss", "minBandwidth", "reverse")
"""Requirements on what changes by itself."""


def rescue(placing: Placing, jobs: Iterable[Job]) -> None:
    """Find the least bad path for those whose circuit is in place and whose requirements nothing meets.

    They come after all others, who keep what they were promised. First the requirements are held against medians
    instead of pessimistic figures; then those on what changes by itself are let go of, and the cheapest path counts.
    Both times only links that are measured and alive are used; then those of which nothing is known, too. Where every
    way is dead, the circuit stays where it is, if its links are still there.
    """
    for job in jobs:
        if job.path is None and job.carried and job.in_use and not job.pinned:
            _rescue(placing, job)


def _rescue(placing: Placing, job: Job) -> None:
    router = placing.router
    alive, measured = router.arrays.alive, router.arrays.measured
    strict = [placing.question(option, ask, medians=True) for option, ask in job.prepared.asks]
    loose = [placing.question(option, without(ask, PASSING)) for option, ask in job.prepared.asks]
    for questions, usable in ((strict, alive & measured), (loose, alive & measured), (loose, alive)):
        asked = [replace(question, problem=question.problem.within(usable)) for question in questions]
        if found := placing.answers(job, asked):
            placing.move(job, asked, found)
            return
    if old := placing.by_use(job, loose):
        job.kept = f"kept {path_text(job.in_use)}: every way is dead"
        placing.settle(job, old)
    elif found := placing.answers(job, loose):
        placing.settle(job, found[0], found)
