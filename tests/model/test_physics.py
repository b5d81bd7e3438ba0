"""Nothing is faster than light: checked against distances measured on the ellipsoid, and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.model.physics import LIGHT_KM_PER_MS, great_circle_km, light_rtt_ms

degrees = {"allow_nan": False, "allow_infinity": False}
places = st.tuples(st.floats(-90, 90, **degrees), st.floats(-180, 180, **degrees))

AMSTERDAM, FRANKFURT, SYDNEY = (52.3667, 4.9), (50.1109, 8.6821), (-33.8688, 151.2093)
ON_THE_ELLIPSOID_KM = {
    (AMSTERDAM, FRANKFURT): 364.2,
    (AMSTERDAM, SYDNEY): 16_649.2,
    ((0.0, 0.0), (1.0, 0.0)): 110.574,  # a degree along a meridian at the equator, the shortest there is (WGS 84)
    ((0.0, 0.0), (0.0, 1.0)): 111.320,
    ((89.0, 0.0), (90.0, 0.0)): 111.694,
}


def one(function: object, here: tuple[float, float], there: tuple[float, float]) -> float:
    coordinates = (np.array([degree]) for degree in (*here, *there))
    return float(function(*coordinates)[0])  # type: ignore[operator]


@pytest.mark.parametrize(("ends", "km"), ON_THE_ELLIPSOID_KM.items())
def test_the_bound_is_just_below_the_way_on_the_ellipsoid(ends: tuple[tuple[float, float], ...], km: float) -> None:
    least_km = one(light_rtt_ms, *ends) * LIGHT_KM_PER_MS / 2
    assert 0.98 * km < least_km < km + 0.001
    assert one(great_circle_km, *ends) == pytest.approx(km, rel=6e-3)


@given(places, places, places)
def test_distances_are_a_metric_and_no_longer_than_half_the_earth(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> None:
    ab, bc, ac = one(great_circle_km, a, b), one(great_circle_km, b, c), one(great_circle_km, a, c)
    assert ab == pytest.approx(one(great_circle_km, b, a))
    assert one(great_circle_km, a, a) == 0
    assert 0 <= ab <= np.pi * 6371.0 + 1e-6
    assert ac <= ab + bc + 1e-3


@given(places)
def test_an_unknown_place_gives_no_bound(place: tuple[float, float]) -> None:
    assert np.isnan(one(light_rtt_ms, place, (np.nan, 0.0)))
