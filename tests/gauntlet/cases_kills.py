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


def small_files(folder: Path) -> object:
    """Files may have 64 kB, as under a quota: the refusal is one line, and with room all goes on."""

    def limited() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        return report(folder / "store")

    return _refused_then_right(folder, limited)


def full_disk(folder: Path) -> object:
    """The store on a tmpfs of one megabyte, where the system lets a user mount one."""
    (folder / "disk").mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from cases_kills import report\n"
        "from tangent_lib.runtime.errors import InputError, in_full\n"
        "try: report(Path(sys.argv[1], 'store')); print('gave')\n"
        "except InputError as error: print(in_full(error))"
    )
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -W ignore -c "$3" "$1" "$4"'
    words = ["sh", "-c", mount, "sh", folder / "disk", sys.executable, code, Path(__file__).parent]
    ran = subprocess.run(["unshare", "-rm", *words], capture_output=True, text=True, check=False)
    if ran.returncode and "cases_kills" not in ran.stderr:  # no user namespaces here
        return small_files(folder)
    lines = ran.stdout.splitlines()
    said = len(lines) == 1 and any(words in lines[0] for words in ("No space left", "are free at"))
    return said or (lines, ran.stderr[-500:])


def read_only(folder: Path) -> object:
    """Another user's store, which may be read: what is there is taken, what is not is refused in one line."""
    store = folder / "store"
    wait_for(child(lambda: report(store), folder / "first"), folder / "first")
    for path in (store, *store.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o777)

    def as_nobody() -> object:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return report(store)

    found = wait_for(child(as_nobody, folder / "second"), folder / "second")
    for path in (store, *store.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    expected, _ = undisturbed()
    if found == {"gave": expected}:
        return True
    return ("cannot be written" in found.get("refused", "") and "\n" not in found["refused"]) or found


def _refused_then_right(folder: Path, work: Callable[[], object]) -> object:
    first = wait_for(child(work, folder / "first"), folder / "first")
    second = wait_for(child(lambda: report(folder / "store"), folder / "second"), folder / "second")
    expected, _ = undisturbed()
    one_line = "refused" in first and "\n" not in first["refused"] and "too large" in first["refused"].lower()
    return (one_line and second == {"gave": expected}) or (first, second == {"gave": expected})


CASES = [
    *(Case(KIND, f"number {seed + 1} of {KILLS}", killed(seed), right=True, slow=True) for seed in range(KILLS)),
    Case(CROWD, f"{PROCESSES} at once from an empty store", crowd, right=True, slow=True),
    Case(DISK, "files of 64 kB at most, then room", small_files, right=True, slow=True),
    Case(DISK, "a tmpfs of one megabyte", full_disk, right=True, slow=True),
    Case(DISK, "a store of another user, read-only", read_only, right=True, slow=True),
]
