"""Which workloads are held to their gateways by network policies."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from foremesh.model.mesh import Member
from foremesh.model.resource import Protocol
from foremesh.network.policies import Flavour, PodGroup, PolicyError, Target, prerequisites, render, target
from foremesh.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pinned:
    """A manifest, and the workload (``namespace/name``) that it is for; empty for what all of them need."""

    workload: str
    manifest: dict[str, Any]


def pinning_policies(
    members: Iterable[Member], settings: Settings, unpinned: dict[str, str] | None = None
) -> tuple[Pinned, ...]:
    """Policies for every workload that has an agent and gateways, in the order to apply them.

    None where the settings want none, or do not say where the mesh API is: a pinned workload that cannot reach it
    would be cut off for good. A workload whose policy cannot be rendered is left alone, with a warning in the log; or,
    if ``unpinned`` is given, with the reason there under its id, and under none where it is so for all.
    """
    try:
        api = _api_target(settings)
    except PolicyError as error:
        if unpinned is None:
            log.warning("no workload pinned error=%s", error)
        else:
            unpinned[""] = str(error)
        return ()
    if settings.network_policies == "None" or api is None:
        return ()
    flavour = Flavour(settings.network_policies)
    by_id = {member.id: member for member in members}
    rendered: list[Pinned] = []
    for id_, member in by_id.items():
        if member.registration is None or not member.gateways:
            continue
        try:
            policies = render(member, [by_id[gateway] for gateway in member.gateways], flavour, api=api)
        except PolicyError as error:
            if unpinned is None:
                log.warning("workload not pinned resource=%s error=%s", id_, error)
            else:
                unpinned[id_] = str(error)
            continue
        rendered += [Pinned(id_, policy) for policy in policies]
    return (*(Pinned("", manifest) for manifest in prerequisites(flavour)), *rendered) if rendered else ()


def _api_target(settings: Settings) -> Target | None:
    api = settings.api
    if api.pods is not None:
        pods = PodGroup(api.pods.namespace, api.pods.match_labels)
        return target(api.listen, Protocol.TCP, pods=pods, what="mesh API")
    return target(api.address, Protocol.TCP, what="mesh API") if api.address else None
