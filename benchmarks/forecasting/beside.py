"""Forecasters beside those of statsforecast, on the same points of the same series, each with so much time.

What is fitted is fitted once, on a week; then each model predicts from every half hour of the day after, given all that
came until then. Run as a program it does that with one of statsforecast's models, series by series, until it is ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dataplane.figures import Figure, Sheet

from forecasting.world import END_S, SAMPLES, STEP_S, batch, made, shared
from foremesh.files.recording import read_recording
from foremesh.forecast.choose import judge, view_at
from foremesh.forecast.evaluate import MODELS, followed
from foremesh.forecast.fit import DAY_S
from foremesh.forecast.forecasters import Curves, SeasonalNaive
from foremesh.forecast.pool import FitPool
from foremesh.model.series import Floats

THEIRS = ("SeasonalNaive", "AutoETS", "AutoARIMA")
HORIZONS_S = (1800.0, 3600.0, 21_600.0)
BETWEEN_S = 1800.0
"""Seconds between the instants that are predicted from."""


@dataclass(frozen=True)
class Sample:
    """Series without gaps: a week to learn from, and a day and the longest horizon to predict."""

    name: str
    values: Floats
    step_s: float

    @property
    def learnt(self) -> int:
        """Samples to learn from."""
        return self.values.shape[1] - round((DAY_S + HORIZONS_S[-1]) / self.step_s)

    @property
    def origins(self) -> list[int]:
        first = self.learnt - 1
        return list(range(first, first + self.season, round(BETWEEN_S / self.step_s)))

    @property
    def season(self) -> int:
        return round(DAY_S / self.step_s)

    def coarser(self) -> Sample:
        """The same in half hours, whose season is short enough for more models."""
        merge = round(BETWEEN_S / self.step_s)
        used = self.values.shape[1] // merge * merge
        values = self.values[:, -used:].reshape(len(self.values), -1, merge).mean(axis=2)
        return Sample(f"{self.name}, means of half hours", values, BETWEEN_S)


def samples(series: int) -> list[Sample]:
    """Made series, and recorded ones where there are any."""
    length = SAMPLES + round((DAY_S + HORIZONS_S[-1]) / STEP_S)
    found = [Sample(f"{series} made series", made(series, samples=length).astype(np.float64), STEP_S)]
    path = shared("cloud_5min.parquet")
    if path is not None:
        rows = [
            _filled(row[-length:])
            for part in read_recording(path, STEP_S).batches
            for row in part.values
            if part.values.shape[1] >= length
        ]
        found.append(Sample(f"{len(rows)} series of cloud_5min", np.array(rows), STEP_S))
    return found


def measure(sheet: Sheet, say: Callable[[str], None], *, series: int, limit_s: float) -> None:
    for fine in samples(series):
        for sample in (fine, fine.coarser()):
            steps = [round(horizon_s / sample.step_s) for horizon_s in HORIZONS_S]
            truth = np.stack([sample.values[:, np.array(sample.origins) + step] for step in steps])
            off: dict[str, tuple[Floats, float]] = {}
            for model in MODELS:
                predicted, seconds = _ours(sample, model)
                off[model] = np.abs(predicted - truth).mean(axis=2), seconds
            for model in THEIRS:
                predicted, seconds = _theirs(sample, model, steps, limit_s)
                off[model] = np.abs(predicted - truth).mean(axis=2), seconds
                done = int(np.isfinite(off[model][0][0]).sum())
                say(f"{sample.name}: {model} got through {done} of {len(sample.values)} series in {limit_s:g} s")
            _add(sheet, sample, off, limit_s)


def _add(sheet: Sheet, sample: Sample, off: dict[str, tuple[Floats, float]], limit_s: float) -> None:
    last, auto = off["last"][0], off["auto"][0]
    bench = f"{sample.name}, season of {sample.season}"
    for model, (mae, seconds) in off.items():
        through = np.isfinite(mae).all(axis=0) & (last > 0).all(axis=0) & (mae > 0).all(axis=0)
        if model in THEIRS:
            done = int(np.isfinite(mae).all(axis=0).sum())
            metric = f"{model}: series got through in {limit_s:g} s, of {len(sample.values)}"
            sheet.add(Figure(bench, metric, done, "series"))
        if not through.any():
            continue
        sheet.add(Figure(bench, f"{model}: time a series", seconds, "s"))
        for index, horizon_s in enumerate(HORIZONS_S):
            ratio, ours = (
                float(np.exp(np.mean(np.log(one[index, through] / last[index, through])))) for one in (mae, auto)
            )
            metric = f"{model}: rel_mae {horizon_s / 3600:g} h ahead, beside auto on the same {through.sum()} series"
            sheet.add(Figure(bench, metric, ratio, "", baseline=ours))


def _ours(sample: Sample, model: str) -> tuple[Floats, float]:
    """Predictions, shape (horizons, series, origins), and processor seconds a series, Prophet's fits included."""
    learnt, step_s, values = sample.learnt, sample.step_s, sample.values
    at_s = END_S + step_s * np.arange(1 - learnt, values.shape[1] - learnt + 1)
    past = batch(values[:, :learnt], step_s=step_s, end_s=float(at_s[learnt - 1]))
    day = np.arange(sample.origins[0], sample.origins[0] + round(DAY_S / step_s))
    view = view_at(values, at_s, step_s, day)
    fits: Any = ()
    fitting_s, predicted = 0.0, []
    if model == "prophet":
        pool = FitPool(1)
        try:
            fits, fitting_s = pool(past, HORIZONS_S[-1], DAY_S)
        finally:
            pool.close()
    began_s = time.process_time()
    for horizon_s in HORIZONS_S:
        judgement = judge(
            past.values,
            past.times_s,
            step_s,
            horizon_s=horizon_s,
            fits=fits,
            rivals=(SeasonalNaive(Curves.of_batch(values, at_s, step_s)),) if model == "seasonal" else (),
            only="" if model == "auto" else model,
            most_lags=1,
        )
        quantiles, _ = followed(judgement, values[:, day], view)
        predicted.append(quantiles[1][:, np.array(sample.origins) - day[0]])
    return np.array(predicted), (time.process_time() - began_s + fitting_s) / len(values)


def _theirs(sample: Sample, model: str, steps: list[int], limit_s: float) -> tuple[Floats, float]:
    """The same of one of statsforecast's; NaN for series that it did not get to."""
    predicted = np.full((len(steps), len(sample.values), len(sample.origins)), np.nan)
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.jsonl"
        np.savez(given, values=sample.values, origins=sample.origins, steps=steps)
        command = [sys.executable, "-W", "ignore", "-m", "forecasting.beside", model, str(sample.season)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        with found.open("w") as out:
            running = subprocess.Popen([*command, str(given)], env=environment, stdout=out)
            try:
                # It tells that it is ready: what it compiles and imports before is not counted.
                while running.poll() is None and not found.stat().st_size:
                    time.sleep(0.05)
                running.wait(limit_s)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
        if running.returncode > 0:
            raise RuntimeError(f"{model} of statsforecast failed with status {running.returncode}; see above")
        lines = [json.loads(line) for line in found.read_text().splitlines()[1:] if line.endswith("}")]
    for line in lines:
        predicted[:, line["series"]] = np.array(line["predicted"]).T
    seconds = [line["seconds"] for line in lines]
    return predicted, sum(seconds) / max(len(seconds), 1)


def _filled(row: Floats) -> Floats:
    """A gap has the sample before it, since not every model takes gaps."""
    known = np.isfinite(row)
    place = np.maximum.accumulate(np.where(known, np.arange(len(row)), np.argmax(known)))
    filled: Floats = row[place]
    return filled


def main() -> None:
    from statsforecast import models

    name, season, given = sys.argv[1], int(sys.argv[2]), np.load(sys.argv[3])
    values, origins, steps = given["values"], given["origins"].tolist(), given["steps"]
    short = np.sin(np.arange(96.0)) + np.arange(96.0) % 7
    _predicted(models, name, 12, short, [80, 90], np.array([1, 2]))  # compiles
    print("ready", flush=True)
    for series, row in enumerate(values):
        began_s = time.process_time()
        predicted = _predicted(models, name, season, row, origins, steps)
        seconds = time.process_time() - began_s
        print(json.dumps({"series": series, "seconds": seconds, "predicted": predicted}), flush=True)


def _predicted(models: Any, name: str, season: int, row: Floats, origins: list[int], steps: Any) -> list[list[float]]:
    model = getattr(models, name)(season_length=season)
    fixed = name == "SeasonalNaive"
    if not fixed:
        model.fit(row[: origins[0] + 1])
    predicted = []
    for origin in origins:
        past, ahead = row[: origin + 1], int(max(steps))
        found = model.forecast(y=past, h=ahead) if fixed else model.forward(y=past, h=ahead)
        predicted.append(found["mean"][steps - 1].tolist())
    return predicted


if __name__ == "__main__":
    main()
