"""Tasks as datasets: the miniature's arrays and prepared images behind one interface."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset, Subset

from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.data.packed import PackedSplit, open_split
from tangent_lib.data.prepare import ensure_prepared, prepared_folder
from tangent_lib.miniature import tasks as miniature_tasks
from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.store import Store

SPLITS = ("train", "val", "test")
SKETCH_TOLERANCE = 100  # between processors; an edited drawing is off by thousands


@runtime_checkable
class ModelInput(Protocol):
    """What a model asks of its images: their size, mean and deviation, or transforms that do all of it."""

    @property
    def image_mean(self) -> tuple[float, ...]: ...
    @property
    def image_std(self) -> tuple[float, ...]: ...
    @property
    def image_size(self) -> int: ...

    train_transform: Callable
    eval_transform: Callable


class ImageArray(Dataset):
    """Images held in memory as uint8, normalised and, where the model asks for it, enlarged a batch at a time."""

    gives_batches = True  # whole ones, so that nothing is put together image by image

    def __init__(self, images: UInt8[Tensor, "n 3 size size"], labels: Int[Tensor, " n"], mean, std, size: int):
        self.images, self.labels, self.size = images, labels, size
        self.mean, self.std = (torch.tensor(value).view(1, 3, 1, 1) for value in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        x = (self.images[indices].float() / 255 - self.mean) / self.std
        if x.shape[-1] != self.size:
            x = torch.nn.functional.interpolate(x, size=(self.size, self.size), mode="bicubic", antialias=True)
        return x, self.labels[indices]


class PackedImages(Dataset):
    """Decoded images on disk, preprocessed as they are asked for.

    A key is an index, or an index and the seed of the random numbers that augment this image this time.
    """

    augmented = True

    def __init__(self, split: PackedSplit, transform: Callable):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            x = self.transform(self.split.image(index))
        return x, self.split.labels[index]


def random_points(data: Dataset, count: int, seed: int = 0) -> Dataset:
    """Random points of a dataset in random order, the same for the same seed; fewer points are the first of more.

    Raises:
        InputError: if there are fewer images, or none is asked for.

    Example:
        >>> images, labels = torch.zeros(9, 3, 2, 2, dtype=torch.uint8), torch.arange(9)
        >>> random_points(ImageArray(images, labels, (0.5,) * 3, (0.5,) * 3, 2), 9).labels
        tensor([8, 0, 2, 3, 7, 1, 4, 5, 6])
    """
    if not 1 <= count <= len(data):
        raise InputError(f"{count} points asked for: from 1 to {len(data)} can be taken, all that the split has", "points")
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    if not isinstance(data, ImageArray):
        return Subset(data, chosen.tolist())
    subset = copy.copy(data)
    subset.images, subset.labels = data.images[chosen], data.labels[chosen]
    return subset


@dataclass(frozen=True)
class Task:
    """One task: its manifest, class names in label order, a dataset per split, and what it is known by.

    Attributes:
        digest: a fingerprint of images, labels, classes and prompts.
        wording: the same without the images, where these are drawn.
        sketch: a number for each split of drawn images, in the place of their fingerprint in what other machines read:
            processors round differently, so that a few pixels in a million are one level off (``SKETCH_TOLERANCE``).
    """

    manifest: Manifest
    classes: list[str]
    splits: dict[str, Dataset]
    digest: str
    wording: str
    sketch: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.manifest.name

    def split(self, name: str) -> Dataset:
        """The dataset of ``train``, ``val`` or ``test``.

        Raises:
            InputError: for the training images of a control task, which are not prepared.
        """
        if name not in self.splits:
            raise InputError(f"{self.name} has no split '{name}', only {', '.join(self.splits)}: it serves as control")
        return self.splits[name]


def load_task(name: str, model: ModelInput, store: Store | None = None, data_root: str | Path = "data") -> Task:
    """Open a task for a model.

    Args:
        name: a manifest's name.
        model: its preprocessing is applied.
        store: where drawn images are kept between runs; without one they are drawn anew.
        data_root: where datasets lie, prepared or as they came (``tangent data``).

    Raises:
        InputError: for an unknown task or data that are not at ``data_root``.

    Example:
        >>> from tangent_lib.models.clip import load_clip
        >>> task = load_task("Digits", load_clip("ViT-Mini-8"))
        >>> len(task.split("test")), task.classes[:3]
        (1000, ['0', '1', '2'])
    """
    manifest = load_manifest(name, data_root)
    if manifest.kind == "images":
        return _packed_task(manifest, model, Path(data_root))
    config = {"task": name, **{package: version(package) for package in ("numpy", "scipy")}}
    if store is None:
        tensors, known = _drawn(name)
    else:
        entry = store.fetch("images", config, lambda: _drawn(name))
        tensors, known = entry.tensors, entry.values
    look = (model.image_mean, model.image_std, model.image_size)
    splits = {s: ImageArray(tensors[f"{s}_images"], tensors[f"{s}_labels"], *look) for s in SPLITS}
    said = (manifest.classes, manifest.templates)
    digests = _digest(known["images"], known["labels"], *said), _digest(known["labels"], *said)
    return Task(manifest, list(manifest.classes), splits, *digests, tuple(known["sketch"]))


def _drawn(name: str) -> tuple[dict[str, Tensor], dict]:
    """Images and labels of a miniature task, and what they are known by."""
    built = miniature_tasks.build(name)
    images = {f"{split}_images": torch.from_numpy(built[split][0]) for split in SPLITS}
    labels = {f"{split}_labels": torch.from_numpy(built[split][1]).long() for split in SPLITS}
    known = {"images": fingerprint(images), "labels": fingerprint(labels), "sketch": [sketch(x) for x in images.values()]}
    return images | labels, known


def sketch(images: UInt8[Tensor, "n 3 height width"]) -> int:
    """The sum of all pixels, each with a random sign: nearly equal for nearly equal images alone.

    Example:
        >>> images = torch.arange(48, dtype=torch.uint8).view(4, 3, 2, 2)
        >>> sketch(images) == sketch(images.clone()), sketch(images) == sketch(images.flip(3))
        (True, False)
    """
    rng, pixels = np.random.default_rng(0), images.flatten(1).numpy().astype(np.float32)  # in which an image's sum is exact
    rows, columns = (rng.choice((-1, 1), size) for size in pixels.shape)
    return int(rows @ (pixels @ columns.astype(np.float32)).astype(int))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _packed_task(manifest: Manifest, model: ModelInput, data_root: Path) -> Task:
    card = ensure_prepared(manifest.name, data_root)
    folder = prepared_folder(data_root, manifest.name)
    transforms = {"train": model.train_transform, "val": model.eval_transform, "test": model.eval_transform}
    splits = {split: PackedImages(open_split(folder, split), transforms[split]) for split in card.content}
    digest = _digest(card.content, card.classes, manifest.templates)
    return Task(manifest, card.classes, splits, digest, wording=digest)


def sample_images(task: Task, split: str, count: int) -> tuple[UInt8[ndarray, "count 3 height width"], list[str]]:
    """A few images, spread over a split, as a person would look at them, with their class names."""
    data = task.split(split)
    indices = torch.linspace(0, len(data) - 1, count).long().tolist()
    pairs = [data[i] for i in indices]
    x = torch.stack([image for image, _ in pairs])
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    images = ((x - low) / (high - low).clamp_min(1e-6) * 255).to(torch.uint8)
    return images.numpy(), [task.classes[int(label)] for _, label in pairs]
