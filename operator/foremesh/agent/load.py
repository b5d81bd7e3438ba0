"""How busy the host is."""

from __future__ import annotations

from pathlib import Path


class ProcessorLoad:
    """Share of the processors in use between two looks, from ``/proc/stat``."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        self._path = path
        self._before = self._read()

    def _read(self) -> tuple[int, int] | None:
        """Ticks in use and ticks in all since boot; None if they cannot be read."""
        try:
            with self._path.open() as file:
                ticks = [int(field) for field in file.readline().split()[1:9]]
            idle = ticks[3] + ticks[4]
        except (OSError, ValueError, IndexError):
            return None
        return sum(ticks) - idle, sum(ticks)

    def since_last(self) -> float | None:
        """The share, 0 to 1; None if it is not known."""
        before, now = self._before, self._read()
        self._before = now
        if before is None or now is None or now[1] <= before[1]:
            return None
        return min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1])))
