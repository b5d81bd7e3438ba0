"""Tunnels over links so long that both ends begin their sessions before they can know of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.running import running_mesh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

FAR_MS = 250.0
"""One way of a link; the circuit over two of them takes longer than the pauses between probes, and than WireGuard's own
variation between two attempts (a third of a second), so that without an order both ends' attempts cross for ever."""


def test_a_circuit_over_long_links_comes_up(tmp_path: Path) -> None:
    with running_mesh(tmp_path, one_way_ms=FAR_MS) as mesh:
        assert mesh.ping().returncode == 0
