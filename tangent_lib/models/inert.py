"""Reading a pickle without running it.

A pickle is a small program: it may name any function and have it called. Here every name that it gives becomes an
``InertObject``, whose calls, states and items lead to nothing. A few names are admitted, and stand for classes of this
module: a storage and a tensor are noted down, not made. What comes out is checked before any tensor is made of it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

# The largest model here takes 150,000 operations with its optimiser: many more are meant to use up memory, or the time.
MOST_OPERATIONS = 500_000
MOST_TUPLES = 50_000  # within each other, 100,000 overflow the stack once they are compared
MOST_CLASSES, LONGEST_NAME = 5_000, 1_000  # of a class or a tensor: a pickle can name one text very often
TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
REFUSED_OPERATIONS = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}  # would reach past ``find_class``
MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}


class InertObject:
    """Stands for a foreign class or function, and for whatever it would have made. Only a state that it is given is kept."""

    path = ""
    state: object = None

    def __new__(cls, *args: object, **kwargs: object) -> InertObject:
        return super().__new__(cls)

    def __call__(self, *args: object, **kwargs: object) -> InertObject:
        return InertObject()

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Items of a foreign dict: dropped."""

    def append(self, item: object) -> None:
        """Items of a foreign list: dropped."""

    add = extend = append


class Dictionary(dict):
    """Stands for ``collections.OrderedDict``; the attributes that torch hangs on it (versions of modules) are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


class Scalar(NamedTuple):
    """The type of a storage's numbers."""

    dtype: torch.dtype


class Storage(NamedTuple):
    """Numbers in the file: their type, how many they are, and the key they are filed under, or their bytes."""

    dtype: torch.dtype
    numel: int
    key: str
    data: bytes | memoryview | None = None


class TensorRecord:
    """What a pickle says of a tensor: which part of which storage. Not checked yet."""

    def __init__(self, storage: object, offset: object, size: object, stride: object, *rest: object):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a tensor with a state of its own")


class Parameter:
    """Stands for ``torch.nn.Parameter``, which is its tensor."""

    def __new__(cls, data: object, *rest: object) -> object:
        return data

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a parameter with a state of its own")


# Every class in here has a __setstate__: pickle would otherwise set attributes on the class itself, where asked to.
Admitted = Mapping[tuple[str, str], object]
ADMITTED: Admitted = MappingProxyType(
    {
        ("collections", "OrderedDict"): Dictionary,
        ("torch._utils", "_rebuild_tensor_v2"): TensorRecord,
        ("torch._utils", "_rebuild_parameter"): Parameter,
        ("torch", "Size"): tuple,
        ("torch", "FloatStorage"): Scalar(torch.float32),
        ("torch", "HalfStorage"): Scalar(torch.float16),
        ("torch", "BFloat16Storage"): Scalar(torch.bfloat16),
        ("torch", "DoubleStorage"): Scalar(torch.float64),
        ("torch", "LongStorage"): Scalar(torch.int64),
        ("torch", "IntStorage"): Scalar(torch.int32),
        ("torch", "ShortStorage"): Scalar(torch.int16),
        ("torch", "CharStorage"): Scalar(torch.int8),
        ("torch", "ByteStorage"): Scalar(torch.uint8),
        ("torch", "BoolStorage"): Scalar(torch.bool),
    }
)


class Unpickler(pickle.Unpickler):
    """Python's own, with every name inert and every storage noted down under its key."""

    def __init__(self, stream: io.BufferedIOBase, admitted: Admitted):
        super().__init__(stream)
        self.admitted = admitted
        self.storages: dict[str, Storage] = {}
        self.classes: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in self.admitted:
            return self.admitted[module, name]
        if len(module) + len(name) > LONGEST_NAME or len(self.classes) > MOST_CLASSES:
            raise pickle.UnpicklingError("more classes, or longer names of them, than any checkpoint needs")
        path = f"{module}.{name}"
        if path not in self.classes:
            self.classes[path] = type("InertObject", (InertObject,), {"path": path})
        return self.classes[path]

    def persistent_load(self, key: object) -> object:
        match key:
            case ("storage", Scalar(dtype=dtype), str(name), _, int(numel)):
                pass
            case ("storage", Scalar(dtype=dtype), str(name), _, int(numel), None):  # the older form
                pass
            case ("storage", type(), str(), *_):  # of numbers that no weight has: a tensor of it is not plain
                return InertObject()
            case ("module", type() as module, _, _):  # the older form notes the source of a class, too
                return module
            case _:
                raise pickle.UnpicklingError("a reference to something else than a storage")
        return self.storages.setdefault(name, Storage(dtype, numel, name))


def read_pickle(stream: io.BufferedIOBase, admitted: Admitted = ADMITTED) -> tuple[object, dict[str, Storage]]:
    """One pickle from a stream, which is left right behind it: what it holds, and the storages that it refers to.

    Example:
        >>> import os
        >>> found, _ = read_pickle(io.BytesIO(pickle.dumps({"weight": 1, "harm": os.system})))
        >>> found["weight"], isinstance(found["harm"], type), issubclass(found["harm"], InertObject)
        (1, True, True)
    """
    start, tuples = stream.tell(), 0
    for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if operation.name in REFUSED_OPERATIONS:
            raise pickle.UnpicklingError(f"the operation {operation.name}, which no checkpoint needs")
        tuples += operation.name in TUPLES
        if count > MOST_OPERATIONS or tuples > MOST_TUPLES or (operation.name in MEMO and argument > count):
            raise pickle.UnpicklingError("more operations or objects than any checkpoint needs")
    end = stream.tell()
    stream.seek(start)
    unpickler = Unpickler(stream, admitted)
    found = unpickler.load()
    stream.seek(end)
    return found, unpickler.storages
