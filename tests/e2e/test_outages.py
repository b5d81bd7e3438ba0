"""What is away stays away without a packet lost, is said in a condition and a metric, and comes back by itself."""

from __future__ import annotations

import copy
import http.client
import json
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from e2e.conftest import INTENT
from lab.mesh import NAMESPACE, MeshLab
from lab.process import wait_until
from lab.traffic import Ping

pytestmark = [pytest.mark.lab, pytest.mark.apiserver, pytest.mark.etcd, pytest.mark.prometheus, pytest.mark.helm]

OUTAGE_PINGS = 60
"""Answers to wait for while something is away: three seconds, a plan interval."""
EDITS = 50
QUIET_S = 3.0
"""Seconds without a plan after which none is on its way: six times the quiet that the operator waits for."""
NAMESPACE_GONE_S = 30
TEAM = "team"


def intent(name: str, source: str, to: dict[str, str], **requirements: str) -> dict:
    return {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "Intent",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"from": {"resource": source}, "to": to, "requirements": requirements},
    }


@pytest.fixture
def flowing(satisfied: MeshLab, tmp_path: Path) -> Iterator[Ping]:
    """A ping through the circuit; whatever the test does, it must lose no packet and the path must stay."""
    path = satisfied.get("intent", INTENT)["status"]["path"]
    with Ping(satisfied.lab["app"], satisfied.mesh_address("db"), tmp_path / "ping.log") as ping:
        ping.wait_for(10)
        yield ping
        ping.wait_for(10)
    assert ping.lost() == 0
    assert satisfied.get("intent", INTENT)["status"]["path"] == path


def dependency(mesh: MeshLab, name: str, up: int) -> None:
    wait_until(
        lambda: mesh.metric("operator", "foremesh_dependency_up", dependency=name) == up,
        60,
        what=f"foremesh_dependency_up of {name} is {up}",
        ignoring=(OSError,),
        every_s=0.25,
    )


def test_prometheus_away(satisfied: MeshLab, flowing: Ping) -> None:
    satisfied.prometheus.stop()
    dependency(satisfied, "prometheus", 0)
    satisfied.wait_condition("intent", INTENT, "Satisfied", "Unknown", reason="TelemetryUnavailable")
    assert satisfied.wait_condition("intent", INTENT, "Ready")
    flowing.wait_for(OUTAGE_PINGS)
    satisfied.prometheus.start()
    dependency(satisfied, "prometheus", 1)
    satisfied.wait_condition("intent", INTENT, "Satisfied")


def test_etcd_away(satisfied: MeshLab, flowing: Ping) -> None:
    satisfied.etcd.stop()
    dependency(satisfied, "etcd", 0)
    satisfied.wait_condition("intent", INTENT, "Satisfied", "Unknown", reason="StoreUnavailable")
    flowing.wait_for(OUTAGE_PINGS)
    satisfied.etcd.start()
    dependency(satisfied, "etcd", 1)
    satisfied.wait_condition("intent", INTENT, "Satisfied")
    satisfied.wait_condition("intent", INTENT, "Ready")


def test_etcd_hangs(satisfied: MeshLab, flowing: Ping) -> None:
    """Connections stay open and nothing is answered: worse than refused."""
    satisfied.etcd.pause()
    try:
        dependency(satisfied, "etcd", 0)
        flowing.wait_for(OUTAGE_PINGS)
    finally:
        satisfied.etcd.resume()
    dependency(satisfied, "etcd", 1)
    satisfied.wait_condition("intent", INTENT, "Satisfied")


def test_kubernetes_away(satisfied: MeshLab, flowing: Ping) -> None:
    with satisfied.without_kubernetes():
        dependency(satisfied, "kubernetes", 0)
        flowing.wait_for(OUTAGE_PINGS)
    dependency(satisfied, "kubernetes", 1)
    # Watches are back too: something new is seen and decided about.
    satisfied.control_plane.apply(intent("after-outage", "app", {"service": "nobody-offers-this"}))
    satisfied.wait_condition("intent", "after-outage", "Resolved", "False")
    satisfied.control_plane.kubectl("delete", "intent", "after-outage", f"-n{NAMESPACE}")
    satisfied.wait_condition("intent", INTENT, "Ready")


def test_mesh_api_away(satisfied: MeshLab, flowing: Ping) -> None:
    """Agents go on with the config they have, and are back when it is."""
    satisfied.api.stop()
    satisfied.wait_condition("meshresource", "lon", "Reachable", "False")
    flowing.wait_for(OUTAGE_PINGS)
    satisfied.start_api()
    satisfied.wait_condition("meshresource", "lon", "Reachable")
    satisfied.wait_condition("intent", INTENT, "Satisfied")


def test_nobody_by_that_name_and_then_somebody(satisfied: MeshLab) -> None:
    satisfied.control_plane.apply(intent("lost", "ghost", {"service": "db"}))
    said = satisfied.wait_condition("intent", "lost", "Ready", "False")
    assert "ghost" in said["message"]
    satisfied.wait_condition("intent", "lost", "Resolved", "False", reason=said["reason"])
    body = copy.deepcopy(satisfied.get("meshresource", "app"))
    ghost = {key: body[key] for key in ("apiVersion", "kind", "spec")}
    ghost["metadata"] = {"name": "ghost", "namespace": NAMESPACE}
    satisfied.control_plane.apply(ghost)
    wait_until(
        lambda: (satisfied.condition("intent", "lost", "Resolved") or {}).get("reason") != said["reason"],
        30,
        what="the Intent notices that its source exists now",
        every_s=0.25,
    )
    satisfied.control_plane.kubectl("delete", "intent/lost", "meshresource/ghost", f"-n{NAMESPACE}")


def test_nobody_offers_it_and_then_somebody_does(satisfied: MeshLab) -> None:
    satisfied.control_plane.apply(intent("cache", "app", {"service": "cache"}))
    said = satisfied.wait_condition("intent", "cache", "Ready", "False")
    assert "cache" in said["message"]
    services = satisfied.get("meshresource", "db")["spec"]["services"]
    offered = {"spec": {"services": [*services, {"name": "cache", "port": 6379, "protocol": "TCP"}]}}
    patch(satisfied, "meshresource", "db", offered)
    satisfied.wait_condition("intent", "cache", "Ready")
    assert satisfied.get("intent", "cache")["status"]["destination"] == f"{NAMESPACE}/db"
    satisfied.control_plane.kubectl("delete", "intent/cache", f"-n{NAMESPACE}")
    patch(satisfied, "meshresource", "db", {"spec": {"services": services}})


def test_no_path_is_fast_enough_and_then_one_is(satisfied: MeshLab) -> None:
    satisfied.control_plane.apply(intent("hasty", "app", {"service": "db"}, maxLatency="25ms"))
    said = satisfied.wait_condition("intent", "hasty", "Ready", "False", reason="NoFeasiblePath")
    placement = satisfied.get("intent", "hasty")["status"]["placements"][0]
    assert placement["infeasible"]["requirement"] == "maxLatency"
    assert placement["infeasible"]["nearest"], "it says what could be had"
    assert "25" in said["message"]
    satisfied.lab.internet.set_pair("ams", "fra", delay_ms=5.0, both_ways=True)
    try:
        satisfied.wait_condition("intent", "hasty", "Ready")
        assert satisfied.get("intent", "hasty")["status"]["path"] == "ams > fra"
    finally:
        satisfied.lab.internet.restore()
        satisfied.control_plane.kubectl("delete", "intent/hasty", f"-n{NAMESPACE}")


def test_fifty_edits_within_a_second_cause_two_plans_at_most(satisfied: MeshLab) -> None:
    satisfied.operator.stop()
    # No plan for the clock's sake during this test.
    satisfied.start_operator(interval="300s")
    satisfied.wait_condition("intent", INTENT, "Satisfied")
    before = plans_when_quiet(satisfied)
    generation = edit(satisfied, EDITS)
    wait_until(
        lambda: satisfied.get("intent", INTENT)["status"]["observedGeneration"] == generation,
        30,
        what="newest edit seen",
    )
    assert 1 <= plans_when_quiet(satisfied) - before <= 2
    satisfied.operator.stop()
    satisfied.start_operator()
    satisfied.wait_condition("intent", INTENT, "Satisfied")


def test_a_team_leaves_while_the_operator_is_away(satisfied: MeshLab) -> None:
    """Its namespace is gone at once, as nothing of foremesh holds it; its circuit goes when the operator is back."""
    plane = satisfied.control_plane
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}})
    asked = intent("from-afar", f"{NAMESPACE}/app", {"service": "db"}, maxLatency="90ms")
    asked["metadata"]["namespace"] = TEAM
    plane.apply(asked)
    before = {body["metadata"]["name"] for body in satisfied.items("circuits")}
    wait_until(lambda: ready(plane.get("intent", "from-afar", f"-n{TEAM}")), 60, what="Intent of a team", every_s=0.25)
    # Kubernetes' garbage collector takes what it believes to be without an owner; a minute is what it may need.
    own = {body["metadata"]["name"] for body in satisfied.items("circuits")} - before
    assert len(own) == 1
    satisfied.operator.stop()
    plane.kubectl("delete", "namespace", TEAM, f"--timeout={NAMESPACE_GONE_S}s")
    satisfied.start_operator()
    wait_until(lambda: not own & {b["metadata"]["name"] for b in satisfied.items("circuits")}, 60, what="circuit gone")
    wait_until(lambda: len(tunnels(satisfied, "ams")) == 1, 30, what="one circuit's tunnel left", every_s=0.25)
    satisfied.wait_condition("intent", INTENT, "Satisfied")


def test_the_whole_mesh_leaves_while_the_operator_is_away(satisfied: MeshLab) -> None:
    """Last: nothing is left after it."""
    satisfied.operator.stop()
    satisfied.control_plane.kubectl("delete", "namespace", NAMESPACE, f"--timeout={NAMESPACE_GONE_S}s")
    satisfied.start_operator()
    wait_until(
        lambda: not [name for name in satisfied.lab.gateways if tunnels(satisfied, name)],
        60,
        what="no tunnel of the namespace is left",
        every_s=0.5,
    )
    wait_until(lambda: not registered(satisfied), 30, what="nothing in etcd is about it any more", every_s=0.5)


def registered(mesh: MeshLab) -> list[str]:
    """Keys of the mesh's etcd that are about the namespace's resources, what agents keep saying aside."""
    everything = {"key": b64encode(b"\0").decode(), "range_end": b64encode(b"\0").decode(), "keys_only": True}
    found = [b64decode(item["key"]).decode() for item in mesh.etcd.call("kv/range", everything).get("kvs", [])]
    kept = ("resources", "agents", "configs", "tokens")
    return [key for key in found if any(f"{folder}/{NAMESPACE}/" in key for folder in kept)]


def ready(body: dict) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in body.get("status", {}).get("conditions", []))


def patch(mesh: MeshLab, kind: str, name: str, change: dict) -> None:
    mesh.control_plane.kubectl("patch", kind, name, f"-n{NAMESPACE}", "--type=merge", "-p", json.dumps(change))


def edit(mesh: MeshLab, times: int) -> int:
    """Edit the Intent so many times over one connection; returns its generation after that."""
    plane = mesh.control_plane
    server = urlsplit(plane.server)
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    connection = http.client.HTTPSConnection(server.hostname or "", server.port, context=context, timeout=10)
    path = f"/apis/foremesh.io/v1alpha1/namespaces/{NAMESPACE}/intents/{INTENT}"
    headers = {"Authorization": f"Bearer {plane.token}", "Content-Type": "application/merge-patch+json"}
    for number in range(times):
        connection.request("PATCH", path, json.dumps({"spec": {"priority": number + 1}}), headers)
        answer = connection.getresponse()
        body = json.load(answer)
        assert answer.status == 200, body
    connection.close()
    return int(body["metadata"]["generation"])


def plans_when_quiet(mesh: MeshLab) -> float:
    """Plans made so far, once none was made for a while."""
    seen: list[tuple[float, float | None]] = []

    def quiet() -> bool:
        seen.append((time.monotonic(), mesh.metric("operator", "foremesh_plans_total")))
        since = [at_s for at_s, plans in seen if plans == seen[-1][1]]
        return since[-1] - since[0] >= QUIET_S

    wait_until(quiet, 60, what="no plans", every_s=0.2)
    assert seen[-1][1] is not None
    return seen[-1][1]


def tunnels(mesh: MeshLab, node: str) -> list[str]:
    links = json.loads(mesh.lab[node].exec("ip", "-j", "link").stdout)
    return [link["ifname"] for link in links if link["ifname"].startswith("fm-c")]
