"""What is true of a MeshResource: its agent, its place in the mesh."""

from __future__ import annotations

from foremesh.controller.conditions import merge, state
from foremesh.controller.manifests import wants_agent
from foremesh.decide import Observed, Problem, narrow_links, sizes_text
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Condition
from foremesh.model.mesh import Member, MeshState
from foremesh.model.resource import Resource
from foremesh.model.status import ResourceStatus
from foremesh.network.attachment import attach

GATEWAY_LEFT = "GatewayLeft"
"""Reason of a member that uses another gateway than it was told."""


def resource_status(
    resource: Resource,
    old: ResourceStatus,
    mesh: MeshState,
    observed: Observed,
    *,
    secret: str,
    heard_at: str,
    now: str,
    double: Problem | None = None,
) -> ResourceStatus:
    """The status of a MeshResource.

    Args:
        secret: Name of the Secret with its agent's token; empty if it has none.
        heard_at: RFC 3339 time when its agent was last known to be present; empty if it was not seen present.
        double: What of it is another's as well, if anything.
    """
    members = {member.id: member for member in mesh.members}
    member = members[resource.id]
    conditions = [
        _registered(member, secret),
        _reachable(member, members),
        state("Quarantined", False, "NotQuarantined", "nothing is held against it"),
        _ready(member, members, observed, sizes_text(narrow_links(mesh.links, observed), member.id)),
    ]
    if double is not None:
        conditions.append(state("Unique", False, double.reason, double.message))
    return ResourceStatus(
        number=member.number,
        mesh_address=member.address or "",
        mesh_prefix=_prefix(member, mesh.blocks),
        attached_to=member.gateways,
        agent_secret=secret,
        last_beacon_time=heard_at or old.last_beacon_time,
        observed_generation=resource.meta.generation,
        conditions=merge(old.conditions, conditions, generation=resource.meta.generation, now=now),
    )


def _registered(member: Member, secret: str) -> Condition:
    if member.registration is not None:
        return state("Registered", True, "AgentRegistered", "its agent has introduced itself and its keys are known")
    if member.target:
        gateways = " and ".join(member.gateways) or "no gateway"
        return state(
            "Registered",
            False,
            "ServedByGateway",
            f"it has no agent: {gateways} of its site translates for it and reaches it at {member.target}, in clear "
            f"on its own network; to call others it routes by {member.gateways[0] if member.gateways else 'one'}",
        )
    if not wants_agent(member.resource):
        return state("Registered", False, "NoAgent", "a Function has no agent, so nothing is routed to it")
    advice = f"; start one with the token in Secret {secret}" if secret else ""
    return state("Registered", False, "NoAgent", f"no agent has registered, so nothing is routed to or by it{advice}")


def _reachable(member: Member, members: dict[str, Member]) -> Condition:
    if member.present:
        return state("Reachable", True, "Beaconing", "its agent's beacons arrive")
    if member.target:
        present = [gateway for gateway in member.gateways if members[gateway].present]
        if present:
            return state(
                "Reachable",
                True,
                "GatewayBeaconing",
                f"beacons of {present[0]}, which translates for it, arrive; nobody probes whether it answers itself",
            )
        return state("Reachable", False, "NoGateway", "no gateway of its site is present; no path is planned to it")
    if member.registration is None:
        return state("Reachable", False, "NoAgent", "no agent has registered; no path is planned by way of it")
    return state(
        "Reachable",
        False,
        "NoBeacon",
        "its agent, or the mesh API, is silent; no new path is planned by way of it, and what is set up there stays",
    )


def _ready(member: Member, members: dict[str, Member], observed: Observed, but: str) -> Condition:
    word = observed.acks.get(member.id)
    if member.registration is None and not member.target:
        if not wants_agent(member.resource):
            why = "its address is none that a gateway could reach: IPv4, and neither of the mesh nor link-local"
            return state("Ready", False, "NotServed", why)
        return state("Ready", False, "NoAgent", "no agent has registered; it takes no part in the mesh")
    if not member.present and not member.target:
        return state("Ready", False, "NotReachable", "its agent is silent; see Reachable")
    if not member.is_gateway and not member.gateways:
        reason = attach(member.resource, [one.resource for one in members.values() if one.is_gateway]).reason
        return state("Ready", False, "NotAttached", f"{reason}; it takes no part in the mesh")
    if member.target and not any(members[gateway].present for gateway in member.gateways):
        return state("Ready", False, "NotReachable", "no gateway of its site is present; see Reachable")
    if member.address is None:
        return state(
            "Ready",
            False,
            "AddressesExhausted",
            "no mesh address is left for it in its block; it takes no part in the mesh",
        )
    if not member.is_gateway and not any(members[gateway].registration for gateway in member.gateways):
        names = ", ".join(member.gateways)
        return state(
            "Ready", False, "NotAttached", f"no agent of {names} has registered, so it has no way into the mesh"
        )
    if word is not None and not word.applied:
        return state(
            "Ready",
            False,
            "ConfigRefused",
            f"its agent refused the newest config and keeps the one before: {word.error or 'no reason'}",
        )
    takes_part = f"it takes part in the mesh{but and f'; {but}'}"
    beacon = observed.beacons.get(member.id)
    if beacon is not None and beacon.detours:
        instead = ", ".join(f"{used} in place of {told}" for told, used in sorted(beacon.detours.items()))
        why = f"{takes_part}; nothing passed where it was told to send, so it uses {instead} until the next plan"
        return state("Ready", True, GATEWAY_LEFT, why)
    return state("Ready", True, "Serving", takes_part)


def _prefix(member: Member, blocks: Blocks) -> str:
    return blocks.gateway_prefix(member.number) if member.is_gateway and member.number is not None else ""
