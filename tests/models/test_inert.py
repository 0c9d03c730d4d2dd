"""Pickles that would create a file do not create it, in whatever form they come and wherever the call hides."""

from __future__ import annotations

import copyreg
import functools
import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from tangent_lib.models import inert
from tangent_lib.models.tensors import read_tensors
from tangent_lib.runtime.errors import InputError


class Call:
    """Pickled, it is the call of a function; what that gives may be given a state."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state)

    def __reduce__(self):
        return self.parts


@pytest.fixture
def trap(tmp_path):
    """A file that must not come into being."""
    return tmp_path / "trap"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def touch(trap):
    return f"open({str(trap)!r}, 'w').close()"


CALLS = {
    "os.system": lambda trap: Call(os.system, f"touch {trap}"),
    "exec": lambda trap: Call(exec, touch(trap)),
    "eval": lambda trap: Call(eval, touch(trap)),
    "open": lambda trap: Call(open, str(trap), "w"),
    "subprocess": lambda trap: Call(subprocess.check_call, ["touch", str(trap)]),
    "partial": lambda trap: Call(functools.partial(exec, touch(trap))),
    "a method": lambda trap: Call(operator.methodcaller("system", f"touch {trap}"), Call(__import__, "os")),
    "reduce": lambda trap: Call(functools.reduce, exec, [{}], touch(trap)),
    "map": lambda trap: Call(list, Call(map, exec, [touch(trap)])),
    "apply": lambda trap: Call(torch.Tensor.apply_, torch.zeros(1), Call(functools.partial(exec, touch(trap)))),
    "torch.load": lambda trap: Call(torch.load, io.BytesIO(pickle.dumps(Call(exec, touch(trap))))),
    "pickle.loads": lambda trap: Call(pickle.loads, pickle.dumps(Call(exec, touch(trap)))),
    "torch.save": lambda trap: Call(torch.save, 1, str(trap)),
}


def wrapped(name, call):
    """The call as a weight, as an attribute of a module, deep inside, and in the other places where pickles keep things."""
    weights = OrderedDict(weight=torch.ones(2))
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.GELU()))
    match name:
        case "alone":
            return call
        case "as a weight":
            return OrderedDict(weights, bias=call)
        case "as a name":
            return {"weight": torch.ones(2), call: torch.ones(2)}
        case "beside the weights":
            return {"state_dict": weights, "arguments": call}
        case "in a module":
            net.preprocess = call
        case "deep in a module":
            net[1][0].approximate = [{"a": (call,)}]
        case "as a parameter":
            net[0]._parameters["bias"] = call
        case "as a module":
            net._modules["2"] = call
        case "as the state of a class":
            net.options = Call(object, state=call)
        case "as a hook of a tensor":
            return {"weight": Call(torch._utils._rebuild_tensor_v2, *tensor_parts(), False, call)}
        case "as the shape of a tensor":
            return {"weight": Call(torch._utils._rebuild_tensor_v2, tensor_parts()[0], 0, call, (1,), False, OrderedDict())}
    return net


def tensor_parts():
    storage = torch.storage.TypedStorage(wrap_storage=torch.ones(2).untyped_storage(), dtype=torch.float32, _internal=True)
    return storage, 0, (2,), (1,)


PLACES = [
    "alone",
    "as a weight",
    "as a name",
    "beside the weights",
    "in a module",
    "deep in a module",
    "as a parameter",
    "as a module",
    "as the state of a class",
    "as a hook of a tensor",
    "as the shape of a tensor",
]


def write(form, value, path):
    if form == "bare":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == "torch")


def read(path):
    """Tensors or an InputError; nothing was imported on the way."""
    before = set(sys.modules)
    try:
        found = read_tensors(path)
    except InputError:
        found = None
    assert found is None or all(type(value) is torch.Tensor for value in found.values())
    assert set(sys.modules) == before
    return found


@pytest.fixture(autouse=True, scope="module")
def _warm(tmp_path_factory):
    """What reading a checkpoint imports by itself is imported before anything is counted."""
    path = tmp_path_factory.mktemp("warm") / "warm.pt"
    for form in ("torch", "torch before 1.6", "bare"):
        write(form, nn.Linear(2, 2), path)
        read_tensors(path)
    path.write_bytes(b"\x80\x02.")
    with pytest.raises(InputError):
        read_tensors(path)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "torch.load"])
def test_the_traps_are_real(name, trap):
    made = None
    try:
        made = pickle.loads(pickle.dumps(CALLS[name](trap)))
    except Exception:
        pass
    assert trap.exists()
    if name == "open":
        made.close()


@pytest.mark.parametrize("form", ["torch", "torch before 1.6", "bare"])
@pytest.mark.parametrize("place", PLACES)
def test_no_call_is_made(place, form, trap, path):
    for make in CALLS.values():
        write(form, wrapped(place, make(trap)), path)
        read(path)
        assert not trap.exists()


@pytest.mark.parametrize("form", ["torch", "torch before 1.6", "bare"])
@pytest.mark.parametrize("place", PLACES)
def test_the_places_are_real(place, form, trap, path):
    write(form, wrapped(place, CALLS["exec"](trap)), path)
    try:
        pickle.loads(path.read_bytes()) if form == "bare" else torch.load(path, weights_only=False)
    except Exception:  # what comes of it may be no module, but the call was made
        pass
    assert trap.exists()


def test_what_lies_beside_a_trap_is_still_read(trap, path):
    net = nn.Linear(2, 2)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    net.trap = CALLS["exec"](trap)
    for form in ("torch", "torch before 1.6", "bare"):
        write(form, net, path)
        found = read(path)
        assert found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)
    assert not trap.exists()


# -- pickles written by hand -------------------------------------------------------------------------------------------
def command(trap):
    """The operation for a short text: what a shell is to do."""
    text = f"touch {trap}".encode()
    return b"U" + bytes([len(text)]) + text


HANDMADE = {
    "GLOBAL and REDUCE": lambda trap: b"cposix\nsystem\n(" + command(trap) + b"tR.",
    "INST": lambda trap: b"(" + command(trap) + b"iposix\nsystem\n.",
    "OBJ": lambda trap: b"(cposix\nsystem\n" + command(trap) + b"o.",
    "NEWOBJ": lambda trap: b"\x80\x02cposix\nsystem\n" + command(trap) + b"\x85\x81.",
    "NEWOBJ_EX": lambda trap: b"\x80\x04cposix\nsystem\n" + command(trap) + b"\x85}\x92.",
    "STACK_GLOBAL": lambda trap: b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + command(trap) + b"\x85R.",
    "a dotted name": lambda trap: b"\x80\x04\x8c\x0btorch._utils\x8c\x1a_rebuild_tensor_v2.__call__\x93.",
    "a module below an admitted one": lambda trap: b"ccollections\nsys.modules\n.",
    "a state for a class": lambda trap: b"ccollections\nOrderedDict\n}U\x0b__setitem__cposix\nsystem\nsb.",
    "slots for a class": lambda trap: b"ctorch._utils\n_rebuild_tensor_v2\nN}U\x08__init__cposix\nsystem\ns\x86b.",
    "slots for a parameter": lambda trap: b"ctorch._utils\n_rebuild_parameter\nN}U\x07__new__cposix\nsystem\ns\x86b.",
    "slots for a shape": lambda trap: b"ctorch\nSize\nN}U\x07__new__cposix\nsystem\ns\x86b.",
    "slots for a format": lambda trap: b"ctorch\nFloatStorage\nN}U\x05dtypecposix\nsystem\ns\x86b.",
    "a state for a foreign class": lambda trap: b"cposix\nsystem\nN}U\x07__new__cposix\nsystem\ns\x86b.",
    "a registered extension": lambda trap: b"\x80\x02\x82\xf1" + command(trap) + b"\x85R.",
    "a registered extension, two bytes": lambda trap: b"\x80\x02\x83\xf1\x00" + command(trap) + b"\x85R.",
    "a persistent name": lambda trap: b"Pposix.system\n.",
    "a persistent call": lambda trap: b"\x80\x02cposix\nsystem\n" + command(trap) + b"\x86Q.",
    "a buffer from outside": lambda trap: b"\x80\x05\x97.",
    "a frame too long": lambda trap: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "a huge memo": lambda trap: b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a huge string": lambda trap: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "an empty stack": lambda trap: b"\x80\x020000.",
    "a tuple without end": lambda trap: b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"Ns.",
}


@pytest.fixture
def extension():
    """os.system registered as an extension, and in the cache that the unpickler looks into first."""
    copyreg.add_extension("posix", "system", 0xF1)
    copyreg._extension_cache[0xF1] = os.system
    yield
    copyreg.remove_extension("posix", "system", 0xF1)


@pytest.mark.parametrize("form", ["torch", "bare"])
@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_pickles(name, form, trap, path, extension):
    payload = HANDMADE[name](trap)
    if form == "bare":
        path.write_bytes(payload if payload.startswith(b"\x80") else b"\x80\x02" + payload)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    with pytest.raises(InputError):
        read_tensors(path)
    assert not trap.exists()


def test_the_handmade_traps_are_real(trap, extension):
    for name in ("GLOBAL and REDUCE", "INST", "OBJ", "STACK_GLOBAL", "a registered extension"):
        pickle.loads(HANDMADE[name](trap))
        assert trap.exists(), name
        trap.unlink()


def test_nothing_that_a_pickle_does_outlives_it(path, trap):
    """A pickle cannot change the classes that stand for the admitted names."""
    before = {cls: dict(vars(cls)) for cls in (inert.InertObject, inert.Dictionary, inert.TensorRecord, inert.Parameter)}
    for payload in HANDMADE.values():
        path.write_bytes(b"\x80\x02" + payload(trap).removeprefix(b"\x80\x02"))
        with pytest.raises(InputError):
            read_tensors(path)
    assert {cls: dict(vars(cls)) for cls in before} == before
    net = nn.Linear(2, 3)
    torch.save(net, path)
    assert torch.equal(read_tensors(path)["weight"], net.weight)


@pytest.mark.parametrize(
    "names", [b"".join(b"ca\n%d\n" % i for i in range(6000)), b"ca\n" + b"k" * 1000 + b"\n"], ids=["many", "long"]
)
def test_classes_are_not_made_without_end(path, names):
    path.write_bytes(b"\x80\x02(" + names + b"l.")
    with pytest.raises(InputError, match="more classes, or longer names of them"):
        read_tensors(path)


def test_a_class_that_is_named_twice_is_made_once():
    found, _ = inert.read_pickle(io.BytesIO(b"\x80\x02ca\nb\nca\nb\n\x86."))
    assert found[0] is found[1] and found[0].path == "a.b"


def test_no_module_is_imported(tmp_path, monkeypatch, trap, path):
    (tmp_path / "harmful_module.py").write_text(f"{touch(trap)}\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    payload = b"charmful_module\nNet\n)\x81}b."
    for data in (b"\x80\x02" + payload, b"\x80\x02}U\x01wcharmful_module\nNet\ns."):
        path.write_bytes(data)
        assert read(path) is None and not trap.exists()
    pickle.loads(b"\x80\x02" + payload)
    assert trap.exists()
    del sys.modules["harmful_module"]


def test_a_storage_of_a_bare_pickle_that_is_itself_a_trap(trap, path):
    """Each storage of a bare pickle is a file of its own, which is read by the same rules, and holds no further one."""

    def tensor(data):
        storage = Call(torch.storage._load_from_bytes, data)
        return {"weight": Call(torch._utils._rebuild_tensor_v2, storage, 0, (2,), (1,), False, OrderedDict())}

    old = io.BytesIO()
    torch.save(tensor_parts()[0], old, _use_new_zipfile_serialization=False)
    path.write_bytes(pickle.dumps(tensor(old.getvalue())))
    assert torch.equal(read(path)["weight"], torch.ones(2))
    evil = io.BytesIO()
    torch.save(CALLS["exec"](trap), evil, _use_new_zipfile_serialization=False)
    within = io.BytesIO()
    torch.save(Call(torch.storage._load_from_bytes, old.getvalue()), within, _use_new_zipfile_serialization=False)
    for data in (evil.getvalue(), within.getvalue(), pickle.dumps(CALLS["exec"](trap)), b"", b"\x80\x02.", "text", None):
        path.write_bytes(pickle.dumps(tensor(data)))
        assert read(path) is None and not trap.exists()
