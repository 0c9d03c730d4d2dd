"""Miniature of SVHN: printed digits in clutter, cut from house-number plates.

Nuisances: proportion, thickness, slant, tilt, colours of low contrast, an uneven plate, shadows, and parts of the
neighbouring digits at the left and right edge.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tangent_lib.miniature.canvas import Canvas, bow, box, circle, segment, stroke, union

_PI = np.pi


def _ring(u, v, radius, width):
    return np.abs(circle(u, v, radius)) - width


# Each digit fills about -0.6..0.6 by -1..1; w is half the thickness of a stroke.
def _zero(u, v, w):
    return np.abs(segment(u, v, (0, -0.42), (0, 0.42), 0.52)) - w


def _one(u, v, w):
    return stroke(u, v, [(-0.32, 0.6), (0.05, 0.95), (0.05, -0.95)], w)


def _two(u, v, w):
    return union(bow(u, v - 0.42, 0.5, -0.6, 0.9 * _PI, w), stroke(u, v, [(0.41, 0.14), (-0.5, -0.93), (0.55, -0.93)], w))


def _three(u, v, w):
    return union(bow(u, v - 0.47, 0.46, -0.5 * _PI, 0.85 * _PI, w), bow(u, v + 0.47, 0.48, -0.85 * _PI, 0.5 * _PI, w))


def _four(u, v, w):
    return stroke(u, v, [(0.22, -0.95), (0.22, 0.95), (-0.55, -0.3), (0.6, -0.3)], w)


def _five(u, v, w):
    return union(
        bow(u, v + 0.38, 0.55, -0.8 * _PI, 0.75 * _PI, w), stroke(u, v, [(0.5, 0.93), (-0.38, 0.93), (-0.4, 0.0)], w)
    )


def _six(u, v, w):
    return union(_ring(u, v + 0.42, 0.5, w), stroke(u, v, [(-0.5, -0.36), (-0.33, 0.35), (0.25, 0.95)], w))


def _seven(u, v, w):
    return stroke(u, v, [(-0.52, 0.93), (0.52, 0.93), (-0.12, -0.95)], w)


def _eight(u, v, w):
    return union(_ring(u, v - 0.48, 0.42, w), _ring(u, v + 0.45, 0.5, w))


def _nine(u, v, w):
    return _six(-u, -v, w)


_GLYPHS = (_zero, _one, _two, _three, _four, _five, _six, _seven, _eight, _nine)


def _mixed(c: Canvas, u, v, w):
    """A random digit in each image."""
    which, distance = c.rng.integers(10, size=c.n), np.empty_like(c.image[:, 0])
    for k, glyph in enumerate(_GLYPHS):
        some = which == k
        distance[some] = glyph(u[some], v[some], w[some])
    return distance


def _digit(c: Canvas, glyph) -> None:
    plate, shift = c.colour(saturation=(0.05, 0.8), value=(0.15, 0.9)), c.choice([-1, 1]) * c.uniform(0.15, 0.6)
    shift = np.where(np.abs(plate.mean(1) + shift - 0.5) > 0.6, -shift, shift)  # away from the limits of brightness
    ink = np.clip(plate + shift[:, None] + 0.4 * (c.colour() - 0.5), 0, 1)
    c.fill(plate)
    c.blend(0.8 * c.noise(4), plate + 0.35 * (c.colour() - 0.5))
    c.paint(box(c.x, c.y - c.choice([-1, 1]) * c.uniform(0.8, 1.5), 2, 0.3), c.colour())
    size, aspect, w = c.uniform(0.5, 0.85), c.uniform(0.7, 1.15), c.uniform(0.1, 0.24)
    u, v = c.place(c.uniform(-0.2, 0.2), size, c.uniform(-0.15, 0.15), c.uniform(-0.15, 0.15))
    u = (u - c.uniform(-0.1, 0.3) * v) / aspect
    gap, drop = c.uniform(1.45, 2.0), c.uniform(-0.15, 0.15)
    shapes = [glyph(u, v, w), _mixed(c, u - gap, v - drop, w), _mixed(c, u + gap, v + drop, w)]
    shadow = np.roll(union(*shapes), (1, 1), (1, 2)) * size
    c.paint(shadow, c.colour(saturation=(0, 0.3), value=(0, 0.4)), c.choice([0, 0, 0.5]))
    for shape, shown in zip(shapes, (1, c.choice([0, 1, 1]), c.choice([0, 1, 1]))):
        c.paint(shape * size, ink, shown)
    c.blend(1.5 * (c.noise(6) - c.uniform(0.55, 0.9)), c.colour(saturation=(0, 0.5)))


CLUTTERED_DIGITS = {str(k): partial(_digit, glyph=glyph) for k, glyph in enumerate(_GLYPHS)}
