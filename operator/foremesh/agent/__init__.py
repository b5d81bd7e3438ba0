"""What runs on a gateway or beside a workload: sets up WireGuard, routes and nftables as its GatewayConfig says,
probes, beacons, exports metrics.

The only room that runs programs and touches the host. It decides nothing about paths, knows no Kubernetes, and keeps
forwarding when the control plane, or the agent itself, is gone.
"""
