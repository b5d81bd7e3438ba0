"""Who decides by which of several gateways traffic goes, and how: without sockets, but for the kernel's routes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.configs import FAKE_KEYS
from agent.pairs import End, two_ends
from foremesh.agent import rulesets
from foremesh.agent.desired import Local, desired
from foremesh.agent.failover import routes, site, uplinks
from foremesh.agent.failover.detours import QUIET_TICKS, STRANGER_TICKS, Detour, Quiet, Way, choose
from foremesh.agent.failover.told import failover_table
from foremesh.agent.failover.uplinks import STRANGER_S, Message, Uplink
from foremesh.agent.state import ROUTE_PROTOCOL, UPLINK_PORT, Desired, Names
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Encryption, Requirements, Traffic
from foremesh.model.resource import Protocol
from network.scene import Controller, gateway, intent, placed, workload

HTTPS = Traffic(protocol=Protocol.TCP, ports=(443,))


def configs(
    encryption: Encryption = Encryption.END_TO_END, protocol: Protocol = Protocol.TCP
) -> dict[str, GatewayConfig]:
    """Of w behind g1 and g2, and d behind h1 and h2, to whom it talks by g1 and h1; by name."""
    sites = {"g1": "s", "g2": "s", "h1": "d", "h2": "d"}
    mesh = Controller.of(*(gateway(*one) for one in sites.items()), workload("w", "s"), workload("d", "d"))
    calls = intent(
        "calls",
        traffic=(Traffic(protocol=protocol, ports=(443,)),),
        requirements=Requirements(encryption=encryption),
    )
    mesh.wish([(calls, placed(calls, "w", "d", "g1", "h1"))])
    mesh.backups = (placed(calls, "w", "d", "g2", "h1"), placed(calls, "w", "d", "g1", "h2"))
    return {id_.rpartition("/")[2]: config for id_, config in mesh.settle().items()}


def on_host(config: GatewayConfig) -> Desired:
    return desired(config, Local(FAKE_KEYS["a"]))


# Asking and answering


def test_both_sides_of_the_agent_speak_of_the_same_port() -> None:
    assert site.PORT == UPLINK_PORT
    assert routes.PROTOCOL != ROUTE_PROTOCOL


@given(st.binary(max_size=40))
def test_what_is_no_message_is_none(packet: bytes) -> None:
    said = uplinks.unpack(packet)
    assert said is None or uplinks.pack(said)[:6] == packet[:6]
    if said is None:
        assert uplinks.answer(packet, cut_off=False) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_an_answer_repeats_the_question(incarnation: int, number: int, cut_off: bool) -> None:
    asked = uplinks.pack(Message(uplinks.QUESTION, uplinks.FINE, incarnation, number))
    said = uplinks.answer(asked, cut_off=cut_off)
    assert said is not None
    assert uplinks.unpack(said) == (uplinks.ANSWER, int(cut_off), incarnation, number)
    assert uplinks.answer(said, cut_off=cut_off) is None, "or two gateways would answer each other for ever"


def uplink() -> Uplink:
    return Uplink("fm-up0", "100.64.1.2", "100.64.1.1", 7, 3)


def exchange(one: Uplink, now_s: float, *, cut_off: bool = False) -> None:
    said = uplinks.answer(one.question(now_s), cut_off=cut_off)
    assert said is not None
    one.heard(said)


def test_a_gateway_is_dead_when_three_questions_had_no_answer() -> None:
    one = uplink()
    exchange(one, 0.0)
    for number in range(4):
        assert one.alive
        assert not one.dead(0.2 * number)
        one.question(0.2 * number)
    assert not one.alive
    assert one.dead(0.8)


def test_a_pause_of_the_asker_proves_nothing() -> None:
    one = uplink()
    exchange(one, 0.0)
    one.question(0.2)
    assert one.alive
    assert not one.dead(60.0)


def test_a_gateway_that_is_cut_off_is_as_good_as_dead_and_comes_back() -> None:
    one = uplink()
    exchange(one, 0.0, cut_off=True)
    assert (one.answers, one.alive, one.dead(0.0)) == (True, False, True)
    exchange(one, 0.2)
    assert (one.alive, one.dead(0.2)) == (True, False)


def test_one_that_never_answered_is_unknown_for_a_while() -> None:
    one = uplink()
    one.question(0.0)
    assert (one.alive, one.dead(STRANGER_S - 0.1), one.dead(STRANGER_S)) == (False, False, True)


@pytest.mark.parametrize("wrong", [{"incarnation": 8}, {"number": 2}, {"kind": uplinks.QUESTION}])
def test_what_answers_nothing_that_was_asked_is_no_sign_of_life(wrong: dict[str, int]) -> None:
    one = uplink()
    one.question(0.0)
    one.heard(uplinks.pack(Message(uplinks.ANSWER, uplinks.FINE, 7, 1)._replace(**wrong)))
    assert not one.alive


# Choosing

NAMES = ("a", "b", "c")
SOME = st.frozensets(st.sampled_from(NAMES))


def detour(used: str = "a", *, firm: bool = True) -> Detour:
    return Detour(tuple(Way(name, f"fm-{name}", "") for name in NAMES), frozenset(), "", firm, used)


@given(st.sampled_from(NAMES), st.booleans(), SOME, SOME)
def test_a_way_is_left_for_one_that_lives_or_not_at_all(
    used: str, firm: bool, alive: frozenset[str], dead: frozenset[str]
) -> None:
    dead -= alive
    chosen = choose(detour(used, firm=firm), alive, dead)
    assert chosen == used or chosen in alive
    if used in dead and alive:
        assert chosen in alive
    if firm and used not in dead:
        assert chosen == used
    if not firm and "a" in alive:
        assert chosen == "a"


def test_who_left_does_not_go_back_by_himself() -> None:
    one = detour()
    history = []
    for alive, dead in (("abc", ""), ("bc", "a"), ("abc", ""), ("ac", "b"), ("abc", ""), ("", "abc")):
        one.used = choose(one, frozenset(alive), frozenset(dead))
        history.append(one.used)
    assert history == ["a", "b", "b", "a", "a", "a"]


def test_what_was_never_alive_is_given_more_time_than_what_was() -> None:
    quiet = Quiet()
    quiet.tick({"old": True, "new": False})
    for _ in range(QUIET_TICKS - 1):
        quiet.tick({"old": False, "new": False})
    assert quiet.dead() == frozenset()
    quiet.tick({"old": False, "new": False})
    assert quiet.dead() == {"old"}
    for _ in range(STRANGER_TICKS):
        quiet.tick({"old": True, "new": False})
    assert (quiet.dead(), quiet.alive()) == ({"new"}, {"old"})


# From configs to what is watched and which routes there are


@pytest.mark.parametrize("encryption", list(Encryption))
def test_every_detour_is_of_routes_that_the_agent_makes_behind_those_of_the_process(encryption: Encryption) -> None:
    made = configs(encryption)
    for name, detours in {"w": 2, "d": 2, "g1": 2, "h1": 2, "g2": 0, "h2": 0}.items():
        table, wanted = failover_table(made[name]), on_host(made[name])
        assert table is not None
        assert wanted.failover == table
        assert len(table.detours) == detours, name
        for one in table.detours.values():
            assert all(device in wanted.interfaces for _, device, _ in one.ways)
            assert one.prefixes
            for number, prefix in one.prefixes:
                (own,) = [
                    r for r in wanted.routes if (r.table, r.destination, r.device) == (number, prefix, one.ways[0][1])
                ]
                assert own.metric > routes.METRIC
                assert (own.source, own.gateway) == (one.source, one.ways[0][2])


def test_who_asks_whom() -> None:
    made = configs()
    for name in ("w", "d"):
        table = failover_table(made[name])
        assert table is not None
        assert {far for _, _, far in table.uplinks.values()} == {up.gateway_address for up in made[name].uplinks}
        assert table.answers_as == ""
    for name in ("g1", "g2", "h1", "h2"):
        table = failover_table(made[name])
        assert table is not None
        assert (table.uplinks, table.answers_as) == ({}, made[name].mesh_address)


def test_only_what_the_config_prefers_is_held_on_to() -> None:
    made = configs()
    firm = {name: [key for key, one in failover_table(made[name]).detours.items() if one.firm] for name in made}  # type: ignore[union-attr]
    assert (firm["w"], firm["d"]) == (["mesh/g1"], ["mesh/h1"])
    (first,) = [end.circuit for end in made["g1"].circuits if end.remote_gateway == "mesh/h1"]
    assert [key.split()[0] for key in firm["g1"]] == [first]
    assert (firm["g2"], firm["h1"], firm["h2"]) == ([], [], [])


def test_one_gateway_needs_no_questions() -> None:
    mesh = Controller.of(gateway("g1", "s"), workload("w", "s"))
    (config,) = [one for one in mesh.settle().values() if one.uplinks]
    assert failover_table(config) is None
    assert rulesets.UPLINKS not in on_host(config).tables


def chain(config: GatewayConfig, table: str, start: str) -> list[str]:
    return [rule for one in on_host(config).tables[table].chains if one.name.startswith(start) for rule in one.rules]


def test_answers_go_back_the_way_that_questions_come() -> None:
    made = configs()
    follow = "meta mark set ct mark &"
    at_h1 = [rule for rule in chain(made["h1"], rulesets.EDGE, "steering") if "tcp sport { 443 }" in rule]
    assert [follow in rule for rule in at_h1] == [True, False], "by the connection's circuit, else by the first"
    at_h2 = [rule for rule in chain(made["h2"], rulesets.EDGE, "steering") if "tcp sport { 443 }" in rule]
    assert [follow in rule for rule in at_h2] == [False]
    at_g1 = [rule for rule in chain(made["g1"], rulesets.EDGE, "steering") if "tcp dport { 443 }" in rule]
    assert len(at_g1) == 1, "questions go by the first one; a detour is the routes' business"
    names = Names()
    (arrive,) = chain(made["d"], rulesets.UPLINKS, "arrive")
    assert all(names.uplink(number) in arrive for number in (0, 1))


def test_the_middle_of_a_connection_may_appear_where_it_did_not_begin_and_nothing_else() -> None:
    made = configs()
    middle = "tcp sport { 443 } tcp flags & (syn | ack) == ack accept"
    for name, way in {"g1": "in_", "g2": "in_", "h1": "out_", "h2": "out_"}.items():
        assert any(middle in rule for rule in chain(made[name], rulesets.EDGE, way)), name
        other = "out_" if way == "in_" else "in_"
        assert not any(middle in rule for rule in chain(made[name], rulesets.EDGE, other)), name
    udp = configs(protocol=Protocol.UDP)
    for name in ("g1", "g2", "h1", "h2"):
        assert not any("ack" in rule for rule in chain(udp[name], rulesets.EDGE, "in_")), name


# The kernel's routes


@pytest.fixture
def end(tmp_path: Path) -> Iterator[End]:
    with two_ends(tmp_path) as (one, _):
        yield one


@pytest.mark.lab
def test_routes_are_made_replaced_read_and_taken_away_beside_those_of_others(end: End) -> None:
    code = """
from foremesh.agent.failover.routes import Routes, device_number
routes, v0, lo = Routes(), device_number("v0"), device_number("lo")
assert v0 and lo and not device_number("nothing")
own = "100.112.0.1"
one = {(254, "100.64.0.0/12"): (v0, "", own), (52001, "100.64.3.2/32"): (v0, "100.112.0.2", own)}
one |= {(56200, f"100.64.{n // 250}.{n % 250}/32"): (v0, "", own) for n in range(600)}
two = {key: (lo, "", "") for key in list(one)[:1]} | dict(list(one.items())[1:2])
assert routes.read() == {}
routes.change({}, one)
assert routes.read() == one
routes.change(one, two)
assert routes.read() == two
routes.change(two, {})
routes.change(two, {})  # those that are not there any more are no error
assert routes.read() == {}
try:
    routes.change({}, {(254, "100.64.0.0/12"): (4711, "", "")})
except OSError as error:
    print(error)
routes.change({}, two)
"""
    end.exec("ip", "route", "add", "100.64.0.0/12", "dev", "v0", "metric", 100, "proto", ROUTE_PROTOCOL)
    said = end.exec(sys.executable, "-c", code).stdout
    assert "routes: route 100.64.0.0/12 in table 254 cannot be changed" in said
    shown = end.exec("ip", "route", "show", "100.64.0.0/12").stdout.split("\n")
    assert ["proto 153" in shown[0], f"proto {ROUTE_PROTOCOL}" in shown[1]] == [True, True], "the lower metric first"
