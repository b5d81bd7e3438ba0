"""What is counted of probes, and its text for Prometheus. These are nearly all series of an agent: kept as written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from foremesh.agent.exposition import head, label
from foremesh.agent.history import History
from foremesh.agent.probe import Target

RTT_BUCKETS_S = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0, 2.0),
)
"""For links. 0.1 ms, a metro link, to 2 s, the probe timeout; steps of a third or less where paths are told apart."""
COARSE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""For circuits and uplinks, of which there are many: Prometheus keeps each bucket as a series of its own."""

KINDS = ("link", "circuit", "uplink")
"""Kinds of targets: the middle of the metrics' names, and the label that names the target."""

Key = tuple[str, str, str, str]
"""Kind, src, dst, name; see ``Target.series``."""


class _Counts:
    __slots__ = ("buckets", "labels", "lost", "rtt_s", "sent")

    def __init__(self, labels: str, buckets: int) -> None:
        self.labels = labels
        self.sent = self.lost = 0
        self.rtt_s = 0.0
        self.buckets = [0] * (buckets + 1)
        """Round trips by the first bucket that holds them; the last is for those above all."""


class ProbeSeries:
    """Counts probes by target. What was never sent, or never answered, has no sample."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Counts] = {}

    def sent(self, target: Target) -> None:
        self._of(target).sent += 1

    def lost(self, target: Target) -> None:
        self._of(target).lost += 1

    def answered(self, target: Target, rtt_s: float) -> None:
        counts = self._of(target)
        counts.rtt_s += rtt_s
        counts.buckets[bisect_left(_bounds(target.kind), rtt_s)] += 1

    def forget(self, target: Target) -> None:
        self._counts.pop(target.series, None)

    def text(self, histories: Mapping[Target, History]) -> str:
        """Everything in Prometheus' text format, with the figures that ``histories`` have now."""
        return "".join(line for kind in KINDS for line in (*self._counted(kind), *_figures(kind, histories)))

    def _of(self, target: Target) -> _Counts:
        counts = self._counts.get(target.series)
        if counts is None:
            counts = _Counts(_labels(target), len(_bounds(target.kind)))
            self._counts[target.series] = counts
        return counts

    def _counted(self, kind: str) -> Iterable[str]:
        found = [counts for key, counts in self._counts.items() if key[0] == kind]
        if not found:
            return
        for name, about, values in (
            ("sent", "Probes sent to the other end", [counts.sent for counts in found]),
            ("lost", "Probes not answered in time", [counts.lost for counts in found]),
        ):
            family = f"foremesh_{kind}_probes_{name}_total"
            yield head(family, "counter", about)
            for counts, value in zip(found, values, strict=True):
                yield f"{family}{{{counts.labels}}} {value}\n"
        family = f"foremesh_{kind}_rtt_seconds"
        bounds = [f'le="{bound}"' for bound in (*_bounds(kind), "+Inf")]
        yield head(family, "histogram", f"Round trips of answered {kind} probes")
        for counts in found:
            totals = list(accumulate(counts.buckets))
            if not totals[-1]:
                continue
            for bound, total in zip(bounds, totals, strict=True):
                yield f"{family}_bucket{{{counts.labels},{bound}}} {total}\n"
            yield f"{family}_count{{{counts.labels}}} {totals[-1]}\n{family}_sum{{{counts.labels}}} {counts.rtt_s}\n"


def _figures(kind: str, histories: Mapping[Target, History]) -> Iterable[str]:
    """Gauges. Where a link runs on two interfaces, while keys rotate, the one that answers speaks for it."""
    found: dict[Key, tuple[Target, History]] = {}
    for target, history in histories.items():
        if target.kind == kind and (target.series not in found or history.answering):
            found[target.series] = (target, history)
    ways: list[tuple[str, float | None]] = []
    mtus: list[tuple[str, float | None]] = []
    capacities: list[tuple[str, float | None]] = []
    for target, history in found.values():
        labels = _labels(target)
        ways.append((f'{labels},direction="forward"', history.variation.forward_s))
        ways.append((f'{labels},direction="reverse"', history.variation.reverse_s))
        mtus.append((labels, history.path.mtu))
        capacities.append((labels, history.capacity_bps))
    for family, about, values in (
        (f"foremesh_{kind}_jitter_seconds", "How much one-way transit times vary from probe to probe", ways),
        (f"foremesh_{kind}_mtu_bytes", "Largest packet that passed whole", mtus),
        (f"foremesh_{kind}_capacity_estimate_bps", "What bursts say that it carries", capacities),
    ):
        known = [f"{family}{{{labels}}} {value}\n" for labels, value in values if value is not None]
        if known:
            yield head(family, "gauge", about)
            yield from known


def _bounds(kind: str) -> tuple[float, ...]:
    return RTT_BUCKETS_S if kind == "link" else COARSE_BUCKETS_S


def _labels(target: Target) -> str:
    return ",".join((label("src", target.src), label("dst", target.dst), label(target.kind, target.name)))
