"""The port to WireGuard, and the driver of a userspace implementation through its control socket.

``wg`` is not used: it replaces lists of allowed prefixes and loses packets. Here prefixes are added, and removed by
moving them to a peer that exists for that moment only. A kernel driver would implement the same port over netlink;
there is none yet.

Source: the cross-platform userspace interface, https://www.wireguard.com/xplatform/.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from foremesh.agent.host import HostError, run_command
from foremesh.agent.keys import PrivateKey

START_TIMEOUT_S = 10.0
"""Seconds until a started WireGuard must answer; it takes 20 ms on an idle machine."""
SOCKET_TIMEOUT_S = 5.0
"""Seconds for one exchange on the control socket; it is local."""
POLL_S = 0.02
"""Seconds between two looks at a socket that is to come or go."""
LIMITS = "it has too little memory, or its user too few inotify instances (sysctl fs.inotify.max_user_instances)"


class WireGuardError(HostError):
    """A control socket that does not answer, or refuses what it is told; never carries a key."""


@dataclass(frozen=True, slots=True)
class SeenPeer:
    """A peer as WireGuard has it.

    Attributes:
        endpoint: ``address:port`` it was last heard from, or None.
        allowed: Prefixes.
        receive_bytes, transmit_bytes: Since the interface was made.
        last_handshake_s: Unix time; 0.0 if there was none.
    """

    endpoint: str | None = None
    keepalive_s: int = 0
    allowed: frozenset[str] = frozenset()
    receive_bytes: int = 0
    transmit_bytes: int = 0
    last_handshake_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Device:
    """An interface as WireGuard has it; ``public_key`` is empty if it has no key yet."""

    public_key: str = ""
    listen_port: int = 0
    peers: Mapping[str, SeenPeer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerUpdate:
    """What to change of a peer, which is made if it is not there: what is None stays; ``add`` are allowed prefixes."""

    public_key: str
    endpoint: str | None = None
    keepalive_s: int | None = None
    add: tuple[str, ...] = ()
    remove: bool = False


class WireGuardDriver(Protocol):
    """Makes WireGuard interfaces that outlive the agent, and changes them without losing packets."""

    async def create(self, name: str) -> None:
        """Make an interface, down and without a key. Does nothing if it is there."""
        ...

    async def destroy(self, name: str) -> None:
        """Remove an interface, or what is left of one, and return when another of the name can be made."""
        ...

    def abandoned(self) -> frozenset[str]:
        """Names of interfaces whose WireGuard was killed and left something behind; others' among them."""
        ...

    async def read(self, name: str) -> Device: ...

    async def configure(self, name: str, key: PrivateKey, listen_port: int) -> None:
        """Set key and port (0: any)."""
        ...

    async def update(self, name: str, peers: Iterable[PeerUpdate]) -> None: ...

    async def drop_allowed(self, name: str, prefixes: Iterable[str]) -> None:
        """Take prefixes away from whatever peers have them; other prefixes of those peers keep working."""
        ...


class UserspaceWireGuard:
    """Drives ``wireguard-go``, or any program of the same interface.

    Args:
        program: Its name or path.
        control_dir: The folder in which it makes its control sockets.
    """

    def __init__(self, program: str = "wireguard-go", control_dir: Path = Path("/var/run/wireguard")) -> None:
        self._program = program
        self._control_dir = control_dir

    def _socket(self, name: str) -> Path:
        return self._control_dir / f"{name}.sock"

    async def create(self, name: str) -> None:
        if await self._answers(name):
            return
        # It puts itself into the background; a session of its own keeps the agent's signals away from it.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}
        await run_command([self._program, name], env=environment, start_new_session=True, timeout_s=START_TIMEOUT_S)
        # The device is there when the command ends, and goes with the process.
        if not await self._until(name, answers=True, while_=lambda: _exists(name)):
            how = f"does not answer after {START_TIMEOUT_S:.0f} s" if _exists(name) else f"is dead: {LIMITS}"
            raise WireGuardError(
                f"interface {name}: {self._program} was started, and at {self._socket(name)} {how}; the interface"
                " cannot be set up"
            )

    async def destroy(self, name: str) -> None:
        # The process ends with its device, and removes its socket on the way out: a successor must not start before.
        with contextlib.suppress(HostError):
            await run_command(["ip", "link", "delete", "dev", name])
        if not await self._until(name, answers=False):
            raise WireGuardError(f"interface {name}: its WireGuard still answers after the device was deleted")
        self._socket(name).unlink(missing_ok=True)  # of one that was killed

    def abandoned(self) -> frozenset[str]:
        return frozenset(path.stem for path in self._control_dir.glob("*.sock") if _is_refused(path))

    async def _until(self, name: str, *, answers: bool, while_: Callable[[], bool] = lambda: True) -> bool:
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while await self._answers(name) is not answers:
            if asyncio.get_running_loop().time() > deadline or not while_():
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _answers(self, name: str) -> bool:
        try:
            await self._exchange(name, "get=1\n\n")
        except WireGuardError:
            return False
        return True

    async def read(self, name: str) -> Device:
        return parse(await self._exchange(name, "get=1\n\n"))

    async def configure(self, name: str, key: PrivateKey, listen_port: int) -> None:
        await self._exchange(name, f"set=1\nprivate_key={key.reveal().hex()}\nlisten_port={listen_port}\n\n")

    async def update(self, name: str, peers: Iterable[PeerUpdate]) -> None:
        await self._exchange(name, render(peers))

    async def drop_allowed(self, name: str, prefixes: Iterable[str]) -> None:
        parking = base64.b64encode(secrets.token_bytes(32)).decode()
        taken = PeerUpdate(parking, add=tuple(prefixes))
        await self._exchange(name, render([taken, PeerUpdate(parking, remove=True)]))

    async def _exchange(self, name: str, request: str) -> str:
        path = self._socket(name)
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(request.encode())
                    await writer.drain()
                    lines = []
                    while (line := (await reader.readline()).decode()) not in ("\n", ""):
                        lines.append(line)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise WireGuardError(
                f"interface {name}: {path} does not answer ({error or 'timeout'}); it stays as it is"
            ) from error
        if not lines or lines[-1] != "errno=0\n":
            code = lines[-1].strip() if lines else "no answer"
            raise WireGuardError(f"interface {name}: WireGuard refused a change ({code}); it may be made in part")
        return "".join(lines)


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _is_refused(path: Path) -> bool:
    """Whether nobody listens on a socket: whoever made it was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def render(peers: Iterable[PeerUpdate]) -> str:
    """A request that changes peers; nothing in it replaces a list."""
    lines = ["set=1"]
    for peer in peers:
        lines.append(f"public_key={_hex(peer.public_key)}")
        if peer.remove:
            lines.append("remove=true")
            continue
        if peer.endpoint is not None:
            lines.append(f"endpoint={peer.endpoint}")
        if peer.keepalive_s is not None:
            lines.append(f"persistent_keepalive_interval={peer.keepalive_s}")
        lines += [f"allowed_ip={prefix}" for prefix in peer.add]
    return "\n".join(lines) + "\n\n"


def parse(text: str) -> Device:
    """Read the answer to ``get=1``; unknown fields are ignored, and the private key is not kept."""
    public_key, listen_port = "", 0
    peers: dict[str, dict[str, str]] = {}
    allowed: dict[str, list[str]] = {}
    current = ""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "public_key":
            current = _base64(value)
            peers[current], allowed[current] = {}, []
        elif name == "private_key" and value.strip("0"):
            public_key = PrivateKey(bytes.fromhex(value)).public
        elif name == "listen_port":
            listen_port = int(value)
        elif name == "allowed_ip" and current:
            allowed[current].append(value)
        elif current:
            peers[current][name] = value
    return Device(
        public_key, listen_port, {key: _peer(fields, frozenset(allowed[key])) for key, fields in peers.items()}
    )


def _peer(fields: Mapping[str, str], allowed: frozenset[str]) -> SeenPeer:
    nanoseconds = int(fields.get("last_handshake_time_nsec", 0))
    return SeenPeer(
        endpoint=fields.get("endpoint"),
        keepalive_s=int(fields.get("persistent_keepalive_interval", 0)),
        allowed=allowed,
        receive_bytes=int(fields.get("rx_bytes", 0)),
        transmit_bytes=int(fields.get("tx_bytes", 0)),
        last_handshake_s=int(fields.get("last_handshake_time_sec", 0)) + nanoseconds / 1e9,
    )


def _hex(public_key: str) -> str:
    return base64.b64decode(public_key, validate=True).hex()


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()
