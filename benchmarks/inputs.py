"""What the benchmarks compute with: a model of open_clip, and random images, heads and task vectors."""

from __future__ import annotations

import argparse
import copy

import open_clip
import torch
from torch import Tensor

from tangent_lib.data.tasks import ImageArray
from tangent_lib.linearization import functional
from tangent_lib.models.architectures import image_tower
from tangent_lib.models.clip import Clip, load_clip
from tangent_lib.task_vectors import Function, Params

CLASSES = 10  # rows of a head
SHARE = 0.05  # size of a task vector, of the weights


def load(given: argparse.Namespace) -> Clip:
    """The model that the options name."""
    return load_clip(given.model, given.pretrained, given.device)


def doubled(clip: Clip) -> tuple[Function, Params]:
    """The image tower in float64."""
    return functional(copy.deepcopy(image_tower(clip.model)).double())


def images(clip: Clip, number: int, seed: int) -> ImageArray:
    """So many images of random colours, and labels, on the model's device."""
    rng, size = torch.Generator().manual_seed(seed), clip.image_size
    colours = torch.randint(0, 256, (number, 3, size, size), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (number,), generator=rng)
    data = ImageArray(colours, labels, clip.image_mean, clip.image_std, size)
    for name in ("images", "labels", "mean", "std"):
        setattr(data, name, getattr(data, name).to(clip.device))
    return data


def head(clip: Clip, rows: int, seed: int) -> Tensor:
    """A random head for features of this model, ``(rows, dim)``, of the length that CLIP's have."""
    dim = open_clip.get_model_config(clip.name)["embed_dim"]
    drawn = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return 100 * torch.nn.functional.normalize(drawn, dim=1).to(clip.device)


def task_vectors(clip: Clip, number: int, seed: int) -> list[Params]:
    """Random task vectors: for each weight a random direction, a twentieth of the weight in length."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(value: Tensor) -> Tensor:
        direction = torch.randn(value.shape, generator=rng).to(value.device)
        return SHARE * value.norm() * direction / direction.norm()

    return [{name: drawn(value) for name, value in clip.theta_0.items()} for _ in range(number)]
