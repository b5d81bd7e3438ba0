"""What a process that was killed leaves behind is found and removed; what is in the way of that is said."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.configs import configs
from foremesh.agent import apply, ip, nft
from foremesh.agent.apply import Host
from foremesh.agent.diff import DeleteInterface, EndFailover, diff
from foremesh.agent.failover.client import Failover
from foremesh.agent.ip import Link
from foremesh.agent.keys import Keys
from foremesh.agent.state import Desired, Interface, Names, Observed
from foremesh.agent.store import ConfigStore
from foremesh.agent.wireguard import Device, UserspaceWireGuard, WireGuardError


@contextmanager
def listening(path: Path) -> Iterator[None]:
    """A control socket on which somebody listens and says nothing."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        server.bind(str(path))
        server.listen()
        yield


def dead(path: Path) -> None:
    """The control socket of a process that was killed."""
    with listening(path):
        pass
    assert path.exists()


def test_only_sockets_on_which_nobody_listens_are_abandoned(tmp_path: Path) -> None:
    dead(tmp_path / "fm-c1.sock")
    (tmp_path / "notes.txt").touch()
    with listening(tmp_path / "fm-hop.sock"):
        assert UserspaceWireGuard(control_dir=tmp_path).abandoned() == {"fm-c1"}


async def test_what_is_left_of_an_interface_is_removed(tmp_path: Path) -> None:
    dead(tmp_path / "fm-c1.sock")
    await UserspaceWireGuard(control_dir=tmp_path).destroy("fm-c1")
    assert os.listdir(tmp_path) == []


async def test_a_wireguard_that_dies_when_it_has_begun_is_not_waited_for(tmp_path: Path) -> None:
    """It says nothing any more once it is in the background."""
    with pytest.raises(WireGuardError, match=r"is dead: .*max_user_instances"):
        await UserspaceWireGuard("true", tmp_path).create("no-such-device")


class Hung(UserspaceWireGuard):
    async def read(self, name: str) -> Device:
        raise WireGuardError(f"interface {name}: does not answer")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with nothing but ``fm-hop``, driven by a process that hangs."""

    async def nothing(*_: object) -> frozenset[object]:
        return frozenset()

    async def no_tables(*_: object) -> dict[str, object]:
        return {}

    async def links(_: Names) -> dict[str, Link]:
        return {"fm-hop": Link(7, 1420, True, frozenset({"100.80.0.2/32"}), tun=True)}

    monkeypatch.setattr(ip, "links", links)
    monkeypatch.setattr(ip, "routes", nothing)
    monkeypatch.setattr(ip, "rules", nothing)
    monkeypatch.setattr(nft, "tables", no_tables)
    failover = Failover(tmp_path / "fm-failover.sock", "foremesh_hop")
    return Host(Names(), Hung(control_dir=tmp_path), Keys({}), failover)


async def test_a_wireguard_that_hangs_is_removed_where_it_is_not_wanted(host: Host) -> None:
    sight = await host.observe(None, {}, now_s=0.0)
    assert diff(sight.observed, Desired()) == (DeleteInterface("fm-hop"),)


async def test_a_wireguard_that_hangs_is_not_touched_where_it_is_wanted(host: Host) -> None:
    """It may carry traffic all the same."""
    with pytest.raises(WireGuardError, match="does not answer"):
        await host.observe(Desired({"fm-hop": Interface("", 1420)}), {}, now_s=0.0)


async def test_an_interface_that_no_process_drives_is_not_ours_to_remove(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def links(_: Names) -> dict[str, Link]:
        return {"fm-bridge": Link(7, 1500, True, frozenset())}

    monkeypatch.setattr(apply.ip, "links", links)
    with pytest.raises(WireGuardError, match="remove the interface if it is not foremesh's"):
        await host.observe(None, {}, now_s=0.0)


async def test_what_is_left_is_seen_and_what_is_others_is_not(host: Host, tmp_path: Path) -> None:
    assert (await host.observe(None, {}, now_s=0.0)).observed.failover is None
    for name in ("fm-failover", "fm-hop", "fm-c1", "wg0"):
        dead(tmp_path / f"{name}.sock")
    observed = (await host.observe(None, {}, now_s=0.0)).observed
    assert (observed.failover, observed.abandoned) == ("", {"fm-c1"})
    assert diff(Observed(failover="", abandoned=frozenset({"fm-c1"})), Desired()) == (
        EndFailover(),
        DeleteInterface("fm-c1"),
    )
    # Whoever starts it again clears up himself.
    assert diff(Observed(abandoned=frozenset({"fm-c1"})), Desired({"fm-c1": Interface("", 1360)}))[-1] != (
        DeleteInterface("fm-c1")
    )


async def test_an_ended_failover_process_leaves_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "fm-failover.sock"
    dead(path)
    await Failover(path, "foremesh_hop").end()
    assert not path.exists()


def test_forgetting_a_config_forgets_one_that_was_being_written(tmp_path: Path) -> None:
    store = ConfigStore(tmp_path)
    store.save(configs()["t"])
    (tmp_path / "config.new").write_text("half of")
    store.forget()
    assert os.listdir(tmp_path) == []
