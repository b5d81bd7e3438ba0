"""WireGuard key pairs: kept in the state folder, never sent and never printed; ``rotation`` decides when one of hops is
replaced."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foremesh.agent.curve import new_secret, public_key
from foremesh.agent.host import HostError
from foremesh.agent.state import SLOTS, KeyRole
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
        return base64.b64encode(public_key(self._bytes)).decode()


@dataclass(frozen=True, slots=True)
class HopKey:
    """A hop key in its slot; ``made_s`` is the Unix time of its file, so that its age survives restarts."""

    slot: int
    key: PrivateKey
    made_s: float


class Keys:
    """The agent's key pairs: one for each role, and a second one for hops while that is being replaced.

    Args:
        private: By role, without hops.
        hops: In their slots.
        folder: Where they are kept.
    """

    def __init__(
        self, private: Mapping[KeyRole, PrivateKey], hops: Iterable[HopKey] = (), folder: Path = Path()
    ) -> None:
        self._private = dict(private)
        self._hops = list(hops)
        self._folder = folder

    @property
    def public(self) -> Mapping[KeyRole, str]:
        """By role; of hops the newest."""
        hops = {KeyRole.HOP: self.hops[0].key.public} if self._hops else {}
        return hops | {role: key.public for role, key in self._private.items()}

    @property
    def hops(self) -> tuple[HopKey, ...]:
        """The newest first."""
        return tuple(sorted(self._hops, key=lambda one: (one.made_s, one.slot), reverse=True))

    def of(self, public_key: str) -> PrivateKey:
        """The private half of a key of this agent's.

        Raises:
            KeyError: If it is not this agent's.
        """
        every = [*self._private.values(), *(one.key for one in self._hops)]
        return {key.public: key for key in every}[public_key]

    def make_hop(self) -> HopKey:
        """Make the next hop key, in the first free slot.

        Raises:
            KeyFileError: If it cannot be written; the old one stays the only one.
        """
        slot = min(set(range(SLOTS)) - {one.slot for one in self._hops})
        made = _load_hop(self._folder, slot)
        self._hops.append(made)
        return made

    def drop_hop(self, public_key: str) -> None:
        """Destroy a hop key that no link uses any more.

        Raises:
            KeyFileError: If its file cannot be removed.
        """
        for one in [one for one in self._hops if one.key.public == public_key]:
            path = _hop_path(self._folder, one.slot)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise KeyFileError(path, str(error)) from error
            self._hops.remove(one)

    @property
    def wire(self) -> PublicKeys:
        public = self.public
        return PublicKeys(
            hop=public[KeyRole.HOP],
            circuit=public[KeyRole.CIRCUIT],
            attach=public[KeyRole.ATTACH],
        )

    @classmethod
    def load(cls, folder: Path) -> Keys:
        """Read the keys in a folder, making what is missing.

        Raises:
            KeyFileError: If a file cannot be read or made, holds no key, or others may read it.
        """
        slots = [slot for slot in range(SLOTS) if _hop_path(folder, slot).exists()] or [0]
        lasting: list[KeyRole] = [KeyRole.CIRCUIT, KeyRole.ATTACH]
        private = {role: _load(folder / f"{role.value}.key") for role in lasting}
        return cls(private, [_load_hop(folder, slot) for slot in slots], folder)


def _hop_path(folder: Path, slot: int) -> Path:
    return folder / f"{KeyRole.HOP.value}{f'-{slot}' if slot else ''}.key"


def _load_hop(folder: Path, slot: int) -> HopKey:
    path = _hop_path(folder, slot)
    key = _load(path)
    return HopKey(slot, key, path.stat().st_mtime)


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
        file.write(base64.b64encode(new_secret()).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
