"""What the routing engine answers: for each intent and source a path, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from foremesh.model.circuit import Figures
from foremesh.model.link import LinkId
from foremesh.model.manifest import Wire


def way_text(gateways: Iterable[str], underlays: Sequence[str] = ()) -> str:
    """A path for people: gateway names without their namespace, each with the underlay that leads to it where one is
    named: ``ams > fra (mpls) > lon``."""
    names = [gateway.rpartition("/")[2] for gateway in gateways]
    if not underlays:
        return " > ".join(names)
    over = ["", *(f" ({one})" if one else "" for one in underlays)]
    return " > ".join(name + told for name, told in zip_longest(names, over, fillvalue=""))


class Path(Wire, frozen=True, kw_only=True):
    """A way through the mesh with what is predicted for it."""

    gateways: tuple[str, ...]
    links: tuple[LinkId, ...]
    figures: Figures
    terms: dict[str, float] = {}
    """The cost term by term; their sum is ``figures.cost``."""
    forecast_models: tuple[str, ...] = ()
    underlays: tuple[str, ...] = ()
    """By link, the underlay that it runs over where several join its two gateways, else empty; none at all where there
    is no such link."""

    @property
    def text(self) -> str:
        """The path for people; of parallel underlays, it says which."""
        return way_text(self.gateways, self.underlays)


class Shortfall(Wire, frozen=True, kw_only=True):
    """How near the network comes to one requirement that is asked together with others."""

    requirement: str
    asked: str
    policy: str = ""
    """The MeshPolicies that imposed it; empty: the Intent asks it itself."""
    best: str = ""
    """The best that can be had if nothing else is asked, ``any`` for a bandwidth that no link limits; empty for
    requirements on gateways, if it is not known, and where nobody has looked."""
    nearest: str = ""
    """The least that this one has to be relaxed to, all others kept; empty if that alone would not help."""
    path: str = ""
    """The path that it admits."""


class Infeasible(Wire, frozen=True, kw_only=True):
    """Why nothing fits: the requirement that binds, what it asks and the nearest that can be had."""

    requirement: str
    """The field in the Intent (``maxLatency``; ``dedicated`` where it does not fit onto the path of those that it
    shares a circuit with, and would have one by itself), or ``candidates``, ``gateways``, ``connectivity``,
    ``policy``."""
    asked: str
    nearest: str
    """The nearest feasible figure with its unit, or empty where no relaxation of this requirement alone would do."""
    message: str
    preempted_by: tuple[str, ...] = ()
    """Intents of higher priority that have the bandwidth now by which it was carried."""
    shortfalls: tuple[Shortfall, ...] = ()
    """Every requirement, as far as which of them binds is a question of figures."""


class Placement(Wire, frozen=True, kw_only=True):
    """One intent from one source: the destination chosen and the path to it, or why there is none."""

    intent: str
    source: str
    destination: str | None = None
    path: Path | None = None
    runners_up: tuple[Path, ...] = ()
    runners_up_to: tuple[str, ...] = ()
    """By runner-up, where it leads; empty: to the destination chosen."""
    standby: Path | None = None
    """Where to fall over to: between the same two gateways, as disjoint from ``path`` as can be; None if it was not
    asked for or there is no other way."""
    standby_reserved: bool = False
    """Whether the bandwidth asked for is kept on the standby as well, for any one failure."""
    infeasible: Infeasible | None = None
    """Why no path meets the requirements. With a path, that is the least bad one: the traffic was there already."""
    kept: bool = False
    """The path in use stays although another is cheaper: the gain is within the margin, or the move not due yet."""
    reason: str = ""


class Plan(Wire, frozen=True, kw_only=True):
    """Every placement, sorted by intent and source; a pure function of its inputs."""

    made_at_s: float
    """Unix time of the newest input."""
    placements: tuple[Placement, ...]
