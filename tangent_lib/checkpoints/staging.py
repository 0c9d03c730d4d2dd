"""Files that appear together, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tangent_lib.runtime.disk import files_of_unfinished, free_bytes, in_words, remove_unfinished, unfinished
from tangent_lib.runtime.errors import InputError


@contextmanager
def staged(folder: Path, last: str, size: int = 0) -> Iterator[Path]:
    """A temporary folder whose files move into ``folder`` at the end, ``last`` of all the one of this name.

    If anything fails before, ``folder`` stays as it was; after a kill the next one removes what was left.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp(), "new")
        >>> with staged(folder, last="record.json") as temporary:
        ...     _ = (temporary / "record.json").write_text("{}")
        >>> os.listdir(folder)
        ['record.json']
    """
    remove_unfinished(folder)
    free = free_bytes(folder)
    if size > free:
        raise InputError(
            f"'{folder}' needs {in_words(size)} of disk, but only {in_words(free)} are free: make room, or name a folder on "
            "another disk with --to"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished(folder / last) as lock:
            temporary = files_of_unfinished(Path(lock.name))
            try:
                temporary.mkdir()
                yield temporary
                for path in sorted(temporary.iterdir(), key=lambda path: path.name == last):
                    os.replace(path, folder / path.name)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{folder}' cannot be written ({error}): make room, or name another folder with --to") from error
