"""Direct or relayed: paths chosen on an all-pairs matrix of round trips, each slice from the earlier ones alone.

``load`` reads a file; the rest is arrays in, figures out. A round trip that is NaN, not positive or absurdly long is
unknown, never a short one.

How the paths of a slice are chosen:

1. *Levels.* What a pair's round trip will be is told from its own history by several memories: means that forget at
   different speeds, down to the newest value alone, and a median.
2. *Detours.* On each memory's levels, min-plus products find the shortest path over one relay, and over up to two.
3. *Doubt.* The least of hundreds of noisy sums is less than it will be (the winner's curse: Smith and Winkler, "The
   Optimizer's Curse", 2006), the more so the noisier. So a detour is ranked by the gain that levels promise, or by
   that gain over its standard deviation when the detour is replayed on the slices seen; a pair's few slices are
   moderated by what all pairs have in common (empirical Bayes: Smyth, "Linear models and empirical Bayes methods",
   2004).
4. *Margin.* How far either ranking is to be trusted is learned: every rule (a memory, a number of relays, a ranking)
   is tried at every slice seen, with what was known before it, and the rule and the margin are used that gained most
   there while no more than ``MOST_WORSE`` of the pairs fared worse, with a standard error over the slices to spare
   (prequential validation: Dawid, "The prequential approach", 1984). If no rule gained beyond doubt, all pairs stay
   direct. No margin in milliseconds is given. A slice unlike all before it may still break the promise: when a relay
   that many use is suddenly far away, all of them fare worse at once.

That one relay often beats the direct path is known since Andersen et al., "Resilient Overlay Networks", 2001. The
combination of these parts, and the values of the constants, are Foremesh's own.
"""

from __future__ import annotations

import math
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from foremesh.files.errors import InputError, listed, shown
from foremesh.files.text import check_file, unreadable
from foremesh.model.series import Floats
from foremesh.simulation.detours import Detours, Matrix, detours, memories

ARRAY = "rtt_ms"
"""The array of an npz file that holds the round trips."""

WARMUP = 4
"""Slices that are seen before the first one is judged: with fewer there is nothing to learn a margin from."""

FEWEST_TRIED = 2
"""Slices that a rule has been tried on before it is used: one tells nothing of how slices differ."""

FEWEST_GAINS = 4
"""Gains that a rule needs more than, counted as Kish's effective number, so that one huge stroke of luck among many
small ones counts as one. Fewer tell nothing, even if they are all alike."""

MOST_WORSE = 0.03
"""Share of pairs that may fare worse than on their direct path. A promise to those who use a mesh, not a figure of any
data: pairs beyond it stay direct, whatever they would gain."""

BEYOND_DOUBT = 4.0
"""Standard errors by which the mean gain of a rule must exceed zero: thousands of rules and margins are tried on the
same slices, and some gain by luck. One mesh without gains in forty still moves a few pairs, at next to no cost."""

REPLAYED_SLICES = 16
"""Newest slices that a detour is replayed on: a deviation needs no more, and time grows with them."""

REMEMBERED = 0.95
"""Share that what a rule came to still counts a slice later: networks change their ways within days."""

MARGINS = np.logspace(-3.0, 5.0, 321)
"""Margins to choose from, 40 to a decade, in milliseconds or standard deviations: from less than can be measured to
more than any network takes."""

LARGEST_BYTES = 512 << 20
"""A matrix file; as large as ``MOST_VALUES`` of 8 bytes each, with something else beside them."""

MOST_VALUES = 50_000_000
"""Round trips in a matrix: 200 slices of 500 nodes, or 12 of 2,000. Judging stays below 2 GiB with them."""

MOST_NODES = 2_000
"""Nodes in a matrix, for the same reason; and a slice of so many takes 20 seconds."""

LONGEST_MS = 1e7
"""Milliseconds, nearly three hours: nobody waits that long for an answer, so what is not below stands for unknown."""

Ranking = Callable[[Matrix, Detours, Matrix], Matrix]
"""Ranks the detours of all pairs, given their expected gains in milliseconds and the slices seen."""

RANKINGS: dict[str, Ranking] = {
    "gain": lambda gain_ms, found, seen: gain_ms,
    "gain over deviation": lambda gain_ms, found, seen: gain_ms / found.deviation_ms(seen, gain_ms),
}


@dataclass(frozen=True)
class SliceRow:
    """A judged slice: means in milliseconds and shares over its ordered pairs with a known direct round trip."""

    number: int
    """Its place in the matrix, from 1."""
    pairs: int
    direct_ms: float
    chosen_ms: float
    oracle_ms: float
    share_worse: float
    share_relayed: float
    share_unknown: float
    rule: str
    """What its paths were chosen by."""


@dataclass(frozen=True)
class MatrixResult:
    """What choosing came to, over all ordered pairs and judged slices in which the direct round trip is known."""

    direct_ms: float
    """Mean round trip of the direct paths."""
    chosen_ms: float
    """Mean round trip of the chosen paths. One whose round trip the slice does not tell counts as the direct one: no
    gain is claimed."""
    oracle_ms: float
    """Mean of the better of direct and one relay, known in hindsight. Paths over two relays may do better."""
    share_worse: float
    """Share of pairs whose chosen path took longer than the direct one in that slice."""
    share_relayed: float
    """Share of pairs whose chosen path had a relay."""
    share_unknown: float
    """Share of pairs whose chosen path had a relay and a round trip that the slice does not tell."""
    pairs: int
    """Pairs judged, all slices together."""
    seconds: float
    """What it took."""
    slices: tuple[SliceRow, ...]


def load(path: Path) -> Matrix:
    """Read the array ``rtt_ms`` of an npz file; see ``judge`` for what it holds.

    Raises:
        InputError: If the file cannot be used. An array is not read before its shape is known to be fit.
    """
    check_file(path, largest_bytes=LARGEST_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [name.removesuffix(".npy") for name in archive.namelist()]
            if ARRAY not in arrays:
                cause = f"has no array {ARRAY}, only {shown(listed(arrays))}" if arrays else "has no arrays"
                raise InputError(path, None, cause, f"save it with numpy.savez(file, {ARRAY}=...)")
            with archive.open(f"{ARRAY}.npy") as file:
                _check_header(path, file)
            with archive.open(f"{ARRAY}.npy") as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    # What zipfile and NumPy raise for files that are broken, encrypted or packed in ways they do not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError) as error:
        cause = f"is no npz file that can be read ({error})"
        raise InputError(path, None, cause, f"save it with numpy.savez(file, {ARRAY}=...)") from error
    with np.errstate(over="ignore"):  # infinite is unknown, too
        rtt_ms: Matrix = values.astype(np.float32)
    _check_values(path, rtt_ms)
    return rtt_ms


def judge(
    rtt_ms: NDArray[Any], *, warmup: int = WARMUP, progress: Callable[[float], None] | None = None
) -> MatrixResult:
    """Choose the path of every ordered pair in each slice from the slices before it, then score it with that slice.

    A pair whose direct path was never measured stays on it: what a detour would gain cannot be told.

    Args:
        rtt_ms: Round trips in milliseconds from row to column, shape (slices, nodes, nodes), in time order. The
            diagonal is ignored.
        warmup: Slices that are seen and not judged.
        progress: Called with the share done.

    Raises:
        ValueError: If the shape is another, or nothing is left to judge.
    """
    began_s = time.perf_counter()
    slices = _cleaned(rtt_ms, warmup)
    seen_by = memories()
    ledgers = {
        (memory, relays, ranking): _Ledger()
        for memory in range(len(seen_by))
        for relays in (1, 2)
        for ranking in RANKINGS
    }
    rows: list[SliceRow] = []
    for now, actual in enumerate(slices):
        known = np.isfinite(actual)
        rule, margin = _best(ledgers) if now >= warmup else (None, 0)
        taken, relayed = actual, np.zeros_like(known)
        if now:
            for key, found, ranks in _ranked([memory.level_ms() for memory in seen_by], slices[:now]):
                came_ms = found.round_trip_ms(actual)
                if key == rule:
                    relayed = ranks >= margin
                    taken = np.where(relayed, came_ms, actual)
                ledgers[key].enter(ranks[known], (actual - came_ms)[known])
        if now >= warmup and known.any():
            name = f"{seen_by[rule[0]].name}, up to {rule[1]} relays, {rule[2]}" if rule else "direct"
            rows.append(_row(now, actual, taken, relayed, name))
        for memory in seen_by:
            memory.see(actual)
        if progress:
            progress((now + 1) / len(slices))
    return _result(rows, time.perf_counter() - began_s)


def to_json(result: MatrixResult) -> dict[str, Any]:
    """The result as plain values, rounded as scores are: the fields by name, ``slices`` as a list."""
    return {**_plain(result), "slices": [_plain(row) for row in result.slices]}


def _plain(one: MatrixResult | SliceRow) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(one).items()}


_Rule = tuple[int, int, str]
"""A memory's place, the most relays, a ranking's name."""


class _Ledger:
    """What a rule's choices in earlier slices came to, by how high it ranked them."""

    def __init__(self) -> None:
        self._tried = 0
        self._slices = 0.0
        # By margin, of the pairs ranked above it, summed over slices.
        self._count, self._gain_ms, self._squares, self._worse, self._worse_squared = np.zeros((5, len(MARGINS)))

    def enter(self, ranks: NDArray[np.intp], gain_ms: Matrix) -> None:
        """Add a slice's pairs: how they were ranked, and what leaving the direct path would have gained; NaN if the
        slice does not tell, which is neither a gain nor a loss."""
        if not len(ranks):
            return
        gain = np.nan_to_num(gain_ms).astype(np.float64)
        worse = _above(ranks, gain < 0) / len(ranks)
        self._tried += 1
        self._slices = REMEMBERED * self._slices + 1
        for sums, values in (
            (self._count, _above(ranks, gain != 0)),
            (self._gain_ms, _above(ranks, gain)),
            (self._squares, _above(ranks, gain**2)),
            (self._worse, worse),
            (self._worse_squared, worse**2),
        ):
            sums *= REMEMBERED
            sums += values

    def best(self) -> tuple[float, int]:
        """The most that was gained by any margin that kept the promise, beyond doubt; and the margin. Zero if none."""
        if self._tried < FEWEST_TRIED:
            return 0.0, 0
        worse = self._worse / self._slices
        worse_error = _error(worse, self._worse_squared, self._slices)
        mean_ms = self._gain_ms / np.maximum(self._count, 1.0)
        kept = worse + worse_error <= MOST_WORSE
        sure = mean_ms > BEYOND_DOUBT * _error(mean_ms, self._squares, self._count)
        many = self._gain_ms**2 > FEWEST_GAINS * self._squares
        gained = np.where(kept & sure & many, self._gain_ms / self._slices, 0.0)
        at = int(np.argmax(gained))
        return float(gained[at]), at + 1


def _above(ranks: NDArray[np.intp], values: NDArray[Any]) -> Floats:
    """Sum of the values of the pairs above each of ``MARGINS``."""
    binned: NDArray[Any] = np.bincount(ranks, values.astype(np.float64), minlength=len(MARGINS) + 1)
    sums: Floats = np.cumsum(binned[:0:-1])[::-1]
    return sums


def _error(mean: Floats, squares: Floats, count: Floats | float) -> Floats:
    """Standard error of a mean, given the sum of squares."""
    variance = np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0)
    error: Floats = np.sqrt(variance / np.maximum(count - 1.0, 1e-9))
    return error


def _best(ledgers: dict[_Rule, _Ledger]) -> tuple[_Rule | None, int]:
    """The rule that gained most, and its margin; none if none gained."""
    found = {rule: ledger.best() for rule, ledger in ledgers.items()}
    rule = max(found, key=lambda key: found[key][0])
    gained, margin = found[rule]
    return (rule, margin) if gained > 0 else (None, 0)


def _ranked(levels_ms: Sequence[Matrix], slices: Matrix) -> Iterator[tuple[_Rule, Detours, NDArray[np.intp]]]:
    """What every rule makes of the slices seen: a detour for each pair, and how many of ``MARGINS`` it exceeds."""
    for memory, level_ms in enumerate(levels_ms):
        for relays, found in enumerate(detours(level_ms), start=1):
            gain_ms = level_ms - found.level_ms
            for name, ranking in RANKINGS.items():
                with np.errstate(divide="ignore", invalid="ignore"):
                    rank = ranking(gain_ms, found, slices[-REPLAYED_SLICES:])
                if not np.isnan(rank).all():
                    # digitize would put NaN above every margin.
                    yield (memory, relays, name), found, np.digitize(np.where(np.isnan(rank), 0.0, rank), MARGINS)


def _check_header(path: Path, file: IO[bytes]) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    needed = "give one number in milliseconds for every slice, row and column: (slices, nodes, nodes)"
    if kind.kind not in "fiu":
        raise InputError(path, None, f"{ARRAY} holds {kind}, not numbers", needed)
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 2:
        raise InputError(
            path, None, f"{ARRAY} has shape {shape}, not (slices, nodes, nodes) of two nodes or more", needed
        )
    if shape[0] <= WARMUP:
        cause = f"{ARRAY} has {shape[0]} slice{'s' * (shape[0] != 1)}, and the first {WARMUP} are warm-up"
        raise InputError(path, None, cause, f"give {WARMUP + 1} or more")
    if math.prod(shape) > MOST_VALUES or shape[1] > MOST_NODES:
        cause = (
            f"{ARRAY} has {math.prod(shape):,} values of {shape[1]:,} nodes; "
            f"at most {MOST_VALUES:,} of {MOST_NODES:,} are judged"
        )
        raise InputError(path, None, cause, "take fewer slices or nodes")


def _check_values(path: Path, values: Matrix) -> None:
    between = np.logical_not(np.eye(values.shape[1], dtype=bool))
    if (negative := np.argwhere((values < 0) & between)).size:
        at = tuple(negative[0].tolist())
        where = ", ".join(map(str, at))
        cause = f"{ARRAY}[{where}] is {values[at]:g} ms, and no round trip is negative"
        raise InputError(path, None, cause, "write NaN where one is unknown")
    known = ((values > 0) & (values < LONGEST_MS) & between).sum(axis=(1, 2))
    if not known[WARMUP:].any():
        when = f"after {WARMUP} slices of warm-up" if known.any() else "in any slice"
        raise InputError(path, None, f"{ARRAY} knows no round trip {when}", "give measured ones, in milliseconds")


def _cleaned(rtt_ms: NDArray[Any], warmup: int) -> Matrix:
    """The slices with NaN for all that is unknown."""
    if rtt_ms.ndim != 3 or rtt_ms.shape[1] != rtt_ms.shape[2]:
        raise ValueError(f"round trips have shape {rtt_ms.shape}; (slices, nodes, nodes) is needed")
    if not 1 <= warmup < len(rtt_ms):
        raise ValueError(
            f"{len(rtt_ms)} slices leave none to judge after {warmup} of warm-up, or nothing to learn from"
        )
    with np.errstate(over="ignore"):
        slices = np.array(rtt_ms, dtype=np.float32)
    slices[~((slices > 0) & (slices < LONGEST_MS))] = np.nan
    slices[:, np.arange(slices.shape[1]), np.arange(slices.shape[1])] = np.nan
    if np.isnan(slices[warmup:]).all():
        raise ValueError(f"no round trip is known after {warmup} slices of warm-up: nothing can be judged")
    return slices


def _row(now: int, actual: Matrix, taken: Matrix, relayed: NDArray[np.bool_], rule: str) -> SliceRow:
    known = np.isfinite(actual)
    direct = actual[known].astype(np.float64)
    one_relay = detours(actual)[0].level_ms[known]
    chosen = taken[known]
    return SliceRow(
        number=now + 1,
        pairs=len(direct),
        direct_ms=float(direct.mean()),
        chosen_ms=float(np.where(np.isnan(chosen), direct, chosen).mean()),
        oracle_ms=float(np.fmin(direct, one_relay).mean()),
        share_worse=float((chosen > direct).mean()),
        share_relayed=float(relayed[known].mean()),
        share_unknown=float(np.isnan(chosen).mean()),
        rule=rule,
    )


def _result(rows: Sequence[SliceRow], seconds: float) -> MatrixResult:
    pairs = sum(row.pairs for row in rows)

    def mean(name: str) -> float:
        return math.fsum(getattr(row, name) * row.pairs for row in rows) / pairs

    means = ("direct_ms", "chosen_ms", "oracle_ms", "share_worse", "share_relayed", "share_unknown")
    return MatrixResult(**{name: mean(name) for name in means}, pairs=pairs, seconds=seconds, slices=tuple(rows))
