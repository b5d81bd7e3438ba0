"""Fits on other machines: a Dask cluster as an executor, beside which the pool of processes is the one for one machine.

Dask is imported when the first job is handed over, in a thread of its own: a scheduler that is away holds up nobody.
Its workers run this program's code, so they need the same version of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
)
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""Seconds to reach a scheduler; one that takes longer is taken for dead until the next refit."""

CLOSE_S = 2.0
"""Seconds that saying goodbye to a scheduler may take."""

LOST = frozenset({"cancelled", "lost"})


@dataclass(frozen=True)
class Tls:
    """Files for mutual TLS with the cluster."""

    ca_file: str
    cert_file: str
    key_file: str


class DaskExecutor(Executor):
    """Hands jobs to a Dask cluster.

    A job whose worker dies is done by another; after the scheduler's ``allowed-failures`` deaths it fails, and only
    it. If the scheduler cannot be reached, or is lost, all jobs raise ``BrokenExecutor``, and the executor is of no use
    any more: what processes do that die.

    Args:
        address: Of the scheduler, ``tcp://host:8786`` or ``tls://host:8786``.
        tls: Needed for ``tls://``.
    """

    def __init__(self, address: str, tls: Tls | None = None) -> None:
        self._address = address
        self._tls = tls
        self._client: Any = None
        self._broken = ""
        self._dropping = False
        self._handing = ThreadPoolExecutor(1, thread_name_prefix="dask")  # one: a client is made once

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        ours: Future[Any] = Future()
        self._handing.submit(self._hand, ours, job, args, kwargs)
        return ours

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; what it has not done by then raises ``BrokenExecutor``.

        Args:
            wait: Until it is left.
            cancel_futures: Cancel what was not handed over yet, instead of handing it over first.
        """
        self._dropping = cancel_futures
        self._handing.submit(self._leave)
        self._handing.shutdown(wait=wait)  # dropping what waits there would drop the leaving, too

    def _hand(self, ours: Future[Any], job: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._dropping:
            ours.cancel()
        if not ours.set_running_or_notify_cancel():
            return
        try:
            if self._broken:
                raise ConnectionError(self._broken)
            if self._client is None:
                self._client = self._join()
            theirs = self._client.submit(job, *args, **kwargs, pure=False)  # names nothing after its arguments
        except Exception as error:  # whatever Dask raises, there is no cluster to work on
            self._broken = str(error)
            ours.set_exception(self._gone(error))
            return
        theirs.add_done_callback(lambda done: self._done(ours, done))

    def _join(self) -> Any:
        """A client. Dask itself waits for ever where a scheduler accepts connections and says nothing."""
        made: Future[Any] = Future()

        def join() -> None:
            try:
                client = self._connect()
            except Exception as error:
                if not made.cancelled():
                    made.set_exception(error)
                return
            try:
                made.set_result(client)
            except InvalidStateError:  # nobody waits any more
                client.close(timeout=CLOSE_S)

        Thread(target=join, name="dask-join", daemon=True).start()
        try:
            return made.result(2 * CONNECT_S)
        except TimeoutError:
            made.cancel()
            raise ConnectionError(f"no answer in {2 * CONNECT_S:g} s") from None

    def _connect(self) -> Any:
        distributed: Any = import_module("distributed")  # not a part of every installation

        security = None
        if self._tls is not None:
            security = distributed.Security(
                require_encryption=True,
                tls_ca_file=self._tls.ca_file,
                tls_client_cert=self._tls.cert_file,
                tls_client_key=self._tls.key_file,
            )
        # Dask tells of each attempt to find a scheduler again; that it is gone is told once, by whoever waits.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        client = distributed.Client(
            self._address, security=security, timeout=CONNECT_S, set_as_default=False, name="foremesh"
        )
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        log.info("joined dask scheduler=%s workers=%d", self._address, workers)
        if not workers:
            log.warning("dask has no workers scheduler=%s; fits wait, naive and additive models serve", self._address)
        return client

    def _done(self, ours: Future[Any], theirs: Any) -> None:
        if theirs.status in LOST:
            self._broken = "lost the connection"
            ours.set_exception(self._gone(self._broken))
            return
        try:
            result = theirs.result()
        except CancelledError as error:
            ours.set_exception(self._gone(error))
        except Exception as error:
            ours.set_exception(error)
        else:
            ours.set_result(result)

    def _gone(self, cause: object) -> BrokenExecutor:
        return BrokenExecutor(f"dask scheduler {self._address} is away: {cause}")

    def _leave(self) -> None:
        if self._client is not None:
            self._client.close(timeout=CLOSE_S)
            self._client = None
        self._broken = "the executor was shut down"
