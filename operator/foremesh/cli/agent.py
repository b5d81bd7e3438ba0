"""``foremesh agent run`` and ``leave``: the program beside a workload or on a gateway."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from foremesh.cli.terminal import BAD_INPUT

DEFAULT_CONFIG = Path("/etc/foremesh/agent.yaml")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="FOREMESH_AGENT_CONFIG",
    help="The agent's configuration file.",
)


@click.group(short_help="Run beside a workload or on a gateway; or leave the mesh.")
def agent() -> None:
    """On a gateway or beside a workload: set up circuits, probe them, tell the mesh."""


@agent.command()
@config_option
def run(config: Path) -> None:
    """Run until SIGTERM; tunnels keep carrying traffic after that."""
    _run("run", config)


@agent.command()
@config_option
def leave(config: Path) -> None:
    """Remove every interface, route, rule and table the agent made on this host."""
    _run("leave", config)


def _run(what: str, config: Path) -> None:
    import asyncio

    from foremesh.agent import agent as program
    from foremesh.agent import settings
    from foremesh.agent.host import HostError
    from foremesh.model.manifest import ManifestError

    try:
        asyncio.run(getattr(program, what)(settings.load(config)))
    except (ManifestError, HostError) as error:
        click.echo(f"foremesh agent {what}: {' '.join(str(error).split())}", err=True)
        sys.exit(BAD_INPUT if isinstance(error, ManifestError) else 1)
