"""MeshPolicies that make no difference, or leave nothing to choose paths by: most often another was meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import islice

from foremesh.decide.values import Problem
from foremesh.model.intent import Encryption
from foremesh.model.policy import Policy
from foremesh.routing.cost import PROFILES, Weights
from foremesh.routing.demand import Candidate, Demand, effective_between
from foremesh.routing.policy import Effective, End, matches, matching

MATCHES_NOTHING, CHANGES_NOTHING, WEIGHTS_ARE_ZERO = "MatchesNothing", "ChangesNothing", "WeightsAreZero"

MOST_TRIED = 200
"""Ways from a source to a destination that a policy is tried on; of one that matches more and did nothing to these,
nothing is said."""

MOST_WEIGHED = 2_000
"""Ways whose weights are added up."""

Pair = tuple[Demand, Candidate]


def remarks(policies: Iterable[Policy], demands: Iterable[Demand], matched: Mapping[str, int]) -> dict[str, Problem]:
    """By id, the MeshPolicies that match nothing, change nothing, or leave an Intent no weight over 0.

    Args:
        matched: Policy id to the number of Intents that it is about.
    """
    rules = tuple(policies)
    in_force = tuple(one for one in rules if one.in_force)
    pairs = [(demand, candidate) for demand in demands for candidate in demand.candidates] if rules else []
    found = _without_weight(in_force, pairs)
    for one in rules:
        if not matched.get(one.id):
            told = "it matches no Intent; compare its spec.match with their namespaces, traffic and the labels of ends"
            found[one.id] = Problem(MATCHES_NOTHING, told)
        elif one.in_force and one.id not in found and _is_idle(one, in_force, pairs):
            told = "what it asks holds without it for each Intent that it matches; delete it, or see what overrules it"
            found[one.id] = Problem(CHANGES_NOTHING, told)
    idle = [one for one in in_force if one.id in found and found[one.id].reason == CHANGES_NOTHING]
    rest = tuple(one for one in in_force if one not in idle)
    needed = [one for one in idle if not _is_idle(one, (*rest, one), pairs)]
    for one in needed if len(needed) > 1 else ():
        others = " and ".join(sorted(other.id for other in needed if other is not one))
        told = f"{found[one.id].message}, but do not delete {others} as well: the same is asked there"
        found[one.id] = Problem(CHANGES_NOTHING, told)
    return found


def _is_idle(policy: Policy, in_force: tuple[Policy, ...], pairs: Iterable[Pair]) -> bool:
    others = tuple(one for one in in_force if one is not policy)
    about = list(islice((one for one in pairs if _about(policy, *one)), MOST_TRIED + 1))
    return len(about) <= MOST_TRIED and all(
        _asked(effective_between(*one, in_force)) == _asked(effective_between(*one, others)) for one in about
    )


def _about(policy: Policy, demand: Demand, candidate: Candidate) -> bool:
    return matches(policy.spec.match, demand.intent, *_ends(demand, candidate))


def _ends(demand: Demand, candidate: Candidate) -> tuple[End, End]:
    return (demand.source, demand.source_addresses), (candidate.resource, candidate.addresses)


def _asked(holds: Effective) -> object:
    """What makes a difference to paths."""
    through = frozenset(map(frozenset, holds.through))
    return holds.requirements, holds.weights, holds.prefer, through, holds.refused is not None


def _without_weight(in_force: tuple[Policy, ...], pairs: Iterable[Pair]) -> dict[str, Problem]:
    """Policies that together leave an Intent nothing to choose a path by."""
    zeroed = {name: 0.0 for one in in_force for name in _zeroed(one)}
    if all(any(_counting(replace(profile, **zeroed), clear=False)) for profile in PROFILES.values()):
        return {}
    found: dict[str, Problem] = {}
    for demand, candidate in islice(pairs, MOST_WEIGHED):
        holds = effective_between(demand, candidate, in_force)
        clear = holds.requirements.encryption is Encryption.HOP_BY_HOP
        if any(_counting(holds.weights, clear=clear)):
            continue
        by = sorted(one.id for one in matching(in_force, demand.intent, *_ends(demand, candidate)) if any(_zeroed(one)))
        whose = f"MeshPolicies {' and '.join(by)} leave" if len(by) > 1 else f"MeshPolicy {' '.join(by)} leaves"
        told = (
            f"{whose} Intent {demand.intent.id} no weight over 0: of the paths that meet its requirements, the one "
            "with the fewest links is taken; give a weight that is to count a value over 0"
        )
        for id_ in by:
            found.setdefault(id_, Problem(WEIGHTS_ARE_ZERO, told))
    return found


def _zeroed(policy: Policy) -> Iterator[str]:
    """Terms that a policy does not let count."""
    return (field.name for field in fields(Weights) if getattr(policy.spec.weights, field.name) == 0)


def _counting(weights: Weights, *, clear: bool) -> Iterator[float]:
    """Weights that can make a difference: that of encryption does where transits see traffic in clear."""
    return (getattr(weights, field.name) for field in fields(weights) if clear or field.name != "encryption")
