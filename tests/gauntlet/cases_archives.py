"""Archives, parquet files and temporary files: names, twins, links, bombs, missing images, and what a kill leaves."""

from __future__ import annotations

import functools
import gzip
import io
import json
import signal
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cases import Case
from PIL import Image

from tangent_lib.data.manifests import Manifest
from tangent_lib.data.parquet import read_parquet
from tangent_lib.data.unpack import unpack
from tangent_lib.runtime.disk import ROOT, write_whole
from tangent_lib.runtime.errors import InputError

NAMES, ENTRIES, BOMBS = "names in archives", "links, devices and damage in archives", "archives that unpack to too much"
COLUMNS, METADATA, ROWS = "columns of parquet files", "metadata of parquet files", "rows that a parquet file cannot hold"
KILLS = "what a kill while writing leaves"


# -- archives ----------------------------------------------------------------------------------------------------------
def zip_bytes(*entries: tuple) -> bytes:
    """A zip file; names as bytes are written as they are, without the flag of UTF-8."""
    memory = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore")
        for number, (name, data) in enumerate(entries):
            file.writestr(f"{number:0{len(name)}}" if isinstance(name, bytes) else name, data)
    written = memory.getvalue()
    for number, (name, _) in enumerate(entries):
        written = written.replace(f"{number:0{len(name)}}".encode(), name) if isinstance(name, bytes) else written
    return written


def tar_bytes(*entries: tuple) -> bytes:
    """A tar file of names and data; or of names, a kind and the target of a link."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as file:
        for name, data, *link in entries:
            info = tarfile.TarInfo(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
            if link:
                info.type, info.linkname, data = data, link[0], b""
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return memory.getvalue()


def changed(data: bytes, place: int, value: int) -> bytes:
    """A zip file with another byte in the last entry of its directory."""
    start = data.rindex(b"PK\x01\x02") + place
    return data[:start] + bytes([value]) + data[start + 1 :]


def unpacked(name: str, make: Callable[[], bytes], most: float | None = None):
    """What lies there after an archive was unpacked; where it was refused, that nothing does."""

    def run(folder: Path) -> dict:
        (folder / name).write_bytes(make())
        try:
            unpack(folder / name, folder / "to", most)
        except InputError:
            if [path.name for path in folder.iterdir()] != [name]:
                raise AssertionError("something half-written was left") from None
            raise
        to = folder / "to"
        return {path.relative_to(to).as_posix(): path.read_bytes() for path in to.rglob("*") if path.is_file()}

    return run


def both(kind: str, name: str, *entries: tuple, right: object = None, refused: str = "") -> list[Case]:
    """The same names in a zip and in a tar file."""
    makers = (("x.zip", zip_bytes), ("x.tar", tar_bytes))
    return [
        Case(kind, f"{name} ({file[2:]})", unpacked(file, functools.partial(make, *entries)), right, refused)
        for file, make in makers
    ]


def archive(kind: str, name: str, file: str, make: Callable[[], bytes], refused: str, most: float | None = None) -> Case:
    return Case(kind, name, unpacked(file, make, most), refused=refused)


CAT = ("cat/1.jpg", b"1")
WHOLE = tar_bytes(CAT, ("cat/2.jpg", b"2"))
HEADER = tarfile.TarInfo("x")
HEADER.type, HEADER.size = tarfile.XHDTYPE, 3 * 10**9

ARCHIVES = [
    *both(NAMES, "plain", CAT, right={"cat/1.jpg": b"1"}),
    *both(NAMES, "backslashes between folders", ("train\\cat\\1.jpg", b"1"), right={"train/cat/1.jpg": b"1"}),
    *both(NAMES, "UTF-8, not said to be", ("grün/1".encode(), b"1"), right={"grün/1": b"1"}),
    *both(NAMES, "Latin-1", ("grün/1".encode("latin-1"), b"1"), refused="name that is not in UTF-8: unpack it by hand"),
    *both(NAMES, "Shift-JIS", ("猫/1".encode("shift-jis"), b"1"), refused="name that is not in UTF-8"),
    *both(NAMES, "codes of a terminal", ("\x1b[31mcat/1.jpg", b"1"), refused="control codes in its name"),
    *both(NAMES, "a line break", ("cat\n/1.jpg", b"1"), refused="control codes in its name"),
    *both(NAMES, "letters from right to left", ("cat\u202e/gpj.1", b"1"), refused="control codes in its name"),
    *both(NAMES, "a Mac's Icon file", CAT, ("cat/Icon\r", b""), right={"cat/1.jpg": b"1"}),
    *both(NAMES, "one name twice", CAT, ("cat/1.jpg", b"2"), refused="is there twice, with different contents"),
    *both(NAMES, "one name twice, divided otherwise", CAT, ("cat\\1.jpg", b"2"), refused="is there twice"),
    *both(NAMES, "one file twice", CAT, CAT, right={"cat/1.jpg": b"1"}),
    *both(NAMES, "two forms of Unicode", ("é/1", b"1"), ("e\u0301/2", b"2"), refused="would be one with '.xe9'"),
    *both(NAMES, "an absolute path", ("/tmp/evil", b"1"), refused="would leave the target folder"),
    *both(NAMES, "a drive", ("C:\\evil", b"1"), refused="would leave the target folder"),
    *both(NAMES, "two dots", ("a/../../evil", b"1"), refused="would leave the target folder"),
    *both(NAMES, "two dots behind backslashes", ("a\\..\\..\\evil", b"1"), refused="would leave the target folder"),
    archive(NAMES, "a name with a zero in it (zip)", "x.zip", lambda: zip_bytes((b"1.jpg\0.exe", b"1")), "control codes"),
    archive(ENTRIES, "a link out", "x.tar", lambda: tar_bytes(("a", tarfile.SYMTYPE, "../x")), "out of the target folder"),
    archive(ENTRIES, "a link out, then a file through it", "x.tar",
            lambda: tar_bytes(("a", tarfile.SYMTYPE, "/tmp"), ("a/evil", b"1")), "written through a link"),
    archive(ENTRIES, "a hard link to what is not there", "x.tar",
            lambda: tar_bytes(("a", tarfile.LNKTYPE, "/etc/passwd")), "a hard link to '/etc/passwd', which is not in it"),
    archive(ENTRIES, "a file over a hard link", "x.tar",
            lambda: tar_bytes(CAT, ("b", tarfile.LNKTYPE, "cat/1.jpg"), ("b", b"2")), "'b' is there twice"),
    archive(ENTRIES, "a device", "x.tar", lambda: tar_bytes(("a", tarfile.CHRTYPE, "")), "is a device"),
    archive(ENTRIES, "a pipe", "x.tar", lambda: tar_bytes(("a", tarfile.FIFOTYPE, "")), "a pipe"),
    archive(ENTRIES, "an encrypted entry", "x.zip", lambda: changed(zip_bytes(CAT), 8, 1), "is encrypted"),
    archive(ENTRIES, "a method of Windows", "x.zip", lambda: changed(zip_bytes(CAT), 10, 9), "packed by method 9"),
    archive(ENTRIES, "a zip cut off", "x.zip", lambda: zip_bytes(CAT)[:-9], "cannot be unpacked"),
    archive(ENTRIES, "a tar cut off between two files", "x.tar", lambda: WHOLE[:1024], "without the mark of its end"),
    archive(ENTRIES, "a tar.gz cut off between two files", "x.tgz", lambda: gzip.compress(WHOLE[:1024]), "mark of its end"),
    archive(ENTRIES, "a tar.gz cut off", "x.tgz", lambda: gzip.compress(WHOLE)[:-9], "cannot be unpacked"),
    archive(ENTRIES, "two tars in one", "x.tar", lambda: WHOLE + WHOLE, "perhaps with another archive"),
    archive(ENTRIES, "two zips in one", "x.zip", lambda: zip_bytes(CAT) * 2, "another archive stands before it"),
    archive(ENTRIES, "a web page", "x.tar.gz", lambda: b"<html>404</html>", "cannot be unpacked"),
    archive(BOMBS, "20 MB of zeros (zip)", "x.zip", lambda: zip_bytes(("a", bytes(20_000_000))), "more than 5.0 MB", 5e6),
    archive(BOMBS, "20 MB of zeros (gz)", "x.gz", lambda: gzip.compress(bytes(20_000_000)), "more than 5.0 MB", 5e6),
    archive(BOMBS, "20 MB of zeros (tgz)", "x.tgz",
            lambda: gzip.compress(tar_bytes(("a", bytes(20_000_000)))), "more than 5.0 MB", 5e6),
    archive(BOMBS, "100 MB of padding", "x.tgz", lambda: gzip.compress(WHOLE + bytes(10**8)), "goes on behind its end"),
    archive(BOMBS, "a name of 3 GB", "x.tar",
            lambda: WHOLE[:1024] + HEADER.tobuf(tarfile.GNU_FORMAT) + WHOLE[1024:], "a header of 3.0 GB"),
]  # fmt: skip


# -- parquet -----------------------------------------------------------------------------------------------------------
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMED = {"_type": "ClassLabel", "names": ["a", "b"]}


@functools.cache
def png() -> dict:
    memory = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(memory, "PNG")
    return {"bytes": memory.getvalue(), "path": None}


def parquet(make: Callable[[], dict], metadata: object = None, **manifest: object):
    """The labels of a dataset of the hub and the red of its images."""

    def run(folder: Path) -> list[tuple[str, int]]:
        text = metadata if isinstance(metadata, str) else json.dumps({"info": {"features": metadata or {}}})
        table = pa.table(make()).replace_schema_metadata({"huggingface": text})
        (folder / "data").mkdir()
        for split in ("train", "test"):
            pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
        own = Manifest(
            name="Own", kind="images", description="", source="", licence="", folders=["own"], templates=["a {}"], **manifest
        )
        listing = read_parquet(folder, own)
        return [(listing.classes[item.label], item.read().getpixel((0, 0))[0]) for item in listing.train]

    return run


def columns(images: list | None = None, image: str = "image", **others: object) -> Callable[[], dict]:
    return lambda: {image: pa.array(images or [png(), png()], STRUCT), **(others or {"label": [1, 0]})}


CIFAR = columns(image="img", fine=[1, 0], coarse=[0, 0])
TYPES = {"img": {"_type": "Image"}, "fine": NAMED, "coarse": {"_type": "ClassLabel", "names": ["c"]}}
HOLES = lambda hole: lambda: {"image": pa.array([png(), hole], STRUCT), "label": [1, 0]}
RED = [("b", 200), ("a", 200)]
OF_ANOTHER_FORM = {
    "not JSON": "{", "a list": "[1]", "nothing": "null", "nested 20,000 deep": "[" * 20_000, "a list inside": '{"info": []}',
    "features as a list": '{"info": {"features": [{"name": "label"}]}}',
    "names in one word": json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": "ab"}}}}),
    "names as numbers": json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": [1, 2]}}}}),
}  # fmt: skip


def many(image: Callable[[], dict | None], label: Callable[[], object] = lambda: 0) -> Callable[[], dict]:
    return lambda: {"image": pa.array([image()] * 200_000, STRUCT), "label": [label()] * 200_000}


PARQUET = [
    Case(COLUMNS, "the usual ones", parquet(columns(), classes=["a", "b"]), right=RED),
    Case(COLUMNS, "names as labels", parquet(columns(label=["b", "a"])), right=RED),
    Case(COLUMNS, "coded names as labels", parquet(columns(label=pa.array(["b", "a"]).dictionary_encode())), right=RED),
    Case(COLUMNS, "two of labels", parquet(CIFAR, TYPES), refused="label columns, fine, coarse: .*columns: {label: fine}"),
    Case(COLUMNS, "two of labels, one named", parquet(CIFAR, TYPES, columns={"label": "fine"}), right=RED),
    Case(COLUMNS, "two of labels, the other named", parquet(CIFAR, TYPES, columns={"label": "coarse"}),
         right=[("c", 200), ("c", 200)]),
    Case(COLUMNS, "one that is not there", parquet(CIFAR, TYPES, columns={"label": "fin"}), refused="did you mean 'fine'"),
    Case(COLUMNS, "of other names, nothing said", parquet(CIFAR), refused="has columns img, fine, coarse; .*`columns: "),
    Case(COLUMNS, "of other names, both named",
         parquet(CIFAR, classes=["a", "b"], columns={"image": "img", "label": "fine"}), right=RED),
    Case(COLUMNS, "a missing label", parquet(columns(label=[1, None]), classes=["a", "b"]), refused="1 are missing"),
    Case(COLUMNS, "no image in a row", parquet(HOLES(None), classes=["a", "b"]), refused="row 1 of .* has no image"),
    Case(COLUMNS, "a path for an image", parquet(HOLES({"bytes": None, "path": "1.png"}), classes=["a", "b"]),
         refused="row 1 of .* has only the path"),
    Case(COLUMNS, "no bytes in an image", parquet(HOLES({"bytes": b"", "path": None}), classes=["a", "b"]),
         refused="row 1 of .* does not decode"),
    *(Case(METADATA, name, parquet(columns(), text, classes=["a", "b"]), refused="are not as the hub writes them")
      for name, text in OF_ANOTHER_FORM.items()),
    Case(ROWS, "200,000 rows of no image", parquet(many(lambda: None), classes=["a"]), refused="200,000 rows in .* missing"),
    Case(ROWS, "200,000 rows of one image", parquet(many(png), classes=["a"]), refused="200,000 rows in .* one and the same"),
    Case(ROWS, "200,000 rows of one long name", parquet(many(png, lambda: "cat" * 100)), refused="200,000 rows in"),
    Case(ROWS, "more rows than the manifest gives images",
         parquet(columns([png()] * 3, label=[0, 1, 0]), classes=["a", "b"], sizes={"train": 1, "test": 1}),
         refused="more than the 2 images that the manifest gives: correct `sizes`"),
]  # fmt: skip


# -- kills -------------------------------------------------------------------------------------------------------------
KILLED = """
import os, signal, sys
from pathlib import Path
from tangent_lib.checkpoints.staging import staged
from tangent_lib.runtime import disk

die = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "file":
    os.fsync = die
    disk.write_whole(Path(sys.argv[1], "weights"), bytes(100_000))
with staged(Path(sys.argv[1]), last="record.json") as temporary:
    (temporary / "weights").write_bytes(bytes(100_000))
    die()
"""


def left_by(what: str):
    """How much a kill leaves, and what is there after the next write."""

    def run(folder: Path) -> tuple[int, list[str]]:
        status = subprocess.run([sys.executable, "-c", KILLED, folder, what], cwd=ROOT).returncode
        if status != -signal.SIGKILL:
            raise AssertionError(f"it was not killed, but ended with {status}")
        left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        write_whole(folder / "next", b"")
        return left, sorted(path.name for path in folder.iterdir())

    return run


CASES = [
    *ARCHIVES,
    *PARQUET,
    Case(KILLS, "a file", left_by("file"), right=(100_000, ["next"])),
    Case(KILLS, "a folder of several files", left_by("folder"), right=(100_000, ["next"])),
]
