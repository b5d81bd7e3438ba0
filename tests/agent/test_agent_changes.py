"""What of the kernel's messages is a change to this agent, and what is read of the tools that it is looked at with."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from foremesh.agent import ip
from foremesh.agent.changes import Changes, matters
from foremesh.agent.host import HostError
from foremesh.agent.ip import Link
from foremesh.agent.state import Vxlan

OWN = {7, 9}
VXLAN = Vxlan(1, "100.96.0.1", "100.96.0.2", "02:00:00:00:00:01", 28_001)


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        (16, 3, True),
        (20, 3, True),
        (25, 3, True),
        (33, 3, True),
        (28, 7, True),
        (28, 3, False),
        (29, 9, True),
        (29, 3, False),
        (45, 9, True),
        (44, 3, False),
    ],
    ids=[
        *("link", "address", "route-gone", "rule-gone", "own-neighbour", "neighbour-elsewhere"),
        *("own-neighbour-gone", "neighbour-elsewhere-gone", "own-filter-gone", "filter-elsewhere"),
    ],
)
def test_what_matters(kind: int, number: int, expected: bool) -> None:
    assert matters(kind, struct.pack("=BxxxiH6x", 2, number, 0x80), OWN) is expected


def test_a_kernel_that_tells_nothing_is_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes themselves need a network of the agent's own: see the tests of what was damaged."""
    assert Changes().count(()) is not None

    class Refused(socket.socket):
        def bind(self, _: object) -> None:
            raise PermissionError

    monkeypatch.setattr("foremesh.agent.changes.socket.socket", Refused)
    assert Changes().count(()) is None


LINK_GONE, NEIGHBOUR_ELSEWHERE = (
    struct.pack("=IHHII", 32, kind, 0, 0, 0) + struct.pack("=BxxxiH6x", 2, 3, 0x80) for kind in (17, 28)
)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ([NEIGHBOUR_ELSEWHERE * 100], 0),
        ([NEIGHBOUR_ELSEWHERE + LINK_GONE], 1),
        ([LINK_GONE, b"not read", b"any more"], 1),
        ([OSError(errno.ENOBUFS, "no room")], 1),
        ([OSError(errno.ENOBUFS, "no room"), NEIGHBOUR_ELSEWHERE], 1),
        ([LINK_GONE, OSError(errno.ENOBUFS, "no room")], 2),
        ([OSError(errno.EBADF, "closed")], None),
    ],
    ids=["nothing-that-matters", "a-change", "a-flood", "too-much", "too-much-of-no-matter", "both", "no-more"],
)
def test_what_the_kernel_told_is_counted(told: list[bytes | OSError], counted: int | None) -> None:
    class Told:
        def recv(self, _: int) -> bytes:
            one = told.pop(0) if told else BlockingIOError()
            if isinstance(one, OSError):
                raise one
            return one

    changes = Changes()
    before, changes._socket = changes.count(OWN), cast(socket.socket, Told())
    assert before is not None
    assert changes.count(OWN) == (None if counted is None else before + counted)
    assert told == []


@pytest.mark.parametrize(
    ("told", "far_port"),
    [
        ({"dst": VXLAN.remote, "port": 23_001}, 23_001),
        ({"dst": VXLAN.remote}, 28_001),
        ({"dst": "100.96.0.9", "port": 23_001}, 0),
        ({"dst": VXLAN.remote, "mac": "00:00:00:00:00:00"}, 0),
        ({"dst": VXLAN.remote, "ifname": "vxlan0"}, 0),
        ({"dst": VXLAN.remote, "mac": "02:00:00:00:00:99"}, 0),
        ({"dst": VXLAN.remote, "state": "stale"}, 0),
    ],
    ids=["told", "told-as-its-own", "told-of-another", "of-everybody", "of-somebody-elses", "of-a-stranger", "learnt"],
)
def test_where_a_far_end_listens(told: dict[str, object], far_port: int) -> None:
    links = {"fm-c1": Link(7, 1370, True, frozenset(), VXLAN)}
    entry = {"mac": "02:00:00:00:00:02", "ifname": "fm-c1", "state": "permanent"} | told
    found = ip.parse_forwarding([entry], links)
    assert found == {"fm-c1": replace(links["fm-c1"], vxlan=replace(VXLAN, far_port=far_port))}
    assert found["fm-c1"].vxlan is not None
    assert found["fm-c1"].vxlan.far_port == far_port


def test_where_packets_are_handed_to() -> None:
    said = (
        "filter protocol ip pref 49152 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 terminal flowid not_in_hw\n"
        "  match 00000000/00000000 at 0\n"
        "\taction order 1: mirred (Egress Redirect to device fm-hop) stolen\n"
    )
    assert ip.parse_redirect(said) == "fm-hop"
    assert ip.parse_redirect(said.replace("Redirect", "Mirror")) == ""
    assert ip.parse_redirect("") == ""


def test_traffic_is_read_of_every_interface(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text(
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
        "    lo:   11 1 0 0 0 0 0 0   22 2 0 0 0 0 0 0\n"
        "fm-c12: 33 1 0 0 0 0 0 0 44 2 0 0 0 0 0 0\n"
    )
    assert ip.traffic(tmp_path / "dev") == {"lo": (11, 22), "fm-c12": (33, 44)}
    assert "lo" in ip.traffic()


def test_traffic_of_an_interface_with_any_name(tmp_path: Path) -> None:
    (tmp_path / "dev").write_bytes(
        b"\xffodd: 11 1 0 0 0 0 0 0 22 2 0 0 0 0 0 0\nlo: 33 1 0 0 0 0 0 0 44 2 0 0 0 0 0 0\n"
    )
    assert ip.traffic(tmp_path / "dev")["lo"] == (33, 44)
    with pytest.raises(HostError, match="cannot be read"):
        ip.traffic(tmp_path / "nothing")
