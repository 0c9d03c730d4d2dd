"""Tasks as datasets: image folders made of a few files, the miniature's arrays, and the order of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tangent_lib import data
from tangent_lib.data import ImageArray, batches, check_data, load_task
from tangent_lib.errors import InputError
from tangent_lib.manifests import load_manifest

CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)


def write_images(folder, classes, count, colour=0):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((9, 7, 3), (colour + 40 * number + i) % 256, np.uint8)).save(
                folder / name / f"{i}.png"
            )


@pytest.fixture
def textures(tmp_path):
    """``DTD`` with three classes of 15 training and 4 test images."""
    write_images(tmp_path / "dtd" / "train", ["banded", "polka-dotted", "very_rough"], 15)
    write_images(tmp_path / "dtd" / "test", ["banded", "polka-dotted", "very_rough"], 4, 100)
    return tmp_path


# -- image folders -----------------------------------------------------------------------------------------------------
def test_a_tenth_of_train_is_held_out_and_disjoint(textures, random_clip):
    task = load_task("DTD", random_clip, data_root=textures)
    train, val = (task.split(name).indices for name in ("train", "val"))
    assert (len(train), len(val), len(task.split("test"))) == (41, 4, 12)
    assert sorted([*train, *val]) == list(range(45))


def test_the_held_out_images_are_the_same_each_time_and_not_the_first(textures, random_clip):
    first = load_task("DTD", random_clip, data_root=textures).split("val").indices
    torch.manual_seed(99)
    assert load_task("DTD", random_clip, data_root=textures).split("val").indices == first != list(range(4))


@pytest.mark.parametrize("count, held_out", [(60_000, 5000), (50_009, 5000), (49_999, 4999), (100, 10)])
def test_at_most_5000_images_are_held_out(textures, random_clip, monkeypatch, count, held_out):
    class Large:
        classes, samples = ["a", "b"], []

        def __init__(self, *args):
            pass

        def __len__(self):
            return count

    monkeypatch.setattr(data, "ImageFolder", Large)
    task = load_task("DTD", random_clip, data_root=textures)
    assert len(task.split("val")) == held_out and len(task.split("train")) == count - held_out


def test_only_training_images_are_augmented(textures, random_clip):
    task = load_task("DTD", random_clip, data_root=textures)
    assert task.split("train").dataset.transform is random_clip.train_transform
    assert task.split("val").dataset.transform is task.split("test").transform is random_clip.eval_transform


def test_images_of_a_folder_carry_their_class(textures, random_clip):
    task = load_task("DTD", random_clip, data_root=textures)
    assert task.classes == ["banded", "polka-dotted", "very rough"]
    x, y = next(batches(task.split("test"), 12, CPU))
    assert x.shape == (12, 3, 32, 32) and y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (x[4:8].mean() > x[:4].mean()) and (x[8:].mean() > x[4:8].mean())


def test_other_class_folders_in_test_are_refused(textures, random_clip):
    (textures / "dtd" / "test" / "banded").rename(textures / "dtd" / "test" / "bended")
    with pytest.raises(InputError, match=r"DTD.*\['banded', 'bended'\]"):
        load_task("DTD", random_clip, data_root=textures)


def test_a_class_folder_without_images_is_refused(textures, random_clip):
    for path in (textures / "dtd" / "test" / "banded").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="banded"):
        load_task("DTD", random_clip, data_root=textures)


def test_too_few_images_to_hold_any_out_are_refused(tmp_path, random_clip):
    for split in ("train", "test"):
        write_images(tmp_path / "dtd" / split, ["banded"], 9)
    with pytest.raises(InputError, match=r"DTD.*9"):
        load_task("DTD", random_clip, data_root=tmp_path)


def test_names_come_from_the_manifest_by_folder(tmp_path, random_clip):
    names = load_manifest("EuroSAT").classes
    for split in ("train", "test"):
        write_images(tmp_path / "eurosat" / split, names, 1)
    with pytest.raises(InputError):
        load_task("EuroSAT", random_clip, data_root=tmp_path / "elsewhere")
    for split in ("train", "test"):
        for i in range(1, 3):
            for name in names:
                folder = tmp_path / "eurosat" / split / name
                (folder / f"{i}.png").write_bytes((folder / "0.png").read_bytes())
    assert load_task("EuroSAT", random_clip, data_root=tmp_path).classes == [names[folder] for folder in sorted(names)]
    for split in ("train", "test"):
        (tmp_path / "eurosat" / split / "River").rename(tmp_path / "eurosat" / split / "Rivers")
    with pytest.raises(InputError, match=r"EuroSAT.*\['Rivers'\]"):
        load_task("EuroSAT", random_clip, data_root=tmp_path)


def test_another_number_of_classes_than_the_manifests_is_refused(tmp_path, random_clip):
    for split in ("train", "test"):
        write_images(tmp_path / "svhn" / split, "012", 10)
    with pytest.raises(InputError, match=r"SVHN: 3 class folders.*10"):
        load_task("SVHN", random_clip, data_root=tmp_path)


def test_the_fingerprint_of_a_folder_sees_a_file_more_or_changed(textures, random_clip):
    digests = [load_task("DTD", random_clip, data_root=textures).digest for _ in range(2)]
    path = textures / "dtd" / "train" / "banded" / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(256, size=(9, 7, 3), dtype=np.uint8)).save(path)
    digests.append(load_task("DTD", random_clip, data_root=textures).digest)
    path.rename(path.with_name("x.png"))
    digests.append(load_task("DTD", random_clip, data_root=textures).digest)
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_data_that_are_not_there_are_refused(tmp_path, random_clip):
    for check in (lambda: check_data("DTD", tmp_path), lambda: load_task("DTD", random_clip, data_root=tmp_path)):
        with pytest.raises(InputError, match=r"no data for DTD.*<class>/<image>.*Cimpoi.*data_root"):
            check()
    check_data("Signs", tmp_path)


# -- the miniature -----------------------------------------------------------------------------------------------------
def test_images_are_scaled_and_normalised_by_channel():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    array = ImageArray(images, torch.tensor([4, 7]), (0.5, 0.2, 0.0), (0.5, 0.1, 2.0), 2)
    x, y = array[1]
    expected = torch.tensor([-1, 0, 0.5]).view(3, 1, 1).expand(3, 2, 2)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-6)
    assert y == 7 and len(array) == 2


def test_many_images_at_once_are_the_images_one_by_one(task):
    digits = task("Digits").split("val")
    x, y = digits.__getitems__([5, 3, 5])
    assert all(torch.equal(x[i], digits[at][0]) and y[i] == digits[at][1] for i, at in enumerate((5, 3, 5)))


def test_images_are_enlarged_to_what_the_model_takes():
    images = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    images[1, :, :, :2] = 0
    x = ImageArray(images, torch.zeros(2).long(), HALF, HALF, 16).__getitems__([0, 1])[0]
    torch.testing.assert_close(x[0], torch.ones(3, 16, 16), rtol=0, atol=1e-5)
    assert (x[1, :, :, :4] < -0.9).all() and (x[1, :, :, 12:] > 0.9).all()


def test_the_models_own_normalisation_and_size_are_used(random_clip, clip, store):
    for model in (random_clip, clip):
        split = load_task("Digits", model, store).split("test")
        assert split.mean.flatten().tolist() == pytest.approx(model.model.visual.image_mean, abs=1e-7)
        assert (
            split.std.flatten().tolist() == pytest.approx(model.model.visual.image_std, abs=1e-7) and split.size == 32
        )


def test_a_task_in_the_store_is_not_drawn_again(task, random_clip, store, monkeypatch):
    drawn = task("Digits")
    monkeypatch.setattr(data, "_build", lambda name: pytest.fail("drawn again"))
    again = load_task("Digits", random_clip, store)
    assert torch.equal(again.split("val").images, drawn.split("val").images) and again.digest == drawn.digest
    assert again.name == "Digits" and again.classes == [str(digit) for digit in range(10)]


def test_with_and_without_a_store_a_task_is_the_same(task, random_clip):
    stored, plain = task("Digits"), load_task("Digits", random_clip)
    assert stored.digest == plain.digest != task("Signs").digest
    for name in data.SPLITS:
        assert torch.equal(stored.split(name).images, plain.split(name).images)
        assert torch.equal(stored.split(name).labels, plain.split(name).labels)


def test_an_unknown_task_is_refused(random_clip):
    with pytest.raises(InputError, match="did you mean 'Signs'"):
        load_task("Sings", random_clip)


# -- batches -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def numbered():
    return ImageArray(torch.zeros(23, 3, 2, 2, dtype=torch.uint8), torch.arange(23), HALF, HALF, 2)


def order(dataset, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return [y.tolist() for _, y in batches(dataset, 5, CPU, generator)]


def test_without_a_generator_all_images_come_in_order(numbered):
    assert order(numbered) == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]


def test_with_a_generator_full_batches_come_shuffled_each_image_once(numbered):
    found = order(numbered, 0)
    flat = [y for batch in found for y in batch]
    assert [len(batch) for batch in found] == [5] * 4 and len(set(flat)) == 20 and flat != sorted(flat)


def test_the_order_depends_on_the_generator_alone(numbered):
    torch.manual_seed(1)
    first = order(numbered, 0)
    torch.manual_seed(2)
    assert order(numbered, 0) == first != order(numbered, 1)


def test_a_second_pass_with_the_same_generator_has_another_order(numbered):
    generator = torch.Generator().manual_seed(0)
    passes = [[y.tolist() for _, y in batches(numbered, 5, CPU, generator)] for _ in range(2)]
    assert passes[0] != passes[1]


def test_images_stay_with_their_labels(task):
    digits = task("Digits").split("val")
    x, y = next(batches(digits, 8, CPU, torch.Generator().manual_seed(0)))
    places = [
        int(
            (digits.images == ((each * digits.std[0] + digits.mean[0]) * 255).round().byte())
            .flatten(1)
            .all(1)
            .nonzero()[0]
        )
        for each in x
    ]
    assert digits.labels[places].tolist() == y.tolist() and len(set(places)) == 8
