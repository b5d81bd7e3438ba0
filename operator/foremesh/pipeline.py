"""The rooms at work: measurements and agents' words in, decisions out to the store.

All I/O of planning but Kubernetes' is here; every choice is made in ``decide``.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor

from foremesh.discovery.registry import Registry
from foremesh.forecast import FittedModels
from foremesh.model.series import Metric
from foremesh.settings import Settings
from foremesh.telemetry import LinkHistory, PrometheusSource

log = logging.getLogger(__name__)

FITTED = (Metric.RTT, Metric.THROUGHPUT)
"""Metrics that follow days and weeks and so are worth a fitted model; loss comes in incidents, load with throughput."""

STALE_STEPS = 4
"""Fine steps without any sample after which telemetry counts as away, though Prometheus answers: nothing is scraped."""

RETRY_S = 1.0
"""Seconds between attempts to follow a store that is away."""


class Pipeline:
    """What one operator keeps between plans: the past of series, fitted models, which tokens the store knows.

    Args:
        pool: Where models are fitted, so that planning is never held up.
    """

    def __init__(self, registry: Registry, settings: Settings, pool: Executor) -> None:
        prometheus = settings.prometheus
        self._registry = registry
        self._settings = settings
        self._pool = pool
        self._history = LinkHistory(
            PrometheusSource(prometheus.url, rate_window_s=prometheus.rate_window),
            recent_step_s=prometheus.recent_step,
            recent_window_s=prometheus.recent_window,
            past_step_s=prometheus.history_step,
            past_window_s=prometheus.history_window,
        )
        self._fitted: FittedModels = FittedModels()
        self._fitting: asyncio.Task[None] | None = None
        self._tokens: set[str] = set()
