"""A control plane that knows the four kinds."""

from collections.abc import Iterator

import pytest

from crds.schemas import KINDS, ROOT
from lab.controlplane import ControlPlane

NAMESPACE = "crds"


@pytest.fixture(scope="session")
def served(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with the CRDs in place; namespaced objects go to the namespace of these tests unless said."""
    # Other tests may have brought the same CRDs by chart; the fields are then shared, not fought over.
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds")
    control_plane.wait_established(*(f"{kind.plural}.foremesh.io" for kind in KINDS.values()))
    control_plane.kubectl("create", "namespace", NAMESPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
