"""The operator: kopf handlers, the Kubernetes adapter, conditions.

Handlers hand what changed to the replanner and return; decisions are made in the pipeline, and published here.
kopf and the Kubernetes client are imported in this room only.
"""
