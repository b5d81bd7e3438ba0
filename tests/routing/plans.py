"""Short ways to make plans and to read them, and the mesh that most of them are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from foremesh.model.circuit import Circuit
from foremesh.model.intent import Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Placement, Plan
from foremesh.model.policy import CostWeights, Policy
from foremesh.model.units import Bandwidth
from foremesh.routing import Demand, PlannerSettings, make_plan
from routing.demands import candidate, policy
from routing.worlds import both, mesh, node

LATENCY_ONLY = policy(
    "latency-only", weights=CostWeights(bandwidth=0, loss=0, hops=0, egress_price=0, load=0, encryption=0)
)
"""Makes cost proportional to latency, so that gains are those of the figures."""


def plan(
    graph: MeshGraph,
    demands: Iterable[Demand],
    circuits: Iterable[Circuit] = (),
    policies: Iterable[Policy] = (),
    **settings: Any,
) -> Plan:
    return make_plan(graph, demands, circuits, policies, PlannerSettings(**settings), made_at_s=1000.0)


def only(made: Plan) -> Placement:
    (placement,) = made.placements
    return placement


def text(placement: Placement) -> str:
    return placement.path.text if placement.path else ""


def needs(**fields: Any) -> Requirements:
    return Requirements(**fields)


def bandwidth(bps: float) -> Requirements:
    return Requirements(min_bandwidth=Bandwidth(bps))


def diamond(by_north: float = 20.0, by_south: float = 30.0, free: float = 1e9, **figures: float | None) -> MeshGraph:
    """Two ways from a to z: by n and by s, each with this round trip in all and 1 ms on the last link."""
    return mesh(
        *(node(name) for name in "ansz"),
        links=(
            *both("a", "n", by_north - 1, free=free, **figures),
            *both("n", "z", 1.0, free=free, **figures),
            *both("a", "s", by_south - 1, free=free, **figures),
            *both("s", "z", 1.0, free=free, **figures),
        ),
    )


AZ = ("a", candidate("db", "z"))
