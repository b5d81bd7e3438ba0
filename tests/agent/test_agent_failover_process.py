"""The failover process itself: sockets, maps and control socket, between two namespaces with plain veths."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.pairs import End, address, circuit_address, table, two_ends
from foremesh.agent.failover import hellos, nftables, process
from foremesh.agent.failover.client import FailoverError, source_version
from foremesh.agent.rulesets import names
from foremesh.agent.state import FAILOVER_PORT
from lab.process import wait_until_async

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

Ends = tuple[End, End]


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    """Both run, hear each other on both labels and send on the first."""
    with two_ends(tmp_path) as pair:
        for end in pair:
            end.launch()
            await end.failover.set(table(end.side))
        await until(pair, lambda state: state.alive == (5, 6), "both labels alive")
        yield pair


async def until(ends: tuple[End, ...], condition: object, what: str) -> None:
    for end in ends:

        async def so(end: End = end) -> bool:
            state = await end.failover.state()
            return state is not None and bool(condition(state))  # type: ignore[operator]

        deadline_s = asyncio.get_running_loop().time() + 30
        while not await so():
            assert asyncio.get_running_loop().time() < deadline_s, f"{end.name}: {what}: {await end.failover.state()}"


def sends_on(end: End) -> int:
    """The label that the maps say, from outside of the process."""
    text = end.written()
    found = {
        name: re.search(rf"map {name} {{.*?{re.escape(local)} : ([0-9.]+)", text, re.DOTALL)
        for name, local in (("send_own", circuit_address(1, end.side)), ("send_far", circuit_address(1, 1 - end.side)))
    }
    (own, far) = (match[1] if match else "" for match in found.values())
    (number,) = [n for n in range(10) if (address(n, end.side), address(n, 1 - end.side)) == (own, far)]
    return number


def test_both_sides_of_the_agent_speak_of_the_same_things() -> None:
    assert hellos.PORT == FAILOVER_PORT
    assert (process.SEND_OWN, process.SEND_FAR) == (names.SEND_OWN, names.SEND_FAR)


async def test_it_writes_the_maps_and_measures_the_routes(ends: Ends) -> None:
    for end in ends:
        state = await end.failover.state()
        assert state
        assert (state.used, state.digest) == ({"c": 5}, table(end.side).digest)
        assert sends_on(end) == 5
        for route in state.routes.values():
            assert route.alive
            assert route.rtt_ms is not None
            assert 0 <= route.rtt_ms < 50
            assert route.loss == 0.0


async def test_its_socket_is_for_its_user_alone(ends: Ends) -> None:
    assert stat.S_IMODE(ends[0].socket.stat().st_mode) == 0o600


async def test_a_second_table_of_the_same_content_changes_nothing(ends: Ends) -> None:
    before = ends[0].exec("nft", "-a", "list", "table", "ip", "foremesh_hop").stdout
    await ends[0].failover.set(table(0))
    assert ends[0].exec("nft", "-a", "list", "table", "ip", "foremesh_hop").stdout == before


@pytest.mark.parametrize("cut", [(0, 1), (1,)], ids=["both-ways", "one-way"])
async def test_a_dead_label_is_left_and_nobody_goes_back(ends: Ends, cut: tuple[int, ...]) -> None:
    for side in cut:
        ends[side].lose(5)
    await until(ends, lambda state: state.used == {"c": 6}, "on the standby")
    assert [sends_on(end) for end in ends] == [6, 6]
    for end in ends:
        end.lose_nothing()
    await until(ends, lambda state: state.alive == (5, 6), "both labels alive again")
    for end in ends:
        state = await end.failover.state()
        assert state
        assert (state.used, state.failovers) == ({"c": 6}, {"c": 1})
        assert "failover circuit=c from=5 to=6" in end.log.read_text()


async def test_a_label_that_loses_a_third_is_left(ends: Ends) -> None:
    ends[1].lose(5, share=0.35)
    await until(ends, lambda state: state.used == {"c": 6}, "on the standby")


async def test_changes_are_told_to_whom_watches(ends: Ends) -> None:
    watching = ends[0].failover.watch()
    first = await anext(watching)
    assert (first.used, first.alive) == ({"c": 5}, (5, 6))
    ends[0].lose(5)
    seen = []
    async with asyncio.timeout(20):
        async for state in watching:
            seen.append(state)
            if state.used == {"c": 6}:
                break
    await watching.aclose()
    assert seen[-1].failovers == {"c": 1}


async def test_who_reads_slowly_is_told_the_newest(tmp_path: Path) -> None:
    with two_ends(tmp_path) as (end, _):
        (circuit,) = table(0).circuits.values()
        circuits = {f"c{n}": msgspec.structs.replace(circuit, local=circuit_address(n, 0)) for n in range(200)}
        end.launch()
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(end.socket))
            slow.settimeout(20)
            slow.sendall(b'{"do":"watch"}\n')
            for n in range(60):
                wanted = msgspec.structs.replace(table(0), missed=3 + n, circuits=circuits)
                await end.failover.set(wanted)
            told = []
            with slow.makefile() as lines:
                while not told or told[-1] != wanted.digest:
                    told.append(json.loads(lines.readline())["digest"])
        assert len(told) < 60


@pytest.mark.parametrize("how", ["killed", "ended", "replaced"])
async def test_another_process_goes_on_where_the_first_was(ends: Ends, how: str) -> None:
    """What is used is in the maps; it is neither lost nor taken for the config's word."""
    ends[0].lose(5)
    await until(ends, lambda state: state.used == {"c": 6}, "on the standby")
    ends[0].lose_nothing()
    await until(ends, lambda state: state.alive == (5, 6), "both labels alive again")
    old = await ends[0].failover.state()
    assert old
    if how == "killed":
        os.kill(old.pid, signal.SIGKILL)
        await wait_until_async(lambda: not Path(f"/proc/{old.pid}/exe").exists(), 20)
    elif how == "ended":
        os.kill(old.pid, signal.SIGTERM)
        await wait_until_async(lambda: not ends[0].socket.exists(), 20)
    else:
        await ends[0].failover.end()
        assert not ends[0].socket.exists()
    assert await ends[0].failover.state() is None
    assert sends_on(ends[0]) == 6  # packets go on
    ends[0].launch()
    state = await ends[0].failover.set(table(0))
    assert state.used == {"c": 6}
    await until(ends, lambda state: state.alive == (5, 6), "both labels alive again")
    far = await ends[1].failover.state()
    assert far
    assert (far.used, far.failovers) == ({"c": 6}, {"c": 1})


async def test_a_process_that_stood_still_leaves_nobody(ends: Ends) -> None:
    state = await ends[0].failover.state()
    assert state
    os.kill(state.pid, signal.SIGSTOP)
    await until(ends[1:], lambda state: state.alive == (), "nothing is heard")
    os.kill(state.pid, signal.SIGCONT)
    await until(ends, lambda state: state.alive == (5, 6), "both labels alive again")
    assert [sends_on(end) for end in ends] == [5, 5]


async def test_the_configs_word_is_followed(ends: Ends) -> None:
    state = await ends[0].failover.set(table(0, send=6, standby=5))
    assert (state.used, state.failovers) == ({"c": 6}, {"c": 0})
    assert sends_on(ends[0]) == 6
    assert "moved circuit=c from=5 to=6" in ends[0].log.read_text()


async def test_a_circuit_that_is_gone_leaves_the_maps(ends: Ends) -> None:
    state = await ends[0].failover.set(msgspec.structs.replace(table(0), circuits={}))
    assert state.used == {}
    assert "elements" not in ends[0].written()


async def test_maps_that_were_made_anew_are_noticed_and_filled(ends: Ends) -> None:
    ends[0].nft("delete table ip foremesh_hop\n")
    state = await ends[0].failover.state()
    assert state
    assert state.digest == ""
    with pytest.raises(FailoverError, match="No such file"):
        await ends[0].failover.set(table(0))
    ends[0].nft("add table ip foremesh_hop\n")
    for name in (names.SEND_OWN, names.SEND_FAR):
        ends[0].nft(f"add map ip foremesh_hop {name} {{ type ipv4_addr : ipv4_addr; }}\n")
    state = await ends[0].failover.set(table(0))
    assert state.digest
    assert sends_on(ends[0]) == 5


async def test_another_version_says_so_and_is_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ends(tmp_path) as (end, _):
        end.launch()
        await end.failover.set(table(0))
        monkeypatch.setattr("foremesh.agent.failover.client.source_version", lambda: "another")
        state = await end.failover.state()
        assert state
        assert (state.version, state.digest) == (source_version(), "")


async def test_a_second_process_is_refused(ends: Ends) -> None:
    with pytest.raises(AssertionError, match="another failover process answers"):
        ends[0].launch()
    state = await ends[0].failover.state()
    assert state


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"do":"dance"}\n', b'{"do":"set"}\n', b'{"do":"set","table":{}}\n'])
async def test_what_it_does_not_understand_it_says(ends: Ends, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(10)
        control.connect(str(ends[0].socket))
        control.sendall(line)
        answer = json.loads(control.recv(65536))
    assert "error" in answer
    assert sends_on(ends[0]) == 5


async def test_many_circuits_switch_in_one_transaction(tmp_path: Path) -> None:
    """200 circuits on one route; whoever looks sees all before or all after."""
    with two_ends(tmp_path) as pair:
        for end in pair:
            (circuit,) = table(end.side).circuits.values()
            circuits = {
                f"c{n}": msgspec.structs.replace(
                    circuit, local=circuit_address(n, end.side), remote=circuit_address(n, 1 - end.side)
                )
                for n in range(200)
            }
            end.launch()
            await end.failover.set(msgspec.structs.replace(table(end.side), circuits=circuits))
        await until(pair, lambda state: state.alive == (5, 6), "both labels alive")
        pair[0].lose(5)
        await until(pair, lambda state: set(state.used.values()) == {6}, "all on the standby")
        assert pair[0].written().count(f": {address(6, 0)}") == 200
        assert pair[0].written().count(f": {address(5, 0)}") == 0


class TestMaps:
    """The kernel's maps over netlink; in a namespace of their own."""

    @pytest.fixture
    def end(self, tmp_path: Path) -> AsyncIterator[End]:
        with two_ends(tmp_path) as (end, _):
            yield end  # type: ignore[misc]

    def run(self, end: End, code: str) -> str:
        before = "from foremesh.agent.failover.nftables import Maps, NftablesError\nmaps = Maps('foremesh_hop')\n"
        return end.exec(sys.executable, "-c", before + code).stdout

    def test_many_elements_are_written_replaced_and_read(self, end: End) -> None:
        code = """
one = {f"10.1.{n // 256}.{n % 256}": f"10.2.{n // 256}.{n % 256}" for n in range(1500)}
two = {key: "10.3.3.3" for key in list(one)[500:]} | {"10.9.9.9": "1.2.3.4"}
maps.change({"send_own": ({}, one), "send_far": ({}, two)})
assert maps.read("send_own") == one and maps.read("send_far") == two
maps.change({"send_own": (one, two), "send_far": (two, {})})
assert maps.read("send_own") == two and maps.read("send_far") == {}
maps.change({"send_own": (two, two)})
print("well")
"""
        assert self.run(end, code) == "well\n"

    def test_a_refused_transaction_changes_nothing(self, end: End) -> None:
        code = """
maps.change({"send_own": ({}, {"10.0.0.1": "10.0.0.2"})})
for wrong in ({"send_own": ({}, {"10.0.0.3": "10.0.0.4"}), "none": ({}, {"10.0.0.1": "10.0.0.2"})},
              {"send_own": ({"10.7.7.7": "10.0.0.1"}, {"10.0.0.9": "10.0.0.4"})}):
    try:
        maps.change(wrong)
    except NftablesError as error:
        print(error.errno)
assert maps.read("send_own") == {"10.0.0.1": "10.0.0.2"}
maps.change({"send_own": ({"10.0.0.1": "10.0.0.2"}, {"10.0.0.1": "10.0.0.9"})})
assert maps.read("send_own") == {"10.0.0.1": "10.0.0.9"}
"""
        assert self.run(end, code) == "2\n2\n"

    def test_no_map_is_an_error_that_names_it(self) -> None:
        maps = nftables.Maps("foremesh_of_nobody")
        with pytest.raises(nftables.NftablesError, match="map send_own cannot be read: No such file"):
            maps.read("send_own")
        maps.close()
