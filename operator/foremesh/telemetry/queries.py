"""What Prometheus is asked, in PromQL. The agents' exporter (``foremesh_link_*``, ``foremesh_circuit_*``) is the other
half of this contract.

Every query answers for all series of a metric at once and keeps only the labels that name one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey

LINK_RTT_MS: Final = (
    "1000 * sum by (src, dst, link) (rate(foremesh_link_rtt_seconds_sum[{window}]))"
    " / sum by (src, dst, link) (rate(foremesh_link_rtt_seconds_count[{window}]))"
)
"""Mean of the probes answered within the window. Sum over count and not ``histogram_quantile``, whose answer is only as
fine as the buckets. With no answer it is 0/0, NaN: unknown, as it should be."""

LINK_LOSS: Final = (
    "clamp_max(sum by (src, dst, link) (rate(foremesh_link_probes_lost_total[{window}]))"
    " / sum by (src, dst, link) (rate(foremesh_link_probes_sent_total[{window}])), 1)"
)
"""Lost over sent. A probe counts as lost a timeout after it was sent, so a window may see more lost than sent."""

LINK_THROUGHPUT_BPS: Final = "8 * max by (src, dst, link) (rate(foremesh_link_transmit_bytes_total[{window}]))"
"""Bit/s sent into the link. ``max`` and not ``sum``: one agent counts a link, and if it is scraped twice, under two
jobs, its bytes must not count twice."""

LINK_UTILISATION: Final = (
    "8 * max by (src, dst, link) (rate(foremesh_link_transmit_bytes_total[{window}]))"
    " / max by (src, dst, link) (foremesh_link_capacity_bps)"
)
"""Share of what both gateways declare that they can carry, the smaller of the two, which the operator exports. Nothing
where one does not say. The chart records it as ``foremesh:link_utilisation:ratio``; no plan rests on it."""

GATEWAY_LOAD: Final = "max by (gateway) (avg_over_time(foremesh_gateway_load_ratio[{window}]))"
"""Mean over the same window as the rates, so that one busy instant is not taken for the level."""

LINK_JITTER_MS: Final = (
    '1000 * max by (src, dst, link) (avg_over_time(foremesh_link_jitter_seconds{{direction="forward"}}[{window}]))'
)
"""How much transit times from ``src`` to ``dst`` vary; the way back is the other gateway's to tell."""

CIRCUIT_DEMAND_BPS: Final = "8 * max by (src, dst, circuit) (rate(foremesh_circuit_transmit_bytes_total[{window}]))"
"""Bit/s that one end sends into a circuit; the other end's series is the way back. End-to-end probes are in it, about a
kbit/s each."""

RULE_WINDOW_S: Final = 60.0
"""Seconds that recorded rates look back: four scrapes at the chart's interval, as ``prometheus.rateWindow``."""

QUERIES: Final[Mapping[Metric, str]] = {
    Metric.RTT: LINK_RTT_MS,
    Metric.LOSS: LINK_LOSS,
    Metric.THROUGHPUT: LINK_THROUGHPUT_BPS,
    Metric.LOAD: GATEWAY_LOAD,
    Metric.JITTER: LINK_JITTER_MS,
    Metric.DEMAND: CIRCUIT_DEMAND_BPS,
}


def link_key(labels: Mapping[str, str]) -> SeriesKey:
    """The link that a result's labels name."""
    return LinkId(src=labels["src"], dst=labels["dst"], underlay=labels["link"])


def flow_key(labels: Mapping[str, str]) -> SeriesKey:
    """The flow that a result's labels name."""
    return Flow(src=labels["src"], dst=labels["dst"], circuit=labels["circuit"])


def gateway_key(labels: Mapping[str, str]) -> SeriesKey:
    """The gateway that a result's labels name."""
    return labels["gateway"]


KEYS: Final[Mapping[Metric, Callable[[Mapping[str, str]], SeriesKey]]] = {
    Metric.RTT: link_key,
    Metric.LOSS: link_key,
    Metric.THROUGHPUT: link_key,
    Metric.LOAD: gateway_key,
    Metric.JITTER: link_key,
    Metric.DEMAND: flow_key,
}


RECORDED: Final[Mapping[Metric, tuple[str, str]]] = {
    Metric.RTT: ("foremesh:link_rtt:milliseconds", "src, dst, link"),
    Metric.LOSS: ("foremesh:link_loss:ratio", "src, dst, link"),
    Metric.THROUGHPUT: ("foremesh:link_throughput:bps", "src, dst, link"),
    Metric.LOAD: ("foremesh:gateway_load:ratio", "gateway"),
    Metric.JITTER: ("foremesh:link_jitter:milliseconds", "src, dst, link"),
    Metric.DEMAND: ("foremesh:circuit_demand:bps", "src, dst, circuit"),
}
"""What the chart records of each metric, and the labels that name a series."""


def query(metric: Metric, rate_window_s: float) -> str:
    """The query for a metric, with rates over a window of whole seconds."""
    return QUERIES[metric].format(window=f"{round(rate_window_s)}s")


def recorded_query(metric: Metric, window_s: float) -> str:
    """The same of what rules recorded: means over a window, of one series instead of many counters.

    Averaged over labels that others add, such as the replica that a copy came from.
    """
    name, labels = RECORDED[metric]
    return f"avg by ({labels}) (avg_over_time({name}[{round(window_s)}s]))"


def rule(metric: Metric) -> str:
    """What the rule of a metric evaluates. What is unknown is not recorded: one NaN would make a mean of many NaN."""
    asked = query(metric, RULE_WINDOW_S)
    return f"({asked}) >= 0" if metric in (Metric.RTT, Metric.LOSS) else asked
