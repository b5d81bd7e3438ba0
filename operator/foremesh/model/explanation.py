"""Why an Intent is where it is: what the operator says in ``status``, the mesh API and ``foremesh explain`` alike."""

from __future__ import annotations

from foremesh.model.circuit import Figures
from foremesh.model.intent import Profile, Requirements
from foremesh.model.manifest import Spec
from foremesh.model.plan import Infeasible
from foremesh.model.policy import AppliedPolicy


class LinkForecast(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What the choice took a link's round trip to be."""

    link: str
    """``src->dst/underlay``."""
    model: str = ""
    """The forecaster; empty: its round trip is not known."""
    reason: str = ""
    rtt_ms: float | None = None
    rtt_p90_ms: float | None = None


class Explanation(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Why one source of an Intent is where it is; what fits into a status."""

    source: str
    """The MeshResource (``namespace/name``) that it is about."""
    weights: dict[str, float] = {}
    """Importance of each term of the cost, once policies have had their word."""
    terms: dict[str, float] = {}
    """The path's cost, term by term; terms that are nothing are left out."""
    assumed: dict[str, str] = {}
    """By term of the cost, what it rests on that nobody knows, and what that counts as; in words."""
    policies: tuple[AppliedPolicy, ...] = ()
    """Those that overrule others first."""
    forecasts: tuple[LinkForecast, ...] = ()
    """Link by link along the path."""


class Contender(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A path that was not chosen."""

    path: str
    destination: str = ""
    """Where it leads; empty: where the path chosen does."""
    predicted: Figures
    extra_cost: float
    """What it costs more than the path chosen; negative where it costs less."""
    extra_terms: dict[str, float] = {}
    lost: str = ""
    """Why it was not chosen, in a sentence."""


class Explained(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One source of an Intent with everything that there is to say."""

    state: str
    """``Placed``, ``Unmet`` (traffic stays on a path that misses a requirement) or ``NotPlaced``."""
    because: Explanation
    destination: str = ""
    circuit: str = ""
    path: str = ""
    standby: str = ""
    predicted: Figures | None = None
    kept: bool = False
    reason: str = ""
    runners_up: tuple[Contender, ...] = ()
    infeasible: Infeasible | None = None
    problem: str = ""
    """Why its placement is not carried out, where it is not."""


class IntentExplanation(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """An Intent with the story of each of its sources."""

    intent: str
    profile: Profile
    priority: int = 0
    requirements: Requirements = Requirements()
    problem: str = ""
    """Why it is about nobody; and of telemetry, where that is away."""
    notes: tuple[str, ...] = ()
    """What a person may have meant otherwise: names that nobody has, sources left out."""
    placements: tuple[Explained, ...] = ()
