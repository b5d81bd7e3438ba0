"""A hundred thousand series at once: how long a full refresh and an incremental one take, and in how much memory.

Run as a program it does the work and prints its figures as JSON, so that peak memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from dataplane.figures import Figure, Sheet

from forecasting.world import END_S, SAMPLES, STEP_S, batch, made

HORIZON_S = 3600.0
CORES = 2
SERIES = 100_000
GIB = 2**30
MADE_TOGETHER = 2048


def measure(sheet: Sheet, say: Callable[[str], None], *, series: int) -> None:
    say(f"{series:,} series are made and forecast")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "forecasting.many", str(series)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout)
    whole = series == SERIES
    bench = f"{series:,} series x {SAMPLES:,} samples, float32, {found['cores']} cores"
    bound = "others on this machine, if its processor seconds are fewer than its cores times its seconds"
    for metric, key, unit, target in (
        ("full refresh", "full_s", "s", 60.0),
        ("full refresh, processor time", "full_processor_s", "s", None),
        ("incremental refresh, one new sample each", "next_s", "s", 2.0),
        ("incremental refresh, processor time", "next_processor_s", "s", None),
        ("peak resident set, the samples included", "peak_gib", "GiB", 4.0),
    ):
        sheet.add(Figure(bench, metric, found[key], unit, target=target if whole else None, bound_by=bound))


def main() -> None:
    from foremesh.forecast import quantile_forecast

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    series = int(sys.argv[1])
    values = np.empty((series, SAMPLES + 1), dtype=np.float32)
    for start in range(0, series, MADE_TOGETHER):  # making all at once would take more memory than forecasting them
        part = values[start : start + MADE_TOGETHER]
        part[:] = made(len(part), samples=SAMPLES + 1, seed=start)
    values.setflags(write=False)
    quantile_forecast(batch(values[:64, :-1]), horizon_s=HORIZON_S)  # compiles
    found: dict[str, float] = {"cores": len(os.sched_getaffinity(0))}
    for name, part, end_s in (("full", values[:, :-1], END_S), ("next", values[:, 1:], END_S + STEP_S)):
        one = batch(part, end_s=end_s)
        began_s, used_s = time.perf_counter(), time.process_time()
        forecast = quantile_forecast(one, horizon_s=HORIZON_S)
        found |= {f"{name}_s": time.perf_counter() - began_s, f"{name}_processor_s": time.process_time() - used_s}
        assert forecast.values.shape == (3, series, round(HORIZON_S / STEP_S))
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(json.dumps(found))


if __name__ == "__main__":
    main()
