"""Keys of circuits that are replaced while the circuits run: in any order of what agents do, nobody sends by a key that
the other end does not take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.agent.state import CIRCUIT_SLOTS
from foremesh.decide.recover import recover
from foremesh.model.circuit import Circuit, TunnelState
from foremesh.model.intent import Encryption, Requirements
from foremesh.model.meta import Meta
from foremesh.network.allocate import CLASSES
from foremesh.network.tunnels import LONGEST_SPREAD_S, SLOTS, Behind, Rotation, behind
from network.rotating import IDS, SOON, FakeKeys, Rotating, running, settle
from network.scene import intent, placed


def test_what_agents_take_is_what_is_allocated() -> None:
    assert SLOTS == CIRCUIT_SLOTS
    assert CLASSES == 100, "each slot has as many ports as there are classes"


def test_all_keys_are_replaced_and_circuits_share_interfaces_again() -> None:
    mesh = running()
    before = {id_: mesh.keys[id_].held[0] for id_ in IDS}
    names = {circuit.id for circuit in mesh.placed.circuits}
    labels = {circuit.id: circuit.labels for circuit in mesh.placed.circuits}
    most = 0
    for _ in range(20):
        mesh.plan()
        mesh.others()
        mesh.everything()
        mesh.check_sending()
        most = max(most, *(len(mesh.interfaces(id_)) for id_ in IDS))
    assert most == 2, "a second interface for the class, and no third"
    for id_ in IDS:
        assert len(mesh.keys[id_].held) == 1
        assert mesh.keys[id_].held != [before[id_]]
        assert len(mesh.interfaces(id_)) == 1
    assert {circuit.id for circuit in mesh.placed.circuits} == names
    assert {circuit.id: circuit.labels for circuit in mesh.placed.circuits} == labels
    again = dict(mesh.configs)
    mesh.plan(seconds=0.0)
    assert mesh.configs == again


def test_circuits_move_one_after_the_other() -> None:
    mesh = running(Rotation(period_s=1000.0))
    mesh.now_s = 999.0
    staged: dict[str, float] = {}
    for _ in range(60):
        mesh.plan(seconds=2.0)
        mesh.others()
        mesh.everything()
        for id_, tunnels in mesh.tunnels().items():
            if len(tunnels) > 1:
                staged.setdefault(id_, mesh.now_s)
    assert len(staged) == 3
    assert len(set(staged.values())) == 3
    assert all(1000.0 <= at_s <= 1000.0 + 0.1 * 1000.0 + 2.0 for at_s in staged.values())


@pytest.mark.parametrize(
    ("rotation", "now_s", "since_s", "spread_s"),
    [
        pytest.param(Rotation(), 1e9, 0, LONGEST_SPREAD_S, id="never"),
        pytest.param(Rotation(period_s=100), 250, 200, 10, id="a-multiple-of-the-period"),
        pytest.param(Rotation(period_s=1e6), 2.5e6, 2_000_000, LONGEST_SPREAD_S, id="spread-is-bounded"),
        pytest.param(Rotation(100, not_before_s=230), 250, 230, 10, id="asked-for-by-hand"),
        pytest.param(Rotation(100, not_before_s=230), 310, 300, 10, id="by-hand-and-then-on-schedule"),
        pytest.param(Rotation(100, not_before_s=260), 250, 200, 10, id="by-hand-in-the-future"),
        pytest.param(Rotation(0, not_before_s=230), 250, 230, LONGEST_SPREAD_S, id="by-hand-alone"),
    ],
)
def test_since_when_keys_are_to_be(rotation: Rotation, now_s: float, since_s: int, spread_s: float) -> None:
    assert rotation.since_s(now_s) == since_s
    assert rotation.spread_s == spread_s
    assert not rotation.is_due("mesh/x", since_s - 1) or rotation.since_s(since_s - 1) < since_s
    assert rotation.is_due("mesh/x", since_s + spread_s)


def test_an_end_that_is_silent_keeps_its_keys_and_the_others_go_on() -> None:
    mesh = running()
    old = mesh.keys["mesh/c"].held[0]
    mesh.fall_silent("mesh/c")
    for _ in range(20):
        mesh.plan()
        mesh.others()
        mesh.everything("mesh/a", "mesh/b")
        mesh.check_sending()
    by_ends = {frozenset((c.spec.from_, c.spec.to)): c for c in mesh.placed.circuits}
    members = {member.id: member for member in mesh.members()}
    assert by_ends[frozenset(("mesh/a", "mesh/b"))].tunnels[0].keys[0].endswith("2")
    for id_ in ("mesh/a", "mesh/b"):
        circuit = by_ends[frozenset((id_, "mesh/c"))]
        assert len(mesh.keys[id_].held) == 2, "the old one serves the silent end"
        assert old[:8] in circuit.tunnels[0].keys
        assert behind(circuit, members, SOON.since_s(mesh.now_s)) == Behind("mesh/c is silent", "mesh/c")
    settle(mesh)
    assert [len(mesh.keys[id_].held) for id_ in IDS] == [1, 1, 1]
    members = {member.id: member for member in mesh.members()}
    assert {behind(c, members, SOON.since_s(mesh.now_s)) for c in mesh.placed.circuits} == {None}


def test_an_agent_of_an_older_version_stays_as_it_is_for_ever() -> None:
    mesh = running()

    def older() -> None:
        one = mesh.registrations["mesh/c"]
        mesh.registrations["mesh/c"] = msgspec.structs.replace(one, circuits=())

    older()
    only = mesh.registrations["mesh/c"].keys.circuit
    for turn in range(60):
        mesh.plan(seconds=4.0)
        mesh.others()
        for id_ in IDS:
            mesh.apply(id_)
            mesh.say(id_)
        for id_ in ("mesh/a", "mesh/b"):
            mesh.turn_keys(id_)
            mesh.register(id_)
        mesh.check_sending()
        assert turn < 30 or {len(mesh.keys[id_].held) for id_ in ("mesh/a", "mesh/b")} <= {2, 3}
    with_c = [c for c in mesh.placed.circuits if "mesh/c" in (c.spec.from_, c.spec.to)]
    members = {member.id: member for member in mesh.members()}
    for circuit in with_c:
        (tunnel,) = circuit.tunnels
        assert tunnel.slot == 0, "it knows no other"
        assert only[:8] in tunnel.keys
        late = behind(circuit, members, SOON.since_s(mesh.now_s))
        assert late is not None
        assert late.who == "mesh/c"
    (between,) = [c for c in mesh.placed.circuits if c not in with_c]
    assert mesh.keys["mesh/a"].made > 3
    assert int(between.tunnels[0].keys[0][1:]) >= mesh.keys["mesh/a"].made - 1


def test_a_gateway_that_lost_its_keys_is_followed_at_any_point() -> None:
    for turns in range(8):
        mesh = running()
        for _ in range(turns):
            mesh.plan()
            mesh.others()
            mesh.everything()
        mesh.strict = False
        mesh.keys["mesh/a"] = FakeKeys("x", ())
        mesh.keys["mesh/a"].make_circuit(mesh.now_s)
        mesh.register("mesh/a")
        for _ in range(14):
            mesh.plan()
            mesh.others()
            mesh.everything()
        mesh.check_sending()
        assert {len(tunnels) for tunnels in mesh.tunnels().values()} == {1}
        assert [len(mesh.keys[id_].held) for id_ in IDS] == [1, 1, 1]


def test_hop_by_hop_has_no_keys() -> None:
    mesh = running()
    mesh.strict = False
    plain = intent("ab", requirements=Requirements(encryption=Encryption.HOP_BY_HOP))
    mesh.wish([(plain, placed(plain, "a1", "b1", "a", "b"))])
    settle(mesh)
    assert list(mesh.tunnels().values()) == [()]
    assert {end.second for _, end in mesh.ends()} == {None}


def test_a_circuit_without_a_slot_is_not_set_up() -> None:
    mesh = running()
    for id_ in IDS:
        mesh.registrations[id_] = msgspec.structs.replace(mesh.registrations[id_], circuits=())
    third = intent("third", dedicated=True)
    mesh.wish([(third, placed(third, "a1", "b1", "a", "b"))])
    mesh.plan()
    assert mesh.placed.exhausted == ()
    mesh = running()
    mesh.keys["mesh/a"].make_circuit(2.0)
    mesh.register("mesh/a")
    mesh.registrations["mesh/b"] = msgspec.structs.replace(mesh.registrations["mesh/b"], circuits=())
    one, other = intent("ac"), intent("ab")
    mesh.circuits = {id_: c for id_, c in mesh.circuits.items() if {c.spec.from_, c.spec.to} == {"mesh/a", "mesh/c"}}
    mesh.wish([(one, placed(one, "a1", "c1", "a", "c")), (other, placed(other, "a1", "b1", "a", "b"))])
    mesh.plan()
    assert len(mesh.placed.exhausted) == 1, "b knows the first slot alone, and there a has its old key"


STEPS = ("everything", "everything", "everything", "apply", "say", "turn_keys", "register", "fall_silent", "speak")


@pytest.mark.parametrize(
    "order", list(itertools.permutations(IDS)), ids=lambda order: "".join(id_[-1] for id_ in order)
)
def test_whoever_applies_first(order: Sequence[str]) -> None:
    """One after the other, a plan after each."""
    mesh = running()
    for _ in range(14):
        for id_ in order:
            mesh.plan()
            mesh.others()
            mesh.everything(id_)
    assert {len(tunnels) for tunnels in mesh.tunnels().values()} == {1}
    assert [mesh.keys[id_].made for id_ in IDS] == [2, 2, 2]
    assert [len(mesh.keys[id_].held) for id_ in IDS] == [1, 1, 1]


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(STEPS), st.sampled_from(IDS)),
            st.tuples(st.just("plan"), st.sampled_from(("all", "all", "unrecorded", "unpublished", "lost"))),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_in_any_order_nobody_sends_by_a_key_that_is_not_taken(steps: Sequence[tuple[str, str]]) -> None:
    mesh = running()
    mesh.plan()
    mesh.others()
    mesh.everything()
    mesh.now_s += SOON.spread_s  # the next keys are there, and it is every circuit's turn
    for what, whom in steps:
        if what == "plan" and whom == "lost":
            mesh.circuits = recover(mesh.configs, _without_status(mesh), mesh.blocks)
        elif what == "plan":
            mesh.plan(record=whom != "unrecorded", publish=whom != "unpublished")
            mesh.others()
        else:
            getattr(mesh, what)(whom)
        mesh.check_sending()
    settle(mesh)
    assert [len(mesh.keys[id_].held) for id_ in IDS] == [1, 1, 1]
    assert [len(mesh.interfaces(id_)) for id_ in IDS] == [1, 1, 1]
    assert {one.state for tunnels in mesh.tunnels().values() for one in tunnels} == {TunnelState.ACTIVE}


def _without_status(mesh: Rotating) -> dict[str, Circuit]:
    """The specs alone, as after a restore of the declared objects."""
    return {
        circuit.id: Circuit(
            meta=Meta(name=circuit.id.partition("/")[2], namespace=circuit.id.partition("/")[0]), spec=circuit.spec
        )
        for circuit in mesh.placed.circuits
    }
