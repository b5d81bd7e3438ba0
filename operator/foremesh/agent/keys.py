"""WireGuard key pairs: kept in the state folder, never sent and never printed; ``rotation`` decides when one of links
or of circuits is replaced."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from foremesh.agent.curve import new_secret, public_key
from foremesh.agent.host import HostError
from foremesh.agent.state import SLOTS, KeyRole
from foremesh.model.registration import CircuitKey, PublicKeys

REPLACED = (KeyRole.HOP, KeyRole.CIRCUIT)
"""Roles that have more than one key while the next takes over."""


class KeyFileError(HostError):
    """A key file that cannot be read or made; carries ``path``."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        super().__init__(f"key file {path}: {cause}; the agent has no identity and does not start")


class PrivateKey:
    """32 secret bytes that no representation shows."""

    __slots__ = ("_bytes", "_public")

    def __init__(self, secret: bytes) -> None:
        self._bytes = secret
        self._public = ""

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    def reveal(self) -> bytes:
        """The secret itself, for WireGuard and nobody else."""
        return self._bytes

    @property
    def public(self) -> str:
        """The public key, base64."""
        if not self._public:  # milliseconds in plain Python, and asked for with every comparison of the host
            self._public = base64.b64encode(public_key(self._bytes)).decode()
        return self._public


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key of links or circuits in its slot; ``made_s`` is the Unix time of its file, so that its age survives
    restarts."""

    slot: int
    key: PrivateKey
    made_s: float


class Keys:
    """The agent's key pairs: one for each role, and more of links and circuits while they are replaced.

    Args:
        private: By role, without those that are replaced.
        kept: Those, in their slots.
        folder: Where they are kept.
    """

    def __init__(
        self,
        private: Mapping[KeyRole, PrivateKey],
        kept: Mapping[KeyRole, Iterable[KeptKey]] | None = None,
        folder: Path = Path(),
    ) -> None:
        self._private = dict(private)
        self._kept = {role: list((kept or {}).get(role, ())) for role in REPLACED}
        self._folder = folder

    @property
    def public(self) -> Mapping[KeyRole, str]:
        """By role; of links the newest, of circuits the oldest."""
        found = {role: key.public for role, key in self._private.items()}
        if self.hops:
            found[KeyRole.HOP] = self.hops[0].key.public
        if self.circuits:
            found[KeyRole.CIRCUIT] = self.circuits[-1].key.public
        return found

    @property
    def hops(self) -> tuple[KeptKey, ...]:
        """Keys of links, the newest first."""
        return _newest_first(self._kept[KeyRole.HOP])

    @property
    def circuits(self) -> tuple[KeptKey, ...]:
        """Keys of circuits, the newest first."""
        return _newest_first(self._kept[KeyRole.CIRCUIT])

    def of(self, public_key: str) -> PrivateKey:
        """The private half of a key of this agent's.

        Raises:
            KeyError: If it is not this agent's.
        """
        every = [*self._private.values(), *(one.key for kept in self._kept.values() for one in kept)]
        return {key.public: key for key in every}[public_key]

    def make_hop(self) -> KeptKey:
        """Make the next hop key, in the first free slot.

        Raises:
            KeyFileError: If it cannot be written; the old one stays the only one.
        """
        return self._make(KeyRole.HOP, min(set(range(SLOTS)) - {one.slot for one in self._kept[KeyRole.HOP]}))

    def make_circuit(self, made_s: float) -> KeptKey:
        """Make the next circuit key.

        Args:
            made_s: Unix time that it is to be of.

        Raises:
            KeyFileError: If it cannot be written; those there are stay.
        """
        taken = {one.slot for one in self._kept[KeyRole.CIRCUIT]}
        return self._make(KeyRole.CIRCUIT, next(slot for slot in count() if slot not in taken), made_s)

    def drop(self, public_key: str) -> None:
        """Destroy a key that no link and no circuit uses any more.

        Raises:
            KeyFileError: If its file cannot be removed.
        """
        for role, kept in self._kept.items():
            for one in [one for one in kept if one.key.public == public_key]:
                path = _path(self._folder, role, one.slot)
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise KeyFileError(path, str(error)) from error
                kept.remove(one)

    @property
    def wire(self) -> PublicKeys:
        public = self.public
        return PublicKeys(
            hop=public[KeyRole.HOP],
            circuit=public[KeyRole.CIRCUIT],
            attach=public[KeyRole.ATTACH],
        )

    @property
    def circuits_wire(self) -> tuple[CircuitKey, ...]:
        """What the mesh is told of the keys of circuits."""
        return tuple(CircuitKey(key=one.key.public, made_s=int(one.made_s)) for one in self.circuits)

    @classmethod
    def load(cls, folder: Path) -> Keys:
        """Read the keys in a folder, making what is missing.

        Raises:
            KeyFileError: If a file cannot be read or made, holds no key, or others may read it.
        """
        attach = _load(_path(folder, KeyRole.ATTACH, 0))
        kept = {role: [_load_kept(folder, role, slot) for slot in _slots(folder, role) or [0]] for role in REPLACED}
        return cls({KeyRole.ATTACH: attach}, kept, folder)

    def _make(self, role: KeyRole, slot: int, made_s: float | None = None) -> KeptKey:
        made = _load_kept(self._folder, role, slot, made_s)
        self._kept[role].append(made)
        return made


def _newest_first(kept: Iterable[KeptKey]) -> tuple[KeptKey, ...]:
    return tuple(sorted(kept, key=lambda one: (one.made_s, one.slot), reverse=True))


def _path(folder: Path, role: KeyRole, slot: int) -> Path:
    return folder / f"{role.value}{f'-{slot}' if slot else ''}.key"


def _slots(folder: Path, role: KeyRole) -> list[int]:
    found = (re.fullmatch(rf"{role.value}(?:-([1-9][0-9]*))?\.key", path.name) for path in folder.glob("*.key"))
    return sorted(int(match[1] or 0) for match in found if match)


def _load_kept(folder: Path, role: KeyRole, slot: int, made_s: float | None = None) -> KeptKey:
    path = _path(folder, role, slot)
    key = _load(path)
    if made_s is not None:
        try:
            os.utime(path, (made_s, made_s))
        except OSError as error:
            raise KeyFileError(path, str(error)) from error
    return KeptKey(slot, key, path.stat().st_mtime)


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
