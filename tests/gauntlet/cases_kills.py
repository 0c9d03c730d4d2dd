"""A small report under kills, crowds, full disks and read-only places: it ends with the results of an undisturbed one.

The report is two tasks, fine-tuned for a few steps in both ways, added, negated and disentangled. Children are forked from
one process that has imported everything, so that a moment of its run can be hit at random.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from cases import Case

from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.experiments.records import as_json, summary
from tangent_lib.miniature.tasks import SIZES
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError, in_full

KIND, CROWD, DISK = "a kill at a random moment", "several processes on one store", "disks that are full or read-only"
SMALL = {"tasks": "Signs,Scenes", "pairs": "auto", "steps": "4", "batch_size": "8", "points": "16", "alphas": "0,0.5,1"}
KILLS, PROCESSES = 50, 8


def report(store: Path) -> dict:
    """The results of a small report as JSON values, out of this store; only in a child, where tasks are made small."""
    SIZES.update(train=64, val=24, test=32)
    run = Experiment(Materials(check_parameters(**SMALL, control="Objects", store=str(store))))
    return as_json({mode: summary(run, mode, 0, xi=True) for mode in ("non-linear", "post-hoc", "linear")})


def child(work: Callable[[], object], result: Path) -> int:
    """Start a process that does this work and writes what it gave, or its refusal; its number."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            found = {"gave": work()}
        except InputError as error:
            found = {"refused": in_full(error)}
        except BaseException:
            found = {"traceback": traceback.format_exc()}
        result.write_text(json.dumps(found))
        status = 0
    finally:
        os._exit(status)


def wait_for(number: int, result: Path) -> dict:
    _, status = os.waitpid(number, 0)
    return json.loads(result.read_text()) if status == 0 else {"status": status}


@cache
def undisturbed() -> tuple[dict, float]:
    """What the report gives in a store of its own, and how long it takes; once a run of the gauntlet."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = wait_for(child(lambda: report(Path(folder, "store")), Path(folder, "result")), Path(folder, "result"))
        return found["gave"], time.perf_counter() - start


def killed(seed: int) -> Callable[[Path], object]:
    """Kill the report at a random moment, and once more while it goes on; then let it end."""

    def run(folder: Path) -> object:
        expected, seconds = undisturbed()
        moments = random.Random(seed)
        for _ in range(1 + seed % 2):
            number = child(lambda: report(folder / "store"), folder / "unused")
            time.sleep(moments.uniform(0.02, 1.0) * seconds)
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
        found = wait_for(child(lambda: report(folder / "store"), folder / "result"), folder / "result")
        hidden = [path.name for path in (folder / "store").rglob("*") if path.name.startswith(".") and path.is_file()]
        return (found == {"gave": expected} and hidden == []) or (found, hidden)

    return run


def crowd(folder: Path) -> object:
    """All get the same, and each result was computed by one of them alone: the store has one record of each."""
    expected, _ = undisturbed()
    results = [folder / f"result-{i}" for i in range(PROCESSES)]
    numbers = [child(lambda: report(folder / "store"), result) for result in results]
    found = [wait_for(number, result) for number, result in zip(numbers, results)]
    left = [path.name for path in (folder / "store").rglob("*") if path.suffix == ".state" or "damaged" in path.name]
    return (all(each == {"gave": expected} for each in found) and left == []) or (found, left)


def limited(store: Path) -> dict:
    """The report where files may have 64 kB, as under a quota."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return report(store)


def refused(found: dict) -> object:
    """A child's refusal, raised here; what it gave instead, where it gave something."""
    if "refused" in found:
        raise InputError(found["refused"])
    return found


def small_files(folder: Path) -> object:
    return refused(wait_for(child(lambda: limited(folder / "store"), folder / "first"), folder / "first"))


def room_again(folder: Path) -> object:
    """What a quota broke off goes on, once there is room."""
    first = wait_for(child(lambda: limited(folder / "store"), folder / "first"), folder / "first")
    second = wait_for(child(lambda: report(folder / "store"), folder / "second"), folder / "second")
    expected, _ = undisturbed()
    return ("refused" in first and second == {"gave": expected}) or (first, second)


def full_disk(folder: Path) -> object:
    """The store on a tmpfs of one megabyte, where the system lets a user mount one; a quota elsewhere."""
    (folder / "disk").mkdir()
    code = (
        "import json, sys; from pathlib import Path; from cases_kills import report\n"
        "from tangent_lib.runtime.errors import InputError, in_full\n"
        "try: print(json.dumps({'gave': report(Path(sys.argv[1], 'store'))}))\n"
        "except InputError as error: print(json.dumps({'refused': in_full(error)}))"
    )
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -W ignore -c "$3" "$1"'
    words = ["unshare", "-rm", "sh", "-c", mount, "sh", folder / "disk", sys.executable, code]
    ran = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True)
    if ran.returncode and "cases_kills" not in ran.stderr:  # no user namespaces here
        return small_files(folder)
    return refused(json.loads(ran.stdout)) if not ran.returncode else ran.stderr


def read_only(folder: Path) -> object:
    """The store of another user, which may be read and not written."""
    store = folder / "store"
    folder.chmod(0o777)

    def as_nobody() -> object:
        report(store)  # by its owner; what is imported late is imported now, since nobody may not read where Python lies
        for path in (store, *store.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return report(store)

    (folder / "result").touch()
    (folder / "result").chmod(0o666)
    found = wait_for(child(as_nobody, folder / "result"), folder / "result")
    for path in (store, *store.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return refused(found)


CASES = [
    *(Case(KIND, f"number {seed + 1} of {KILLS}", killed(seed), right=True, slow=True) for seed in range(KILLS)),
    Case(CROWD, f"{PROCESSES} at once from an empty store", crowd, right=True, slow=True),
    Case(DISK, "files of 64 kB at most", small_files, refused=r"cannot be written \(File too large\)", slow=True),
    Case(DISK, "files of 64 kB at most, then room", room_again, right=True, slow=True),
    Case(DISK, "a tmpfs of one megabyte", full_disk, refused="No space left|are free at|File too large", slow=True),
    Case(DISK, "a store of another user, read-only", read_only, refused="cannot be written", slow=True),
]
