import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest


@pytest.fixture(scope="session")
def pool() -> Iterator[Executor]:
    """One process that fits, as the operator has it; importing Prophet takes it seconds, so all tests share it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as running:
        yield running
