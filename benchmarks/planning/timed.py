"""Plans, timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from foremesh.model.plan import Plan


def quickest(work: Callable[[], Plan], repeats: int) -> tuple[float, float, Plan]:
    """Seconds on the clock and of processor time, the least of each, and what was made."""
    gc.collect()
    gc.freeze()
    clock, processor = [], []
    for _ in range(repeats):
        begun, used = time.perf_counter(), time.process_time()
        plan = work()
        clock.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    gc.unfreeze()
    return min(clock), min(processor), plan
