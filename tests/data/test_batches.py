"""Batches: every image once in order, the order of training from its seed, shares of processes and micro-batches."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tangent_lib.data.batches import batches, shuffled, training_batches
from tangent_lib.data.tasks import ImageArray

CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def numbered():
    return ImageArray(torch.zeros(23, 3, 2, 2, dtype=torch.uint8), torch.arange(23), HALF, HALF, 2)


def labels(steps):
    return [[y.tolist() for _, y in parts] for parts in steps]


def first(dataset, count, *args, **kwargs):
    return labels(islice(training_batches(dataset, 5, CPU, *args, **kwargs), count))


def flat(parts):
    return [label for part in parts for label in part]


def test_evaluation_sees_all_images_in_order(numbered):
    assert [y.tolist() for _, y in batches(numbered, 5, CPU)] == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]


def test_a_pass_of_training_has_full_batches_and_each_image_at_most_once(numbered):
    steps = first(numbered, 4, 0)
    seen = flat(flat(steps))
    assert [len(flat(parts)) for parts in steps] == [5] * 4 and len(set(seen)) == 20 and seen != sorted(seen)


def test_passes_differ_and_go_on_without_end(numbered):
    steps = first(numbered, 8, 0)
    assert steps[:4] != steps[4:] and len(set(flat(flat(steps[4:])))) == 20


def test_the_order_depends_on_the_seed_alone(numbered):
    torch.manual_seed(1)
    one = first(numbered, 6, 0)
    torch.manual_seed(2)
    assert first(numbered, 6, 0) == one != first(numbered, 6, 1)


def test_the_order_is_that_of_a_loader_with_a_generator():
    """Results of earlier versions were computed with one DataLoader a pass."""
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.arange(11)), 4, shuffle=True, drop_last=True, generator=generator)
    expected = [each.tolist() for _ in range(5) for (each,) in loader]
    assert list(islice(shuffled(11, 4, 3), 10)) == expected


@pytest.mark.parametrize("start", [1, 4, 7, 30])
def test_a_later_start_is_the_same_sequence_further_on(numbered, start):
    assert first(numbered, 3, 0, start=start) == first(numbered, start + 3, 0)[start:]


def test_skipped_steps_load_no_image():
    class Counting(TensorDataset):
        loaded = 0

        def __getitem__(self, index):
            Counting.loaded += 1
            return super().__getitem__(index)

    data = Counting(torch.zeros(10, 3, 2, 2), torch.arange(10))
    next(training_batches(data, 5, CPU, 0, start=50))
    assert Counting.loaded == 5


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("micro", [None, 1, 2])
def test_processes_and_micro_batches_divide_each_batch(numbered, processes, micro):
    whole = [flat(parts) for parts in first(numbered, 6, 0)]
    shares = [first(numbered, 6, 0, place=(i, processes), micro_batch=micro) for i in range(processes)]
    for step, batch in enumerate(whole):
        parts = [flat(share[step]) for share in shares]
        assert sorted(flat(parts)) == sorted(batch) and [len(part) for part in parts] == [
            len(batch[i::processes]) for i in range(processes)
        ]
        assert micro is None or max(len(part) for share in shares for part in share[step]) <= micro


def test_global_random_numbers_stay_as_they_were(numbered):
    state = torch.get_rng_state()
    first(numbered, 6, 0)
    list(batches(numbered, 5, CPU))
    assert torch.equal(torch.get_rng_state(), state)


def test_images_stay_with_their_labels(task):
    digits = task("Digits").split("val")
    ((x, y),) = next(training_batches(digits, 8, CPU, 0))
    places = [
        int((digits.images == ((each * digits.std[0] + digits.mean[0]) * 255).round().byte()).flatten(1).all(1).nonzero()[0])
        for each in x
    ]
    assert digits.labels[places].tolist() == y.tolist() and len(set(places)) == 8
