"""The store that the configuration names."""

from __future__ import annotations

from pathlib import Path

from foremesh.discovery.etcd import EtcdStore
from foremesh.discovery.etcd_wire import Tls
from foremesh.settings import Settings


def connect(settings: Settings) -> EtcdStore:
    """The mesh's etcd; use it as an async context manager. Connects with the first call, so etcd may come later."""
    etcd = settings.etcd
    named = [Path(file) for file in (etcd.ca_file, etcd.cert_file, etcd.key_file) if file]
    endpoints = [endpoint.strip() for endpoint in etcd.endpoint.split(",")]
    return EtcdStore(endpoints, mesh=settings.mesh, tls=Tls(*named) if named else None)
