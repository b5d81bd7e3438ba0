"""Hellos, or probes, of many far gateways in one process: ``python crowd_process.py hellos|probes FILE``.

Every far gateway has sockets of its own in its own network namespace, and the product's own code behind them. Each
begins its hellos at another time, as gateways do that know nothing of each other.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any

from foremesh.agent.failover.engine import Engine
from foremesh.agent.failover.process import Hellos, hurry
from foremesh.agent.probe import Prober

CLONE_NEWNET = 0x40000000
"""linux/sched.h; Python has ``os.setns`` from 3.12 on."""


def enter(netns: str) -> None:
    """Make what this thread opens from now on belong to a network namespace."""
    with open(f"/run/netns/{netns}", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")


class End:
    """A far gateway's hellos."""

    def __init__(self, told: dict[str, Any]) -> None:
        enter(told["netns"])
        self.table = told["table"]
        self.engine = Engine(int.from_bytes(os.urandom(4), "big"))
        self.engine.configure(self.table, ({}, {}))
        self.hellos = Hellos()
        self.next_s = time.monotonic() + random.uniform(0, self.engine.timing.interval_s)
        self.sent = self.received = 0

    def set_interval(self, interval_ms: int) -> None:
        self.engine.configure(self.table | {"interval_ms": interval_ms}, ({}, {}))
        self.next_s = time.monotonic() + random.uniform(0, self.engine.timing.interval_s)

    def tick(self, now_s: float) -> None:
        interval_s = self.engine.timing.interval_s
        self.next_s = max(self.next_s + interval_s, now_s + interval_s / 2)
        for label, packet in self.engine.hellos(now_s):
            self.hellos.send(label, packet)
            self.sent += 1

    def read(self) -> None:
        urgent = False
        try:
            while True:
                packet, (source, _) = self.hellos.socket.recvfrom(64)
                urgent |= self.engine.received(packet, source, time.monotonic())
                self.received += 1
        except BlockingIOError:
            pass
        if urgent:
            for label, packet in self.engine.urgent(time.monotonic()):
                self.hellos.send(label, packet)
                self.sent += 1


def hellos(told: list[dict[str, Any]]) -> None:
    """Send and hear hellos until standard input ends; a line of it is ``count`` or ``interval MS``."""
    hurry()  # as fifty fail-over processes would
    ends = [End(one) for one in told]
    by_number = {end.hellos.socket.fileno(): end for end in ends}
    poll = select.epoll()
    for number in (*by_number, 0):
        poll.register(number, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        now_s = time.monotonic()
        wait_s = min(end.next_s for end in ends) - now_s
        for number, _ in poll.poll(max(0.0, wait_s), 64):
            if number:
                by_number[number].read()
            elif not _told(ends):
                return
        now_s = time.monotonic()
        for end in ends:
            if now_s >= end.next_s:
                end.tick(now_s)


def _told(ends: list[End]) -> bool:
    what, _, value = sys.stdin.readline().strip().partition(" ")
    if what == "interval":
        for end in ends:
            end.set_interval(int(value))
    if what:
        counts = {"sent": sum(end.sent for end in ends), "received": sum(end.received for end in ends)}
        print(json.dumps(counts), flush=True)
    return bool(what)


class Nobody:
    """Counts no probes: none are sent from here."""

    def sent(self, *_: object) -> None: ...

    def lost(self, *_: object) -> None: ...

    def answered(self, *_: object) -> None: ...

    def forget(self, *_: object) -> None: ...


async def probes(told: list[dict[str, Any]]) -> None:
    """Answer probes until standard input ends."""
    answering = []
    for one in told:
        enter(one["netns"])
        prober = Prober(1.0, 2.0, 30.0, Nobody())
        answering.append(prober)
        prober.retarget({}, {device: (socket.if_nametoindex(device), own) for device, own in one["probes"].items()})
    print("ready", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        content = json.load(file)
    if sys.argv[1] == "hellos":
        hellos(content)
    else:
        asyncio.run(probes(content))
