"""What a workload's pods may send to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from foremesh.model.resource import Protocol


class PolicyError(ValueError):
    """Something that a policy cannot express; carries ``what`` and ``cause``."""

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        self.cause = cause
        super().__init__(f"{what}: {cause}; no policy is rendered, and the workload's pods stay unrestricted")


@dataclass(frozen=True)
class PodGroup:
    """Pods of this cluster. They are named by label, because policies by address never match them under Cilium."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A port of pods in this cluster, or of an address outside of it; exactly one of the two.

    ``port`` is the pods' own port: policies see traffic after a Service has been resolved.
    """

    protocol: Protocol
    port: int
    pods: PodGroup | None = None
    address: str = ""

    @property
    def cidr(self) -> str:
        return f"{self.address}/{ip_address(self.address).max_prefixlen}"


CLUSTER_DNS = tuple(
    Target(protocol, 53, pods=PodGroup("kube-system", {"k8s-app": "kube-dns"}))
    for protocol in (Protocol.UDP, Protocol.TCP)
)
"""Where kubeadm, kind and the large providers run the cluster's DNS. A cluster with a DNS cache on the node's own
address needs that address as well."""


def target(endpoint: str, protocol: Protocol, *, pods: PodGroup | None = None, what: str) -> Target:
    """Read ``host:port`` as a target.

    Args:
        pods: Set if the endpoint is that of pods in this cluster; the host then does not matter.
        what: Whose endpoint it is, for messages.

    Raises:
        PolicyError: If there is no port, or the host is a name: names have no place in a policy by address.
    """
    host, _, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal():
        raise PolicyError(what, f"endpoint {endpoint!r} is not host:port")
    if pods is not None:
        return Target(protocol, int(port), pods=pods)
    try:
        ip_address(host)
    except ValueError:
        raise PolicyError(what, f"{host!r} is no IP address, and no pods of this cluster are named for it") from None
    return Target(protocol, int(port), address=host)
