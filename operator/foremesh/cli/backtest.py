"""``foremesh backtest``: how good forecasts of recorded series would have been, model beside model."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foremesh.cli.terminal import check_writable, columns, progress, render, told, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foremesh.files.recording import Recording
    from foremesh.forecast.evaluate import Evaluation, Fitter
    from foremesh.forecast.measures import Measured

MOST_FOLDS = 100
"""More is a typing error."""

MOST_PROCESSES = 8
"""That Prophet is fitted in: each holds 200 MB."""

METRICS = ("rtt", "loss", "throughput", "load", "jitter", "demand")
"""Of ``model.series.Metric``, which is imported only when it is needed."""

OTHER_PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".gif", ".webp")
"""Endings that would promise what ``--plot`` does not write."""

file = click.Path(path_type=Path, dir_okay=False)


class Span(click.ParamType[float]):
    """``300``, ``300s``, ``5m``, ``6h``: seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from foremesh.model.units import Seconds, UnitError

        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            span_s = float(Seconds.parse(f"{text}s" if text[-1:].isdigit() else text))
        except UnitError:
            self.fail(f"{value!r} is no time span; write it like 300, 4m or 6h", param, ctx)
        if not span_s > 0:
            self.fail(f"{value!r} is no time; give one above 0", param, ctx)
        return span_s


class Names(click.ParamType[tuple[str, ...]]):
    """Names of models, with commas between."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from foremesh.forecast.evaluate import MODELS

        if isinstance(value, tuple):
            return value
        names = {part.strip(): None for part in str(value).split(",") if part.strip()}
        if not names:
            self.fail(f"{value!r} names no model; there are {', '.join(MODELS)}", param, ctx)
        if unknown := [name for name in names if name not in MODELS]:
            self.fail(f"no model is called {', '.join(unknown)}; there are {', '.join(MODELS)}", param, ctx)
        return tuple(names)


class Spans(click.ParamType[tuple[tuple[str, float], ...]]):
    """Time spans, with commas between."""

    name = "spans"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, float], ...]:
        if isinstance(value, tuple):
            return value
        found = {Span().convert(part, param, ctx): part.strip() for part in str(value).split(",") if part.strip()}
        if not found:
            self.fail(f"{value!r} names no horizon; write them like 4m,1h,6h", param, ctx)
        return tuple((text, span_s) for span_s, text in sorted(found.items()))


@click.command()
@click.argument("recording", metavar="FILE", type=file)
@click.option("--step", "step_s", type=Span(), required=True, help="Seconds between samples, or 4m; coarser is merged.")
@click.option("--horizons", type=Spans(), default="1h,6h", show_default=True, help="How far ahead, as 4m,1h,6h.")
@click.option(
    "--models",
    type=Names(),
    default="last,median,seasonal,additive,auto",
    show_default=True,
    help="Out of last, median, seasonal, prophet, additive and auto; with prophet, auto mixes it in.",
)
@click.option("--folds", type=click.IntRange(1, MOST_FOLDS), default=5, show_default=True, help="Blocks at the end.")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    help="What to read of a file with a column metric, or what a file without holds.",
)
@click.option("--history", "history_s", type=Span(), default="28d", show_default=True, help="Learnt from, before each.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--out", type=file, help="Write there and not to the terminal.")
@click.option("--plot", type=file, help="Draw errors by horizon into this SVG file.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Processes for Prophet; one for each processor if left out.")
@told
def backtest(
    recording: Path,
    step_s: float,
    horizons: tuple[tuple[str, float], ...],
    models: tuple[str, ...],
    folds: int,
    metric: str | None,
    history_s: float,
    output: str,
    out: Path | None,
    plot: Path | None,
    jobs: int | None,
) -> None:
    """Tell how good forecasts of recorded series would have been.

    FILE is in the long format: columns series, time and value, CSV or Parquet, rows in any order, an empty value for a
    sample that could not be taken. Series may begin and end at different times. A file with a column metric may hold
    several; one without is taken to hold --metric, or values of any kind where that is not given.

    Folds are contiguous blocks at the end of each series, in time order: a day each, or shorter where a series is too
    short for two days before the first, but never shorter than two of the largest horizons. What is fitted is fitted
    on what lies before its fold; every sample in a fold is an origin, at which models see the samples up to it and no
    later ones. A point counts where the truth and the last value are known.

    \b
    foremesh backtest rtt.parquet --step 240 --horizons 4m,1h,6h
    foremesh backtest rtt.csv --step 60 --models last,auto --folds 3 -o json
    """
    for text, horizon_s in horizons:
        if abs(horizon_s / step_s - round(horizon_s / step_s)) > 1e-6 or horizon_s < step_s:
            raise click.UsageError(
                f"the horizon {text} is no multiple of the step of {step_s:g} s; give {step_s:g}, or a multiple of it"
            )
    if plot is not None and plot.suffix.lower() in OTHER_PICTURES:
        raise click.UsageError(f"--plot draws an SVG picture, and {plot.name} is named otherwise; give a name in .svg")
    most_s = max(horizon_s for _, horizon_s in horizons)
    if history_s < (least_s := _learnt(step_s, most_s) * step_s):
        raise click.UsageError(f"--history {history_s:g} s is too short to learn from; give at least {least_s:g}")
    check_writable(out)
    check_writable(plot, "--plot")
    from foremesh.files.recording import read_recording
    from foremesh.model.series import Metric

    read = read_recording(recording, step_s, Metric(metric) if metric else None)
    spans_s = [horizon_s for _, horizon_s in horizons]
    task = f"backtesting {read.series:,} series, {len(models)} models"
    with progress(task) as show, _fitting(models, jobs) as fitter:
        found = _evaluate(recording, read, spans_s, models, folds, history_s, fitter, show)
    from foremesh.forecast.measures import measure

    measured = measure(found)
    names = {span_s: text for text, span_s in horizons}
    notes = [*_notes(read, found, measured, folds)]
    if plot is not None:
        _draw(recording, measured, names, plot)
    if output == "json":
        for note in notes:
            click.echo(note, err=True)
        write(json.dumps([_plain(one, names) for one in measured], indent=2) + "\n", out)
    else:
        write(render(*_table(recording, found, measured, names, out), *notes, to=out), out)


def _evaluate(
    path: Path,
    read: Recording,
    horizons_s: Sequence[float],
    models: Sequence[str],
    folds: int,
    history_s: float,
    fitter: Fitter | None,
    show: Callable[[float], None],
) -> Evaluation:
    from foremesh.files import InputError
    from foremesh.forecast.evaluate import evaluate, joined

    parts = []
    done, total = 0.0, sum(batch.values.size for batch in read.batches)
    for batch in read.batches:
        start, size = done, batch.values.size

        def part(share: float, start: float = start, size: float = size) -> None:
            show((start + share * size) / total)

        parts.append(
            evaluate(
                batch,
                horizons_s=horizons_s,
                models=models,
                folds=folds,
                fitter=fitter,
                history_s=history_s,
                progress=part,
            )
        )
        done += size
    some = [one for one in parts if one is not None]
    if not some or not joined(some).usable.any():
        longest = max(read.batches, key=lambda batch: batch.values.shape[1])
        cause = (
            f"its series are too short: the longest has {longest.values.shape[1]:,} samples of {longest.step_s:g} s, "
            f"and a fold of two horizons needs {_needed(longest.step_s, max(horizons_s)):,}"
        )
        raise InputError(path, None, cause, "give longer series, or a shorter --horizons")
    return joined(some)


def _needed(step_s: float, horizon_s: float) -> int:
    return _learnt(step_s, horizon_s) + 3 * round(horizon_s / step_s)


def _learnt(step_s: float, horizon_s: float) -> int:
    from foremesh.forecast.choose import fewest_samples

    return fewest_samples(step_s, horizon_s)


def _notes(read: Recording, found: Evaluation, measured: Sequence[Measured], folds: int) -> Iterator[str]:
    """What the figures do not tell."""
    from foremesh.forecast.evaluate import FEWEST_FOLDS

    some = measured[0]
    used = int((found.usable > 0).sum())
    if out := read.series + read.empty - used:
        yield f"{out} of {read.series + read.empty} series are too short or too empty for a fold, and not looked at."
    if some.folds < folds:
        yield f"{folds} folds were asked for; the series are long enough for {some.folds}."
    if some.untrusted and any(one.model == "auto" for one in measured):
        yield (
            f"auto equals the naive model, last, for {some.untrusted} of {used} series: they have fewer than "
            f"{FEWEST_FOLDS} usable folds, too few to trust a choice."
        )
    if left_out := max(one.left_out for one in measured):
        yield (
            f"Left out of rel_mae: {left_out} of {used} series, or fewer for some models and horizons, as the model's "
            "error or the last value's is zero."
        )
    if read.merged:
        yield f"{read.merged:,} samples shared a step with another of their series; their mean was used."


def _draw(path: Path, measured: Sequence[Measured], names: dict[float, str], plot: Path) -> None:
    from foremesh.drawing.backtest import ErrorMark, error_plot

    marks = [
        ErrorMark(names[one.horizon_s], one.model, one.rel_mae, *one.rel_mae_interval, one.series)
        for one in sorted(measured, key=lambda one: one.horizon_s)
    ]
    write(error_plot(path.name, marks) + "\n", plot, option="--plot")


def _plain(one: Measured, names: dict[float, str]) -> dict[str, Any]:
    """A row of the JSON; what cannot be told is null."""
    return {
        "model": one.model,
        "horizon": names[one.horizon_s],
        "horizon_s": one.horizon_s,
        "rel_mae": _number(one.rel_mae),
        "rel_mae_interval": [_number(end) for end in one.rel_mae_interval],
        "mase": _number(one.mase),
        "wmape": _number(one.wmape),
        "pinball": _number(one.pinball),
        "coverage80": _number(one.coverage80),
        "seconds_per_series": _number(one.seconds_per_series),
        "series": one.series,
        "left_out": one.left_out,
        "folds": one.folds,
        "points": one.points,
        "stood_in": _number(one.stood_in),
        "best_naive": one.best_naive or None,
        "vs_best_naive": _number(one.vs_best_naive),
        "vs_best_naive_interval": [_number(end) for end in one.vs_best_naive_interval],
        "untrusted_series": one.untrusted,
    }


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _table(
    path: Path, found: Evaluation, measured: Sequence[Measured], names: dict[float, str], out: Path | None
) -> Iterator[Any]:
    from foremesh.cli.tables import Column, drawn

    used = int((found.usable > 0).sum())
    yield f"{path.name}: {used:,} series, {measured[0].folds} folds at their end"
    rows = sorted(measured, key=lambda one: one.horizon_s)
    table = [
        Column("model", [one.model for one in rows]),
        Column("horizon", [names[one.horizon_s] for one in rows]),
        Column("rel_mae", [_figure(one.rel_mae) for one in rows]),
        Column("95 %\ninterval", [_range(one.rel_mae_interval) for one in rows]),
        Column("of best\nnaive", [_figure(one.vs_best_naive) for one in rows], 2),
        Column("95 %\ninterval", [_range(one.vs_best_naive_interval) for one in rows], 3),
        Column("MASE", [_figure(one.mase, 2) for one in rows], 4),
        Column("WMAPE", [_figure(one.wmape) for one in rows], 5),
        Column("pinball", [_figure(one.pinball) for one in rows], 6),
        Column("80 %\ncovers", [f"{one.coverage80:.1%}" for one in rows], 1),
        Column("seconds\na series", [f"{one.seconds_per_series:.2g}" for one in rows], 7),
    ]
    yield from drawn(table, columns(out))
    yield "rel_mae: MAE over the last value's on the same points, geometric mean over series; below 1 is better."


def _figure(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _range(ends: tuple[float, float]) -> str:
    return "-".join(_figure(end) for end in ends) if all(map(math.isfinite, ends)) else "-"


@contextmanager
def _fitting(models: Sequence[str], jobs: int | None) -> Iterator[Fitter | None]:
    """A pool of processes for Prophet while it is needed, and none otherwise."""
    if "prophet" not in models:
        yield None
        return
    from concurrent.futures import BrokenExecutor

    from foremesh.forecast.pool import FitPool

    pool = FitPool(min(jobs or os.cpu_count() or 1, MOST_PROCESSES))
    try:
        yield pool
    except BrokenExecutor as error:
        cause = "a process that fitted Prophet died, often for want of memory, and nothing was judged"
        raise click.ClickException(f"{cause}; give fewer --jobs, or leave prophet out of --models") from error
    finally:
        pool.close()
