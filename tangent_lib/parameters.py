"""The parameters that every notebook has, checked before any work starts, and as far as can be before torch is imported.

``auto`` depends on the model: the miniature has its own tasks and a shorter protocol (``modes.automatic``).
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.modes import ALPHAS, DEVICES, PARAMETERS, PRECISIONS, Protocol, automatic
from tangent_lib.runtime.disk import given_path
from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.words import check_alphas, check_axis, number, numbers, seed_numbers, words

WAYS_OUT = {  # for errors over a setting, raised by what does not know how settings are given
    "alphas": "give others with -p alphas",
    "learning_rate": "lower it with -p learning_rate, or take -p precision fp32",
    "micro_batch": "lower -p micro_batch (the result stays the same), take -p precision bf16, or free the GPU",
    "points": "give fewer with -p points",
    "store": "name another folder with -p store",
    "tasks": "name more with -p tasks",
}


class Parameters(BaseModel, extra="forbid", frozen=True):
    """Checked parameters; make them with ``read_parameters`` or ``check_parameters``.

    Attributes:
        alphas: values of alpha for addition and negation, ascending, in [0, 1].
        xi_alphas: values of both alphas in grids of xi; None: as each figure has them.
        exact_points: the number of points was given, and is not lowered where a task has fewer.
        by_epochs: steps follow from the epochs of the released code.
    """

    model: str
    pretrained: str
    tasks: tuple[str, ...]
    control: str
    seeds: tuple[int, ...]
    alphas: tuple[float, ...]
    pairs: tuple[tuple[str, str], ...]
    xi_alphas: tuple[float, ...] | None
    points: int
    exact_points: bool = False
    protocol: Protocol
    by_epochs: bool = False
    micro_batch: int | None
    checkpoints: Path | None
    device: str
    store: Path
    data_root: Path


def read_parameters(namespace: Mapping[str, object]) -> Parameters:
    """The parameters of a notebook, out of its ``globals()``, for the cell after the parameters cell.

    Only the names of the parameters are looked at, so that other variables of a live kernel do not matter, and the cell may
    be run again. papermill adds what is given with ``-p`` in a cell of its own and only warns where the notebook has no such
    parameter; here such a name is refused.

    Raises:
        InputError: for an unknown name or a value that cannot be used.

    Example:
        >>> read_parameters({"In": ["", "# Parameters\\ntaks = 'Signs'\\n"], "taks": "Signs"})
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: unknown parameter 'taks': did you mean 'tasks'? Allowed: model, pretrained, ...
    """
    for name in _assigned(namespace.get("In", ())):
        if name not in PARAMETERS:
            raise unknown("parameter", name, PARAMETERS)
    return check_parameters(**{name: namespace[name] for name in PARAMETERS if name in namespace})


def _assigned(cells: Sequence[str]) -> list[str]:
    """The names that the latest parameters cell, and papermill's latest cell after it, assign."""
    own, injected = [], []
    for source in cells:
        with suppress(SyntaxError):  # a cell that never ran, or one of magics
            body = [node for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign)]
            names = [ast.unparse(target) for node in body for target in getattr(node, "targets", None) or [node.target]]
            if source.lstrip().startswith("# Parameters"):  # as papermill marks its own
                injected = names
            elif any(isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "model" for node in body):
                own, injected = names, []
    return own + injected


def check_parameters(**given: object) -> Parameters:
    """Resolve and check parameters as papermill passes them: numbers or words, lists as comma-separated words.

    Args:
        given: some of ``modes.PARAMETERS``; the others keep their defaults.

    Raises:
        InputError: naming the value, the allowed ones and the way out.

    Example:
        >>> parameters = check_parameters(tasks="Signs,Digits", steps=10)
        >>> parameters.tasks, parameters.protocol.steps, parameters.protocol.batch_size
        (('Signs', 'Digits'), 10, 32)
    """
    for name in given:
        if name not in PARAMETERS:
            raise unknown("parameter", name, PARAMETERS)
    given = {**PARAMETERS, **given}
    plain = _judged_without_torch(given)
    # to import what follows takes seconds
    from tangent_lib.data.prepare import check_prepared

    model, pretrained = given_model(given["model"], given["pretrained"])
    checked = Parameters(**plain, model=model, pretrained=pretrained, device=_device(given["device"]))
    check_prepared([load_manifest(name, checked.data_root) for name in (*checked.tasks, checked.control)], checked.data_root)
    return checked


def _judged_without_torch(given: Mapping[str, object]) -> dict[str, Any]:
    """All but the model, its weights and the device; a refusal comes within a second or two."""
    auto, by_epochs = automatic(str(given["model"])), given["steps"] == "epochs"
    tasks = auto.tasks if given["tasks"] == "auto" else words(given["tasks"])
    control = auto.control if given["control"] == "auto" else str(given["control"])
    for name, allowed in (("precision", PRECISIONS), ("device", DEVICES)):
        if given[name] not in allowed:
            raise unknown(name, given[name], allowed)
    protocol = {
        "steps": None if by_epochs else number("steps", given["steps"], others=("auto", "epochs")),
        "batch_size": number("batch_size", given["batch_size"]),
        "learning_rate": number("learning_rate", given["learning_rate"], float, 0),
    }
    points, alphas = number("points", given["points"]), numbers("alphas", given["alphas"])
    store = (os.environ.get("TANGENT_STORE") or "runs/store") if given["store"] == "auto" else given["store"]
    plain = {
        "tasks": tasks,
        "control": control,
        "seeds": seed_numbers(given["seeds"]),
        "alphas": ALPHAS if alphas is None else check_alphas(alphas),
        "pairs": _pairs(given["pairs"], tasks, auto.pairs),
        "xi_alphas": _xi_alphas(given["xi_alphas"]),
        "points": points or auto.points,
        "exact_points": points is not None,
        "protocol": Protocol(
            **{**auto.protocol, **{name: value for name, value in protocol.items() if value is not None}},
            precision=given["precision"],
        ),
        "by_epochs": by_epochs,
        "micro_batch": number("micro_batch", given["micro_batch"]),
        "checkpoints": _checkpoints(given["checkpoints"]),
        "store": given_path("store", store),
        "data_root": given_path("data_root", "data" if given["data_root"] == "auto" else given["data_root"]),
    }
    _check_tasks(tasks, control, plain["data_root"])
    if plain["checkpoints"] and len(plain["seeds"]) > 1:
        seeds = f"there are {len(plain['seeds'])} seeds: give one with -p seeds"
        raise InputError(f"checkpoints '{plain['checkpoints']}' come from one run, but {seeds}")
    return plain


def _check_tasks(tasks: tuple[str, ...], control: str, data_root: Path) -> None:
    known = task_names(data_root=data_root)
    if not tasks:
        raise InputError(f"no tasks given: name at least one of {', '.join(known)}")
    for name in tasks:
        if name not in known:
            raise unknown("task", name, known)
    if control not in known:
        raise unknown("control", control, task_names(control=True, data_root=data_root))
    if len(set(tasks)) < len(tasks) or control in tasks:
        raise InputError(f"tasks must differ from each other and from the control {control}: got {', '.join(tasks)}")


def given_model(model: object, pretrained: object) -> tuple[str, str]:
    """A model, by name or as a file, and its weights, a word or a file, as ``models.clip.load_clip`` takes them.

    Example:
        >>> given_model("ViT-Mini-8", "auto")
        ('ViT-Mini-8', 'captions')
    """
    from tangent_lib.models.architectures import find_model
    from tangent_lib.models.clip import find_weights
    from tangent_lib.models.weights import SUFFIXES

    placed = lambda name, value, suffixes: str(given_path(name, value) if Path(value).suffix.lower() in suffixes else value)
    name = find_model(placed("model", str(model), (".json",)))
    return name, find_weights(name, placed("pretrained", str(pretrained), SUFFIXES))


def _xi_alphas(value: object) -> tuple[float, ...] | None:
    found = numbers("xi_alphas", value)
    if found is None:
        return None
    steps = [right - left for left, right in pairwise(check_axis(found, "xi_alphas"))]
    if (steps and max(steps) - min(steps) > 1e-5 * max(steps)) or not any(0 <= alpha <= 1 for alpha in found):
        raise InputError(f"xi_alphas '{value}': the pages draw values in equal steps, at least one of them in [0, 1]")
    return found


def _device(device: str) -> str:
    import torch

    from tangent_lib.runtime.processes import own_device

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        names = ", ".join(name for name in there if there[name])
        raise InputError(f"device '{device}' is not available here: take one of {names}, or auto")
    return own_device(device)


def _checkpoints(value: object) -> Path | None:
    if value in ("none", None):
        return None
    folder = given_path("checkpoints", value)
    if not (folder / "record.json").is_file():
        raise InputError(
            f"checkpoints '{value}': no record.json in {folder}. Give none, or a folder that "
            "tangent checkpoints import wrote, such as runs/checkpoints/tall_masks/ViT-B-32"
        )
    return folder


def _pairs(value: object, names: tuple[str, ...], automatic: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if value == "auto":
        known = tuple(pair for pair in automatic if set(pair) <= set(names))
        return known or tuple(zip(names[::2], names[1::2]))
    if isinstance(value, (list, tuple)):
        value = ["-".join(map(str, each)) if isinstance(each, (list, tuple)) else str(each) for each in value]
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
