"""Topologies to build labs of: which gateways and workloads there are, and how the Internet between them is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.world import Pair, WorldError

NAME = re.compile(r"[a-z][a-z0-9-]{0,8}")
"""Node names: with the lab's marks before them they are names of links, which Linux limits to 15 characters."""

SITE = re.compile(r"[a-z][a-z0-9-]{0,10}")

MAX_GATEWAYS = 40
MAX_NODES = 60
"""What the /30s of the underlay's /24 and a management /26 have room for."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway to be: ``role`` is Core, Edge or Transit; ``egress_price`` is in US dollars a gigabyte."""

    name: str
    role: str
    site: str
    region: str
    egress_price: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload to be, on the LAN of ``site``."""

    name: str
    site: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Gateways, workloads, and the ways between gateways by name; what is not in ``pairs`` is not connected.

    Raises:
        WorldError: If a name is unfit or taken, a pair's end is no gateway, or a workload's site has none.
    """

    gateways: tuple[Gateway, ...]
    workloads: tuple[Workload, ...]
    pairs: Mapping[tuple[str, str], Pair]
    seed: int = 1

    def __post_init__(self) -> None:
        gateways = {g.name for g in self.gateways}
        sites = {g.site for g in self.gateways}
        names = [g.name for g in self.gateways] + [w.name for w in self.workloads]
        for name in names:
            if not NAME.fullmatch(name) or name in ("inet", "switch", "mgmt"):
                raise WorldError(
                    f"node {name}: a name is {NAME.pattern}, and not inet, switch or mgmt, which the lab uses"
                )
            if names.count(name) > 1:
                raise WorldError(f"node {name}: there are two of that name")
        for site in sites:
            if not SITE.fullmatch(site):
                raise WorldError(f"site {site}: a name is {SITE.pattern}")
        if len(gateways) > MAX_GATEWAYS or len(names) > MAX_NODES:
            raise WorldError(
                f"{len(names)} nodes: the lab has addresses for {MAX_GATEWAYS} gateways and {MAX_NODES} nodes"
            )
        for src, dst in self.pairs:
            if src == dst or not {src, dst} <= gateways:
                raise WorldError(
                    f"pair {src} -> {dst}: its ends must be two of the gateways {', '.join(sorted(gateways))}"
                )
        for workload in self.workloads:
            if workload.site not in sites:
                raise WorldError(f"workload {workload.name}: its site {workload.site} has no gateway")


def five_gateways() -> Topology:
    """Two core sites, two transits between them, and an edge gateway that is nearest to all but may not relay.

    One way from ams to fra takes 25 ms directly, 18 by lon, 21 by par and 7 by bru; the daily swings (under 2.5 ms on
    any path, at different hours) never change that order, so what moves a circuit is what a test does.
    """
    gateways = (
        Gateway("ams", "Core", "a", "eu-west", 0.05),
        Gateway("fra", "Core", "b", "eu-central", 0.05),
        Gateway("lon", "Transit", "lon", "eu-west", 0.04),
        Gateway("par", "Transit", "par", "eu-west", 0.04),
        Gateway("bru", "Edge", "bru", "eu-west", 0.01),
    )
    #         one end, other end, there ms, back ms, swing ms, peak hour, Mbit/s
    ways = [
        ("ams", "fra", 25.0, 24.5, 2.0, 19.0, 250),
        ("ams", "lon", 9.0, 9.2, 0.8, 20.0, 300),
        ("lon", "fra", 9.0, 9.1, 0.8, 14.0, 300),
        ("ams", "par", 11.0, 10.8, 1.2, 11.0, 250),
        ("par", "fra", 10.0, 10.2, 1.0, 17.0, 250),
        ("lon", "par", 6.0, 6.1, 0.6, 9.0, 200),
        ("bru", "ams", 3.0, 3.1, 0.3, 21.0, 300),
        ("bru", "fra", 4.0, 4.1, 0.3, 18.0, 300),
        ("bru", "lon", 4.5, 4.4, 0.3, 16.0, 300),
        ("bru", "par", 3.5, 3.6, 0.3, 12.0, 300),
    ]
    pairs = {}
    for one, other, there_ms, back_ms, swing_ms, hour, mbit_s in ways:
        for src, dst, delay_ms in ((one, other, there_ms), (other, one, back_ms)):
            pairs[src, dst] = Pair(delay_ms, swing_ms, hour, jitter_ms=0.3, rate_bps=mbit_s * 1e6)
    return Topology(gateways, (Workload("app", "a"), Workload("db", "b")), pairs)
