"""Random configs on a real host while its agent, WireGuard and failover process are killed: nothing is left behind.

``make bench-robustness`` does a thousand of these changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from robustness.soak import EVENTS, REFUSABLE, Soak

from agent.mesh_api import FakeMeshApi
from lab.scenes import Gateway
from lab.topology import Lab, Topology

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

EACH = 2
"""How often each event happens."""


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    with (
        Lab(Topology((Gateway("a", "Core", "sa", "eu", 0.0),), (), {})) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
    ):
        soak = Soak(lab["a"], api, tmp_path, seed=7)
        try:
            soak.start()
            yield soak
        finally:
            soak.close()


def test_nothing_is_left_after_changes_and_kills_and_leaving(soak: Soak) -> None:
    refused = []
    for number, event in enumerate([*EVENTS] * EACH):
        outcome = soak.change(event)
        assert outcome.wrong == (), f"change {number}: {outcome}\n{soak.log()}"
        refused += [event] if outcome.refused else []
    assert refused.count("route of others") == EACH
    assert set(refused) <= set(REFUSABLE)
    assert soak.leave(killed=True) == ()
