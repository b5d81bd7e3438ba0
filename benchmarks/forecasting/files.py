"""Backtests of recorded files: every target on accuracy, each with how far chance may have moved it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from dataplane.figures import Figure, Sheet

from forecasting.world import shared
from foremesh.files.recording import read_recording
from foremesh.forecast.evaluate import MODELS, NAIVE, Evaluation, evaluate, joined
from foremesh.forecast.measures import measure as measured
from foremesh.forecast.pool import FitPool

HOUR_S = 3600.0
FAR_S = 6 * HOUR_S


@dataclass(frozen=True)
class Recorded:
    """A file of series."""

    file: str
    step_s: float
    strong: tuple[str, ...]
    """How names of series with a strong daily rhythm begin."""


FILES = (
    Recorded("atlas_rtt_ms.parquet", 240.0, ()),
    Recorded(
        "cloud_5min.parquet",
        300.0,
        ("grok_asg_anomaly", "rds_", "ec2_cpu_utilization_53ea38", "53ea38", "yosemite_temps"),
    ),
    Recorded("rhythm_30min.parquet", 1800.0, ("",)),
)


def measure(sheet: Sheet, say: Callable[[str], None], *, folds: int, prophet: bool) -> None:
    """Add every file there is; says so where there is none."""
    for one in FILES:
        path = shared(one.file)
        if path is None:
            say(f"{one.file} is not measured: FOREMESH_SHARED has no data/{one.file}")
            continue
        read = read_recording(path, one.step_s)
        horizons_s = (one.step_s, HOUR_S, FAR_S)
        models = tuple(name for name in MODELS if prophet or name != "prophet")
        fitter = FitPool(1) if prophet else None
        try:
            found = [
                (part, evaluate(part, horizons_s=horizons_s, models=models, folds=folds, fitter=fitter))
                for part in read.batches
            ]
        finally:
            if fitter:
                fitter.close()
        some = [(part, each) for part, each in found if each]
        keys = [str(key) for part, _ in some for key in part.keys]
        add(sheet, one, keys, joined([each for _, each in some]))
        say(f"{one.file}: {len(keys)} series")


def add(sheet: Sheet, one: Recorded, keys: Sequence[str], found: Evaluation) -> None:
    rows = {(row.model, row.horizon_s): row for row in measured(found)}
    horizons_s = sorted({horizon_s for _, horizon_s in rows})
    for (model, horizon_s), row in rows.items():
        bench = f"{one.file}, {_told(horizon_s)} ahead, {row.folds} folds"
        if model not in NAIVE:
            sheet.add(Figure(bench, f"{model}: rel_mae", row.rel_mae, "", interval=row.rel_mae_interval))
            sheet.add(Figure(bench, f"{model}: time a series and fold", row.seconds_per_series, "s"))
    for horizon_s in horizons_s:
        bench = f"{one.file}, {_told(horizon_s)} ahead"
        auto = rows["auto", horizon_s]
        sheet.add(
            Figure(
                bench,
                f"auto: rel_mae beside {auto.best_naive}, the best naive model",
                auto.rel_mae,
                "",
                baseline=rows[auto.best_naive, horizon_s].rel_mae,
                target=1.01,
                judged="ratio <= target",
                interval=auto.vs_best_naive_interval,
            )
        )
        sheet.add(
            Figure(
                bench,
                f"auto: how far its 80 % intervals' coverage of {100 * auto.coverage80:.1f} % is off",
                abs(100 * auto.coverage80 - 80),
                "points",
                target=3.0,
            )
        )
        if ("prophet", horizon_s) in rows and horizon_s >= HOUR_S:
            sheet.add(
                Figure(
                    bench,
                    "additive: rel_mae beside level-corrected Prophet",
                    rows["additive", horizon_s].rel_mae,
                    "",
                    baseline=rows["prophet", horizon_s].rel_mae,
                    target=1.02,
                    judged="ratio <= target",
                )
            )
    strong = np.array([any(key.startswith(name) for name in one.strong) for key in keys], dtype=np.bool_)
    if strong.any():
        of_it = {row.model: row for row in measured(_only(found, strong)) if row.horizon_s == FAR_S}
        auto = of_it["auto"]
        sheet.add(
            Figure(
                f"{one.file}, {_told(FAR_S)} ahead, {strong.sum()} series with a strong daily rhythm",
                f"auto: rel_mae beside {auto.best_naive}",
                auto.rel_mae,
                "",
                baseline=of_it[auto.best_naive].rel_mae,
                target=0.75,
                judged="ratio <= target",
                interval=auto.vs_best_naive_interval,
            )
        )


def _only(found: Evaluation, rows: np.ndarray) -> Evaluation:
    sums = {
        name: type(one)(**{key: value[rows] for key, value in vars(one).items()}) for name, one in found.sums.items()
    }
    return replace(found, sums=sums, scale=found.scale[rows])


def _told(seconds: float) -> str:
    return f"{seconds / HOUR_S:g} h" if seconds >= HOUR_S else f"{seconds / 60:g} min"
