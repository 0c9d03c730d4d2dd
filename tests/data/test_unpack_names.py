"""Names in archives: folders divided as Windows does, other alphabets, and names that would be one on the disk."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
import zlib

import pytest
from archives import entry, files_of, refused, tarred, zipped

from tangent_lib.data import unpack as unpack_module
from tangent_lib.data.unpack import unpack
from tangent_lib.runtime.errors import InputError


def zip_of(path, *entries):
    """A zip file of names, as bytes or text, and contents; names as bytes are written as they are, without a flag."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")  # zipfile's about names that come twice
        for number, (name, data) in enumerate(entries):
            file.writestr(name if isinstance(name, str) else f"{number:0{len(name)}}", data)
    written = path.read_bytes()
    for number, (name, _) in enumerate(entries):
        if isinstance(name, bytes):
            written = written.replace(f"{number:0{len(name)}}".encode(), name)
    path.write_bytes(written)
    return path


def tar_of(path, *entries):
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape", format=tarfile.GNU_FORMAT) as file:
        for name, data in entries:
            info, _ = entry(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"), data)
            file.addfile(info, io.BytesIO(data))
    return path


BOTH = pytest.mark.parametrize("make, name", [(zip_of, "x.zip"), (tar_of, "x.tar")])


@BOTH
def test_backslashes_divide_folders(tmp_path, make, name):
    unpack(make(tmp_path / name, ("train\\cat\\1.jpg", b"1"), ("train/cat/2.jpg", b"2")), tmp_path / "to")
    assert files_of(tmp_path / "to") == {"train/cat/1.jpg": b"1", "train/cat/2.jpg": b"2"}


def test_a_folder_and_a_hard_link_written_with_backslashes(tmp_path):
    unpack(zip_of(tmp_path / "x.zip", ("a\\", b""), ("a\\1", b"1")), tmp_path / "zip")
    unpack(tarred(tmp_path / "x.tar", entry("a\\1", b"1"), entry("b", kind=tarfile.LNKTYPE, link="a\\1")), tmp_path / "tar")
    assert files_of(tmp_path / "zip") == {"a/1": b"1"} and files_of(tmp_path / "tar") == {"a/1": b"1", "b": b"1"}


@BOTH
def test_utf8_is_read_as_it_is_and_other_codes_are_refused(tmp_path, make, name):
    unpack(make(tmp_path / name, ("grün/1.jpg".encode(), b"1"), ("猫/1.jpg", b"2")), tmp_path / "utf8")
    assert files_of(tmp_path / "utf8") == {"grün/1.jpg": b"1", "猫/1.jpg": b"2"}
    (tmp_path / name).unlink()
    refused(make(tmp_path / name, ("grün/1.jpg".encode("latin-1"), b"1")), "'gr.*n/1.jpg' has a name that is not in UTF-8")


@BOTH
@pytest.mark.parametrize("code", ["\x1b[31m", "\n", "\x7f", "\x9b", "\u202e", "\u2028"])
def test_control_codes_are_refused_and_spelt_out(tmp_path, make, name, code):
    with pytest.raises(InputError, match="control codes in its name: unpack it by hand") as error:
        unpack(make(tmp_path / name, (f"red{code}/1.jpg", b"1")), tmp_path / "to")
    assert str(error.value).isprintable() and not (tmp_path / "to").exists()


@BOTH
def test_a_macs_file_for_a_folders_picture_is_left_out(tmp_path, make, name):
    unpack(make(tmp_path / name, ("cat/1.jpg", b"1"), ("cat/Icon\r", b"")), tmp_path / "to")
    assert files_of(tmp_path / "to") == {"cat/1.jpg": b"1"}


# -- names that are one ------------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("again", ["a/1.jpg", "a//1.jpg", "./a/1.jpg", "a\\1.jpg"])
def test_a_name_that_comes_twice_is_refused_unless_the_contents_are_one(tmp_path, make, name, again):
    refused(make(tmp_path / name, ("a/1.jpg", b"1"), ("b", b"3"), (again, b"2")), "is there twice, with different contents")
    unpack(make(tmp_path / name, ("a/1.jpg", b"1"), ("b", b"3"), (again, b"1")), tmp_path / "to")
    assert files_of(tmp_path / "to") == {"a/1.jpg": b"1", "b": b"3"}


def test_a_file_over_a_hard_link_would_change_another_file_and_is_refused(tmp_path):
    link = entry("b", kind=tarfile.LNKTYPE, link="a")
    refused(tarred(tmp_path / "x.tgz", entry("a", b"1"), link, entry("b", b"2")), "'b' is there twice")
    unpack(tarred(tmp_path / "y.tgz", entry("a", b"1"), link, entry("b", b"1"), link), tmp_path / "to")
    assert files_of(tmp_path / "to") == {"a": b"1", "b": b"1"}


@BOTH
@pytest.mark.parametrize("twin", ["cafe\u0301", "cafe\u0301/2.jpg"])
def test_names_in_two_forms_of_unicode_are_refused(tmp_path, make, name, twin):
    refused(make(tmp_path / name, ("café/1.jpg", b"1"), (twin, b"2")), r"'caf.*' would be one with 'caf\\xe9'")


@BOTH
def test_names_that_differ_in_case_are_two_where_the_disk_tells_them_apart(tmp_path, make, name, monkeypatch):
    archive = make(tmp_path / name, ("A/1.jpg", b"1"), ("a/1.jpg", b"2"))
    unpack(archive, tmp_path / "to")
    if (tmp_path / "TO").exists():
        pytest.skip("this disk does not")
    assert files_of(tmp_path / "to") == {"A/1.jpg": b"1", "a/1.jpg": b"2"}
    (tmp_path / "to").rename(tmp_path / "before")
    names = unpack_module._Names

    class Folding(names):
        def __init__(self, *given):
            super().__init__(*given)
            self._folds = True

    monkeypatch.setattr(unpack_module, "_Names", Folding)
    refused(archive, "'a' would be one with 'A'")


# -- several archives in one file --------------------------------------------------------------------------------------
@pytest.mark.parametrize("make, name", [(zipped, "x.zip"), (tarred, "x.tar"), (tarred, "x.tgz")])
def test_one_archive_behind_another_is_refused(tmp_path, make, name):
    other, path = tmp_path / f"other{name}", tmp_path / name
    joined = make(other).read_bytes() + make(path).read_bytes()
    other.unlink()
    path.write_bytes(joined)
    refused(path, "another archive")


def test_a_zip_behind_a_program_that_unpacks_it_is_an_archive(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a": b"1"})
    archive.write_bytes(b"#!/bin/sh\n" + archive.read_bytes())
    unpack(archive, tmp_path / "to")
    assert files_of(tmp_path / "to") == {"a": b"1"}


@pytest.mark.parametrize(("of", "found"), [("gr\u00fcn.jpg", "gr\u00fcn.jpg"), ("other.jpg", None)])
def test_a_name_in_utf_8_beside_one_in_a_code_page_counts_if_it_was_made_for_that(tmp_path, of, found):
    raw = "gr\u00fcn.jpg".encode("cp850")
    field = struct.pack("<BI", 1, zlib.crc32(of.encode("cp850"))) + "gr\u00fcn.jpg".encode()
    info = zipfile.ZipInfo("grXn.jpg")
    info.extra = struct.pack("<HHI", 0x9999, 4, 0) + struct.pack("<HH", 0x7075, len(field)) + field
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(info, b"1")
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes().replace(b"grXn.jpg", raw))
    if found is None:
        return refused(tmp_path / "x.zip", "not in UTF-8")
    unpack(tmp_path / "x.zip", tmp_path / "to")
    assert files_of(tmp_path / "to") == {found: b"1"}


def test_a_folder_that_begins_like_a_drive_is_refused_as_such(tmp_path):
    refused(zip_of(tmp_path / "x.zip", ("A: apple/1.jpg", b"1")), "on Windows, as it begins like a drive")
