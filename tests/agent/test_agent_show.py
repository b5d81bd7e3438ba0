"""Texts of what a config sets up say what the agent would do, and hold no private key."""

from __future__ import annotations

import pytest

from agent.configs import configs
from foremesh.agent.desired import Local, desired
from foremesh.agent.show import as_texts
from foremesh.agent.state import KeyRole
from foremesh.model.registration import PublicKeys

KEYS = PublicKeys(hop="hop-key", circuit="circuit-key", attach="attach-key")


@pytest.mark.parametrize("host", ["a", "t", "wa"], ids=["end", "transit", "workload"])
def test_every_interface_peer_route_and_rule_is_there(host: str) -> None:
    config = configs()[host]
    texts = as_texts(config, KEYS)
    own = {KeyRole.HOP: KEYS.hop, KeyRole.CIRCUIT: KEYS.circuit, KeyRole.ATTACH: KEYS.attach}
    wanted = desired(config, Local(public_keys=own))
    assert {name for name in texts if name.endswith(".conf")} == {f"{name}.conf" for name in wanted.interfaces}
    for name, interface in wanted.interfaces.items():
        text = texts[f"{name}.conf"]
        assert text.count("[Peer]") == len(interface.peers)
        for key, peer in interface.peers.items():
            assert f"PublicKey = {key}" in text
            assert all(prefix in text for prefix in peer.allowed)
            assert peer.endpoint is None or f"Endpoint = {peer.endpoint}" in text
    assert texts["routes.txt"].count("ip route add") == len(wanted.routes)
    assert texts["routes.txt"].count("ip rule add") == len(wanted.rules)
    assert all(f"add table ip {name}" in texts["nftables.nft"] for name in wanted.tables)
    assert not any("PrivateKey" in text for text in texts.values())
