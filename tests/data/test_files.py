"""Matlab, IDX and CSV files: which class a number or a name is, and every way in which such files can be wrong."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from small_files import samples, write
from torchvision.models._meta import _IMAGENET_CATEGORIES

from tangent_lib.data.files import _idx
from tangent_lib.data.layouts import LAYOUTS
from tangent_lib.data.listing import labels_of_names
from tangent_lib.data.manifests import load_manifest
from tangent_lib.runtime.errors import InputError

NO_CLASSES = {"classes": None}


def read(task, layout, folder, **changes):
    return LAYOUTS[layout].read(folder, load_manifest(task).model_copy(update=changes))


@pytest.fixture
def small(tmp_path):
    """Write a dataset in a layout, do something to one of its files, and return a function that reads it."""

    def spoil(task, layout, file=None, change=None, **changes):
        write(task, layout, tmp_path)
        if file is not None:
            (tmp_path / file).write_bytes(change((tmp_path / file).read_bytes()))
        return lambda: read(task, layout, tmp_path, **changes)

    return spoil


def again(file, change):
    """A Matlab file's variables, changed and written anew."""

    def apply(path):
        content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
        savemat(path, change(content))

    return file, apply


# -- which class a name is ---------------------------------------------------------------------------------------------
def test_imagenet_by_its_first_names_keeps_its_order():
    names, labels = labels_of_names(load_manifest("ImageNet"), list(_IMAGENET_CATEGORIES), "x")
    assert labels == list(range(1000)) and names[517] == "construction crane" and _IMAGENET_CATEGORIES[517] == "crane"


def test_names_in_another_order_give_other_labels():
    manifest = load_manifest("EuroSAT")
    names, _ = labels_of_names(manifest, ["River"], "x")
    turned = [name.upper() for name in names[::-1]]
    assert labels_of_names(manifest, turned, "x")[1] == list(range(10))[::-1]


def test_punctuation_in_names_makes_no_difference():
    manifest = load_manifest("Cars").model_copy(update={"classes": ["Ram C/V Cargo Van 2012", "Audi TT 2011"]})
    assert labels_of_names(manifest, ["audi tt 2011", "Ram C-V Cargo Van 2012"], "x")[1] == [1, 0]


@pytest.mark.parametrize("found", [["river", "quarry"], ["River", "river"], [f"class {i}" for i in range(10)]], ids=len)
def test_names_that_the_manifest_does_not_have_are_refused(found):
    with pytest.raises(InputError, match=r"EuroSAT: here.parquet names \d+ classes, the manifest 10"):
        labels_of_names(load_manifest("EuroSAT"), found, "here.parquet")


def test_without_classes_in_the_manifest_those_of_the_files_are_used(tmp_path):
    write("Cars", "cars", tmp_path / "cars")
    assert read("Cars", "cars", tmp_path / "cars", **NO_CLASSES).classes[1] == "Acura RL Sedan 2012"
    write("RESISC45", "parquet", tmp_path / "hub")
    assert read("RESISC45", "parquet", tmp_path / "hub", **NO_CLASSES).classes == [
        "airport",
        "baseball diamond",
        "airplane",
    ]
    for task in ("MNIST", "SVHN"):
        write(task, task.lower(), tmp_path / task)
        with pytest.raises(InputError, match="names no classes: give `classes` in the manifest"):
            read(task, task.lower(), tmp_path / task, **NO_CLASSES)


# -- digits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("task", ["MNIST", "SVHN"])
def test_all_ten_digits_keep_their_order_and_svhn_writes_zero_as_ten(task, tmp_path):
    write(task, task.lower(), tmp_path, classes=10, images_per_class=2)
    if task == "SVHN":
        assert set(loadmat(tmp_path / "train_32x32.mat")["y"].flat) == set(range(1, 11))
    listing = read(task, task.lower(), tmp_path)
    assert [listing.classes[item.label] for item in listing.train] == list("0123456789") * 2
    for item, sample in zip(listing.test, samples(task, "test", 2, 10), strict=True):
        assert np.array_equal(item.read(), sample.pixels)


def test_one_image_is_enough(tmp_path):
    for task in ("MNIST", "SVHN", "Cars"):
        layout = task.lower()
        write(task, layout, tmp_path / task, classes=1, images_per_class=1)
        (item,) = read(task, layout, tmp_path / task).test
        assert np.array_equal(item.read(), samples(task, "test", 1, 1)[0].pixels)


RAW = "MNIST/raw/t10k-{}-ubyte.gz"


def packed(change):
    return lambda data: gzip.compress(change(gzip.decompress(data)))


def test_of_a_compressed_and_a_plain_idx_file_both_count(tmp_path):
    write("MNIST", "mnist", tmp_path)
    path = tmp_path / RAW.format("labels-idx1")
    plain = gzip.decompress(path.read_bytes())
    path.with_suffix("").write_bytes(plain)
    before = [item.label for item in read("MNIST", "mnist", tmp_path).test]
    path.with_suffix("").write_bytes(plain[:-1] + bytes([9 - plain[-1]]))
    with pytest.raises(InputError, match=r"MNIST: .*labels-idx1-ubyte and .*labels-idx1-ubyte.gz are both there and differ"):
        read("MNIST", "mnist", tmp_path)
    path.with_suffix("").unlink()
    path.rename(path.with_suffix(""))  # compressed still
    assert [item.label for item in read("MNIST", "mnist", tmp_path).test] == before


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_idx_files_of_several_folders_are_not_taken_for_one_dataset(tmp_path, kind):
    write("MNIST", "mnist", tmp_path)
    path = tmp_path / RAW.format(kind)
    (tmp_path / "other").mkdir()
    path.rename(tmp_path / "other" / path.name)
    with pytest.raises(InputError, match=rf"MNIST: .*other/{path.name}.* are not in one folder"):
        read("MNIST", "mnist", tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("images-idx3", packed(lambda data: data[:-1]), r"truncated or damaged: 9407 bytes .* 12 x 28 x 28 needs 9408"),
        ("images-idx3", packed(lambda data: data + b"x"), "truncated or damaged: more bytes of .* 9408"),
        ("images-idx3", packed(lambda data: data[:9]), "no IDX file"),
        ("images-idx3", lambda data: data[: len(data) // 2], "cannot be read"),
        ("images-idx3", lambda data: b"<html>", "cannot be read"),
        ("images-idx3", packed(lambda data: b"\0\0\x0d" + data[3:]), "no IDX file of bytes with 3 axes"),
        ("labels-idx1", packed(lambda data: data[:7] + b"\x0b" + data[8:-1]), "12 images in .*, 11 labels in"),
        (
            "labels-idx1",
            packed(lambda data: data[:-1] + b"\x0a"),
            "labels out of range in .*t10k-labels.*: 10; .* 0 to 9",
        ),
    ],
)
def test_a_spoilt_idx_file_is_refused(small, kind, change, message):
    with pytest.raises(InputError, match=f"MNIST: .*{message}"):
        small("MNIST", "mnist", RAW.format(kind), change)()


def test_a_damaged_stream_within_an_idx_file_is_refused(small):
    flip = lambda data: data[:40] + bytes(255 - value for value in data[40:80]) + data[80:]
    with pytest.raises(InputError, match=r"MNIST: .*idx3-ubyte.gz cannot be read \("):
        small("MNIST", "mnist", RAW.format("images-idx3"), flip)()


def test_memory_for_an_idx_file_is_bounded_by_what_it_can_hold(tmp_path):
    path = tmp_path / "zeros-idx3-ubyte.gz"
    with gzip.open(path, "wb") as file:
        file.write(bytes((0, 0, 8, 3)) + np.array([1, 28, 28], ">i4").tobytes())
        for _ in range(200):
            file.write(bytes(10**6))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"more bytes of values, where its header 1 x 28 x 28 needs 784"):
        _idx(path, 3, "MNIST")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


# -- Matlab files ------------------------------------------------------------------------------------------------------
def other_label(content):
    return content | {"y": np.where(np.arange(12)[:, None] == 3, 11, content["y"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: {"X": content["X"]}, "no variable y"),
        (lambda content: {"images": 1}, "no variable X, y"),
        (lambda content: content | {"X": content["X"].transpose(3, 0, 1, 2)}, r"X has shape \(12, 32, 32, 3\)"),
        (lambda content: content | {"X": content["X"] / 255}, "type float64"),
        (lambda content: content | {"y": content["y"][:-1]}, "y has 11 labels"),
        (other_label, "labels out of range in .*train_32x32.mat: 11"),
    ],
)
def test_an_svhn_file_of_another_structure_is_refused(small, tmp_path, change, message):
    get = small("SVHN", "svhn")
    file, apply = again(tmp_path / "train_32x32.mat", change)
    apply(file)
    with pytest.raises(InputError, match=f"SVHN: .*{message}"):
        get()


def without(field):
    def drop(content):
        rows = content["annotations"]
        kept = np.zeros(rows.shape, [(name, object) for name in rows.dtype.names if name != field])
        for name in kept.dtype.names:
            kept[name] = rows[name]
        return {"annotations": kept}

    return drop


def number_too_high(content):
    content["annotations"][0, 2]["class"] = np.uint8([[4]])
    return content


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "cars_test_annos_withlabels.mat",
            without("class"),
            "have no field 'class'.*cars_test_annos.mat does not serve",
        ),
        ("devkit/cars_train_annos.mat", without("fname"), "have no field 'fname'"),
        ("devkit/cars_train_annos.mat", lambda content: {"annotations": np.arange(3)}, "have no field 'fname'"),
        (
            "devkit/cars_train_annos.mat",
            number_too_high,
            "labels out of range in .*cars_train_annos.mat .*: 3; there are 3",
        ),
        ("devkit/cars_meta.mat", lambda content: {"names": 1}, "no variable class_names"),
    ],
)
def test_a_cars_file_of_another_structure_is_refused(small, tmp_path, file, change, message):
    get = small("Cars", "cars")
    file, apply = again(tmp_path / file, change)
    apply(file)
    with pytest.raises(InputError, match=f"Cars: .*{message}"):
        get()


@pytest.mark.parametrize(("task", "file"), [("Cars", "devkit/cars_meta.mat"), ("SVHN", "test_32x32.mat")])
@pytest.mark.parametrize("change", [lambda data: data[:200], lambda data: b"", lambda data: b"\x89HDF\r\n\x1a\n" * 99])
def test_what_is_no_matlab_file_is_refused(small, task, file, change):
    with pytest.raises(InputError, match=f"{task}: .*{file} cannot be read as a Matlab file"):
        small(task, task.lower(), file, change)()


def test_cars_images_that_are_missing_are_named(small, tmp_path):
    get = small("Cars", "cars")
    (tmp_path / "cars_test" / "00005.jpg").unlink()
    with pytest.raises(InputError, match=r"Cars: 1 of 12 images listed in .*withlabels.mat are missing .* 00005.jpg"):
        get()


# -- GTSRB -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b";", b","), "not the table of test labels"),
        (lambda data: data.replace(b"ClassId", b"Class"), "not the table of test labels .KeyError: 'ClassId'"),
        (lambda data: data.replace(b";14\r", b";stop\r"), "not the table of test labels .ValueError.*stop"),
        (lambda data: data.replace(b";14\r", b";\r"), "not the table of test labels"),
        (lambda data: data.split(b"\n")[0], "lists no images"),
        (lambda data: data.replace(b";14\r", b";43\r"), "labels out of range in .*GT-final_test.csv: 43"),
        (lambda data: data.replace(b"00004.ppm", b"99999.ppm"), "1 of 12 images listed .* missing .* 99999.ppm"),
    ],
)
def test_a_spoilt_gtsrb_table_is_refused(small, change, message):
    with pytest.raises(InputError, match=f"GTSRB: .*{message}"):
        small("GTSRB", "gtsrb", "GT-final_test.csv", change)()


def test_a_table_that_names_one_image_twice_is_refused(tmp_path):
    write("GTSRB", "gtsrb", tmp_path)
    table = next(tmp_path.rglob("GT-final_test.csv"))
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(InputError, match=r"GTSRB: .*GT-final_test.csv names \S+ twice, so that its label is not sure"):
        LAYOUTS["gtsrb"].read(tmp_path, load_manifest("GTSRB"))
