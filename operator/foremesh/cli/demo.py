"""``foremesh demo``: plan a folder of manifests, simulate a day of it, and show what came of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foremesh.cli.simulate import HIGHEST_SEED, Contested
from foremesh.cli.terminal import Days, check_writable, columns, progress, render, told, write, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from foremesh.decide import Decision
    from foremesh.drawing.values import Applied, ReportIntent
    from foremesh.simulation.contest import Contest
    from foremesh.simulation.run import Run

SEED = 2
"""A day on which links of the example fill up and one is cut; on others, little happens and every policy does well."""


ANSWER = "demo.json"
"""Results as data; where it lies, an earlier demo has written what lies beside it."""

GATEWAYS = "gateways"


@click.command(cls=Contested, short_help="Plan a folder, simulate a day of it, and write a report.")
@click.option("-f", "folder", type=click.Path(path_type=Path), required=True, help="Manifests, with links.csv beside.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True)
@click.option("--days", type=Days(), default=1.0, show_default=True, help="To simulate.")
@click.option(
    "--seed",
    type=click.IntRange(0, HIGHEST_SEED),
    default=SEED,
    show_default=True,
    help="Of the world; on this day things happen.",
)
@click.option("-j", "--jobs", type=click.IntRange(1), help="Processes; one for each processor if left out.")
@told
def demo(folder: Path, out: Path, days: float, seed: int, jobs: int | None) -> None:
    """Plan a mesh, simulate a day of it, and write what would be applied.

    Only the network and its agents are simulated: planning, forecasts and configurations are the operator's own code.
    """
    from foremesh.cli import report
    from foremesh.drawing import render_report
    from foremesh.files import read_bundle
    from foremesh.offline import installed_settings, plan_bundle
    from foremesh.simulation import topology
    from foremesh.simulation.contest import Contest, runs

    check_writable(out)
    _check_ours(out)
    bundle = read_bundle(folder)
    place = topology.from_bundle(bundle, folder)
    with progress("planning") as show:
        decision = plan_bundle(bundle, installed_settings())
        show(1.0)
    applied = _applied(decision)
    contest = Contest(topology=place, days=days, bundle=bundle)
    with progress(f"simulating {report.days(days)}") as show:
        found = runs(contest, seed, jobs=jobs, progress=show)
    whole = report.of_runs(contest, seed, found, title=f"Foremesh: {folder.name}", applied=applied)
    with written(out):
        out.mkdir(exist_ok=True)
    # First of all, as it is what tells that the folder beside it may be replaced.
    write(json.dumps(_json(contest, seed, found, whole.intents), indent=2) + "\n", out / ANSWER)
    _write_applied(applied, decision, out)
    write(render_report(whole), out / "report.html")
    write(render(*_summary(contest, found, whole.intents, out)))


def _check_ours(out: Path) -> None:
    """See that the folder of gateways is not there, or is an earlier demo's, which is replaced.

    Raises:
        InputError: If somebody else made it: nothing of theirs is deleted, and nothing mixed with it.
    """
    from foremesh.files import InputError

    folder = out / GATEWAYS
    if not (folder.exists() or folder.is_symlink()):
        return
    try:
        ours = json.loads((out / ANSWER).read_text()).keys() >= {"simulated", "policies", "intents"}
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours or folder.is_symlink() or not folder.is_dir():
        cause = f"cannot be written: it is there, and no folder of an earlier demo, which leaves {ANSWER} beside it"
        raise InputError(folder, None, cause, "move it away, or give another path to --out")


def _applied(decision: Decision) -> tuple[Applied, ...]:
    from foremesh.agent.show import as_texts
    from foremesh.drawing.values import Applied

    keys = {member.id: member.registration.keys for member in decision.state.members if member.registration}
    return tuple(
        Applied(id_, as_texts(config, keys[id_])) for id_, config in sorted(decision.configs.items()) if id_ in keys
    )


def _write_applied(applied: Iterable[Applied], decision: Decision, out: Path) -> None:
    import yaml

    from foremesh.model.manifest import write as plain

    Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    def dump(path: Path, documents: Iterable[Any]) -> None:
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.dump_all(documents, Dumper=Dumper, sort_keys=False))

    folders = out / GATEWAYS
    _check_ours(out)  # again: simulating takes minutes
    if folders.exists():
        with written(folders):
            shutil.rmtree(folders)
    for one in applied:
        folder = folders / one.member.rpartition("/")[2]
        dump(folder / "config.yaml", [plain(decision.configs[one.member])])
        for name, text in one.texts.items():
            with written(folder / name):
                (folder / name).write_text(text)
    dump(out / "policies.yaml", [pinned.manifest for pinned in decision.pinned])


def _json(contest: Contest, seed: int, found: Mapping[str, Run], told_of: tuple[ReportIntent, ...]) -> dict[str, Any]:
    from foremesh.cli.report import as_json
    from foremesh.cli.simulate import about
    from foremesh.simulation.score import score, side_by_side, to_json

    scores = side_by_side({name: score(run) for name, run in found.items()})
    return {
        "simulated": about(contest, [seed]),
        "policies": to_json({seed: scores})["policies"],
        "intents": as_json(told_of),
    }


def _summary(contest: Contest, found: Mapping[str, Run], told_of: tuple[ReportIntent, ...], out: Path) -> Iterator[Any]:
    from foremesh.cli.report import SIMULATED, days
    from foremesh.cli.tables import Column, drawn
    from foremesh.cli.tables import policies as policy_table
    from foremesh.simulation.score import score, side_by_side, verdict

    yield "[bold]Simulated here, and not measured:[/bold]"
    for line in SIMULATED:
        yield f"  {line}"
    yield ""
    intents = (
        Column("intent", [one.name.rpartition("/")[2] for one in told_of], least=14),
        Column("circuit, or why not", [one.path or one.why_not for one in told_of], least=16),
        Column("asked\nms", [_number(one.limit_ms) for one in told_of], 2),
        Column("predicted\nms", [_number(one.predicted_ms) for one in told_of], 4),
        Column("actual\nms", [_number(one.actual_ms) for one in told_of], 1),
        Column("moves", [str(len(one.moves)) if one.path else "-" for one in told_of], 3),
        Column("minutes\nmissed", [_number(one.violation_minutes, 0) if one.path else "all" for one in told_of]),
    )
    yield from drawn(intents, columns(), title=f"What Foremesh did for each intent over {days(contest.days)}")
    yield ""
    scores = side_by_side({name: score(run) for name, run in found.items()})
    yield "Ways to choose paths, in the same world:"
    for line in verdict(scores):
        yield f"  {line}"
    yield from policy_table(scores, columns())
    yield (
        f"\nWritten to {out}: report.html (mesh on a map, forecasts against what came, moves), demo.json,\n"
        "gateways/NAME (WireGuard, nftables, routes), policies.yaml (network policies)."
    )


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
