"""Links of the mesh graph and what is predicted for them. Links are directed."""

from __future__ import annotations

from foremesh.model.manifest import Wire
from foremesh.model.resource import Role


class LinkId(Wire, frozen=True, kw_only=True):
    """A WireGuard adjacency from one gateway to another over one underlay."""

    src: str
    dst: str
    underlay: str = "internet"

    def __str__(self) -> str:
        return f"{self.src}->{self.dst}/{self.underlay}"

    @property
    def reverse(self) -> LinkId:
        return LinkId(src=self.dst, dst=self.src, underlay=self.underlay)


class Figure(Wire, frozen=True, kw_only=True):
    """A predicted quantity: its median, and the pessimistic quantile that requirements are checked on (the upper one
    of latency and loss, the lower one of bandwidth)."""

    median: float
    pessimistic: float


class Node(Wire, frozen=True, kw_only=True):
    """A gateway as the graph sees it."""

    id: str
    role: Role
    region: str = ""
    provider: str = ""
    risk_groups: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """Labels of its MeshResource, each as ``key=value``, sorted."""
    load: Figure | None = None
    """Share of what the gateway can carry, 0 to 1; None is unknown."""


class Course(Wire, frozen=True, kw_only=True):
    """What is predicted of a link step by step, soonest first, where it is forecast to change within the horizon. As
    many steps for all links and figures of a snapshot; of a figure that has none, what is predicted for the whole
    horizon holds for every step."""

    step_s: float
    """Seconds from step to step; the first one ends so long after the snapshot."""
    rtt_ms: tuple[Figure, ...] = ()
    loss: tuple[Figure, ...] = ()
    free_bps: tuple[Figure, ...] = ()

    @property
    def steps(self) -> int:
        return max(len(self.rtt_ms), len(self.loss), len(self.free_bps))


class PredictedLink(Wire, frozen=True, kw_only=True):
    """A link with the figures predicted for the horizon. None is unknown, never zero."""

    id: LinkId
    rtt_ms: Figure | None = None
    """Round trip between the two gateways over this link."""
    rtt_error_ms: float | None = None
    """How far forecasts of the round trip were off of late, on average, at the end of the horizon."""
    loss: Figure | None = None
    """Share of probes lost, 0 to 1."""
    jitter_ms: float | None = None
    """How much transit times from ``src`` to ``dst`` vary from probe to probe (RFC 3550's estimate), median."""
    free_bps: Figure | None = None
    """Capacity less predicted use, bit/s."""
    capacity_bps: float | None = None
    """What the two gateways declare they can carry, the smaller of the two, bit/s."""
    queueing_ms: float | None = None
    """How much the round trip rises with load: milliseconds for each unit of u / (1 - u), u being the share of
    ``capacity_bps`` in use, added up over both directions. None: not known to rise."""
    egress_price: float | None = None
    """US dollars per gigabyte leaving ``src`` over this link."""
    forecast_model: str = ""
    """Which forecaster gave the round-trip time."""
    course: Course | None = None
    """How the figures change over the horizon; None: not to speak of."""


class LinkFacts(Wire, frozen=True, kw_only=True):
    """What is known of one link beyond what its two gateways declare; None: as they declare it."""

    capacity_bps: float | None = None
    """What the link carries at most, bit/s."""
    egress_price: float | None = None
    """US dollars per gigabyte sent into it."""


class MeshGraph(Wire, frozen=True, kw_only=True):
    """An immutable snapshot: every gateway that takes part and every directed link between them, sorted by id."""

    nodes: tuple[Node, ...]
    links: tuple[PredictedLink, ...]
