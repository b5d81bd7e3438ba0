"""What is compared: a System carries a stream from one end of the lab to the other.

The daemons and the static routes run on the same links: a userspace WireGuard interface a link and gateway, addresses
on it, forwarding on. What they do not know a way to is unreachable, as in the mesh: no stream may leave in clear.
"""

from __future__ import annotations

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from convergence import scene
from lab.nodes import Node
from lab.process import Daemon, DaemonError, wait_until
from lab.topology import Lab

TEMPLATES = Path(__file__).parent / "templates"
FIRST_PORT = 51900
"""UDP port of the first link's WireGuard; a port a link, the same at both ends."""
STREAMS = "10.77.0.0/16"
"""Where the ends of the stream have their addresses; the lab's Internet does not carry them in clear."""
END = {scene.SOURCE: "10.77.1", scene.DESTINATION: "10.77.2"}
"""The networks of the ends: .1 is the gateway, .2 the end."""
WIREGUARD = {"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1", "LOG_LEVEL": "error"}
START_S = 20.0
"""Seconds for a program to start; all take under one on an idle machine."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the stream begins and ends, and the address it is sent to."""

    source: Node
    destination: Node
    address: str


class System(ABC):
    """One of those compared.

    Attributes:
        name: What options and figures call it.
        title: What people read.
        returns: Whether it goes back to the best path by itself once a fault is over.
        slow: Whether its timers are seconds, so that what else the machine does then changes no figure.
        processors: How many it takes at the most, with the emulator and the stream.
        start_s: Seconds it may take until it carries the stream on the best path.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    returns: ClassVar[bool] = True
    slow: ClassVar[bool] = False
    processors: ClassVar[float] = 1.0
    start_s: ClassVar[float] = 60.0

    lab: Lab

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self.tell = folder, tell

    @abstractmethod
    def start(self) -> Ends:
        """Set everything up; the stream may not pass yet on return.

        Raises:
            LabError, DaemonError: If it cannot be; :meth:`stop` cleans up.
        """

    def settled(self) -> bool:
        """Whether it is prepared for the next fault, as far as the stream does not show it."""
        return True

    def begin(self) -> None:
        """Called once, when the stream first takes the best path."""
        return

    @abstractmethod
    def stop(self) -> None:
        """End everything, however far it got; twice is the same as once."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """What was compared: programs and their versions."""


@dataclass(frozen=True, slots=True)
class Link:
    """One end of a link: its interface, both addresses, the gateway at the far end, and its one-way delay."""

    gateway: str
    far: str
    number: int
    ms: float

    @property
    def device(self) -> str:
        return f"w-{self.far}"

    @property
    def port(self) -> int:
        return FIRST_PORT + self.number

    @property
    def addresses(self) -> tuple[str, str]:
        """Own and far address, of a /31."""
        pair = (f"10.78.100.{2 * self.number}", f"10.78.100.{2 * self.number + 1}")
        return pair if (self.gateway, self.far) in scene.LINKS_MS else pair[::-1]


def links_of(gateway: str) -> list[Link]:
    """The ends of links that a gateway has, in the scene's order."""
    return [
        Link(gateway, b if a == gateway else a, number, ms)
        for number, ((a, b), ms) in enumerate(scene.LINKS_MS.items())
        if gateway in (a, b)
    ]


def number_of(gateway: str) -> int:
    """1 and up."""
    return scene.GATEWAYS.index(gateway) + 1


def template(name: str) -> Template:
    """A configuration file to be, with ``$names`` in it."""
    return Template((TEMPLATES / name).read_text())


class OnLinks(System):
    """Whatever routes over one WireGuard interface a link."""

    def start(self) -> Ends:
        self.lab = Lab(scene.topology()).__enter__()
        keys = {link: _key() for name in scene.GATEWAYS for link in links_of(name)}
        for name in scene.GATEWAYS:
            self._gateway(self.lab[name], keys)
        # Before any daemon measures: what waits for a handshake would look like a round trip of seconds.
        wait_until(self._linked, START_S, what="all links shake hands")
        for gateway, end in ((scene.SOURCE, "src"), (scene.DESTINATION, "dst")):
            prefix, node = END[gateway], self.lab[end]
            self.lab[gateway].exec("ip", "address", "add", f"{prefix}.1/24", "dev", "lan0")
            node.exec("ip", "address", "add", f"{prefix}.2/24", "dev", "lan0")
            node.exec("ip", "route", "add", STREAMS, "via", f"{prefix}.1", "src", f"{prefix}.2")
        for name in scene.GATEWAYS:
            self.route(self.lab[name])
        return Ends(self.lab["src"], self.lab["dst"], f"{END[scene.DESTINATION]}.2")

    def stop(self) -> None:
        if hasattr(self, "lab"):
            self.lab.close()

    @abstractmethod
    def route(self, node: Node) -> None:
        """Set routes on a gateway, or start what does."""

    def daemon(self, node: Node, argv: list[object], ready: Callable[[], object] | None = None) -> Daemon:
        """Start a program on a gateway; it ends with the lab."""
        return node.daemon(argv, self.folder / f"{node.name}-{Path(str(argv[0])).name}.log", ready=ready)

    def file(self, node: Node, name: str, text: str) -> Path:
        """Write a configuration file of a gateway."""
        path = self.folder / node.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _linked(self) -> bool:
        """Whether a packet passes every link; sends one over each."""
        for name in scene.GATEWAYS:
            first = [link.addresses[1] for link in links_of(name) if link.addresses[0] < link.addresses[1]]
            pings = "".join(f'ping -q -c 1 -W 2 {address} >/dev/null & p="$p $!"; ' for address in first)
            waiting = f"p=; {pings} for i in $p; do wait $i || exit 1; done"
            if self.lab[name].exec("sh", "-c", waiting, check=False).returncode:
                return False
        return True

    def _gateway(self, node: Node, keys: dict[Link, X25519PrivateKey]) -> None:
        own = links_of(node.name)
        for link in own:
            self._wireguard(node, link.device)
        lines = [f"address add 10.78.0.{number_of(node.name)}/32 dev lo"]
        lines.append(f"route add unreachable {STREAMS} metric 9999")
        for link in own:
            peer = next(other for other in links_of(link.far) if other.far == node.name)
            config = f"[Interface]\nPrivateKey = {_private(keys[link])}\nListenPort = {link.port}\n"
            config += f"[Peer]\nPublicKey = {_public(keys[peer])}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
            config += f"Endpoint = {self.lab[link.far].underlay_address}:{link.port}\n"
            node.exec("wg", "setconf", link.device, "/dev/stdin", input=config)
            mine, far = link.addresses
            lines += [
                f"address add {mine} peer {far}/32 dev {link.device}",
                f"link set {link.device} up",
            ]
        node.exec("ip", "-batch", "-", input="\n".join(lines) + "\n")
        node.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")

    def _wireguard(self, node: Node, device: str) -> None:
        def ready() -> bool:
            return node.exec("test", "-S", f"/var/run/wireguard/{device}.sock", check=False).returncode == 0

        log = self.folder / f"{node.name}-{device}.log"
        try:
            node.daemon(["wireguard-go", "-f", device], log, env=WIREGUARD, ready=ready)
        except DaemonError:  # on a busy machine it may look for its socket before that is there, and gives up
            node.daemon(["wireguard-go", "-f", device], log, env=WIREGUARD, ready=ready)


class Static(OnLinks):
    """Routes along the best path, set by hand: what nobody mends."""

    name, title = "static", "static routes"
    slow = True

    def route(self, node: Node) -> None:
        for prefix, way in ((END[scene.DESTINATION], scene.BEST), (END[scene.SOURCE], scene.BEST[::-1])):
            if node.name in way[:-1]:
                next_one = way[way.index(node.name) + 1]
                node.exec("ip", "route", "add", f"{prefix}.0/24", "dev", f"w-{next_one}")

    def versions(self) -> dict[str, str]:
        return {"wireguard-go": wireguard_version()}


@cache
def wireguard_version() -> str:
    """As the program says it."""
    return said(["wireguard-go", "--version"]).split()[1]


def said(argv: list[str]) -> str:
    """What a program prints about itself.

    Raises:
        LabError: If it is not installed.
    """
    import subprocess

    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/lib/frr"))
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": path, **WIREGUARD}, timeout=START_S)
    return (done.stdout + done.stderr).strip()


def _key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def _private(key: X25519PrivateKey) -> str:
    return base64.b64encode(key.private_bytes_raw()).decode()


def _public(key: X25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
