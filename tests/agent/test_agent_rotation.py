"""Keys of links and circuits: made when it is time, destroyed when nothing names them, and never in between."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from agent.configs import configs
from foremesh.agent.keys import KeyFileError, Keys
from foremesh.agent.rotation import Rotation
from foremesh.agent.state import KeyRole
from foremesh.model.config import GatewayConfig

PERIOD_S = 100.0


def naming(*own_keys: str) -> GatewayConfig:
    """A transit's config whose links run on these keys in turn."""
    config = configs()["t"]
    keys = own_keys * len(config.hop_peers)
    peers = tuple(msgspec.structs.replace(p, own_key=key) for p, key in zip(config.hop_peers, keys, strict=False))
    return msgspec.structs.replace(config, hop_peers=peers)


def step(folder: Path, applied: GatewayConfig | None, *, age_s: float = PERIOD_S, period_s: float = PERIOD_S) -> bool:
    """One step of an agent that has just started."""
    keys = Keys.load(folder)
    return Rotation(keys, period_s).step(applied, now_s=min(one.made_s for one in keys.hops) + age_s)


def held(folder: Path) -> list[str]:
    return [one.key.public for one in Keys.load(folder).hops]


@pytest.mark.parametrize(
    ("age_s", "period_s", "expected"),
    [(PERIOD_S - 1, PERIOD_S, 1), (PERIOD_S, PERIOD_S, 2), (1e9, 0.0, 1)],
    ids=["young-stays", "old-gets-a-successor", "never-is-never"],
)
def test_when_a_key_is_made(tmp_path: Path, age_s: float, period_s: float, expected: int) -> None:
    (old,) = held(tmp_path)
    assert step(tmp_path, naming(old), age_s=age_s, period_s=period_s) is (expected == 2)
    assert len(held(tmp_path)) == expected
    assert held(tmp_path)[-1] == old


def test_one_key_after_the_other_in_turns_of_two_files(tmp_path: Path) -> None:
    """Every step by an agent that was killed after the one before."""
    files = []
    for _ in range(3):
        (old,) = held(tmp_path)
        assert step(tmp_path, naming(old))
        new, before = held(tmp_path)
        assert before == old
        assert not step(tmp_path, naming(old)), "not named yet"
        assert not step(tmp_path, naming(old, new)), "the old one carries labels still"
        assert step(tmp_path, naming(new))
        assert held(tmp_path) == [new]
        (file,) = tmp_path.glob("hop*.key")
        assert file.stat().st_mode & 0o777 == 0o600
        files.append(file.name)
    assert files == ["hop-1.key", "hop.key", "hop-1.key"]


@pytest.mark.parametrize(
    "applied",
    [
        pytest.param(None, id="nothing-applied"),
        pytest.param(msgspec.structs.replace(configs()["t"], hop_peers=()), id="no-links"),
        pytest.param(configs()["t"], id="a-config-that-names-no-keys"),
        pytest.param(configs()["wa"], id="a-workload"),
    ],
)
def test_nothing_changes_where_the_mesh_cannot_follow(tmp_path: Path, applied: GatewayConfig | None) -> None:
    (old,) = held(tmp_path)
    assert not step(tmp_path, applied, age_s=1e9)
    Keys.load(tmp_path).make_hop()
    assert not step(tmp_path, applied, age_s=1e9)
    assert old in held(tmp_path)


def test_the_newest_is_told_from_the_older_by_the_time_of_its_file(tmp_path: Path) -> None:
    (first,) = held(tmp_path)
    keys = Keys.load(tmp_path)
    second = keys.make_hop().key.public
    os.utime(tmp_path / "hop.key", (1e9, 1e9))
    assert Keys.load(tmp_path).public[KeyRole.HOP] == second
    os.utime(tmp_path / "hop-1.key", (1e8, 1e8))
    assert Keys.load(tmp_path).public[KeyRole.HOP] == first


def test_a_key_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (tmp_path / "hop-1.new").mkdir()
    with pytest.raises(KeyFileError):
        keys.make_hop()
    assert [one.slot for one in keys.hops] == [0]


def asking(known: str, *own_keys: str, since_s: float) -> GatewayConfig:
    """A config whose writer knows one key as the newest, whose circuits run on others, and that asks for newer ones."""
    config = configs()["a"]
    (end,) = config.circuits
    ends = [msgspec.structs.replace(end, circuit=f"mesh/{key}", own_key=key) for key in own_keys]
    return msgspec.structs.replace(
        config, hop_peers=(), circuits=tuple(ends), circuit_key=known, circuit_keys_since=int(since_s)
    )


def circuit_keys(folder: Path) -> list[str]:
    return [one.key.public for one in Keys.load(folder).circuits]


def turn(folder: Path, applied: GatewayConfig, *, now_s: float) -> bool:
    return Rotation(Keys.load(folder), 0.0).step(applied, now_s=now_s)


def test_circuit_keys_are_made_when_asked_for_and_go_when_unused(tmp_path: Path) -> None:
    """Every step by an agent that was killed after the one before."""
    (old,) = circuit_keys(tmp_path)
    made_s = Keys.load(tmp_path).circuits[0].made_s
    assert not turn(tmp_path, asking(old, old, since_s=made_s), now_s=made_s + 1), "it is new enough"
    assert turn(tmp_path, asking(old, old, since_s=made_s + 100), now_s=made_s + 101)
    new, before = circuit_keys(tmp_path)
    assert before == old
    assert Keys.load(tmp_path).wire.circuit == old, "what a writer names that knows of one key"
    later = asking(old, old, since_s=made_s + 200)
    assert not turn(tmp_path, later, now_s=made_s + 201), "the mesh does not know the newest yet"
    assert not turn(tmp_path, asking(new, new, old, since_s=made_s + 100), now_s=made_s + 102), "both are in use"
    assert turn(tmp_path, asking(new, new, since_s=made_s + 100), now_s=made_s + 103)
    assert circuit_keys(tmp_path) == [new]
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("*.key")} == {0o600}


def test_a_key_is_asked_for_once_whatever_the_clocks_say(tmp_path: Path) -> None:
    (old,) = circuit_keys(tmp_path)
    ahead_s = Keys.load(tmp_path).circuits[0].made_s + 3600
    assert turn(tmp_path, asking(old, old, since_s=ahead_s), now_s=ahead_s - 3600)
    new = circuit_keys(tmp_path)[0]
    assert not turn(tmp_path, asking(new, old, new, since_s=ahead_s), now_s=ahead_s - 3599)
    assert Keys.load(tmp_path).circuits_wire[0].made_s == int(ahead_s)


def test_circuit_keys_that_others_cannot_leave_stay_beside_newer_ones(tmp_path: Path) -> None:
    (first,) = circuit_keys(tmp_path)
    made_s = Keys.load(tmp_path).circuits[0].made_s
    newest = first
    for turns in range(1, 5):
        assert turn(tmp_path, asking(newest, first, newest, since_s=made_s + turns), now_s=made_s + turns)
        newest = circuit_keys(tmp_path)[0]
    assert turn(tmp_path, asking(newest, first, newest, since_s=0), now_s=made_s + 9)
    assert circuit_keys(tmp_path) == [newest, first]


def test_nothing_is_made_for_a_writer_that_knows_no_circuit_keys(tmp_path: Path) -> None:
    circuit_keys(tmp_path)
    assert not turn(tmp_path, msgspec.structs.replace(configs()["a"], hop_peers=()), now_s=1e10)
