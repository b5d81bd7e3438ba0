"""Changes lead from any state to the one desired, in an order that a host accepts, and then there are none."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.configs import BLOCKS, CIRCUIT, FAKE_KEYS, UNDERLAY, configs, fake_key
from agent.fake_host import as_observed, carry_out, killed
from foremesh.agent import diff as d
from foremesh.agent import rulesets
from foremesh.agent.desired import Local, desired
from foremesh.agent.diff import diff
from foremesh.agent.hops import OWN, Underlay
from foremesh.agent.state import Desired, Observed, Vxlan
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import AttachedWorkload, CircuitEnd, GatewayConfig, HopPeer, LabelEnd, Steer, Transit, Uplink
from foremesh.model.intent import Encryption

LOCAL = Local(public_keys=FAKE_KEYS["a"], gathers=True)


@st.composite
def gateway_configs(draw: st.DrawFn) -> GatewayConfig:
    """Valid configs of one host over few neighbours, labels, workloads and circuits, so that two of them overlap."""
    if draw(st.integers(0, 9)) == 0:
        uplinks = draw(st.lists(st.integers(1, 3), unique=True, max_size=3))
        return GatewayConfig(
            gateway="default/a",
            epoch=1,
            uplinks=tuple(
                Uplink(
                    gateway=f"default/g{n}",
                    public_key=fake_key("attach", n),
                    endpoint=f"203.0.113.{n}:51821",
                    address=f"100.64.{n}.2",
                    gateway_address=f"100.64.{n}.1",
                    destinations=tuple(draw(st.lists(st.sampled_from(["100.64.0.0/12", "10.9.0.0/16"]), unique=True))),
                )
                for n in uplinks
            ),
        )
    neighbours = draw(st.lists(st.integers(2, 5), unique=True, min_size=1))
    directions = {number: draw(st.sampled_from(neighbours)) for number in draw(st.sets(st.integers(0, 12)))}
    transits = draw(st.sets(st.integers(20, 26)))
    circuits = draw(st.lists(st.tuples(st.integers(2, 5), st.integers(0, 2)), unique=True, max_size=4))
    classes = [number for _, number in circuits]
    alone = {number for number in classes if classes.count(number) == 1}
    ends = tuple(
        CircuitEnd(
            circuit=f"default/a-{far}-{number}",
            class_number=number,
            encryption=draw(st.sampled_from(Encryption)) if number in alone else Encryption.END_TO_END,
            local_address=f"100.96.{number}.{2 * far}",
            remote_address=f"100.96.{number}.{2 * far + 1}",
            public_key=fake_key("circuit", far),
            remote_gateway=f"default/g{far}",
            remote_prefixes=(f"100.64.{far}.0/24",),
            send_label=number,
            labels=(LabelEnd(number=number, own=own, far=other),),
            firewall=draw(st.sampled_from([(), (FirewallRule(),), (FirewallRule(ports=(80,)),)])),
            initiator=draw(st.booleans()),
            probe_address=f"100.64.{far}.1",
            mtu=draw(st.sampled_from([1280, 1340])),
        )
        for far, number in circuits
        for own, other in [(f"100.113.{number}.{2 * far}", f"100.113.{number}.{2 * far + 1}")]
    )
    peers = tuple(
        HopPeer(
            gateway=f"default/g{n}",
            underlay="internet",
            public_key=fake_key("hop", n),
            endpoint=draw(st.sampled_from([None, f"203.0.113.{n}:51820", f"203.0.113.{n}:51999"])),
            hop_address=f"100.80.0.{n}",
            labels=tuple(f"100.112.0.{label}" for label, direction in sorted(directions.items()) if direction == n),
        )
        for n in neighbours
    )
    return GatewayConfig(
        gateway="default/a",
        epoch=1,
        number=1,
        mesh_address="100.64.1.1",
        hop_address="100.80.0.1",
        hop_peers=peers,
        transits=tuple(
            Transit(label=n, circuit=CIRCUIT, addresses=(f"100.114.0.{2 * n}", f"100.114.0.{2 * n + 1}"))
            for n in sorted(transits)
        ),
        attached=tuple(
            AttachedWorkload(resource=f"default/w{n}", public_key=fake_key("workload", n), address=f"100.64.1.{n}")
            for n in draw(st.lists(st.integers(2, 6), unique=True))
        ),
        circuits=ends,
        steering=tuple(Steer(circuit=end.circuit, sources=(), destinations=end.remote_prefixes) for end in ends),
    )


@settings(max_examples=150)
@given(before=st.none() | gateway_configs(), config=gateway_configs(), dials_out=st.booleans())
def test_changes_lead_from_any_config_to_any_other(
    before: GatewayConfig | None, config: GatewayConfig, dials_out: bool
) -> None:
    start = as_observed(desired(before, LOCAL)) if before else Observed()
    wanted = desired(config, replace(LOCAL, underlays={OWN: Underlay((51820, 51822), dialled=not dials_out)}))
    end = carry_out(start, diff(start, wanted))
    assert diff(end, wanted) == ()
    expected = as_observed(wanted)
    assert (end.routes, end.rules, end.tables) == (expected.routes, expected.rules, expected.tables)
    assert set(end.interfaces) == set(expected.interfaces)
    for name, interface in expected.interfaces.items():
        found = end.interfaces[name]
        assert (found.mtu, found.addresses, found.up) == (interface.mtu, interface.addresses, True)
        assert (found.vxlan, found.neighbours) == (interface.vxlan, interface.neighbours)
        assert found.offload == interface.offload
        assert {k: p.allowed for k, p in found.peers.items()} == {k: p.allowed for k, p in interface.peers.items()}


@settings(max_examples=50)
@given(config=gateway_configs())
def test_leaving_removes_everything(config: GatewayConfig) -> None:
    start = as_observed(desired(config, LOCAL))
    end = carry_out(start, diff(start, Desired()))
    assert (end.interfaces, end.routes, end.rules, end.tables) == ({}, frozenset(), frozenset(), {})
    assert end.failover is None


@settings(max_examples=100)
@given(before=gateway_configs(), config=gateway_configs())
def test_nothing_unreachable_is_lifted_while_its_tunnels_stand(before: GatewayConfig, config: GatewayConfig) -> None:
    """Whatever the change, a stop under the mesh's blocks that both configs want is there all the time."""
    old, new = desired(before, LOCAL), desired(config, LOCAL)
    stops = {route for route in old.routes & new.routes if not route.device}
    state = as_observed(old)
    for change in diff(state, new):
        state = carry_out(state, (change,))
        assert stops <= state.routes


def test_stops_come_before_the_first_interface() -> None:
    changes = diff(Observed(), desired(configs()["a"], LOCAL))
    first_interface = next(i for i, change in enumerate(changes) if isinstance(change, d.CreateInterface))
    early = changes[:first_interface]
    assert {c.table.name for c in early if isinstance(c, d.SetTable)} == {
        "foremesh_guard",
        "foremesh_hop",
        "foremesh_edge",
        "foremesh_answer",
    }
    assert {c.route.destination for c in early if isinstance(c, d.SetRoute)} >= {"100.64.0.0/12", "100.112.0.0/12"}


def test_a_new_label_is_ready_before_the_switch_and_the_old_one_goes_after() -> None:
    before, after = (desired(configs(label=label)["a"], LOCAL) for label in (5, 6))
    changes = diff(as_observed(before), after)
    kinds = [type(change) for change in changes]
    switch = kinds.index(d.SetFailover)
    assert kinds.index(d.SetTable) < switch  # what arrives on it is let in before anything is sent on it
    for kind in (d.SetPeer, d.AddAddress, d.SetRoute):
        assert kinds.index(kind) < switch
    for kind in (d.DropAllowed, d.DeleteAddress, d.DeleteRoute):
        assert kinds.index(kind) > switch
    assert d.CreateInterface not in kinds
    assert d.DeletePeer not in kinds


def test_a_prefix_that_moves_to_another_neighbour_is_not_taken_away_from_it() -> None:
    config = configs()["t"]
    a, b = config.hop_peers
    moved = msgspec.structs.replace(
        config,
        hop_peers=(
            msgspec.structs.replace(a, labels=()),
            msgspec.structs.replace(b, labels=(*b.labels, *a.labels)),
        ),
    )
    changes = diff(as_observed(desired(config, LOCAL)), desired(moved, LOCAL))
    assert [type(change) for change in changes] == [d.SetPeer]


@pytest.mark.parametrize(
    ("mtu_before", "mtu_after", "before_the_switch"),
    [(1340, 1280, True), (1280, 1340, False)],
    ids=["lower-before-the-switch", "raise-after-it"],
)
def test_mtu_fits_both_labels_during_a_switch(mtu_before: int, mtu_after: int, before_the_switch: bool) -> None:
    before = desired(configs(mtu=mtu_before)["a"], LOCAL)
    after = desired(configs(mtu=mtu_after, label=6)["a"], LOCAL)
    kinds = [type(change) for change in diff(as_observed(before), after)]
    assert (kinds.index(d.SetMtu) < kinds.index(d.SetFailover)) is before_the_switch


def test_endpoint_of_a_neighbour_changes_without_touching_it_otherwise() -> None:
    config = configs()["t"]
    a, b = config.hop_peers
    moved = msgspec.structs.replace(
        config, hop_peers=(msgspec.structs.replace(a, endpoint=f"{UNDERLAY['wa']}:51820"), b)
    )
    change, table = diff(as_observed(desired(config, LOCAL)), desired(moved, LOCAL))
    assert change == d.SetPeer("fm-hop", a.public_key, f"{UNDERLAY['wa']}:51820", None, ())
    assert isinstance(table, d.SetTable)
    assert table.table.name == rulesets.YIELD


def test_an_interface_of_the_other_kind_is_replaced() -> None:
    wireguard, vxlan = (desired(configs(encryption=kind)["a"], LOCAL) for kind in Encryption)
    for before, after in ((wireguard, vxlan), (vxlan, wireguard)):
        changes = diff(as_observed(before), after)
        replacing = [c for c in changes if isinstance(c, d.DeleteInterface | d.CreateInterface) and c.name == "fm-c1"]
        assert [(type(c), c.name) for c in replacing] == [(d.DeleteInterface, "fm-c1"), (d.CreateInterface, "fm-c1")]
        end = carry_out(as_observed(before), changes)
        assert end.routes == after.routes
        assert diff(end, after) == ()


def test_vxlan_is_gathered_and_wireguard_is_not() -> None:
    """Its labels lead into a pair beside the hop interface, which is made after that and goes with the circuit."""
    wireguard, vxlan = (desired(configs(encryption=kind)["a"], LOCAL) for kind in Encryption)
    far = configs()["a"].circuits[0].labels[0].far
    ways = [
        next(route.device for route in one.routes if route.destination == f"{far}/32") for one in (wireguard, vxlan)
    ]
    assert ways == ["fm-hop", "fm-gop"]
    assert vxlan.interfaces["fm-gop"].gathers_for == "fm-hop"
    made = [c.name for c in diff(Observed(), vxlan) if isinstance(c, d.CreateInterface)]
    assert made.index("fm-hop") < made.index("fm-gop")
    assert d.DeleteInterface("fm-gop") in diff(as_observed(vxlan), wireguard)
    alone = desired(configs(encryption=Encryption.HOP_BY_HOP)["a"], replace(LOCAL, gathers=False))
    assert "fm-gop" not in alone.interfaces
    assert {route.device for route in alone.routes if route.destination == f"{far}/32"} == {"fm-hop"}


def test_a_pair_is_made_anew_with_the_interface_that_it_gathers_for() -> None:
    """It would hand packets to nobody."""
    wanted = desired(configs(encryption=Encryption.HOP_BY_HOP)["a"], LOCAL)
    damaged = killed(as_observed(wanted), "fm-hop")
    changes = diff(damaged, wanted)
    assert d.DeleteInterface("fm-gop") in changes
    assert d.CreateInterface("fm-gop", gathers_for="fm-hop") in changes
    assert diff(carry_out(damaged, changes), wanted) == ()


NEAR, FAR = BLOCKS.circuit_pair(9)


@pytest.mark.parametrize(
    ("lost", "change"),
    [
        ({"neighbours": frozenset()}, d.SetNeighbour),
        ({"offload": False}, d.PrepareVxlan),
        ({"neighbours": frozenset({(FAR, "02:00:00:00:00:02"), ("1.1.1.1", "02::")})}, d.DeleteNeighbour),
        ({"vxlan": Vxlan(1, NEAR, FAR, "02:00:00:00:00:01", 28_001, far_port=4789)}, d.PrepareVxlan),
    ],
    ids=["forgotten-neighbour", "offload-turned-off", "another-neighbour", "another-port-of-the-far-end"],
)
def test_what_vxlan_needs_is_mended(lost: dict[str, object], change: type) -> None:
    wanted = desired(configs(encryption=Encryption.HOP_BY_HOP)["a"], LOCAL)
    seen = as_observed(wanted)
    damaged = replace(seen, interfaces={**seen.interfaces, "fm-c1": replace(seen.interfaces["fm-c1"], **lost)})
    assert [type(c) for c in diff(damaged, wanted)] == [change]


def test_an_address_of_this_end_may_become_one_of_a_far_end() -> None:
    """A circuit's addresses are used again, with its ends the other way round."""
    config = configs(encryption=Encryption.HOP_BY_HOP)["a"]
    (end,) = config.circuits
    turned = msgspec.structs.replace(
        end,
        circuit="default/b-a",
        local_address=end.remote_address,
        remote_address=end.local_address,
        initiator=not end.initiator,
    )
    steering = tuple(msgspec.structs.replace(entry, circuit="default/b-a") for entry in config.steering)
    other = msgspec.structs.replace(config, circuits=(turned,), steering=steering)
    before, wanted = desired(config, LOCAL), desired(other, LOCAL)
    end_state = carry_out(as_observed(before), diff(as_observed(before), wanted))
    assert end_state.routes == wanted.routes
    assert diff(end_state, wanted) == ()
