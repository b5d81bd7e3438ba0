"""The lab tells the truth: its Internet delays, drops and limits as its world says, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import cleanup, netem
from lab.emulator import Line
from lab.process import Daemon, DaemonError, wait_until
from lab.scenes import Gateway, Topology, Workload, five_gateways
from lab.topology import Lab, LabError
from lab.world import Incident, Pair, World, WorldError

A, B = "203.0.113.6", "203.0.113.10"
HOUR_S = 3600
WITH_LAB = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
"""The environment in which ``python -m lab...`` works."""

# ---- The world: pure functions -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "at_s", "expected_ms"),
    [
        pytest.param(Pair(20), 5 * HOUR_S, 20, id="no-swing-is-constant"),
        pytest.param(Pair(20, 4, 18), 18 * HOUR_S, 24, id="peak-hour-adds-the-whole-swing"),
        pytest.param(Pair(20, 4, 18), 6 * HOUR_S, 20, id="twelve-hours-from-the-peak-adds-nothing"),
        pytest.param(Pair(20, 4, 18), 12 * HOUR_S, 22, id="six-hours-before-the-peak-adds-half"),
        pytest.param(Pair(20, 4, 18), 1_700_000_000 // 86_400 * 86_400 + 18 * HOUR_S, 24, id="every-day-is-alike"),
        pytest.param(Pair(20, incidents=(Incident(10, 20, delay_ms=7),)), 10, 27, id="incident-from-its-start"),
        pytest.param(Pair(20, incidents=(Incident(10, 20, delay_ms=7),)), 20, 20, id="incident-not-at-its-end"),
    ],
)
def test_delay_is_a_function_of_the_time_of_day(pair: Pair, at_s: float, expected_ms: float) -> None:
    assert pair.delay_ms_at(at_s) == pytest.approx(expected_ms)


def test_losses_of_incidents_add_up_to_a_cut_at_most() -> None:
    pair = Pair(1, loss=0.1, incidents=(Incident(10, 30, loss=0.2), Incident(20, 40, loss=0.9)))
    assert [pair.loss_at(at_s) for at_s in (0, 15, 25)] == pytest.approx([0.1, 0.3, 1.0])


incidents = st.builds(
    lambda start_s, long_s, delay_ms, loss: Incident(start_s, start_s + long_s, delay_ms, loss),
    st.floats(0, 2e9),
    st.floats(1, 1e6),
    st.floats(0, 1e3),
    st.floats(0, 1),
)
pairs = st.builds(
    Pair,
    delay_ms=st.floats(0, 1e3),
    diurnal_ms=st.floats(0, 1e3),
    peak_hour=st.floats(0, 24),
    jitter_ms=st.floats(0, 1e2),
    loss=st.floats(0, 1),
    rate_bps=st.none() | st.floats(1, 1e11),
    buffer_ms=st.floats(0, 1e3),
    reorder=st.booleans(),
    incidents=st.lists(incidents, max_size=3).map(tuple),
)


@given(pairs, pairs, st.integers())
def test_world_survives_json(there: Pair, back: Pair, seed: int) -> None:
    world = World({(A, B): there, (B, A): back}, {"10.201.1.0/24": A}, seed)
    assert World.from_json(world.to_json()) == world


@given(pairs, st.floats(0, 2e9))
def test_delay_stays_between_quiet_and_busy(pair: Pair, at_s: float) -> None:
    added_ms = sum(i.delay_ms for i in pair.incidents if i.start_s <= at_s < i.end_s)
    low, high = pair.delay_ms + added_ms, pair.delay_ms + pair.diurnal_ms + added_ms
    assert low - 1e-6 <= pair.delay_ms_at(at_s) <= high + 1e-6


def _world_text(**figures: object) -> str:
    return json.dumps({"pairs": [{"src": A, "dst": B, "delay_ms": 1, **figures}]})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("{", "world: not JSON", id="not-json"),
        pytest.param("[]", 'expected an object with a list "pairs"', id="no-pairs"),
        pytest.param('{"pairs": [{"src": "203.0.113.6"}]}', "pair number 0: needs src, dst and delay_ms", id="no-end"),
        pytest.param(_world_text(dst="fra"), f"pair {A} -> fra", id="name-for-address"),
        pytest.param(_world_text(dst=A), "does not reach itself", id="to-itself"),
        pytest.param(_world_text(delay_ms=-1), "delay_ms must be a number of at least 0, not -1", id="negative-delay"),
        pytest.param(_world_text(delay_ms="20"), "delay_ms must be a number of at least 0, not '20'", id="text-delay"),
        pytest.param(_world_text(loss=5), "10: pair: loss must be a number from 0 to 1, not 5", id="percent-loss"),
        pytest.param(_world_text(peak_hour=25), "peak_hour must be a number from 0 to 24", id="hour-25"),
        pytest.param(_world_text(rate_bps=0), "rate_bps must be a number of at least 1", id="rate-of-nothing"),
        pytest.param(_world_text(delay=1), "unknown field delay; known are buffer_ms", id="misspelt-field"),
        pytest.param(
            _world_text(incidents=[{"start_s": 5, "end_s": 5}]), "is not after start_s", id="incident-of-no-time"
        ),
        pytest.param(_world_text(incidents=[{"from": 5}]), "incidents:", id="incident-misspelt"),
        pytest.param('{"pairs": [], "behind": {"10.0.0.1/8": "203.0.113.6"}}', "not an IPv4 prefix", id="host-bits"),
        pytest.param('{"pairs": [], "seed": "x"}', "seed must be a whole number", id="seed"),
    ],
)
def test_a_world_that_cannot_be_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(WorldError, match=re.escape(complaint)):
        World.from_json(text)


def test_a_pair_described_twice_is_refused() -> None:
    item = {"src": A, "dst": B, "delay_ms": 1}
    with pytest.raises(WorldError, match="described twice"):
        World.from_json(json.dumps({"pairs": [item, item]}))


@pytest.mark.parametrize(
    ("nodes", "pairs", "complaint"),
    [
        pytest.param({"gateways": ("ams", "ams")}, {}, "two of that name", id="same-name"),
        pytest.param({"gateways": ("Amsterdam",)}, {}, "a name is", id="unfit-name"),
        pytest.param({"gateways": ("inet",)}, {}, "which the lab uses", id="reserved-name"),
        pytest.param(
            {"gateways": ("ams",)}, {("ams", "fra"): Pair(1)}, "must be two of the gateways ams", id="no-such-end"
        ),
        pytest.param({"gateways": ("ams",), "site": "b"}, {}, "its site b has no gateway", id="site-without-gateway"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(nodes: dict, pairs: dict, complaint: str) -> None:
    gateways = tuple(Gateway(name, "Core", "a", "eu", 0.0) for name in nodes["gateways"])
    with pytest.raises(WorldError, match=re.escape(complaint)):
        Topology(gateways, (Workload("app", nodes.get("site", "a")),), pairs)


def test_the_order_of_the_default_paths_holds_all_day() -> None:
    ways = five_gateways().pairs

    def delay_ms(at_s: float, *path: str) -> float:
        return sum(ways[hop].delay_ms_at(at_s) for hop in pairwise(path))

    for at_s in range(0, 86_400, 600):
        for one, other in (("ams", "fra"), ("fra", "ams")):
            by = [delay_ms(at_s, one, *via, other) for via in (["bru"], ["lon"], ["par"], [])]
            assert by == sorted(by)
            assert min(b - a for a, b in pairwise(by)) > 1


# ---- A line: who arrives when --------------------------------------------------------------------


def _arrivals(
    pair: Pair, *, every_s: float, count: int = 2000, octets: int = 1500, seed: int = 1
) -> list[float | None]:
    line = Line(pair, Random(seed))
    return [line.arrival(number * every_s, octets, clock=lambda: 0.0) for number in range(count)]


def test_a_line_serves_at_its_rate_and_drops_what_its_queue_cannot_hold() -> None:
    # 24 Mbit/s offered to 12 Mbit/s with room for 20 ms.
    arrivals = _arrivals(Pair(10, rate_bps=12e6, buffer_ms=20), every_s=0.0005)
    waits = [at - number * 0.0005 for number, at in enumerate(arrivals) if at is not None]
    assert max(waits) == pytest.approx(0.010 + 0.020 + 0.001, abs=0.0011)
    served = [at for at in arrivals if at is not None]
    assert len(served) * 1500 * 8 / (served[-1] - served[0]) == pytest.approx(12e6, rel=0.01)


def test_jitter_spreads_both_ways_and_overtakes_only_where_allowed() -> None:
    sparse = [at - n * 0.01 for n, at in enumerate(_arrivals(Pair(10, jitter_ms=2), every_s=0.01)) if at]
    assert 0.008 <= min(sparse) < 0.0082
    assert 0.0118 < max(sparse) <= 0.012
    dense = _arrivals(Pair(10, jitter_ms=2), every_s=0.0001)
    assert dense == sorted(dense)  # type: ignore[type-var]
    free = _arrivals(Pair(10, jitter_ms=2, reorder=True), every_s=0.0001)
    assert free != sorted(free)  # type: ignore[type-var]


def test_the_same_seed_is_the_same_fate_and_another_is_not() -> None:
    pair = Pair(10, jitter_ms=2, loss=0.2)
    first = _arrivals(pair, every_s=0.01)
    assert first == _arrivals(pair, every_s=0.01)
    assert first != _arrivals(pair, every_s=0.01, seed=2)
    assert first.count(None) / len(first) == pytest.approx(0.2, abs=0.03)


def test_the_emulator_refuses_a_world_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text(_world_text(loss=5))
    argv = [sys.executable, "-m", "lab.emulator", "inet0", tmp_path / "world.json", tmp_path / "control.sock"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=WITH_LAB)
    assert done.returncode == 1
    assert "emulator: 203.0.113.6 -> 203.0.113.10: pair: loss must be a number from 0 to 1, not 5" in done.stderr


# ---- netem: commands only, no kernel here has it -------------------------------------------------


def test_netem_commands_say_what_the_world_says() -> None:
    pair = Pair(20, jitter_ms=2, loss=0.01, rate_bps=12e6, buffer_ms=20.5, incidents=(Incident(100, 200, delay_ms=5),))
    world = World({(A, B): pair, (B, A): Pair(30)}, {"10.201.1.0/24": A})
    devices = {A: "to-ams", B: "to-fra"}
    assert netem.classes(world, devices)[6:] == [
        "class add dev to-ams parent 1: classid 1:10 htb rate 10gbit",
        f"filter add dev to-ams parent 1: protocol ip u32 match ip src {B}/32 flowid 1:10",
        "class add dev to-fra parent 1: classid 1:11 htb rate 10gbit",
        f"filter add dev to-fra parent 1: protocol ip u32 match ip src {A}/32 flowid 1:11",
        "filter add dev to-fra parent 1: protocol ip u32 match ip src 10.201.1.0/24 flowid 1:11",
    ]
    assert netem.shaping(world, devices, 0) == [
        "qdisc replace dev to-ams parent 1:10 handle 10: netem limit 100000 delay 30.000ms 0.000ms loss 0.0000%",
        "qdisc replace dev to-fra parent 1:11 handle 11: netem limit 44 delay 20.000ms 2.000ms loss 1.0000%"
        " rate 12000000bit",
        "qdisc replace dev to-fra parent 11:1 pfifo limit 44",
    ]
    assert "delay 25.000ms" in netem.shaping(world, devices, 150)[1]


def test_netem_applies_only_what_changed() -> None:
    batches: list[str] = []

    def tc(_argv: list[str], text: str) -> str:
        batches.append(text)
        return ""

    world = World({(A, B): Pair(20), (B, A): Pair(30)})
    carrier = netem.Netem(tc, {A: "to-ams", B: "to-fra"}, world)
    carrier.change(World({(A, B): Pair(25), (B, A): Pair(30)}))
    carrier.close()
    assert batches[2:] == [
        "qdisc replace dev to-fra parent 1:11 handle 11: netem limit 100000 delay 25.000ms 0.000ms loss 0.0000%\n"
    ]


# ---- The lab itself ------------------------------------------------------------------------------

TWO_SITES = Topology(
    (Gateway("one", "Core", "a", "eu", 0.0), Gateway("two", "Core", "b", "eu", 0.0)),
    (Workload("app", "a"), Workload("db", "b")),
    {("one", "two"): Pair(20), ("two", "one"): Pair(30)},
)


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    with Lab(TWO_SITES) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    yield shared_lab
    shared_lab.internet.restore()


def ping_ms(lab: Lab, *options: str, src: str = "one", dst: str = "two") -> list[float]:
    """Round-trip times in milliseconds of the answers that came, in order."""
    argv = ["ping", "-n", *(options or ("-c", "10", "-i", "0.02", "-W", "1"))]
    said = lab[src].exec(*argv, lab[dst].underlay_address, check=False).stdout
    return [float(ms) for ms in re.findall(r"time=([\d.]+) ms", said)]


@pytest.mark.lab
def test_each_direction_has_its_own_delay(lab: Lab) -> None:
    assert 50 <= min(ping_ms(lab)) < 51
    lab.internet.set_pair("one", "two", delay_ms=0)
    assert 30 <= min(ping_ms(lab)) < 31
    lab.internet.set_pair("two", "one", delay_ms=5)
    assert 5 <= min(ping_ms(lab)) < 6


@pytest.mark.lab
def test_a_change_is_in_force_within_50_ms(lab: Lab) -> None:
    took_s = []
    for delay_ms in (10, 25, 15, 40, 20):
        began = time.monotonic()
        lab.internet.set_pair("one", "two", delay_ms=delay_ms)
        took_s.append(time.monotonic() - began)
        assert ping_ms(lab, "-c", "1", "-W", "1")[0] >= delay_ms + 30
    assert sorted(took_s)[2] < 0.05


@pytest.mark.lab
def test_a_scheduled_change_happens_while_packets_flow(lab: Lab) -> None:
    change = lab.internet.at(0.5, lambda internet: internet.degrade("one", "two", delay_ms=40))
    series = ping_ms(lab, "-c", "50", "-i", "0.02", "-W", "1")
    assert change.result(timeout=5) is None
    assert len(series) == 50
    assert min(series[:10]) < 55
    assert all(ms >= 90 for ms in series[-10:])


@pytest.mark.lab
def test_a_scheduled_mistake_is_told(lab: Lab) -> None:
    mistake = lab.internet.at(0, lambda internet: internet.cut("one", "nowhere"))
    with pytest.raises(WorldError, match="no way one -> nowhere; gateways are one, two"):
        mistake.result(timeout=5)
    with pytest.raises(WorldError, match="loss must be a number from 0 to 1, not 2"):
        lab.internet.set_pair("one", "two", loss=2)
    with pytest.raises(WorldError, match="no such figure: delay"):
        lab.internet.set_pair("one", "two", delay=2)
    assert lab.internet.pair("one", "two") == Pair(20)


@pytest.mark.lab
def test_loss_hits_its_share_and_is_counted(lab: Lab) -> None:
    lab.internet.set_pair("one", "two", delay_ms=1, loss=0.3)
    lab.internet.set_pair("two", "one", delay_ms=1)
    before = lab.internet.counters()["one", "two"]
    answers = ping_ms(lab, "-c", "300", "-i", "0.003", "-W", "1")
    after = lab.internet.counters()["one", "two"]
    assert after.packets - before.packets == 300
    assert after.lost - before.lost == 300 - len(answers)
    assert 0.2 < 1 - len(answers) / 300 < 0.4


@pytest.mark.lab
def test_a_cut_is_one_way_and_restore_undoes_it(lab: Lab) -> None:
    lab.internet.cut("two", "one")
    before = lab.internet.counters()
    assert ping_ms(lab, "-c", "3", "-i", "0.02", "-W", "0.3") == []
    after = lab.internet.counters()
    assert after["one", "two"].lost == before["one", "two"].lost  # the requests arrived, the answers did not
    assert after["two", "one"].lost == before["two", "one"].lost + 3
    lab.internet.restore("two", "one")
    assert len(ping_ms(lab)) == 10
    lab.internet.cut("one")
    assert ping_ms(lab, "-c", "2", "-i", "0.02", "-W", "0.3") == []
    lab.internet.restore("one")
    assert len(ping_ms(lab)) == 10


SEND = """
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
start = time.monotonic()
for burst in range(200):  # 25 packets of 1428 bytes every 5 ms: 57 Mbit/s for a second
    for _ in range(25):
        out.sendto(bytes(1400), (sys.argv[1], 9))
    time.sleep(max(0, start + burst * 0.005 - time.monotonic()))
"""


@pytest.mark.lab
def test_a_rate_is_kept_and_its_queue_is_bounded(lab: Lab) -> None:
    lab.internet.set_pair("one", "two", delay_ms=5, rate_bps=20e6, buffer_ms=30)
    lab.internet.set_pair("two", "one", delay_ms=5)
    before = lab.internet.counters()["one", "two"]
    began = time.monotonic()
    sender = lab["one"].popen(sys.executable, "-c", SEND, lab["two"].underlay_address)
    rtts_ms = ping_ms(lab, "-c", "25", "-i", "0.02", "-W", "1")
    assert sender.wait(timeout=20) == 0
    took_s = time.monotonic() - began
    after = lab.internet.counters()["one", "two"]
    sent, dropped = after.packets - before.packets, after.overflowed - before.overflowed
    assert dropped > 1000
    # All that was let through fits the rate over the time it took, and the queue.
    assert (sent - dropped) * 1400 * 8 < 20e6 * (took_s + 0.030)
    assert (sent - dropped) * 1428 * 8 > 20e6 * 0.8
    assert max(rtts_ms) > 30
    # A machine that does something else for a moment keeps a ping or two waiting.
    assert sorted(rtts_ms)[-5] < 10 + 30 + 10


@pytest.mark.lab
def test_workloads_reach_their_gateway_and_in_clear_the_other_site_if_gateways_forward(lab: Lab) -> None:
    lab["app"].exec("ping", "-c", "1", "-W", "1", lab["one"].lan_address)
    beyond = ["ping", "-c", "2", "-i", "0.1", "-W", "1", lab["db"].lan_address]
    assert lab["app"].exec(*beyond, check=False).returncode != 0
    for gateway in lab.gateways.values():
        gateway.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    before = lab.internet.counters()["one", "two"].clear
    lab["app"].exec(*beyond)
    assert lab.internet.counters()["one", "two"].clear == before + 2


@pytest.mark.lab
def test_root_and_agents_reach_each_other_by_management(lab: Lab) -> None:
    for node in lab.nodes:
        node.exec("ping", "-c", "1", "-W", "1", lab.mgmt_address)
        subprocess.run(["ping", "-c", "1", "-W", "1", node.mgmt_address], check=True, capture_output=True, timeout=10)


@pytest.mark.lab
def test_a_failing_program_says_where_and_why(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"one: cat /nowhere: exit 1: cat: /nowhere: No such file"):
        lab["one"].exec("cat", "/nowhere")
    assert lab["one"].exec("cat", input="spoken").stdout == "spoken"
    with pytest.raises(DaemonError, match="the last word"):
        lab["one"].daemon(["sh", "-c", "echo the last word; exit 3"], tmp_path / "log", ready=lambda: False)


@pytest.mark.lab
def test_two_labs_at_once_keep_out_of_each_others_way(lab: Lab) -> None:
    with Lab(TWO_SITES) as other:
        assert not other.mgmt_network.overlaps(lab.mgmt_network)
        other.internet.cut("one")
        assert len(ping_ms(lab)) == 10
        assert ping_ms(other, "-c", "2", "-i", "0.02", "-W", "0.3") == []
    assert other.leftovers() == []
    assert len(ping_ms(lab)) == 10


# ---- The end of a lab ----------------------------------------------------------------------------


@pytest.mark.lab
def test_nothing_is_left_when_the_body_raises(tmp_path: Path) -> None:
    lab = Lab(TWO_SITES)

    def body() -> None:
        with lab:
            daemons.append(lab["one"].daemon(["sleep", "600"], tmp_path / "log"))
            assert "process" in " ".join(lab.leftovers())
            raise ZeroDivisionError

    daemons: list[Daemon] = []
    with pytest.raises(ZeroDivisionError):
        body()
    assert lab.leftovers() == []
    assert not daemons[0].running
    with pytest.raises(LabError, match="cannot run true"):
        lab["one"].exec("true")


@pytest.mark.lab
def test_wireguards_of_one_name_live_side_by_side_and_leave_no_control_socket() -> None:
    wireguard = ["env", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1", "wireguard-go"]
    with Lab(TWO_SITES) as lab:
        for gateway in lab.gateways.values():
            gateway.exec(*wireguard, "same")
            assert "interface: same" in gateway.exec("wg", "show").stdout
        assert not (cleanup.WIREGUARD / "same.sock").exists()
        # Started past the node, it uses the machine's folder.
        stray = f"{lab.prefix}-wg"
        command = ["ip", "netns", "exec", lab["one"].netns, *wireguard, stray]
        subprocess.run(command, check=True, capture_output=True, timeout=10)
        wait_until((cleanup.WIREGUARD / f"{stray}.sock").exists, 5)
    assert lab.leftovers() == []
    assert not (cleanup.WIREGUARD / f"{stray}.sock").exists()


HOLD = """
import signal, threading
from pathlib import Path
from lab.scenes import Gateway, Topology
from lab.topology import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests in the background may ignore it
one = Gateway("one", "Core", "a", "eu", 0.0)
with Lab(Topology((one,), (), {})) as lab:
    lab["one"].popen("setsid", "sleep", "600")
    print(lab.prefix, flush=True)
    threading.Event().wait()
"""


@contextmanager
def _hold_lab(log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds a lab, and the lab's prefix; neither is left behind, whatever the test finds."""
    with log.open("w") as errors:
        owner = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLD)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=WITH_LAB,
        )
    assert owner.stdout is not None
    prefix = owner.stdout.readline().strip()
    try:
        assert prefix.startswith("fm"), log.read_text()
        yield owner, prefix
    finally:
        owner.kill()
        owner.wait()
        with cleanup.exclusive():
            cleanup.remove_dead()


@pytest.mark.lab
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_owner_is_asked_to_end(number: signal.Signals, tmp_path: Path) -> None:
    with _hold_lab(tmp_path / "log") as (owner, prefix):
        assert cleanup.leftovers(prefix)
        owner.send_signal(number)
        assert owner.wait(timeout=20) != 0
        assert cleanup.leftovers(prefix) == []


@pytest.mark.lab
def test_the_lab_of_a_killed_owner_can_be_cleaned_and_that_of_a_living_one_stays(lab: Lab, tmp_path: Path) -> None:
    with _hold_lab(tmp_path / "log") as (owner, prefix):
        owner.kill()
        owner.wait(timeout=20)
        assert cleanup.leftovers(prefix)
        clean = [sys.executable, "-m", "lab.topology", "--clean"]
        said = subprocess.run(clean, capture_output=True, text=True, timeout=30, check=True, env=WITH_LAB).stdout
        assert prefix in said
        assert cleanup.leftovers(prefix) == []
    wait_until(lambda: len(ping_ms(lab)) == 10, 5, what="the living lab still carries packets")
