"""Decisions by what circuits are going to carry."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from controller.scene import BY_LON, BY_PAR, GATEWAYS, Mesh, forecasts, gateway_body, intent_body, path_of
from foremesh.decide import Forecasts
from foremesh.model.forecast import Forecast
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey

CAPACITY = {"role": "Core", "endpoint": "203.0.113.1:51820", "capacity": "1G"}
USED_BPS = 950e6


def carrying(mesh: Mesh, *, told: bool) -> Forecasts:
    """The circuit fills the links of its path, one way; whether that is told of it or of the links alone."""
    known = forecasts()
    links = [link for link in known.by_metric[Metric.RTT].keys if isinstance(link, LinkId)]
    steps = {*pairwise(BY_LON)}
    rates: dict[SeriesKey, float] = {link: USED_BPS if (link.src, link.dst) in steps else 1e6 for link in links}
    spec, id_ = mesh.circuit.spec, mesh.circuit.id
    flows: dict[SeriesKey, float] = {
        Flow(src=spec.from_, dst=spec.to, circuit=id_): USED_BPS,
        Flow(src=spec.to, dst=spec.from_, circuit=id_): 1e6,
    }

    def flat(metric: Metric, values: dict[SeriesKey, float]) -> Forecast:
        steps = np.tile(np.array([*values.values()])[None, :, None], (3, 1, 2))
        names = ("last",) * len(values)
        return Forecast(metric, tuple(values), 60.0, mesh.now_s, steps, names, names)

    more = {Metric.THROUGHPUT: flat(Metric.THROUGHPUT, rates)}
    if told:
        more[Metric.DEMAND] = flat(Metric.DEMAND, flows)
    return replace(known, by_metric={**known.by_metric, **more})


@pytest.mark.parametrize(("told", "path"), [(True, BY_LON), (False, BY_PAR)], ids=["its-own", "somebody's"])
def test_a_circuit_leaves_a_full_path_only_if_others_fill_it(told: bool, path: tuple[str, ...]) -> None:
    bodies = [gateway_body(name, gateway=CAPACITY) for name in GATEWAYS]
    mesh = Mesh.of(intent_body(profile="Throughput"), *bodies)
    mesh.settle()
    assert mesh.circuit.status.path == BY_LON
    mesh.forecasts = carrying(mesh, told=told)
    assert path_of(mesh.plan()) == path
