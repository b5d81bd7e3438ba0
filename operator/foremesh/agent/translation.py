"""What a config's own addresses and machines without agents mean on this host. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from foremesh.agent.state import Called, Flows
from foremesh.model.addresses import is_own_address
from foremesh.model.config import GatewayConfig, OwnAddress

NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
"""Names that may stand in a hosts file: at least two parts, so that no short name of the host's is taken."""


def endpoint_of(target: str) -> str:
    """A target as endpoints are looked up: with a port, which does not matter."""
    return f"{target}:0"


def targets(config: GatewayConfig, endpoints: Mapping[str, str | None]) -> dict[str, str]:
    """Resource behind this gateway to its target's address; without those whose name is not known now, or leads to this
    host, into the mesh, or to where no machine is: nobody is to reach a cloud's metadata service by a name of his.

    Args:
        endpoints: ``host:port`` to ``address:port``, as ``endpoint_of`` has it; None if the name is not known.
    """
    found = {}
    for machine in config.behind:
        wanted = endpoint_of(machine.target)
        address = (endpoints.get(wanted, wanted) or "").rpartition(":")[0]
        if is_own_address(address, config.blocks):
            found[machine.resource] = address
    return found


def flows(config: GatewayConfig, targets: Mapping[str, str]) -> Flows:
    """What connection tracking is to make of flows by this config."""
    calls = [*_calls(config.own_addresses)]
    if config.own_address:
        for rule in config.called:
            calls += [
                Called(_address(to), config.own_address, _address(from_), _word(rule.protocol), port)
                for to in rule.destinations
                for from_ in rule.sources
                for port in rule.ports or (0,)
            ]
    for machine in config.behind:
        if target := targets.get(machine.resource):
            calls.append(Called(machine.address, target))
            calls += _calls(machine.own_addresses, target)
    return Flows(config.blocks.mesh, tuple(calls))


def contradictions(config: GatewayConfig) -> Iterator[str]:
    """What stands in the way of translating and naming as the config says."""
    for entries in (config.own_addresses, *(machine.own_addresses for machine in config.behind)):
        seen: dict[tuple[str, str, int], str | None] = {}
        for entry in entries:
            if not is_own_address(entry.own, config.blocks):
                yield f"{entry.own} is no machine's own address"
            if not entry.ports and _word(entry.protocol) != "icmp":
                yield f"own address {entry.own} without ports: everything that goes there would be translated"
            for port in entry.ports or (0,):
                mesh = seen.setdefault((entry.own, _word(entry.protocol), port), entry.mesh)
                if mesh != entry.mesh:
                    yield f"own address {entry.own} is both {mesh} and {entry.mesh} for {entry.protocol} {port}"
    for name in config.names:
        if not NAME.fullmatch(name.name):
            yield f"{name.name!r} is no name for a hosts file"


def addresses(config: GatewayConfig) -> Iterator[str]:
    """Every address that translation and names write into rules and files."""
    machines = config.behind
    for entry in (*config.own_addresses, *(entry for machine in machines for entry in machine.own_addresses)):
        yield entry.own
        if entry.mesh:
            yield entry.mesh
    if config.own_address:
        yield config.own_address
    yield from (machine.address for machine in machines)
    yield from (name.address for name in config.names)


def _calls(entries: Iterable[OwnAddress], source: str = "") -> Iterator[Called]:
    for entry in entries:
        if entry.mesh:
            for port in entry.ports or (0,):
                yield Called(entry.own, entry.mesh, source, _word(entry.protocol), port)


def _word(protocol: object) -> str:
    return str(protocol).lower() if protocol else ""


def _address(prefix: str) -> str:
    return prefix.removesuffix("/32")
