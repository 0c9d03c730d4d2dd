"""What torch and pickle write is read back as the same tensors, in every form; whatever is damaged is refused."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tangent_lib.models import tensors
from tangent_lib.models.tensors import check_form, read_tensors
from tangent_lib.runtime.errors import InputError


def old_save(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def bare_pickle(value, path):
    path.write_bytes(pickle.dumps(value))


SAVES = {"torch": torch.save, "torch before 1.6": old_save, "bare pickle": bare_pickle}


@pytest.fixture(params=SAVES)
def save(request):
    return SAVES[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


@pytest.fixture
def module():
    torch.manual_seed(0)
    net = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 2, bias=False),
            norm=nn.BatchNorm2d(4),
            attention=nn.MultiheadAttention(8, 2),
            blocks=nn.ModuleList([nn.Sequential(nn.Linear(2, 3), nn.GELU()), nn.Identity()]),
        )
    )
    net.register_buffer("nothing", None)
    net.hook = nn.functional.relu  # a function, and an object of a class that is not a module
    net.shape, net.options = torch.Size([2, 3]), {"dtype": torch.float16, "complex": 1j, "range": range(3), "set": {1, 2}}
    return net


def check(path, expected):
    found = read_tensors(path)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


# -- what is read ------------------------------------------------------------------------------------------------------
def test_a_whole_module_gives_its_state_dict(module, path, save):
    save(module, path)
    check(path, module.state_dict())


@pytest.mark.parametrize("wrap", [lambda s: s, dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_state_dict_alone_or_filed_under_a_usual_name(module, path, save, wrap):
    save(wrap(module.state_dict()), path)
    check(path, module.state_dict())


def test_a_whole_module_filed_under_model(module, path, save):
    save({"model": module, "optimiser": torch.optim.AdamW(module.parameters())}, path)
    check(path, module.state_dict())


def test_views_are_cut_out_of_their_storage_and_shared_ones_read_twice(path, save):
    base = torch.arange(24.0).view(4, 6)
    state = {"all": base, "turned": base.T, "part": base[1:3, ::2], "one": base[3, 5], "none": base[:0]}
    state["trained"] = nn.Parameter(base)
    save(state, path)
    check(path, state)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_number_format(path, save, kind):
    state = {"w": (torch.arange(6) % 2 if kind == "bool" else torch.arange(6)).to(getattr(torch, kind)).view(2, 3)}
    save(state, path)
    check(path, state)


def test_safetensors_by_what_is_in_it_not_by_its_name(path):
    for count in range(1, 40):  # headers of many lengths
        state = {f"w{i}": torch.full((2,), float(i)) for i in range(count)}
        save_file(state, path)
        check(path, state)


def test_what_is_read_can_be_written_to(path, module, save):
    save(module, path)
    found = read_tensors(path)
    found["conv.weight"].add_(1)
    assert torch.equal(found["conv.weight"], module.conv.weight + 1)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"w": torch.zeros(2), "epoch": 3}, "'epoch' is not a plain tensor but int"),
        ({"w": torch.zeros(2), "u": torch.zeros(2), "v": {"x": torch.zeros(2)}}, "'v' is not a plain tensor but dict"),
        ({3: torch.zeros(2)}, "no tensors by name"),
        ({"w": torch.zeros(2), 3: torch.zeros(2)}, "no name"),
        ({"w": torch.zeros(2), "c": torch.zeros(2).cfloat()}, "('c' is not a plain tensor|numbers that no weight has)"),
        ({"w": torch.zeros(2).to_sparse()}, "'w' is not a plain tensor but torch._utils._rebuild_sparse_tensor"),
        ({}, "no tensors"),
        (nn.ReLU(), "no tensors"),
        (torch.zeros(2), "no tensors by name"),
        ([torch.zeros(2)], "no tensors by name"),
        (torch.optim.SGD([torch.zeros(2)]), "no tensors by name"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_anything_but_named_tensors(path, save, value, reason):
    save(value, path)
    with pytest.raises(InputError, match=rf"checkpoint\.pt'.*{reason}.*safetensors"):
        read_tensors(path)


def test_a_file_that_is_not_there_or_is_something_else(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint .*nowhere\.pt"):
        read_tensors(tmp_path / "nowhere.pt")
    for content in (b"", b"<!DOCTYPE html>", b"PK", b"\x80", b"\x80\x04", b"\x00" * 64, b"\x93NUMPY"):
        (tmp_path / "other.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"other\.pt.*Fetch it anew"):
            read_tensors(tmp_path / "other.pt")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_tensors(tmp_path)


def test_cut_short_anywhere(path, module, save):
    save(module, path)
    data = path.read_bytes()
    for end in range(0, len(data) - 1, max(1, len(data) // 60)):
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            read_tensors(path)


def test_any_byte_changed_gives_tensors_or_an_error_and_nothing_else(path, module, save):
    save(module, path)
    data, rng = path.read_bytes(), random.Random(0)
    shapes, refused = {name: value.shape for name, value in module.state_dict().items()}, 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 8])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            found = read_tensors(path)
        except InputError:
            refused += 1
        else:
            assert all(isinstance(value, torch.Tensor) for value in found.values()) and len(found) <= len(shapes)
    assert refused


def rewrite(path, change):
    """Write a torch archive anew, each entry as ``change(name, data)`` gives it: (name, data), or None to leave it out."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            for name, data in filter(None, [change(*entry)]):
                archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n, d: (n, b"big") if n.endswith("byteorder") else (n, d), "big-endian"),
        (lambda n, d: None if n.endswith("/data/0") else (n, d), "storage 0 is missing"),
        (lambda n, d: (n, d[:-4]) if n.endswith("/data/0") else (n, d), "storage 0 is missing or of another size"),
        (lambda n, d: (n, d + b"1234") if n.endswith("/data/0") else (n, d), "storage 0 is missing or of another size"),
        (lambda n, d: None if n.endswith("data.pkl") else (n, d), "not one of torch.save"),
        (lambda n, d: (n.replace("checkpoint/", "checkpoint/in/"), d), "not one of torch.save"),
    ],
)
def test_an_archive_that_does_not_hang_together(path, module, change, reason):
    torch.save(module, path)
    rewrite(path, lambda name, data: (name, data))
    check(path, module.state_dict())
    rewrite(path, change)
    with pytest.raises(InputError, match=reason):
        read_tensors(path)


def test_an_archive_that_is_compressed_or_names_an_entry_twice(path, module):
    torch.save(module, path)
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    with pytest.raises(InputError, match="compressed"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, data in (*entries, entries[-1]):
            archive.writestr(name, data)
    with pytest.raises(InputError, match="two entries of one name"):
        read_tensors(path)


def test_big_endian_in_the_older_form(path, module):
    old_save(module, path)
    data = path.read_bytes()
    little = data.index(b"little_endian") + len(b"little_endian")
    flag = data.index(b"\x88", little)  # the operation for True
    path.write_bytes(data[:flag] + b"\x89" + data[flag + 1 :])
    with pytest.raises(InputError, match="big-endian"):
        read_tensors(path)


@pytest.mark.parametrize(
    "view",
    [
        {"size": (9,)},
        {"offset": 7},
        {"stride": (3, 4)},
        {"size": (2**40, 2**40)},
        {"size": (-1, 3)},
        {"offset": -4},
        {"stride": (-3, 1)},
        {"size": (2, 3, 1)},
        {"size": (2.0, 3)},
        {"size": [2, 3]},
        {"size": (True, 3)},
        {"offset": None},
        {"storage": "weights"},
        {"storage": None},
        {"stride": (0, 0), "size": (2**20, 2**20)},
    ],
    ids=str,
)
def test_a_tensor_that_reaches_past_its_storage(path, view):
    """A tensor is described by hand, as it would be by somebody who wants to read or fill memory."""

    class Described:
        def __init__(self, storage, given):
            good = {"storage": storage, "offset": 0, "size": (2, 3), "stride": (3, 1)}
            self.arguments = (*{**good, **given}.values(), False, OrderedDict())

        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, self.arguments

    storage = torch.arange(6.0).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    torch.save({"w": Described(typed, {})}, path)
    check(path, {"w": torch.arange(6.0).view(2, 3)})
    torch.save({"w": Described(typed, view)}, path)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        read_tensors(path)


def test_one_storage_for_very_many_tensors(path):
    base = torch.zeros(1000)
    torch.save({f"w{i}": base for i in range(50)}, path)
    with pytest.raises(InputError, match="200000 bytes in a file of"):
        read_tensors(path)


def test_modules_within_each_other(path):
    ring, doubling = nn.Module(), nn.Linear(1, 1)
    ring._modules["again"] = ring
    for _ in range(40):
        outer = nn.Module()
        outer._modules.update(left=doubling, right=doubling)
        doubling = outer
    for module in (ring, doubling):
        torch.save(module, path)
        with pytest.raises(InputError, match="without end"):
            read_tensors(path)
    looped: dict = {}
    looped["model"] = looped
    torch.save(looped, path)
    with pytest.raises(InputError, match="no tensors by name"):
        read_tensors(path)


# -- which set of weights, and its names -------------------------------------------------------------------------------
WEIGHTS = {"conv.weight": torch.ones(2, 3), "proj": torch.zeros(3)} | {f"w{i}": torch.full((2,), float(i)) for i in range(4)}
AVERAGED = {name: value + 1 for name, value in WEIGHTS.items()}
STEPS = {0: {"exp_avg": torch.ones(9), "exp_avg_sq": torch.ones(9), "step": torch.tensor(3.0)}}
TRAINING = {"optimizer": {"state": STEPS, "param_groups": [{"params": [0]}]}, "rng": torch.zeros(5), "args": Namespace(a=1)}
WRAPPED = {
    "model": lambda w: {"model": w, **TRAINING},
    "model_state_dict": lambda w: {"epoch": np.float64(3), "model_state_dict": w},
    "two deep": lambda w: {"checkpoint": {"net": w}},
    "by parameter": lambda w: {"model": w, "optim": {f"module.{k}": {"exp_avg": v, "m": v} for k, v in w.items()}},
    "the average alone": lambda w: {"ema": {"decay": 0.9, "updates": torch.tensor(3), "module": w}, "ema_decay": 0.9},
    "filed twice": lambda w: {"model": w, "state_dict": dict(w)},
    "compiled": lambda w: {f"_orig_mod.{name}": value for name, value in w.items()},
    "distributed and compiled": lambda w: {"state_dict": {f"module._orig_mod.{name}": value for name, value in w.items()}},
    "compiled in part": lambda w: {name.replace("conv.", "conv._orig_mod."): value for name, value in w.items()},
    "torch's average": lambda w: {"n_averaged": torch.tensor(3), **{f"module.{name}": value for name, value in w.items()}},
    "parameters": lambda w: {name: nn.Parameter(value) for name, value in w.items()},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_wherever_they_are_filed(path, save, wrap):
    save(wrap(WEIGHTS), path)
    check(path, WEIGHTS)


SEVERAL = {
    "ema": {"model": WEIGHTS, "ema": AVERAGED},
    "ema with other names": {"state_dict": WEIGHTS, "model_ema": {"convweight": torch.ones(2, 3)}},
    "ema in a list": {"model": WEIGHTS, "EMA": {"shadow_params": [*AVERAGED.values()]}},
    "ema distributed": {"model": WEIGHTS, "copy": {f"module.{name}": value for name, value in AVERAGED.items()}},
    "student and teacher": {"student": {"state_dict": WEIGHTS}, "teacher": {"state_dict": AVERAGED}},
    "momentum": {"model": WEIGHTS, "momentum": AVERAGED},
    "teacher under a prefix": {"teacher": {f"backbone.{k}": v for k, v in AVERAGED.items()}, "student": WEIGHTS},
    "student under one, too": {
        "b": {f"net.{k}": v for k, v in AVERAGED.items()},
        "a": {f"x.y.{k}": WEIGHTS[k] for k in WEIGHTS},
    },
    "a part under a prefix": {"model": WEIGHTS, "copy": {f"net.w{i}": torch.ones(2) for i in range(4)}},
}


@pytest.mark.parametrize("content", SEVERAL.values(), ids=SEVERAL)
def test_of_several_sets_of_weights_none_is_guessed(path, save, content):
    save(content, path)
    with pytest.raises(InputError, match=r"several sets of weights, '\w.*' and '\w.*nothing tells which is meant: save"):
        read_tensors(path)


def test_names_that_fall_together_are_refused(path):
    save_file({"a.w": torch.zeros(2), "a._orig_mod.w": torch.ones(2)}, path)
    with pytest.raises(InputError, match="two weights of one name"):
        read_tensors(path)


def test_views_of_one_storage_are_read_once_and_come_apart(path, monkeypatch):
    flat, reads = torch.arange(6000.0), []
    monkeypatch.setattr(tensors, "_base", lambda *args, base=tensors._base: reads.append(1) or base(*args))
    state = {f"w{i}": flat[1000 * i :][:1000].view(20, 50).T for i in range(6)} | {"wide": torch.ones(1).expand(7)}
    torch.save(state, path)
    check(path, state)
    assert len(reads) == 2 and all(value.is_contiguous() for value in read_tensors(path).values())


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_a_script_gives_the_tensors_of_its_modules(path, module):
    torch.jit.save(torch.jit.script(module[3][0]), str(path))
    check(path, module[3][0].state_dict())


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_a_folder_and_a_device_are_refused_and_not_opened(path, make):
    make(path)
    with pytest.raises(InputError, match=r"checkpoint.pt' is a (folder|pipe or a device), not a file"):
        check_form(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b'{"weight_map": {}}', "index of a checkpoint in several files"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xff\xff\x00\x00\x00\x00\x00\x00{}", "neither safetensors"),
    ],
)
def test_what_is_often_taken_for_a_checkpoint_is_called_by_its_name(path, content, said):
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        check_form(path)


def test_names_in_a_refusal_are_printable(path):
    torch.save({"w": torch.zeros(2), "\x1b[31m\n": 3}, path)
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    assert str(caught.value).isprintable()


def test_long_texts_beside_the_weights_do_not_matter(path, save):
    save({"model": WEIGHTS, "prompts": {"a photo " * 1000: 0.5}, "log": "x" * 5000}, path)
    check(path, WEIGHTS)
