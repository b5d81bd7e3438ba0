"""``metav1.Condition`` lists: what is true of an object, since when, and for which generation. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.model.circuit import Condition

MESSAGE_LIMIT = 1024
"""Characters of a message kept; a condition is read in a terminal."""


def state(type_: str, status: bool | None, reason: str, message: str) -> Condition:
    """A condition without its times: True, False, or Unknown for None."""
    text = {True: "True", False: "False", None: "Unknown"}[status]
    return Condition(type=type_, status=text, reason=reason, message=message[:MESSAGE_LIMIT])


def merge(old: Iterable[Condition], new: Iterable[Condition], *, generation: int, now: str) -> tuple[Condition, ...]:
    """The new conditions, each with the time its status last changed.

    Args:
        old: What the object says now.
        new: What is true now, one of each type.
        generation: The object's generation that this was decided for.
        now: RFC 3339 time for those whose status differs from before.
    """
    before = {condition.type: condition for condition in old}
    merged = []
    for condition in new:
        last = before.get(condition.type)
        since = last.last_transition_time if last and last.status == condition.status else now
        merged.append(
            Condition(
                type=condition.type,
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
                observed_generation=generation,
                last_transition_time=since or now,
            )
        )
    return tuple(sorted(merged, key=lambda condition: condition.type))
