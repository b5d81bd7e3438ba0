"""Network policies that pin a workload's pods to the mesh and close the way around it.

A policy lets the pods send to their gateways' attach endpoints, the mesh API, the cluster's DNS and what is allowed
besides, and nowhere else. What arrives is not restricted: a service may have users in its own cluster. Policies see
only the outer UDP; what may flow inside the mesh is the circuits' firewall.

Rendering is pure; whoever applies the manifests adds owner references.
"""

from foremesh.network.policies.render import Flavour, prerequisites, render
from foremesh.network.policies.targets import CLUSTER_DNS, PodGroup, PolicyError, Target, target

__all__ = ["CLUSTER_DNS", "Flavour", "PodGroup", "PolicyError", "Target", "prerequisites", "render", "target"]
