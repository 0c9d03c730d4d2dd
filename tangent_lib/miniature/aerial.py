"""Ten man-made objects seen from above, after RESISC45.

Rotation, place, size, proportions, ground, shadows, colours and a stray road, roof or tree vary.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, both, box, circle, segment, union


def _grey(c: Canvas, low=0.25, high=0.6) -> np.ndarray:
    return c.colour((0, 1), (0, 0.15), (low, high))


def _bright(c: Canvas) -> np.ndarray:
    return c.colour((0, 1), (0, 0.3), (0.75, 1))


def _water(c: Canvas) -> np.ndarray:
    return c.colour((0.3, 0.68), (0.2, 0.7), (0.12, 0.5))


def _earth(c: Canvas) -> np.ndarray:
    """Grass, soil, sand, tarmac or water: any muted colour."""
    return c.colour((0, 0.7), (0.1, 0.55), (0.25, 0.7))


def _ground(c: Canvas) -> None:
    """Two mottled colours, and at times the distractors: a road, a roof, a few trees."""
    c.fill(_earth(c))
    c.blend(c.uniform(0.2, 1) * c.noise(5), _earth(c))
    u, v = c.place(c.uniform(0, 2 * np.pi), 1, c.uniform(-1, 1), c.uniform(-1, 1))
    c.paint(np.abs(v) - c.uniform(0.05, 0.12), _grey(c, 0.3, 0.8), c.choice([0, 0, 0.8]))
    c.paint(box(u - 0.4, v - 0.4, c.uniform(0.1, 0.3), 0.15), c.colour(), c.choice([0, 0, 0.9]))
    tree, there = c.colour((0.2, 0.45), (0.2, 0.7), (0.1, 0.4)), c.choice([0, 0.9])
    for _ in range(4):
        c.paint(circle(c.x - c.uniform(-1, 1), c.y - c.uniform(-1, 1), c.uniform(0.05, 0.15)), tree, there)


def _frame(c: Canvas, low=0.75, high=1.15):
    """Coordinates of an object at any angle, near the middle, and its size."""
    size = c.uniform(low, high)
    return *c.place(c.uniform(0, 2 * np.pi), size, c.uniform(-0.3, 0.3), c.uniform(-0.3, 0.3)), size


def _cells(c: Canvas, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One random number in [0, 1] for each unit cell of a frame."""
    table = c.rng.random((c.n, 16, 16), dtype=np.float32)
    return table[np.arange(c.n)[:, None, None], np.floor(u).astype(int) % 16, np.floor(v).astype(int) % 16]


def airplane(c: Canvas) -> None:
    _ground(c)
    c.blend(c.choice([0, 0.9]) + 0 * c.x, _grey(c))
    u, v, size = _frame(c, 0.7, 1.1)
    sweep, span, chord = c.uniform(0.1, 0.5), c.uniform(0.6, 0.85), c.uniform(0.07, 0.12)
    a, colour = np.abs(v), c.colour((0, 1), (0, 0.4), (0.7, 1))
    for shift, ink in ((c.uniform(0.04, 0.15), _grey(c, 0, 0.15)), (0, colour)):
        p, q = u + shift, np.abs(v - shift)
        body = segment(p, v - shift, (-0.75, 0), (0.75, 0), c.uniform(0.09, 0.13))
        wing = segment(p, q, (0.15, 0), (0.15 - sweep, span), chord)
        tail = segment(p, q, (-0.65, 0), (-0.65 - 0.4 * sweep, 0.4 * span), 0.07)
        c.paint(union(body, wing, tail) * size, ink, 0.9)
    c.paint(segment(u, a, (0.25 - sweep / 2, 0.4 * span), (0.35 - sweep / 2, 0.4 * span), 0.05), _grey(c), 0.8)


def baseball_diamond(c: Canvas) -> None:
    """A quarter disc: outfield, sandy infield, a grass square inside it."""
    _ground(c)
    u, v, size = _frame(c, 0.8, 1.2)
    u, v = u + 0.6, v + 0.6
    reach, wedge, sand = np.hypot(u, v), -np.minimum(u, v), c.colour((0.03, 0.13), (0.2, 0.6), (0.5, 0.95))
    c.paint(both(reach - c.uniform(1.2, 1.6), wedge - 0.05) * size, c.colour((0.15, 0.42), (0.2, 0.7), (0.25, 0.7)))
    c.paint(both(reach - c.uniform(0.75, 0.95), wedge - 0.07) * size, sand)
    infield = c.colour((0.15, 0.42), (0.2, 0.7), (0.25, 0.7))
    c.paint(box(u - 0.32, v - 0.32, 0.22, 0.22) * size, infield, c.choice([0.5, 1, 1]))
    c.paint(circle(u - 0.32, v - 0.32, 0.08) * size, sand)


def tennis_court(c: Canvas) -> None:
    """One court or two side by side, with its lines."""
    _ground(c)
    u, v, size = _frame(c, 0.7, 1.0)
    pair = c.choice([0, 1])
    v = np.where(pair > 0, np.abs(v) - 0.52, v)
    c.paint(box(u, v, 1.0, 0.55) * size, c.colour((0, 0.7), (0.2, 0.7), (0.25, 0.7)))
    c.paint(box(u, v, 0.75, 0.38) * size, c.colour((0, 0.7), (0.2, 0.7), (0.25, 0.7)))
    a, b = np.abs(u), np.abs(v)
    frame = np.minimum(np.abs(box(u, v, 0.75, 0.38)), box(a, b - 0.28, 0.75, 0))
    service = np.minimum(box(a - 0.38, b, 0, 0.28), box(a, b, 0.38, 0))
    c.paint((union(frame, service) - 0.03) * size, _bright(c), 0.9)
    c.paint((box(u, v, 0, 0.44) - 0.02) * size, _grey(c, 0, 0.9))


def bridge(c: Canvas) -> None:
    """A road across a river."""
    _ground(c)
    u, v, size = _frame(c, 0.9, 1.3)
    slant, width = c.uniform(-0.4, 0.4), c.uniform(0.3, 0.6)
    c.paint((np.abs(u + slant * v + 0.4 * (c.noise(4) - 0.5)) - width) * size, _water(c))
    half, road = c.uniform(0.07, 0.14), _grey(c, 0.5, 0.95)
    c.paint(both(np.abs(v + 0.1) - half, np.abs(u) - width) * size, _grey(c, 0, 0.15), 0.6)
    c.paint((np.abs(v) - half) * size, road)
    c.paint((np.abs(v) - 0.015) * size, _grey(c, 0, 0.4), c.choice([0, 0.8]))


def harbor(c: Canvas) -> None:
    """Piers with moored boats, in water, along a quay."""
    _ground(c)
    u, v, size = _frame(c, 0.9, 1.2)
    quay = c.uniform(0.4, 0.9)
    c.paint((v - quay) * size, _water(c))
    gap, pitch = c.uniform(0.5, 0.75), c.uniform(0.18, 0.26)
    p, q = u / gap, v / pitch
    berth, reach = np.abs(p % 1 - 0.5) * gap, c.uniform(-1.2, -0.5)
    c.paint(both(berth - 0.04, v - quay, reach - v) * size, _grey(c, 0.5, 0.9))
    boat = box(berth - gap * 0.28, (q % 1 - 0.5) * pitch, gap * 0.16, pitch * c.uniform(0.22, 0.34))
    moored = (_cells(c, 2 * p, q) < c.uniform(0.6, 0.95)) & (v < quay - 0.1) & (v > reach)
    c.paint(boat * size, _bright(c), moored * (0.5 + 0.5 * _cells(c, 2 * p, q)))


def storage_tank(c: Canvas) -> None:
    """One to six round roofs with their shadows."""
    _ground(c)
    u, v, size = _frame(c, 0.8, 1.2)
    count, pitch = c.choice([1, 2, 2, 3, 3]), c.uniform(0.55, 0.9)
    last = np.minimum(count - 1, 1), count - 1
    i, j = (np.clip(np.round(t / pitch + m / 2), 0, m) - m / 2 for t, m in zip((u, v), last))
    p, q, radius = u - i * pitch, v - j * pitch, pitch * c.uniform(0.3, 0.45)
    roof, shift = c.colour((0, 1), (0, 0.35), (0.6, 1)), c.uniform(0.05, 0.2)
    c.paint(circle(p - shift, q - shift, radius) * size, _grey(c, 0, 0.15), 0.8)
    c.paint(circle(p, q, radius) * size, roof * 0.75)
    c.paint(circle(p, q, radius * 0.82) * size, roof)
    c.paint(circle(p - 0.4 * radius, q, 0.18 * radius) * size, roof * 0.5, c.choice([0, 1]))


def roundabout(c: Canvas) -> None:
    """A ring road with three or four arms."""
    _ground(c)
    u, v, size = _frame(c, 0.8, 1.2)
    radius, half, road = c.uniform(0.28, 0.45), c.uniform(0.08, 0.13), _grey(c, 0.3, 0.85)
    arms = union(both(np.abs(v) - half, c.choice([-9, 0]) - u), both(np.abs(u + c.uniform(-0.3, 0.3) * v) - half))
    shape = union(circle(u, v, radius + half), arms)
    c.paint((shape - 0.04) * size, _bright(c), c.choice([0, 0, 0.7]))
    c.paint(shape * size, road)
    c.paint(circle(u, v, radius - half) * size, _earth(c))
    c.paint(circle(u, v, 0.1) * size, c.colour(), c.choice([0, 0.9]))


def parking_lot(c: Canvas) -> None:
    """Rows of cars on tarmac."""
    _ground(c)
    u, v, size = _frame(c, 0.8, 1.2)
    lot = box(u, v, c.uniform(0.8, 1.5), c.uniform(0.7, 1.5))
    c.paint(lot * size, _grey(c, 0.25, 0.7))
    pitch, row, full = c.uniform(0.17, 0.24), c.uniform(0.34, 0.48), c.uniform(0.5, 0.95)
    p, q = u / pitch, v / row
    there = (lot < -0.05) & (_cells(c, p, q) < full) & (np.floor(q) % 3 > 0)
    paint, other = _bright(c), c.colour(value=(0, 0.6))
    car = box((p % 1 - 0.5) * pitch, (q % 1 - 0.5) * row, 0.33 * pitch, 0.36 * row) * size
    c.paint(both(np.abs(p % 1) * pitch - 0.03, lot) * size, _bright(c), 0.7 * (np.floor(q) % 3 > 0))
    c.paint(car, paint + _cells(c, p, q)[:, None] * (other - paint), there)


def runway(c: Canvas) -> None:
    """A broad strip with a dashed centre line and threshold bars."""
    _ground(c)
    u, v, size = _frame(c, 0.9, 1.3)
    half, end, tarmac, white = c.uniform(0.2, 0.34), c.uniform(0.5, 1.6), _grey(c, 0.2, 0.6), _bright(c)
    taxi = union(np.abs(v - c.uniform(0.6, 0.9)) - 0.07, both(np.abs(u - c.uniform(-0.8, 0.3)) - 0.07, -v, v - 0.7))
    c.paint(both(union(np.abs(v) - half, taxi + c.choice([0, 9])), u - end) * size, tarmac)
    dash = both(np.abs(v) - 0.03, (np.abs((u * 2.2) % 1 - 0.5) - 0.3) / 2.2, u - end + 0.4)
    bars = both(np.abs(v * 2.5 / half % 1 - 0.5) * half / 2.5 - 0.03, box(u - end + 0.2, v, 0.13, 0.8 * half))
    c.paint(union(dash, bars) * size, white, 0.9)
    c.paint((np.abs(np.abs(v) - half + 0.03) - 0.015 + 9 * (u > end)) * size, white, c.choice([0, 0.6]))


def stadium(c: Canvas) -> None:
    """An oval of stands around a pitch."""
    _ground(c)
    u, v, size = _frame(c, 0.75, 1.05)
    straight, radius = c.uniform(0, 0.35), c.uniform(0.5, 0.7)
    oval = segment(u, v, (-straight, 0), (straight, 0), radius)
    depth, stand = c.uniform(0.2, 0.32), _grey(c, 0.4, 1.0)
    c.paint((segment(u - 0.1, v - 0.1, (-straight, 0), (straight, 0), radius)) * size, _grey(c, 0, 0.15), 0.6)
    c.paint(oval * size, stand)
    c.paint((np.abs(oval + depth * 0.6) - 0.03) * size, c.colour(), c.uniform(0.3, 0.9))
    c.paint((oval + depth) * size, c.colour((0, 0.45), (0.3, 0.7), (0.3, 0.7)))
    pitch = box(u, v, 0.7 * (straight + radius - depth), 0.62 * (radius - depth)) * size
    c.paint(pitch, c.colour((0.2, 0.42), (0.3, 0.8), (0.25, 0.7)))
    c.paint(union(np.abs(pitch), box(u, v, 0, 0.6 * (radius - depth))) - 0.02, _bright(c), c.uniform(0.2, 0.9))


AERIAL = {
    "airplane": airplane,
    "baseball diamond": baseball_diamond,
    "tennis court": tennis_court,
    "bridge": bridge,
    "harbor": harbor,
    "storage tank": storage_tank,
    "roundabout": roundabout,
    "parking lot": parking_lot,
    "runway": runway,
    "stadium": stadium,
}
