"""What can be said of an object without a decision about it."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.controller.conditions import merge, state
from foremesh.decide import Problem
from foremesh.model.circuit import Condition
from foremesh.model.policy import Policy
from foremesh.model.status import PolicyStatus, ShadowStatus

UNKNOWN_NAME = "UnknownName"
"""Reason of what names a region, a provider, a label or a gateway that there is not."""


def first_sight(generation: int, now: str) -> tuple[Condition, ...]:
    """What an object says before anything was decided about it."""
    pending = state("Ready", None, "Pending", "it has been seen and waits for the next plan; nothing is set up for it")
    return merge((), [pending], generation=generation, now=now)


def unreadable(old: Iterable[Condition], generation: int, message: str, now: str) -> tuple[Condition, ...]:
    """What an object says that this version cannot read."""
    told = f"{message}; it is ignored until it is corrected"
    return merge(old, [state("Ready", False, "Invalid", told)], generation=generation, now=now)


def not_served(old: Iterable[Condition], generation: int, now: str) -> tuple[Condition, ...]:
    """What a Circuit says that a person made: those of Intents are the only ones that are set up."""
    message = "no Intent asked for it, and circuits declared by hand are not set up yet; nothing is sent through it"
    new = [state("Planned", False, "NoIntent", message), state("Ready", False, "NoIntent", message)]
    return merge(old, new, generation=generation, now=now)


def policy_status(
    policy: Policy,
    old: PolicyStatus,
    matched: int,
    shadow: ShadowStatus | None = None,
    *,
    unnamed: Iterable[str] = (),
    remark: Problem | None = None,
    now: str,
) -> PolicyStatus:
    """The status of a MeshPolicy.

    Args:
        matched: Intents that it is about.
        shadow: What it would change, if it is in shadow; None keeps what was said last, as while telemetry is away.
        unnamed: What it names and no gateway is.
        remark: How it makes no difference, or leaves nothing to choose paths by; None if it does not.
    """
    generation = policy.meta.generation
    conditions = [state("Ready", True, "InForce", "every plan follows it"), *names_known(unnamed)]
    if remark is not None:
        conditions.append(state("Effective", False, remark.reason, remark.message))
    if not policy.in_force:
        shadow = shadow or old.shadow
        told = shadow_text(shadow) if shadow else "what it would change is not known before the next plan"
        conditions[0] = state("Ready", True, "Shadow", f"no plan follows it; {told}")
    return PolicyStatus(
        matched_intents=matched,
        shadow=None if policy.in_force else shadow,
        observed_generation=generation,
        conditions=merge(old.conditions, conditions, generation=generation, now=now),
    )


def shadow_text(shadow: ShadowStatus) -> str:
    """What a policy in shadow would change, in one sentence."""
    if not (shadow.moved_intents or shadow.infeasible_intents):
        return "enforced, it would change no path"
    dearer, longer = shadow.cost_difference_percent, shadow.latency_difference_ms
    figures = [f"cost {dearer:+.1f} %"] if dearer is not None else []
    figures += [f"round trip {longer:+.1f} ms"] if longer is not None else []
    about = f" ({', '.join(figures)})" if figures else ""
    moved, lost = _counted(shadow.moved_intents), _counted(shadow.infeasible_intents)
    return f"enforced, it would move {moved}{about} and leave {lost} without a path"


def _counted(intents: int) -> str:
    return f"{intents} Intent{'' if intents == 1 else 's'}"


def names_known(unnamed: Iterable[str]) -> list[Condition]:
    """A warning where something names what nobody is; nothing where all is well."""
    told = "; ".join(unnamed)
    return [state("NamesKnown", False, UNKNOWN_NAME, told)] if told else []
