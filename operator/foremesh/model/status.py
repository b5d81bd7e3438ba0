"""What the operator says back in ``status``, kind by kind; a Circuit's is in ``model.circuit``.

These mirror the CRDs field by field. A status is written when a condition, a path or an allocation changes, never for a
new figure alone. Readers ignore what they do not know, so an older operator can take over from a newer one.
"""

from __future__ import annotations

from foremesh.model.circuit import Condition, Figures
from foremesh.model.explanation import Explanation
from foremesh.model.manifest import Spec
from foremesh.model.plan import Infeasible


class ResourceStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What the mesh allocated to a MeshResource and how it is reached."""

    number: int | None = None
    """A gateway's number in the mesh's blocks; its addresses follow from it, so it never changes."""
    mesh_address: str = ""
    """The address that applications use; it is routed only inside the mesh."""
    mesh_prefix: str = ""
    """The prefix that a gateway hands addresses out of."""
    attached_to: tuple[str, ...] = ()
    """Gateway ids (``namespace/name``) that a workload attaches to, the preferred one first."""
    agent_secret: str = ""
    """Name of the Secret, in the resource's namespace, that holds the agent's token."""
    last_beacon_time: str = ""
    """RFC 3339 time of the agent's newest beacon when this status was written; empty if it never sent one."""
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class PlacementStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One source of an Intent: where it was placed, or why it was not."""

    source: str
    """The MeshResource (``namespace/name``) that talks."""
    destination: str = ""
    circuit: str = ""
    """The Circuit (``namespace/name``) that carries it; empty if source and destination share a gateway."""
    path: str = ""
    reason: str = ""
    infeasible: Infeasible | None = None


class RunnerUp(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A path that was not chosen, and what was predicted for it."""

    path: str
    destination: str = ""
    """Where it leads; empty: where the path chosen does."""
    predicted: Figures | None = None
    extra_cost: float | None = None
    """What it costs more than the path chosen."""
    lost: str = ""
    """Why it was not chosen, in a sentence."""


class IntentStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What became of an Intent. Where it has several sources, ``path``, the figures and the runners-up are those of
    the source whose prediction is worst; ``placements`` has them all."""

    path: str = ""
    """Gateway names from end to end, joined by ``>``."""
    destination: str = ""
    circuits: tuple[str, ...] = ()
    placements: tuple[PlacementStatus, ...] = ()
    predicted: Figures | None = None
    observed: Figures | None = None
    forecast_model: str = ""
    runners_up: tuple[RunnerUp, ...] = ()
    explanation: Explanation | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ShadowExample(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What a policy in shadow would do to one source of an Intent."""

    intent: str
    source: str
    path: str = ""
    """Where it is now."""
    new_path: str = ""
    """Where it would go; empty: nowhere."""
    message: str = ""


class ShadowStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What would change if a policy in shadow were enforced, others staying as they are."""

    moved_intents: int = 0
    infeasible_intents: int = 0
    """Those that can be placed now and could not be any more."""
    cost_difference_percent: float | None = None
    """How much dearer all that moves would get, at today's weights; None where nothing moves, or it cannot be said."""
    latency_difference_ms: float | None = None
    """How much longer their round trips would get, the mean of those that are known."""
    examples: tuple[ShadowExample, ...] = ()
    """A few, those that could not be placed first."""


class PolicyStatus(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """How far a MeshPolicy reaches."""

    matched_intents: int = 0
    shadow: ShadowStatus | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
