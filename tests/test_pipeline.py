"""Forecasting in the operator, from what a Prometheus answers to what a plan rests on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from controller.scene import gateway_body
from discovery.meshes import registration
from foremesh.decide import Declared
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.registry import Availability, Registry
from foremesh.discovery.store import StoreUnavailable
from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.link import LinkId
from foremesh.model.meta import Meta
from foremesh.model.registration import Acknowledgement
from foremesh.model.resource import Resource
from foremesh.model.series import Flow, Metric
from foremesh.model.units import Seconds
from foremesh.pipeline import Pipeline
from foremesh.settings import PlanningSettings, PrometheusSettings, Settings
from telemetry.test_prometheus import Server

AMS, FRA = "mesh/ams", "mesh/fra"
LINK = LinkId(src=AMS, dst=FRA, underlay="internet")
FLOW = Flow(src=AMS, dst=FRA, circuit="mesh/c")
ENDS = {"src": AMS, "dst": FRA}
SENT, COUNTED = 3e8, 3.2e8
DAY_S = 86_400.0


def answered(asked: dict[str, str]) -> list[dict[str, Any]]:
    """A mesh of one link that carries one circuit; at night it sends a fifth of what it does by day."""
    times_s = np.arange(int(asked["start"]), int(asked["end"]) + 1, int(asked["step"]))
    day = 0.6 + 0.4 * np.cos(2 * np.pi * times_s / DAY_S)
    promql, values, labels = asked["query"], None, {**ENDS, "link": "internet"}
    if "foremesh_circuit_transmit" in promql:
        values, labels = SENT * day, {**ENDS, "circuit": "mesh/c"}
    elif "foremesh_link_transmit" in promql:
        values = COUNTED * day
    elif "foremesh_link_rtt" in promql:
        values = 0.1 + 0 * day  # faster than light between the two
    elif "foremesh_link_probes" in promql:
        values = 0 * day
    elif "foremesh_link_jitter" in promql:
        values = 1.5 + 0 * day
    elif "foremesh_gateway_load" in promql:
        values, labels = 0.5 * day, {"gateway": AMS}
    points = [
        [float(at_s), str(value)] for at_s, value in zip(times_s, values if values is not None else [], strict=False)
    ]
    return [{"metric": labels, "values": points}] if points else []


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        running.answer_with = answered
        yield running


@pytest.fixture
async def pipeline(server: Server) -> AsyncIterator[Pipeline]:
    made = Pipeline(Registry(MemoryStore()), settings(server), lambda: ThreadPoolExecutor(1))
    yield made
    await made.close()


def settings(server: Server, **prometheus: Any) -> Settings:
    return Settings(
        prometheus=PrometheusSettings(url=server.url, **prometheus),
        # Nothing is fitted within the test: what a fit takes is seconds of Prophet.
        planning=PlanningSettings(horizon=Seconds(600), refit=Seconds(6 * 3600)),
    )


def declared(*, capacity: str = "1G", circuits: bool = True, epoch: int = 0) -> Declared:
    bodies = [
        gateway_body(name, gateway={"role": "Core", "endpoint": "e:1", "capacity": capacity}) for name in ("ams", "fra")
    ]
    resources = {one.id: one for one in map(Resource.from_manifest, bodies)}
    label = LabelAllocation(number=1, state=LabelState.ACTIVE, path=(AMS, FRA), underlays=("internet",), epoch=epoch)
    circuit = Circuit(
        meta=Meta(name="c", namespace="mesh"),
        spec=CircuitSpec(from_=AMS, to=FRA, class_="x"),
        status=CircuitStatus(path=(AMS, FRA), labels=(label,)),
    )
    return Declared(resources=resources, circuits={circuit.id: circuit} if circuits else {})


async def test_a_link_carries_its_circuits_demand_and_the_rest(pipeline: Pipeline) -> None:
    now_s = 1_700_000_000.0
    day = 0.6 + 0.4 * np.cos(2 * np.pi * now_s / DAY_S)
    found = await pipeline.forecast(declared(), now_s=now_s)
    assert found.problem == ""
    demand, link = found.by_metric[Metric.DEMAND], found.by_metric[Metric.THROUGHPUT]
    figure, carried = demand.figure(FLOW), link.figure(LINK)
    assert figure is not None
    assert carried is not None
    assert figure.median == pytest.approx(SENT * day, rel=0.05)
    assert carried.median == pytest.approx(COUNTED * day, rel=0.05)
    assert link.model(LINK) == "sum"
    assert link.reason(LINK).startswith("sum: 1 circuit by ")
    past = found.past[Metric.THROUGHPUT].values
    assert past.max() == pytest.approx(COUNTED, rel=1e-3), "how links queue is learnt from all they carried"


async def test_an_agent_that_registers_again_while_it_is_forgotten_is_forgotten_all_the_same(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = pipeline._registry
    await pipeline.declare(declared())
    for id_ in (AMS, FRA):
        await pipeline.accept_token(id_, "00")
        await registry.register_agent(registration(id_))
    delete, let_in = registry.store.delete, []

    async def meanwhile(key: str, **more: Any) -> None:
        """AMS' beacons find nobody by that name; as long as it has a token, it registers."""
        await delete(key, **more)
        if AMS not in await registry.registrations():
            let_in.append(await registry.token_digest(AMS))
            await registry.register_agent(registration(AMS))

    monkeypatch.setattr(registry.store, "delete", meanwhile)
    await pipeline.declare(Declared())
    assert set(let_in) == {None}, "its token went first"
    monkeypatch.undo()
    assert AMS in await registry.registrations(), "a last word that was under way"
    await pipeline.declare(Declared())
    assert (await registry.registrations(), await registry.resources()) == ({}, {})


async def test_a_last_word_to_a_config_is_forgotten_too(pipeline: Pipeline) -> None:
    registry = pipeline._registry
    await pipeline.declare(declared())
    await registry.acknowledge(Acknowledgement(gateway=AMS, epoch=1, revision="r", applied=True))
    await pipeline.declare(Declared())
    assert await registry.acknowledgements() == {}
    late = Acknowledgement(gateway=AMS, epoch=2, revision="s", applied=True)
    await registry.acknowledge(late)
    await pipeline.declare(declared())
    assert await registry.acknowledgements() == {AMS: late}, "of whoever is declared"
    await pipeline.declare(Declared())
    await registry.acknowledge(late)
    await pipeline.declare(Declared())
    assert await registry.acknowledgements() == {}


async def everything(registry: Registry) -> list[str]:
    """Whom the registry knows anything of, but for who is present."""
    known = (registry.resources, registry.registrations, registry.acknowledgements, registry.token_digests)
    return sorted({*await registry.unavailable(), *[id_ for one in known for id_ in await one()]})


async def test_what_a_store_that_went_away_kept_is_forgotten_when_it_is_back(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = pipeline._registry
    delete = registry.store.delete
    for calls in count(1):
        await pipeline.declare(declared())
        await pipeline.accept_token(AMS, "00")
        await registry.register_agent(registration(AMS))
        await registry.update_resource_status(AMS, Availability.UNAVAILABLE)
        left = calls

        async def fails(key: str, **more: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise StoreUnavailable("memory", "delete", "away")
            await delete(key, **more)

        monkeypatch.setattr(registry.store, "delete", fails)
        with suppress(StoreUnavailable):
            await pipeline.declare(Declared())
        monkeypatch.undo()
        await pipeline.declare(Declared())
        assert await everything(registry) == []
        if left > 0:  # none of the deletions failed any more
            break
    assert calls > 6


async def test_jitter_comes_with_the_rest(pipeline: Pipeline) -> None:
    found = await pipeline.forecast(declared(), now_s=1_700_000_000.0)
    figure = found.by_metric[Metric.JITTER].figure(LINK)
    assert figure is not None
    assert figure.median == pytest.approx(1.5)


async def test_a_past_that_did_not_change_is_worked_out_once(pipeline: Pipeline) -> None:
    await pipeline.forecast(declared(), now_s=1_700_000_000.0)
    first = pipeline._rest
    await pipeline.forecast(declared(), now_s=1_700_000_030.0)
    assert pipeline._rest is first
    await pipeline.forecast(declared(epoch=1_700_000_040), now_s=1_700_000_060.0)
    assert pipeline._rest is not first


async def test_without_circuits_a_link_is_forecast_from_its_own_past(pipeline: Pipeline) -> None:
    found = await pipeline.forecast(declared(circuits=False), now_s=1_700_000_000.0)
    assert found.by_metric[Metric.THROUGHPUT].model(LINK) != "sum"


async def test_nothing_is_forecast_over_a_capacity(pipeline: Pipeline) -> None:
    found = await pipeline.forecast(declared(capacity="100M"), now_s=1_700_000_000.0)
    for metric, key in ((Metric.THROUGHPUT, LINK), (Metric.DEMAND, FLOW)):
        assert found.by_metric[metric].values.max() == 1e8, key


async def test_the_past_is_asked_where_it_is_kept(server: Server, tmp_path: Path) -> None:
    """Another server with a header of its own; it has the days, the first one the minutes."""
    (tmp_path / "headers").write_text("X-Scope-OrgID: foremesh\n")
    with closing(Server()) as long:
        long.answer_with = answered
        options = settings(
            server,
            history_url=f"{long.url}/prometheus",
            history_headers_file=str(tmp_path / "headers"),
            recording_rules=True,
        )
        pipeline = Pipeline(Registry(MemoryStore()), options, lambda: ThreadPoolExecutor(1))
        try:
            await pipeline.forecast(declared(), now_s=time.time())
        finally:
            await pipeline.close()
        assert {one["step"] for one in server.requests} == {"15"}
        assert {one["step"] for one in long.requests} == {"300"}
        assert {one["X-Scope-OrgID"] for one in long.headers} == {"foremesh"}
        assert all("X-Scope-OrgID" not in one for one in server.headers)
        assert sum("foremesh:" in one["query"] for one in long.requests) == len(Metric)


def test_settings_of_prometheus_have_defaults_that_ask_for_nothing_new() -> None:
    found = msgspec.structs.asdict(PrometheusSettings())
    assert (found["history_url"], found["headers_file"], found["recording_rules"]) == (None, None, False)
