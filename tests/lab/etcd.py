"""An etcd server for tests: its own data, loopback ports, plain or mutual TLS, stopped and started at will."""

import base64
import json
import signal
import ssl
import urllib.request
from pathlib import Path
from typing import Any, Self

from lab import build
from lab.certs import Authority, KeyPair
from lab.process import Daemon, free_port, wait_until

REQUEST_TIMEOUT_S = 5.0
"""Seconds a request of this module may take; a local etcd answers in milliseconds."""


class EtcdServer:
    """One etcd member.

    Its client and peer ports stay the same over stop and start, and so does its data.

    Args:
        folder: Where data, log and certificates go.
        mutual_tls: Whether it serves TLS only and asks every client for a certificate of its own authority.

    Attributes:
        host: The address it listens on.
        port: The port for clients.
        endpoint: Both as a URL.
        ca_file: With mutual TLS, the authority that signed the server's certificate; else None.
        client: With mutual TLS, a certificate the server accepts; else None.
        authority: With mutual TLS, the authority, to issue more certificates; else None.
    """

    def __init__(self, folder: Path, *, mutual_tls: bool = False) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.endpoint = f"{'https' if mutual_tls else 'http'}://{self.host}:{self.port}"
        self.authority: Authority | None = None
        self.ca_file: Path | None = None
        self.client: KeyPair | None = None
        self._ssl: ssl.SSLContext | None = None
        peer = f"http://{self.host}:{free_port()}"
        argv: list[str | Path] = [
            build.ensure("etcd"),
            "--name=lab",
            f"--data-dir={folder / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=lab={peer}",
            # A test's data need not survive a power cut, and a shared disk's fsync would dominate every write.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        if mutual_tls:
            self.authority = Authority(folder / "certs", "etcd lab")
            self.ca_file = self.authority.cert_file
            self.client = self.authority.issue("foremesh-client")
            server = self.authority.issue("etcd", dns=["localhost"], ips=[self.host])
            argv += [
                "--client-cert-auth",
                f"--trusted-ca-file={self.ca_file}",
                f"--cert-file={server.cert_file}",
                f"--key-file={server.key_file}",
            ]
            self._ssl = ssl.create_default_context(cafile=str(self.ca_file))
            self._ssl.load_cert_chain(self.client.cert_file, self.client.key_file)
        self.daemon = Daemon(argv, log=folder / "etcd.log", name="etcd")

    def start(self) -> Self:
        """Start the server, on its old data if it ran before, and wait until it serves.

        Raises:
            DaemonError: If it does not.
        """
        self.daemon.start(self._healthy)
        return self

    def stop(self) -> None:
        """Stop the server; its data and ports are kept for the next start."""
        self.daemon.stop()

    def pause(self) -> None:
        """Make the server hang: connections stay open and nothing is answered."""
        self.daemon.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.daemon.pid}/stat")
        # The signal is sent, not yet acted upon: a busy machine lets the server answer once more.
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 5, what="etcd stopped")

    def resume(self) -> None:
        """Let a paused server go on."""
        self.daemon.signal(signal.SIGCONT)

    def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call etcd's JSON gateway, for instance ``call("kv/range", {"key": ...})``; keys and values are base64 there.

        Raises:
            OSError: If the server is away or refuses.
        """
        request = urllib.request.Request(f"{self.endpoint}/v3/{method}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S, context=self._ssl) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def put(self, key: str, value: str) -> int:
        """Put a key past the code under test; returns the revision it was put at."""
        answer = self.call("kv/put", {"key": _base64(key), "value": _base64(value)})
        return int(answer["header"]["revision"])

    def get(self, key: str) -> str | None:
        """Get a key past the code under test; None if it is not there."""
        found = self.call("kv/range", {"key": _base64(key)}).get("kvs", [])
        return base64.b64decode(found[0].get("value", "")).decode() if found else None

    def compact(self) -> int:
        """Forget all history up to the current revision, so that an older watch must fail; returns that revision."""
        revision = int(self.call("kv/range", {"key": _base64("\0")})["header"]["revision"])
        self.call("kv/compaction", {"revision": revision, "physical": True})
        return revision

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _healthy(self) -> bool:
        with urllib.request.urlopen(
            f"{self.endpoint}/health", timeout=REQUEST_TIMEOUT_S, context=self._ssl
        ) as response:
            return bool(json.load(response)["health"] == "true")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
