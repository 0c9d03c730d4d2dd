"""A batch of small images in drawing: coordinates, random nuisances, and shapes as signed distances.

Every miniature task is drawn with these few tools. All arrays are NumPy, float32, and vectorised over the batch: a
scalar per image has shape ``(n, 1, 1)``, a field ``(n, size, size)``, a colour ``(n, 3, 1, 1)``. Coordinates run from
-1 (left, bottom) to 1 (right, top). A shape is a *signed distance*: negative inside, positive outside, in the same units.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


class Canvas:
    """``n`` images of ``size`` x ``size`` pixels, drawn together from one random generator."""

    def __init__(self, n: int, rng: np.random.Generator, size: int = 32):
        self.n, self.rng, self.size = n, rng, size
        ticks = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        self.x = np.broadcast_to(ticks[None, None, :], (n, size, size))
        self.y = np.broadcast_to(-ticks[None, :, None], (n, size, size))
        self.image = np.zeros((n, 3, size, size), np.float32)

    # -- random numbers, one per image -----------------------------------------------------------------------------
    def uniform(self, low: float | int, high: float | int) -> np.ndarray:
        """One uniform number per image, ``(n, 1, 1)``."""
        return self.rng.uniform(low, high, (self.n, 1, 1)).astype(np.float32)

    def choice(self, values) -> np.ndarray:
        """One of ``values`` per image, ``(n, 1, 1)``."""
        return self.rng.choice(np.asarray(values, np.float32), (self.n, 1, 1))

    def colour(self, hue=(0.0, 1.0), saturation=(0.2, 0.9), value=(0.2, 0.95)) -> np.ndarray:
        """One random colour per image, ``(n, 3, 1, 1)``; the arguments are ranges of hue (wraps at 1), saturation, value."""
        h, s, v = (self.uniform(*span)[:, None] for span in (hue, saturation, value))
        k = (np.array([5.0, 3.0, 1.0], np.float32).reshape(1, 3, 1, 1) + h * 6) % 6
        return v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)

    def noise(self, cells: int) -> np.ndarray:
        """Smooth noise in [0, 1] with about ``cells`` bumps across the image, ``(n, size, size)``."""
        coarse = self.rng.random((self.n, cells + 1, cells + 1), dtype=np.float32)
        fine = zoom(coarse, (1, self.size / (cells + 1), self.size / (cells + 1)), order=1, mode="nearest", grid_mode=True)
        return gaussian_filter(fine, (0, 1, 1))

    # -- drawing ---------------------------------------------------------------------------------------------------
    def place(self, rotation=0.0, scale=1.0, dx=0.0, dy=0.0, x=None, y=None) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of a frame turned by ``rotation`` (radians), enlarged by ``scale``, moved by ``dx``, ``dy``."""
        x, y = (self.x if x is None else x) - dx, (self.y if y is None else y) - dy
        cos, sin = np.cos(rotation), np.sin(rotation)
        return (cos * x + sin * y) / scale, (-sin * x + cos * y) / scale

    def fill(self, colour: np.ndarray) -> None:
        """Paint every pixel; ``colour`` is ``(n, 3, 1, 1)`` or a whole image ``(n, 3, size, size)``."""
        self.image[:] = colour

    def paint(self, distance: np.ndarray, colour: np.ndarray, opacity=1.0) -> None:
        """Paint the inside of a shape, anti-aliased over one pixel."""
        cover = np.clip(0.5 - distance * self.size / 2, 0, 1) * opacity
        self.image += cover[:, None] * (colour - self.image)

    def blend(self, weight: np.ndarray, colour: np.ndarray) -> None:
        """Mix ``colour`` in with a weight in [0, 1] per pixel, ``(n, size, size)``."""
        self.image += np.clip(weight, 0, 1)[:, None] * (colour - self.image)

    def finish(self, noise=0.05, shade=0.2) -> np.ndarray:
        """Uneven light, contrast, blur for a fifth of the images, pixel noise; returns uint8 ``(n, 3, size, size)``."""
        light = 1 + self.uniform(-shade, shade) * self.x + self.uniform(-shade, shade) * self.y
        image = self.image * light[:, None]
        contrast, offset = self.uniform(0.75, 1.1)[:, None], self.uniform(-0.06, 0.06)[:, None]
        image = 0.5 + contrast * (image - 0.5) + offset
        soft = gaussian_filter(image, (0, 0, 0.6, 0.6))
        image = np.where(self.uniform(0, 1)[:, None] < 0.2, soft, image)
        image += self.uniform(0, noise)[:, None] * self.rng.standard_normal(image.shape, dtype=np.float32)
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# -- signed distances, for coordinates u, v of any frame ---------------------------------------------------------------
def circle(u, v, radius):
    return np.hypot(u, v) - radius


def box(u, v, half_width, half_height):
    """An axis-aligned rectangle."""
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def segment(u, v, start, end, half_width):
    """A stroke with round ends from ``start`` to ``end`` (pairs of numbers or of ``(n, 1, 1)`` arrays)."""
    (ax, ay), (bx, by) = start, end
    t = ((u - ax) * (bx - ax) + (v - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2 + 1e-9)
    t = np.clip(t, 0, 1)
    return np.hypot(u - ax - t * (bx - ax), v - ay - t * (by - ay)) - half_width


def stroke(u, v, points, half_width):
    """A polyline through ``points``."""
    return np.minimum.reduce([segment(u, v, a, b, half_width) for a, b in zip(points, points[1:])])


def bow(u, v, radius, start, stop, half_width):
    """A stroke along a circle from angle ``start`` to ``stop`` (radians, counter-clockwise from the right)."""
    angle = np.arctan2(v, u) - start
    inside = angle % (2 * np.pi) <= stop - start
    ends = [np.hypot(u - radius * np.cos(a), v - radius * np.sin(a)) for a in (start, stop)]
    return np.where(inside, np.abs(np.hypot(u, v) - radius), np.minimum(*ends)) - half_width


def polygon(u, v, points):
    """A convex polygon, corners counter-clockwise."""
    edges = []
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1]):
        length = np.hypot(bx - ax, by - ay)
        edges.append(((by - ay) * (u - ax) - (bx - ax) * (v - ay)) / length)
    return np.maximum.reduce(edges)


def regular(u, v, corners, radius):
    """A regular polygon with ``corners`` corners and the given inner radius, one edge at the bottom."""
    step = 2 * np.pi / corners
    angle = (np.arctan2(v, u) + np.pi / 2 + step / 2) % step - step / 2
    return np.hypot(u, v) * np.cos(angle) - radius


def union(*shapes):
    return np.minimum.reduce(shapes)


def cut(shape, hole):
    """``shape`` without ``hole``."""
    return np.maximum(shape, -hole)


def both(*shapes):
    """Where all the shapes overlap."""
    return np.maximum.reduce(shapes)
