"""The world that most tests of the operator begin in."""

from __future__ import annotations

import pytest

from controller.scene import intent_body
from controller.world import World


@pytest.fixture
async def world() -> World:
    """With one Intent, agents there, everything set up."""
    world = World(intent_body())
    await world.plan()
    await world.agents()
    await world.settle()
    return world
