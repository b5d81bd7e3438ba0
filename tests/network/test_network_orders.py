"""Whatever the order in which agents apply, acknowledge, fall over and report, no packet is lost and no label is given
away while somebody may still send on it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.model.circuit import LabelState
from network.life import ENDS, NAMES, World, wanted


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, ...]:
    kind = draw(st.sampled_from(("plan", "cycle", "cycle", *DEEDS, "all", "obey", "obey")))
    if kind != "plan":
        return kind, draw(st.sampled_from(NAMES))
    number = draw(st.integers(0, 3))
    from_, to, *_ = ENDS[number]
    if draw(st.integers(0, 9)) == 0:
        return "withdraw", f"mesh/c{number}"
    between = draw(st.permutations([name for name in NAMES if name not in (from_, to)]))
    cuts = sorted((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
    standby = "".join((from_, *between[cuts[0] : cuts[1]], to)) if draw(st.booleans()) else ""
    return "plan", f"mesh/c{number}", "".join((from_, *between[: cuts[0]], to)), standby


DEEDS = ("apply", "apply", "acknowledge", "acknowledge", "report", "report", "switch", "fall_silent", "cut")


def take(world: World, step: tuple[str, ...]) -> None:
    match step:
        case "plan", id_, active, standby:
            world.wish(id_, wanted(active, standby))
        case "withdraw", id_:
            world.wish(id_, None)
        case "cycle", name:
            world.cycle(seconds=1.0 + 20.0 * (name == "e"))
        case "all", _:
            world.settle()
        case "cut", name:
            world.cut ^= {frozenset((name, other)) for other in NAMES if other != name}
        case deed, name:
            getattr(world, deed)(name)


@settings(deadline=None, max_examples=200)
@given(st.lists(steps(), min_size=10, max_size=80))
def test_no_order_of_events_loses_a_packet(order: list[tuple[str, ...]]) -> None:
    world = World.of()
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


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(steps(), st.sampled_from(("", "", "unrecorded", "unpublished"))), min_size=10, max_size=60))
def test_writer_that_dies_between_record_and_configs_gives_no_label_away(order: list) -> None:  # type: ignore[type-arg]
    world = World.of()
    for step, fault in order:
        if step[0] == "cycle":
            world.cycle(record=fault != "unrecorded", publish=fault != "unpublished")
        elif step[0] != "all" or not fault:
            take(world, step)
        world.check_sending()
