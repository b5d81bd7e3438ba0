"""What can be said of an object without a decision about it."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.controller.conditions import merge, state
from foremesh.model.circuit import Condition
from foremesh.model.policy import Policy
from foremesh.model.status import PolicyStatus


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


def policy_status(policy: Policy, old: PolicyStatus, matched: int, *, now: str) -> PolicyStatus:
    """The status of a MeshPolicy."""
    generation = policy.meta.generation
    return PolicyStatus(
        matched_intents=matched,
        observed_generation=generation,
        conditions=merge(
            old.conditions,
            [state("Ready", True, "InForce", "every plan follows it")],
            generation=generation,
            now=now,
        ),
    )
