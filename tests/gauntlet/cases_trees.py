"""Folders, links and files as they come: what counts as an image."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from cases import Case
from PIL import Image
from scipy.io import savemat

from tangent_lib.data.layouts import find_layout
from tangent_lib.data.listing import Listing
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.packed import open_split
from tangent_lib.data.prepare import prepare, prepared_folder

SERVICE = "service files in folders of images"
LINKS = "links in folders of images"
ENDINGS = "endings of files in folders of images"
NAMES = "names of files that are not text"
PACKED = "images edited after they were packed"
IDX = "MNIST as archives pack it, and IDX headers"
CARS = "Cars as archives pack it"

MANIFEST = (
    "{name: Own, kind: images, description: d, source: s, licence: l, folders: [own], templates: ['a {}.'], layouts: [%s]}"
)


# -- trees: four training images and two test images a class -----------------------------------------------------------
def tree(folder: Path) -> Path:
    """Classes a and b, four training and two test images each, in one's own dataset."""
    root = folder / "own"
    for split, count in (("train", 6), ("test", 2)):
        for number, name in enumerate("ab"):
            for i in range(count):
                path = root / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (2, 2), (i, number, count)).save(path)
                os.utime(path, (1, 1))
    (folder / "manifests").mkdir()
    (folder / "manifests" / "Own.yaml").write_text(MANIFEST % "folders")
    return root


def own(folder: Path, layout: str = "folders", **more) -> Listing:
    fields = {"name": "Own", "kind": "images", "description": "d", "source": "s", "licence": "l", "templates": ["a {}."]}
    manifest = Manifest(**fields, folders=["own"], layouts=[layout], **more)
    found, raw = find_layout(manifest, folder)
    return found.read(raw, manifest)


def with_files(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """What counts after a change of the tree: classes, training and test images, and which of these are new."""

    def run(folder: Path) -> object:
        root = tree(folder)
        before = {item.name for item in own(folder).train}
        change(root)
        listing = own(folder)
        return listing.classes, len(listing.train), len(listing.test), {item.name for item in listing.train} - before

    return run


def copy(name: str, to: str = "train/a") -> Callable[[Path], object]:
    """An image's copy under a name, in the folder of a class."""

    def change(root: Path) -> None:
        path = root / to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((root / "train/a/0.png").read_bytes())

    return change


def pictures(kind: str, name: str) -> Callable[[Path], object]:
    """A picture of another format in the folder of a class."""
    return lambda root: Image.new("RGB", (2, 2), (9, 9, 9)).save(root / "train/a" / name, kind)


def written(name: str, data: bytes = b"x") -> Callable[[Path], object]:
    return lambda root: (root / "train/a" / name).write_bytes(data)


def link(name: str, target: str) -> Callable[[Path], object]:
    return lambda root: (root / name).symlink_to(target)


def deeper(root: Path) -> None:
    (root / "more").mkdir()
    Image.new("RGB", (2, 2), (99, 9, 9)).save(root / "more" / "x.png")
    (root / "train/a/more").symlink_to("../../more")


def in_a_ring(root: Path) -> None:
    for here, there in (("one", "two"), ("two", "one")):
        (root / here).mkdir()
        (root / here / f"to_{there}").symlink_to(f"../{there}")
    (root / "train/a/ring").symlink_to("../../one")
    copy("x.png", "one")(root)


def eurosat(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Whether the split that is drawn is the same after a change."""

    def run(folder: Path) -> bool:
        for i in range(30):
            path = folder / "own/2750" / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2), (i, 0, 0)).save(path)
        names = lambda: [item.name for item in own(folder, "eurosat").test]
        before = names()
        change(folder / "own/2750")
        return names() == before

    return run


def notebook_copies(root: Path) -> None:
    (root / "a/.ipynb_checkpoints").mkdir()
    (root / "a/.ipynb_checkpoints/0-checkpoint.png").write_bytes((root / "a/0.png").read_bytes())


AS_BEFORE = (["a", "b"], 12, 4, set())
TREES = [
    *(
        Case(SERVICE, f"{where} {name}", with_files(copy(name, where)), right=AS_BEFORE)
        for where, name in [
            ("train/a", ".ipynb_checkpoints/0-checkpoint.png"),
            ("test/b", ".ipynb_checkpoints/0-checkpoint.png"),
            ("train/a", "@eaDir/0.png/SYNOPHOTO_THUMB_XL.jpg"),
            ("train", "@eaDir/0.png"),
            ("train/a", "._0.png"),
            ("train", "__MACOSX/._0.png"),
            ("train/a/deep", "__macosx/0.png"),
            ("train", "lost+found/0.png"),
            ("train", "$RECYCLE.BIN/0.png"),
            ("train", "System Volume Information/0.png"),
            ("train/a", "#recycle/0.png"),
            ("train/a", "Thumbs.db"),
            ("train/a", "THUMBS.DB/0.png"),
            ("train", ".DS_Store"),
            ("train/a", ".Trash-1000/files/0.png"),
        ]
    ),
    Case(SERVICE, "a folder of thumbnails alone does not make a split", with_files(lambda root: [
        (root / "test").rename(root / ".test"), copy("0.png", "test/@eaDir")(root)]), refused=r"lacks test/\*/\*"),
    Case(SERVICE, "a notebook's copy does not redraw a split", eurosat(notebook_copies), right=True),
    Case(SERVICE, "an image deeper in a class still counts", with_files(copy("x.png", "train/a/deep")),
         right=(["a", "b"], 13, 4, {"a/deep/x.png"})),
    Case(ENDINGS, ".gif", with_files(pictures("GIF", "x.gif")), right=(["a", "b"], 13, 4, {"a/x.gif"})),
    Case(ENDINGS, ".JFIF", with_files(pictures("JPEG", "x.JFIF")), right=(["a", "b"], 13, 4, {"a/x.JFIF"})),
    Case(ENDINGS, ".heic", with_files(written("x.heic")), refused="a/x.heic seems to be an image"),
    Case(ENDINGS, ".AVIF", with_files(written("x.AVIF")), refused="a/x.AVIF seems to be an image"),
    Case(ENDINGS, "none", with_files(copy("photo1")), refused="a/photo1 seems to be an image"),
    Case(ENDINGS, "an editor's mark of a copy", with_files(copy("0.png~")), refused="a/0.png~ seems to be an image"),
    Case(ENDINGS, "text, tables and notes", with_files(lambda root: [
        written(name)(root) for name in ("0.txt", "0.png.json", "0.xml", "a.csv", "README.md", "README")]), right=AS_BEFORE),
    Case(LINKS, "a class folder that holds itself", with_files(link("train/a/self", ".")), refused="a/self is a link to"),
    Case(LINKS, "a class folder that holds its parent", with_files(link("train/a/up", "..")), refused="a/up is a link to"),
    Case(LINKS, "a class folder that is its parent", with_files(link("train/c", "../..")), refused="train alone has c"),
    Case(LINKS, "a link to itself by name", with_files(link("train/a/x.png", "x.png")), refused="a/x.png leads to nothing"),
    Case(LINKS, "another class within a class", with_files(link("train/b/also", "../a")), refused="b/also/0.png and .*one"),
    Case(LINKS, "an image of another class", with_files(link("train/b/x.png", "../a/0.png")), refused="b/x.png and .*a/0.pn"),
    Case(LINKS, "a class under two names", with_files(link("train/c", "a")), refused="different classes|one file"),
    Case(LINKS, "an image under two names", with_files(link("train/a/also.png", "0.png")), right=AS_BEFORE),
    Case(LINKS, "its own deeper folder twice", with_files(lambda root: [copy("x.png", "train/a/deep")(root),
         link("train/a/again", "deep")(root)]), right=(["a", "b"], 13, 4, {"a/deep/x.png"})),
    Case(LINKS, "a folder made elsewhere on purpose", with_files(deeper), right=(["a", "b"], 13, 4, {"a/more/x.png"})),
    Case(LINKS, "folders elsewhere, one in the other", with_files(in_a_ring), right=(["a", "b"], 13, 4, {"a/ring/x.png"})),
    Case(LINKS, "an image that is gone", with_files(link("train/a/x.png", "/nowhere/x.png")), refused="x.png leads to"),
    Case(LINKS, "a class that is gone", with_files(link("train/c", "/nowhere/c")), refused="train/c leads to nothing"),
    Case(LINKS, "a pipe called an image", with_files(lambda root: os.mkfifo(root / "train/a/x.png")), refused="neither a"),
    Case(LINKS, "test is train", with_files(lambda root: [shutil.rmtree(root / "test"), link("test", "train")(root)]),
         refused="train/a/0.png are one file, by a link"),
    Case(LINKS, "a training image of test", with_files(link("train/a/x.png", "../../test/a/0.png")), refused="one file, by"),
    Case(NAMES, "an image's, in Latin-1", with_files(copy(os.fsdecode(b"caf\xe9.png"))), refused=r"caf\\xe9.png.*rename"),
    Case(NAMES, "a class's, in Latin-1", with_files(copy("0.png", os.fsdecode(b"train/caf\xe9"))), refused=r"caf\\xe9"),
    Case(NAMES, "a deeper folder's, in Shift-JIS", with_files(copy("0.png", os.fsdecode(b"train/a/\x93\xfa"))), refused="re"),
    Case(NAMES, "an image's, with a terminal's code", with_files(copy("\x1b[31mx.png")), refused=r"\\x1b.*rename"),
    Case(NAMES, "a class's, with a line break", with_files(copy("0.png", "train/c\nd")), refused=r"c\\nd.*rename"),
    Case(NAMES, "an image's, in another script", with_files(copy("日本\u202f1.png")),
         right=(["a", "b"], 13, 4, {"a/日本\u202f1.png"})),
    Case(NAMES, "the mark of a Mac's folder", with_files(copy("Icon\r")), right=AS_BEFORE),
]  # fmt: skip


# -- images edited after they were packed ------------------------------------------------------------------------------
def edited(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """The brightest value of the packed test images after a change; 1 before."""

    def run(folder: Path) -> int:
        tree(folder)
        prepare("Own", folder, download=False, progress=False)
        change(folder)
        prepare("Own", folder, download=False, progress=False)
        split = open_split(prepared_folder(folder, "Own"), "test")
        return max(int(split.pixels(i)[..., 0].max()) for i in range(len(split)))

    return run


def repaint(folder: Path) -> None:
    path = folder / "own/test/a/1.png"
    size = path.stat().st_size
    Image.new("RGB", (2, 2), (77, 0, 2)).save(path)
    assert path.stat().st_size == size


def swap(folder: Path) -> None:
    """Two images change places, of one size and one time, as an archive keeps it."""
    one, other = folder / "own/test/a/1.png", folder / "own/train/b/5.png"
    data = [path.read_bytes() for path in (one, other)]
    assert len(data[0]) == len(data[1])
    one.rename(folder / "third")
    other.rename(one)
    (folder / "third").rename(other)


def rewrite(folder: Path) -> None:
    """Another image in the place of one, under its time, as rsync -t leaves it."""
    path = folder / "own/test/a/1.png"
    before = path.stat()
    repaint(folder)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def spoil(folder: Path) -> None:
    with open(folder / "prepared/Own/test.pixels", "r+b") as file:
        file.write(b"\xff")


def spoil_alone(folder: Path) -> None:
    (folder / "own").rename(folder / "gone")
    spoil(folder)


def touch(folder: Path) -> None:
    os.utime(folder / "prepared/Own/test.pixels", (1, 1))


def of_another_split(folder: Path) -> None:
    for path in (folder / "prepared/Own").glob("val.*"):
        (path.with_name(path.name.replace("val", "test"))).write_bytes(path.read_bytes())


EDITS = [
    Case(PACKED, "none", edited(lambda folder: None), right=1),
    Case(PACKED, "an image of the same size in place", edited(repaint), right=77),
    Case(PACKED, "an image in place, under its old time", edited(rewrite), right=77),
    Case(PACKED, "two images that change places", edited(swap), right=5),
    Case(PACKED, "a packed image in place", edited(spoil), right=1),
    Case(PACKED, "a packed image whose files are gone", edited(spoil_alone), refused="have changed since they were packed"),
    Case(PACKED, "the files gone", edited(lambda folder: (folder / "own").rename(folder / "gone")), right=1),
    Case(PACKED, "another split's packed images", edited(of_another_split), right=1),
    Case(PACKED, "the time of a packed file", edited(touch), right=1),
]  # fmt: skip


# -- MNIST and Cars as archives pack them ------------------------------------------------------------------------------
def idx(*sizes: int, values: int | None = None) -> bytes:
    count = int(np.prod(sizes)) if values is None else values
    return bytes((0, 0, 8, len(sizes))) + np.array(sizes, ">i4").tobytes() + bytes(count)


def mnist(place: Callable[[Path, str], Path], sizes: tuple[int, ...] = (3, 2, 2), ending: str = "", **more) -> Callable:
    def run(folder: Path) -> object:
        for prefix in ("train", "t10k"):
            for kind, shape in (("images-idx3", sizes), ("labels-idx1", sizes[:1])):
                path = place(folder / "own", f"{prefix}-{kind}-ubyte{ending}")
                path.parent.mkdir(parents=True, exist_ok=True)
                data = idx(*shape, **(more if len(shape) > 1 else {"values": max(0, shape[0])}))
                path.write_bytes(gzip.compress(data) if ending else data)
        listing = own(folder, "mnist", classes=["0", "1"])
        return len(listing.train), len(listing.test)

    return run


def two_of_them(root: Path, name: str) -> Path:
    (root / "other").mkdir(parents=True, exist_ok=True)
    (root / "other" / name).write_bytes(idx(1, 2, 2))
    return root / name


def twice(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name.replace("-idx", ".idx")).write_bytes(idx(3, 2, 2) if "images" in name else idx(3))
    return root / name / name


def linked(root: Path, name: str) -> Path:
    root.mkdir(exist_ok=True)
    (root.parent / "elsewhere").mkdir(exist_ok=True)
    if not (root / "raw").is_symlink():
        (root / "raw").symlink_to(root.parent / "elsewhere")
    return root / "raw" / name


def beside(root: Path, name: str) -> Path:
    (root / "@eaDir" / name).mkdir(parents=True)
    return root / name


def plainly(root: Path, name: str) -> Path:
    return root / name


NESTED_CARS = {  # as archives of the hub for data science give them
    "images": "cars_{0}/cars_{0}", "meta": "car_devkit/devkit/cars_meta.mat",
    "train": "car_devkit/devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat",
}  # fmt: skip


def cars(**places: str) -> Callable[[Path], object]:
    places = NESTED_CARS | places

    def run(folder: Path) -> object:
        root = folder / "own"
        content = {"meta": {"class_names": np.array(["a", "b"], object)}}
        for split in ("train", "test"):
            images = root / places["images"].format(split)
            images.mkdir(parents=True)
            for i in range(4):
                Image.new("L", (2, 2), 40 * i).save(images / f"{i:05}.jpg")
            rows = [(f"{i:05}.jpg", 1 + i % 2) for i in range(4)]
            content[split] = {"annotations": np.array(rows, [("fname", object), ("class", object)])}
        for name, values in content.items():
            (root / places[name]).parent.mkdir(parents=True, exist_ok=True)
            savemat(root / places[name], values)
        listing = own(folder, "cars")
        return [item.label for item in listing.train], [item.read().getpixel((0, 0))[0] for item in listing.test]

    return run


FOUND = ([0, 1, 0, 1], [0, 40, 80, 120])
small = partial(mnist, plainly)
ARCHIVES = [
    Case(IDX, "plain", small(), right=(3, 3)),
    Case(IDX, "compressed", small(ending=".gz"), right=(3, 3)),
    Case(IDX, "a folder of the file's name around it", mnist(lambda root, name: root / name / name), right=(3, 3)),
    Case(IDX, "a folder of the file's name, and the file beside", mnist(twice), right=(3, 3)),
    Case(IDX, "an empty folder of the file's name beside", mnist(beside), right=(3, 3)),
    Case(IDX, "a linked folder raw", mnist(linked), right=(3, 3)),
    Case(IDX, "two different ones", mnist(two_of_them), refused="both there and differ"),
    Case(IDX, "a negative number of images", small((-3, 2, 2), values=12), refused="-3 x 2 x 2"),
    Case(IDX, "two negative sizes", small((3, -2, -2), values=12), refused="3 x -2 x -2"),
    Case(IDX, "images of no height", small((3, 0, 2), values=0), refused="3 x 0 x 2"),
    Case(IDX, "no images", small((0, 2, 2), values=0), refused="0 x 2 x 2"),
    Case(IDX, "a header of 8 GB, compressed", small((2**21, 64, 64), ".gz", values=99), refused="values at most"),
    Case(IDX, "a header of 8 GB", small((2**21, 64, 64), values=99), refused="values at most"),
    Case(IDX, "more behind the values, compressed", small((3, 2, 2), ".gz", values=10**7), refused="more bytes of values"),
    Case(CARS, "folders twice, devkit in car_devkit", cars(), right=FOUND),
    Case(CARS, "as it was distributed", cars(images="cars_{0}", meta="devkit/cars_meta.mat",
         train="devkit/cars_train_annos.mat"), right=FOUND),
    Case(CARS, "all annotations in devkit", cars(test="devkit/cars_test_annos_withlabels.mat"), right=FOUND),
    Case(CARS, "an annotation in a folder of its name", cars(test="cars_test_annos_withlabels.mat/" * 2), right=FOUND),
    Case(CARS, "no labels of test", cars(test="devkit/cars_test_annos.mat"), refused="lacks cars_test_annos_withlabels.mat"),
]  # fmt: skip

CASES = [*TREES, *EDITS, *ARCHIVES]
