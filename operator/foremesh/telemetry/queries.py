"""What Prometheus is asked, in PromQL. The agents' exporter (``foremesh_link_*``) is the other half of this contract.

Every query answers for all links at once and keeps only the labels that name a series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from foremesh.model.link import LinkId
from foremesh.model.series import Metric, SeriesKey

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

QUERIES: Final[Mapping[Metric, str]] = {
    Metric.RTT: LINK_RTT_MS,
    Metric.LOSS: LINK_LOSS,
    Metric.THROUGHPUT: LINK_THROUGHPUT_BPS,
    Metric.LOAD: GATEWAY_LOAD,
}


def link_key(labels: Mapping[str, str]) -> SeriesKey:
    """The link that a result's labels name."""
    return LinkId(src=labels["src"], dst=labels["dst"], underlay=labels["link"])


def gateway_key(labels: Mapping[str, str]) -> SeriesKey:
    """The gateway that a result's labels name."""
    return labels["gateway"]


KEYS: Final[Mapping[Metric, Callable[[Mapping[str, str]], SeriesKey]]] = {
    Metric.RTT: link_key,
    Metric.LOSS: link_key,
    Metric.THROUGHPUT: link_key,
    Metric.LOAD: gateway_key,
}


def query(metric: Metric, rate_window_s: float) -> str:
    """The query for a metric, with rates over a window of whole seconds."""
    return QUERIES[metric].format(window=f"{round(rate_window_s)}s")
