"""The mesh API: what agents talk to. HTTPS in front, the discovery store behind; no Kubernetes client.

Its first form serves agents: register, beacon, watch one's config, acknowledge.
"""
