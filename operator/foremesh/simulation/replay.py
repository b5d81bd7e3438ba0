"""A recording in place of a made world: its round trips are what is true, whatever is sent.

It makes nothing up: no noise, no load, no places. A lost sample is a link that is down, a gap longer than the
recording's step too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foremesh.files import InputError
from foremesh.model.link import LinkId
from foremesh.model.series import Floats
from foremesh.simulation.demand import DAY_MINUTES
from foremesh.simulation.places import UNLIMITED_BPS
from foremesh.simulation.world import MINUTE_S, MOST_CELLS, WARMUP_DAYS, LinkState, World
from foremesh.telemetry import Samples

TRACE = Path("trace")
"""What errors call a recording, which may have come from anywhere."""

LONG_DAYS = WARMUP_DAYS + 1
"""Days of a recording from which its first seven are for learning; of a shorter one, its first half is."""

LEAST_MINUTES = 20
"""Minutes of the shortest recording: half of it has to hold a plan or two."""


class Replayed(World):
    """A recorded world."""

    def __init__(self, links: tuple[LinkId, ...], start_s: float, warmup: int, rtt_ms: Floats, loss: Floats) -> None:
        """Arrays are of shape (minutes, links), as measured: NaN where there was no sample; loss 1 where it was
        lost."""
        steps = [_step(column) for column in loss.T]
        true_ms, true_loss = np.full(rtt_ms.shape, np.nan, np.float32), np.ones(rtt_ms.shape, np.float32)
        for row, step in enumerate(steps):
            nearest, known = _nearest(loss[:, row], step)
            true_ms[known, row] = rtt_ms[nearest[known], row]
            true_loss[known, row] = loss[nearest[known], row]
        self._measured_ms, self._measured_loss = rtt_ms, loss
        count = len(links)
        super().__init__(
            links=links,
            reverse=np.arange(count),
            capacity_bps=np.full(count, UNLIMITED_BPS),
            buffer_ms=np.zeros(count),
            load_bps=np.zeros(rtt_ms.shape, np.float32),
            base_ms=true_ms,
            loss=true_loss,
            up=np.isfinite(true_ms),
            noise=np.empty((0, count), np.int16),
            luck=np.empty((0, count), np.uint16),
            start_s=start_s,
            warmup_minutes=warmup,
            kind="trace",
        )

    def probed(self, minutes: slice, state: LinkState) -> LinkState:
        """What was recorded in these minutes; NaN, loss too, in minutes without a sample."""
        return LinkState(
            self._measured_ms[minutes].T,
            self._measured_loss[minutes].T,
            state.throughput_bps,
            state.free_bps,
            state.up,
        )


def replay(trace: Mapping[LinkId, Samples], *, days: float | None = None, path: Path = TRACE) -> World:
    """Replay round trips.

    Each minute is as the nearest sample says, if one lies within the recording's usual step of it. Series may differ in
    length and step. A link recorded one way only has the same round trips on the way back.

    Args:
        trace: Round trips in milliseconds, NaN where lost.
        days: After the warm-up, at most; all there are if None. The warm-up is seven days of a recording longer than
            eight, and the first half of a shorter one.
        path: Where it is from, for errors.

    Raises:
        InputError: If there is nothing to replay or it would not fit memory.
    """
    both = {**{link.reverse: samples for link, samples in trace.items()}, **trace}
    links = tuple(sorted(both, key=str))
    taken = [samples.times_s for samples in trace.values() if len(samples.times_s)]
    if not taken:
        raise InputError(path, None, "holds no sample", "record some")
    start_s = float(np.floor(min(times[0] for times in taken) / MINUTE_S) * MINUTE_S)
    minutes = int((max(times[-1] for times in taken) - start_s) // MINUTE_S) + 1
    if minutes < LEAST_MINUTES:
        raise InputError(path, None, f"lasts {minutes} minutes", f"give a recording of {LEAST_MINUTES} minutes or more")
    warmup = WARMUP_DAYS * DAY_MINUTES if minutes > LONG_DAYS * DAY_MINUTES else minutes // 2
    if days is not None:
        minutes = min(minutes, warmup + max(1, round(days * DAY_MINUTES)))
    if minutes * len(links) > MOST_CELLS:
        cause = f"{len(links)} links for {minutes / DAY_MINUTES:.1f} days do not fit memory"
        raise InputError(path, None, cause, "simulate fewer days of it")
    rtt_ms, loss = np.full((minutes, len(links)), np.nan), np.full((minutes, len(links)), np.nan)
    for row, link in enumerate(links):
        rtt_ms[:, row], loss[:, row] = _by_minute(both[link], start_s, minutes)
    return Replayed(links, start_s, warmup, rtt_ms, loss)


def _by_minute(samples: Samples, start_s: float, minutes: int) -> tuple[Floats, Floats]:
    """Mean of each minute's samples and share of them that was lost; NaN where there is none."""
    minute = np.floor((samples.times_s - start_s) / MINUTE_S).astype(np.intp)
    here = minute < minutes
    minute, values = minute[here], samples.values[here]
    got = np.isfinite(values)
    taken, came = np.bincount(minute, minlength=minutes), np.bincount(minute[got], minlength=minutes)
    total = np.bincount(minute[got], weights=values[got], minlength=minutes)
    with np.errstate(invalid="ignore"):
        return np.where(came > 0, total / came, np.nan), np.where(taken > 0, 1 - came / taken, np.nan)


def _step(loss: Floats) -> int:
    """Usual distance of samples, minutes."""
    at = np.flatnonzero(np.isfinite(loss))
    return max(1, int(np.median(np.diff(at)))) if len(at) > 1 else 1


def _nearest(loss: Floats, step: int) -> tuple[np.ndarray, np.ndarray]:
    """For each minute the nearest one with a sample, and whether that lies within a step."""
    at = np.flatnonzero(np.isfinite(loss))
    every = np.arange(len(loss))
    if not len(at):
        return every, np.zeros(len(loss), dtype=bool)
    after = np.minimum(np.searchsorted(at, every), len(at) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(at[before] - every) <= np.abs(at[after] - every), at[before], at[after])
    return nearest, np.abs(nearest - every) <= step
