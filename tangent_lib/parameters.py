"""The parameters that every notebook has, checked before any work starts.

``automatic`` values depend on the model: the miniature has its own tasks and a shorter protocol.
"""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from pydantic import BaseModel, ConfigDict

from tangent_lib import miniature
from tangent_lib.architectures import find_model
from tangent_lib.datasets.prepare import check_prepared
from tangent_lib.errors import InputError, unknown
from tangent_lib.finetune import Precision, Protocol
from tangent_lib.manifests import ROOT, load_manifest, task_names
from tangent_lib.models import check_model
from tangent_lib.processes import own_device
from tangent_lib.weights import SUFFIXES

PAPER_TASKS = ("Cars", "DTD", "EuroSAT", "GTSRB", "MNIST", "RESISC45", "SUN397", "SVHN")
MINIATURE_TASKS = ("Vehicles", "Textures", "LandCover", "Signs", "Digits", "Aerial", "Scenes", "ClutteredDigits")
# pairs of tasks for xi: the first as in Figure 9 (and Figure 6 of the attention-only paper), the second as in its Figure 8
PAPER_PAIRS = (("DTD", "SUN397"), ("Cars", "RESISC45"), ("MNIST", "SVHN"))
MINIATURE_PAIRS = (("Textures", "Scenes"), ("Vehicles", "Aerial"), ("Digits", "ClutteredDigits"))
PAPER_POINTS, MINIATURE_POINTS = 2048, 200  # test points a task for xi; automatically fewer where a task has fewer
MINIATURE_PROTOCOL = {"steps": 240, "batch_size": 32, "learning_rate": 6e-4}
DEVICES = ("auto", "cpu", "cuda", "mps")


class Parameters(BaseModel):
    """Checked parameters; make them with ``read_parameters`` or ``check_parameters``."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    model: str
    pretrained: str
    tasks: tuple[str, ...]
    control: str
    seeds: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...]
    points: int
    exact_points: bool
    protocol: Protocol
    by_epochs: bool = False
    micro_batch: int | None = None
    checkpoints: Path | None = None
    device: str
    store: Path
    data_root: Path


NAMES = (
    "model",
    "pretrained",
    "tasks",
    "control",
    "seeds",
    "pairs",
    "points",
    "steps",
    "batch_size",
    "learning_rate",
    "device",
    "precision",
    "micro_batch",
    "checkpoints",
    "store",
    "data_root",
)


def read_parameters(namespace: Mapping[str, object]) -> Parameters:
    """The parameters of a notebook, out of its ``globals()``; to be called in the cell after the parameters cell.

    papermill adds what is given with ``-p`` as a variable and only warns where the notebook has no such parameter; here
    such a name is refused.

    Raises:
        InputError: for an unknown name or a value that cannot be used.

    Example:
        >>> read_parameters({"taks": "Signs"})
        Traceback (most recent call last):
        tangent_lib.errors.InputError: unknown parameter 'taks': did you mean 'tasks'? Allowed: model, pretrained, ...
    """
    given = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    for name in given:
        if name not in NAMES:
            raise unknown("parameter", name, NAMES)
    return check_parameters(**given)


def _is_parameter(name: str, value: object) -> bool:
    """Not what Python or IPython put there themselves, nor what was imported: modules, functions, classes, constants."""
    if name.startswith("_") or name.isupper() or name in {"In", "Out", "exit", "quit", "open", "get_ipython"}:
        return False
    return not isinstance(value, (types.ModuleType, type)) and not callable(value)


def check_parameters(
    model: str = "ViT-Mini-8",
    pretrained: str = "auto",
    tasks: object = "auto",
    control: str = "auto",
    seeds: object = 0,
    pairs: object = "auto",
    points: object = "auto",
    steps: object = "auto",
    batch_size: object = "auto",
    learning_rate: object = "auto",
    device: str = "auto",
    precision: str = "fp32",
    micro_batch: object = "auto",
    checkpoints: str = "none",
    store: str = "auto",
    data_root: str = "auto",
) -> Parameters:
    """Resolve and check parameters as papermill passes them: numbers or words, lists as comma-separated words.

    Raises:
        InputError: naming the value, the allowed ones and the way out.

    Example:
        >>> parameters = check_parameters(tasks="Signs,Digits", steps=10)
        >>> parameters.tasks, parameters.protocol.steps, parameters.protocol.batch_size
        (('Signs', 'Digits'), 10, 32)
    """
    model = find_model(_from_root(model))
    pretrained = check_model(model, _from_root(pretrained))
    small = model in miniature.NAMES
    names = words(tasks) if tasks != "auto" else (MINIATURE_TASKS if small else PAPER_TASKS)
    control = control if control != "auto" else ("Objects" if small else "ImageNet")
    root = _path(data_root, "data")
    _check_tasks(names, control, root)
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))
    by_epochs = steps == "epochs"
    given = {
        "steps": _number("steps", "auto" if by_epochs else steps, int, 1),
        "batch_size": _number("batch_size", batch_size, int, 1),
        "learning_rate": _number("learning_rate", learning_rate, float, 0),
    }
    automatic = MINIATURE_PROTOCOL if small else {}
    protocol = Protocol(**{**automatic, **{k: v for k, v in given.items() if v is not None}}, precision=precision)
    numbers = tuple(_number('seeds', seed, int, 0) for seed in words(seeds))
    if not numbers or None in numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"seeds '{seeds}': give one seed or several different ones, from 0 up")
    parameters = Parameters(
        model=model,
        pretrained=pretrained,
        tasks=names,
        control=control,
        protocol=protocol,
        by_epochs=by_epochs,
        micro_batch=_number("micro_batch", micro_batch, int, 1),
        checkpoints=_checkpoints(checkpoints, numbers),
        device=own_device(_device(device)),
        seeds=numbers,
        pairs=_pairs(pairs, names, MINIATURE_PAIRS if small else PAPER_PAIRS),
        points=_number("points", points, int, 1) or (MINIATURE_POINTS if small else PAPER_POINTS),
        exact_points=points != "auto",
        store=_path(store, os.environ.get("TANGENT_STORE", "runs/store")),
        data_root=root,
    )
    check_prepared([load_manifest(name, root) for name in (*names, control)], root)
    return parameters


def given_parameters(pairs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Parameters given as ``-p NAME VALUE`` on a command line.

    Raises:
        InputError: for an unknown name, or one given twice.

    Example:
        >>> given_parameters([["model", "ViT-B-16"], ["seeds", "0,1"]])
        {'model': 'ViT-B-16', 'seeds': '0,1'}
    """
    for name, _ in pairs:
        if name not in NAMES:
            raise unknown("parameter", name, NAMES)
        if [other for other, _ in pairs].count(name) > 1:
            raise InputError(f"parameter '{name}' is given twice: give each once")
    return {name: value for name, value in pairs}


def words(value: object) -> tuple[str, ...]:
    """A list given as a list, a single value, or comma-separated words with or without brackets and quotes.

    Example:
        >>> words("Signs, Digits"), words('["Signs","Digits"]'), words(3), words(["a"])
        (('Signs', 'Digits'), ('Signs', 'Digits'), ('3',), ('a',))
    """
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value)
    text = str(value).strip().removeprefix("[").removesuffix("]")
    return tuple(word.strip(" '\"") for word in text.split(",") if word.strip(" '\""))


def _check_tasks(names: tuple[str, ...], control: str, data_root: Path) -> None:
    known = task_names(data_root=data_root)
    if not names:
        raise InputError(f"no tasks given: name at least one of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise unknown("task", name, known)
    if control not in known:
        raise unknown("control", control, task_names(control=True, data_root=data_root))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or control in names:
        raise InputError(f"tasks must differ from each other and from the control {control}: got {', '.join(names)}")


def _pairs(value: object, names: tuple[str, ...], automatic: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if value == "auto":
        known = tuple(pair for pair in automatic if set(pair) <= set(names))
        return known or tuple(zip(names[::2], names[1::2]))
    if isinstance(value, (list, tuple, Mapping)):  # as a notebook's own variable holds them, when its cell is run again
        value = [each if isinstance(each, str) else "-".join(each) for each in value]
    pairs = tuple(tuple(word.split("-")) for word in words(value))
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise InputError(f"pair '{'-'.join(pair)}': give two tasks with a hyphen between them, such as Textures-Scenes")
        for name in pair:
            if name not in names:
                raise unknown("task in a pair", name, names, "Others: -p tasks.")
        if pair[0] == pair[1]:
            raise InputError(f"pair '{pair[0]}-{pair[1]}': a task has no interference with itself; name two different tasks")
        if set(pair) in map(set, pairs[:i]):
            raise InputError(f"pair '{'-'.join(pair)}' is given twice: name each pair once, in one order")
    if not pairs:
        raise InputError("no pairs given: name at least one, such as Textures-Scenes, or leave them to auto")
    return pairs


def _number(name: str, value: object, kind: type, low: float | int) -> float | int | None:
    if value == "auto":
        return None
    try:
        number = kind(str(value))
    except ValueError:
        whole = "whole " if kind is int else ""
        raise InputError(f"{name} '{value}' is not a {whole}number: give one from {low} up, or auto") from None
    if number < low or (kind is float and not 0 < number < float("inf")):
        raise InputError(f"{name} {value} is out of range: it must be {'above' if kind is float else 'at least'} {low}")
    return number


def _checkpoints(value: str, seeds: tuple[int, ...]) -> Path | None:
    if value == "none":
        return None
    folder = ROOT / str(value)
    if not (folder / "record.json").is_file():
        raise InputError(
            f"checkpoints '{value}': no record.json in {folder}. Give none, or a folder that "
            "python -m tangent_lib.checkpoints import wrote, such as runs/checkpoints/tall_masks/ViT-B-32"
        )
    if len(seeds) > 1:
        raise InputError(f"checkpoints '{value}' come from one run, but there are {len(seeds)} seeds: give one with -p seeds")
    return folder


def _device(device: str) -> str:
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        raise InputError(
            f"device '{device}' is not available here: take one of "
            f"{', '.join(name for name in there if there[name])}, or auto"
        )
    return device


def _from_root(value: object) -> str:
    """A model, or its weights; where that is a file, a relative path starts at the repository as all do."""
    return str(ROOT / str(value)) if Path(str(value)).suffix.lower() in {".json", *SUFFIXES} else str(value)


def _path(value: str, automatic: str) -> Path:
    """Relative paths start at the repository, since notebooks run from several folders."""
    return ROOT / (automatic if value == "auto" else str(value))
