"""Every MeshResource that can have an agent gets a Secret with that agent's token; the store gets its digest."""

from __future__ import annotations

import logging

from foremesh.controller import manifests
from foremesh.controller.kubernetes import Kubernetes, KubernetesRefused
from foremesh.controller.record import Record
from foremesh.model import tokens
from foremesh.model.meta import Ref
from foremesh.model.resource import Resource
from foremesh.pipeline import Pipeline

log = logging.getLogger(__name__)


class AgentTokens:
    """Makes Secrets and reads those that are there.

    A Secret is only looked at where the store does not know the agent: one that somebody deleted is not made again
    while the agent's own copy of the token is good.
    """

    def __init__(self, kubernetes: Kubernetes, pipeline: Pipeline) -> None:
        self._kubernetes = kubernetes
        self._pipeline = pipeline

    async def give(self, record: Record) -> None:
        """Make what is missing. A Secret that cannot be made, say in a namespace that is being deleted, holds nobody
        else up.

        Raises:
            KubernetesUnavailable: If the API server is away.
            StoreUnavailable: If the store is away.
        """
        for id_, resource in record.resources.items():
            if not manifests.wants_agent(resource) or self._pipeline.knows_token(id_):
                continue
            try:
                token = await self._token_of(resource)
            except KubernetesRefused as error:
                log.error("agent gets no token resource=%s error=%s", id_, error)
                continue
            await self._pipeline.accept_token(id_, tokens.digest(token))

    async def _token_of(self, resource: Resource) -> str:
        ref = Ref(namespace=resource.meta.namespace, name=manifests.secret_name(resource))
        secret = await self._kubernetes.get("v1", "Secret", ref)
        token = manifests.token_in(secret, resource)
        if token is not None and resource.meta.uid in manifests.owners_of(secret or {}, "MeshResource"):
            return token
        # That of an earlier MeshResource of this name goes with it, unless this one becomes its owner.
        token = token or tokens.new(resource.meta.namespace, resource.meta.name)
        await self._kubernetes.apply(manifests.agent_secret(resource, token))
        return token
