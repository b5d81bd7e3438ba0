"""What MeshPolicies in shadow would change, were they enforced: another plan beside the one that is carried out, and
the difference between the two. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from foremesh.model.plan import Path, Placement, Plan
from foremesh.model.policy import Mode, Policy
from foremesh.model.status import ShadowExample, ShadowStatus
from foremesh.routing.cost import WEIGHED, Weights
from foremesh.routing.demand import Demand, effective_between

EXAMPLES = 5
"""Sources that are told by name; more does not help a person."""

LONGEST_EXAMPLE = 300
"""Characters of what is said of one; a status holds few policies' worth of them, and has to stay small."""


def shadows(
    policies: Iterable[Policy],
    matched: Mapping[str, int],
    demands: Iterable[Demand],
    plan: Plan,
    replan: Callable[[str, tuple[Policy, ...]], Plan],
) -> dict[str, ShadowStatus]:
    """What each policy in shadow would change, alone.

    Args:
        policies: All there are.
        matched: Policy id to the number of intents it is about; one that is about none changes nothing.
        demands: What was planned.
        plan: Under the policies in force.
        replan: Plans the same under other policies, for the sake of the one named.
    """
    rules = tuple(policies)
    in_force, by_key = tuple(one for one in rules if one.in_force), {one.key: one for one in demands}
    found = {}
    for policy in rules:
        if not policy.in_force:
            enforced = msgspec.structs.replace(policy, spec=msgspec.structs.replace(policy.spec, mode=Mode.ENFORCE))
            then = (*in_force, enforced)
            found[policy.id] = (
                _difference(plan, replan(policy.id, then), by_key, in_force, then)
                if matched.get(policy.id)
                else ShadowStatus()
            )
    return found


def _difference(
    now: Plan,
    then: Plan,
    demands: Mapping[tuple[str, str], Demand],
    in_force: tuple[Policy, ...],
    with_shadow: tuple[Policy, ...],
) -> ShadowStatus:
    after = {(one.intent, one.source): one for one in then.placements}
    lost, moved = list[tuple[Placement, Placement]](), list[tuple[Placement, Placement]]()
    for old in now.placements:
        new = after[old.intent, old.source]
        if old.infeasible is None and new.infeasible is not None:
            lost.append((old, new))
        elif old.path and new.path and _way(old) != _way(new):
            moved.append((old, new))
    costs = []
    for old, new in moved:
        demand = demands[old.intent, old.source]
        weights = weights_of(demand, old, in_force)
        costs.append((_cost(old, weights, weights), _cost(new, weights_of(demand, new, with_shadow), weights)))
    known = [(a, b) for a, b in costs if a is not None and b is not None]
    before = sum(a for a, _ in known)
    later_ms = [
        new.path.figures.latency_ms - old.path.figures.latency_ms
        for old, new in moved
        if old.path and new.path and None not in (old.path.figures.latency_ms, new.path.figures.latency_ms)
    ]
    return ShadowStatus(
        moved_intents=len({old.intent for old, _ in moved}),
        infeasible_intents=len({old.intent for old, _ in lost}),
        cost_difference_percent=round(100 * (sum(b for _, b in known) / before - 1), 1) if before > 0 else None,
        latency_difference_ms=round(sum(later_ms) / len(later_ms), 3) if later_ms else None,
        examples=tuple(_example(old, new) for old, new in (*lost, *moved)[:EXAMPLES]),
    )


def _way(placement: Placement) -> object:
    return placement.path and (placement.destination, placement.path.gateways, placement.path.links)


def _example(old: Placement, new: Placement) -> ShadowExample:
    said = new.infeasible.message if new.infeasible else _told(old, new)
    return ShadowExample(
        intent=old.intent,
        source=old.source,
        path=old.path.text if old.path else "",
        new_path="" if new.infeasible or new.path is None else new.path.text,
        message=said[:LONGEST_EXAMPLE],
    )


def _told(old: Placement, new: Placement) -> str:
    assert old.path is not None
    assert new.path is not None
    before_ms, after_ms = old.path.figures.latency_ms, new.path.figures.latency_ms
    latency = "" if None in (before_ms, after_ms) else f"{before_ms:.1f} -> {after_ms:.1f} ms"
    to = "" if old.destination == new.destination else f"to {new.destination} instead of {old.destination}"
    return ", ".join(part for part in (to, latency) if part)


def weights_of(demand: Demand, placement: Placement, policies: Iterable[Policy]) -> Weights:
    """The weights that hold for a placement under policies."""
    candidate = next(
        (one for one in demand.candidates if one.resource.id == placement.destination), demand.candidates[0]
    )
    return effective_between(demand, candidate, policies).weights


def _cost(placement: Placement, used: Weights, wanted: Weights) -> float | None:
    """The cost of a path by other weights than those that it was chosen by, preferences left out; None if it has a term
    that did not count then and does now."""
    path: Path | None = placement.path
    if path is None:
        return None
    total = 0.0
    for term, field in WEIGHED.items():
        by, to = getattr(used, field), getattr(wanted, field)
        if not by and to:
            return None
        total += path.terms.get(term, 0.0) / by * to if by else 0.0
    return total
