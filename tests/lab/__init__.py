"""Real parts for tests and the demo: etcd, an API server, Prometheus, and a lab of network namespaces.

Everything here starts programs, keeps to loopback and to namespaces it made, and ends what it started, by process id.
Nothing in the operator may import it.
"""
