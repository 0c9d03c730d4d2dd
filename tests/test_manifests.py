"""The manifests and their schema."""

from __future__ import annotations

from string import Formatter

import pytest

from tangent_lib import manifests
from tangent_lib.errors import InputError
from tangent_lib.manifests import load_manifest, task_names
from tangent_lib.miniature.tasks import DRAWN
from tangent_lib.parameters import MINIATURE_TASKS, PAPER_TASKS

ALL = task_names()
VALID = """
name: Mine
kind: miniature
description: d
source: s
licence: l
classes: [a, b]
templates: ["a photo of a {}."]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of manifests of one's own."""
    caches = (load_manifest, task_names)
    for each in caches:
        each.cache_clear()
    monkeypatch.setattr(manifests, "FOLDER", tmp_path)
    yield tmp_path
    for each in caches:
        each.cache_clear()


def test_there_is_one_manifest_for_every_task():
    assert set(ALL) == {*MINIATURE_TASKS, *PAPER_TASKS, "Objects", "ImageNet"} and len(ALL) == 18
    assert task_names("miniature") == tuple(sorted((*MINIATURE_TASKS, "Objects")))
    assert task_names("folder", control=False) == PAPER_TASKS
    assert task_names(control=True) == ("ImageNet", "Objects")


@pytest.mark.parametrize("name", ALL)
def test_manifest_is_valid_and_named_as_its_file(name):
    manifest = load_manifest(name)
    assert manifest.name == name and all((manifest.description, manifest.source, manifest.licence))
    assert bool(manifest.folder) == (manifest.kind == "folder")


@pytest.mark.parametrize("name", ALL)
def test_every_template_has_one_place_for_the_class(name):
    for template in load_manifest(name).templates:
        assert [field for _, field, _, _ in Formatter().parse(template) if field is not None] == [""]
        assert template.format("zebra").count("zebra") == 1


@pytest.mark.parametrize("name", ALL)
def test_classes_and_templates_are_distinct(name):
    manifest = load_manifest(name)
    classes = manifest.classes.values() if isinstance(manifest.classes, dict) else manifest.classes or []
    twice = {each for each in classes if list(classes).count(each) > 1}
    assert twice == (
        {"missile", "sunglasses"} if name == "ImageNet" else set()
    )  # CLIP's own wording has these two twice
    assert len(set(manifest.templates)) == len(manifest.templates)


@pytest.mark.parametrize("name", DRAWN)
def test_classes_are_those_that_are_drawn_in_their_order(name):
    assert load_manifest(name).classes == list(DRAWN[name])


def test_digits_are_in_label_order():
    assert load_manifest("Digits").classes == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("small, full", zip((*MINIATURE_TASKS, "Objects"), (*PAPER_TASKS, "ImageNet")))
def test_miniature_tasks_mirror_the_papers_in_its_order(small, full):
    assert load_manifest(small).mirrors == full and load_manifest(small).control == load_manifest(full).control


@pytest.mark.parametrize(
    "name, count", [("EuroSAT", 10), ("GTSRB", 43), ("MNIST", 10), ("SVHN", 10), ("ImageNet", 1000)]
)
def test_full_size_tasks_have_all_their_classes(name, count):
    assert len(load_manifest(name).classes) == count


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="task 'EuroSat': did you mean 'EuroSAT'.*" + ", ".join(ALL)):
        load_manifest("EuroSat")


def test_a_manifest_of_ones_own_is_found(folder):
    (folder / "Mine.yaml").write_text(VALID)
    assert (
        task_names() == ("Mine",) and load_manifest("Mine").classes == ["a", "b"] and not load_manifest("Mine").control
    )


BROKEN = {
    "unknown field": VALID + "licens: MIT",
    "missing field": VALID.replace("licence: l", ""),
    "unknown kind": VALID.replace("miniature", "tarball"),
    "no template": VALID.replace('["a photo of a {}."]', "[]"),
    "no YAML": VALID + "classes: [",
    "not a map": "- a\n- b",
    "empty": "",
    "code": VALID + "folder: !!python/object/apply:os.getcwd []",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_refused_by_its_file_name(folder, text):
    (folder / "Mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"Mine\.yaml"):
        load_manifest("Mine")


def test_a_missing_folder_is_an_input_error(folder):
    folder.rmdir()
    with pytest.raises(InputError, match="checkout"):
        task_names()
