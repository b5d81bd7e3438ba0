"""``metav1.Condition`` lists: what is true of an object, since when, and for which generation. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from foremesh.model.circuit import Condition

MESSAGE_LIMIT = 1024
"""Characters of a message kept; a condition is read in a terminal."""


def state(type_: str, status: bool | None, reason: str, message: str) -> Condition:
    """A condition without its times: True, False, or Unknown for None."""
    text = {True: "True", False: "False", None: "Unknown"}[status]
    return Condition(type=type_, status=text, reason=reason, message=message[:MESSAGE_LIMIT])


def as_bool(condition: Condition) -> bool | None:
    """A condition's status; None for Unknown."""
    return {"True": True, "False": False}.get(condition.status)


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
            msgspec.structs.replace(condition, observed_generation=generation, last_transition_time=since or now)
        )
    return tuple(sorted(merged, key=lambda condition: condition.type))


def replaced(conditions: Iterable[Condition], new: Condition, *, generation: int, now: str) -> tuple[Condition, ...]:
    """The conditions with one of them new and the others as they are."""
    old = tuple(conditions)
    others = [condition for condition in old if condition.type != new.type]
    changed = merge(old, [new], generation=generation, now=now)
    return tuple(sorted((*others, *changed), key=lambda condition: condition.type))


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)


def readiness(conditions: Iterable[Condition]) -> bool | None:
    """What ``Ready`` says; None for Unknown, and where there is no such condition."""
    ready = find(conditions, "Ready")
    return as_bool(ready) if ready else None
