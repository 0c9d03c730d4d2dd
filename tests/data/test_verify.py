"""Verification: sound data pass, and each kind of damage is found and named."""

from __future__ import annotations

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from prepared import FORMATS, as_nobody, edit_manifest, offline, write
from safetensors import safe_open
from safetensors.torch import save_file

from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.prepare import prepared_folder
from tangent_lib.data.verify import Finding, verify_dataset
from tangent_lib.runtime.errors import InputError

check = partial(verify_dataset, progress=False)


def levels(findings, level):
    return [finding.text for finding in findings if finding.level == level]


def prepare_small(task, layout, data_root):
    write(task, layout, data_root)
    offline(task, data_root)
    return prepared_folder(data_root, task)


# -- sound data --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("task, layout", FORMATS, ids=lambda value: value)
def test_each_format_passes(task, layout, tmp_path):
    prepare_small(task, layout, tmp_path)
    findings = check(task, tmp_path)
    assert not levels(findings, "fault")
    notes = [text for text in levels(findings, "note") if "no images of" not in text]  # of so few, val has not every class
    assert not notes
    sound = levels(findings, "ok")
    splits = ("val", "test") if task == "ImageNet" else ("val", "test", "train")
    assert f"no test image is in {'val' if task == 'ImageNet' else 'val or train'}" in sound
    for split in splits:
        assert f"{split}: every image has its checksum" in sound
        assert any(text.startswith(f"{split}: ") and text.endswith("images, as the manifest says") for text in sound)


BOOK = [("MNIST", "mnist", 60_000, 10_000), ("DTD", "dtd", 3760, 1880), ("ImageNet", "folders-val", 1_281_167, 50_000)]


@pytest.mark.parametrize("task, layout, train, test", BOOK)
def test_other_numbers_than_those_of_the_book_are_faults(task, layout, train, test, tmp_path):
    prepare_small(task, layout, tmp_path)
    edit_manifest(tmp_path, task, {"sizes": load_manifest(task).model_dump()["sizes"]})
    val = {3760: 376}.get(train, 5000)
    wanted = {"val": (1, val), "test": (12, test), "train": (11, train - val)}
    assert levels(check(task, tmp_path), "fault") == [
        f"{split}: {found} images instead of {said:,}, as the manifest says"
        for split, (found, said) in wanted.items()
        if task != "ImageNet" or split != "train"
    ]


def test_a_manifest_without_sizes_asks_for_none(tmp_path):
    prepare_small("MNIST", "mnist", tmp_path)
    edit_manifest(tmp_path, "MNIST", {"sizes": None})
    findings = check("MNIST", tmp_path)
    assert not levels(findings, "fault") and not any("manifest" in finding.text for finding in findings)


# -- damage ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def mnist(tmp_path):
    """The prepared folder of ``MNIST``: 11 training images, 1 held out, 12 for test; 28 x 28 x 3 bytes each."""
    return prepare_small("MNIST", "mnist", tmp_path)


def faults(folder):
    return levels(check("MNIST", folder.parents[1]), "fault")


def test_what_is_not_prepared_is_a_fault(tmp_path):
    assert check("Cars", tmp_path) == [Finding("fault", f"not prepared in {tmp_path}")]


def test_an_unknown_name_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="did you mean 'Cars'"):
        check("Car", tmp_path)


@pytest.mark.parametrize("numbers", [[0], [10], [2, 3, 4, 5, 6, 7]], ids=str)
def test_altered_pixels_are_found(mnist, numbers):
    pixels = np.memmap(mnist / "train.pixels", np.uint8, "r+")
    for i in numbers:
        pixels[i * 28 * 28 * 3 + 17] ^= 1
    pixels.flush()
    some = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    assert faults(mnist) == [f"train: {len(numbers)} of 11 images differ from their checksums: numbers {some}"]


def alter_index(mnist, split, **change):
    path = mnist / f"{split}.safetensors"
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors | {name: new(tensors[name]) for name, new in change.items()}, path, metadata)


def test_altered_labels_are_found(mnist):
    alter_index(mnist, "test", labels=lambda labels: labels.flip(0))
    assert faults(mnist) == ["test: images or labels are not those that the card records"]
    alter_index(mnist, "test", labels=lambda labels: torch.full_like(labels, 2))
    assert faults(mnist) == ["test: images or labels are not those that the card records"]


def test_altered_checksums_are_found(mnist):
    alter_index(mnist, "test", hashes=lambda hashes: hashes + 1)
    assert faults(mnist) == ["test: images or labels are not those that the card records"]


def test_splits_that_are_exchanged_are_found(mnist):
    for kind in ("pixels", "safetensors"):
        shutil.copy(mnist / f"test.{kind}", mnist / f"train.{kind}")
    found = faults(mnist)
    assert "train: 12 images instead of 11, as the manifest says" in found
    assert "train: images or labels are not those that the card records" in found
    assert any("12 of 12 test images are in val or train too (0 in val, 12 in train)" in text for text in found)


@pytest.mark.parametrize("name", ["val.pixels", "val.safetensors"])
def test_lost_files_are_found(mnist, name):
    (mnist / name).unlink()
    [fault] = faults(mnist)
    assert "MNIST has no split 'val'" in fault and "--again" in fault


@pytest.mark.parametrize("name", ["val.pixels", "val.safetensors", "card.json"])
def test_files_that_may_not_be_read_are_told_from_lost_ones(mnist, name):
    (mnist / name).chmod(0)
    (mnist / "val.checked").chmod(0)  # a note, which need not be there
    with as_nobody(mnist.parents[1]):
        [fault] = levels(check("MNIST", "."), "fault")
    assert f"prepared/MNIST/{name} cannot be read (Permission denied): make it readable" in fault


def test_a_damaged_card_is_found(mnist):
    (mnist / "card.json").write_text("{")
    [fault] = faults(mnist)
    assert "card.json is damaged" in fault


def test_a_card_with_other_counts_is_found(mnist):
    card = json.loads((mnist / "card.json").read_text())
    card["counts"]["test"][0] += 1
    (mnist / "card.json").write_text(json.dumps(card))
    assert faults(mnist) == ["test: the images of each class are not as many as the card says"]


def test_another_manifest_is_found(mnist):
    edit_manifest(mnist.parents[1], "MNIST", {"classes": ["2", "1", "0"]})
    [fault] = faults(mnist)
    assert "prepared by another manifest" in fault


# -- contamination and classes -----------------------------------------------------------------------------------------
def own_dataset(data_root, train, test):
    """Prepare an image folder from arrays by class."""
    for split, classes in (("train", train), ("test", test)):
        for name, arrays in classes.items():
            for i, array in enumerate(arrays):
                path = data_root / "cats" / split / name / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    content = {"name": "Cats", "kind": "images", "description": "Cats", "source": "mine", "licence": "none"}
    path = data_root / "manifests" / "Cats.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content | {"folders": ["cats"], "templates": ["a {}"]}))
    offline("Cats", data_root)


def of_two(arrays):
    """Arrays by class, in their order: the first half of one, the others of another."""
    return {"manx": arrays[: len(arrays) // 2], "tabby": arrays[len(arrays) // 2 :]}


@pytest.fixture
def images():
    """Images without end, no two alike."""
    numbers = iter(range(10**6))

    def draw(count):
        return [np.random.default_rng(next(numbers)).integers(256, size=(6, 5, 3), dtype=np.uint8) for _ in range(count)]

    return draw


SAID = {
    0: ("ok", "no test image is in val or train"),
    1: ("note", "1 of 100 test images are in val or train too (0 in val, 1 in train)"),
    2: ("fault", "2 of 100 test images are in val or train too (1 in val, 1 in train): accuracy on test means nothing"),
}


@pytest.mark.parametrize("shared", SAID)
def test_more_than_a_hundredth_of_test_in_train_and_val_is_a_fault(shared, images, tmp_path):
    train = images(20)
    drawn = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()  # the last two are held out
    seen = [train[i] for i in (drawn[0], drawn[-1])[:shared]]
    own_dataset(tmp_path, of_two(train), of_two([*images(100 - shared), *seen]))
    assert check("Cats", tmp_path)[-1] == Finding(*SAID[shared])


def test_a_test_image_twice_is_counted_twice(images, tmp_path):
    train = images(20)
    own_dataset(tmp_path, of_two(train), of_two([*train, *train]))
    [fault] = levels(check("Cats", tmp_path), "fault")
    assert "40 of 40 test images are in val or train too (4 in val, 36 in train)" in fault


def test_classes_without_images_are_noted(images, tmp_path):
    names = [f"cat {i:02}" for i in range(12)]
    own_dataset(tmp_path, {name: images(1) for name in names}, {name: images(1) for name in names})
    held_out = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()[-1]
    missing = ", ".join([name for i, name in enumerate(names) if i != held_out][:5])
    assert levels(check("Cats", tmp_path), "note") == [
        f"val: no images of 11 of 12 classes: {missing}, ...",
        f"train: no images of 1 of 12 classes: cat {held_out:02}",
    ]


def test_files_that_were_exchanged_since_are_a_fault_until_the_dataset_is_prepared_anew(tmp_path):
    prepare_small("DTD", "folders-val", tmp_path)
    first, second = sorted((tmp_path / load_manifest("DTD").folders[0] / "val").rglob("*.jpg"))[:2]
    data = first.read_bytes()
    second.rename(first)
    second.write_bytes(data)
    assert [text for text in levels(check("DTD", tmp_path), "fault") if "no longer what they were" in text]
    offline("DTD", tmp_path)
    assert not levels(check("DTD", tmp_path), "fault")
