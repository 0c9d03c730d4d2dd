"""Preparation: from files in each true format to packed splits, once, from wherever the files are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_files
import torch
from PIL import Image
from prepared import FORMATS, everything, images_of, numbered, offline, write

from tangent_lib.data import prepare
from tangent_lib.data.fetch import FETCH_RECORD, Fetched
from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.packed import open_split
from tangent_lib.data.prepare import check_prepared, ensure_prepared, prepared_folder, read_dataset_card, split_items
from tangent_lib.runtime.errors import InputError


@pytest.fixture
def mnist(tmp_path):
    write("MNIST", "mnist", tmp_path)
    return tmp_path


def known(pairs):
    """Class names by pixels; no two images are alike."""
    found = {(*pixels.shape, pixels.tobytes()): name for pixels, name in pairs}
    assert len(found) == len(pairs)
    return found


# -- the true formats --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("task, layout", FORMATS, ids=lambda value: value)
def test_each_format_is_prepared_image_by_image(task, layout, tmp_path):
    written = write(task, layout, tmp_path)
    card = ensure_prepared(task, tmp_path)
    control = load_manifest(task, tmp_path).control
    assert card.layout == layout and card.classes == small_names(task, tmp_path)
    splits = {split: images_of(open_split(prepared_folder(tmp_path, task), split)) for split in card.content}
    named = {split: known([(x, card.classes[y]) for x, y in pairs]) for split, pairs in splits.items()}
    if layout == "eurosat":
        assert {split: len(pairs) for split, pairs in splits.items()} == {"val": 2, "test": 2, "train": 18}
        together = named["train"] | named["val"] | named["test"]
        assert len(together) == 22 and together.items() <= known(written["any"]).items()
    else:
        assert named["test"] == known(written["test"])
        assert len(named["val"]) == 1 and named["val"].items() <= known(written["train"]).items()
        if control:
            assert "train" not in card.content
        else:
            assert named["train"] | named["val"] == known(written["train"])
            assert not named["train"].keys() & named["val"].keys()
    for split, pairs in splits.items():
        assert card.counts[split] == [sum(y == label for _, y in pairs) for label in range(len(card.classes))]


def small_names(task, data_root):
    """The class names in label order, from the manifest of three classes."""
    classes = load_manifest(task, data_root).classes
    assert len(classes) == 3
    return [classes[folder] for folder in sorted(classes)] if isinstance(classes, dict) else classes


@pytest.mark.parametrize("task, layouts", [("DTD", ("dtd", "folders-val")), ("MNIST", ("mnist", "parquet"))])
def test_the_same_files_in_another_layout_have_the_same_fingerprint(task, layouts, tmp_path):
    for layout in layouts:
        write(task, layout, tmp_path / layout)
    first, second = (offline(task, tmp_path / layout) for layout in layouts)
    assert first.content == second.content and first.counts == second.counts
    assert [first.layout, second.layout] == list(layouts)


# -- splits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count, held_out", [(10, 1), (19, 1), (3760, 376), (60_000, 5000)])
def test_the_last_of_a_permutation_with_seed_0_are_held_out(count, held_out):
    splits = split_items(load_manifest("MNIST"), numbered(count))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    numbers = {split: [int(item.name.removeprefix("train")) for item in splits[split]] for split in ("train", "val")}
    assert numbers == {"train": sorted(order[: count - held_out]), "val": sorted(order[count - held_out :])}
    assert [item.name for item in splits["test"]] == ["test0", "test1", "test2"]


@pytest.mark.parametrize("train, test", [(9, 3), (100, 0)])
def test_too_few_images_are_refused(train, test):
    with pytest.raises(InputError, match=rf"MNIST: {train} training images and {test} test images"):
        split_items(load_manifest("MNIST"), numbered(train, test))


def test_of_a_control_task_training_images_are_not_decoded(tmp_path):
    write("ImageNet", "folders-val", tmp_path)
    (files,) = [path for path in tmp_path.iterdir() if path.name != "manifests"]
    [(kept, _)] = in_folder_of_val(tmp_path)
    for path in sorted(files.glob("train/*/*")):
        with Image.open(path) as image:
            same = np.array_equal(np.asarray(image.convert("RGB")), kept)
        if not same:
            path.write_bytes(b"not an image")
    card = offline("ImageNet", tmp_path, again=True)
    assert card.counts.keys() == card.content.keys() == {"val", "test"} and card.shared == {"val-test": 0}
    assert sum(card.counts["val"]) == 1 and sum(card.counts["test"]) == 12


def in_folder_of_val(data_root):
    offline("ImageNet", data_root)
    return images_of(open_split(prepared_folder(data_root, "ImageNet"), "val"))


# -- once --------------------------------------------------------------------------------------------------------------
def test_what_is_prepared_is_not_read_again(mnist, monkeypatch):
    card = offline("MNIST", mnist)
    before = everything(mnist)
    for name in ("find_layout", "write_split", "fetch"):
        monkeypatch.setattr(prepare, name, lambda *args: pytest.fail("worked again"))
    assert offline("MNIST", mnist) == ensure_prepared("MNIST", mnist) == read_dataset_card(mnist, "MNIST") == card
    assert prepare.prepare("MNIST", mnist, download=True) == card
    assert everything(mnist) == before


def test_the_card_says_what_it_is(mnist):
    card = offline("MNIST", mnist)
    assert (card.name, card.layout, card.source, card.revision) == ("MNIST", "mnist", "files in MNIST", None)
    assert card.classes == ["0", "1", "2"] and list(card.counts) == ["val", "test", "train"]
    assert card.shared == {"train-test": 0, "val-test": 0} and "commit" in card.provenance
    content = json.loads((prepared_folder(mnist, "MNIST") / "card.json").read_text())
    assert content == card.model_dump() and str(mnist) not in json.dumps(content)


def test_prepared_data_need_their_files_no_more(mnist):
    card = offline("MNIST", mnist)
    for path in sorted(mnist.glob("MNIST/**/*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert ensure_prepared("MNIST", mnist) == card
    check_prepared([load_manifest("MNIST", mnist)], mnist)


def test_prepared_again_it_is_the_same(mnist):
    card, before = offline("MNIST", mnist), everything(mnist / "prepared")
    data = bytearray((prepared_folder(mnist, "MNIST") / "test.pixels").read_bytes())
    (prepared_folder(mnist, "MNIST") / "test.pixels").write_bytes(data[:-1])
    (prepared_folder(mnist, "MNIST") / "stray").write_text("")
    again = offline("MNIST", mnist, again=True)
    assert again.content == card.content
    after = everything(mnist / "prepared")
    images = lambda files: {path: data for path, data in files.items() if path.suffix in (".pixels", ".safetensors")}
    assert images(after) == images(before) and after.keys() == before.keys()


def test_without_its_files_nothing_is_removed_to_prepare_it_again(mnist):
    offline("MNIST", mnist)
    (mnist / "MNIST").rename(mnist / "elsewhere")
    before = everything(mnist / "prepared")
    with pytest.raises(InputError, match="no data for MNIST"):
        offline("MNIST", mnist, again=True)
    assert everything(mnist / "prepared") == before


# -- where files are looked for ----------------------------------------------------------------------------------------
def test_files_may_lie_elsewhere(mnist, tmp_path):
    data_root = tmp_path / "other"
    small_files.write_manifest("MNIST", data_root, 3, 12, 12)
    before = everything(mnist / "MNIST")
    card = offline("MNIST", data_root, raw_root=mnist)
    assert card.content == offline("MNIST", mnist).content and everything(mnist / "MNIST") == before
    assert prepared_folder(data_root, "MNIST").is_dir()


def test_with_a_place_for_files_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "fetch", lambda *args: pytest.fail("downloaded"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=rf"no data for MNIST: expected in {tmp_path}/empty/"):
        prepare.prepare("MNIST", tmp_path, raw_root=tmp_path / "empty")
    with pytest.raises(InputError, match=r"no folder .*nowhere.*MNIST.*--from"):
        prepare.prepare("MNIST", tmp_path, raw_root=tmp_path / "nowhere")


def test_data_that_are_nowhere_are_refused_with_all_ways_out(tmp_path):
    manifests = [load_manifest(name) for name in ("Digits", "DTD", "Cars", "ImageNet")]
    with pytest.raises(InputError) as raised:
        check_prepared(manifests, tmp_path)
    text = str(raised.value)
    assert text.startswith(f"no data for DTD (nor for Cars, ImageNet): expected in {tmp_path}/dtd: ")
    for part in (
        "train/<class>/<image>",
        "labels/{train1,val1,test1}.txt",
        "Cimpoi",
        f"tangent data prepare DTD Cars ImageNet --data-root {tmp_path}",
        "--from",
        "-p data_root",
        "-p tasks Signs",
    ):
        assert part in text
    with pytest.raises(InputError, match="no data for DTD: expected"):
        ensure_prepared("DTD", tmp_path)


def test_data_that_can_be_prepared_pass_without_being_decoded(mnist):
    for path in (mnist / "MNIST").rglob("*ubyte.gz"):
        path.write_bytes(b"not even an archive")
    check_prepared([load_manifest("MNIST", mnist), load_manifest("Signs")], mnist)


def test_an_incomplete_layout_is_named_with_what_is_missing(mnist):
    next(mnist.rglob("t10k-labels*")).unlink()
    for use in (lambda: check_prepared([load_manifest("MNIST", mnist)], mnist), lambda: offline("MNIST", mnist)):
        with pytest.raises(InputError, match=r"MNIST is not complete.*t10k-labels"):
            use()


# -- downloads ---------------------------------------------------------------------------------------------------------
def bring(manifest, data_root):
    """As fetch does, without a network."""
    folder = Path(data_root, manifest.folders[0])
    small_files.write("MNIST", "parquet", folder)
    (folder / FETCH_RECORD).write_text(json.dumps({"origin": "https://hub/ylecun/mnist", "revision": "77f3"}))
    return Fetched(folder, "https://hub/ylecun/mnist", "77f3")


def test_what_is_not_there_is_downloaded_and_its_source_recorded(tmp_path, monkeypatch):
    small_files.write_manifest("MNIST", tmp_path, 3, 12, 12)
    monkeypatch.setattr(prepare, "fetch", bring)
    card = prepare.prepare("MNIST", tmp_path, progress=False)
    assert (card.layout, card.source, card.revision) == ("parquet", "https://hub/ylecun/mnist", "77f3")


def test_what_is_there_is_not_downloaded(mnist, monkeypatch):
    monkeypatch.setattr(prepare, "fetch", lambda *args: pytest.fail("downloaded"))
    assert prepare.prepare("MNIST", mnist, progress=False).layout == "mnist"


def test_a_download_that_broke_off_goes_on(mnist, monkeypatch):
    next(mnist.rglob("t10k-labels*")).unlink()
    monkeypatch.setattr(prepare, "fetch", bring)
    assert prepare.prepare("MNIST", mnist, progress=False).layout == "parquet"


def test_if_no_source_works_what_is_missing_is_said_too(mnist, monkeypatch):
    def fail(*args):
        raise InputError("MNIST could not be fetched")

    next(mnist.rglob("t10k-labels*")).unlink()
    monkeypatch.setattr(prepare, "fetch", fail)
    with pytest.raises(InputError, match=r"(?s)MNIST could not be fetched.*MNIST is not complete.*t10k-labels"):
        prepare.prepare("MNIST", mnist)


def test_a_source_without_a_layout_of_the_manifest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "fetch", lambda manifest, root: Fetched(root / "MNIST", "https://hub/x", "1"))
    with pytest.raises(InputError, match=r"MNIST: what came from https://hub/x has none of the layouts"):
        prepare.prepare("MNIST", tmp_path)
