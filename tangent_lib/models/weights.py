"""Files of weights: a state dict in safetensors or as torch saves it, read as tensors and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tangent_lib.runtime.errors import InputError

TORCH = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *TORCH)
IMPORT = "tangent checkpoints import"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, not too long."""
    return str(error).strip().split("\n")[0][:200]


def check_file(path: Path) -> None:
    """Refuse a file of weights that is missing or in a form that is never read.

    Raises:
        InputError: naming the forms that are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"pretrained '{path}': weights are read as a state dict from {', '.join(SUFFIXES)} alone; other forms may be "
            f"pickles, which can run code. '{IMPORT}' takes the tensors out of published checkpoints and runs nothing."
        )
    if not path.is_file():
        raise InputError(f"pretrained '{path}': there is no such file")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, by name.

    A torch file is read by the unpickler that admits tensors and plain containers alone; no code in it is run. As training
    scripts save it, the state dict may stand under ``state_dict``, and every name after ``module.``.

    Raises:
        InputError: for a file that is damaged or foreign, or holds anything but a state dict.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "weights.pt")
        >>> torch.save({"epoch": 3, "state_dict": {"module.proj": torch.ones(2)}}, path)
        >>> read_weights(path)
        {'proj': tensor([1., 1.])}
    """
    state = _read_torch(path) if path.suffix.lower() in TORCH else _read_safetensors(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"'{path}' holds something else than a state dict, a dict of tensors by name")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{path}' is not a readable safetensors file ({first_line(error)}): fetch or save it anew"
        ) from error


def _read_torch(path: Path) -> object:
    try:
        # only the zip form can be mapped into memory, which leaves an optimizer's state on the disk
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(
            f"'{path}' cannot be read as tensors alone ({first_line(error)}). If it holds a whole model, pickled or as "
            f"TorchScript, '{IMPORT}' takes the tensors out and runs nothing; else it is damaged: fetch or save it anew."
        ) from error


def check_fit(state: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    """Compare the state dict of a file with a model: the same names, the same shapes.

    Raises:
        InputError: with what differs.
    """
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{k} {tuple(state[k].shape)} for {tuple(wanted[k].shape)}"
        for k in wanted.keys() & state.keys()
        if state[k].shape != wanted[k].shape
    ]
    if missing or extra or shapes:
        raise InputError(
            f"'{path}' holds weights of another architecture: missing {missing[:3]}, not known "
            f"{extra[:3]}, other shapes {sorted(shapes)[:3]}. Name the model that they belong to with -p model."
        )


def says_quick_gelu(path: Path, named: bool) -> bool:
    """Whether a file says that its weights need QuickGELU: ``quick_gelu`` is ``true`` in the metadata of a safetensors file.

    Args:
        path: the file; any other than a safetensors file says nothing.
        named: whether the model's config, such as that of ``ViT-B-16-quickgelu``, has QuickGELU already.

    Raises:
        InputError: if the file says ``false`` where the config has it.
    """
    if path.suffix.lower() != ".safetensors":
        return False
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get("quick_gelu")
    if said == "false" and named:
        raise InputError(f"'{path}' says that its weights have no QuickGELU: name the model without -quickgelu")
    return said == "true"
