"""Files of weights: a state dict in safetensors or as torch saves it, read as tensors and nothing else."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from tangent_lib.models.tensors import LARGEST_PICKLE, check_form, read_tensors, without_prefix
from tangent_lib.runtime.errors import InputError, first_line

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
OPENAI_REMARKS = {"input_resolution", "context_length", "vocab_size"}  # numbers beside the weights in OpenAI's own files


def check_file(path: Path) -> None:
    """Refuse a file of weights that is missing or in a form that is never read.

    Raises:
        InputError: naming the forms that are.
    """
    if path.suffix.lower() not in SUFFIXES and not os.path.isdir(path):
        raise InputError(
            f"pretrained {str(path)!r}: weights are read from {', '.join(SUFFIXES)} alone. Save the model's state_dict() as "
            "one of these, with safetensors.torch.save_file or torch.save"
        )
    check_form(path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, by the names of open_clip's models; no code in it is run.

    As training scripts save it, it may be filed under any name, and all its names may begin with ``module.``, ``model.`` or
    another word.

    Raises:
        InputError: as ``tensors.read_tensors``.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp(), "weights.pt")
        >>> torch.save({"epoch": 3, "state_dict": {"model.proj": torch.ones(2), "model.visual.proj": torch.ones(1)}}, path)
        >>> read_weights(path)
        {'proj': tensor([1., 1.]), 'visual.proj': tensor([1.])}
    """
    state = without_prefix(read_tensors(path))
    return {k: v for k, v in state.items() if k not in OPENAI_REMARKS and k.split(".")[-1] != "attn_mask"}


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
            f"{str(path)!r} holds weights of another architecture: missing {missing[:3]}, not known "
            f"{extra[:3]}, other shapes {sorted(shapes)[:3]}. {_way_out(state, wanted)}"
        )
    unlike = [k for k, v in wanted.items() if v.is_floating_point() and not state[k].is_floating_point()]
    if unlike:
        kind = str(state[unlike[0]].dtype).removeprefix("torch.")
        raise InputError(
            f"{str(path)!r} holds {kind} in place of real numbers for {len(unlike)} weights, such as {unlike[0]}: they may "
            "be quantised, with scales elsewhere. Save them as float32, float16 or bfloat16"
        )


def _way_out(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """What helps where names do not fit: the model's weights may lie among others, or under other names."""
    first, shapes = next(iter(wanted)), {name: value.shape for name, value in state.items()}
    starts = {name.removesuffix(first) for name in state if name.endswith(f".{first}")} | {""}
    whole = sorted(start for start in starts if all(shapes.get(start + name) == wanted[name].shape for name in wanted))
    if whole:
        beside = [name for name in state if not name.startswith(whole[0]) or name.removeprefix(whole[0]) not in wanted]
        all_there = " and ".join(f"under '{start}'" if start else "by these names" for start in whole)
        return f"All weights are there {all_there}, beside others, such as {beside[:3]}: save them alone, by their own names"
    if any(name.startswith(("vision_model.", "text_model.")) for name in state):
        return "These are names of transformers: save the state_dict() of the same model in open_clip, by its names"
    return "Name the model that they belong to with -p model, or save the state_dict() of the open_clip model alone"


def says_quick_gelu(path: Path, named: bool) -> bool:
    """Whether a file says that its weights need QuickGELU: safetensors in the metadata, TorchScript by the code in it.

    There ``quick_gelu`` is ``true``; here, as in OpenAI's own files, a sigmoid is called. The code is searched, never run.

    Args:
        path: the file; any other says nothing.
        named: whether the model's config, such as that of ``ViT-B-16-quickgelu``, has QuickGELU already.

    Raises:
        InputError: if the file says that they do not, where the config has it.
    """
    form = check_form(path)
    said = _said_in_metadata(path) if form == "safetensors" else _said_in_code(path) if form == "archive" else None
    if said is False and named:
        raise InputError(f"{str(path)!r} says that its weights have no QuickGELU: name the model without -quickgelu")
    return bool(said)


def _said_in_metadata(path: Path) -> bool | None:
    with safe_open(path, framework="pt") as file:
        return {"true": True, "false": False}.get((file.metadata() or {}).get("quick_gelu", ""))


def _said_in_code(path: Path) -> bool | None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [entry for entry in archive.infolist() if "/code/" in entry.filename]
            if sum(entry.file_size for entry in parts) > LARGEST_PICKLE:
                raise ValueError("more code than any model has")
            code = b"".join(archive.read(entry) for entry in parts)
    except Exception as error:  # a damaged entry may raise anything
        raise InputError(f"the code in {str(path)!r} cannot be searched ({first_line(error)}): fetch it anew") from error
    return False if b"torch.gelu(" in code else True if b"torch.sigmoid(" in code else None
