"""A small mesh as a folder: three gateways on one network, a workload at each end, an Intent between them."""

import re
from pathlib import Path

import pytest

from foremesh.files import InputError, read_bundle

GATEWAY = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: Gateway
  network: {network}
  location: {{site: {name}}}
  gateway: {{role: {role}, {endpoint}}}
"""

WORKLOADS = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: web, namespace: shop}
spec:
  type: Container
  location: {site: ams}
  workload: {selector: {matchLabels: {app: web}}}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: db, namespace: shop}
spec:
  type: VirtualMachine
  location: {site: fra}
  machine: {address: 10.0.0.7}
"""

INTENT = """\
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {name: web-to-db, namespace: shop}
spec:
  from: {resource: web}
  to: {resource: db}
  requirements: {maxLatency: 40ms}
"""


def gateway(
    name: str,
    *,
    namespace: str = "mesh",
    network: str = "internet",
    role: str = "Core",
    endpoint: bool = True,
    underlays: str = "[]",
) -> str:
    """A gateway's manifest; its site has its name."""
    where = f"endpoint: '{name}.example.com:51820', " if endpoint else ""
    where += f"underlays: {underlays}"
    return GATEWAY.format(name=name, namespace=namespace, network=network, role=role, endpoint=where)


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files into a folder, and folders in it as their names say."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def small_mesh(folder: Path, more: dict[str, str | bytes] | None = None) -> Path:
    """The mesh, and more files beside it."""
    gateways = "---\n".join(gateway(name) for name in ("ams", "fra", "lon"))
    mesh: dict[str, str | bytes] = {"gateways.yaml": gateways, "workloads.yaml": WORKLOADS, "intent.yaml": INTENT}
    return put(folder, {**mesh, **(more or {})})


def refused(folder: Path, history: Path | None = None) -> InputError:
    """The error that a folder is refused with; it is one line that begins with the place."""
    with pytest.raises(InputError) as caught:
        read_bundle(folder, history=history)
    error = caught.value
    where = str(error.path) if error.line is None else f"{error.path}:{error.line}"
    assert str(error).isprintable(), "one line, and nothing that a terminal obeys"
    assert str(error) == re.sub(r"[\n\x1b]", "\ufffd", f"{where}: {error.cause}; {error.cure}")
    return error


def outcome(folder: Path) -> str:
    """What is said of a folder that may be good or bad; empty if it is read. Any other exception is a defect."""
    try:
        read_bundle(folder)
    except InputError as error:
        return str(error)
    return ""
