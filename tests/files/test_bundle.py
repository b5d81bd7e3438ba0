"""What a good folder becomes."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from files.folders import INTENT, WORKLOADS, gateway, put, small_mesh
from foremesh.files import read_bundle, read_links
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.series import Metric
from foremesh.model.units import Milliseconds
from foremesh.offline import installed_settings, plan_bundle

AMS_FRA = LinkId(src="mesh/ams", dst="mesh/fra")
FRA_AMS = LinkId(src="mesh/fra", dst="mesh/ams")


def test_manifests_are_found_at_any_depth_and_hidden_and_foreign_ones_are_left_out(tmp_path: Path) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    put(
        tmp_path,
        {
            "a/b/gateway.yml": gateway("ams"),
            "workloads.yaml": f"{namespace}---\n{WORKLOADS}---\n# nothing here\n",
            ".git/broken.yaml": "{",
            "a/.hidden.yaml": "{",
            "notes.txt": "{",
        },
    )
    bundle = read_bundle(tmp_path)
    assert set(bundle.declared.resources) == {"mesh/ams", "shop/web", "shop/db"}
    assert (bundle.now_s, bundle.series, bundle.attachment_rtt_ms) == (0.0, {}, {})


def test_objects_without_a_namespace_are_where_kubectl_puts_them(tmp_path: Path) -> None:
    put(tmp_path, {"intent.yaml": INTENT.replace(", namespace: shop", "")})
    assert list(read_bundle(tmp_path).declared.intents) == ["default/web-to-db"]


def test_a_policy_is_of_no_namespace(tmp_path: Path) -> None:
    policy = "apiVersion: foremesh.io/v1alpha1\nkind: MeshPolicy\nmetadata: {name: eu}\nspec: {deny: true}\n"
    assert list(read_bundle(put(tmp_path, {"policy.yaml": policy})).declared.policies) == ["eu"]


@pytest.mark.parametrize("change", ["\ufeff{}", "{}\r\n"], ids=["byte-order-mark", "crlf"])
def test_text_as_other_systems_write_it(tmp_path: Path, change: str) -> None:
    links = "src,dst,rtt_ms\nams,fra,12.5\n"
    if change.startswith("\ufeff"):
        files = {name: change.format(text) for name, text in {"intent.yaml": INTENT, "links.csv": links}.items()}
    else:
        files = {name: text.replace("\n", "\r\n") for name, text in {"intent.yaml": INTENT, "links.csv": links}.items()}
    bundle = read_bundle(small_mesh(tmp_path, files))
    assert bundle.declared.intents["shop/web-to-db"].spec.requirements.max_latency == Milliseconds(40)
    assert bundle.series[Metric.RTT][AMS_FRA].values.tolist() == [12.5]


def test_a_list_as_kubectl_prints_it_with_what_is_in_place(tmp_path: Path) -> None:
    status = {
        "number": 3,
        "classNumber": 1,
        "path": ["mesh/ams", "mesh/fra"],
        "labels": [{"number": 7, "state": "Active", "path": ["mesh/ams", "mesh/fra"], "epoch": 12}],
        "fieldOfANewerVersion": 1,
    }
    circuit = {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "Circuit",
        "metadata": {"name": "one", "namespace": "mesh", "uid": "u", "generation": 2, "managedFields": []},
        "spec": {"from": "mesh/ams", "to": "mesh/fra", "class": "default"},
        "status": status,
    }
    managed = {**circuit, "metadata": {**circuit["metadata"], "labels": {"app.kubernetes.io/managed-by": "foremesh"}}}
    by_hand = {**circuit, "metadata": {**circuit["metadata"], "name": "pinned"}}
    leaving = {
        **managed,
        "metadata": {**managed["metadata"], "name": "old", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }
    intent = {**yaml.safe_load(INTENT), "status": {"path": "ams > fra", "conditions": []}}
    body = {"apiVersion": "v1", "kind": "List", "items": [managed, by_hand, leaving, intent]}
    bundle = read_bundle(put(tmp_path, {"all.yaml": yaml.safe_dump(body)}))
    assert bundle.declared.circuits["mesh/one"].status.number == 3
    assert bundle.declared.circuits["mesh/one"].status.labels[0].epoch == 12
    assert set(bundle.declared.circuits) == {"mesh/one"}
    assert bundle.by_hand == ("mesh/pinned",)
    assert bundle.declared.intent_status["shop/web-to-db"].path == "ams > fra"


def test_yaml_is_read_as_kubernetes_tools_do(tmp_path: Path) -> None:
    text = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata:
  name: ams
  labels: &labels {1: "on", "yes": !!str 7}
  annotations: {created: 2026-01-01, ratio: 1:30}
spec: &spec
  type: Gateway
  location: {latitude: +5.2e+1, longitude: 0x4}
  services: [{name: a, port: 0o17}, {name: b, port: 010}]
  gateway: {role: Core}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: fra, labels: {<<: {a: b, c: d}, c: e}}
spec: {type: Gateway, gateway: {role: Edge}}
"""
    text = text.replace("0o17", "0b101")
    resources = read_bundle(put(tmp_path, {"a.yaml": text})).declared.resources
    assert resources["default/ams"].meta.labels == {"1": "on", "yes": "7"}
    assert resources["default/ams"].spec.location.latitude == 52
    assert resources["default/ams"].spec.location.longitude == 4
    assert [one.port for one in resources["default/ams"].spec.services] == [5, 8]
    assert resources["default/fra"].meta.labels == {"a": "b", "c": "e"}


def test_links_csv_gives_facts_figures_and_attachments(tmp_path: Path) -> None:
    links = """\
src,dst,underlay,rtt_ms,loss,throughput,capacity,egress_price
ams,mesh/fra,,12.5,0.5%,20M,1G,0.09
"fra","ams",internet,1.3e1,0.005,2e7,,

web,ams,,0.4,,,,
fra,db,,0.25,,,,
ams,lon,,,,,500M,0
"""
    bundle = read_bundle(small_mesh(tmp_path, {"links.csv": links}))
    assert bundle.declared.links == {
        AMS_FRA: LinkFacts(capacity_bps=1e9, egress_price=0.09),
        LinkId(src="mesh/ams", dst="mesh/lon"): LinkFacts(capacity_bps=5e8, egress_price=0.0),
    }
    figures = {
        metric: {key: one.values.tolist() for key, one in keyed.items()} for metric, keyed in bundle.series.items()
    }
    assert figures == {
        Metric.RTT: {AMS_FRA: [12.5], FRA_AMS: [13.0]},
        Metric.LOSS: {AMS_FRA: [pytest.approx(0.005)], FRA_AMS: [0.005]},
        Metric.THROUGHPUT: {AMS_FRA: [2e7], FRA_AMS: [2e7]},
    }
    assert bundle.attachment_rtt_ms == {("shop/web", "mesh/ams"): 0.4, ("shop/db", "mesh/fra"): 0.25}
    assert bundle.now_s == 0.0


def test_links_csv_tells_jitter_each_way(tmp_path: Path) -> None:
    """Down to what the path costs; the other way nobody knows it."""
    bundle = read_bundle(
        small_mesh(tmp_path, {"links.csv": "src,dst,rtt_ms,jitter_ms\nams,fra,12.5,1.5\nfra,ams,12.5,\n"})
    )
    assert {link: one.values.tolist() for link, one in bundle.series[Metric.JITTER].items()} == {AMS_FRA: [1.5]}
    links = plan_bundle(bundle, installed_settings()).chosen.graph.links
    told = {one.id: one.jitter_ms for one in links}
    assert (told[AMS_FRA], told[FRA_AMS]) == (1.5, None)


def test_a_link_is_on_the_network_of_its_gateways(tmp_path: Path) -> None:
    gateways = "---\n".join(gateway(name, network="mpls") for name in ("ams", "fra"))
    put(tmp_path, {"a.yaml": gateways, "links.csv": "src,dst,rtt_ms,underlay\nams,fra,5,\nfra,ams,5,mpls\n"})
    links = {link for link in read_bundle(tmp_path).series[Metric.RTT] if isinstance(link, LinkId)}
    assert {link.underlay for link in links} == {"mpls"}
    assert len(links) == 2


def test_links_alone_keep_their_names(tmp_path: Path) -> None:
    path = put(tmp_path, {"any.csv": "dst,src,rtt_ms\nB,A,1\n"}) / "any.csv"
    (row,) = read_links(path)
    assert (row.line, row.src, row.dst, row.underlay, row.rtt_ms, row.capacity_bps) == (2, "A", "B", "", 1.0, None)


HISTORY = """\
series,time,value,metric
ams->fra,1970-01-01T00:10:00Z,11,
mesh/ams->fra/internet,1970-01-01T00:00:00Z,0.5,loss
fra->mesh/ams/internet,0,13,rtt
fra->mesh/ams/internet,60,,rtt
ams->mesh/fra,60,5e6,throughput
lon,60,0.25,load
"""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in-the-folder", "named"])
def test_a_history_is_keyed_by_links_and_goes_before_the_figures_of_links_csv(tmp_path: Path, elsewhere: bool) -> None:
    links = "src,dst,rtt_ms\nams,fra,99\nlon,fra,7\n"
    folder = small_mesh(tmp_path / "mesh", {"links.csv": links})
    history = put(tmp_path if elsewhere else folder, {"history.csv": HISTORY}) / "history.csv"
    bundle = read_bundle(folder, history=history if elsewhere else None)
    assert bundle.now_s == 600.0
    rtt = bundle.series[Metric.RTT]
    assert rtt[AMS_FRA].values.tolist() == [11.0]
    assert rtt[FRA_AMS].times_s.tolist() == [0.0, 60.0]
    assert np.isnan(rtt[FRA_AMS].values[1])
    single = rtt[LinkId(src="mesh/lon", dst="mesh/fra")]
    assert (single.times_s.tolist(), single.values.tolist()) == ([600.0], [7.0])
    assert bundle.series[Metric.LOSS][AMS_FRA].values.tolist() == [0.5]
    assert bundle.series[Metric.THROUGHPUT][AMS_FRA].values.tolist() == [5e6]
    assert bundle.series[Metric.LOAD]["mesh/lon"].values.tolist() == [0.25]


def test_the_examples_are_read() -> None:
    examples = Path(__file__).parents[2] / "manifests/examples"
    folders = sorted(path for path in examples.iterdir() if path.is_dir())
    assert folders
    for folder in folders:
        assert read_bundle(folder).declared.intents
