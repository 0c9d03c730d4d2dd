"""Run a command on GPUs that are free: ``tangent gpus COUNT COMMAND ...``.

On a cluster the scheduler hands out GPUs; on one machine with several, this does, among all commands that are started
through it. Without any GPU the command just runs.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from tangent_lib.runtime.errors import InputError


def visible() -> list[str]:
    """The GPUs that this process may use, each once: as ``CUDA_VISIBLE_DEVICES`` names them, or all that the driver lists.

    As for CUDA, a list ends before the first name that begins with a minus.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = takewhile(lambda name: not name.startswith("-"), (name.strip() for name in given.split(",")))
        return list(dict.fromkeys(filter(None, names)))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def take(names: Sequence[str], count: int, pause: float = 1.0) -> list[str]:
    """So many of these GPUs that are free, waiting until there are. They are held until this process and its children end.

    Example:
        >>> take(["0", "1"], 3)
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: a job wants 3 GPUs, but this machine has 2...
    """
    if count > len(names):
        raise InputError(
            f"a job wants {count} GPUs, but this machine has {len(names)} ({', '.join(names)}): lower gpus_per_job with "
            "--config gpus_per_job=1, or set CUDA_VISIBLE_DEVICES"
        )
    while True:
        held: dict[str, int] = {}
        for name in names:
            lock = _opened(Path(tempfile.gettempdir(), f"gpu-{name.replace('/', '-')}.lock"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held[name] = lock
            except BlockingIOError:
                os.close(lock)
            if len(held) == count:
                for handle in held.values():
                    os.set_inheritable(handle, True)  # the lock is the open file's: it lasts as long as the command
                return list(held)
        for handle in held.values():  # too few: let others have them meanwhile
            os.close(handle)
        time.sleep(pause)


def _opened(path: Path) -> int:
    """The lock of a GPU, which all users may open."""
    with suppress(FileNotFoundError):
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except PermissionError:
            raise InputError(
                f"{path} is another user's and cannot be read, so whether the GPU is free is not known: let it be made "
                "readable (chmod a+r), or choose GPUs with CUDA_VISIBLE_DEVICES"
            ) from None
        except FileNotFoundError:
            raise
        except OSError as error:  # a link, which may lead to any file, or a socket
            raise InputError(f"{path}, the lock of a GPU, is not a plain file ({error.strerror}): remove it") from error
    # only now: what another user made may be opened there, but not with O_CREAT
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    os.fchmod(lock, 0o644)  # whatever the umask
    return lock


def gpus(
    count: Annotated[int, Parameter(help="how many; where there is none the command just runs", validator=Number(gte=0))],
    command: Annotated[str, Parameter(help="what to run; -- before it keeps all of its options to itself")],
    /,
    *arguments: Annotated[str, Parameter(help="its arguments", allow_leading_hyphen=True)],
) -> None:
    """Become a command, on so many GPUs that no other such command uses, once they are free."""
    names = visible()
    if names and count:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(names, count))
    try:
        os.execvp(command, [command, *arguments])
    except OSError as error:
        raise InputError(f"'{command}' could not be started: {error.strerror}") from error
