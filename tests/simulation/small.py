"""A mesh of four places that tests of the simulator can follow by hand: a long way and a short one, and a spur.

``a`` and ``d`` are joined through ``b`` (10 ms) and through ``c`` (14 ms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foremesh.model.intent import Destination, Intent, IntentSpec, Profile, Requirements, Source
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.meta import Meta
from foremesh.model.resource import GatewaySpec, Resource, ResourceSpec, ResourceType, Role
from foremesh.network.circuits import class_of
from foremesh.routing.demand import Candidate, Demand
from foremesh.simulation.scene import Scene
from foremesh.simulation.world import LinkState, World

RTT_MS = {("a", "b"): 5.0, ("b", "d"): 5.0, ("a", "c"): 7.0, ("c", "d"): 7.0}

CAPACITY_BPS = 1e9

LINKS = tuple(LinkId(src=f"m/{x}", dst=f"m/{y}") for pair in RTT_MS for x, y in (pair, pair[::-1]))


def base_ms(link: LinkId) -> float:
    src, dst = link.src[-1], link.dst[-1]
    return RTT_MS[src, dst] if (src, dst) in RTT_MS else RTT_MS[dst, src]


def gateway(name: str) -> Resource:
    return Resource(
        meta=Meta(name=name, namespace="m"),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY, network="internet", gateway=GatewaySpec(role=Role.CORE, endpoint=f"{name}:51820")
        ),
    )


def demand(name: str = "a-to-d", *, requirements: Requirements | None = None) -> Demand:
    src, dst = gateway("a"), gateway("d")
    intent = Intent(
        meta=Meta(name=name, namespace="m"),
        spec=IntentSpec(
            from_=Source(resource="a"),
            to=Destination(resource="d"),
            profile=Profile.LATENCY,
            requirements=requirements or Requirements(),
        ),
    )
    return Demand(
        intent=intent,
        source=src,
        source_gateways={src.id: 0.0},
        candidates=(Candidate(resource=dst, gateways={dst.id: 0.0}),),
        class_=class_of(intent),
    )


def scene(*demands: Demand, prices: Mapping[LinkId, float] | None = None) -> Scene:
    return Scene(
        gateways=tuple(map(gateway, "abcd")),
        links=LINKS,
        facts={
            link: LinkFacts(capacity_bps=CAPACITY_BPS, egress_price=(prices or {}).get(link, 0.0)) for link in LINKS
        },
        base_rtt_ms={link: base_ms(link) for link in LINKS},
        demands=demands,
    )


def state(minutes: int = 1, **links: Mapping[str, float]) -> LinkState:
    """All links idle, but for those named like ``ab``: ``rtt_ms``, ``loss``, ``free_bps``, ``up``."""
    shape = (len(LINKS), minutes)
    rtt_ms = np.repeat([[base_ms(link)] for link in LINKS], minutes, axis=1).astype(float)
    loss, free_bps, up = np.zeros(shape), np.full(shape, CAPACITY_BPS), np.ones(shape, dtype=bool)
    for name, changes in links.items():
        row = LINKS.index(LinkId(src=f"m/{name[0]}", dst=f"m/{name[1]}"))
        for key, value in changes.items():
            {"rtt_ms": rtt_ms, "loss": loss, "free_bps": free_bps, "up": up}[key][row] = value
    rtt_ms[~up], loss[~up] = np.nan, 1.0
    return LinkState(rtt_ms, loss, CAPACITY_BPS - free_bps, free_bps, up)


class Scripted(World):
    """A world in which links are idle until their turn comes: from a minute on, ``ab`` or ``ac`` has another round
    trip, or none. Own traffic changes nothing, and probes tell the truth."""

    def __init__(
        self, changes: Sequence[tuple[int, str, float | None]], *, warmup: int = 120, minutes: int = 240
    ) -> None:
        shape = (minutes, len(LINKS))
        base = np.repeat([[base_ms(link) for link in LINKS]], minutes, axis=0).astype(np.float32)
        up = np.ones(shape, dtype=bool)
        for minute, name, rtt_ms in changes:
            for ends in (name, name[::-1]):
                row = LINKS.index(LinkId(src=f"m/{ends[0]}", dst=f"m/{ends[1]}"))
                if rtt_ms is None:
                    up[minute:, row] = False
                else:
                    base[minute:, row] = rtt_ms
        count = len(LINKS)
        super().__init__(
            links=LINKS,
            reverse=np.array([LINKS.index(link.reverse) for link in LINKS]),
            capacity_bps=np.full(count, CAPACITY_BPS),
            buffer_ms=np.zeros(count),
            load_bps=np.zeros(shape, np.float32),
            base_ms=base,
            loss=np.zeros(shape, np.float32),
            up=up,
            noise=np.zeros(shape, np.int16),
            luck=np.zeros(shape, np.uint16),
            start_s=1_000_000.0,
            warmup_minutes=warmup,
        )
