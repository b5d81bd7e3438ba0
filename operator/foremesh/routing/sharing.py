"""What several demands ask together of the circuit that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from msgspec import structs

from foremesh.model.units import Milliseconds
from foremesh.routing.ask import Ask, traffic_bps
from foremesh.routing.demand import Option
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.policy import Effective, tighten


def asked_together(pair: Pair, parts: Sequence[tuple[Job, Option]]) -> Ask | None:
    """What several demands ask of the path between two gateways; None if nothing can do."""
    effective = reduce(_both, (_gateway_to_gateway(one, pair, part) for one, part in parts))
    if effective is None:
        return None
    return Ask(
        sources={pair[0]: 0.0},
        destinations={pair[1]: 0.0},
        requirements=effective.requirements,
        weights=effective.weights,
        traffic_bps=traffic_bps(effective.requirements),
        prefer=effective.prefer,
        through=effective.through,
    )


def _gateway_to_gateway(job: Job, pair: Pair, option: Option) -> Effective | None:
    """What a demand asks of the path between its gateways: its latency less that of its attachments."""
    needs = option.effective.requirements
    if needs.max_latency is None:
        return option.effective
    offsets = (job.demand.source_gateways[pair[0]], option.destinations[pair[1]])
    known = [rtt_ms for rtt_ms in offsets if rtt_ms is not None]
    left = needs.max_latency - sum(known)
    if len(known) < len(offsets) or left < 0:
        return None
    return replace(option.effective, requirements=structs.replace(needs, max_latency=Milliseconds(left)))


def _both(one: Effective | None, other: Effective | None) -> Effective | None:
    return None if one is None or other is None else tighten(one, other)
