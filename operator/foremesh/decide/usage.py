"""What people are going to use: the demand of circuits, and what it makes of the links that they run over. Pure.

A link's past tells where circuits ran as much as what they carried: each move is a jump in it. What a circuit carries
does not change with its path. So where circuits run over a link, each circuit's demand is forecast from its own past,
and the rest of the link from what is left of its counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foremesh.forecast.reasons import Reasons
from foremesh.model.circuit import Circuit, LabelState
from foremesh.model.forecast import UNKNOWN, Forecast
from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Flow, Metric, SeriesBatch, SeriesKey
from foremesh.network.mtu import links_of
from foremesh.routing.demand import Traffic

SUM = "sum"
"""Name of the model that adds the demand of circuits up; each has a forecaster of its own."""


@dataclass(frozen=True)
class Carried:
    """What runs over a link."""

    flows: tuple[Flow, ...]
    since_s: float
    """Unix time from which on it is these flows: what was counted before may have been others."""


NOTHING = Carried((), 0.0)
"""Runs over links that no circuit sends over."""


def carried(circuits: Iterable[Circuit]) -> dict[LinkId, Carried]:
    """The flows on every link that circuits send over, both ways, as they are on record."""
    found: dict[LinkId, Carried] = {}
    for circuit in circuits:
        there, back = flows_of(circuit)
        for label in circuit.status.labels:
            if label.state is not LabelState.ACTIVE:
                continue
            for link in links_of(label):
                for way, flow in ((link, there), (link.reverse, back)):
                    before = found.get(way, NOTHING)
                    found[way] = Carried((*before.flows, flow), max(before.since_s, label.epoch))
    return found


def _on(key: SeriesKey, on: Mapping[LinkId, Carried]) -> Carried:
    return on.get(key, NOTHING) if isinstance(key, LinkId) else NOTHING


def flows_of(circuit: Circuit) -> tuple[Flow, Flow]:
    """What a circuit's ends send: there, and back."""
    spec = circuit.spec
    return (
        Flow(src=spec.from_, dst=spec.to, circuit=circuit.id),
        Flow(src=spec.to, dst=spec.from_, circuit=circuit.id),
    )


def beside(throughput: SeriesBatch, demand: SeriesBatch, on: Mapping[LinkId, Carried], *, settled: bool) -> SeriesBatch:
    """What links carry beside the flows on them: hellos, probes, headers of tunnels, and whoever is not measured.

    Args:
        throughput: What links carry.
        demand: What flows carry, on the same grid; another one is taken for nothing.
        on: What runs where. Flows that are not in ``demand`` stay in the link's own series.
        settled: Whether to leave out what was counted before the flows were these. Without, it is what was there less
            what they carried elsewhere then, and never negative: good enough for a few minutes, and for no rhythm.

    Returns:
        ``throughput`` with the rows of those links replaced, NaN where the link or one of its flows has no sample;
        itself where there are none.
    """
    if not on or not demand.keys:
        return throughput
    row = {key: index for index, key in enumerate(demand.keys)}
    same = throughput.values.shape[1] == demand.values.shape[1] and throughput.end_s == demand.end_s
    values = throughput.values.copy()
    for index, key in enumerate(throughput.keys):
        here = _on(key, on)
        rows = [row[flow] for flow in here.flows if flow in row]
        if not rows:
            continue
        own: Floats | float = demand.values[rows].sum(axis=0) if same else np.nan
        values[index] = np.maximum(0.0, values[index] - own)
        if settled:
            values[index, throughput.times_s <= here.since_s] = np.nan
    return replace(throughput, values=values)


def with_demand(rest: Forecast, demand: Forecast, on: Mapping[LinkId, Carried]) -> Forecast:
    """What links are going to carry: what is forecast of the flows on them, and of the rest.

    Its quantiles are those of a sum whose parts are off independently of each other; see ``added``. If they all were
    taken to be off at once, links that many small flows share would look full that are not.

    Args:
        rest: Of what links carry beside the flows on them; see ``beside``.
        demand: Of the flows.
        on: What runs where.
    """
    row = {key: index for index, key in enumerate(demand.keys) if demand.models[index] != UNKNOWN}
    values, models = rest.values.copy(), list(rest.models)
    errors = None if rest.errors is None else rest.errors.copy()
    parts: dict[int, list[int]] = {}
    for index, key in enumerate(rest.keys):
        rows = [row[flow] for flow in _on(key, on).flows if flow in row]
        if rows and models[index] != UNKNOWN:
            parts[index], models[index] = rows, SUM
            values[:, index] = added(
                np.concatenate([values[:, [index]], demand.values[:, rows]], axis=1), rest.quantiles
            )
            if errors is not None:
                errors[index] = np.nan  # of the rest alone

    def reason(index: int) -> str:
        if index not in parts:
            return rest.reasons[index]
        names = sorted({demand.models[one] for one in parts[index]})
        flows = f"{len(parts[index])} circuit{'s' * (len(parts[index]) > 1)} by {', '.join(names)}"
        return f"{SUM}: {flows}; the rest by {rest.reasons[index]}"

    return replace(rest, values=values, models=tuple(models), reasons=Reasons(len(models), reason), errors=errors)


def added(values: Floats, quantiles: Sequence[float]) -> Floats:
    """Quantiles of a sum whose parts are off independently of each other.

    From the quantiles of each part follow its mean, spread and skew; those of the sum follow from theirs, and so do its
    quantiles, by the Cornish-Fisher expansion up to skew. One part gives just what it is made of. The median of many
    parts that are more often far above their medians than below lies above the sum of these.

    Args:
        values: Shape (quantiles, parts, steps).
        quantiles: The lowest, the median, and the highest, as far from it as the lowest.

    Source: Cornish & Fisher, "Moments and Cumulants in the Specification of Distributions", 1938.
    """
    low, middle, high = values
    deviations = NormalDist().inv_cdf(quantiles[-1])
    width = (high - low) / (2 * deviations)
    skew = (high + low - 2 * middle) / (2 * deviations**2)
    square = (width * width).sum(axis=0)
    mean = (middle + skew).sum(axis=0)
    lean = np.divide((skew * width * width).sum(axis=0), square, out=skew.sum(axis=0), where=square > 0)
    sums: Floats = np.array(
        [mean + far * np.sqrt(square) + (far * far - 1) * lean for far in (-deviations, 0.0, deviations)]
    )
    return np.maximum(sums, 0.0)


def pairs(demand: Forecast) -> Forecast:
    """The demand between every two gateways, one way, all circuits together."""
    return _summed(demand, lambda flow: Flow(src=flow.src, dst=flow.dst, circuit=""))


def total(demand: Forecast) -> Forecast:
    """The demand of the whole mesh, as one series of the empty name."""
    return _summed(demand, lambda _: "")


def expected(demand: Forecast | None, circuits: Iterable[Circuit]) -> dict[str, Traffic]:
    """By circuit id, what it is going to carry there and back, the medians over the horizon; those of which either is
    unknown are left out."""
    found: dict[str, Traffic] = {}
    for circuit in circuits if demand else ():
        there, back = (demand.figure(flow) if demand else None for flow in flows_of(circuit))
        if there is not None and back is not None:
            found[circuit.id] = there.median, back.median
    return found


def _summed(demand: Forecast, name: Callable[[Flow], SeriesKey]) -> Forecast:
    """The sum of the flows of each name; of those that are known, which the reason tells."""
    groups: dict[SeriesKey, list[int]] = {}
    for index, flow in enumerate(demand.keys):
        if isinstance(flow, Flow):
            groups.setdefault(name(flow), []).append(index)
    known = {key: [row for row in rows if demand.models[row] != UNKNOWN] for key, rows in groups.items()}
    sums = [
        added(demand.values[:, rows], demand.quantiles) if rows else np.nan * demand.values[:, 0]
        for rows in known.values()
    ]
    shape = (len(demand.quantiles), 0, demand.values.shape[2])
    return Forecast(
        Metric.DEMAND,
        tuple(groups),
        demand.step_s,
        demand.start_s,
        np.stack(sums, axis=1) if sums else np.empty(shape),
        tuple(SUM if rows else UNKNOWN for rows in known.values()),
        tuple(f"{SUM}: {len(known[key])} of {len(rows)} flows are known" for key, rows in groups.items()),
        demand.quantiles,
    )
