"""Datasets of the hub in parquet files: what their labels mean, what is held in memory, and every way to be wrong."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_files import samples, write

from tangent_lib.data import parquet
from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.data.parquet import read_parquet
from tangent_lib.runtime.errors import InputError

SHARD = "data/train-00001-of-00002.parquet"


@pytest.fixture
def hub(tmp_path):
    """Write a hub dataset, and return a function that reads it."""

    def lay(task):
        write(task, "parquet", tmp_path)
        return lambda: read_parquet(tmp_path, load_manifest(task))

    return lay


def change_table(path, change):
    pq.write_table(change(pq.read_table(path)), path, row_group_size=3)


def with_labels(values):
    return lambda table: table.set_column(1, "label", values)


def test_parquet_rows_are_read_by_row_group_and_few_are_kept(tmp_path, monkeypatch):
    write("DTD", "parquet", tmp_path)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", pytest.fail)
    listing = read_parquet(tmp_path, load_manifest("DTD"))
    monkeypatch.undo()
    calls, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *args, **kw: calls.append(args[1]) or real(*args, **kw))
    for item in listing.train:
        item.read()
    assert calls == [0, 1, 0, 1]  # two files of two groups of three
    pixels = [sample.pixels for sample in samples("DTD", "train")]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda item: np.asarray(item.read()), listing.train[::-1]))
    assert all(np.array_equal(a, b) for a, b in zip(found[::-1], pixels, strict=True))


def test_labels_without_names_are_those_of_the_manifest(hub, tmp_path):
    get = hub("MNIST")
    for path in (tmp_path / "mnist").iterdir():
        change_table(path, lambda table: table.replace_schema_metadata(None))
    assert [item.label for item in get().train] == [0, 1, 2] * 4
    change_table(tmp_path / "mnist" / "test-00000-of-00002.parquet", with_labels(pa.array([0, 1, 2, 0, 1, 10])))
    with pytest.raises(InputError, match=r"labels out of range in .*mnist/test-00000-of-00002.parquet: 10"):
        get()


def test_labels_may_be_names(hub, tmp_path):
    get = hub("EuroSAT")
    names = ["annual crop land", "brushland or shrubland", "lake or sea"]
    for path in (tmp_path / "data").iterdir():
        change_table(
            path,
            lambda table: with_labels(pa.array([names[i] for i in table["label"].to_pylist()]))(
                table
            ).replace_schema_metadata(),
        )
    listing = get()
    assert [listing.classes[item.label] for item in listing.train] == names * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_labels(pa.array([0, 1, 2, -1, 1, 2])), "labels out of range in .*: -1; there are 3"),
        (with_labels(pa.array([0, 1, 2, None, 1, 2])), "of type int64, and 1 are missing"),
        (with_labels(pa.array([0.0, 1, 2, 0, 1, 2])), "of type double"),
        (lambda table: table.rename_columns(["picture", "label"]), "has columns picture, label; an image column"),
        (lambda table: table.drop_columns(["image"]), "has columns label; an image column"),
        (lambda table: table.set_column(0, "image", pa.array([b"x"] * 6)), "an image column of structs"),
    ],
)
def test_a_parquet_file_of_another_structure_is_refused(hub, tmp_path, change, message):
    get = hub("DTD")
    change_table(tmp_path / SHARD, change)
    with pytest.raises(InputError, match=f"DTD: .*{message}"):
        get()


def test_images_that_are_only_paths_or_spoilt_are_named(hub, tmp_path):
    def spoil(table):
        rows = table["image"].to_pylist()
        rows[1]["bytes"], rows[5]["bytes"] = None, rows[5]["bytes"][:100]
        return table.set_column(0, "image", pa.array(rows, table.schema.field("image").type))

    get = hub("DTD")
    change_table(tmp_path / SHARD, spoil)
    items = get().train
    with pytest.raises(InputError, match=f"DTD: row 1 of .*{SHARD} has only the path"):
        items[7].read()
    with pytest.raises(InputError, match=f"DTD: row 5 of .*{SHARD} does not decode"):
        items[11].read()


def test_class_names_that_differ_between_files_are_refused(hub, tmp_path):
    def rename(table):
        info = json.loads(table.schema.metadata[b"huggingface"])
        info["info"]["features"]["label"]["names"].reverse()
        return table.replace_schema_metadata({"huggingface": json.dumps(info)})

    get = hub("DTD")
    for path in sorted((tmp_path / "data").glob("test-*")):
        change_table(path, rename)
    with pytest.raises(InputError, match=r"train-00000.* and .*test-00000.* name different classes"):
        get()
    change_table(tmp_path / SHARD, rename)
    with pytest.raises(InputError, match=r"beside .*train-00000.* name different classes"):
        get()


@pytest.mark.parametrize(
    ("there", "become", "message"),
    [
        (SHARD, None, "1 of 2 train files are missing in .*data, the first being train-00001-of-00002.parquet"),
        (SHARD, "data/train-00001-of-00003.parquet", "the train files in .*data are of several versions"),
        (SHARD, "other/train-00001-of-00002.parquet", "several folders .* have parquet files, data, other"),
    ],
)
def test_files_of_a_hub_dataset_that_do_not_belong_together_are_refused(hub, tmp_path, there, become, message):
    get = hub("DTD")
    if become is None:
        (tmp_path / there).unlink()
    else:
        (tmp_path / become).parent.mkdir(exist_ok=True)
        (tmp_path / there).rename(tmp_path / become)
    with pytest.raises(InputError, match=f"DTD: .*{message}"):
        get()


@pytest.mark.parametrize(
    "change", [lambda data: data[:-50], lambda data: b"", lambda data: data[:4] + bytes(3000) + data[3004:]]
)
def test_a_parquet_file_that_is_damaged_is_refused(hub, tmp_path, change):
    get = hub("DTD")
    (tmp_path / SHARD).write_bytes(change((tmp_path / SHARD).read_bytes()))
    with pytest.raises(InputError, match=f"DTD: .*{SHARD} cannot be read as parquet"):
        get().train[6].read()


# -- columns -----------------------------------------------------------------------------------------------------------
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PNG = {"bytes": samples("MNIST", "train")[0].data, "path": None}
CIFAR = {
    "img": {"_type": "Image"},
    "fine_label": {"_type": "ClassLabel", "names": ["apple", "bear", "bee"]},
    "coarse_label": {"_type": "ClassLabel", "names": ["fruit", "animal"]},
}


def own(**more):
    return Manifest(
        name="Own", kind="images", description="of one's own", source="here", licence="none", folders=["own"],
        layouts=["parquet"], templates=["a {}"], **more,
    )  # fmt: skip


def lay(folder, columns, metadata=None):
    """Both splits of a dataset with these columns, and with what the hub would write into the metadata."""
    (folder / "data").mkdir()
    table = pa.table(columns).replace_schema_metadata(None if metadata is None else {"huggingface": metadata})
    for split in ("train", "test"):
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def cifar(tmp_path):
    columns = {"img": pa.array([PNG] * 3, IMAGE), "fine_label": [0, 1, 2], "coarse_label": [0, 1, 1]}
    return lay(tmp_path, columns, json.dumps({"info": {"features": CIFAR}}))


def test_of_two_label_columns_the_manifest_names_one(cifar):
    for label, classes, labels in (
        ("fine_label", ["apple", "bear", "bee"], [0, 1, 2]),
        ("coarse_label", ["fruit", "animal"], [0, 1, 1]),
    ):
        listing = read_parquet(cifar, own(columns={"label": label}))
        assert listing.classes == classes and [item.label for item in listing.train] == labels


def test_two_label_columns_are_named_as_candidates(cifar):
    with pytest.raises(InputError, match=r"fine_label, coarse_label: name .* `columns: {label: fine_label}`"):
        read_parquet(cifar, own())
    with pytest.raises(InputError, match=r"unknown label column 'fin_label': did you mean 'fine_label'\? Allowed: img, "):
        read_parquet(cifar, own(columns={"label": "fin_label"}))


def test_two_image_columns_are_named_as_candidates_unless_one_has_the_usual_name(tmp_path):
    features = json.dumps({"info": {"features": {name: {"_type": "Image"} for name in ("left", "right")}}})
    pair = {name: pa.array([PNG] * 2, IMAGE) for name in ("left", "right")} | {"label": [0, 1]}
    with pytest.raises(InputError, match=r"several image columns, left, right: .* `columns: {image: left}`"):
        read_parquet(lay(tmp_path, pair, features), own(classes=["a", "b"]))
    assert len(read_parquet(tmp_path, own(classes=["a", "b"], columns={"image": "right"})).train) == 2


def test_labels_that_are_coded_names_are_read(tmp_path):
    labels = pa.array(["cat", "dog", "cat"]).dictionary_encode()
    listing = read_parquet(lay(tmp_path, {"image": pa.array([PNG] * 3, IMAGE), "label": labels}), own())
    assert listing.classes == ["cat", "dog"] and [item.label for item in listing.train] == [0, 1, 0]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (["tabby", "dog"], "train alone has cat; test alone has tabby"),
        (["Cat", "dog"], "train alone has cat; test alone has Cat"),
        (["dog"], "train alone has cat"),
        ([0, 1], "train alone has cat, dog; test alone has 0, 1"),
    ],
)
def test_labels_that_are_names_are_the_same_in_both_splits(tmp_path, test, said):
    lay(tmp_path, {"image": pa.array([PNG] * 2, IMAGE), "label": ["cat", "dog"]})
    path = tmp_path / "data/test-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": pa.array([PNG] * len(test), IMAGE), "label": test}), path)
    with pytest.raises(InputError, match=f"Own: train and test have different classes: {said}"):
        read_parquet(tmp_path, own())


@pytest.mark.parametrize("label", ["image", "pair"])
def test_a_label_column_of_structs_is_refused(tmp_path, label):
    lay(tmp_path, {"image": pa.array([PNG] * 2, IMAGE), "pair": pa.array([{"a": 1}] * 2), "name": ["cat", "dog"]})
    with pytest.raises(
        InputError, match=rf"label column '{label}' of .* holds structs, .* another of image, pair, name with"
    ):
        read_parquet(tmp_path, own(columns={"label": label}))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("labels", [["cat", "dog"], [0, 1]], ids=str)
def test_a_split_without_rows_is_named(tmp_path, split, labels):
    table = pa.table({"image": pa.array([PNG] * 2, IMAGE), "label": labels})
    lay(tmp_path, {"image": pa.array([PNG] * 2, IMAGE), "label": labels})
    path = tmp_path / f"data/{split}-00000-of-00001.parquet"
    pq.write_table(table[:0], path)
    with pytest.raises(InputError, match=f"Own: {path} has no rows"):
        read_parquet(tmp_path, own())


@pytest.mark.parametrize(
    "metadata",
    ["{", "[1]", "null", b'{"a": "\xfc"}', "[" * 20_000, '{"info": []}', '{"info": {"features": [{"name": "label"}]}}']
    + [json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": n}}}}) for n in ("ab", {"0": 1}, [1])],
)
def test_metadata_of_another_form_are_refused(tmp_path, metadata):
    columns = {"image": pa.array([PNG] * 2, IMAGE), "label": [0, 1]}
    with pytest.raises(InputError, match=r"metadata 'huggingface' of .*train-0.* are not as the hub writes") as error:
        read_parquet(lay(tmp_path, columns, metadata), own(classes=["a", "b"]))
    assert str(error.value).isprintable()


# -- rows --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("image", [None, PNG], ids=["none", "one"])
def test_rows_that_a_file_cannot_hold_are_refused_before_they_are_read(tmp_path, monkeypatch, image):
    columns = {"image": pa.array([image] * 5_000, IMAGE), "label": [0] * 5_000}
    monkeypatch.setattr(pq.ParquetFile, "read", pytest.fail)
    with pytest.raises(InputError, match=r"has 5,000 rows in .*: their images are missing, or one and the same"):
        read_parquet(lay(tmp_path, columns), own(classes=["a"]))


def test_more_rows_than_the_manifest_has_images_are_refused_before_they_are_read(cifar, monkeypatch):
    read_parquet(cifar, own(columns={"label": "fine_label"}, sizes={"train": 2, "test": 1}))
    monkeypatch.setattr(pq.ParquetFile, "read", pytest.fail)
    with pytest.raises(InputError, match=r"has 3 rows, .*more than the 2 images that the manifest gives: correct `sizes`"):
        read_parquet(cifar, own(columns={"label": "fine_label"}, sizes={"train": 1, "test": 1}))


def test_a_row_group_that_would_fill_the_memory_is_refused(cifar, monkeypatch):
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 100)
    with pytest.raises(InputError, match=r"row group of .*, at most 100 bytes .* row_group_size=1000"):
        read_parquet(cifar, own(columns={"label": "fine_label"}))


def test_an_image_that_is_there_a_thousand_times_is_in_memory_once(tmp_path):
    noise = {"bytes": bytes(PNG["bytes"]) + np.random.default_rng(0).bytes(100_000), "path": None}
    listing = read_parquet(lay(tmp_path, {"image": pa.array([noise] * 1000, IMAGE), "label": [0] * 1000}), own(classes=["a"]))
    before = pa.total_allocated_bytes()
    assert np.array_equal(listing.train[999].read(), samples("MNIST", "train")[0].pixels)
    assert pa.total_allocated_bytes() - before < 1e6


def test_a_row_without_an_image_is_named(tmp_path):
    columns = {"image": pa.array([PNG, PNG, None, {"bytes": None, "path": None}], IMAGE), "label": [0] * 4}
    items = read_parquet(lay(tmp_path, columns), own(classes=["a"])).train
    with pytest.raises(InputError, match=r"row 2 of .*train-00000-of-00001.parquet has no image"):
        items[2].read()
    with pytest.raises(InputError, match=r"row 3 of .* has only the path"):
        items[3].read()


def test_a_class_of_test_alone_is_refused(cifar):
    path = cifar / "data" / "train-00000-of-00001.parquet"
    change_table(path, lambda table: table.slice(1))
    with pytest.raises(InputError, match=r"Own: .*test-.* has classes of which .*train-.* has no images, apple: take both"):
        read_parquet(cifar, own(columns={"label": "fine_label"}))


def test_names_that_differ_in_case_alone_are_perhaps_one_class(tmp_path):
    folder = lay(tmp_path, {"image": pa.array([PNG] * 3, IMAGE), "label": ["cat", "Cat", "dog"]})
    with pytest.raises(InputError, match=r"Own: .* names Cat, cat, which are one class perhaps: .*NAME THERE: name"):
        read_parquet(folder, own())
    assert read_parquet(folder, own(classes={"cat": "cat", "Cat": "big cat", "dog": "dog"})).train[1].label == 0


def test_lists_of_labels_are_refused(tmp_path):
    folder = lay(tmp_path, {"image": pa.array([PNG] * 2, IMAGE), "label": [[0], [1]]})
    with pytest.raises(
        InputError, match=r"Own: labels in .* are of type list<.*: numbers or names are needed, one in each row"
    ):
        read_parquet(folder, own(classes=["a", "b"]))


def test_a_split_whose_name_begins_alike_is_not_taken(cifar):
    train = cifar / "data" / "train-00000-of-00001.parquet"
    train.with_name("train-unlabeled-00000-of-00001.parquet").write_bytes(train.read_bytes())
    assert len(read_parquet(cifar, own(columns={"label": "fine_label"})).train) == 3
