"""Archives of every kind come out as they went in; none gets out of its folder."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile

import pytest
from archives import NOISE, TREE, contents, entry, files_of, gzipped, refused, tarred, zipped

import tangent_lib.data.unpack as unpack_module
from tangent_lib.data.unpack import unpack
from tangent_lib.runtime.errors import InputError


def link(name, target):
    return entry(name, kind=tarfile.SYMTYPE, link=target)


# -- every kind --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["x.zip", "X.ZIP", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tbz2", "x.TAR.XZ", "x.txz"])
def test_all_files_come_out_as_they_went_in(tmp_path, name):
    make = zipped if name.lower().endswith(".zip") else tarred
    archive = make(tmp_path / name)
    unpack(archive, tmp_path / "a" / "to")
    assert files_of(tmp_path / "a" / "to") == TREE and archive.exists()


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on tarfile wants a filter
@pytest.mark.parametrize("safe", [unpack_module._SAFE, {"set_attrs": False}], ids=["as here", "before CPython 3.11.4"])
def test_without_filters_tars_come_out_too_and_others_can_read_the_folders(tmp_path, monkeypatch, safe):
    monkeypatch.setattr(unpack_module, "_SAFE", safe)
    folder = entry("private", kind=tarfile.DIRTYPE)
    unpack(tarred(tmp_path / "x.tar", folder, entry("private/a.txt", b"a")), tmp_path / "to")
    (tmp_path / "made").mkdir()
    modes = [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("to/private", "made")]
    assert modes[0] == modes[1] and contents(tmp_path / "to")["private/a.txt"] == b"a"


def test_a_single_file_loses_its_ending(tmp_path):
    unpack(gzipped(tmp_path / "t10k-images-idx3-ubyte.gz"), tmp_path / "raw")
    assert contents(tmp_path / "raw") == {"t10k-images-idx3-ubyte": NOISE}


def test_links_that_stay_inside_are_kept(tmp_path):
    archive = tarred(
        tmp_path / "x.tgz",
        entry("a/1.jpg", NOISE),
        entry("b/same.jpg", kind=tarfile.LNKTYPE, link="a/1.jpg"),
        entry("b/see.jpg", kind=tarfile.SYMTYPE, link="../a/1.jpg"),
    )
    unpack(archive, tmp_path / "to")
    assert (tmp_path / "to/b/same.jpg").read_bytes() == (tmp_path / "to/b/see.jpg").read_bytes() == NOISE


def test_unknown_kinds_and_missing_files_are_refused(tmp_path):
    (tmp_path / "NWPU-RESISC45.rar").write_bytes(b"Rar!")
    refused(tmp_path / "NWPU-RESISC45.rar", r"Allowed: .tar.gz, .tgz, .tar, .zip, .gz")
    refused(tmp_path / "none.zip", "No such file")


# -- what lies there already -------------------------------------------------------------------------------------------
def test_folders_are_merged_and_unpacking_again_changes_nothing(tmp_path):
    (tmp_path / "to/dtd/images/banded").mkdir(parents=True)
    (tmp_path / "to/dtd/images/banded/mine.jpg").write_bytes(b"mine")
    for _ in range(2):
        unpack(tarred(tmp_path / "x.tgz"), tmp_path / "to")
        assert files_of(tmp_path / "to") == {**TREE, "dtd/images/banded/mine.jpg": b"mine"}


@pytest.mark.parametrize("make", ["file", "folder", "link"])
def test_something_else_of_the_same_name_is_never_replaced(tmp_path, make):
    mine = tmp_path / "to/dtd/labels/train1.txt"
    mine.parent.mkdir(parents=True)
    {"file": lambda: mine.write_text("mine"), "folder": mine.mkdir, "link": lambda: mine.symlink_to("gone")}[make]()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"train1.txt is there already and differs"):
        unpack(zipped(tmp_path / "x.zip"), tmp_path / "to")
    (tmp_path / "x.zip").unlink()
    assert contents(tmp_path) == before


def test_files_are_compared_by_content_not_by_size_and_date(tmp_path):
    archive = tarred(tmp_path / "x.tar", entry("a", b"theirs"))  # dated 1970
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").write_bytes(b"mine!!")
    os.utime(tmp_path / "to/a", (0, 0))
    refused(archive, "is there already and differs")


def test_a_link_is_not_merged_into_a_folder(tmp_path):
    archive = tarred(tmp_path / "x.tar", entry("sub/1.jpg", b"1"), link("d", "sub"))
    (tmp_path / "to/d").mkdir(parents=True)
    refused(archive, "d is there already and differs")


# -- every way out -----------------------------------------------------------------------------------------------------
OUT = ["../evil", "a/../../evil", "/tmp/evil", "//evil", "C:\\evil", "C:evil", "..\\evil", "a\\..\\..\\evil", "a/.."]


@pytest.mark.parametrize("name", OUT)
def test_a_zip_entry_that_leaves_is_refused(tmp_path, name):
    refused(zipped(tmp_path / "x.zip", {"good": b"1", name: b"2"}), "would leave the target folder")


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("archive", ["x.tar", "x.tar.gz"])
def test_a_tar_entry_that_leaves_is_refused(tmp_path, archive, name):
    refused(tarred(tmp_path / archive, entry("good", b"1"), entry(name, b"2")), "would leave the target folder")


@pytest.mark.parametrize(
    "entries, why",
    [
        ([link("a", "/etc")], "out of the target folder"),
        ([link("a", "..")], "out of the target folder"),
        ([link("a/b", "../../c")], "out of the target folder"),
        ([link("a", "b/../../c")], "out of the target folder"),
        ([link("a", "C:\\x")], "out of the target folder"),
        ([link("a", "..\\x")], "out of the target folder"),
        ([link("b", "."), link("a", "b/../evil")], "out of the target folder"),
        ([link("a", "b/../evil"), link("b", ".")], "out of the target folder"),
        ([link("d", "sub"), entry("d/x", b"1")], "through a link"),
        ([link("d", "x"), entry("d", b"1")], "through a link"),
        ([entry("d", b"1"), link("d", "x")], "in the place of a file"),
        ([entry("a", kind=tarfile.LNKTYPE, link="/etc/passwd")], "which is not in it"),
        ([entry("a", kind=tarfile.LNKTYPE, link="../x.tar")], "which is not in it"),
        ([link("l", "x"), entry("a", kind=tarfile.LNKTYPE, link="l")], "which is not in it"),
        ([entry("a", kind=tarfile.CHRTYPE)], "a device"),
        ([entry("a", kind=tarfile.BLKTYPE)], "a device"),
        ([entry("a", kind=tarfile.FIFOTYPE)], "a pipe"),
    ],
)
def test_links_out_and_devices_are_refused(tmp_path, entries, why):
    refused(tarred(tmp_path / "x.tar", entry("good", b"1"), *entries), why)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("a")
    info.external_attr = (kind | 0o644) << 16
    refused(zipped(tmp_path / "x.zip", {"good": b"1", info: b"/etc/passwd"}), "is a link or a device")


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    archive.write_bytes(data)
    refused(archive, "is encrypted")
