"""Dynamic network configuration: from a plan to one config for each agent, and to network policies.

In the order of one planning cycle: ``allocate`` and ``attachment`` make members of resources, ``circuits`` turns a plan
into circuits, ``place`` gives them numbers and moves their ``labels`` on, ``compile`` writes every config and finds
what changed; ``policies`` pins workloads to their gateways, ``specs`` makes and edits circuits by hand.

Pure functions: no clock, no I/O, no Kubernetes, no other room. What they must remember stands in statuses and configs.
"""
