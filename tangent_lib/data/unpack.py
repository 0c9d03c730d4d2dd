"""Archives: looked through as a whole before anything is written, unpacked into a hidden folder, then moved into place.

Nothing may leave the target: no absolute name, no ``..``, no link that points out, no device. What is unpacked is there
entirely or not at all, and a file that lies there already is never replaced by another one.
"""

from __future__ import annotations

import filecmp
import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from tangent_lib.runtime.disk import check_disk, full_disk, is_full
from tangent_lib.runtime.errors import InputError, unknown

CHUNK = 1 << 20


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked.

    Example:
        >>> is_archive("cars_train.tgz"), is_archive("cars_meta.mat")
        (True, False)
    """
    return _suffix(name) is not None


def leaves(name: str) -> bool:
    """Whether a relative name would lead out of the folder that it is joined to, on any system.

    Example:
        >>> leaves("images/banded/1.jpg"), leaves("images/../../1.jpg"), leaves("/etc/passwd"), leaves("C:\\\\1.jpg")
        (False, True, True, True)
    """
    return _absolute(name) or ".." in name.replace("\\", "/").split("/")


def _absolute(name: str) -> bool:
    return re.match(r"[/\\]|[A-Za-z]:", name) is not None


def unpack(archive: Path, to: Path) -> None:
    """Unpack an archive into a folder, which may exist; all of it or nothing. The archive stays.

    Args:
        archive: a .zip, .tar, .tar.gz or .tgz; of a .gz the one file, without that ending.
        to: files that lie there already and are the same are left; different ones are never replaced.

    Raises:
        InputError: if it is no archive or a damaged one, if one of its entries would leave the folder, if it would
            replace a file by another.
        DiskFull: if there is not enough room for what it says it holds.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(folder / "dtd.zip", "w") as file:
        ...     file.writestr("images/banded/1.jpg", b"...")
        >>> unpack(folder / "dtd.zip", folder / "dtd")
        >>> (folder / "dtd/images/banded/1.jpg").read_bytes()
        b'...'
    """
    suffix = _suffix(archive.name)
    if suffix is None:
        raise unknown("kind of archive", archive.name, ARCHIVE_KINDS)
    kind = ARCHIVE_KINDS[suffix]
    new = not to.exists()
    temporary = to / f".unpacking-{archive.name}"
    total = 0
    try:
        for size in kind.sizes(archive):
            total += size
            check_disk(to, total / 1e9, f"{archive.name}, unpacked,")
        if not total:
            raise InputError(f"{archive} is empty")
        shutil.rmtree(temporary, ignore_errors=True)  # of an earlier run that was killed
        temporary.mkdir(parents=True)
        with tqdm(total=total, desc=f"unpacking {archive.name}", **BYTES_BAR) as bar:
            for size in kind.extract(archive, temporary):
                bar.update(size)
        place(temporary, to)
    except InputError:
        raise
    except Exception as error:  # damage makes the readers of archives raise errors of many kinds
        if is_full(error):
            raise full_disk(f"{archive.name}, unpacked,", total, to) from error
        raise InputError(f"{archive} cannot be unpacked into {to}: {error or type(error).__name__}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new and to.is_dir() and not any(to.iterdir()):
            to.rmdir()


def place(tree: Path, to: Path) -> None:
    """Move everything in the folder ``tree`` into the folder ``to``, on the same disk, merging folders.

    Raises:
        InputError: before anything is moved, if a file would replace a different one.
    """
    for source, target in list(_moves(tree, to)):
        os.rename(source, target)


def _moves(tree: Path, to: Path) -> Iterator[tuple[Path, Path]]:
    """As few renames as do it: of whole folders where there is none of that name."""
    for source in sorted(tree.iterdir()):
        target = to / source.name
        if not os.path.lexists(target):
            yield source, target
        elif source.is_dir() and target.is_dir() and not source.is_symlink():
            yield from _moves(source, target)
        elif not (source.is_file() and target.is_file() and filecmp.cmp(source, target, shallow=False)):
            raise InputError(f"{target} is there already and differs from the one to be put there: move it away")


# -- the kinds of archive: first the size of each entry, once it is checked; then each extracted ------------------------
def _refused(archive: Path, name: str, why: str) -> InputError:
    return InputError(f"{archive} is refused, nothing was unpacked: its entry '{name}' {why}")


def _zip_sizes(archive: Path) -> Iterator[int]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if leaves(info.filename):
                raise _refused(archive, info.filename, "would leave the target folder")
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise _refused(archive, info.filename, "is encrypted")
            yield info.file_size


def _zip_extract(archive: Path, to: Path) -> Iterator[int]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            file.extract(info, to)
            yield info.file_size


class _Header(tarfile.TarInfo):
    """Makes a damaged header an error; tarfile alone takes one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"a damaged header ({error})") from error


def _tar_sizes(archive: Path) -> Iterator[int]:
    files: set[PurePosixPath] = set()
    links: dict[PurePosixPath, str] = {}
    with tarfile.open(archive, tarinfo=_Header) as file:
        for member in file:
            if leaves(member.name):
                raise _refused(archive, member.name, "would leave the target folder")
            path = PurePosixPath(member.name)
            if any(each in links for each in (path, *path.parents)):
                raise _refused(archive, member.name, "would be written through a link")
            if member.isreg():
                files.add(path)
                yield member.size
            elif member.islnk():  # its target is named from the root of the archive, and came before
                if PurePosixPath(member.linkname) not in files:
                    raise _refused(archive, member.name, f"is a hard link to '{member.linkname}', which is not in it")
                files.add(path)
            elif member.issym() and path not in files:
                links[path] = member.linkname
            elif not member.isdir():
                raise _refused(archive, member.name, "is a device, a pipe, or a link in the place of a file")
        while file.fileobj.read(CHUNK):  # up to the checksum of a compressed archive, which comes behind the padding
            pass
    for path, target in links.items():
        if _points_out(path, target, links):
            raise _refused(archive, str(path), f"is a link to '{target}', out of the target folder")


def _points_out(path: PurePosixPath, target: str, links: dict[PurePosixPath, str]) -> bool:
    """Whether a symbolic link leads out, followed part by part; one through another link counts too: ``..`` goes
    elsewhere there than its spelling says."""
    if _absolute(target):
        return True
    parts = list(path.parent.parts)
    steps = PurePosixPath(target.replace("\\", "/")).parts
    for number, step in enumerate(steps):
        if step == "..":
            if not parts:
                return True
            parts.pop()
        else:
            parts.append(step)
        if number + 1 < len(steps) and PurePosixPath(*parts) in links:
            return True
    return False


# Before CPython 3.11.4 tarfile has no filters: there the modes, owners and dates of the archive are not taken over at
# all. That nothing leaves the folder is checked above, in every version.
_SAFE = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"set_attrs": False}


def _tar_extract(archive: Path, to: Path) -> Iterator[int]:
    with tarfile.open(archive, tarinfo=_Header) as file:
        for member in file:
            if member.isdir():  # without filters tarfile would make it with mode 700
                (to / member.name).mkdir(parents=True, exist_ok=True)
            else:
                file.extract(member, to, **_SAFE)
            yield member.size


def _gz_sizes(archive: Path) -> Iterator[int]:
    with gzip.open(archive) as file:
        while chunk := file.read(CHUNK):
            yield len(chunk)


def _gz_extract(archive: Path, to: Path) -> Iterator[int]:
    with gzip.open(archive) as file, (to / archive.name[: -len(".gz")]).open("wb") as target:
        while chunk := file.read(CHUNK):
            yield target.write(chunk)


class _Kind(NamedTuple):
    sizes: Callable[[Path], Iterator[int]]
    extract: Callable[[Path, Path], Iterator[int]]


_TAR = _Kind(_tar_sizes, _tar_extract)
ARCHIVE_KINDS = {
    ".tar.gz": _TAR,
    ".tgz": _TAR,
    ".tar": _TAR,
    ".zip": _Kind(_zip_sizes, _zip_extract),
    ".gz": _Kind(_gz_sizes, _gz_extract),
}
BYTES_BAR = {"unit": "B", "unit_scale": True, "disable": None, "delay": 1, "mininterval": 1, "ncols": 100}


def _suffix(name: str) -> str | None:
    return next((suffix for suffix in ARCHIVE_KINDS if name.lower().endswith(suffix)), None)
