"""Whether what the operator depends on answers: a metric at once, a log line when that changes, and for how long."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from foremesh.controller import metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outage:
    """When something did not answer: from the first failure to the first success."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()


class Dependency:
    """One of ``kubernetes``, ``etcd``, ``prometheus``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: datetime | None = None

    def failed(self, error: object, now: datetime) -> None:
        """It did not answer."""
        metrics.DEPENDENCY_UP.labels(self._name).set(0)
        metrics.ATTEMPTS_FAILED.labels(self._name).inc()
        if self._since is None:
            self._since = now
            log.error("dependency away dependency=%s error=%s", self._name, error)

    def answered(self, now: datetime) -> Outage | None:
        """It answered; returns the outage that this ends, if there was one."""
        metrics.DEPENDENCY_UP.labels(self._name).set(1)
        if self._since is None:
            return None
        outage, self._since = Outage(self._since, now), None
        log.warning("dependency back dependency=%s seconds=%.1f", self._name, outage.seconds)
        return outage
