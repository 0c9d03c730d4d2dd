"""Datasets of one's own from the files to the packed form: classes that are none, splits that do not match, places."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cases import Case
from PIL import Image

from tangent_lib.cli.app import app
from tangent_lib.data.prepare import prepare

CLASSES = "classes that are none, or not the same in train and test"
SIZE = "images and manifests that would take the memory or the time"
ASIDE = "other manifests beside one's own"
PLACES = "places where prepared images cannot go, or go by a link"
LINKS = "links to other trees beside what is read"
TWO = ", classes: [a, b]"
IDX = "MNIST whose files are of two datasets"

MANIFEST = (
    "{name: Own, kind: images, description: d, source: s, licence: l, folders: [own], templates: ['a {}.'], layouts: [%s]%s}"
)


def png(*colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(file, "PNG")
    return file.getvalue()


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def prepared(lay: Callable[[Path], object], layout: str = "folders", more: str = "") -> Callable[[Path], object]:
    """Classes and images of each split, after a dataset of one's own was laid into its folder and prepared."""

    def run(folder: Path) -> object:
        put(folder / "manifests" / "Own.yaml", MANIFEST % (layout, more))
        lay(folder / "own")
        card = prepare("Own", folder, download=False, progress=False)
        return card.classes, {split: sum(counts) for split, counts in card.counts.items()}

    return run


# -- MNIST -------------------------------------------------------------------------------------------------------------
def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">i4").tobytes() + values.astype(np.uint8).tobytes()


def mnist(place: Callable[[str], str] = lambda name: name, pack: Callable[[bytes], bytes] = bytes, **more: bytes):
    """Twelve images of each split where a function puts them, packed by another, and more files by their names."""

    def lay(root: Path) -> None:
        for split in ("train", "t10k"):
            put(root / place(f"{split}-images-idx3-ubyte"), pack(idx(np.arange(48).reshape(12, 2, 2) + len(split))))
            put(root / place(f"{split}-labels-idx1-ubyte"), pack(idx(np.arange(12) % 2)))
        for name, data in more.items():
            put(root / name, data)

    return prepared(lay, "mnist", TWO)


PAIRED = (["a", "b"], {"val": 1, "test": 12, "train": 11})
TWIN, LABELS = "train-labels-idx1-ubyte.gz", idx(np.arange(12) % 2)
ELSEWHERE = "not in one folder, .*put the four files of one together"
PAIRS = [
    Case(IDX, "compressed under a plain name", mnist(pack=gzip.compress), right=PAIRED),
    Case(IDX, "compressed and not, equal", mnist(**{TWIN: gzip.compress(LABELS)}), right=PAIRED),
    Case(IDX, "compressed and not, different", mnist(**{TWIN: gzip.compress(LABELS[::-1])}), refused="there and differ"),
    Case(IDX, "compressed and not, longer", mnist(**{TWIN: gzip.compress(LABELS + b"x")}), refused="there and differ"),
    Case(IDX, "a twin that is none", mnist(**{TWIN: b"no gzip"}), right=PAIRED),
    Case(IDX, "a twin that is cut off", mnist(**{TWIN: gzip.compress(LABELS)[:-9]}), right=PAIRED),
    Case(IDX, "labels in another folder", mnist(lambda name: name if "images" in name else f"x/{name}"), refused=ELSEWHERE),
    Case(IDX, "test in another folder", mnist(lambda name: name if "train" in name else f"x/{name}"), refused=ELSEWHERE),
    Case(IDX, "all in two folders", mnist(lambda name: f"x/{name}", **{"y/train-labels-idx1-ubyte": LABELS}), right=PAIRED),
    Case(IDX, "a folder of each file's name", mnist(lambda name: f"{name}/{name}"), right=PAIRED),
]  # fmt: skip


# -- classes -----------------------------------------------------------------------------------------------------------
def tree(form: str, classes: str = "ab") -> Callable[[Path], None]:
    """Six training and two test images of each class, in folders called by the form."""

    def lay(root: Path) -> None:
        for split, count in (("train", 6), ("test", 2)):
            for number, name in enumerate(classes):
                for i in range(count):
                    put(root / form.format(split, name) / f"{i}.png", png(i, number, count))

    return lay


def parquet(train: list, test: list) -> Callable[[Path], None]:
    """Files of the hub with these labels."""

    def lay(root: Path) -> None:
        for split, labels in (("train", train), ("test", test)):
            images = pa.array([{"bytes": png(i, len(labels), 0), "path": None} for i in range(len(labels))], STRUCT)
            kind = pa.string() if isinstance([*labels, ""][0], str) else pa.int64()
            put(root / "data" / "README.md", "")
            pq.write_table(pa.table({"image": images, "label": pa.array(labels, kind)}), root / f"data/{split}-0.parquet")

    return lay


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
AS_NAMED = (["a", "b"], {"val": 1, "test": 4, "train": 11})
PETS = ["cat", "dog"] * 6
SPLITS = [
    Case(CLASSES, "none amiss", prepared(tree("{}/{}")), right=AS_NAMED),
    Case(CLASSES, "a folder around the class folders", prepared(tree("{}/images/{}")), refused="class, 'images'; "),
    Case(CLASSES, "one class", prepared(tree("{}/{}", "a")), refused="own are of 1 class, 'a'; at least 2"),
    Case(CLASSES, "one name in parquet files", prepared(parquet(["cat"] * 12, ["cat"]), "parquet"), refused="1 class, 'cat'"),
    Case(CLASSES, "one number in parquet files", prepared(parquet([1] * 12, [1]), "parquet", TWO),
         refused="1 class, 'b'"),
    Case(CLASSES, "another name in test", prepared(parquet(PETS, ["tabby", "dog"]), "parquet"), refused="train alone.* cat"),
    Case(CLASSES, "another case in test", prepared(parquet(PETS, ["Cat", "dog"]), "parquet"), refused="test alone has Cat"),
    Case(CLASSES, "test files without rows", prepared(parquet(PETS, []), "parquet"), refused="test-0.parquet has no rows"),
    Case(CLASSES, "images as labels", prepared(parquet(PETS, PETS), "parquet", ", columns: {label: image}"),
         refused="column 'image' of .* holds structs"),
]  # fmt: skip


# -- links -------------------------------------------------------------------------------------------------------------
def beside(lay: Callable[[Path], object]) -> Callable[[Path], None]:
    """A dataset with a link to a tree beside it, in which others lead in a ring or to nothing."""

    def linked(root: Path) -> None:
        lay(root)
        put(root.parent / "disk/a/b/c/0.png", b"no image")
        for name, target in (("disk/a/b/up", ".."), ("disk/a/b/c/gone", "nowhere"), ("own/backup", "../disk")):
            (root.parent / name).symlink_to(target)

    return linked


def digits(root: Path) -> None:
    for split in ("train", "t10k"):
        put(root / f"{split}-images-idx3-ubyte", idx(np.arange(48).reshape(12, 2, 2)))
        put(root / f"{split}-labels-idx1-ubyte", LABELS)


OUTSIDE = [
    Case(LINKS, "class folders", prepared(beside(tree("{}/{}"))), right=AS_NAMED),
    Case(LINKS, "parquet files", prepared(beside(parquet(PETS, PETS)), "parquet"), right=(["cat", "dog"], PAIRED[1])),
    Case(LINKS, "MNIST, which may lie anywhere", prepared(beside(digits), "mnist", TWO), right=PAIRED),
]  # fmt: skip


# -- places ------------------------------------------------------------------------------------------------------------
def once_more(change: Callable[[Path], object], again: bool = True) -> Callable[[Path], object]:
    """Images of test, prepared once more after a change in a data root whose name a shell would not take as it is."""

    def run(folder: Path) -> object:
        root = folder / "my data & co"
        prepared(tree("{}/{}"))(root)
        change(root / "prepared" / "Own")
        return prepare("Own", root, download=False, progress=False, again=again).counts["test"]

    return run


def behind_a_link(folder: Path) -> None:
    folder.rename(folder.parents[1] / "disk")
    folder.symlink_to("../disk")


def file_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


def lock_in_place(folder: Path) -> None:
    (folder.parent / ".Own.lock").unlink(missing_ok=True)
    (folder.parent / ".Own.lock").mkdir()


def longer(folder: Path) -> None:
    (folder.parents[1] / "own").rename(folder.parents[1] / "gone")
    put(folder / "test.pixels", b"x" * 99)


GONE = lambda folder: [file_in_place(folder), folder.unlink(), folder.symlink_to("nowhere")]
WAYS = [
    Case(PLACES, "a link to another disk", once_more(behind_a_link), right=[2, 2]),
    Case(PLACES, "a link to nothing", once_more(GONE), refused="prepared/Own is in the way"),
    Case(PLACES, "a file", once_more(file_in_place), refused="prepared/Own is in the way"),
    Case(PLACES, "a folder for a lock", once_more(lock_in_place), refused=r"\.Own\.lock cannot be locked \(Is a directory"),
    Case(PLACES, "a data root with blanks", once_more(longer, False), refused="Own --data-root '/.*/my data & co' --again"),
]  # fmt: skip


# -- manifests ---------------------------------------------------------------------------------------------------------
def with_manifest(name: str, text: str) -> Callable[[Path], object]:
    """A dataset of one's own, prepared from the command line, beside another manifest: the status, or what is refused."""

    def run(folder: Path) -> int:
        tree("{}/{}")(folder / "own")
        put(folder / "manifests/Own.yaml", MANIFEST % ("folders", ""))
        put(folder / f"manifests/{name}.yaml", text)
        asked = "Own" if "Own" not in text else name
        command, bound, _ = app.parse_args(["data", "prepare", asked, "--offline", "--data-root", str(folder)])
        return command(*bound.args, **bound.kwargs)

    return run


OWN = (MANIFEST % ("folders", "")).replace("name: Own", "name: %s").replace("description: d", "description: as Own")
MANIFESTS = [
    Case(ASIDE, "one that is broken", with_manifest("Bad", "{name: Bad, colour: red}"), right=0),
    Case(ASIDE, "one that is no text", with_manifest("Bad", "\0"), right=0),
    Case(ASIDE, "one called all", with_manifest("all", OWN % "all"), refused="'all' stands for all datasets"),
    Case(ASIDE, "one called auto", with_manifest("auto", OWN % "auto"), refused="'auto' stands for the tasks"),
]  # fmt: skip


# -- size --------------------------------------------------------------------------------------------------------------
def with_image(width: int, height: int) -> Callable[[Path], object]:
    """A dataset with one image more, whose header says these sizes."""

    def lay(root: Path) -> None:
        tree("{}/{}")(root)
        chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        put(root / "train/a/x.png", b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"x"))

    return prepared(lay)


LONG = "\ndescription: " + "x" * 500_000
SIZES = [
    Case(SIZE, "an image of 100 megapixels", with_image(10_000, 10_000), refused="x.png .*points, .*: scale it down"),
    Case(SIZE, "an image of 400 megapixels", with_image(20_000, 20_000), refused="x.png .*points, .*: scale it down"),
    Case(SIZE, "a manifest of 500 kB beside", with_manifest("Long", f"name: Long{LONG}"), right=0),
    Case(SIZE, "a manifest of 500 kB", with_manifest("Long", f"name: Long{LONG}\nsource: Own"),
         refused="is no manifest: it has 500,"),
]  # fmt: skip

CASES = [*SPLITS, *PAIRS, *OUTSIDE, *WAYS, *MANIFESTS, *SIZES]
