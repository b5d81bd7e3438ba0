"""Builds the programs that tests and the demo run: a Kubernetes control plane, etcd, helm, Lua, a userspace WireGuard;
from pinned Go modules.

Releases cannot be downloaded everywhere a test runs; Go modules can, and go.sum pins what they hold. Each program is
built once per version into the user's cache folder. An older kubectl or etcd on PATH is never used: it would decide
what the tests mean.

``python -m lab.build`` (with ``PYTHONPATH=tests``) builds them all, ``python -m lab.build helm`` only what is named.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent

GO_MINIMUM = (1, 26)
"""Kubernetes 1.36, etcd 3.7 and helm 4 name Go 1.26 in their go.mod, and GOTOOLCHAIN may not download a newer one
here."""

PROGRESS_EVERY_S = 1.0
"""Seconds between two updates of the elapsed time on a terminal."""


class BuildError(RuntimeError):
    """A program is not there and could not be built; the message says why and what a person can do."""


@dataclass(frozen=True)
class Tool:
    """A program built from one of the Go modules beside this file.

    Attributes:
        name: The program's name, as it is called in ``KUBEBUILDER_ASSETS``.
        folder: The folder under ``tests/lab`` with the go.mod that pins it.
        module: The Go module whose version in that go.mod is the program's version.
        package: The package to build.
        stamp: Linker variables for the version, since a build from the module cache knows no git tag. ``{version}``,
            ``{major}`` and ``{minor}`` are filled in.
    """

    name: str
    folder: str
    module: str
    package: str
    stamp: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version go.mod pins, without its ``v``."""
        text = (HERE / self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require)?\s*{re.escape(self.module)} v(\S+)", text, re.MULTILINE)
        if not found:
            raise BuildError(
                f"{self.folder}/go.mod does not require {self.module}; {self.name} has no version to build"
            )
        return found[1]

    @property
    def built(self) -> Path:
        """Where the program is, or will be, once built."""
        return tools_folder() / f"{self.name}-{self.version}" / self.name

    @property
    def ldflags(self) -> str:
        version = self.version
        major, minor = version.split(".")[:2]
        return " ".join(["-s -w", *(f"-X {s.format(version=version, major=major, minor=minor)}" for s in self.stamp)])


KUBERNETES_STAMP = tuple(
    f"k8s.io/component-base/version.{variable}"
    for variable in ("gitVersion=v{version}", "gitMajor={major}", "gitMinor={minor}")
)

HELM_STAMP = ("helm.sh/helm/v4/internal/version.version=v{version}",)

TOOLS = {
    tool.name: tool
    for tool in (
        # Quick ones first: who waits sees something finish, and tests of etcd alone do not wait for the API server.
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", "."),
        *(
            Tool(name, "controlplane", "k8s.io/kubernetes", f"k8s.io/kubernetes/cmd/{name}", KUBERNETES_STAMP)
            for name in ("kube-apiserver", "kube-controller-manager", "kubectl")
        ),
        # Debian 12's is of 2022 and takes every packet by itself; this one takes many at once, as the kernel's does.
        Tool("wireguard-go", "wireguard", "golang.zx2c4.com/wireguard", "golang.zx2c4.com/wireguard"),
        # The Lua that Argo CD runs health checks in.
        Tool("glua", "glua", "github.com/yuin/gopher-lua", "github.com/yuin/gopher-lua/cmd/glua"),
        Tool("helm", "helm", "helm.sh/helm/v4", "helm.sh/helm/v4/cmd/helm", HELM_STAMP),
    )
}


def tools_folder() -> Path:
    """The cache folder for built programs; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "foremesh" / "tools"


def find(name: str) -> Path | None:
    """Find a program without building it: in ``KUBEBUILDER_ASSETS`` first, then in the cache; None if it is in
    neither."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        given = Path(assets) / name
        if os.access(given, os.X_OK):
            return given.absolute()
    built = TOOLS[name].built
    return built if os.access(built, os.X_OK) else None


def missing(name: str) -> str | None:
    """Say why a program can neither be found nor built here; None if it can. Builds nothing."""
    if find(name):
        return None
    if name in _failures:
        return _failures[name]
    reason = go_missing()
    return f"needs {name} {TOOLS[name].version}, which is built with Go: {reason}" if reason else None


def ensure(name: str, *, out: TextIO | None = None) -> Path:
    """Return a program's path, building it first if it is not there.

    Args:
        name: One of ``TOOLS``.
        out: Where progress goes; standard error if None.

    Raises:
        BuildError: If it cannot be built. The failure is remembered: a process does not try twice.
    """
    if path := find(name):
        return path
    if reason := missing(name):
        raise BuildError(reason)
    tool = TOOLS[name]
    try:
        with _locked(tool, out or sys.stderr):
            if not find(name):
                _build(tool, out or sys.stderr)
    except (BuildError, OSError) as error:
        # An OSError is a cache folder this user may not write to: sudo leaves such folders behind.
        _failures[name] = str(error) if isinstance(error, BuildError) else f"needs {name}, and cannot build it: {error}"
        raise BuildError(_failures[name]) from error
    return tool.built


@contextmanager
def on_path(name: str) -> Iterator[None]:
    """Have this process, and those it starts meanwhile, find the program built here before any other of its name.

    Raises:
        BuildError: If it has to be built and cannot be.
    """
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{ensure(name).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


@cache
def go() -> str | None:
    """The Go command; sudo's PATH often leaves out the folder Go's own installer uses, so that is looked at too."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


@cache
def go_missing() -> str | None:
    """Say why the Go here will not do; None if it will."""
    wanted = ".".join(map(str, GO_MINIMUM))
    command = go()
    if not command:
        return f"no go command found; install Go {wanted} or newer (go.dev/doc/install)"
    text = subprocess.run([command, "env", "GOVERSION"], env=_go_env(), capture_output=True, text=True).stdout.strip()
    numbers = re.match(r"go(\d+)\.(\d+)", text)
    if not numbers or (int(numbers[1]), int(numbers[2])) < GO_MINIMUM:
        return f"{command} is {text or 'broken'}; install Go {wanted} or newer (go.dev/doc/install)"
    return None


_failures: dict[str, str] = {}


def _go_env() -> dict[str, str]:
    # No workspace, no cgo, no other toolchain: the pinned modules alone decide what is built.
    return os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@contextmanager
def _locked(tool: Tool, out: TextIO) -> Iterator[None]:
    """Hold the lock of a tool against other processes; the kernel lets go of it if its holder dies."""
    tool.built.parent.mkdir(parents=True, exist_ok=True)
    with (tool.built.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{tool.name} {tool.version}: waiting for another process that is building it", file=out, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tool: Tool, out: TextIO) -> None:
    partial = tool.built.with_suffix(".partial")
    argv = [go() or "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", tool.ldflags]
    log_path = tool.built.parent / "build.log"
    title = f"building {tool.name} {tool.version} (once; minutes from a cold cache)"
    started = time.monotonic()
    terminal = out.isatty()
    print(title, end="" if terminal else " ... ", file=out, flush=True)
    with log_path.open("w") as log:
        build = subprocess.Popen(
            [*argv, "-o", partial, tool.package], cwd=HERE / tool.folder, env=_go_env(), stdout=log, stderr=log
        )
        try:
            while True:
                try:
                    status = build.wait(PROGRESS_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    if terminal:
                        print(f"\r{title} {time.monotonic() - started:.0f} s", end="", file=out, flush=True)
        finally:
            if build.poll() is None:
                build.terminate()
                build.wait()
    elapsed = f"{time.monotonic() - started:.0f} s"
    print(f"\r{title} {elapsed}" if terminal else elapsed, file=out, flush=True)
    if status:
        tail = " / ".join(log_path.read_text(errors="replace").strip().splitlines()[-5:])
        raise BuildError(
            f"{tool.name} {tool.version} could not be built (go build exited {status}: {tail}); log in {log_path}"
        )
    partial.replace(tool.built)


def main(names: list[str]) -> int:
    """Build what is named, or everything; the exit status is 1 if something could not be built."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    status = 0
    for name in names or TOOLS:
        try:
            print(f"{name} {ensure(name)}", flush=True)
        except BuildError as error:
            print(error, file=sys.stderr, flush=True)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
