"""Which models there are: all that open_clip lists, and a reader's own, whose config file is made known to open_clip.

A model is tried out on torch's meta device, where tensors have shapes and no numbers: that takes no memory and no weights,
and finds a config that does not fit together, or a tower that has no linearisation, before anything is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from pydantic import BaseModel, ValidationError
from torch import nn

from tangent_lib import miniature
from tangent_lib.linearization import functional, value_and_tangent
from tangent_lib.modes import MINIATURES
from tangent_lib.runtime.errors import InputError, first_fault, first_line, unknown
from tangent_lib.runtime.private_doors import add_pretrained_tag

SHOWN = (*MINIATURES, "ViT-B-32", "ViT-B-16", "ViT-L-14", "convnext_base")


class Preprocessing(BaseModel, extra="forbid", frozen=True):
    """How images are made ready, where it is not open_clip's usual way; the keys of a hub model's ``preprocess_cfg``."""

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bicubic", "bilinear", "random"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    mode: Literal["RGB"] = "RGB"
    fill_color: Literal[0] = 0
    size: Any = None  # the image tower's own size counts


class OwnModel(BaseModel, extra="forbid", frozen=True):
    """A reader's config file: what open_clip builds the model from, and the preprocessing."""

    model_cfg: dict
    preprocess_cfg: Preprocessing = Preprocessing()


_COUNTS = ("mean", "std", "interpolation", "resize_mode")  # of the preprocessing; the rest is the same for all models
_OWN: dict[str, OwnModel] = {}  # beside open_clip's registry, which has no place for the preprocessing


def register_miniatures() -> None:
    """Make the miniatures known to open_clip: configs, tokenizer and pre-trained weights (done once, on import)."""
    with tempfile.TemporaryDirectory() as folder:
        for name in MINIATURES:
            config = json.loads((miniature.FOLDER / name / "config.json").read_text())
            config["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(miniature.FOLDER / "merges.txt.gz")}
            Path(folder, f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)
    for name in MINIATURES:
        file, mean, std = str(miniature.weights_path(name)), miniature.MEAN, miniature.STD
        add_pretrained_tag(name, miniature.TAG, {"file": file, "mean": mean, "std": std, "interpolation": "bicubic"})


register_miniatures()


def find_model(model: str) -> str:
    """The name under which open_clip builds a model; a config file is read, tried out and registered under its stem.

    Args:
        model: a name of ``open_clip.list_models()``, or the path of a JSON file with ``embed_dim``, ``vision_cfg`` and
            ``text_cfg``, as open_clip's own configs have them, or with these under ``model_cfg`` and the preprocessing
            under ``preprocess_cfg``, as ``open_clip_config.json`` of a model on the hub has them.

    Raises:
        InputError: for an unknown name; for a file that is missing, broken, hides a known name, or cannot be built.

    Example:
        >>> find_model("ViT-B-61")
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: unknown model 'ViT-B-61': did you mean 'ViT-B-16'? Allowed: ...
    """
    if Path(model).suffix.lower() == ".json":
        return _register(Path(model))
    if model not in open_clip.list_models():
        way_out = "Any other name that open_clip.list_models() gives works too, or the path of a config, such as My-ViT.json."
        raise unknown("model", model, SHOWN, way_out)
    return model


def _register(path: Path) -> str:
    name, own = path.stem, _read(path)
    if own == _OWN.get(name):
        return name
    if name in _OWN:
        raise InputError(f"model '{path}': another config of this name was read before; rename it, or start Python anew")
    if name in open_clip.list_models():
        raise InputError(f"model '{path}': '{name}' is a model of open_clip; give the file a name of its own")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "open_clip_config.json").write_text(json.dumps({"model_cfg": own.model_cfg}))
        _try_out(f"local-dir:{folder}", own.model_cfg, f"'{path}'")
        config = Path(folder, f"{name}.json")
        config.write_text(json.dumps(own.model_cfg))
        open_clip.add_model_config(config)
    _OWN[name] = own
    return name


def _read(path: Path) -> OwnModel:
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder, a pipe or a device")
        content = json.loads(path.read_bytes())  # with or without a mark of the order of bytes
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"model {str(path)!r} is not a readable JSON file: {first_line(error)}") from error
    if not isinstance(content, dict) or "model_cfg" not in content:
        content = {"model_cfg": content}
    try:
        own = OwnModel.model_validate(content)
    except ValidationError as error:
        raise InputError(f"model '{path}': {first_fault(error)}") from error
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - own.model_cfg.keys()
    if missing:
        raise InputError(
            f"model '{path}' is not an open_clip model config: it has no {', '.join(sorted(missing))}. "
            "open_clip.get_model_config('ViT-B-32') shows what one looks like."
        )
    return own


@cache
def check_tower(name: str) -> None:
    """Try a model out without weights: it can be built, its image tower linearised, and both towers meet in one space.

    Raises:
        InputError: otherwise.
    """
    if name not in _OWN:  # a reader's own was tried out when it was read
        _try_out(name, open_clip.get_model_config(name), name)


def _try_out(source: str, config: dict, called: str) -> None:
    text = config["text_cfg"]
    foreign = isinstance(text, dict) and (text.get("hf_model_name") or text.get("hf_tokenizer_name"))
    if foreign and importlib.util.find_spec("transformers") is None:
        raise InputError(f"model {called}: its text side, {foreign}, needs a package more: pip install transformers")
    with _quietly(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            model = open_clip.create_model(source, device="meta", pretrained_text=False).eval().requires_grad_(False)
            embedding = model.encode_text(torch.zeros(1, model.context_length, dtype=torch.long))
        except Exception as error:  # whatever a constructor raises over numbers that do not fit together
            raise InputError(
                f"model {called} cannot be built by open_clip: {type(error).__name__}: {first_line(error)}"
            ) from error
        size = image_size(model)
        f, theta_0 = functional(image_tower(model))
        try:
            value, _ = value_and_tangent(f, theta_0, theta_0, torch.zeros(1, 3, size, size))
        except Exception as error:
            raise InputError(
                f"the image tower of {called} cannot be linearised: {first_line(error)}. "
                f"Towers that can: {', '.join(SHOWN)}, and most others of open_clip."
            ) from error
    if value.shape != embedding.shape:
        raise InputError(
            f"model {called}: image features are {tuple(value.shape)}, text embeddings {tuple(embedding.shape)}; "
            "they must be of one size, embed_dim"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without open_clip's warning that a model has no weights, and without those of torch about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def image_tower(model: nn.Module) -> nn.Module:
    """The image tower of an open_clip model, with the features as its one output.

    A CoCa model's gives the patches' tokens besides; they serve its captions and are switched off.
    """
    if hasattr(model.visual, "output_tokens"):
        model.visual.output_tokens = False
    return model.visual


def image_size(model: nn.Module) -> int:
    """The side of the square images that an open_clip model takes.

    Raises:
        InputError: if they are not square.
    """
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise InputError(f"the image tower takes images of {height} x {width}: only square ones are supported")
    return height


def preprocessing(name: str) -> dict:
    """What ``create_model_and_transforms`` is to be told of a model's preprocessing; the tag of its weights says the rest.

    Example:
        >>> preprocessing("ViT-Mini-8")["image_mean"], preprocessing("ViT-B-16")
        ((0.5, 0.5, 0.5), {})
    """
    if name in MINIATURES:
        return {"image_mean": miniature.MEAN, "image_std": miniature.STD}
    own = _OWN[name].preprocess_cfg if name in _OWN else Preprocessing()
    return {f"image_{key}": value for key in _COUNTS if (value := getattr(own, key)) is not None}


def distinction(name: str, preprocess_cfg: dict) -> str:
    """What tells a model from another of the same weights: a reader's own config, unusual preprocessing; mostly empty.

    Example:
        >>> usual = asdict(PreprocessCfg())
        >>> distinction("ViT-B-16", usual), distinction("ViT-B-16", {**usual, "mean": (0.5, 0.5, 0.5)})
        ('', '-91ac2034')
    """
    usual = asdict(PreprocessCfg())
    if name in MINIATURES:
        usual |= {"mean": miniature.MEAN, "std": miniature.STD}
    as_text = lambda cfg: {(key, json.dumps(cfg[key])) for key in _COUNTS}  # where a tuple and a list are the same
    unusual: list = sorted(as_text(preprocess_cfg) - as_text(usual))
    if name in _OWN:
        unusual.append(_OWN[name].model_cfg)
    if not unusual:
        return ""
    return "-" + hashlib.sha256(json.dumps(unusual, sort_keys=True).encode()).hexdigest()[:8]
