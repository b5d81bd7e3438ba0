"""The store that the configuration names."""

from __future__ import annotations

from pathlib import Path

from foremesh.discovery.etcd import EtcdStore
from foremesh.discovery.etcd_wire import Tls
from foremesh.settings import Settings


def connect(settings: Settings) -> EtcdStore:
    """The mesh's etcd; use it as an async context manager. Connects with the first call, so etcd may come later.

    Raises:
        ValueError: If some but not all files of mutual TLS are named; talking in clear then would be a surprise.
    """
    etcd = settings.etcd
    files = [etcd.ca_file, etcd.cert_file, etcd.key_file]
    named = [Path(file) for file in files if file]
    if named and len(named) < len(files):
        raise ValueError("etcd: mutual TLS needs caFile, certFile and keyFile; set all three or none")
    endpoints = [endpoint.strip() for endpoint in etcd.endpoint.split(",")]
    return EtcdStore(endpoints, mesh=settings.mesh, tls=Tls(*named) if named else None)
