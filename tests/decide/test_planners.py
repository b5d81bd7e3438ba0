"""Planners kept between decisions make them quicker, and never others."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from controller.scene import GATEWAYS, NOW_S, RTTS_MS, WEB, Mesh, attached, gateway_body, intent_body, policy_body
from foremesh.decide import MAIN, Decision, Forecasts, Planners, as_measured, decide
from foremesh.model.circuit import LabelState
from foremesh.model.forecast import Forecast
from foremesh.model.link import LinkId
from foremesh.model.registration import ProbeReport
from foremesh.model.series import Metric

ENDPOINTS = {name: f"203.0.113.{1 + number}:51820" for number, name in enumerate(GATEWAYS)}


def wide_mesh(rng: random.Random) -> Mesh:
    """The mesh with capacities, several Intents of several kinds, and now and then a policy in shadow."""
    gateways = [
        gateway_body(name, gateway={"role": "Core", "endpoint": ENDPOINTS[name], "capacity": "1G"}) for name in GATEWAYS
    ]
    needs: list[dict[str, Any]] = [
        {},
        {"maxLatency": "60ms"},
        {"minBandwidth": "100M"},
        {"minBandwidth": "30M", "reverse": "10M"},
    ]
    intents = [
        intent_body(
            f"i{number}", requirements=rng.choice(needs), priority=rng.randint(0, 1), dedicated=rng.random() < 0.5
        )
        for number in range(rng.randint(2, 5))
    ]
    shadow = [policy_body("shadow", mode="Shadow", avoid={"gateways": ["lon"]})] if rng.random() < 0.3 else []
    return Mesh.of(*gateways, *intents, *shadow)


def drawn(rng: random.Random, before: Forecasts | None, count: int) -> Forecasts:
    """Forecasts of which so many links' figures are others than before."""
    links = [LinkId(src=f"mesh/{src}", dst=f"mesh/{dst}") for a, b in RTTS_MS for src, dst in ((a, b), (b, a))]
    shape = (3, len(links), 2)
    figures = {Metric.RTT: np.empty(shape), Metric.LOSS: np.zeros(shape), Metric.THROUGHPUT: np.empty(shape)}
    rtts = [rtt_ms for rtt_ms in RTTS_MS.values() for _ in range(2)]
    figures[Metric.RTT][:] = np.array(rtts)[None, :, None]
    figures[Metric.THROUGHPUT][:] = 300e6
    if before is not None:
        figures = {metric: one.values.copy() for metric, one in before.by_metric.items()}
    for row in rng.sample(range(len(links)), count):
        figures[Metric.RTT][:, row] = rng.choice((0.5, 1.0, 3.0)) * rtts[row]
        figures[Metric.LOSS][:, row] = rng.choice((0.0, 0.0, 0.01, 1.0))
        figures[Metric.THROUGHPUT][:, row] = rng.random() * 900e6
    names = ("last-value",) * len(links)
    made = {
        metric: Forecast(metric, tuple(links), 60.0, NOW_S, values, names, names) for metric, values in figures.items()
    }
    return Forecasts(made, newest_s=NOW_S)


def fall_over(mesh: Mesh, rng: random.Random) -> None:
    """The ends of a circuit go to its standby, where alone hellos pass."""
    with_standby = [
        one
        for one in mesh.declared.circuits.values()
        if LabelState.STANDBY in {each.state for each in one.status.labels}
    ]
    for one in rng.sample(with_standby, min(1, len(with_standby))):
        standby = next(each.number for each in one.status.labels if each.state is LabelState.STANDBY)
        lost = {each.number for each in one.status.labels} - {standby}
        for end in (one.spec.from_, one.spec.to):
            if (beacon := mesh.observed.beacons.get(end)) is not None:
                heard = (*(set(beacon.heard) - lost), standby)
                mesh.report(end, sending={**beacon.sending, one.id: standby}, heard=tuple(sorted(set(heard))))


def happens(mesh: Mesh, rng: random.Random) -> None:
    """Something between two plans."""
    what = rng.randrange(8)
    if what <= 2:
        mesh.forecasts = drawn(rng, mesh.forecasts, rng.choice((0, 1, 1, 2, 12)))
    elif what == 3:
        fall_over(mesh, rng)
    elif what == 4 and rng.random() < 0.3:
        mesh.silence(f"mesh/{rng.choice(GATEWAYS)}")
    elif what == 5:
        mesh.acknowledge(*(id for id in mesh.observed.configs if id in mesh.observed.beacons))
        mesh.progress()
    elif what == 6 and rng.random() < 0.3:
        mesh.declare(intent_body(f"i{rng.randrange(8)}", requirements={"maxLatency": "100ms"}))
    elif what == 7 and rng.random() < 0.3 and mesh.observed.beacons.keys() == mesh.observed.registrations.keys():
        report = ProbeReport(answering=True, rtt_ms=rng.choice((1.0, 2.0)), loss=0.0)
        mesh.report(WEB, probes={"mesh/ams": report})
    back = [id for id in mesh.observed.registrations if id not in mesh.observed.beacons and rng.random() < 0.5]
    mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, **{id: attached(id) for id in back}})


def both(mesh: Mesh, kept: Planners) -> Decision:
    """The next decision, made with what earlier ones left behind and without."""
    arguments = (mesh.declared, mesh.observed, mesh.forecasts, mesh.settings)
    mesh.now_s += 30
    quick = decide(*arguments, now_s=mesh.now_s, planners=kept)
    assert quick == decide(*arguments, now_s=mesh.now_s)
    return mesh._take(quick)


def test_a_decision_does_not_hang_on_whether_there_was_one_before() -> None:
    made = Counter[str]()
    for seed in range(25):
        rng, kept = random.Random(seed), Planners()
        mesh = wide_mesh(rng)
        mesh.forecasts = drawn(rng, None, 0)
        both(mesh, kept)
        for _ in range(12):
            happens(mesh, rng)
            both(mesh, kept)
            made[kept.made[MAIN].why or "again"] += 1
            if rng.random() < 0.5:
                kept.warm()
    assert made["again"] > 60, made
    assert made["links"] + made["circuits"] + made["asked"] + made["gateways"] > 20, made


def test_figures_that_are_there_do_for_a_plan_that_cannot_wait() -> None:
    """Beacons tell other round trips every time; labels that they tell of are news all the same."""
    mesh, kept = Mesh.of(intent_body()), Planners()
    mesh.settle()
    before = mesh.observed
    both(mesh, kept)
    mesh.report(WEB, probes={"mesh/ams": ProbeReport(answering=True, rtt_ms=1.5, loss=0.0)})
    mesh.report("mesh/ams", heard=())
    told, mesh.observed = mesh.observed, as_measured(mesh.observed, before)
    assert mesh.observed.beacons[WEB] == before.beacons[WEB]
    assert mesh.observed.beacons["mesh/ams"] == told.beacons["mesh/ams"]
    both(mesh, kept)
    assert kept.made[MAIN].why == ""
    mesh.observed = told
    both(mesh, kept)
    assert kept.made[MAIN].why == "asked", "what everybody asks has changed by half a millisecond"


def test_what_a_decision_does_not_plan_is_forgotten() -> None:
    mesh, kept = Mesh.of(intent_body(), policy_body("shadow", mode="Shadow", avoid={"gateways": ["lon"]})), Planners()
    both(mesh, kept)
    assert [*kept.made] == [MAIN, "shadow shadow"]
    mesh.forget("policies", "shadow")
    both(mesh, kept)
    both(mesh, kept)
    assert [*kept.made] == [*kept._kept] == [MAIN]
