"""Figures as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.drawing.figures import ms, number, path_figures, share
from foremesh.model.circuit import Figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(102.5, "103 ms", id="half-goes-up"),
        pytest.param(102.49999999999999, "103 ms", id="half-with-noise-below"),
        pytest.param(102.50000000000001, "103 ms", id="half-with-noise-above"),
        pytest.param(0.25, "0.3 ms", id="half-a-tenth"),
        pytest.param(99.96, "100 ms", id="no-tenths-once-it-rounds-to-100"),
        pytest.param(99.94, "99.9 ms", id="tenths-below-100"),
        pytest.param(0.0, "0.0 ms", id="nothing"),
        pytest.param(None, "unknown", id="unknown"),
        pytest.param(float("inf"), "unknown", id="infinite"),
    ],
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert ms(value) == text


def test_thousands_and_shares() -> None:
    assert number(1234567.25) == "1,234,567.3"
    assert number(1e300) == f"{10**300:,}.0"
    assert share(0.01125) == share(0.011250000000000001)


@given(st.floats(0, 1e5), st.floats(-1e-9, 100))
def test_p90_is_never_shown_below_the_median(median_ms: float, more_ms: float) -> None:
    text = path_figures(Figures(latency_ms=median_ms, latency_p90_ms=median_ms + more_ms))
    found = re.match(r"round trip ([\d,.]+) ms \(p90 ([\d,.]+) ms\)", text)
    assert found is not None, text
    low, high = (float(one.replace(",", "")) for one in found.groups())
    assert low <= high
    if more_ms <= 0:
        assert found[1] == found[2]
