"""A steady stream of UDP datagrams, and what became of it. Run inside the lab's namespaces; standard library only.

python datagrams.py send ADDRESS PORT PER_SECOND     until SIGTERM
python datagrams.py receive PORT                     until SIGTERM; says when the first comes, and what came
"""

from __future__ import annotations

import itertools
import json
import signal
import socket
import struct
import sys
import time

DATAGRAM = struct.Struct("!Qd")


def send(address: str, port: int, per_second: float) -> None:
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number, due_s = 0, time.monotonic()
    while True:
        number += 1
        stream.sendto(DATAGRAM.pack(number, time.monotonic()), (address, port))
        # Whoever was held up does not make up for it: a burst overflows the queues of others who were held up as well.
        due_s = max(due_s + 1 / per_second, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))


def receive(port: int) -> None:
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    stream.bind(("0.0.0.0", port))
    sent_s: dict[int, float] = {}

    def tell(*_: object) -> None:
        numbers = sorted(sent_s)
        # Between two that came, by the sender's clock: no pause of the machine is taken for one of the path.
        lost = (numbers[-1] - numbers[0] + 1 - len(numbers)) if numbers else 0
        gaps_s = [sent_s[b] - sent_s[a] for a, b in itertools.pairwise(numbers) if b > a + 1]
        print(json.dumps({"came": len(numbers), "lost": lost, "longest_gap_s": max(gaps_s, default=0.0)}))
        sys.exit(0)

    signal.signal(signal.SIGTERM, tell)
    print("listening", flush=True)
    while True:
        number, when_s = DATAGRAM.unpack(stream.recv(2048))
        if not sent_s:
            print("flowing", flush=True)
        sent_s[number] = when_s


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        receive(int(sys.argv[2]))
