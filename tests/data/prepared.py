"""What the tests of preparation share: small datasets with their manifests, items of their own, and what lies in a folder."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial

import numpy as np
import small_files
import yaml
from PIL import Image

from tangent_lib.data.listing import Item, Listing
from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.data.prepare import prepare

FORMATS = [(task, layout) for task, layouts in small_files.LAYOUTS.items() for layout in layouts]
SIZES = [(5, 7), (1, 1), (16, 3), (5, 7), (9, 9)]
offline = partial(prepare, download=False, progress=False)


def write(task, layout, data_root):
    """A small dataset of three classes in the folder where it is looked for, with a manifest of its sizes."""
    written = small_files.write(task, layout, data_root / load_manifest(task).folders[0])
    small_files.write_manifest(task, data_root, 3, *((20, 2) if layout == "eurosat" else (12, 12)))
    return written


def edit_manifest(data_root, task, change):
    path = data_root / "manifests" / f"{task}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    forget_manifests()


def forget_manifests():
    """Read manifests anew, as another process would."""
    load_manifest.cache_clear()
    task_names.cache_clear()


def arrays_of(sizes=SIZES):
    """Random images; the first and the fourth of the usual five have the same size."""
    rng = np.random.default_rng(0)
    return [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in sizes]


def items_of(arrays, start=0):
    return [Item(f"{i}.png", 3 * i + start, partial(Image.fromarray, array)) for i, array in enumerate(arrays)]


def numbered(count, test=3):
    """A listing of images that are told apart by their colour, 18 bytes each."""

    def some(split, count):
        return [
            Item(f"{split}{i}", i % 2, partial(Image.new, "RGB", (2, 3), (i % 256, i // 256, len(split))))
            for i in range(count)
        ]

    return Listing(["a", "b"], some("train", count), some("test", test))


def images_of(split):
    """Pixels and label of each image of a packed split."""
    return [(np.asarray(split.image(i)), int(split.labels[i])) for i in range(len(split))]


def everything(folder):
    """The bytes of all files, by their paths in the folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def as_nobody(folder):
    """Inside, in this folder, what its owner alone may read or write cannot be, not even by root."""
    folder.chmod(0o755)
    before, mine = os.getcwd(), os.geteuid()
    os.chdir(folder)  # those around it may not be passed through
    try:
        if mine == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(mine)
        os.chdir(before)
