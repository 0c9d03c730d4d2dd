"""The store: found or computed, never half-written, never believed when damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.store import Store, _digest

CONFIG = {"task": "Signs", "seed": 3}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def never():
    pytest.fail("computed what the store should have")


def result(value=1.5):
    return lambda: ({"w": torch.arange(6.0).view(2, 3)}, {"accuracy": value})


def entry_files(store):
    (record,) = store.root.glob("kind/*.json")
    return record, record.with_suffix(".safetensors")


# -- found or computed -------------------------------------------------------------------------------------------------
def test_an_entry_is_computed_once_and_found_by_another_store(store):
    first = store.fetch("kind", CONFIG, result())
    again = Store(store.root).fetch("kind", CONFIG, never)
    assert again.values == first.values == {"accuracy": 1.5} and again.record == first.record
    assert torch.equal(again.tensors["w"], first.tensors["w"])


def test_order_of_keys_does_not_matter_at_any_depth(store):
    store.fetch("kind", {"a": 1, "b": {"c": [1, 2], "d": 3}}, result())
    store.fetch("kind", {"b": {"d": 3, "c": [1, 2]}, "a": 1}, never)


@pytest.mark.parametrize(
    "other",
    [
        {"task": "Signs", "seed": 4},
        {"task": "Signs"},
        {"task": "Signs", "seed": 3, "x": None},
        {"task": "Signs", "seed": "3"},
        {"task": "signs", "seed": 3},
        {"task": ["Signs"], "seed": 3},
    ],
    ids=json.dumps,
)
def test_another_configuration_is_another_entry(store, other):
    store.fetch("kind", CONFIG, result(1.0))
    assert store.find("kind", other) is None
    assert store.fetch("kind", other, result(2.0)).values != store.fetch("kind", CONFIG, never).values


def test_another_kind_is_another_entry(store):
    store.fetch("kind", CONFIG, result())
    assert store.find("sort", CONFIG) is None


def test_order_in_lists_matters(store):
    store.fetch("kind", {"tasks": ["a", "b"]}, result())
    assert store.find("kind", {"tasks": ["b", "a"]}) is None


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_bit_identical(store, dtype, rng):
    bits = torch.randint(256, (8, 24), generator=rng, dtype=torch.uint8)
    value = bits.view(dtype) if dtype != torch.bool else bits > 99
    tensors = {"matrix": value, "turned": value.T, "scalar": value[0, 0].clone(), "none": value[:0].clone()}
    store.fetch("kind", CONFIG, lambda: (tensors, {}))
    found = store.fetch("kind", CONFIG, never).tensors
    assert found.keys() == tensors.keys()
    for name in tensors:
        assert found[name].dtype == dtype and found[name].shape == tensors[name].shape
        assert torch.equal(bits_of(found[name]), bits_of(tensors[name]))


def bits_of(value):
    return value.contiguous().flatten().view(torch.uint8)


def test_values_come_back_exactly(store):
    values = {
        "third": 1 / 3,
        "tiny": 5e-324,
        "list": [1, [2.5, None]],
        "text": 'ü "quoted"\n',
        "yes": True,
        "tuple": (1, 2),
    }
    first = store.fetch("kind", CONFIG, lambda: ({}, values)).values
    assert first == store.fetch("kind", CONFIG, never).values == {**values, "tuple": [1, 2]}


def test_values_by_number_are_found_again(store):
    first = store.fetch("kind", CONFIG, lambda: ({}, {9: "a", 10: "b"})).values
    assert store.fetch("kind", CONFIG, never).values == first == {"9": "a", "10": "b"}


def test_a_record_says_where_it_comes_from(store):
    record = store.fetch("kind", CONFIG, result()).record
    assert record["config"] == CONFIG and record["kind"] == "kind" and record["seconds"] >= 0
    assert {"commit", "date", "machine", "python", "torch", "versions"} == record["provenance"].keys()


# -- damage ------------------------------------------------------------------------------------------------------------
def truncate(record, tensors, other):
    tensors.write_bytes(tensors.read_bytes()[:-5])


def empty(record, tensors, other):
    tensors.write_bytes(b"")


def flip_a_bit(record, tensors, other):
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)


def lose_tensors(record, tensors, other):
    tensors.unlink()


def swap_tensors(record, tensors, other):
    shutil.copy(other.with_suffix(".safetensors"), tensors)


def truncate_record(record, tensors, other):
    record.write_text(record.read_text()[:-40])


def empty_record(record, tensors, other):
    record.write_text("")


def garble_record(record, tensors, other):
    record.write_bytes(b"\xff\xfe\x00" + record.read_bytes())


def alter_value(record, tensors, other):
    assert "1.5" in record.read_text()
    record.write_text(record.read_text().replace("1.5", "9.5"))


def alter_provenance(record, tensors, other):
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "seconds": 1e6}))


def put_a_list(record, tensors, other):
    record.write_text("[]")


def copy_another_entry(record, tensors, other):
    shutil.copy(other, record)
    swap_tensors(record, tensors, other)


def nest_deeply(record, tensors, other):
    record.write_text("[" * 100_000)


def copy_another_kind(record, tensors, other):
    content = json.loads(record.read_text()) | {"kind": "sort"}
    content["digest"] = _digest({name: value for name, value in content.items() if name != "digest"})
    record.write_text(json.dumps(content))


DAMAGE = [
    nest_deeply,
    copy_another_kind,
    truncate,
    empty,
    flip_a_bit,
    lose_tensors,
    swap_tensors,
    truncate_record,
    empty_record,
    garble_record,
    alter_value,
    alter_provenance,
    put_a_list,
    copy_another_entry,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_entry_is_set_aside_and_computed_anew(store, damage):
    store.fetch("kind", CONFIG, result(1.5))
    record, tensors = entry_files(store)
    store.fetch("kind", {"another": 1}, lambda: ({"w": torch.zeros(2, 3)}, {"accuracy": 0.25}))
    (other,) = set(store.root.glob("kind/*.json")) - {record}
    damage(record, tensors, other)
    spoilt = {path.suffix: path.read_bytes() for path in (record, tensors) if path.exists()}
    assert store.find("kind", CONFIG) is None
    with pytest.warns(UserWarning, match="damaged"):
        again = store.fetch("kind", CONFIG, result(2.5))
    assert again.values == {"accuracy": 2.5} and torch.equal(again.tensors["w"], torch.arange(6.0).view(2, 3))
    assert {path.suffix: path.read_bytes() for path in (store.root / "damaged").iterdir()} == spoilt
    assert store.fetch("kind", CONFIG, never).values == {"accuracy": 2.5}
    assert store.fetch("kind", {"another": 1}, never).values == {"accuracy": 0.25}


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_set_aside(store, make, suffix):
    store.fetch("kind", CONFIG, result(1.5))
    path = entry_files(store)[0].with_suffix(suffix)
    path.unlink()
    make(path)
    with pytest.warns(UserWarning, match="is no file"):
        assert store.fetch("kind", CONFIG, result(2.5)).values == {"accuracy": 2.5}
    assert store.fetch("kind", CONFIG, never).values == {"accuracy": 2.5}


def test_a_folder_in_the_place_of_tensors_alone_is_set_aside(store):
    store.beside("kind", CONFIG, ".safetensors").mkdir()
    with pytest.warns(UserWarning, match="damaged"):
        assert store.fetch("kind", CONFIG, result(2.5)).values == {"accuracy": 2.5}


def test_what_may_not_be_read_is_refused_and_stays(store, monkeypatch):
    store.fetch("kind", CONFIG, result())
    files = {path: path.read_bytes() for path in entry_files(store)}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: os.listdir(__file__))  # fails otherwise than for want of a file
        with pytest.raises(InputError, match=r"cannot be read at kind/\w+ \(Not a directory\)") as error:
            store.fetch("kind", CONFIG, never)
    assert error.value.setting == "store" and files == {path: path.read_bytes() for path in files}


def test_a_file_in_the_place_of_a_kind_is_refused_before_any_work(store):
    (store.root / "kind").write_text("")
    with pytest.raises(InputError, match=r"cannot be written at kind \(File exists\)"):
        store.fetch("kind", CONFIG, never)


def test_a_folder_in_the_place_of_a_lock_is_refused_before_any_work(store):
    store.beside("kind", CONFIG, ".lock").mkdir()
    with pytest.raises(InputError, match=r"cannot be written at kind/\w+\.lock \(Is a directory\)"):
        store.fetch("kind", CONFIG, never)


def test_edited_code_is_another_entry(store, monkeypatch):
    store.fetch("kind", CONFIG, result(1.5))
    state = store.beside("kind", CONFIG, ".state")
    monkeypatch.setattr("tangent_lib.runtime.store.code_of", lambda kind: "edited")
    assert store.fetch("kind", CONFIG, result(2.5)).record["code"] == "edited"
    assert store.beside("kind", CONFIG, ".state") != state  # an interrupted training does not go on
    monkeypatch.undo()
    assert store.fetch("kind", CONFIG, never).values == {"accuracy": 1.5}


def test_looking_leaves_a_damaged_entry_where_it_is(store):
    store.fetch("kind", CONFIG, result())
    entry_files(store)[1].write_bytes(b"")
    assert store.find("kind", CONFIG) is None and not (store.root / "damaged").exists()


def test_tensors_without_a_record_are_not_an_entry(store):
    store.fetch("kind", CONFIG, result(1.5))
    entry_files(store)[0].unlink()
    assert store.find("kind", CONFIG) is None
    assert store.fetch("kind", CONFIG, result(2.5)).values == {"accuracy": 2.5}


# -- failures --------------------------------------------------------------------------------------------------------
def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "compute",
    [fail, lambda: ({}, {"x": object()}), lambda: ({"w": torch.ones(2)}, {"x": {1, 2}})],
    ids=["error", "not JSON", "not JSON with tensors"],
)
def test_a_failed_computation_leaves_no_entry_and_no_temporary_file(store, compute):
    with pytest.raises((ZeroDivisionError, TypeError)):
        store.fetch("kind", CONFIG, compute)
    left = [path.name for path in store.root.rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".") or name.endswith(".json")]
    assert store.fetch("kind", CONFIG, result()).values == {"accuracy": 1.5}


def test_a_failed_write_leaves_no_temporary_file(store, monkeypatch):
    monkeypatch.setattr("tangent_lib.runtime.disk.os.replace", lambda *args: fail())
    with pytest.raises(ZeroDivisionError):
        store.fetch("kind", CONFIG, result())
    assert {path.suffix for path in store.root.rglob("*") if path.is_file()} <= {".lock"}


def test_a_root_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "store", "/proc/store"):
        with pytest.raises(InputError, match=f"the store '{root}' cannot be written") as error:
            Store(root)
        assert error.value.setting == "store"  # by which the layers above know the way out


def test_a_file_system_without_locks_is_an_input_error(tmp_path, monkeypatch):
    def unlocked(self):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("tangent_lib.runtime.store.FileLock.__enter__", unlocked)
    with pytest.raises(InputError, match="without locks, so jobs cannot share it: mount it with flock") as error:
        Store(tmp_path)
    assert error.value.setting == "store"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_root_is_an_input_error(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="cannot be written") as error:
        Store(tmp_path)
    assert error.value.setting == "store"
    tmp_path.chmod(0o755)
