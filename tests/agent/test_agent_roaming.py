"""A host that sends from another address than before tells WireGuard its peers' endpoints once more; no other does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agent.configs import configs
from agent.test_agent_reconciler import Bench, bench  # noqa: F401
from foremesh.agent import reconciler, roaming
from foremesh.agent.diff import SetPeer
from foremesh.agent.roaming import Sources, source_towards

HERE, THERE = "198.51.100.7", "198.51.100.8"


def sees(monkeypatch: pytest.MonkeyPatch, sources: Mapping[str, str | None]) -> None:
    monkeypatch.setattr(roaming, "source_towards", lambda endpoint: sources[endpoint])


def test_the_source_is_what_the_routes_say() -> None:
    assert source_towards("127.0.0.1:9") == "127.0.0.1"


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        pytest.param({"t:1": HERE}, {"t:1": HERE}, set(), id="same"),
        pytest.param({"t:1": HERE, "u:1": HERE}, {"t:1": THERE, "u:1": HERE}, {"t:1"}, id="one-of-two"),
        pytest.param({"t:1": HERE}, {"t:1": None}, set(), id="no-way-now"),
        pytest.param({}, {"t:1": HERE}, set(), id="not-known-before"),
        pytest.param({"t:1": None}, {"t:1": HERE}, set(), id="no-way-before"),
    ],
)
def test_what_has_moved(
    before: dict[str, str | None], now: dict[str, str | None], moved: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources()
    sees(monkeypatch, before)
    assert sources.moved(before) == frozenset()
    sees(monkeypatch, now)
    assert sources.stale is bool(moved)
    assert sources.moved(now) == moved
    assert not sources.stale
    assert sources.moved(now) == frozenset()


def test_an_address_that_comes_back_as_another_after_no_way_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources()
    for source in (HERE, None):
        sees(monkeypatch, {"t:1": source})
        assert sources.moved(["t:1"]) == frozenset()
    sees(monkeypatch, {"t:1": THERE})
    assert sources.moved(["t:1"]) == {"t:1"}


async def test_peers_are_called_again_from_a_new_address_and_only_then(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configs()["t"]
    sources: dict[str, str | None] = {str(peer.endpoint): HERE for peer in config.hop_peers}
    sees(monkeypatch, sources)
    await bench.reconciler.take(config)
    made = len(bench.host.made)
    await bench.reconciler.reconcile()
    assert bench.host.made[made:] == []
    first = str(config.hop_peers[0].endpoint)
    sources[first] = THERE
    assert bench.reconciler.has_moved
    await bench.reconciler.reconcile()
    assert bench.host.made[made:] == [SetPeer("fm-hop", config.hop_peers[0].public_key, first, None, ())]
    assert not bench.reconciler.has_moved


async def test_a_name_that_leads_elsewhere_is_followed(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configs()["t"]
    shift: dict[str, str] = {}

    async def lookup(endpoint: str) -> str | None:
        return shift.get(endpoint, endpoint)

    monkeypatch.setattr(reconciler, "_lookup", lookup)
    await bench.reconciler.take(config)
    made = len(bench.host.made)
    shift[str(config.hop_peers[0].endpoint)] = "203.0.113.99:51820"
    await bench.reconciler.reconcile()
    changes = [(c.public_key, c.endpoint) for c in bench.host.made[made:] if isinstance(c, SetPeer)]
    assert changes == [(config.hop_peers[0].public_key, "203.0.113.99:51820")]
