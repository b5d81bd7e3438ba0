"""``make demo-lab``: an Intent becomes packets, and moves when the network does. A story told on real parts.

Everything printed is read from where people would read it: kubectl, ping, counters in the kernel of the gateways.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foremesh.model.units import Milliseconds
from lab import build, requirements
from lab.build import BuildError
from lab.mesh import NAMESPACE, MeshLab
from lab.nodes import LabError
from lab.process import DaemonError, wait_until
from lab.traffic import Ping, Reply, transfer

INTENT, SOURCE, DESTINATION, PORT = "app-to-db", "app", "db", 5432
"""What manifests/examples/lab/intent.yaml declares."""

NEEDED = ("lab", "etcd", "apiserver", "helm", "prometheus")

TRANSFER_OCTETS = 16_000_000
"""Enough for a second or two at what two nested userspace tunnels carry."""
PING_OCTETS = 84
"""Bytes of a ping before anything is wrapped around it."""

WORSE_MS = 60.0
"""Milliseconds that the degradation adds each way: more than any other path costs."""

READY_TIMEOUT_S = 120.0
MOVE_TIMEOUT_S = 120.0
"""Seconds; both take about ten on two idle cores."""
MODELS = ("last", "median", "additive", "prophet")
PINGS = 40
"""Answers that a figure rests on: two seconds of a ping."""


class Failed(RuntimeError):
    """The story cannot go on; the message says what did not happen."""


class Story:
    """Prints what happens: with a spinner on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.wrong: list[str] = []
        self._started = time.monotonic()
        self._status = console.status("") if console.is_terminal else None

    def tell(self, text: str) -> None:
        """Say what is being done from now on."""
        stamp = f"{time.monotonic() - self._started:5.1f} s"
        self._print(f"[dim]{stamp}[/]  {escape(text)}")
        if self._status is not None:
            self._status.update(f"{escape(text)} ...")
            self._status.start()

    def show(self, command: str, output: str) -> None:
        """Print a command as a person would type it, and what it says."""
        self.quiet()
        self._print(f"\n[bold]$ {escape(command)}[/]\n{escape(output.strip())}\n")

    def check(self, holds: bool, text: str) -> None:
        """Print what was found, and remember it if it is not as it has to be."""
        mark = "[green]ok  [/]" if holds else "[red]FAIL[/]"
        self._print(f"         {mark} {escape(text)}")
        if not holds:
            self.wrong.append(text)

    def note(self, text: str) -> None:
        """Print something that explains what was found."""
        self._print(f"         [dim]{escape(text)}[/]")

    def quiet(self) -> None:
        """Stop the spinner, if there is one: what follows is printed in one piece."""
        if self._status is not None:
            self._status.stop()

    def _print(self, markup: str) -> None:
        # A line that is too long is the terminal's to break: a pipe, and who reads from it, wants it whole.
        self.console.print(markup, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Look:
    """The Intent at one time, and what a ping measured then."""

    path: str
    predicted_ms: float | None
    observed_ms: float | None
    model: str
    ping_ms: float

    @classmethod
    def at(cls, mesh: MeshLab, replies: Sequence[Reply]) -> Look:
        status = mesh.get("intent", INTENT)["status"]
        return cls(
            path=status.get("path", ""),
            predicted_ms=status.get("predicted", {}).get("latencyMs"),
            observed_ms=status.get("observed", {}).get("latencyMs"),
            model=status.get("forecastModel", ""),
            ping_ms=median(reply.rtt_ms for reply in replies),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        The exit status: 0 if everything was as it has to be, 1 if something was not, 2 if the machine cannot run it.
    """
    options = _parser().parse_args(arguments)
    console = Console(no_color=options.no_color)
    if lacks := list(dict.fromkeys(filter(None, map(requirements.missing, NEEDED)))):
        console.print("make demo-lab cannot run here:", style="bold red")
        for reason in lacks:
            console.print(f"  - {escape(reason.replace('make test', 'make demo-lab'))}", highlight=False)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="foremesh-demo-"))
    story = Story(console)
    mesh = MeshLab(folder, tell=story.tell)
    try:
        with build.on_path("wireguard-go"), mesh:
            _play(mesh, story)
            if options.keep:
                _keep(mesh, story)
    except (BuildError, DaemonError, Failed, LabError, RuntimeError, OSError, TimeoutError) as error:
        story.quiet()
        story.check(False, str(error))
    except KeyboardInterrupt:
        story.quiet()
        console.print("interrupted; everything is taken down")
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    finally:
        story.quiet()
    if left := mesh.leftovers():
        story.check(False, f"left behind: {', '.join(left)}")
    return _end(story, folder)


def _end(story: Story, folder: Path) -> int:
    if not story.wrong:
        story.console.print("\n[bold green]Everything was as it has to be; nothing is left behind.[/]")
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    story.console.print(f"\n[bold red]{len(story.wrong)} not as it has to be:[/]")
    for text in story.wrong:
        story.console.print(f"  - {escape(text)}", highlight=False)
    story.console.print(f"Logs of all programs are in {folder}/logs and {folder}/control-plane.", highlight=False)
    return 1


def _play(mesh: MeshLab, story: Story) -> None:
    limit_ms = _declare(mesh, story)
    before = _packets_flow(mesh, story, limit_ms)
    with _running_ping(mesh, story) as ping:
        after, took_s = _network_degrades(mesh, story, ping, before, limit_ms)
        lost, sent = ping.lost(), max(reply.sequence for reply in ping.replies())
    story.check(lost == 0, f"{lost} of {sent} packets of the running ping were lost")
    table = Table("", "before", "after", title="\nThe Intent, before and after the degradation")
    table.add_row("path", before.path, after.path)
    table.add_row("forecast round trip", _ms(before.predicted_ms), _ms(after.predicted_ms))
    table.add_row("measured by the mesh", _ms(before.observed_ms), _ms(after.observed_ms))
    table.add_row("measured by ping (median)", _ms(before.ping_ms), _ms(after.ping_ms))
    table.add_row("asked for", _ms(limit_ms), _ms(limit_ms))
    table.add_row("forecast model", before.model, after.model)
    table.add_row("time to move", "", f"{took_s:.1f} s")
    table.add_row("packets lost in the move", "", f"{lost} of {sent}")
    story.quiet()
    story.console.print(table)
    models = {model: mesh.metric("operator", "foremesh_forecast_series", metric="rtt", model=model) for model in MODELS}
    used = ", ".join(f"{count:.0f} by {model}" for model, count in models.items() if count)
    story.console.print(f"Round trips of links are forecast by the model that each one's past week favours: {used}.\n")


def _declare(mesh: MeshLab, story: Story) -> float:
    story.tell("kubectl apply -f manifests/examples/lab/intent.yaml")
    mesh.apply_example("intent.yaml")
    started = time.monotonic()
    mesh.wait_condition("intent", INTENT, "Ready", timeout_s=READY_TIMEOUT_S)
    story.check(True, f"the Intent is Ready, {time.monotonic() - started:.1f} s after kubectl apply")
    mesh.wait_condition("intent", INTENT, "Satisfied", timeout_s=READY_TIMEOUT_S)
    intent = mesh.get("intent", INTENT)
    limit_ms = float(Milliseconds.parse(intent["spec"]["requirements"]["maxLatency"]))
    for kinds in ("meshresources", "intents", "circuits"):
        command = ("get", kinds, f"--namespace={NAMESPACE}")
        story.show(f"kubectl {' '.join(command)}", mesh.control_plane.kubectl(*command).stdout)
    for runner_up in intent["status"].get("runnersUp", ()):
        predicted = runner_up.get("predicted", {})
        story.note(f"not chosen: {runner_up['path']}, {_ms(predicted.get('latencyMs'))} predicted")
    return limit_ms


def _packets_flow(mesh: MeshLab, story: Story, limit_ms: float) -> Look:
    address = mesh.mesh_address(DESTINATION)
    story.tell(f"ping from {SOURCE} to {DESTINATION} ({address})")
    with Ping(mesh.lab[SOURCE], address, mesh.folder / "logs/ping-before.log") as ping:
        replies = ping.wait_for(PINGS)
    look = Look.at(mesh, replies)
    story.check(ping.lost() == 0, f"{len(replies)} answers, median {_ms(look.ping_ms)}; {ping.lost()} lost")
    story.check(look.ping_ms <= limit_ms, f"{_ms(look.ping_ms)} is within the {_ms(limit_ms)} that the Intent asks for")
    transits = look.path.split(" > ")[1:-1]
    story.check(bool(transits), f"the path {look.path} is not the direct one, which would be too slow")
    counted = mesh.relayed()
    story.tell(f"TCP transfer of {TRANSFER_OCTETS // 1_000_000} MB from {SOURCE} to {DESTINATION}")
    done = transfer(mesh.lab[SOURCE], mesh.lab[DESTINATION], address, PORT, octets=TRANSFER_OCTETS)
    story.check(True, f"all of it arrived as it was sent, in {done.seconds:.1f} s: {done.mbit_s:.0f} Mbit/s")
    _check_path_used(mesh, story, transits, counted)
    return look


def _check_path_used(mesh: MeshLab, story: Story, transits: Sequence[str], before: dict[str, int]) -> None:
    for gateway, octets in mesh.relayed().items():
        relayed = octets - before[gateway]
        if gateway in transits:
            text = f"{gateway}, on the path, relayed {relayed / 1e6:.1f} MB of the circuit meanwhile"
            story.check(relayed >= TRANSFER_OCTETS, text)
        else:
            story.check(relayed == 0, f"{gateway}, no transit of the path, relayed {relayed} bytes")


@contextmanager
def _running_ping(mesh: MeshLab, story: Story) -> Iterator[Ping]:
    story.tell(f"a ping runs from {SOURCE} to {DESTINATION} from now on")
    with Ping(mesh.lab[SOURCE], mesh.mesh_address(DESTINATION), mesh.folder / "logs/ping-move.log") as ping:
        ping.wait_for(PINGS)
        yield ping


def _network_degrades(mesh: MeshLab, story: Story, ping: Ping, before: Look, limit_ms: float) -> tuple[Look, float]:
    now = Look.at(mesh, ping.wait_for(PINGS))
    if now.path != before.path:
        raise Failed(f"the circuit left {before.path} for {now.path} before anything was degraded")
    one, other = before.path.split(" > ")[:2]
    story.tell(f"{one}-{other} gets {WORSE_MS:.0f} ms slower, both ways")
    degraded_at_s = time.time()
    mesh.lab.internet.degrade(one, other, delay_ms=WORSE_MS, both_ways=True)
    worst = max(reply.rtt_ms for reply in ping.wait_for(PINGS))
    story.check(worst > limit_ms, f"the ping sees it: up to {_ms(worst)}")
    story.tell("waiting for the circuit to move")
    path = _wait(lambda: _other_path(mesh, before.path), MOVE_TIMEOUT_S, "the circuit did not move")
    story.check(path != before.path, f"the circuit runs {path} now")
    circuit = _circuit(mesh)
    mesh.wait_condition("circuit", circuit, "Ready", timeout_s=MOVE_TIMEOUT_S)
    met = _wait(
        lambda: [r for r in ping.wait_for(PINGS) if r.rtt_ms > limit_ms] == [], MOVE_TIMEOUT_S, "latency stays high"
    )
    story.check(met, f"{PINGS} answers in a row within {_ms(limit_ms)}")
    mesh.wait_condition("intent", INTENT, "Satisfied", timeout_s=MOVE_TIMEOUT_S)
    mesh.wait_condition("intent", INTENT, "Ready", timeout_s=MOVE_TIMEOUT_S)
    story.check(True, "the mesh's own probes say so too: Satisfied=True")
    counted = mesh.relayed()
    replies = ping.wait_for(PINGS)
    look = Look.at(mesh, replies)
    for gateway, octets in mesh.relayed().items():
        relayed = octets - counted[gateway]
        if gateway in look.path.split(" > ")[1:-1]:
            text = f"{gateway}, on the new path, relayed {relayed / 1e3:.1f} kB for {len(replies)} pings"
            story.check(relayed >= 2 * len(replies) * PING_OCTETS, text)
    late = [reply.at_s for reply in ping.replies() if reply.rtt_ms > limit_ms and reply.at_s > degraded_at_s]
    took_s = max(late, default=degraded_at_s) - degraded_at_s
    for kinds in ("intents", "circuits"):
        command = ("get", kinds, f"--namespace={NAMESPACE}")
        story.show(f"kubectl {' '.join(command)}", mesh.control_plane.kubectl(*command).stdout)
    return look, took_s


def _circuit(mesh: MeshLab) -> str:
    return str(mesh.get("intent", INTENT)["status"]["circuits"][0].rpartition("/")[2])


def _other_path(mesh: MeshLab, old: str) -> str:
    """The path that the circuit's traffic takes, once it is another; empty before."""
    path = str(mesh.get("circuit", _circuit(mesh))["status"].get("pathText", ""))
    return path if path != old else ""


def _wait(condition: Callable[[], Any], timeout_s: float, otherwise: str) -> Any:
    try:
        return wait_until(condition, timeout_s, every_s=0.25)
    except TimeoutError as error:
        raise Failed(f"{otherwise} within {timeout_s:.0f} s") from error


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"


def _keep(mesh: MeshLab, story: Story) -> None:
    story.quiet()
    prefix, address = mesh.lab.prefix, mesh.mesh_address(DESTINATION)
    story.console.print(
        f"\n[bold]The lab stays until Ctrl-C.[/] In another terminal, as root:\n"
        f"  export KUBECONFIG={mesh.control_plane.kubeconfig}\n"
        f"  {build.ensure('kubectl')} get foremesh --namespace {NAMESPACE}\n"
        f"  ip netns exec {prefix}-{SOURCE} ping {address}\n"
        f"  ip netns exec {prefix}-lon nft list table ip foremesh_hop    # what a transit relays\n"
        f"Prometheus: {mesh.prometheus.url}   logs: {mesh.folder}/logs",
        highlight=False,
        soft_wrap=True,
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        story.tell("taking everything down")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo-lab",
        description="Starts a Kubernetes control plane, etcd, Prometheus with a week of history, the mesh API, the "
        "operator and seven agents in network namespaces; applies an Intent, sends traffic, degrades a link and shows "
        "the circuit move. Needs Linux and root; takes about a minute, and minutes more when its parts are built for "
        "the first time. Touches nothing outside its namespaces but one link on 198.51.100.0/24.",
        epilog="Exit status: 0 everything was as it has to be, 1 something was not, 2 this machine cannot run it. "
        'Options go in DEMO_ARGS: make demo-lab DEMO_ARGS="--keep"',
    )
    parser.add_argument("--keep", action="store_true", help="keep it running until Ctrl-C, and say how to look around")
    parser.add_argument("--no-color", action="store_true", help="print without colours")
    return parser


if __name__ == "__main__":
    sys.exit(main())
