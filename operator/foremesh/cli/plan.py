"""``foremesh plan``: what the operator would do with a folder of manifests; and what a change to it would do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foremesh.cli.configuration import configuration
from foremesh.cli.terminal import WIDTH, columns, render, told, write
from foremesh.collection import uncollected

if TYPE_CHECKING:
    from foremesh.cli.plan_document import Planned
    from foremesh.files import Bundle
    from foremesh.settings import Settings

NOT_PLACED = 3
"""Exit code where an Intent cannot be placed as it asks."""

folder = click.Path(path_type=Path)


@click.command(short_help="Say what the operator would do with a folder of manifests.")
@click.option("-f", "--folder", "path", metavar="DIR", type=folder, required=True, help="Manifests and links.csv.")
@click.option(
    "--history",
    metavar="FILE",
    type=folder,
    help="Measurements over time (series,time,value; CSV or Parquet) instead of DIR/history.csv or .parquet.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="json and yaml also have every agent's config and every object that would be applied.",
)
@click.option("--against", metavar="DIR", type=folder, help="Show what changes if DIR is in place now.")
@click.option(
    "--config",
    metavar="FILE",
    type=folder,
    envvar="FOREMESH_CONFIG",
    help="The operator's configuration; without it, as the Helm chart installs it.",
)
@uncollected()
@told
def plan(path: Path, history: Path | None, output: str, against: Path | None, config: Path | None) -> None:
    """Say what the operator would do with the manifests in DIR, without a cluster.

    For each Intent and source: the circuit, its path and where it falls over to, the figures predicted
    for it, why this path and what the next best would cost more; or why there is none, and the nearest figure that
    could be had. An agent is taken to run on every gateway and workload. What is not measured is unknown: it meets no
    requirement, and never counts as 0.

    \b
    Beside the manifests, DIR may hold
      links.csv            one row for each direction of a link: src,dst and any of
                           underlay,rtt_ms,jitter_ms,loss,throughput,capacity,price
      history.csv|parquet  series,time,value: what was measured over time

    With --against, the difference that a pull request makes: circuits that are made, removed or moved, Intents that can
    be placed no more or at last, or that stay although another path is a little cheaper, standbys, what policies in
    shadow would change, names that nobody has, configs, objects.

    \b
    Examples:
      foremesh plan -f manifests/examples/three-clouds
      foremesh plan -f proposed --against in-place -o json

    \b
    Exit code: 0; 1 for what nobody expected; 2 for input that cannot be used; 3 if an Intent cannot be placed as it
    asks (with --against: one that is new or that could be placed before).
    """
    settings = settings_of(config)
    bundle = _read(path, history)
    if against is None:
        _plan(path, bundle, settings, output)
    else:
        _compare(against, bundle, settings, output, shared_history=history is not None)


def _plan(path: Path, bundle: Bundle, settings: Settings, output: str) -> None:
    from foremesh.cli.plan_document import PLACED, document
    from foremesh.cli.plan_table import table

    found = document(_planned(bundle, settings), applied=output != "table")
    if output == "table":
        show(table(found, str(path), table_width()))
    else:
        write(formatted(found, output))
    if any(one["state"] != PLACED for one in found["placements"]):
        sys.exit(NOT_PLACED)


def _compare(against: Path, bundle: Bundle, settings: Settings, output: str, *, shared_history: bool) -> None:
    from dataclasses import replace

    from foremesh.cli.plan_difference import difference, difference_table
    from foremesh.cli.plan_document import document

    in_place = _read(against, None)
    if shared_history:
        in_place = _as_measured(in_place, bundle)
    before = _planned(in_place, settings)
    after = _planned(bundle, settings, before)
    old = document(replace(before, apart=after.parallel))
    new = document(replace(after, apart=before.parallel))
    found = difference(old, new)
    if output == "table":
        show(difference_table(found, old, new, table_width()))
    else:
        write(formatted(found, output))
    if found["intents"]["infeasible"]:
        sys.exit(NOT_PLACED)


def _planned(bundle: Bundle, settings: Settings, before: Planned | None = None) -> Planned:
    from foremesh.cli.plan_document import Planned
    from foremesh.offline import forecasts_of, plan_bundle

    forecasts = forecasts_of(bundle, settings)
    decision = plan_bundle(bundle, settings, forecasts=forecasts, before=before.decision if before else None)
    return Planned(bundle, forecasts, decision)


def _read(path: Path, history: Path | None) -> Bundle:
    from foremesh.files import read_bundle

    return read_bundle(path, history=history)


def _as_measured(in_place: Bundle, bundle: Bundle) -> Bundle:
    """What is in place, with the measurements of another bundle for every series that both could have: the network is
    one and the same, whatever is declared on it."""
    from dataclasses import replace

    from foremesh.model.link import LinkId

    known = in_place.declared.resources.keys()

    def has(key: Any) -> bool:
        return {key.src, key.dst} <= known if isinstance(key, LinkId) else key in known

    measured = {
        metric: {**in_place.series.get(metric, {}), **{key: one for key, one in series.items() if has(key)}}
        for metric, series in bundle.series.items()
    }
    return replace(in_place, series={**in_place.series, **measured}, now_s=bundle.now_s)


def settings_of(config: Path | None) -> Settings:
    """The operator's settings from a file, or as the chart installs it."""
    from foremesh.files.text import check_file
    from foremesh.offline import installed_settings

    if config is None:
        return installed_settings()
    check_file(config)
    return configuration(config)


def formatted(found: dict[str, Any], output: str) -> str:
    """Plain data as JSON or YAML."""
    if output == "json":
        import msgspec

        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    from foremesh.cli.yaml_text import yaml_text

    return yaml_text(found)


def table_width() -> int:
    """Columns of the table; sentences over the whole of a wide screen are hard to read."""
    return min(columns(), WIDTH)


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Lines as they are, and with their colours on a terminal that wants them."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        from rich.text import Text

        write(render(*(Text(text, style) for text, style in lines)))
    else:
        write("".join(f"{text}\n" for text, _ in lines))
