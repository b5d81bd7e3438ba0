"""Bearer tokens of agents: ``NAMESPACE.NAME.SECRET``, one for each MeshResource; only their digests are stored."""

from __future__ import annotations

import hashlib
import hmac
import secrets


class Unauthorized(ValueError):
    """A token that is missing, malformed, unknown or wrong; never carries the token itself."""


def new(namespace: str, name: str) -> str:
    """A fresh token for a MeshResource, with 256 random bits."""
    return f"{namespace}.{name}.{secrets.token_urlsafe(32)}"


def resource_of(token: str) -> str:
    """The resource id (``namespace/name``) a token claims to be for.

    Raises:
        Unauthorized: If the token has not three parts.
    """
    namespace, _, rest = token.partition(".")
    name, _, secret = rest.rpartition(".")
    if not (namespace and name and secret and token.isascii()):
        raise Unauthorized("the bearer token is not of the form NAMESPACE.NAME.SECRET")
    return f"{namespace}/{name}"


def digest(token: str) -> str:
    """Hexadecimal SHA-256 of a token. The secret part has 256 random bits, so no salt or stretching is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def check(token: str, stored_digest: str | None) -> None:
    """Compare in constant time.

    Raises:
        Unauthorized: If there is no digest for the resource or it is another one.
    """
    if not hmac.compare_digest(digest(token), stored_digest or ""):
        raise Unauthorized("the bearer token is not the one of this resource")
