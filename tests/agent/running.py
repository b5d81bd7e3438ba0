"""An agent on every host of a small lab: gateways a, t and b, workloads wa and wb, each with its own namespace."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agent.configs import HOSTS, configs, resource, workload_address
from agent.mesh_api import FakeMeshApi
from foremesh.agent.state import KeyRole
from foremesh.model.config import GatewayConfig
from foremesh.network.programmed import DRAIN_S
from lab.nodes import Node
from lab.process import Daemon, wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair

AGENT = """
import asyncio, logging, sys
from pathlib import Path
from foremesh.agent import agent, settings
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
asyncio.run(getattr(agent, sys.argv[1])(settings.load(Path(sys.argv[2]))))
"""

DIFFERENCES = """
import asyncio, sys, time
from pathlib import Path
from foremesh.agent import agent, settings
from foremesh.agent.desired import desired
from foremesh.agent.diff import diff
from foremesh.agent.keys import Keys
from foremesh.agent.state import Names
from foremesh.agent.store import ConfigStore
its = settings.load(Path(sys.argv[1]))
keys = Keys.load(Path(its.state_dir) / "keys")
names = Names(its.prefix)
wanted = desired(ConfigStore(Path(its.state_dir)).load(), agent.local_of(its, names, keys))
sight = asyncio.run(agent._host(its, names, keys).observe(wanted, {}, now_s=time.time()))
for change in diff(sight.observed, wanted):
    print(change)
"""

MARKER = "4d41524b45523031"
"""What pings are filled with ("MARKER01"), to be looked for where it must not be seen."""

ONE_WAY_MS = 5.0

LOG_LINES = 6
"""Of an agent's log in an error: what it did last, and what it complained of."""

Edit = Callable[[dict[str, GatewayConfig]], dict[str, GatewayConfig]]


class Mesh:
    """The lab with an agent on every host."""

    hosts: tuple[str, ...] = HOSTS

    def __init__(
        self, lab: Lab, api: FakeMeshApi, folder: Path, settings: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        self.lab, self.api, self.folder, self.settings = lab, api, folder, settings or {}
        self.agents: dict[str, Daemon] = {}
        self.epoch = 0
        self.underlay = {name: str(lab[name].underlay_address) for name in self.hosts if lab[name].underlay_address}

    def start(self, host: str) -> None:
        """Start the agent of a host, again if it ran before."""
        node = self.lab[host]
        token, settings = self.folder / f"{host}.token", self.folder / f"{host}.yaml"
        token.write_text(f"default.{host}.secret")
        settings.write_text(
            json.dumps(
                {
                    "resource": resource(host),
                    "apiUrl": self.api.url,
                    "plainHttp": True,
                    "tokenFile": str(token),
                    "stateDir": str(self.folder / host),
                    "metricsListen": f"{node.mgmt_address}:9466",
                    "probeInterval": "200ms",
                    "probeTimeout": "1s",
                    "reconcileInterval": "500ms",
                    "mtuProbeInterval": "1s",
                    **({"endpoint": f"{node.underlay_address}:51820"} if node.underlay_address else {}),
                    **self.settings.get(host, {}),
                }
            )
        )
        argv = [sys.executable, "-c", AGENT, "run", settings]
        self.agents[host] = node.daemon(argv, self.folder / f"{host}.log")

    def offer(self, *, edit: Edit = lambda made: made, **changes: object) -> dict[str, GatewayConfig]:
        """Give every agent a config of the next epoch, and wait until all have applied it; ``edit`` changes it."""
        self.epoch += 1
        made = edit(configs(self.keys(), epoch=self.epoch, underlay=self.underlay, **changes))  # type: ignore[arg-type]
        self.api.offer(*made.values())
        for config in made.values():
            outcome = wait_until(lambda c=config: self.api.outcome(c), 30, what=f"word on {config.gateway}'s config")
            assert outcome.applied, outcome.error
        return made

    def keys(self) -> dict[str, dict[KeyRole, str]]:
        wait_until(lambda: len(self.api.registrations) == len(self.hosts), 30, what="all agents registered")
        keys = {host: self.api.registrations[resource(host)].keys for host in self.hosts}
        return {host: {role: getattr(k, role.value) for role in KeyRole} for host, k in keys.items()}

    def differences(self, host: str) -> str:
        return self.lab[host].exec(sys.executable, "-c", DIFFERENCES, self.folder / f"{host}.yaml").stdout

    def metric(self, host: str, name: str, **labels: str) -> float | None:
        """A sample of an agent's exporter; None if it has none, or does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.lab[host].mgmt_address}:9466/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        for line in text.splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                seen = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= seen.items():
                    return float(found[3])
        return None

    def ping(self, *options: object, count: int = 3) -> subprocess.CompletedProcess[str]:
        argv = ("ping", "-q", "-c", count, "-W", 2, *options, workload_address("wb"))
        return self.lab["wa"].exec(*argv, check=False)

    def drain(self) -> None:
        """Leave what was sent last the time to arrive that the controller leaves it before a label goes."""
        since_s = time.monotonic()
        wait_until(lambda: time.monotonic() - since_s >= DRAIN_S, 2 * DRAIN_S, what="packets on their way have arrived")

    def flooding(self, while_doing: Callable[[], object], count: int = 1000) -> tuple[int, int]:
        """Ping 200 times a second during something that ends before the ping does; packets sent and answered."""
        argv = ("ping", "-q", "-i", "0.005", "-c", count, workload_address("wb"))
        process = self.lab["wa"].popen(*argv, stdout=subprocess.PIPE, text=True)
        while_doing()
        assert process.poll() is None, "the ping ended before what it was to watch"
        said = process.communicate(timeout=60)[0]
        sent, answered = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
        return int(sent), int(answered)

    def describe(self) -> str:
        """What every host has done and seen, for an error."""
        return "\n".join(line for host in self.hosts for line in self._describe(host))

    def _describe(self, host: str) -> Iterator[str]:
        agent, beacon = self.agents.get(host), self.api.beacons.get(resource(host))
        yield f"--- {host}: {'agent runs' if agent and agent.running else 'no agent'}" + (
            f"; epoch {beacon.applied_epoch} sends on {beacon.sending} hears labels {list(beacon.heard)}"
            f" links up {beacon.peers_up}"
            if beacon
            else "; no beacon came"
        )
        for line in self.lab[host].exec("wg", "show", "all", "dump", check=False).stdout.splitlines():
            fields = line.split("\t")
            if len(fields) == 9:  # a peer; the other lines have the interface's own keys
                device, _, _, endpoint, _, handshake, received, sent, _ = fields
                ago = f"{time.time() - int(handshake):.0f} s ago" if int(handshake) else "never"
                yield f"{device} peer {endpoint}: handshake {ago}, {received} bytes received, {sent} sent"
        log = self.folder / f"{host}.log"
        yield from log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else ()

    def wireguards(self, host: str) -> dict[str, int]:
        """Process ids of userspace WireGuard by interface, of this host's namespace alone."""
        inside = self.lab[host].exec("ip", "netns", "pids", self.lab[host].netns).stdout.split()
        found = {}
        for pid in inside:
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[0].endswith(b"wireguard-go"):
                found[argv[1].decode()] = int(pid)
        return found


class Capture:
    """tcpdump on one interface of a host, from entering the context to leaving it; ``packets`` has them in text."""

    def __init__(self, node: Node, interface: str, *expression: str) -> None:
        self.node, self.interface, self.expression = node, interface, expression
        self.packets = ""

    def __enter__(self) -> Capture:
        argv = ["tcpdump", "-n", "-l", "-x", "--immediate-mode", "-i", self.interface, *self.expression]
        pipe = subprocess.PIPE
        self._process = self.node.popen(*argv, stdout=pipe, stderr=pipe, text=True)
        said = ""
        while "listening on" not in said:
            said = self._process.stderr.readline()
            assert said, f"tcpdump on {self.interface} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self.packets = self._process.communicate(timeout=10)[0]

    @property
    def octets(self) -> str:
        """All packets' octets in hexadecimal, without addresses and line breaks."""
        return "".join(re.findall(r"^\s+0x[0-9a-f]+:  (.*)$", self.packets, re.M)).replace(" ", "")


@contextlib.contextmanager
def running_mesh(
    folder: Path,
    *,
    machines: tuple[Workload, ...] = (),
    settings: Mapping[str, Mapping[str, object]] | None = None,
    one_way_ms: float = ONE_WAY_MS,
    **changes: object,
) -> Iterator[Mesh]:
    """A mesh that carries a ping from wa to wb.

    Args:
        machines: Nodes without an agent.
        settings: Host to what its agent's configuration has besides.
        one_way_ms: Delay of every link.
        changes: Those of the first config.

    Raises:
        TimeoutError: If it does not come up; says what every host has done and seen.
    """
    names = ("a", "t", "b")
    ways = {(x, y): Pair(one_way_ms) for x in names for y in names if x != y}
    gateways = tuple(Gateway(name, "Transit" if name == "t" else "Core", f"s{name}", "eu", 0.0) for name in names)
    topology = Topology(gateways, (Workload("wa", "sa"), Workload("wb", "sb"), *machines), ways)
    with Lab(topology) as lab, FakeMeshApi(lab.mgmt_address) as api:
        running = Mesh(lab, api, folder, settings)
        for host in HOSTS:
            running.start(host)
        try:
            running.offer(**changes)
            wait_until(lambda: running.ping(count=1).returncode == 0, 30, what="a ping from wa to wb")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{running.describe()}") from error
        yield running
