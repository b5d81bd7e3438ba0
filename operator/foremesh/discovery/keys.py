"""The layout of the store, in one place.

    resources/ID                what is declared: a MeshResource with its intents
    statuses/ID                 what was reported of a resource's availability
    agents/ID                   how an agent introduced itself
    presence/ID                 its newest beacon, under a lease: gone when it falls silent
    configs/ID/OWNER            what an agent is told to set up, one fragment for each owner
    acks/ID                     what it said to that
    tokens/ID                   SHA-256 of its bearer token, never the token

Ids are ``namespace/name``, so they are two segments of a key. All of it can be written again by whoever wrote it.
"""

from __future__ import annotations

from foremesh.discovery.store import Key

RESOURCES = "resources"
STATUSES = "statuses"
AGENTS = "agents"
PRESENCE = "presence"
CONFIGS = "configs"
ACKS = "acks"
TOKENS = "tokens"


def of(folder: Key, id_: str) -> Key:
    """The key of a resource, workload or gateway in one of the folders above."""
    return f"{folder}/{id_}"


def config(id_: str, owner: str) -> Key:
    """The key of the config fragment that one owner (a cluster) has for an agent."""
    return f"{CONFIGS}/{id_}/{owner}"


def id_in(key: Key) -> str:
    """The id that a key is about."""
    return "/".join(key.split("/")[1:3])
