"""The decision itself: paths chosen for every intent, and what follows for every agent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import msgspec

from foremesh.decide.adjacent import mesh_links
from foremesh.decide.backups import back_up, detours, first_for, followed
from foremesh.decide.idle import remarks
from foremesh.decide.links import applied, narrow_links, silent_links, without_hope
from foremesh.decide.pinning import pinning_policies
from foremesh.decide.planners import MAIN, Planners
from foremesh.decide.planning import planner_settings
from foremesh.decide.recover import recover
from foremesh.decide.resolve import among_heard, as_served, calls_of, matched_intents, resolve_all
from foremesh.decide.shadow import shadows
from foremesh.decide.stay import hold, keep_flowing, keep_protected
from foremesh.decide.usage import expected
from foremesh.decide.values import Chosen, Decision, Declared, Forecasts, Observed, Problem
from foremesh.forecast.queueing import queueing_ms
from foremesh.model.circuit import Circuit
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Intent
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member, MeshState, PlacedCircuit
from foremesh.model.plan import Plan
from foremesh.model.policy import Policy
from foremesh.model.series import Metric
from foremesh.model.status import ShadowStatus
from foremesh.network.allocate import Held, enrol
from foremesh.network.allocate import held as held_by
from foremesh.network.circuits import Desired, base_class, class_of, desired_circuits
from foremesh.network.compile import compile_configs, diff
from foremesh.network.labels import note_fail_over
from foremesh.network.place import place_circuits
from foremesh.network.tunnels import Rotation
from foremesh.routing.demand import PlannerSettings
from foremesh.routing.graph import build_graph, capacities
from foremesh.settings import Settings

QUEUE = (Metric.RTT, Metric.THROUGHPUT)
"""What has to be known of days to say how links queue."""

NO_GATEWAY = "no gateway is heard from: the mesh API, or all of them, are away"
"""Then nothing can be known of the links either, and everybody is best left where he is."""


class Known(NamedTuple):
    """What follows from what is declared and observed alone."""

    held: Held
    members: tuple[Member, ...]
    intents: Mapping[str, Intent]
    """As policies have them served."""
    recorded: Mapping[str, Circuit]
    epoch: int
    """The next one."""


def decide(
    declared: Declared,
    observed: Observed,
    forecasts: Forecasts,
    settings: Settings,
    *,
    now_s: float,
    planners: Planners | None = None,
) -> Decision:
    """Choose paths for every intent and work out what follows. Pure: equal inputs give equal decisions.

    Args:
        now_s: Unix time; epochs start from it, so that they grow even when every store was lost.
        planners: What earlier decisions left behind; it makes this one quicker where little has changed, and never
            another.
    """
    planners = Planners() if planners is None else planners
    planners.begin()
    known = _known(declared, observed, settings, now_s=now_s)
    members, intents, recorded = known.members, known.intents, known.recorded
    gateways = [member for member in members if member.is_gateway and member.registration]
    present = [member.resource for member in gateways if member.present]
    problem = forecasts.problem or (NO_GATEWAY if gateways and not present else "")
    mesh = mesh_links(members, observed, forecasts, recorded.values(), settings.planning, now_s=now_s)
    heard = {one.id for one in present}
    links = tuple(link for link in mesh if link.src in heard and link.dst in heard)
    narrow = narrow_links(links, observed)
    links = tuple(link for link in links if link not in narrow)
    queueing = queueing_ms(*map(forecasts.past.get, QUEUE), capacities(present, links, declared.links))
    graph = build_graph(present, links, forecasts.by_metric, declared.links, queueing)
    resolved = resolve_all(intents, declared.resources, members, observed, settings.blocks)
    demands = [demand for resolution in resolved.values() for demand in resolution.demands]
    circuits = {id_: note_fail_over(circuit, applied(observed)) for id_, circuit in recorded.items()}
    silent = silent_links(circuits.values(), observed, now_s=now_s)
    graph = without_hope(graph, silent)
    planner = planner_settings(settings.planning, standby=True)
    planned = [_as_planned(circuit) for circuit in circuits.values()]
    taken = detours(observed)
    matched, shadowed = matched_intents(declared, resolved), dict[str, ShadowStatus]()
    if problem:
        plan = hold(demands, declared, circuits, now_s=now_s)
    else:
        going = [followed(among_heard(demand, observed), declared, circuits, taken) for demand in demands]
        in_place = [_as_planned(circuit) for circuit in first_for(circuits.values(), declared)]
        measured_bps = expected(forecasts.by_metric.get(Metric.DEMAND), circuits.values())

        def planned_under(name: str, policies: Iterable[Policy], how: PlannerSettings) -> Plan:
            return planners.plan(
                name, graph, going, in_place, policies, how, made_at_s=now_s, measured_bps=measured_bps
            )

        rules = tuple(declared.policies.values())
        plan = planned_under(MAIN, rules, planner)
        glance = replace(planner, standby=False, runners_up=0)
        shadowed = shadows(
            rules, matched, going, plan, lambda name, policies: planned_under(f"shadow {name}", policies, glance)
        )
        plan = keep_flowing(plan, demands, declared, circuits)
        plan = keep_protected(plan, demands, declared, circuits, narrow)
    backups = back_up(
        plan,
        demands,
        members,
        declared,
        circuits,
        planned,
        None if problem else graph,
        partial(planners.plan, policies=declared.policies.values(), settings=planner, made_at_s=0.0),
    )
    chosen = Chosen(
        plan,
        graph,
        resolved,
        problem,
        matched,
        known.epoch,
        silent,
        backups,
        taken,
        mesh,
        forecasts,
        shadowed,
        remarks(declared.policies.values(), demands, matched),
    )
    return carry_on(declared, observed, chosen, settings, now_s=now_s, known=known)


def carry_on(
    declared: Declared,
    observed: Observed,
    chosen: Chosen,
    settings: Settings,
    *,
    now_s: float,
    refused: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> Decision:
    """Work out what the paths chosen mean now: circuits, labels a step further, configs. Pure.

    Args:
        chosen: What ``decide`` chose; acknowledgements that arrived since are in ``observed``.
        refused: Circuit id to the reason why it cannot be recorded; what is not on record is not set up.
        known: What follows from the rest by itself, if somebody has worked it out.
    """
    held, members, intents, recorded, epoch = known or _known(declared, observed, settings, now_s=now_s)
    wanted = desired_circuits(chosen.plan, intents, members, blocks=settings.blocks, backups=chosen.backups)
    rotation = rotation_of(settings)
    placed = place_circuits(
        [circuit for circuit in wanted.circuits if circuit.id not in (refused or {})],
        recorded,
        applied(observed),
        held,
        members=members,
        epoch=epoch,
        now_s=now_s,
        blocks=settings.blocks,
        planned=chosen.epoch,
        rotation=rotation,
    )
    state = MeshState(
        epoch=epoch,
        blocks=settings.blocks,
        members=members,
        links=chosen.links,
        circuits=placed.circuits,
        local=wanted.local,
        calls=calls_of(intents.values(), declared.resources),
        domain=settings.domain,
        policing=settings.planning.policing,
        circuit_keys_since=rotation.since_s(now_s),
    )
    silent = silent_links(recorded.values(), observed, now_s=now_s)
    outdated = _outdated(chosen, placed.circuits, silent, observed)
    changes = diff(observed.configs, compile_configs(state))
    farewells, gone = take_leave(changes.removed, observed, epoch=epoch)
    return Decision(
        chosen=chosen,
        state=state,
        desired=wanted,
        unserved=_unserved(wanted, placed.exhausted, refused or {}),
        pinned=pinning_policies(members, settings),
        configs={**changes.configs, **farewells},
        changed=(*changes.changed, *farewells),
        removed=gone,
        outdated=outdated,
        pressing=bool(outdated) and not (silent < chosen.silent),
    )


def _outdated(chosen: Chosen, placed: Iterable[PlacedCircuit], silent: frozenset[LinkId], observed: Observed) -> str:
    switched = [circuit.id for circuit in placed if circuit.failed_over]
    if switched:
        return f"failed over: {', '.join(switched)}"
    if taken := sorted(detours(observed) - chosen.detours):
        return f"left for another gateway: {', '.join(f'{told} by {member}' for member, told, _ in taken)}"
    if silent == chosen.silent:
        return ""
    return f"links without hellos: {', '.join(sorted(map(str, silent))) or 'none any more'}"


def rotation_of(settings: Settings) -> Rotation:
    """When keys of circuits are replaced."""
    return Rotation(settings.planning.key_rotation, settings.planning.keys_not_before.timestamp())


def take_leave(
    ids: Iterable[str], observed: Observed, *, epoch: int
) -> tuple[dict[str, GatewayConfig], tuple[str, ...]]:
    """See off agents that have no part in the mesh any more: each is told to take down what it has.

    An agent that hears nothing keeps what it has, as it should when the control plane is away, so silence is no way to
    tell it. Until it has confirmed, its empty config waits for it.

    Returns:
        Empty configs for those that were not told yet, and the ids of those that have confirmed.
    """
    farewells, gone = {}, []
    for id_ in ids:
        config, word = observed.configs[id_], observed.acks.get(id_)
        farewell = GatewayConfig(gateway=id_, epoch=epoch, blocks=config.blocks)
        if config.revision != farewell.revision:
            farewells[id_] = farewell
        elif word is not None and word.applied and word.epoch >= config.epoch:
            gone.append(id_)
    return farewells, tuple(gone)


def next_epoch(observed: Observed, declared: Declared, *, now_s: float) -> int:
    """An epoch later than every one that anybody has heard of, also if the store was lost: it starts from the clock."""
    heard = [config.epoch for config in observed.configs.values()]
    heard += [ack.epoch for ack in observed.acks.values()]
    heard += [beacon.applied_epoch for beacon in observed.beacons.values()]
    for circuit in declared.circuits.values():
        heard += [one.epoch for one in (*circuit.status.labels, *circuit.status.tunnels)]
    return max(math.ceil(now_s), max(heard, default=0) + 1)


def _unserved(
    wanted: Desired, exhausted: tuple[str, ...], refused: Mapping[str, str]
) -> dict[tuple[str, str], Problem]:
    found = {(one.intent, one.source): Problem("NotServed", one.reason) for one in wanted.unserved}
    for key, circuit in wanted.carriers.items():
        if circuit in refused:
            found[key] = Problem("CircuitRefused", f"circuit {circuit} cannot be recorded: {refused[circuit]}")
        elif circuit in exhausted:
            why = f"circuit {circuit} gets no number: every address of its block, or every class at its ends, is taken"
            found[key] = Problem("AddressesExhausted", why)
    return found


def _as_planned(circuit: Circuit) -> Circuit:
    """A circuit under the class that demands have, so that the planner knows whose it is."""
    spec = msgspec.structs.replace(circuit.spec, class_=base_class(circuit.spec.class_))
    return msgspec.structs.replace(circuit, spec=spec)


def _known(declared: Declared, observed: Observed, settings: Settings, *, now_s: float) -> Known:
    held = held_by(
        statuses=declared.resource_status,
        circuits=declared.circuits,
        configs=observed.configs,
        acknowledgements=observed.acks,
        beacons=observed.beacons,
        blocks=settings.blocks,
    )
    intents = {id_: as_served(intent, declared.policies.values()) for id_, intent in declared.intents.items()}
    classes = {class_of(intent) for intent in intents.values()}
    return Known(
        held,
        enrol(declared.resources, observed.registrations, observed.beacons.keys(), held, settings.blocks),
        intents,
        recover(observed.configs, declared.circuits, settings.blocks, classes=classes),
        next_epoch(observed, declared, now_s=now_s),
    )
