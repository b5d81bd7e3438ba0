"""Where topologies come from: topohub, a CSV, cloud regions, a mesh's own manifests, a recording."""

from __future__ import annotations

import csv
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from foremesh.files import Bundle, InputError, read_links
from foremesh.files.bundle import LINKS
from foremesh.files.errors import shown
from foremesh.files.history import line_of, read_series
from foremesh.files.links import LinkRow
from foremesh.files.text import read_text
from foremesh.model.link import LinkId
from foremesh.model.series import Metric
from foremesh.simulation.places import (
    CAPACITY_BPS,
    CONDUIT_STRETCH,
    INTERNET_STRETCH,
    NAMESPACE,
    UNLIMITED_BPS,
    Place,
    Topology,
    TopologyLink,
    corridor,
    distance_km,
    gateway_id,
    rtt_ms,
)
from foremesh.simulation.regions import DEFAULT_PRICE_USD_PER_GB, REGIONS, Region, egress_price
from foremesh.telemetry import Samples

__all__ = [
    "Place",
    "Topology",
    "TopologyLink",
    "from_bundle",
    "from_links_csv",
    "from_regions",
    "from_trace",
    "load",
    "names",
    "read_trace",
]


@cache
def names() -> tuple[str, ...]:
    """Every topology that topohub holds, such as ``topozoo/Geant2012``."""
    root = package_files("topohub") / "data"
    found: list[str] = []

    def walk(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".json"):
                found.append(prefix + entry.name.removesuffix(".json"))

    walk(root, "")
    return tuple(sorted(found))


def load(name: str) -> Topology:
    """A topology that topohub holds, by its name. Links take its lengths, else the great circle between the ends.

    Raises:
        InputError: If there is none of this name (the nearest names are given), or it is of no use.
    """
    if name not in names():
        folded = {one.lower(): one for one in names()} | {one.rpartition("/")[2].lower(): one for one in names()}
        near = difflib.get_close_matches(name.lower(), folded, n=5, cutoff=0.5)
        hint = ", ".join(dict.fromkeys(folded[one] for one in near)) or "sndlib/germany50, topozoo/Geant2012"
        raise InputError(Path(name), None, "topohub has no topology of this name", f"did you mean {hint}?")
    raw = json.loads((package_files("topohub") / "data" / f"{name}.json").read_text())
    places: list[Place] = []
    by_node: dict[str, Place] = {}
    for node in raw["nodes"]:
        label = _label(str(node.get("name") or ""), f"n{node['id']}", {place.name for place in places})
        longitude, latitude = node.get("pos") or (None, None)
        on_earth = None not in (latitude, longitude) and not name.startswith("gabriel/")  # those lie on a plane
        places.append(Place(label, latitude, longitude) if on_earth else Place(label))
        by_node[str(node["id"])] = places[-1]
    links: dict[tuple[str, str], TopologyLink] = {}
    for edge in raw["edges"]:
        a, b = by_node[str(edge["source"])], by_node[str(edge["target"])]
        kilometres = edge.get("dist") or distance_km(a, b)
        if a.name == b.name or kilometres is None:
            continue
        group = corridor(a.name, b.name)
        base_ms = rtt_ms(kilometres, group, CONDUIT_STRETCH)
        for src, dst in ((a, b), (b, a)):
            held = links.get((src.name, dst.name))
            if held is None or base_ms < held.rtt_ms:
                price = egress_price(src.provider, src.region, dst.provider, dst.region)
                links[src.name, dst.name] = TopologyLink(src.name, dst.name, base_ms, CAPACITY_BPS, price, group)
    demands = {
        (by_node[str(src)].name, by_node[str(dst)].name): float(rate)
        for src, row in raw["graph"].get("demands", {}).items()
        for dst, rate in row.items()
        if rate > 0 and src != dst
    }
    return _sorted(name, places, links.values(), demands)


def from_regions(path: Path | None = None) -> Topology:
    """Every region linked with every other: those of a CSV, or a built-in list of twenty.

    Args:
        path: Columns ``name,latitude,longitude`` and optionally ``provider,region``.

    Raises:
        InputError: If the file cannot be read; names the line.
    """
    regions = REGIONS if path is None else tuple(_read_regions(path))
    places = [Place(one.name, one.latitude, one.longitude, one.provider, one.region) for one in regions]
    links = [
        TopologyLink(
            a.name,
            b.name,
            rtt_ms(distance_km(a, b) or 0.0, corridor(a.name, b.name), INTERNET_STRETCH),
            CAPACITY_BPS,
            egress_price(a.provider, a.region, b.provider, b.region),
            corridor(a.name, b.name),
        )
        for a in places
        for b in places
        if a.name != b.name
    ]
    return _sorted("regions" if path is None else str(path), places, links)


def from_links_csv(path: Path) -> Topology:
    """Links as ``links.csv`` has them, with ``rtt_ms`` at least one way; a way back that is not there is as the way
    there. Attachments of workloads are left out: where all else is told both ways, they are what leads from a place
    that nothing leads to.

    Raises:
        InputError: If the file cannot be read or a link has no round trip; names the line.
    """
    rows = _between_gateways(read_links(path))
    written = sorted({name for row in rows for name in (row.src, row.dst)})
    labels = _labels(written)
    by_ends = {(row.src, row.dst, row.underlay): row for row in rows}
    links = {}
    for row in rows:
        for ends in ((row.src, row.dst, row.underlay), (row.dst, row.src, row.underlay)):
            back = by_ends.get((ends[1], ends[0], ends[2]))
            here = by_ends.get(ends, back) or row
            base_ms = here.rtt_ms if here.rtt_ms is not None else back and back.rtt_ms
            if not base_ms:
                cause = f"the link {row.src}->{row.dst} has no round trip"
                raise InputError(path, row.line, cause, "give it a positive rtt_ms, in either direction")
            src, dst = labels[ends[0]], labels[ends[1]]
            price = DEFAULT_PRICE_USD_PER_GB if here.egress_price is None else here.egress_price
            group = corridor(src, dst) + (f"/{row.underlay}" if row.underlay else "")
            capacity_bps = here.capacity_bps or CAPACITY_BPS
            underlay = row.underlay or "internet"
            links[src, dst, underlay] = TopologyLink(src, dst, base_ms, capacity_bps, price, group, underlay)
    if not links:
        raise InputError(path, None, "has no links", "give a row for each link: src,dst,rtt_ms")
    return _sorted(str(path), [Place(labels[name]) for name in written], links.values())


def _between_gateways(rows: Sequence[LinkRow]) -> Sequence[LinkRow]:
    led_to = {row.dst for row in rows}
    rest = [row for row in rows if row.src in led_to]
    ends = {(row.src, row.dst, row.underlay) for row in rest}
    both_ways = bool(rest) and all((dst, src, underlay) in ends for src, dst, underlay in ends)
    return rest if both_ways else rows


def read_trace(path: Path) -> dict[LinkId, Samples]:
    """Round trips recorded in the long format, series ``src->dst`` or ``src->dst/underlay``, by gateway ids.

    Raises:
        InputError: If it cannot be read, or a series is named otherwise.
    """
    cure = "name series src->dst, and give columns series, time, value (milliseconds; empty where lost)"
    named = read_series(path, cure=cure).get(Metric.RTT, {})
    ends = {name: _ends(name) for name in named}
    for name, found in ends.items():
        if found is None:
            raise InputError(path, line_of(path, name), f"the series {shown(name)} is no link", cure)
    known = {name: found for name, found in ends.items() if found is not None}
    labels = _labels(sorted({place for src, dst, _ in known.values() for place in (src, dst)}))
    trace: dict[LinkId, Samples] = {}
    for name, (src, dst, underlay) in known.items():
        link = LinkId(src=gateway_id(labels[src]), dst=gateway_id(labels[dst]), underlay=underlay)
        if link in trace or src == dst:
            cause = f"the series {shown(name)} is of a link that another one is of, or of none"
            raise InputError(path, line_of(path, name), cause, cure)
        if np.isfinite(named[name].values).any():
            trace[link] = named[name]
    if not trace:
        raise InputError(path, None, "holds no round trip", cure)
    return trace


def from_trace(trace: Mapping[LinkId, Samples]) -> Topology:
    """The links that a recording has, idle as at their least round trip. Where places are is unknown, and so are
    capacities and prices.

    A link recorded one way only has the same round trips on the way back.
    """
    links = {}
    for id_, samples in trace.items():
        least_ms = max(float(np.nanmin(samples.values)), 0.01)
        src, dst = (one.removeprefix(f"{NAMESPACE}/") for one in (id_.src, id_.dst))
        for a, b in ((dst, src), (src, dst)):
            if (a, b) != (dst, src) or id_.reverse not in trace:
                links[a, b, id_.underlay] = TopologyLink(
                    a, b, least_ms, UNLIMITED_BPS, None, corridor(a, b), id_.underlay
                )
    names = sorted({name for a, b, _ in links for name in (a, b)})
    return _sorted("trace", [Place(name) for name in names], links.values())


def from_bundle(bundle: Bundle, folder: Path) -> Topology:
    """The gateways that manifests declare and the links they can have.

    A link's round trip is the least one measured, in either direction; without any, it follows from the two locations.

    Args:
        folder: Where the manifests are, which the topology is named for.

    Raises:
        InputError: If a link has neither; names it.
    """
    from foremesh.routing import adjacency  # compiles its search, which no other topology needs

    gateways = {id_: one for id_, one in bundle.declared.resources.items() if one.is_gateway}
    places = {}
    for id_, gateway in gateways.items():
        where = gateway.spec.location
        places[id_] = Place(id_, where.latitude, where.longitude, where.provider, where.region)
    facts = bundle.declared.links
    measured = {
        key: float(np.nanmin(one.values))
        for key, one in bundle.series.get(Metric.RTT, {}).items()
        if isinstance(key, LinkId) and np.isfinite(one.values).any()
    }
    links = []
    for link in adjacency(gateways.values()):
        src, dst = places[link.src], places[link.dst]
        group = corridor(link.src, link.dst) + ("" if link.underlay == "internet" else f"/{link.underlay}")
        base_ms = measured.get(link, measured.get(link.reverse))
        if base_ms is None:
            kilometres = distance_km(src, dst)
            if kilometres is None:
                cause = f"the link {link} has no round trip, nor have both its gateways a location"
                cure = "give it rtt_ms in links.csv, or both gateways a latitude and longitude"
                known_by = folder / LINKS
                raise InputError(known_by if known_by.exists() else folder, None, cause, cure)
            base_ms = rtt_ms(kilometres, group, INTERNET_STRETCH)
        known, declared = facts.get(link), gateways[link.src].spec
        ends = [one.spec.gateway.capacity for one in (gateways[link.src], gateways[link.dst]) if one.spec.gateway]
        least_bps = min((float(one) for one in ends if one), default=CAPACITY_BPS)
        price = egress_price(src.provider, src.region, dst.provider, dst.region)
        if declared.egress_price is not None and price > 0:
            price = float(declared.egress_price)
        if known is not None and known.egress_price is not None:
            price = known.egress_price
        capacity_bps = known.capacity_bps if known is not None and known.capacity_bps else least_bps
        links.append(TopologyLink(link.src, link.dst, max(base_ms, 0.01), capacity_bps, price, group, link.underlay))
    return _sorted(folder.resolve().name or str(folder), places.values(), links)


def _sorted(
    name: str,
    places: Iterable[Place],
    links: Iterable[TopologyLink],
    demands: Mapping[tuple[str, str], float] | None = None,
) -> Topology:
    return Topology(
        name,
        tuple(sorted(places, key=lambda place: place.name)),
        tuple(sorted(links, key=lambda link: (link.src, link.dst, link.underlay))),
        demands or {},
    )


def _labels(written: Iterable[str]) -> dict[str, str]:
    """A DNS label for every name."""
    labels: dict[str, str] = {}
    for name in written:
        labels[name] = _label(name, "gateway", set(labels.values()))
    return labels


def _ends(series: str) -> tuple[str, str, str] | None:
    """Source, destination and underlay of a series' name; ids are all plain or all ``namespace/name``."""
    src, arrow, rest = series.partition("->")
    parts = rest.split("/")
    length = 2 if "/" in src else 1
    if not arrow or not src or not all(parts) or len(parts) not in (length, length + 1):
        return None
    return src, "/".join(parts[:length]), (parts[length:] or ["internet"])[0]


def _label(text: str, default: str, taken: set[str]) -> str:
    """A DNS label like the text, and like no other one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:50] or default
    label, number = base, 1
    while label in taken:
        number += 1
        label = f"{base}-{number}"
    return label


def _read_regions(path: Path) -> Iterable[Region]:
    cure = "give columns name,latitude,longitude (degrees) and, if you like, provider,region"
    rows = list(csv.DictReader(read_text(path).splitlines()))
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        try:
            name, latitude, longitude = row["name"].strip(), float(row["latitude"]), float(row["longitude"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(path, line, f"this is no place: {error}", cure) from error
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise InputError(path, line, f"{latitude}, {longitude} is no latitude and longitude", cure)
        label = _label(name, f"line-{line}", set())
        if label in seen:
            raise InputError(path, line, f"{name} is in it twice", "give each place a name of its own")
        seen.add(label)
        yield Region(label, latitude, longitude, (row.get("provider") or "").strip(), (row.get("region") or "").strip())
    if len(rows) < 2:
        raise InputError(path, None, "has fewer than two places", cure)
