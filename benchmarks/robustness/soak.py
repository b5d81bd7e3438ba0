"""One host with a real agent, WireGuard, nftables and routes: configs come at random, and what runs there is killed.

After every change the host has to be as the config says, and after leaving as it was before the agent came: looked at
through the agent's own eyes, and past them, at processes, control sockets and files.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.mesh_api import FakeMeshApi
from agent.random_configs import HOST, Drawn
from agent.running import AGENT
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Acknowledgement
from lab.nodes import Node
from lab.process import Daemon, wait_until

EYES = """
import asyncio, json, os, sys, time
from pathlib import Path
from foremesh.agent import agent, settings
from foremesh.agent.desired import desired
from foremesh.agent.diff import diff
from foremesh.agent.host import HostError
from foremesh.agent.keys import Keys
from foremesh.agent.state import Desired, Names
from foremesh.agent.store import ConfigStore
its = settings.load(Path(sys.argv[1]))
state = Path(its.state_dir)
names = Names(its.prefix)
for _ in sys.stdin:
    try:
        keys = Keys.load(state / "keys")
        config = ConfigStore(state).load()
        wanted = desired(config, agent.local_of(its, names, keys)) if config else Desired()
        sight = asyncio.run(agent._host(its, names, keys).observe(wanted, {}, now_s=time.time()))
        seen = {
            "epoch": config.epoch if config else None,
            "differences": [repr(change) for change in diff(sight.observed, wanted)],
            "tunnels": sorted(name for name, one in wanted.interfaces.items() if one.public_key),
            "failover": wanted.failover is not None,
            "sockets": sorted(os.listdir(its.control_dir)),
        }
    except HostError as error:
        seen = {"error": str(error)}
    print(json.dumps(seen), flush=True)
"""
"""Looks at the host through the agent's eyes, once for every line it reads. It is another process than the agent, and
runs the same code on what is there."""

EVENTS = {
    "nothing": 3,
    "agent killed": 6,
    "WireGuard killed": 3,
    "failover killed": 2,
    "agent and WireGuard killed": 2,
    "all killed": 1,
    "WireGuard fails to start once": 1,
    "WireGuard does not start": 2,
    "route of others": 1,
}
"""What happens while a config is applied, and how often in comparison."""
REFUSABLE = ("WireGuard does not start", "route of others")

LATEST_KILL_S = 1.0
"""Seconds after a config is offered within which the kill comes; applying it takes a third of that, or more."""
CONVERGE_S = 120.0
"""Seconds until the host must be as the config says; it takes about two on a machine that does nothing else, and what
was refused because something had been killed is tried again after 10."""
ENDED_S = 20.0
"""Seconds until processes that were told to end have ended."""
LOOK_S = 0.1

LEAKS = {
    "peers": ("DeletePeer", "DropAllowed"),
    "routes": ("DeleteRoute",),
    "rules": ("DeleteRule",),
    "addresses": ("DeleteAddress", "DeleteNeighbour"),
    "interfaces": ("DeleteInterface",),
    "tables": ("DeleteTable",),
}
"""Changes that take something away that should not be there, by what it is."""

KEPT_SETTINGS = ("net.ipv4.ip_forward", "rp_filter", "send_redirects", "forwarding", "accept_redirects")
"""What leaving does not turn back, since others may rely on it by now; the last two follow from the first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change.

    Attributes:
        refused: The agent went back to the config before.
        midway: What was killed was killed before the agent had acknowledged the config.
        converged_s: Seconds from the event, or from the offer where there was none, until all was as it should be.
        wrong: What was not, at the deadline.
    """

    event: str
    refused: bool
    midway: bool
    converged_s: float
    wrong: tuple[str, ...] = ()


class Soak:
    """A host that is put through changes.

    Args:
        node: Where; its namespace is the host.
        seed: Of the changes, events and moments.
    """

    def __init__(self, node: Node, api: FakeMeshApi, folder: Path, seed: int) -> None:
        self._node, self._api, self._folder = node, api, folder
        self._random = random.Random(seed)
        self._settings = folder / "a.yaml"
        self._hosts = folder / "hosts"
        self._control = Path("/var/run/wireguard")
        self._state = folder / "state"
        self._failing, self._failing_once = folder / "fails", folder / "fails-once"
        self._drawn = Drawn()
        self._agent: Daemon | None = None
        self._eyes: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Take note of the host, and start the agent."""
        self._hosts.write_text("127.0.0.1\tlocalhost\n")
        token, wireguard = self._folder / "a.token", self._folder / "wireguard"
        token.write_text("default.a.secret")
        wireguard.write_text(
            "#!/bin/sh\n"
            f"if [ -e {shlex.quote(str(self._failing))} ] || rm {shlex.quote(str(self._failing_once))} 2>&-; then\n"
            '  echo "told to fail" >&2; exit 1\n'
            'fi\nexec wireguard-go "$@"\n'
        )
        wireguard.chmod(0o755)
        self._settings.write_text(
            json.dumps(
                {
                    "resource": HOST,
                    "apiUrl": self._api.url,
                    "plainHttp": True,
                    "tokenFile": str(token),
                    "stateDir": str(self._state),
                    "hostsFile": str(self._hosts),
                    "wireguard": str(wireguard),
                    "metricsListen": f"{self._node.mgmt_address}:9466",
                    "endpoint": f"{self._node.underlay_address}:51820",
                    "beaconInterval": "300ms",
                    "reconcileInterval": "300ms",
                    "keyRotation": "20s",
                }
            )
        )
        self._before = self._host()
        self._start_agent()
        argv = self._node.command(sys.executable, "-c", EYES, self._settings)
        wait_until(lambda: HOST in self._api.registrations, CONVERGE_S, what="the agent registers")
        self._eyes = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End what still runs here of the soak's own."""
        if self._agent:
            self._agent.kill()
        if self._eyes:
            self._eyes.kill()
            self._eyes.wait()
            self._eyes = None

    def change(self, event: str | None = None) -> Outcome:
        """Offer the next config, have something happen, and wait until the host is as it should be."""
        event = event or self._random.choices(list(EVENTS), list(EVENTS.values()))[0]
        registered = self._api.registrations[HOST]
        self._drawn = replace(
            self._drawn, own_keys=("", *dict.fromkeys([one.key for one in registered.hops] or [registered.keys.hop]))
        ).changed(self._random)
        config = self._drawn.config()
        self._hinder(event)
        try:
            self._api.offer(config)
            begun_s, midway = time.monotonic(), False
            if "killed" in event:
                time.sleep(self._random.uniform(0, LATEST_KILL_S))
                begun_s, midway = time.monotonic(), self._api.outcome(config) is None
                self._kill(event)
                if not self._agent.running:
                    self._start_agent()
            outcome = self._outcome(config, event)
            refused = outcome is not None and not outcome.applied
            wrong = self._wait_right(config, outcome) if outcome else (f"no word on epoch {config.epoch}",)
        finally:
            self._help()
        return Outcome(event, refused, midway, time.monotonic() - begun_s, wrong)

    def leave(self, *, killed: bool) -> tuple[str, ...]:
        """End the agent, perhaps in the middle of an application, and leave; what is other than before it came."""
        if killed:
            self._drawn = self._drawn.changed(self._random)
            self._api.offer(self._drawn.config())
            time.sleep(self._random.uniform(0, LATEST_KILL_S))
            self._agent.kill()
            self._kill("WireGuard killed")
        else:
            self._agent.stop()
        self._node.exec(sys.executable, "-c", AGENT, "leave", self._settings, timeout=120)
        self.close()
        return _in_the_end(lambda: _differences(self._before, self._host()), ENDED_S)

    def log(self) -> str:
        return self._agent.describe_log()

    # What happens

    def _start_agent(self) -> None:
        argv = [sys.executable, "-c", AGENT, "run", self._settings]
        self._agent = self._node.daemon(argv, self._folder / "a.log")

    def _hinder(self, event: str) -> None:
        if event == "WireGuard fails to start once":
            self._failing_once.touch()
        elif event == "WireGuard does not start":
            self._failing.touch()
        elif event == "route of others":
            self._node.exec("ip", "route", "add", "100.64.200.0/24", "dev", "lan0")

    def _help(self) -> None:
        for flag in (self._failing, self._failing_once):
            flag.unlink(missing_ok=True)
        self._node.exec("ip", "route", "delete", "100.64.200.0/24", "dev", "lan0", check=False)

    def _kill(self, event: str) -> None:
        if "agent" in event or event.startswith("all"):
            self._agent.kill()
        tunnels, failovers = self._processes()
        if "WireGuard" in event and tunnels:
            _kill(self._random.choice(sorted(tunnels.values())))
        if event.startswith("all"):
            for pid in tunnels.values():
                _kill(pid)
        if "failover" in event or event.startswith("all"):
            for pid in failovers:
                _kill(pid)

    # What comes of it

    def _outcome(self, config: GatewayConfig, event: str) -> Acknowledgement | None:
        def said() -> Acknowledgement | None:
            word = self._api.outcome(config)
            # Something that was killed may be missed before it is there again; it is then tried again.
            return word if word and (word.applied or event in REFUSABLE) else None

        try:
            return wait_until(said, CONVERGE_S, every_s=LOOK_S)
        except TimeoutError:
            return None

    def _wait_right(self, config: GatewayConfig, outcome: Acknowledgement) -> tuple[str, ...]:
        return _in_the_end(lambda: self._wrong(config, outcome), CONVERGE_S)

    def _wrong(self, config: GatewayConfig, outcome: Acknowledgement) -> Iterable[str]:
        """What is not as the config says, or as the one before if it was refused."""
        seen = self._look()
        if "error" in seen:
            return [seen["error"]]
        wrong = list(seen["differences"])
        if (seen["epoch"] == config.epoch) is not outcome.applied:
            wrong.append(f"epoch {seen['epoch']} in force; {outcome}")
        tunnels, failovers = self._processes()
        sockets = sorted(f"{name}.sock" for name in [*seen["tunnels"], *(["fm-failover"] if seen["failover"] else [])])
        for what, found, expected in (
            ("WireGuard processes", sorted(tunnels), seen["tunnels"]),
            ("failover processes", len(failovers), int(seen["failover"])),
            ("control sockets", seen["sockets"], sockets),
        ):
            if found != expected:
                wrong.append(f"{what}: {found}, expected {expected}")
        return wrong

    def _look(self) -> dict[str, Any]:
        self._eyes.stdin.write("\n")
        self._eyes.stdin.flush()
        return json.loads(self._eyes.stdout.readline())

    def _pids(self) -> list[int]:
        return [int(pid) for pid in self._node.exec("ip", "netns", "pids", self._node.netns).stdout.split()]

    def _processes(self) -> tuple[dict[str, int], list[int]]:
        """Process ids of WireGuard by interface, and of failover processes, of this host alone."""
        tunnels, failovers = {}, []
        for pid in self._pids():
            argv = _argv(pid)
            if argv and argv[0].endswith("wireguard-go"):
                tunnels[argv[1]] = pid
            elif any("foremesh.agent.failover.process" in word for word in argv):
                failovers.append(pid)
        return tunnels, failovers

    def _host(self) -> dict[str, list[str]]:
        """Everything of the host that the agent might leave something in, as lines."""
        run = self._node.exec
        links = json.loads(run("ip", "-json", "address").stdout)
        settings = run("sysctl", "-a", "--pattern", r"^net\.ipv[46]\.(conf|ip_forward)").stdout.splitlines()
        return {
            # IPv6 gives addresses of its own accord, when it is ready to.
            "interfaces": [
                " ".join([link["ifname"], *(a["local"] for a in link["addr_info"] if a["family"] == "inet")])
                for link in links
            ],
            "routes": run("ip", "-4", "route", "show", "table", "all").stdout.splitlines(),
            "rules": run("ip", "-4", "rule").stdout.splitlines(),
            "tables": run("nft", "list", "ruleset").stdout.splitlines(),
            "settings": [line for line in settings if not any(kept in line for kept in KEPT_SETTINGS)],
            "processes": [" ".join(argv[:2]) for argv in map(_argv, self._pids()) if argv],
            "sockets": run("ls", self._control).stdout.split(),
            "hosts file": self._hosts.read_text().splitlines(),
            "state": [path.name for path in self._state.glob("*") if path.name != "keys"],
        }


def _in_the_end(look: Callable[[], Iterable[str]], timeout_s: float) -> tuple[str, ...]:
    """Look until nothing is wrong; what still is after so long."""
    wrong: list[str] = []

    def is_right() -> bool:
        wrong[:] = look()
        return not wrong

    try:
        wait_until(is_right, timeout_s, every_s=LOOK_S)
    except TimeoutError:
        return tuple(wrong)
    return ()


def _differences(before: dict[str, list[str]], now: dict[str, list[str]]) -> list[str]:
    found = []
    for what in before:
        more, less = Counter(now[what]) - Counter(before[what]), Counter(before[what]) - Counter(now[what])
        found += [f"{what}: {line!r} is new" for line in more] + [f"{what}: {line!r} is gone" for line in less]
    return found


def leaks(wrong: Iterable[str]) -> dict[str, int]:
    """How many things should not be there, by what they are; what is missing or different is not among them."""
    found = dict.fromkeys(LEAKS, 0)
    for line in wrong:
        for what, kinds in LEAKS.items():
            found[what] += line.startswith(tuple(f"{kind}(" for kind in kinds))
    return found


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
