"""A Prometheus server for tests, with history put in before it starts."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from lab.process import Daemon, DaemonError, free_port

BLOCK_RANGE = "2h"
"""Prometheus's shortest block range; as the longest one too, it keeps the server from compacting backfilled blocks
under a test."""

BACKFILL_BLOCK = "168h"
"""The longest span of a block made from history: a week in one or two blocks, not in 84."""

RETENTION = "400d"
"""Longer than any history a test puts in: the default of 15 days would delete older blocks at the first look."""

REQUEST_TIMEOUT_S = 10.0
"""Seconds a request of this module may take."""

BACKFILL_TIMEOUT_S = 300.0
"""Seconds promtool may take; a million samples took it 1.2 s on two idle cores."""


class PrometheusServer:
    """A Prometheus server (Debian's), whose data and port stay the same over stop and start.

    Args:
        folder: Where config, data and log go.
        config: The configuration, as prometheus.yml would hold it; written at every start.
        host: The address it listens on: loopback, or an address of a lab network.
        netns: A network namespace to run it in (as root).
        prefix: Where its pages and its API begin, such as ``/prometheus``.

    Attributes:
        port: The port of API and web pages.
        url: Where they are.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        host: str = "127.0.0.1",
        netns: str | None = None,
        prefix: str = "",
    ) -> None:
        self.config = config
        self.port = free_port() if netns else free_port(host)
        self.url = f"http://{host}:{self.port}{prefix}"
        self._netns = netns
        self._data = folder / "data"
        self._data.mkdir(parents=True, exist_ok=True)
        self._config_file = folder / "prometheus.yml"
        self.daemon = Daemon(
            [
                _found("prometheus"),
                f"--config.file={self._config_file}",
                f"--storage.tsdb.path={self._data}",
                f"--storage.tsdb.min-block-duration={BLOCK_RANGE}",
                f"--storage.tsdb.max-block-duration={BLOCK_RANGE}",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--web.listen-address={host}:{self.port}",
                f"--web.external-url={self.url}",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
            name="prometheus",
            netns=netns,
        )

    def backfill(self, openmetrics: Path) -> None:
        """Put history in; only before the first start, since a running server does not expect blocks to appear.

        Args:
            openmetrics: An OpenMetrics text file: samples with timestamps in seconds, oldest first within a series,
                none in the future (a block that reaches past now makes the server refuse live samples until then), ``#
                EOF`` at the end.

        Raises:
            DaemonError: If the server runs.
            RuntimeError: If promtool refuses the file; the message is promtool's.
        """
        if self.daemon.running:
            raise DaemonError(f"prometheus runs as {self.daemon.pid}; stop it before history is put in")
        argv = [_found("promtool"), "tsdb", "create-blocks-from", f"--max-block-duration={BACKFILL_BLOCK}", "--quiet"]
        done = subprocess.run(
            [*argv, "openmetrics", openmetrics, self._data], capture_output=True, text=True, timeout=BACKFILL_TIMEOUT_S
        )
        if done.returncode:
            raise RuntimeError(f"promtool could not read {openmetrics}: {(done.stderr or done.stdout).strip()}")

    def start(self) -> Self:
        """Write the configuration, start the server and wait until it answers queries.

        Raises:
            DaemonError: If it does not; a wrong configuration is in its log.
        """
        self._config_file.write_text(yaml.safe_dump(self.config))
        # From outside its namespace nothing can be asked; who put it there knows how to reach it.
        self.daemon.start(None if self._netns else self._ready)
        return self

    def stop(self) -> None:
        """Stop the server; data and port are kept for the next start."""
        self.daemon.stop()

    def query(self, expression: str, *, time_s: float | None = None) -> list[dict[str, Any]]:
        """Run an instant query past the code under test.

        Args:
            expression: PromQL.
            time_s: Unix time to evaluate at; now if None.

        Returns:
            The result vector: ``[{"metric": {...}, "value": [time_s, "text"]}]``.

        Raises:
            OSError: If the server is away or refuses the query.
        """
        parameters = {"query": expression} | ({} if time_s is None else {"time": f"{time_s}"})
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_S) as response:
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return result

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=REQUEST_TIMEOUT_S) as response:
            return bool(response.status == 200)


def _found(program: str) -> str:
    path = shutil.which(program)
    if not path:
        raise DaemonError(f"no {program} on PATH; install it (as root: tests/lab/install-packages)")
    return path
