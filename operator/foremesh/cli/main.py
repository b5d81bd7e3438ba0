"""``foremesh operator | api | agent``: one command for every program of the mesh.

Each subcommand imports its room when it is called, so that an agent loads neither a Kubernetes client nor a forecaster.
"""

from __future__ import annotations

import gc
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from foremesh.cli.agent import agent
from foremesh.cli.backtest import backtest
from foremesh.cli.configuration import configuration
from foremesh.cli.demo import demo
from foremesh.cli.explain import explain
from foremesh.cli.graph import graph
from foremesh.cli.plan import plan
from foremesh.cli.simulate import simulate
from foremesh.cli.terminal import INTERRUPTED, one_thread_each, told

DEFAULT_CONFIG = Path("/etc/foremesh/config.yaml")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="FOREMESH_CONFIG",
    help="The configuration file; the Helm chart mounts it.",
)


class Interruptible(click.Group):
    """Ends with one line and the exit code of shells when somebody presses Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"{ctx.info_name} {ctx.invoked_subcommand}: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=Interruptible, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("foremesh"), prog_name="foremesh")
@click.option("-v", "--verbose", is_flag=True, help="Also log what is only of interest when something is wrong.")
def cli(verbose: bool) -> None:
    """Network paths that will be good: forecast, chosen and set up before they are needed."""
    one_thread_each()
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("kopf", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.INFO if verbose else logging.WARNING)


@cli.command()
@config_option
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="KUBECONFIG",
    help="Kubeconfig file; inside a cluster the pod's service account is used.",
)
@told
def operator(config: Path, kubeconfig: Path | None) -> None:
    """Watch what is declared, plan, and set it up."""
    import asyncio

    from foremesh.controller import run

    asyncio.run(run.run(configuration(config), kubeconfig))


@cli.command(short_help="Serve the mesh API, from which agents get their configs.")
@config_option
@told
def api(config: Path) -> None:
    """Serve the mesh API, which agents register with and get their configs from."""
    import asyncio

    from foremesh.api import run

    asyncio.run(run.run(configuration(config)))


for command in (plan, explain, simulate, backtest, graph, demo, agent):
    cli.add_command(command)


def main() -> None:
    """Entry point of the ``foremesh`` command."""
    try:
        cli()
    finally:
        gc.freeze()  # the process ends: a last search for cycles would cost a tenth of a large plan, and free nothing
