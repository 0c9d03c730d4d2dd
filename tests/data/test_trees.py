"""Image trees: which class a folder is, EuroSAT's own split, and every way in which a tree can be wrong."""

from __future__ import annotations

import shutil

import pytest
import torch
from PIL import Image
from small_files import samples, write

from tangent_lib.data.layouts import LAYOUTS
from tangent_lib.data.listing import labels_of_folders
from tangent_lib.data.manifests import load_manifest
from tangent_lib.runtime.errors import InputError


def read(task, layout, folder, **changes):
    return LAYOUTS[layout].read(folder, load_manifest(task).model_copy(update=changes))


# -- which class a folder is -------------------------------------------------------------------------------------------
def test_a_map_from_folders_orders_classes_by_folder_and_keeps_labels_of_those_that_are_absent():
    manifest = load_manifest("DTD").model_copy(update={"classes": {"b": "bee", "a": "zed", "c": "sea"}})
    assert labels_of_folders(manifest, ["c", "b"]) == (["zed", "bee", "sea"], {"b": 1, "c": 2})


@pytest.mark.parametrize("folder", ["a/apartment_building/outdoor", "a_apartment_building_outdoor",
                                    "apartment_building_outdoor", "apartment building outdoor"])  # fmt: skip
def test_a_sun397_class_is_known_by_each_of_its_spellings(folder):
    names, labels = labels_of_folders(load_manifest("SUN397"), [folder, "a_abbey"])
    assert (names[labels[folder]], names[labels["a_abbey"]]) == ("apartment building outdoor", "abbey")


def test_without_class_names_the_letters_of_sun397_go_if_each_folder_has_one():
    manifest = load_manifest("SUN397").model_copy(update={"classes": None})
    assert labels_of_folders(manifest, ["b_bar", "a_alley_way"])[0] == ["alley way", "bar"]
    assert labels_of_folders(manifest, ["b_bar", "a_alley_way", "x_yard"])[0] == ["a alley way", "b bar", "x yard"]


def test_a_list_of_names_goes_by_the_names_of_folders_or_else_by_their_order():
    manifest = load_manifest("DTD").model_copy(update={"classes": ["river bank", "forest"]})
    assert labels_of_folders(manifest, ["River_Bank", "forest"])[1] == {"River_Bank": 0, "forest": 1}
    assert labels_of_folders(manifest, ["n02", "n01"])[1] == {"n01": 0, "n02": 1}


@pytest.mark.parametrize(
    ("classes", "folders", "message"),
    [
        (["a", "b"], ["a", "b", "c"], "3 class folders, but the manifest names 2. Found: a, b, c"),
        (["a", "b"], ["a"], "1 class folders, but the manifest names 2"),
        ({"a": "x"}, ["a", "b"], "class folders that the manifest does not name: b"),
        ({"a": "x", "b": "y"}, ["a", "b", "B"], "class folders B, b are all the class 'y'"),
    ],
)
def test_folders_that_are_not_the_classes_of_the_manifest_are_refused(classes, folders, message):
    with pytest.raises(InputError, match=f"DTD: .*{message}"):
        labels_of_folders(load_manifest("DTD").model_copy(update={"classes": classes}), folders)


# -- what counts as an image -------------------------------------------------------------------------------------------
def test_files_that_are_no_images_and_hidden_folders_are_left_out_and_deeper_folders_are_not(tmp_path):
    written = write("DTD", "folders-val", tmp_path)
    folder = tmp_path / "train" / "banded"
    (folder / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / ".cache").mkdir()
    (folder / "deeper").mkdir()
    some = next(folder.glob("*.jpg"))
    some.rename(folder / "deeper" / "LOUD.JPEG")
    listing = read("DTD", "folders-val", tmp_path)
    assert len(listing.train) == len(written["train"])
    assert "banded/deeper/LOUD.JPEG" in {item.name for item in listing.train}


def test_imagenet_validation_in_a_folder_of_its_own_goes_before(tmp_path):
    write("ImageNet", "folders-val", tmp_path, images_per_class=2)
    shutil.copytree(tmp_path / "val", tmp_path / "val_in_folder")
    for path in (tmp_path / "val").rglob("*.JPEG"):
        path.write_bytes(b"not this one")
    assert len([item.read() for item in read("ImageNet", "folders-val", tmp_path).test]) == 6


def test_grey_cmyk_and_transparent_images_come_in_rgb(tmp_path):
    write("DTD", "folders-val", tmp_path)
    folder = tmp_path / "val" / "banded"
    for mode, suffix in (("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")):
        Image.new(mode, (5, 4)).save(folder / f"mode{mode}.{suffix}")
    images = {item.name: item.read() for item in read("DTD", "folders-val", tmp_path).test}
    assert len(images) == 12 + 5 and {image.mode for image in images.values()} == {"RGB"}


# -- EuroSAT's own split -----------------------------------------------------------------------------------------------
def test_eurosat_is_split_as_the_paper_says_and_the_same_each_time(tmp_path):
    for i in range(30):
        for name in ("Forest", "River"):
            path = tmp_path / "2750" / name / f"{name}_{i + 1}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    first, again = read("EuroSAT", "eurosat", tmp_path), read("EuroSAT", "eurosat", tmp_path)
    train, test = ({item.name for item in split} for split in (first.train, first.test))
    assert (len(train), len(test)) == (48, 6) and not train & test
    assert [item.name for item in first.train + first.test] == [item.name for item in again.train + again.test]
    files = sorted(path.relative_to(tmp_path / "2750").as_posix() for path in tmp_path.rglob("*.jpg"))
    drawn = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:6]
    assert test == {files[i] for i in drawn}


def test_too_few_images_to_split_are_refused(tmp_path):
    write("EuroSAT", "eurosat", tmp_path, images_per_class=1)
    with pytest.raises(InputError, match=r"EuroSAT: 6 images in .*2750: at least 10 are needed"):
        read("EuroSAT", "eurosat", tmp_path)


def test_the_official_validation_of_resisc45_and_eurosat_is_not_used(tmp_path):
    for task, layout in (("RESISC45", "resisc45"), ("EuroSAT", "folders-splits")):
        write(task, layout, tmp_path / task)
        listing = read(task, layout, tmp_path / task)
        unused = {each.file for each in samples(task, "unused")}
        assert not unused & {item.name.rpartition("/")[2] for item in listing.train + listing.test}
        assert unused <= {path.name for path in (tmp_path / task).rglob("*.jpg")}


# -- what is wrong -----------------------------------------------------------------------------------------------------
TREES = [("DTD", "folders-val", "train", "val"), ("EuroSAT", "folders-splits", "train", "test")]


@pytest.mark.parametrize(("task", "layout", "train", "test"), TREES)
def test_other_classes_in_test_than_in_train_are_refused(task, layout, train, test, tmp_path):
    write(task, layout, tmp_path)
    first, second, *_ = sorted(path.name for path in (tmp_path / train).iterdir())
    shutil.rmtree(tmp_path / train / first)
    shutil.rmtree(tmp_path / test / second)
    with pytest.raises(InputError, match=f"{task}: train and test .*train alone has {second}; test alone has {first}"):
        read(task, layout, tmp_path)


def test_a_val_folder_does_not_serve_as_test_beside_a_test_folder(tmp_path):
    write("DTD", "folders-val", tmp_path)
    (tmp_path / "test" / "unlabelled").mkdir(parents=True)
    assert len(read("DTD", "folders-val", tmp_path).test) == 12
    shutil.copytree(tmp_path / "train", tmp_path / "test", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"DTD: .* has train, val and test"):
        read("DTD", "folders-val", tmp_path)


@pytest.mark.parametrize(("task", "layout", "train", "test"), TREES)
def test_a_class_folder_too_many_is_refused(task, layout, train, test, tmp_path):
    write(task, layout, tmp_path)
    for split in (train, test):
        (tmp_path / split / "stranger").mkdir()
    with pytest.raises(InputError, match=f"{task}: class folders that the manifest does not name: stranger"):
        read(task, layout, tmp_path)


@pytest.mark.parametrize(
    ("task", "layout", "folder"),
    [
        ("DTD", "folders-val", "train/banded"),
        ("SUN397", "folders-val", "val/a_abbey"),
        ("EuroSAT", "eurosat", "2750/SeaLake"),
        ("GTSRB", "gtsrb", "GTSRB/Training/00014"),
    ],
)
def test_a_class_folder_without_images_is_refused(task, layout, folder, tmp_path):
    write(task, layout, tmp_path)
    for path in (tmp_path / folder).iterdir():
        path.unlink()
    with pytest.raises(InputError, match=f"{task}: no images in .*{folder}"):
        read(task, layout, tmp_path)


LISTS = [
    ("DTD", "dtd", "dtd/images", "dtd/labels/test1.txt"),
    ("RESISC45", "resisc45", "NWPU-RESISC45", "resisc45-test.txt"),
    ("SUN397", "sun397", "SUN397", "SUN397/Testing_01.txt"),
]


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS)
def test_listed_images_that_are_missing_are_refused(task, layout, images, list_, tmp_path):
    write(task, layout, tmp_path)
    gone = samples(task, "test")[4]
    (tmp_path / images / gone.key / gone.file).unlink()
    with pytest.raises(InputError, match=f"{task}: 1 of 12 images listed for test are missing .*{gone.key}/{gone.file}"):
        read(task, layout, tmp_path)


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS)
def test_lists_of_other_classes_are_refused(task, layout, images, list_, tmp_path):
    write(task, layout, tmp_path)
    lines = (tmp_path / list_).read_text().splitlines()
    key = samples(task, "test")[0].key
    (tmp_path / list_).write_text("\n".join(line for line in lines if key.rpartition("/")[2] not in line))
    with pytest.raises(InputError, match=f"{task}: train and test have different classes: train alone has {key}"):
        read(task, layout, tmp_path)


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS)
@pytest.mark.parametrize(
    ("content", "message"),
    [(b" \n\n", "lists no images"), (b"\xff\xfe\x00\x01", "cannot be read as a list"), (b"twice", "name .* twice")],
)
def test_spoilt_lists_are_refused(task, layout, images, list_, content, message, tmp_path):
    write(task, layout, tmp_path)
    lines = (tmp_path / list_).read_bytes()
    (tmp_path / list_).write_bytes(lines + lines if content == b"twice" else content)
    with pytest.raises(InputError, match=message):
        read(task, layout, tmp_path)


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS[:2])
def test_a_class_folder_that_no_list_mentions_is_refused(task, layout, images, list_, tmp_path):
    write(task, layout, tmp_path)
    known = "woven" if task == "DTD" else "wetland"
    (tmp_path / images / known).mkdir()
    with pytest.raises(InputError, match=f"{task}: class folders without a listed image .*{known}"):
        read(task, layout, tmp_path)
    (tmp_path / images / known).rename(tmp_path / images / "stranger")
    with pytest.raises(InputError, match=f"{task}: class folders that the manifest does not name: stranger"):
        read(task, layout, tmp_path)


def test_a_sun397_class_that_the_manifest_lacks_is_refused(tmp_path):
    write("SUN397", "sun397", tmp_path)
    with pytest.raises(InputError, match=r"SUN397: .* not name: a/airplane_cabin, a/apartment_building/outdoor"):
        read("SUN397", "sun397", tmp_path, classes={"abbey": "abbey", "church_indoor": "church indoor"})


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"<html>" * 99])
@pytest.mark.parametrize(
    ("task", "layout", "folder"),
    [
        ("Cars", "cars", "cars_test"),
        ("DTD", "dtd", "dtd/images"),
        ("GTSRB", "gtsrb", "GTSRB/Final_Test/Images"),
        ("SUN397", "folders-val", "val"),
    ],
)
def test_an_image_that_does_not_decode_is_named(task, layout, folder, damage, tmp_path):
    write(task, layout, tmp_path)
    item = read(task, layout, tmp_path).test[0]
    path = tmp_path / folder / item.name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        item.read()
    assert str(error.value).startswith(f"{task}: {path} does not decode")
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        item.read()


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS)
def test_an_image_in_the_lists_of_train_and_test_is_refused(task, layout, images, list_, tmp_path):
    write(task, layout, tmp_path)
    train = tmp_path / list_.replace("test", "train").replace("Testing", "Training")
    lines = (tmp_path / list_).read_text().splitlines()
    train.write_text(f"{train.read_text()}\n{lines[0]}\n")
    with pytest.raises(InputError, match=f"{task}: the lists of train and test both name .*, and 0 more"):
        read(task, layout, tmp_path)


@pytest.mark.parametrize(("task", "layout", "images", "list_"), LISTS)
def test_the_mark_that_an_editor_puts_before_a_list_is_no_part_of_it(task, layout, images, list_, tmp_path):
    write(task, layout, tmp_path)
    before = [item.name for item in read(task, layout, tmp_path).test]
    (tmp_path / list_).write_bytes(b"\xef\xbb\xbf" + (tmp_path / list_).read_bytes())
    assert [item.name for item in read(task, layout, tmp_path).test] == before
