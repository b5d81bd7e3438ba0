"""A world to judge plans in: topologies, traffic, incidents, competing policies, scores.

Nothing here talks to anybody: a world is made from a seed, policies see what probes of it would say, and what they
choose is judged by what was true. Plans are made by the same code that the operator runs.
"""
