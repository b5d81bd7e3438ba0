"""The CRDs as the tests of this folder read them, and the structures that have to say the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus
from foremesh.model.intent import Intent, IntentSpec
from foremesh.model.manifest import Spec
from foremesh.model.policy import Policy, PolicySpec
from foremesh.model.resource import Resource, ResourceSpec
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests/data/input/crds"


@dataclass(frozen=True)
class Kind:
    """A kind: its CRD, the structure of a whole manifest, and those of its spec and status."""

    plural: str
    manifest: type[Resource | Intent | Circuit | Policy]
    spec: type[Spec]
    status: type[Spec]

    @property
    def file(self) -> Path:
        return ROOT / f"crds/foremesh.io_{self.plural}.yaml"

    def load(self) -> dict[str, Any]:
        return yaml.safe_load(self.file.read_text())

    def schema(self) -> dict[str, Any]:
        """The OpenAPI schema of the only version."""
        (version,) = self.load()["spec"]["versions"]
        return version["schema"]["openAPIV3Schema"]


KINDS = {
    "MeshResource": Kind("meshresources", Resource, ResourceSpec, ResourceStatus),
    "Intent": Kind("intents", Intent, IntentSpec, IntentStatus),
    "Circuit": Kind("circuits", Circuit, CircuitSpec, CircuitStatus),
    "MeshPolicy": Kind("meshpolicies", Policy, PolicySpec, PolicyStatus),
}
