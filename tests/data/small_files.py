"""The nine real datasets, made small: a few known images, in the true formats, in each layout in which a dataset may lie.

Images are the same files whatever the layout, and no two are alike. What they decode to is worked out from their bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image
from scipy.io import savemat

from tangent_lib.data.manifests import OWN, load_manifest

# fmt: off
CLASSES = {  # by their folders, or what else stands for them in the true files, with their names in CLIP's wording
    "Cars": dict.fromkeys(("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012",
                           "Acura TL Type-S 2008", "Acura TSX Sedan 2012")),
    "DTD": dict.fromkeys(("banded", "blotchy", "polka-dotted", "potholed", "zigzagged")),
    "EuroSAT": {"AnnualCrop": "annual crop land", "HerbaceousVegetation": "brushland or shrubland", "SeaLake": "lake or sea",
                "Residential": "residential buildings or homes or apartments", "River": "river"},
    "GTSRB": {"00000": "red and white circle 20 kph speed limit", "00006": "end / de-restriction of 80 kph speed limit",
              "00014": "stop", "00013": "red and white upside down triangle yield right-of-way",
              "00015": "empty red and white circle"},
    "MNIST": dict.fromkeys("0123456789"),
    "RESISC45": {"airport": "airport", "baseball_diamond": "baseball diamond", "airplane": "airplane",
                 "ground_track_field": "ground track field", "thermal_power_station": "thermal power station"},
    "SUN397": {"a/abbey": "abbey", "a/apartment_building/outdoor": "apartment building outdoor", "a/airplane_cabin":
               "airplane cabin", "c/church/indoor": "church indoor", "t/tower": "tower"},
    "SVHN": dict.fromkeys("0123456789"),
    "ImageNet": {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark", "n01491361": "tiger shark",
                 "n01494475": "hammerhead shark"},
}
# fmt: on
HUB_NAMES = {  # where they are not those of CLIP
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n01484850": "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias",
    "n01491361": "tiger shark, Galeocerdo cuvieri",
    "n01494475": "hammerhead, hammerhead shark",
}
LAYOUTS = {  # the first is the one in which the dataset is distributed, but for the hub's
    "Cars": ("cars", "folders", "parquet"),
    "DTD": ("dtd", "folders-val", "parquet"),
    "EuroSAT": ("eurosat", "folders-splits", "parquet"),
    "GTSRB": ("gtsrb", "parquet"),
    "MNIST": ("mnist", "parquet"),
    "RESISC45": ("resisc45", "parquet"),
    "SUN397": ("sun397", "folders-val", "parquet"),
    "SVHN": ("svhn", "parquet"),
    "ImageNet": ("folders-val", "parquet-val"),
}
PARQUET_FOLDERS = {"MNIST": "mnist", "SVHN": "cropped_digits"}


@dataclass(frozen=True)
class Sample:
    """One image: its class, by number among those written, and its file."""

    number: int
    key: str
    name: str
    file: str
    data: bytes

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.data)).convert("RGB"))


def samples(task: str, split: str, images_per_class: int = 4, classes: int = 3) -> list[Sample]:
    """Images of a split, classes taking turns."""
    keys = list(CLASSES[task])[:classes]
    assert len(keys) == classes, f"{task} has {len(keys)} classes here"
    pairs = [(i, number) for i in range(images_per_class) for number in range(classes)]
    return [
        Sample(number, keys[number], CLASSES[task][keys[number]] or keys[number], _file(task, split, keys[number], i, place),
               _encode(task, f"{task} {split} {keys[number]} {i}"))
        for place, (i, number) in enumerate(pairs)
    ]  # fmt: skip


def write(
    task: str, layout: str, folder: Path, images_per_class: int = 4, classes: int = 3
) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Write a dataset into its folder, and return the pixels and the class name of each image, by split.

    EuroSAT's own layout has no splits: what is returned is under ``any``.
    """
    train, test, unused = (samples(task, split, images_per_class, classes) for split in ("train", "test", "unused"))
    _WRITERS[layout](task, folder, train, test, unused)
    splits = {"any": train + test} if layout == "eurosat" else {"train": train, "test": test}
    return {split: [(each.pixels, each.name) for each in some] for split, some in splits.items()}


def write_manifest(task: str, data_root: Path, classes: int, train: int, test: int) -> None:
    """The book's manifest, with only the classes and sizes of what was written, as one of the reader's own."""
    manifest = load_manifest(task)
    wanted = [name or key for key, name in CLASSES[task].items()][:classes]
    kept = manifest.classes
    if isinstance(kept, dict):
        kept = {folder: name for folder, name in kept.items() if name in wanted}
    elif kept is not None:
        kept = [name for name in kept if name in wanted]
    assert kept is None or len(kept) == classes, f"the manifest of {task} does not name all of {wanted}"
    content = manifest.model_dump(exclude_none=True) | {"sizes": {"train": train, "test": test}}
    path = data_root / OWN / f"{task}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content if kept is None else content | {"classes": kept}, sort_keys=False))


def write_all(
    data_root: Path, images_per_class: int = 4, classes: int = 3, tasks: tuple[str, ...] = tuple(LAYOUTS)
) -> dict[str, dict[str, list[tuple[np.ndarray, str]]]]:
    """Write datasets as they are distributed, each in the first folder that its manifest names, and manifests for them."""
    written = {}
    for task in tasks:
        layout = LAYOUTS[task][0]
        written[task] = write(task, layout, data_root / load_manifest(task).folders[0], images_per_class, classes)
        train = test = images_per_class * classes
        if layout == "eurosat":
            test = 2 * images_per_class * classes // 10
            train = 2 * images_per_class * classes - 2 * test
        write_manifest(task, data_root, classes, train, test)
    return written


def _file(task: str, split: str, key: str, i: int, place: int) -> str:
    """A file's name as the dataset has it."""
    shift = {"train": 0, "test": 1, "unused": 2}[split] * 1000 + i
    return {
        "Cars": f"{place + 1:05d}.jpg",
        "DTD": f"{key}_{shift:04d}.jpg",
        "EuroSAT": f"{key}_{shift + 1}.jpg",
        "GTSRB": f"{i // 2:05d}_{i % 2:05d}.ppm" if split == "train" else f"{place:05d}.ppm",
        "MNIST": "",
        "RESISC45": f"{key}_{shift:03d}.jpg",
        "SUN397": f"sun_{zlib.crc32(f'{split}{key}{i}'.encode()):08x}.jpg",
        "SVHN": "",
        "ImageNet": f"{key}_{i}.JPEG" if split == "train" else f"ILSVRC2012_val_{place:08d}.JPEG",
    }[task]


def _encode(task: str, seed: str) -> bytes:
    """A picture that the seed determines, encoded as the dataset's files are; digits, which have no files, without loss."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    size = {"MNIST": (28, 28), "SVHN": (32, 32)}.get(task) or tuple(rng.integers(40, 72, 2))
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((int(size[1]), int(size[0])), Image.BICUBIC)
    kind = {"GTSRB": "PPM", "MNIST": "PNG", "SVHN": "PNG"}.get(task, "JPEG")
    file = io.BytesIO()
    (coarse.convert("L") if task == "MNIST" else coarse).save(file, kind)
    return file.getvalue()


def _put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _lines(path: Path, lines: list[str]) -> None:
    _put(path, "".join(f"{line}\n" for line in lines))


def _folders(task: str, folder: Path, train, test, unused, for_test: str, for_unused: str | None = None) -> None:
    """As the released code has them: SUN397 with the letter in the folder's name, nested classes in one folder."""
    for split, some in (("train", train), (for_test, test), (for_unused, unused if for_unused else [])):
        for each in some:
            _put(folder / split / each.key.replace("/", "_") / each.file, each.data)


def _cars(task: str, folder: Path, train, test, unused) -> None:
    kind = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    places = {"train": folder / "devkit" / "cars_train_annos.mat", "test": folder / "cars_test_annos_withlabels.mat"}
    (folder / "devkit").mkdir(parents=True, exist_ok=True)
    for split, some in (("train", train), ("test", test)):
        rows = np.zeros((1, len(some)), kind)
        for i, each in enumerate(some):
            rows[0, i] = (*(np.uint16([[v]]) for v in (1, 2, 30, 40)), np.uint8([[each.number + 1]]), each.file)
            _put(folder / f"cars_{split}" / each.file, each.data)
        savemat(places[split], {"annotations": rows})
    names = {each.number: each.key for each in train}
    cell = np.empty((1, len(names)), object)
    cell[0] = [names[i] for i in range(len(names))]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cell})


def _dtd(task: str, folder: Path, train, test, unused) -> None:
    held, trained = train[: len(train) // 3], train[len(train) // 3 :]
    for name, some in (
        ("train1", trained),
        ("val1", held),
        ("test1", test),
        ("train2", test),
        ("val2", unused),
        ("test2", train),
    ):
        _lines(folder / "dtd" / "labels" / f"{name}.txt", [f"{each.key}/{each.file}" for each in some])
    for each in train + test + unused:
        _put(folder / "dtd" / "images" / each.key / each.file, each.data)


def _eurosat(task: str, folder: Path, train, test, unused) -> None:
    for each in train + test:
        _put(folder / "2750" / each.key / each.file, each.data)


def _gtsrb(task: str, folder: Path, train, test, unused) -> None:
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    lines = {each.file: f"{each.file};53;54;6;5;48;49;{int(each.key)}" for each in test}
    _put(folder / "GT-final_test.csv", "\r\n".join([head, *lines.values(), ""]))
    for each in train:
        _put(folder / "GTSRB" / "Training" / each.key / each.file, each.data)
        _put(folder / "GTSRB" / "Training" / each.key / f"GT-{each.key}.csv", f"{head}\r\n")
    for each in test:
        _put(folder / "GTSRB" / "Final_Test" / "Images" / each.file, each.data)


def _mnist(task: str, folder: Path, train, test, unused) -> None:
    for prefix, some in (("train", train), ("t10k", test)):
        images = np.stack([each.pixels[..., 0] for each in some])
        labels = np.array([int(each.name) for each in some], np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
            _put(folder / "MNIST" / "raw" / f"{prefix}-{kind}-ubyte.gz", gzip.compress(head + array.tobytes()))


def _resisc45(task: str, folder: Path, train, test, unused) -> None:
    for split, some in (("train", train), ("test", test), ("val", unused)):
        _lines(folder / f"resisc45-{split}.txt", [each.file for each in some])
        for each in some:
            _put(folder / "NWPU-RESISC45" / each.key / each.file, each.data)


def _sun397(task: str, folder: Path, train, test, unused) -> None:
    root = folder / "SUN397"
    for name, some in (("Training_01", train), ("Testing_01", test), ("Training_02", test), ("Testing_02", train)):
        _lines(root / f"{name}.txt", [f"/{each.key}/{each.file}" for each in some])
    _lines(root / "ClassName.txt", sorted({f"/{each.key}" for each in train}))
    for each in train + test + unused:
        _put(root / each.key / each.file, each.data)


def _svhn(task: str, folder: Path, train, test, unused) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, some in (("train", train), ("test", test), ("extra", unused)):
        labels = np.array([[int(each.name) or 10] for each in some], np.uint8)
        images = np.stack([each.pixels for each in some], -1)
        savemat(folder / f"{split}_32x32.mat", {"X": images, "y": labels}, do_compression=True)


def _parquet(task: str, folder: Path, train, test, unused, for_test: str) -> None:
    names = {each.number: HUB_NAMES.get(each.key, each.name) for each in train}
    features = {
        "image": {"_type": "Image"},
        "label": {"names": [names[i] for i in range(len(names))], "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    where = folder / PARQUET_FOLDERS.get(task, "data")
    where.mkdir(parents=True, exist_ok=True)
    for split, some in (("train", train), (for_test, test), ("extra", unused)):
        for i, shard in enumerate((some[: len(some) // 2], some[len(some) // 2 :])):
            rows = [{"image": {"bytes": each.data, "path": each.file or None}, "label": each.number} for each in shard]
            table = pa.Table.from_pylist(rows, schema)
            pq.write_table(table, where / f"{split}-{i:05d}-of-00002.parquet", row_group_size=3)


_WRITERS = {
    "cars": _cars,
    "dtd": _dtd,
    "eurosat": _eurosat,
    "folders": partial(_folders, for_test="test"),
    "folders-splits": partial(_folders, for_test="test", for_unused="val"),
    "folders-val": partial(_folders, for_test="val"),
    "gtsrb": _gtsrb,
    "mnist": _mnist,
    "parquet": partial(_parquet, for_test="test"),
    "parquet-val": partial(_parquet, for_test="validation"),
    "resisc45": _resisc45,
    "sun397": _sun397,
    "svhn": _svhn,
}
