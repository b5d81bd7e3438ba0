"""When an end changes the label that it sends on, and when it does not: two ends in simulated time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.hellos import CIRCUIT, Simulation, Way, cut, told
from foremesh.agent.failover import wire
from foremesh.agent.failover.choice import Way as Known
from foremesh.agent.failover.choice import choose, harmless
from foremesh.agent.failover.engine import Engine, TableError
from foremesh.agent.failover.session import FarEnd, Session, Timing
from foremesh.agent.failover.wire import Hello, pack, unpack

ALIVE, DEAD, UNKNOWN = Known(alive=True), Known(dead=True), Known()


@pytest.mark.parametrize(
    ("used", "send", "standby", "renamed", "ways", "chosen"),
    [
        (None, 5, 6, False, {}, 5),
        (5, 5, None, False, {5: DEAD}, 5),
        (None, None, 6, False, {}, 6),
        (None, None, None, False, {}, None),
        (5, 5, 6, False, {5: DEAD, 6: ALIVE}, 6),
        (5, 5, 6, False, {5: DEAD, 6: DEAD}, 5),
        (5, 5, 6, False, {5: DEAD, 6: UNKNOWN}, 5),
        (5, 5, 6, False, {5: UNKNOWN, 6: ALIVE}, 5),
        (6, 5, 6, False, {5: ALIVE, 6: ALIVE}, 6),
        (6, 5, 6, False, {5: ALIVE, 6: DEAD}, 5),
        (6, 5, 6, True, {5: ALIVE, 6: ALIVE}, 5),
        (6, 5, 6, True, {5: UNKNOWN, 6: ALIVE}, 5),
        (6, 5, 6, True, {5: DEAD, 6: ALIVE}, 6),
        (5, 6, 7, False, {5: ALIVE, 6: ALIVE}, 6),
        (5, 6, 7, True, {6: DEAD, 7: ALIVE}, 7),
        (6, 6, 7, True, {6: ALIVE, 7: ALIVE}, 6),
        (5, 5, 6, False, {5: Known(True, False, 0.3), 6: ALIVE}, 6),
        (5, 5, 6, False, {5: Known(True, False, 0.15), 6: ALIVE}, 5),
        (5, 5, 6, False, {5: Known(True, False, 0.3), 6: Known(True, False, 0.1)}, 5),
        (5, 5, 6, False, {5: Known(True, False, 0.3), 6: UNKNOWN}, 5),
        (5, 5, 6, False, {5: DEAD, 6: Known(True, True, 0.0)}, 5),
    ],
    ids=[
        "the-first-choice-is-the-configs",
        "without-a-standby-a-dead-one-stays",
        "a-standby-alone-is-used",
        "none-named-none-used",
        "dead-goes-to-the-standby",
        "both-dead-stays",
        "dead-does-not-go-to-the-unknown",
        "unknown-stays",
        "no-way-back-by-itself",
        "back-when-the-standby-dies",
        "the-configs-word-brings-back",
        "the-configs-word-counts-for-what-is-not-heard-yet",
        "the-configs-word-does-not-lead-to-the-dead",
        "what-the-config-no-longer-names-is-left",
        "a-new-pair-whose-first-is-dead",
        "the-config-follows-a-failover",
        "degraded-goes-to-a-good-standby",
        "a-little-loss-is-borne",
        "loss-that-both-have-is-borne",
        "degraded-does-not-go-to-the-unknown",
        "not-to-one-that-is-dead-in-a-direction",
    ],
)
def test_choice(
    used: int | None, send: int | None, standby: int | None, renamed: bool, ways: dict[int, Known], chosen: int | None
) -> None:
    assert choose(used, send, standby, renamed=renamed, ways=ways) == chosen


@given(
    st.builds(
        Hello,
        st.integers(0, 2),
        st.integers(0, 255).map(lambda steps: steps / 255),
        st.integers(1, 65535),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
    )
)
def test_a_hello_is_read_as_it_was_written(hello: Hello) -> None:
    assert unpack(pack(hello)) == hello


@given(st.binary(max_size=80))
def test_other_packets_are_no_hellos(packet: bytes) -> None:
    hello = unpack(packet)
    assert hello is None or pack(hello) == packet


def test_a_hello_of_another_version_is_none() -> None:
    packet = bytearray(pack(Hello(wire.HEARD, 1.0, 50, 1, 1, 1, 0, 0)))
    packet[3] += 1
    assert unpack(bytes(packet)) is None


def test_both_labels_are_found_alive_and_measured() -> None:
    simulation = Simulation(ways={(5, 0): Way(0.02), (5, 1): Way(0.03), (6, 0): Way(0.005), (6, 1): Way(0.005)})
    simulation.run(3)
    for engine in simulation.engines:
        assert engine.alive() == [5, 6]
        assert engine.routes["label 5"].session.rtt_ms == pytest.approx(50, abs=1)
        assert engine.routes["label 6"].session.rtt_ms == pytest.approx(10, abs=1)
        assert engine.routes["label 5"].session.jitter_ms == pytest.approx(0, abs=0.1)
    assert simulation.failovers() == []


@pytest.mark.parametrize("senders", [(0, 1), (0,), (1,)], ids=["both-ways", "one-way", "the-other-way"])
def test_a_cut_switches_both_ends_and_nobody_goes_back(senders: tuple[int, ...]) -> None:
    simulation = Simulation(
        ways={(5, side): Way(lost=cut(3.0, 6.0) if side in senders else cut(9e9)) for side in (0, 1)}
    )
    simulation.run(3.5)
    assert simulation.used() == (6, 6)
    assert {side for _, side, _, _ in simulation.failovers()} == {0, 1}
    # Three hellos missed; one-way loss has to be told on top, which takes the path's delay.
    assert all(3.1 <= when_s <= 3.0 + 0.15 + 0.03 for when_s, *_ in simulation.failovers())
    simulation.run(12)
    assert len(simulation.failovers()) == 2
    assert all(engine.alive() == [5, 6] for engine in simulation.engines)


def test_where_everything_is_cut_nobody_moves() -> None:
    ways = {(number, side): Way(0.01 * number, lost=cut(3.0, 6.0)) for number in (5, 6) for side in (0, 1)}
    simulation = Simulation(ways=ways)
    simulation.run(5)
    assert [engine.alive() for engine in simulation.engines] == [[], []]
    simulation.run(12)
    assert simulation.failovers() == []


def test_loss_on_the_one_in_use_alone_is_left() -> None:
    chance = Random(1)
    simulation = Simulation(ways={(5, 0): Way(lost=lambda when_s: when_s > 3 and chance.random() < 0.3)})
    simulation.run(8)
    assert simulation.used() == (6, 6)
    assert len(simulation.failovers()) == 2


def test_loss_on_both_is_borne() -> None:
    """Of every ten hellos two are lost, never three in a row."""
    counts = dict.fromkeys([(number, side) for number in (5, 6) for side in (0, 1)], 0)

    def lossy(key: tuple[int, int]) -> Way:
        def lost(_: float) -> bool:
            counts[key] += 1
            return counts[key] % 10 in (3, 7)

        return Way(lost=lost)

    simulation = Simulation(ways={key: lossy(key) for key in counts})
    simulation.run(30)
    assert simulation.failovers() == []


def test_a_new_name_is_followed_by_each_end_when_it_hears_of_it() -> None:
    simulation = Simulation()
    simulation.run(2)
    simulation.configure(0, send=6, standby=5)
    assert simulation.used() == (6, 5)
    simulation.run(4)
    assert simulation.used() == (6, 5)
    assert simulation.engines[0].circuits[CIRCUIT].failovers == 0
    simulation.configure(1, send=6, standby=5)
    assert simulation.used() == (6, 6)


def test_a_config_that_makes_the_standby_active_changes_nothing() -> None:
    simulation = Simulation(ways={(5, 0): Way(lost=cut(2.0))})
    simulation.run(4)
    before = simulation.failovers()
    for side in (0, 1):
        simulation.configure(side, send=6, standby=7)
    simulation.run(6)
    assert (simulation.used(), simulation.failovers()) == ((6, 6), before)


def test_a_restarted_process_goes_on_with_what_is_in_the_maps() -> None:
    simulation = Simulation(ways={(5, 0): Way(lost=cut(2.0, 3.0))})
    simulation.run(4)
    assert simulation.used() == (6, 6)
    simulation.stop(0)
    simulation.run(5)
    simulation.start(0)
    simulation.run(8)
    assert simulation.used() == (6, 6)
    assert len(simulation.failovers()) == 2


def test_a_label_that_died_while_its_end_was_away_is_left_after_its_return() -> None:
    simulation = Simulation(ways={(5, 0): Way(lost=cut(2.2)), (5, 1): Way(lost=cut(2.2))})
    simulation.run(2)
    for side in (0, 1):
        simulation.stop(side)
    simulation.run(3)
    for side in (0, 1):
        simulation.start(side)
    simulation.run(8)
    assert simulation.used() == (6, 6)


def test_what_was_sent_before_a_process_began_does_not_count_against_a_fast_route() -> None:
    """Found by chance: of hellos on their way, those of the slow route come in after it began, the others before."""
    simulation = Simulation(ways={(5, 0): Way(0.25), (5, 1): Way(0.03), (6, 0): Way(0.25), (6, 1): Way(0.25)})
    simulation.at(5.54, lambda: simulation.stop(0))
    simulation.at(7.04, lambda: simulation.start(0))
    simulation.at(7.06, lambda: simulation.stop(1))
    simulation.run(9)
    assert not simulation.engines[0].routes["label 5"].session.unheard(simulation._clock_s(0))
    simulation.start(1)
    simulation.run(14)
    assert simulation.failovers() == []


@settings(max_examples=150)
@given(
    delays_s=st.lists(st.floats(0.0005, 0.25), min_size=4, max_size=4),
    jitter_s=st.floats(0, 0.01),
    pauses=st.lists(
        st.tuples(st.integers(0, 1), st.floats(2, 12), st.floats(0.05, 3)),
        max_size=4,
        unique_by=lambda pause: (pause[0], pause[1] // 3),
    ),
    restarts=st.lists(st.tuples(st.integers(0, 1), st.floats(2, 12), st.floats(0.02, 3)), max_size=3),
    seed=st.integers(0, 1000),
)
def test_no_pause_and_no_restart_of_a_process_is_taken_for_a_dead_path(
    delays_s: list[float],
    jitter_s: float,
    pauses: list[tuple[int, float, float]],
    restarts: list[tuple[int, float, float]],
    seed: int,
) -> None:
    keys = [(number, side) for number in (5, 6) for side in (0, 1)]
    spans: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for side, start_s, length_s in pauses:
        spans[side].append((start_s, start_s + length_s))
    simulation = Simulation(
        ways={key: Way(delay_s, jitter_s) for key, delay_s in zip(keys, delays_s, strict=True)}, paused=spans, seed=seed
    )
    for side, when_s, away_s in restarts:
        simulation.at(when_s, lambda side=side: simulation.stop(side))
        simulation.at(when_s + away_s, lambda side=side: simulation.start(side))
    simulation.run(20)
    assert simulation.failovers() == []
    assert all(engine.alive() == [5, 6] for engine in simulation.engines)


@settings(max_examples=150)
@given(
    delays_s=st.lists(st.floats(0.0005, 0.1), min_size=4, max_size=4),
    jitter_s=st.floats(0, 0.01),
    cut_at_s=st.floats(3, 3.2),
    senders=st.sampled_from([(0,), (1,), (0, 1)]),
    seed=st.integers(0, 1000),
)
def test_a_dead_path_is_left_by_both_ends_in_time(
    delays_s: list[float], jitter_s: float, cut_at_s: float, senders: tuple[int, ...], seed: int
) -> None:
    keys = [(number, side) for number in (5, 6) for side in (0, 1)]
    ways = {key: Way(delay_s, jitter_s) for key, delay_s in zip(keys, delays_s, strict=True)}
    for side in senders:
        ways[5, side].lost = cut(cut_at_s)
    simulation = Simulation(ways=ways, seed=seed)
    simulation.run(6)
    assert simulation.used() == (6, 6)
    assert len(simulation.failovers()) == 2
    # Three hellos; the longer of the delays until the end that hears nothing has proof; the way of its word.
    longest_s = max(delays_s) + jitter_s
    assert all(when_s - cut_at_s <= 0.15 + 0.05 + 2 * longest_s for when_s, *_ in simulation.failovers())


def test_hellos_take_a_label_that_no_gateway_may_forget() -> None:
    """Labels 7 (staging) and 5 are of one route: only 5 is surely set up all the way."""
    table = told(0)
    table["routes"]["label 5"]["labels"] = [(5, "100.112.0.11", "100.112.0.12"), (7, "100.112.0.99", "100.112.0.98")]
    table["routes"]["label 8"] = {
        "far": "default/far",
        "labels": [(8, "1.1.1.1", "1.1.1.2"), (9, "1.1.1.3", "1.1.1.4")],
    }
    engine = Engine(1)
    engine.configure(table, ({}, {}))
    sent = [{label.number for label, _ in engine.hellos(0.05 * tick)} for tick in range(4)]
    assert all({5, 6} <= numbers and 7 not in numbers for numbers in sent)
    # On a route without such a label each is tried in turn, until one is heard.
    assert {8, 9} <= set.union(*sent)
    for tick in range(1, 6):
        engine.received(pack(Hello(wire.HEARD, 1.0, 50, 9, tick, tick, 0, 0)), "1.1.1.4", 0.2 + 0.05 * tick)
    assert 9 in {label.number for label, _ in engine.hellos(0.46)}
    engine.decide(0.46)
    assert 7 not in engine.alive()
    assert {8, 9} <= set(engine.alive())


def test_what_comes_from_elsewhere_is_no_hello() -> None:
    engine = Engine(1)
    engine.configure(told(0), ({}, {}))
    packet = pack(Hello(wire.HEARD, 1.0, 50, 9, 1, 1, 0, 0))
    assert engine.received(packet, "203.0.113.9", 1.0) is False
    assert all(route.session.last_s is None for route in engine.routes.values())


@pytest.mark.parametrize(
    "change",
    [
        {"interval_ms": 0},
        {"missed": 0},
        {"routes": {}},
        {"circuits": {"c": {"local": "x"}}},
        {"circuits": 3},
        {"digest": None, "routes": None},
    ],
    ids=["no-interval", "none-missed", "labels-on-no-route", "half-a-circuit", "no-table", "nothing"],
)
def test_a_table_that_makes_no_sense_leaves_the_one_before(change: dict[str, object]) -> None:
    engine = Engine(1)
    engine.configure(told(0), ({}, {}))
    with pytest.raises(TableError, match="the one before stays"):
        engine.configure(told(0, send=7, standby=8) | change, ({}, {}))
    assert (set(engine.labels), engine.circuits[CIRCUIT].send) == ({5, 6}, 5)


def test_a_loss_that_decides_nothing_is_none() -> None:
    """Whatever the other label misses, and whichever of the two is used: the choice is the same."""
    shares = [count / 20 for count in range(21)]
    for here in (Known(alive, dead, share) for alive in (True, False) for dead in (True, False) for share in shares):
        for there in (Known(True, False, share) for share in shares):
            ways = {1: here, 2: there}
            plain = {number: harmless(way) for number, way in ways.items()}
            for used in (1, 2):
                assert choose(used, 1, 2, renamed=False, ways=ways) == choose(used, 1, 2, renamed=False, ways=plain)
    assert harmless(Known(alive=True, missed=0.05)) == Known(alive=True)
    assert harmless(Known(alive=True, missed=0.1)) == Known(alive=True, missed=0.1)


@pytest.mark.parametrize("told_of", [False, True], ids=["seen-here", "told-by-the-far-end"])
def test_missed_hellos_are_whole_ones(told_of: bool) -> None:
    """One of twenty decides nothing and four degrade a label, whichever end missed them and however it was told."""
    shares = []
    for missed in range(6):
        lost = {37 - 2 * number for number in range(missed)}
        here, there = Session(FarEnd(), Timing()), Session(FarEnd(), Timing())
        for tick in range(1, 41):
            now_s = 0.05 * tick
            sent = [(there, here.hello(1, tick, now_s), told_of), (here, there.hello(2, tick, now_s), not told_of)]
            for other, hello, lossy in sent:
                if not (lossy and tick in lost):
                    other.heard(unpack(pack(hello)) or hello, now_s)
        shares.append(here.way(2.01).missed)
    assert shares == [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    assert [harmless(Known(alive=True, missed=share)).missed for share in shares[:3]] == [0.0, 0.0, 0.1]
    ways = {1: Known(alive=True, missed=shares[4]), 2: ALIVE}
    assert choose(1, 1, 2, renamed=False, ways=ways) == 2


@pytest.mark.parametrize("seed", range(20))
def test_who_is_well_at_a_glance_is_so_at_a_closer_look(seed: int) -> None:
    """Two routes to one far end, one of which is slower; hellos are lost, late, and say what they like."""
    random, far, glances = Random(seed), FarEnd(), 0
    slow, fast = Session(far, Timing()), Session(far, Timing())
    arriving = []
    for tick in range(1, 200):
        for session, delay_s in ((fast, 0.002), (slow, random.uniform(0.01, 0.06))):
            if random.random() < 0.98:
                word = random.choices((wire.HEARD, wire.UNKNOWN, wire.LOST), (40, 1, 1))[0]
                share = random.choices((1.0, 0.95), (40, 1))[0]
                hello = Hello(word, share, 50, 9 + tick // 120, tick, int(0.05e9 * tick), 0, 0)
                arriving.append((0.05 * tick + delay_s, len(arriving), session, hello))
    for came_s, _, session, hello in sorted(arriving):
        session.heard(hello, came_s)
        for now_s in (came_s, came_s + random.uniform(0, 0.3)):
            if slow.well(now_s, behind=1):
                glances += not slow.well(now_s)
                assert harmless(slow.way(now_s)) == ALIVE
    assert glances > 20


def test_only_circuits_of_a_route_that_changed_are_chosen_for_anew() -> None:
    """And what is chosen is what an engine that begins now would choose."""
    circuits, routes = {}, {}
    for far in range(6):
        for label in (2 * far + 1, 2 * far + 2):
            routes[f"r{label}"] = {"far": f"g{far}", "labels": [(label, f"10.0.0.{label}", f"10.1.0.{label}")]}
        for number in range(3):
            ends = {"local": f"10.2.{far}.{number}", "remote": f"10.3.{far}.{number}"}
            circuits[f"c{far}-{number}"] = ends | {"send": 2 * far + 1, "standby": 2 * far + 2}
    table = told(0) | {"circuits": circuits, "routes": routes}
    engine, random, used = Engine(1), Random(7), {}
    engine.configure(table, ({}, {}))
    for tick in range(1, 120):
        now_s = 0.05 * tick
        for label in range(1, 13):
            if random.random() < (0.5 if label in (3, 4) and tick > 40 else 0.999):
                word = wire.LOST if label == 7 and tick > 60 else wire.HEARD
                engine.received(pack(Hello(word, 1.0, 50, 9, tick, tick, 0, 0)), f"10.1.0.{label}", now_s)
        choice = engine.decide(now_s)
        ways = {label.number: route.way for route in engine.routes.values() for label in route.labels}
        assert choice == {
            name: choose(c.used, c.send, c.standby, renamed=c.renamed, ways=ways) for name, c in engine.circuits.items()
        }
        engine.settle(choice)
        used |= {name: used.get(name, set()) | {number} for name, number in choice.items()}
    assert {name for name, labels in used.items() if len(labels) > 1} >= {"c3-0", "c3-1", "c3-2"}
    assert used["c0-0"] == {1}
