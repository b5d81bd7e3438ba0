"""``foremesh explain``: the story of an Intent from files, and from an operator by way of the mesh API."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.planning import INPUT, ROOT, THREE_CLOUDS, assert_golden, copied, replaced
from foremesh.cli.main import cli
from foremesh.controller.explanations import Explanations
from foremesh.decide import Unexplained
from foremesh.files import read_bundle
from foremesh.offline import installed_settings, plan_bundle

SHADOW = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: three-clouds-no-cloud-c}
spec:
  mode: Shadow
  match: {namespaces: [three-clouds], ports: [8443]}
  avoid: {providers: [cloud-c], regions: [atlantis]}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: three-clouds-hurry}
spec:
  priority: 10
  match: {namespaces: [three-clouds]}
  weights: {latency: 5}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: three-clouds-worry}
spec:
  match: {namespaces: [three-clouds]}
  weights: {latency: 1, loss: 3}
"""


def run(what: str, *arguments: str | Path, **environment: str) -> Result:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return CliRunner().invoke(cli, ["explain", what, *map(str, arguments)], env=environment)
    finally:
        os.chdir(before)


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    folder = copied(THREE_CLOUDS, tmp_path)
    (folder / "50-more.yaml").write_text(SHADOW)
    return folder


@pytest.mark.parametrize(
    ("intent", "exit_code"), [("payments", 0), ("live-stock-from-asia", 3)], ids=["placed", "infeasible"]
)
def test_explains_as_reviewed(clouds: Path, intent: str, exit_code: int) -> None:
    result = run(f"intent/{intent}", "-f", clouds)
    assert result.exit_code == exit_code, result.output
    assert_golden(f"explain-{intent}.txt", result.stdout)
    written = run(f"intent/{intent}", "-f", clouds, "-o", "yaml")
    assert written.exit_code == exit_code
    assert_golden(f"explain-{intent}.yaml", written.stdout)
    read = run(f"intent/three-clouds/{intent}", "-f", clouds, "-o", "json")
    assert json.loads(read.stdout)["intents"] == yaml.safe_load(written.stdout)["intents"]


@pytest.mark.parametrize("width", [60, 100])
def test_fits(clouds: Path, two_databases: Path, width: int) -> None:
    asked = [("payments", clouds), ("live-stock-from-asia", clouds), ("orders-from-asia", clouds)]
    for intent, folder in (*asked, ("app-to-db", two_databases)):
        shown = run(f"intent/{intent}", "-f", folder, COLUMNS=str(width)).stdout
        assert max(map(len, shown.splitlines())) <= width


def test_on_a_narrow_page_it_is_said_what_has_no_room_and_what_does_not_help(clouds: Path) -> None:
    told = " ".join(run("intent/payments", "-f", clouds, COLUMNS="60").stdout.split())
    assert "no room for FREE and USD/GB: -o json has all" in told
    assert "no room for" not in run("intent/payments", "-f", clouds, COLUMNS="100").stdout
    (clouds / "60-pci.yaml").write_text(
        """\
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: pci}
spec: {match: {ports: [8443]}, require: {gatewayLabels: [pci=yes]}}
"""
    )
    told = " ".join(run("intent/payments", "-f", clouds, COLUMNS="60").stdout.split())
    assert "possible without pci=yes by branch-munich > c-belgium > a-frankfurt" in told
    assert "maxLatency: asked 25ms, best alone 14.5ms, no relaxation of it alone helps" in told
    replaced(clouds / "30-intents.yaml", "maxLatency: 80ms", "maxLatency: 800ms")
    told = " ".join(CliRunner().invoke(cli, ["plan", "-f", str(clouds)]).stdout.split())
    assert told.endswith("relax payments: gatewayLabels without pci=yes")


@pytest.fixture
def two_databases(tmp_path: Path) -> Path:
    """One service, offered at two places."""
    folder = copied(INPUT / "plan-in-place", tmp_path)
    (folder / "circuits.yaml").unlink()
    (folder / "replica.yaml").write_text(
        """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: db-replica, namespace: lab}
spec:
  type: VirtualMachine
  location: {site: c}
  services: [{name: db, port: 5432}]
  machine: {address: 10.2.0.7}
"""
    )
    with (folder / "links.csv").open("a") as links:
        links.write("db-replica,lon,1,,\n")
    return folder


def test_a_runner_up_that_leads_to_another_destination_says_so(two_databases: Path) -> None:
    shown = run("intent/app-to-db", "-f", two_databases, COLUMNS="100").stdout
    assert "app to db-replica: placed" in shown
    assert [line.split("  ")[1] for line in shown.splitlines() if line.startswith("  next ")] == [
        "next ams > lon > fra to db",
        "next ams > fra to db",
    ]
    planned = CliRunner().invoke(cli, ["plan", "-f", str(two_databases)], env={"COLUMNS": "100"}).stdout
    assert "ams > lon > fra to db: latency" in planned
    found = json.loads(run("intent/app-to-db", "-f", two_databases, "-o", "json").stdout)
    (one,) = found["intents"][0]["placements"]
    assert [other.get("destination") for other in one["runnersUp"]] == ["lab/db", "lab/db"]


def test_terms_add_up_and_losers_say_why(clouds: Path) -> None:
    found = json.loads(run("intent/payments", "-f", clouds, "-o", "json").stdout)
    (one,) = found["intents"][0]["placements"]
    assert sum(one["because"]["terms"].values()) == pytest.approx(one["predicted"]["cost"], abs=1e-5)
    assert one["runnersUp"]
    for other in one["runnersUp"]:
        assert sum(other["extraTerms"].values()) == pytest.approx(other["extraCost"], abs=1e-5)
        most = max(other["extraTerms"], key=lambda name, terms=other["extraTerms"]: abs(terms[name]))
        assert f"more: {most} " in other["lost"], "the term that says most comes first"


def test_who_overrules_whom(clouds: Path) -> None:
    found = json.loads(run("intent/payments", "-f", clouds, "-o", "json").stdout)
    because = found["intents"][0]["placements"][0]["because"]
    told = {one["policy"]: one for one in because["policies"]}
    assert [*told] == [
        "three-clouds-hurry",
        "three-clouds-worry",
        "three-clouds-payments-avoid-cloud-b",
        "three-clouds-no-cloud-c",
    ]
    assert told["three-clouds-worry"]["effects"] == [
        "sets weight latency to 1, overruled by three-clouds-hurry",
        "sets weight loss to 3",
    ]
    assert told["three-clouds-no-cloud-c"]["mode"] == "Shadow"
    assert (because["weights"]["latency"], because["weights"]["loss"]) == (5, 3)


def test_plans_show_what_a_shadow_would_change(clouds: Path) -> None:
    shown = CliRunner().invoke(cli, ["plan", "-f", str(clouds)]).stdout
    told = " ".join(shown.split())
    assert "shadow MeshPolicy three-clouds-no-cloud-c: enforced, it would move 0 Intents and leave 1 Intent" in told
    assert "note: MeshPolicy three-clouds-no-cloud-c: no gateway has region atlantis (spec.avoid.regions)" in told
    assert "MeshPolicy in shadow, not followed: three-clouds-no-cloud-c" in told
    found = json.loads(CliRunner().invoke(cli, ["plan", "-f", str(clouds), "-o", "json"]).stdout)
    for placed in found["placements"]:
        assert "three-clouds-no-cloud-c" not in placed["policies"]
    (payments,) = [placed for placed in found["placements"] if placed["intent"] == "three-clouds/payments"]
    assert payments["shadowPolicies"] == ["three-clouds-no-cloud-c"]
    (one,) = [policy for policy in found["policies"] if "shadow" in policy]
    assert one["shadow"]["infeasibleIntents"] == 1
    assert one["shadow"]["examples"][0]["intent"] == "three-clouds/payments"


def test_a_circuit_is_explained_by_what_it_carries(clouds: Path) -> None:
    found = json.loads(run("intent/payments", "-f", clouds, "-o", "json").stdout)
    circuit = found["intents"][0]["placements"][0]["circuit"]
    carried = json.loads(run(f"circuit/{circuit}", "-f", clouds, "-o", "json").stdout)
    assert carried["intents"] == found["intents"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param(
            "intent/nobody", "there is no intent nobody in the newest plan; there are: three-clouds/", id="name"
        ),
        pytest.param("pod/web", "'pod/web' cannot be explained; give intent/NAME or circuit/NAME", id="kind"),
        pytest.param("payments", "give intent/NAME", id="no-kind"),
        pytest.param("intent/", "give intent/NAME", id="no-name"),
    ],
)
def test_what_cannot_be_explained(what: str, said: str) -> None:
    result = run(what, "-f", THREE_CLOUDS)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_name_that_two_have(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    text = (folder / "30-intents.yaml").read_text()
    (folder / "31-more.yaml").write_text(
        text.replace("namespace: three-clouds", "namespace: other").replace("name: three-clouds\n", "name: other\n")
    )
    result = run("intent/payments", "-f", folder)
    assert result.exit_code == 2
    assert "write namespace/name" in result.stderr


def test_neither_files_nor_an_api_nor_a_kubeconfig(tmp_path: Path) -> None:
    result = run("intent/payments", KUBECONFIG=str(tmp_path / "none"), HOME=str(tmp_path))
    assert result.exit_code == 2, result.output
    assert "explain: the current context: read the kubeconfig: " in result.stderr
    assert "give -f DIR, --api URL, or a --context of a cluster that answers" in result.stderr


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    cluster = {"name": "lab", "cluster": {"server": "http://127.0.0.1:9"}}  # the port that is for discarding
    context = {"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": "shop"}}
    file = tmp_path / "config"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [cluster],
                "contexts": [context],
                "users": [{"name": "me", "user": {}}],
            }
        )
    )
    for arguments in ((), ("--context", "lab"), ("-n", "other")):
        result = run("intent/payments", *arguments, KUBECONFIG=str(file))
        assert result.exit_code == 2, result.output
        assert "ask what the API server serves: " in result.stderr
        assert len(result.stderr.splitlines()) == 1
    result = run("intent/payments", "--context", "nobody", KUBECONFIG=str(file))
    assert result.exit_code == 2
    assert "context nobody: read the kubeconfig: " in result.stderr


def test_what_is_said_of_a_cluster_goes_with_neither_files_nor_an_api() -> None:
    for arguments in (("-f", "x", "-n", "shop"), ("--api", "http://localhost:1", "--context", "lab")):
        result = run("intent/payments", *arguments)
        assert result.exit_code == 2
        assert "--context and --namespace are of a kubeconfig" in result.stderr


@pytest.mark.parametrize("by_policy", [False, True])
@pytest.mark.parametrize("latency", ["5ms", "25ms"])
def test_where_no_destination_is_left_all_that_is_asked_is_told(clouds: Path, latency: str, by_policy: bool) -> None:
    own = "" if by_policy else "\n    regions: [mars]"
    replaced(clouds / "30-intents.yaml", "    maxLatency: 25ms\n", f"    maxLatency: {latency}{own}\n")
    if by_policy:
        (clouds / "60-mars.yaml").write_text(
            """\
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: mars}
spec: {match: {ports: [8443]}, require: {regions: [mars]}}
"""
        )
    result = run("intent/payments", "-f", clouds, "-o", "json")
    assert result.exit_code == 3
    (one,) = json.loads(result.stdout)["intents"][0]["placements"]
    told = {row["requirement"]: row for row in one["infeasible"]["shortfalls"]}
    assert {"regions", "maxLatency", "minBandwidth", "maxLoss"} <= told.keys()
    assert told["regions"]["asked"] == "mars"
    assert told["regions"].get("policy", "") == ("mars" if by_policy else "")
    assert told["maxLatency"]["asked"] == latency
    for name in ("maxLatency", "minBandwidth", "maxLoss"):
        assert told[name]["best"], f"{name}: what could be had, as if the regions did not bind"
    if latency == "5ms":
        assert not told["regions"].get("nearest"), "other regions alone do not make it quick"
    else:
        assert "eu-central-1" in told["regions"]["nearest"]
        assert told["avoid"]["policy"] == "three-clouds-payments-avoid-cloud-b"
        assert told["regions"]["path"] == "branch-munich > c-belgium > a-frankfurt", "what policies avoid stays avoided"


def test_files_and_an_operator_are_not_asked_both() -> None:
    result = run("intent/payments", "-f", THREE_CLOUDS, "--api", "http://localhost:1")
    assert result.exit_code == 2
    assert "-f is for files, --api for what an operator decided; give one of them" in result.stderr
    assert run("intent/payments", "-f", THREE_CLOUDS, FOREMESH_API="http://localhost:1").exit_code == 0, "environment"


def test_names_that_nobody_bears_are_pointed_out(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    replaced(
        folder / "30-intents.yaml", "    maxLatency: 25ms\n", "    maxLatency: 25ms\n    avoid: {regions: [atlantis]}\n"
    )
    result = run("intent/payments", "-f", folder)
    told = " ".join(result.stdout.split())
    assert "note: no gateway has region atlantis (spec.requirements.avoid.regions): it keeps nothing out" in told


@contextmanager
def operator(folder: Path) -> Iterator[str]:
    """An operator that has planned a folder."""
    bundle, pages = read_bundle(folder), Explanations()
    pages.keep(plan_bundle(bundle, installed_settings()), bundle.declared)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, body = 200, pages.page(self.path.removeprefix("/v1/explanations/"))
            except Unexplained as error:
                status, body = 404, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_operator_tells_the_same_as_files(clouds: Path) -> None:
    with operator(clouds) as url:
        told = run("intent/payments", "--api", url)
        assert told.exit_code == 0, told.output
        assert told.stdout == run("intent/payments", "-f", clouds).stdout
        missing = run("intent/nobody", FOREMESH_API=url)
        assert (missing.exit_code, "there is no intent nobody" in missing.stderr) == (2, True)
        wrong = run("intent/payments", "--api", url, "--history", "x.csv")
        assert wrong.exit_code == 2
    gone = run("intent/payments", "--api", url)
    assert gone.exit_code == 2
    assert "does not answer" in gone.stderr
    assert run("intent/payments", "--api", "localhost:1").exit_code == 2, "no http://"


def test_an_intent_about_nobody_says_so(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    replaced(folder / "30-intents.yaml", "to: {service: payments}", "to: {service: nothing}")
    result = run("intent/payments", "-f", folder)
    assert result.exit_code == 3
    assert "problem: spec.to:" in result.stdout


def test_before_the_first_plan_there_is_nothing_to_explain() -> None:
    with pytest.raises(Unexplained, match="no plan yet"):
        Explanations().page("intent/x")


def test_a_cheaper_path_that_is_not_worth_a_move_lost_to_that() -> None:
    found = json.loads(run("intent/app-to-db", "-f", INPUT / "plan-in-place", "-o", "json").stdout)
    (one,) = found["intents"][0]["placements"]
    assert one["kept"]
    cheaper = [other for other in one["runnersUp"] if other["extraCost"] < 0]
    assert [other["path"] for other in cheaper] == ["ams > lon > fra"]
    assert "less (" in cheaper[0]["lost"]
    assert "within the 10% margin" in cheaper[0]["lost"]
