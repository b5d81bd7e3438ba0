"""The operator's and the mesh API's configuration: one YAML file, each field with unit, default and reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import yaml

from foremesh.model.addresses import Blocks
from foremesh.model.checks import check_multiple, check_positive, check_url
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
    """Where series are read; anything that speaks Prometheus' query API, with its path prefix."""
    headers_file: str | None = None
    """File of headers that it wants, ``Name: value`` a line, such as ``Authorization: Bearer ...``; read anew for every
    query, so that a token may change."""
    history_url: str | None = None
    """Where days are kept (Thanos, Mimir, Cortex, VictoriaMetrics), where ``url`` keeps fewer than ``history_window``.
    While it does not answer, the past comes from ``url``."""
    history_headers_file: str | None = None
    """The same for ``history_url``, such as ``X-Scope-OrgID: foremesh``."""
    recording_rules: bool = False
    """Whether the past is read from what the chart's rules record instead of raw counters: a week takes a tenth of the
    samples. Turn it on when the rules have run for as long as models should look back."""
    rate_window: Seconds = Seconds(60)
    """Window of the rates behind each sample; four scrape intervals survive a lost scrape."""
    recent_step: Seconds = Seconds(15)
    """Distance of the newest samples, in whole seconds; the scrape interval."""
    recent_window: Seconds = Seconds(900)
    """How far back the newest samples reach, a multiple of ``recent_step``; enough for the level correction to see a
    change."""
    history_step: Seconds = Seconds(300)
    """Distance of the samples that models are fitted to, in whole seconds."""
    history_window: Seconds = Seconds(7 * 86400)
    """A week, in which daily and weekly rhythms are visible; a multiple of ``history_step``."""


class DaskSettings(Spec, frozen=True, kw_only=True):
    address: str | None = None
    """``tcp://host:8786`` or ``tls://host:8786`` of a Dask scheduler whose workers fit models, instead of processes
    beside the operator. Whoever reaches a scheduler can run code on its workers: use TLS, or a network of their own."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    """Set all three for mutual TLS."""


class PlanningSettings(Spec, frozen=True, kw_only=True):
    interval: Seconds = Seconds(30)
    """The longest time between two plans."""
    quiet: Seconds = Seconds(1)
    """Quiet before replanning; absorbs rollout bursts."""
    horizon: Seconds = Seconds(600)
    """How far ahead a path has to be good; a multiple of ``step``."""
    step: Seconds = Seconds(60)
    """Step of the forecast."""
    refit: Seconds = Seconds(6 * 3600)
    """A fitted model is used this long; level correction keeps it current meanwhile."""
    margin: Ratio = Ratio(0.1)
    """Predicted gain below which a circuit stays where it is, where nobody knows how far forecasts err; keeps it from
    flapping between equals."""
    move_worth: Ratio = Ratio(0.02)
    """The same where that is known: what a move has to bring in beyond what forecasts erred by lately."""
    dwell: Seconds = Seconds(600)
    """Time after a move in which a circuit is not moved again for the sake of cost; its limits and its life come
    first."""
    most_moves: Ratio = Ratio(0.1)
    """Share of the circuits that one plan moves onto a link for the sake of cost, one at the least: no stampede."""
    key_rotation: Seconds = Seconds(7 * 86_400)
    """Age at which the keys of circuits are replaced, without a lost packet; 0: never. A week bounds what a stolen key
    is good for; the keys of links are each gateway's own matter."""
    keys_not_before: Annotated[datetime, msgspec.Meta(tz=True)] = datetime.fromtimestamp(0, UTC)
    """Keys of circuits that were made before this moment, such as ``2030-01-31T12:00:00Z``, are replaced at once."""
    policing: bool = True
    """Whether a circuit may send no more than its Intents reserved; off, reservations only count when planning."""
    full_mesh: Annotated[int, msgspec.Meta(ge=0)] = 12
    """Gateways up to which a mesh has every link that can be; 66 links are probed for nothing."""
    edge_neighbours: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Core or Transit gateways that an Edge gateway links to: one may fail while another is served."""
    max_neighbours: Annotated[int, msgspec.Meta(ge=2)] = 50
    """Links of a Core or Transit gateway to others of them, on average, where there are more gateways than that:
    enough for paths as good as any, and what an agent can probe at little cost."""
    neighbour_trial: Seconds = Seconds(900)
    """How long every gateway tries one more neighbour, in turn: figures settle in minutes, and a hundred have had
    their turn in a day. 0: no trials."""
    fit_workers: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Processes that fit models, so that planning is never held up by a fit; unused with ``dask.address``."""


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
    operator_url: str | None = None
    """Where the operator serves its metrics, ``http://host:9464``, so that the API can show what it forecasts; None:
    nowhere."""
    presence: Seconds = Seconds(10)
    """A gateway that sends no beacon for so long has left; beacons come at a third of it."""


class Settings(Spec, frozen=True, kw_only=True):
    """The file that the chart mounts at ``/etc/foremesh/config.yaml``."""

    mesh: str = "default"
    """Name of the mesh: prefix of everything in etcd."""
    blocks: Blocks = Blocks()
    etcd: EtcdSettings = EtcdSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    dask: DaskSettings = DaskSettings()
    planning: PlanningSettings = PlanningSettings()
    api: ApiSettings = ApiSettings()
    domain: Annotated[str, msgspec.Meta(pattern=DOMAIN, max_length=64)] = "mesh"
    """What names of the mesh end with, as in ``orders-db.shop.mesh``; one that no resolver answers for."""
    network_policies: Literal["Kubernetes", "Cilium", "Calico", "None"] = "Kubernetes"
    """Which policies pin workloads to their gateways."""
    metrics_listen: str = "0.0.0.0:9464"
    """Where the operator's own metrics and health are served."""


def load(path: Path) -> Settings:
    """Read the configuration; raises ManifestError as ``read_file`` does."""
    return read_file(Settings, path, "configuration", _check)


def _check(settings: Settings) -> None:
    """Refuse what no plan could be made with, by a ValueError."""
    prometheus, planning, api = settings.prometheus, settings.planning, settings.api
    settings.blocks.check()
    for name, tls in (("etcd", settings.etcd), ("dask", settings.dask)):
        if len({bool(file) for file in (tls.ca_file, tls.cert_file, tls.key_file)}) > 1:
            # Talking in clear then would be a surprise.
            raise ValueError(f"{name}: mutual TLS needs caFile, certFile and keyFile; set all three or none")
    check_url("prometheus.url", prometheus.url)
    check_url("prometheus.historyUrl", prometheus.history_url)
    check_url("api.operatorUrl", api.operator_url)
    for which, window_s, step_s in (
        ("recent", prometheus.recent_window, prometheus.recent_step),
        ("history", prometheus.history_window, prometheus.history_step),
    ):
        check_multiple(f"prometheus.{which}Window", window_s, f"prometheus.{which}Step", step_s)
        if step_s != int(step_s):
            raise ValueError(f"prometheus.{which}Step is {step_s:g} s, and Prometheus is asked for whole seconds")
    check_multiple("planning.horizon", planning.horizon, "planning.step", planning.step)
    check_positive(
        **{
            "prometheus.rateWindow": prometheus.rate_window,
            "planning.interval": planning.interval,
            "planning.refit": planning.refit,
            "api.presence": api.presence,
        }
    )


def read_file(kind: type[T], path: Path, what: str, check: Callable[[T], None] = lambda _: None) -> T:
    """Read a YAML file into a structure.

    Args:
        what: How errors call the file.
        check: Raises a ValueError for what cannot work although it can be read.

    Raises:
        ManifestError: If the file is missing, is no YAML, has a field that is unknown or unreadable, or is refused.
    """
    where = f"{what} {path}"
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(where, str(error)) from error
    found = read(kind, data, where=where)
    try:
        check(found)
    except ValueError as error:
        raise ManifestError(where, error.cause if isinstance(error, ManifestError) else str(error)) from error
    return found
