"""The failover process's part for sites with several gateways: socket and routes around ``uplinks`` and ``detours``.

A workload asks its gateways whether they live; a gateway answers. Either moves the traffic of a dead way to another, by
routes of its own before the agent's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from foremesh.agent.failover import uplinks
from foremesh.agent.failover.detours import Detour, Quiet, Way, choose
from foremesh.agent.failover.engine import Engine, TableError
from foremesh.agent.failover.routes import RouteError, Routes, device_number
from foremesh.agent.failover.uplinks import Uplink

PORT = 51_833
"""UDP port of questions and answers inside the tunnels; the same everywhere."""

IP_PKTINFO, PKTINFO = 8, struct.Struct("=I4s4s")
PACKETS_AT_ONCE = 512
"""Packets read before others get their turn."""
ANCILLARY_BYTES = 64

ANY = ""
"""What stands for all circuits of a gateway among their names."""

Spans = dict[tuple[int, str], tuple[int, str, str]]


class Site:
    """Uplinks, detours and answers of one host.

    Args:
        incarnation: A number that no earlier process of this host had.
        log: Writes a line.
    """

    def __init__(self, incarnation: int, log: Callable[[str], None]) -> None:
        self._incarnation, self._log = incarnation, log
        self._uplinks: dict[str, Uplink] = {}
        self._detours: dict[str, Detour] = {}
        self._interval_s = 0.2
        self._ask_s = 0.0
        self._address = ""
        self._quiet = Quiet()
        self._routes: Routes | None = None
        self._refused = ""
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        """The socket's; -1 while none is needed."""
        return self._socket.fileno() if self._socket is not None else -1

    def configure(self, table: dict, now_s: float) -> None:
        """Take the part of a table that is about sites; what is used is read from the kernel.

        Raises:
            TableError: If it is none.
            OSError: If the socket cannot be had, or routes not be read or changed.
        """
        try:
            interval_s, missed = float(table["uplink_interval_ms"]) / 1000, int(table["uplink_missed"])
            asked = {str(name): tuple(map(str, one)) for name, one in table["uplinks"].items()}
            parts = {
                str(name): (
                    tuple(Way(*map(str, way)) for way in one["ways"]),
                    frozenset((int(number), str(prefix)) for number, prefix in one["prefixes"]),
                    str(one["source"]),
                    bool(one["firm"]),
                )
                for name, one in table["detours"].items()
            }
            address = str(table["answers_as"])
            if interval_s <= 0 or missed < 1 or any(not ways for ways, _, _, _ in parts.values()):
                raise ValueError("no interval, none missed, or a detour without ways")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"table not understood ({error!r}); the one before stays") from error
        self._interval_s, self._address = interval_s, address
        before = self._uplinks
        self._uplinks = {}
        for name, (device, own, far) in asked.items():
            known = before.get(name)
            same = known is not None and (known.device, known.own, known.far) == (device, own, far)
            self._uplinks[name] = known if same else Uplink(device, own, far, self._incarnation, missed)  # type: ignore[assignment]
            self._uplinks[name].missed = missed
        self._open(bool(asked or address))
        if self._routes is None and (parts or self._detours):
            self._routes = Routes()
        there = self._routes.read() if self._routes else {}
        detours = {}
        for name, (ways, prefixes, source, firm) in parts.items():
            detours[name] = Detour(ways, prefixes, source, firm, self._used(name, ways, prefixes, firm, there))
        self._detours = detours
        # What is dead is not gone back to, whatever the config says: whoever wrote it may not have heard yet.
        self._choose(now_s)
        self._write(there)

    def _used(
        self, name: str, ways: tuple[Way, ...], prefixes: frozenset[tuple[int, str]], firm: bool, there: Spans
    ) -> str:
        """The way that a detour goes by now. Another word of the config than before outweighs it."""
        told, known = ways[0].name, self._detours.get(name)
        if known is not None and firm and (not known.firm or prefixes - known.routes):
            return told
        devices = {device_number(way.device): way.name for way in ways[1:]}
        found = {devices[there[key][0]] for key in prefixes if key in there and there[key][0] in devices}
        if known is not None and known.used in found:
            return known.used
        return min(found, default=told)

    def _open(self, needed: bool) -> None:
        if not needed or self._socket is not None:
            return
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xC0)  # CS6, network control
            opened.bind(("0.0.0.0", PORT))
        except OSError:
            opened.close()
            raise
        self._socket = opened

    def read(self) -> None:
        """Hear answers, and answer questions."""
        if self._socket is None:
            return
        try:
            for _ in range(PACKETS_AT_ONCE):
                packet, ancillary, _, source = self._socket.recvmsg(64, ANCILLARY_BYTES)
                device, _, _ = PKTINFO.unpack_from(ancillary[0][2])
                self._received(packet, device, source)
        except OSError:
            pass

    def _received(self, packet: bytes, device: int, source: tuple[str, int]) -> None:
        for uplink in self._uplinks.values():
            # By its own tunnel, and no other: each proves who sent it.
            if uplink.far == source[0] and device == device_number(uplink.device):
                uplink.heard(packet)
                return
        said = uplinks.answer(packet, cut_off=ANY in self._quiet.dead()) if self._address else None
        if said is not None:
            self._send(said, device, self._address, source)

    def _send(self, packet: bytes, device: int, own: str, to: tuple[str, int]) -> None:
        info = PKTINFO.pack(device, socket.inet_aton(own), bytes(4))
        # No route now, or no room: it is missed, as it should be.
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.sendmsg((packet,), [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, to)

    def tick(self, engine: Engine, now_s: float) -> bool:
        """Ask gateways if it is time to, and look who lives; whether another way is used than before."""
        if not (self._uplinks or self._detours or self._address):
            return False
        circuits = {way.name for detour in self._detours.values() for way in detour.ways} & engine.circuits.keys()
        alive = {name: engine.lives(name, now_s) for name in circuits}
        if self._address and engine.circuits:
            alive[ANY] = any(route.session.alive(now_s) for route in engine.routes.values())
        self._quiet.tick(alive)
        changed = self._decide(now_s)
        if self._uplinks and now_s >= self._ask_s:
            self._ask_s = max(self._ask_s + self._interval_s, now_s + self._interval_s / 2)
            for uplink in self._uplinks.values():
                if device := device_number(uplink.device):
                    self._send(uplink.question(now_s), device, uplink.own, (uplink.far, PORT))
                else:
                    uplink.question(now_s)
        return changed

    def _choose(self, now_s: float) -> dict[str, tuple[str, str]]:
        """Have every detour use the right way; those that changed, with the way before and now."""
        alive = self._quiet.alive() | {name for name, one in self._uplinks.items() if one.alive}
        dead = self._quiet.dead() | {name for name, one in self._uplinks.items() if one.dead(now_s)}
        moves = {}
        for name, detour in self._detours.items():
            way = choose(detour, alive, dead)
            if way != detour.used:
                moves[name] = (detour.used, way)
                detour.used = way
        return moves

    def _decide(self, now_s: float) -> bool:
        moves = self._choose(now_s)
        if not moves:
            return False
        try:
            assert self._routes is not None
            self._write(self._routes.read())
        except OSError as error:
            for name, (before, _) in moves.items():
                self._detours[name].used = before
            if str(error) != self._refused:
                self._refused = str(error)
                self._log(f"not moved error={error}")
            return False
        self._refused = ""
        for name, (before, now) in moves.items():
            self._log(f"detour of={name} from={before} to={now}")
        return True

    def _wanted(self) -> Spans:
        """Routes of the detours that do not go as the config says, as far as their devices are there."""
        found: Spans = {}
        for detour in self._detours.values():
            if detour.used != detour.told:
                way = detour.way
                if device := device_number(way.device):
                    found |= dict.fromkeys(detour.routes, (device, way.gateway, detour.source))
        return found

    def _write(self, there: Spans) -> None:
        if self._routes is not None:
            self._routes.change(there, self._wanted())

    def stands(self) -> bool:
        """Whether the kernel has the routes that were written: their devices may have been made anew."""
        if self._routes is None:
            return True
        try:
            return self._routes.read() == self._wanted()
        except RouteError:
            return False

    def detours(self) -> dict[str, str]:
        """The ways that the config prefers and that are not used, with those used instead."""
        return {one.told: one.used for one in self._detours.values() if one.firm and one.used != one.told}

    def uplinks(self) -> dict[str, bool]:
        """Gateways that are asked, and whether they live."""
        return {name: uplink.alive for name, uplink in self._uplinks.items()}
