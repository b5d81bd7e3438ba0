"""A mesh as a folder describes it: manifests, links and history, read and held against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from foremesh.decide.values import Declared
from foremesh.files.errors import InputError, listed
from foremesh.files.history import find_history, read_history
from foremesh.files.links import LinkRow, read_links
from foremesh.files.manifests import read_manifests
from foremesh.files.names import Names, UnclearName, gateway_names
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.resource import Resource, Role
from foremesh.model.series import Metric, SeriesKey
from foremesh.network.attachment import attach
from foremesh.routing.adjacency import adjacency
from foremesh.telemetry.recorded import Samples

LINKS: Final = "links.csv"

Series = dict[Metric, dict[SeriesKey, Samples]]


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

    @property
    def measured(self) -> bool:
        """Whether anything is known of any link, from ``links.csv`` or a history."""
        return bool(self.series or self.declared.links or self.attachment_rtt_ms)


def read_bundle(folder: Path, *, history: Path | None = None) -> Bundle:
    """Read a folder of manifests, with ``links.csv`` and a history beside them if there are any.

    Args:
        folder: Where the manifests are; folders in it are read too.
        history: A history that lies elsewhere, instead of ``history.csv`` or ``history.parquet`` in the folder.

    Raises:
        InputError: If anything in it cannot be used. An Intent that names something that is not there is no such
            thing: the plan says so, as the operator would.
    """
    manifests = read_manifests(folder)
    declared = manifests.declared()
    wiring = _Wiring(declared.resources)
    path = history or find_history(folder)
    series: Series = {}
    if path is not None:
        series = read_history(path, gateway_names(declared.resources), wiring.all_links)
    now_s = max((one.times_s[-1] for keyed in series.values() for one in keyed.values()), default=0.0)
    csv = folder / LINKS
    if csv.exists() or csv.is_symlink():
        wiring.take(read_links(csv), csv)
    newest, values = np.array([now_s]), np.array([value for _, _, value in wiring.figures])
    for index, (metric, link, _) in enumerate(wiring.figures):
        series.setdefault(metric, {}).setdefault(link, Samples(newest, values[index : index + 1]))
    return Bundle(
        declared=replace(declared, links=wiring.facts),
        attachment_rtt_ms=wiring.attachment_rtt_ms,
        series=series,
        now_s=float(now_s),
        by_hand=manifests.by_hand,
    )


class _Wiring:
    """What rows of ``links.csv`` say, held against the resources that they name."""

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self._resources = resources
        self._gateways = [one for one in resources.values() if one.is_gateway]
        self._names = Names(resources)
        self._found: dict[str, Resource] = {}
        self.all_links = adjacency(self._gateways)
        """Every link that the mesh can have."""
        self.links: dict[tuple[str, str], dict[str, LinkId]] = {}
        """The same by their ends and their underlay."""
        for link in self.all_links:
            self.links.setdefault((link.src, link.dst), {})[link.underlay] = link
        self.facts: dict[LinkId, LinkFacts] = {}
        self.figures: list[tuple[Metric, LinkId, float]] = []
        self.attachment_rtt_ms: dict[tuple[str, str], float] = {}

    def take(self, rows: Iterable[LinkRow], path: Path) -> None:
        """Take what the rows say.

        Raises:
            InputError: If a row is about something that the manifests do not have.
        """
        lines: dict[object, int] = {}
        for row in rows:
            try:
                src, dst = self._ends(row)
                links = self.links.get((src.id, dst.id)) if src.is_gateway and dst.is_gateway else None
                if links:
                    self._take_link(_meant(links, row), row, lines)
                else:
                    self._take_attachment(src, dst, row, lines)
            except UnclearName as error:
                raise InputError(path, row.line, error.cause, error.cure) from error

    def _ends(self, row: LinkRow) -> tuple[Resource, Resource]:
        src, dst = self._end(row.src), self._end(row.dst)
        if src.id == dst.id:
            raise UnclearName(f"{row.src} and {row.dst} are the same gateway, {src.id}", "name two different ones")
        return src, dst

    def _end(self, name: str) -> Resource:
        if name not in self._found:
            self._found[name] = self._resources[self._names.resolve(name)]
        return self._found[name]

    def _take_link(self, link: LinkId, row: LinkRow, lines: dict[object, int]) -> None:
        if link in lines:
            raise UnclearName(f"the link {link} is in line {lines[link]} already", "remove one of the two rows")
        if row.rtt_ms == 0:
            cause = f"rtt_ms of {row.src}->{row.dst} is 0, and no link has a round trip of zero"
            raise UnclearName(cause, "leave the field empty if it is unknown")
        lines[link] = row.line
        if row.capacity_bps is not None or row.egress_price is not None:
            self.facts[link] = LinkFacts(capacity_bps=row.capacity_bps, egress_price=row.egress_price)
        for metric, value in (
            (Metric.RTT, row.rtt_ms),
            (Metric.LOSS, row.loss),
            (Metric.JITTER, row.jitter_ms),
            (Metric.THROUGHPUT, row.throughput_bps),
        ):
            if value is not None:
                self.figures.append((metric, link, value))

    def _take_attachment(self, src: Resource, dst: Resource, row: LinkRow, lines: dict[object, int]) -> None:
        if src.is_gateway and dst.is_gateway:
            raise _unlinkable(src, dst)
        if not (src.is_gateway or dst.is_gateway):
            cause = f"{row.src} and {row.dst} are both no gateways, and links join gateways"
            raise UnclearName(cause, "give the round trip between each of them and a gateway of its site")
        workload, gateway = (dst, src) if src.is_gateway else (src, dst)
        near = attach(workload, self._gateways)
        if gateway.id not in near.gateways:
            site = workload.spec.location.site
            cause = near.reason or f"{gateway.meta.name} is not at {site}, the site of {workload.meta.name}"
            cure = f"its gateways are {listed(near.gateways)}" if near.gateways else "then give the row again"
            raise UnclearName(cause, f"remove the row, or mend location.site; {cure}")
        if row.underlay or {
            row.jitter_ms,
            row.loss,
            row.throughput_bps,
            row.capacity_bps,
            row.egress_price,
        } != {None}:
            cause = f"{workload.meta.name} is attached to {gateway.meta.name}, which is no link of the mesh"
            raise UnclearName(cause, "give rtt_ms alone and leave the other fields empty")
        key = (workload.id, gateway.id)
        if key in lines and self.attachment_rtt_ms.get(key) != row.rtt_ms:
            cause = f"line {lines[key]} gives another round trip between {row.dst} and {row.src}"
            raise UnclearName(cause, "remove one of the two rows: it is the same both ways")
        lines[key] = row.line
        if row.rtt_ms is not None:
            self.attachment_rtt_ms[key] = row.rtt_ms


def _meant(links: Mapping[str, LinkId], row: LinkRow) -> LinkId:
    """Which of the links between two gateways a row is about."""
    if row.underlay in links:
        return links[row.underlay]
    networks = listed(sorted(links))
    if row.underlay:
        cause = f"{row.src} and {row.dst} are on the network {networks}, not on {row.underlay}"
        raise UnclearName(cause, f"write {networks} as underlay" + (", or leave it empty" if len(links) == 1 else ""))
    if len(links) > 1:
        cause = f"{row.src} and {row.dst} have {len(links)} links, over {networks}"
        raise UnclearName(cause, "give a row for each, with its underlay")
    return next(iter(links.values()))


def _unlinkable(src: Resource, dst: Resource) -> UnclearName:
    """Why two gateways are never linked."""
    here, there = (listed(sorted(one.underlays)) for one in (src, dst))
    names = f"{src.meta.name} and {dst.meta.name}"
    if not src.underlays.keys() & dst.underlays.keys():
        cause = f"{src.meta.name} is on the network {here} and {dst.meta.name} on {there}"
        return UnclearName(f"{cause}, so they cannot be linked", "remove the row, or mend spec.network")
    if Role.EDGE is src.role is dst.role:
        return UnclearName(
            f"{names} are both Edge gateways, which are never linked", "remove the row, or mend their roles"
        )
    return UnclearName(
        f"neither {names.replace(' and ', ' nor ')} has an endpoint to dial", "remove the row, or give one"
    )
