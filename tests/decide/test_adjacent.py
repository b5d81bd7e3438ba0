"""The links of a large mesh, from decision to decision: measured, set up, in use, silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foremesh.decide import Decision, Declared, Forecasts, Observed, carry_on, decide
from foremesh.decide.adjacent import measured_ms
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import LinkId
from foremesh.model.resource import Resource
from foremesh.model.series import Metric, SeriesBatch
from foremesh.routing.neighbours import Pair, pair
from meshes import NOW_S, SETTINGS, acknowledged, intent_manifest, observed, recorded, workload_manifest

EDGE = "lab/e00"


def gateway_manifest(name: str, role: str, longitude: float) -> dict[str, Any]:
    return {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "MeshResource",
        "metadata": {"name": name, "namespace": "lab"},
        "spec": {
            "type": "Gateway",
            "location": {"site": name, "latitude": 50.0, "longitude": longitude},
            "gateway": {"role": role, "endpoint": "203.0.113.9:51820", "capacity": "1G"},
        },
    }


def large_mesh() -> Declared:
    """Ten Core gateways along a parallel and ten Edge ones beside them; app at the first edge, db at the last."""
    bodies = [gateway_manifest(f"c{number:02}", "Core", number * 3.0) for number in range(10)]
    bodies += [gateway_manifest(f"e{number:02}", "Edge", number * 3.0 + 0.5) for number in range(10)]
    bodies += [workload_manifest("app", "e00"), workload_manifest("db", "e09", services=[{"name": "db", "port": 5432}])]
    resources = [Resource.from_manifest(body) for body in bodies]
    wanted = Intent.from_manifest(intent_manifest())
    return Declared(resources={one.id: one for one in resources}, intents={wanted.id: wanted})


def cast(rtt_ms: dict[Pair, float], loss: dict[Pair, float] | None = None) -> Forecasts:
    links = [LinkId(src=src, dst=dst) for one in sorted(rtt_ms) for src, dst in (one, one[::-1])]

    def flat(metric: Metric, figures: dict[Pair, float]) -> Forecast:
        values = np.array([figures.get(pair(link.src, link.dst), 0.0) for link in links])
        steps, names = np.tile(values[None, :, None], (3, 1, 5)), ("last",) * len(links)
        return Forecast(metric, tuple(links), 60.0, NOW_S, steps, names, names)

    return Forecasts({Metric.RTT: flat(Metric.RTT, rtt_ms), Metric.LOSS: flat(Metric.LOSS, loss or {})})


def pairs(decision: Decision) -> set[Pair]:
    return {pair(link.src, link.dst) for link in decision.state.links}


def of(decision: Decision, gateway: str) -> set[str]:
    return {link.dst for link in decision.state.links if link.src == gateway}


def everybody(declared: Declared) -> Observed:
    return observed(declared)


def later(declared: Declared, seen: Observed, decision: Decision) -> tuple[Declared, Observed]:
    return recorded(declared, decision), acknowledged(seen, decision)


def test_edges_get_their_few_and_the_circuit_goes_by_them() -> None:
    declared = large_mesh()
    seen = everybody(declared)
    first = decide(declared, seen, cast({}), SETTINGS, now_s=NOW_S)
    few = SETTINGS.planning.edge_neighbours
    for number in range(10):
        mine = of(first, f"lab/e{number:02}")
        assert few <= len(mine) <= few + 1
        assert all(one.startswith("lab/c") for one in mine)
    assert {"lab/c00", "lab/c01", "lab/c02"} <= of(first, EDGE)
    assert len(of(first, "lab/c00") & {f"lab/c{number:02}" for number in range(10)}) == 9
    assert first.configs[EDGE].hop_peers
    assert {peer.gateway for peer in first.configs[EDGE].hop_peers} == of(first, EDGE)
    measured = cast(dict.fromkeys(pairs(first), 10.0))
    declared, seen = later(declared, seen, first)
    second = decide(declared, seen, measured, SETTINGS, now_s=NOW_S + 30)
    (placement,) = second.chosen.plan.placements
    assert placement.path is not None
    gateways = placement.path.gateways
    assert (gateways[0], gateways[-1]) == (EDGE, "lab/e09")
    assert all(one.startswith("lab/c") for one in gateways[1:-1])
    assert set(placement.path.links) <= set(second.state.links)


def test_a_better_neighbour_that_was_tried_takes_the_worst_ones_place_unless_that_is_in_use() -> None:
    declared = large_mesh()
    seen = everybody(declared)
    first = decide(declared, seen, cast({}), SETTINGS, now_s=NOW_S)
    declared, seen = later(declared, seen, first)
    rtt_ms = dict.fromkeys(pairs(first), 40.0)
    rtt_ms |= {pair(EDGE, "lab/c00"): 5.0, pair(EDGE, "lab/c01"): 6.0, pair(EDGE, "lab/c02"): 70.0}
    rtt_ms[pair(EDGE, "lab/c06")] = 7.0
    second = decide(declared, seen, cast(rtt_ms), SETTINGS, now_s=NOW_S + 30)
    assert {"lab/c00", "lab/c01", "lab/c06"} <= of(second, EDGE)
    assert ("lab/c02" in of(second, EDGE)) is _used(second, "lab/c02")
    declared, seen = later(declared, seen, second)
    for _ in range(4):
        second = carry_on(declared, seen, second.chosen, SETTINGS, now_s=NOW_S + 31)
        declared, seen = later(declared, seen, second)
    (circuit,) = second.state.circuits
    way_in = circuit.labels[0].path[1]
    worse = rtt_ms | {pair(EDGE, way_in): 30.0, pair(EDGE, "lab/c02"): 8.0, pair(EDGE, "lab/c03"): 9.0}
    third = decide(declared, seen, cast(worse), SETTINGS, now_s=NOW_S + 60)
    assert way_in in of(third, EDGE), "its label runs there until the circuit has moved"


def _used(decision: Decision, gateway: str) -> bool:
    return any(gateway in label.path for circuit in decision.state.circuits for label in circuit.labels)


def test_without_telemetry_or_gateways_no_link_comes_or_goes() -> None:
    declared = large_mesh()
    seen = everybody(declared)
    first = decide(declared, seen, cast({}), SETTINGS, now_s=NOW_S)
    declared, seen = later(declared, seen, first)
    away = decide(declared, seen, Forecasts(problem="Prometheus is away"), SETTINGS, now_s=NOW_S + 30)
    assert pairs(away) == pairs(first)
    silent = replace(seen, beacons={})
    assert pairs(decide(declared, silent, cast({}), SETTINGS, now_s=NOW_S + 60)) == pairs(first)
    one_away = replace(seen, beacons={id_: one for id_, one in seen.beacons.items() if id_ != "lab/c00"})
    without = decide(declared, one_away, cast({}), SETTINGS, now_s=NOW_S + 90)
    assert of(first, "lab/c00") <= of(without, "lab/c00"), "a silent gateway finds its links when it is back"
    assert {"lab/c01", "lab/c02", "lab/c03"} <= of(without, EDGE), "and its neighbours have others meanwhile"
    assert not [link for link in without.chosen.graph.links if "lab/c00" in (link.id.src, link.id.dst)]


def test_a_trial_is_remembered_and_a_dead_link_is_infinitely_long() -> None:
    gone, dead, lossy = (LinkId(src="lab/a", dst=f"lab/{name}") for name in "bcd")
    rtt, loss = (np.array([[20.0, 30.0, np.nan], [9.0, np.nan, np.nan]]), np.array([[1.0, 1.0], [0.0, 0.2]]))
    past = {
        Metric.RTT: SeriesBatch(Metric.RTT, (gone, dead), rtt, 300.0, NOW_S),
        Metric.LOSS: SeriesBatch(Metric.LOSS, (dead, lossy), loss, 300.0, NOW_S),
    }
    now = cast({("lab/a", "lab/d"): 12.0}, {("lab/a", "lab/d"): 0.2})
    assert measured_ms(replace(now, past=past)) == {
        ("lab/a", "lab/b"): 30.0,
        ("lab/a", "lab/c"): np.inf,
        ("lab/a", "lab/d"): 12.0,
    }
    both_ways = cast({("lab/a", "lab/b"): 12.0}, {("lab/a", "lab/b"): 0.9})
    assert measured_ms(both_ways) == {("lab/a", "lab/b"): np.inf}
