"""Hop interfaces: one for each network and own key, and what goes by which."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from agent.configs import BLOCKS, FAKE_KEYS, NUMBERS, configs, fake_key
from agent.fake_host import carry_out
from foremesh.agent import agent
from foremesh.agent.desired import ConfigRefused, Local, desired
from foremesh.agent.diff import DeleteInterface, DeleteRoute, SetRoute, diff
from foremesh.agent.hops import OWN, Underlay, device_of
from foremesh.agent.keys import Keys
from foremesh.agent.settings import AgentSettings, UnderlaySettings, ports
from foremesh.agent.state import KEEPALIVE_S, KeyRole, Names, Observed
from foremesh.agent.targets import LINK, targets
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError

OLD, NEW = FAKE_KEYS["a"][KeyRole.HOP], fake_key("a", "the next hop key")
FIRST = Local(public_keys=FAKE_KEYS["a"], underlays={OWN: Underlay((51820, 51822), dialled=True)})
CHANGING = replace(FIRST, hop_keys=((NEW, 1), (OLD, 0)))
AFTERWARDS = replace(FIRST, public_keys={**FAKE_KEYS["a"], KeyRole.HOP: NEW}, hop_keys=((NEW, 1),))
NAMES = Names()
MPLS = NAMES.hop_on("mpls")
HOP_T = f"{BLOCKS.hop_address(NUMBERS['t'])}/32"


def of_a(
    *own_keys: str, label: int = 5, labels: tuple[int, ...] = (6,), underlays: tuple[str, ...] = ()
) -> GatewayConfig:
    """a's config with a peer for each own key (or each network), to which the labels are dealt in their order."""
    config = configs(label=label, labels=labels)["a"]
    (peer,) = config.hop_peers
    kinds = own_keys or underlays
    dealt = [peer.labels] if len(kinds) == 1 else [(address,) for address in peer.labels]
    peers = tuple(
        msgspec.structs.replace(
            peer,
            own_key=kind if own_keys else "",
            underlay=kind if underlays else peer.underlay,
            hop_address=peer.hop_address if underlays or place == 0 else None,
            labels=mine,
        )
        for place, (kind, mine) in enumerate(zip(kinds, dealt, strict=False))
    )
    return msgspec.structs.replace(config, hop_peers=peers, underlay="internet")


def routes_to(config: GatewayConfig, local: Local) -> dict[str, list[str]]:
    """Destination to the interfaces that lead there, the preferred one first."""
    found: dict[str, list[str]] = {}
    for route in sorted(desired(config, local).routes, key=lambda one: one.metric):
        if NAMES.is_hop(route.device):
            found.setdefault(route.destination.removesuffix("/32"), []).append(route.device)
    return found


def test_parallel_networks_have_an_interface_and_a_port_each() -> None:
    local = replace(FIRST, underlays={**FIRST.underlays, "mpls": Underlay((51824, 51825))})
    config = of_a(underlays=("internet", "mpls"))
    wanted = desired(config, local)
    hop, mpls = wanted.interfaces["fm-hop"], wanted.interfaces[MPLS]
    assert (hop.listen_port, mpls.listen_port) == (51820, 51824)
    assert hop.public_key == mpls.public_key == OLD
    assert hop.addresses == mpls.addresses != frozenset()
    (by_hop,), (by_mpls,) = hop.peers.values(), mpls.peers.values()
    assert (by_hop.keepalive_s, by_mpls.keepalive_s) == (0, KEEPALIVE_S), "open is kept only what nobody can dial"
    assert by_hop.allowed & by_mpls.allowed == {HOP_T}
    five, six = (label.far for label in config.circuits[0].labels)
    routes = routes_to(config, local)
    assert (routes[five], routes[six]) == (["fm-hop"], [MPLS])
    assert routes[HOP_T.removesuffix("/32")] == ["fm-hop", MPLS]
    assert routes[config.circuits[0].remote_address] == ["fm-hop", MPLS]


def test_links_are_probed_on_their_own_interfaces() -> None:
    config = of_a(underlays=("internet", "mpls"))
    found = [target for target in targets(config, desired(config, FIRST), NAMES) if target.kind == LINK]
    assert sorted((target.name, target.device) for target in found) == [("internet", "fm-hop"), ("mpls", MPLS)]


@pytest.mark.parametrize(
    ("own_keys", "local", "devices"),
    [
        pytest.param(("",), FIRST, ["fm-hop"], id="a-config-that-names-no-key"),
        pytest.param(("",), CHANGING, ["fm-hop"], id="a-config-older-than-the-new-key-stays-with-the-old-one"),
        pytest.param((OLD,), CHANGING, ["fm-hop"], id="labels-not-moved-yet"),
        pytest.param((OLD, NEW), CHANGING, ["fm-hop", "fm-hop1"], id="labels-on-the-move"),
        pytest.param((NEW,), CHANGING, ["fm-hop1"], id="labels-moved"),
        pytest.param((NEW,), AFTERWARDS, ["fm-hop1"], id="old-key-destroyed"),
        pytest.param((OLD,), AFTERWARDS, ["fm-hop1"], id="a-key-that-is-lost-is-replaced-by-the-newest"),
    ],
)
def test_each_own_key_in_a_config_has_an_interface(own_keys: tuple[str, ...], local: Local, devices: list[str]) -> None:
    config = of_a(*own_keys)
    wanted = desired(config, local)
    hops = {name: one for name, one in wanted.interfaces.items() if NAMES.is_hop(name)}
    assert sorted(hops) == devices
    ports = {"fm-hop": (OLD, 51820), "fm-hop1": (NEW, 51822)}
    assert {name: (one.public_key, one.listen_port) for name, one in hops.items()} == {n: ports[n] for n in devices}
    for peer in config.hop_peers:
        device = device_of(peer, config, NAMES, hops)
        assert {f"{address}/32" for address in peer.labels} <= hops[device].peers[peer.public_key].allowed


def test_while_a_key_changes_no_address_and_no_way_is_missing() -> None:
    """From one config to the next, change by change: what stays is never without an interface that has it."""
    steps = [of_a(OLD), of_a(OLD, NEW), of_a(NEW, OLD, label=6, labels=(5,)), of_a(NEW)]
    state = Observed()
    for before, config in zip([None, *steps], steps, strict=False):
        wanted = desired(config, CHANGING)
        changes = diff(state, wanted)
        for end, change in enumerate(changes):
            if before is None or not isinstance(change, DeleteRoute | DeleteInterface | SetRoute):
                continue
            host = carry_out(state, changes[: end + 1])
            addresses = {a for name, one in host.interfaces.items() if NAMES.is_hop(name) for a in one.addresses}
            reached = {route.destination for route in host.routes if NAMES.is_hop(route.device)}
            for address in (f"{config.hop_address}/32", f"{config.circuits[0].local_address}/32"):
                assert address in addresses
            assert f"{config.circuits[0].remote_address}/32" in reached
        state = carry_out(state, changes)
        assert diff(state, wanted) == ()
    assert [name for name in state.interfaces if NAMES.is_hop(name)] == ["fm-hop1"]


def test_two_links_to_one_key_need_two_interfaces() -> None:
    config = configs()["t"]
    twice = msgspec.structs.replace(config, hop_peers=(config.hop_peers[0], config.hop_peers[0]))
    with pytest.raises(ConfigRefused, match="two links to the same key"):
        desired(twice, Local(public_keys=FAKE_KEYS["t"]))


SETTINGS = AgentSettings(resource="mesh/a")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(SETTINGS, {OWN: (51820, 51822)}, id="usual"),
        pytest.param(
            msgspec.structs.replace(SETTINGS, hop_port=4000, underlays=(UnderlaySettings(name="mpls"),)),
            {OWN: (4000, 4002), "mpls": (51824, 51825)},
            id="one-more-network",
        ),
        pytest.param(
            msgspec.structs.replace(
                SETTINGS,
                rotation_port=7,
                underlays=(UnderlaySettings(name="mpls", port=9), UnderlaySettings(name="lte")),
            ),
            {OWN: (51820, 7), "mpls": (9, 10), "lte": (51826, 51827)},
            id="given",
        ),
    ],
)
def test_ports(settings: AgentSettings, expected: dict[str, tuple[int, int]]) -> None:
    assert ports(settings) == expected


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(msgspec.structs.replace(SETTINGS, rotation_port=51821), id="rotation-and-attachment"),
        pytest.param(msgspec.structs.replace(SETTINGS, hop_port=51819), id="rotation-by-default-and-attachment"),
        pytest.param(
            msgspec.structs.replace(SETTINGS, underlays=(UnderlaySettings(name="mpls", port=51820),)), id="two-networks"
        ),
        pytest.param(msgspec.structs.replace(SETTINGS, underlays=(UnderlaySettings(name=""),)), id="no-name"),
    ],
)
def test_a_port_or_a_network_twice_is_refused(settings: AgentSettings) -> None:
    with pytest.raises(ManifestError):
        ports(settings)


def test_the_mesh_is_told_of_every_network_and_key(tmp_path) -> None:  # type: ignore[no-untyped-def]
    keys = Keys.load(tmp_path)
    assert agent.hop_interfaces(SETTINGS, keys) == (), "one key at the usual port needs no words"
    keys.make_hop()
    new, old = (one.key.public for one in keys.hops)
    settings = msgspec.structs.replace(
        SETTINGS, endpoint="a.example.com:1", underlays=(UnderlaySettings(name="mpls", endpoint="10.9.0.1:2"),)
    )
    told = [(one.key, one.underlay, one.endpoint, one.port) for one in agent.hop_interfaces(settings, keys)]
    assert told == [
        (new, OWN, "a.example.com:1", 51822),
        (new, "mpls", "10.9.0.1:2", 51825),
        (old, OWN, "a.example.com:1", None),
        (old, "mpls", "10.9.0.1:2", None),
    ]
