"""Direct or relayed, judged on matrices whose answers are known."""

import io
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foremesh.files.errors import InputError
from foremesh.simulation import matrix
from foremesh.simulation.detours import detours
from foremesh.simulation.matrix import MatrixResult, judge, load, to_json

Array = NDArray[np.float64]

SLICES = 10
NODES = 40


def plane(nodes: int = NODES, *, seed: int = 0) -> Array:
    """Round trips between points of a plane: no detour is ever shorter."""
    points = np.random.default_rng(seed).uniform(0, 100, (nodes, 2))
    return np.asarray(1 + np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)))


def badly_routed(nodes: int = NODES, *, seed: int = 0, share: float = 0.2) -> Array:
    """The same, but one pair in five takes a long way round; both directions by themselves."""
    rng = np.random.default_rng(seed)
    return plane(nodes, seed=seed) * np.where(
        rng.random((nodes, nodes)) < share, rng.uniform(1.5, 4, (nodes, nodes)), 1
    )


def noisy(base: Array, deviation: float | Array, *, slices: int = SLICES, seed: int = 1) -> Array:
    return base * np.exp(deviation * np.random.default_rng(seed).standard_normal((slices, *base.shape)))


def steady(*rows: list[float], slices: int = 6) -> Array:
    return np.repeat(np.array([rows], float), slices, axis=0)


def previous_best(rtt_ms: Array) -> tuple[float, float]:
    """Figures of the rule everybody thinks of first: what was best in the previous slice. Mean and share worse."""
    took, direct = [], []
    between = ~np.eye(rtt_ms.shape[1], dtype=bool)
    for before, now in itertools.pairwise(rtt_ms[matrix.WARMUP - 1 :]):
        found = detours(before.astype(np.float32))[0]
        with np.errstate(invalid="ignore"):
            taken = np.where(found.level_ms < before, found.round_trip_ms(now.astype(np.float32)), now)
        took.append(taken[between])
        direct.append(now[between])
    return float(np.mean(took)), float(np.mean(np.array(took) > np.array(direct)))


TRIANGLE = steady([0, 200, 40], [200, 0, 40], [40, 40, 0])
"""Between the first two nodes, the third is a relay worth 120 ms; the other four ordered pairs are best direct."""


def test_a_relay_that_always_pays_is_taken() -> None:
    result = judge(TRIANGLE)
    assert result.direct_ms == pytest.approx((2 * 200 + 4 * 40) / 6)
    assert result.chosen_ms == result.oracle_ms == pytest.approx((2 * 80 + 4 * 40) / 6)
    assert (result.share_worse, result.share_unknown) == (0, 0)
    assert result.share_relayed == pytest.approx(2 / 6)
    assert result.pairs == 6 * 2
    assert [(row.number, row.pairs) for row in result.slices] == [(5, 6), (6, 6)]
    assert result.seconds > 0


def test_directions_are_chosen_by_themselves() -> None:
    last = judge(steady([0, 200, 40], [60, 0, 40], [40, 40, 0], slices=9)).slices[-1]
    assert last.share_relayed == pytest.approx(1 / 6)
    assert last.chosen_ms == pytest.approx((80 + 60 + 4 * 40) / 6)


def test_four_gains_prove_nothing_yet() -> None:
    rows = judge(steady([0, 200, 40], [60, 0, 40], [40, 40, 0], slices=9)).slices
    assert [row.share_relayed > 0 for row in rows] == [False, False, True, True, True]


def test_two_relays_are_taken_where_one_is_not_enough() -> None:
    far = 500.0
    line = [[0, 10, far, far], [10, 0, 10, far], [far, 10, 0, 10], [far, far, 10, 0]]
    result = judge(steady(*line))
    assert result.chosen_ms == pytest.approx((6 * 10 + 4 * 20 + 2 * 30) / 12)
    assert result.oracle_ms == pytest.approx((6 * 10 + 4 * 20 + 2 * far) / 12), "hindsight knows one relay alone"


def test_one_slice_of_a_bad_relay_is_counted_as_it_was() -> None:
    rtt_ms = TRIANGLE.copy()
    rtt_ms[-1, 0, 2] = 300  # one way only
    result = judge(rtt_ms)
    assert result.slices[0].share_worse == 0
    assert result.slices[1].share_worse == pytest.approx(1 / 6)
    assert result.slices[1].chosen_ms == pytest.approx((340 + 80 + 300 + 3 * 40) / 6)
    assert result.slices[1].oracle_ms == pytest.approx((200 + 80 + 240 + 3 * 40) / 6)
    assert result.share_worse == pytest.approx(1 / 12)


def test_a_relay_gone_bad_for_good_is_given_up() -> None:
    base = badly_routed()
    relays = detours(base.astype(np.float32))[0].first
    busiest = np.bincount(relays[relays >= 0]).argmax()
    rtt_ms = noisy(base, 0.02, slices=24)
    rtt_ms[8:, busiest] += 200
    rtt_ms[8:, :, busiest] += 200
    rows = {row.number: row for row in judge(rtt_ms).slices}
    assert rows[8].share_worse < 0.001
    assert rows[9].chosen_ms > 1.05 * rows[9].oracle_ms, "nobody can know it beforehand"
    for number in range(11, 25):
        assert rows[number].share_worse < 0.005
        assert rows[number].chosen_ms < 1.01 * rows[number].oracle_ms, "the other relays are kept"


@pytest.mark.parametrize("deviation", [0, 0.02, 0.1, 0.5])
def test_where_no_relay_pays_all_stay_direct(deviation: float) -> None:
    rtt_ms = noisy(plane(), deviation)
    result = judge(rtt_ms)
    assert result.chosen_ms == result.direct_ms
    assert result.share_worse == 0
    if deviation:
        assert previous_best(rtt_ms)[0] > result.direct_ms, "the winner's curse is there to be fallen for"


@pytest.mark.parametrize("nodes", [3, 4, 5, 8, 40])
@pytest.mark.parametrize("seed", range(4))
def test_pure_noise_moves_nobody(nodes: int, seed: int) -> None:
    result = judge(np.random.default_rng(seed).lognormal(4, 1, (12, nodes, nodes)))
    assert result.oracle_ms < result.direct_ms
    assert result.chosen_ms <= result.direct_ms
    assert result.share_worse <= matrix.MOST_WORSE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.3, 0.6])
def test_gains_are_found_in_noise_and_few_fare_worse(deviation: float, seed: int) -> None:
    rtt_ms = noisy(badly_routed(seed=seed), deviation, seed=seed)
    result = judge(rtt_ms)
    simple_ms, simple_worse = previous_best(rtt_ms)
    assert result.chosen_ms < 0.9 * result.direct_ms
    assert result.share_worse <= matrix.MOST_WORSE < simple_worse
    assert result.chosen_ms < simple_ms


def test_luck_among_many_rules_is_not_taken_for_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = [noisy(plane(seed=seed), 0.1, seed=seed) for seed in range(9, 18)]
    assert [judge(rtt_ms).share_relayed for rtt_ms in worlds] == [0] * len(worlds)
    monkeypatch.setattr(matrix, "BEYOND_DOUBT", 0.0)
    assert any(judge(rtt_ms).share_relayed for rtt_ms in worlds), "rules that gained by luck are there"


def test_where_some_pairs_are_noisy_their_doubt_is_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    rtt_ms = noisy(badly_routed(), np.where(rng.random((NODES, NODES)) < 0.3, 0.5, 0.02))
    result = judge(rtt_ms)
    assert result.slices[-1].rule.endswith("gain over deviation")
    monkeypatch.delitem(matrix.RANKINGS, "gain over deviation")
    assert result.chosen_ms < judge(rtt_ms).chosen_ms


def test_of_what_drifts_the_newest_slice_tells_most() -> None:
    walk = np.exp(np.cumsum(0.2 * np.random.default_rng(0).standard_normal((30, NODES, NODES)), axis=0))
    result = judge(badly_routed() * walk)
    assert result.slices[-1].rule.startswith("newest")
    assert result.share_worse <= matrix.MOST_WORSE


def test_of_what_spikes_a_robust_level_tells_most() -> None:
    rng = np.random.default_rng(0)
    rtt_ms = badly_routed() + np.where(rng.random((24, NODES, NODES)) < 0.1, 500.0, 0.0)
    assert judge(rtt_ms).slices[-1].rule.startswith("median")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
@pytest.mark.parametrize(("base", "pays"), [(plane(), False), (badly_routed(), True)], ids=["plane", "badly-routed"])
def test_gaps_are_no_gains(base: Array, pays: bool, share: float) -> None:
    rtt_ms = noisy(base, 0.05, slices=14)
    rtt_ms[np.random.default_rng(3).random(rtt_ms.shape) < share] = np.nan
    result = judge(rtt_ms)
    judged = rtt_ms[matrix.WARMUP :, ~np.eye(NODES, dtype=bool)]
    assert result.pairs == np.isfinite(judged).sum()
    assert result.direct_ms == pytest.approx(np.nanmean(judged))
    assert result.chosen_ms <= result.direct_ms
    assert result.share_worse <= matrix.MOST_WORSE
    if pays and share < 0.9:
        assert result.chosen_ms < 0.97 * result.direct_ms


@pytest.mark.parametrize("unknown", [np.nan, 0.0, -1.0, np.inf, 1e9])
def test_unknown_is_unknown_and_never_short(unknown: float) -> None:
    rtt_ms = np.tile(TRIANGLE, (2, 1, 1))
    rtt_ms[:, 0, 2] = unknown
    last = judge(rtt_ms).slices[-1]
    assert last.pairs == 5
    assert last.direct_ms == pytest.approx((2 * 200 + 3 * 40) / 5)
    assert last.chosen_ms == last.oracle_ms == pytest.approx((200 + 80 + 3 * 40) / 5)


def test_a_detour_that_a_slice_does_not_tell_gains_nothing() -> None:
    rtt_ms = TRIANGLE.copy()
    rtt_ms[-1, 0, 2] = np.nan
    last = judge(rtt_ms).slices[-1]
    assert last.pairs == 5
    assert last.chosen_ms == pytest.approx((200 + 80 + 3 * 40) / 5)
    assert last.share_unknown == pytest.approx(1 / 5)
    assert last.share_relayed == pytest.approx(2 / 5)
    assert last.share_worse == 0


def test_a_pair_whose_direct_path_was_never_measured_stays_on_it() -> None:
    rtt_ms = np.tile(TRIANGLE, (2, 1, 1))
    rtt_ms[:-1, 0, 1] = np.nan
    last = judge(rtt_ms).slices[-1]
    assert last.share_relayed == pytest.approx(1 / 6)
    assert last.chosen_ms == pytest.approx((200 + 80 + 4 * 40) / 6)


def test_a_slice_that_knows_nothing_is_not_judged() -> None:
    rtt_ms = np.concatenate([TRIANGLE, TRIANGLE])
    rtt_ms[5] = np.nan
    result = judge(rtt_ms)
    assert [row.number for row in result.slices] == [5, 7, 8, 9, 10, 11, 12]
    assert result.chosen_ms == pytest.approx(judge(TRIANGLE).chosen_ms)


def test_slices_count_by_their_pairs() -> None:
    rtt_ms = TRIANGLE.copy()
    rtt_ms[-1, :2, :2] = np.nan
    result = judge(rtt_ms)
    assert [row.pairs for row in result.slices] == [6, 4]
    assert result.direct_ms == pytest.approx((2 * 200 + 8 * 40) / 10)


def test_two_nodes_have_no_relay() -> None:
    result = judge(np.full((6, 2, 2), 5.0))
    assert (result.direct_ms, result.chosen_ms, result.oracle_ms, result.share_relayed) == (5, 5, 5, 0)


@pytest.mark.parametrize("cut", [5, 6, 8])
def test_no_slice_sees_itself_or_what_came_later(cut: int) -> None:
    rtt_ms = noisy(badly_routed(), 0.2)
    other = rtt_ms.copy()
    other[cut:] = noisy(badly_routed(seed=9), 0.5, slices=SLICES - cut)
    assert judge(other).slices[: cut - matrix.WARMUP] == judge(rtt_ms).slices[: cut - matrix.WARMUP]
    # Of the slice itself the paths are the same, too: their number and the rule do not change with its figures.
    ours, theirs = judge(rtt_ms).slices[cut - matrix.WARMUP], judge(other).slices[cut - matrix.WARMUP]
    assert ours.chosen_ms != theirs.chosen_ms
    assert (ours.rule, ours.share_relayed) == (theirs.rule, theirs.share_relayed)
    assert ours.share_relayed > 0


def test_judging_leaves_its_input_alone_and_repeats_itself() -> None:
    rtt_ms = noisy(badly_routed(), 0.2)
    before = rtt_ms.copy()
    done: list[float] = []
    first = judge(rtt_ms, progress=done.append)
    np.testing.assert_array_equal(rtt_ms, before)
    assert judge(rtt_ms).slices == first.slices
    assert done == sorted(done)
    assert len(done) == SLICES
    assert done[-1] == 1


@pytest.mark.parametrize(
    ("rtt_ms", "warmup"),
    [(np.ones((3, 3)), 4), (np.ones((6, 3, 4)), 4), (np.ones((4, 3, 3)), 4), (np.ones((6, 3, 3)), 0)],
    ids=["no-slices", "not-square", "all-warm-up", "nothing-to-learn-from"],
)
def test_what_cannot_be_judged_is_refused(rtt_ms: Array, warmup: int) -> None:
    with pytest.raises(ValueError, match="slices"):
        judge(rtt_ms, warmup=warmup)


def test_what_judging_gives_as_json() -> None:
    result = judge(TRIANGLE)
    said = json.loads(json.dumps(to_json(result)))
    assert {"direct_ms", "chosen_ms", "oracle_ms", "share_worse", "share_relayed", "seconds"} <= set(said)
    assert said["chosen_ms"] == round(result.chosen_ms, 4) == 53.3333
    assert said["slices"][0]["number"] == 5


# Files


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32, np.uint16])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_matrix_is_read_as_it_was_saved(tmp_path: Path, kind: Any, save: Any) -> None:
    path = tmp_path / "matrix.npz"
    save(path, rtt_ms=np.asfortranarray(TRIANGLE.astype(kind)), other=np.arange(3))
    np.testing.assert_array_equal(load(path), TRIANGLE)


def test_unknown_values_and_any_diagonal_are_read(tmp_path: Path) -> None:
    rtt_ms = TRIANGLE.copy()
    rtt_ms[:, 0, 2] = np.nan
    rtt_ms[:, [0, 1, 2], [0, 1, 2]] = -1
    assert judge(load(saved(tmp_path / "m.npz", rtt_ms=rtt_ms))).pairs == 2 * 5


def header_alone(path: Path, shape: tuple[int, ...]) -> Path:
    """An array that says how large it is, without what it says it has."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rtt_ms.npy", head.getvalue())
    return path


def holding(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def damaged(path: Path) -> Path:
    data = bytearray(saved(path, rtt_ms=TRIANGLE).read_bytes())
    data[200:300] = bytes(100)
    return holding(path, bytes(data))


def large(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1 << 30)
    return path


def with_value(value: float, slices: slice = slice(None)) -> Array:
    rtt_ms = TRIANGLE.copy()
    rtt_ms[slices] = value
    return rtt_ms


REFUSED: dict[str, tuple[Any, str]] = {
    "missing": (lambda path: path, "does not exist"),
    "folder": (lambda path: path.mkdir() or path, "is a directory"),
    "empty": (lambda path: holding(path, b""), "no npz file"),
    "text": (lambda path: holding(path, b"src,dst\na,b\n"), "no npz file"),
    "cut-short": (lambda path: holding(path, saved(path, rtt_ms=TRIANGLE).read_bytes()[:-40]), "no npz file"),
    "damaged": (damaged, "no npz file"),
    "other-zip": (lambda path: zipfile.ZipFile(path, "w").close() or path, "no arrays"),
    "no-array": (lambda path: saved(path, rtt=TRIANGLE, b=TRIANGLE), 'no array rtt_ms, only "rtt, b"'),
    "objects": (lambda path: saved(path, rtt_ms=np.array([None] * 5, object)), "holds object, not numbers"),
    "words": (lambda path: saved(path, rtt_ms=TRIANGLE.astype(str)), "not numbers"),
    "complex": (lambda path: saved(path, rtt_ms=TRIANGLE.astype(complex)), "not numbers"),
    "flat": (lambda path: saved(path, rtt_ms=TRIANGLE[0]), "shape (3, 3)"),
    "not-square": (lambda path: saved(path, rtt_ms=TRIANGLE[:, :2]), "shape (6, 2, 3)"),
    "one-node": (lambda path: saved(path, rtt_ms=TRIANGLE[:, :1, :1]), "shape (6, 1, 1)"),
    "four-slices": (lambda path: saved(path, rtt_ms=TRIANGLE[:4]), "has 4 slices"),
    "negative": (lambda path: saved(path, rtt_ms=with_value(-3, np.s_[2, 0, 1])), "rtt_ms[2, 0, 1] is -3 ms"),
    "all-unknown": (lambda path: saved(path, rtt_ms=with_value(np.nan)), "no round trip in any slice"),
    "nothing-to-judge": (lambda path: saved(path, rtt_ms=with_value(0, np.s_[4:])), "after 4 slices of warm-up"),
    "too-many": (lambda path: header_alone(path, (9, 100_000, 100_000)), "at most 50,000,000"),
    "too-many-nodes": (lambda path: header_alone(path, (5, 2_001, 2_001)), "2,001 nodes"),
    "less-than-said": (lambda path: header_alone(path, (9, 100, 100)), "no npz file"),
    "too-large": (large, "1,024 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, says = REFUSED[name]
    path = make(tmp_path / "some.npz")
    with pytest.raises(InputError) as refused:
        load(path)
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert refused.value.cure


# Recorded


def test_recorded_round_trips_between_490_hosts(shared: Path) -> None:
    result: MatrixResult = judge(load(shared / "data" / "planetlab_rtt_ms.npz"))
    assert [row.number for row in result.slices] == [5, 6, 7, 8, 9]
    assert result.direct_ms == pytest.approx(147.3, abs=0.05)
    assert result.oracle_ms == pytest.approx(128.2, abs=0.05)
    assert result.chosen_ms <= 132.5
    assert result.share_worse <= 0.04
