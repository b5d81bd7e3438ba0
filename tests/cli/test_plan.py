"""``foremesh plan`` as a person meets it: what it prints, in every format, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cli.planning import INPUT, ROOT, THREE_CLOUDS, assert_golden, copied, document, placement, replaced, run
from foremesh.cli.main import cli

UNMEASURED, IN_PLACE = INPUT / "plan-unmeasured", INPUT / "plan-in-place"
FOREMESH = Path(sys.executable).with_name("foremesh")
DEADLINE_S = 120


@pytest.mark.parametrize(
    ("folder", "name"),
    [(THREE_CLOUDS, "three-clouds"), (UNMEASURED, "unmeasured"), (IN_PLACE, "in-place")],
    ids=["three-clouds", "unmeasured", "in-place"],
)
@pytest.mark.parametrize(("output", "suffix"), [("table", "txt"), ("yaml", "yaml")], ids=["table", "yaml"])
def test_plans_as_reviewed(folder: Path, name: str, output: str, suffix: str) -> None:
    assert_golden(f"plan-{name}.{suffix}", run("-f", folder, "-o", output).stdout)


@pytest.mark.parametrize("folder", [THREE_CLOUDS, UNMEASURED], ids=lambda folder: folder.name)
def test_json_says_what_yaml_says_in_the_same_order(folder: Path) -> None:
    from_json = json.loads(run("-f", folder, "-o", "json").stdout)
    from_yaml = document("-f", folder)
    assert from_json == from_yaml
    assert json.dumps(from_json) == json.dumps(from_yaml), "keys are in one order"


def test_json_as_reviewed() -> None:
    assert_golden("plan-unmeasured.json", run("-f", UNMEASURED, "-o", "json").stdout)


@pytest.mark.parametrize("width", [60, 70, 100])
@pytest.mark.parametrize("folder", [THREE_CLOUDS, UNMEASURED, IN_PLACE], ids=lambda folder: folder.name)
def test_the_table_fits(folder: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("-f", folder).stdout.splitlines()
    assert max(map(len, lines)) <= width
    # Never wider than can be read, and what is left out is the end of the row.
    (header,) = [line for line in lines if line.lstrip().startswith("RTT ms")]
    assert any(line.startswith("no room for ") for line in lines) == (width < 100)
    assert header.split()[2:] == {60: ["P90", "LOSS"], 70: ["P90", "LOSS", "FREE"]}.get(
        width, ["P90", "LOSS", "FREE", "USD/GB"]
    )


def test_the_table_is_no_wider_than_people_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert max(map(len, run("-f", THREE_CLOUDS).stdout.splitlines())) <= 100


def test_names_longer_than_the_terminal_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    replaced(folder / "30-intents.yaml", "name: payments", f"name: {'p' * 63}")
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, run("-f", folder).stdout.splitlines())) <= 60


def test_without_links_nothing_is_said_to_rest_on_them(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    (folder / "links.csv").unlink()
    said = " ".join(run("-f", folder).stdout.split())
    assert "figures: none, as there is neither links.csv nor a history;" in said
    assert document("-f", folder)["mesh"]["figures"] is None


def test_without_rows_there_is_no_header(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    (folder / "30-intents.yaml").unlink()
    found = run("-f", folder).stdout
    assert "0 intents" in found
    assert "RTT ms" not in found


def test_every_key_is_camel_case() -> None:
    def keys(value: object, above: str = "") -> set[str]:
        if isinstance(value, list):
            return set().union(*(keys(one, above) for one in value))
        if not isinstance(value, dict):
            return set()
        # What these hold is named by people.
        own = set() if above in ("configs", "forecastReasons", "labels", "matchLabels") else set(value)
        return own.union(*(keys(one, key) for key, one in value.items()))

    assert [key for key in keys(document("-f", THREE_CLOUDS)) if not re.fullmatch("[a-z][A-Za-z0-9]*", key)] == []


def test_the_example_shows_what_it_is_meant_to_show() -> None:
    found = document("-f", THREE_CLOUDS)
    states = [one["state"] for one in found["placements"]]
    assert (states.count("Placed"), states.count("NotPlaced")) == (5, 1)
    assert 11 <= found["mesh"]["gateways"] <= 13
    assert placement(found, "live-stock-from-asia")["infeasible"]["requirement"] == "maxLatency"
    # Nobody took the direct link that is worse than a detour, and nobody was sent to the far one of two offers.
    assert len(placement(found, "office-to-shop")["path"]) == 3
    assert placement(found, "office-to-shop")["destination"] == "three-clouds/shop-eu"
    assert placement(found, "payments")["policies"] == ["three-clouds-payments-avoid-cloud-b"]


def test_what_is_unknown_is_null_and_never_0() -> None:
    found = document("-f", UNMEASURED)
    predicted = placement(found, "anything-to-db")["predicted"]
    assert (predicted["loss"], predicted["latencyMs"], predicted["egressPrice"]) == (None, None, None)
    assert predicted["bandwidthBps"] == 900_000_000
    assert {"link": "lab/ams->lab/fra/internet", "why": "no samples"} in found["unknown"]["loss"]


def test_configs_are_those_that_gateways_end_up_with() -> None:
    found = document("-f", THREE_CLOUDS)
    circuits = {one["circuit"]: one for one in found["circuits"]}
    for circuit in circuits.values():
        for end in (circuit["from"], circuit["to"]):
            (mine,) = [one for one in found["configs"][end]["circuits"] if one["circuit"] == circuit["circuit"]]
            assert mine["sendLabel"] is not None, "both ends send"
            assert (mine["standbyLabel"] is not None) == (circuit["standby"] is not None)
        for relay in circuit["path"][1:-1]:
            assert circuit["circuit"] in [one["circuit"] for one in found["configs"][relay]["transits"]]


def test_objects_are_the_circuits_and_the_policies_that_pin_workloads() -> None:
    found = document("-f", THREE_CLOUDS)
    kinds = [(one["kind"], one["metadata"]["name"]) for one in found["objects"]]
    circuits = [("Circuit", one["circuit"].partition("/")[2]) for one in found["circuits"]]
    assert kinds == [
        *circuits,
        ("NetworkPolicy", "foremesh-shop-asia"),
        ("NetworkPolicy", "foremesh-shop-eu"),
    ]


def test_a_configuration_decides_which_policies(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("networkPolicies: Calico\napi: {address: '198.51.100.1:8443'}\n")
    found = document("-f", THREE_CLOUDS, "--config", config)
    assert [one["kind"] for one in found["objects"]][-3:] == ["Tier", "NetworkPolicy", "NetworkPolicy"]


def test_who_is_not_held_to_gateways_is_a_note_and_no_line_of_an_operators_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = document("-f", ROOT / "manifests/examples/basic")
    (note,) = found["notes"]
    assert note.startswith("workload foremesh-example/shop is not held to gateways by network policies: ")
    assert "no IP address" in note
    assert not caplog.records


def test_the_order_of_manifests_makes_no_difference(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    documents = [text for file in folder.glob("*.yaml") for text in file.read_text().split("\n---\n")]
    for file in folder.glob("*.yaml"):
        file.unlink()
    for number, text in enumerate(reversed(documents)):
        (folder / f"{number:02}.yaml").write_text(text)
    rows = (folder / "links.csv").read_text().splitlines()
    (folder / "links.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]))
    assert document("-f", folder) == document("-f", THREE_CLOUDS)


def test_a_history_moves_a_path_and_names_its_model(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    # The way through Amsterdam has become slow, as a recording of two hours shows.
    rows = [f"branch-munich->b-amsterdam,{1_900_000_000 + 60 * minute},{60 + minute % 3}" for minute in range(120)]
    history = tmp_path / "measured.csv"
    history.write_text("\n".join(["series,time,value", *rows]))
    found = document("-f", folder, "--history", history)
    assert found["mesh"]["newestSample"] == "2030-03-17T19:45:40Z"
    assert "b-amsterdam" not in placement(found, "office-to-shop")["pathText"]
    slow = [one for one in placement(found, "office-to-shop")["runnersUp"] if "b-amsterdam" in one["pathText"]]
    assert all(one["predicted"]["latencyMs"] > 60 for one in slow)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(("30-intents.yaml", "maxLatency: 80ms", "maxLatency: 800ms"), 0, id="all-placed-is-0"),
        pytest.param(("30-intents.yaml", "maxLatency: 80ms", "maxLatency: 81ms"), 3, id="one-not-placed-is-3"),
        pytest.param(("30-intents.yaml", "service: thumbnails", "service: nobodys"), 3, id="unresolved-is-3"),
        pytest.param(("30-intents.yaml", "maxLatency: 80ms", "maxLatency: -1ms"), 2, id="negative-latency-is-2"),
        pytest.param(("links.csv", "src,dst", "source,dst"), 2, id="wrong-column-is-2"),
        pytest.param(("10-cloud-a.yaml", "kind: MeshResource", "kind: [\n"), 2, id="no-yaml-is-2"),
    ],
)
def test_exit_codes(tmp_path: Path, change: tuple[str, str, str], code: int) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    file, old, new = change
    replaced(folder / file, old, new)
    result = run("-f", folder)
    assert result.exit_code == code, result.output
    if code == 2:
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"foremesh plan: {folder / file}:") or line.startswith(f"cli plan: {folder / file}:")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="no-folder-given"),
        pytest.param(("-f", "nowhere"), id="no-such-folder"),
        pytest.param(("-f", THREE_CLOUDS, "--against", "nowhere"), id="no-such-folder-to-compare-with"),
        pytest.param(("-f", THREE_CLOUDS, "--history", "nowhere.csv"), id="no-such-history"),
        pytest.param(("-f", THREE_CLOUDS, "--config", "nowhere.yaml"), id="no-such-configuration"),
        pytest.param(("-f", THREE_CLOUDS, "-o", "xml"), id="no-such-format"),
    ],
)
def test_what_cannot_be_used_is_2_and_told_without_a_traceback(arguments: tuple[str | Path, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("mesh: [", "mesh", id="no-yaml"),
        pytest.param("planing: {}", "planing", id="unknown-field"),
        pytest.param("blocks: {mesh: 10.0.0.0/33}", "10.0.0.0/33", id="no-prefix"),
        pytest.param("planning: {horizon: 90s, step: 60s}", "90", id="horizon-is-no-multiple-of-the-step"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_2(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    result = run("-f", THREE_CLOUDS, "--config", config)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert str(config) in line
    assert told in line


@pytest.mark.parametrize("command", ["plan", "operator", "api"])
def test_a_configuration_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    config = tmp_path / "config.yaml"
    folder = ("-f", str(THREE_CLOUDS)) if command == "plan" else ()
    result = CliRunner().invoke(cli, [command, *folder, "--config", str(config)])
    assert result.exit_code == 2
    assert result.stderr.endswith(f" {command}: {config}: does not exist; check the path\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["operator", "api"])
def test_programs_do_not_start_with_what_cannot_work(tmp_path: Path, command: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("planning: {step: 0s}")
    result = CliRunner().invoke(cli, [command, "--config", str(config)])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert f" {command}: {config}: planning.step is 0 s" in line


def test_help_has_an_example_that_works() -> None:
    result = run("--help")
    assert result.exit_code == 0
    (example,) = re.findall(r"^    foremesh plan (-f manifests/\S+)$", result.stdout, re.MULTILINE)
    assert run(*example.split()).exit_code == 3
    assert "Exit code" in result.stdout


def _real(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FOREMESH, "plan", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_real_command_gives_equal_bytes_whatever_the_hash_seed() -> None:
    one, other = (
        _real("-f", "manifests/examples/three-clouds", "-o", "yaml", PYTHONHASHSEED=seed) for seed in ("1", "2")
    )
    assert (one.returncode, one.stderr) == (3, "")
    assert one.stdout == other.stdout
    assert yaml.safe_load(one.stdout)["totals"]["placed"] == 5


def test_a_closed_pipe_is_quiet() -> None:
    command = [FOREMESH, "plan", "-f", THREE_CLOUDS, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == ""
        running.wait(DEADLINE_S)


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["on", "NO_COLOR"])
def test_colours_on_a_terminal_only(environment: dict[str, str], coloured: bool) -> None:
    assert "\x1b[" not in _real("-f", str(UNMEASURED)).stdout
    ours, theirs = pty.openpty()
    command = [FOREMESH, "plan", "-f", UNMEASURED]
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm-256color", **environment}
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # how Linux says that nobody writes any more
            pass
        running.wait(DEADLINE_S)
    os.close(ours)
    assert b"placed" in shown
    assert (b"\x1b[" in shown) is coloured


def test_only_what_is_needed_is_imported() -> None:
    program = (
        "import sys; from foremesh.cli.main import cli\n"
        f"try: cli(['plan', '-f', {str(THREE_CLOUDS)!r}])\n"
        "except SystemExit: pass\n"
        "print(*sorted({'pandas', 'prophet', 'kopf', 'kubernetes', 'matplotlib', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout.splitlines()[-1] == ""


def test_traffic_that_nothing_serves_any_more_stays_on_a_path_and_says_so(tmp_path: Path) -> None:
    folder = copied(IN_PLACE, tmp_path)
    for fast in (",18,", ",19,", ",50,"):
        replaced(folder / "links.csv", fast, ",90,")
    result = run("-f", folder)
    assert result.exit_code == 3
    assert "app-to-db (app to db, Latency profile): requirements not met" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 of 2 placed")
    unmet = placement(document("-f", folder), "app-to-db")
    assert (unmet["state"], unmet["infeasible"]["requirement"]) == ("Unmet", "maxLatency")
    assert unmet["path"], "a slow path beats none"
    assert unmet["circuit"] == "lab/ams-fra-27f30d97"


@pytest.mark.parametrize("intent", ["office-to-shop", "payments", "catalogue-to-asia", "orders-from-asia"])
def test_a_standby_path_shares_no_gateway_where_requirements_leave_another_way(intent: str) -> None:
    one = placement(document("-f", THREE_CLOUDS), intent)
    path, standby = one["path"], one["standby"]["path"]
    assert (standby[0], standby[-1]) == (path[0], path[-1])
    assert not set(standby[1:-1]) & set(path[1:-1])
    assert one["standby"]["predicted"]["latencyMs"] > one["predicted"]["latencyMs"]


def test_a_standby_without_room_is_told(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    assert "no bandwidth is left" not in run("-f", folder).stdout
    replaced(folder / "30-intents.yaml", "minBandwidth: 20M", "minBandwidth: 650M")
    told = " ".join(run("-f", folder).stdout.split())
    assert "no bandwidth is left for its standby branch-munich > c-london > a-frankfurt; cheapest path" in told


def test_demand_is_told_where_it_was_measured(tmp_path: Path) -> None:
    folder = copied(IN_PLACE, tmp_path)
    rows = [
        f"{ends}/lab/ams-fra-69e96c79,{1_900_000_000 - 60 * minute},{bps},demand"
        for ends, bps in (("ams->fra", 3e8), ("fra->ams", 1e6))
        for minute in range(90)
    ]
    (folder / "history.csv").write_text("\n".join(["series,time,value,metric", *rows]))
    found = document("-f", folder)["demand"]
    assert [(one["from"], one["to"], one["circuit"], one["bandwidthBps"]) for one in found["circuits"]] == [
        ("lab/ams", "lab/fra", "lab/ams-fra-69e96c79", 300_000_000),
        ("lab/fra", "lab/ams", "lab/ams-fra-69e96c79", 1_000_000),
    ]
    assert found["circuits"][0]["forecastReason"].startswith("last")
    assert [one["bandwidthBps"] for one in found["pairs"]] == [300_000_000, 1_000_000]
    assert found["mesh"]["bandwidthBps"] == 301_000_000
    assert "demand ams->fra: 300M, at most 300M" in " ".join(run("-f", folder).stdout.split())


INFEASIBLE = """\
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {name: regional, namespace: three-clouds}
spec:
  from: {resource: shop-eu}
  to: {resource: erp}
  requirements: {maxLatency: 1ms, regions: [eastus], maxEgressPrice: "0.001"}
"""


def test_of_what_cannot_be_placed_it_tells_how_near_the_network_comes_as_explain_does(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    (folder / "60-more.yaml").write_text(INFEASIBLE)
    explained = CliRunner().invoke(cli, ["explain", "intent/regional", "-f", str(folder), "-o", "json"])
    (told,) = json.loads(explained.stdout)["intents"][0]["placements"]
    assert placement(document("-f", folder), "regional")["infeasible"]["shortfalls"] == told["infeasible"]["shortfalls"]
    assert "; and that is not all: maxLatency: asked 1ms; maxEgressPrice: asked 0.001; regions: asked" in told["reason"]
    assert "no path unless these are relaxed together, as by a-frankfurt > " in told["reason"]
    shown = run("-f", folder).stdout
    assert "  why: regions: asked eastus; destination three-clouds/erp is in bavaria; and that is not all:\n" in shown
    assert "  best alone: maxLatency 14.5ms (asked 1ms), maxEgressPrice 0.09 (asked 0.001)\n" in shown


def test_policies_that_make_no_difference_are_noted(tmp_path: Path) -> None:
    folder = copied(THREE_CLOUDS, tmp_path)
    specs = {
        "nobody": "match: {namespaces: [nowhere]}, deny: true",
        "idle": "minimumEncryption: HopByHop",
        "no-latency": "weights: {latency: 0, bandwidth: 0, loss: 0, hops: 0}",
        "no-money": "weights: {egressPrice: 0, load: 0, jitter: 0}",
    }
    head = "apiVersion: foremesh.io/v1alpha1\nkind: MeshPolicy\n"
    manifests = [f"{head}metadata: {{name: {name}}}\nspec: {{{spec}}}\n" for name, spec in specs.items()]
    (folder / "60-more.yaml").write_text("---\n".join(manifests))
    noted = document("-f", folder)["notes"]
    assert [one.partition(";")[0].partition(" of ")[0] for one in noted if "MeshPolic" in one] == [
        "MeshPolicy idle: what it asks holds without it for each Intent that it matches",
        "MeshPolicies no-latency and no-money leave Intent three-clouds/office-to-shop no weight over 0:",
        "MeshPolicy nobody: it matches no Intent",
    ]
