"""The predictive routing engine: predictions in, a plan out.

``build_graph`` makes a snapshot, ``make_plan`` places every demand on it (``Planner`` for many plans of the same
demands), ``select_path`` answers one question without anything around it. This room computes and nothing else: no I/O,
no clock; the same input, in whatever order, gives the same answer.
"""

from foremesh.routing.adjacency import adjacency
from foremesh.routing.cost import PROFILES, Weights
from foremesh.routing.demand import Candidate, Demand, PlannerSettings
from foremesh.routing.graph import build_graph, capacities, to_networkx
from foremesh.routing.planner import Planner, make_plan
from foremesh.routing.policy import Effective, effective
from foremesh.routing.search import Selection, select_path

__all__ = [
    "PROFILES",
    "Candidate",
    "Demand",
    "Effective",
    "Planner",
    "PlannerSettings",
    "Selection",
    "Weights",
    "adjacency",
    "build_graph",
    "capacities",
    "effective",
    "make_plan",
    "select_path",
    "to_networkx",
]
