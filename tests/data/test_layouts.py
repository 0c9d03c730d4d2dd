"""Every layout of every dataset, from small files in the true formats: images and class names one by one, and the search."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from PIL import Image
from small_files import CLASSES, LAYOUTS, write, write_all, write_manifest
from torchvision import datasets

from tangent_lib.data.layouts import LAYOUTS as KNOWN
from tangent_lib.data.layouts import find_layout
from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.runtime.errors import InputError

ALL = [(task, layout) for task, layouts in LAYOUTS.items() for layout in layouts]
MAPPED = [  # by folder, or by their names, which the hub's ImageNet spells otherwise
    (task, layout) for task, layout in ALL if isinstance(load_manifest(task).classes, dict) and layout != "parquet-val"
]


def lay(task, layout, data_root, classes=3, own=True):
    """Write a dataset; its manifest, its folder, and what was written."""
    shipped = load_manifest(task)
    written = write(task, layout, data_root / shipped.folders[0], classes=classes)
    if own:
        write_manifest(task, data_root, classes, 12, 12)
    return load_manifest(task, data_root), data_root / shipped.folders[0], written


def contents(items, classes):
    """What class each image is of, by its pixels; no two images are alike."""
    found = {}
    for item in items:
        image = item.read()
        assert image.mode == "RGB"
        pixels = np.asarray(image)
        found[pixels.shape, pixels.tobytes()] = classes[item.label]
    assert len(found) == len(items) == len({item.name for item in items})
    return found


def expected(pairs):
    return {(pixels.shape, pixels.tobytes()): name for pixels, name in pairs}


# -- what is read ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("task", "layout"), ALL)
def test_images_and_class_names_are_those_that_were_written(task, layout, tmp_path):
    manifest, folder, written = lay(task, layout, tmp_path)
    found, where = find_layout(manifest, tmp_path)
    assert (found.name, where) == (layout, folder)
    listing = found.read(where, manifest)
    assert sorted(listing.classes) == sorted(name or key for key, name in list(CLASSES[task].items())[:3])
    splits = {"train": contents(listing.train, listing.classes), "test": contents(listing.test, listing.classes)}
    if "any" in written:
        assert (len(splits["train"]), len(splits["test"])) == (20, 2)
        assert not splits["train"].keys() & splits["test"].keys()
        assert (splits["train"] | splits["test"]).items() < expected(written["any"]).items()
    else:
        assert splits == {split: expected(pairs) for split, pairs in written.items()}


@pytest.mark.parametrize(("task", "layout"), MAPPED)
def test_labels_of_a_part_of_the_classes_are_those_of_the_whole_manifest(task, layout, tmp_path):
    manifest, folder, written = lay(task, layout, tmp_path, own=False)
    listing = KNOWN[layout].read(folder, manifest)
    assert listing.classes == [manifest.classes[key] for key in sorted(manifest.classes)]
    found = contents(listing.train + listing.test, listing.classes)
    assert found.items() <= expected(pair for pairs in written.values() for pair in pairs).items()


@pytest.mark.parametrize("task", ["DTD", "SUN397"])
def test_folders_give_the_same_order_as_the_lists_they_were_made_from(task, tmp_path):
    orders = []
    for layout in LAYOUTS[task][:2]:
        manifest, folder, _ = lay(task, layout, tmp_path / layout)
        listing = KNOWN[layout].read(folder, manifest)
        orders.append([(item.label, item.read().tobytes()) for item in listing.train + listing.test])
    assert orders[0] == orders[1]


@pytest.mark.parametrize(("task", "layout"), ALL)
def test_nothing_is_decoded_before_it_is_asked_for(task, layout, tmp_path, monkeypatch):
    manifest, folder, _ = lay(task, layout, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *args: pytest.fail("decoded"))
        patch.setattr(Image, "fromarray", lambda *args: pytest.fail("decoded"))
        listing = KNOWN[layout].read(folder, manifest)
    assert listing.test[0].read().size


def test_all_nine_lie_side_by_side_with_their_manifests(tmp_path):
    written = write_all(tmp_path, images_per_class=3, classes=2)
    assert len(written) == 9
    for task, splits in written.items():
        manifest = load_manifest(task, tmp_path)
        layout, folder = find_layout(manifest, tmp_path)
        listing = layout.read(folder, manifest)
        assert (manifest.sizes.train, manifest.sizes.test) == (len(listing.train), len(listing.test))
        assert len(listing.classes) == 2
        if "any" not in splits:
            assert contents(listing.test, listing.classes) == expected(splits["test"])


def test_mnist_may_be_uncompressed_and_anywhere_in_its_folder(tmp_path):
    manifest, folder, written = lay("MNIST", "mnist", tmp_path)
    for path in folder.rglob("*.gz"):
        (folder / path.stem.replace("-idx", ".idx")).write_bytes(gzip.decompress(path.read_bytes()))
        path.write_bytes(b"what is uncompressed goes before")
    listing = KNOWN["mnist"].read(folder, manifest)
    assert contents(listing.train, listing.classes) == expected(written["train"])


@pytest.mark.parametrize("place", ["SUN397", "."])
def test_sun397_may_lie_in_one_folder_with_its_lists_or_below_them(place, tmp_path):
    manifest, folder, written = lay("SUN397", "sun397", tmp_path)
    if place == ".":
        shutil.move(folder / "SUN397", tmp_path / "moved")
        folder.rmdir()
        shutil.move(tmp_path / "moved", folder)
    else:
        for path in (folder / "SUN397").glob("*.txt"):
            shutil.move(path, folder / path.name)
    layout, where = find_layout(manifest, tmp_path)
    listing = layout.read(where, manifest)
    assert layout.name == "sun397" and contents(listing.test, listing.classes) == expected(written["test"])


# -- the small files are in the true formats: torchvision's readers, which others wrote, read the same ------------------
def gunzip(folder):
    for path in folder.rglob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))


READERS = {  # the folder of the dataset within torchvision's root, train and test
    "Cars": ("stanford_cars", lambda root: [datasets.StanfordCars(root, split) for split in ("train", "test")]),
    "DTD": ("dtd", lambda root: [datasets.DTD(root, split) for split in ("train", "val", "test")]),
    "EuroSAT": ("eurosat", lambda root: [datasets.EuroSAT(root)]),
    "GTSRB": ("gtsrb", lambda root: [datasets.GTSRB(root, split) for split in ("train", "test")]),
    "MNIST": ("", lambda root: gunzip(root) or [datasets.MNIST(root, train) for train in (True, False)]),
    "SUN397": ("", lambda root: [datasets.SUN397(root)]),
    "SVHN": ("", lambda root: [datasets.SVHN(root, split) for split in ("train", "test")]),
    "ImageNet": ("", lambda root: [datasets.ImageFolder(root / split) for split in ("train", "val")]),
}


@pytest.mark.parametrize("task", READERS)
def test_torchvision_reads_the_same(task, tmp_path, monkeypatch):
    place, readers = READERS[task]
    written = write(task, LAYOUTS[task][0], tmp_path / place)
    # SVHN's reader wants the checksums of the real files
    monkeypatch.setattr(datasets.svhn, "check_integrity", lambda *args: True)
    ours = expected(pair for pairs in written.values() for pair in pairs)
    found = set()
    for reader in readers(tmp_path):
        pixels = [(np.asarray(image.convert("RGB")), label) for image, label in reader]
        theirs = {(image.shape, image.tobytes()): label for image, label in pixels}
        pairs = {(label, ours[key]) for key, label in theirs.items() if key in ours}
        assert len(pairs) == 3 and len({label for label, _ in pairs}) == 3  # one number of theirs for each name of ours
        found |= theirs.keys()
    assert ours.keys() <= found and len(found) - len(ours) == (12 if task == "SUN397" else 0)  # it reads what no list has


# -- the search --------------------------------------------------------------------------------------------------------
def test_layouts_go_before_folders_in_the_order_of_the_manifest(tmp_path):
    manifest = load_manifest("DTD").model_copy(update={"folders": ["a", "b"], "layouts": ["dtd", "folders-val"]})
    write("DTD", "folders-val", tmp_path / "a")
    write("DTD", "folders-val", tmp_path / "b")
    assert find_layout(manifest, tmp_path) == (KNOWN["folders-val"], tmp_path / "a")
    write("DTD", "dtd", tmp_path / "b")
    assert find_layout(manifest, tmp_path) == (KNOWN["dtd"], tmp_path / "b")


def test_where_nothing_lies_nothing_is_found(tmp_path):
    assert find_layout(load_manifest("DTD"), tmp_path) is None
    (tmp_path / "dtd").mkdir()
    assert find_layout(load_manifest("DTD"), tmp_path) is None


MISSING = {
    "Cars": ("cars", "devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"),
    "DTD": ("dtd", "dtd/labels/val1.txt", "dtd/labels/test1.txt"),
    "GTSRB": ("gtsrb", "GT-final_test.csv"),
    "MNIST": ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte.gz"),
    "RESISC45": ("resisc45", "resisc45-train.txt", "resisc45-test.txt"),
    "SUN397": ("sun397", "SUN397/Training_01.txt", "SUN397/Testing_01.txt"),
    "SVHN": ("svhn", "test_32x32.mat"),
}


@pytest.mark.parametrize(("task", "file"), [(task, file) for task, (_, *files) in MISSING.items() for file in files])
def test_a_missing_file_is_named(task, file, tmp_path):
    manifest, folder, _ = lay(task, MISSING[task][0], tmp_path)
    (folder / file).unlink()
    with pytest.raises(InputError) as error:
        find_layout(manifest, tmp_path)
    name = file.rpartition("/")[2].replace("-idx1", "?idx1")
    assert task in str(error.value) and name in str(error.value) and MISSING[task][0] in str(error.value)


@pytest.mark.parametrize(("task", "layout"), [(task, layout) for task, layout in ALL if layout != "eurosat"])
def test_a_dataset_of_which_test_is_missing_is_not_taken(task, layout, tmp_path):
    manifest, folder, _ = lay(task, layout, tmp_path)
    for path in [*folder.rglob("*")]:
        if any(word in path.name.lower() for word in ("test", "t10k", "validation")) or path.name == "val":
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    with pytest.raises(InputError, match=f"{task} is not complete: as layout '{layout}'"):
        find_layout(manifest.model_copy(update={"layouts": [layout]}), tmp_path)


def test_a_complete_layout_makes_up_for_one_that_is_begun(tmp_path):
    manifest, folder, _ = lay("DTD", "folders-val", tmp_path)
    write("DTD", "dtd", folder)
    (folder / "dtd" / "labels" / "test1.txt").unlink()
    assert find_layout(manifest, tmp_path)[0].name == "folders-val"


def test_an_unknown_layout_is_refused():
    manifest = load_manifest("DTD").model_copy(update={"layouts": ["folder"]})
    with pytest.raises(InputError, match="unknown layout 'folder': did you mean 'folders'"):
        find_layout(manifest, "data")


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layouts_of_shipped_manifests_are_known(name):
    layouts = load_manifest(name).layouts
    assert set(LAYOUTS[name]) <= set(layouts) <= KNOWN.keys()
    assert {download.layout for download in load_manifest(name).downloads} <= set(layouts)


def test_a_folder_dataset_of_ones_own_needs_no_class_names(tmp_path):
    write("RESISC45", "folders-splits", tmp_path / "mine")
    manifest = Manifest(
        name="Mine",
        kind="images",
        description="d",
        source="s",
        licence="l",
        folders=["mine"],
        templates=["a {}"],
        layouts=["folders"],
    )
    layout, folder = find_layout(manifest, tmp_path)
    assert layout.read(folder, manifest).classes == ["airplane", "airport", "baseball diamond"]
