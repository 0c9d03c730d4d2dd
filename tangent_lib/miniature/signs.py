"""Miniature of GTSRB: twelve German traffic signs, photographed from a passing car.

Nuisances: position, size, tilt, viewing angle, faded or dark paint, a cluttered roadside, dirt, and a branch in front.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, both, bow, box, circle, cut, regular, segment, stroke, union

_SEGMENTS = [
    ((-1, 2), (1, 2)),
    ((1, 2), (1, 0)),
    ((1, 0), (1, -2)),
    ((1, -2), (-1, -2)),
    ((-1, -2), (-1, 0)),
    ((-1, 0), (-1, 2)),
    ((-1, 0), (1, 0)),
]  # clockwise from the top, the middle last
_TENS = np.array(
    [
        [1, 1, 0, 1, 1, 0, 1],
        [1, 1, 1, 1, 0, 0, 1],
        [1, 0, 1, 1, 0, 1, 1],
        [1, 0, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    bool,
)  # 2 3 5 6 7 8


def _street(c: Canvas):
    """Sky, trees or a house, a distractor and the pole; returns the sign's frame."""
    skyline = c.uniform(-0.9, 0.6) + 0.8 * (c.noise(5) - 0.5)
    c.fill(c.colour((0.5, 0.66), (0.0, 0.5), (0.35, 1.0)))
    c.paint(c.y - skyline, c.colour((0.05, 0.42), (0.05, 0.7), (0.1, 0.7)))
    c.blend(0.7 * c.noise(11) * (c.y < skyline), c.colour((0.1, 0.4), (0.1, 0.6), (0.05, 0.4)))
    c.paint(box(c.x - c.uniform(-2, 2), c.y + 0.7, c.uniform(0.2, 0.8), c.uniform(0.3, 1.5)), c.colour(value=(0.2, 0.9)))
    c.paint(circle(c.x - c.choice([-1, 1]), c.y - c.uniform(-1, 1), c.uniform(0, 0.35)), c.colour())
    dx, dy = c.uniform(-0.2, 0.2), c.uniform(-0.2, 0.2)
    c.paint(box(c.x - dx, c.y - dy + 1, c.uniform(0.03, 0.09), 1), c.colour(saturation=(0, 0.1), value=(0.2, 0.7)))
    u, v = c.place(c.uniform(-0.22, 0.22), c.uniform(0.5, 0.88), dx, dy)
    return u / c.uniform(0.75, 1.0), v


def _weather(c: Canvas) -> None:
    """Dirt, a branch across some signs, and fading light."""
    c.blend(1.6 * (c.noise(7) - c.uniform(0.5, 0.9)), c.colour((0.05, 0.3), (0.1, 0.5), (0.1, 0.5)))
    u, v = c.place(c.uniform(-2, 2), 1.0, c.uniform(-1.1, 1.1), c.uniform(-1.1, 1.1))
    c.paint(box(u, v, 1.2, c.uniform(-0.12, 0.1)), c.colour((0.1, 0.4), value=(0.1, 0.5)))
    c.blend(0 * c.x + c.uniform(-0.3, 0.6), c.colour(saturation=(0, 0.3), value=(0.05, 0.75)))


def _red(c):
    return c.colour((-0.04, 0.04), (0.35, 0.95), (0.4, 0.95))


def _blue(c):
    return c.colour((0.55, 0.67), (0.35, 0.95), (0.3, 0.9))


def _white(c):
    return c.colour(saturation=(0, 0.15), value=(0.7, 1.0))


def _black(c):
    return c.colour(saturation=(0, 0.2), value=(0.05, 0.3))


def _ringed(c: Canvas):
    """A white disc with a red rim."""
    u, v = _street(c)
    c.paint(circle(u, v, 1.0), _red(c))
    c.paint(circle(u, v, c.uniform(0.7, 0.8)), _white(c))
    return u, v


def _ordered(c: Canvas):
    """A blue disc with a thin white edge."""
    u, v = _street(c)
    c.paint(circle(u, v, 1.0), _white(c))
    c.paint(circle(u, v, 0.93), _blue(c))
    return u, v


def _bent_arrow(c: Canvas, side: int) -> None:
    u, v = _ordered(c)
    u, v = side * u + c.uniform(0.0, 0.15), v + c.uniform(-0.1, 0.1)
    bend = c.uniform(0.05, 0.3)
    shaft = stroke(u, v, [(-0.25, -0.6), (-0.25, bend), (0.5, bend)], 0.12)
    c.paint(union(shaft, stroke(u, v, [(0.25, bend + 0.33), (0.6, bend), (0.25, bend - 0.33)], 0.12)), _white(c))
    _weather(c)


def stop(c: Canvas) -> None:
    u, v = _street(c)
    c.paint(regular(u, v, 8, 0.97), _white(c))
    c.paint(regular(u, v, 8, 0.89), _red(c))
    w, h = 0.065, c.uniform(0.24, 0.34)
    s = stroke(u + 0.58, v, [(0.13, h), (-0.13, h), (-0.13, 0), (0.13, 0), (0.13, -h), (-0.13, -h)], w)
    t = union(segment(u + 0.19, v, (-0.15, h), (0.15, h), w), segment(u + 0.19, v, (0, h), (0, -h), w))
    o = np.abs(box(u - 0.19, v, 0.12, h)) - w
    p = stroke(u - 0.58, v, [(-0.12, -h), (-0.12, h), (0.13, h), (0.13, 0), (-0.12, 0)], w)
    c.paint(union(s, t, o, p), _white(c))
    _weather(c)


def yield_(c: Canvas) -> None:
    u, v = _street(c)
    triangle = regular(u, -v + 0.2, 3, 0.58)
    c.paint(triangle, _red(c))
    c.paint(triangle + c.uniform(0.17, 0.26), _white(c))
    _weather(c)


def no_entry(c: Canvas) -> None:
    u, v = _street(c)
    c.paint(circle(u, v, 1.0), _white(c))
    c.paint(circle(u, v, 0.95), _red(c))
    c.paint(box(u, v, c.uniform(0.6, 0.75), c.uniform(0.14, 0.22)), _white(c))
    _weather(c)


def priority_road(c: Canvas) -> None:
    u, v = _street(c)
    diamond = (np.abs(u) + np.abs(v)) * 0.7071 - 0.72
    c.paint(diamond, _black(c))
    c.paint(diamond + 0.05, _white(c))
    c.paint(diamond + c.uniform(0.2, 0.28), c.colour((0.11, 0.16), (0.45, 0.95), (0.5, 0.95)))
    _weather(c)


def general_caution(c: Canvas) -> None:
    u, v = _street(c)
    triangle = regular(u, v + 0.25, 3, 0.58)
    c.paint(triangle, _red(c))
    c.paint(triangle + c.uniform(0.15, 0.22), _white(c))
    mark = union(segment(u, v + 0.25, (0, -0.02), (0, 0.45), 0.09), circle(u, v + 0.58, 0.1))
    c.paint(mark, _black(c))
    _weather(c)


def no_passing(c: Canvas) -> None:
    u, v = _ringed(c)
    for side, ink in ((-1, _red(c)), (1, _black(c))):
        p, q = u - side * 0.32, v + 0.08
        car = union(box(p, q, 0.26, 0.13), box(p, q - 0.16, 0.17, 0.14), box(np.abs(p) - 0.19, q + 0.2, 0.06, 0.08))
        c.paint(car, ink)
    _weather(c)


def turn_left_ahead(c: Canvas) -> None:
    _bent_arrow(c, -1)


def turn_right_ahead(c: Canvas) -> None:
    _bent_arrow(c, 1)


def ahead_only(c: Canvas) -> None:
    u, v = _ordered(c)
    tip, spread = c.uniform(0.55, 0.72), c.uniform(0.28, 0.42)
    arrow = union(segment(u, v, (0, -0.6), (0, tip), 0.13), segment(np.abs(u), v, (0, tip), (spread, tip - 0.4), 0.12))
    c.paint(arrow, _white(c))
    _weather(c)


def roundabout_mandatory(c: Canvas) -> None:
    """Three arrows chasing each other; the sector is folded so that one arrow is drawn three times."""
    u, v = _ordered(c)
    radius, third = np.hypot(u, v), 2 * np.pi / 3
    angle = (np.arctan2(v, u) + c.uniform(-0.2, 0.2) + 0.3) % third - third / 2
    p, q = radius * np.cos(angle), radius * np.sin(angle)
    shaft = bow(p, q, 0.52, -0.55, 0.75, 0.11)
    c.paint(union(shaft, stroke(p, q, [(0.24, -0.24), (0.45, -0.42), (0.72, -0.2)], 0.09)), _white(c))
    _weather(c)


def speed_limit(c: Canvas) -> None:
    """A number of tens, in seven segments."""
    u, v = _ringed(c)
    on, size = _TENS[c.rng.integers(len(_TENS), size=c.n)], c.uniform(0.15, 0.19)
    for k, (start, end) in enumerate(_SEGMENTS):
        tens = segment((u + 0.3) / size, v / size, start, end, 0.42) + np.where(on[:, k], 0, 9)[:, None, None]
        zero = segment((u - 0.3) / size, v / size, start, end, 0.42) + (9 if k == 6 else 0)
        c.paint(size * union(tens, zero).astype(np.float32), c.colour(value=(0.05, 0.2)) * 0 + 0.1)
    _weather(c)


def end_of_all_limits(c: Canvas) -> None:
    u, v = _street(c)
    disc = circle(u, v, 1.0)
    c.paint(disc, _black(c))
    c.paint(disc + 0.08, _white(c))
    across, pitch = (u - v) * 0.7071, c.uniform(0.13, 0.18)
    band = cut(np.abs(across) - 2.5 * pitch, np.abs(np.abs(across) - pitch) - 0.35 * pitch)
    c.paint(both(disc + 0.08, band), _black(c))
    _weather(c)


SIGNS = {
    "stop": stop,
    "yield": yield_,
    "no entry": no_entry,
    "priority road": priority_road,
    "general caution": general_caution,
    "no passing": no_passing,
    "turn left ahead": turn_left_ahead,
    "turn right ahead": turn_right_ahead,
    "ahead only": ahead_only,
    "roundabout mandatory": roundabout_mandatory,
    "speed limit": speed_limit,
    "end of all limits": end_of_all_limits,
}
