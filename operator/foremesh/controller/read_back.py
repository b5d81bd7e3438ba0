"""Why an Intent is where it is, read back from what the operator wrote into statuses: for people who have a kubeconfig
and no way to the mesh API.

A status has the whole story of the source that is worst off, and of the others where they go and why. It is written
when a path, a condition or a policy changes; the newest figures are the mesh API's to tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from foremesh.controller.kubernetes import Kubernetes, KubernetesError, KubernetesUnavailable
from foremesh.decide import Unexplained
from foremesh.decide.explained import EXPLAINED, MOST_LISTED, NOT_PLACED, PLACED, UNMET
from foremesh.model.circuit import Circuit, Condition, Figures
from foremesh.model.explanation import Contender, Explained, Explanation, IntentExplanation
from foremesh.model.intent import Intent
from foremesh.model.manifest import read
from foremesh.model.meta import API_VERSION, Ref
from foremesh.model.status import IntentStatus, PlacementStatus

TELLING = ("Resolved", "Ready")
"""Conditions that say why an Intent has no placements, the one that says it best first."""


class Reader(Protocol):
    async def get(self, api_version: str, kind: str, ref: Ref) -> dict[str, Any] | None: ...

    async def list(self, api_version: str, kind: str) -> list[dict[str, Any]]: ...


async def explain_in_cluster(
    what: str, *, context: str | None = None, namespace: str | None = None
) -> tuple[IntentExplanation, ...]:
    """``read_back`` from the cluster of a kubeconfig.

    Args:
        context: Of the kubeconfig; None: the current one.
        namespace: Where a name without one is looked for; None: the context's.

    Raises:
        Unexplained: If there is no such thing, or no cluster that could be asked.
    """
    try:
        async with Kubernetes(context=context) as kubernetes:
            return await read_back(kubernetes, what, namespace or kubernetes.namespace)
    except KubernetesUnavailable as error:
        cure = "give -f DIR, --api URL, or a --context of a cluster that answers"
        raise Unexplained(f"{error.action}: {error.cause}", cure) from error
    except KubernetesError as error:
        raise Unexplained(
            f"{error.action}: {error.cause}", "see that foremesh is installed and you may read it"
        ) from error


async def read_back(kubernetes: Reader, what: str, namespace: str) -> tuple[IntentExplanation, ...]:
    """An Intent, or every Intent that a Circuit carries, as their statuses have it.

    Args:
        what: ``intent/NAME`` or ``circuit/NAME``; names as ``namespace/name``, or alone.
        namespace: Of a name alone.

    Raises:
        Unexplained: If there is no such thing.
        KubernetesError: If it cannot be read.
    """
    kind, _, name = what.partition("/")
    kind = kind.lower().removesuffix("s")
    if kind not in EXPLAINED or not name:
        raise Unexplained(f"{what!r} cannot be explained", "give intent/NAME or circuit/NAME")
    ref = Ref.parse(name) if "/" in name else Ref(namespace=namespace, name=name)
    body = await kubernetes.get(API_VERSION, kind.capitalize(), ref)
    if body is None:
        raise Unexplained(f"there is no {kind} {ref}", await _others(kubernetes, kind))
    if kind == "intent":
        return (await _intent(kubernetes, body),)
    intents = [
        await kubernetes.get(API_VERSION, "Intent", Ref.parse(id_))
        for id_ in Circuit.from_manifest(body).status.intents
    ]
    return tuple([await _intent(kubernetes, one) for one in intents if one is not None])


async def _others(kubernetes: Reader, kind: str) -> str:
    """What to do where a name is nobody's."""
    with contextlib.suppress(KubernetesError):  # who may read one object need not be allowed to list all
        metas = [one["metadata"] for one in await kubernetes.list(API_VERSION, kind.capitalize())]
        names = sorted(f"{meta['namespace']}/{meta['name']}" for meta in metas)
        return f"there are: {', '.join(names[:MOST_LISTED]) or 'none'}"
    return "give its namespace with -n, or as namespace/name"


async def _intent(kubernetes: Reader, body: Mapping[str, Any]) -> IntentExplanation:
    intent = Intent.from_manifest(body)
    status = read(IntentStatus, body.get("status") or {}, where=f"status of Intent {intent.id}")
    conditions = {one.type: one for one in status.conditions}
    standbys = {id_: await _standby(kubernetes, id_) for id_ in status.circuits}
    return IntentExplanation(
        intent=intent.id,
        profile=intent.spec.profile,
        priority=intent.spec.priority,
        requirements=intent.spec.requirements,
        problem="" if status.placements else _problem(conditions),
        notes=tuple(_notes(intent, status, conditions)),
        placements=tuple(_placement(one, status, standbys) for one in status.placements),
    )


async def _standby(kubernetes: Reader, circuit: str) -> str:
    body = await kubernetes.get(API_VERSION, "Circuit", Ref.parse(circuit))
    return Circuit.from_manifest(body).status.standby_path_text if body else ""


def _problem(conditions: Mapping[str, Condition]) -> str:
    told = (conditions[name] for name in TELLING if name in conditions and conditions[name].status != "True")
    return next(
        (one.message for one in told if one.message), "the operator has said nothing of it yet; see that it runs"
    )


def _notes(intent: Intent, status: IntentStatus, conditions: Mapping[str, Condition]) -> list[str]:
    notes = []
    if status.conditions and status.observed_generation < intent.meta.generation:
        notes.append("it was changed since; the operator has not said yet what that means")
    known = conditions.get("NamesKnown")
    if known is not None and known.status == "False":
        notes.append(known.message)
    return notes


def _placement(one: PlacementStatus, status: IntentStatus, standbys: Mapping[str, str]) -> Explained:
    told = status.explanation if status.explanation and status.explanation.source == one.source else None
    whole = (
        told is not None and one.path == status.path
    )  # figures and runners-up are of the path that the status is about
    return Explained(
        state=NOT_PLACED if not one.path else UNMET if one.infeasible else PLACED,
        because=told or Explanation(source=one.source),
        destination=one.destination,
        circuit=one.circuit,
        path=one.path,
        standby=standbys.get(one.circuit, ""),
        predicted=status.predicted if whole else None,
        reason=one.reason,
        runners_up=tuple(
            Contender(
                path=other.path,
                destination=other.destination,
                predicted=other.predicted or Figures(),
                extra_cost=other.extra_cost or 0.0,
                lost=other.lost,
            )
            for other in (status.runners_up if whole else ())
        ),
        infeasible=one.infeasible,
    )
