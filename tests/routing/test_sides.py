"""Whose paths over a link could be among the best."""

from __future__ import annotations

import random
from collections import Counter
from itertools import takewhile

import numpy as np

from foremesh.model.intent import Encryption, Profile, Requirements
from foremesh.model.units import Milliseconds, Price, Ratio
from foremesh.routing import PROFILES
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Route
from foremesh.routing.sides import Asked, Sides
from routing.test_replan import changed, random_mesh


def random_ask(rng: random.Random, names: list[str]) -> Ask:
    """What most keep to or few, between one or two gateways at either end."""
    needs = Requirements(
        max_latency=Milliseconds(rng.choice((40, 60, 90, 400))) if rng.random() < 0.7 else None,
        max_loss=Ratio(rng.choice((0.002, 0.03))) if rng.random() < 0.3 else None,
        max_hops=rng.choice((2, 3, 9)) if rng.random() < 0.3 else None,
        max_egress_price=Price(rng.choice((0.02, 0.1, 1.0))) if rng.random() < 0.5 else None,
        encryption=rng.choice((None, Encryption.HOP_BY_HOP)),
    )
    return Ask(
        sources=dict.fromkeys(rng.sample(names, rng.randint(1, 2)), 0.5),
        destinations=dict.fromkeys(rng.sample(names, rng.randint(1, 2)), rng.choice((0.0, 2.0))),
        requirements=needs,
        weights=PROFILES[rng.choice((Profile.BALANCED, Profile.COST))],
    )


def near(router: Router, ask: Ask, most: int) -> list[Route]:
    """Every path that costs no more and keeps what was asked for."""
    return [*takewhile(lambda route: route.cost <= most, router.routes(ask))]


def test_nobody_is_left_out_whose_path_it_could_be() -> None:
    """Nor are many named for nothing; while figures of links change, they stay within that."""
    seen = Counter[str]()
    for seed in range(40):
        rng = random.Random(seed)
        graph = random_mesh(rng)
        arrays, names = Arrays(graph), [one.id for one in graph.nodes]
        router = Router(arrays).bare()
        asked = list[Asked]()
        for turn in range(rng.randint(5, 30)):
            ask = random_ask(rng, names)
            best = router.best(ask)
            most = NEVER if best is None else best.cost + rng.choice((0, 0, best.cost // 10, best.cost // 2))
            asked.append((turn, ask, most))
            if rng.random() < 0.1:  # or else over another
                asked.append((turn, random_ask(rng, names), most))
        turns = asked[-1][0] + 1
        sides = Sides(asked, turns, router)
        for _ in range(4):
            after = changed(rng, graph)
            numbers = {arrays.topology.link_number[one.id]: one for one in after.links if one not in graph.links}
            graph, arrays = after, arrays.with_changes(numbers)
            router, some = Router(arrays).bare(), np.array(list(numbers), dtype=np.int64)
            if sides.follow(router, some) is None:
                break
            links, last = rng.sample(range(len(arrays.links)), 3), rng.choice((-1, -1, turns // 2))
            found = sides.concerned(links, last)
            assert not found[: last + 1].any()
            for turn, ask, most in asked:
                if turn <= last or most == NEVER:
                    continue
                could = any(not {*links}.isdisjoint(route.links) for route in near(router, ask, most))
                assert found[turn] or not could, f"seed {seed}"
                seen["could" if could else "named" if found[turn] else "left out"] += 1
    assert seen["could"] > 100
    assert seen["left out"] > 5 * seen["named"]
