"""What pictures and reports are drawn from: plain values, filled by whoever plans or simulates.

Nothing here decides, measures or simulates; a figure that is None, or NaN in a series, is unknown and drawn so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from foremesh.model.link import LinkId, Node, PredictedLink
from foremesh.model.plan import Path
from foremesh.model.series import Floats


@dataclass(frozen=True)
class LinkObserved:
    """What was measured last of one link, in its own direction."""

    rtt_ms: float | None = None
    loss: float | None = None
    """Share of probes lost, 0 to 1."""
    throughput_bps: float | None = None
    """What the link carries, bit/s."""


@dataclass(frozen=True)
class DrawnGateway:
    """A gateway and where it stands; degrees, None where nobody said."""

    node: Node
    name: str
    """Short name where it is unique in the mesh, else the id."""
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class DrawnWay:
    """One direction of an edge."""

    link: PredictedLink
    observed: LinkObserved | None = None
    """None where nothing of the mesh can have been observed, such as a plan from files; words for it are left out."""


@dataclass(frozen=True)
class DrawnEdge:
    """Two gateways and one underlay: both directions, of which one may be missing. ``a`` sorts before ``b``."""

    a: str
    b: str
    underlay: str
    there: DrawnWay | None
    """From a to b."""
    back: DrawnWay | None

    @property
    def key(self) -> EdgeKey:
        return self.a, self.b, self.underlay


@dataclass(frozen=True)
class DrawnCircuit:
    """Placements that one circuit carries, and its paths."""

    id: str
    """The Circuit's id, or text made from intent and source where no circuit is known yet."""
    intents: tuple[str, ...]
    path: Path
    standby: Path | None = None
    unmet: str = ""
    """Why the path falls short of what was asked, if it does and is kept all the same."""


@dataclass(frozen=True)
class Unplaced:
    """An intent from one source that has no circuit, and why."""

    intent: str
    source: str
    why: str


@dataclass(frozen=True)
class MeshPicture:
    """All that a picture of the mesh shows; every tuple sorted, so that equal meshes give equal pictures."""

    gateways: tuple[DrawnGateway, ...]
    edges: tuple[DrawnEdge, ...]
    circuits: tuple[DrawnCircuit, ...] = ()
    local: tuple[str, ...] = ()
    """Intents with both ends at one gateway: no circuit is needed."""
    unplaced: tuple[Unplaced, ...] = ()

    @property
    def observed(self) -> bool:
        """Whether links can tell what was measured."""
        return any(
            way is not None and way.observed is not None for edge in self.edges for way in (edge.there, edge.back)
        )


@dataclass(frozen=True, eq=False)
class Series:
    """Round trips of one placed intent over the time that was played, on one grid; NaN where unknown or lost.

    Raises:
        ValueError: If the arrays differ in length, or the step is not positive.
    """

    start_s: float
    """Unix time of the first sample."""
    actual_ms: Floats
    """What was true of the path that the intent was on."""
    forecast_ms: Floats
    """Median that was predicted for that time when the path was chosen."""
    high_ms: Floats
    """The pessimistic quantile that was predicted with it; the band reaches up to it."""
    low_ms: Floats | None = None
    """Where the band begins; None: at the median."""
    violated: np.ndarray | None = None
    """Whether any requirement was missed, latency or not; None: wherever the round trip is over the limit."""
    step_s: float = 60.0

    def __post_init__(self) -> None:
        arrays = [self.actual_ms, self.forecast_ms, self.high_ms]
        arrays += [one for one in (self.low_ms, self.violated) if one is not None]
        lengths = {np.shape(one) for one in arrays}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"series have shapes {sorted(lengths)}; all of them need one and the same length")
        if not self.step_s > 0:
            raise ValueError(f"the step is {self.step_s} s; it must be positive")


@dataclass(frozen=True)
class ReportMove:
    """A circuit moved, or lost or found its place."""

    at_s: float
    """Unix time."""
    before: str
    """The path as text, ``a > b > c``; empty: it had none."""
    after: str
    """The same; empty: it was left without a path."""
    reason: str = ""


@dataclass(frozen=True)
class ReportIntent:
    """One intent from one source, as the policy that the report is about served it."""

    name: str
    """The Intent's id."""
    asked: str
    """Its requirements in words: ``at most 40 ms, at least 200M``."""
    source: str = ""
    destination: str = ""
    path: str = ""
    """As text, at the end of the time played; empty: none."""
    limit_ms: float | None = None
    """Round trip asked for, end to end."""
    predicted_ms: float | None = None
    """Median predicted for the path, on average over the time played."""
    actual_ms: float | None = None
    """Mean round trip that it had."""
    forecasters: tuple[str, ...] = ()
    """Which forecasters gave the round trips of the path's links, by the last plan."""
    error_ms: float | None = None
    """How far the predicted median was off, on average over the minutes with a path."""
    below_p90: float | None = None
    """Share of those minutes in which the round trip was no longer than the pessimistic quantile, 0 to 1."""
    moves: tuple[ReportMove, ...] = ()
    violation_minutes: float | None = None
    """Minutes in which a requirement was missed, or there was no path."""
    unplaced_minutes: float | None = None
    """Those of them that are of an intent without a path in any minute."""
    why_not: str = ""
    """Why it has no path, or one that falls short."""
    series: Series | None = None


@dataclass(frozen=True)
class ReportPolicy:
    """Scores of one way to choose paths over the same world; None: not worked out."""

    name: str
    about: str = ""
    """One line on how it chooses."""
    violation_minutes: float | None = None
    unplaced_minutes: float | None = None
    """Those of them that are of intents without a path in any minute."""
    mean_latency_ms: float | None = None
    p95_latency_ms: float | None = None
    moves_per_day: float | None = None
    egress_usd: float | None = None
    gap_closed: float | None = None
    """Share of the way from the best reactive policy to the oracle, 0 to 1; negative: worse than the former."""
    plan_seconds: float | None = None


@dataclass(frozen=True)
class Applied:
    """What one member would be told to set up: texts by title, such as ``wireguard``, ``nftables``, ``config``."""

    member: str
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Everything the HTML report shows."""

    title: str
    summary: str
    """Two or three plain sentences: what was played, over what time, with what outcome."""
    simulated: tuple[str, ...]
    """What in the report is made up by a program, one statement each."""
    real: tuple[str, ...]
    """What is the real thing: code and texts that a mesh would run."""
    mesh: MeshPicture
    intents: tuple[ReportIntent, ...]
    policies: tuple[ReportPolicy, ...] = ()
    policy: str = ""
    """Name of the policy that intents, plots and moves are about."""
    verdict: tuple[str, ...] = ()
    """Who won, in sentences."""
    gap_text: str = ""
    """What "gap closed" means."""
    applied: tuple[Applied, ...] = ()


def missed(one: ReportIntent | ReportPolicy) -> float | None:
    """Minutes in which a requirement was missed by intents that had a path at some time."""
    return None if one.violation_minutes is None else one.violation_minutes - (one.unplaced_minutes or 0.0)


EdgeKey = tuple[str, str, str]
"""Both gateways, sorted, and the underlay."""


def edge_key(link: LinkId) -> EdgeKey:
    """The edge that a link is a direction of."""
    return min(link.src, link.dst), max(link.src, link.dst), link.underlay


LinkFigures = Mapping[LinkId, LinkObserved]
"""What was measured last, by link."""
