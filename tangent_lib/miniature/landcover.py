"""Ten kinds of land use in small satellite patches, after EuroSAT.

Season and soil colours overlap between the classes; scale, orientation, position, haze and stray tracks vary.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, box, circle, segment


def _land(c: Canvas, value=(0.25, 0.65)) -> np.ndarray:
    """A vegetation or soil colour."""
    return c.colour((0.06, 0.42), (0.15, 0.6), value)


def _water(c: Canvas) -> np.ndarray:
    """A water colour: blue, green or muddy."""
    return c.colour((0.25, 0.68), (0.2, 0.75), (0.1, 0.45))


def _stone(c: Canvas) -> np.ndarray:
    """A road or roof colour."""
    return c.colour((0, 1), (0, 0.25), (0.6, 1))


def _ground(c: Canvas, cells=5, depth=0.6) -> None:
    """Fill with two mottled land colours."""
    c.fill(_land(c))
    c.blend(c.uniform(0.1, depth) * 1.5 * c.noise(cells), _land(c))


def _frame(c: Canvas, low: float | int, high: float | int):
    """Turned coordinates in units of a random length between ``low`` and ``high``, and that length."""
    length = c.uniform(low, high)
    return *c.place(c.uniform(0, 2 * np.pi), length, c.uniform(-1, 1), c.uniform(-1, 1)), length


def _cells(c: Canvas, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One random number in [0, 1] for each unit cell of a frame."""
    table = c.rng.random((c.n, 16, 16), dtype=np.float32)
    return table[np.arange(c.n)[:, None, None], np.floor(u).astype(int) % 16, np.floor(v).astype(int) % 16]


def _parcels(c: Canvas, u: np.ndarray, v: np.ndarray, strength) -> None:
    """Colour brick-wise fields of unit height."""
    u = u + _cells(c, 0 * u, v)
    for _ in range(3):
        c.blend(strength * _cells(c, u, v), _land(c, (0.1, 0.9)))


def _track(c: Canvas) -> None:
    """The distractor: a thin straight track, often invisible."""
    _, v, _ = _frame(c, 1, 1.01)
    c.paint(np.abs(v) - 0.03, _land(c, (0.3, 0.8)), np.maximum(c.uniform(-0.8, 0.8), 0))


def _haze(c: Canvas) -> None:
    c.blend(np.maximum(c.uniform(-0.2, 0.35), 0) * c.noise(2), c.colour((0, 1), (0, 0.2), (0.6, 0.9)))


def annual_crop(c: Canvas) -> None:
    _ground(c)
    u, v, length = _frame(c, 0.5, 1.0)
    _parcels(c, u * c.uniform(0.5, 1.2), v, 1.0)
    c.paint((0.5 - np.abs(v % 1 - 0.5) - 0.04) * length, _land(c, (0.1, 0.8)), c.choice([0, 0.6]))
    c.blend(c.uniform(0, 0.25) * (0.5 + 0.5 * np.sin(u * length * c.uniform(10, 25))), _land(c))
    _track(c)
    _haze(c)


def forest(c: Canvas) -> None:
    """Dense crowns: fine, rough and even."""
    _ground(c, 3, 0.4)
    c.blend(c.uniform(1.2, 2.4) * (c.noise(14) - 0.35), _land(c, (0.05, 0.35)))
    c.blend(c.uniform(0.5, 1.5) * (c.noise(20) - 0.5), _land(c, (0.3, 0.6)))
    _track(c)
    _haze(c)


def shrubland(c: Canvas) -> None:
    """Loose clumps on lighter soil."""
    _ground(c, 4)
    cover = c.noise(3) * c.uniform(0.08, 0.16) + 0.05
    shrub = _land(c, (0.02, 0.25))
    for _ in range(26):
        c.paint(circle(c.x - c.uniform(-1, 1), c.y - c.uniform(-1, 1), cover * c.uniform(0.4, 1.2)), shrub, 0.85)
    _track(c)
    _haze(c)


def highway_from_above(c: Canvas) -> None:
    """A narrow, smooth, light band, at times with a branch, through fields."""
    _ground(c)
    u, v, _ = _frame(c, 0.6, 1.2)
    _parcels(c, u, v, c.uniform(0, 0.7))
    u, v = c.place(c.uniform(0, 2 * np.pi), 1, c.uniform(-0.5, 0.5), c.uniform(-0.5, 0.5))
    v, road, width = v - c.uniform(-0.35, 0.35) * u**2, _stone(c), c.uniform(0.06, 0.13)
    branch = segment(u, v, (c.uniform(-0.5, 0.5), 0), (c.uniform(-2, 2), c.choice([-2, 2])), 0.6 * width)
    c.paint(branch, road, c.choice([0, 0.8]))
    c.paint(np.abs(v) - width, road, c.uniform(0.6, 1))
    c.paint(np.abs(v) - 0.02, _land(c), c.choice([0, 0.7]))
    _haze(c)


def _buildings(c: Canvas, u, v, length, density, fill) -> None:
    """One roof with a shadow in a share ``density`` of the cells, ``fill`` wide."""
    here = _cells(c, u, v) < density
    a, b = u % 1 - 0.5 + 0.2 * (_cells(c, u, v) - 0.5), v % 1 - 0.5 + 0.2 * (_cells(c, u, v) - 0.5)
    wide, high = fill * (0.6 + 0.4 * _cells(c, u, v)), fill * (0.6 + 0.4 * _cells(c, u, v))
    dark, tint = c.colour(value=(0, 0.15)), _cells(c, u, v)
    c.paint(box(a - 0.09, b + 0.09, wide, high) * length, dark, 0.7 * here)
    roof, other = c.colour((0, 1), (0, 0.5), (0.65, 1)), c.colour((0.0, 0.1), (0.1, 0.6), (0.5, 0.9))
    c.paint(box(a, b, wide, high) * length, roof + tint[:, None] * (other - roof), here)


def industrial(c: Canvas) -> None:
    """A few big roofs on paved ground."""
    _ground(c)
    u, v, length = _frame(c, 0.7, 1.1)
    v = v * c.uniform(1.0, 1.7)
    c.blend(c.uniform(0.2, 1) * (0.4 + c.noise(3)), c.colour((0, 1), (0, 0.2), (0.3, 0.65)))
    _buildings(c, u, v, length * 0.8, 0.85, 0.42)
    _haze(c)


def pasture(c: Canvas) -> None:
    """Smooth grass with a hedge or two and a few trees."""
    _ground(c, 3, 0.5)
    hedge = _land(c, (0.02, 0.25))
    for _ in range(2):
        u, v = c.place(c.uniform(0, 2 * np.pi), 1, c.uniform(-0.6, 0.6), c.uniform(-0.6, 0.6))
        c.paint(np.abs(v + 0.1 * np.sin(3 * u)) - 0.05 - 0.06 * (c.noise(9) - 0.5), hedge, c.choice([0, 0.6, 0.9, 0.9]))
    for _ in range(3):
        c.paint(circle(c.x - c.uniform(-1, 1), c.y - c.uniform(-1, 1), c.uniform(0.03, 0.1)), hedge, c.choice([0, 0.8]))
    _haze(c)


def permanent_crop(c: Canvas) -> None:
    """Fields planted in rows of bushes."""
    _ground(c)
    u, v, length = _frame(c, 0.8, 1.4)
    _parcels(c, u * c.uniform(0.5, 1), v, 0.5)
    plot = _cells(c, 0 * u, v)
    rows = np.where(plot < 0.6, u, v) * length * c.uniform(3, 4.6)
    along = np.where(plot < 0.6, v, u) * length * 3.5
    beads = np.abs(along % 1 - 0.5) * c.choice([0, 0, 0.8])
    c.blend((plot < 0.9) * c.uniform(0.7, 1) * (1.5 - 4 * np.hypot(rows % 1 - 0.5, beads)), _land(c, (0.08, 0.35)))
    _track(c)
    _haze(c)


def residential(c: Canvas) -> None:
    """Many small roofs among gardens and streets."""
    _ground(c, 8)
    u, v, length = _frame(c, 0.27, 0.42)
    street = np.minimum(np.abs(v % 3 - 1.0), np.abs(u % 5 - 1.0)) - 0.12
    c.paint(street * length, _stone(c) * 0.8, c.uniform(0.3, 0.9))
    _buildings(c, u, v, length, c.uniform(0.6, 0.95), 0.33)
    _haze(c)


def river(c: Canvas) -> None:
    """A winding band of water with uneven banks."""
    _ground(c)
    u, v, _ = _frame(c, 0.6, 1.2)
    _parcels(c, u, v, c.uniform(0, 0.6))
    u, v = c.place(c.uniform(0, 2 * np.pi), 1, c.uniform(-0.4, 0.4), c.uniform(-0.4, 0.4))
    bend = c.uniform(0.15, 0.4) * np.sin(u * c.uniform(1.5, 4) + c.uniform(0, 6)) + 0.3 * (c.noise(4) - 0.5)
    band = np.abs(v - bend) - c.uniform(0.1, 0.3) - 0.12 * (c.noise(6) - 0.5)
    c.paint(band - 0.08, _land(c), c.uniform(0, 0.8))
    c.paint(band, _water(c))
    _haze(c)


def sea_or_lake(c: Canvas) -> None:
    """Open water, most often with a ragged shore."""
    _ground(c)
    _, v = c.place(c.uniform(0, 2 * np.pi), 1)
    coast = v + c.uniform(0, 0.8) * (c.noise(3) - 0.5) + 0.3 * (c.noise(8) - 0.5) - c.uniform(-0.1, 0.9)
    c.paint(coast - 0.07, c.colour((0.1, 0.2), (0.1, 0.4), (0.5, 0.9)), c.choice([0, 0.7]))
    c.paint(coast, _water(c))
    c.blend((coast < 0) * c.uniform(0, 0.5) * c.noise(2), _water(c))
    _haze(c)


LANDCOVER = {
    "annual crop land": annual_crop,
    "forest": forest,
    "brushland or shrubland": shrubland,
    "highway or road": highway_from_above,
    "industrial buildings": industrial,
    "pasture land": pasture,
    "permanent crop land": permanent_crop,
    "residential buildings": residential,
    "river": river,
    "sea or lake": sea_or_lake,
}
