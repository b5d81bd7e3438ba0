"""The world that policies are judged in: what happens on every link, minute by minute, whoever sends what.

Built once from a topology and a seed, and the same for every policy: a policy's own traffic is added when it asks what
is true. Its parameters come from measurement studies (``docs/reference/world.md``) and were fixed before any policy ran
in it; a change of any of them is a new ``WORLD_VERSION``. It judges nobody and plans nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foremesh.files import InputError
from foremesh.model.link import LinkId
from foremesh.model.series import Floats
from foremesh.simulation import demand as background
from foremesh.simulation.demand import DAY_MINUTES, KINDS, Demands, Kind, Singles
from foremesh.simulation.incidents import Incident, What, everyday_loss, strike
from foremesh.simulation.network import BUFFER_MS, Underlay, filled, lost
from foremesh.simulation.places import Topology, TopologyLink

WORLD_VERSION = 1
"""Of the world's parameters and of how it is made; results of different versions do not compare."""

START_S = 1736121600.0
"""Unix time of the first minute of the warm-up: Monday, 6 January 2025, 00:00 UTC."""

WARMUP_DAYS = 7
"""Days that forecasters may learn from before they are judged: each day of the week once."""

MINUTE_S = 60.0

PROBES = 60
"""Probes of a link in a minute: the agents send one a second."""

JITTER_MS, JITTER_QUEUED = 0.25, 0.5
"""Scatter of single probes about the minute's mean: milliseconds from hosts and routers that do not queue (RIPE Atlas
probes scatter by tenths of a millisecond: Holterbach et al., "Quantifying Interference between Measurements on the RIPE
Atlas Platform", IMC 2015), and as a share of the queueing delay (an exponential would have 1; probes a second apart see
a queue that has a memory, so their mean scatters less)."""

MOST_CELLS = 60_000_000
"""Links times minutes that are held: 17 bytes each, so a gigabyte."""

STREAMS = ("shares", "gravity", "clock", "walk", "days", "noise", "halves", "buffers", "loss", "cuts", "brown-outs",
           "losses", "reroutes", "probes", "luck")  # fmt: skip
"""Sources of randomness, each with a seed of its own: one that draws more does not disturb the others. Append only."""


@dataclass(frozen=True, eq=False, slots=True)
class LinkState:
    """Links over some minutes, each of shape (links, minutes)."""

    rtt_ms: Floats
    """Mean round trip of what got through; NaN where nothing did."""
    loss: Floats
    """Share of round trips that failed, 0 to 1."""
    throughput_bps: Floats
    """What the link carried in its direction, background and own."""
    free_bps: Floats
    """What it could have carried besides."""
    up: NDArray[np.bool_]
    """Whether anything could pass."""


class World:
    """What is true of every link at every minute; read-only.

    Built by ``build`` or ``replay.replay``.
    """

    def __init__(
        self,
        *,
        links: Sequence[LinkId],
        reverse: NDArray[np.intp],
        capacity_bps: Floats,
        buffer_ms: Floats,
        load_bps: Singles,
        base_ms: Singles,
        loss: Singles,
        up: NDArray[np.bool_],
        noise: NDArray[np.int16],
        luck: NDArray[np.uint16],
        start_s: float,
        warmup_minutes: int,
        incidents: tuple[Incident, ...] = (),
        kind: str = "",
    ) -> None:
        # Arrays over time are (minutes, links): a plan asks for a few minutes of all links.
        self.links = tuple(links)
        self.capacity_bps = capacity_bps
        """Shape (links,)."""
        self.start_s = start_s
        """Unix time of the first minute of the warm-up."""
        self.warmup_minutes = warmup_minutes
        self.minutes = len(load_bps)
        """In all, the warm-up included."""
        self.incidents = incidents
        """What happened, for reports; no policy may look."""
        self.kind = kind
        self._reverse = reverse
        self._buffer_ms = buffer_ms
        self._load_bps, self._base_ms, self._loss, self._up = load_bps, base_ms, loss, up
        self._noise, self._luck = noise, luck
        self._all_up: NDArray[np.bool_] = np.asarray(up.all(axis=1))

    def actual(self, minutes: slice, own_bps: Floats) -> LinkState:
        """What is true while own traffic is on the links.

        Args:
            minutes: Which, counted from the first minute of the warm-up.
            own_bps: Own traffic on each link, shape (links,) or (links, minutes); it loads them like any other.

        Returns:
            Round trips are the base plus queueing both ways; loss is of the round trip too. Cut links: NaN, 1, 0, 0.
        """
        load = self._load_bps[minutes] + (own_bps if own_bps.ndim == 1 else own_bps.T)
        used = load / self.capacity_bps
        queued_ms = filled(used) * self._buffer_ms
        rtt_ms = self._base_ms[minutes] + queued_ms + queued_ms[:, self._reverse]
        through = 1.0 - lost(used)
        loss = 1.0 - through * through[:, self._reverse] * (1.0 - self._loss[minutes])
        throughput_bps = np.minimum(load, self.capacity_bps)
        free_bps = self.capacity_bps - throughput_bps
        up = self._up[minutes]
        if not self._all_up[minutes].all():
            down = ~up
            rtt_ms[down] = np.nan
            loss[down] = 1.0
            throughput_bps[down] = free_bps[down] = 0.0
        return LinkState(rtt_ms.T, loss.T, throughput_bps.T, free_bps.T, up.T)

    def probed(self, minutes: slice, state: LinkState) -> LinkState:
        """What the probes and counters of these minutes say.

        Returns:
            The mean of the probes that came back, NaN where none did; the share lost of ``PROBES``; counters as they
            are.
        """
        truth_ms, risk = state.rtt_ms.T, state.loss.T
        u = (self._luck[minutes] + 0.5) / 65536
        failed = np.zeros(risk.shape)
        some = u > (1.0 - risk) ** PROBES
        if some.any():
            failed[some] = _failures(u[some], risk[some])
        answered = PROBES - failed
        queued_ms = truth_ms - self._base_ms[minutes]
        scatter = self._noise[minutes] * (np.float32(1 / NOISE_UNIT) * math.sqrt(PROBES))
        with np.errstate(divide="ignore", invalid="ignore"):
            rtt_ms = truth_ms + (JITTER_MS + JITTER_QUEUED * queued_ms) * scatter / np.sqrt(answered)
        if some.any():
            rtt_ms[answered == 0] = np.nan
        return LinkState(rtt_ms.T, (failed / PROBES).T, state.throughput_bps, state.free_bps, state.up)


NOISE_UNIT = 8192
"""Steps of one in the stored scatter, so that it fits two bytes."""


def build(
    topology: Topology,
    *,
    kind: Kind = "diurnal",
    days: float,
    seed: int,
    demands: Mapping[tuple[str, str], float] | None = None,
) -> World:
    """Make a world.

    Args:
        kind: How background traffic swings; the same seed has the same demands in the mean, incidents and probes in
            all.
        days: After the warm-up.
        seed: The same seed gives the same world.
        demands: Background traffic between places (by name) in any unit, in place of the topology's or of gravity; it
            is scaled to the utilisations drawn.

    Raises:
        ValueError: If the kind is unknown or the days are not positive.
        InputError: If it would not fit memory.
    """
    if kind not in KINDS or not days > 0:
        raise ValueError(
            f"a world of kind {kind!r} over {days:g} days; use one of {', '.join(KINDS)}, and days above 0"
        )
    links, warmup = topology.links, WARMUP_DAYS * DAY_MINUTES
    minutes = warmup + round(days * DAY_MINUTES)
    if minutes * len(links) > MOST_CELLS:
        cause = f"{len(links)} links for {minutes / DAY_MINUTES:g} days, the warm-up included, do not fit memory"
        most = int(MOST_CELLS / len(links) / DAY_MINUTES) - WARMUP_DAYS
        raise InputError(Path(topology.name), None, cause, f"simulate {max(1, most)} days, or a smaller topology")
    rng = dict(zip(STREAMS, map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(STREAMS))), strict=True))
    shape = _Shape(topology)
    capacity_bps = np.array([link.capacity_bps for link in links])
    incidents = strike(shape.corridors, shape.ends, shape.usual_ms, minutes, rng)
    load_bps = _loads(shape, kind, minutes, demands, capacity_bps, rng)
    up = np.ones((minutes, len(links)), dtype=bool)
    base_ms = np.broadcast_to(np.array([link.rtt_ms for link in links], np.float32), up.shape).copy()
    loss = np.broadcast_to(everyday_loss(len(shape.corridors), rng["loss"])[shape.corridor], up.shape).astype(
        np.float32
    )
    for one in incidents:
        struck = np.flatnonzero(shape.corridor == shape.corridors.index(one.corridor))
        if one.what is What.CUT:
            up[one.span, struck[:, None]] = False
        else:
            base_ms[one.span, struck] += np.float32(one.added_ms)
            loss[one.span, struck] = 1 - (1 - loss[one.span, struck]) * np.float32(1 - one.loss)
    _protect(load_bps, up, shape)
    noise = (rng["probes"].standard_gamma(PROBES, up.shape, dtype=np.float32) - PROBES) * np.float32(
        NOISE_UNIT / PROBES
    )
    return World(
        links=[link.id for link in links],
        reverse=shape.reverse,
        capacity_bps=capacity_bps,
        buffer_ms=rng["buffers"].uniform(*BUFFER_MS, len(links)),
        load_bps=load_bps,
        base_ms=base_ms,
        loss=loss,
        up=up,
        noise=np.rint(noise).astype(np.int16),
        luck=rng["luck"].integers(0, 65536, up.shape, dtype=np.uint16),
        start_s=START_S,
        warmup_minutes=warmup,
        incidents=incidents,
        kind=kind,
    )


class _Shape:
    """A topology in numbers."""

    def __init__(self, topology: Topology) -> None:
        links = topology.links
        self.topology = topology
        self.number = {place.name: row for row, place in enumerate(topology.places)}
        self.longitudes = np.array([place.longitude or 0.0 for place in topology.places])
        self.src = [self.number[link.src] for link in links]
        self.dst = [self.number[link.dst] for link in links]
        row = {(link.src, link.dst, link.underlay): index for index, link in enumerate(links)}
        self.reverse = np.array([row[link.dst, link.src, link.underlay] for link in links], dtype=np.intp)
        groups = [link.risk_group or _own_group(link) for link in links]
        self.corridors = list(dict.fromkeys(groups))
        self.corridor = np.array([self.corridors.index(group) for group in groups], dtype=np.intp)
        first = [groups.index(group) for group in self.corridors]
        self.ends = [(self.src[index], self.dst[index]) for index in first]
        self.usual_ms = np.array([links[index].rtt_ms for index in first])
        self.underlay = Underlay(len(self.number), self.src, self.dst, [link.rtt_ms for link in links])


def _own_group(link: TopologyLink) -> str:
    return "--".join(sorted((link.src, link.dst))) + f"/{link.underlay}"


def _loads(
    shape: _Shape,
    kind: Kind,
    minutes: int,
    demands: Mapping[tuple[str, str], float] | None,
    capacity_bps: Floats,
    rng: dict[str, np.random.Generator],
) -> Singles:
    """Background traffic offered to every link, shape (minutes, links), while nothing is cut."""
    busy = background.busy_shares(shape.corridor, rng["shares"])
    published = demands if demands is not None else shape.topology.demands
    known = {(shape.number[src], shape.number[dst]): rate for (src, dst), rate in published.items()}
    paths = [shape.underlay.paths(place) for place in range(len(shape.number))]
    pairs, links, weights = background.gravity(paths, known, rng["gravity"])
    sends = Demands(
        src=np.array([src for src, _ in pairs], dtype=np.intp),
        dst=np.array([dst for _, dst in pairs], dtype=np.intp),
        links=tuple(links),
        mean_bps=background.fit(links, weights, busy * capacity_bps),
    )
    senders = [np.array([], dtype=np.intp)] * len(capacity_bps)
    members: list[list[int]] = [[] for _ in capacity_bps]
    for pair, path in enumerate(links):
        for link in path:
            members[link].append(pair)
    senders = [np.array(one, dtype=np.intp) for one in members]
    days = math.ceil(minutes / DAY_MINUTES)
    load = np.empty((days * DAY_MINUTES, len(capacity_bps)), dtype=np.float32)
    swings = background.traffic(sends, kind=kind, longitudes=shape.longitudes, start_s=START_S, days=days, rng=rng)
    for day, rates in enumerate(swings):
        for link, rows in enumerate(senders):
            # Sums, not a matrix product: the same to the last bit on any number of processors.
            load[day * DAY_MINUTES : (day + 1) * DAY_MINUTES, link] = rates[rows].sum(axis=0)
    load = load[:minutes]
    reached = np.percentile(load[::5], 95, axis=0) / capacity_bps
    load *= np.float32(1 / np.median(reached / busy))
    return load


def _protect(load_bps: Singles, up: NDArray[np.bool_], shape: _Shape) -> None:
    """Where a link is cut, its background traffic takes the shortest way around within the minute (RFC 4090)."""
    if up.all():
        return
    changes = np.flatnonzero((up[1:] != up[:-1]).any(axis=1)) + 1
    for start, stop in zip([0, *changes], [*changes, len(up)], strict=True):
        cut = np.flatnonzero(~up[start])
        if not len(cut):
            continue
        moved = load_bps[start:stop, cut].copy()
        load_bps[start:stop, cut] = 0.0
        for column, link in enumerate(cut):
            for other in shape.underlay.detour(shape.src[link], shape.dst[link], cut.tolist()):
                load_bps[start:stop, other] += moved[:, column]


def _failures(u: Floats, risk: Floats) -> Floats:
    """How many of a minute's probes are lost where luck is ``u``: the binomial distribution, turned around."""
    lost_so_far = np.zeros(len(u))
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = risk / (1.0 - risk)
        at = (1.0 - risk) ** PROBES
        below = at.copy()
        for count in range(PROBES):
            more = u > below
            if not more.any():
                break
            lost_so_far[more] += 1
            at = at * odds * ((PROBES - count) / (count + 1))
            below = below + np.where(np.isfinite(at), at, 0.0)
    lost_so_far[risk >= 1.0] = PROBES
    return lost_so_far
