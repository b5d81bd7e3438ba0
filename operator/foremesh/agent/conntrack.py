"""Makes connection tracking forget flows that are translated as the rules no longer say.

Translation is decided by a flow's first packet: without this, a flow would go on as it began after an Intent came or
went, a UDP socket in use for ever. Spoken by netlink, since the ``conntrack`` program is on few hosts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from foremesh.agent.state import Flows

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
CONNTRACK = 1 << 8
"""Netfilter's subsystem of connection tracking, in the upper byte of a message's type."""
GET, DELETE = 1, 2
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
NESTED = 0x8000
TUPLE_ORIGINAL, TUPLE_REPLY, IDENTIFIER, ZONE = 1, 2, 12, 18
ADDRESSES, TRANSPORT = 1, 2
SOURCE, DESTINATION = 1, 2
NUMBER, DESTINATION_PORT = 1, 3

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}

TIMEOUT_S = 5.0
"""Seconds for an answer of the kernel; a hundred thousand flows take a second."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as it began, and the source that its answers have: another one than its destination if that was
    translated. ``key`` names it to the kernel."""

    source: str
    destination: str
    protocol: str
    port: int
    answered_by: str
    key: bytes = b""


def is_stale(flow: Flow, flows: Flows) -> bool:
    """Whether a flow would be translated otherwise if it began now. Translations of others are none of our business."""
    for call in flows.calls:
        if (
            flow.destination == call.destination
            and call.source in ("", flow.source)
            and call.protocol in ("", flow.protocol)
            and call.port in (0, flow.port)
        ):
            return flow.answered_by != call.instead
    mesh = IPv4Network(flows.mesh)
    translated = flow.answered_by != flow.destination
    return translated and any(IPv4Address(one) in mesh for one in (flow.destination, flow.answered_by))


async def forget(flows: Flows) -> None:
    """Delete every flow that is not translated as it would be now; the rest goes on undisturbed.

    What cannot be deleted is logged: new flows are right, and what is left of old ones is dropped at the firewall.
    """
    try:
        gone = await asyncio.to_thread(_forget, flows)
    except OSError as error:
        log.warning("flows not forgotten error=%s; those that have begun go on as they were", error)
        return
    if gone:
        log.info("flows forgotten flows=%d", gone)


def _forget(flows: Flows) -> int:
    gone = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(TIMEOUT_S)
        for flow in [flow for flow in _listed(kernel) if is_stale(flow, flows)]:
            kernel.send(_message(DELETE, REQUEST | ACK, flow.key))
            code = next(_answers(kernel), 0)
            gone += code == 0  # one that has just ended by itself is no error
    return gone


def _listed(kernel: socket.socket) -> Iterator[Flow]:
    kernel.send(_message(GET, REQUEST | DUMP))
    while True:
        for kind, body in _messages(kernel.recv(1 << 20)):
            if kind == DONE:
                return
            if kind == ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, "connection tracking cannot be listed")
            if flow := parse(body[4:]):
                yield flow


def _answers(kernel: socket.socket) -> Iterator[int]:
    for kind, body in _messages(kernel.recv(1 << 16)):
        if kind == ERROR:
            yield -struct.unpack_from("=i", body)[0]


def parse(body: bytes) -> Flow | None:
    """A flow from its attributes; None if it has no IPv4 addresses."""
    parts = dict(_attributes(body))
    original, reply = (dict(_attributes(parts.get(which, b""))) for which in (TUPLE_ORIGINAL, TUPLE_REPLY))
    addresses, answers = (dict(_attributes(side.get(ADDRESSES, b""))) for side in (original, reply))
    if not all(len(side.get(end, b"")) == 4 for side in (addresses, answers) for end in (SOURCE, DESTINATION)):
        return None
    transport = dict(_attributes(original.get(TRANSPORT, b"")))
    number = transport.get(NUMBER, b"\0")[0]
    key = _attribute(TUPLE_ORIGINAL | NESTED, parts[TUPLE_ORIGINAL])
    key += b"".join(_attribute(kind, parts[kind]) for kind in (IDENTIFIER, ZONE) if kind in parts)
    return Flow(
        source=socket.inet_ntoa(addresses[SOURCE]),
        destination=socket.inet_ntoa(addresses[DESTINATION]),
        protocol=PROTOCOLS.get(number, str(number)),
        port=int.from_bytes(transport.get(DESTINATION_PORT, b""), "big"),
        answered_by=socket.inet_ntoa(answers[SOURCE]),
        key=key,
    )


def _message(kind: int, flags: int, attributes: bytes = b"") -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), CONNTRACK | kind, flags, 1, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
