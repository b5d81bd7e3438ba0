"""A Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback.

There is no node and no scheduler: pods stay Pending. The controller manager is there because without it a deleted
namespace stays Terminating and owner references collect nothing.
"""

import json
import ssl
import subprocess
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab import build
from lab.certs import Authority, write_key
from lab.etcd import EtcdServer
from lab.process import Daemon, free_port, wait_until

READY_TIMEOUT_S = 120.0
"""Seconds for the API server or the controller manager to serve; 5 s on an idle machine, builds may run beside it."""

REQUEST_TIMEOUT_S = 10.0
"""Seconds a readiness request may take."""

KUBECTL_TIMEOUT_S = 120.0
"""Seconds a kubectl call may take; above every ``--timeout`` a test would give it."""

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Issuer and audience of service-account tokens, as in a cluster made by kubeadm."""

CONTROLLERS = ",".join(
    (
        "namespace-controller",
        "garbage-collector-controller",
        "serviceaccount-controller",
        "serviceaccount-token-controller",
        "root-ca-certificate-publisher-controller",
        "clusterrole-aggregation-controller",
    )
)
"""What tests rely on; workload controllers would only make pods that nothing can run."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # The control plane's own chatter is most of the log and never what a test asks about.
        {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager"]},
        {"level": "Metadata"},
    ],
}


class ControlPlane:
    """An API server with RBAC, its etcd and its controller manager.

    Args:
        folder: Where data, logs, credentials and kubeconfigs go.

    Attributes:
        context_name: The name of the cluster and of the context in every kubeconfig it writes; no two instances share
            one, so code under test can refuse any other.
        server: The API server's URL.
        ca_file: The authority that signed its certificate.
        kubeconfig: Credentials of an administrator (``system:masters``).
        token: The same administrator's bearer token.
        audit_log: The API server's audit log, JSON lines.
        etcd: The cluster's own etcd.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.context_name = f"foremesh-lab-{uuid.uuid4().hex[:12]}"
        port = free_port()
        self.server = f"https://127.0.0.1:{port}"
        self.audit_log = folder / "audit.log"
        self.etcd = EtcdServer(folder / "etcd")
        authority = Authority(folder / "certs", "kubernetes lab")
        self.ca_file = authority.cert_file
        self._kubectl = build.ensure("kubectl")

        self.token, controller_token = uuid.uuid4().hex, uuid.uuid4().hex
        tokens = folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(
            f'{self.token},lab-admin,lab-admin,"system:masters"\n'
            f"{controller_token},system:kube-controller-manager,system:kube-controller-manager\n"
        )
        self.kubeconfig = self._write_kubeconfig("admin", self.token)
        self._apiserver = self._make_apiserver(authority, port, tokens)
        self._controller_manager = self._make_controller_manager(controller_token)

    def __enter__(self) -> Self:
        try:
            self.etcd.start()
            self.start_apiserver()
            self._controller_manager.start(self._controllers_healthy, timeout_s=READY_TIMEOUT_S)
            # Pods are refused until their namespace has its service account: the first namespace shows that
            # controllers work.
            wait_until(
                lambda: not self.kubectl("get", "serviceaccount", "default", check=False).returncode,
                READY_TIMEOUT_S,
                what="service account of namespace default",
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The controller manager first: it would only log that the API server is gone.
        self._controller_manager.stop()
        self.stop_apiserver()
        self.etcd.stop()

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready.

        Raises:
            DaemonError: If it does not get there.
        """
        self._apiserver.start(self._apiserver_ready, timeout_s=READY_TIMEOUT_S)

    def stop_apiserver(self) -> None:
        """End the API server as a crash would: watches break, connections are refused, data stays."""
        self._apiserver.kill()

    def kubectl(
        self, *args: str | Path, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl of the same version, by default as the administrator.

        Args:
            args: Its arguments.
            stdin: Text for ``-f -``.
            check: Whether a non-zero exit raises.
            kubeconfig: Whose credentials to use instead.

        Raises:
            RuntimeError: If it exits non-zero and ``check`` holds; the message has its error output.
        """
        argv = [
            self._kubectl,
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.folder / 'kubectl-cache'}",
        ]
        done = subprocess.run(
            [*map(str, argv), *map(str, args)], input=stdin, capture_output=True, text=True, timeout=KUBECTL_TIMEOUT_S
        )
        if check and done.returncode:
            words = " ".join(map(str, args))
            raise RuntimeError(
                f"kubectl {words} exited {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def apply(self, *manifests: dict[str, Any], kubeconfig: Path | None = None) -> None:
        """Apply manifests on the server's side, as the administrator or with the credentials given.

        Raises:
            RuntimeError: If the API server refuses one; the message is the API server's.
        """
        text = yaml.safe_dump_all(manifests)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=text, kubeconfig=kubeconfig)

    def get(self, *args: str) -> dict[str, Any]:
        """Return ``kubectl get ARGS -o json``.

        Raises:
            RuntimeError: If it is not there.
        """
        found: dict[str, Any] = json.loads(self.kubectl("get", *args, "-o", "json").stdout)
        return found

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Write credentials of an existing service account, with a token good for a day, from the TokenRequest API."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=24h").stdout.strip()
        return self._write_kubeconfig(f"{namespace}-{name}", token)

    def wait_established(self, *crds: str) -> None:
        """Wait until the API server serves what CRDs define.

        Args:
            crds: Their names, such as ``intents.foremesh.io``.

        Raises:
            TimeoutError: If it does not.
        """
        # A CRD that was just created has no conditions, and kubectl wait then fails instead of waiting.
        for name in crds:
            waiting = ("wait", "--for=condition=Established", "--timeout=10s", f"crd/{name}")
            wait_until(
                lambda waiting=waiting: not self.kubectl(*waiting, check=False).returncode,
                READY_TIMEOUT_S,
                what=f"CRD {name} to be served",
            )

    def forbidden(self, user_prefix: str = "") -> list[str]:
        """List the requests the API server answered with 403, oldest first, one line each.

        Args:
            user_prefix: Count only users that start so, for instance ``system:serviceaccount:foremesh-system:``.

        Returns:
            Lines like ``system:serviceaccount:a:b list /api/v1/namespaces/a/secrets: RBAC: ...``.
        """
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        refused = []
        for event in map(json.loads, lines):
            user, status = event["user"]["username"], event.get("responseStatus", {})
            if status.get("code") == 403 and user.startswith(user_prefix):
                refused.append(f"{user} {event['verb']} {event['requestURI']}: {status.get('message', '')}")
        return refused

    def _make_apiserver(self, authority: Authority, port: int, tokens: Path) -> Daemon:
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        serving = authority.issue("kube-apiserver", dns=names, ips=["127.0.0.1"])
        signing = ec.generate_private_key(ec.SECP256R1())
        self._signing_key, verifying_key = self.folder / "certs/sa.key", self.folder / "certs/sa.pub"
        write_key(signing, self._signing_key)
        verifying_key.write_bytes(
            signing.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(AUDIT_POLICY))
        return Daemon(
            [
                build.ensure("kube-apiserver"),
                f"--etcd-servers={self.etcd.endpoint}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--tls-cert-file={serving.cert_file}",
                f"--tls-private-key-file={serving.key_file}",
                f"--cert-dir={self.folder / 'certs'}",
                f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-signing-key-file={self._signing_key}",
                f"--service-account-key-file={verifying_key}",
                "--service-cluster-ip-range=10.96.0.0/16",
                # Loopback may not be advertised, and nobody reaches this API server through the kubernetes Service.
                "--endpoint-reconciler-type=none",
                # Sidecars ask for capabilities; whether a pod may is a matter of policy, not of this flag.
                "--allow-privileged",
                f"--audit-policy-file={policy}",
                f"--audit-log-path={self.audit_log}",
                # An answer is in the log before the client has it: forbidden() needs no waiting.
                "--audit-log-mode=blocking-strict",
            ],
            log=self.folder / "kube-apiserver.log",
        )

    def _make_controller_manager(self, token: str) -> Daemon:
        port = free_port()
        self._controllers_health = f"https://127.0.0.1:{port}/healthz"
        kubeconfig = self._write_kubeconfig("kube-controller-manager", token)
        return Daemon(
            [
                build.ensure("kube-controller-manager"),
                f"--kubeconfig={kubeconfig}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={self.folder / 'controller-manager'}",
                "--leader-elect=false",
                f"--controllers={CONTROLLERS}",
                "--use-service-account-credentials",
                f"--service-account-private-key-file={self._signing_key}",
                f"--root-ca-file={self.ca_file}",
            ],
            log=self.folder / "kube-controller-manager.log",
        )

    def _write_kubeconfig(self, user: str, token: str) -> Path:
        name = self.context_name
        path = self.folder / f"{user}.kubeconfig"
        path.touch(mode=0o600)
        cluster = {"server": self.server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def _apiserver_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        request = urllib.request.Request(f"{self.server}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S, context=context) as response:
            return bool(response.status == 200)

    def _controllers_healthy(self) -> bool:
        # The controller manager signs its own certificate, and a health answer is no secret.
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(self._controllers_health, timeout=REQUEST_TIMEOUT_S, context=context) as response:
            return bool(response.status == 200)
