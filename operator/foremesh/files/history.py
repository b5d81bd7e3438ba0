"""A history: measured series in the long format, keyed by the links and gateways of the mesh."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from foremesh.files.errors import InputError, listed, shown
from foremesh.files.names import Names, UnclearName
from foremesh.files.text import MEBIBYTE, check_file
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey
from foremesh.telemetry.recorded import PARQUET, RecordingError, Samples, load_metrics

FILES: Final = ("history.csv", "history.parquet")
"""What a history is called in a folder."""

LARGEST_BYTES = 256 * MEBIBYTE
"""About six million samples as CSV: a week of six hundred links, a sample a minute."""

MOST_ROWS = 20_000_000
"""Rows of a Parquet file; a small file can hold any number of equal ones."""

_FORMAT = "the columns are series (src->dst), time, value and, if you like, metric"


def find_history(folder: Path) -> Path | None:
    """The history that lies in a folder.

    Raises:
        InputError: If there are two.
    """
    found = [folder / name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if len(found) > 1:
        cause = f"holds two histories, {' and '.join(FILES)}"
        raise InputError(folder, None, cause, "remove one of them, or name the one to read with --history")
    return found[0] if found else None


def read_history(path: Path, gateways: Names, links: Iterable[LinkId]) -> dict[Metric, dict[SeriesKey, Samples]]:
    """Read a history.

    Args:
        path: The file; Parquet if it ends in ``.parquet`` or ``.pq``, otherwise CSV.
        gateways: Whose names series may hold.
        links: Every link that the mesh can have.

    Raises:
        InputError: If it cannot be read, or a series is about no link and no gateway of the mesh.
    """
    named = read_series(path, cure=_FORMAT)
    if not named:
        raise InputError(path, None, "holds no sample", "remove it, or give it a row for each sample")
    keys = _Keys(gateways, links)
    found: dict[Metric, dict[SeriesKey, Samples]] = {}
    for metric, series in named.items():
        written: dict[SeriesKey, str] = {}
        for name, samples in series.items():
            try:
                key = keys.of(metric, name)
                if key in written:
                    cause = f"the series {shown(written[key])} and {shown(name)} are about the same, {key}"
                    raise UnclearName(cause, "write it the same way in every row")
            except UnclearName as error:
                raise InputError(path, line_of(path, name), error.cause, error.cure) from error
            written[key] = name
            found.setdefault(metric, {})[key] = samples
    return found


def read_series(path: Path, *, cure: str) -> dict[Metric, dict[str, Samples]]:
    """Series in the long format by their names as written, whatever these mean.

    Args:
        path: The file; its size is looked at before it is read.
        cure: What to do if it is not in that format.

    Raises:
        InputError: If it cannot be read, is too large, or holds what its metric cannot be.
    """
    check_file(path, largest_bytes=LARGEST_BYTES)
    try:
        check_rows(path)
        return load_metrics(path)
    except RecordingError as error:
        raise InputError(path, error.line, " ".join(error.cause.split()), error.cure or cure) from error


def check_rows(path: Path) -> None:
    """See that a Parquet file has no more rows than can be read.

    Raises:
        RecordingError: If it is no Parquet file.
        InputError: If it has more.
    """
    if path.suffix not in PARQUET:
        return
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_metadata(path).num_rows
    except (OSError, pyarrow.ArrowException) as error:
        raise RecordingError(path, f"is no Parquet file: {error}") from error
    if rows > MOST_ROWS:
        raise InputError(
            path,
            None,
            f"has {rows:,} rows, and at most {MOST_ROWS:,} are read",
            "keep the newest weeks, or a coarser step",
        )


def line_of(path: Path, name: str) -> int | None:
    """Where a CSV names a series first; looked for only when something is wrong with it."""
    if path.suffix in PARQUET:
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        column = next(rows).index("series")
        return next((rows.line_num for row in rows if len(row) > column and row[column] == name), None)


class _Keys:
    """What the names of series mean."""

    def __init__(self, gateways: Names, links: Iterable[LinkId]) -> None:
        self._gateways = gateways
        self._links: defaultdict[tuple[str, str], dict[str, LinkId]] = defaultdict(dict)
        for link in links:
            self._links[link.src, link.dst][link.underlay] = link

    def of(self, metric: Metric, name: str) -> SeriesKey:
        match metric:
            case Metric.LOAD:
                return self._gateways.resolve(name)
            case Metric.DEMAND:
                return self.flow(name)
            case _:
                return self.link(name)

    def flow(self, name: str) -> Flow:
        """What one end of a circuit sends to the other, as ``src->dst/circuit`` means it; ids may be ``namespace/name``
        too, and a circuit without a namespace is in that of its first gateway. Without a circuit: all between the two.

        Raises:
            UnclearName: If the ends are no gateways.
        """
        src, arrow, rest = name.partition("->")
        if not (src and arrow and rest):
            cause = f"the series {shown(name)} names no demand"
            raise UnclearName(cause, "write it as src->dst/circuit, for instance ams-1->fra-1/ams-1-fra-1-0a1b2c3d")
        start, parts = self._gateways.resolve(src), rest.split("/")
        for length in (1, 2):
            end, circuit = self._gateways.find("/".join(parts[:length])), parts[length:]
            if end is not None and len(circuit) < 3 and all(circuit):
                if len(circuit) == 1:
                    circuit = [start.partition("/")[0], *circuit]
                return Flow(src=start, dst=end, circuit="/".join(circuit))
        self._gateways.resolve(rest)
        raise UnclearName(f"the series {shown(name)} names no demand", "write it as src->dst/circuit")

    def link(self, name: str) -> LinkId:
        """The link that ``src->dst`` or ``src->dst/underlay`` means; ids may be ``namespace/name`` too.

        Raises:
            UnclearName: If it means none, or more than one.
        """
        src, arrow, rest = name.partition("->")
        if not (src and arrow and rest):
            raise UnclearName(
                f"the series {shown(name)} names no link", "write it as src->dst, for instance ams-1->fra-1"
            )
        start = self._gateways.resolve(src)
        # fra-1/internet is a gateway and an underlay, mesh/fra-1 is one gateway's id: only the mesh can tell.
        dst, _, underlay = rest.rpartition("/")
        readings = [(rest, None), *([(dst, underlay)] if dst else [])]
        ends = [(end, over) for text, over in readings if (end := self._gateways.find(text)) is not None]
        if not ends:
            self._gateways.resolve(dst if rest.count("/") > 1 else rest)
        found = [link for end, over in ends for link in self._between(start, end, over)]
        if len(found) > 1:
            cause = f"the series {shown(name)} can mean {listed(map(str, found))}"
            raise UnclearName(cause, f"write which, for instance {found[0]}")
        if not found:
            there = [str(link) for end, _ in ends for link in self._between(start, end, None)]
            cure = (
                f"there is {listed(there)}"
                if there
                else "a link needs one network, an endpoint, and an end that is not Edge"
            )
            raise UnclearName(f"the series {shown(name)} is about a link that this mesh cannot have", cure)
        return found[0]

    def _between(self, src: str, dst: str, underlay: str | None) -> list[LinkId]:
        links: Mapping[str, LinkId] = self._links.get((src, dst), {})
        return [link for over, link in links.items() if underlay in (None, over)]
