"""What counts in folders that people bring: no service files, names that are text, and each real file once."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from itertools import chain, takewhile
from math import inf
from pathlib import Path

from tangent_lib.runtime.errors import InputError

# fmt: off
SERVICE_NAMES = {  # of systems, archives and network storage, in lower case; so are all names that begin with a dot
    "@eadir", "@recently-snapshot", "@recycle", "#recycle", "#snapshot", "__macosx", "__pycache__", "$recycle.bin",
    "desktop.ini", "ehthumbs.db", "icon\r", "lost+found", "system volume information", "thumbs.db",
}
# fmt: on
IN_LINKS = 2  # levels below a linked folder that are searched for a file: it may be a whole disk
_WILDCARD = re.compile(r"[*?\[]")
_NO_TEXT = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8


def is_service(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system or a program, and not to a dataset.

    Example:
        >>> [is_service(name) for name in (".ipynb_checkpoints", "._1.png", "@eaDir", "THUMBS.DB", "river")]
        [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in SERVICE_NAMES


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, but for service files and folders.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_service(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read ({error.strerror}): make it readable") from error


def class_folders(root: Path) -> list[str]:
    """The folders in a folder.

    Raises:
        InputError: for a link that leads nowhere, and for a name that no class can have.
    """
    return [checked_name(root, entry.name) for entry in visible(root) if _is_folder(entry, root / entry.name)]


def checked_name(folder: Path, name: str) -> str:
    """A name that is text: UTF-8 without control characters.

    Raises:
        InputError: otherwise, showing the bytes.
    """
    if _NO_TEXT.search(name):
        raise InputError(
            f"in {folder} a name is not printable text in UTF-8, {ascii(os.fsencode(name))[1:]}: rename it (convmv does many)"
        )
    return name


def files_below(
    folder: Path,
    fits: Callable[[str], bool],
    check_other: Callable[[Path], None] | None = None,
    in_links: int | float = inf,
) -> dict[str, str]:
    """The files at any depth whose names fit: each real path, with the path in the folder.

    Linked folders and files are followed, after what lies there itself, and what was met already is not taken again. Below a
    linked folder ``in_links`` levels are looked at. Other files are shown to ``check_other``.

    Raises:
        InputError: for a link to a folder that it lies in, or to nothing, and for a name that is not text.
    """
    found: dict[str, str] = {}
    linked: list[tuple[str, str]] = []
    seen: set[str] = set()
    _check_link(folder)
    todo = deque([("", os.path.realpath(folder), inf)])
    while todo:
        within, real, left = todo.popleft()
        if real in seen:
            continue
        seen.add(real)
        for entry in visible(real):
            name, path = within + entry.name, folder / within / entry.name
            if _is_folder(entry, path):
                if entry.is_symlink() and left:
                    _check_link(path)
                    todo.append((f"{name}/", os.path.realpath(entry.path), min(left - 1, in_links)))
                elif left:
                    todo.appendleft((f"{name}/", entry.path, left - 1))
            elif fits(entry.name):
                checked_name(folder, name)
                if not entry.is_file():
                    raise InputError(f"{path} is neither a file nor a folder: remove it")
                if entry.is_symlink():
                    linked.append((os.path.realpath(entry.path), name))
                else:
                    found[entry.path] = name
            elif check_other and entry.is_file():
                check_other(path)
    for real, name in linked:
        found.setdefault(real, name)
    return found


def file_stamp(path: str | Path) -> str:
    """Size, times and number of a file on its disk; nothing if it is not there.

    A file that takes another's name and time, as two that change places, has another number and another time of its status.
    """
    try:
        state = os.stat(path)
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def folder_stamp(folder: Path, needs: Iterable[str], but: Path) -> str:
    """A digest of the files that globs fit in a folder or that lie below: their sizes and times of change.

    Globs are as a layout has them, several being divided by ``|``; of each, what stands before its first wildcard is a place
    to look at as a whole. What another folder holds is left out.
    """
    roots = {""}
    for pattern in chain.from_iterable(need.split("|") for need in needs):
        fixed = "/".join(takewhile(lambda part: not _WILDCARD.search(part), Path(pattern).parts))
        roots.update([fixed] if fixed else (path.relative_to(folder).as_posix() for path in globbed(folder, pattern)))
    found, seen = [], {os.path.realpath(but)}
    for root in sorted(roots - {""}):
        if (folder / root).is_file():
            found.append(f"/{root} {file_stamp(folder / root)}")
        for where, folders, files in os.walk(folder / root, followlinks=True):
            real = os.path.realpath(where)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not is_service(name))
            paths = [os.path.join(where, name) for name in sorted(files) if not is_service(name)]
            found += [f"{path[len(str(folder)) :]} {file_stamp(path)}" for path in paths]
    return hashlib.sha256("\0".join(found).encode(errors="surrogateescape")).hexdigest()


def globbed(folder: Path, pattern: str) -> Iterator[Path]:
    """What fits a glob in a folder, but for service files and what lies in service folders; ``**/`` is of files alone.

    Example:
        >>> [path.name for path in globbed(Path(__file__).parent, "folders.p*")]
        ['folders.py']
    """
    name = pattern.removeprefix("**/")
    if name != pattern:
        found = files_below(folder, lambda each: fnmatch(each, name), in_links=IN_LINKS).values() if folder.is_dir() else ()
        yield from (folder / each for each in sorted(found))
    else:
        for path in folder.glob(pattern):
            if not any(map(is_service, path.relative_to(folder).parts)):
                yield path


def any_of(folder: Path, pattern: str) -> Path | None:
    """Something in a folder that fits a glob, a file if there is one."""
    first = None
    for path in globbed(folder, pattern):
        if path.is_file():
            return path
        first = first or path
    return first


def _is_folder(entry: os.DirEntry[str], path: Path) -> bool:
    try:
        if entry.is_symlink():
            entry.stat()
        return entry.is_dir()
    except OSError as error:
        raise InputError(f"{path} leads to nothing ({error.strerror}): remove the link, or put back what it names") from error


def _check_link(path: Path) -> None:
    """Check that a folder, if it is a link, does not lead to one that it lies in."""
    target, around = os.path.realpath(path), os.path.realpath(path.parent)
    if path.is_symlink() and Path(around).is_relative_to(target):
        raise InputError(f"{path} is a link to {target}, in which it lies itself: remove the link")
