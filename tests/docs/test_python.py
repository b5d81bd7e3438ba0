"""Python on the pages runs, and says what the page says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from foremesh.routing.cost import PROFILES, WEIGHED

REFERENCE = Path(__file__).parents[2] / "docs/reference"


def test_the_weights_on_the_page_are_those_of_the_profiles() -> None:
    lines = (REFERENCE / "routing.md").read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| Profile |"))
    names = [cell.strip() for cell in lines[begin].strip("|").split("|")][1:]
    told = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        profile, *weights = [cell.strip(" `") for cell in line.strip("|").split("|")]
        told[profile] = dict(zip(names, map(float, weights), strict=True))
    assert told == {
        profile.value: {term: getattr(weights, field) for term, field in WEIGHED.items()}
        for profile, weights in PROFILES.items()
    }


@pytest.mark.parametrize("page", ["python.md"])
def test_examples_run_as_they_stand(page: str) -> None:
    result = doctest.testfile(str(REFERENCE / page), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0
