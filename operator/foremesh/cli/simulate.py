"""``foremesh simulate``: policies that choose paths, beside each other, in worlds made from seeds or recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from foremesh.cli.terminal import Days, check_writable, columns, progress, render, told, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from foremesh.simulation.contest import Contest
    from foremesh.simulation.score import Score

DEFAULT_TOPOLOGY = "topozoo/Geant2012"

MOST_SEEDS = 1000
"""More is a typing error."""

HIGHEST_SEED = 999_999_999
"""As many digits as people still compare."""

IDLE = {
    "matrix": ("world", "days", "seeds", "policies", "intents", "every", "jobs"),
    "trace": ("world",),
    "folder": ("intents",),
}
"""Options that a mesh has no use for, by parameter."""

IDLE_WHY = {
    "matrix": "judges every slice of its file once, with no policy and no world",
    "trace": "is a world that was recorded, and none is made up",
    "folder": "has the Intents to serve, and none are made up",
}

ASKED = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)

file = click.Path(path_type=Path, dir_okay=False)


class Seeds(click.ParamType[tuple[int, ...]]):
    """``7``, ``1-20``, ``1-5,9``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        from foremesh.files.errors import shown

        if isinstance(value, tuple):
            return value
        found: dict[int, None] = {}
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
            if match is None:
                self.fail(f"{value!r} is no list of seeds; write it like 7, 1-20 or 1-5,9", param, ctx)
            first, last = match[1], match[2] or match[1]
            if max(map(len, (first, last))) > len(str(HIGHEST_SEED)):
                self.fail(f"{part.strip()} is beyond the highest seed, {HIGHEST_SEED:,}", param, ctx)
            if int(last) < int(first):
                self.fail(f"{part.strip()} is no range from low to high", param, ctx)
            # One more than allowed is enough to know, and a range may have a billion.
            found |= dict.fromkeys(range(int(first), min(int(last), int(first) + MOST_SEEDS) + 1))
            if len(found) > MOST_SEEDS:
                self.fail(f"{shown(value)} are more than {MOST_SEEDS:,} seeds, the most at once", param, ctx)
        return tuple(found)


class Policies(click.ParamType[tuple[str, ...]]):
    """Names of policies, with commas between."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from foremesh.simulation.policies import POLICIES

        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not names:
            self.fail(f"{value!r} names no policy; there are {', '.join(POLICIES)}", param, ctx)
        if unknown := [name for name in names if name not in POLICIES]:
            self.fail(f"no policy is called {', '.join(unknown)}; there are {', '.join(POLICIES)}", param, ctx)
        return names


class Contested(click.Command):
    """A command that shows how policies compare."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from foremesh.simulation.score import GAP_TEXT

        formatter.write_paragraph()
        formatter.write_text(GAP_TEXT[0].upper() + GAP_TEXT[1:])


@click.command(cls=Contested)
@click.option("--topology", metavar="NAME", help=f"A topology of topohub, such as {DEFAULT_TOPOLOGY} (the default).")
@click.option("--links", type=file, help="CSV: src,dst,rtt_ms or places, capacity, price; a link in each row.")
@click.option("--regions", type=file, help="CSV: name,latitude,longitude,provider,region; all pairs are linked.")
@click.option("-f", "folder", type=click.Path(path_type=Path), help="Manifests, with the Intents to serve.")
@click.option("--trace", type=file, help="A recording to replay: CSV or Parquet series,time,value; series src->dst.")
@click.option("--matrix", type=file, help="NPZ with rtt_ms (slices, n, n): direct or relayed, slice by slice.")
@click.option(
    "--world",
    type=click.Choice(["diurnal", "aperiodic", "mixed"]),
    default="diurnal",
    show_default=True,
    help="How traffic changes: with the clock, without, or half of it each.",
)
@click.option(
    "--days",
    type=Days(),
    help="After the warm-up week; 1 if left out. A --trace is split: its first seven days, or the first half of eight "
    "or fewer, are for learning; all that follow are played if left out.",
)
@click.option("--seed", "--seeds", "seeds", type=Seeds(), default="1", show_default=True, help="7, 1-20 or 1-5,9.")
@click.option("--policies", type=Policies(), help="Which compete, with commas between; all if left out.")
@click.option("--intents", type=click.IntRange(1, 2000), default=40, show_default=True, help="Made up, without -f.")
@click.option("--every", type=click.IntRange(1, 60), default=5, show_default=True, help="Minutes between plans.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Processes; one for each processor if left out.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "html"]), default="table", show_default=True)
@click.option("--out", type=file, help="Write there and not to the terminal.")
@told
def simulate(
    topology: str | None,
    links: Path | None,
    regions: Path | None,
    folder: Path | None,
    trace: Path | None,
    matrix: Path | None,
    world: str,
    days: float | None,
    seeds: tuple[int, ...],
    policies: tuple[str, ...] | None,
    intents: int,
    every: int,
    jobs: int | None,
    output: str,
    out: Path | None,
) -> None:
    """Let policies that choose paths compete in a simulated mesh.

    Everything about the world is made up from its seed; what is real is the planner and the forecasts, which are the
    operator's own. Each policy sees the same probes, the same faults and the same week of history before the first day.

    \b
    foremesh simulate --topology topozoo/Geant2012 --days 3 --seeds 1-3
    foremesh simulate -f manifests/examples/three-clouds -o html --out report.html
    """
    given = {"--topology": topology, "--links": links, "--regions": regions, "-f": folder, "--trace": trace}
    sources = [name for name, value in {**given, "--matrix": matrix}.items() if value is not None]
    if len(sources) > 1:
        raise click.UsageError(f"{' and '.join(sources)} exclude each other: give one mesh to simulate")
    if topology == "":
        raise click.UsageError(f"--topology is empty; name a topology, such as {DEFAULT_TOPOLOGY}, or leave it out")
    _refuse_idle(click.get_current_context())
    if output == "html" and len(seeds) > 1:
        raise click.UsageError("a report shows one world; give one --seed with -o html")
    check_writable(out)
    if matrix is not None:
        _matrix(matrix, output, out)
        return
    contest = _contest(topology, links, regions, folder, trace, world, days, intents, every, policies)
    if output == "html":
        _report(contest, seeds[0], jobs, out)
    else:
        _compete(contest, seeds, jobs, output, out)


def _refuse_idle(ctx: click.Context) -> None:
    """Refuse what somebody asked for and would not get: options that the mesh given has no use for."""
    for mesh, idle in IDLE.items():
        if ctx.params[mesh] is None:
            continue
        options = {str(one.name): one.opts for one in ctx.command.params}
        if given := [options[name][-1] for name in idle if ctx.get_parameter_source(name) in ASKED]:
            raise click.UsageError(f"{', '.join(given)}: {options[mesh][0]} {IDLE_WHY[mesh]}; leave it out")


def _contest(
    topology: str | None,
    links: Path | None,
    regions: Path | None,
    folder: Path | None,
    trace: Path | None,
    kind: str,
    days: float | None,
    intents: int,
    every: int,
    policies: tuple[str, ...] | None,
) -> Contest:
    from foremesh.files import InputError, read_bundle
    from foremesh.simulation import topology as topologies
    from foremesh.simulation.contest import Contest
    from foremesh.simulation.demand import DAY_MINUTES
    from foremesh.simulation.policies import POLICIES
    from foremesh.simulation.replay import replay

    bundle, samples = None, None
    if folder is not None:
        bundle = read_bundle(folder)
        place = topologies.from_bundle(bundle, folder)
    elif trace is not None:
        samples = topologies.read_trace(trace)
        place = topologies.from_trace(samples)
        recorded = replay(samples, days=days, path=trace)
        there = (recorded.minutes - recorded.warmup_minutes) / DAY_MINUTES
        if days is not None and days - there > 1 / DAY_MINUTES:
            cause = f"holds {there:.2f} days after what is for learning, and --days asks for {days:g}"
            raise InputError(trace, None, cause, "ask for fewer, or leave --days out for all of it")
        days = there
    elif links is not None:
        place = topologies.from_links_csv(links)
    elif regions is not None:
        place = topologies.from_regions(regions)
    else:
        place = topologies.load(topology or DEFAULT_TOPOLOGY)
    return Contest(
        topology=place,
        kind=kind,
        days=days or 1.0,
        intents=intents,
        policies=policies or tuple(POLICIES),
        every=every,
        bundle=bundle,
        trace=samples,
    )


def _compete(contest: Contest, seeds: tuple[int, ...], jobs: int | None, output: str, out: Path | None) -> None:
    from foremesh.simulation.contest import compete
    from foremesh.simulation.score import to_json

    with progress(_what(contest, len(seeds))) as show:
        worlds = compete(contest, seeds, jobs=jobs, progress=show)
    if output == "json":
        write(json.dumps({"world": about(contest, seeds)} | to_json(worlds), indent=2) + "\n", out)
    else:
        write(render(*tables(contest, worlds, out), to=out), out)


def _what(contest: Contest, seeds: int) -> str:
    from foremesh.cli.report import days

    count = len(contest.policies)
    every = f"{count} {'policy' if count == 1 else 'policies'}, {seeds} seed{'s' * (seeds > 1)}"
    return f"simulating {contest.topology.name}, {days(round(contest.days, 3))}: {every}"


def about(contest: Contest, seeds: Iterable[int]) -> dict[str, Any]:
    """What was simulated, as plain data."""
    from foremesh.simulation.world import WORLD_VERSION

    return {
        "version": WORLD_VERSION,
        "kind": "trace" if contest.trace is not None else contest.kind,
        "topology": contest.topology.name,
        "gateways": len(contest.topology.places),
        "links": len(contest.topology.links),
        "days": round(contest.days, 3),
        "seeds": list(seeds),
    }


def tables(contest: Contest, worlds: Mapping[int, Mapping[str, Score]], out: Path | None = None) -> Iterator[Any]:
    """The contest for people: policies side by side, then who won which seed."""
    from foremesh.cli.report import days
    from foremesh.cli.tables import by_seed
    from foremesh.cli.tables import policies as policy_table
    from foremesh.simulation.policies import POLICIES, REACTIVE
    from foremesh.simulation.score import OURS, best_reactive, duel, mean

    what = about(contest, worlds)
    made = "replayed from a recording" if contest.trace is not None else f"made up, version {what['version']}"
    yield (
        f"{what['topology']}: {what['gateways']} gateways, {what['links']} directed links, {days(what['days'])}, "
        f"{what['kind']} world ({made}), {len(worlds)} seed{'s' * (len(worlds) > 1)}\n"
    )
    yield from policy_table(mean([*worlds.values()]), columns(out))
    yield ""
    for name in [*POLICIES]:
        if name in contest.policies:
            yield f"  [bold]{name}[/bold]: {POLICIES[name].what}"
    some = [*worlds.values()]
    if OURS not in some[0] or not any(name in some[0] for name in REACTIVE):
        return
    best = duel(some, best_reactive)
    yield (
        f"\n{OURS} against the best reactive policy of each seed, by violation minutes: "
        f"{best.won} won, {best.lost} lost, {best.tied} tied"
    )
    if len(worlds) > 1:
        yield from by_seed(worlds, columns(out))


def _report(contest: Contest, seed: int, jobs: int | None, out: Path | None) -> None:
    from foremesh.cli import report
    from foremesh.drawing import render_report
    from foremesh.simulation.contest import runs

    with progress(_what(contest, 1)) as show:
        found = runs(contest, seed, jobs=jobs, progress=show)
    write(render_report(report.of_runs(contest, seed, found)), out)


def _matrix(path: Path, output: str, out: Path | None) -> None:
    from foremesh.simulation import matrix

    if output == "html":
        raise click.UsageError("--matrix has no report; use -o table or json")
    rtt_ms = matrix.load(path)
    with progress("judging") as show:
        result = matrix.judge(rtt_ms, progress=show)
    found = matrix.to_json(result)
    if output == "json":
        write(json.dumps(found, indent=2) + "\n", out)
    else:
        means = ", ".join(f"{name} {found[f'{name}_ms']:.1f} ms" for name in ("direct", "chosen", "oracle"))
        slices, nodes, _ = rtt_ms.shape
        what = f"{path.name}: {slices} slices of {nodes} nodes, the first {matrix.WARMUP} for warm-up and not judged"
        write(f"{what}\nmean round trip: {means}; {found['share_worse']:.1%} of pairs worse than direct\n", out)
