"""Circuits whose record is lost, read back from the configs in force.

Somebody deletes a Circuit, or Kubernetes collects it with the last Intent it served, while its labels still run. What
agents were told last shows all of them, so they are withdrawn in order, or go on being used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import (
    Circuit,
    CircuitSpec,
    CircuitStatus,
    LabelAllocation,
    LabelState,
    Route,
    Tunnel,
    TunnelState,
    key_name,
)
from foremesh.model.config import CircuitEnd, GatewayConfig
from foremesh.model.meta import Meta, Ref
from foremesh.network.circuits import circuit_id, class_between


def recover(
    configs: Mapping[str, GatewayConfig],
    recorded: Mapping[str, Circuit],
    blocks: Blocks,
    *,
    classes: Collection[str] = (),
) -> dict[str, Circuit]:
    """All circuits on record, and those that only configs in force still know.

    Args:
        configs: What agents were told last.
        recorded: Circuits with their statuses; one without a number was never recorded, or lost its status.
        classes: Classes that intents have now; a circuit's id says whether it is of one of them.

    Returns:
        Circuits by id. A label that an end sends on is Active, the one that it falls over to Standby, any other
        Draining: whatever it was to become, it is not used. A label whose way cannot be followed is left out; its
        number stays taken as long as configs have it.
    """
    known = {id_: circuit for id_, circuit in recorded.items() if circuit.status.number is not None}
    found = dict(recorded)
    for gateway in sorted(configs):
        for end in configs[gateway].circuits:
            if end.circuit in known:
                continue
            status = _status(gateway, end, configs, blocks)
            if end.circuit in recorded:
                known[end.circuit] = msgspec.structs.replace(recorded[end.circuit], status=status)
            else:
                ref = Ref.parse(end.circuit)
                meta = Meta(name=ref.name, namespace=ref.namespace)
                spec = _spec(gateway, end, configs, {**found, **known}, classes)
                known[end.circuit] = Circuit(meta=meta, spec=spec, status=status)
    return found | known


def _spec(
    gateway: str,
    end: CircuitEnd,
    configs: Mapping[str, GatewayConfig],
    others: Mapping[str, Circuit],
    classes: Collection[str],
) -> CircuitSpec:
    ends = (gateway, end.remote_gateway)
    from_, to = ends if end.initiator else ends[::-1]
    return CircuitSpec(
        from_=from_,
        to=to,
        class_=_class(end, from_, to, configs, others, classes),
        encryption=end.encryption,
        firewall=end.firewall,
    )


def _class(
    end: CircuitEnd,
    from_: str,
    to: str,
    configs: Mapping[str, GatewayConfig],
    others: Mapping[str, Circuit],
    classes: Collection[str],
) -> str:
    for class_ in sorted(classes):
        for either in (class_, class_between(class_, from_, to)):
            if circuit_id(from_, to, either) == end.circuit:
                return either
    # Circuits that share an inner interface are of one class, or one of them would be renumbered.
    for gateway in (from_, to):
        for other in configs[gateway].circuits if gateway in configs else ():
            if other.class_number == end.class_number and other.circuit != end.circuit and other.circuit in others:
                return others[other.circuit].spec.class_
    return f"unknown-{end.circuit.rpartition('-')[2]}"


def _status(gateway: str, end: CircuitEnd, configs: Mapping[str, GatewayConfig], blocks: Blocks) -> CircuitStatus:
    from_, to = (gateway, end.remote_gateway) if end.initiator else (end.remote_gateway, gateway)
    labels = []
    for label in end.labels:
        towards = label.far if end.initiator else label.own
        route = _follow(towards, from_, to, configs)
        if route is not None:
            labels.append(
                LabelAllocation(
                    number=label.number,
                    state=_state(end, label.number),
                    path=route.gateways,
                    underlays=route.underlays,
                    keys=route.keys,
                    epoch=configs[gateway].epoch,
                )
            )
    active = next((label.path for label in labels if label.state is LabelState.ACTIVE), ())
    return CircuitStatus(
        number=blocks.circuit_number(end.local_address),
        class_number=end.class_number,
        tunnels=tuple(_tunnels(end, configs[gateway].epoch)),
        path=active,
        labels=tuple(labels),
    )


def _tunnels(end: CircuitEnd, epoch: int) -> Iterable[Tunnel]:
    """Its tunnels, of which the second one goes, whatever it was to become; none if keys are not named."""
    for one in end.tunnels:
        keys = (one.own_key, one.public_key) if end.initiator else (one.public_key, one.own_key)
        if one.own_key:
            state = TunnelState.DRAINING if one is end.second else TunnelState.ACTIVE
            yield Tunnel(slot=one.slot, keys=tuple(map(key_name, keys)), state=state, epoch=epoch)


def _state(end: CircuitEnd, number: int) -> LabelState:
    if number == end.send_label:
        return LabelState.ACTIVE
    return LabelState.STANDBY if number == end.standby_label else LabelState.DRAINING


def _follow(address: str, from_: str, to: str, configs: Mapping[str, GatewayConfig]) -> Route | None:
    """The way of a label's ``to`` address, link by link; None if it does not arrive."""
    path, underlays, keys = [from_], [], []
    while path[-1] != to:
        peers = configs[path[-1]].hop_peers if path[-1] in configs else ()
        step = next((peer for peer in peers if address in peer.labels), None)
        if step is None or step.gateway in path:
            return None
        keys += [key_name(key) for key in ((step.own_key,) if len(path) == 1 else ()) + (step.public_key,)]
        path.append(step.gateway)
        underlays.append(step.underlay)
    return Route(gateways=tuple(path), underlays=tuple(underlays), keys=tuple(keys) if all(keys) else ())
