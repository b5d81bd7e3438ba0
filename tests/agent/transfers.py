"""A steady stream over one TCP connection, and what became of it. Run in the lab's namespaces; standard library only.

python transfers.py serve PORT                       takes one connection, in which the caller says who sends
python transfers.py call ADDRESS PORT up|down        up: the caller sends; down: it is sent to

Whoever receives says when the first block comes, when the next one comes after SIGUSR1, and upon SIGTERM what came; the
other one ends with the connection.
Blocks are numbered: none may be missing, and none may come twice.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import time

NUMBER = struct.Struct("!Q")
BLOCK_BYTES = 1000
EVERY_S = 0.005


def send(stream: socket.socket) -> None:
    started_s, number = time.monotonic(), 0
    while True:
        stream.sendall(NUMBER.pack(number).ljust(BLOCK_BYTES, b"."))
        number += 1
        time.sleep(max(0.0, started_s + number * EVERY_S - time.monotonic()))


def receive(stream: socket.socket) -> None:
    came, longest_s, last_s = 0, 0.0, 0.0

    def tell(*_: object) -> None:
        print(json.dumps({"came": came, "longest_gap_s": longest_s}), flush=True)
        sys.exit(0)

    asked: list[int] = []
    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number))
    unread = b""
    while True:
        octets = stream.recv(1 << 16)
        if not octets:
            sys.exit("the connection was closed")
        now_s = time.monotonic()
        if not came:
            print("flowing", flush=True)
        else:
            longest_s = max(longest_s, now_s - last_s)
        last_s = now_s
        if asked:
            asked.clear()
            print("more", flush=True)
        unread += octets
        while len(unread) >= BLOCK_BYTES:
            (number,) = NUMBER.unpack_from(unread)
            if number != came:
                sys.exit(f"block {number} instead of {came}")
            came, unread = came + 1, unread[BLOCK_BYTES:]


def main(argv: list[str]) -> None:
    if argv[0] == "serve":
        with socket.create_server(("0.0.0.0", int(argv[1]))) as server:
            print("listening", flush=True)
            stream, _ = server.accept()
        sends = stream.recv(1) == b"d"
    else:
        stream = socket.create_connection((argv[1], int(argv[2])), timeout=20)
        stream.settimeout(None)
        sends = argv[3] == "up"
        stream.sendall(b"u" if sends else b"d")
    try:
        (send if sends else receive)(stream)
    except OSError as error:
        sys.exit(f"the connection broke: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
