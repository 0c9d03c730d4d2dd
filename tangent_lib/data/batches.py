"""Batches on the device: in order for evaluation, shuffled without end for training.

Any dataset of pairs of inputs, a tensor or a dict of tensors, and labels will do. The order of training images follows from
the seed alone, and so does each image's augmentation. Training can therefore stop after any step and go on there, and several
processes can share each batch, without a change of what is computed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from tangent_lib.runtime.cores import usable_cores
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.inputs import Inputs, on_each, tensors_of

Batch = tuple[Inputs, Int[Tensor, " batch"]]
LOADERS = 8
AHEAD = 2  # batches that each worker has under way


def batches(dataset: Dataset, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """One pass over a dataset in order, on the device.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(5, 2), torch.arange(5))
        >>> [y.tolist() for x, y in batches(data, 2, torch.device("cpu"))]
        [[0, 1], [2, 3], [4]]
    """
    order = (list(range(i, min(i + batch_size, len(dataset)))) for i in range(0, len(dataset), batch_size))
    yield from _loaded(dataset, order, device, batch_size)


def training_batches(
    dataset: Dataset,
    batch_size: int,
    device: torch.device,
    seed: int,
    start: int = 0,
    place: tuple[int, int] = (0, 1),
    micro_batch: int | None = None,
) -> Iterator[list[Batch]]:
    """For each training step, without end: the share of this process, in micro-batches.

    Args:
        batch_size: images a step, over all processes; all images where there are fewer.
        seed: of the order and of augmentation.
        start: the step to begin at; those before are skipped without loading an image.
        place: number of this process and how many there are.
        micro_batch: images at a time; by default the whole share.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(9, 2), torch.arange(9))
        >>> labels = lambda *more: [y.tolist() for x, y in next(training_batches(data, 4, torch.device("cpu"), 0, *more))]
        >>> labels(), labels(0, (1, 2)), labels(0, (0, 1), 3), labels(1)
        ([[2, 1, 3, 6]], [[1, 6]], [[2, 1, 3], [6]], [[0, 8, 7, 5]])
    """
    size, (number, processes) = min(batch_size, len(dataset)), place
    share = len(range(number, size, processes))
    step = min(micro_batch or share, share)
    parts = [slice(i, i + step) for i in range(0, share, step)]
    draws = getattr(dataset, "augmented", False)  # each image by random numbers of its own

    def order() -> Iterator[list]:
        for at, batch in enumerate(islice(shuffled(len(dataset), size, seed), start, None), start):
            keys = [(index, ((seed << 40) + at * size + i) % 2**64) for i, index in enumerate(batch)] if draws else batch
            mine = keys[number::processes]
            yield from (mine[part] for part in parts)

    loaded = _loaded(dataset, order(), device, step)
    while True:
        yield [next(loaded) for _ in parts]


def shuffled(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Random batches of indices without end; each pass has a new order and drops what does not fill a batch.

    Example:
        >>> first = shuffled(4, 3, seed=0)
        >>> next(first), next(first)
        ([1, 0, 3], [1, 3, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    one_pass = BatchSampler(RandomSampler(range(count), generator=generator), batch_size, drop_last=True)
    while True:
        torch.empty((), dtype=torch.int64).random_(generator=generator)  # as a DataLoader draws it before each pass
        yield from one_pass


def _loaded(dataset: Dataset, order: Iterator[Sequence], device: torch.device, batch_size: int) -> Iterator[Batch]:
    if isinstance(dataset, DataLoader):
        raise InputError("a DataLoader was given for data: give its dataset; batches are made here")
    in_memory = getattr(dataset, "gives_batches", False)
    workers = 0
    if not in_memory and device.type != "cpu":
        workers = _workers(batch_size * sum(part.nbytes for part in tensors_of(dataset[0][0])))
    loader = DataLoader(
        dataset,
        batch_sampler=order,
        generator=torch.Generator(),  # of the workers' seeds; global random numbers stay as they are
        collate_fn=_as_is if in_memory else None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=bool(workers) and device.type == "cuda",
    )
    for x, y in loader:
        yield on_each(lambda part: part.to(device, non_blocking=True), x), y.to(device, non_blocking=True)


def _workers(batch_bytes: int) -> int:
    """As many as there are cores and room for: batches are handed over in shared memory, of which containers have little."""
    processes, shared = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), Path("/dev/shm")
    room = shutil.disk_usage(shared).free // (2 * AHEAD * batch_bytes) if shared.is_dir() else LOADERS
    return min(LOADERS, max(1, usable_cores() // processes), room // processes)


def _as_is(batch: Batch) -> Batch:
    return batch
