"""A world to judge plans in: topologies, traces, incidents, competing policies, scores. Nothing is in it yet."""
