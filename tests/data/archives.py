"""Archives of every kind, good and bad, for the tests of unpacking and fetching."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile

import pytest

from tangent_lib.data.unpack import unpack
from tangent_lib.runtime.errors import InputError

NOISE = random.Random(0).randbytes(30_000)
TREE = {
    "dtd/images/banded/banded_0001.jpg": NOISE,
    "dtd/images/größer als/a b.jpg": b"\x00" * 5_000,
    "dtd/labels/train1.txt": b"banded/banded_0001.jpg\n",
    "readme.txt": b"",
}


def zipped(path, tree=TREE):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in tree.items():
            file.writestr(name, data)
    return path


def entry(name, data=b"", kind=tarfile.REGTYPE, link=""):
    """A member of a tar file; ``data`` as a number is only a claimed size."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    info.size = data if isinstance(data, int) else len(data)
    return info, b"" if isinstance(data, int) else data


COMPRESSED = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".tbz2": "bz2", ".xz": "xz", ".txz": "xz"}


def tarred(path, *entries):
    with tarfile.open(path, "w:" + COMPRESSED.get(path.suffix.lower(), "")) as file:
        for info, data in entries or [entry("./", kind=tarfile.DIRTYPE), *(entry(*each) for each in TREE.items())]:
            file.addfile(info, io.BytesIO(data) if data else None)
    return path


def gzipped(path, data=NOISE):
    path.write_bytes(gzip.compress(data))
    return path


def contents(folder):
    """Everything in a folder: files with their bytes, links with their targets, folders with None."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink()
        else path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def files_of(folder):
    return {name: data for name, data in contents(folder).items() if data is not None}


def refused(archive, match, error=InputError):
    """It is refused, and nothing around it changes."""
    before = contents(archive.parent)
    with pytest.raises(error, match=match):
        unpack(archive, archive.parent / "to")
    assert contents(archive.parent) == before
