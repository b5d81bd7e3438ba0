"""The rooms at work: measurements and agents' words in, decisions out to the store.

All I/O of planning but Kubernetes' is here; every choice is made in ``decide``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path

from foremesh.decide import Decision, Declared, Forecasts, Observed, usage, within_physics
from foremesh.decide.usage import Carried
from foremesh.discovery import keys
from foremesh.discovery.registry import Registry
from foremesh.discovery.store import Compacted, EventKind, StoreUnavailable
from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.model.forecast import Forecast
from foremesh.model.link import LinkId
from foremesh.model.manifest import ManifestError, decode
from foremesh.model.registration import Beacon
from foremesh.model.series import Metric, SeriesBatch
from foremesh.settings import PrometheusSettings, Settings
from foremesh.telemetry import LinkHistory, LinkSeries, PrometheusSource, SeriesSource, TelemetryUnavailable

log = logging.getLogger(__name__)

FITTED = (Metric.RTT, Metric.THROUGHPUT, Metric.DEMAND)
"""Metrics that follow days and weeks and so are worth a fitted model; loss comes in incidents, load with demand."""

LONGEST_AGE_S = 120.0
"""Seconds without a new sample of any link after which telemetry counts as away, though Prometheus answers: nothing is
scraped. A minute of rate and a few lost scrapes are no reason."""

RETRY_S = 1.0
"""Seconds between attempts to follow a store that is away."""


class Pipeline:
    """What one operator keeps between plans: the past of series, fitted models, which tokens the store knows.

    Args:
        make_pool: Makes the processes, or joins the cluster, that models are fitted in, so that planning is never held
            up; called again if they die.
    """

    def __init__(self, registry: Registry, settings: Settings, make_pool: Callable[[], Executor]) -> None:
        prometheus = settings.prometheus
        self._registry = registry
        self._settings = settings
        self._make_pool = make_pool
        self._pool = make_pool()
        self._fitted = FittedModels()
        self._fitting: asyncio.Task[None] | None = None
        self._history = LinkHistory(
            PrometheusSource(
                prometheus.url, rate_window_s=prometheus.rate_window, headers_file=_path(prometheus.headers_file)
            ),
            past_source=_past_source(prometheus),
            recent_step_s=prometheus.recent_step,
            recent_window_s=prometheus.recent_window,
            past_step_s=prometheus.history_step,
            past_window_s=prometheus.history_window,
        )
        self._rest: tuple[tuple[SeriesBatch, SeriesBatch, Mapping[LinkId, Carried]], SeriesBatch] | None = None
        """What links carried beside circuits, and what that was worked out from."""
        self._tokens: set[str] = set()

    async def declare(self, declared: Declared) -> None:
        """Bring the registry up to date with what is declared: register what is new or changed, forget what is gone.

        What is gone and still has a config is forgotten once its agent has confirmed that it took everything down.

        Raises:
            StoreUnavailable: If the store is away.
        """
        known = await self._registry.resources()
        for id_, resource in declared.resources.items():
            if id_ in known and known[id_].resource.meta.uid != resource.meta.uid:
                # Another one of the same name: its agent has another token.
                await self._registry.unregister_resource(id_)
            intents = tuple(
                intent
                for intent in declared.intents.values()
                if intent.spec.from_.resource in (resource.meta.name, id_)
                and intent.meta.namespace == resource.meta.namespace
            )
            if id_ not in known or (known[id_].resource, known[id_].intents) != (resource, intents):
                await self._registry.register_resource(id_, resource, intents)
        # And agents that said a last word while they were forgotten.
        named = known.keys() | (await self._registry.registrations()).keys()
        named |= (await self._registry.acknowledgements()).keys()
        for id_ in named - declared.resources.keys() - (await self._registry.configs()).keys():
            await self._registry.unregister_resource(id_)
            self._tokens.discard(id_)
        self._tokens = set(await self._registry.token_digests())

    def knows_token(self, resource_id: str) -> bool:
        """Whether the agent of a resource can authenticate, as of the last ``declare``."""
        return resource_id in self._tokens

    async def accept_token(self, resource_id: str, sha256: str) -> None:
        """Let the agent that knows the token with this digest in."""
        await self._registry.put_token_digest(resource_id, sha256)
        self._tokens.add(resource_id)

    async def observe(self) -> Observed:
        """What agents said.

        Raises:
            StoreUnavailable: If the store is away.
        """
        registry = self._registry
        return Observed(
            registrations=await registry.registrations(),
            beacons=await registry.beacons(),
            acks=await registry.acknowledgements(),
            configs=await registry.configs(),
            unavailable=await registry.unavailable(),
        )

    async def forecast(self, declared: Declared, *, now_s: float) -> Forecasts:
        """Read the series and forecast every metric over the horizon.

        Telemetry that is away, or that has nothing new, is a problem and no error: paths stay as they are. Models are
        refitted beside this, so the first plans after a start have none.

        Args:
            declared: Where circuits run, and the places and capacities that bound what can be.
            now_s: Unix time.
        """
        planning = self._settings.planning
        try:
            series = {metric: await self._history.read(metric, now_s=now_s) for metric in Metric}
        except TelemetryUnavailable as error:
            return Forecasts(problem=str(error))
        newest_s = series[Metric.RTT].newest_s
        if newest_s is None or now_s - newest_s > LONGEST_AGE_S:
            age = "no sample" if newest_s is None else f"no sample for {now_s - newest_s:.0f} s"
            problem = f"Prometheus at {self._settings.prometheus.url} answers but has {age} of any link"
            return Forecasts(problem=problem, newest_s=newest_s)
        past = {metric: one.past for metric, one in series.items()}
        on = usage.carried(declared.circuits.values())
        counted, sent = series[Metric.THROUGHPUT], series[Metric.DEMAND]
        series[Metric.THROUGHPUT] = await asyncio.to_thread(self._beside, counted, sent, on)
        if self._fitting is None or self._fitting.done():
            self._fitting = asyncio.create_task(self._refit(series), name="refit")

        def forecast(one: LinkSeries) -> Forecast:
            return quantile_forecast(
                one.recent, horizon_s=planning.horizon, step_s=planning.step, past=one.past, fitted=self._fitted
            )

        found = {metric: await asyncio.to_thread(forecast, one) for metric, one in series.items()}
        found[Metric.THROUGHPUT] = await asyncio.to_thread(
            usage.with_demand, found[Metric.THROUGHPUT], found[Metric.DEMAND], on
        )
        seen = {metric: one.recent for metric, one in series.items()}
        bounded = await asyncio.to_thread(within_physics, found, seen, declared)
        return Forecasts(bounded, past, newest_s=newest_s)

    def _beside(self, counted: LinkSeries, sent: LinkSeries, on: Mapping[LinkId, Carried]) -> LinkSeries:
        """What links carry beside circuits. A past stays the same batch while nothing changed: it is judged once."""
        rests_on = (counted.past, sent.past, on)
        if self._rest is None or self._rest[0] != rests_on:
            self._rest = rests_on, usage.beside(counted.past, sent.past, on, settled=True)
        return LinkSeries(usage.beside(counted.recent, sent.recent, on, settled=False), self._rest[1])

    async def close(self) -> None:
        """Stop fitting; what is being fitted is lost."""
        if self._fitting is not None:
            self._fitting.cancel()
            await asyncio.gather(self._fitting, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _refit(self, series: Mapping[Metric, LinkSeries]) -> None:
        planning = self._settings.planning
        for metric in FITTED:
            try:
                self._fitted = await refit(
                    self._fitted,
                    series[metric].past,
                    pool=self._pool,
                    horizon_s=planning.horizon,
                    interval_s=planning.refit,
                )
            except BrokenExecutor as error:
                log.error("fits lost metric=%s cause=%s; other models serve until the next try", metric, error)
                self._pool.shutdown(wait=False)
                self._pool = self._make_pool()

    async def publish(self, decision: Decision) -> None:
        """Hand out the configs that changed, and forget those of whoever has left.

        Raises:
            StoreUnavailable: If the store is away; what was not handed out is found again by the next decision.
        """
        for id_ in decision.changed:
            await self._registry.put_config(decision.configs[id_])
        for id_ in decision.removed:
            await self._registry.delete_config(id_)

    async def follow(self, news: Callable[[str], None], words: Callable[[str], None]) -> None:
        """Tell at once what agents do; until cancelled.

        Args:
            news: Called when an agent registers, appears or falls silent: it may be time for another plan.
            words: Called when one answers to its config, or sends on or hears other labels than before: the plan may
                go on.
        """
        await asyncio.gather(
            self._follow(keys.AGENTS, news, news),
            self._follow(keys.PRESENCE, news, words, of=_labels),
            self._follow(keys.ACKS, words, words),
        )

    async def _follow(
        self,
        folder: str,
        comes_or_goes: Callable[[str], None],
        changes: Callable[[str], None],
        *,
        of: Callable[[bytes], object] = bytes,
    ) -> None:
        """Watch a folder; ``of`` gives what of a record has to change to be told."""
        while True:
            try:
                records, revision = await self._registry.store.list(folder)
                seen = {record.key: of(record.value) for record in records}
                comes_or_goes(f"{folder} listed")
                async for event in self._registry.store.watch(folder, after=revision):
                    key = event.record.key
                    if event.kind is EventKind.DELETE:
                        seen.pop(key, None)
                        comes_or_goes(f"{key} gone")
                        continue
                    before, seen[key] = seen.get(key), of(event.record.value)
                    if before is None:
                        comes_or_goes(f"{key} new")
                    elif before != seen[key]:
                        changes(f"{key} changed")
            except Compacted:
                log.info("store compacted folder=%s: listing again", folder)
            except StoreUnavailable as error:
                log.warning("store not followed folder=%s error=%s", folder, error)
                await asyncio.sleep(RETRY_S)


def _past_source(prometheus: PrometheusSettings) -> SeriesSource | None:
    """Where days come from, if that is not the same as for minutes."""
    elsewhere = prometheus.history_url is not None
    if not elsewhere and not prometheus.recording_rules:
        return None
    return PrometheusSource(
        prometheus.history_url or prometheus.url,
        rate_window_s=prometheus.rate_window,
        headers_file=_path(prometheus.history_headers_file if elsewhere else prometheus.headers_file),
        recorded=prometheus.recording_rules,
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _labels(beacon: bytes) -> object:
    """What a beacon says of labels: all else in it changes with every beacon, and can wait."""
    try:
        said = decode(Beacon, beacon, where="beacon")
    except ManifestError:
        return beacon
    return said.applied_epoch, said.sending, said.heard, said.watching, said.tunnels_up
