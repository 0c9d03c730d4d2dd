"""Archives: looked through as a whole before anything is written, unpacked into a hidden folder, then moved into place.

Nothing may leave the target: no absolute name, no ``..``, no link that points out, no device. Every name is one that people
can read and the disk can tell from the others. What is unpacked is there entirely or not at all, and a file that lies there
already, or that came before in the archive, is never replaced by another one.
"""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from tangent_lib.runtime.disk import free_bytes, full_disk, in_words, is_full
from tangent_lib.runtime.errors import InputError, unknown

CHUNK = 1 << 20
MOST_ENTRIES = 2_000_000  # ImageNet has 1.3 million; each takes about a kilobyte of memory


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


def unpack(archive: Path, to: Path, most: float | None = None) -> None:
    """Unpack an archive into a folder, which may exist; all of it or nothing. The archive stays.

    Args:
        archive: a .zip, or a .tar, compressed by gzip, bzip2, xz or not; of a .gz the one file, without that ending.
        to: files that lie there already and are the same are left; different ones are never replaced.
        most: bytes that it may hold; by default a gigabyte and a hundred times its own size. Not much more is read of one
            that holds more, and never more than ``MOST_ENTRIES`` entries.

    Raises:
        InputError: if it is no archive or a damaged one, if one of its entries would leave the folder, if two would be one
            file, if it would replace a file by another, if it holds more than it may.
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
        shutil.rmtree(temporary, ignore_errors=True)  # of an earlier run that was killed
        temporary.mkdir(parents=True)
        for total in _totals(archive, kind.sizes(archive, _Names(archive, temporary)), most):
            if total > free_bytes(to):
                raise full_disk(f"{archive.name}, unpacked,", total, to)
        if not total:
            raise InputError(f"{archive} is empty")
        with tqdm(total=total, desc=f"unpacking {archive.name}", **BYTES_BAR) as bar:
            for size in kind.extract(archive, temporary):
                bar.update(size)
        place(temporary, to)
    except InputError:
        raise
    except Exception as error:  # damage makes the readers of archives raise errors of many kinds
        if is_full(error):
            raise full_disk(f"{archive.name}, unpacked,", total, to) from error
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise InputError(f"{archive} cannot be unpacked into {to}: {said}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new and to.is_dir() and not any(to.iterdir()):
            to.rmdir()


def _totals(archive: Path, sizes: Iterator[int], most: float | None) -> Iterator[int]:
    """How much an archive holds up to each of its entries, while that is not too much."""
    allowed = 1e9 + 100 * archive.stat().st_size if most is None else most
    for number, total in enumerate(accumulate(sizes), start=1):
        if total > allowed or number > MOST_ENTRIES:
            raise InputError(
                f"{archive} holds more than {in_words(allowed)}, unpacked, or more than {MOST_ENTRIES:,} entries: give or "
                "correct `gigabytes` in the manifest, or unpack it by hand"
            )
        yield total


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


# -- names -------------------------------------------------------------------------------------------------------------
def _refused(archive: Path, name: str, why: str) -> InputError:
    return InputError(f"{archive} is refused, nothing was unpacked: its entry {name!r} {why}")


class _Names:
    """The names of an archive's entries: none leaves the folder, none steers a terminal, no two are one on the disk."""

    def __init__(self, archive: Path, folder: Path):
        self._archive, self._spelt = archive, {}
        self._folds = folder.with_name(folder.name.swapcase()).exists()  # disks on which A and a are one

    def check(self, name: str) -> PurePosixPath:
        if re.match(r"[A-Za-z]:", name):
            raise _refused(
                self._archive, name, "would leave the target folder on Windows, as it begins like a drive: unpack it by hand"
            )
        if leaves(name):
            raise _refused(self._archive, name, "would leave the target folder")
        odd = _ODD.search(name)
        if odd:
            why = "has a name that is not in UTF-8" if "\ud800" <= odd[0] <= "\udfff" else "has control codes in its name"
            raise _refused(self._archive, name, f"{why}: unpack it by hand, under other names")
        path = PurePosixPath(name)
        for each in map(str, (*reversed(path.parents), path)):
            composed = unicodedata.normalize("NFC", each)
            other = self._spelt.setdefault(composed.casefold() if self._folds else composed, each)
            if other != each:
                why = f"would be one with {other!a}, on this disk or on others: unpack it by hand, under other names"
                raise _refused(self._archive, each, why)
        return path


_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# -- the kinds of archive: first the size of each entry, once it is checked; then each extracted ------------------------
def _zip_entries(archive: Path) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """The entries under their names: in UTF-8, as the Mac's archiver leaves unsaid, and with / where Windows wrote \\."""
    with zipfile.ZipFile(archive) as file, archive.open("rb") as beginning:
        if beginning.read(4) == _ZIP_ENTRY and min(info.header_offset for info in file.infolist()) > 0:
            raise zipfile.BadZipFile("another archive stands before it in the same file")
        for info in file.infolist():
            name = info.orig_filename
            if not info.flag_bits & _ZIP_UTF8:
                raw = name.encode("cp437")
                name = _unicode_path(info.extra, raw) or raw.decode("utf-8", "surrogateescape")
            info.filename = name.replace("\\", "/")
            if not info.filename.endswith(_MAC_ICON):
                yield file, info


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in UTF-8 that an entry has beside one in its maker's code page, where it was made for just that one."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _ZIP_UNICODE_PATH and field[:1] == b"\1" and field[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            return field[5:].decode("utf-8", "surrogateescape")
    return None


_MAC_ICON = "Icon\r"  # a Mac's file for a folder with a picture of its own
_ZIP_ENTRY = b"PK\3\4"  # what an entry begins with
_ZIP_UNICODE_PATH = 0x7075  # an extra field of Info-ZIP: version, checksum of the other name, name
_ZIP_ENCRYPTED, _ZIP_UTF8 = 1, 1 << 11  # bits of an entry's flags
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def _zip_sizes(archive: Path, names: _Names) -> Iterator[int]:
    found: dict[PurePosixPath, tuple[int, int]] = {}
    for _, info in _zip_entries(archive):
        path = names.check(info.filename)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, info.filename, "is a link or a device")
        if info.flag_bits & _ZIP_ENCRYPTED:
            raise _refused(archive, info.filename, "is encrypted: unpack it by hand")
        if info.compress_type not in _ZIP_METHODS:
            raise _refused(archive, info.filename, f"is packed by method {info.compress_type}: unpack it by hand")
        if not info.is_dir() and found.setdefault(path, (info.CRC, info.file_size)) != (info.CRC, info.file_size):
            raise _refused(archive, info.filename, "is there twice, with different contents: unpack it by hand")
        yield info.file_size


def _zip_extract(archive: Path, to: Path) -> Iterator[int]:
    for file, info in _zip_entries(archive):
        file.extract(info, to)
        yield info.file_size


class _Header(tarfile.TarInfo):
    """Makes a damaged header, none at all, and one that would fill the memory an error; tarfile alone takes the first two
    for the end of the archive."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EmptyHeaderError as error:
            raise tarfile.ReadError("it ends without the mark of its end, cut off perhaps") from error
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"a damaged header ({error})") from error
        if header.type in _OF_THE_NEXT and header.size > CHUNK:
            raise tarfile.ReadError(f"a header of {in_words(header.size)}")
        return header


_OF_THE_NEXT = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PADDING = 64 * CHUNK  # more than any program writes behind the end of an archive


def _tar_entries(archive: Path, to_the_end: bool = False) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The entries under their names, with / where Windows wrote \\; perhaps checked up to the end of the file."""
    with tarfile.open(archive, tarinfo=_Header, encoding="utf-8") as file:
        for member in file:
            member.name = member.name.replace("\\", "/")
            member.linkname = member.linkname.replace("\\", "/")
            if not member.name.endswith(_MAC_ICON):
                yield file, member
        padding = 0
        while to_the_end and (chunk := file.fileobj.read(CHUNK)):  # of a compressed archive that is where its checksum stands
            padding += len(chunk)
            if b"ustar" in chunk or padding > _PADDING:
                raise tarfile.ReadError("it goes on behind its end, perhaps with another archive")


def _tar_sizes(archive: Path, names: _Names) -> Iterator[int]:
    files: dict[PurePosixPath, tarfile.TarInfo] = {}
    links: dict[PurePosixPath, str] = {}
    twice: list[tuple[str, tarfile.TarInfo, tarfile.TarInfo]] = []
    for _, member in _tar_entries(archive, to_the_end=True):
        path = names.check(member.name)
        if any(each in links for each in (path, *path.parents)):
            raise _refused(archive, member.name, "would be written through a link")
        if member.isreg() or member.islnk():
            meant = member if member.isreg() else files.get(PurePosixPath(member.linkname))  # from the root of the archive
            if meant is None:
                raise _refused(archive, member.name, f"is a hard link to {member.linkname!r}, which is not in it")
            if files.setdefault(path, meant) is not meant:
                twice.append((member.name, files[path], meant))
        elif member.issym() and path not in files:
            links[path] = member.linkname
        elif not member.isdir():
            raise _refused(archive, member.name, "is a device, a pipe, or a link in the place of a file")
        yield member.size if member.isreg() else 0
    for path, target in links.items():
        if _points_out(path, target, links):
            raise _refused(archive, str(path), f"is a link to {target!r}, out of the target folder")
    contents = _contents(archive, [each for _, *both in twice for each in both])
    for name, first, second in twice:
        if contents[first.offset] != contents[second.offset]:
            raise _refused(archive, name, "is there twice, with different contents: unpack it by hand")


def _contents(archive: Path, members: list[tarfile.TarInfo]) -> dict[int, bytes]:
    """Digests of some files by their place, in whose order they are read: to go back would be to decompress all anew."""
    with tarfile.open(archive, tarinfo=_Header) as file:
        by_place = sorted({member.offset: member for member in members}.items())
        return {place: hashlib.file_digest(file.extractfile(each), "sha256").digest() for place, each in by_place}


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
    for file, member in _tar_entries(archive):
        if member.isdir():  # without filters tarfile would make it with mode 700
            (to / member.name).mkdir(parents=True, exist_ok=True)
        else:
            file.extract(member, to, **_SAFE)
        yield member.size


def _gz_sizes(archive: Path, names: _Names) -> Iterator[int]:
    with gzip.open(archive) as file:
        while chunk := file.read(CHUNK):
            yield len(chunk)


def _gz_extract(archive: Path, to: Path) -> Iterator[int]:
    with gzip.open(archive) as file, (to / archive.name[: -len(".gz")]).open("wb") as target:
        while chunk := file.read(CHUNK):
            yield target.write(chunk)


class _Kind(NamedTuple):
    sizes: Callable[[Path, _Names], Iterator[int]]
    extract: Callable[[Path, Path], Iterator[int]]


_TAR = _Kind(_tar_sizes, _tar_extract)
ARCHIVE_KINDS = {
    ".tar.gz": _TAR,
    ".tgz": _TAR,
    ".tar": _TAR,
    ".zip": _Kind(_zip_sizes, _zip_extract),
    ".gz": _Kind(_gz_sizes, _gz_extract),
    ".tar.bz2": _TAR,
    ".tbz2": _TAR,
    ".tar.xz": _TAR,
    ".txz": _TAR,
}
BYTES_BAR = {"unit": "B", "unit_scale": True, "disable": None, "delay": 1, "mininterval": 1, "ncols": 100}


def _suffix(name: str) -> str | None:
    return next((suffix for suffix in ARCHIVE_KINDS if name.lower().endswith(suffix)), None)
