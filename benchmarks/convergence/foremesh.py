"""Foremesh, all of it: agents on real parts, operator, mesh API and what they stand on, as in ``make demo-lab``.

Between faults it stays where the ends went, as it is meant to ("no reflex back"): it goes back to a shorter path when
a plan finds the gain worth a move. A fault strikes the path in use, whichever that is.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import ClassVar

from convergence import scene
from convergence.system import Ends, System, template, wireguard_version
from lab.mesh import MeshLab

HOP_PORT = 51820
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n"


class Mesh(MeshLab):
    """The lab's mesh with the planner's own margin, not the wide one that its tests need."""

    def start_operator(self, **planning: str) -> None:
        super().start_operator(**{"margin": "10%"} | planning)


class Foremesh(System):
    """With its control plane."""

    name, title = "foremesh", "Foremesh, hellos 50 ms x 3"
    returns = False
    processors = 2.0
    start_s: ClassVar[float] = 120.0
    _begun = False

    def start(self) -> Ends:
        manifests = self.folder / "manifests"
        manifests.mkdir(parents=True)
        (manifests / "gateways.yaml").write_text(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n" + _gateways()
        )
        for name in ("workloads.yaml", "intent.yaml"):
            (manifests / name).write_text(template(name).template)
        self._mesh = Mesh(self.folder / "mesh", topology=scene.topology(), manifests=manifests, tell=self.tell)
        self._mesh.__enter__()
        self.lab = self._mesh.lab
        self._mesh.apply_example("intent.yaml")
        self._mesh.wait_condition("intent", "stream", "Ready", timeout_s=self.start_s)
        return Ends(self.lab["src"], self.lab["dst"], self._mesh.mesh_address("dst"))

    def settled(self) -> bool:
        """Whether the circuit has a standby that both ends hear; at first, one that shares no gateway on the way."""
        with suppress(RuntimeError):
            status = self._mesh.items("circuit")[0]["status"]
            conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
            shared = set(status["path"][1:-1]) & set(status.get("standbyPath", ())[1:-1])
            return conditions.get("Protected") == "True" and (self._begun or not shared)
        return False

    def begin(self) -> None:
        self._begun = True

    def stop(self) -> None:
        if hasattr(self, "_mesh"):
            self._mesh.close()

    def versions(self) -> dict[str, str]:
        return {"foremesh": version("foremesh"), "wireguard-go": wireguard_version()}


class ForemeshAlone(Foremesh):
    """The same, its control plane stopped once everything is set up: the ends do all of it by themselves."""

    name, title = "foremesh-alone", "Foremesh, control plane stopped"

    def begin(self) -> None:
        super().begin()
        self._mesh.operator.stop()
        self._mesh.api.stop()
        self._mesh.prometheus.daemon.stop()
        self._mesh.control_plane.stop_apiserver()
        self._mesh.etcd.daemon.stop()

    def settled(self) -> bool:
        return self._begun or super().settled()


def _gateways() -> str:
    gateway = template("gateway.yaml")
    return "".join(
        gateway.substitute(
            name=one.name,
            region=one.region,
            site=one.site,
            role=one.role,
            endpoint=f"203.0.113.{4 * number + 2}:{HOP_PORT}",
        )
        for number, one in enumerate(scene.topology().gateways, start=1)
    )
