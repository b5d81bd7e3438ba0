"""Meshes, plans and reports to draw: one with everything a picture can show, and made-up ones of any size."""

from __future__ import annotations

import random
from html.parser import HTMLParser
from itertools import pairwise, permutations

import numpy as np

from foremesh.drawing import (
    Applied,
    LinkObserved,
    MeshPicture,
    Report,
    ReportIntent,
    ReportMove,
    ReportPolicy,
    Series,
    picture,
)
from foremesh.model.circuit import Figures
from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.meta import Meta
from foremesh.model.plan import Infeasible, Path, Placement, Plan
from foremesh.model.resource import GatewaySpec, Location, Resource, ResourceSpec, ResourceType, Role

START_S = 1_900_022_400.0
"""A midnight, UTC."""
HOSTILE = "a\"];--><script>alert(1)</script> `%%{init}` #quot; end \\N & {ä} <img src=x onerror='window.hacked=1'>\x07"
"""A name that would break out of every format, if it could."""


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """Tags and attributes as a browser sees them."""
    parser = _Elements()
    parser.feed(text)
    return parser.found


def assert_harmless(text: str, *, scripts: int) -> None:
    """Nothing in a document runs but its own scripts, and nothing is loaded."""
    found = elements(text)
    assert len(found) > 10
    assert [tag for tag, _ in found].count("script") == scripts
    assert not {tag for tag, _ in found} & {"img", "iframe", "object", "embed", "a", "use", "image", "foreignobject"}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]


def gateway(name: str, *, latitude: float | None = None, longitude: float | None = None) -> Resource:
    return Resource(
        meta=Meta(name=name, namespace="mesh"),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY,
            location=Location(latitude=latitude, longitude=longitude),
            gateway=GatewaySpec(role=Role.CORE),
        ),
    )


def link(src: str, dst: str, rtt_ms: float | None, *, underlay: str = "internet", **more: object) -> PredictedLink:
    return PredictedLink(
        id=LinkId(src=f"mesh/{src}", dst=f"mesh/{dst}", underlay=underlay),
        rtt_ms=None if rtt_ms is None else Figure(median=rtt_ms, pessimistic=rtt_ms * 1.2),
        **more,
    )


def path(*names: str, latency_ms: float = 40.0) -> Path:
    ids = tuple(f"mesh/{name}" for name in names)
    return Path(
        gateways=ids,
        links=tuple(LinkId(src=src, dst=dst) for src, dst in pairwise(ids)),
        figures=Figures(
            latency_ms=latency_ms, latency_p90_ms=latency_ms * 1.2, loss=0.001, bandwidth_bps=5e8, egress_price=0.04
        ),
    )


def small(*, shuffled: bool = False) -> MeshPicture:
    """Everything once: a link that differs by direction, one that leads one way, two underlays, unknown figures; an
    active and a standby path, a circuit that falls short, intents with one gateway and with none."""
    known = {
        "loss": Figure(median=0.001, pessimistic=0.004),
        "free_bps": Figure(median=8e8, pessimistic=5e8),
        "capacity_bps": 1e9,
        "egress_price": 0.02,
    }
    links = [
        link("ams", "fra", 8.0, **known),
        link("fra", "ams", 8.0, **known),
        link("ams", "lon", 9.0, **known),
        link("lon", "ams", 12.5, **known),
        link("fra", "lon", None),
        link("lon", "fra", None),
        link("fra", "lon", 14.0, underlay="fibre", **known),
        link("lon", "fra", 14.0, underlay="fibre", **known),
        link("lon", "nyc", 70.0, **known),
    ]
    nodes = [
        Node(id="mesh/ams", role=Role.CORE, region="eu-west", provider="a", load=Figure(median=0.2, pessimistic=0.4)),
        Node(id="mesh/fra", role=Role.CORE, region="eu-central", provider="b", risk_groups=("fibre:1",)),
        Node(id="mesh/lon", role=Role.TRANSIT, region="eu-west", provider="a"),
        Node(id="mesh/nyc", role=Role.EDGE),
    ]
    wanting = Infeasible(requirement="maxLatency", asked="5ms", nearest="8ms", message="maxLatency: asked 5ms")
    placements = [
        Placement(
            intent="shop/orders",
            source="shop/web",
            destination="shop/db",
            path=path("ams", "fra", latency_ms=8.0),
            standby=path("ams", "lon", "fra"),
        ),
        Placement(intent="shop/late", source="shop/web", path=path("ams", "lon", "nyc"), infeasible=wanting),
        Placement(intent="shop/near", source="shop/web", path=path("ams")),
        Placement(intent="shop/never", source="shop/web", infeasible=wanting),
    ]
    measured = links[0].id
    if shuffled:
        rng = random.Random(5)
        links, nodes, placements = (rng.sample(one, len(one)) for one in (links, nodes, placements))
    places = {"ams": (52.4, 4.9), "fra": (50.1, 8.7), "lon": (51.5, -0.1), "nyc": (40.7, -74.0)}
    resources = [gateway(name, latitude=north, longitude=east) for name, (north, east) in places.items()]
    return picture(
        MeshGraph(nodes=tuple(nodes), links=tuple(links)),
        Plan(made_at_s=START_S, placements=tuple(placements)),
        resources={one.id: one for one in resources},
        observed={measured: LinkObserved(rtt_ms=8.3, loss=0.002, throughput_bps=2e8)},
        problems={("shop/gone", ""): "no resource offers the service mail"},
    )


def large(count: int, *, located: bool = True, circuits: int = 20) -> MeshPicture:
    """Gateways in crowds around the world, each linked with each."""
    rng = np.random.default_rng(count)
    crowds = rng.uniform((-35, -120), (60, 145), size=(6, 2))
    places = crowds[rng.integers(6, size=count)] + rng.normal(0, 2.5, size=(count, 2))
    names = [f"gw-{index:03d}" for index in range(count)]
    links = [
        link(names[a], names[b], 2.0 + float(np.hypot(*(places[a] - places[b]))))
        for a, b in permutations(range(count), 2)
    ]
    placements = [
        Placement(intent=f"shop/intent-{index:02d}", source="shop/web", path=path(*rng.choice(names, 3, replace=False)))
        for index in range(circuits)
    ]
    roles = list(Role)
    nodes = [
        Node(id=f"mesh/{name}", role=roles[index % 3], region="r", provider="p") for index, name in enumerate(names)
    ]
    resources = [
        gateway(name, latitude=float(north), longitude=float(east)) if located else gateway(name)
        for name, (north, east) in zip(names, places, strict=True)
    ]
    return picture(
        MeshGraph(nodes=tuple(nodes), links=tuple(links)),
        Plan(made_at_s=START_S, placements=tuple(placements)),
        resources={one.id: one for one in resources},
    )


def hostile() -> MeshPicture:
    """Names that nobody could give in a cluster, but a file can hold."""
    nodes = (Node(id=HOSTILE, role=Role.CORE, region=HOSTILE, provider=HOSTILE), Node(id="mesh/b", role=Role.EDGE))
    one = LinkId(src=HOSTILE, dst="mesh/b", underlay=HOSTILE)
    way = Path(gateways=(HOSTILE, "mesh/b"), links=(one,), figures=Figures())
    wanting = Infeasible(requirement=HOSTILE, asked=HOSTILE, nearest=HOSTILE, message=HOSTILE)
    placements = (
        Placement(intent=HOSTILE, source=HOSTILE, path=way, standby=way, infeasible=wanting),
        Placement(intent=f"z{HOSTILE}", source=HOSTILE, infeasible=wanting),
    )
    graph = MeshGraph(nodes=nodes, links=(PredictedLink(id=one), PredictedLink(id=one.reverse)))
    return picture(graph, Plan(made_at_s=0, placements=placements))


def intent(name: str = "shop/orders", *, minutes: int = 1440, peak_ms: float = 200.0, moves: int = 1) -> ReportIntent:
    """A day with a rhythm, an incident of half an hour, ten minutes without an answer, and moves."""
    minute = np.arange(minutes)
    usual = 30 + 6 * np.sin(minute / 1440 * 2 * np.pi)
    actual = usual + np.random.default_rng(len(name)).gamma(1.5, 0.5, minutes)
    actual[600:630] = peak_ms
    actual[900:910] = np.nan
    limit_ms = 45.0
    violated = ~(actual <= limit_ms)
    ways = ("ams > fra", "ams > lon > fra")
    return ReportIntent(
        name=name,
        asked="maxLatency 45ms",
        source="shop/web",
        destination="shop/db",
        path=ways[moves % 2],
        limit_ms=limit_ms,
        predicted_ms=30.2,
        actual_ms=31.4,
        forecasters=("additive", "last-value"),
        error_ms=0.83,
        below_p90=0.93,
        moves=tuple(
            ReportMove(START_S + 3600.0 * (5 + index), ways[index % 2], ways[(index + 1) % 2], "saves 4.2 ms")
            for index in range(moves)
        ),
        violation_minutes=float(violated.sum()),
        series=Series(START_S, actual, usual, usual * 1.2, violated=violated),
    )


def report(intents: tuple[ReportIntent, ...] = (), *, policies: int = 3, mesh: MeshPicture | None = None) -> Report:
    names = ("predictive", "reactive", "oracle")[:policies]
    never = ReportIntent(
        name="shop/never",
        asked="maxLatency 5ms",
        violation_minutes=1440.0,
        unplaced_minutes=1440.0,
        why_not="nothing fits",
    )
    return Report(
        title="Foremesh: a day",
        summary="Four gateways, one day.",
        simulated=("The network.",),
        real=("The planner.",),
        mesh=mesh or small(),
        intents=intents or (intent(), never),
        policies=tuple(
            ReportPolicy(
                name,
                f"how {name} chooses",
                violation_minutes=1440.0 + 40.0 * (rank + 1),
                unplaced_minutes=1440.0,
                mean_latency_ms=31.0,
                p95_latency_ms=44.0,
                moves_per_day=2.5,
                egress_usd=17.1,
                gap_closed=0.5,
                plan_seconds=1.25,
            )
            for rank, name in enumerate(names)
        ),
        policy="predictive",
        verdict=("moves: predictive wins",),
        gap_text="gap closed: a share",
        applied=(Applied("mesh/ams", {"wireguard": "[Interface]\n", "nftables": "table inet foremesh {\n}\n"}),),
    )
