"""Miniature of Stanford Cars: ten body styles from the side, told apart by silhouette and windows.

Nuisances: facing left or right, paint, proportions, size, position, road and backdrop, glare, and a post or bush in front.
"""

from __future__ import annotations

import numpy as np

from tangent_lib.miniature.canvas import Canvas, both, box, circle, cut, segment, union


def _street(c: Canvas):
    """Backdrop and road; returns the vehicle's frame, its front towards +u, the ground at v = -0.42."""
    dx, dy, size, tilt = c.uniform(-0.06, 0.06), c.uniform(-0.08, 0.08), c.uniform(0.88, 1.0), c.uniform(-0.04, 0.04)
    kerb = c.y - dy + size * c.uniform(0.1, 0.4)
    c.fill(c.colour(saturation=(0.05, 0.4), value=(0.6, 1.0)))
    c.blend(c.noise(6) * c.uniform(0, 0.6), c.colour((0.1, 0.5), (0.1, 0.5), (0.4, 0.9)))
    c.paint(box(c.x - c.uniform(-1, 1), c.y - 0.3, c.uniform(0.1, 0.6), c.uniform(0.2, 1.0)), c.colour(value=(0.5, 1)))
    c.paint(kerb, c.colour(saturation=(0, 0.4), value=(0.2, 0.8)))
    u, v = c.place(tilt, size, dx, dy)
    u, v = u * c.choice([-1, 1]) / c.uniform(0.95, 1.03), (v + 0.42) / c.uniform(0.95, 1.07) - 0.42
    c.blend(0.7 * np.clip(1 - np.hypot(u, 5 * (v + 0.44)), 0, 1), c.colour(value=(0, 0.15)))
    return u, v


def _under(u, v, profile, floor=-0.3):
    """The area between ``floor`` and a roof line given by points from the rear to the front."""
    x, y = np.array(profile, np.float32).T
    return both(v - np.interp(u, x, y).astype(np.float32), floor - v, x[0] - u, u - x[-1])


def _finish(c: Canvas, u, v, wheels, radius=0.17) -> None:
    """Wheels, lights, a stripe of glare, and an occluder in some images."""
    tyre, rim = c.colour(saturation=(0, 0.2), value=(0.03, 0.2)), c.colour(saturation=(0, 0.2), value=(0.3, 0.9))
    radius = radius * c.uniform(0.9, 1.1)
    hubs = [np.hypot(u - x, v + 0.42 - radius) for x in wheels]
    c.paint(union(*hubs) - radius, tyre)
    c.paint(union(*hubs) - radius * c.uniform(0.35, 0.7), rim)
    c.blend(0.8 * (c.noise(7) - c.uniform(0.7, 1.0)), c.colour(saturation=(0, 0.3)))
    c.paint(box(c.x - c.uniform(-1, 1), 0 * c.y, c.uniform(-0.2, 0.05), 2), c.colour())
    c.paint(circle(c.x - c.uniform(-1, 1), c.y + 1, c.uniform(-0.6, 0.4)), c.colour((0.1, 0.4), value=(0.1, 0.6)))


def _car(c: Canvas, body, roof, pillars, wheels=(-0.55, 0.55), radius=0.17, glass_rear=-2.0) -> None:
    """A body below a roof with glass; ``pillars`` part the windows, no glass behind ``glass_rear``."""
    u, v = _street(c)
    paint, glass = c.colour(saturation=(0.2, 0.95), value=(0.15, 0.6)), c.colour((0.5, 0.65), (0, 0.3), (0.7, 1.0))
    lower = _under(u, v, body)
    shift = u + c.uniform(-0.05, 0.05)
    upper = _under(shift, v, roof, -0.1)
    c.paint(union(lower, upper), paint)
    c.paint(both(lower, v + c.uniform(0.1, 0.24)), paint * c.uniform(0.5, 1.0)[:, None])
    panes = both(upper + 0.065, np.interp(0.0, *np.array(body).T) + 0.02 - v, glass_rear - shift)
    for x in pillars:
        panes = cut(panes, np.abs(shift - x) - 0.03)
    c.paint(panes, glass)
    c.paint(both(lower, np.abs(u) - 0.9, 0.86 - np.abs(u), np.abs(v + 0.08) - 0.05), c.colour((0, 0.15), value=(0.5, 1)))
    _finish(c, u, v, wheels, radius)


def sedan(c: Canvas) -> None:
    body = [(-0.93, -0.02), (-0.5, 0.04), (0.4, 0.03), (0.9, -0.05), (0.93, -0.1)]
    _car(c, body, [(-0.62, 0.02), (-0.38, 0.3), (0.12, 0.32), (0.48, 0.02)], [-0.1], (-0.56, 0.58))


def hatchback(c: Canvas) -> None:
    """Short, the roof running to the tail."""
    body = [(-0.74, 0.05), (0.4, 0.03), (0.76, -0.05), (0.8, -0.1)]
    _car(c, body, [(-0.74, 0.04), (-0.58, 0.34), (0.08, 0.37), (0.45, 0.02)], [-0.12], (-0.48, 0.5))


def coupe(c: Canvas) -> None:
    """Low, with a long bonnet, a sloping back and one side window."""
    body = [(-0.92, 0.0), (-0.6, 0.03), (0.25, -0.01), (0.88, -0.08), (0.93, -0.13)]
    _car(c, body, [(-0.85, 0.02), (-0.2, 0.25), (0.0, 0.25), (0.34, -0.02)], [], (-0.58, 0.6), 0.18)


def convertible(c: Canvas) -> None:
    """Open: a windscreen, seats and heads above the waistline."""
    u, v = _street(c)
    paint = c.colour(saturation=(0, 0.95), value=(0.1, 1.0))
    for seat in (-0.15, -0.42):
        c.paint(segment(u, v, (seat, 0), (seat - 0.04, 0.12), 0.06), c.colour(value=(0.05, 0.5)), c.choice([0, 1, 1]))
        c.paint(circle(u - seat - 0.07, v - c.uniform(0.12, 0.2), 0.08), c.colour((0.03, 0.1)), c.choice([0, 1]))
    c.paint(segment(u, v, (0.4, -0.02), (c.uniform(0.12, 0.22), 0.24), 0.035), c.colour(value=(0.05, 0.6)))
    c.paint(_under(u, v, [(-0.92, -0.02), (-0.5, 0.05), (0.3, 0.0), (0.88, -0.07), (0.93, -0.13)]), paint)
    c.paint(both(box(u, v + 0.22, 0.9, 0.07)), paint * c.uniform(0.5, 1.0)[:, None])
    _finish(c, u, v, (-0.58, 0.6))


def suv(c: Canvas) -> None:
    """Tall and square behind, with large wheels."""
    body = [(-0.84, 0.12), (0.35, 0.12), (0.8, 0.07), (0.84, 0.0)]
    _car(c, body, [(-0.84, 0.1), (-0.76, 0.45), (0.15, 0.47), (0.42, 0.1)], [-0.45, -0.1], (-0.52, 0.54), 0.21)


def minivan(c: Canvas) -> None:
    """One volume: the windscreen runs into a short nose."""
    body = [(-0.9, 0.06), (0.6, 0.05), (0.88, -0.06), (0.9, -0.12)]
    _car(
        c,
        body,
        [(-0.9, 0.04), (-0.82, 0.42), (0.05, 0.46), (0.25, 0.38), (0.72, 0.02)],
        [-0.42, 0.02],
        (-0.56, 0.6),
        0.16,
    )


def van(c: Canvas) -> None:
    """A high closed box with glass only at the driver."""
    body = [(-0.92, 0.1), (0.6, 0.08), (0.88, -0.02), (0.9, -0.1)]
    _car(c, body, [(-0.92, 0.1), (-0.9, 0.62), (0.3, 0.62), (0.74, 0.05)], [], (-0.56, 0.6), 0.16, 0.2)


def pickup_truck(c: Canvas) -> None:
    """A cab in the middle and an open bed behind."""
    body = [(-0.93, 0.06), (-0.1, 0.06), (0.45, 0.06), (0.88, 0.02), (0.92, -0.05)]
    _car(c, body, [(-0.2, 0.04), (-0.14, 0.39), (0.22, 0.4), (0.46, 0.04)], [0.05], (-0.58, 0.6), 0.2)


def bus(c: Canvas) -> None:
    """A long high box with a row of windows."""
    u, v = _street(c)
    shell, pitch = box(u, v - 0.15, 0.95, 0.46), c.uniform(0.24, 0.34)
    c.paint(shell, c.colour(saturation=(0, 0.95), value=(0.15, 1.0)))
    c.paint(box(u, v + c.uniform(0.0, 0.2), 0.95, c.uniform(-0.03, 0.07)), c.colour())
    panes = both(
        shell + 0.06,
        np.abs(v - c.uniform(0.25, 0.33)) - c.uniform(0.12, 0.17),
        0.035 - np.abs((u + c.uniform(0, 1)) % pitch - pitch / 2),
    )
    c.paint(panes, c.colour((0.5, 0.65), (0, 0.4), (0.05, 0.6)))
    _finish(c, u, v, (-0.55, 0.6), 0.15)


def truck(c: Canvas) -> None:
    """A cab, a gap and a separate cargo box."""
    u, v = _street(c)
    c.paint(box(u, v + 0.25, 0.88, 0.06), c.colour(value=(0.05, 0.3)))
    c.paint(
        box(u + 0.35, v - c.uniform(0.12, 0.22), 0.6, c.uniform(0.36, 0.46)),
        c.colour(saturation=(0, 0.6), value=(0.3, 1)),
    )
    cab = _under(u, v, [(0.34, 0.38), (0.68, 0.4), (0.84, 0.08), (0.9, 0.0), (0.93, -0.2)], -0.32)
    c.paint(cab, c.colour(saturation=(0, 0.95), value=(0.1, 1.0)))
    c.paint(both(cab + 0.07, 0.1 - v, 0.5 - u), c.colour((0.5, 0.65), (0, 0.4), (0.05, 0.7)))
    _finish(c, u, v, (-0.7, -0.38, 0.66), 0.16)


VEHICLES = {
    "sedan": sedan,
    "hatchback": hatchback,
    "coupe": coupe,
    "convertible": convertible,
    "suv": suv,
    "minivan": minivan,
    "van": van,
    "pickup truck": pickup_truck,
    "bus": bus,
    "truck": truck,
}
