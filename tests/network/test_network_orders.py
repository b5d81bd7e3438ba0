"""Whatever the order in which agents apply, acknowledge, fall over and report, no packet is lost and no label is given
away while somebody may still send on it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.model.circuit import LabelState
from network.life import ENDS, NAMES, World, wanted

Step = tuple[Any, ...]


FAULTS = ("", "", "unrecorded", "unpublished")
"""What becomes of a cycle."""
DEEDS = ("apply", "acknowledge", "report", "switch", "fall_silent")


@st.composite
def plans(draw: st.DrawFn, number: int) -> Step:
    """One circuit is wanted along some way, with or without another to fall over to; or not at all."""
    from_, to, *_ = ENDS[number]
    if draw(st.integers(0, 7)) == 0:
        return "plan", number, None
    between = draw(st.permutations([name for name in NAMES if name not in (from_, to)]))
    first, last = sorted((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
    standby = "".join((from_, *between[first:last], to)) if draw(st.integers(0, 3)) else ""
    return "plan", number, wanted("".join((from_, *between[:first], to)), standby)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    some = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    kind = draw(st.sampled_from(("plan", "plan", "cycle", "cycle", "cycle", "obey", "obey", "obey", "cut", "deeds")))
    match kind:
        case "plan":
            return draw(plans(draw(st.integers(0, 3))))
        case "cycle":
            return "cycle", draw(st.sampled_from((0.1, 1.0, 20.0, 100.0)))
        case "deeds":
            return draw(st.sampled_from(DEEDS)), some
    return kind, some


def take(world: World, step: Step) -> None:
    match step:
        case "plan", int(number), wish:
            world.wish(f"mesh/c{number}", wish)
        case "cycle", float(seconds):
            world.cycle(seconds=seconds)
        case "obey", names:
            world.obey(*names)
        case "cut", names:
            world.cut ^= {frozenset(pair) for pair in pairwise(names)}
        case str(deed), names:
            for name in names:
                getattr(world, deed)(name)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Everything is set up as some plan wanted it."""
    world = World.of()
    for number in range(4):
        take(world, draw(plans(number)))
    world.settle()
    return world


@settings(max_examples=200)
@given(worlds(), st.lists(steps(), min_size=10, max_size=50))
def test_no_order_of_events_loses_a_packet(world: World, order: list[Step]) -> None:
    for step in order:
        take(world, step)
        world.check()
    world.settle()
    world.check()
    for id_, placed in world.circuits.items():
        wish = world.wishes.get(id_)
        expected = [(LabelState.ACTIVE, wish.active)] if wish else []
        if wish and wish.standby and wish.standby != wish.active:
            expected.append((LabelState.STANDBY, wish.standby))
        assert sorted((label.state, label.path) for label in placed.labels) == sorted(
            (state, route.gateways) for state, route in expected
        ), "settled on what the plan wants"


@settings(max_examples=100)
@given(
    worlds(),
    st.lists(st.tuples(steps(), st.sampled_from(("", "", "unrecorded", "unpublished"))), min_size=10, max_size=50),
)
def test_writer_that_dies_between_record_and_configs_gives_no_label_away(
    world: World, order: list[tuple[Step, str]]
) -> None:
    for step, fault in order:
        if step[0] == "cycle":
            world.cycle(record=fault != "unrecorded", publish=fault != "unpublished")
        else:
            take(world, step)
        world.check_sending()
