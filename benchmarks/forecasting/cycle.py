"""What Prophet in the gate costs an operator of 3,000 links, averaged over a cycle of refits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from dataplane.figures import Figure, Sheet

from forecasting.world import END_S, batch, made, spent
from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.forecast.fitted import REFIT_S
from foremesh.forecast.judged import REJUDGE_S
from foremesh.model.series import Metric
from foremesh.pipeline import FITTED
from foremesh.settings import Settings

LINKS = 3000
"""Each with two series that are fitted, see ``METRICS``."""

METRICS = tuple(metric for metric in FITTED if metric is not Metric.DEMAND)
"""Of links; there are as many series of demand as circuits, and not as links."""


class Here(Executor):
    """Fits in this process, whose processor time is looked at."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(job(*args, **kwargs))
        return done


def measure(sheet: Sheet, say: Callable[[str], None], *, fits: int, refreshes: int) -> None:
    settings = Settings()
    horizon_s, step_s = settings.planning.horizon, settings.planning.step
    values = made(LINKS).astype(np.float64)
    past = batch(values)

    def fitted(number: int) -> FittedModels:
        return asyncio.run(refit(FittedModels(), batch(values[:number]), pool=Here(), horizon_s=horizon_s))

    fitted(1)  # imports Prophet
    with spent() as fitting:
        models = fitted(fits)
    fit_s = fitting.seconds / fits
    say(f"{fits} links fitted, {fit_s:.2f} s each")
    every = {(Metric.RTT, key): [*models.fits.values()][index % fits] for index, key in enumerate(past.keys)}
    models = FittedModels(every)
    recent_s = settings.prometheus.recent_step
    recent = made(LINKS, samples=round(settings.prometheus.recent_window / recent_s)).astype(np.float64)
    taken = []
    for number in range(refreshes + 1):
        now = batch(recent, step_s=recent_s, end_s=END_S + number * recent_s)
        with spent() as used:
            quantile_forecast(now, horizon_s=horizon_s, step_s=step_s, past=past, fitted=models)
        taken.append(used.seconds)
    judge_s, refresh_s = taken[0] - min(taken[1:]), sum(taken[1:]) / refreshes
    say(f"judged in {judge_s:.1f} s, refreshed in {1000 * refresh_s:.0f} ms")
    plans = REFIT_S / settings.planning.interval
    parts = {
        "fits": len(METRICS) * LINKS * fit_s,
        "judgements": len(METRICS) * judge_s * REFIT_S / REJUDGE_S,
        "refreshes": len(METRICS) * plans * refresh_s,
    }
    bench = f"{LINKS:,} links with Prophet, {' and '.join(METRICS)}, {REFIT_S / 3600:g} h, {plans:g} plans"
    for name, seconds in parts.items():
        sheet.add(Figure(bench, f"{name}, processor time", seconds, "s"))
    sheet.add(
        Figure(
            bench,
            f"share of one core, extrapolated from {fits} fits",
            100 * sum(parts.values()) / REFIT_S,
            "%",
            target=5.0,
            bound_by=f"a fit of {fit_s:.2f} s, and {plans:g} plans of {refresh_s:.2f} s each",
        )
    )
