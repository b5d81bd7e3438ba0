"""Metrics in Prometheus' text format. Pure. What is not known has no sample.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family:
    """Samples of one metric.

    Args:
        name: Whole, with ``_total`` if it is a counter.
        about: What it is, in one line.
        labels: Their names.
    """

    def __init__(self, name: str, about: str, labels: Iterable[str] = ()) -> None:
        self.name, self.about, self.labels = name, about, tuple(labels)
        self._lines: list[str] = []

    def add(self, values: Iterable[str], value: float) -> None:
        """Add a sample by the values of its labels."""
        pairs = ",".join(label(*pair) for pair in zip(self.labels, values, strict=True))
        self._lines.append(f"{self.name}{{{pairs}}} {value}\n" if pairs else f"{self.name} {value}\n")

    def lines(self) -> Iterator[str]:
        """Nothing if there is no sample."""
        if self._lines:
            yield head(self.name, "counter" if self.name.endswith("_total") else "gauge", self.about)
            yield from self._lines


def head(name: str, kind: str, about: str) -> str:
    """What comes before the samples of a metric."""
    return f"# HELP {name} {about}\n# TYPE {name} {kind}\n"


def label(name: str, value: str) -> str:
    """A label as it is written."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"'
