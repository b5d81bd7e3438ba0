"""Real agents in a lab, fed with configs as the mesh API would feed them, and a circuit between two LANs.

The circuit joins gateways a and b over one transit or another. What it carries comes from a LAN behind a and goes to
one behind b over plain veth: no sidecar's WireGuard stands in front of it, so that the circuit alone is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.mesh_api import FakeMeshApi
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import CircuitEnd, GatewayConfig, HopPeer, LabelEnd, Transit
from foremesh.model.intent import Encryption
from foremesh.model.registration import PublicKeys
from lab.process import Daemon, wait_until
from lab.topology import Lab

AGENT = """
import asyncio, logging, sys
from pathlib import Path
from foremesh.agent import agent, settings
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
asyncio.run(agent.run(settings.load(Path(sys.argv[1]))))
"""
"""The agent, and nothing beside it: what ``foremesh agent`` runs, without the imports of the other commands."""

BLOCKS = Blocks()
CLASSES = {Encryption.END_TO_END: 1, Encryption.HOP_BY_HOP: 101}
"""Class numbers as the controller gives them: VXLAN has those from 100 on."""
HOP_PORT = 51820
APPLIED_TIMEOUT_S = 60.0
"""Seconds until every agent must have applied a config; one takes a second, more on a machine that is busy."""

END_TO_END_MTU, HOP_BY_HOP_MTU = 1360, 1370
"""Bytes inside of WireGuard in WireGuard, and of VXLAN in WireGuard (50 bytes), on links of 1420."""

Ways = Mapping[tuple[str, str], str]
"""(gateway, neighbour) to the address where the neighbour's WireGuard is reached from there."""


def resource(host: str) -> str:
    return f"bench/{host}"


def circuit_id(encryption: Encryption) -> str:
    """Its encryption is for life, so either way to encrypt is a circuit of its own."""
    return f"bench/a-b-{encryption.value.lower()}"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of the circuit: its number and the transit that it runs over."""

    number: int
    transit: str

    @property
    def route(self) -> str:
        return f"a-{self.transit}-b"


@dataclass(frozen=True, slots=True)
class State:
    """What the circuit's labels are: all that are programmed, by what its ends do with them."""

    active: Label
    standby: Label | None = None
    other: tuple[Label, ...] = ()
    """Staging or draining: programmed, and nobody sends on them."""

    @property
    def labels(self) -> tuple[Label, ...]:
        named = (self.active, *((self.standby,) if self.standby else ()), *self.other)
        return tuple(sorted(named, key=lambda label: label.number))


class Mesh:
    """Agents on the gateways of a lab.

    Args:
        lab: Has gateways named a and b, and transits.
        hosts: The gateways that agents run on, a and b among them.
        ways: Where neighbours are reached.
        lans: Prefix of the LAN behind a, and behind b.
    """

    def __init__(
        self, lab: Lab, api: FakeMeshApi, folder: Path, hosts: tuple[str, ...], ways: Ways, lans: Mapping[str, str]
    ) -> None:
        self.lab, self.api, self.folder, self.hosts, self.ways, self.lans = lab, api, folder, hosts, ways, lans
        self.numbers = {host: number for number, host in enumerate(hosts, start=1)}
        self.agents: dict[str, Daemon] = {}
        self.epoch = 0

    def start(self) -> None:
        """Start every agent, and wait until the API knows their keys."""
        for host in self.hosts:
            underlay = next(address for (_, to), address in self.ways.items() if to == host)
            self.agents[host] = start_agent(self.lab, self.api, self.folder, host, underlay)
        wait_until(
            lambda: all(resource(host) in self.api.registrations for host in self.hosts), 60, what="agents registered"
        )

    def offer(self, state: State, encryption: Encryption = Encryption.END_TO_END) -> dict[str, GatewayConfig]:
        """Give every agent its config of the next epoch; returns when all have applied it.

        Raises:
            RuntimeError: If one refuses it.
        """
        self.epoch += 1
        made = self.configs(state, encryption)
        self.api.offer(*made.values())
        for config in made.values():
            self.wait_applied(config)
        return made

    def wait_applied(self, config: GatewayConfig) -> None:
        outcome = wait_until(
            lambda: self.api.outcome(config), APPLIED_TIMEOUT_S, what=f"word on {config.gateway}'s config", every_s=0.01
        )
        if not outcome.applied:
            raise RuntimeError(f"{config.gateway}: {outcome.error}; nothing is measured")

    def wait_heard(self, *labels: Label) -> None:
        """Wait until both ends hear the far end's hellos on labels, as a label must be heard before it is used."""

        def heard() -> bool:
            beacons = [self.api.beacons.get(resource(host)) for host in ("a", "b")]
            return all(beacon and {one.number for one in labels} <= set(beacon.heard) for beacon in beacons)

        wait_until(heard, 30, what=f"hellos on {labels} at both ends", every_s=0.01)

    def wait_sending(self, label: Label) -> None:
        """Wait until both ends send on a label."""

        def sending() -> bool:
            beacons = [self.api.beacons.get(resource(host)) for host in ("a", "b")]
            return all(beacon and set(beacon.sending.values()) == {label.number} for beacon in beacons)

        wait_until(sending, 30, what=f"{label} is sent on at both ends", every_s=0.01)

    def steer_lans(self) -> None:
        """Send what comes from each LAN to the other one into the circuit.

        Agents steer what their workloads' WireGuard brings; for a plain LAN a routing rule beside theirs does it.
        """
        for own, far in (("a", "b"), ("b", "a")):
            routes = self.lab[own].exec("ip", "-j", "route", "show", "table", "all", self.lans[far]).stdout
            table = next(route["table"] for route in json.loads(routes) if "table" in route)
            rule = ("iif", "lan0", "to", self.lans[far], "lookup", table, "pref", 100)
            self.lab[own].exec("ip", "rule", "delete", *rule, check=False)
            self.lab[own].exec("ip", "rule", "add", *rule)

    def configs(self, state: State, encryption: Encryption) -> dict[str, GatewayConfig]:
        """A config for every agent, of this epoch."""
        keys = {host: self.api.registrations[resource(host)].keys for host in self.hosts}
        transits = [host for host in self.hosts if host not in "ab"]
        return {
            "a": self._end("a", "b", state, encryption, keys),
            "b": self._end("b", "a", state, encryption, keys),
            **{host: self._transit(host, state, encryption, keys) for host in transits},
        }

    def _peer(self, own: str, far: str, keys: Mapping[str, PublicKeys], labels: tuple[str, ...]) -> HopPeer:
        return HopPeer(
            gateway=resource(far),
            underlay="internet",
            public_key=keys[far].hop,
            endpoint=f"{self.ways[own, far]}:{HOP_PORT}",
            hop_address=BLOCKS.hop_address(self.numbers[far]),
            labels=labels,
        )

    def _end(
        self, own: str, far: str, state: State, encryption: Encryption, keys: Mapping[str, PublicKeys]
    ) -> GatewayConfig:
        side = 0 if own == "a" else 1
        pairs = {label: BLOCKS.label_pair(label.number) for label in state.labels}
        circuit_pair = BLOCKS.circuit_pair(9)
        hop_by_hop = encryption is Encryption.HOP_BY_HOP
        end = CircuitEnd(
            circuit=circuit_id(encryption),
            class_number=CLASSES[encryption],
            encryption=encryption,
            local_address=circuit_pair[side],
            remote_address=circuit_pair[1 - side],
            public_key=keys[far].circuit,
            remote_gateway=resource(far),
            remote_prefixes=(BLOCKS.gateway_prefix(self.numbers[far]), self.lans[far]),
            send_label=state.active.number,
            standby_label=state.standby.number if state.standby else None,
            labels=tuple(
                LabelEnd(number=label.number, own=pair[side], far=pair[1 - side], route=label.route)
                for label, pair in pairs.items()
            ),
            firewall=(FirewallRule(sources=(self.lans["a"],)),),
            initiator=own == "a",
            probe_address=BLOCKS.gateway_address(self.numbers[far]),
            mtu=HOP_BY_HOP_MTU if hop_by_hop else END_TO_END_MTU,
        )
        peers = tuple(
            self._peer(own, host, keys, tuple(pair[1 - side] for label, pair in pairs.items() if label.transit == host))
            for host in self.hosts
            if host not in "ab"
        )
        return GatewayConfig(
            gateway=resource(own),
            epoch=self.epoch,
            number=self.numbers[own],
            mesh_address=BLOCKS.gateway_address(self.numbers[own]),
            hop_address=BLOCKS.hop_address(self.numbers[own]),
            mesh_prefix=BLOCKS.gateway_prefix(self.numbers[own]),
            hop_peers=peers,
            circuits=(end,),
        )

    def _transit(self, own: str, state: State, encryption: Encryption, keys: Mapping[str, PublicKeys]) -> GatewayConfig:
        pairs = {label.number: BLOCKS.label_pair(label.number) for label in state.labels if label.transit == own}
        circuit = circuit_id(encryption)
        return GatewayConfig(
            gateway=resource(own),
            epoch=self.epoch,
            number=self.numbers[own],
            mesh_address=BLOCKS.gateway_address(self.numbers[own]),
            hop_address=BLOCKS.hop_address(self.numbers[own]),
            hop_peers=tuple(
                self._peer(own, far, keys, tuple(pair[side] for pair in pairs.values()))
                for side, far in enumerate(("a", "b"))
            ),
            transits=tuple(Transit(label=n, circuit=circuit, addresses=pair) for n, pair in pairs.items()),
        )


def start_agent(lab: Lab, api: FakeMeshApi, folder: Path, host: str, underlay: str) -> Daemon:
    """Start the agent of a gateway with the default settings of everything that costs processor time."""
    node = lab[host]
    token, settings = folder / f"{host}.token", folder / f"{host}.yaml"
    token.write_text(f"bench.{host}.secret")
    settings.write_text(
        json.dumps(
            {
                "resource": resource(host),
                "apiUrl": api.url,
                "plainHttp": True,
                "tokenFile": str(token),
                "stateDir": str(folder / host),
                "metricsListen": f"{node.mgmt_address}:9466",
                "endpoint": f"{underlay}:{HOP_PORT}",
            }
        )
    )
    argv = [sys.executable, "-c", AGENT, settings]
    return node.daemon(argv, folder / f"{host}.log", env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
