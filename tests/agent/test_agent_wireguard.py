"""What goes to WireGuard's control socket never replaces a list; what comes from it never shows a secret."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.configs import fake_key
from foremesh.agent.keys import KeyFileError, Keys, PrivateKey
from foremesh.agent.state import KeyRole
from foremesh.agent.wireguard import PeerUpdate, SeenPeer, UserspaceWireGuard, WireGuardError, parse, render

PREFIXES = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda p: f"{'.'.join(str((p[0] >> shift) & 255) for shift in (24, 16, 8, 0))}/{p[1]}"
)
PEERS = st.dictionaries(
    st.binary(min_size=32, max_size=32).map(lambda key: base64.b64encode(key).decode()),
    st.builds(
        SeenPeer,
        endpoint=st.none() | st.just("203.0.113.7:51820") | st.just("[2001:db8::1]:51820"),
        keepalive_s=st.integers(0, 65535),
        allowed=st.frozensets(PREFIXES, max_size=4),
        receive_bytes=st.integers(0, 2**63),
        transmit_bytes=st.integers(0, 2**63),
        last_handshake_s=st.integers(0, 2**32).map(float),
    ),
    max_size=4,
)


def told(public_key: str, peer: SeenPeer) -> str:
    """A peer as WireGuard prints it."""
    lines = [f"public_key={base64.b64decode(public_key).hex()}", f"preshared_key={'0' * 64}", "protocol_version=1"]
    lines += [f"endpoint={peer.endpoint}"] if peer.endpoint else []
    lines += [
        f"last_handshake_time_sec={int(peer.last_handshake_s)}",
        "last_handshake_time_nsec=0",
        f"tx_bytes={peer.transmit_bytes}",
        f"rx_bytes={peer.receive_bytes}",
        f"persistent_keepalive_interval={peer.keepalive_s}",
        *(f"allowed_ip={prefix}" for prefix in sorted(peer.allowed)),
    ]
    return "\n".join(lines)


@given(private=st.binary(min_size=32, max_size=32), port=st.integers(0, 65535), peers=PEERS)
def test_what_wireguard_says_is_read_back(private: bytes, port: int, peers: dict[str, SeenPeer]) -> None:
    head = f"private_key={private.hex()}\nlisten_port={port}\nfwmark=0\n"
    device = parse(head + "\n".join(told(key, peer) for key, peer in peers.items()) + "\nerrno=0\n")
    assert (device.listen_port, dict(device.peers)) == (port, peers)
    assert private.hex() not in repr(device)
    if any(private):
        assert device.public_key == PrivateKey(private).public


def test_an_interface_without_a_key_has_no_public_key() -> None:
    assert parse(f"private_key={'0' * 64}\nlisten_port=0\nerrno=0\n").public_key == ""


@given(
    st.lists(
        st.builds(
            PeerUpdate,
            public_key=st.sampled_from([fake_key(n) for n in range(3)]),
            endpoint=st.none() | st.just("203.0.113.7:51820"),
            keepalive_s=st.none() | st.integers(0, 100),
            add=st.lists(PREFIXES, max_size=3).map(tuple),
            remove=st.booleans(),
        )
    )
)
def test_a_request_adds_and_never_replaces(updates: list[PeerUpdate]) -> None:
    lines = render(updates).splitlines()
    assert (lines[0], lines[-1]) == ("set=1", "")
    assert "replace_allowed_ips=true" not in lines
    assert "replace_peers=true" not in lines
    assert [line for line in lines if line.startswith("allowed_ip=")] == [
        f"allowed_ip={prefix}" for update in updates if not update.remove for prefix in update.add
    ]
    assert lines.count("remove=true") == sum(update.remove for update in updates)


async def answering(folder: Path, answer: str, heard: list[str]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\n\n")).decode())
        writer.write(answer.encode())
        writer.close()

    return await asyncio.start_unix_server(serve, folder / "fm-hop.sock")


async def test_dropped_prefixes_go_to_a_peer_that_goes_too(tmp_path: Path) -> None:
    heard: list[str] = []
    async with await answering(tmp_path, "errno=0\n\n", heard):
        await UserspaceWireGuard(control_dir=tmp_path).drop_allowed("fm-hop", ["100.112.0.8/32"])
    lines = heard[0].splitlines()
    parking = lines[1]
    assert lines == ["set=1", parking, "allowed_ip=100.112.0.8/32", parking, "remove=true", ""]


async def test_a_refusal_says_what_and_not_the_key(tmp_path: Path) -> None:
    private = PrivateKey(bytes(range(32)))
    async with await answering(tmp_path, "errno=-22\n\n", []):
        with pytest.raises(WireGuardError, match="errno=-22") as caught:
            await UserspaceWireGuard(control_dir=tmp_path).configure("fm-hop", private, 51820)
    assert private.reveal().hex() not in str(caught.value)


async def test_a_dead_socket_is_an_error_with_the_interface(tmp_path: Path) -> None:
    with pytest.raises(WireGuardError, match="fm-hop"):
        await UserspaceWireGuard(control_dir=tmp_path).read("fm-hop")


def test_keys_are_made_once_and_stay_private(tmp_path: Path) -> None:
    first, second = Keys.load(tmp_path / "keys"), Keys.load(tmp_path / "keys")
    assert first.public == second.public
    assert len(set(first.public.values())) == len(KeyRole)
    for role in KeyRole:
        path = tmp_path / "keys" / f"{role.value}.key"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in repr(first.of(first.public[role]))


@pytest.mark.parametrize(
    ("content", "mode", "cause"),
    [("c2hvcnQ=", 0o600, "32 bytes"), ("no base64!", 0o600, "base64"), ("", 0o644, "0600")],
    ids=["too-short-is-refused", "garbage-is-refused", "readable-by-others-is-refused"],
)
def test_a_key_file_that_cannot_be_trusted_stops_the_agent(tmp_path: Path, content: str, mode: int, cause: str) -> None:
    path = tmp_path / "hop.key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=cause):
        Keys.load(tmp_path)
