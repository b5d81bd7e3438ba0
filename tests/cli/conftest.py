"""What every test of the command line takes for granted."""

import pytest


@pytest.fixture(autouse=True)
def no_width_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as without a terminal, wherever tests run."""
    monkeypatch.delenv("COLUMNS", raising=False)
