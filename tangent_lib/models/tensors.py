"""Tensors from a file that somebody else wrote, and nothing but tensors: no code of the file ever runs.

Four forms are read: safetensors, what ``torch.save`` and TorchScript write (a zip archive), what ``torch.save`` wrote before
torch 1.6, and a bare pickle. Of whole modules, the tensors are taken by the names that ``state_dict()`` would give them.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import Tensor

from tangent_lib.models.inert import ADMITTED, LONGEST_NAME, InertObject, Storage, TensorRecord, read_pickle
from tangent_lib.runtime.errors import InputError, first_line

LEGACY = 0x1950A86A20F9469CFC6C  # what torch.save wrote first, before torch 1.6
MOST_MODULES = 20_000
LARGEST_PICKLE = 64 * 2**20  # bytes; in an archive the pickle holds no numbers, and takes less than one
WAY_OUT = (
    "Nothing of it was run or taken. Fetch it anew. If it stays so, open it on a machine where foreign code can do no harm, "
    "and save its state_dict() with safetensors.torch.save_file"
)
WRAPPER = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
AVERAGE = re.compile(r"(?i)(?:^|[._])(?:ema|swa|averaged?|shadow)(?=[._]|$)")
FOREIGN = {  # how files begin that are often taken for checkpoints
    b"version https://git-lfs": "it is a pointer of git-lfs, in place of the file itself, which 'git lfs pull' brings",
    b"<": "it is a web page, such as a message of the server that it was to come from",
    b"{": "it is JSON, such as the index of a checkpoint in several files",
    b"\x1f\x8b": "it is compressed with gzip: unpack it first",
}

PARTS = (dict, list, tuple, InertObject)  # what weights may be filed in
Numbers = Callable[[Storage], bytes | memoryview]


class SeveralWeights(ValueError):
    """A checkpoint holds several sets of weights, each of which could be meant."""


def check_form(path: Path) -> str:
    """How a checkpoint is written, by its first bytes: ``safetensors``, ``archive`` (torch's own) or ``pickle``.

    Raises:
        InputError: for a file that is missing, or something else; a pipe or a device is not opened.
    """
    called = repr(str(path))
    try:
        if not path.exists():
            raise InputError(f"there is no checkpoint {called}, no such file")
        if not path.is_file():
            raise InputError(
                f"{called} is a {'folder' if path.is_dir() else 'pipe or a device'}, not a file: name a checkpoint"
            )
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"the checkpoint {called} cannot be read: {first_line(error)}") from error
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if head.startswith((b"PK", b"\x80")):
        return "archive" if head.startswith(b"PK") else "pickle"
    looks = next((what for start, what in FOREIGN.items() if head.lstrip().lower().startswith(start)), "")
    raise _unreadable(path, "it is empty" if not head else looks or "it is neither safetensors nor a file of torch.save")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU. Executes nothing of the file, and trusts nothing that it says.

    Weights may be filed under any name, beside the state of their training, and wrapped for training or compiled.

    Raises:
        InputError: for a file that cannot be read, or that holds several sets of weights, such as averaged ones besides.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "layer.pt")
        >>> torch.save({"epoch": 3, "model": torch.nn.DataParallel(torch.nn.Linear(2, 3))}, path)
        >>> {name: tuple(value.shape) for name, value in read_tensors(path).items()}
        {'weight': (3, 2), 'bias': (3,)}
    """
    form = check_form(path)
    try:
        if form == "safetensors":
            return unwrapped(load_file(path))
        with path.open("rb") as file:
            return (_from_archive if form == "archive" else _from_pickle)(file, path.stat().st_size)
    except SeveralWeights as error:
        raise InputError(
            f"{str(path)!r} holds several sets of weights, {first_line(error)}, and nothing tells which is meant: save the "
            "one that you mean in a file of its own"
        ) from error
    except Exception as error:  # a file made to do harm may raise anything
        raise _unreadable(path, first_line(error)) from error


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(f"{str(path)!r} cannot be read as a checkpoint ({reason}). {WAY_OUT}")


def _from_archive(file: io.BufferedIOBase, size: int) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("two entries of one name")
        roots = [name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip archive, but not one of torch.save")
        (root,) = roots

        def stored(entry: zipfile.ZipInfo, largest: int) -> bytes:
            if entry.compress_type != zipfile.ZIP_STORED:  # only the code of TorchScript is, which is not read here
                raise ValueError("compressed entries, which torch does not write")
            if entry.file_size > largest:
                raise ValueError(f"an entry '{entry.filename[:60]}' larger than any model needs")
            return archive.read(entry)

        order = entries.get(f"{root}byteorder")
        if order and stored(order, len("little")) != b"little":
            raise ValueError("numbers in big-endian order")
        found, _ = read_pickle(io.BytesIO(stored(entries[f"{root}data.pkl"], LARGEST_PICKLE)))

        def numbers(storage: Storage) -> bytes | memoryview:
            entry = entries.get(f"{root}data/{storage.key}")
            if entry is None or entry.file_size != storage.numel * storage.dtype.itemsize:
                raise ValueError(f"storage {storage.key[:20]} is missing or of another size")
            return stored(entry, size)

        return _tensors(found, numbers, size)


def _from_pickle(file: io.BufferedIOBase, size: int) -> dict[str, Tensor]:
    found, _ = read_pickle(file, MappingProxyType({**ADMITTED, ("torch.storage", "_load_from_bytes"): Nested}))
    if found == LEGACY:
        return _tensors(*_legacy(file), size)
    if file.read(1):
        raise ValueError("something follows the pickle")
    return _tensors(found, _own_numbers, size)


def _legacy(stream: io.BufferedIOBase, whole: memoryview | None = None) -> tuple[object, Numbers]:
    """The rest of the older form: version, system, the object, the keys of its storages, then each one's numbers.

    Where the whole stream is in memory, the numbers are parts of it, not copies.
    """
    read_pickle(stream)
    system, _ = read_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("numbers in big-endian order, or no word of their order")
    found, storages = read_pickle(stream)
    keys, _ = read_pickle(stream)
    places = {}
    if not set(keys) <= storages.keys():
        raise ValueError("a storage of numbers that no weight has")
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        places[key] = (stream.tell(), count)
        stream.seek(count * storages[key].dtype.itemsize, io.SEEK_CUR)

    def numbers(storage: Storage) -> bytes | memoryview:
        place, count = places[storage.key]
        if count != storage.numel:
            raise ValueError(f"storage {storage.key[:20]} is of another size")
        length = count * storage.dtype.itemsize
        stream.seek(place)
        return stream.read(length) if whole is None else whole[place : place + length]

    return found, numbers


class Nested:
    """Stands for ``torch.storage._load_from_bytes``: in a bare pickle, each storage is a file of the older form."""

    def __new__(cls, data: object) -> Storage:
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("a storage that is not made of bytes")
        stream = io.BytesIO(data)
        magic, _ = read_pickle(stream)
        storage, numbers = _legacy(stream, memoryview(data))
        if magic != LEGACY or not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a storage that is something else")
        return storage._replace(data=numbers(storage))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a storage with a state of its own")


def _own_numbers(storage: Storage) -> bytes | memoryview:
    if storage.data is None:
        raise ValueError("a storage without numbers")
    return storage.data


def _tensors(found: object, numbers: Numbers, size: int) -> dict[str, Tensor]:
    records = unwrapped(_weights(found))
    total = sum(math.prod(_shape(each.size)) * each.storage.dtype.itemsize for each in records.values())
    if total > 4 * size:  # shared weights count twice, but not more
        raise ValueError(f"tensors of {total} bytes in a file of {size}")
    tensors, storage, base = {}, None, torch.empty(0)
    for name, each in sorted(records.items(), key=lambda item: id(item[1].storage)):  # each storage is read once, and let go
        if each.storage is not storage:
            storage, base = each.storage, _base(each.storage, numbers)
        tensors[name] = _tensor(name, each, base)
    return {name: tensors[name] for name in records}


def _weights(found: object) -> dict[str, TensorRecord]:
    """The tensors of the one set of weights in what a pickle holds: a state dict or a tree of modules, wherever it is filed.

    The largest set counts: others belong to an optimiser. But one with other weights of the same names, or one that is filed
    as an average, could be meant as well.
    """
    sets: list[tuple[str, dict]] = []
    averages, seen, queue = [], set(), [("", found)]
    for place, value in queue:  # it grows meanwhile
        if id(value) in seen:
            continue
        seen.add(id(value))
        if tensors := _named(value):
            sets.append((place, tensors))
        if isinstance(value, dict) and not all(map(_is_tensor, value.values())):
            queue += [(_below(place, key), each) for key, each in value.items() if isinstance(each, PARTS)]
        elif isinstance(value, list | tuple):
            queue += [(place, each) for each in value if isinstance(each, PARTS)]
            averages += [place] * any(map(_is_tensor, value))
        elif isinstance(value, InertObject) and not tensors:
            queue.append((place, value.state))
    if not sets:
        raise ValueError("no tensors by name in it: neither a state dict nor a whole module")
    chosen, largest = max(sets, key=lambda each: sum(map(_is_tensor, each[1].values())))
    records = {name: _tensor_record(name, value) for name, value in largest.items()}
    bare = without_prefix(unwrapped(records))
    average = lambda place: (match := AVERAGE.search(place)) and not chosen.startswith(place[: match.end()])
    rivals = [place for place, each in sets if each is not largest and (average(place) or _differ(each, bare))]
    rivals += filter(average, averages)
    if rivals:
        raise SeveralWeights(" and ".join(sorted({repr(place[:60]) for place in (chosen, *rivals)})[:4]))
    return records


def _below(place: str, key: object) -> str:
    """Where a part of a dict is filed."""
    return _checked(f"{place}.{key}".lstrip(".")) if isinstance(key, str) else place


def _differ(one: dict, other: dict) -> bool:
    """Whether two sets have weights of the same names, whatever all begin with, that are not one part of one storage."""
    one = without_prefix(unwrapped(one))
    both = [(one[name], other[name]) for name in one.keys() & other.keys()]
    return any(vars(a) != vars(b) for a, b in both if _is_tensor(a))


def _is_tensor(value: object) -> bool:
    """Whether it was a tensor once, of a kind that is read here or of another."""
    foreign = isinstance(value, InertObject) and value.path.startswith(("torch._utils._rebuild", "torch._tensor"))
    return foreign or isinstance(value, TensorRecord)


def _is_module(value: object) -> bool:
    parts = value.state if isinstance(value, InertObject) else None
    return isinstance(parts, dict) and ({"_parameters", "_buffers", "_modules"} <= parts.keys() or _is_script(value))


def _is_script(value: InertObject) -> bool:
    return value.path.startswith("__torch__.")  # a module of TorchScript: its tensors and parts are plain attributes


def _named(value: object) -> dict:
    """The tensors of a dict or of a tree of modules, with whatever else stands where tensors should."""
    if isinstance(value, dict) and any(isinstance(name, str) and _is_tensor(each) for name, each in value.items()):
        return {_checked(name): each for name, each in value.items()}
    tensors, modules, visited = {}, [("", value)] if _is_module(value) else [], 0
    while modules:
        prefix, module = modules.pop()
        visited += 1
        if visited > MOST_MODULES or len(prefix) > LONGEST_NAME:
            raise ValueError("modules within modules without end")
        state, script = module.state, _is_script(module)
        parts = (state,) if script else (state["_parameters"], state["_buffers"], state["_modules"])
        for name, part in (item for each in parts for item in each.items()):
            if _is_module(part):
                modules.append((f"{prefix}{name}.", part))
            elif _is_tensor(part) or not (script or part is None):
                tensors[_checked(prefix + name)] = part
    return tensors


def unwrapped(tensors: Mapping) -> dict:
    """Weights by their names without what is put before them where a model is compiled, distributed or averaged.

    Example:
        >>> unwrapped({"module._orig_mod.proj": 1, "module._orig_mod.visual._orig_mod.proj": 2, "n_averaged": 3})
        {'proj': 1, 'visual.proj': 2}
    """
    found = {WRAPPER.sub("", name): value for name, value in tensors.items() if name != "n_averaged" or len(tensors) == 1}
    while all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    if len(found) < len(tensors) - ("n_averaged" in tensors):
        raise ValueError("two weights of one name, apart from those of their wrappers")
    return found


def without_prefix(tensors: Mapping) -> dict:
    """Weights by their names without the words that all of them begin with.

    Example:
        >>> without_prefix({"clip.model.proj": 1, "clip.model.visual.proj": 2})
        {'proj': 1, 'visual.proj': 2}
    """
    found = dict(tensors)
    while all("." in name for name in found) and len({name.partition(".")[0] for name in found}) == 1:
        found = {name.partition(".")[2]: value for name, value in found.items()}
    return found


def _checked(name: object) -> str:
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise ValueError("a name that is no name, or longer than any of a tensor")
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


def _base(storage: Storage, numbers: Numbers) -> Tensor:
    """All numbers of a storage."""
    if not storage.numel:
        return torch.empty(0, dtype=storage.dtype)
    data = bytearray(numbers(storage))
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"the numbers of storage {storage.key[:20]} are cut short")
    return torch.frombuffer(data, dtype=storage.dtype)


def _tensor(name: str, record: TensorRecord, base: Tensor) -> Tensor:
    """The tensor of a record, once it is sure that it lies inside its storage; contiguous, as safetensors wants it."""
    size, stride = _shape(record.size), _shape(record.stride)
    (offset,) = _shape((record.offset,))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if len(size) != len(stride) or (math.prod(size) and last >= len(base)):
        raise ValueError(f"'{name}' reaches past the end of its storage")
    if not math.prod(size):
        return torch.empty(size, dtype=base.dtype)
    return base.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
