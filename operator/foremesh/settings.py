"""The operator's and the mesh API's configuration: one YAML file, each field with unit, default and reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import yaml

from foremesh.model.addresses import Blocks
from foremesh.model.manifest import ManifestError, Spec, read
from foremesh.model.units import Ratio, Seconds

T = TypeVar("T")

DOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""A DNS name in lower case."""


class EtcdSettings(Spec, frozen=True, kw_only=True):
    endpoint: str = "127.0.0.1:2379"
    """``host:port`` of the mesh's own etcd (never the cluster's)."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    """Set all three for mutual TLS."""


class PrometheusSettings(Spec, frozen=True, kw_only=True):
    url: str = "http://127.0.0.1:9090"
    rate_window: Seconds = Seconds(60)
    """Window of the rates behind each sample; four scrape intervals survive a lost scrape."""
    recent_step: Seconds = Seconds(15)
    """Distance of the newest samples; the scrape interval."""
    recent_window: Seconds = Seconds(900)
    """How far back the newest samples reach; enough for the level correction to see a change."""
    history_step: Seconds = Seconds(300)
    """Distance of the samples that models are fitted to."""
    history_window: Seconds = Seconds(7 * 86400)
    """A week: daily and weekly rhythms are visible."""


class PlanningSettings(Spec, frozen=True, kw_only=True):
    interval: Seconds = Seconds(30)
    """The longest time between two plans."""
    quiet: Seconds = Seconds(1)
    """Quiet before replanning; absorbs rollout bursts."""
    horizon: Seconds = Seconds(600)
    """How far ahead a path has to be good."""
    step: Seconds = Seconds(60)
    """Step of the forecast."""
    refit: Seconds = Seconds(6 * 3600)
    """A fitted model is used this long; level correction keeps it current meanwhile."""
    margin: Ratio = Ratio(0.1)
    """Predicted gain below which a circuit stays where it is; keeps it from flapping between equals."""
    key_rotation: Seconds = Seconds(7 * 86_400)
    """Age at which the keys of circuits are replaced, without a lost packet; 0: never. A week bounds what a stolen key
    is good for; the keys of links are each gateway's own matter."""
    keys_not_before: Annotated[datetime, msgspec.Meta(tz=True)] = datetime.fromtimestamp(0, UTC)
    """Keys of circuits that were made before this moment, such as ``2030-01-31T12:00:00Z``, are replaced at once."""
    policing: bool = True
    """Whether a circuit may send no more than its Intents reserved; off, reservations only count when planning."""
    full_mesh: int = 12
    """Gateways up to which a mesh has every link that can be; 66 links are probed for nothing."""
    edge_neighbours: int = 3
    """Core or Transit gateways that an Edge gateway links to: one may fail while another is served."""
    max_neighbours: int = 50
    """Links of a Core or Transit gateway to others of them, on average, where there are more gateways than that:
    enough for paths as good as any, and what an agent can probe at little cost."""
    neighbour_trial: Seconds = Seconds(900)
    """How long every gateway tries one more neighbour, in turn: figures settle in minutes, and a hundred have had
    their turn in a day. 0: no trials."""
    fit_workers: int = 1
    """Processes that fit models, so that planning is never held up by a fit."""


class ApiPods(Spec, frozen=True, kw_only=True):
    """The API's own pods; policies name pods by label."""

    namespace: str
    match_labels: dict[str, str]


class ApiSettings(Spec, frozen=True, kw_only=True):
    listen: str = "0.0.0.0:8443"
    cert_file: str = "tls/tls.crt"
    key_file: str = "tls/tls.key"
    metrics_listen: str = "0.0.0.0:9465"
    """Where metrics, health and Prometheus' list of targets are served, in plain HTTP inside the cluster."""
    pods: ApiPods | None = None
    """Where the API runs in this cluster: pinned workloads may still reach it."""
    address: str | None = None
    """``IP:port`` where the API runs elsewhere; workloads are pinned only if this or ``pods`` is set."""
    presence: Seconds = Seconds(10)
    """A gateway that sends no beacon for so long has left; beacons come at a third of it."""


class Settings(Spec, frozen=True, kw_only=True):
    """The file that the chart mounts at ``/etc/foremesh/config.yaml``."""

    mesh: str = "default"
    """Name of the mesh: prefix of everything in etcd."""
    blocks: Blocks = Blocks()
    etcd: EtcdSettings = EtcdSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    planning: PlanningSettings = PlanningSettings()
    api: ApiSettings = ApiSettings()
    domain: Annotated[str, msgspec.Meta(pattern=DOMAIN, max_length=64)] = "mesh"
    """What names of the mesh end with, as in ``orders-db.shop.mesh``; one that no resolver answers for."""
    network_policies: Literal["Kubernetes", "Cilium", "Calico", "None"] = "Kubernetes"
    """Which policies pin workloads to their gateways."""
    metrics_listen: str = "0.0.0.0:9464"
    """Where the operator's own metrics and health are served."""


def load(path: Path) -> Settings:
    """Read the configuration; see ``read_file``."""
    return read_file(Settings, path, "configuration")


def read_file(kind: type[T], path: Path, what: str) -> T:
    """Read a YAML file into a structure.

    Args:
        what: How errors call the file.

    Raises:
        ManifestError: If the file is missing, is no YAML, or has a field that is unknown or unreadable.
    """
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ManifestError(f"{what} {path}", str(error)) from error
    return read(kind, data, where=f"{what} {path}")
