"""An agent's configuration: what differs from host to host. What both ends of a link must agree on is in ``state``."""

from __future__ import annotations

import re
import ssl
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

from foremesh.model.checks import check_endpoint, check_listen, check_port, check_positive, check_url, is_loopback
from foremesh.model.manifest import ManifestError, Spec
from foremesh.model.units import Seconds
from foremesh.settings import read_file

FIRST_UNDERLAY_PORT = 51824
"""UDP port of the first network besides the gateway's own: after those of links and attachment."""

RESOURCE = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
"""``namespace/name`` as Kubernetes has them."""


class UnderlaySettings(Spec, frozen=True, kw_only=True):
    """One more network that the host sits on, as the gateway's ``underlays`` name it."""

    name: str
    port: int | None = None
    """UDP port of its links; none: 51824 for the first network of the list, and two more for each after it."""
    rotation_port: int | None = None
    """UDP port while keys change, in turns with the other; none: the next one."""
    endpoint: str | None = None
    """``host:port`` under which gateways of that network reach it; none: it dials them."""


class AgentSettings(Spec, frozen=True, kw_only=True):
    """The file that ``foremesh agent`` reads."""

    resource: str
    """``namespace/name`` of the agent's MeshResource; its token is bound to it."""
    api_url: str = "https://foremesh-api:8443"
    """Where the mesh API answers: ``https://``; ``http://`` only on this host, or with ``plain_http``."""
    plain_http: bool = False
    """Whether ``api_url`` may be ``http://`` towards another host: whoever is on the way then reads the token and
    writes the config. For labs."""
    ca_file: str | None = None
    """PEM file of the authority that signed the API's certificate; none: the system's authorities."""
    token_file: str = "/var/run/secrets/foremesh/token"
    """Holds the bearer token; read for every request, so that a rotated token is used at once."""
    state_dir: str = "/var/lib/foremesh"
    """Private keys and the last config; without it a restart makes a new identity."""
    prefix: str = "fm"
    """What the names of this agent's interfaces begin with, at most 8 characters; unique per control folder."""
    control_dir: str = "/var/run/wireguard"
    """Where userspace WireGuard keeps its control sockets; compiled into ``wireguard-go``."""
    own_address: str | None = None
    """IPv4 address of this host in its own network, by which other workloads may call it; none: the one it reaches the
    mesh API from."""
    hosts_file: str | None = None
    """Where names of the mesh are written, such as ``/etc/hosts``, between two marks; none: nowhere."""
    wireguard: str = "wireguard-go"
    """The userspace WireGuard program."""
    hop_port: int = 51820
    """UDP port of links between gateways."""
    rotation_port: int | None = None
    """UDP port of links while keys change: the old and the new key need one each, and take turns; none: two above
    ``hop_port``. Neighbours must be able to reach both, wherever they can reach one."""
    key_rotation: Seconds = Seconds(30 * 86_400)
    """Age at which the key of links is replaced, link by link and without a lost packet; 0: never. Thirty days bound
    what a stolen key is good for, and are rare enough not to be noticed."""
    underlays: tuple[UnderlaySettings, ...] = ()
    """Networks besides the gateway's own; one that is not listed here can be dialled out on, and no more."""
    attach_port: int = 51821
    """UDP port where a gateway's workloads attach."""
    endpoint: str | None = None
    """``host:port`` under which other gateways reach the hop interface; none behind address translation: this gateway
    then dials its neighbours and keeps the way open."""
    attach_endpoint: str | None = None
    """``host:port`` under which workloads of the site reach this gateway."""
    metrics_listen: str = "0.0.0.0:9466"
    """``host:port`` of the exporter; port 0 takes a free one."""
    metrics_endpoint: str | None = None
    """``host:port`` under which Prometheus reaches the exporter; none: not scraped directly."""
    probe_interval: Seconds = Seconds(1)
    """Between two probes of a target; one a second sees an outage within seconds at 0.6 kbit/s a target."""
    probe_timeout: Seconds = Seconds(2)
    """A probe unanswered for so long is lost; above any round trip that a path is chosen for."""
    mtu_probe_interval: Seconds = Seconds(30)
    """Between two full-size probes of a link or circuit; path MTU changes with routes, not with load."""
    capacity_probe: Seconds | None = None
    """Between two estimates of what a link carries, by five bursts of 90 kB each; none: never, as they compete with
    traffic. Ten minutes cost 6 kbit/s a link; all links of a gateway together never over 0.7 Mbit/s."""
    beacon_interval: Seconds = Seconds(3)
    """Between two beacons; the API may ask for more, and forgets an agent after about three missed ones."""
    reconcile_interval: Seconds = Seconds(5)
    """Between two comparisons of the host with the config; how long a killed WireGuard stays away."""


def ports(settings: AgentSettings) -> dict[str, tuple[int, int]]:
    """Network ("" is the gateway's own) to its two UDP ports.

    Raises:
        ManifestError: If a network or a port is there twice.
    """
    found = {"": (settings.hop_port, _or(settings.rotation_port, settings.hop_port + 2))}
    for number, one in enumerate(settings.underlays):
        port = _or(one.port, FIRST_UNDERLAY_PORT + 2 * number)
        if one.name in found:
            raise ManifestError("agent configuration", f"underlays name the network {one.name!r} twice, or none")
        found[one.name] = (port, _or(one.rotation_port, port + 1))
    every = [settings.attach_port, *(port for pair in found.values() for port in pair)]
    if twice := sorted({port for port in every if every.count(port) > 1}):
        raise ManifestError(
            "agent configuration", f"UDP port {twice[0]} is to be used twice, and each interface needs one of its own"
        )
    return found


def _or(port: int | None, usual: int) -> int:
    return usual if port is None else port


def load(path: Path) -> AgentSettings:
    """Read the agent's configuration; raises ManifestError as ``read_file`` does."""
    return read_file(AgentSettings, path, "agent configuration", _check)


def _check(settings: AgentSettings) -> None:
    """Refuse what no agent could work with, by a ValueError."""
    if not re.fullmatch(RESOURCE, settings.resource):
        raise ValueError(f"resource {settings.resource!r} is not namespace/name")
    check_url("apiUrl", settings.api_url)
    if urlsplit(settings.api_url).scheme == "http" and not settings.plain_http and not is_loopback(settings.api_url):
        raise ValueError(
            "apiUrl is http:// towards another host, which would give the token away; use https://, in labs plainHttp"
        )
    if settings.own_address is not None:
        try:
            IPv4Address(settings.own_address)
        except ValueError as error:
            raise ValueError(f"ownAddress {settings.own_address!r} is no IPv4 address: {error}") from error
    check_listen("metricsListen", settings.metrics_listen)
    check_endpoint("endpoint", settings.endpoint)
    check_endpoint("attachEndpoint", settings.attach_endpoint)
    check_endpoint("metricsEndpoint", settings.metrics_endpoint)
    for one in settings.underlays:
        check_endpoint(f"endpoint of underlay {one.name!r}", one.endpoint)
    check_port("attachPort", settings.attach_port)
    for name, (port, rotation_port) in ports(settings).items():
        of = f" of underlay {name!r}" if name else ""
        check_port(f"port{of}" if name else "hopPort", port)
        check_port(f"rotationPort{of}", rotation_port)
    check_positive(
        probeInterval=settings.probe_interval,
        probeTimeout=settings.probe_timeout,
        mtuProbeInterval=settings.mtu_probe_interval,
        capacityProbe=settings.capacity_probe,
        beaconInterval=settings.beacon_interval,
        reconcileInterval=settings.reconcile_interval,
    )


def check_authority(settings: AgentSettings) -> None:
    """Whether the mesh API could be trusted at all; only who asks it needs that.

    Raises:
        ManifestError: If there is a CA file in the settings, but none on the host.
    """
    try:
        if settings.ca_file is not None:
            ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ManifestError(
            "agent configuration", f"caFile {settings.ca_file} cannot be used ({error}); no mesh API would be trusted"
        ) from error
