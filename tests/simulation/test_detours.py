"""Min-plus products, detours, doubts and memories against what is worked out the slow way."""

import itertools

import numpy as np
import pytest

from foremesh.simulation.detours import Average, Median, detours, min_plus

from .test_matrix import TRIANGLE, badly_routed


@pytest.mark.parametrize("nodes", [2, 3, 7, 8, 9, 21])
def test_min_plus_is_the_least_sum_and_where_it_is(nodes: int) -> None:
    rng = np.random.default_rng(nodes)
    left, right = rng.uniform(1, 9, (2, nodes, nodes)).astype(np.float32)
    left[rng.random(left.shape) < 0.4] = np.inf
    right[rng.random(right.shape) < 0.4] = np.inf
    best, via = min_plus(left, right)
    for i, j in itertools.product(range(nodes), repeat=2):
        sums = left[i] + right[:, j]
        if i == j or np.isinf(sums).all():
            assert (best[i, j], via[i, j]) == (np.inf, -1)
        else:
            assert best[i, j] == sums.min() == sums[via[i, j]]


def test_detours_are_the_shortest_of_all_over_one_and_two_relays() -> None:
    nodes = 7
    level = badly_routed(nodes, share=0.6)
    level[np.random.default_rng(2).random(level.shape) < 0.3] = np.nan
    one, two = detours(level.astype(np.float32))

    def length(*path: int) -> float:
        return sum(level[leg] for leg in itertools.pairwise(path))

    checked = 0
    for i, j in itertools.permutations(range(nodes), 2):
        others = [k for k in range(nodes) if k not in (i, j)]
        with_one = [length(i, k, j) for k in others]
        with_two = [length(i, k, m, j) for k, m in itertools.permutations(others, 2)]
        for found, lengths in ((one, with_one), (two, with_one + with_two)):
            expected = min((ms for ms in lengths if np.isfinite(ms)), default=np.nan)
            if found is two and expected > level[i, j]:
                assert found.level_ms[i, j] > level[i, j], "no gain is promised where there is none"
                continue
            assert found.level_ms[i, j] == pytest.approx(expected, nan_ok=True)
            assert found.round_trip_ms(level.astype(np.float32))[i, j] == pytest.approx(expected, nan_ok=True)
            checked += 1
    assert checked > 60


def test_a_detour_is_doubted_by_how_its_gain_swung() -> None:
    slices = np.repeat(TRIANGLE[:1], 5, axis=0).astype(np.float32)
    slices[:, 0, 1] += (0, 10, 0, -10, 0)  # variance 50
    slices[:, 1, 0] += 7  # the same at every slice
    one = detours(slices[0])[0]
    doubt = one.deviation_ms(slices, slices[0] - one.level_ms)
    usual = (50 + 0) / 2
    assert doubt[0, 1] == pytest.approx(np.sqrt((4 * 50 + usual) / 5))
    assert doubt[1, 0] == pytest.approx(np.sqrt((4 * 0 + usual) / 5))


def test_what_legs_and_direct_path_share_casts_no_doubt() -> None:
    slices = np.repeat(TRIANGLE[:1], 4, axis=0).astype(np.float32)
    slices[:, 0, 1:] += np.array([0, 30, 5, 80])[:, None]  # the way out of the first node, whichever way
    one = detours(slices[0])[0]
    assert one.deviation_ms(slices, slices[0] - one.level_ms)[0, 1] == 0


@pytest.mark.parametrize(
    ("memory", "level"),
    [
        (Average(1), 13 / 4),
        (Average(0), 6),
        (Average(0.5), (0.125 * 1 + 0.25 * 2 + 0.5 * 4 + 6) / 1.875),
        (Median(), 3),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_memories_of_known_values(memory: Average | Median, level: float) -> None:
    for value in (1, 2, np.nan, 4, 6):
        memory.see(np.array([[value, np.nan]], np.float32))
    assert memory.level_ms()[0, 0] == pytest.approx(level)
    assert np.isnan(memory.level_ms()[0, 1])
