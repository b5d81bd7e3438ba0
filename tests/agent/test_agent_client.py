"""The client of the mesh API: what it sends, what it takes from each answer, and what it never gives away."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.configs import configs, resource
from agent.mesh_api import FakeMeshApi
from foremesh.agent.client import ApiRefused, ApiUnavailable, Backoff, MeshClient, NotRegistered, until_done
from foremesh.model.registration import Acknowledgement, Beacon, PublicKeys, Registration
from lab.certs import Authority
from lab.process import wait_until_async

REGISTRATION = Registration(resource=resource("t"), keys=PublicKeys(hop="h", circuit="c", attach="a"))
SECRET = "very-secret"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def api(authority: Authority) -> Iterator[FakeMeshApi]:
    pair = authority.issue("mesh-api", ips=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    with FakeMeshApi(tls=context) as serving:
        yield serving


@pytest.fixture
async def client(api: FakeMeshApi, authority: Authority, tmp_path: Path) -> AsyncIterator[MeshClient]:
    token = tmp_path / "token"
    token.write_text(f"default.t.{SECRET}\n")
    async with MeshClient(api.url, token, authority.cert_file) as connected:
        yield connected


async def test_registers_and_hears_how_often_to_beacon(api: FakeMeshApi, client: MeshClient) -> None:
    assert await client.register(REGISTRATION) == 1.0
    assert api.registrations == {resource("t"): REGISTRATION}


async def test_a_beacon_of_a_stranger_asks_for_a_registration(api: FakeMeshApi, client: MeshClient) -> None:
    with pytest.raises(NotRegistered):
        await client.beacon(Beacon())
    await client.register(REGISTRATION)
    await client.beacon(Beacon(peers_up=3))
    assert api.beacons[resource("t")].peers_up == 3


async def test_waits_for_a_config_and_takes_it_when_it_comes(api: FakeMeshApi, client: MeshClient) -> None:
    config = configs()["t"]
    waiting = asyncio.create_task(client.config("", -1))
    await wait_until_async(lambda: api.tokens, 10)
    assert not waiting.done()
    await asyncio.to_thread(api.offer, config)
    assert await asyncio.wait_for(waiting, 10) == config


async def test_a_newer_epoch_of_an_equal_config_is_news(api: FakeMeshApi, client: MeshClient) -> None:
    old, new = configs(epoch=1)["t"], configs(epoch=2)["t"]
    assert old.revision == new.revision
    await asyncio.to_thread(api.offer, new)
    assert await client.config(old.revision, old.epoch) == new


async def test_acknowledges(api: FakeMeshApi, client: MeshClient) -> None:
    word = Acknowledgement(gateway=resource("t"), epoch=4, revision="r", applied=False, error="because", labels=(1,))
    await client.acknowledge(word)
    assert api.acknowledgements[resource("t")] == [word]


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, ApiUnavailable), (429, ApiUnavailable), (401, ApiRefused), (404, NotRegistered), (410, NotRegistered)],
)
async def test_statuses(api: FakeMeshApi, client: MeshClient, status: int, error: type[Exception]) -> None:
    api.failing = status
    with pytest.raises(error, match="failing as told") as caught:
        await client.beacon(Beacon())
    assert type(caught.value) is error


async def test_a_redirect_is_not_followed(api: FakeMeshApi, client: MeshClient) -> None:
    api.failing = 307
    with pytest.raises(ApiRefused):
        await client.register(REGISTRATION)


async def test_a_rotated_token_is_used_at_once(api: FakeMeshApi, client: MeshClient, tmp_path: Path) -> None:
    await client.register(REGISTRATION)
    (tmp_path / "token").write_text("default.t.rotated")
    await client.register(REGISTRATION)
    assert api.tokens == [f"default.t.{SECRET}", "default.t.rotated"]


async def test_an_unknown_authority_gets_no_token(api: FakeMeshApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"default.t.{SECRET}")
    other = Authority(tmp_path / "other")
    async with MeshClient(api.url, token, other.cert_file) as client:
        with pytest.raises(ApiUnavailable, match="certificate"):
            await client.register(REGISTRATION)
    assert api.tokens == []


async def test_tls_is_for_upper_case_too(api: FakeMeshApi, authority: Authority, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"default.t.{SECRET}")
    async with MeshClient(api.url.replace("https", "HTTPS"), token, authority.cert_file) as client:
        await client.register(REGISTRATION)
    assert api.tokens == [f"default.t.{SECRET}"]


async def test_an_unknown_scheme_gets_no_token_in_clear(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"default.t.{SECRET}")
    with FakeMeshApi() as in_clear:
        async with MeshClient(in_clear.url.replace("http", "other"), token, None) as client:
            with pytest.raises(ApiUnavailable):
                await client.register(REGISTRATION)
        assert in_clear.tokens == []


async def test_a_token_in_clear_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = tmp_path / "token"
    token.write_text(f"default.t.{SECRET}")
    with FakeMeshApi() as in_clear:
        async with MeshClient(in_clear.url, token, None) as client:
            await client.register(REGISTRATION)
            await client.beacon(Beacon())
    (told,) = [one.getMessage() for one in caplog.records if one.name == "foremesh.agent.client"]
    assert "in clear" in told
    assert SECRET not in told


async def test_a_new_authority_is_trusted_without_a_restart(
    api: FakeMeshApi, authority: Authority, tmp_path: Path
) -> None:
    token, trusted = tmp_path / "token", tmp_path / "trusted.crt"
    token.write_text(f"default.t.{SECRET}")
    trusted.write_bytes(Authority(tmp_path / "other").cert_file.read_bytes())
    async with MeshClient(api.url, token, trusted) as client:
        with pytest.raises(ApiUnavailable):
            await client.register(REGISTRATION)
        trusted.write_bytes(authority.cert_file.read_bytes())
        await client.register(REGISTRATION)
    assert resource("t") in api.registrations


async def test_a_missing_token_is_a_failure_to_be_retried(
    api: FakeMeshApi, authority: Authority, tmp_path: Path
) -> None:
    async with MeshClient(api.url, tmp_path / "missing", authority.cert_file) as client:
        with pytest.raises(ApiUnavailable, match="missing"):
            await client.beacon(Beacon())


async def test_no_error_shows_the_token(api: FakeMeshApi, client: MeshClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for api.failing in (503, 401):
        with pytest.raises((ApiUnavailable, ApiRefused)) as caught:
            await client.register(REGISTRATION)
        assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text


def test_retries_grow_to_five_seconds_and_are_spread() -> None:
    backoff = Backoff()
    pauses_s = [backoff.next_s() for _ in range(40)]
    assert 0.1 <= pauses_s[0] <= 0.2
    assert all(2.5 <= pause_s <= 5.0 for pause_s in pauses_s[8:])
    assert len(set(pauses_s[8:])) > 10
    backoff.reset()
    assert backoff.next_s() <= 0.2


async def test_asks_until_there_is_an_answer(api: FakeMeshApi, client: MeshClient) -> None:
    complaints: list[Exception] = []

    def complain(error: Exception) -> None:
        complaints.append(error)
        api.failing = 0 if len(complaints) == 2 else 503

    api.failing = 503
    assert await until_done(lambda: client.register(REGISTRATION), complain) == 1.0
    assert len(complaints) == 2
