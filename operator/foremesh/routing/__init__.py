"""The predictive routing engine: predictions in, a plan out.

``build_graph`` makes a snapshot, ``make_plan`` places every demand on it (``Planner`` for many plans of the same
demands), ``select_path`` answers one question without anything around it, ``optimize_path`` tells circuits that are in
place where to go. This room computes and nothing else: no I/O, no clock; the same input, in whatever order, gives the
same answer.
"""

from foremesh.routing.adjacency import adjacency
from foremesh.routing.cost import PROFILES, Weights
from foremesh.routing.demand import Candidate, Demand, PlannerSettings
from foremesh.routing.graph import build_graph, capacities, to_networkx
from foremesh.routing.optimize import Advice, InUse, optimize_path
from foremesh.routing.planner import Planner, make_plan
from foremesh.routing.policy import Effective, effective
from foremesh.routing.search import Selection, select_path

__all__ = [
    "PROFILES",
    "Advice",
    "Candidate",
    "Demand",
    "Effective",
    "InUse",
    "Planner",
    "PlannerSettings",
    "Selection",
    "Weights",
    "adjacency",
    "build_graph",
    "capacities",
    "effective",
    "make_plan",
    "optimize_path",
    "select_path",
    "to_networkx",
]
