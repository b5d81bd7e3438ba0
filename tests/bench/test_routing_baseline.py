"""What the planner is compared with gives the same answers, and the scene holds what it says."""

from __future__ import annotations

from dataclasses import replace

from planning.label_setting import Graph, Question
from planning.scene import CONSTRAINED_SHARE, scene, unlimited

from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from foremesh.routing.labels import first_route
from foremesh.routing.planner import prepare


def test_label_setting_on_networkx_finds_what_the_planner_finds() -> None:
    made = scene(60, 720, 60)
    router = Router(Arrays(made.graph))
    asks = [prepare(demand, ()).asks[0][1] for demand in made.demands]
    problems = [router.frame(ask, router.prices(ask)) for ask in asks]
    graph, bound = Graph(problems[0]), 0
    for ask, problem in zip(asks, problems, strict=True):
        ours, theirs = first_route(problem), graph.best(Question.of(problem))
        assert (None if ours is None else (ours.cost, ours.steps)) == theirs
        loose = replace(ask, requirements=unlimited(ask.requirements))
        bound += router.best(loose) != ours
    assert bound == made.constrained == round(CONSTRAINED_SHARE * len(asks))
