"""The manifests and their schema."""

from __future__ import annotations

import os
import re
from string import Formatter, hexdigits

import pytest

from tangent_lib.data import manifests
from tangent_lib.data.layouts import LAYOUTS
from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.miniature.tasks import DRAWN
from tangent_lib.modes import MINIATURE, PAPER
from tangent_lib.runtime.errors import InputError

ALL = task_names()
REAL = (*PAPER.tasks, "ImageNet")
DIGITS = [str(digit) for digit in range(10)]
VALID = """
name: Mine
kind: miniature
description: d
source: s
licence: l
classes: [a, b]
templates: ["a photo of a {}."]
"""
IMAGES = VALID.replace("miniature", "images") + "folders: [mine]\n"


@pytest.fixture
def fresh():
    """Manifests that are read anew, before the test and after it."""
    forget()
    yield
    forget()


def forget():
    load_manifest.cache_clear()
    task_names.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch, fresh):
    """A folder in the place of the book's manifests."""
    monkeypatch.setattr(manifests, "MANIFESTS", tmp_path)
    return tmp_path


def own(data_root, name, text):
    (data_root / "manifests").mkdir(exist_ok=True)
    (data_root / "manifests" / f"{name}.yaml").write_text(text)


def names_of(manifest):
    return list(manifest.classes.values()) if isinstance(manifest.classes, dict) else list(manifest.classes or [])


def test_there_is_one_manifest_for_every_task():
    assert set(ALL) == {*MINIATURE.tasks, *PAPER.tasks, "Objects", "ImageNet"} and len(ALL) == 18
    assert task_names("miniature") == tuple(sorted((*MINIATURE.tasks, "Objects")))
    assert task_names("images", control=False) == PAPER.tasks
    assert task_names(control=True) == ("ImageNet", "Objects")


@pytest.mark.parametrize("name", ALL)
def test_manifest_is_valid_and_named_as_its_file(name):
    manifest = load_manifest(name)
    assert manifest.name == name and all((manifest.description, manifest.source, manifest.licence))
    assert bool(manifest.folders) == (manifest.kind == "images") == (name in REAL)


@pytest.mark.parametrize("name", ALL)
def test_every_template_has_one_place_for_the_class(name):
    for template in load_manifest(name).templates:
        assert [field for _, field, _, _ in Formatter().parse(template) if field is not None] == [""]
        assert template.format("zebra").count("zebra") == 1


@pytest.mark.parametrize("name", ALL)
def test_classes_and_templates_are_distinct(name):
    manifest = load_manifest(name)
    names = names_of(manifest)
    twice = {each for each in names if names.count(each) > 1}
    in_clips_wording = {"missile", "sunglasses"} if name == "ImageNet" else set()
    assert twice == in_clips_wording
    assert len(set(manifest.templates)) == len(manifest.templates)
    assert not any("_" in each or each != each.strip() for each in names)


@pytest.mark.parametrize("name", DRAWN)
def test_classes_are_those_that_are_drawn_in_their_order(name):
    assert load_manifest(name).classes == list(DRAWN[name])


@pytest.mark.parametrize("name", ["Digits", "MNIST", "SVHN"])
def test_digits_are_in_label_order(name):
    assert load_manifest(name).classes == DIGITS


@pytest.mark.parametrize("small, full", zip((*MINIATURE.tasks, "Objects"), REAL))
def test_miniature_tasks_mirror_the_papers_in_its_order(small, full):
    assert load_manifest(small).mirrors == full and load_manifest(small).control == load_manifest(full).control


# classes, templates, images of train and test: the papers that introduce the datasets, and CLIP's list of prompts
EXTENT = {
    "Cars": (196, 8, 8144, 8041),
    "DTD": (47, 8, 3760, 1880),
    "EuroSAT": (10, 3, 21600, 2700),
    "GTSRB": (43, 3, 26640, 12630),
    "MNIST": (10, 1, 60000, 10000),
    "RESISC45": (45, 18, 18900, 6300),
    "SUN397": (397, 2, 19850, 19850),
    "SVHN": (10, 1, 73257, 26032),
    "ImageNet": (1000, 80, 1281167, 50000),
}


@pytest.mark.parametrize("name", REAL)
def test_real_datasets_have_all_their_classes_prompts_and_images(name):
    manifest = load_manifest(name)
    assert (len(manifest.classes), len(manifest.templates), manifest.sizes.train, manifest.sizes.test) == EXTENT[name]
    assert manifest.gigabytes and manifest.split and manifest.quirks and manifest.downloads


@pytest.mark.parametrize("name", PAPER.tasks)
def test_epochs_make_about_2000_steps_of_128_images(name):
    manifest = load_manifest(name)
    held_out = 0 if name == "EuroSAT" else min(5000, manifest.sizes.train // 10)  # EuroSAT's authors held out none
    assert manifest.epochs * (manifest.sizes.train - held_out) / 128 == pytest.approx(2000, rel=0.08)


def test_what_is_not_trained_on_has_no_epochs():
    assert {name for name in ALL if load_manifest(name).epochs} == set(PAPER.tasks)


@pytest.mark.parametrize("name", ["DTD", "EuroSAT", "GTSRB", "RESISC45", "SUN397", "ImageNet"])
def test_classes_that_are_folders_are_sorted_by_folder(name):
    folders = list(load_manifest(name).classes)
    assert folders == sorted(folders)


@pytest.mark.parametrize("name", ["DTD", "RESISC45", "SUN397"])
def test_classes_are_named_by_their_folders_where_these_are_words(name):
    assert all(key.replace("_", " ") == each for key, each in load_manifest(name).classes.items())


def test_cars_are_in_the_order_of_their_annotations():
    classes = load_manifest("Cars").classes
    assert (classes[0], classes[98]) == ("AM General Hummer SUV 2000", "FIAT 500 Abarth 2012")
    assert classes[195] == "smart fortwo Convertible 2012"


def test_a_class_of_sun397_is_its_path_without_the_letter():
    classes = load_manifest("SUN397").classes
    assert classes["apartment_building_outdoor"] == "apartment building outdoor"
    assert "theater_indoor_procenium" in classes and not any("/" in key for key in classes)


def test_signs_are_numbered_folders():
    assert list(load_manifest("GTSRB").classes) == [f"{number:05d}" for number in range(43)]


def test_imagenet_is_by_wordnet_identifier():
    classes = load_manifest("ImageNet").classes
    assert all(re.fullmatch(r"n\d{8}", key) for key in classes)
    assert (classes["n01440764"], classes["n03424325"]) == ("tench", "gas mask or respirator")
    assert list(classes.items())[-1] == ("n15075141", "toilet paper")


def test_names_of_imagenet_are_those_of_open_clip():
    from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    manifest = load_manifest("ImageNet")
    assert names_of(manifest) == list(IMAGENET_CLASSNAMES)
    assert manifest.templates == [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


@pytest.mark.parametrize("name", REAL)
def test_downloads_are_pinned_or_have_checksums_of_the_right_form(name):
    for source in load_manifest(name).downloads:
        if source.hub:
            assert re.fullmatch(r"[\w-]+/[\w-]+", source.hub) and _is_hex(source.revision, 40)
        for file in source.files:
            assert file.url.startswith(("https://", "http://ufldl.stanford.edu/")) and (file.md5 or file.sha256)
            assert file.md5 is None or _is_hex(file.md5, 32)
            assert file.sha256 is None or _is_hex(file.sha256, 64)


def _is_hex(text, length):
    return len(text) == length and set(text) <= set(hexdigits.lower())


def test_no_checksum_stands_for_two_different_files():
    files = [file for name in REAL for source in load_manifest(name).downloads for file in source.files]
    for kind in ("md5", "sha256"):
        known = {}
        for file in files:
            known.setdefault(getattr(file, kind), set()).add(file.url.rsplit("/")[-1])
        known.pop(None)
        assert all(len(urls) == 1 for urls in known.values())


@pytest.mark.parametrize("name", REAL)
def test_layouts_are_known_and_those_of_downloads_are_looked_for(name):
    manifest = load_manifest(name)
    assert set(manifest.layouts) <= set(LAYOUTS) and len(set(manifest.layouts)) == len(manifest.layouts)
    assert {source.layout for source in manifest.downloads} <= set(manifest.layouts)


@pytest.mark.parametrize("name", REAL)
def test_a_hub_source_brings_the_files_of_its_layout_and_no_others(name):
    for source in load_manifest(name).downloads:
        if source.hub:
            splits = [need.removeprefix("*/") for need in LAYOUTS[source.layout].needs]
            assert [pattern.partition("/")[2] for pattern in source.patterns] == splits


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="task 'EuroSat': did you mean 'EuroSAT'.*" + ", ".join(ALL)):
        load_manifest("EuroSat")


def test_a_manifest_of_ones_own_is_found(folder):
    (folder / "Mine.yaml").write_text(VALID)
    assert task_names() == ("Mine",) and load_manifest("Mine").classes == ["a", "b"]
    assert not load_manifest("Mine").control


def test_manifests_in_the_data_root_go_before_the_books(tmp_path, fresh):
    own(tmp_path, "Mine", IMAGES)
    own(tmp_path, "Cars", IMAGES.replace("Mine", "Cars"))
    assert load_manifest("Mine", tmp_path).folders == ["mine"] and load_manifest("Cars", tmp_path).classes == ["a", "b"]
    assert task_names("images", data_root=tmp_path) == tuple(sorted((*REAL, "Mine")))
    assert len(load_manifest("Cars").classes) == 196 and "Mine" not in task_names()


def test_a_manifest_under_another_name_is_refused(tmp_path, fresh):
    own(tmp_path, "Cars", IMAGES)
    with pytest.raises(InputError, match=r"Cars\.yaml is the manifest of 'Mine': call the file Mine\.yaml"):
        load_manifest("Cars", tmp_path)


BROKEN = {
    "unknown field": (VALID + "licens: MIT", "licens"),
    "unknown field of a source": (IMAGES + "downloads: [{hub: a/b, layout: parquet, version: 1}]", "version"),
    "unknown field of sizes": (IMAGES + "sizes: {train: 9, test: 1, val: 1}", "val"),
    "missing field": (VALID.replace("licence: l", ""), "licence"),
    "unknown kind": (VALID.replace("miniature", "tarball"), "kind"),
    "kind of earlier versions": (VALID.replace("miniature", "folder"), "kind"),
    "no template": (VALID.replace('["a photo of a {}."]', "[]"), "templates"),
    "no place for images": (VALID.replace("miniature", "images"), "folders"),
    "a place for drawn images": (VALID + "folders: [mine]", "folders"),
    "a source that is nowhere": (IMAGES + "downloads: [{layout: parquet}]", "give either hub, or files"),
    "a source in two places": (
        IMAGES + "downloads: [{hub: a/b, files: [{url: 'https://c'}], layout: folders}]",
        "give either hub, or files",
    ),
    "no images": (IMAGES + "sizes: {train: 0, test: 1}", "sizes.train"),
    "a name that is a path": (VALID.replace("Mine", "../Mine"), "name"),
    "no YAML": (VALID + "classes: [", "line 9"),
    "not a map": ("- a\n- b", "Manifest"),
    "empty": ("", "Manifest"),
    "a name twice": (VALID.replace("[a, b]", "[a, b, 'a ']"), "several classes are called 'a'"),
    "no names": (VALID.replace("[a, b]", "[]"), "classes are empty"),
    "a key twice": (IMAGES.replace("[a, b]", "{f: a, f: b}"), "line 7: 'f' is given twice"),
    "a map of what is drawn": (VALID.replace("[a, b]", "{f: a, g: b}"), "a list"),
    "a name that is a truth value": (VALID.replace("[a, b]", "[a, no]"), "not False; put it in quotes"),
    "aliases": (VALID + "quirks: &q [x]\nsplit: *q", "line 10: aliases"),
    "deep": (VALID + "quirks: " + "[" * 20_000 + "]" * 20_000, "nested more than 10 deep"),
    "no date": (VALID + "split: 2024-13-45", "month must be in 1..12"),
    "code": (VALID + "folders: !!python/object/apply:os.getcwd []", "python/object"),
}


@pytest.mark.parametrize("text, named", BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_refused_by_its_file_name_and_what_is_wrong(folder, text, named):
    (folder / "Mine.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"(?s)Mine\.yaml.*{re.escape(named)}"):
        load_manifest("Mine")


@pytest.mark.parametrize("text", ["%s", "", "a", "{{}}", "{c}", "{} {}", "{", "}", "{}{", "{!r}", "{:.1}", "{0} {0}", "{1}"])
def test_a_template_without_one_place_for_the_class_is_refused_by_file_and_template(folder, text):
    (folder / "Mine.yaml").write_text(VALID.replace("a photo of a {}.", text))
    with pytest.raises(InputError, match=rf"Mine\.yaml.*templates\.0: .*'{re.escape(text)}' needs {{}}") as error:
        load_manifest("Mine")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("place", ["~/pets", "$SCRATCH/pets"])
def test_a_folder_that_only_a_shell_could_read_is_refused(folder, place):
    (folder / "Mine.yaml").write_text(IMAGES.replace("[mine]", f'["{place}"]'))
    with pytest.raises(InputError, match=rf"Mine\.yaml.*the folder '{re.escape(place)}' is one of data_root"):
        load_manifest("Mine")


@pytest.mark.parametrize("text", ["{}", "{0}", "a {{set}} of {}"])
def test_a_template_with_one_place_is_taken(folder, text):
    (folder / "Mine.yaml").write_text(VALID.replace("a photo of a {}.", text))
    assert load_manifest("Mine").templates == [text]


def test_names_that_classes_share_on_purpose_are_listed(folder):
    (folder / "Mine.yaml").write_text(VALID.replace("[a, b]", "[a, b, a]") + "namesakes: [a]")
    assert load_manifest("Mine").classes == ["a", "b", "a"]


@pytest.mark.parametrize("file", ["Mine.yml", "Mine.YAML", "Mine.Yml"])
def test_each_suffix_of_yaml_is_taken(tmp_path, fresh, file):
    own(tmp_path, "Mine", IMAGES)
    (tmp_path / "manifests" / "Mine.yaml").rename(tmp_path / "manifests" / file)
    assert load_manifest("Mine", tmp_path).folders == ["mine"]
    own(tmp_path, "Mine", IMAGES)
    with pytest.raises(InputError, match=rf"2 manifests of Mine: {file}, Mine\.yaml|Mine\.yaml, {file}"):
        task_names(data_root=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_unicode_wherever_it_is_read(folder, encoding):
    (folder / "Mine.yaml").write_bytes(VALID.replace("[a, b]", "[\u00e2ne, z\u0065\u0300bre]").encode(encoding))
    assert load_manifest("Mine").classes == ["\u00e2ne", "z\u00e8bre"]


def test_what_is_no_manifest_is_left_out_or_refused_by_name(tmp_path, fresh):
    folder = tmp_path / "manifests"
    (folder / "G.yaml").mkdir(parents=True)
    (folder / "H.yaml").symlink_to("nowhere")
    (folder / "I.yaml").write_bytes(IMAGES.replace("[a, b]", "[\u00e2ne, b]").encode("latin-1"))
    os.mkfifo(folder / "J.yaml")
    (folder / "._K.yaml").write_bytes(b"\0\5\x16\7")
    (folder / ".#L.yaml").symlink_to("somebody@somewhere")
    assert set(task_names(data_root=tmp_path)) - set(ALL) == {"G", "H", "I", "J"}
    for name, said in {"G": "a folder", "H": "a link to nothing", "I": "not UTF-8", "J": "no regular file"}.items():
        with pytest.raises(InputError, match=rf"{name}\.yaml is {said}"):
            load_manifest(name, tmp_path)


def test_a_manifest_of_ones_own_does_not_make_a_miniature_nor_move_its_classes(tmp_path, fresh):
    own(tmp_path, "Mine", VALID)
    with pytest.raises(InputError, match=r"Mine\.yaml has kind miniature, .* draws no task 'Mine', only Aerial"):
        load_manifest("Mine", tmp_path)
    digits = VALID.replace("Mine", "Digits")
    for classes in (DIGITS[::-1], DIGITS[:9], ["one", *DIGITS[:9]]):
        forget()
        own(tmp_path, "Digits", digits.replace("[a, b]", str(classes)))
        with pytest.raises(InputError, match=r"Digits\.yaml has other classes than are drawn, or another order"):
            load_manifest("Digits", tmp_path)
    forget()
    own(tmp_path, "Digits", digits.replace("[a, b]", str(["zero", *DIGITS[1:]])))
    assert load_manifest("Digits", tmp_path).classes[0] == "zero"


@pytest.mark.parametrize("name", ["all", "auto"])
def test_a_word_of_the_command_line_names_no_dataset(tmp_path, fresh, name):
    own(tmp_path, name, VALID.replace("Mine", name))
    with pytest.raises(InputError, match=rf"{name}\.yaml is not a valid manifest: name: .*'{name}' stands for"):
        load_manifest(name, tmp_path)


def test_a_manifest_that_would_take_long_to_read_is_refused(tmp_path, fresh):
    own(tmp_path, "Mine", VALID + "#" * 500_000)
    with pytest.raises(InputError, match=r"Mine\.yaml is no manifest: it has 500,\d+ bytes, the most is 500,000"):
        load_manifest("Mine", tmp_path)


def test_a_missing_folder_is_an_input_error(folder):
    folder.rmdir()
    with pytest.raises(InputError, match="checkout"):
        task_names()
