"""The world that most tests of the operator begin in, and a place of one's own on a real API server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.scene import intent_body
from controller.world import World
from lab.controlplane import ControlPlane

PLURALS = ("meshresources", "intents", "circuits", "meshpolicies")
CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture
async def world() -> World:
    """With one Intent, agents there, everything set up."""
    world = World(intent_body())
    await world.plan()
    await world.agents()
    await world.settle()
    return world


@pytest.fixture(scope="session")
def knowing(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRDs in place."""
    # Other tests may have brought the same CRDs by chart; the fields are then shared, not fought over.
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", CRDS)
    control_plane.wait_established(*(f"{plural}.foremesh.io" for plural in PLURALS))
    return control_plane


@pytest.fixture
def namespace(knowing: ControlPlane) -> Iterator[str]:
    """One of the test's own, on the real API server."""
    name = f"adapter-{uuid.uuid4().hex[:8]}"
    knowing.kubectl("create", "namespace", name)
    yield name
    knowing.kubectl("delete", "namespace", name, "--wait=false")
