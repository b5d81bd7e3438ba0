"""The only place that talks to the Kubernetes API: server-side apply, reads, deletes, events."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError, ResourceNotFoundError

from foremesh.model.meta import Ref

FIELD_MANAGER = "foremesh"
"""Owner of the fields that the operator sets; people's own fields on the same objects stay theirs."""

REQUEST_TIMEOUT_S = 10
"""Seconds for one request; an API server slower than this counts as away."""

CAUSE_LIMIT = 500
"""Characters of an API server's answer that are kept; it may quote the whole object."""

NOT_FOUND = 404

DEFAULT_NAMESPACE = "default"
"""Kubernetes' own, for contexts that name none."""

FAILURES = (ApiException, DynamicApiError, ResourceNotFoundError, aiohttp.ClientError, OSError, TimeoutError)
"""Everything the client raises when an API server is away or says no."""


BUSY = frozenset({401, 408, 429})
"""Statuses below 500 that another attempt may change, whatever the object: they are no word on it."""


MISFIT = "failed to create typed patch object"
"""How server-side apply says, with a 500, that the CRD has no such field, or one of another type."""


class KubernetesError(RuntimeError):
    """Something could not be read or stored; carries ``action`` and ``cause``."""

    consequence = "it is tried again"

    def __init__(self, action: str, cause: str) -> None:
        self.action = action
        self.cause = cause
        super().__init__(f"{action}: {cause}; {self.consequence}")


class KubernetesUnavailable(KubernetesError):
    """The API server does not answer, or is not able to."""

    consequence = "circuits stay as they are until the API server answers"


class KubernetesRefused(KubernetesError):
    """The API server says no to this object: invalid, gone, its namespace is going, no right; carries ``status``."""

    consequence = "the object stays as it is"

    def __init__(self, action: str, cause: str, status: int) -> None:
        self.status = status
        super().__init__(action, cause)


class Kubernetes:
    """A thin adapter around the asynchronous dynamic client.

    Args:
        kubeconfig: Where it is; None: inside a cluster the pod's service account, else where kubectl looks.
        context: Of the kubeconfig, which is then read inside a cluster, too; None: the current one.
    """

    def __init__(self, kubeconfig: Path | None = None, *, context: str | None = None) -> None:
        self._kubeconfig, self._context = kubeconfig, context
        self.namespace = DEFAULT_NAMESPACE
        """That of the context, once entered: where kubectl would look."""
        self._client: ApiClient | None = None
        self._dynamic: DynamicClient | None = None
        self._kinds: dict[tuple[str, str], Any] = {}

    async def __aenter__(self) -> Self:
        configuration = Configuration()
        if self._kubeconfig is None and self._context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            # The client looks into the environment once, when it is imported.
            file = os.environ.get("KUBECONFIG") if self._kubeconfig is None else str(self._kubeconfig)
            try:
                await config.load_kube_config(file, context=self._context, client_configuration=configuration)
                contexts, current = config.list_kube_config_contexts(file)
            except config.ConfigException as error:
                raise KubernetesUnavailable("read the kubeconfig", str(error)) from error
            named = next((one for one in contexts if one["name"] == self._context), current)
            self.namespace = named["context"].get("namespace") or DEFAULT_NAMESPACE
        self._client = ApiClient(configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def apply(self, manifest: Mapping[str, Any], *, subresource: str | None = None) -> dict[str, Any]:
        """Server-side apply an object, or only its status when ``subresource`` is ``status``.

        A manifest with ``metadata.resourceVersion`` is refused (409) if the object is at another one.

        Raises:
            KubernetesError: If it was not stored.
        """
        meta = manifest["metadata"]
        what = f"apply {manifest['kind']} {meta.get('namespace', '')}/{meta['name']}"
        return await self._request(
            what,
            "patch",
            await self._path(
                manifest["apiVersion"], manifest["kind"], meta["name"], meta.get("namespace"), subresource
            ),
            body=dict(manifest),
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; used for what is never updated, such as events."""
        namespace = manifest["metadata"].get("namespace")
        path = await self._path(manifest["apiVersion"], manifest["kind"], None, namespace, None)
        return await self._request(f"create {manifest['kind']}", "post", path, body=dict(manifest))

    async def get(self, api_version: str, kind: str, ref: Ref) -> dict[str, Any] | None:
        """One object, or None if there is none."""
        path = await self._path(api_version, kind, ref.name, ref.namespace or None, None)
        try:
            return await self._request(f"get {kind} {ref}", "get", path)
        except KubernetesRefused as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(
        self, api_version: str, kind: str, *, labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Every object of a kind, in all namespaces; with labels, only those that have them."""
        path = await self._path(api_version, kind, None, None, None)
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items()) or None
        answer = await self._request(f"list {kind}", "get", path, label_selector=selector)
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer.get("items", [])]

    async def delete(self, api_version: str, kind: str, ref: Ref) -> None:
        """Delete an object; one that is gone already is no error."""
        path = await self._path(api_version, kind, ref.name, ref.namespace or None, None)
        try:
            await self._request(f"delete {kind} {ref}", "delete", path)
        except KubernetesRefused as error:
            if error.status != NOT_FOUND:
                raise

    async def ping(self) -> None:
        """Ask whether the API server serves.

        Raises:
            KubernetesUnavailable: If it does not.
        """
        dynamic = await self._connected()
        try:
            answer = await dynamic.request("get", "/readyz", serialize=False, _request_timeout=REQUEST_TIMEOUT_S)
            answer.release()
        except FAILURES as error:
            raise KubernetesUnavailable("ask whether the API server is ready", _cause(error)) from error

    async def _path(
        self, api_version: str, kind: str, name: str | None, namespace: str | None, subresource: str | None
    ) -> str:
        resource = await self._resource(api_version, kind)
        path: str = resource.path(name=name, namespace=namespace)
        return f"{path}/{subresource}" if subresource else path

    async def _connected(self) -> DynamicClient:
        """The client, once the API server has said what kinds it serves."""
        try:
            if self._dynamic is None:
                self._dynamic = await DynamicClient(self._client)
        except FAILURES as error:
            raise KubernetesUnavailable("ask what the API server serves", _cause(error)) from error
        return self._dynamic

    async def _resource(self, api_version: str, kind: str) -> Any:
        key = (api_version, kind)
        if key not in self._kinds:
            dynamic = await self._connected()
            try:
                self._kinds[key] = await dynamic.resources.get(api_version=api_version, kind=kind)
            except FAILURES as error:
                raise _error(f"find kind {kind} of {api_version}", error) from error
        return self._kinds[key]

    async def _request(self, what: str, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        dynamic = await self._connected()
        try:
            answer = await dynamic.request(
                method, path, serializer=lambda _, data: data, _request_timeout=REQUEST_TIMEOUT_S, **arguments
            )
        except FAILURES as error:
            raise _error(what, error) from error
        return dict(answer)


def _error(what: str, error: BaseException) -> KubernetesError:
    if isinstance(error, ResourceNotFoundError):
        return KubernetesRefused(what, "the API server serves no such kind", NOT_FOUND)
    status = getattr(error, "status", None)
    cause = _cause(error)
    if isinstance(status, int) and ((400 <= status < 500 and status not in BUSY) or MISFIT in cause):
        return KubernetesRefused(what, cause, status)
    return KubernetesUnavailable(what, cause)


def _cause(error: BaseException) -> str:
    """What the API server or the network said, short enough for a log line."""
    status = getattr(error, "status", None)
    if not status:
        return f"{type(error).__name__}: {error}"
    body = getattr(error, "body", None)
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(ValueError, AttributeError):
        text = json.loads(text).get("message") or text
    return f"HTTP {status} {text or getattr(error, 'reason', '')}"[:CAUSE_LIMIT]
