"""What an agent remembers over a restart: the last config that it applied."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from foremesh.agent.host import HostError
from foremesh.model.config import GatewayConfig
from foremesh.model.manifest import ManifestError, decode, encode

log = logging.getLogger(__name__)


class ConfigStore:
    """The last applied config in a file of the state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "config.json"
        self._draft = self._path.with_suffix(".new")

    def load(self) -> GatewayConfig | None:
        """The config of before; None if there is none, or none that can be read."""
        try:
            return decode(GatewayConfig, self._path.read_bytes(), where=str(self._path))
        except FileNotFoundError:
            return None
        except (OSError, ManifestError) as error:
            log.warning("stored config unreadable path=%s error=%s", self._path, error)
            return None

    def save(self, config: GatewayConfig) -> None:
        """Replace the file as a whole.

        Raises:
            HostError: If it cannot be written.
        """
        draft = self._draft
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(encode(config))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._path)
        except OSError as error:
            raise HostError(f"{self._path} cannot be written ({error}); a restart would forget the config") from error

    def forget(self) -> None:
        for path in (self._path, self._draft):
            path.unlink(missing_ok=True)
