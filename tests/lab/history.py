"""The past of a lab's links, for Prometheus to be filled with: what the agents would have measured in the days before.

Computed from the same functions of time that the emulator runs on packets, so that what a forecaster learns here goes
on when live measurements take over. Text only; it starts nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.scenes import Topology

WEEK_S = 7 * 86_400.0
"""Seconds of history: enough to tell a day's rhythm from a trend."""

SAMPLE_EVERY_S = 120.0
"""Seconds between two samples of a series: five-minute rates see two, and a week of 20 links takes seconds to load."""

PROBE_EVERY_S = 1.0
"""Seconds between two probes of a link: what agents do."""

PROBE_OCTETS = 116
"""Bytes of WireGuard that one probe, or its answer, puts on a link."""

GATEWAYS_MS = 0.8
"""Milliseconds that two userspace WireGuards and the agents add to a round trip on an unloaded machine."""

NOISE = 0.01
"""Standard deviation of slow noise as a share of a link's round trip: real links are never as smooth as a cosine."""

NOISE_MEMORY_S = 1800.0
"""Seconds over which that noise forgets: queues build up and drain over minutes to an hour."""


@dataclass(slots=True)
class _Counters:
    rtt_sum_s: float = 0.0
    answered: int = 0
    sent: int = 0
    lost: int = 0
    octets: int = 0


def write(
    path: Path,
    topology: Topology,
    *,
    namespace: str,
    underlay: str,
    end_s: float,
    length_s: float = WEEK_S,
    every_s: float = SAMPLE_EVERY_S,
) -> int:
    """Write OpenMetrics text with the counters of every link, as if agents had counted since ``end_s - length_s``.

    Args:
        path: The file; it is replaced.
        topology: Gateways and the ways between them; equal topologies and times give equal files.
        namespace: Of the gateways' MeshResources: a gateway's id is ``namespace/name``.
        underlay: Name of the network the links are on.
        end_s: Unix time of the newest sample at the latest; not in the future, or Prometheus refuses live samples.
        length_s: Seconds from the oldest to the newest sample.
        every_s: Seconds between samples.

    Returns:
        The number of samples written.
    """
    links = [(src, dst) for src, dst in topology.pairs if (dst, src) in topology.pairs]
    steps = int(length_s / every_s)
    times = [end_s - (steps - step) * every_s for step in range(steps + 1)]
    columns: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for src, dst in links:
        labels = f'src="{namespace}/{src}",dst="{namespace}/{dst}",link="{underlay}"'
        for at_s, counters in zip(times, _count(topology, src, dst, times), strict=True):
            stamp = f"{at_s:.3f}"
            rtt = columns["foremesh_link_rtt_seconds"]
            rtt.append(f'foremesh_link_rtt_seconds_bucket{{{labels},le="+Inf"}} {counters.answered} {stamp}')
            rtt.append(f"foremesh_link_rtt_seconds_sum{{{labels}}} {counters.rtt_sum_s:.6f} {stamp}")
            rtt.append(f"foremesh_link_rtt_seconds_count{{{labels}}} {counters.answered} {stamp}")
            for name, value in (
                ("foremesh_link_probes_sent", counters.sent),
                ("foremesh_link_probes_lost", counters.lost),
                ("foremesh_link_transmit_bytes", counters.octets),
            ):
                columns[name].append(f"{name}_total{{{labels}}} {value} {stamp}")
    with path.open("w") as out:
        for name, kind in FAMILIES.items():
            out.write(f"# TYPE {name} {kind}\n")
            out.write("\n".join(columns[name]) + "\n")
        out.write("# EOF\n")
    return sum(map(len, columns.values()))


FAMILIES = {
    "foremesh_link_rtt_seconds": "histogram",
    "foremesh_link_probes_sent": "counter",
    "foremesh_link_probes_lost": "counter",
    "foremesh_link_transmit_bytes": "counter",
}
"""The metrics written, and their types."""


def _count(topology: Topology, src: str, dst: str, times: list[float]) -> Iterator[_Counters]:
    """A link's counters at each time; the same object is changed and given again."""
    there, back = topology.pairs[src, dst], topology.pairs[dst, src]
    chance = random.Random(f"{topology.seed} {src} {dst}")
    counters, slow, before_s = _Counters(), 0.0, times[0]
    for at_s in times:
        probes = round((at_s - before_s) / PROBE_EVERY_S)
        if probes:
            keep = math.exp(-(at_s - before_s) / NOISE_MEMORY_S)
            slow = keep * slow + math.sqrt(1 - keep * keep) * chance.gauss(0, 1)
            loss = 1 - (1 - there.loss_at(at_s)) * (1 - back.loss_at(at_s))
            lost = _binomial(chance, probes, loss)
            rtt_ms = there.delay_ms_at(at_s) + back.delay_ms_at(at_s)
            # The mean of many probes: each way's jitter is even, with a variance of a third of its square.
            jitter_ms = math.sqrt((there.jitter_ms**2 + back.jitter_ms**2) / 3 / max(probes - lost, 1))
            rtt_ms += GATEWAYS_MS + abs(slow) * NOISE * rtt_ms + chance.gauss(0, jitter_ms)
            counters.sent += probes
            counters.lost += lost
            counters.answered += probes - lost
            counters.rtt_sum_s += (probes - lost) * rtt_ms / 1e3
            # Own probes, and the answers to those of the other end.
            counters.octets += 2 * probes * PROBE_OCTETS
        before_s = at_s
        yield counters


def _binomial(chance: random.Random, trials: int, probability: float) -> int:
    if not probability:
        return 0
    return sum(chance.random() < probability for _ in range(trials))
