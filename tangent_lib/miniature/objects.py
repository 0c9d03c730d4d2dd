"""Miniature of ImageNet: fourteen everyday objects, one an image; the control task.

Nuisances: colour, position, size, rotation, mirror image, proportions, a cluttered background, and an occluder.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, both, bow, box, circle, cut, polygon, regular, segment, stroke, union


def _stage(c: Canvas, turn: float = 0.4):
    """A cluttered background; returns the object's frame and two colours that stand out from it."""
    light = c.uniform(0, 1)[:, None] < 0.5
    dark, pale = (c.colour(saturation=(0.1, 0.8), value=span) for span in ((0.1, 0.5), (0.55, 1.0)))
    c.fill(np.where(light, pale, dark))
    c.blend(c.noise(3), np.where(light, c.colour(value=(0.5, 1)), c.colour(value=(0.05, 0.55))))
    c.blend((c.y < c.uniform(-1.2, 0.2)) * 0.8, np.where(light, c.colour(value=(0.5, 1)), c.colour(value=(0.1, 0.55))))
    p, q = c.place(c.uniform(-2, 2), 1.0, c.uniform(-1, 1), c.uniform(-1, 1))
    c.paint(box(p, q, c.uniform(0.05, 0.5), c.uniform(0.05, 0.4)), c.colour(), 0.8)
    c.paint(circle(c.x - c.uniform(-1, 1), c.y - c.uniform(-1, 1), c.uniform(-0.1, 0.35)), c.colour(), 0.8)
    u, v = c.place(c.uniform(-turn, turn), c.uniform(0.75, 0.95), c.uniform(-0.12, 0.12), c.uniform(-0.1, 0.1))
    first, second = (np.where(light, c.colour(value=(0.05, 0.6)), c.colour(value=(0.5, 1.0))) for _ in range(2))
    return u * c.choice([-1, 1]) / c.uniform(0.85, 1.15), v, first, 0.5 * first + 0.5 * second


def _occlude(c: Canvas) -> None:
    """A bar at a random place in some images, and a few smudges."""
    u, v = c.place(c.uniform(-2, 2), 1.0, c.uniform(-1, 1), c.uniform(-1, 1))
    c.paint(box(u, v, c.uniform(0.2, 1.5), c.uniform(-0.15, 0.08)), c.colour())
    c.blend(1.2 * (c.noise(6) - c.uniform(0.75, 1.0)), c.colour())


def mug(c: Canvas) -> None:
    u, v, ink, trim = _stage(c)
    half = c.uniform(0.42, 0.55)
    c.paint(np.abs(circle(u - half - 0.05, v + 0.02, c.uniform(0.26, 0.36))) - 0.08, ink)
    c.paint(box(u, v, half, c.uniform(0.55, 0.75)), ink)
    c.paint(circle(u, (v - 0.6) * 3.5, half * 0.93), trim * 0.6)
    _occlude(c)


def umbrella(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.7)
    c.paint(union(segment(u, v, (0, 0.9), (0, -0.7), 0.06), bow(u - 0.16, v + 0.7, 0.16, np.pi, 2 * np.pi, 0.06)), trim)
    scallops = circle((u + 0.9) % 0.6 - 0.3, v + c.uniform(-0.1, 0.05), 0.27)
    dome = cut(both(circle(u, v + 0.05, 0.88), -v - 0.02), scallops)
    c.paint(dome, ink)
    c.paint(both(dome, np.abs(np.abs(u) - 0.3 * (1 - v)) - 0.03), trim)
    _occlude(c)


def mushroom(c: Canvas) -> None:
    u, v, ink, trim = _stage(c)
    c.paint(segment(u, v, (0, -0.7), (0, 0.1), c.uniform(0.16, 0.27) - 0.08 * v), 0.4 * trim + 0.45)
    cap = both(circle(u, (v + 0.05) / c.uniform(0.75, 1.1), 0.82), -v - 0.02)
    c.paint(cap, ink)
    spots = union(circle(u + 0.4, v - 0.28, 0.11), circle(u - 0.1, v - 0.5, 0.13), circle(u - 0.45, v - 0.2, 0.1))
    c.paint(both(cap, spots), trim * 0.3 + 0.7, c.choice([0, 1]))
    _occlude(c)


def key(c: Canvas) -> None:
    u, v, ink, _ = _stage(c, np.pi)
    c.paint(np.abs(circle(u + 0.55, v, c.uniform(0.24, 0.32))) - c.uniform(0.07, 0.13), ink)
    teeth = union(segment(u, v, (0.8, 0), (0.8, -0.28), 0.08), segment(u, v, (0.5, 0), (0.5, c.uniform(-0.3, -0.15)), 0.08))
    c.paint(union(segment(u, v, (-0.25, 0), (0.9, 0), 0.08), teeth), ink)
    _occlude(c)


def fish(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.6)
    c.paint(polygon(u, v, [(-0.45, 0), (-0.9, 0.45), (-0.9, -0.45)]), trim)
    c.paint(polygon(u, v, [(-0.25, 0.2), (0.3, 0.25), (-0.2, c.uniform(0.5, 0.75))]), trim)
    body = both(circle(u - 0.1, v + 0.5, 0.88), circle(u - 0.1, v - 0.5, 0.88))
    c.paint(body, ink)
    c.paint(both(body, np.abs((u + 0.1) % 0.3 - 0.15) - 0.06, u - 0.3), trim, c.choice([0, 1]))
    c.paint(circle(u - 0.5, v - 0.08, 0.09), 1 - ink)
    _occlude(c)


def butterfly(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.8)
    side, lift = np.abs(u), c.uniform(0.25, 0.45)
    upper = segment(side, v, (0.2, 0.1), (0.58, lift), 0.16 + 0.2 * side)
    lower = segment(side, v, (0.15, -0.15), (0.4, -0.5), c.uniform(0.16, 0.26))
    c.paint(union(upper, lower), ink)
    c.paint(union(circle(side - 0.55, v - lift, 0.14), circle(side - 0.38, v + 0.45, 0.09)), trim * 0.4 + 0.5)
    c.paint(union(segment(u, v, (0, -0.5), (0, 0.4), 0.07), segment(side, v, (0.02, 0.4), (0.2, 0.8), 0.03)), ink * 0.3)
    _occlude(c)


def bottle(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.6)
    half, neck = c.uniform(0.26, 0.36), c.uniform(0.1, 0.14)
    shoulder = np.clip((0.45 - v) * 2.5, 0, 1) * (half - neck) + neck
    c.paint(both(np.abs(u) - shoulder, np.abs(v) - 0.92), ink)
    c.paint(box(u, v - 0.85, neck + 0.04, 0.09), trim * 0.5)
    c.paint(box(u, v + 0.3, half, c.uniform(-0.1, 0.28)), trim * 0.4 + 0.55)
    _occlude(c)


def lamp(c: Canvas) -> None:
    """A table lamp: shade, stem and foot."""
    u, v, ink, trim = _stage(c, 0.25)
    top, low = c.uniform(0.2, 0.35), c.uniform(0.5, 0.7)
    c.paint(union(segment(u, v, (0, -0.8), (0, 0.3), 0.06), box(u, v + 0.84, c.uniform(0.25, 0.45), 0.08)), trim)
    c.paint(both(np.abs(u) - low - (v - 0.1) / 0.7 * (top - low), np.abs(v - 0.45) - 0.37), ink)
    c.blend(0.4 * np.exp(-4 * (u**2 + (v - 0.3) ** 2)), 1 + 0 * ink)
    _occlude(c)


def chair(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.3)
    seat, w = c.uniform(-0.2, 0.05), 0.08
    legs = union(*(segment(u, v, (x, seat), (x * 1.15, -0.88), w) for x in (-0.42, 0.42)))
    inner = union(*(segment(u, v, (x + 0.18, seat), (x + 0.18, -0.65), 0.05) for x in (-0.42, 0.2)))
    c.paint(inner, trim)
    c.paint(
        union(legs, segment(u, v, (-0.45, seat), (-0.55, 0.9), w), segment(u, v, (-0.45, seat), (0.48, seat), 0.11)),
        ink,
    )
    c.paint(segment(u, v, (-0.5, 0.45), (-0.53, 0.8), c.uniform(0.06, 0.16)), ink)
    _occlude(c)


def hammer(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, np.pi)
    c.paint(segment(u, v, (0, -0.88), (0, 0.55), c.uniform(0.07, 0.11)), trim)
    c.paint(union(box(u - 0.15, v - 0.6, 0.32, 0.17), box(u - 0.47, v - 0.6, 0.08, 0.23)), ink)
    c.paint(polygon(u, v, [(-0.15, 0.77), (-0.55, c.uniform(0.4, 0.55)), (-0.15, 0.48)]), ink)
    _occlude(c)


def clock(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.3)
    face = np.where(c.uniform(0, 1) < 0.6, circle(u, v, 0.85), regular(u, v, 4, 0.75))
    c.paint(face, ink)
    c.paint(face + c.uniform(0.1, 0.2), 0.25 * trim + 0.72)
    angle = np.arctan2(v, u) % (np.pi / 6) - np.pi / 12
    c.paint(both(np.abs(angle) * np.hypot(u, v) - 0.045, np.abs(np.hypot(u, v) - 0.58) - 0.06), ink * 0.4)
    for length, width in ((0.5, 0.05), (0.33, 0.07)):
        turn = c.uniform(0, 2 * np.pi)
        c.paint(segment(u, v, (0 * turn, 0 * turn), (length * np.cos(turn), length * np.sin(turn)), width), ink * 0.3)
    _occlude(c)


def envelope(c: Canvas) -> None:
    u, v, ink, _ = _stage(c, 0.6)
    high, dip, line = (
        c.uniform(0.48, 0.65),
        c.uniform(-0.2, 0.1),
        0.35 * ink + 0.65 * (ink.mean(1, keepdims=True) < 0.5),
    )
    c.paint(box(u, v, 0.88, high), ink)
    c.paint(np.abs(box(u, v, 0.86, high - 0.02)) - 0.035, line)
    c.paint(segment(np.abs(u), v, (0 * dip, dip), (0.86, high), 0.05), line)
    c.paint(segment(np.abs(u), v, (0.2, dip), (0.86, -high), 0.035), line, c.choice([0, 1]))
    _occlude(c)


def pear(c: Canvas) -> None:
    u, v, ink, trim = _stage(c, 0.7)
    lean = u - c.uniform(-0.2, 0.2) * v
    c.paint(segment(lean, v, (0, 0.6), (0.1, 0.95), 0.05), trim * 0.4)
    t = np.clip((v + 0.3) / 0.75, 0, 1)
    c.paint(segment(lean, v, (0, -0.3), (0, 0.45), 0.55 - t * t * (3 - 2 * t) * c.uniform(0.25, 0.33)), ink)
    c.blend(0.5 * np.exp(-14 * ((u + 0.2) ** 2 + (v + 0.2) ** 2)), 0.3 * trim + 0.7)
    c.paint(segment(lean, v, (0.1, 0.8), (0.4, 0.85), 0.08), trim, c.choice([0, 1]))
    _occlude(c)


def spider(c: Canvas) -> None:
    """Eight bent legs, mirrored; the body in two parts."""
    u, v, ink, trim = _stage(c, np.pi)
    side, knee = np.abs(u), c.uniform(0.35, 0.5)
    for start, bend, foot in ((0.2, 0.6, 0.92), (0.1, 0.32, 0.35), (0.0, -0.1, -0.4), (-0.1, -0.45, -0.9)):
        c.paint(stroke(side, v, [(0.05, start), (knee, bend), (knee + 0.3, foot)], 0.055), ink * 0.7)
    c.paint(circle(u, (v + 0.25) * 0.85, c.uniform(0.24, 0.36)), ink)
    c.paint(circle(u, v - 0.2, 0.19), trim)
    _occlude(c)


OBJECTS = {
    "mug": mug,
    "umbrella": umbrella,
    "mushroom": mushroom,
    "key": key,
    "fish": fish,
    "butterfly": butterfly,
    "bottle": bottle,
    "lamp": lamp,
    "chair": chair,
    "hammer": hammer,
    "clock": clock,
    "envelope": envelope,
    "pear": pear,
    "spider": spider,
}
