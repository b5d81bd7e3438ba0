"""The additive model beside Prophet: how many series a second, on one core."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable

import numpy as np
from dataplane.figures import Figure, Sheet

from forecasting.world import SAMPLES, STEP_S, made, spent, times
from foremesh.forecast.additive import fit_additive
from foremesh.forecast.choose import PROOF_SHARE, view_at
from foremesh.forecast.fit import fit
from foremesh.model.series import Floats

AHEAD_S = 21_600.0
"""How far is predicted, at every step."""

TOGETHER = 512
"""Series that the additive model gets at once, as the gate hands them over."""

ORIGIN_STEPS = 4
"""Samples between the instants at which it learns how far to believe the newest ones."""


def measure(sheet: Sheet, say: Callable[[str], None], *, series: int, prophets: int, runs: int) -> None:
    values = made(series).astype(np.float64)
    _additive(values[:TOGETHER])
    ours = []
    for run in range(runs):
        with spent() as used:
            for start in range(0, series, TOGETHER):
                _additive(values[start : start + TOGETHER])
        ours.append(series / used.seconds)
        say(f"additive, run {run + 1}: {ours[-1]:,.0f} series a second")
    plain, corrected = [], []
    _prophet(values[0])
    for index in range(prophets):
        row = values[index % series]
        for kind, found in ((_prophet, plain), (_corrected, corrected)):
            with spent() as used:
                kind(row)
            found.append(1 / used.seconds)
        say(f"prophet, series {index + 1}: {1 / plain[-1]:.2f} s, as in the gate {1 / corrected[-1]:.2f} s")
    bench = f"fit and predict, {SAMPLES:,} samples, one core"
    for name, theirs, target in (("Prophet", plain, 2000.0), ("Prophet with its proof", corrected, None)):
        sheet.add(
            Figure(
                bench,
                f"additive with its proof beside {name}",
                statistics.median(ours),
                "series/s",
                baseline=len(theirs) / sum(1 / one for one in theirs),
                target=target,
                judged="ratio >= target",
                runs=(tuple(ours), tuple(theirs)),
                bound_by="the proof and what is learnt from it, most of the time; Prophet has neither here",
            )
        )


def _additive(values: Floats) -> None:
    """Fit twice, learn from the proof how far newest samples are to be believed, and predict."""
    at_s = times()
    lags = np.unique(np.rint(np.geomspace(AHEAD_S / STEP_S, 1, 5)).astype(np.int64))
    origins = np.arange(round((1 - PROOF_SHARE) * SAMPLES), SAMPLES, ORIGIN_STEPS)
    later = np.concatenate([values, np.full((len(values), lags[-1]), np.nan)], axis=1)
    _, model = fit_additive(
        values,
        at_s,
        STEP_S,
        view=view_at(values, at_s, STEP_S, origins),
        origins=origins,
        came=later[:, origins[:, None] + lags],
        lags_s=lags * STEP_S,
        above_idle=True,
    )
    predicted = model.predict(view_at(values, at_s, STEP_S, np.array([SAMPLES - 1])), _ahead_s())
    assert np.isfinite(predicted).all()


def _prophet(row: Floats) -> None:
    """As people use it, but for the uncertainty that takes longest."""
    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    import pandas as pd
    from prophet import Prophet

    model = Prophet(uncertainty_samples=0)
    model.fit(pd.DataFrame({"ds": pd.to_datetime(times(), unit="s"), "y": row}))
    model.predict(pd.DataFrame({"ds": pd.to_datetime(times()[-1] + _ahead_s(), unit="s")}))


def _corrected(row: Floats) -> None:
    """As the gate uses it: one curve to be judged, another to predict with; its level is corrected at each refresh."""
    fit(row, STEP_S, float(times()[-1]), proof_s=PROOF_SHARE * SAMPLES * STEP_S, lookback_s=7200.0, ahead_s=AHEAD_S)


def _ahead_s() -> Floats:
    return STEP_S * np.arange(1, round(AHEAD_S / STEP_S) + 1, dtype=np.float64)
