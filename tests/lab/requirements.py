"""What this machine can run, and what a person can do about what it cannot.

Tests never fail because a machine lacks something: they skip and say what it lacks. With ``FOREMESH_REQUIRE=all``, as
in CI, they fail.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from lab import build

SBIN = ("/usr/sbin", "/sbin")
"""Where Debian keeps nft and ip; a normal user's PATH often leaves it out."""

PACKAGE_OF = dict(
    line.split()
    for line in (Path(__file__).parent / "packages.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
"""Programs, and the Debian packages they come from."""

PROMETHEUS_PROGRAMS = ("prometheus", "promtool")
BROWSER_PROGRAMS = ("chromium", "chromedriver")
GRAPHVIZ_PROGRAMS = ("dot",)
LAB_PROGRAMS = tuple(
    program for program in PACKAGE_OF if program not in (*PROMETHEUS_PROGRAMS, *BROWSER_PROGRAMS, *GRAPHVIZ_PROGRAMS)
)


def require_all() -> bool:
    """Whether a skip counts as a failure."""
    return os.environ.get("FOREMESH_REQUIRE") == "all"


def require(name: str) -> None:
    """Skip the test at hand if the machine lacks something, or fail it under ``FOREMESH_REQUIRE=all``.

    Args:
        name: One of ``REQUIREMENTS``.
    """
    if reason := missing(name):
        (pytest.fail if require_all() else pytest.skip)(reason)


def missing(name: str) -> str | None:
    """Say what the machine lacks for something, as a reason a person can act on; None if it lacks nothing.

    Args:
        name: One of ``REQUIREMENTS``. Something that is not built yet but can be is not missing.
    """
    return REQUIREMENTS[name]()


def shared_folder() -> Path:
    """The folder with third-party schemas and recorded data (``crds/``, ``data/``); skips or fails if it is not
    there."""
    require("shared")
    return Path(os.environ["FOREMESH_SHARED"]).absolute()


def tools_for(name: str) -> tuple[str, ...]:
    """Name the programs that have to be built for a requirement, quick ones first."""
    return BUILT.get(name, ())


BUILT = {
    "etcd": ("etcd",),
    "apiserver": ("etcd", "kubectl", "kube-controller-manager", "kube-apiserver"),
    "helm": ("helm",),
    "glua": ("glua",),
    "lab": ("wireguard-go",),  # preferred; Debian's will do
}


def _tools_missing(name: str) -> str | None:
    return next(filter(None, map(build.missing, BUILT[name])), None)


def _programs_missing(programs: Iterable[str]) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
    absent = [program for program in programs if not shutil.which(program, path=path)]
    if not absent:
        return None
    packages = " ".join(dict.fromkeys(PACKAGE_OF[program] for program in absent))
    return f"needs {', '.join(absent)}: as root, apt-get install {packages} (make test does it, as root)"


@cache
def _lab_missing() -> str | None:
    if not sys.platform.startswith("linux"):
        return "needs Linux: network namespaces are a part of its kernel"
    if os.geteuid() != 0:
        return "needs root: run `sudo make test`"
    if reason := _programs_missing(LAB_PROGRAMS):
        return reason
    # Root in a container may lack the capability; only trying tells.
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"needs to make network namespaces (CAP_SYS_ADMIN): {tried.stderr.strip()}"
    if not Path("/dev/net/tun").exists():
        return (
            "needs /dev/net/tun, which a userspace WireGuard opens: modprobe tun, or hand the device to the container"
        )
    return None


def _shared_missing() -> str | None:
    folder = os.environ.get("FOREMESH_SHARED")
    if not folder:
        return "needs FOREMESH_SHARED: set it to the folder with third-party schemas (crds/) and recorded data (data/)"
    absent = [name for name in ("crds", "data") if not (Path(folder) / name).is_dir()]
    return f"needs {' and '.join(absent)} in the folder FOREMESH_SHARED names, {folder}" if absent else None


REQUIREMENTS: dict[str, Callable[[], str | None]] = {
    "apiserver": lambda: _tools_missing("apiserver"),
    "etcd": lambda: _tools_missing("etcd"),
    "helm": lambda: _tools_missing("helm"),
    "glua": lambda: _tools_missing("glua"),
    "prometheus": lambda: _programs_missing(PROMETHEUS_PROGRAMS),
    "browser": lambda: _programs_missing(BROWSER_PROGRAMS),
    "graphviz": lambda: _programs_missing(GRAPHVIZ_PROGRAMS),
    "lab": _lab_missing,
    "shared": _shared_missing,
}
