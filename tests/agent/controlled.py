"""A lab with an agent on every host, and the network room in charge of them: labels are staged, moved and freed as the
operator would do it, from what the agents register, report and acknowledge. What the plan wants is the test's to say.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.mesh_api import FakeMeshApi
from agent.running import AGENT, DIFFERENCES
from foremesh.model.circuit import LabelAllocation, LabelState
from foremesh.model.resource import Resource
from lab.process import Daemon, wait_until
from lab.topology import Lab
from lab.traffic import Ping
from network.scene import Controller

TURN_S = 0.2
"""Seconds between two turns of the controller."""


class Controlled:
    """The lab, its agents and their controller.

    Args:
        resources: By host; the host's name is the resource's.
        settings: Host to what its agent's configuration has besides.
    """

    def __init__(
        self,
        lab: Lab,
        api: FakeMeshApi,
        folder: Path,
        resources: Mapping[str, Resource],
        settings: Mapping[str, Mapping[str, object]],
    ) -> None:
        self.lab, self.api, self.folder = lab, api, folder
        self.resources, self.settings = resources, dict(settings)
        self.agents: dict[str, Daemon] = {}
        self.controller = Controller({one.id: one for one in resources.values()}, {})

    def start(self, host: str, **settings: object) -> None:
        """Start the agent of a host, again if it ran before; ``settings`` go before those it has."""
        node, resource = self.lab[host], self.resources[host]
        token, file = self.folder / f"{host}.token", self.folder / f"{host}.yaml"
        token.write_text(f"{resource.meta.namespace}.{host}.secret")
        declared = {
            "resource": resource.id,
            "apiUrl": self.api.url,
            "plainHttp": True,
            "tokenFile": str(token),
            "stateDir": str(self.folder / host),
            "metricsListen": f"{node.mgmt_address}:9466",
            "probeInterval": "200ms",
            "probeTimeout": "1s",
            "beaconInterval": "300ms",
            "reconcileInterval": "300ms",
            "keyRotation": "0s",
        }
        file.write_text(json.dumps({**declared, **self.settings.get(host, {}), **settings}))
        self.agents[host] = node.daemon([sys.executable, "-c", AGENT, "run", file], self.folder / f"{host}.log")

    def restart(self, host: str, **settings: object) -> None:
        assert self.agents[host].stop() == 0
        self.start(host, **settings)

    def registered(self) -> bool:
        return len(self.api.registrations) == len(self.resources)

    def turn(self) -> None:
        """Take note of what the agents say, and give them what follows."""
        controller = self.controller
        controller.registrations = dict(self.api.registrations)
        controller.acknowledgements = {id_: said[-1] for id_, said in self.api.acknowledgements.items() if said}
        controller.beacons = dict(self.api.beacons)
        controller.now_s = time.time()
        self.api.offer(*(controller.configs[id_] for id_ in controller.cycle()))

    def drive(self, until: Callable[[], object], what: str, timeout_s: float = 90.0) -> None:
        """Let the controller work until something is so.

        Raises:
            TimeoutError: If it is not in time.
        """

        def turned() -> object:
            self.turn()
            return until()

        wait_until(turned, timeout_s, what=what, every_s=TURN_S)

    def labels(self) -> list[LabelAllocation]:
        return [label for circuit in self.controller.placed.circuits for label in circuit.labels]

    def settled(self) -> bool:
        """Every agent has what it was told, and no label is on its way."""
        configs, said = self.controller.configs, self.controller.acknowledgements
        if any(id_ not in said or not said[id_].applied or said[id_].epoch < configs[id_].epoch for id_ in configs):
            return False
        single = all(len(circuit.tunnels) <= 1 for circuit in self.controller.placed.circuits)
        return single and {label.state for label in self.labels()} <= {LabelState.ACTIVE, LabelState.STANDBY}

    def differences(self, host: str) -> str:
        return self.lab[host].exec(sys.executable, "-c", DIFFERENCES, self.folder / f"{host}.yaml", timeout=90).stdout

    def address(self, host: str) -> str:
        return self.controller.statuses[self.resources[host].id].mesh_address

    def reaches(self, source: str, destination: str, wait_s: float = 1.0) -> bool:
        argv = ("ping", "-q", "-c", 1, "-W", wait_s, self.address(destination))
        return self.lab[source].exec(*argv, check=False).returncode == 0

    def flooding(self, source: str, destination: str) -> Ping:
        """200 packets a second for as long as its context lasts."""
        log = self.folder / f"ping-{source}-{destination}-{time.monotonic_ns()}.log"
        return Ping(self.lab[source], self.address(destination), log, every_s=0.005)

    def interfaces(self, host: str) -> set[str]:
        """Hop interfaces that a host has."""
        found = json.loads(self.lab[host].exec("ip", "-json", "link", "show").stdout)
        return {item["ifname"] for item in found if item["ifname"].startswith("fm-h")}
