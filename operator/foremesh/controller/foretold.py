"""The newest forecasts for whoever watches: as metrics, and as a page with the reasons.

Made when somebody asks: a mesh has tens of thousands of series, and most plans are looked at by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from foremesh.decide import Forecasts
from foremesh.decide.usage import pairs, total
from foremesh.model.forecast import UNKNOWN, Forecast
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey

LABELS = {
    Metric.RTT: ("src", "dst", "link"),
    Metric.LOSS: ("src", "dst", "link"),
    Metric.THROUGHPUT: ("src", "dst", "link"),
    Metric.LOAD: ("gateway",),
    Metric.JITTER: ("src", "dst", "link"),
    Metric.DEMAND: ("src", "dst", "circuit"),
}
"""What names a series of each metric, as in the metrics that it is measured by."""

ALL_LABELS = ("src", "dst", "link", "gateway", "circuit")

PREDICTED: Mapping[Metric, tuple[str, str, float]] = {
    Metric.RTT: ("foremesh_link_rtt_predicted_seconds", "Round trip that is forecast of a link", 1e-3),
    Metric.LOSS: ("foremesh_link_loss_predicted_ratio", "Share of probes forecast to be lost", 1.0),
    Metric.THROUGHPUT: ("foremesh_link_throughput_predicted_bps", "What a link is forecast to carry", 1.0),
    Metric.LOAD: ("foremesh_gateway_load_predicted_ratio", "Load that is forecast of a gateway", 1.0),
    Metric.JITTER: ("foremesh_link_jitter_predicted_seconds", "Jitter that is forecast of a link, one way", 1e-3),
    Metric.DEMAND: ("foremesh_demand_predicted_bps", "What src is forecast to send into a circuit", 1.0),
}
"""Name, description, and factor from the metric's unit to that of the name."""

MODEL, ERROR, MESH = "foremesh_forecast_model_info", "foremesh_forecast_error", "foremesh_mesh_demand_predicted_bps"


class UnknownQuery(ValueError):
    """A question that the page has no answer to; carries ``cause``."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


class Foretold:
    """What the newest plan rests on.

    Attributes:
        forecasts: Set after every plan.
    """

    def __init__(self) -> None:
        self.forecasts = Forecasts()
        self._written: tuple[Forecasts, bytes] | None = None

    def text(self) -> bytes:
        """The figures that plans are made of, in Prometheus' text format: over the horizon, the mean of the medians and
        the worst step of the highest quantile. What is unknown has no sample.

        Written once a plan, however often it is read: a client library takes seconds for thousands of links.
        """
        forecasts = self.forecasts
        if self._written is None or self._written[0] is not forecasts:
            self._written = forecasts, "".join(_lines(forecasts)).encode()
        return self._written[1]

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Series with their model, why that one, how far it was off, and what it says.

        Args:
            query: ``metric``, ``model``, or a label's value to choose by; ``steps=true`` for every step of the horizon
                and not only the figures that plans are made of.

        Raises:
            UnknownQuery: If there is no such thing to choose by.
        """
        wanted = dict(query)
        steps = wanted.pop("steps", "false") == "true"
        if strange := sorted(wanted.keys() - {"metric", "model", *ALL_LABELS}):
            raise UnknownQuery(
                f"nothing to choose by is called {strange[0]}; there are metric, model, {', '.join(ALL_LABELS)}, steps"
            )
        if wanted.get("metric", Metric.RTT) not in [metric.value for metric in Metric]:
            raise UnknownQuery(f"no metric is called {wanted['metric']}; there are {', '.join(Metric)}")
        forecasts = self.forecasts
        found: dict[str, Any] = {
            "problem": forecasts.problem or None,
            "newestSample": _time(forecasts.newest_s),
            "series": [
                one
                for metric, forecast in forecasts.by_metric.items()
                if wanted.get("metric", metric.value) == metric.value
                for one in _series(forecast, wanted, steps)
            ],
        }
        demand = forecasts.by_metric.get(Metric.DEMAND)
        if demand is not None and wanted.get("metric", Metric.DEMAND) == Metric.DEMAND:
            found["demand"] = {
                "pairs": list(_series(pairs(demand), wanted, steps)),
                "mesh": next(iter(_series(total(demand), {}, steps)), None),
            }
        return found


def _lines(forecasts: Forecasts) -> Iterator[str]:
    models, errors = list[str](), list[str]()
    for metric, forecast in forecasts.by_metric.items():
        name, about, factor = PREDICTED[metric]
        worst, figures, off = str(forecast.quantiles[-1]), list[str](), dict[str, list[float]]()
        for key, model in zip(forecast.keys, forecast.models, strict=True):
            named = named_by(metric, key)
            if named is None or model == UNKNOWN:
                continue
            labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in named.items())
            models.append(f'{MODEL}{{metric="{metric.value}",{labels},model="{model}"}} 1\n')
            error, figure = forecast.error(key), forecast.figure(key)
            if error is not None:
                off.setdefault(model, []).append(error)
            if figure is not None:
                figures.append(f'{name}{{{labels},quantile="0.5"}} {factor * figure.median}\n')
                figures.append(f'{name}{{{labels},quantile="{worst}"}} {factor * figure.pessimistic}\n')
        yield from _family(name, about, figures)
        errors += [
            f'{ERROR}{{metric="{metric.value}",model="{model}"}} {np.mean(some)}\n'
            for model, some in sorted(off.items())
        ]
    yield from _family(MODEL, "1 for the model that a series is forecast by", models)
    yield from _family(ERROR, "How far forecasts were off of late at the end of the horizon, mean of series", errors)
    demand = forecasts.by_metric.get(Metric.DEMAND)
    mesh = total(demand).figure("") if demand else None
    if demand and mesh:
        parts = (("0.5", mesh.median), (str(demand.quantiles[-1]), mesh.pessimistic))
        lines = [f'{MESH}{{quantile="{quantile}"}} {bps}\n' for quantile, bps in parts]
        yield from _family(MESH, "Sum of all circuits' demand", lines)


def _family(name: str, about: str, lines: list[str]) -> list[str]:
    return [f"# HELP {name} {about}\n# TYPE {name} gauge\n", *lines] if lines else []


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def named_by(metric: Metric, key: SeriesKey) -> dict[str, str] | None:
    """The labels of a series; None for one that is called otherwise than the metric's are."""
    match key:
        case LinkId():
            return dict(zip(LABELS[Metric.RTT], (key.src, key.dst, key.underlay), strict=True))
        case Flow():
            return dict(zip(LABELS[Metric.DEMAND], (key.src, key.dst, key.circuit), strict=True))
        case str() if metric is Metric.LOAD:
            return {"gateway": key}
    return None


def _series(forecast: Forecast, wanted: Mapping[str, str], steps: bool) -> Iterable[dict[str, Any]]:
    names: Sequence[str] = [str(quantile) for quantile in forecast.quantiles]
    for row, key in enumerate(forecast.keys):
        named = named_by(forecast.metric, key) or {}
        about = {"metric": forecast.metric.value, **named, "model": forecast.models[row]}
        if any(about.get(label) != value for label, value in wanted.items()):
            continue
        figure, error = forecast.figure(key), forecast.error(key)
        found: dict[str, Any] = {
            **about,
            "why": forecast.reasons[row],
            "unit": forecast.metric.unit or "share",
            "error": _short(error),
            "median": _short(figure.median) if figure else None,
            "pessimistic": _short(figure.pessimistic) if figure else None,
        }
        if steps:
            found["stepSeconds"] = forecast.step_s
            found["quantiles"] = {
                name: [_short(value) for value in values]
                for name, values in zip(names, forecast.values[:, row].tolist(), strict=True)
            }
        yield found


def _short(value: float | None) -> float | None:
    """Six digits, which is more than anybody can forecast; None where it is unknown."""
    return None if value is None or value != value else float(f"{value:.6g}")


def _time(time_s: float | None) -> str | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
