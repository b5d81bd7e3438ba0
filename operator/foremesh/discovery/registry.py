"""Resource discovery and intents (RD&I): the mission's calls, and what agents and operators tell each other.

Over any store. All of it is soft state: operators declare again, agents register again, and the store is full again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from foremesh.discovery import keys
from foremesh.discovery.matching import Match, match_candidates
from foremesh.discovery.store import DiscoveryStore, Key, Lease, LeaseLost
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Intent
from foremesh.model.manifest import ManifestError, Wire, decode, encode
from foremesh.model.registration import Acknowledgement, Beacon, Registration
from foremesh.model.resource import Resource

T = TypeVar("T")

log = logging.getLogger(__name__)


class Availability(StrEnum):
    AVAILABLE = "Available"
    UNAVAILABLE = "Unavailable"


class ResourceRecord(Wire, frozen=True, kw_only=True):
    """A resource as registered, with the intents it declares."""

    resource: Resource
    intents: tuple[Intent, ...] = ()


class StatusRecord(Wire, frozen=True, kw_only=True):
    status: Availability


class TokenRecord(Wire, frozen=True, kw_only=True):
    sha256: str


class NotRegistered(LookupError):
    """An agent that the registry does not know; carries ``resource``. It has to register (again)."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        super().__init__(f"{resource} is not registered; its agent has to register first")


class Registry:
    """The registry over a store.

    Args:
        store: Where everything is kept.
        owner: Who writes configs; one fragment for each owner.
        presence_ttl_s: Seconds without a beacon after which an agent has left.
    """

    def __init__(self, store: DiscoveryStore, *, owner: str = "local", presence_ttl_s: float = 10.0) -> None:
        self.store = store
        self.presence_ttl_s = presence_ttl_s
        self._owner = owner
        self._leases: dict[str, Lease] = {}

    # The mission's calls

    async def register_resource(self, resource_id: str, metadata: Resource, intents: Iterable[Intent] = ()) -> None:
        """Register a resource with its metadata and the intents it declares; registering again replaces both.

        Raises:
            StoreUnavailable: If the store is away.
        """
        await self._put(keys.of(keys.RESOURCES, resource_id), ResourceRecord(resource=metadata, intents=tuple(intents)))

    async def unregister_resource(self, resource_id: str) -> None:
        """Forget a resource; one that is not known is no error."""
        # The token first: an agent that is forgotten registers again if it still may. The resource last: as long as it
        # is known, what could not be deleted is tried again.
        for folder in (keys.TOKENS, keys.STATUSES, keys.AGENTS, keys.PRESENCE, keys.ACKS, keys.RESOURCES):
            await self.store.delete(keys.of(folder, resource_id))
        self._leases.pop(resource_id, None)

    async def resources(self) -> dict[str, ResourceRecord]:
        """Every registered resource by id."""
        return await self._list(keys.RESOURCES, ResourceRecord)

    async def discover_resources(
        self, intents: Iterable[Intent], *, capabilities: Collection[str] = ()
    ) -> dict[str, Match]:
        """Find, for each Intent, the resources that offer what it asks for and can be used now.

        That is: in a region the Intent allows, not reported unavailable, and its agent is present. A workload without
        an agent is taken at its word; a gateway without one relays nothing.

        Args:
            capabilities: What every candidate must be capable of.

        Returns:
            Intent id to its candidates, with the reason for each that cannot be used.
        """
        resources = [record.resource for record in (await self.resources()).values()]
        unavailable = await self._why_unavailable(resources)
        return {
            intent.id: match_candidates(intent, resources, capabilities=capabilities, unavailable=unavailable)
            for intent in intents
        }

    async def _why_unavailable(self, resources: Iterable[Resource]) -> dict[str, str]:
        reported, agents, present = await self.unavailable(), await self.registrations(), await self.beacons()

        def why(resource: Resource) -> str:
            if resource.id in reported:
                return "was reported unavailable"
            if resource.id in agents and resource.id not in present:
                return f"is silent: no beacon for more than {self.presence_ttl_s:g} s"
            if resource.is_gateway and resource.id not in agents:
                return "is a gateway whose agent never registered"
            return ""

        return {resource.id: reason for resource in resources if (reason := why(resource))}

    async def update_resource_status(self, resource_id: str, status: Availability) -> None:
        """Say whether a resource can be used; an unavailable one is no candidate."""
        await self._put(keys.of(keys.STATUSES, resource_id), StatusRecord(status=status))

    async def unavailable(self) -> frozenset[str]:
        """Ids of resources that were reported unavailable."""
        found = await self._list(keys.STATUSES, StatusRecord)
        return frozenset(id_ for id_, record in found.items() if record.status is Availability.UNAVAILABLE)

    # Agents

    async def register_agent(self, registration: Registration) -> None:
        """Keep how an agent introduced itself; it stays known after it falls silent."""
        await self._put(keys.of(keys.AGENTS, registration.resource), registration)

    async def registrations(self) -> dict[str, Registration]:
        """Every agent that ever introduced itself and whose resource is still declared."""
        return await self._list(keys.AGENTS, Registration)

    async def beacon(self, resource_id: str, beacon: Beacon) -> None:
        """Renew an agent's presence.

        Raises:
            NotRegistered: If it did not register, or the store has lost that.
        """
        if await self.store.get(keys.of(keys.AGENTS, resource_id)) is None:
            raise NotRegistered(resource_id)
        key, value = keys.of(keys.PRESENCE, resource_id), encode(beacon)
        lease = self._leases.get(resource_id)
        try:
            if lease is None:
                raise LeaseLost(0)
            await self.store.keep_alive(lease)
            await self.store.put(key, value, lease=lease)
        except LeaseLost:
            lease = self._leases[resource_id] = await self.store.grant(self.presence_ttl_s)
            await self.store.put(key, value, lease=lease)

    async def beacons(self) -> dict[str, Beacon]:
        """The newest beacon of every agent that is present."""
        return await self._list(keys.PRESENCE, Beacon)

    # Configs

    async def put_config(self, config: GatewayConfig) -> None:
        """Tell an agent what to set up."""
        await self._put(keys.config(config.gateway, self._owner), config)

    async def delete_config(self, id_: str) -> None:
        await self.store.delete(keys.config(id_, self._owner))

    async def configs(self) -> dict[str, GatewayConfig]:
        """What this owner last told every agent."""
        return await self._list(keys.CONFIGS, GatewayConfig, ending=f"/{self._owner}")

    async def acknowledge(self, ack: Acknowledgement) -> None:
        """Keep what an agent said to its config."""
        await self._put(keys.of(keys.ACKS, ack.gateway), ack)

    async def acknowledgements(self) -> dict[str, Acknowledgement]:
        return await self._list(keys.ACKS, Acknowledgement)

    # Tokens

    async def put_token_digest(self, resource_id: str, sha256: str) -> None:
        """Accept an agent that knows the token with this digest."""
        await self._put(keys.of(keys.TOKENS, resource_id), TokenRecord(sha256=sha256))

    async def token_digest(self, resource_id: str) -> str | None:
        """The digest of an agent's token, or None if it has none."""
        record = await self.store.get(keys.of(keys.TOKENS, resource_id))
        return decode(TokenRecord, record.value, where=record.key).sha256 if record else None

    async def token_digests(self) -> Mapping[str, str]:
        return {id_: record.sha256 for id_, record in (await self._list(keys.TOKENS, TokenRecord)).items()}

    async def _put(self, key: Key, value: object) -> None:
        await self.store.put(key, encode(value))

    async def _list(self, folder: Key, kind: type[T], *, ending: str = "") -> dict[str, T]:
        """Every readable record of a folder by id. One that is not, say of a much newer program, must not stand in the
        way of the others; it is replaced when its writer writes again."""
        found = {}
        records, _ = await self.store.list(folder)
        for record in records:
            if not record.key.endswith(ending):
                continue
            try:
                found[keys.id_in(record.key)] = decode(kind, record.value, where=record.key)
            except ManifestError as error:
                log.error("record unreadable key=%s error=%s", record.key, error)
        return found
