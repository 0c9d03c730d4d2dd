"""What counts in folders: each real file once, and in which state files are."""

from __future__ import annotations

import os

import pytest

from tangent_lib.data.folders import any_of, file_stamp, files_below, folder_stamp, globbed
from tangent_lib.runtime.errors import InputError


def everything_fits(name):
    return True


@pytest.fixture
def tree(tmp_path):
    for name in ("own/b/1", "own/b/c/2", "own/.hidden/3", "far/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "own"


def test_each_real_file_comes_once_by_its_own_name_before_that_of_a_link(tree):
    (tree / "a").symlink_to("b")
    (tree / "b" / "far").symlink_to("../../far")
    (tree / "b" / "0").symlink_to("1")
    found = files_below(tree, everything_fits)
    assert sorted(found.values()) == ["b/1", "b/c/2", "b/far/4"]
    assert all(os.path.samefile(real, tree / name) for real, name in found.items())


def test_a_link_to_a_folder_around_it_is_refused_by_name(tree):
    (tree / "b" / "c" / "up").symlink_to("../..")
    with pytest.raises(InputError, match=r"b/c/up is a link to .*own, in which it lies itself: remove the link"):
        files_below(tree, everything_fits)


def test_a_file_goes_before_a_folder_of_its_name(tree):
    (tree / "1").mkdir()
    assert any_of(tree, "1") == tree / "1" and any_of(tree, "**/1") == tree / "b" / "1"
    assert any_of(tree, "**/3") is None and list(globbed(tree, "*/3")) == []


def test_the_stamp_of_a_folder_sees_edits_additions_and_links_but_not_what_is_left_out(tree):
    stamps = [folder_stamp(tree, ["*"], tree / "b" / "c")]
    (tree / "b" / "c" / "2").write_text("changed")
    assert folder_stamp(tree, ["*"], tree / "b" / "c") == stamps[0]
    os.utime(tree / "b" / "1", ns=(1, 1))
    stamps.append(folder_stamp(tree, ["*"], tree / "b" / "c"))
    (tree / "far").symlink_to("../far")
    stamps.append(folder_stamp(tree, ["*"], tree / "b" / "c"))
    (tree / "far" / "4").write_text("edit")
    stamps.append(folder_stamp(tree, ["*"], tree / "b" / "c"))
    assert len(set(stamps)) == 4 and file_stamp(tree / "no") == ""


def test_two_files_of_one_size_and_time_that_change_places_are_seen(tree):
    for name in ("1", "2"):
        (tree / name).write_text(name)
        os.utime(tree / name, ns=(1, 1))
    before = [file_stamp(tree / name) for name in ("1", "2")]
    (tree / "1").rename(tree / "3")
    (tree / "2").rename(tree / "1")
    (tree / "3").rename(tree / "2")
    assert not set(before) & {file_stamp(tree / name) for name in ("1", "2")}


def test_the_stamp_of_a_folder_is_of_what_globs_fit_and_what_lies_below_their_fixed_parts(tree):
    stamps = lambda *needs: folder_stamp(tree, needs, tree / "no")
    before = {need: stamps(need) for need in ("b/*", "b/1", "*/1", "[x]/*|b/c/*", "*/nothing", "**/2")}
    (tree / "beside").symlink_to("../far")
    os.utime(tree / "b" / "c" / "2", ns=(1, 1))
    assert {need for need, stamp in before.items() if stamps(need) != stamp} == {"b/*", "[x]/*|b/c/*", "**/2"}


def test_a_linked_folder_is_searched_two_levels_deep(tree):
    for name in ("far/x/y/5", "far/x/y/z/6"):
        (tree.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (tree.parent / name).write_text(name)
    (tree.parent / "far/x/y/up").symlink_to("..")
    (tree / "deep").symlink_to("../far")
    assert any_of(tree, "**/5") == tree / "deep/x/y/5" and any_of(tree, "**/6") is None and any_of(tree, "**/2")
