"""Figures as people read them: units always, digits that mean something, and ``unknown`` where nobody knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal

from foremesh.drawing.values import DrawnCircuit, DrawnEdge, DrawnWay
from foremesh.model.circuit import Figures
from foremesh.model.link import Figure
from foremesh.model.units import Bandwidth

UNKNOWN = "unknown"

ALIKE = 1.1
"""Ratio of two directions' round trips up to which one figure stands for both on a map; pointing at it tells both."""


NOISE_DIGITS = 9
"""Significant digits of a figure: what is behind them is noise of sums, and must not decide how a half is rounded."""


ANY_SIZE = Context(prec=400)
"""Digits enough for every float and its decimals; the usual 28 are refused beyond 1e27."""


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def number(value: float | None, decimals: int = 1) -> str:
    """A plain number with thin groups of thousands; unknown if it is None, NaN or infinite."""
    return f"{_rounded(value, decimals):,f}" if value is not None and math.isfinite(value) else UNKNOWN


def _rounded(value: float, decimals: int) -> Decimal:
    """Halves away from zero, wherever noise has moved them."""
    return Decimal(f"{value:.{NOISE_DIGITS}g}").quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, ANY_SIZE)


def ms(value: float | None) -> str:
    """Milliseconds: tenths, and no tenths from 100 ms on."""
    if value is None or not known(value):
        return UNKNOWN
    return f"{number(value, 1 if abs(_rounded(value, 1)) < 100 else 0)} ms"


def share(value: float | None) -> str:
    """A share as per cent, three significant digits."""
    return f"{_clean(100 * value):.3g} %" if value is not None and math.isfinite(value) else UNKNOWN


def _clean(value: float) -> float:
    return float(f"{value:.{NOISE_DIGITS}g}")


def rate(value: float | None) -> str:
    """A rate as manifests write it, three significant digits: ``870M``."""
    return (
        f"{Bandwidth(float(f'{_clean(max(0.0, value)):.3g}'))}bit/s" if value is not None and known(value) else UNKNOWN
    )


def price(value: float | None) -> str:
    return f"{value:.3g} USD/GB" if value is not None and known(value) else UNKNOWN


def clock(at_s: float) -> str:
    """Hours and minutes, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def short(id_: str) -> str:
    """The name without its namespace."""
    return id_.rpartition("/")[2]


def path_text(gateways: Iterable[str]) -> str:
    return " → ".join(short(one) for one in gateways)


def path_figures(figures: Figures) -> str:
    """What is predicted for a path, on one line."""
    high_ms = at_least(figures.latency_ms, figures.latency_p90_ms)
    parts = [f"round trip {ms(figures.latency_ms)} (p90 {ms(high_ms)})", f"loss {share(figures.loss)}"]
    parts += [f"free {rate(figures.bandwidth_bps)}", f"price {price(figures.egress_price)}"]
    return ", ".join(parts)


def at_least(median: float | None, p90: float | None) -> float | None:
    """A p90 as it is shown: never below the median, which sums of different terms would put it by noise."""
    return p90 if median is None or p90 is None else max(median, p90)


def falls_over(path: str) -> str:
    """What a standby path is for."""
    return f"falls over to {path}"


def circuit_lines(circuit: DrawnCircuit) -> list[str]:
    """A circuit in words: whom it serves, its path with figures, where it falls over to."""
    lines = [
        f"{', '.join(map(short, circuit.intents))}",
        f"path {path_text(circuit.path.gateways)}: {path_figures(circuit.path.figures)}",
    ]
    if circuit.standby:
        lines.append(f"{falls_over(path_text(circuit.standby.gateways))}: {path_figures(circuit.standby.figures)}")
    if circuit.unmet:
        lines.append(f"falls short: {circuit.unmet}")
    return lines


def way_figures(way: DrawnWay) -> str:
    """What is predicted of one direction of a link, and what was observed where anything can have been."""
    link, seen = way.link, way.observed
    parts = [
        f"round trip {_pair(link.rtt_ms, ms, 'p90')}" + (f", observed {ms(seen.rtt_ms)}" if seen else ""),
        f"loss {_pair(link.loss, share, 'p90')}" + (f", observed {share(seen.loss)}" if seen else ""),
        f"free {_pair(link.free_bps, rate, 'p10')} of {rate(link.capacity_bps)}"
        + (f", in use {rate(seen.throughput_bps)}" if seen else ""),
        f"price {price(link.egress_price)}",
    ]
    return "; ".join(parts)


def edge_lines(edge: DrawnEdge, name: Callable[[str], str]) -> list[str]:
    """An edge in words: its ends and underlay, then one line where both directions are alike, else one each."""
    title = f"{name(edge.a)} ↔ {name(edge.b)} over {edge.underlay}"
    there = None if edge.there is None else way_figures(edge.there)
    back = None if edge.back is None else way_figures(edge.back)
    if there == back and there is not None:
        return [title, f"both ways: {there}"]
    return [
        title,
        *(
            f"{name(src)} → {name(dst)}: {said}"
            for src, dst, said in _directions(edge, there, back)
            if said is not None
        ),
    ]


def edge_label(edge: DrawnEdge) -> str:
    """Median round trip of an edge for where there is little room: the longer one, or both where they differ visibly;
    ``?`` where it is unknown."""
    ways = [way.link.rtt_ms for way in (edge.there, edge.back) if way is not None]
    known_ms = [one.median for one in ways if one is not None]
    if len(known_ms) == len(ways) and max(known_ms) <= ALIKE * min(known_ms):
        return ms(max(known_ms))
    return " / ".join(dict.fromkeys("?" if one is None else ms(one.median) for one in ways))


def edge_label_p90(edge: DrawnEdge) -> str:
    """Round trips as median and p90, both directions where they differ."""
    ways = [way for way in (edge.there, edge.back) if way is not None]
    return " / ".join(dict.fromkeys(_pair(way.link.rtt_ms, ms, "p90") for way in ways))


def _directions(edge: DrawnEdge, there: str | None, back: str | None) -> list[tuple[str, str, str | None]]:
    return [(edge.a, edge.b, there), (edge.b, edge.a, back)]


def _pair(figure: Figure | None, unit: Callable[[float | None], str], quantile: str) -> str:
    if figure is None:
        return UNKNOWN
    other = at_least(figure.median, figure.pessimistic) if quantile == "p90" else figure.pessimistic
    return f"{unit(figure.median)} ({quantile} {unit(other)})"
