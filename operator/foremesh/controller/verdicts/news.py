"""What of a new status people should hear of, and whether it is worth writing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from foremesh.controller.conditions import find
from foremesh.controller.verdicts.intents import AWAY
from foremesh.controller.verdicts.resources import GATEWAY_LEFT
from foremesh.model.circuit import CircuitStatus, Condition, Figures, LabelState
from foremesh.model.plan import way_text
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus

NUMBER = re.compile(r"(?<![\w-])\d+(\.\d+)?")
"""A figure in a message; digits that are part of a name are none."""

FAR = 0.25
"""Share by which a latency has to be off before what is shown would mislead."""

PASSING = frozenset({"CircuitNotReady", "Pending"})
"""Reasons that every Intent has for a moment; worth an event only if it was Ready before."""

News = tuple[str, str, str]
"""Type (Normal or Warning), reason and message of a Kubernetes event."""


def intent_news(old: IntentStatus, new: IntentStatus) -> list[News]:
    """The decisions about an Intent that people should hear of."""
    told: list[News] = []
    if new.path and new.path != old.path:
        what = "PathChanged" if old.path else "PathChosen"
        reasons = dict.fromkeys(one.reason for one in new.placements if one.path == new.path and one.reason)
        told.append(("Normal", what, "; ".join((new.path, *reasons))))
    before, after = find(old.conditions, "Ready"), find(new.conditions, "Ready")
    if after is not None and after.status == "False" and (before is None or before.reason != after.reason):
        was_ready = before is not None and before.status == "True"
        if was_ready or after.reason not in PASSING:
            told.append(("Warning", after.reason, after.message))
    told += names_news(old.conditions, new.conditions)
    before, after = find(old.conditions, "Satisfied"), find(new.conditions, "Satisfied")
    if after is not None and (before is None or before.status != after.status):
        if after.status == "False":
            told.append(("Warning", after.reason, after.message))
        elif after.status == "True" and before is not None and before.status == "False":
            told.append(("Normal", after.reason, after.message))
    return told


def names_news(old: Iterable[Condition], new: Iterable[Condition]) -> list[News]:
    """A name that nobody bears, when it is first seen."""
    return [("Warning", reason, message) for reason, message in _fresh("NamesKnown", old, new)]


def _fresh(type_: str, old: Iterable[Condition], new: Iterable[Condition]) -> list[tuple[str, str]]:
    """Reason and message of a condition that is only there while something is wrong, when it says something new."""
    before, after = find(old, type_), find(new, type_)
    if after is None or (before is not None and before.message == after.message):
        return []
    return [(after.reason, after.message)]


def circuit_news(old: CircuitStatus, new: CircuitStatus) -> list[News]:
    """What happened to a Circuit that people should hear of."""
    same = new.path == old.path  # then it is over another underlay
    way = f"from {way_text(old.path, new.moved_from_underlays if same else ())} to "
    active = next((one for one in new.labels if one.state is LabelState.ACTIVE), None)
    way += way_text(new.path, active.underlays if same and active else ())
    if new.failovers > old.failovers:
        why = "its ends found the path dead, or far worse, and switched by themselves"
        return [("Warning", "FailedOver", f"{way}: {why}")]
    if new.moves > old.moves:
        return [("Normal", "Moved", way)]
    return []


def resource_news(old: ResourceStatus, new: ResourceStatus) -> list[News]:
    """What a member did by itself that people should hear of."""
    told = [("Warning", reason, message) for reason, message in _fresh("Unique", old.conditions, new.conditions)]
    before, after = find(old.conditions, "Ready"), find(new.conditions, "Ready")
    left = after is not None and after.reason == GATEWAY_LEFT
    if left and after is not None and (before is None or before.message != after.message):
        return [*told, ("Warning", GATEWAY_LEFT, after.message)]
    return told


def same_words(old: Iterable[Condition], new: Iterable[Condition]) -> bool:
    """Whether conditions say the same, figures aside."""
    return _words(old) == _words(new)


def worth_writing(old: Any, new: Any, *, figures: bool = False) -> bool:
    """Whether a status says anything new. Figures alone are not new; those that become known or unknown are.

    Args:
        figures: Latencies that are off by more than a quarter count as well.
    """
    if _without_figures(old) != _without_figures(new):
        return True
    return figures and any(
        _far(getattr(old, name, None), getattr(new, name, None)) for name in ("predicted", "observed")
    )


def _far(old: Figures | None, new: Figures | None) -> bool:
    if old is None or new is None or old.latency_ms is None or new.latency_ms is None:
        return False
    return abs(new.latency_ms - old.latency_ms) > FAR * old.latency_ms


def _without_figures(status: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(status)
    fields["conditions"] = _words(status.conditions)
    fields.pop("last_beacon_time", None)
    for name in ("predicted", "observed"):
        if name in fields:
            fields[name] = fields[name] is not None
    if "forecast_reason" in fields:  # it has errors in it, which change with every sample
        fields["forecast_reason"] = bool(status.forecast_reason)
    if isinstance(status, PolicyStatus) and status.shadow is not None:
        shadow = status.shadow
        examples = tuple((one.intent, one.source, one.path, one.new_path) for one in shadow.examples)
        fields["shadow"] = (shadow.moved_intents, shadow.infeasible_intents, examples)
    if isinstance(status, IntentStatus):
        fields["runners_up"] = bool(status.runners_up)
        told = status.explanation
        fields["explanation"] = told and (told.source, told.policies, sorted(told.weights.items()))
        fields["placements"] = tuple((p.source, p.destination, p.circuit, p.path) for p in status.placements)
    return fields


def _words(conditions: Iterable[Condition]) -> tuple[tuple[Any, ...], ...]:
    def said(message: str) -> str:
        return NUMBER.sub("#", message.partition(AWAY)[0])

    return tuple((one.type, one.status, one.reason, one.observed_generation, said(one.message)) for one in conditions)
