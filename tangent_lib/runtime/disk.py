"""Files and disks: where the repository lies, files that are written whole or not at all, room asked for before any work."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

from tangent_lib.runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]  # of the repository


class DiskFull(InputError):
    """The disk is full, or would be."""


def check_disk(path: Path, gigabytes: int | float, what: str) -> None:
    """Check, before any work, that so many gigabytes (of 10^9 bytes) are free where ``path`` lies or will lie.

    Raises:
        DiskFull: naming what is needed and what is free.

    Example:
        >>> check_disk(Path("data/cars"), 1e9, "Cars")
        Traceback (most recent call last):
        tangent_lib.runtime.disk.DiskFull: Cars needs 1000000000.0 GB of disk, but only ... are free at ...
    """
    if gigabytes * 1e9 > free_bytes(path):
        raise full_disk(what, gigabytes * 1e9, path)


def free_bytes(path: Path) -> int:
    """How much is free where ``path`` lies or will lie."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free


def full_disk(what: str, needed: int | float, path: Path) -> DiskFull:
    """The error for a disk that is too small."""
    return DiskFull(
        f"{what} needs {in_words(needed)} of disk, but only {in_words(free_bytes(path))} are free at {path}: "
        "make room, or give a data root on another disk"
    )


def in_words(size: int | float) -> str:
    """A number of bytes for people.

    Example:
        >>> in_words(37.4e9), in_words(512)
        ('37.4 GB', '512 bytes')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that the disk or a quota is full.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(None)
        (True, False)
    """
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def write_whole(path: Path, data: bytes) -> None:
    """Write a whole file or nothing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "file")
        >>> write_whole(path, b"all of it"), path.read_bytes()
        (None, b'all of it')
    """
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")  # read by others too, where the umask lets them
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and is_full(error):
            raise full_disk(f"'{path.name}'", len(data), path.parent) from error
        raise
