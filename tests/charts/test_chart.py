"""charts/foremesh as helm renders it: no cluster needed."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from charts.conftest import CHARTS, Helm, Render
from foremesh import settings
from foremesh.settings import Settings
from lab.requirements import require

MONITORING = tuple(
    option
    for kind in ("ServiceMonitor", "PrometheusRule")
    for option in ("--api-versions", f"monitoring.coreos.com/v1/{kind}")
)
ROOT = CHARTS.parent
CHART_NAMES = ("foremesh", "foremesh-crds")


def _find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def _kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {one["kind"] for one in objects}


@pytest.mark.parametrize("chart", CHART_NAMES)
def test_lint_finds_nothing(run_helm: Helm, chart: str) -> None:
    answer = run_helm("lint", "--strict", CHARTS / chart, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("chart", CHART_NAMES)
def test_the_charts_have_the_version_of_the_program(chart: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert metadata["version"] == metadata["appVersion"] == project["version"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param("operater.replicas=2", "additional properties 'operater' not allowed", id="unknown-at-the-top"),
        pytest.param("planning.horizn=5m", "additional properties 'horizn' not allowed", id="unknown-inside"),
        pytest.param(
            "api.service.nodePort=1", "additional properties 'nodePort' not allowed", id="unknown-deep-inside"
        ),
        pytest.param("planning.horizon=600", "/planning/horizon", id="duration-without-a-unit"),
        pytest.param("networkPolicies.flavour=cilium", "/networkPolicies/flavour", id="flavour-in-lower-case"),
        pytest.param("api.replicas=0", "/api/replicas", id="no-replica"),
        pytest.param("api.tlsSecret=", "/api/tlsSecret", id="api-without-a-certificate"),
        pytest.param("etcd.endpoint=https://etcd:2379", "/etcd/endpoint", id="endpoint-with-a-scheme"),
        pytest.param("blocks.mesh=100.64.0.0", "/blocks/mesh", id="block-without-a-length"),
        pytest.param("prometheus.url=prometheus:9090", "/prometheus/url", id="url-without-a-scheme"),
        pytest.param("dask.address=dask:8786", "/dask/address", id="scheduler-without-a-scheme"),
        pytest.param("prometheus.historyUrl=mimir", "/prometheus/historyUrl", id="history-without-a-scheme"),
    ],
)
def test_the_schema_refuses(run_helm: Helm, values: str, message: str) -> None:
    refused = run_helm("template", "x", CHARTS / "foremesh", "--set", values, check=False)
    assert refused.returncode != 0
    assert message in refused.stderr


def _load_config(objects: list[dict[str, Any]], folder: Path) -> Settings:
    file = folder / "config.yaml"
    file.write_text(_find(objects, "ConfigMap", "foremesh-config")["data"]["config.yaml"])
    return settings.load(file)


def test_the_programs_read_the_rendered_configuration(render: Render, tmp_path: Path) -> None:
    loaded, default = _load_config(render("foremesh"), tmp_path), Settings()
    # The chart's values repeat the program's defaults for people to see; here they are held together.
    assert loaded.planning == default.planning
    assert loaded.dask == default.dask
    assert loaded.blocks == default.blocks
    assert msgspec.structs.replace(loaded.prometheus, url=default.prometheus.url) == default.prometheus
    assert (loaded.api.presence, loaded.network_policies) == (default.api.presence, default.network_policies)
    assert (loaded.api.cert_file, loaded.api.key_file) == ("/etc/foremesh/tls/tls.crt", "/etc/foremesh/tls/tls.key")
    assert loaded.etcd.ca_file is None


def test_the_api_is_told_where_the_operator_is(render: Render, tmp_path: Path) -> None:
    objects = render("foremesh")
    url = _load_config(objects, tmp_path).api.operator_url
    service = _find(objects, "Service", "foremesh-operator-metrics")
    (port,) = service["spec"]["ports"]
    assert url == f"http://foremesh-operator-metrics.{service['metadata']['namespace']}:{port['port']}"


def test_the_configuration_names_the_apis_own_pods(render: Render, tmp_path: Path) -> None:
    objects = render("foremesh")
    pods = _load_config(objects, tmp_path).api.pods
    assert pods
    deployment = _find(objects, "Deployment", "foremesh-api")
    assert pods.namespace == deployment["metadata"]["namespace"]
    assert pods.match_labels == deployment["spec"]["selector"]["matchLabels"]


def test_values_reach_the_configuration(render: Render, tmp_path: Path) -> None:
    values = (
        "mesh=blue,planning.horizon=5m,planning.margin=20%,networkPolicies.flavour=Cilium,etcd.tlsSecret=etcd-client"
    )
    objects = render("foremesh", "--set", values)
    loaded = _load_config(objects, tmp_path)
    assert (loaded.mesh, loaded.planning.horizon, loaded.planning.margin) == ("blue", 300, 0.2)
    assert loaded.network_policies == "Cilium"
    for name in ("operator", "api"):
        pod = _find(objects, "Deployment", f"foremesh-{name}")["spec"]["template"]["spec"]
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "etcd-tls"]
        assert volume["secret"] == {"secretName": "etcd-client", "defaultMode": 0o440}
        (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "etcd-tls"]
        files = {loaded.etcd.ca_file, loaded.etcd.cert_file, loaded.etcd.key_file}
        assert files == {f"{mount['mountPath']}/{name}" for name in ("ca.crt", "tls.crt", "tls.key")}


def test_secrets_with_headers_reach_the_operator_and_nobody_else(render: Render, tmp_path: Path) -> None:
    values = (
        "prometheus.headersSecret=tokens,prometheus.historyUrl=https://mimir/prometheus,prometheus.recordingRules=true"
    )
    objects = render("foremesh", "--set", f"{values},prometheus.historyHeadersSecret=tenant")
    loaded = _load_config(objects, tmp_path).prometheus
    assert (loaded.history_url, loaded.recording_rules) == ("https://mimir/prometheus", True)
    pod = _find(objects, "Deployment", "foremesh-operator")["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one.get("secret", {}).get("secretName") for one in pod["volumes"]}
    for file, secret in ((loaded.headers_file, "tokens"), (loaded.history_headers_file, "tenant")):
        assert file
        (name,) = [volume for volume, held in volumes.items() if held == secret]
        assert file == f"{mounts[name]}/headers", "the key of the Secret is the name of the file"
    api = _find(objects, "Deployment", "foremesh-api")["spec"]["template"]["spec"]
    assert {"tokens", "tenant"}.isdisjoint({one.get("secret", {}).get("secretName") for one in api["volumes"]})


def test_a_dask_cluster_reaches_the_operator(render: Render, tmp_path: Path) -> None:
    objects = render("foremesh", "--set", "dask.address=tls://dask-scheduler.dask:8786,dask.tlsSecret=dask-client")
    loaded = _load_config(objects, tmp_path).dask
    assert loaded.address == "tls://dask-scheduler.dask:8786"
    pod = _find(objects, "Deployment", "foremesh-operator")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "dask-tls"]
    assert volume["secret"] == {"secretName": "dask-client", "defaultMode": 0o440}
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "dask-tls"]
    files = {loaded.ca_file, loaded.cert_file, loaded.key_file}
    assert files == {f"{mount['mountPath']}/{name}" for name in ("ca.crt", "tls.crt", "tls.key")}


def _field_names(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


ELSEWHERE = {"api": {"address"}}
"""Settings that no installation by chart needs: the API runs in the same cluster, and api.pods says where."""


def test_every_setting_is_in_the_rendered_configuration(render: Render) -> None:
    objects = render("foremesh", "--set", "etcd.tlsSecret=etcd-client,dask.tlsSecret=dask-client")
    config = yaml.safe_load(_find(objects, "ConfigMap", "foremesh-config")["data"]["config.yaml"])
    assert config.keys() == _field_names(Settings).keys()
    for name, type_ in _field_names(Settings).items():
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            assert config[name].keys() == _field_names(type_).keys() - ELSEWHERE.get(name, set()), name


def test_a_change_of_the_configuration_restarts_both_programs(render: Render) -> None:
    def checksums(*options: str) -> list[str]:
        deployments = [one for one in render("foremesh", *options) if one["kind"] == "Deployment"]
        return [one["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for one in deployments]

    before, after = checksums(), checksums("--set", "planning.horizon=5m")
    assert len(before) == 2
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("flavour", "groups"),
    [
        ("Kubernetes", {"networking.k8s.io"}),
        ("Cilium", {"cilium.io"}),
        ("Calico", {"projectcalico.org"}),
        ("None", set()),
    ],
)
def test_the_operator_gets_rights_on_the_policies_it_writes_and_no_other(
    render: Render, flavour: str, groups: set[str]
) -> None:
    role = _find(render("foremesh", "--set", f"networkPolicies.flavour={flavour}"), "ClusterRole", "foremesh-operator")
    granted = {group for rule in role["rules"] for group in rule["apiGroups"]}
    always = {"", "events.k8s.io", "foremesh.io", "apiextensions.k8s.io"}
    assert granted - always == groups


def test_no_rule_grants_everything(render: Render) -> None:
    for flavour in ("Kubernetes", "Cilium", "Calico"):
        objects = render("foremesh", "--set", f"networkPolicies.flavour={flavour}")
        for rule in _find(objects, "ClusterRole", "foremesh-operator")["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]


def test_the_mesh_api_has_no_key_to_the_cluster(render: Render) -> None:
    objects = render("foremesh")
    assert _find(objects, "ServiceAccount", "foremesh-api")["automountServiceAccountToken"] is False
    pod = _find(objects, "Deployment", "foremesh-api")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    bound = [subject["name"] for one in objects for subject in one.get("subjects", [])]
    assert bound == ["foremesh-operator"]


def test_ports_of_services_probes_and_configuration_agree(render: Render) -> None:
    objects = render("foremesh")
    config = yaml.safe_load(_find(objects, "ConfigMap", "foremesh-config")["data"]["config.yaml"])
    listens = {
        "operator": {"metrics": config["metricsListen"]},
        "api": {"agents": config["api"]["listen"], "metrics": config["api"]["metricsListen"]},
    }
    for name, wanted in listens.items():
        (container,) = _find(objects, "Deployment", f"foremesh-{name}")["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {port: int(listen.rpartition(":")[2]) for port, listen in wanted.items()}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
    for service in (one for one in objects if one["kind"] == "Service"):
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= listens[component].keys()


def test_only_the_agents_port_can_leave_the_cluster(render: Render) -> None:
    objects = render("foremesh", "--set", "api.service.type=LoadBalancer")
    outside = [one for one in objects if one["kind"] == "Service" and one["spec"]["type"] != "ClusterIP"]
    assert [[port["name"] for port in one["spec"]["ports"]] for one in outside] == [["agents"]]


def test_names_of_another_release_differ_so_that_two_can_live_in_one_cluster(render: Render, run_helm: Helm) -> None:
    other = yaml.safe_load_all(run_helm("template", "blue", CHARTS / "foremesh").stdout)
    cluster_wide = {
        (one["kind"], one["metadata"]["name"])
        for objects in (render("foremesh"), other)
        for one in objects
        if one and one["kind"].startswith("ClusterRole")
    }
    assert len(cluster_wide) == 4


def test_monitoring_objects_are_left_out_where_their_kinds_are_unknown(render: Render) -> None:
    kinds = {"ServiceMonitor", "PrometheusRule"}
    assert not kinds & _kinds(render("foremesh"))
    assert kinds <= _kinds(render("foremesh", *MONITORING))
    assert not kinds & _kinds(render("foremesh", *MONITORING, "--set", "monitoring.enabled=false"))


def test_the_service_monitor_selects_the_metrics_services(render: Render) -> None:
    objects = render("foremesh", *MONITORING)
    (monitor,) = [one for one in objects if one["kind"] == "ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [one["metadata"] for one in objects if one["kind"] == "Service"]
    chosen = {meta["name"] for meta in services if wanted <= meta["labels"].items()}
    assert chosen == {"foremesh-api-metrics", "foremesh-operator-metrics"}


def test_prometheus_accepts_the_alerts(render: Render, tmp_path: Path) -> None:
    require("prometheus")
    (rule,) = [one for one in render("foremesh", *MONITORING) if one["kind"] == "PrometheusRule"]
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    answer = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_alerts_are_about_metrics_that_the_programs_export() -> None:
    alerts = yaml.safe_load((CHARTS / "foremesh/files/alerts.yaml").read_text())
    text = "\n".join(rule["expr"] for group in alerts for rule in group["rules"])
    code = "\n".join(file.read_text() for file in (ROOT / "operator/foremesh").rglob("*.py"))
    # The agent's metrics of links and circuits are named by templates; clients add the ends of counters and histograms.
    exported = {
        name.replace("{kind}", kind).replace("{name}", what)
        for name in re.findall(r'"(foremesh_[a-z_{}]+)"', code)
        for kind in ("link", "circuit")
        for what in ("sent", "lost")
    }
    exported |= {f"{name}{end}" for name in exported for end in ("_total", "_sum", "_count")}
    used = set(re.findall(r"foremesh_[a-z_]+", text))
    assert used
    assert used - exported == set()


def test_the_notes_warn_of_an_etcd_without_tls_and_show_the_scrape_configuration(run_helm: Helm) -> None:
    notes = run_helm("install", "foremesh", CHARTS / "foremesh", "--dry-run=client", "--namespace", "mesh").stdout
    assert "WITHOUT TLS" in notes
    assert "http://foremesh-api-metrics.mesh:9465/v1/sd/prometheus" in notes
