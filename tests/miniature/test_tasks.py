"""The images of the miniature tasks: reproducible, disjoint, balanced, and told apart by class."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest
import torch

from tangent_lib.data.manifests import task_names
from tangent_lib.miniature.tasks import DRAWN, SIZES, build, draw, drawn_images, generator, handwritten_digits

ALL = task_names("miniature")
SPLITS = ("train", "val", "test")


def hashes(images) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in np.asarray(images)]


@pytest.fixture(scope="module")
def arrays(task):
    """Images, labels and content hashes of a split."""

    @cache
    def split(name, part):
        data = task(name).split(part)
        return data.images.numpy(), data.labels.numpy(), hashes(data.images)

    return split


@pytest.mark.parametrize("name", ALL)
def test_images_are_32_by_32_bytes_and_at_least_1000_are_for_the_test(arrays, name):
    for part in SPLITS:
        images, labels, _ = arrays(name, part)
        assert images.shape == (len(labels), 3, 32, 32) and images.dtype == np.uint8 and images.std() > 10
    assert len(arrays(name, "test")[1]) >= 1000 and len(arrays(name, "val")[1]) >= 500


@pytest.mark.parametrize("name", ALL)
def test_no_image_is_in_two_splits(arrays, name):
    train, val, test = (set(arrays(name, part)[2]) for part in SPLITS)
    assert not train & val and not train & test and not val & test


@pytest.mark.parametrize("name", DRAWN)
def test_no_drawn_image_is_there_twice(arrays, name):
    for part in SPLITS:
        assert len(set(arrays(name, part)[2])) == SIZES[part]


@pytest.mark.parametrize("name", ALL)
def test_labels_are_balanced_and_complete(arrays, task, name):
    for part in SPLITS:
        counts = np.bincount(arrays(name, part)[1], minlength=len(task(name).classes))
        assert len(counts) == len(task(name).classes)
        if name in DRAWN:
            assert counts.max() - counts.min() <= 1
        else:
            assert 0.7 * counts.mean() < counts.min() and counts.max() < 1.4 * counts.mean()


@pytest.mark.parametrize("name", DRAWN)
def test_labels_come_in_no_order(arrays, name):
    labels = arrays(name, "train")[1]
    assert len(set(labels[:60])) > 5 and not np.array_equal(labels[: len(labels) // 2], labels[len(labels) // 2 :])


@pytest.mark.parametrize("name", DRAWN)
def test_same_seed_same_bytes_and_another_purpose_other_bytes(name):
    first, again, other = (drawn_images(name, purpose, 30) for purpose in ("val", "val", "pretrain"))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not set(hashes(first[0])) & set(hashes(other[0]))


@pytest.mark.parametrize("name", ["Digits", "Signs"])
def test_a_task_built_again_is_the_same(arrays, name):
    for part, (images, labels) in build(name).items():
        assert np.array_equal(images, arrays(name, part)[0]) and np.array_equal(labels, arrays(name, part)[1])


@pytest.mark.parametrize("name", ["Signs", "Scenes"])
def test_each_split_is_drawn_by_random_numbers_of_its_own(arrays, name):
    for part in SPLITS:
        images, labels = drawn_images(name, part, SIZES[part])
        assert np.array_equal(images, arrays(name, part)[0]) and np.array_equal(labels, arrays(name, part)[1])


def test_random_numbers_differ_by_task_and_purpose():
    draws = [tuple(generator(task, purpose).random(3)) for task in ("Signs", "Scenes") for purpose in ("train", "test")]
    assert len(set(draws)) == 4 and draws[0] == tuple(generator("Signs", "train").random(3))


@pytest.mark.parametrize("name", DRAWN)
def test_every_class_has_its_own_drawing(name):
    """From one random state, where every nuisance is the same, the pictures of two classes differ."""
    pictures = [draw(name, np.full(4, label), np.random.default_rng(7)) for label in range(len(DRAWN[name]))]
    for i, left in enumerate(pictures):
        for right in pictures[:i]:
            assert np.abs(left.astype(int) - right.astype(int)).mean(axis=(1, 2, 3)).min() > 1


@pytest.mark.parametrize("name", ALL)
def test_images_tell_their_class(arrays, task, name):
    """A ridge regression on pixels is better than chance on the test split: labels belong to their images."""
    (x, y, _), (test_x, test_y, _) = arrays(name, "train"), arrays(name, "test")
    count = len(task(name).classes)
    x, test_x = (torch.from_numpy(each).float().flatten(1)[:, ::3] / 255 - 0.5 for each in (x, test_x))
    weights = torch.linalg.solve(x.T @ x + 300 * torch.eye(x.shape[1]), x.T @ torch.eye(count)[y])
    right = ((test_x @ weights).argmax(1).numpy() == test_y).mean()
    assert right > 1 / count + 0.05


@pytest.mark.parametrize("name", DRAWN)
def test_pretraining_images_are_in_no_split(arrays, name):
    pool = set(hashes(drawn_images(name, "pretrain", 200)[0]))
    assert len(pool) == 200 and not any(pool & set(arrays(name, part)[2]) for part in SPLITS)


def test_pretraining_digits_are_training_digits(arrays):
    pool = set(hashes(handwritten_digits()["train"][0]))
    assert pool == set(arrays("Digits", "train")[2]) and not pool & {
        *arrays("Digits", "val")[2],
        *arrays("Digits", "test")[2],
    }


def test_digits_come_from_both_sources_in_every_split(arrays):
    """Those of scikit-learn fill their frame, those of MNIST have a margin: ink in the fifth row tells them apart."""
    for part in SPLITS:
        images, _, _ = arrays("Digits", part)
        assert (images[:, :, :3] == 0).all() and 0.2 < (images[:, 0, 4] > 0).any(axis=1).mean() < 0.4
