"""The fixtures are what the other tests rely on, so what they promise is tested first."""

import ssl
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.controlplane import ControlPlane
from lab.etcd import EtcdServer
from lab.process import Daemon, DaemonError, wait_until
from lab.prometheus import PrometheusServer

DELETION_S = 30.0
"""Seconds an API server with controllers may take to empty a namespace or to collect an orphan."""


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A namespace of the test's own."""
    name = f"lab-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    return name


def config_map(name: str, namespace: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": {"path": "ams-fra-waw"},
    }


def gone(control_plane: ControlPlane, *what: str) -> bool:
    return not control_plane.kubectl("get", *what, "--ignore-not-found", "--output=name").stdout


def test_api_server_serves_the_version_it_was_built_as(control_plane: ControlPlane) -> None:
    version = control_plane.kubectl("version", "--output=yaml").stdout
    assert version.count("gitVersion: v1.36.3") == 2


def test_namespace_with_objects_goes_away(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(config_map("kept-until-then", namespace))
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    wait_until(lambda: gone(control_plane, "namespace", namespace), DELETION_S, what=f"namespace {namespace} gone")


def test_owned_object_follows_its_owner(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(config_map("owner", namespace))
    uid = control_plane.get("configmap", "owner", f"--namespace={namespace}")["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    control_plane.apply(config_map("owned", namespace, ownerReferences=[reference]), config_map("alone", namespace))

    control_plane.kubectl("delete", "configmap", "owner", f"--namespace={namespace}")

    wait_until(
        lambda: gone(control_plane, "configmap", "owned", f"--namespace={namespace}"), DELETION_S, what="owned gone"
    )
    assert not gone(control_plane, "configmap", "alone", f"--namespace={namespace}")


def test_service_account_is_refused_what_it_was_not_granted(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader", f"--namespace={namespace}")
    grant = ("--verb=list", "--resource=configmaps", f"--namespace={namespace}")
    control_plane.kubectl("create", "role", "reader", *grant)
    subject = f"--serviceaccount={namespace}:reader"
    control_plane.kubectl("create", "rolebinding", "reader", "--role=reader", subject, f"--namespace={namespace}")
    reader = control_plane.service_account_kubeconfig(namespace, "reader")
    user = f"system:serviceaccount:{namespace}:reader"

    control_plane.kubectl("get", "configmaps", f"--namespace={namespace}", kubeconfig=reader)
    assert control_plane.forbidden(user) == []

    refused = control_plane.kubectl("get", "secrets", f"--namespace={namespace}", kubeconfig=reader, check=False)
    assert "Forbidden" in refused.stderr
    (line,) = control_plane.forbidden(user)
    assert line.startswith(f"{user} list /api/v1/namespaces/{namespace}/secrets")


def test_api_server_comes_back_with_its_objects_and_its_controllers(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(config_map("survivor", namespace))
    control_plane.stop_apiserver()
    try:
        away = control_plane.kubectl("get", "configmap", "survivor", f"--namespace={namespace}", check=False)
        assert "refused" in away.stderr
    finally:
        control_plane.start_apiserver()
    assert not gone(control_plane, "configmap", "survivor", f"--namespace={namespace}")
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    wait_until(lambda: gone(control_plane, "namespace", namespace), DELETION_S, what=f"namespace {namespace} gone")


@pytest.mark.parametrize("mutual_tls", [False, True], ids=["plain", "mutual-tls"])
def test_etcd_keeps_data_and_port_over_a_restart(new_etcd: Callable[..., EtcdServer], mutual_tls: bool) -> None:
    server = new_etcd(mutual_tls=mutual_tls)
    endpoint = server.endpoint
    server.put("/lab/kept", "yes")

    server.stop()
    with pytest.raises(OSError, match="refused"):
        server.get("/lab/kept")
    server.start()

    assert server.endpoint == endpoint
    assert server.get("/lab/kept") == "yes"
    assert server.get("/lab/never") is None


def test_etcd_with_mutual_tls_refuses_a_client_without_certificate(new_etcd: Callable[..., EtcdServer]) -> None:
    server = new_etcd(mutual_tls=True)
    assert server.ca_file
    assert server.client
    stranger = ssl.create_default_context(cafile=str(server.ca_file))

    # TLS 1.3 lets the client finish its half of the handshake: the refusal arrives with the first read.
    with pytest.raises(OSError, match="certificate required"):
        urllib.request.urlopen(f"{server.endpoint}/health", timeout=20, context=stranger)

    stranger.load_cert_chain(server.client.cert_file, server.client.key_file)
    with urllib.request.urlopen(f"{server.endpoint}/health", timeout=20, context=stranger) as response:
        assert response.status == 200


def test_backfilled_history_is_queried_and_live_samples_follow_it(
    new_prometheus: Callable[..., PrometheusServer], tmp_path: Path
) -> None:
    end_s = int(time.time()) - 60
    week = range(end_s - 7 * 86_400, end_s, 600)
    lines = ["# TYPE foremesh_link_rtt_seconds gauge"]
    for link, rtt_s in (("ams-fra", 0.01), ("ams-waw", 0.03)):
        lines += [f'foremesh_link_rtt_seconds{{link="{link}"}} {rtt_s + (at % 86_400) / 1e7} {at}' for at in week]
    history = tmp_path / "history.om"
    history.write_text("\n".join([*lines, "# EOF", ""]))
    itself = {"job_name": "itself", "scrape_interval": "1s", "static_configs": [{"targets": []}]}
    server = new_prometheus({"scrape_configs": [itself]}, backfill=history)

    def samples() -> dict[str, int]:
        found = server.query("count_over_time(foremesh_link_rtt_seconds[8d])")
        return {row["metric"]["link"]: int(row["value"][1]) for row in found}

    assert samples() == {"ams-fra": len(week), "ams-waw": len(week)}
    first = server.query('foremesh_link_rtt_seconds{link="ams-waw"}', time_s=week[0])
    assert float(first[0]["value"][1]) == pytest.approx(0.03 + (week[0] % 86_400) / 1e7)

    server.stop()
    itself["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    server.start()
    wait_until(lambda: server.query('up{job="itself"} == 1'), 20, what="a live sample after the history")
    assert samples() == {"ams-fra": len(week), "ams-waw": len(week)}


def test_program_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon(["sh", "-c", "echo no config >&2; exit 3"], log=tmp_path / "log", name="broken")
    with pytest.raises(DaemonError, match=r"(?s)broken: exited with 3.*no config"):
        daemon.start(lambda: False, timeout_s=10)


def test_program_that_never_becomes_ready_is_ended(tmp_path: Path) -> None:
    daemon = Daemon(["sleep", "600"], log=tmp_path / "log")
    with pytest.raises(DaemonError, match=r"not so after \d\.\d s"):
        daemon.start(lambda: False, timeout_s=0.2)
    assert not daemon.running


def test_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    daemon = Daemon(["sh", "-c", script], log=tmp_path / "log")
    daemon.start(lambda: "up" in (tmp_path / "log").read_text())
    assert daemon.stop(grace_s=0.3) == -9
