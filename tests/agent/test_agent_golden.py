"""The nftables tables of every kind of host, as a person reviews them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from agent.configs import FAKE_KEYS, configs
from agent.fake_host import carry_out
from foremesh.agent import nft
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import diff
from foremesh.agent.state import Observed
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Encryption
from foremesh.model.manifest import read

OUTPUT = Path(__file__).parents[1] / "data" / "output"


@pytest.mark.parametrize(
    ("host", "kind", "encryption"),
    [
        ("a", "end", Encryption.END_TO_END),
        ("a", "end-hop-by-hop", Encryption.HOP_BY_HOP),
        ("t", "transit", Encryption.END_TO_END),
        ("wa", "workload", Encryption.END_TO_END),
    ],
)
def test_tables(host: str, kind: str, encryption: Encryption) -> None:
    wanted = desired(configs(encryption=encryption)[host], Local(public_keys=FAKE_KEYS[host]))
    text = "\n".join(nft.render(table, None) for table in wanted.tables.values())
    path = OUTPUT / f"agent-{kind}.nft"
    if os.environ.get("FOREMESH_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; if that is meant, run again with FOREMESH_WRITE_GOLDEN=1"


def test_what_the_network_room_compiles_is_accepted() -> None:
    """Both sides of the contract: every compiled config of the golden mesh can be set up as it is."""
    documents = list(yaml.safe_load_all((OUTPUT / "network-configs.yaml").read_text()))
    compiled = [read(GatewayConfig, document) for document in documents]
    assert any(config.circuits for config in compiled)
    assert any(config.uplinks for config in compiled)
    for config in compiled:
        wanted = desired(config, Local(public_keys=FAKE_KEYS["a"]))
        assert diff(carry_out(Observed(), diff(Observed(), wanted)), wanted) == ()
