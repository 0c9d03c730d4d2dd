"""Tasks as datasets: the miniature's arrays and image folders behind one interface."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, random_split
from torchvision.datasets import ImageFolder

from tangent_lib.errors import InputError
from tangent_lib.manifests import Manifest, load_manifest
from tangent_lib.miniature import tasks as miniature_tasks
from tangent_lib.models import Clip
from tangent_lib.store import Store

SPLITS = ("train", "val", "test")
Batch = tuple[Float[Tensor, "batch 3 height width"], Int[Tensor, " batch"]]


class ImageArray(Dataset):
    """Images held in memory as uint8, normalised and, where the model asks for it, enlarged a batch at a time."""

    def __init__(self, images: UInt8[Tensor, "n 3 size size"], labels: Int[Tensor, " n"], mean, std, size: int):
        self.images, self.labels, self.size = images, labels, size
        self.mean, self.std = (torch.tensor(value).view(1, 3, 1, 1) for value in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        x = (self.images[indices].float() / 255 - self.mean) / self.std
        if x.shape[-1] != self.size:
            x = torch.nn.functional.interpolate(x, size=(self.size, self.size), mode="bicubic", antialias=True)
        return x, self.labels[indices]


def random_points(data: Dataset, count: int, seed: int = 0) -> Dataset:
    """A random subset of a dataset, the same for the same seed.

    Raises:
        InputError: if there are fewer images, or none is asked for.

    Example:
        >>> images, labels = torch.zeros(9, 3, 2, 2, dtype=torch.uint8), torch.arange(9)
        >>> len(random_points(ImageArray(images, labels, (0.5,) * 3, (0.5,) * 3, 2), 4))
        4
    """
    if not 1 <= count <= len(data):
        raise InputError(f"{count} points asked for: give from 1 to {len(data)}, all that the split has (-p points)")
    if count == len(data):
        return data
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    if not isinstance(data, ImageArray):
        return Subset(data, chosen.tolist())
    subset = copy.copy(data)
    subset.images, subset.labels = data.images[chosen], data.labels[chosen]
    return subset


@dataclass(frozen=True)
class Task:
    """One task: its manifest, class names in label order, a dataset per split, and a fingerprint of all that."""

    manifest: Manifest
    classes: list[str]
    splits: dict[str, Dataset]
    digest: str

    @property
    def name(self) -> str:
        return self.manifest.name

    def split(self, name: str) -> Dataset:
        """The dataset of ``train``, ``val`` or ``test``."""
        return self.splits[name]


def load_task(name: str, clip: Clip, store: Store | None = None, data_root: str | Path = "data") -> Task:
    """Open a task for a model.

    Args:
        name: a manifest's name.
        clip: the model; its preprocessing is applied.
        store: where drawn images are kept between runs; without one they are drawn anew.
        data_root: where folder datasets lie, ``<data_root>/<folder>/{train,test}/<class>/<image>``.

    Raises:
        InputError: for an unknown task or data that are not at ``data_root``.

    Example:
        >>> from tangent_lib.models import load_clip
        >>> task = load_task("Digits", load_clip("ViT-Mini-8"))
        >>> len(task.split("test")), task.classes[:3]
        (1000, ['0', '1', '2'])
    """
    manifest = load_manifest(name)
    if manifest.kind == "folder":
        return _folder_task(manifest, clip, Path(data_root))
    config = {"task": name, "seed": miniature_tasks.SEED, "version": miniature_tasks.VERSION}
    if store is None:
        tensors = _build(name)
    else:
        tensors = store.fetch("images", config, lambda: (_build(name), {})).tensors
    size = clip.model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    mean, std = clip.model.visual.image_mean, clip.model.visual.image_std
    splits = {s: ImageArray(tensors[f"{s}_images"], tensors[f"{s}_labels"], mean, std, size) for s in SPLITS}
    return Task(manifest, list(manifest.classes), splits, _digest(config, manifest.classes, manifest.templates))


def _build(name: str) -> dict[str, Tensor]:
    tensors = {}
    for split, (images, labels) in miniature_tasks.build(name).items():
        tensors[f"{split}_images"], tensors[f"{split}_labels"] = (
            torch.from_numpy(images),
            torch.from_numpy(labels).long(),
        )
    return tensors


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def check_data(names: str | Sequence[str], data_root: str | Path) -> None:
    """Check that the images of one or several tasks can be had: drawn, or in folders at ``data_root``.

    Raises:
        InputError: naming the tasks whose images are missing, where they should be, and the ways out.
    """
    manifests = [load_manifest(name) for name in ([names] if isinstance(names, str) else names)]
    missing = [each for each in manifests if each.kind == "folder" and not _has_images(Path(data_root) / each.folder)]
    if missing:
        first, rest = missing[0], ", ".join(each.name for each in missing[1:])
        raise InputError(
            f"no data for {first.name}{f' (nor for {rest})' if rest else ''}: expected image folders "
            f"{Path(data_root) / first.folder}/{{train,test}}/<class>/<image>. Source: {first.source}. "
            "Put them there, or name another place with -p data_root, or take miniature tasks, such as -p tasks Signs."
        )


def _has_images(folder: Path) -> bool:
    return all((folder / split).is_dir() and any((folder / split).iterdir()) for split in ("train", "test"))


def _folder_task(manifest: Manifest, clip: Clip, data_root: Path) -> Task:
    check_data(manifest.name, data_root)
    folder = data_root / manifest.folder
    try:
        train = ImageFolder(folder / "train", clip.train_transform)
        plain = ImageFolder(folder / "train", clip.eval_transform)
        test = ImageFolder(folder / "test", clip.eval_transform)
    except FileNotFoundError as error:
        raise InputError(f"{manifest.name}: {error}") from error
    if train.classes != test.classes:
        raise InputError(
            f"{manifest.name}: train and test have different class folders: "
            f"{sorted(set(train.classes) ^ set(test.classes))[:5]}"
        )
    held_out = min(5000, len(train) // 10)
    if not held_out:
        raise InputError(f"{manifest.name}: {len(train)} training images, at least 10 are needed for a validation split")
    kept, val = random_split(range(len(train)), [len(train) - held_out, held_out], torch.Generator().manual_seed(0))
    splits = {"train": Subset(train, kept.indices), "val": Subset(plain, val.indices), "test": test}
    listing = [
        f"{Path(path).relative_to(folder)} {Path(path).stat().st_size}" for path, _ in train.samples + test.samples
    ]
    classes = _class_names(manifest, train.classes)
    return Task(manifest, classes, splits, _digest(listing, classes, manifest.templates))


def _class_names(manifest: Manifest, folders: list[str]) -> list[str]:
    if manifest.classes is None:
        return [folder.replace("_", " ") for folder in folders]
    if len(manifest.classes) != len(folders):
        raise InputError(
            f"{manifest.name}: {len(folders)} class folders, but the manifest names {len(manifest.classes)}"
        )
    if isinstance(manifest.classes, list):
        return manifest.classes
    strange = sorted(set(folders) - set(manifest.classes))
    if strange:
        raise InputError(f"{manifest.name}: class folders that the manifest does not name: {strange[:5]}")
    return [manifest.classes[folder] for folder in folders]


def batches(
    dataset: Dataset, batch_size: int, device: torch.device, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """One pass over a dataset on the device; shuffled, last incomplete batch dropped, where a generator is given."""
    in_memory = isinstance(dataset, ImageArray)
    loader = DataLoader(
        dataset,
        batch_size=min(batch_size, len(dataset)),
        shuffle=generator is not None,
        drop_last=generator is not None,
        generator=generator,
        collate_fn=_as_is if in_memory else None,
        num_workers=0 if in_memory or device.type == "cpu" else 8,
    )
    for x, y in loader:
        yield x.to(device), y.to(device)


def _as_is(batch: Batch) -> Batch:
    return batch


def sample(task: Task, split: str, count: int) -> tuple[UInt8[ndarray, "count 3 height width"], list[str]]:
    """A few images, spread over a split, as a person would look at them, with their class names."""
    data = task.split(split)
    indices = torch.linspace(0, len(data) - 1, count).long().tolist()
    pairs = [data[i] for i in indices]
    x = torch.stack([image for image, _ in pairs])
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    images = ((x - low) / (high - low).clamp_min(1e-6) * 255).to(torch.uint8)
    return images.numpy(), [task.classes[int(label)] for _, label in pairs]
