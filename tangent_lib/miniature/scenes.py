"""Ten ground-level scenes, after SUN397.

Horizon, time of day, clouds, viewpoint, foreground clutter and colours vary; several classes share their backgrounds.
"""

import numpy as np

from tangent_lib.miniature.canvas import Canvas, both, box, circle, union

_GRASS = (0.1, 0.4), (0.2, 0.6), (0.2, 0.65)  # ranges of hue, saturation, value
_SAND = (0.04, 0.15), (0.15, 0.6), (0.5, 0.95)
_SNOW = (0.5, 1.1), (0.0, 0.2), (0.75, 1)
_WATER = (0.45, 0.66), (0.2, 0.7), (0.25, 0.75)
_LAMP = (0.1, 0.17), (0, 0.6), (0.8, 1)


def _sky(c: Canvas) -> None:
    """Two sky colours from day to dusk, at times clouds and a sun."""
    dusk = c.choice([0, 0, 1])[:, None]
    day, glow = c.colour((0.5, 0.66), (0.05, 0.6), (0.6, 1)), c.colour((0.85, 1.15), (0.2, 0.7), (0.5, 0.95))
    c.fill(c.colour((0.5, 0.75), (0.2, 0.7), (0.25, 0.9)))
    c.blend(0.5 - 0.6 * c.y + c.uniform(-0.3, 0.3), day + dusk * (glow - day))
    c.blend(c.choice([0, 1, 2]) * (c.noise(4) - 0.5), c.colour((0, 1), (0, 0.2), (0.5, 1)))
    c.paint(circle(c.x - c.uniform(-1, 1), c.y - c.uniform(0.2, 0.9), 0.12), c.colour(*_LAMP), c.choice([0, 0, 0.9]))


def _any_ground(c: Canvas) -> np.ndarray:
    """Grass, sand, snow or water, for scenes that stand on any of them."""
    pick = c.choice([0, 1, 2, 3])[:, None]
    return sum((pick == i) * c.colour(*ranges) for i, ranges in enumerate((_GRASS, _SAND, _SNOW, _WATER)))


def _land(c: Canvas, edge: np.ndarray, colour: np.ndarray) -> None:
    """Paint everything below ``edge``, mottled."""
    c.paint(c.y - edge, colour)
    c.blend((c.y < edge) * c.uniform(0, 0.5) * c.noise(7), colour * c.uniform(0.6, 1.2)[:, None])


def _ridge(c: Canvas, cells: int) -> np.ndarray:
    """A random skyline in [0, 1], the same down every column."""
    return c.noise(cells)[:, c.size // 2 : c.size // 2 + 1, :]


def _backdrop(c: Canvas, low: float | int, high: float | int) -> np.ndarray:
    """Sky over a horizon, which is returned; far hills in half of the images."""
    _sky(c)
    horizon = c.uniform(low, high)
    edge = horizon + 0.5 * (_ridge(c, 4) - 0.4)
    c.paint(c.y - edge, c.colour((0.1, 0.7), (0.1, 0.4), (0.3, 0.7)), c.choice([0, 0.9]))
    return horizon


def _firs(c: Canvas, horizon: np.ndarray, most: int) -> None:
    """Up to ``most`` dark conifers standing below the horizon."""
    ink, count = c.colour((0.2, 0.5), (0.1, 0.5), (0.08, 0.3)), c.uniform(0, most + 1)
    for i in range(most):
        near = c.uniform(0, 1) ** 2
        x, y, tall = c.x - c.uniform(-1, 1), c.y - horizon + 0.6 * near, 0.25 + 0.5 * near
        c.paint(both(np.abs(x) + 0.35 * (y - tall), -y), ink, i < count)


def _clutter(c: Canvas) -> None:
    """The distractor: a stray blob or post in the foreground."""
    x, y, size = c.x - c.uniform(-1, 1), c.y - c.uniform(-0.9, -0.3), c.uniform(0.04, 0.14)
    shape = np.where(c.choice([0, 1]) > 0, circle(x, y, size), box(x, y, size / 2, 2 * size))
    c.paint(shape, c.colour(), c.choice([0, 0.9]))


def beach(c: Canvas) -> None:
    horizon = _backdrop(c, 0.0, 0.5)
    _land(c, horizon, c.colour(*_WATER))
    shore = horizon - c.uniform(0.25, 0.6) + c.uniform(-0.5, 0.5) * c.x + 0.12 * np.sin(4 * c.x + c.uniform(0, 6))
    shore = np.minimum(shore, horizon - 0.08)
    c.paint(np.abs(c.y - shore - 0.04) - c.uniform(0.02, 0.07), c.colour(*_SNOW), 0.9)
    _land(c, shore, c.colour(*_SAND))
    _clutter(c)


def desert(c: Canvas) -> None:
    horizon = _backdrop(c, -0.1, 0.5)
    sand, cactus = c.colour(*_SAND), c.colour((0.15, 0.42), (0.2, 0.6), (0.12, 0.4))
    for drop in (0, 0.4, 0.8):
        peak, slope = c.uniform(-0.8, 0.8), c.uniform(0.1, 0.5)
        edge = horizon - drop - slope * np.abs(c.x - peak) + 0.15
        c.paint(c.y - edge, sand * c.uniform(0.85, 1.1)[:, None])
        side = peak + 0.8 * (c.y - horizon + drop) * c.choice([-1, 1]) - c.x
        c.paint(both(c.y - edge, side), sand * 0.6, c.uniform(0.4, 0.8))
    x, y, there = c.x - c.uniform(-0.8, 0.8), c.y - horizon + 0.5, c.choice([0, 0, 0.9])
    arms = union(box(x, y - 0.1, 0.3, 0.05), box(np.abs(x) - 0.27, y - 0.2, 0.045, 0.15))
    c.paint(union(box(x, y - 0.1, 0.06, 0.4), arms), cactus, there)


def mountain(c: Canvas) -> None:
    _sky(c)
    base, rock, snow = c.uniform(-0.7, -0.1), c.colour((0, 1), (0.05, 0.4), (0.2, 0.6)), c.colour(*_SNOW)
    rough, cap = 0.25 * (_ridge(c, 12) - 0.5), c.choice([0, 0.9, 0.9])
    for _ in range(3):
        peak, top, slope = c.uniform(-0.9, 0.9), base + c.uniform(0.6, 1.3), c.uniform(0.8, 1.6)
        edge = top - slope * np.abs(c.x - peak) + rough
        c.paint(c.y - edge, rock * c.uniform(0.8, 1.2)[:, None])
        c.paint(both(c.y - edge, top - c.uniform(0.25, 0.6) + 0.5 * (c.noise(10) - 0.5) - c.y), snow, cap)
        c.paint(both(c.y - edge, peak + 0.2 * (c.y - top) - c.x), rock * 0.4, 0.5)
    _land(c, base + 0.2 * (_ridge(c, 5) - 0.5), _any_ground(c))
    _firs(c, base, 4)


def skyscraper(c: Canvas) -> None:
    _sky(c)
    lit = c.colour((0.1, 0.6), (0, 0.5), (0.6, 1))
    _land(c, c.uniform(-0.9, -0.4), _any_ground(c))
    for top in (c.uniform(-0.4, 0.1), c.uniform(-0.3, 0.4), c.uniform(0.4, 1.1)):
        x, half, wall = c.x - c.uniform(-0.7, 0.7), c.uniform(0.16, 0.35), c.colour((0, 1), (0, 0.4), (0.15, 0.7))
        x = x * (1 + c.uniform(0, 0.2) * (c.y + 1))
        tower = both(np.abs(x) - half, c.y - top, -0.8 - c.y)
        c.paint(tower, wall)
        c.paint(both(tower, x), wall * 0.6, c.choice([0, 0.8]))
        panes = np.maximum(np.sin(x * c.uniform(16, 26)), c.choice([-1, 0.0])) * np.sin(c.y * c.uniform(16, 26))
        c.blend((tower < -0.05) * panes * c.uniform(0.7, 1.8), lit)
    _clutter(c)


def _vanish(c: Canvas, horizon: np.ndarray, width: np.ndarray):
    """Ground coordinates in perspective: across (edges at -1 and 1) and along the way to a vanishing point."""
    depth = np.maximum(horizon - c.y, 1e-3)
    middle = c.uniform(-0.5, 0.5) + c.uniform(-0.6, 0.6) * depth + c.uniform(-0.4, 0.4) * depth**2
    return (c.x - middle) / (width * depth), depth


def highway(c: Canvas) -> None:
    horizon = _backdrop(c, -0.1, 0.45)
    _land(c, horizon, _any_ground(c))
    across, depth = _vanish(c, horizon, c.uniform(0.5, 0.9))
    below, paint = c.y < horizon, c.colour(*_LAMP)
    c.paint((np.abs(across) - 1) * depth + 9 * ~below, c.colour((0, 1), (0, 0.15), (0.2, 0.6)))
    dashes = np.sin(c.uniform(4, 8) / (depth + 0.15) + c.uniform(0, 6)) > c.choice([-2, -0.2])
    c.paint((np.abs(across) - 0.06) * depth - 0.01 + 9 * ~(below & dashes), paint, 0.9)
    c.paint((np.abs(np.abs(across) - 0.9) - 0.05) * depth + 9 * ~below, paint, c.choice([0, 0.9]))
    c.paint(box(across - 0.45, depth - c.uniform(0.2, 0.6), 0.3, 0.1), c.colour(), c.choice([0, 0, 1]))


def forest_path(c: Canvas) -> None:
    _sky(c)
    horizon, leaf = c.uniform(-0.3, 0.2), c.colour((0.05, 0.42), (0.2, 0.7), (0.15, 0.6))
    c.blend(c.uniform(0.4, 1.2) + 1.5 * (c.noise(12) - 0.5), leaf)
    _land(c, horizon, np.where(c.choice([0, 0, 1])[:, None] > 0, _any_ground(c), c.colour(*_GRASS)))
    across, depth = _vanish(c, horizon, c.uniform(0.35, 0.7))
    c.paint((np.abs(across) - 1) * depth + 9 * (c.y > horizon), c.colour((0.03, 0.15), (0.1, 0.5), (0.35, 0.85)))
    bark = c.colour((0, 0.15), (0.05, 0.5), (0.08, 0.4))
    for _ in range(7):
        near = c.uniform(0.02, 0.6)
        side = c.choice([-1, 1]) * (0.15 + near + c.uniform(0, 0.4))
        c.paint(both(np.abs(c.x - side + c.uniform(-0.1, 0.1) * c.y) - 0.03 - 0.12 * near, horizon - near - c.y), bark)
    c.blend((c.y > c.uniform(0.1, 0.7)) * 2.5 * (c.noise(9) - 0.4), leaf * c.uniform(0.6, 1.2)[:, None])


def bedroom(c: Canvas) -> None:
    c.fill(c.colour((0, 1), (0.05, 0.5), (0.4, 0.95)))
    _land(c, c.uniform(-0.5, 0.0), c.colour((0, 0.7), (0.1, 0.5), (0.3, 0.8)))
    x, y = c.place(0, c.uniform(0.8, 1.15), c.uniform(-0.35, 0.35), c.uniform(-0.3, 0.1))
    pane = box(x - c.choice([-1, 1]) * c.uniform(0.2, 0.7), y - 0.65, c.uniform(0.15, 0.3), 0.22)
    c.paint(pane - 0.06, c.colour(value=(0.2, 0.9)), 0.9)
    c.paint(pane, c.colour((0.4, 0.7), (0.05, 0.5), (0.5, 1)))
    x, half = x * c.choice([-1, 1]) + c.uniform(-0.4, 0.4) * np.minimum(y, 0), c.uniform(0.4, 0.65)
    c.paint(box(x, y, half + 0.05, 0.3), c.colour(value=(0.15, 0.8)))
    c.paint(both(np.abs(x) - half, y + 0.1, -0.75 - y), c.colour((0, 1), (0, 0.25), (0.75, 1)))
    c.paint(both(np.abs(x) - half - 0.03, y + c.uniform(0.22, 0.45), -0.8 - y), c.colour())
    c.paint(box(np.abs(x) - half / 2, y + 0.07, 0.38 * half, 0.09), c.colour((0, 1), (0, 0.3), (0.8, 1)))
    x = x - half - 0.25
    c.paint(union(box(x, y - 0.08, 0.1, 0.1), box(x, y + 0.2, 0.15, 0.18)), c.colour(), c.choice([0, 0.9]))


def _tower(c: Canvas):
    """Sky, any ground, and the frame of a tower: its coordinates, foot at y = -0.7 and top at y = 0.4."""
    horizon = _backdrop(c, -0.6, 0.0)
    _land(c, horizon, _any_ground(c))
    _firs(c, horizon, 2)
    _clutter(c)
    return c.place(c.uniform(-0.06, 0.06), c.uniform(0.65, 1.1), c.uniform(-0.45, 0.45), c.uniform(-0.15, 0.15))


def windmill(c: Canvas) -> None:
    """A tapered mill with four sails, or a slim turbine with three."""
    u, v = _tower(c)
    slim, wall, sail = c.choice([0, 0, 1]), c.colour(value=(0.3, 1)), c.colour(saturation=(0, 0.5), value=(0.1, 1))
    body = both(np.abs(u) - np.where(slim > 0, 0.05, 0.2 - 0.14 * v), v - 0.25, -0.7 - v)
    c.paint(union(body, circle(u, v - 0.25, 0.2 - 0.15 * slim)), wall)
    step = 2 * np.pi / (4 - slim)
    angle, reach = (np.arctan2(v - 0.25, u) + c.uniform(0, 6)) % step - step / 2, np.hypot(u, v - 0.25)
    blade = box(reach * np.cos(angle) - 0.36, reach * np.sin(angle), 0.36, 0.07 - 0.02 * slim)
    c.paint(blade, np.where(slim[:, None] > 0, wall, sail))


def lighthouse(c: Canvas) -> None:
    u, v = _tower(c)
    wall, band = c.colour(saturation=(0, 0.4), value=(0.6, 1)), c.colour()
    rock = v + 0.55 - 0.25 * (_ridge(c, 6) - 0.5) + 0.4 * np.maximum(np.abs(u) - 0.4, 0)
    c.paint(rock, c.colour((0, 0.4), (0, 0.4), (0.15, 0.5)), c.choice([0, 0.9]))
    body = both(np.abs(u) - 0.14 + 0.07 * v, v - 0.4, -0.7 - v)
    c.paint(body, wall)
    c.paint(both(body, np.sin(v * c.uniform(8, 16) + c.uniform(0, 6)) / 10), band, c.choice([0, 0.9, 0.9]))
    c.paint(box(u, v - 0.54, 0.09, 0.1), c.colour(*_LAMP))
    c.paint(union(box(u, v - 0.42, 0.18, 0.04), both(np.abs(u) + 0.8 * (v - 0.78), 0.62 - v)), band * 0.6)


def snowfield(c: Canvas) -> None:
    horizon = _backdrop(c, -0.2, 0.5)
    snow, shadow = c.colour(*_SNOW), c.colour((0.5, 0.75), (0.1, 0.4), (0.5, 0.8))
    for drop in (0, 0.35, 0.7):
        edge = horizon - drop + 0.25 * (_ridge(c, 3) - 0.5)
        c.paint(c.y - edge, snow)
        c.blend((c.y < edge) * c.uniform(0.2, 0.7) * (1 - 4 * (edge - c.y)), shadow)
    _firs(c, horizon, 5)
    _clutter(c)


_ALL = beach, desert, mountain, skyscraper, highway, forest_path, bedroom, windmill, lighthouse, snowfield
SCENES = {draw.__name__.replace("_", " "): draw for draw in _ALL}
