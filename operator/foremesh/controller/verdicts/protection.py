"""Whether a Circuit survives the loss of its path: has it a standby, is that alive, what do the two share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from foremesh.controller.conditions import state
from foremesh.controller.verdicts.figures import text
from foremesh.decide import Observed
from foremesh.model.circuit import Condition, LabelAllocation
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member, PlacedCircuit
from foremesh.network.mtu import links_of
from foremesh.network.programmed import Applied, ends_of, unheard_by


def protected(
    circuit: PlacedCircuit,
    active: LabelAllocation | None,
    standby: LabelAllocation | None,
    staging: LabelAllocation | None,
    observed: Observed,
    members: Iterable[Member],
) -> Condition:
    """The condition ``Protected``.

    Args:
        staging: What is being set up as the standby.
        members: With the risk groups of gateways.
    """
    if active is None:
        return state("Protected", False, "NoPath", "nothing is sent through it, so there is nothing to protect")
    if standby is None:
        stops = f"if {text(active.path)} dies, traffic stops until another path is planned"
        if staging is not None:
            waits = f"its standby {text(staging.path)} is being set up"
            return state("Protected", False, "StandbyStaging", f"{waits}; {stops}")
        return state("Protected", False, "NoOtherPath", f"no other path joins its ends; {stops}")
    applied = Applied(beacons=observed.beacons)
    silent = [end for end in ends_of(circuit.spec) if end not in observed.beacons]
    if silent:
        message = f"{' and '.join(silent)} silent; whether hellos pass on {text(standby.path)} is unknown"
        return state("Protected", None, "EndSilent", message)
    idle = [end for end in ends_of(circuit.spec) if not applied.watches(end)]
    if idle:
        message = f"no fail-over process runs on {' and '.join(idle)}, so nobody switches to {text(standby.path)}"
        return state("Protected", False, "NoHellos", f"{message} before the next plan")
    deaf = unheard_by(circuit, standby, applied)
    if deaf:
        message = f"no hellos pass on its standby {text(standby.path)}, says {' and '.join(deaf)}; it is not used"
        return state("Protected", False, "StandbyDead", message)
    shared = shares(active, standby, {member.id: member for member in members})
    return state(
        "Protected", True, "StandbyReady", f"its ends switch to {text(standby.path)} by themselves; it shares {shared}"
    )


def shares(active: LabelAllocation, standby: LabelAllocation, members: Mapping[str, Member]) -> str:
    """What two paths between the same ends have in common, for people; the ends themselves are not told."""
    own, other = active.path[1:-1], standby.path[1:-1]
    found = []
    if gateways := sorted(set(own) & set(other)):
        found.append(f"gateway {text(gateways).replace(' > ', ', ')}")
    if links := sorted(_either_way(active) & _either_way(standby)):
        found.append(
            "link " + ", ".join(f"{text((src, dst)).replace(' > ', ' - ')} ({over})" for src, dst, over in links)
        )
    if groups := sorted(_groups(own, members) & _groups(other, members)):
        found.append(f"risk group {', '.join(groups)}")
    return (
        f"{' and '.join(found)} with {text(active.path)}" if found else f"nothing with {text(active.path)} but its ends"
    )


def _either_way(label: LabelAllocation) -> set[tuple[str, str, str]]:
    def named(link: LinkId) -> tuple[str, str, str]:
        src, dst = sorted((link.src, link.dst))
        return src, dst, link.underlay

    return {named(link) for link in links_of(label)}


def _groups(path: Iterable[str], members: Mapping[str, Member]) -> set[str]:
    gateways = (members[id_].resource.spec.gateway for id_ in path if id_ in members)
    return {group for gateway in gateways if gateway for group in gateway.risk_groups}
