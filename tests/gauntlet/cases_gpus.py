"""GPUs of one machine as their users share and list them; none is needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from cases import Case

from tangent_lib.cli import gpus

KIND = "locks and lists of GPUs"


def listed(given: str) -> Callable[[Path], object]:
    def run(folder: Path) -> list[str]:
        with patch.dict(os.environ, CUDA_VISIBLE_DEVICES=given):
            return gpus.visible()

    return run


def taken(prepare: Callable[[Path], object], count: int = 1) -> Callable[[Path], object]:
    """Take a GPU where its lock is as prepared; what was taken, and what others may do with the lock."""

    def run(folder: Path) -> tuple[list[str], str]:
        prepare(folder / "gpu-0.lock")
        with patch.object(tempfile, "gettempdir", lambda: str(folder)):
            found = gpus.take(["0"], count)
        return found, oct((folder / "gpu-0.lock").stat().st_mode & 0o777)

    return run


def part_of_a_gpu(folder: Path) -> list[str]:
    with patch.object(tempfile, "gettempdir", lambda: str(folder)):
        return gpus.take(["MIG-GPU-a/0/1"], 1)


def under_umask_077(folder: Path) -> object:
    before = os.umask(0o077)
    try:
        return taken(lambda lock: None)(folder)
    finally:
        os.umask(before)


def of_another_user(folder: Path) -> object:
    """No file of root's is closed to root: opening it is refused in its place."""
    (folder / "gpu-0.lock").touch()
    closed = lambda path, flags, *mode: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    with patch.object(gpus.os, "open", closed):
        return taken(lambda lock: None)(folder)


CASES = [
    Case(KIND, "one device twice", listed("0,0,1"), right=["0", "1"]),
    Case(KIND, "blanks and empty names", listed(" 0 ,, 1,"), right=["0", "1"]),
    Case(KIND, "a list that ends with -1", listed("0,-1,1"), right=["0"]),
    Case(KIND, "none", listed("-1"), right=[]),
    Case(KIND, "a lock made under umask 077", under_umask_077, right=(["0"], "0o644")),
    Case(KIND, "a lock that is there", taken(lambda lock: lock.touch(0o644)), right=(["0"], "0o644")),
    Case(KIND, "a lock of another user that is closed", of_another_user, refused="another user's and cannot be read"),
    Case(KIND, "a lock that is a link", taken(lambda lock: lock.symlink_to("/etc/passwd")), refused="is not a plain file"),
    Case(KIND, "a part of a GPU with slashes in its name", part_of_a_gpu, right=["MIG-GPU-a/0/1"]),
    Case(KIND, "more than there are", taken(lambda lock: None, 2), refused="a job wants 2 GPUs, but this machine has 1"),
]
