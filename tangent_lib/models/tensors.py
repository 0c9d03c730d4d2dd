"""Tensors from a file that somebody else wrote, and nothing but tensors: no code of the file ever runs.

Four forms are read: safetensors, what ``torch.save`` writes (a zip archive), what it wrote before torch 1.6, and a bare
pickle of a module. Of whole modules, the tensors are taken by the names that ``state_dict()`` would give them.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import Tensor

from tangent_lib.models.inert import ADMITTED, InertObject, Storage, TensorRecord, read_pickle
from tangent_lib.runtime.errors import InputError

LEGACY = 0x1950A86A20F9469CFC6C  # what torch.save wrote first, before torch 1.6
MOST_MODULES, LONGEST_NAME = 20_000, 1_000
LARGEST_PICKLE = 64 * 2**20  # bytes; in an archive the pickle holds no numbers, and takes less than one
WAY_OUT = (
    "Nothing of it was run or taken. Fetch it anew. If it stays so, open it on a machine where foreign code can do no harm, "
    "and save its state_dict() with safetensors.torch.save_file"
)

Numbers = Callable[[Storage], bytes]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU. Executes nothing of the file, and trusts nothing that it says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "layer.pt")
        >>> torch.save(torch.nn.Linear(2, 3), path)
        >>> {name: tuple(value.shape) for name, value in read_tensors(path).items()}
        {'weight': (3, 2), 'bias': (3,)}
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            head = file.read(16)
            file.seek(0)
            if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
                return load_file(path)
            if head.startswith(b"PK"):
                return _from_archive(file, size)
            if head.startswith(b"\x80"):
                return _from_pickle(file, size)
        raise ValueError("it is neither safetensors nor a file of torch.save")
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint '{path}'") from error
    except Exception as error:  # a file made to do harm may raise anything
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(f"'{path}' cannot be read as a checkpoint ({reason}). {WAY_OUT}") from error


def _from_archive(file: io.BufferedIOBase, size: int) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("two entries of one name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("compressed entries, which torch does not write")
        roots = [name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip archive, but not one of torch.save")
        (root,) = roots
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("numbers in big-endian order")
        if entries[f"{root}data.pkl"].file_size > LARGEST_PICKLE:
            raise ValueError("a pickle larger than any model needs")
        found, _ = read_pickle(io.BytesIO(archive.read(f"{root}data.pkl")))

        def numbers(storage: Storage) -> bytes:
            entry = entries.get(f"{root}data/{storage.key}")
            if entry is None or entry.file_size != storage.numel * storage.dtype.itemsize:
                raise ValueError(f"storage {storage.key[:20]} is missing or of another size")
            return archive.read(entry)

        return _tensors(found, numbers, size)


def _from_pickle(file: io.BufferedIOBase, size: int) -> dict[str, Tensor]:
    found, _ = read_pickle(file, MappingProxyType({**ADMITTED, ("torch.storage", "_load_from_bytes"): Nested}))
    if found == LEGACY:
        return _tensors(*_legacy(file), size)
    if file.read(1):
        raise ValueError("something follows the pickle")
    return _tensors(found, _own_numbers, size)


def _legacy(stream: io.BufferedIOBase) -> tuple[object, Numbers]:
    """The rest of the older form: version, system, the object, the keys of its storages, then each one's numbers."""
    read_pickle(stream)
    system, _ = read_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("numbers in big-endian order, or no word of their order")
    found, storages = read_pickle(stream)
    keys, _ = read_pickle(stream)
    places = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        places[key] = (stream.tell(), count)
        stream.seek(count * storages[key].dtype.itemsize, io.SEEK_CUR)

    def numbers(storage: Storage) -> bytes:
        place, count = places[storage.key]
        if count != storage.numel:
            raise ValueError(f"storage {storage.key[:20]} is of another size")
        stream.seek(place)
        return stream.read(count * storage.dtype.itemsize)

    return found, numbers


class Nested:
    """Stands for ``torch.storage._load_from_bytes``: in a bare pickle, each storage is a file of the older form."""

    def __new__(cls, data: object) -> Storage:
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("a storage that is not made of bytes")
        stream = io.BytesIO(data)
        magic, _ = read_pickle(stream)
        storage, numbers = _legacy(stream)
        if magic != LEGACY or not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a storage that is something else")
        return storage._replace(data=numbers(storage))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a storage with a state of its own")


def _own_numbers(storage: Storage) -> bytes:
    if storage.data is None:
        raise ValueError("a storage without numbers")
    return storage.data


def _tensors(found: object, numbers: Numbers, size: int) -> dict[str, Tensor]:
    records = _by_name(found)
    if not records:
        raise ValueError("no tensors in it")
    total = sum(math.prod(_shape(each.size)) * each.storage.dtype.itemsize for each in records.values())
    if total > 4 * size:  # shared weights count twice, but not more
        raise ValueError(f"tensors of {total} bytes in a file of {size}")
    return {name: _tensor(name, each, numbers) for name, each in records.items()}


def _by_name(found: object) -> dict[str, TensorRecord]:
    """The tensors of a state dict or of a tree of modules."""
    if isinstance(found, dict):
        for key in ("state_dict", "model"):
            if isinstance(found.get(key), (dict, InertObject)):
                return _by_name(found[key])
        return {_checked(name): _tensor_record(name, value) for name, value in found.items()}
    tensors, modules, visited = {}, [("", found)], 0
    while modules:
        prefix, module = modules.pop()
        visited += 1
        if visited > MOST_MODULES or len(prefix) > LONGEST_NAME:
            raise ValueError("modules within modules without end")
        parts = module.state if isinstance(module, InertObject) else None
        if not isinstance(parts, dict) or not {"_parameters", "_buffers", "_modules"} <= parts.keys():
            raise ValueError(f"'{prefix.rstrip('.')}' is not a module: neither a state dict nor a whole module is in it")
        for name, value in (*parts["_parameters"].items(), *parts["_buffers"].items()):
            if value is not None:
                tensors[_checked(prefix + name)] = _tensor_record(prefix + name, value)
        modules += [(f"{prefix}{name}.", part) for name, part in parts["_modules"].items() if part is not None]
    return tensors


def _checked(name: object) -> str:
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise ValueError("a tensor whose name is no name")
    return name


def _tensor_record(name: str, value: object) -> TensorRecord:
    if not isinstance(value, TensorRecord) or not isinstance(value.storage, Storage):
        kind = value.path if isinstance(value, InertObject) else type(value).__name__
        raise ValueError(f"'{name}' is not a plain tensor but {kind}")
    return value


def _shape(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or any(type(n) is not int or not 0 <= n < 2**48 for n in numbers):
        raise ValueError("a tensor whose shape is no shape")
    return numbers


def _tensor(name: str, record: TensorRecord, numbers: Numbers) -> Tensor:
    """The tensor of a record, once it is sure that it lies inside its storage."""
    storage, size, stride = record.storage, _shape(record.size), _shape(record.stride)
    (offset,) = _shape((record.offset,))
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if len(size) != len(stride) or (count and (count > storage.numel or last >= storage.numel)):
        raise ValueError(f"'{name}' reaches past the end of its storage")
    if not count:
        return torch.empty(size, dtype=storage.dtype)
    data = bytearray(numbers(storage))
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"the numbers of '{name}' are cut short")
    return torch.frombuffer(data, dtype=storage.dtype).as_strided(size, stride, offset).clone()
