"""Which systems run at the same time."""

from __future__ import annotations

import pytest
from bench_convergence import together
from convergence.systems import SYSTEMS


@pytest.mark.parametrize(
    ("processors", "expected"),
    [
        (
            2,
            [["foremesh"], ["foremesh-alone"], ["ospf", "ospf-default"], ["babeld", "babeld-default"], ["static"]],
        ),
        (4, [["foremesh", "ospf-default", "babeld-default"], ["foremesh-alone", "static"], ["ospf"], ["babeld"]]),
        (0, [[name] for name in ("foremesh", "foremesh-alone", "ospf", "babeld", "ospf-default", "babeld-default")]),
    ],
    ids=["two", "four", "one-by-one"],
)
def test_nobody_runs_beside_more_than_the_processors_carry(processors: int, expected: list[list[str]]) -> None:
    found = together(list(SYSTEMS), processors)
    assert found[: len(expected)] == expected
    assert sorted(name for group in found for name in group) == sorted(SYSTEMS)
