"""A whole mesh on real parts: control plane, etcd, Prometheus with a past, API, operator, and agents in the lab.

    with MeshLab(folder) as mesh:
        mesh.apply_example("intent.yaml")
        mesh.wait_condition("intent", "app-to-db", "Ready")

The operator runs with the service account of the Helm chart, in the root namespace, as do the API and Prometheus;
agents run in the namespaces of their gateways and workloads and reach the API over the management network.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from lab import build, configs, history
from lab.certs import Authority
from lab.controlplane import ControlPlane
from lab.etcd import EtcdServer
from lab.nodes import LabError
from lab.process import Daemon, DaemonError, free_port, wait_until
from lab.prometheus import PrometheusServer
from lab.topology import Lab, Topology, five_gateways

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "manifests/examples/lab"
CHARTS = ROOT / "charts"

NAMESPACE = "lab"
"""Of the MeshResources and Intents in the examples."""
SYSTEM_NAMESPACE = "foremesh-system"
UNDERLAY = "internet"
"""The name that the examples give to the network between the gateways."""

HISTORY_AGE_S = 20.0
"""Seconds between the newest sample of history and now: live samples follow by the time the agents run."""

START_TIMEOUT_S = 60.0
"""Seconds for a program to answer; they take 2 to 5 on two idle cores, most of it imports."""
REQUEST_TIMEOUT_S = 5.0
"""Seconds for a request of this module."""

WAYS_MS = {("ams", "fra"): 60.0, ("ams", "par"): 15.0, ("par", "fra"): 14.0}
"""One-way delays, both ways, that differ from the scene's: a round trip between the sites takes 36 ms by lon, 58 ms by
par and 120 ms directly, at the quietest hour. No noise of a busy machine makes one look like the next."""


def scene() -> Topology:
    """Five gateways, the ways from site to site far apart from each other."""
    built = five_gateways()
    ways = {way: delay_ms for (a, b), delay_ms in WAYS_MS.items() for way in ((a, b), (b, a))}
    return replace(
        built, pairs=built.pairs | {way: replace(built.pairs[way], delay_ms=delay_ms) for way, delay_ms in ways.items()}
    )


class MeshLab:
    """Everything of one mesh, from entering the context until leaving it, however it is left.

    Args:
        folder: Where data, credentials and logs go.
        topology: Gateways and workloads; they must be those of the manifests.
        manifests: Folder with ``gateways.yaml``, ``workloads.yaml`` and whatever else is applied; by default the
            examples.
        tell: Called with a line for people at each step.

    Attributes:
        lab: The namespaces and the Internet between them.
        control_plane, etcd, prometheus: Kubernetes; the mesh's own etcd; Prometheus.
        operator, api: The programs.
        agents: By node name.
        operator_user: The user name of the service account that the operator runs as.

    Raises:
        LabError, DaemonError, BuildError: On entering, if something does not start; nothing is left behind then.
    """

    lab: Lab
    control_plane: ControlPlane
    etcd: EtcdServer
    prometheus: PrometheusServer
    operator: Daemon
    api: Daemon

    def __init__(
        self,
        folder: Path,
        *,
        topology: Topology | None = None,
        manifests: Path = EXAMPLES,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.manifests = manifests
        self.topology = topology or scene()
        self.agents: dict[str, Daemon] = {}
        self.operator_user = ""
        self._tell = tell
        self._stack = ExitStack()
        self._sessions: dict[int, str] = {}
        self._excused = 0
        self._foremesh = Path(sys.executable).parent / "foremesh"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, last started first. The second time it does nothing."""
        self._stack.close()

    def leftovers(self) -> list[str]:
        """What of this mesh is still on the machine, for people to read; empty after its end."""
        found = self.lab.leftovers() if hasattr(self, "lab") else []
        return found + [f"process {pid} of {self._sessions[session]}" for pid, session in self._descendants()]

    # What people and tests do with it

    def apply_example(self, name: str) -> None:
        """``kubectl apply`` a file of manifests/examples/lab, or of the folder given instead."""
        self.control_plane.kubectl("apply", "-f", self.manifests / name)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object of the examples' namespace as ``kubectl get -o json`` shows it.

        Raises:
            RuntimeError: If it is not there, or the API server is not.
        """
        return self.control_plane.get(kind, name, f"--namespace={NAMESPACE}")

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind in the examples' namespace."""
        found: list[dict[str, Any]] = self.control_plane.get(kind, f"--namespace={NAMESPACE}")["items"]
        return found

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any] | None:
        """A condition of an object that was decided for its present generation; None if there is none (yet)."""
        body = self.get(kind, name)
        for condition in body.get("status", {}).get("conditions", []):
            if condition["type"] == type_ and condition.get("observedGeneration") == body["metadata"]["generation"]:
                return dict(condition)
        return None

    def wait_condition(
        self,
        kind: str,
        name: str,
        type_: str,
        status: str = "True",
        *,
        reason: str | None = None,
        timeout_s: float = 60.0,
    ) -> dict[str, Any]:
        """Wait until an object says so, for its present generation.

        Raises:
            TimeoutError: If it does not; names the conditions that it has.
        """

        def met() -> dict[str, Any] | None:
            found = self.condition(kind, name, type_)
            met = found is not None and found["status"] == status and reason in (None, found["reason"])
            return found if met else None

        try:
            found = wait_until(
                met, timeout_s, what=f"{kind} {name} {type_}={status}", ignoring=(RuntimeError,), every_s=0.25
            )
        except TimeoutError as error:
            with suppress(RuntimeError):
                raise TimeoutError(f"{error}; it says {self.get(kind, name).get('status')}") from error
            raise
        assert found is not None
        return found

    def mesh_address(self, name: str) -> str:
        """The mesh address of a MeshResource."""
        return str(self.get("meshresource", name)["status"]["meshAddress"])

    def metric(self, program: str, name: str, **labels: str) -> float | None:
        """A sample of what ``operator``, ``api`` or a node's agent exports; the sum where several have these labels."""
        where = self._inside.get(program) or f"http://{self.lab[program].mgmt_address}:{configs.METRICS_PORT}"
        with urllib.request.urlopen(f"{where}/metrics", timeout=REQUEST_TIMEOUT_S) as response:
            families = text_string_to_metric_families(response.read().decode())
        values = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def relayed(self) -> dict[str, int]:
        """Bytes of circuits that the kernel of each gateway relayed between others, by its labels' counters."""
        return {gateway: self._relayed_by(gateway) for gateway in self.lab.gateways}

    def _relayed_by(self, gateway: str) -> int:
        listed = json.loads(self.lab[gateway].exec("nft", "-j", "list", "counters").stdout)["nftables"]
        counters = [item["counter"] for item in listed if "counter" in item]
        return sum(int(c["bytes"]) for c in counters if c["name"].startswith("label_"))

    def logs(self) -> dict[str, Path]:
        """Log files by program."""
        return {path.stem: path for path in sorted((self.folder / "logs").glob("*.log"))}

    def refused(self) -> list[str]:
        """Requests of the operator that Kubernetes answered with 403, one line each."""
        return self.control_plane.forbidden(self.operator_user)[self._excused :]

    # Programs that tests stop and start

    @contextmanager
    def without_kubernetes(self) -> Iterator[None]:
        """End the API server as a crash would, and start it again on leaving."""
        before = len(self.refused())
        self.control_plane.stop_apiserver()
        try:
            yield
        finally:
            self.control_plane.start_apiserver()
            # Until it is ready, an API server has not read who may do what, and refuses everybody.
            self._excused += len(self.refused()) - before

    def start_operator(self, **planning: str) -> None:
        """Start the operator; ``planning`` overrides fields of its configuration's ``planning``."""
        config = self._write_settings("operator", planning)
        self.operator = Daemon(
            [self._foremesh, "operator", "--config", config, "--kubeconfig", self._operator_kubeconfig],
            log=self.folder / "logs/operator.log",
            name="foremesh operator",
        ).start(lambda: self._answers(f"{self._inside['operator']}/healthz"), timeout_s=START_TIMEOUT_S)
        self._stack.callback(self.operator.stop)
        self._record(self.operator, "foremesh operator")

    def start_api(self) -> None:
        """Start the mesh API on its old addresses."""
        config = self._write_settings("api", {})
        self.api = Daemon(
            [self._foremesh, "api", "--config", config], log=self.folder / "logs/api.log", name="foremesh api"
        ).start(lambda: self._answers(f"{self._inside['api']}/healthz"), timeout_s=START_TIMEOUT_S)
        self._stack.callback(self.api.stop)
        self._record(self.api, "foremesh api")

    def start_agent(self, name: str) -> None:
        """Start the agent of a gateway or workload with the token that the operator put into a Secret; does not wait
        until it answers."""
        node, folder = self.lab[name], self.folder / "agents" / name
        folder.mkdir(parents=True, exist_ok=True)
        secret = self.get("secret", f"{name}-foremesh-agent")
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_bytes(base64.b64decode(secret["data"]["token"]))
        config = folder / "agent.yaml"
        settings = configs.of_agent(
            node, NAMESPACE, api=self._api, ca_file=self._authority.cert_file, token_file=token, state=folder / "state"
        )
        config.write_text(yaml.safe_dump(settings))
        self.agents[name] = node.daemon(
            [self._foremesh, "agent", "run", "--config", config],
            self.folder / f"logs/agent-{name}.log",
        )
        self._record(self.agents[name], f"the agent of {name}")

    def wait_agent(self, name: str) -> None:
        """Wait until a started agent answers.

        Raises:
            DaemonError: If it ended instead.
        """
        daemon = self.agents[name]

        def answers_or_ended() -> bool:
            return not daemon.running or self._answers(
                f"http://{self.lab[name].mgmt_address}:{configs.METRICS_PORT}/healthz"
            )

        wait_until(answers_or_ended, START_TIMEOUT_S, what=f"agent of {name}", ignoring=(OSError,))
        if not daemon.running:
            raise DaemonError(f"agent of {name} ended; {daemon.describe_log()}")

    # How it is put together

    def _start(self) -> None:
        for tool in build.TOOLS:
            if not build.find(tool):
                self._tell(f"building {tool} (once; minutes from a cold cache)")
            build.ensure(tool)
        # First, so that it ends last, and because it turns SIGTERM into an exception that unwinds all of this.
        self._tell(f"network: {len(self.topology.gateways)} gateways, {len(self.topology.workloads)} workloads")
        self.lab = self._stack.enter_context(Lab(self.topology))
        self._stack.callback(self._kill_descendants)
        self._choose_addresses()
        self._tell("Prometheus: a week of the links' history")
        self.prometheus = self._make_prometheus()
        self._tell("Kubernetes control plane and the mesh's etcd")
        self.control_plane = self._stack.enter_context(ControlPlane(self.folder / "control-plane"))
        self.etcd = self._stack.enter_context(EtcdServer(self.folder / "etcd"))
        self._record(self.etcd.daemon, "etcd")
        self._tell("CRDs and Helm chart")
        self._install_charts()
        self._tell("mesh API and operator")
        self.start_api()
        self.start_operator()
        self._stack.enter_context(self.prometheus)
        self._record(self.prometheus.daemon, "prometheus")
        self._tell("kubectl apply: gateways and workloads")
        self.apply_example("gateways.yaml")
        self.apply_example("workloads.yaml")
        self._tell("agents")
        for node in self.lab.nodes:
            wait_until(
                lambda name=node.name: self.get("secret", f"{name}-foremesh-agent"),
                30.0,
                what=f"Secret with the token of {node.name}",
                ignoring=(RuntimeError,),
                every_s=0.25,
            )
            self.start_agent(node.name)
        for node in self.lab.nodes:
            self.wait_agent(node.name)
        for node in self.lab.nodes:
            self.wait_condition("meshresource", node.name, "Ready")

    def _choose_addresses(self) -> None:
        examples = [
            b for b in yaml.safe_load_all((self.manifests / "gateways.yaml").read_text()) if b["kind"] != "Namespace"
        ]
        declared = {body["metadata"]["name"]: body["spec"]["gateway"]["endpoint"] for body in examples}
        real = {name: f"{node.underlay_address}:{configs.HOP_PORT}" for name, node in self.lab.gateways.items()}
        if declared != real:
            raise LabError(
                f"{self.manifests}/gateways.yaml declares {declared}, the lab has {real}; no tunnel could come up"
            )
        host = self.lab.mgmt_address
        self._authority = Authority(self.folder / "tls", "foremesh lab")
        self._api = configs.Api(
            listen=f"{host}:{free_port(host)}",
            inside=f"127.0.0.1:{free_port()}",
            certificate=self._authority.issue("foremesh-api", ips=[host]),
        )
        self._operator_metrics = f"127.0.0.1:{free_port()}"
        self._inside = {"operator": f"http://{self._operator_metrics}", "api": f"http://{self._api.inside}"}

    def _make_prometheus(self) -> PrometheusServer:
        discovery = {"url": f"http://{self._api.inside}/v1/sd/prometheus", "refresh_interval": "1s"}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "foremesh-agents", "http_sd_configs": [discovery]}],
        }
        server = PrometheusServer(self.folder / "prometheus", config)
        text = self.folder / "history.om"
        end_s = time.time() - HISTORY_AGE_S
        history.write(text, self.topology, namespace=NAMESPACE, underlay=UNDERLAY, end_s=end_s)
        server.backfill(text)
        text.unlink()
        return server

    def _install_charts(self) -> None:
        self.control_plane.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        )
        for chart in ("foremesh-crds", "foremesh"):
            self.control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=self._render(chart))
        for name in _crds():
            self.control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{name}")
            # For a moment after that the API server refuses to list them: "storage is (re)initializing".
            wait_until(lambda name=name: self.control_plane.get(name), 30.0, what=name, ignoring=(RuntimeError,))
        account = self._operator_account()
        self.operator_user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"
        self._operator_kubeconfig = self.control_plane.service_account_kubeconfig(SYSTEM_NAMESPACE, account)

    def _render(self, chart: str) -> str:
        argv = [build.ensure("helm"), "template", "foremesh", CHARTS / chart, f"--namespace={SYSTEM_NAMESPACE}"]
        done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise LabError(f"helm template {chart}: {done.stderr.strip()}; nothing is installed")
        return done.stdout

    def _operator_account(self) -> str:
        """The service account of the Deployment that runs the operator."""
        for body in yaml.safe_load_all(self._render("foremesh")):
            if body and body["kind"] == "Deployment":
                pod = body["spec"]["template"]["spec"]
                words = [w for c in pod["containers"] for w in (*c.get("command", ()), *c.get("args", ()))]
                if "operator" in words:
                    return str(pod["serviceAccountName"])
        raise LabError("chart foremesh: no Deployment runs `foremesh operator`; there is no account to run it with")

    def _write_settings(self, program: str, planning: Mapping[str, str]) -> Path:
        path = self.folder / f"{program}.yaml"
        settings = configs.of_operator_and_api(
            etcd=self.etcd, prometheus=self.prometheus, api=self._api, metrics=self._operator_metrics, planning=planning
        )
        path.write_text(yaml.safe_dump(settings))
        return path

    def _answers(self, url: str) -> bool:
        with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_S) as response:
            return bool(response.status == 200)

    # Nothing may stay

    def _record(self, daemon: Daemon, name: str) -> None:
        """Every daemon leads a session of its own, so what it started can be found by that."""
        self._sessions[daemon.pid] = name

    def _descendants(self) -> list[tuple[int, int]]:
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it ended meanwhile
                state, _, _, session = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) in self._sessions and state != "Z":
                    found.append((int(entry), int(session)))
        return found

    def _kill_descendants(self) -> None:
        """A killed operator cannot end the processes that fit models for it."""
        for pid, _ in self._descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _crds() -> list[str]:
    return [yaml.safe_load(path.read_text())["metadata"]["name"] for path in sorted((ROOT / "crds").glob("*.yaml"))]
