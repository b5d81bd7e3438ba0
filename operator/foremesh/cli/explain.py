"""``foremesh explain``: why traffic goes where it goes, or why it goes nowhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from foremesh.cli.terminal import BAD_INPUT, told, write

if TYPE_CHECKING:
    from foremesh.model.explanation import IntentExplanation

TIMEOUT_S = 15.0
"""Seconds that the mesh API gets; it gives the operator ten."""

MOST_BYTES = 64 * 2**20
"""Of an answer: some hundred thousand sources."""

folder = click.Path(path_type=Path)


@click.command(short_help="Say why an Intent's traffic takes the path that it takes.")
@click.argument("what", metavar="intent/NAME|circuit/NAME")
@click.option("-f", "--folder", "path", metavar="DIR", type=folder, help="Manifests and links.csv, as for plan.")
@click.option(
    "--api",
    "api_url",
    metavar="URL",
    envvar="FOREMESH_API",
    help="The mesh API inside the cluster, or the operator: where /v1/explanations is.",
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; without it, the current one.")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of a name alone; without it, the context's.")
@click.option("--history", metavar="FILE", type=folder, help="Measurements over time, as for plan; with -f.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format."
)
@click.option(
    "--config", metavar="FILE", type=folder, envvar="FOREMESH_CONFIG", help="The operator's configuration; with -f."
)
@told
def explain(
    what: str,
    path: Path | None,
    api_url: str | None,
    context: str | None,
    namespace: str | None,
    history: Path | None,
    output: str,
    config: Path | None,
) -> None:
    """Say why the traffic of an Intent takes its path: what the path costs, term by term, and the forecasts behind it;
    which paths came next and why they lost; which MeshPolicies had a say, those that overrule others first. Where no
    path does, how near the network comes to each requirement, and what it would have to be relaxed to.

    Of a Circuit, the same for every Intent that it carries. NAME is namespace/name, or a name alone.

    Without -f and --api it is read from statuses in the cluster of your kubeconfig, as by kubectl: the whole story of
    the source that is worst off, as of when its path, a condition or a policy last changed. The mesh API tells it of
    all sources, with the newest figures.

    \b
    Examples:
      foremesh explain intent/web-to-orders -n shop
      foremesh explain intent/payments -f manifests/examples/three-clouds
      kubectl -n foremesh-system port-forward service/foremesh-api-metrics 9465 &
      foremesh explain intent/shop/web-to-orders --api http://localhost:9465

    \b
    Exit code: 0; 1 for what nobody expected; 2 for input that cannot be used, or a name that nobody
    has; 3 if an Intent is not placed as it asks.
    """
    from foremesh.cli.explain_table import table
    from foremesh.cli.plan import NOT_PLACED, formatted, show, table_width
    from foremesh.decide.explained import PLACED
    from foremesh.model.manifest import write as plain

    clustered = context is not None or namespace is not None
    if path is None and history is not None:
        raise click.UsageError("--history is for -f; without it, what was decided is explained")
    if path is not None and _is_given("api_url"):
        raise click.UsageError("-f is for files, --api for what an operator decided; give one of them")
    if clustered and (path is not None or _is_given("api_url")):
        raise click.UsageError("--context and --namespace are of a kubeconfig; leave out -f and --api, or these")
    if path is not None:  # what is named here goes before what the environment says
        found = _planned(what, path, history, config)
    elif api_url is not None and not clustered:
        found = _told_by(api_url, what)
    else:
        found = _in_cluster(what, context, namespace)
    if output == "table":
        show(table(found, table_width()))
    else:
        write(formatted({"explained": what, "intents": [plain(one) for one in found]}, output))
    if any(not one.placements or any(each.state != PLACED for each in one.placements) for one in found):
        sys.exit(NOT_PLACED)


def _planned(what: str, path: Path, history: Path | None, config: Path | None) -> tuple[IntentExplanation, ...]:
    """What the operator would say of manifests in a folder."""
    from foremesh.cli.plan import settings_of
    from foremesh.decide import Unexplained, explain_object
    from foremesh.files import InputError, read_bundle
    from foremesh.offline import forecasts_of, plan_bundle

    bundle = read_bundle(path, history=history)
    settings = settings_of(config)
    decision = plan_bundle(bundle, settings, forecasts=forecasts_of(bundle, settings))
    try:
        return explain_object(what, decision, bundle.declared)
    except Unexplained as error:
        raise InputError(path, None, error.cause, error.cure) from error


def _is_given(name: str) -> bool:
    """Whether an option stands on the command line, and not in the environment."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _in_cluster(what: str, context: str | None, namespace: str | None) -> tuple[IntentExplanation, ...]:
    """What statuses say; ends the program if nothing can be asked, or nobody has such a name."""
    import asyncio

    from foremesh.controller.read_back import explain_in_cluster
    from foremesh.decide import Unexplained

    try:
        return asyncio.run(explain_in_cluster(what, context=context, namespace=namespace))
    except Unexplained as error:
        _refused(f"context {context}" if context else "the current context", str(error))


def _told_by(url: str, what: str) -> tuple[IntentExplanation, ...]:
    """What the operator says, by way of the mesh API; ends the program if it does not answer, or knows no such name."""
    import json
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import quote
    from urllib.request import urlopen

    from foremesh.model.checks import check_url
    from foremesh.model.explanation import IntentExplanation
    from foremesh.model.manifest import ManifestError, read

    try:
        check_url("--api", url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        with urlopen(f"{url.rstrip('/')}/v1/explanations/{quote(what)}", timeout=TIMEOUT_S) as answer:
            page = json.loads(answer.read(MOST_BYTES))
        return read(tuple[IntentExplanation, ...], page["intents"], where="explanation")
    except HTTPError as error:
        _refused(url, _said(error.read(MOST_BYTES)) or f"answers {error.code} {error.reason}")
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        _refused(url, f"does not answer: {why}; see that it runs and can be reached from here")
    except (ManifestError, ValueError, LookupError, TypeError):
        _refused(url, "its answer is no explanation; give the address of the mesh API inside the cluster")


def _refused(url: str, why: str) -> NoReturn:
    click.echo(f"{click.get_current_context().command_path}: {url}: {why}", err=True)
    sys.exit(BAD_INPUT)


def _said(body: bytes) -> str:
    import json

    try:
        return str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return ""
