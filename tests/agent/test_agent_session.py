"""An agent that has nothing to set up yet: what it says to the mesh API, and says again. Needs no privilege."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.configs import resource
from agent.mesh_api import FakeMeshApi
from foremesh.agent.agent import Agent
from foremesh.agent.host import HostError
from foremesh.agent.settings import AgentSettings, load
from foremesh.model.manifest import ManifestError
from foremesh.model.registration import Acknowledgement
from foremesh.model.units import Seconds
from lab.process import wait_until_async

WORD = Acknowledgement(gateway=resource("t"), epoch=3, revision="abc", applied=True, labels=(5,))


@pytest.fixture
def api() -> Iterator[FakeMeshApi]:
    with FakeMeshApi() as serving:
        yield serving


def settings_for(api: FakeMeshApi, folder: Path, **fields: object) -> AgentSettings:
    (folder / "token").write_text("default.t.secret")
    return AgentSettings(
        resource=resource("t"),
        api_url=api.url,
        token_file=str(folder / "token"),
        state_dir=str(folder / "state"),
        metrics_listen="127.0.0.1:0",
        endpoint="203.0.113.2:51820",
        beacon_interval=Seconds(0.05),
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
async def agent(api: FakeMeshApi, tmp_path: Path) -> AsyncIterator[Agent]:
    running = Agent(settings_for(api, tmp_path))
    work = asyncio.create_task(running.work())
    yield running
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def test_registers_with_its_public_keys_and_beacons(api: FakeMeshApi, agent: Agent, tmp_path: Path) -> None:
    await wait_until_async(lambda: resource("t") in api.beacons, 20)
    registration = api.registrations[resource("t")]
    assert registration.endpoint == "203.0.113.2:51820"
    assert registration.version
    private = (tmp_path / "state" / "keys" / "hop.key").read_text().strip()
    assert len(registration.keys.hop) == len(private)
    assert registration.keys.hop != private
    assert api.beacons[resource("t")].applied_revision == ""


async def test_an_api_that_forgot_hears_the_last_word_again(api: FakeMeshApi, agent: Agent) -> None:
    await wait_until_async(lambda: resource("t") in api.beacons, 20)
    agent._outcome(WORD)
    await wait_until_async(lambda: api.acknowledgements[resource("t")] == [WORD], 20)
    await asyncio.to_thread(api.forget)
    await wait_until_async(lambda: resource("t") in api.registrations, 20)
    await wait_until_async(lambda: api.acknowledgements[resource("t")] == [WORD, WORD], 20)


@pytest.mark.parametrize("status", [503, 401, 404], ids=["away", "token-not-known-yet", "agent-not-known-yet"])
async def test_a_word_that_was_not_taken_is_said_again(api: FakeMeshApi, agent: Agent, status: int) -> None:
    await wait_until_async(lambda: resource("t") in api.beacons, 20)
    api.failing = status
    agent._outcome(WORD)
    seen = len(api.tokens)
    await wait_until_async(lambda: len(api.tokens) > seen + 3, 20)
    assert api.acknowledgements[resource("t")] == []
    api.failing = 0
    await wait_until_async(lambda: WORD in api.acknowledgements[resource("t")], 20)


async def test_only_the_newest_word_counts(api: FakeMeshApi, agent: Agent) -> None:
    await wait_until_async(lambda: resource("t") in api.beacons, 20)
    newer = Acknowledgement(gateway=resource("t"), epoch=4, revision="abd", applied=False, error="no")
    agent._outcome(WORD)
    agent._outcome(newer)
    await wait_until_async(lambda: api.acknowledgements[resource("t")] == [newer], 20)


async def test_a_port_in_use_is_an_error_that_names_it(api: FakeMeshApi, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = AgentSettings(resource="default/t", state_dir=str(tmp_path), metrics_listen=where)
        with pytest.raises(HostError, match=where):
            await Agent(settings).work()


@pytest.mark.parametrize("prefix", ["", "waytoolong", "a-b"])
def test_a_prefix_that_gives_no_interface_names_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ManifestError, match="prefix"):
        Agent(AgentSettings(resource="default/t", state_dir=str(tmp_path), prefix=prefix))


def test_settings_are_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("resource: default/t\nprobeInterval: 500ms\nprefix: fm2\n")
    settings = load(path)
    assert (settings.resource, settings.probe_interval, settings.prefix) == ("default/t", 0.5, "fm2")


@pytest.mark.parametrize(
    ("text", "cause"),
    [(None, "No such file"), ("{", "expected"), ("prefix: fm", "resource"), ("resource: x/y\nport: 1", "port")],
    ids=["missing", "no-yaml", "resource-is-required", "unknown-field"],
)
def test_settings_that_cannot_be_read_say_why(tmp_path: Path, text: str | None, cause: str) -> None:
    path = tmp_path / "agent.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError, match=cause):
        load(path)
