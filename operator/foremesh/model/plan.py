"""What the routing engine answers: for each intent and source a path, or why there is none."""

from __future__ import annotations

from foremesh.model.circuit import Figures
from foremesh.model.link import LinkId
from foremesh.model.manifest import Wire


class Path(Wire, frozen=True, kw_only=True):
    """A way through the mesh with what is predicted for it."""

    gateways: tuple[str, ...]
    links: tuple[LinkId, ...]
    figures: Figures
    terms: dict[str, float] = {}
    """The cost term by term; their sum is ``figures.cost``."""
    forecast_models: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The path for people: gateway names without their namespace."""
        return " > ".join(gateway.rpartition("/")[2] for gateway in self.gateways)


class Infeasible(Wire, frozen=True, kw_only=True):
    """Why nothing fits: the requirement that binds, what it asks and the nearest that can be had."""

    requirement: str
    """The field in the Intent (``maxLatency``), or ``candidates``, ``gateways``, ``connectivity``, ``policy``."""
    asked: str
    nearest: str
    """The nearest feasible figure with its unit, or empty where no relaxation of this requirement alone would do."""
    message: str


class Placement(Wire, frozen=True, kw_only=True):
    """One intent from one source: the destination chosen and the path to it, or why there is none."""

    intent: str
    source: str
    destination: str | None = None
    path: Path | None = None
    runners_up: tuple[Path, ...] = ()
    standby: Path | None = None
    """Where to fall over to: between the same two gateways, as disjoint from ``path`` as can be; None if it was not
    asked for or there is no other way."""
    infeasible: Infeasible | None = None
    """Why no path meets the requirements. With a path, that is the least bad one: the traffic was there already."""
    kept: bool = False
    """The path in use stays although another is cheaper, because the gain is within the margin."""
    reason: str = ""


class Plan(Wire, frozen=True, kw_only=True):
    """Every placement, sorted by intent and source; a pure function of its inputs."""

    made_at_s: float
    """Unix time of the newest input."""
    placements: tuple[Placement, ...]
