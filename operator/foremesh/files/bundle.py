"""A mesh as a folder describes it: manifests, links and history, read and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from foremesh.decide.values import Declared
from foremesh.files.errors import InputError
from foremesh.files.links import LinkRow, read_links
from foremesh.files.manifests import read_manifests
from foremesh.files.names import Names, UnclearName
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.resource import Resource
from foremesh.model.series import Metric, SeriesKey
from foremesh.routing.graph import DEFAULT_UNDERLAY
from foremesh.telemetry.recorded import Samples

LINKS = "links.csv"


@dataclass(frozen=True)
class Bundle:
    """What a folder says of a mesh."""

    declared: Declared
    """What is declared, with the statuses that the files hold, and the facts of ``links.csv``."""
    attachment_rtt_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Round trip between a workload and a gateway of its site, by both ids."""
    series: Mapping[Metric, Mapping[SeriesKey, Samples]] = field(default_factory=dict)
    """What was measured. A link that the history does not have has the figure of ``links.csv`` as its only sample, at
    the time of the newest one."""
    now_s: float = 0.0
    """Unix time of the newest sample; 0 without a history."""
    by_hand: tuple[str, ...] = ()
    """Ids of Circuits that people made. They are not in ``declared``: foremesh does not serve them yet."""


def read_bundle(folder: Path, *, history: Path | None = None) -> Bundle:
    """Read a folder of manifests, with ``links.csv`` and a history beside them if there are any.

    Args:
        folder: Where the manifests are; folders in it are read too.
        history: A history that lies elsewhere, instead of ``history.csv`` or ``history.parquet`` in the folder.

    Raises:
        InputError: If anything in it cannot be used. A reference to something that is not there is no such thing: the
            plan says so, as the operator would.
    """
    manifests = read_manifests(folder)
    declared = manifests.declared()
    mesh = _Mesh(declared.resources)
    now_s = 0.0
    series: dict[Metric, dict[SeriesKey, Samples]] = {}
    path = folder / LINKS
    rows = read_links(path) if path.exists() else ()
    facts: dict[LinkId, LinkFacts] = {}
    attachments: dict[tuple[str, str], float] = {}
    for row in rows:
        link = mesh.link(row, path)
        if isinstance(link, tuple):
            attachments[link] = row.rtt_ms or 0.0
            continue
        if row.capacity_bps is not None or row.egress_price is not None:
            facts[link] = LinkFacts(capacity_bps=row.capacity_bps, egress_price=row.egress_price)
        for metric, value in (
            (Metric.RTT, row.rtt_ms),
            (Metric.LOSS, row.loss),
            (Metric.THROUGHPUT, row.throughput_bps),
        ):
            if value is not None:
                series.setdefault(metric, {}).setdefault(link, Samples(np.array([now_s]), np.array([value])))
    return Bundle(
        declared=replace(declared, links=facts),
        attachment_rtt_ms=attachments,
        series=series,
        now_s=now_s,
        by_hand=manifests.by_hand,
    )


class _Mesh:
    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self._resources = resources
        self._names = Names(resources)

    def link(self, row: LinkRow, path: Path) -> LinkId | tuple[str, str]:
        try:
            src, dst = self._names.resolve(row.src), self._names.resolve(row.dst)
        except UnclearName as error:
            raise InputError(path, row.line, error.cause, error.cure) from error
        ends = (self._resources[src], self._resources[dst])
        if all(end.is_gateway for end in ends):
            return LinkId(src=src, dst=dst, underlay=row.underlay or ends[0].spec.network or DEFAULT_UNDERLAY)
        return (dst, src) if ends[0].is_gateway else (src, dst)
