"""The life of a label, state by state: what it waits for, what makes it move on."""

from __future__ import annotations

import msgspec
import pytest

from foremesh.model.circuit import LabelAllocation, LabelState, Route
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.registration import Acknowledgement
from foremesh.network.labels import PATIENCE_S, RETURN_S, Move, Wanted, advance
from foremesh.network.programmed import DRAIN_S, FAR_AHEAD_S, Applied
from network.life import BLOCKS, C0, NAMES, World, circuit, wanted
from network.switches import Dropped


def carrying(active: str = "adb", standby: str = "aeb") -> World:
    """Circuit 0 on its way, with its standby."""
    world = World.of()
    world.wish(C0, wanted(active, standby))
    world.settle()
    return world


def moved() -> World:
    """Circuit 0 in the middle of a move from a-d-b to a-e-b: configs that switch are published, nobody has them."""
    world = carrying("adb", "")
    world.wish(C0, wanted("aeb"))
    world.cycle()
    world.obey(*"abde")
    world.cycle()
    assert world.states() == {"adb": LabelState.DRAINING, "aeb": LabelState.ACTIVE}
    return world


# Staging


@pytest.mark.parametrize("late", "aeb")
def test_staging_waits_for_every_gateway_of_the_path(late: str) -> None:
    world = World.of()
    world.wish(C0, wanted("aeb"))
    world.cycle()
    world.obey(*set("aeb") - {late})
    world.apply(late)
    world.cycle()
    assert world.states() == {"aeb": LabelState.STAGING}
    world.acknowledge(late)
    world.cycle()
    assert world.states() == {"aeb": LabelState.ACTIVE}


def test_staging_waits_for_hellos_where_something_is_carried() -> None:
    world = carrying("adb", "")
    world.cut = {frozenset("ae")}
    world.wish(C0, wanted("aeb"))
    for _ in range(5):
        world.cycle(seconds=PATIENCE_S)
        world.obey(*"abde")
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STAGING}
    world.cut = set()
    world.obey("a")
    world.cycle()
    assert world.states()["aeb"] is LabelState.STAGING, "b has not told yet"
    world.obey("b")
    world.cycle()
    assert world.states() == {"adb": LabelState.DRAINING, "aeb": LabelState.ACTIVE}


def test_nobody_waits_for_hellos_before_anything_is_carried() -> None:
    world = World.of()
    world.cut = {frozenset("ae")}
    world.wish(C0, wanted("aeb"))
    world.cycle()
    world.obey(*"abe")
    world.cycle()
    assert world.states() == {"aeb": LabelState.ACTIVE}


@pytest.mark.parametrize("clock_s", [0.0, -3600.0], ids=["clock-goes-on", "clock-was-put-back"])
def test_an_end_whose_fail_over_process_does_not_run_is_waited_for_in_vain_and_not_for_ever(clock_s: float) -> None:
    world = carrying("adb", "")
    world.wish(C0, wanted("aeb"))
    world.cycle()
    for name in "abde":
        world.apply(name)
        world.acknowledge(name)
        world.report(name)
        world.beacons[name] = msgspec.structs.replace(world.beacons[name], heard=(), watching=False)
    world.cycle()
    assert world.states()["aeb"] is LabelState.STAGING
    world.now_s += clock_s
    world.cycle(seconds=PATIENCE_S)
    assert world.states() == {"adb": LabelState.DRAINING, "aeb": LabelState.ACTIVE}


def test_plan_that_changes_its_mind_gives_the_staging_label_up_and_keeps_the_active_one() -> None:
    world = carrying("adb", "")
    world.wish(C0, wanted("aeb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STAGING}
    world.wish(C0, wanted("adb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.DRAINING}
    world.obey("a", "b")
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE}


def test_what_was_sent_last_has_time_to_arrive() -> None:
    world = carrying("adb", "aeb")
    world.wish(C0, wanted("adb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.DRAINING}
    world.obey("a", "b")
    world.cycle(seconds=DRAIN_S - 1)
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.DRAINING}
    world.cycle(seconds=1.0)
    assert world.states() == {"adb": LabelState.ACTIVE}


def test_epochs_that_ran_ahead_of_the_clock_are_no_time_to_arrive() -> None:
    world = carrying("adb", "aeb")
    for _ in range(4):
        world.cycle(seconds=0.1)
    world.wish(C0, wanted("adb"))
    world.cycle(seconds=0.1)
    world.obey("a", "b")
    world.cycle(seconds=0.1)
    assert world.epoch > world.now_s + DRAIN_S
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.DRAINING}
    world.cycle(seconds=world.epoch - world.now_s + DRAIN_S)
    assert world.states() == {"adb": LabelState.ACTIVE}


@pytest.mark.parametrize("back_s", [FAR_AHEAD_S, 3600.0])
def test_a_label_of_a_clock_that_was_put_back_does_not_drain_for_ever(back_s: float) -> None:
    world = carrying("adb", "aeb")
    world.wish(C0, wanted("adb"))
    world.cycle()
    world.obey("a", "b")
    world.now_s -= back_s
    world.cycle(seconds=0.0)
    assert world.states() == {"adb": LabelState.ACTIVE}


def test_another_underlay_or_key_is_another_route() -> None:
    world = carrying("adb", "")
    for route in (
        Route(gateways=tuple("adb"), underlays=("mpls", "mpls")),
        Route(gateways=tuple("adb"), keys=("k1", "k2", "k3")),
    ):
        world.wish(C0, Wanted(route))
        world.cycle()
        staged = [label.route for label in world.circuits[C0].labels if label.state is LabelState.STAGING]
        assert staged == [route]


# Standby


def test_a_standby_is_staged_beside_the_active_label_and_stays() -> None:
    world = World.of()
    world.wish(C0, wanted("adb", "aeb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.STAGING, "aeb": LabelState.STAGING}
    world.obey(*"abde")
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STAGING}
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STANDBY}
    numbers = {label.number for label in world.circuits[C0].labels}
    world.settle()
    assert {label.number for label in world.circuits[C0].labels} == numbers
    (end,) = [one for one in world.told["a"].circuits if one.circuit == C0]
    assert (end.send_label, end.standby_label) == (world.label("adb").number, world.label("aeb").number)


def test_a_move_to_the_standby_swaps_roles_at_once() -> None:
    world = carrying()
    world.wish(C0, wanted("aeb", "adb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}


def test_a_move_to_a_dead_standby_waits() -> None:
    world = carrying()
    world.cut = {frozenset("ae")}
    world.obey("a", "b")
    world.wish(C0, wanted("aeb", "adb"))
    world.cycle(seconds=RETURN_S)
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STANDBY}


@pytest.mark.parametrize(
    ("standby", "left"),
    [
        ("adb", {"acb": LabelState.ACTIVE, "adb": LabelState.STANDBY, "aeb": LabelState.DRAINING}),
        ("aeb", {"acb": LabelState.ACTIVE, "adb": LabelState.DRAINING, "aeb": LabelState.STANDBY}),
        (
            "acdb",
            {
                "acb": LabelState.ACTIVE,
                "adb": LabelState.DRAINING,
                "aeb": LabelState.STANDBY,
                "acdb": LabelState.STAGING,
            },
        ),
        ("", {"acb": LabelState.ACTIVE, "adb": LabelState.DRAINING, "aeb": LabelState.DRAINING}),
    ],
    ids=["the-former-path", "the-same-as-before", "a-third-as-soon-as-it-is-ready", "none"],
)
def test_a_move_leaves_the_standby_that_is_wanted(standby: str, left: dict[str, LabelState]) -> None:
    world = carrying()
    world.wish(C0, wanted("acb", standby))
    world.cycle()
    assert {path: world.states()[path] for path in ("adb", "aeb")} == {
        "adb": LabelState.ACTIVE,
        "aeb": LabelState.STANDBY,
    }, "the old protection stays till the move"
    world.obey(*NAMES)
    world.cycle()
    assert world.states() == left


# Fail-over


def failed_over(world: World, *reporting: str) -> World:
    """Ends lose their path, switch, and some say so; then the controller looks."""
    for name in "ab":
        world.switch(name)
    for name in reporting:
        world.report(name)
    world.cycle()
    return world


@pytest.mark.parametrize(
    ("reporting", "silent", "noted"),
    [("ab", "", True), ("a", "", False), ("a", "b", True), ("b", "a", True), ("", "", False)],
    ids=["both", "one-while-the-other-says-else", "one-while-the-other-is-silent", "the-other-alone", "nobody"],
)
def test_what_the_ends_did_is_put_on_record(reporting: str, silent: str, noted: bool) -> None:
    world = carrying()
    for name in silent:
        world.fall_silent(name)
    failed_over(world, *reporting)
    active, standby = (LabelState.STANDBY, LabelState.ACTIVE) if noted else (LabelState.ACTIVE, LabelState.STANDBY)
    assert world.states() == {"adb": active, "aeb": standby}
    assert world.circuits[C0].failed_over is noted


def test_a_fail_over_is_told_once() -> None:
    world = failed_over(carrying(), "a", "b")
    assert world.circuits[C0].failed_over
    world.cycle()
    assert not world.circuits[C0].failed_over
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}


def test_a_report_from_before_a_swap_is_no_fail_over() -> None:
    """They still send on what was Active when they last heard of roles."""
    world = carrying()
    world.wish(C0, wanted("aeb", "adb"))
    world.cycle()
    for _ in range(3):
        for name in "ab":
            world.report(name)
        world.cycle()
        assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}
    world.obey("a")
    world.cycle()
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}


def test_a_plan_from_before_a_fail_over_moves_nothing_back() -> None:
    world = failed_over(carrying(), "a", "b")
    for _ in range(5):
        world.cycle(seconds=RETURN_S)
        world.obey("a", "b")
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}


def test_a_new_plan_goes_back_after_a_while_and_only_to_a_path_that_lives() -> None:
    world = failed_over(carrying(), "a", "b")
    world.obey("a", "b")
    world.wish(C0, wanted("adb", "aeb"))
    world.cycle(seconds=RETURN_S / 2)
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}, "no reflex back"
    world.cut = {frozenset("ad")}
    world.obey("a", "b")
    world.cycle(seconds=RETURN_S)
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE}, "it is dead"
    world.cut = set()
    world.obey("a", "b")
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.STANDBY}


def test_after_a_fail_over_the_former_path_protects_until_the_next_one_does() -> None:
    world = failed_over(carrying(), "a", "b")
    world.wish(C0, wanted("aeb", "acb"))
    world.cycle()
    assert world.states() == {"adb": LabelState.STANDBY, "aeb": LabelState.ACTIVE, "acb": LabelState.STAGING}
    world.obey(*"abc")
    world.cycle()
    assert world.states() == {"adb": LabelState.DRAINING, "aeb": LabelState.ACTIVE, "acb": LabelState.STANDBY}
    world.obey("a", "b")
    world.cycle()
    assert world.states() == {"aeb": LabelState.ACTIVE, "acb": LabelState.STANDBY}


# Leaving


def test_draining_waits_for_both_ends_and_for_nobody_else() -> None:
    world = moved()
    world.apply("a")
    world.acknowledge("a")
    world.cycle()
    assert "adb" in world.states()
    world.apply("b")
    world.cycle()
    assert "adb" in world.states()
    world.acknowledge("b")
    world.cycle()
    assert world.states() == {"aeb": LabelState.ACTIVE}


def test_a_standby_that_is_given_up_is_not_forgotten_while_an_end_may_fall_over_to_it() -> None:
    world = carrying()
    world.wish(C0, wanted("adb"))
    world.cycle()
    world.obey("a", "d", "e")
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE, "aeb": LabelState.DRAINING}
    world.switch("b")
    world.check()
    world.obey("b")
    world.cycle()
    assert world.states() == {"adb": LabelState.ACTIVE}


def test_refused_config_counts_for_nothing() -> None:
    world = moved()
    for name in "ab":
        config = world.told[name]
        world.heard[name] = Acknowledgement(
            gateway=name, epoch=config.epoch, revision=config.revision, applied=False, error="no"
        )
    world.cycle()
    assert "adb" in world.states()


def test_freed_number_is_not_given_to_others_while_anybody_still_has_it() -> None:
    world = moved()
    old = world.label("adb").number
    world.obey("a", "b")
    world.cycle()
    assert old not in {label.number for label in world.circuits[C0].labels}
    world.obey("a", "b")
    world.wish("mesh/c1", wanted("ab"))
    world.cycle()
    (fresh,) = world.circuits["mesh/c1"].labels
    assert fresh.number != old, "d reports the label until it has applied its newest config"
    world.obey("d")
    world.wish("mesh/c2", wanted("ac"))
    world.cycle()
    assert [label.number for label in world.circuits["mesh/c2"].labels] == [old]


def test_an_end_that_is_silent_holds_its_label_in_quarantine_until_it_is_back() -> None:
    world = moved()
    world.obey("a")
    world.fall_silent("b")
    world.cycle()
    assert world.states()["adb"] is LabelState.QUARANTINED
    world.report("b")
    world.cycle()
    assert world.states()["adb"] is LabelState.DRAINING
    world.obey("b")
    world.cycle()
    assert "adb" not in world.states()


def test_an_end_that_is_deleted_is_waited_for_until_it_is_cut_off() -> None:
    world = moved()
    world.obey("a")
    world.fall_silent("b")
    world.wish(C0, None)
    for _ in range(3):
        world.cycle()
        world.obey(*"ade")
    assert set(world.states().values()) == {LabelState.QUARANTINED}
    world.members = tuple(member for member in world.members if member.id != "b")
    for _ in range(2):
        world.cycle()
        assert set(world.states()) == {"adb", "aeb"}, "d and e have not yet cut it off"
    world.obey(*"ade")
    world.cycle()
    assert world.states() == {}


# What cannot be


def test_exhausted_block_leaves_circuits_where_they_are() -> None:
    one = PlacedCircuit(
        id=C0,
        spec=circuit(0).spec,
        number=0,
        class_number=0,
        labels=(LabelAllocation(number=3, state=LabelState.ACTIVE, path=("a", "b"), epoch=1),),
    )
    move = Move(wanted("acb"), Applied(), frozenset("abc"), 2, 2.0)
    assert advance(one, move, BLOCKS, free=()) == one.labels


def test_no_label_is_laid_over_a_gateway_that_may_run_anything() -> None:
    """The store was lost, and it has not been heard since; a path by way of others waits for nobody."""
    move = Move(wanted("acb", "adb"), Applied(), frozenset(NAMES), 2, 2.0, unknown=frozenset("c"))
    assert [label.path for label in advance(circuit(0), move, BLOCKS, free=(7, 8))] == [("a", "d", "b")]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("ac", id="ends-elsewhere"),
        pytest.param("adcdb", id="passes-a-gateway-twice"),
        pytest.param("", id="empty"),
    ],
)
def test_path_that_is_none_is_refused(path: str) -> None:
    for wish in (wanted(path), Wanted(Route(gateways=("a", "b")), Route(gateways=tuple(path)))):
        with pytest.raises(ValueError, match="no path between its ends"):
            advance(circuit(0), Move(wish, Applied(), frozenset(NAMES), 1, 1.0), BLOCKS, free=(1, 2))


@pytest.mark.parametrize(("forgetful", "paths"), [("d", "the active one"), ("e", "the standby")])
def test_label_forgotten_by_a_transit_would_be_noticed(forgetful: str, paths: str) -> None:
    """The walk that the properties rest on does fail when it should."""
    world = carrying()
    world.check()
    del world.runs[forgetful]
    with pytest.raises(Dropped):
        world.check()
