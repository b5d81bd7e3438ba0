"""Circuits made and changed one by one: by the planner's wish or a person's."""

from __future__ import annotations

from ipaddress import IPv4Network

import msgspec

from foremesh.model.addresses import Blocks, network
from foremesh.model.circuit import CircuitSpec, FirewallRule
from foremesh.model.intent import Encryption, Profile, Requirements
from foremesh.model.resource import Protocol

MAX_PORT = 65535
MAX_DSCP = 63


class CircuitError(ValueError):
    """A circuit or a rule that makes no sense; carries ``cause``."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"{cause}; the circuit is left as it was")


def create_circuit(
    source: str,
    destination: str,
    path: tuple[str, ...] = (),
    *,
    class_: str,
    encryption: Encryption = Encryption.END_TO_END,
    profile: Profile = Profile.BALANCED,
    requirements: Requirements | None = None,
    firewall: tuple[FirewallRule, ...] = (),
    dscp: int | None = None,
    blocks: Blocks | None = None,
) -> CircuitSpec:
    """Declare a circuit between two gateways.

    Args:
        source: Gateway id (``namespace/name``) of the end that opens conversations.
        destination: Gateway id of the other end.
        path: Gateway ids from end to end to pin the circuit to; empty lets foremesh choose, and choose again.
        class_: Intents of the same ends and class share a circuit.
        firewall: What may pass; everything else is dropped at both ends.
        dscp: Differentiated services code point of its packets, 0 to 63; None leaves theirs.
        blocks: The mesh's address plan; the default one if not given.

    Raises:
        CircuitError: If the ends are one gateway, the path does not join them or passes a gateway twice, the encryption
            is weaker than required, the code point is none, or a rule is unreadable.
    """
    needs = requirements or Requirements()
    if source == destination:
        raise CircuitError(f"a circuit from {source} to itself: traffic between its workloads needs none")
    if path and (path[0], path[-1]) != (source, destination):
        raise CircuitError(f"path {' > '.join(path)} does not lead from {source} to {destination}")
    if len(set(path)) < len(path):
        raise CircuitError(f"path {' > '.join(path)} passes a gateway twice")
    if dscp is not None and not 0 <= dscp <= MAX_DSCP:
        raise CircuitError(f"DSCP {dscp} is not within 0 and {MAX_DSCP}")
    if not encryption.satisfies(needs.encryption):
        raise CircuitError(f"encryption {encryption} does not meet the required {needs.encryption}")
    spec = CircuitSpec(
        from_=source,
        to=destination,
        class_=class_,
        encryption=encryption,
        profile=profile,
        requirements=needs,
        path=path,
        dscp=dscp,
    )
    for rule in firewall:
        spec = update_firewall_rule(spec, rule, blocks=blocks)
    return spec


def update_firewall_rule(
    spec: CircuitSpec, rule: FirewallRule, *, replaces: FirewallRule | None = None, blocks: Blocks | None = None
) -> CircuitSpec:
    """Let traffic pass a circuit: add a rule, or put it in the place of another. Doing it twice changes nothing.

    Args:
        rule: Ports are destination ports seen from the ``from`` end; prefixes lie in the mesh's block.
        replaces: The rule to give up for it.
        blocks: The mesh's address plan; the default one if not given.

    Raises:
        CircuitError: If the rule is unreadable, or there is no rule such as ``replaces``.
    """
    _check(rule, network((blocks or Blocks()).mesh))
    rules = spec.firewall
    if replaces is not None and replaces != rule:
        if replaces not in rules:
            if rule in rules:
                return spec
            raise CircuitError(f"no rule {replaces} to replace")
        rules = tuple(rule if old == replaces else old for old in rules)
    return msgspec.structs.replace(spec, firewall=tuple(dict.fromkeys((*rules, rule))))


def remove_firewall_rule(spec: CircuitSpec, rule: FirewallRule) -> CircuitSpec:
    """Stop letting a rule's traffic pass, unless another rule names it too. Doing it twice changes nothing."""
    return msgspec.structs.replace(spec, firewall=tuple(old for old in spec.firewall if old != rule))


def _check(rule: FirewallRule, mesh: IPv4Network) -> None:
    for port in rule.ports:
        if not 1 <= port <= MAX_PORT:
            raise CircuitError(f"port {port} is not within 1 and {MAX_PORT}")
    if rule.ports and rule.protocol is Protocol.ICMP:
        raise CircuitError("ICMP has no ports")
    for prefix in (*rule.sources, *rule.destinations):
        try:
            asked = network(prefix)
        except ValueError as error:
            raise CircuitError(f"{prefix!r} is no IPv4 prefix: {error}") from error
        if not asked.subnet_of(mesh):
            raise CircuitError(f"prefix {prefix} lies outside the mesh's block {mesh}")
