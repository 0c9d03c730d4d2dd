"""What lies in a store, beside a checkout, or in the place of an interrupted training's state."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from cases import Case
from safetensors.torch import save_file
from torch.optim import AdamW

from tangent_lib.data import tasks
from tangent_lib.experiments.records import same_configuration
from tangent_lib.runtime import provenance
from tangent_lib.runtime.digests import SOURCES, code_of
from tangent_lib.runtime.snapshots import Snapshots
from tangent_lib.runtime.store import Store

CONFIG = {"task": "Signs", "seed": 3}
ENTRY = "damaged entries of the store"
PLACE = "stores that cannot be used"
STATE = "states of an interrupted training that are none"
CODE = "results of other code or images"
ORIGIN = "commits of other repositories"


# -- the store ---------------------------------------------------------------------------------------------------------
def fetch(root: Path, value: float) -> float:
    return Store(root).fetch("kind", CONFIG, lambda: ({"w": torch.arange(6.0)}, {"value": value})).values["value"]


def spoilt(spoil: Callable[[Path, Path], object]) -> Callable[[Path], object]:
    """What is fetched after the record or the tensors were spoilt: 2 where it is computed anew, and 2 again."""

    def run(folder: Path) -> list[float]:
        fetch(folder / "store", 1.0)
        (record,) = folder.glob("store/kind/*.json")
        spoil(record, record.with_suffix(".safetensors"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [fetch(folder / "store", 2.0), fetch(folder / "store", 3.0)]

    return run


def instead(make: Callable[[Path], object], of: int = 0) -> Callable[[Path], object]:
    """Something else in the place of the record, or of the tensors."""

    def spoil(*paths: Path) -> None:
        paths[of].unlink()
        make(paths[of])

    return spoilt(spoil)


def written(data: bytes, of: int = 0) -> Callable[[Path], object]:
    return instead(lambda path: path.write_bytes(data), of)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def alter(record: Path, tensors: Path) -> None:
    record.write_text(record.read_text().replace("1.0", "9.0"))


RECORDS = [
    ("an empty record", written(b"")),
    ("a record cut short", spoilt(lambda record, _: record.write_bytes(record.read_bytes()[:-9]))),
    ("a record that is a list", written(b"[]")),
    ("a record that is a number", written(b"7")),
    ("a record of foreign keys", written(b'{"name": "tangent"}')),
    ("a record that is no text", written(b"\xff\xfe\x00\x80")),
    ("a record nested 100,000 deep", written(b"[" * 100_000)),
    ("a number changed in a record", spoilt(alter)),
    ("a record that is a folder", instead(Path.mkdir)),
    ("a record that is a pipe", instead(os.mkfifo)),
    ("a record that is a dangling link", instead(lambda path: path.symlink_to("nowhere"))),
    ("empty tensors", written(b"", 1)),
    ("tensors cut short", spoilt(lambda _, tensors: tensors.write_bytes(tensors.read_bytes()[:-1]))),
    ("tensors with a bit flipped", spoilt(lambda _, tensors: flip(tensors))),
    ("foreign tensors", instead(lambda path: save_file({"w": torch.ones(6)}, path), 1)),
    ("no tensors", spoilt(lambda _, tensors: tensors.unlink())),
    ("tensors that are a folder", instead(Path.mkdir, 1)),
    ("tensors that are a pipe", instead(os.mkfifo, 1)),
]


def blocked(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something in the place of what the store makes; ``*`` stands for the entry's key."""

    def run(folder: Path) -> float:
        base = Store(folder / "store").beside("kind", CONFIG, "")
        path = folder / "store" / name.replace("*", base.name)
        shutil.rmtree(path, ignore_errors=True)
        make(path)
        return fetch(folder / "store", 1.0)

    return run


def read_only(folder: Path) -> float:
    folder.chmod(0o555)
    try:
        return fetch(Path("/proc/store") if os.geteuid() == 0 else folder / "store", 1.0)
    finally:
        folder.chmod(0o755)


def file_as_store(folder: Path) -> float:
    (folder / "store").write_text("")
    return fetch(folder / "store", 1.0)


# -- an interrupted training -------------------------------------------------------------------------------------------
def gone_on(spoil: Callable[[Path], object], weights: int = 3) -> Callable[[Path], object]:
    """After how many steps a training goes on, and with which weights: that of 5 steps had twos, a new one has ones."""

    def run(folder: Path) -> tuple[int, list[float]]:
        old, new = (torch.full((size,), value, requires_grad=True) for size, value in ((3, 2.0), (weights, 1.0)))
        optimizer = AdamW([old], lr=0.0, weight_decay=0.0)
        old.sum().backward()
        optimizer.step()
        Snapshots(folder / "key.state", 0).keep(5, optimizer)
        spoil(folder / "key.state")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Snapshots(folder / "key.state").restore(AdamW([new])), new.tolist()

    return run


def replace(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def renamed(path: Path) -> None:
    at = path.with_name("other.state")
    weight = torch.full((3,), 3.0, requires_grad=True)
    Snapshots(at, 0).keep(7, AdamW([weight]))
    at.replace(path)


ANEW = (0, [1.0, 1.0, 1.0])
STATES = [
    ("an empty state", lambda path: path.write_bytes(b"")),
    ("a state cut short", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ("a state with a bit flipped", flip),
    ("a state of JSON", lambda path: path.write_text('{"steps": 5}')),
    ("a state of tensors without their steps", lambda path: save_file({"weight 0": torch.zeros(3)}, path)),
    ("a state with foreign metadata", lambda path: save_file({"a": torch.zeros(3)}, path, {"steps": "many"})),
    ("a state of another training", renamed),
    ("a state with other steps", lambda path: path.write_bytes(path.read_bytes().replace(b'"5"', b'"4"'))),
    ("no state", Path.unlink),
    ("a dangling link", replace(lambda path: path.symlink_to("nowhere"))),
]


# -- code and images ---------------------------------------------------------------------------------------------------
def same_after_an_edit(kind: str, module: str, old: str, new: str) -> Callable[[Path], object]:
    """Whether a result is found again after an edit of the code."""

    def run(folder: Path) -> bool:
        store, source = Store(folder), SOURCES[module].decode()
        store.fetch(kind, CONFIG, lambda: ({}, {}))
        if old not in source:
            raise ValueError(f"no {old} in {module}")
        with mock.patch.dict(SOURCES, {module: source.replace(old, new).encode()}):
            code_of.cache_clear()
            found = store.find(kind, CONFIG) is not None
        code_of.cache_clear()
        return found

    return run


EDITS = [
    ("an edited schedule of fine-tuning", "finetuned", "modes", "0.5 * (1 + math.cos", "0.4 * (1 + math.cos", False),
    ("an edited drawing", "images", "miniature.signs", "0.5", "0.6", False),
    ("an edited rule of tangents, and kept weights", "finetuned", "_fast.rules", "along", "along_", False),
    ("an edited choice of alpha", "addition", "editing", ">=", ">", False),
    ("an edited choice of alpha, and kept weights", "finetuned", "editing", ">=", ">", True),
    ("an edited page", "addition", "report.tables", "def ", "def x", True),
    ("an edited comment", "finetuned", "finetuning", "\ndef finetune", "\n# a comment\ndef finetune", True),
    ("an edited message", "finetuned", "finetuning", "nothing to train", "nothing is trained", True),
]


def digest_of(change: Callable) -> Callable[[Path], object]:
    """Whether a task with changed images is another one, and whether a record takes it for the same."""

    def run(folder: Path) -> tuple[bool, bool]:
        images = torch.arange(3 * 64 * 64, dtype=torch.uint8).view(4, 3, 32, 32)
        built = {split: (images.numpy().copy(), torch.arange(4).numpy()) for split in tasks.SPLITS}
        known = []
        for _ in range(2):
            with mock.patch.object(tasks.miniature_tasks, "build", lambda name: built):
                known.append(tasks._drawn("Signs")[1])
            change(built["test"][0])
        configurations = [{"images": {"Signs": each["sketch"]}} for each in known]
        return known[0]["images"] == known[1]["images"], same_configuration(*configurations)

    return run


def one_level(images) -> None:
    images[0, 0, 5, 5] ^= 1


def upside_down(images) -> None:
    images[:] = images[:, :, ::-1].copy()


def configured(**other: object) -> Callable[[Path], object]:
    one = {"pairs": [["Textures", "Scenes"]], "points": 200, "images": {"Signs": [1, 2, 3]}}
    return lambda folder: same_configuration(one, one | other)


# -- commits -----------------------------------------------------------------------------------------------------------
def commit_at(name: str, **variables: str) -> Callable[[Path], object]:
    """Whether the commit of a folder is that of a repository: its own, or ``unknown``."""

    def run(folder: Path) -> str:
        git = lambda *args: subprocess.run(["git", "-C", folder / "own", *args], check=True, capture_output=True, text=True)
        (folder / "own" / "copy").mkdir(parents=True)
        git("init", "-q")
        git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "--allow-empty", "-m", "One")
        subprocess.run(["git", "init", "-q", folder / "foreign"], check=True)
        values = {key: str(folder / value) for key, value in variables.items()}
        with mock.patch.object(provenance, "ROOT", folder / name), mock.patch.dict(os.environ, values):
            found = provenance.commit.__wrapped__()
        return "own" if found == git("rev-parse", "--short=12", "HEAD").stdout.strip() else found

    return run


CASES = [
    *(Case(ENTRY, name, run, right=[2.0, 2.0]) for name, run in RECORDS),
    Case(ENTRY, "a record that is a link to itself", instead(link_to_itself), refused=r"cannot be read at kind/.*symbolic"),
    Case(ENTRY, "nothing spoilt", spoilt(lambda *paths: None), right=[1.0, 1.0]),
    Case(PLACE, "a file as store", file_as_store, refused="the store '.*' cannot be written"),
    Case(PLACE, "a read-only place", read_only, refused="the store '.*' cannot be written"),
    Case(PLACE, "a file for a kind", blocked("kind", Path.touch), refused=r"cannot be written at kind \(File exists\)"),
    Case(PLACE, "a folder for a lock", blocked("kind/*.lock", Path.mkdir), refused=r"at kind/.*\.lock \(Is a directory"),
    *(Case(STATE, name, gone_on(spoil), right=ANEW) for name, spoil in STATES),
    Case(STATE, "a state of other weights", gone_on(lambda path: None, weights=2), right=(0, [1.0, 1.0])),
    Case(STATE, "the state that was kept", gone_on(lambda path: None), right=(5, [2.0, 2.0, 2.0])),
    Case(STATE, "a folder", gone_on(replace(Path.mkdir)), refused="key.state' is no file, .*: move it away"),
    Case(STATE, "a pipe", gone_on(replace(os.mkfifo)), refused="key.state' is no file, .*: move it away"),
    *(Case(CODE, name, same_after_an_edit(*edit), right=right) for name, *edit, right in EDITS),
    Case(CODE, "the same images", digest_of(lambda images: None), right=(True, True)),
    Case(CODE, "a pixel that another processor rounds otherwise", digest_of(one_level), right=(False, True)),
    Case(CODE, "images drawn upside down", digest_of(upside_down), right=(False, False)),
    Case(CODE, "a record of the same pairs and points", configured(), right=True),
    Case(CODE, "a record of other pairs", configured(pairs=[["Signs", "Digits"]]), right=False),
    Case(CODE, "a record of other points", configured(points=2048), right=False),
    Case(ORIGIN, "the repository itself", commit_at("own"), right="own"),
    Case(ORIGIN, "a folder inside a repository", commit_at("own/copy"), right="unknown"),
    Case(ORIGIN, "GIT_DIR of another one", commit_at("own", GIT_DIR="foreign/.git"), right="own"),
    Case(ORIGIN, "GIT_WORK_TREE of another one", commit_at("own", GIT_WORK_TREE="foreign"), right="own"),
    Case(ORIGIN, "GIT_INDEX_FILE of another one", commit_at("own", GIT_INDEX_FILE="foreign/.git/index"), right="own"),
    Case(ORIGIN, "GIT_DIR, outside any repository", commit_at("foreign/..", GIT_DIR="own/.git"), right="unknown"),
]
