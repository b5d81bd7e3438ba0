"""Where gateways stand on the canvas, and where names fit beside them. Pure and deterministic.

With coordinates the picture is a map: equirectangular, true to scale at the middle latitude, cut where the mesh leaves
the widest gap in longitude. Regions with many gateways are given more room than their area (the graticule shows how
much), and gateways of one city are moved apart. Without coordinates, distances follow round trips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foremesh.drawing.values import DrawnEdge, MeshPicture
from foremesh.model.series import Floats

WIDTH = 1180.0
"""Pixels: fits a window of 1280 with its margins."""
LEAST_HEIGHT, MOST_HEIGHT = 560.0, 780.0
"""Pixels; the height follows the mesh's extent between these."""
MARGIN_X, MARGIN_Y = 110.0, 56.0
"""Pixels around the outermost gateways, room for their names."""
WARPS = (0.0, 0.2, 0.4, 0.6, 0.7)
"""Shares of each axis that go to evening out crowds; the least that makes room is taken."""
STRESS_ROUNDS = 150
"""Steps towards distances that fit; later ones move nothing by a pixel."""
GRATICULE_STEPS = (1, 2, 5, 10, 15, 30)
"""Degrees between lines of the graticule."""
TALLER = 1.6
"""How much more than true scale one axis may take where that fills the canvas."""
MOST_LINES = 12
"""Lines of the graticule per axis, before wide gaps are filled."""
WIDE_PX = 100.0
"""Pixels between two lines from which on others are put between them: where crowds are enlarged, few lines would
mislead about what lies between."""
NARROW_PX = 30.0
"""Pixels between two lines that their numbers need."""
ALIKE = 1.02
"""Ratio of two scales up to which nobody sees the difference."""
MOVED_PX = 8.0
"""Pixels off its place from which a gateway is told to be so; less is hidden by its symbol."""
WARPED = (
    "Not to scale: regions crowded with gateways are enlarged, by as much as the numbered lines of longitude and "
    "latitude lie apart."
)
TALL = "Stretched from north to south."
PARTED = "Gateways that would touch are moved apart, off their true place."
NO_MAP = "No map, as not every gateway says where it is: distances follow round trips."


@dataclass(frozen=True)
class Line:
    """A meridian or a parallel: where it lies on the canvas, and its name."""

    at: float
    text: str


@dataclass(frozen=True)
class Layout:
    """Positions in pixels."""

    width: float
    height: float
    at: dict[str, tuple[float, float]]
    """Gateway id to where its symbol stands."""
    meridians: tuple[Line, ...] = ()
    parallels: tuple[Line, ...] = ()
    note: str = ""
    """How far the picture can be taken for a map, for those who look at it."""


def lay_out(mesh: MeshPicture) -> Layout:
    """Place every gateway."""
    ids = [one.node.id for one in mesh.gateways]
    if not ids:
        return Layout(WIDTH, LEAST_HEIGHT, {})
    spots = [(one.longitude, one.latitude) for one in mesh.gateways]
    known = [(x, y) for x, y in spots if x is not None and y is not None]
    if len(known) == len(ids):
        return _geographic(ids, np.array(known, dtype=float))
    return _free(ids, mesh.edges)


def apart(points: Floats, least: float, width: float, height: float) -> Floats:
    """Move points that are nearer to each other than ``least`` apart, as little as it takes."""
    at = points.astype(float)
    home = at.copy()
    turn = np.arange(len(at)) * math.pi * (3 - math.sqrt(5))
    at += 1e-3 * np.stack([np.cos(turn), np.sin(turn)], axis=1)  # points in one place have to differ to be parted
    for _ in range(200):
        delta = at[:, None] - at[None, :]
        gap = np.hypot(delta[..., 0], delta[..., 1])
        np.fill_diagonal(gap, np.inf)
        lack = np.clip(least - gap, 0, None)
        if not lack.any():
            break
        push = (delta / gap[..., None]) * (lack / 2)[..., None]
        at += push.sum(axis=1) * 0.7
        at += (home - at) * 0.01
        at[:, 0] = np.clip(at[:, 0], MARGIN_X / 2, width - MARGIN_X / 2)
        at[:, 1] = np.clip(at[:, 1], MARGIN_Y / 2, height - MARGIN_Y / 2)
    return at


def spacing(count: int) -> float:
    """Pixels that symbols need between their centres: room for a name where there are few."""
    return 64.0 if count <= 20 else 40.0 if count <= 50 else 24.0


def _geographic(ids: Sequence[str], degrees: Floats) -> Layout:
    longitude = _unrolled(degrees[:, 0])
    latitude = degrees[:, 1]
    stretch = math.cos(math.radians(float(latitude.min() + latitude.max()) / 2))
    span_x = max(float(np.ptp(longitude)), 1.0) * max(stretch, 0.2)
    span_y = max(float(np.ptp(latitude)), 1.0)
    inner = WIDTH - 2 * MARGIN_X
    height = min(MOST_HEIGHT, max(LEAST_HEIGHT, inner * span_y / span_x + 2 * MARGIN_Y))
    scale = min(inner / span_x, (height - 2 * MARGIN_Y) / span_y)
    scale_y = min(TALLER * scale, (height - 2 * MARGIN_Y) / span_y)
    for warp in WARPS:
        axis_x = _Axis(longitude, scale * max(stretch, 0.2), WIDTH / 2, inner, warp)
        axis_y = _Axis(-latitude, scale_y, height / 2, height - 2 * MARGIN_Y, warp)
        at = np.stack([axis_x(longitude), axis_y(-latitude)], axis=1)
        if _crowded(at, degrees) <= len(ids) // 6:
            break
    truly = at
    at = apart(at, spacing(len(ids)), WIDTH, height)
    moved = float(np.hypot(*(at - truly).T).max()) > MOVED_PX
    stretched = WARPED if axis_x.warped or axis_y.warped else TALL if scale_y > ALIKE * scale else ""
    return Layout(
        WIDTH,
        height,
        {id_: (float(x), float(y)) for id_, (x, y) in zip(ids, at, strict=True)},
        tuple(Line(float(axis_x(value)), _east(value)) for value in _graticule(axis_x.reach(WIDTH), axis_x)),
        tuple(
            Line(float(axis_y(-value)), _north(value))
            for value in _graticule(_flipped(axis_y.reach(height)), lambda value: axis_y(-value))
        ),
        " ".join(filter(None, (stretched, PARTED if moved else ""))),
    )


class _Axis:
    """Degrees to pixels along one axis: linear, mixed with the rank of what stands there.

    Beyond the outermost gateways it goes on at the linear scale.
    """

    def __init__(self, values: Floats, scale: float, middle: float, room: float, warp: float) -> None:
        self.scale = scale
        self.knots = np.unique(np.round(values, 1))
        linear = (self.knots - (self.knots[0] + self.knots[-1]) / 2) * scale + middle
        self.warped = len(self.knots) > 2 and warp > 0
        if self.warped:
            # Ranks fill the room there is, also where the linear map leaves it empty.
            ranks = middle + room * (np.arange(len(self.knots)) / (len(self.knots) - 1) - 0.5)
            linear = (1 - warp) * linear + warp * ranks
        self.pixels = linear

    def __call__(self, value: Floats | float) -> Floats:
        inside = np.interp(value, self.knots, self.pixels)
        below = np.minimum(0, value - self.knots[0]) * self.scale
        above = np.maximum(0, value - self.knots[-1]) * self.scale
        return np.asarray(inside + below + above)

    def reach(self, size: float) -> tuple[float, float]:
        """Degrees at both ends of the canvas."""
        first = self.knots[0] - self.pixels[0] / self.scale
        return float(first), float(self.knots[-1] + (size - self.pixels[-1]) / self.scale)


def _unrolled(longitude: Floats) -> Floats:
    """Longitudes without a jump: the world is cut in the widest gap."""
    order = np.sort(longitude % 360)
    gaps = np.diff(np.append(order, order[0] + 360))
    first = order[(int(np.argmax(gaps)) + 1) % len(order)]
    return np.asarray((longitude % 360 - first) % 360 + (first + 180) % 360 - 180)


def _crowded(at: Floats, degrees: Floats) -> int:
    """Pairs in different places that come too near to be told apart."""
    delta = at[:, None] - at[None, :]
    near = np.hypot(delta[..., 0], delta[..., 1]) < spacing(len(at)) * 0.8
    elsewhere = np.abs(degrees[:, None] - degrees[None, :]).max(axis=2) > 0.3
    return int(np.triu(near & elsewhere, 1).sum())


def _graticule(reach: tuple[float, float], place: Callable[[float], Floats]) -> list[float]:
    low, high = reach
    step = next((one for one in GRATICULE_STEPS if (high - low) / one <= MOST_LINES), GRATICULE_STEPS[-1])
    lines = [float(one) for one in np.arange(math.ceil(low / step) * step, high, step)]
    between = (one for first, last in pairwise(lines) for one in _filled(first, last, place))
    return sorted([*lines, *between])


def _filled(first: float, last: float, place: Callable[[float], Floats]) -> list[float]:
    """Round degrees between two lines that lie far apart, until none do."""
    step = next((one for one in reversed(GRATICULE_STEPS) if one < last - first and (last - first) % one == 0), None)
    if step is None or abs(place(last) - place(first)) <= WIDE_PX:
        return []
    inside = [first + step * index for index in range(1, round((last - first) / step))]
    if min(abs(place(b) - place(a)) for a, b in pairwise([first, *inside, last])) < NARROW_PX:
        return []
    return [*inside, *(one for a, b in pairwise([first, *inside, last]) for one in _filled(a, b, place))]


def _flipped(reach: tuple[float, float]) -> tuple[float, float]:
    return max(-90.0, -reach[1]), min(90.0, -reach[0])


def _east(longitude: float) -> str:
    value = (longitude + 180) % 360 - 180
    return "0°" if value == 0 else f"{abs(value):g}°{'E' if value > 0 else 'W'}"


def _north(latitude: float) -> str:
    return "0°" if latitude == 0 else f"{abs(latitude):g}°{'N' if latitude > 0 else 'S'}"


def _free(ids: Sequence[str], edges: Sequence[DrawnEdge]) -> Layout:
    """Distances follow round trips; an unknown one counts as the usual, no way at all as the farthest."""
    height = MOST_HEIGHT if len(ids) > 20 else LEAST_HEIGHT
    if len(ids) == 1:
        return Layout(WIDTH, height, {ids[0]: (WIDTH / 2, height / 2)}, note=NO_MAP)
    at = unfolded(_distances(ids, edges))
    room = np.array([WIDTH - 2 * MARGIN_X, height - 2 * MARGIN_Y])
    fits = room / np.maximum(np.ptp(at, axis=0), 1e-9)
    scale = np.minimum(fits, TALLER * fits.min())
    at = (at - (at.min(axis=0) + at.max(axis=0)) / 2) * scale + np.array([WIDTH, height]) / 2
    at = apart(at, spacing(len(ids)), WIDTH, height)
    return Layout(WIDTH, height, {id_: (float(x), float(y)) for id_, (x, y) in zip(ids, at, strict=True)}, note=NO_MAP)


def _distances(ids: Sequence[str], edges: Sequence[DrawnEdge]) -> Floats:
    """Round trip between any two gateways by the shortest way there is."""
    row = {id_: index for index, id_ in enumerate(ids)}
    trips = [(row[edge.a], row[edge.b], _round_trip(edge)) for edge in edges]
    usual = float(np.median([trip for _, _, trip in trips if trip is not None] or [1.0])) or 1.0
    far = np.full((len(ids), len(ids)), np.inf)
    np.fill_diagonal(far, 0.0)
    for a, b, trip in trips:
        far[a, b] = far[b, a] = min(far[a, b], max(usual if trip is None else trip, usual / 20))
    for via in range(len(ids)):
        np.minimum(far, far[:, via, None] + far[None, via, :], out=far)
    most = float(far[np.isfinite(far)].max()) or usual
    return np.where(np.isfinite(far), far, 1.3 * most)


def unfolded(distances: Floats) -> Floats:
    """Points in the plane whose distances come as near to the given ones as can be, the same every time.

    Classical scaling first, then stress majorisation. Source: Borg & Groenen, "Modern Multidimensional Scaling", 2005,
    chapters 8 and 12.
    """
    count = len(distances)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    vectors = vectors[:, -2:] * np.sign(vectors[np.abs(vectors[:, -2:]).argmax(axis=0), [-2, -1]])
    at = vectors * np.sqrt(np.clip(values[-2:], 0, None))
    turn = np.arange(count) * 2 * math.pi / count
    # Points that coincide, as those of a star do, would never part.
    at = at[:, ::-1] + 0.01 * distances.max() * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for _ in range(STRESS_ROUNDS):
        delta = at[:, None] - at[None, :]
        gap = np.hypot(delta[..., 0], delta[..., 1])
        pull = np.divide(distances, gap, out=np.zeros_like(gap), where=gap > 0)
        at = np.einsum("ij,ijk->ik", pull, delta) / count
    return np.asarray(at)


def _round_trip(edge: DrawnEdge) -> float | None:
    known = [way.link.rtt_ms.median for way in (edge.there, edge.back) if way and way.link.rtt_ms]
    return min(known) if known else None
