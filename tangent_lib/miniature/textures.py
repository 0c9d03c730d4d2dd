"""Twelve textures, after DTD (the Describable Textures Dataset).

Colours, scale, orientation, phase, line width, a slight warp, a mottled ground and a stray patch vary freely.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, box, circle


def _inks(c: Canvas) -> np.ndarray:
    """Fill a mottled ground, dark or light, and return a colour that stands out from it."""
    dark, light = c.colour(value=(0.05, 0.5)), c.colour(saturation=(0.05, 0.8), value=(0.65, 1))
    flip = c.choice([0, 1])[:, None]
    c.fill(dark + flip * (light - dark))
    c.blend(c.uniform(0, 0.5) * c.noise(4), c.colour())
    return light + flip * (dark - light)


def _frame(c: Canvas, low: float | int, high: float | int, warp=0.25):
    """Warped, turned coordinates in periods, ``low`` to ``high`` to a unit, and the length of a period."""
    x, y = (t + c.uniform(0, warp) * (c.noise(3) - 0.5) for t in (c.x, c.y))
    period = 1 / c.uniform(low, high)
    u, v = c.place(c.uniform(-0.5, 0.5), period, c.uniform(-0.6, 0.6), c.uniform(-0.6, 0.6), x, y)
    return u, v, period


def _wave(u: np.ndarray) -> np.ndarray:
    """Distance to the nearest half-integer: 0 in the middle of a period, 0.5 at its ends."""
    return np.abs(u % 1 - 0.5)


def _patch(c: Canvas) -> None:
    """The distractor: a stray see-through patch."""
    u, v = c.place(c.uniform(0, 3), 1, c.uniform(-1, 1), c.uniform(-1, 1))
    size = c.uniform(0.05, 0.3)
    shape = np.where(c.choice([0, 1]) > 0, circle(u, v, size), box(u, v, size, 0.4 * size))
    c.paint(shape, c.colour(), c.uniform(0, 0.9))


def banded(c: Canvas) -> None:
    ink = _inks(c)
    u, _, period = _frame(c, 1.0, 3.2)
    c.paint((_wave(u) - c.uniform(0.12, 0.35)) * period, ink)
    c.paint((_wave(u + 0.5) - 0.1) * period, c.colour(), c.uniform(0, 0.8))
    _patch(c)


def dotted(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.2, 2.8)
    u = u + c.choice([0, 0.5]) * (np.floor(v) % 2)
    c.paint(circle(u % 1 - 0.5, v % 1 - 0.5, c.uniform(0.2, 0.38)) * period, ink)
    _patch(c)


def chequered(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.2, 3.0)
    edge = 0.5 - np.maximum(_wave(u), _wave(v))
    c.paint(np.where((np.floor(u) + np.floor(v)) % 2 > 0, edge, -edge) * period, ink, c.uniform(0.6, 1))
    _patch(c)


def zigzagged(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.2, 2.4, 0.3)
    u = u * c.uniform(0.5, 1.1)
    c.paint((_wave(v + c.uniform(0.9, 1.7) * _wave(u)) - c.uniform(0.16, 0.3)) * period, ink)
    _patch(c)


def honeycombed(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.1, 2.2)
    cells = [((u - d) % 1 - 0.5, (v - d * 3**0.5) % 3**0.5 - 3**0.5 / 2) for d in (0, 0.5)]
    p, q = (np.abs(np.where(np.hypot(*cells[0]) < np.hypot(*cells[1]), a, b)) for a, b in zip(*cells))
    inner = np.maximum(p, p / 2 + q * 3**0.5 / 2)
    c.blend((0.5 - inner) * c.uniform(0, 2), c.colour())
    c.paint((0.5 - inner - c.uniform(0.07, 0.15)) * period, ink)
    _patch(c)


def marbled(c: Canvas) -> None:
    ink, other = _inks(c), c.colour()
    u, _, _ = _frame(c, 0.5, 1.0)
    swirl = u + c.uniform(1.0, 2.2) * c.noise(3) + c.uniform(0.2, 0.7) * c.noise(7)
    c.blend(c.noise(4) * np.abs(np.sin(np.pi * swirl * 0.7)), other)
    c.blend(1.1 - c.uniform(1.5, 3.5) * np.abs(np.sin(np.pi * swirl)), ink)
    _patch(c)


def cracked(c: Canvas) -> None:
    ink = _inks(c)
    x, y = (t + c.uniform(0.2, 0.6) * (c.noise(6) - 0.5) for t in (c.x, c.y))
    first = second = np.full_like(x, 9)
    stretch, count = c.uniform(0.7, 1.4), c.uniform(7, 20)
    for i in range(20):
        gap = np.hypot(x - c.uniform(-1.2, 1.2), (y - c.uniform(-1.2, 1.2)) * stretch) + 9 * (i > count)
        first, second = np.minimum(first, gap), np.minimum(second, np.maximum(first, gap))
    c.paint((second - first) / 2 - c.uniform(0.02, 0.06) * (0.3 + 1.4 * c.noise(5)), ink)
    _patch(c)


def bubbly(c: Canvas) -> None:
    ink, body, shine = _inks(c), c.colour(), c.colour(saturation=(0, 0.3), value=(0.7, 1))
    size, count, rim = c.uniform(0.2, 0.45), c.uniform(8, 18), c.uniform(0.03, 0.07)
    for i in range(18):
        x, y = c.x - c.uniform(-1, 1), c.y - c.uniform(-1, 1)
        radius = size * c.uniform(0.35, 1.1)
        ball, there = circle(x, y, radius), i < count
        c.paint(ball, body, 0.35 * there)
        c.paint(np.abs(ball + rim) - rim, ink, 0.9 * there)
        c.paint(circle(x + 0.35 * radius, y - 0.35 * radius, 0.2 * radius), shine, there)
    _patch(c)


def spiralled(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.0, 2.0, 0.3)
    v = v * c.uniform(0.7, 1.3)
    turn = np.arctan2(v, u) / (2 * np.pi) * c.choice([-2, -1, 1, 2])
    c.paint((_wave(np.hypot(u, v) + turn) - c.uniform(0.15, 0.32)) * period, ink)
    _patch(c)


def woven(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.0, 2.0, 0.3)
    over = (np.floor(u) + np.floor(v)) % 2 > 0
    across, along = np.where(over, _wave(u), _wave(v)), np.where(over, _wave(v), _wave(u))
    gap = c.colour(value=(0, 0.25))
    weft = c.colour()
    c.blend(over * c.uniform(0.1, 0.6), ink + 0.4 * (weft - ink))
    c.blend(2.4 * along**2, gap)
    c.paint((c.uniform(0.34, 0.44) - across) * period, gap)
    c.paint((_wave(2 * np.where(over, u, v) + 0.5) - 0.15) * period / 2, ink, c.uniform(0, 0.8))
    _patch(c)


def grid(c: Canvas) -> None:
    ink = _inks(c)
    u, v, period = _frame(c, 1.0, 2.6)
    v = v * c.uniform(0.7, 1.3)
    c.paint((np.minimum(_wave(u), _wave(v)) - c.uniform(0.07, 0.17)) * period, ink)
    _patch(c)


def blotchy(c: Canvas) -> None:
    ink, other = _inks(c), c.colour()
    sharp = c.uniform(4, 14)
    c.blend(0.5 + sharp * (c.noise(4) + 0.4 * c.noise(9) - c.uniform(0.75, 0.9)), other)
    c.blend(0.5 + sharp * (c.noise(6) + 0.3 * c.noise(12) - c.uniform(0.7, 0.85)), ink)
    _patch(c)


TEXTURES = {
    "banded": banded,
    "dotted": dotted,
    "chequered": chequered,
    "zigzagged": zigzagged,
    "honeycombed": honeycombed,
    "marbled": marbled,
    "cracked": cracked,
    "bubbly": bubbly,
    "spiralled": spiralled,
    "woven": woven,
    "grid": grid,
    "blotchy": blotchy,
}
