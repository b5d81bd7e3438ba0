"""What no network can do: be faster than light.

Pure functions of coordinates. A bound has to hold for every medium, so it is that of light in vacuum along the shortest
way over the ground: radio links and lasers come within a thousandth of it, and only fibre is a third slower. With the
speed of fibre for the bound, a microwave link between two exchanges would be impossible.
"""

from __future__ import annotations

import numpy as np

from foremesh.model.series import Floats

LIGHT_KM_PER_MS = 299.792458
"""Kilometres that light goes in a millisecond of vacuum (by definition of the metre)."""

FIBRE_KM_PER_MS = 204.2
"""Kilometres that light goes in a millisecond of fibre (refractive index 1.468, ITU-T G.652)."""

EARTH_KM = 6371.0
"""Mean radius of the Earth (IUGG): what distances are usually told by."""

LEAST_EARTH_KM = 6335.4
"""Least radius of curvature of the Earth's surface (WGS 84, along a meridian at the equator): on a sphere of this
radius no way is longer than it is on the Earth, so what follows from it is a bound."""


def great_circle_km(
    latitude: Floats, longitude: Floats, to_latitude: Floats, to_longitude: Floats, *, radius_km: float = EARTH_KM
) -> Floats:
    """Distances over the ground, by the haversine formula; NaN where a coordinate is.

    Args:
        latitude: Degrees, of shapes that fit together; the others likewise.
        radius_km: Of the sphere that the Earth is taken for.
    """
    phi, theta, to_phi, to_theta = (np.radians(one) for one in (latitude, longitude, to_latitude, to_longitude))
    half = np.sin((phi - to_phi) / 2) ** 2 + np.cos(phi) * np.cos(to_phi) * np.sin((theta - to_theta) / 2) ** 2
    distances: Floats = 2 * radius_km * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    return distances


def light_rtt_ms(latitude: Floats, longitude: Floats, to_latitude: Floats, to_longitude: Floats) -> Floats:
    """The shortest round trips in milliseconds that places can have; arguments as for ``great_circle_km``."""
    km = great_circle_km(latitude, longitude, to_latitude, to_longitude, radius_km=LEAST_EARTH_KM)
    rtt_ms: Floats = 2 * km / LIGHT_KM_PER_MS
    return rtt_ms
