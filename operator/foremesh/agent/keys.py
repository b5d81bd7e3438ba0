"""WireGuard key pairs: made once, kept in the state folder, never sent and never printed."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from foremesh.agent.host import HostError
from foremesh.agent.state import KeyRole
from foremesh.model.registration import PublicKeys


class KeyFileError(HostError):
    """A key file that cannot be read or made; carries ``path``."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        super().__init__(f"key file {path}: {cause}; the agent has no identity and does not start")


class PrivateKey:
    """32 secret bytes that no representation shows."""

    __slots__ = ("_bytes",)

    def __init__(self, secret: bytes) -> None:
        self._bytes = secret

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    def reveal(self) -> bytes:
        """The secret itself, for WireGuard and nobody else."""
        return self._bytes

    @property
    def public(self) -> str:
        """The public key, base64."""
        return base64.b64encode(
            X25519PrivateKey.from_private_bytes(self._bytes).public_key().public_bytes_raw()
        ).decode()


class Keys:
    """The agent's key pairs, one for each role.

    Args:
        private: By role.
    """

    def __init__(self, private: Mapping[KeyRole, PrivateKey]) -> None:
        self._private = dict(private)
        self.public: Mapping[KeyRole, str] = {role: key.public for role, key in self._private.items()}

    def __getitem__(self, role: KeyRole) -> PrivateKey:
        return self._private[role]

    @property
    def wire(self) -> PublicKeys:
        return PublicKeys(
            hop=self.public[KeyRole.HOP],
            circuit=self.public[KeyRole.CIRCUIT],
            attach=self.public[KeyRole.ATTACH],
        )

    @classmethod
    def load(cls, folder: Path) -> Keys:
        """Read the keys in a folder, making what is missing.

        Raises:
            KeyFileError: If a file cannot be read or made, holds no key, or others may read it.
        """
        return cls({role: _load(folder / f"{role.value}.key") for role in KeyRole})


def _load(path: Path) -> PrivateKey:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise KeyFileError(path, "others than its owner may read it (mode is to be 0600)")
        secret = base64.b64decode(path.read_text().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise KeyFileError(path, str(error)) from error
    if len(secret) != 32:
        raise KeyFileError(path, "it holds no key of 32 bytes")
    return PrivateKey(secret)


def _create(path: Path) -> None:
    """Written beside and linked into place: a crash leaves a whole key or none."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
