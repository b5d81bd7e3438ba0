"""``foremesh plan --against``: what a pull request changes, starting from what is in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.planning import THREE_CLOUDS, assert_golden, copied, document, replaced, run

INTENTS, POLICY, LINKS = "30-intents.yaml", "40-policy.yaml", "links.csv"
PAYMENTS = "three-clouds/branch-munich-a-frankfurt-de42ae7a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, for a test to change."""
    return copied(THREE_CLOUDS, tmp_path)


def difference(new: Path, old: Path, *, code: int = 0) -> dict[str, Any]:
    result = run("-f", new, "--against", old, "-o", "yaml")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = yaml.safe_load(result.stdout)
    return found


def without(folder: Path, name: str) -> None:
    """Remove a gateway or an Intent, with its rows."""
    for file in folder.glob("*.yaml"):
        kept = [text for text in file.read_text().split("\n---\n") if f"\n  name: {name}\n" not in text]
        file.write_text("\n---\n".join(kept))
    rows = [row for row in (folder / LINKS).read_text().splitlines() if name not in row.split(",")[:2]]
    (folder / LINKS).write_text("\n".join(rows))


@pytest.mark.parametrize(("output", "suffix"), [("table", "txt"), ("yaml", "yaml"), ("json", "json")])
def test_a_policy_that_moves_a_circuit_as_reviewed(folder: Path, output: str, suffix: str) -> None:
    (folder / POLICY).unlink()
    assert_golden(f"plan-difference.{suffix}", run("-f", THREE_CLOUDS, "--against", folder, "-o", output).stdout)


def test_the_policy_of_the_example_visibly_changes_a_path(folder: Path) -> None:
    (folder / POLICY).unlink()
    found = difference(THREE_CLOUDS, folder)
    (moved,) = found["circuits"]["moved"]
    assert moved["circuit"] == PAYMENTS
    assert moved["from"]["pathText"] == "branch-munich > b-amsterdam > a-frankfurt"
    assert moved["to"]["pathText"] == "branch-munich > c-belgium > a-frankfurt"
    assert moved["from"]["predicted"]["latencyMs"] < moved["to"]["predicted"]["latencyMs"]
    touched = [one["config"].partition("/")[2] for one in found["configs"]["changed"]]
    # It moves to what was its standby, and c-london becomes that: nobody else is disturbed.
    assert touched == ["a-frankfurt", "b-amsterdam", "branch-munich", "c-london"]
    assert found["policies"]["added"] == ["three-clouds-payments-avoid-cloud-b"]


def test_an_intent_that_stays_although_the_plan_alone_would_choose_otherwise(folder: Path) -> None:
    (folder / POLICY).unlink()
    alone = next(one for one in document("-f", folder)["placements"] if one["intent"] == "three-clouds/payments")
    found = difference(folder, THREE_CLOUDS)
    (kept,) = found["intents"]["kept"]
    assert (kept["intent"], kept["pathText"]) == (alone["intent"], "branch-munich > c-belgium > a-frankfurt")
    assert alone["pathText"] == "branch-munich > b-amsterdam > a-frankfurt"
    assert kept["reason"].endswith(f"by {alone['pathText']} is within the 10% margin")
    assert found["circuits"]["moved"] == []
    told = run("-f", folder, "--against", THREE_CLOUDS).stdout
    assert "= intent payments from erp stays: kept branch-munich > c-belgium > a-frankfurt: gain" in told
    assert "within the 10% margin" in told


def test_nothing_changes_between_a_folder_and_itself() -> None:
    result = run("-f", THREE_CLOUDS, "--against", THREE_CLOUDS)
    assert (result.exit_code, result.stdout) == (0, "no difference\n")
    for output, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        found = read(run("-f", THREE_CLOUDS, "--against", THREE_CLOUDS, "-o", output).stdout)
        assert not any(entries for part in found.values() for entries in part.values())


def test_new_comments_make_no_difference(folder: Path) -> None:
    replaced(folder / INTENTS, "# The office looks", "# Nobody looks")
    assert run("-f", folder, "--against", THREE_CLOUDS).stdout == "no difference\n"


def test_an_intent_that_can_be_placed_no_more_is_3(folder: Path) -> None:
    replaced(folder / INTENTS, "    maxLatency: 250ms", "    maxLatency: 90ms")
    found = difference(folder, THREE_CLOUDS, code=3)
    (lost,) = found["intents"]["infeasible"]
    assert lost["intent"] == "three-clouds/orders-from-asia"
    assert lost["infeasible"]["nearest"] == "145ms"
    assert [one["from"] for one in found["circuits"]["removed"]] == ["three-clouds/b-singapore"]


def test_an_intent_that_could_not_be_placed_before_is_no_fault_of_the_change(folder: Path) -> None:
    replaced(folder / INTENTS, "maxLatency: 80ms", "maxLatency: 79ms")
    assert difference(folder, THREE_CLOUDS)["intents"]["infeasible"] == []


def test_a_new_intent_that_cannot_be_placed_is_3(folder: Path) -> None:
    without(folder, "live-stock-from-asia")
    found = difference(THREE_CLOUDS, folder, code=3)
    assert [one["intent"] for one in found["intents"]["infeasible"]] == ["three-clouds/live-stock-from-asia"]


def test_an_intent_whose_service_nobody_offers_any_more_is_3(folder: Path) -> None:
    replaced(folder / "20-workloads.yaml", "{name: thumbnails, port: 443}", "{name: pictures, port: 443}")
    found = difference(folder, THREE_CLOUDS, code=3)
    (lost,) = found["intents"]["infeasible"]
    assert (lost["intent"], lost["problem"]["reason"]) == ("three-clouds/pictures-to-thumbnails", "NoCandidate")
    assert found["intents"]["removed"] == [], "it is there still, and cannot be placed"


def test_links_were_measured_without_what_is_only_planned(folder: Path, tmp_path: Path) -> None:
    """What is left of a link is the same whether the Intent that has most of it was placed a moment ago or now."""
    one = """
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {name: one, namespace: three-clouds}
spec: {from: {resource: erp}, to: {resource: shop-eu}, requirements: {minBandwidth: 600M, maxLatency: 15ms}}
"""
    two = one.replace("name: one", "name: two").replace("600M", "390M")
    (folder / INTENTS).write_text(one)
    both = copied(folder, tmp_path / "both")
    (both / INTENTS).write_text(f"{one}---{two}")
    alone = next(each for each in document("-f", both)["placements"] if each["intent"] == "three-clouds/two")
    (lost,) = difference(both, folder, code=3)["intents"]["infeasible"]
    assert lost["infeasible"] == alone["infeasible"]
    assert "branch-munich->b-amsterdam has 130M of 730M left" in lost["infeasible"]["message"]


def test_an_intent_that_can_be_placed_at_last(folder: Path) -> None:
    replaced(folder / INTENTS, "maxLatency: 80ms", "maxLatency: 150ms")
    found = difference(folder, THREE_CLOUDS)
    assert [one["intent"] for one in found["intents"]["feasible"]] == ["three-clouds/live-stock-from-asia"]
    assert [one["intents"] for one in found["circuits"]["made"]] == [["three-clouds/live-stock-from-asia"]]


def test_an_intent_that_goes_takes_its_circuit_along(folder: Path) -> None:
    without(folder, "payments")
    found = difference(folder, THREE_CLOUDS)
    assert [one["circuit"] for one in found["circuits"]["removed"]] == [PAYMENTS]
    assert [one["intent"] for one in found["intents"]["removed"]] == ["three-clouds/payments"]
    assert [one["name"] for one in found["objects"]["removed"]] == [PAYMENTS.partition("/")[2]]


def test_a_gateway_that_goes_moves_what_it_relayed_and_renumbers_nobody(folder: Path) -> None:
    without(folder, "b-amsterdam")
    found = difference(folder, THREE_CLOUDS)
    moved = {one["to"]["pathText"] for one in found["circuits"]["moved"]}
    assert len(moved) >= 3
    assert not any("b-amsterdam" in path for path in moved)
    assert found["configs"]["removed"] == ["three-clouds/b-amsterdam"]
    fields = {field for one in found["configs"]["changed"] for field in one["fields"]}
    assert not fields & {"number", "meshAddress", "hopAddress", "meshPrefix", "attached"}


def test_a_gateway_whose_name_comes_early_renumbers_nobody(folder: Path) -> None:
    without(folder, "a-ireland")
    found = difference(THREE_CLOUDS, folder)
    assert found["configs"]["added"] == ["three-clouds/a-ireland"]
    fields = {field for one in found["configs"]["changed"] for field in one["fields"]}
    assert not fields & {"number", "meshAddress", "hopAddress", "meshPrefix", "attached"}


def test_a_slightly_better_path_moves_nothing(folder: Path) -> None:
    """What is in place stays within the margin, as in a running mesh; a plan from nothing would choose otherwise."""
    rows = (folder / LINKS).read_text()
    for src, dst in (("branch-munich", "c-belgium"), ("c-belgium", "branch-munich")):
        (row,) = [row for row in rows.splitlines() if row.startswith(f"{src},{dst},")]
        fields = row.split(",")
        rows = rows.replace(row, ",".join([src, dst, str(round(float(fields[2]) - 3.4, 1)), *fields[3:]]))
    (folder / LINKS).write_text(rows)
    fresh = {one["intent"]: one.get("pathText") for one in document("-f", folder)["placements"]}
    assert fresh["three-clouds/office-to-shop"] == "branch-munich > c-belgium > a-frankfurt"
    assert difference(folder, THREE_CLOUDS)["circuits"]["moved"] == []


def test_a_history_is_that_of_both(folder: Path, tmp_path: Path) -> None:
    """The network does not change with a pull request: a gateway that one side lacks has no say in the other."""
    without(folder, "b-amsterdam")
    rows = [f"branch-munich->b-amsterdam,{1_900_000_000 + 60 * minute},{8 + minute % 2}" for minute in range(120)]
    rows += [f"branch-munich->c-belgium,{1_900_000_000 + 60 * minute},{12 + minute % 2}" for minute in range(120)]
    history = tmp_path / "measured.csv"
    history.write_text("\n".join(["series,time,value", *rows]))
    result = run("-f", THREE_CLOUDS, "--against", folder, "--history", history, "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert "b-amsterdam" in {one["config"].partition("/")[2] for one in found["configs"]["changed"]} | {
        id_.partition("/")[2] for id_ in found["configs"]["added"]
    }
    assert run("-f", THREE_CLOUDS, "--against", THREE_CLOUDS, "--history", history).stdout == "no difference\n"


def test_notes_and_what_shadows_would_change_are_told_where_policies_are_reviewed(folder: Path) -> None:
    (folder / "50-more.yaml").write_text(
        """\
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: typo}
spec: {avoid: {regions: [mars]}}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshPolicy
metadata: {name: later}
spec: {mode: Shadow, match: {ports: [8443]}, avoid: {gateways: [c-belgium]}}
"""
    )
    note = "MeshPolicy typo: no gateway has region mars (spec.avoid.regions): it keeps nothing out"
    found = difference(folder, THREE_CLOUDS)
    assert found["notes"] == {"added": [note], "removed": []}
    (shadow,) = found["policies"]["shadows"]
    assert (shadow["policy"], shadow["shadow"]["movedIntents"]) == ("later", 1)
    told = " ".join(run("-f", folder, "--against", THREE_CLOUDS).stdout.split())
    assert f"note: {note}" in told
    assert "shadow MeshPolicy later: enforced, it would move 1 Intent" in told
    assert f"- note: {note}" in " ".join(run("-f", THREE_CLOUDS, "--against", folder).stdout.split())
    assert run("-f", folder, "--against", folder).stdout == "no difference\n"


def test_a_standby_that_changes_is_told_although_nothing_moves(folder: Path) -> None:
    (folder / POLICY).unlink()
    found = difference(folder, THREE_CLOUDS)
    assert found["circuits"]["moved"] == []
    (one,) = found["circuits"]["standbys"]
    assert one["circuit"] == PAYMENTS
    was, now = one["from"]["pathText"], one["to"]["pathText"]
    assert "b-amsterdam" in now
    told = " ".join(run("-f", folder, "--against", THREE_CLOUDS).stdout.split())
    assert f"~ circuit {PAYMENTS.partition('/')[2]} falls over to {now} instead of {was}" in told
    assert "0 moved, 1 standby changed;" in told


def test_an_intent_of_many_sources_is_named_once(folder: Path) -> None:
    (folder / "50-more.yaml").write_text(
        """\
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {name: all, namespace: three-clouds}
spec:
  from: {selector: {}}
  to: {service: payments}
  requirements: {maxLatency: 1ms}
"""
    )
    assert len(difference(folder, THREE_CLOUDS, code=3)["intents"]["infeasible"]) > 1
    assert run("-f", folder, "--against", THREE_CLOUDS).stdout.splitlines()[-1].endswith("; see all")
    assert " sources of Intents placed, " in " ".join(run("-f", folder).stdout.splitlines()[-2:])


def test_lines_fit_100_columns(folder: Path) -> None:
    without(folder, "b-amsterdam")
    replaced(folder / INTENTS, "    maxLatency: 250ms", "    maxLatency: 90ms")
    for new, old in ((folder, THREE_CLOUDS), (THREE_CLOUDS, folder)):
        assert max(map(len, run("-f", new, "--against", old).stdout.splitlines())) <= 100


def test_it_is_said_where_each_latency_is_from_and_to(folder: Path) -> None:
    (folder / POLICY).unlink()
    said = " ".join(run("-f", THREE_CLOUDS, "--against", folder).stdout.split())
    assert "to branch-munich > c-belgium > a-frankfurt (16.4 ms between its gateways, " in said
    assert "~ intent payments from erp (end to end): moved from " in said


def test_the_difference_fits_sixty_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / POLICY).unlink()
    without(folder, "live-stock-from-asia")
    monkeypatch.setenv("COLUMNS", "60")
    for old, new in ((folder, THREE_CLOUDS), (THREE_CLOUDS, folder)):
        assert max(map(len, run("-f", new, "--against", old).stdout.splitlines())) <= 60
