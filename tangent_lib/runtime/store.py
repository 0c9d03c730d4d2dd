"""The store: results by configuration, computed once, never half-written.

An entry is asked for by its kind and configuration; once the code that computes this kind is edited, it is another entry
(``digests.code_of``). What is there and intact is returned; anything else is computed and written. An entry consists of
``<key>.safetensors`` (if it has tensors) and ``<key>.json``, a record of the configuration, values and provenance. Both are
written to temporary files and renamed, the record last, so an entry exists once its record does. A lock file per entry keeps
two processes from computing the same thing; the system frees the lock of a killed process.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tangent_lib.runtime.digests import code_of
from tangent_lib.runtime.disk import write_whole
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.provenance import provenance


@dataclass(frozen=True)
class Entry:
    """What the store returns: tensors by name, JSON values by name, and the whole record."""

    tensors: dict[str, Tensor]
    values: dict
    record: dict = field(repr=False)


class Store:
    """A folder of entries; see the module's description.

    Raises:
        InputError: if the folder cannot be written.

    Example:
        >>> store = Store(tempfile.mkdtemp())
        >>> store.fetch("sum", {"a": 1, "b": 2}, lambda: ({}, {"sum": 1 + 2})).values
        {'sum': 3}
        >>> store.fetch("sum", {"b": 2, "a": 1}, lambda: 1 / 0).values        # found, not computed
        {'sum': 3}
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.NamedTemporaryFile(dir=self.root) as file,
                FileLock(f"{file.name}.lock", fallback_to_soft=False),
            ):
                Path(f"{file.name}.lock").unlink(missing_ok=True)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise InputError(
                    f"the store '{root}' lies on a file system without locks, so jobs cannot share it: mount it with flock",
                    "store",
                ) from error
            raise self._unusable("cannot be written", error) from error

    def fetch(self, kind: str, config: dict, compute: Callable[[], tuple[dict[str, Tensor], dict]]) -> Entry:
        """The entry of this kind and configuration, computed if it is not there.

        Args:
            kind: a word such as ``finetuned``; a subfolder.
            config: JSON values that determine the result entirely; the order of keys does not matter.
            compute: returns tensors and JSON values; called at most once.
        """
        found = self.find(kind, config)
        if found is None:
            with self._lock(self.beside(kind, config, ".lock")):
                found = self.find(kind, config, set_aside=True)
                if found is None:
                    start = time.perf_counter()
                    tensors, values = compute()
                    found = self._write(kind, config, tensors, values, time.perf_counter() - start)
        return found

    def find(self, kind: str, config: dict, set_aside: bool = False) -> Entry | None:
        """The entry if it is there and intact. A damaged one is as good as none.

        With ``set_aside``, which the holder of the entry's lock gives, it is moved to ``damaged/``, with a warning.
        """
        base = self._base(kind, config)
        record_path, tensor_path = base.with_suffix(".json"), base.with_suffix(".safetensors")
        if not os.path.lexists(record_path) and not tensor_path.is_dir():
            return None
        try:
            record = json.loads(_content(record_path))
            if record["digest"] != _digest({k: v for k, v in record.items() if k != "digest"}):
                raise ValueError("the record was altered")
            if {name: record[name] for name in ("kind", "code", "config")} != json.loads(_canonical(_asked(kind, config))):
                raise ValueError("the record is that of another configuration")
            tensors = {}
            if record["sha256"]:
                data = _content(tensor_path)
                if hashlib.sha256(data).hexdigest() != record["sha256"]:
                    raise ValueError("the tensors do not have the recorded checksum")
                tensors = load(data)
            return Entry(tensors, record["values"], record)
        except FileNotFoundError as error:
            damage: Exception = error
        except OSError as error:  # what cannot be read now may be intact
            raise self._unusable(f"cannot be read at {base.parent.name}/{base.name}", error) from error
        except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            damage = error
        if set_aside:
            self._set_aside(base, damage)
        return None

    def beside(self, kind: str, config: dict, suffix: str) -> Path:
        """A path next to an entry, for what its computation keeps while it lasts."""
        base = self._base(kind, config)
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(f"cannot be written at {kind}", error) from error
        return base.with_suffix(suffix)

    def _base(self, kind: str, config: dict) -> Path:
        return self.root / kind / _digest(_asked(kind, config))[:20]

    def _lock(self, path: Path) -> AcquireReturnProxy:
        try:
            return FileLock(path, fallback_to_soft=False).acquire()
        except OSError as error:
            raise self._unusable(f"cannot be written at {path.parent.name}/{path.name}", error) from error

    def _unusable(self, what: str, error: OSError) -> InputError:
        return InputError(f"the store '{self.root}' {what} ({error.strerror})", "store")

    def _write(self, kind: str, config: dict, tensors: dict[str, Tensor], values: dict, seconds: float) -> Entry:
        base = self._base(kind, config)
        data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}) if tensors else b""
        if data:
            write_whole(base.with_suffix(".safetensors"), data)
        record = {
            **_asked(kind, config),
            "values": values,
            "seconds": round(seconds, 2),
            "sha256": hashlib.sha256(data).hexdigest() if data else None,
            "provenance": provenance(),
        }
        record = json.loads(json.dumps(record))
        record["digest"] = _digest(record)
        write_whole(base.with_suffix(".json"), json.dumps(record, indent=1).encode())
        return Entry(load(data) if data else {}, json.loads(json.dumps(values)), record)

    def _set_aside(self, base: Path, error: Exception) -> None:
        folder = self.root / "damaged"
        for suffix in (".json", ".safetensors"):
            try:
                folder.mkdir(exist_ok=True)
                base.with_suffix(suffix).rename(folder / f"{base.parent.name}-{base.name}-{time.time_ns()}{suffix}")
            except FileNotFoundError:  # it was the missing half, or another process was first
                pass
            except OSError as failure:
                raise self._unusable(f"cannot be written at {folder.name}", failure) from failure
        warnings.warn(
            f"a damaged entry of the store was set aside in {folder} and is computed anew: "
            f"{base.parent.name}/{base.name} ({error})",
            stacklevel=4,
        )


def _asked(kind: str, config: dict) -> dict:
    return {"kind": kind, "code": code_of(kind), "config": config}


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a folder, or what never ends
        raise ValueError(f"{path.name} is no file")
    return path.read_bytes()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
