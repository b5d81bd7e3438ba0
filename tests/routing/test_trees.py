"""Bounds of what ways to a gateway and on from it cost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foremesh.routing.arrays import MOST, Topology
from foremesh.routing.kernels import NEVER
from foremesh.routing.trees import Trees
from foremesh.routing.values import Ints
from routing.test_replan import random_mesh


def onwards(topology: Topology, link: Ints, root: int) -> list[int]:
    """What ways on from a gateway cost, worked out link by link until nothing changes any more."""
    sums = [NEVER] * topology.relays.size
    sums[root] = 0
    ways = list(zip(topology.src.tolist(), topology.dst.tolist(), link.tolist(), strict=True))
    for _ in sums:
        for src, dst, price in ways:
            if topology.relays[src] and sums[src] != NEVER:
                sums[dst] = min(sums[dst], sums[src] + price)
    return sums


def to(topology: Topology, link: Ints, root: int) -> list[int]:
    sums = [NEVER] * topology.relays.size
    sums[root] = 0
    ways = list(zip(topology.src.tolist(), topology.dst.tolist(), link.tolist(), strict=True))
    for _ in sums:
        for src, dst, price in ways:
            if topology.relays[dst] and sums[dst] != NEVER:
                sums[src] = min(sums[src], sums[dst] + price)
    return sums


@pytest.mark.parametrize(
    "prices",
    [(1, 2, 3, 50), (0, 0, 7, 10**6), (10**9, 2 * 10**9, 3 * 10**9, 0), (1, 1, 1, MOST), (MOST, MOST, MOST, 1)],
    ids=["small", "many-are-nothing", "large", "one-is-dead", "most-are-dead"],
)
def test_they_are_what_the_cheapest_ways_cost(prices: tuple[int, ...]) -> None:
    for seed in range(8):
        rng = random.Random(seed)
        topology = Topology(random_mesh(rng))
        link = np.array([rng.choice(prices) + rng.randrange(2) for _ in topology.ends], dtype=np.int64)
        trees = Trees(topology, link)
        for root in range(topology.relays.size):
            assert trees.to(root).tolist() == to(topology, link, root)
            assert trees.onwards(root).tolist() == onwards(topology, link, root)


def test_they_stay_bounds_from_below_while_prices_change() -> None:
    kept = 0
    for seed in range(20):
        rng = random.Random(seed)
        topology = Topology(random_mesh(rng))
        link = np.array([rng.randint(1, 100) for _ in topology.ends], dtype=np.int64)
        trees = Trees(topology, link)
        for _ in range(6):
            root = rng.randrange(topology.relays.size)
            trees.to(root)
            trees.onwards(root)
            changed = np.array(rng.sample(range(link.size), 2), dtype=np.int64)
            cheaper = rng.random() < 0.3
            link = link.copy()
            link[changed] = [rng.randint(1, one) if cheaper else one + rng.randint(0, 50) for one in link[changed]]
            trees.follow(link, changed)
            for gateway in range(topology.relays.size):
                for ours, theirs in (
                    (trees.to(gateway), to(topology, link, gateway)),
                    (trees.onwards(gateway), onwards(topology, link, gateway)),
                ):
                    assert (ours <= theirs).all()
                    kept += bool((ours < theirs).any())
    assert kept > 100, "they are not worked out anew each time"
