"""The agent's side of the failover process: starts it, tells it, asks it, ends it. Decides nothing.

The process outlives the agent. It is replaced when it was started from another source than this one's; the maps keep
their elements meanwhile, so circuits go on as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import msgspec

from foremesh.agent.failover.table import FailoverTable, State
from foremesh.agent.host import HostError

ROOT = Path(__file__).parents[3]
START = """
import sys
sys.path.insert(0, {root!r})
from foremesh.agent.failover.process import main
sys.exit(main(sys.argv[1:]))
"""

NOT_THE_PROCESS = ("client.py", "table.py", "told.py")
"""Files of this folder that are the agent's alone: a change of them is no reason to replace the process."""

START_TIMEOUT_S = 10.0
"""Seconds until a started process must answer, or an ended one be gone; either takes 0.1 s on an idle machine."""
ANSWER_TIMEOUT_S = 5.0
"""Seconds for one exchange; it is local."""
POLL_S = 0.02
LINE_BYTES = 8 << 20
"""Longest answer: thousands of circuits."""


class FailoverError(HostError):
    """The failover process does not answer, or refuses what it is told."""


@cache
def source_version() -> str:
    """Digest of the process's source: another one is another program."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in NOT_THE_PROCESS:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Failover:
    """The failover process of one agent.

    Args:
        socket: Its control socket.
        nft_table: The nftables table whose maps it writes.
    """

    def __init__(self, socket: Path, nft_table: str) -> None:
        self._socket = socket
        self._nft_table = nft_table

    @property
    def socket(self) -> Path:
        return self._socket

    async def state(self) -> State | None:
        """What it says; None if it does not run. One of another version has an empty digest."""
        try:
            state = await self._ask({"do": "get"})
        except FailoverError:
            return None
        return state if state.version == source_version() else msgspec.structs.replace(state, digest="")

    async def set(self, table: FailoverTable) -> State:
        """Make it hold circuits to a table; it is started, or replaced, where needed.

        Raises:
            FailoverError: If it cannot be started or refuses; what is in the maps stays.
        """
        await self._ensure()
        content = msgspec.to_builtins(table) | {"digest": table.digest}
        state = await self._ask({"do": "set", "table": content})
        if state.error:
            raise FailoverError(f"failover process refuses: {state.error}")
        return state

    async def end(self) -> None:
        """End it; the maps stay as they are. Does nothing if it does not run.

        Raises:
            FailoverError: If it does not end.
        """
        with contextlib.suppress(FailoverError):
            await self._ask({"do": "end"})
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while await self._answers():
            if asyncio.get_running_loop().time() > deadline:
                raise FailoverError(f"failover process at {self._socket} was told to end and still answers")
            await asyncio.sleep(POLL_S)
        self._socket.unlink(missing_ok=True)

    async def watch(self) -> AsyncIterator[State]:
        """Its state now, and at every change of its table, of what is used or alive; ends when the process does.

        Raises:
            FailoverError: If it does not answer.
        """
        reader, writer = await self._connect()
        try:
            writer.write(b'{"do":"watch"}\n')
            while line := await reader.readline():
                yield _parse(line)
        except (OSError, ValueError) as error:
            raise FailoverError(f"failover process at {self._socket}: {error}") from error
        finally:
            writer.close()

    async def _ensure(self) -> None:
        if not self._socket.exists() or not await self._answers():
            await self._start()
            return
        if (await self._ask({"do": "get"})).version != source_version():
            await self.end()
            await self._start()

    async def _start(self) -> None:
        # Neither site packages nor the environment: nothing of them is needed, and they cost memory.
        code = START.format(root=str(ROOT))
        argv = [sys.executable, "-I", "-S", "-c", code, str(self._socket), self._nft_table, source_version()]
        try:
            # It writes to where the agent logs; a session of its own keeps the agent's signals away from it.
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
        except (OSError, TimeoutError) as error:
            raise FailoverError(
                f"failover process not started ({error or 'timeout'}); circuits stay on the labels they use"
            ) from error
        if status:
            raise FailoverError(f"failover process not started (exit {status}, see above); circuits stay as they are")

    async def _answers(self) -> bool:
        try:
            _, writer = await self._connect()
        except FailoverError:
            return False
        writer.close()
        return True

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await asyncio.open_unix_connection(self._socket, limit=LINE_BYTES)
        except (OSError, TimeoutError) as error:
            raise FailoverError(
                f"failover process at {self._socket} does not answer ({error or 'timeout'}); circuits stay as they are"
            ) from error

    async def _ask(self, request: dict[str, object]) -> State:
        reader, writer = await self._connect()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                writer.write(msgspec.json.encode(request) + b"\n")
                await writer.drain()
                line = await reader.readline()
        except (OSError, TimeoutError, ValueError) as error:
            raise FailoverError(f"failover process at {self._socket} does not answer ({error or 'timeout'})") from error
        finally:
            writer.close()
        return _parse(line)


def _parse(line: bytes) -> State:
    try:
        return msgspec.json.decode(line, type=State)
    except msgspec.DecodeError as error:
        raise FailoverError(f"failover process says what is not understood ({error})") from error
