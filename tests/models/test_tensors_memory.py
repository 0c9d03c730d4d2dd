"""A small file that would take much memory: one text, one storage or zeros, given many times."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tangent_lib.models.tensors import read_tensors
from tangent_lib.runtime.errors import InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


@contextmanager
def bounded_memory(most):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def zeros_in_a_zip(path, method):
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            zeros = name.endswith("byteorder")
            archive.writestr(name, bytes(10**8) if zeros else data, method if zeros else zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("method", "said"), [(zipfile.ZIP_DEFLATED, "compressed entries"), (zipfile.ZIP_STORED, "byteorder' larger than")]
)
def test_small_entries_of_an_archive_are_small(path, method, said):
    torch.save({"w": torch.ones(2)}, path)
    zeros_in_a_zip(path, method)
    with bounded_memory(10e6), pytest.raises(InputError, match=said):
        read_tensors(path)


def within(part, name):
    return {name: part}


def module_of(part, name):
    module = nn.Module()
    module._parameters, module._modules = {name: torch.ones(1)}, {"a": part, "b": part} if part else {}
    return module


@pytest.mark.parametrize("nest", [within, module_of, lambda part, name: [part, {name: torch.ones(1)}]])
def test_a_long_name_that_a_pickle_gives_many_times_takes_no_memory(path, nest):
    content, name = {}, "k" * 10**6
    for _ in range(40):
        content = nest(content, name)
    torch.save(content, path)
    with bounded_memory(12e6), pytest.raises(InputError, match="a name that is no name, or longer than any of a tensor"):
        read_tensors(path)


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_numbers_that_a_bare_pickle_gives_many_times_take_no_memory(path):
    old = io.BytesIO()
    torch.save(torch.zeros(250_000).storage(), old, _use_new_zipfile_serialization=False)

    class Loaded:
        parts = torch.storage._load_from_bytes, (old.getvalue(),)

        def __reduce__(self):
            return self.parts

    path.write_bytes(pickle.dumps([Loaded() for _ in range(50)]))
    with bounded_memory(6e6), pytest.raises(InputError, match="no tensors by name"):
        read_tensors(path)
