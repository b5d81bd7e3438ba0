"""kopf's side: notice that something changed, and say so. Level-triggered: what is declared is read when planning."""

from __future__ import annotations

from typing import Any, Protocol

import kopf

from foremesh.model.meta import GROUP, VERSION

RECONNECT_S = 1.0
"""Seconds before a broken watch is opened again."""

registry = kopf.OperatorRegistry()
"""Every handler below, and no other's."""


class Listener(Protocol):
    """What the handlers tell."""

    async def noticed(self, event: str | None, body: Any) -> None:
        """An object appeared, changed, or went (``DELETED``); None while kopf lists what is there."""


@kopf.on.event(GROUP, VERSION, "meshresources", registry=registry)
@kopf.on.event(GROUP, VERSION, "intents", registry=registry)
@kopf.on.event(GROUP, VERSION, "circuits", registry=registry)
@kopf.on.event(GROUP, VERSION, "meshpolicies", registry=registry)
async def noticed(type: str | None, body: kopf.Body, memo: Any, **_: Any) -> None:
    """Pass every change on; no decision is made here."""
    await memo.listener.noticed(type, dict(body))


@kopf.on.login(registry=registry)
async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account inside a cluster, else the kubeconfig file."""
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


@kopf.on.startup(registry=registry)
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """No posted logs, no peering: one operator at a time is the Deployment's business. Event handlers alone put no
    finalizer and no annotation on anything."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.reconnect_backoff = RECONNECT_S
