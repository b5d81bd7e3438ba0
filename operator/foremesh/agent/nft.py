"""nftables tables by ``nft``: one transaction a table, counters out. Only tables that foremesh names."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from foremesh.agent.failover.netlink import REQUEST, attributes, message, messages
from foremesh.agent.failover.nftables import GENERIC, NETLINK_NETFILTER, SUBSYSTEM
from foremesh.agent.host import run_command
from foremesh.agent.state import SeenTable, Table

FAMILY = "ip"

REVISION = "revision-"
"""Beginning of the name of the empty chain that says which content a table has."""


GENERATION, GET_GENERATION = (SUBSYSTEM << 8 | number for number in (15, 16))
GENERATION_ID = 1
"""Asking for the generation of the ruleset: linux/netfilter/nf_tables.h."""
ANSWER_TIMEOUT_S = 1.0
"""Seconds for the kernel's answer, which comes in microseconds."""

PARTS = ("chain", "counter", "map", "set")
"""Named parts of a table, in nft's words and SeenTable's order."""


async def _list(*what: str) -> list[dict[str, Any]]:
    """Everything of these kinds, without the elements of maps and sets; ``nft`` answers each with a line."""
    text = await run_command(["nft", "--json", "--terse", "; ".join(f"list {kind}" for kind in what)])
    return [item for line in text.splitlines() for item in json.loads(line)["nftables"]]


async def tables(owned: Collection[str]) -> dict[str, SeenTable]:
    """The owned tables that exist: their names, chains, counters, maps and sets, not their rules."""
    return parse_tables(await _list("tables", "chains", "counters", "maps", "sets"), owned)


def generation() -> int | None:
    """A number that changes with every change of this namespace's ruleset, whoever makes it; what packets write into
    maps and sets is none. None: not known."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
            kernel.settimeout(ANSWER_TIMEOUT_S)
            kernel.send(message(GET_GENERATION, REQUEST, 1, GENERIC.pack(0, 0, 0)))
            answers = [content for _, kind, content in messages(kernel.recv(1 << 16)) if kind == GENERATION]
    except OSError:
        return None
    found = [
        value for content in answers for kind, value in attributes(content[GENERIC.size :]) if kind == GENERATION_ID
    ]
    return int.from_bytes(found[0], "big") if found else None


def parse_tables(items: Iterable[Mapping[str, Any]], owned: Collection[str]) -> dict[str, SeenTable]:
    found: dict[str, dict[str, set[str]]] = {}
    for item in items:
        if (table := item.get("table")) and table["family"] == FAMILY and table["name"] in owned:
            found.setdefault(table["name"], {kind: set() for kind in PARTS})
        for kind in PARTS:
            if (part := item.get(kind)) and part["family"] == FAMILY and part["table"] in found:
                found[part["table"]][kind].add(part["name"])
    seen = {}
    for name, parts in found.items():
        revisions = [chain.removeprefix(REVISION) for chain in parts["chain"] if chain.startswith(REVISION)]
        revision = revisions[0] if len(revisions) == 1 else ""
        seen[name] = SeenTable(revision, *(frozenset(parts[kind]) for kind in PARTS))
    return seen


async def counters(owned: Collection[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Packets and bytes of every named counter, by table and name."""
    return {
        (item["counter"]["table"], item["counter"]["name"]): (item["counter"]["packets"], item["counter"]["bytes"])
        for item in await _list("counters")
        if "counter" in item and item["counter"]["table"] in owned
    }


def render(table: Table, seen: SeenTable | None) -> str:
    """One transaction that gives a table its content, whatever it held; named counters that stay keep their values, and
    maps and sets their elements."""
    where = f"{FAMILY} {table.name}"
    revision = f"{REVISION}{table.revision}"
    lines = [f"add table {where}", f"flush table {where}"]
    if seen:
        wanted = {chain.name for chain in table.chains}
        lines += [f"delete chain {where} {chain}" for chain in sorted(seen.chains - wanted)]
        lines += [f"delete counter {where} {counter}" for counter in sorted(seen.counters - set(table.counters))]
        lines += [f"delete map {where} {name}" for name in sorted(seen.maps - set(table.maps))]
        lines += [f"delete set {where} {name}" for name in sorted(seen.sets - set(table.sets))]
    lines += [f"add counter {where} {counter}" for counter in table.counters]
    lines += [f"add map {where} {name} {{ {type_} }}" for name, type_ in table.maps.items()]
    lines += [f"add set {where} {name} {{ {type_} }}" for name, type_ in table.sets.items()]
    lines += [f"add chain {where} {revision}"]
    for chain in table.chains:
        lines.append(f"add chain {where} {chain.name}" + (f" {{ {chain.hook} }}" if chain.hook else ""))
    for chain in table.chains:
        lines += [f"add rule {where} {chain.name} {rule}" for rule in chain.rules]
    return "\n".join(lines) + "\n"


async def run(script: str) -> None:
    """Run a script as one transaction.

    Raises:
        CommandFailed: If nftables refuses it; nothing of it is done then.
    """
    await run_command(["nft", "-f", "-"], input=script)
