"""Tasks as datasets: prepared images, and the miniature's arrays."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tangent_lib.data import tasks as data
from tangent_lib.data.batches import training_batches
from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.data.prepare import prepare
from tangent_lib.data.tasks import SPLITS, ImageArray, load_task, random_points
from tangent_lib.runtime.errors import InputError

CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)
CLASSES = ("banded", "polka-dotted", "very_rough")
MANIFEST = """
name: Texture3
kind: images
description: d
source: s
licence: l
folders: [texture3]
templates: ["a photo of a {} texture."]
"""


@pytest.fixture
def textures(tmp_path):
    """A dataset of one's own: three classes of 15 training and 4 test images, all different."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 15), ("test", 4)):
        for name in CLASSES:
            folder = tmp_path / "texture3" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(256, size=(40, 50 + i, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "Texture3.yaml").write_text(MANIFEST)
    yield tmp_path
    load_manifest.cache_clear()
    task_names.cache_clear()


# -- prepared images ---------------------------------------------------------------------------------------------------
def test_a_tenth_of_train_is_held_out_and_disjoint(textures, random_clip):
    task = load_task("Texture3", random_clip, data_root=textures)
    assert [len(task.split(name)) for name in SPLITS] == [41, 4, 12]
    hashes = [{bytes(each) for each in task.split(name).split.hashes} for name in SPLITS]
    assert len(hashes[0]) == 41 and len(hashes[1]) == 4 and not hashes[0] & hashes[1]


def test_files_as_they_came_are_prepared_at_first_use_and_not_again(textures, random_clip, monkeypatch):
    first = load_task("Texture3", random_clip, data_root=textures)
    monkeypatch.setattr("tangent_lib.data.prepare._prepare", lambda *args: pytest.fail("prepared again"))
    again = load_task("Texture3", random_clip, data_root=textures)
    assert first.digest == again.digest and first.classes == again.classes == ["banded", "polka-dotted", "very rough"]


def test_only_training_images_are_augmented(textures, random_clip):
    task = load_task("Texture3", random_clip, data_root=textures)
    assert task.split("train").transform is random_clip.train_transform
    assert task.split("val").transform is task.split("test").transform is random_clip.eval_transform


def test_evaluation_images_are_those_of_the_models_own_preprocessing(textures, random_clip):
    test = load_task("Texture3", random_clip, data_root=textures).split("test")
    files = [path for name in CLASSES for path in sorted((textures / "texture3" / "test" / name).iterdir())]
    for i, path in enumerate(files):
        assert torch.equal(test[i][0], random_clip.eval_transform(Image.open(path).convert("RGB"))), path
    assert [int(test[i][1]) for i in range(12)] == [0] * 4 + [1] * 4 + [2] * 4


def test_augmentation_depends_on_the_draw_alone(textures, random_clip):
    train = load_task("Texture3", random_clip, data_root=textures).split("train")
    state, draws = torch.get_rng_state(), [train[(3, seed)][0] for seed in (5, 6, 5)]
    torch.manual_seed(1)
    assert torch.equal(draws[0], draws[2]) and torch.equal(draws[0], train[(3, 5)][0])
    assert not torch.equal(draws[0], draws[1])
    torch.set_rng_state(state)


def test_training_batches_of_prepared_images_are_the_same_whatever_divides_them(textures, random_clip):
    train = load_task("Texture3", random_clip, data_root=textures).split("train")
    steps = lambda **more: list(islice(training_batches(train, 6, CPU, 0, **more), 8))
    whole, halves = steps(), [steps(place=(i, 2), micro_batch=2) for i in range(2)]
    for step, ((x, y),) in enumerate(whole):
        for i, half in enumerate(halves):
            parts = [torch.cat(each) for each in zip(*half[step])]
            assert torch.equal(parts[0], x[i::2]) and torch.equal(parts[1], y[i::2])
    ((x, _),) = next(training_batches(train, 6, CPU, 0, start=7))
    assert torch.equal(x, whole[7][0][0])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_workers_load_what_one_process_loads(textures, random_clip):
    train = load_task("Texture3", random_clip, data_root=textures).split("train")
    keys = [[(i, 7 + i) for i in range(j, j + 5)] for j in range(0, 40, 5)]
    passes = [list(DataLoader(train, batch_sampler=keys, num_workers=workers)) for workers in (0, 2)]
    for (x, y), (again, labels) in zip(*passes, strict=True):
        assert torch.equal(x, again) and torch.equal(y, labels)


@pytest.mark.parametrize("seed", [20250101, 2**40])
def test_any_seed_augments(textures, random_clip, seed):
    train = load_task("Texture3", random_clip, data_root=textures).split("train")
    assert next(training_batches(train, 4, CPU, seed))[0][0].shape == (4, 3, 32, 32)


def test_an_image_is_augmented_anew_in_each_pass(textures, random_clip):
    train = load_task("Texture3", random_clip, data_root=textures).split("train")
    passes = [next(training_batches(train, 41, CPU, 0, start=i))[0] for i in range(2)]
    where = [{tuple(x.flatten().tolist()) for x in images} for images, _ in passes]
    assert len(where[0] | where[1]) > 41  # where no crop fits, an image is taken whole


def test_a_control_has_no_training_images(textures, random_clip):
    own = textures / "manifests" / "Texture3.yaml"
    own.write_text(own.read_text() + "control: true\n")
    load_manifest.cache_clear()
    task = load_task("Texture3", random_clip, data_root=textures)
    with pytest.raises(InputError, match="Texture3 has no split 'train', only val, test"):
        task.split("train")


def test_the_fingerprint_sees_images_and_prompts(textures, random_clip, tmp_path):
    digests = [load_task("Texture3", random_clip, data_root=textures).digest]
    own = textures / "manifests" / "Texture3.yaml"
    own.write_text(own.read_text().replace("a photo of a", "a picture of a"))
    load_manifest.cache_clear()
    digests.append(load_task("Texture3", random_clip, data_root=textures).digest)
    Image.fromarray(np.random.default_rng(1).integers(256, size=(9, 7, 3), dtype=np.uint8)).save(
        textures / "texture3" / "train" / "banded" / "0.png"
    )
    prepare("Texture3", textures, download=False, progress=False, again=True)
    digests.append(load_task("Texture3", random_clip, data_root=textures).digest)
    assert len(set(digests)) == 3


def test_data_that_are_not_there_are_refused(tmp_path, random_clip):
    with pytest.raises(InputError, match=r"no data for DTD.*tangent data prepare DTD"):
        load_task("DTD", random_clip, data_root=tmp_path)


def test_random_points_of_prepared_images(textures, random_clip):
    test = load_task("Texture3", random_clip, data_root=textures).split("test")
    chosen = random_points(test, 5)
    assert len(chosen) == 5 and len({int(y) * 100 + float(x.sum()) for x, y in (chosen[i] for i in range(5))}) == 5


def test_as_many_random_points_as_there_are_come_in_random_order():
    """A kernel's trained and unseen points are the two halves of what is drawn, and datasets are often sorted by class."""
    labels = torch.arange(4).repeat_interleave(5)
    data = torch.utils.data.TensorDataset(torch.zeros(20), labels)
    drawn = lambda count, seed=0: [int(y) for _, y in random_points(data, count, seed)]
    assert drawn(20) != sorted(drawn(20)) == labels.tolist() and drawn(20) == drawn(20) != drawn(20, 1)
    assert set(drawn(20)[:10]) == set(drawn(20)[10:]) == {0, 1, 2, 3} and drawn(19) == drawn(20)[:19]
    image = torch.zeros(20, 3, 2, 2, dtype=torch.uint8)
    array = random_points(ImageArray(image, labels, (0.5,) * 3, (0.5,) * 3, 2), 20)
    assert array.labels.tolist() == drawn(20)


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
        assert split.std.flatten().tolist() == pytest.approx(model.model.visual.image_std, abs=1e-7) and split.size == 32


def test_a_task_in_the_store_is_not_drawn_again(task, random_clip, store, monkeypatch):
    drawn = task("Digits")
    monkeypatch.setattr(data, "_drawn", lambda name: pytest.fail("drawn again"))
    again = load_task("Digits", random_clip, store)
    assert torch.equal(again.split("val").images, drawn.split("val").images) and again.digest == drawn.digest
    assert again.name == "Digits" and again.classes == [str(digit) for digit in range(10)]


def test_with_and_without_a_store_a_task_is_the_same(task, random_clip):
    stored, plain = task("Digits"), load_task("Digits", random_clip)
    assert stored.digest == plain.digest != task("Signs").digest
    for name in data.SPLITS:
        assert torch.equal(stored.split(name).images, plain.split(name).images)
        assert torch.equal(stored.split(name).labels, plain.split(name).labels)


@pytest.fixture
def drawing(task, random_clip, monkeypatch):
    """The task Digits with its training images changed in place by a function."""
    splits = task("Digits").splits
    built = {name: (each.images.numpy(), each.labels.numpy()) for name, each in splits.items()}

    def load(change):
        images = built["train"][0].copy()
        change(images)
        changed = {**built, "train": (images, built["train"][1])}
        monkeypatch.setattr(data.miniature_tasks, "build", lambda name: changed)
        return load_task("Digits", random_clip)

    return load


def turn(images):
    images[:] = images[..., ::-1].copy()


def brighten_one(images):
    images[7] = 255 - images[7]


def reverse_order(images):
    images[:] = images[::-1].copy()


@pytest.mark.parametrize("change", [turn, brighten_one, reverse_order], ids=lambda change: change.__name__)
def test_an_edited_drawing_is_another_task(drawing, task, change):
    found, before = drawing(change), task("Digits")
    assert found.digest != before.digest and found.wording == before.wording
    assert abs(found.sketch[0] - before.sketch[0]) > data.SKETCH_TOLERANCE and found.sketch[1:] == before.sketch[1:]


def test_a_drawing_that_is_written_otherwise_is_the_same_task(drawing, task):
    found, before = drawing(lambda images: None), task("Digits")
    assert (found.digest, found.sketch) == (before.digest, before.sketch)


def test_what_another_processor_rounds_otherwise_has_nearly_the_same_sketch(drawing, task):
    def round_otherwise(images):
        images[::250, 0, 16, 16] ^= 1  # 22 pixels, as many as differ for one task on any processor so far

    found, before = drawing(round_otherwise), task("Digits")
    assert found.digest != before.digest and abs(found.sketch[0] - before.sketch[0]) <= 22


def test_an_unknown_task_is_refused(random_clip):
    with pytest.raises(InputError, match="did you mean 'Signs'"):
        load_task("Sings", random_clip)
