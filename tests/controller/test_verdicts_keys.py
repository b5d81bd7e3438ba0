"""Whether a Circuit says how old its keys are, and who keeps it from changing them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from controller.said import of_circuit, settled
from controller.scene import Mesh, intent_body
from foremesh.controller.conditions import find
from foremesh.model.circuit import Condition
from foremesh.model.registration import CircuitKey
from foremesh.settings import PlanningSettings, Settings

ENDS = ("mesh/ams", "mesh/fra")


def condition_of(mesh: Mesh) -> Condition | None:
    return find(of_circuit(mesh).conditions, "KeysCurrent")


def register(mesh: Mesh, *ends: str, made_s: float) -> None:
    """Agents of these ends say when they made the key that they have."""
    known = dict(mesh.observed.registrations)
    for end in ends:
        key = CircuitKey(key=known[end].keys.circuit, made_s=int(made_s))
        known[end] = msgspec.structs.replace(known[end], circuits=(key,))
    mesh.observed = replace(mesh.observed, registrations=known)
    mesh.plan()


@pytest.mark.parametrize(
    ("new", "old", "silent", "said", "told"),
    [
        (ENDS, (), (), ("True", "KeysReplaced"), "as new as"),
        (ENDS[:1], ENDS[1:], (), ("True", "KeysChanging"), "mesh/fra is yet to make the next key"),
        (ENDS[:1], (), (), ("False", "EndCannotFollow"), "agent of mesh/fra is of a version"),
        ((), ENDS, ENDS[1:], ("False", "EndCannotFollow"), "mesh/fra is silent"),
    ],
    ids=["new", "asked-for", "older-version", "silent"],
)
def test_it_says_who_is_waited_for(
    new: tuple[str, ...], old: tuple[str, ...], silent: tuple[str, ...], said: tuple[str, str], told: str
) -> None:
    mesh = settled()
    for end in silent:
        mesh.silence(end)
    register(mesh, *new, made_s=mesh.now_s)
    register(mesh, *old, made_s=mesh.now_s - 8 * 86_400)
    condition = condition_of(mesh)
    assert condition is not None
    assert (condition.status, condition.reason) == said
    assert told in condition.message


def test_keys_that_last_for_ever_are_nobodys_concern() -> None:
    planning = PlanningSettings(key_rotation=0.0)  # type: ignore[arg-type]
    assert condition_of(settled(intent_body(), settings=Settings(planning=planning))) is None
