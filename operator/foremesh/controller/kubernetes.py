"""The only place that talks to the Kubernetes API: server-side apply, reads, deletes, events."""

from __future__ import annotations

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
from kubernetes.aio.dynamic.exceptions import DynamicApiError, NotFoundError, ResourceNotFoundError

from foremesh.model.meta import Ref

FIELD_MANAGER = "foremesh"
"""Owner of the fields that the operator sets; people's own fields on the same objects stay theirs."""

REQUEST_TIMEOUT_S = 10
"""Seconds for one request; an API server slower than this counts as away."""

FAILURES = (ApiException, DynamicApiError, ResourceNotFoundError, aiohttp.ClientError, OSError, TimeoutError)
"""Everything the client raises when an API server is away or says no."""


class KubernetesUnavailable(RuntimeError):
    """The API server cannot be reached or refuses; carries ``action`` and ``cause``."""

    def __init__(self, action: str, cause: object) -> None:
        self.action = action
        self.cause = cause
        super().__init__(f"{action}: {cause}; circuits stay as they are until the API server answers")


class Kubernetes:
    """A thin adapter around the asynchronous dynamic client."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._client: ApiClient | None = None
        self._dynamic: DynamicClient | None = None
        self._kinds: dict[tuple[str, str], Any] = {}

    async def __aenter__(self) -> Self:
        configuration = Configuration()
        if self._kubeconfig is not None:
            await config.load_kube_config(str(self._kubeconfig), client_configuration=configuration)
        elif "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        self._client = ApiClient(configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def apply(self, manifest: Mapping[str, Any], *, subresource: str | None = None) -> dict[str, Any]:
        """Server-side apply an object, or only its status when ``subresource`` is ``status``.

        Raises:
            KubernetesUnavailable: If it was not stored.
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
        try:
            path = await self._path(api_version, kind, ref.name, ref.namespace or None, None)
            return await self._request(f"get {kind} {ref}", "get", path)
        except KubernetesUnavailable as error:
            if isinstance(error.cause, NotFoundError):
                return None
            raise

    async def list(self, api_version: str, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind, in all namespaces."""
        answer = await self._request(f"list {kind}", "get", await self._path(api_version, kind, None, None, None))
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer.get("items", [])]

    async def delete(self, api_version: str, kind: str, ref: Ref) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            path = await self._path(api_version, kind, ref.name, ref.namespace or None, None)
            await self._request(f"delete {kind} {ref}", "delete", path)
        except KubernetesUnavailable as error:
            if not isinstance(error.cause, NotFoundError):
                raise

    async def _path(
        self, api_version: str, kind: str, name: str | None, namespace: str | None, subresource: str | None
    ) -> str:
        resource = await self._resource(api_version, kind)
        path: str = resource.path(name=name, namespace=namespace)
        return f"{path}/{subresource}" if subresource else path

    async def _resource(self, api_version: str, kind: str) -> Any:
        key = (api_version, kind)
        if key not in self._kinds:
            try:
                if self._dynamic is None:
                    self._dynamic = await DynamicClient(self._client)
                self._kinds[key] = await self._dynamic.resources.get(api_version=api_version, kind=kind)
            except FAILURES as error:
                raise KubernetesUnavailable(f"find kind {kind} of {api_version}", _cause(error)) from error
        return self._kinds[key]

    async def _request(self, what: str, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        assert self._dynamic is not None
        try:
            answer = await self._dynamic.request(
                method, path, serializer=lambda _, data: data, _request_timeout=REQUEST_TIMEOUT_S, **arguments
            )
        except FAILURES as error:
            raise KubernetesUnavailable(what, _cause(error)) from error
        return dict(answer)


def _cause(error: BaseException) -> object:
    """The error itself where its type matters, with a text short enough for a log line."""
    if isinstance(error, NotFoundError):
        return error
    status = getattr(error, "status", None)
    body = getattr(error, "body", None)
    if status:
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
        return f"HTTP {status} {getattr(error, 'reason', '')} {text[:500]}".strip()
    return f"{type(error).__name__}: {error}"
