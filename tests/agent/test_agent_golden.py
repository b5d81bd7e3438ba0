"""The nftables tables of every kind of host, as a person reviews them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.configs import FAKE_KEYS, configs
from foremesh.agent import nft
from foremesh.agent.desired import Local, desired

OUTPUT = Path(__file__).parents[1] / "data" / "output"


@pytest.mark.parametrize(("host", "kind"), [("a", "end"), ("t", "transit"), ("wa", "workload")])
def test_tables(host: str, kind: str) -> None:
    wanted = desired(configs()[host], Local(public_keys=FAKE_KEYS[host]))
    text = "\n".join(nft.render(table, None) for table in wanted.tables.values())
    path = OUTPUT / f"agent-{kind}.nft"
    if os.environ.get("FOREMESH_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; if that is meant, run again with FOREMESH_WRITE_GOLDEN=1"
