"""Files of weights: which forms are read, that no pickle is run, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file
from torch import nn

from tangent_lib.models.clip import load_clip
from tangent_lib.models.weights import check_file, check_fit, read_weights, says_quick_gelu
from tangent_lib.runtime.errors import InputError

MODEL = "ViT-Mini-8"


@pytest.fixture
def state(random_clip):
    return {name: value.clone() for name, value in random_clip.model.state_dict().items()}


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


# -- what is read ------------------------------------------------------------------------------------------------------
def bare(state):
    return state


def as_a_training_script_saves_it(state):
    prefixed = {f"module.{name}": value for name, value in state.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.98)}]}
    return {"epoch": 3, "name": "run", "state_dict": prefixed, "optimizer": optimizer}


def as_lightning_saves_it(state):
    prefixed = {f"clip.model.{name}": value for name, value in state.items()}
    return {"state_dict": prefixed, "hyper_parameters": Namespace(rate=1e-3), "callbacks": {"best": np.float64(1.0)}}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old form"])
@pytest.mark.parametrize("wrap", [bare, as_a_training_script_saves_it, as_lightning_saves_it], ids=lambda wrap: wrap.__name__)
def test_a_state_dict_that_torch_saved_is_loaded_as_it_is(tmp_path, state, suffix, zipped, wrap):
    path = tmp_path / f"mine{suffix}"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    loaded = load_clip(MODEL, str(path)).model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.filterwarnings("ignore")
def test_a_script_as_openai_publishes_it_is_loaded(tmp_path, state, random_clip):
    model = open_clip.create_model(MODEL, force_quick_gelu=True).eval()
    model.load_state_dict(state)
    model.register_buffer("input_resolution", torch.tensor(32))
    examples = {"encode_image": torch.zeros(1, 3, 32, 32), "encode_text": torch.zeros(1, model.context_length).long()}
    torch.jit.trace_module(model, examples, check_trace=False).save(str(tmp_path / "ViT.pt"))
    assert load_clip(MODEL, str(tmp_path / "ViT.pt")).digest == random_clip.digest + "-quickgelu"


def test_quantised_weights_are_refused(tmp_path, state):
    torch.save({**state, "visual.proj": state["visual.proj"].to(torch.int8)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w.pt' holds int8 in place of real numbers for 1 weights, such as visual.proj"):
        load_clip(MODEL, str(tmp_path / "w.pt"))


def test_weights_of_half_precision_are_loaded_in_single(tmp_path, state):
    save_file({name: value.half() for name, value in state.items()}, tmp_path / "half.safetensors")
    loaded = load_clip(MODEL, str(tmp_path / "half.safetensors")).model.state_dict()
    assert all(torch.equal(loaded[name], state[name].half().float()) for name in state)


# -- what is never run, and refused ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.pkl", "w.safetensors", "w.PT"])
@pytest.mark.parametrize("how", ["pickle", "torch", "old torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path, state, name, how):
    path, mark = tmp_path / name, tmp_path / "run"
    content = {**state, "evil": Evil(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match=name):
        load_clip(MODEL, str(path))
    assert path.stat().st_size > 1_000_000 and not mark.exists()


@pytest.mark.parametrize(
    "content",
    [torch.ones(2), [torch.ones(2)], {}, {"w": 1.0}, {"state_dict": {"w": [1]}}],
    ids=["tensor", "list", "empty", "number", "no tensor inside"],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"odd.pt'.*no tensors by name"):
        read_weights(tmp_path / "odd.pt")


SPOIL = {
    "end cut off": lambda b: b[:-100],
    "half": lambda b: b[: len(b) // 2],
    "header cut off": lambda b: b[:4],
    "empty": lambda b: b"",
    "foreign": lambda b: b"hello",
}


@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
@pytest.mark.parametrize("form", ["safetensors", "pt", "old.pt"])
def test_a_damaged_file_is_refused_before_a_model_is_built(no_model, tmp_path, state, spoil, form):
    path = tmp_path / f"weights.{form}"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pt")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path}.*cannot be read as a checkpoint"):
        load_clip(MODEL, str(path))


def test_a_zip_that_torch_did_not_write_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match=r"other.pt' cannot be read as a checkpoint"):
        read_weights(tmp_path / "other.pt")


def without(state):
    return {name: value for name, value in state.items() if name != "visual.proj"}, "missing.*visual.proj"


def with_more(state):
    return {**state, "visual.more": torch.zeros(1)}, "not known.*visual.more"


def of_other_shape(state):
    return {**state, "visual.proj": torch.zeros(3, 128)}, r"visual.proj \(3, 128\) for \(128, 128\)"


@pytest.mark.parametrize("change", [without, with_more, of_other_shape], ids=lambda change: change.__name__)
@pytest.mark.parametrize("save, name", [(save_file, "w.safetensors"), (torch.save, "w.pt")], ids=["safetensors", "torch"])
def test_weights_of_another_architecture_are_refused(tmp_path, state, random_clip, change, save, name):
    path = tmp_path / name
    changed, said = change(state)
    save(changed, path)
    for load in (lambda: load_clip(MODEL, str(path)), lambda: check_fit(read_weights(path), random_clip.model, path)):
        with pytest.raises(InputError, match=f"{path}.*another architecture.*{said}"):
            load()


OTHER_NAMES = {
    "beside another": (
        lambda s: {**{f"clip.{k}": v for k, v in s.items()}, "loss.weight": torch.ones(1)},
        "under 'clip.', beside",
    ),
    "one more": (
        lambda s: {**s, "more": torch.ones(1)},
        r"there by these names, beside others, such as \['more'\]: save them",
    ),
    "transformers": (
        lambda s: {"vision_model.w": torch.ones(1), "logit_scale": torch.ones(())},
        "names of transformers: save",
    ),
    "another": (lambda s: {"proj": torch.ones(1)}, "with -p model, or save the state_dict"),
}


@pytest.mark.parametrize("change, said", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_the_way_out_fits_the_names(tmp_path, state, random_clip, change, said):
    with pytest.raises(InputError, match=said):
        check_fit(change(state), random_clip.model, tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["weights.pkl", "weights.h5", "model.py"])
def test_other_forms_are_refused_unread(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}.*\.safetensors, \.pt, \.pth, \.bin, \.ckpt alone"):
        check_file(tmp_path / name)


# -- QuickGELU ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("metadata, quick", [({"quick_gelu": "true"}, True), ({"quick_gelu": "false"}, False), (None, False)])
def test_quick_gelu_is_taken_from_the_metadata(tmp_path, state, random_clip, metadata, quick):
    save_file(state, tmp_path / "w.safetensors", metadata)
    assert load_clip(MODEL, str(tmp_path / "w.safetensors")).digest == random_clip.digest + "-quickgelu" * quick


def test_metadata_that_contradict_the_models_name_are_refused(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", {"quick_gelu": "false"})
    with pytest.raises(InputError, match=r"w.safetensors.*no QuickGELU.*without -quickgelu"):
        load_clip("ViT-B-32-quickgelu", str(tmp_path / "w.safetensors"))


def test_a_torch_file_says_nothing_of_quick_gelu(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    assert says_quick_gelu(tmp_path / "w.pt", named=True) is False


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("activation, quick", [(QuickGELU, True), (nn.GELU, False)])
def test_the_code_of_a_script_says_whether_quick_gelu_is_used(tmp_path, activation, quick):
    torch.jit.trace(nn.Sequential(nn.Linear(2, 2), activation()), torch.zeros(1, 2)).save(str(tmp_path / "w.pt"))
    assert says_quick_gelu(tmp_path / "w.pt", named=False) is quick
    with nullcontext() if quick else pytest.raises(InputError, match="without -quickgelu"):
        says_quick_gelu(tmp_path / "w.pt", named=True)
