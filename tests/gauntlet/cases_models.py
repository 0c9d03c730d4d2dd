"""Files of weights as people bring them, and towers whose attention has other names."""

from __future__ import annotations

import json
import os
import pickle
import socket
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import open_clip
import torch
from cases import Case
from safetensors.torch import save_file
from torch import Tensor, nn

import tangent_lib as tl
from tangent_lib.checkpoints.imported import open_imported
from tangent_lib.models.clip import find_weights, load_clip
from tangent_lib.models.tensors import read_tensors
from tangent_lib.models.weights import read_weights
from tangent_lib.modes import select

WEIGHTS, MADE, HOSTILE, OTHER, TOWERS = (
    "weights from a training script",
    "tensors of unusual making",
    "hostile pickles",
    "files taken for weights",
    "selections on other towers",
)
STATE = {"logit_scale": torch.tensor(4.0)} | {f"visual.w{i}": torch.arange(6.0).view(2, 3) + i for i in range(5)}
AVERAGED = {name: value + 1 for name, value in STATE.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}


def prefixed(prefix: str, state: dict = STATE) -> dict:
    return {prefix + name: value for name, value in state.items()}


def is_state(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name].float(), value) for name, value in STATE.items())


def saved(content: object, name: str = "w.pt", old: bool = False) -> Callable[[Path], bool]:
    """The content as torch saves it, read as weights: whether they are those of ``STATE``."""

    def run(folder: Path) -> bool:
        torch.save(content, folder / name, _use_new_zipfile_serialization=not old)
        return is_state(read_weights(folder / name))

    return run


def unpickled_nothing(content: Callable[[Path], object], form: str) -> Callable[[Path], object]:
    """A pickle that would make a file; whatever comes of it, the file is not there."""

    def run(folder: Path) -> object:
        trap, path = folder / "trap", folder / "w.pt"
        if form == "bare":
            path.write_bytes(pickle.dumps(content(trap)))
        else:
            torch.save(content(trap), path, _use_new_zipfile_serialization=form == "zip")
        try:
            return is_state(read_weights(path))
        finally:
            if trap.exists():
                raise RuntimeError("the pickle was run")

    return run


class Call:
    """Pickled, it is the call of a function."""

    def __init__(self, function: Callable, *arguments: object):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


def given(write: Callable[[Path], object], name: str = "w.pt") -> Callable[[Path], object]:
    """What is written at a path, given as ``-p pretrained`` of the miniature, and read."""

    def run(folder: Path) -> object:
        write(folder / name)
        return sorted(read_weights(Path(find_weights("ViT-Mini-8", str(folder / name)))))

    return run


def damaged_record(folder: Path) -> None:
    (folder / "record.json").write_text("{}")
    open_imported(folder, clip())


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes/readme.txt", "hello")


def zeros_for_the_order(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", pickle.dumps({}))
        archive.writestr("w/byteorder", bytes(10**7))


def views_of_one_storage(folder: Path) -> bool:
    flat = torch.cat([value.flatten() for value in STATE.values()] + [torch.zeros(10**6)])
    parts = flat.split([value.numel() for value in STATE.values()] + [10**6])
    torch.save({name: part.view_as(value) for (name, value), part in zip(STATE.items(), parts)}, folder / "w.pt")
    return is_state(read_weights(folder / "w.pt"))


def quantised(folder: Path) -> bool:
    with warnings.catch_warnings(action="ignore"):
        return saved({**STATE, "visual.w0": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})(folder)


def script(folder: Path) -> list[str]:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(nn.Sequential(nn.Linear(2, 3), nn.GELU()), torch.zeros(1, 2)).save(str(folder / "w.pt"))
    return sorted(read_tensors(folder / "w.pt"))


def miniature(change: Callable[[dict], object]) -> Callable[[Path], bool]:
    """The miniature's own weights, changed, loaded as a model: whether it is the same one."""

    def run(folder: Path) -> bool:
        known = clip()
        torch.save(change(known.model.state_dict()), folder / "w.pt")
        return load_clip("ViT-Mini-8", str(folder / "w.pt")).digest == known.digest

    return run


@cache
def clip():
    return load_clip("ViT-Mini-8")


def turned(state: dict) -> dict:
    with_strides = lambda v: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v.T.contiguous().T
    return {name: with_strides(value) if value.ndim in (2, 4) else value for name, value in state.items()}


def trained_in(model: str, selection: str, of: str) -> Callable[[Path], list[str]]:
    """Of one block or pool of a model of open_clip, built without numbers: what a selection trains."""

    def run(folder: Path) -> list[str]:
        with torch.device("meta"):
            tower = open_clip.create_model(model, load_weights=False, device="meta").visual
        names = select([name for name, _ in tower.named_parameters()], selection)
        return [name.removeprefix(of) for name in names if name.startswith(of)]

    return run


def random_tower(folder: Path) -> tuple[str, ...]:
    """The activations of image and text tower, from OpenAI's weights under the plain name, at a random initialisation."""
    from tangent_lib.models.clip import untrained

    config = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
    text_tower = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
    path = folder / "Own-gauntlet.json"
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": config, "text_cfg": text_tower}))
    save_file(load_clip(str(path), "none").model.state_dict(), folder / "w.safetensors", {"quick_gelu": "true"})
    model = untrained(load_clip(str(path), str(folder / "w.safetensors")), 0).model
    return tuple(type(tower.resblocks[0].mlp.gelu).__name__ for tower in (model.visual.transformer, model.transformer))


SEVERAL = r"w.pt' holds several sets of weights, '\w.* and '\w.*nothing tells which is meant: save"
UNREAD = r"^'.*' cannot be read as a checkpoint \(.*"
NOTHING = r"trains nothing in this model.*Take a vision transformer"

CASES = [
    Case(WEIGHTS, "a state dict", saved(STATE), right=True),
    Case(WEIGHTS, "of torch before 1.6", saved(STATE, old=True), right=True),
    Case(WEIGHTS, "_orig_mod. before names", saved(prefixed("_orig_mod.")), right=True),
    Case(WEIGHTS, "module._orig_mod. before names", saved(prefixed("module._orig_mod.")), right=True),
    Case(WEIGHTS, "model. before names", saved(prefixed("model.")), right=True),
    Case(
        WEIGHTS,
        "_orig_mod. within names",
        saved({k.replace("visual.", "visual._orig_mod."): v for k, v in STATE.items()}),
        right=True,
    ),
    Case(WEIGHTS, "under model", saved({"model": STATE, "optimizer": OPTIMIZER, "epoch": 3}), right=True),
    Case(WEIGHTS, "under model_state_dict", saved({"model_state_dict": STATE, "loss": np.float64(0.1)}), right=True),
    Case(
        WEIGHTS, "under module, as DeepSpeed has it", saved({"module": prefixed("module."), "dp_world_size": 8}), right=True
    ),
    Case(WEIGHTS, "a Namespace beside them", saved({"state_dict": STATE, "args": Namespace(lr=1e-3)}), right=True),
    Case(
        WEIGHTS,
        "Lightning's",
        saved({"state_dict": prefixed("clip.model."), "hyper_parameters": Namespace(a=1), "loops": {}}, "last.ckpt"),
        right=True,
    ),
    Case(WEIGHTS, "torch's average", saved({"n_averaged": torch.tensor(3), **prefixed("module.")}), right=True),
    Case(WEIGHTS, "OpenAI's numbers beside them", saved({**STATE, "input_resolution": torch.tensor(32)}), right=True),
    Case(WEIGHTS, "ema beside model", saved({"ema": AVERAGED, "model": STATE}), refused=SEVERAL),
    Case(
        WEIGHTS,
        "model_ema below state_dict",
        saved({"state_dict": STATE, "model_ema": prefixed("module.", AVERAGED)}),
        refused=SEVERAL,
    ),
    Case(
        WEIGHTS,
        "a teacher under another prefix",
        saved({"teacher": prefixed("backbone.", AVERAGED), "student": STATE}),
        refused=SEVERAL,
    ),
    Case(
        WEIGHTS,
        "one set under two prefixes",
        saved({"teacher": prefixed("backbone."), "student": STATE}),
        right=True,
    ),
    Case(
        WEIGHTS,
        "averages in a list",
        saved({"model": STATE, "ema": {"shadow_params": list(AVERAGED.values())}}),
        refused=SEVERAL,
    ),
    Case(WEIGHTS, "a number among them", saved({**STATE, "epoch": 3}), refused="'epoch' is not a plain tensor but int"),
    Case(WEIGHTS, "terminal codes in a name", saved({**STATE, "\x1b[31m": 3}), refused="is not a plain tensor but int"),
    Case(MADE, "parameters", saved({name: nn.Parameter(value) for name, value in STATE.items()}), right=True),
    Case(MADE, "float16", saved({name: value.half() for name, value in STATE.items()}), right=True),
    Case(MADE, "bfloat16", saved({name: value.bfloat16() for name, value in STATE.items()}), right=True),
    Case(MADE, "views of one storage", views_of_one_storage, right=True),
    Case(MADE, "TorchScript", script, right=["0.bias", "0.weight"]),
    Case(MADE, "a whole module", given(lambda path: torch.save(nn.Linear(2, 3), path)), right=["bias", "weight"]),
    Case(
        MADE,
        "a sparse tensor",
        saved({**STATE, "visual.w0": torch.eye(3).to_sparse()}),
        refused="'visual.w0' is not a plain tensor",
    ),
    Case(
        MADE,
        "a quantised tensor",
        quantised,
        refused="'visual.w0' is not a plain tensor",
    ),
    Case(
        MADE,
        "a complex tensor",
        saved({**STATE, "visual.w0": torch.zeros(2).cfloat()}),
        refused="'visual.w0' is not a plain tensor",
    ),
    Case(MADE, "channels_last and transposed, loaded", miniature(turned), right=True),
    Case(
        MADE,
        "whole numbers in place of real ones",
        miniature(lambda s: {k: v.to(torch.int8) for k, v in s.items()}),
        refused="holds int8",
    ),
    *(
        Case(
            HOSTILE,
            f"os.system as a weight, {form}",
            unpickled_nothing(content, form),
            refused="is not a plain tensor but posix.system",
        )
        for form in ("zip", "old form", "bare")
        for content in [lambda trap: {**STATE, "evil": Call(os.system, f"touch {trap}")}]
    ),
    Case(
        HOSTILE,
        "exec alone",
        unpickled_nothing(lambda t: Call(exec, f"open({str(t)!r}, 'w')"), "zip"),
        refused="no tensors by name",
    ),
    Case(
        HOSTILE,
        "beside the weights",
        unpickled_nothing(lambda t: {"model": STATE, "x": Call(os.mkdir, str(t))}, "zip"),
        right=True,
    ),
    Case(
        HOSTILE, "tuples without end", given(text(b"\x80\x02})" + 90_000 * b"\x85" + b"Ns.")), refused="any checkpoint needs"
    ),
    Case(
        HOSTILE,
        "a name of a million letters, 60 deep",
        given(text(b"\x80\x02}X\x40\x42\x0f\0" + 10**6 * b"k" + b"q\0" + 59 * b"}h\0" + b"N" + 60 * b"s" + b".")),
        refused=UNREAD + "longer than any of a tensor",
    ),
    Case(
        HOSTILE,
        "classes without end",
        given(text(b"\x80\x02(" + b"".join(b"ca\n%d\n" % i for i in range(6000)) + b"l.")),
        refused="any checkpoint needs",
    ),
    Case(
        WEIGHTS,
        "a loss beside the model",
        miniature(lambda s: {**prefixed("clip.", s), "loss.weight": torch.ones(1)}),
        refused=r"under 'clip\.', beside others, such as \['loss\.weight'\]",
    ),
    Case(OTHER, "a pipe", given(os.mkfifo), refused="w.pt' is a pipe or a device, not a file"),
    Case(
        OTHER, "a device", given(lambda path: path.symlink_to("/dev/zero")), refused="w.pt' is a pipe or a device, not a file"
    ),
    Case(OTHER, "a socket", given(listening), refused="w.pt' is a pipe or a device, not a file"),
    Case(OTHER, "a folder", given(Path.mkdir), refused="w.pt' is a folder, not a file"),
    Case(OTHER, "a folder without a suffix", given(Path.mkdir, "weights"), refused="weights' is a folder, not a file"),
    Case(OTHER, "nothing", given(lambda path: None), refused="no such file"),
    Case(
        OTHER,
        "a pipe as a model's config",
        lambda f: (os.mkfifo(f / "Own.json"), load_clip(str(f / "Own.json"))),
        refused="a pipe",
    ),
    Case(
        OTHER,
        "a model's config of brackets alone",
        lambda f: ((f / "Own.json").write_bytes(b"[" * 10**5), load_clip(str(f / "Own.json"))),
        refused="Own.json' is not a readable JSON file: maximum recursion depth",
    ),
    Case(
        OTHER, "a damaged record of imported checkpoints", damaged_record, refused=r"damaged: .*\(family: Field required\)$"
    ),
    Case(OTHER, "zero bytes", given(text(b"")), refused=UNREAD + "it is empty"),
    Case(
        OTHER,
        "git-lfs",
        given(text(b"version https://git-lfs.github.com/spec/v1\n"), "w.safetensors"),
        refused="git lfs pull",
    ),
    Case(OTHER, "a web page", given(text(b"<!DOCTYPE html>\n<html>")), refused=UNREAD + "web page"),
    Case(HOSTILE, "zeros for the order of bytes", given(zeros_for_the_order), refused=UNREAD + "compressed entries"),
    Case(OTHER, "another zip", given(other_zip), refused=UNREAD + "not one of torch.save"),
    Case(
        OTHER,
        "an index of shards",
        given(text(b"{}"), "model.safetensors.index.json"),
        refused="are read from .safetensors, .pt",
    ),
    Case(OTHER, "an index of shards, renamed", given(text(b'{"weight_map": {}}'), "w.safetensors"), refused="several files"),
    Case(OTHER, "safetensors cut short", given(text(b"\xff\xff\0\0\0\0\0\0{}"), "w.safetensors"), refused=UNREAD),
    Case(
        OTHER,
        "safetensors named .pt",
        lambda f: (save_file(STATE, f / "w.pt"), is_state(read_weights(f / "w.pt")))[1],
        right=True,
    ),
    Case(OTHER, "torch's named .safetensors", saved(STATE, "w.safetensors"), right=True),
    Case(
        TOWERS,
        "CoCa's pool",
        trained_in("coca_ViT-B-32", "attention weights", "attn_pool."),
        right=["attn.q_proj_weight", "attn.k_proj_weight", "attn.v_proj_weight", "attn.out_proj.weight"],
    ),
    Case(
        TOWERS,
        "EVA02's blocks",
        trained_in("EVA02-B-16", "attention weights", "trunk.blocks.11."),
        right=["attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight", "attn.proj.weight"],
    ),
    Case(
        TOWERS,
        "ViTamin's blocks",
        trained_in("ViTamin-S", "attention and MLP weights", "trunk.blocks.0."),
        right=["attn.qkv.weight", "attn.proj.weight", "mlp.w0.weight", "mlp.w1.weight", "mlp.w2.weight"],
    ),
    Case(
        TOWERS,
        "SigLIP's pool",
        trained_in("ViT-B-16-SigLIP", "attention", "trunk.attn_pool."),
        right=[f"{part}.{kind}" for part in ("q", "kv", "proj") for kind in ("weight", "bias")],
    ),
    Case(TOWERS, "a ResNet", trained_in("RN50", "attention weights", ""), refused=NOTHING),
    Case(TOWERS, "ConvNeXt", trained_in("convnext_base", "attention", ""), refused=NOTHING, slow=True),
    Case(TOWERS, "MobileCLIP-S1", trained_in("MobileCLIP-S1", "attention weights", ""), refused=NOTHING, slow=True),
    Case(
        TOWERS,
        "names known in part",
        lambda f: tl.select(["attn.qkv.weight", "attn2.to_q.weight"], "attention weights"),
        refused="only a part",
    ),
    Case("random initialisation", "of weights with QuickGELU", random_tower, right=("GELU", "QuickGELU")),
]
