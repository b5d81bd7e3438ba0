"""What the operator tells of its forecasts: figures, models, reasons, errors; nothing of what is not known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.scene import Mesh, intent_body
from foremesh.controller.foretold import Foretold, UnknownQuery
from foremesh.controller.verdicts import circuit_status, worth_writing
from foremesh.decide import Forecasts
from foremesh.model.forecast import UNKNOWN, Forecast
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey

AMS_FRA = LinkId(src="mesh/ams", dst="mesh/fra", underlay="internet")
THERE, BACK = (
    Flow(src=src, dst=dst, circuit="mesh/c") for src, dst in (("mesh/ams", "mesh/fra"), ("mesh/fra", "mesh/ams"))
)


def forecast(metric: Metric, rows: dict[SeriesKey, float | None], error: float = np.nan) -> Forecast:
    """Two steps, the second a tenth more; the outer quantiles are half of the median away from it."""
    medians = np.array([np.nan if value is None else value for value in rows.values()])
    values = np.array([medians * 0.5, medians, medians * 1.5])[:, :, None] * np.array([1.0, 1.1])
    models = tuple(UNKNOWN if value is None else "additive" for value in rows.values())
    reasons = tuple(f"{model}: told so" for model in models)
    return Forecast(metric, tuple(rows), 60.0, 0.0, values, models, reasons, errors=medians * 0 + error)


def foretold() -> Foretold:
    found = Foretold()
    found.forecasts = Forecasts(
        {
            Metric.RTT: forecast(Metric.RTT, {AMS_FRA: 20.0, AMS_FRA.reverse: None}, error=1.5),
            Metric.LOAD: forecast(Metric.LOAD, {"mesh/ams": 0.2}),
            Metric.DEMAND: forecast(Metric.DEMAND, {THERE: 3e8, BACK: 4e8}),
        },
        newest_s=1_700_000_000.0,
    )
    return found


def exposed(what: Foretold) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """What a Prometheus would read: by name and labels."""
    families = text_string_to_metric_families(what.text().decode())
    return {
        family.name: {frozenset(sample.labels.items()): sample.value for sample in family.samples}
        for family in families
    }


def labels(**named: str) -> frozenset[tuple[str, str]]:
    return frozenset(named.items())


ENDS = {"src": "mesh/ams", "dst": "mesh/fra"}


def test_metrics_have_the_figures_that_plans_are_made_of() -> None:
    found = exposed(foretold())
    assert found["foremesh_link_rtt_predicted_seconds"] == {
        labels(**ENDS, link="internet", quantile="0.5"): pytest.approx(0.021),
        labels(**ENDS, link="internet", quantile="0.9"): pytest.approx(0.033),
    }
    assert found["foremesh_gateway_load_predicted_ratio"][labels(gateway="mesh/ams", quantile="0.9")] == pytest.approx(
        0.33
    )
    demand = found["foremesh_demand_predicted_bps"]
    assert demand[labels(**ENDS, circuit="mesh/c", quantile="0.5")] == pytest.approx(3.15e8)
    assert len(demand) == 4
    assert found["foremesh_mesh_demand_predicted_bps"] == {
        labels(quantile="0.5"): pytest.approx(7.35e8),
        labels(quantile="0.9"): pytest.approx(1.1 * (7e8 + 2.5e8)),
    }


def test_metrics_name_the_model_of_every_series_that_has_one_and_its_error() -> None:
    found = exposed(foretold())
    models = [one for one in map(dict, found["foremesh_forecast_model_info"]) if one["metric"] == "rtt"]
    assert models == [{"metric": "rtt", **ENDS, "link": "internet", "model": "additive"}]
    assert found["foremesh_forecast_error"] == {labels(metric="rtt", model="additive"): 1.5}


def test_metrics_are_written_once_a_plan_and_names_of_any_kind_are_escaped() -> None:
    told = foretold()
    assert told.text() is told.text()
    before = told.text()
    told.forecasts = Forecasts({Metric.LOAD: forecast(Metric.LOAD, {'a "quoted"\\name': 0.2})})
    assert told.text() != before
    assert labels(gateway='a "quoted"\\name', quantile="0.5") in exposed(told)["foremesh_gateway_load_predicted_ratio"]


def test_without_forecasts_nothing_is_said() -> None:
    assert Foretold().text() == b""
    away = Foretold()
    away.forecasts = Forecasts(problem="Prometheus is away")
    assert away.page({}) == {"problem": "Prometheus is away", "newestSample": None, "series": []}


def test_the_page_says_which_model_and_why() -> None:
    page = json.loads(json.dumps(foretold().page({"metric": "rtt"})))
    assert page == {
        "problem": None,
        "newestSample": "2023-11-14T22:13:20Z",
        "series": [
            {
                "metric": "rtt",
                "src": "mesh/ams",
                "dst": "mesh/fra",
                "link": "internet",
                "model": "additive",
                "why": "additive: told so",
                "unit": "ms",
                "error": 1.5,
                "median": 21.0,
                "pessimistic": 33.0,
            },
            {
                "metric": "rtt",
                "src": "mesh/fra",
                "dst": "mesh/ams",
                "link": "internet",
                "model": "unknown",
                "why": "unknown: told so",
                "unit": "ms",
                "error": None,
                "median": None,
                "pessimistic": None,
            },
        ],
    }


def test_the_page_has_every_step_if_asked_and_what_is_chosen() -> None:
    page = foretold().page({"src": "mesh/ams", "metric": "rtt", "steps": "true"})
    (one,) = page["series"]
    assert one["quantiles"] == {"0.1": [10.0, 11.0], "0.5": [20.0, 22.0], "0.9": [30.0, 33.0]}
    assert one["stepSeconds"] == 60.0
    assert foretold().page({"gateway": "mesh/ams"})["series"][0]["metric"] == "load"
    assert foretold().page({"gateway": "mesh/nobody"})["series"] == []
    assert len(foretold().page({})["series"]) == 5


def test_the_page_adds_demand_up() -> None:
    demand = foretold().page({"metric": "demand"})["demand"]
    assert [(one["src"], one["dst"], one["median"]) for one in demand["pairs"]] == [
        ("mesh/ams", "mesh/fra", pytest.approx(3.15e8)),
        ("mesh/fra", "mesh/ams", pytest.approx(4.2e8)),
    ]
    assert demand["mesh"]["median"] == pytest.approx(7.35e8)


@pytest.mark.parametrize(("query", "cause"), [({"colour": "red"}, "colour"), ({"metric": "weather"}, "weather")])
def test_what_nobody_can_answer_is_refused(query: dict[str, str], cause: str) -> None:
    with pytest.raises(UnknownQuery, match=cause):
        foretold().page(query)


def test_a_circuit_says_why_its_links_are_forecast_so_and_errors_alone_are_no_news() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    status = mesh.circuit.status
    decision = mesh.plan()
    placed = decision.state.circuits[0]
    told = circuit_status(placed, mesh.circuit, decision, mesh.observed, now="2030-01-01T00:00:00Z")
    assert told.forecast_reason == "ams->lon, lon->fra: last-value"
    assert worth_writing(type(status)(forecast_reason=""), type(status)(forecast_reason="last: 1 ms"))
    assert not worth_writing(type(status)(forecast_reason="last: 2 ms"), type(status)(forecast_reason="last: 1 ms"))
