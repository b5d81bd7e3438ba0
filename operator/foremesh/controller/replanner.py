"""When to plan: soon after something changed, once for a burst, and at the latest every interval.

It knows nothing of what planning does; time comes from the running event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import IntEnum

log = logging.getLogger(__name__)


class NotNow(Exception):
    """Work that cannot be done now, for a reason that whoever raises it has told; it is tried again."""


class Work(IntEnum):
    """What a request asks for; a plan includes progress."""

    PROGRESS = 1
    """Carry the plan in force on: acknowledgements arrived, or a status has to be written."""
    PLAN = 2
    """Choose anew: declarations, members or measurements changed."""
    URGENT = 3
    """Choose anew on the forecasts that there are: something was lost that they do not know of anyway."""


class Replanner:
    """Calls ``work`` one at a time.

    Args:
        work: What to do; after an error, which is logged unless it is ``NotNow``, it is tried again after ``retry_s``.
        quiet_s: Seconds without a further request before planning; absorbs rollout bursts.
        patience_s: Seconds after which planning starts although requests keep coming.
        interval_s: The longest time between two plans.
        retry_s: Seconds before a failed attempt is repeated.
    """

    def __init__(
        self,
        work: Callable[[Work, tuple[str, ...]], Awaitable[None]],
        *,
        quiet_s: float,
        interval_s: float,
        patience_s: float = 10.0,
        retry_s: float = 2.0,
    ) -> None:
        self._work = work
        self._quiet_s = quiet_s
        self._patience_s = patience_s
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._wanted: Work | None = None
        self._reasons: dict[str, None] = {}
        self._signal = asyncio.Event()
        self._more = asyncio.Event()
        """Somebody asked for a plan; agents that apply the one in force talk all the time, and delay none."""
        self._retry: asyncio.TimerHandle | None = None
        self._owed = Work.PROGRESS

    def request(self, work: Work, reason: str) -> None:
        """Ask for work; returns at once and may be called from handlers as often as they like."""
        self._wanted = max(work, self._wanted or work)
        self._reasons[reason] = None
        self._signal.set()
        if work >= Work.PLAN:
            self._more.set()

    async def run(self) -> None:
        """Serve requests until cancelled."""
        loop = asyncio.get_running_loop()
        planned_at = loop.time() - self._interval_s
        while True:
            await self._wait_for_quiet(deadline=planned_at + self._interval_s)
            work = self._wanted if self._wanted is not None else Work.PLAN
            if loop.time() >= planned_at + self._interval_s:
                work = Work.PLAN
            reasons = tuple(self._reasons) or ("interval",)
            self._wanted, self._reasons = None, {}
            if work is Work.PLAN:
                planned_at = loop.time()
            try:
                await self._work(work, reasons)
            except NotNow as error:
                log.debug("not now work=%s retry_s=%g error=%s", work.name, self._retry_s, error)
                self._try_again(work)
            except Exception as error:
                log.error("attempt failed work=%s retry_s=%g error=%s", work.name, self._retry_s, error, exc_info=True)
                self._try_again(work)

    def _try_again(self, work: Work) -> None:
        """One retry at a time, however many attempts failed meanwhile; it is for the most that any of them was for."""
        if self._retry is not None and not self._retry.cancelled():
            self._retry.cancel()
            work = max(work, self._owed)
        self._owed = work

        def retry() -> None:
            self._retry = None
            self.request(work, "retry")

        self._retry = asyncio.get_running_loop().call_later(self._retry_s, retry)

    async def _wait_for_quiet(self, *, deadline: float) -> None:
        """Return when a request has been followed by quiet (at once for progress), or at the deadline."""
        loop = asyncio.get_running_loop()
        if not await _is_set(self._signal, deadline - loop.time()):
            return
        latest = loop.time() + self._patience_s
        while self._wanted not in (None, Work.PROGRESS) and loop.time() < latest:
            self._more.clear()
            if not await _is_set(self._more, min(self._quiet_s, latest - loop.time())):
                break
        self._signal.clear()


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether an event is set, now or within a time."""
    if timeout_s <= 0:
        return event.is_set()
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
