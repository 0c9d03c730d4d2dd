"""Files and disks: where the repository lies, files that are written whole or not at all, room asked for before any work."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tangent_lib.runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]  # of the repository
LONGEST, LONGEST_PATH = 255, 4000  # bytes of a name and of a path, on any common disk
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_UNFINISHED = ".unfinished"


def given_path(name: str, value: object) -> Path:
    """A path that a reader gives, absolute, by one rule for parameters, options and environment variables.

    ``~`` and ``$NAME`` are filled in, since not every place that a path is written at is read by a shell. A relative path
    starts at the repository, since notebooks and commands run from several folders.

    Args:
        name: what an error calls it.

    Raises:
        InputError: for no path, one with a variable or a home that is not there, an address, or the repository itself and
            what it lies in.

    Example:
        >>> given_path("store", "runs/mine") == ROOT / "runs" / "mine"
        True
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} {value!r} is no path: papermill's -p reads numbers, -r {name} VALUE keeps text")
    text, found = os.path.expanduser(value), ROOT
    if text.startswith("~"):
        raise InputError(f"{name} '{value}': there is no such home; write it out, or ./~ for a folder of that name")
    if not text.strip() or not text.isprintable() or _too_long(text):
        raise InputError(f"{name} '{value}' is not a path: name a file or folder, relative to {ROOT} or absolute")
    if re.match(r"\w+://", text):
        raise InputError(f"{name} '{value}' is an address: name a file or folder of this machine, such as a mounted one")

    def fill(variable: re.Match) -> str:
        if not os.environ.get(variable[1] or variable[2]):
            raise InputError(f"{name} '{value}': the variable {variable[0]} is not set; set it, or write the path out")
        return os.path.expanduser(os.environ[variable[1] or variable[2]])

    for part in Path(text).parts:  # a folder that has a $ in its name, and is there, is meant
        found /= part if os.path.exists(found / part) else VARIABLE.sub(fill, part)
    if _too_long(found):  # once variables are filled in
        raise InputError(f"{name} '{value}' is not a path: what its variables hold is too long")
    if "${" in str(found) and not os.path.exists(found):
        raise InputError(f"{name} '{value}': a variable is written ${{NAME}}; close the brace, or write the path out")
    if ROOT.is_relative_to(os.path.realpath(found)):
        raise InputError(f"{name} '{value}' is the repository itself, or holds it: name a folder in it, or elsewhere")
    return found


def _too_long(path: str | Path) -> bool:
    return len(os.fsencode(path)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST for part in Path(path).parts)


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


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """A hidden file beside ``path``, open for writing; at the end it is gone, unless it was renamed to ``path``.

    It is locked while it is written, by which :func:`remove_unfinished`, done first, tells it from what a kill left.
    """
    remove_unfinished(path.parent)
    file = _new_and_locked(path.parent)
    try:
        yield file
    finally:
        Path(file.name).unlink(missing_ok=True)
        file.close()


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of :func:`unfinished` in a folder, not what another one is writing.

    The system frees the locks of a killed process. On a disk without locks nothing is removed.
    """
    for left in folder.glob(f".*{_UNFINISHED}"):
        with suppress(OSError), left.open("r+b") as file:  # also gone already, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(files_of_unfinished(left), ignore_errors=True)
            left.unlink()


def _new_and_locked(folder: Path) -> BinaryIO:
    while True:
        file = (folder / f".{uuid.uuid4().hex}{_UNFINISHED}").open("xb")  # others may read it, where the umask lets them
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if Path(file.name).exists():
            return file
        file.close()  # another process locked it first, and removed it


def files_of_unfinished(path: Path) -> Path:
    """Where files lie while they are written under the lock of :func:`unfinished`.

    Example:
        >>> files_of_unfinished(Path("cars/.0a1b.unfinished")).as_posix()
        'cars/.0a1b.files'
    """
    return path.with_suffix(".files")


def check_place(path: Path) -> None:
    """Refuse, before any work, a file that cannot be written where it is to lie; it is tried, and nothing is left there.

    Example:
        >>> check_place(Path("/dev/null/receipt.json"))
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: '/dev/null/receipt.json' cannot be written (Not a directory): name ...
    """
    folder = next(each for each in path.absolute().parents if os.path.lexists(each))
    try:
        if path.exists() and not path.is_file():  # it would be replaced
            raise OSError("it is a folder, a pipe or a device")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror or error}): name a file elsewhere") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a whole file or nothing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "file")
        >>> write_whole(path, b"all of it"), path.read_bytes()
        (None, b'all of it')
    """
    try:
        with unfinished(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
    except OSError as error:
        if is_full(error):
            raise full_disk(f"'{path.name}'", len(data), path.parent) from error
        raise InputError(f"'{path}' cannot be written ({error.strerror or error})") from error
