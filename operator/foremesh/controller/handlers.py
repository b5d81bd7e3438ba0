"""kopf's side: notice that something changed, and say so. Level-triggered: what is declared is read when planning."""

from __future__ import annotations

from typing import Any, Protocol

import kopf

from foremesh.model.meta import GROUP, VERSION

KINDS = {
    "meshresources": "MeshResource",
    "intents": "Intent",
    "circuits": "Circuit",
    "meshpolicies": "MeshPolicy",
}
"""Plural to kind of everything the operator watches."""


class Listener(Protocol):
    """What the handlers tell."""

    async def noticed(self, event: str | None, body: Any) -> None:
        """An object appeared, changed, or went (``DELETED``); None while kopf lists what is there at its start."""


@kopf.on.event(GROUP, VERSION, "meshresources")
@kopf.on.event(GROUP, VERSION, "intents")
@kopf.on.event(GROUP, VERSION, "circuits")
@kopf.on.event(GROUP, VERSION, "meshpolicies")
async def noticed(type: str | None, body: kopf.Body, memo: Any, **_: Any) -> None:
    """Pass every change on; no decision is made here."""
    await memo.listener.noticed(type, dict(body))


@kopf.on.login()
async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account inside a cluster, else the kubeconfig file."""
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """No annotations, no posted logs, no peering: one operator at a time is the Deployment's business."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.reconnect_backoff = 1.0
