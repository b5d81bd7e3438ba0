"""What a path's cost takes figures to be that nobody knows: said wherever the cost is told, so that nobody takes them
for measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foremesh.model.link import LinkId
from foremesh.model.plan import Path
from foremesh.model.series import Floats
from foremesh.model.units import Bandwidth
from foremesh.routing.ask import Router
from foremesh.routing.cost import (
    BANDWIDTH_UNIT_BPS,
    JITTER_UNIT_MS,
    LATENCY_UNIT_MS,
    LEAST_FREE_BPS,
    LOAD_UNIT,
    LOSS_UNIT,
    PRICE_UNIT,
    RISK_SHARE,
)
from foremesh.routing.needs import short
from foremesh.routing.prices import worst_known


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of the cost and the figure that it is made of."""

    term: str
    figure: str
    units: Floats
    """By link or gateway; NaN is unknown."""
    text: Callable[[float], str]
    """So many units, as people write them."""


class Assumptions:
    """What the costs of paths on one snapshot rest on that nobody knows. What an unknown figure counts as is worked out
    once: statuses tell of thousands of paths."""

    def __init__(self, router: Router) -> None:
        self._arrays, self._ledger = router.arrays, router.ledger
        self._counts: dict[str, str] = {}

    def of(self, path: Path) -> dict[str, str]:
        """By term of the cost, in words: of which links or gateways of a path its figure is unknown, and what it counts
        as.

        Only what rests on unknown figures is there; jitter only where some link tells its own, for else it costs
        nothing.
        """
        arrays = self._arrays
        links = [number for one in path.links if (number := arrays.topology.link_number.get(one)) is not None]
        gateways = [number for one in path.gateways if (number := arrays.number.get(one)) is not None]
        found = {}
        for one in self._of_links:
            if names := [_link(arrays.topology.link_ids[number]) for number in links if math.isnan(one.units[number])]:
                found[one.term] = self._told(one, names)
        load = self._load
        if names := [short(arrays.nodes[number].id) for number in gateways if math.isnan(load.units[number])]:
            found[load.term] = self._told(load, names)
        return found

    @cached_property
    def _of_links(self) -> list[_Term]:
        arrays = self._arrays
        free = np.maximum(LEAST_FREE_BPS, self._ledger.left_bps)
        rtt_ms = arrays.rtt.median + RISK_SHARE * np.maximum(0.0, arrays.rtt.pessimistic - arrays.rtt.median)
        terms = [
            _Term("latency", "round trip", rtt_ms / LATENCY_UNIT_MS, lambda one: f"{one * LATENCY_UNIT_MS:.1f} ms"),
            _Term(
                "bandwidth",
                "free bandwidth",
                BANDWIDTH_UNIT_BPS / free,
                lambda one: str(Bandwidth(float(f"{BANDWIDTH_UNIT_BPS / one:.3g}"))),
            ),
            _Term("loss", "loss", arrays.loss.median / LOSS_UNIT, lambda one: f"{one * LOSS_UNIT:.2%}"),
            _Term(
                "egressPrice", "egress price", arrays.price / PRICE_UNIT, lambda one: f"{one * PRICE_UNIT:.3g} USD/GB"
            ),
        ]
        if not np.isnan(arrays.jitter_ms).all():
            units = arrays.jitter_ms / JITTER_UNIT_MS
            terms.append(_Term("jitter", "jitter", units, lambda one: f"{one * JITTER_UNIT_MS:.1f} ms"))
        return terms

    @cached_property
    def _load(self) -> _Term:
        return _Term("load", "load", self._arrays.load.median / LOAD_UNIT, lambda one: f"{one * LOAD_UNIT:.0%} in use")

    def _told(self, one: _Term, where: Sequence[str]) -> str:
        if one.term not in self._counts:
            self._counts[one.term] = _counts_as(one)
        counts = "it counts" if len(where) == 1 else "each counts"
        return f"{one.figure} of {', '.join(where)} is unknown: {counts} as {self._counts[one.term]}"


def _counts_as(one: _Term) -> str:
    known = one.units[~np.isnan(one.units)]
    why = (
        "the worst that is known"
        if known.any()
        else "as all that are known are 0"
        if known.size
        else "as none is known"
    )
    return f"{one.text(worst_known(one.units))}, {why}"


def _link(id_: LinkId) -> str:
    return f"{short(id_.src)}->{short(id_.dst)}"
