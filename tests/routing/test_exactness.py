"""The search against HiGHS, on real topologies too large for trying every path; the benchmark asks a thousand more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foremesh.model.intent import Requirements
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from routing.topologies import NAMES, question

pytest.importorskip("highspy", reason="the mixed-integer programs need highspy")

from routing.milp import least_cost

QUESTIONS = 5 * len(NAMES)


def test_agrees_with_a_mixed_integer_program() -> None:
    feasible, bound = 0, 0
    for seed in range(QUESTIONS):
        graph, ask = question(seed)
        router = Router(Arrays(graph))
        route, expected = router.best(ask), least_cost(graph, ask)
        assert (route is None) == (expected is None), f"seed {seed}"
        if route is not None:
            cost = router.path(route, ask, router.prices(ask)).figures.cost
            assert cost == pytest.approx(expected, rel=1e-6, abs=1e-6), f"seed {seed}"
            feasible += 1
            needs = ask.requirements
            loose = Requirements(
                encryption=needs.encryption,
                regions=needs.regions,
                avoid=needs.avoid,
                min_bandwidth=needs.min_bandwidth,
                reverse=needs.reverse,
            )
            bound += router.best(replace(ask, requirements=loose)) != route
    assert 0 < feasible < QUESTIONS, "there must be both kinds of questions"
    assert bound >= 3, "limits must rule out some of the cheapest paths"
