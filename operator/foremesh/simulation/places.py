"""Places and the links that join them: what a topology is, whatever it was read from.

A topology is the same for every seed: what varies with the seed is in ``world``. Nothing here knows time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from foremesh.files import InputError
from foremesh.model.link import LinkId
from foremesh.model.physics import FIBRE_KM_PER_MS

NAMESPACE = "simulated"
"""Namespace of gateways that no manifest declares."""

FIXED_MS = 0.5
"""Milliseconds of a round trip over any link, however short: two gateways and the routers between them, four passes
each. Routers take some 0.02 ms without queueing (Papagiannaki et al., "Measurement and Analysis of Single-Hop Delay on
an IP Backbone Network", 2003); a userspace WireGuard hop measured here 0.45 ms a round trip."""

CONDUIT_STRETCH = (1.3, 0.15)
"""Length of fibre between neighbours in a backbone over the great circle: median, and sigma of its logarithm. Shortest
ways through real conduits are 1.3 times the line of sight in the median (Bozkurt et al., "Dissecting Latency in the
Internet's Fiber Infrastructure", 2018)."""

INTERNET_STRETCH = (1.6, 0.19)
"""The same for paths across the Internet or a provider's backbone, as between cloud regions: fits the round trips
between regions that Skyplane published (Jain et al., NSDI 2023; 90 % within 1.27 to 2.3). The rule of thumb for
arbitrary hosts is 2.1 (Bozkurt et al., "Why Is the Internet so Slow?!", PAM 2017, and 2018)."""

LEAST_STRETCH = 1.05
"""No cable lies straighter: slack and the way around obstacles (as before, 2018)."""

CAPACITY_BPS = 5e9
"""Bit/s of links that declare none: what a cloud instance may send to another region, and what 64 connections between
regions reach in the median (Jain et al., NSDI 2023)."""

UNLIMITED_BPS = 1e12
"""Capacity of recorded links, bit/s: a recording does not say what more traffic would do, so nothing fills them."""

MOST_LINKS = 2000
"""Directed links that a world can be built for: a minute of all of them has to stay cheap, ten days have to fit
memory."""


@dataclass(frozen=True)
class Place:
    """A gateway's site."""

    name: str
    """A DNS label, or a gateway's id (``namespace/name``) where a manifest declares it."""
    latitude: float | None = None
    longitude: float | None = None
    """Degrees; None where not known, which counts as Greenwich for the clock."""
    provider: str = ""
    region: str = ""

    @property
    def id(self) -> str:
        """The gateway's id in the mesh."""
        return gateway_id(self.name)


@dataclass(frozen=True)
class TopologyLink:
    """A directed link; the way back is another one."""

    src: str
    dst: str
    rtt_ms: float
    """Round trip when nothing queues."""
    capacity_bps: float = CAPACITY_BPS
    egress_price: float | None = 0.0
    """US dollars per gigabyte sent into it; None where nobody said, and none is made up."""
    risk_group: str = ""
    """What it shares fate with: its corridor, both directions."""
    underlay: str = "internet"

    @property
    def id(self) -> LinkId:
        """What the mesh calls it."""
        return LinkId(src=gateway_id(self.src), dst=gateway_id(self.dst), underlay=self.underlay)


@dataclass(frozen=True)
class Topology:
    """Places and links, sorted by name; every link has its way back.

    Raises:
        InputError: If a link's end is no place, a link repeats or has no way back, or there are too many.
    """

    name: str
    places: tuple[Place, ...]
    links: tuple[TopologyLink, ...]
    demands: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Traffic between places as published, in any unit; empty where none was."""

    def __post_init__(self) -> None:
        names = {place.name for place in self.places}
        keys = {(link.src, link.dst, link.underlay) for link in self.links}
        if not self.links:
            self._refuse("no two of its places are linked", "add links; there is nothing to route over")
        if len(self.links) > MOST_LINKS:
            self._refuse(
                f"{len(self.links)} directed links; a world has at most {MOST_LINKS}", "use a smaller topology"
            )
        if len(keys) < len(self.links):
            self._refuse("a link is in it twice", "give each pair of places one link each way and underlay")
        for link in self.links:
            name = f"the link {link.src}->{link.dst}"
            if not {link.src, link.dst} <= names or link.src == link.dst:
                self._refuse(f"{name} does not join two of its places", "name two of them")
            if (link.dst, link.src, link.underlay) not in keys:
                self._refuse(f"{name} has no way back", "add it")
            if not (math.isfinite(link.rtt_ms) and link.rtt_ms > 0 and link.capacity_bps > 0):
                self._refuse(f"{name} takes {link.rtt_ms} ms at {link.capacity_bps} bit/s", "make both positive")

    def _refuse(self, cause: str, cure: str) -> NoReturn:
        raise InputError(Path(self.name), None, cause, cure)


def gateway_id(name: str) -> str:
    """``namespace/name`` of a place's gateway."""
    return name if "/" in name else f"{NAMESPACE}/{name}"


def distance_km(a: Place, b: Place) -> float | None:
    """Great-circle distance; None if either place is not known."""
    if a.latitude is None or a.longitude is None or b.latitude is None or b.longitude is None:
        return None
    lat_a, lat_b, turn = map(math.radians, (a.latitude, b.latitude, b.longitude - a.longitude))
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(turn / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(half)))


def rtt_ms(kilometres: float, corridor: str, stretch: tuple[float, float]) -> float:
    """Round trip over a link of this length along the great circle, nothing queueing.

    Args:
        corridor: Names it; the same name has the same detour in every run.
        stretch: Median and log-sigma of the detour.
    """
    median, sigma = stretch
    drawn = np.random.default_rng(zlib.crc32(corridor.encode())).standard_normal()
    factor = max(LEAST_STRETCH, median * math.exp(sigma * drawn))
    return round(FIXED_MS + 2 * kilometres * factor / FIBRE_KM_PER_MS, 3)


def corridor(a: str, b: str) -> str:
    """The name that both directions between two places share."""
    return "--".join(sorted((a, b)))
