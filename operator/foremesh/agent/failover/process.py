"""The failover process: sockets, clock and maps around the engine.

``client`` starts it. It goes into the background when its control socket answers, and lives until it is told to end.
What it is told, and tells, are lines of JSON on that socket, see ``table``. Standard library only, and little of it:
it runs on every gateway.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import time

from foremesh.agent.failover import nftables
from foremesh.agent.failover.engine import Engine, TableError
from foremesh.agent.failover.hellos import Hellos
from foremesh.agent.failover.routes import RouteError
from foremesh.agent.failover.site import Site

SEND_OWN, SEND_FAR = "send_own", "send_far"
"""Maps: a circuit's local address to its label's own, its remote address to its label's far one."""

REST_S = 0.005
"""Seconds in which hellos gather after some were read, to be read together: waking up costs more than reading one.
Short against the silence of a dead route, and no part of a round trip, since the kernel notes when a hello came."""
NEWS_S = 0.5
"""Least between two news of what is alive, which may change by the millisecond where a host is short of time; a change
after a calm is told with the next hellos, and what is used at once."""
REALTIME_PRIORITY = 1
"""The lowest that goes before all ordinary processes."""
CLIENT_BYTES = 8 << 20
"""Longest line of a client: thousands of circuits."""


class Client:
    """Somebody on the control socket. ``behind``: has not read the last news yet, and there is newer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.watches = False
        self.behind = False
        self.unread = b""
        self.unsent = b""


class Process:
    """Everything, until it is told to end."""

    def __init__(self, control: str, table: str, version: str) -> None:
        self._control = control
        self._version = version
        incarnation = int.from_bytes(os.urandom(4), "big")
        self._engine = Engine(incarnation)
        self._site = Site(incarnation, log)
        self._maps = nftables.Maps(table)
        self._listener = listen(control)
        try:
            self._hellos = Hellos()
        except OSError:
            os.unlink(control)
            raise
        self._clients: dict[int, Client] = {}
        self._poll = select.epoll()
        self._poll.register(self._hellos.socket, select.EPOLLIN)
        self._poll.register(self._listener, select.EPOLLIN)
        self._ending = False
        self._seen = -1  # of the engine's changes, those that are in the maps and told
        self._told: tuple = ()
        self._untold = False
        self._pushed_s = 0.0
        self._refused = ""

    def run(self) -> None:
        """Serve; returns when a client said so, or SIGTERM did."""
        signal.signal(signal.SIGTERM, self._end)
        next_tick_s = time.monotonic()
        look_s: float | None = None  # when to judge although nothing has come, since nothing has come
        heard = False
        while not self._ending:
            wake_s = next_tick_s if look_s is None else min(next_tick_s, look_s)
            if heard:
                time.sleep(max(0.0, min(REST_S, wake_s - time.monotonic())))
            urgent = self._serve(self._poll.poll(max(0.0, wake_s - time.monotonic())))
            # What has come is read before anybody is judged, however late it is.
            heard, changed = self._read()
            urgent |= changed
            now_s = time.monotonic()
            ticked = now_s >= next_tick_s
            if ticked:
                interval_s = self._engine.timing.interval_s
                next_tick_s = max(next_tick_s + interval_s, now_s + interval_s / 2)
                for label, packet in self._engine.hellos(now_s):
                    self._hellos.send(label, packet)
                if self._site.tick(self._engine, now_s) or (self._untold and now_s - self._pushed_s >= NEWS_S):
                    self._push(now_s)
            if ticked or urgent or (look_s is not None and now_s >= look_s):
                # Not as of now, if there is more to read than could be.
                self._decide(self._hellos.read_s)
                look_s = self._engine.look_again_s(self._hellos.read_s)
        # The socket file goes last: a successor may start as soon as it is gone.
        self._hellos.socket.close()
        os.unlink(self._control)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _read(self) -> tuple[bool, bool]:
        """Whether any hellos came, and whether they ask for a decision."""
        heard = urgent = False
        self._site.read()
        for packet, source, came_s in self._hellos.read():
            heard = True
            urgent |= self._engine.received(packet, source, came_s)
        return heard, urgent

    def _decide(self, now_s: float) -> None:
        for label, packet in self._engine.urgent(now_s):
            self._hellos.send(label, packet)
        choice = self._engine.decide(now_s)
        if self._engine.changes == self._seen:
            return
        stands = self._hold(choice)
        self._seen = self._engine.changes if stands else -1
        # What is used means something under the table it is used under.
        told = (self._engine.digest, self._used(), self._engine.alive())
        before, self._told = self._told, told
        if told[:2] != before[:2]:
            self._push(now_s)
        elif told != before:
            self._untold = True

    def _hold(self, choice: dict[str, int | None]) -> bool:
        """Make the maps hold a choice; whether they do."""
        used = {name: circuit.used for name, circuit in self._engine.circuits.items()}
        if choice == used:
            return True
        before, then = self._engine.elements(used), self._engine.elements(choice)
        try:
            self._maps.change({SEND_OWN: (before[0], then[0]), SEND_FAR: (before[1], then[1])})
        except nftables.NftablesError as error:
            self._log_refusal(str(error))
            return False
        self._refused = ""
        self._settle(choice)
        return True

    def _settle(self, choice: dict[str, int | None]) -> None:
        for circuit, before, now, alone in self._engine.settle(choice):
            if before is not None:
                log(f"{'failover' if alone else 'moved'} circuit={circuit} from={before} to={now}")

    def _log_refusal(self, cause: str) -> None:
        if cause != self._refused:
            self._refused = cause
            log(f"not switched error={cause}")

    def _used(self) -> dict[str, int]:
        return {name: c.used for name, c in self._engine.circuits.items() if c.used is not None}

    # The control socket

    def _serve(self, events: list[tuple[int, int]]) -> bool:
        served = False
        for number, event in events:
            if number == self._site.fileno():
                continue  # read before anybody is judged
            if number == self._listener.fileno():
                with contextlib.suppress(OSError):
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    self._clients[connection.fileno()] = Client(connection)
                    self._poll.register(connection, select.EPOLLIN)
            elif client := self._clients.get(number):
                served = True
                try:
                    if event & select.EPOLLOUT:
                        self._flush(client)
                    if event & ~select.EPOLLOUT:
                        self._hear(client)
                except OSError:
                    self._drop(client)
        return served

    def _drop(self, client: Client) -> None:
        del self._clients[client.socket.fileno()]
        self._poll.unregister(client.socket)
        client.socket.close()

    def _hear(self, client: Client) -> None:
        octets = client.socket.recv(1 << 18)
        client.unread += octets
        if not octets or len(client.unread) > CLIENT_BYTES:
            raise ConnectionResetError
        *lines, client.unread = client.unread.split(b"\n")
        for line in lines:
            self._answer(client, line)

    def _answer(self, client: Client, line: bytes) -> None:
        try:
            asked = json.loads(line)
            what = asked["do"]
            if what == "set":
                self._set(asked["table"])
            elif what == "watch":
                client.watches = True
            elif what == "end":
                self._ending = True
            elif what != "get":
                raise TableError(f"{what!r} is nothing to do")
        except (TableError, nftables.NftablesError, RouteError) as error:
            self._say(client, {"error": str(error), "version": self._version})
        except (ValueError, KeyError, TypeError) as error:
            self._say(client, {"error": f"not understood: {error!r}", "version": self._version})
        else:
            self._say(client, self._state(time.monotonic()))

    def _set(self, table: dict) -> None:
        """Take a table, and hold the maps to it, whoever wrote them before."""
        try:
            written = self._written()
        except nftables.NftablesError:
            if table.get("circuits"):
                raise
            written = ({}, {})  # a workload has no labels
        self._engine.configure(table, written)
        self._site.configure(table, time.monotonic())
        if self._site.fileno() >= 0:
            with contextlib.suppress(FileExistsError):
                self._poll.register(self._site.fileno(), select.EPOLLIN)
        self._hellos.forget()
        choice = self._engine.decide(time.monotonic())
        then = self._engine.elements(choice)
        self._maps.change({SEND_OWN: (written[0], then[0]), SEND_FAR: (written[1], then[1])})
        self._settle(choice)
        gc.collect()

    def _written(self) -> tuple[dict[str, str], dict[str, str]]:
        return self._maps.read(SEND_OWN), self._maps.read(SEND_FAR)

    def _news(self) -> dict:
        """What others are told of at once; ``_state`` has the rest."""
        engine = self._engine
        return {
            "version": self._version,
            "pid": os.getpid(),
            "digest": engine.digest,
            "used": self._used(),
            "failovers": {name: circuit.failovers for name, circuit in engine.circuits.items()},
            "alive": engine.alive(),
            "uplinks": self._site.uplinks(),
            "detours": self._site.detours(),
        }

    def _state(self, now_s: float) -> dict:
        engine = self._engine
        return self._news() | {
            "digest": engine.digest if self._stands() else "",
            "routes": {
                name: {
                    "labels": [label.number for label in route.labels],
                    "alive": route.session.alive(now_s),
                    "rtt_ms": route.session.rtt_ms,
                    "jitter_ms": route.session.jitter_ms,
                    "loss": round(1 - route.session.share(now_s), 3) if route.session.last_s is not None else None,
                }
                for name, route in engine.routes.items()
            },
        }

    def _stands(self) -> bool:
        """Whether the maps hold what was written last: somebody may have made the table anew."""
        used = {name: circuit.used for name, circuit in self._engine.circuits.items()}
        if not self._site.stands():
            return False
        try:
            return not used or self._written() == self._engine.elements(used)
        except nftables.NftablesError:
            return False

    def _push(self, now_s: float) -> None:
        """Tell the news to whoever watches; who reads slowly gets the newest only."""
        self._untold, self._pushed_s = False, now_s
        watching = [client for client in self._clients.values() if client.watches]
        news = self._news() if watching else {}
        for client in watching:
            client.behind = bool(client.unsent)
            try:
                if not client.behind:
                    self._say(client, news)
            except OSError:
                self._drop(client)

    def _say(self, client: Client, answer: dict) -> None:
        client.unsent += json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        if len(client.unsent) > CLIENT_BYTES:  # nobody reads
            raise ConnectionResetError
        self._flush(client)

    def _flush(self, client: Client) -> None:
        with contextlib.suppress(BlockingIOError):
            client.unsent = client.unsent[client.socket.send(client.unsent) :]
        if client.behind and not client.unsent:
            client.behind = False
            self._say(client, self._news())
            return
        self._poll.modify(client.socket, select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0))


def log(line: str) -> None:
    """To where the agent logs; if that is gone, nowhere."""
    with contextlib.suppress(OSError):
        os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')} foremesh.failover {line}\n".encode())


def listen(path: str) -> socket.socket:
    """A control socket for this user alone.

    Raises:
        FileExistsError: If another process answers on it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)  # of one that was killed
        else:
            raise FileExistsError(errno.EEXIST, "another failover process answers", path)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(8)
    return listener


def hurry() -> None:
    """Be scheduled before others, as far as the host allows: a late hello is a false alarm at the other end."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)


def main(argv: list[str]) -> int:
    """Run with ``[control socket, nftables table, version]``; the parent ends once the child answers."""
    try:
        process = Process(*argv)
    except OSError as error:
        sys.stderr.write(f"failover process not started: {error}; circuits stay on the labels they use\n")
        return 1
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    hurry()
    gc.collect()
    gc.freeze()
    process.run()
    return 0
