"""The operator's configuration, as commands read it; what is wrong with it is told like any other bad input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foremesh.settings import Settings


def configuration(path: Path) -> Settings:
    """Read and check it.

    Raises:
        InputError: If the file cannot be read, or is refused.
    """
    from foremesh import settings
    from foremesh.files import InputError
    from foremesh.files.text import unreadable
    from foremesh.model.manifest import ManifestError

    try:
        return settings.load(path)
    except ManifestError as error:
        if isinstance(error.__cause__, OSError):
            raise unreadable(path, error.__cause__) from error
        cure = "charts/foremesh/templates/configmap.yaml shows what belongs there"
        raise InputError(path, None, " ".join(error.cause.split()), cure) from error
