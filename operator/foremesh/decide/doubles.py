"""MeshResources that stand for one and the same thing: gateways at one endpoint, resources for the same pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations

from foremesh.decide.values import Problem
from foremesh.model.resource import Resource

Labels = frozenset[tuple[str, str]]

MOST_LABELS = 6
"""Labels of a selector up to which it is looked for wider ones, of which there are two to that power."""

MOST_NAMED = 3
"""Others that are named."""


def doubles(resources: Mapping[str, Resource]) -> dict[str, Problem]:
    """By id, what of a resource is another's as well; those that are themselves alone are left out.

    An address that two gateways answer at is one machine's, and packets for the other come to it. Pods that two
    resources select have one sidecar, which can be one of them only.
    """
    at, chosen = defaultdict[str, list[str]](list), defaultdict[tuple[str, str, Labels], list[str]](list)
    for id_, one in resources.items():
        for endpoint in _endpoints(one):
            at[endpoint].append(id_)
        if (labels := _labels(one)) is not None:
            chosen[*_place(one), labels].append(id_)
    found = {}
    for id_, one in resources.items():
        shared = {endpoint: others for endpoint in _endpoints(one) if (others := _but(id_, at[endpoint]))}
        labels = _labels(one)
        if shared:
            endpoint, others = next(iter(shared.items()))
            told = f"its endpoint {endpoint} is that of {_listed(others)}, too; packets for both come to one machine"
            found[id_] = Problem("EndpointShared", told)
        elif labels is not None:
            wider = [other for some in _within(labels) for other in chosen.get((*_place(one), some), ())]
            if others := _but(id_, wider):
                told = f"its pods are selected by {_listed(others)}, too; a pod's agent speaks for one of them only"
                found[id_] = Problem("PodsShared", told)
    return found


def _endpoints(one: Resource) -> list[str]:
    gateway = one.spec.gateway
    if gateway is None:
        return []
    own = [gateway.endpoint, *(underlay.endpoint for underlay in gateway.underlays)]
    return list(dict.fromkeys(endpoint for endpoint in own if endpoint))


def _place(one: Resource) -> tuple[str, str]:
    """Where its pods are: other sites may be other clusters, with a namespace of that name as well."""
    return one.meta.namespace, one.spec.location.site


def _labels(one: Resource) -> Labels | None:
    return None if one.spec.workload is None else frozenset(one.spec.workload.selector.match_labels.items())


def _within(labels: Labels) -> Iterable[Labels]:
    """Selectors that match whatever this one does: those that ask for less."""
    sizes = range(len(labels) + 1) if len(labels) <= MOST_LABELS else (len(labels),)
    return (frozenset(some) for size in sizes for some in combinations(sorted(labels), size))


def _but(id_: str, ids: Iterable[str]) -> list[str]:
    return sorted({other for other in ids if other != id_})


def _listed(ids: list[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(ids[:MOST_NAMED]) + more
