"""The page that says how to get the datasets: its numbers, layouts and examples are those of the manifests and the code."""

from __future__ import annotations

import re

import pytest
import yaml

from tangent_lib.data.layouts import LAYOUTS, find_layout
from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.modes import PAPER
from tangent_lib.runtime.disk import ROOT

REAL = (*PAPER.tasks, "ImageNet")
PAGE = (ROOT / "book" / "datasets.md").read_text()
EXAMPLES = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE)


def table(header):
    """The rows of the table of the page with this header, by their first cell, without quotes and citations."""
    lines = PAGE.splitlines()
    found = {}
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            return found
        first, *others = (re.sub(r" \{cite\}`\w+`|`", "", cell).strip() for cell in line.strip("|").split("|"))
        found[first] = others


def words(cell):
    return [word.strip() for word in cell.split(",")]


def test_the_table_of_the_nine_is_that_of_their_manifests():
    rows = table("| dataset | classes | train | test | download (GB) | prepared (GB) | licence | first source |")
    assert tuple(rows) == REAL
    for name, cells in rows.items():
        each = load_manifest(name)
        assert cells == [
            f"{len(each.classes):,}",
            f"{each.sizes.train:,}",
            f"{each.sizes.test:,}",
            f"{each.gigabytes.download:g}",
            f"{each.gigabytes.prepared:g}",
            each.licence,
            each.downloads[0].hub,
        ]


def test_the_sums_of_the_page_are_those_of_the_eight():
    sizes = [load_manifest(name).gigabytes for name in PAPER.tasks]
    download, prepared = sum(each.download for each in sizes), sum(each.prepared for each in sizes)
    assert f"The eight need about {download:.0f} GB to download and {prepared:.0f} GB prepared" in PAGE
    eight = {8: "eight", 9: "nine", 10: "ten"}[round(prepared / download)]
    assert f"about {eight} times the download" in " ".join(PAGE.split())


def test_the_table_of_folders_is_that_of_the_manifests():
    rows = table("| dataset | folders | layouts |")
    assert tuple(rows) == REAL
    for name, (folders, layouts) in rows.items():
        assert words(folders) == load_manifest(name).folders and words(layouts) == load_manifest(name).layouts


def test_every_layout_is_explained():
    rows = table("| layout | what has to be there |")
    assert set(rows) == set(LAYOUTS)
    for name in ("cars", "svhn", "resisc45", "gtsrb"):  # files that are needed under one name only
        for need in LAYOUTS[name].needs:
            place = need.split("|")[0].split("/")[0].split("*")[0]
            assert place in rows[name][0]


def test_the_table_of_validation_is_what_the_rule_gives():
    rows = table("| dataset | train | val | test |")
    assert tuple(rows) == REAL
    for name, cells in rows.items():
        each = load_manifest(name)
        val = min(5000, each.sizes.train // 10)
        train = "–" if each.control else f"{each.sizes.train - val:,}"
        assert cells == [train, f"{val:,}", f"{each.sizes.test:,}"]


def test_there_are_examples_of_an_image_folder_the_hub_and_an_address():
    manifests = [Manifest.model_validate(yaml.safe_load(text)) for text in EXAMPLES]
    assert [(each.name, [bool(source.hub) for source in each.downloads]) for each in manifests] == [
        ("Flowers", []),
        ("Pets", [True]),
        ("CIFAR", [False]),
    ]
    assert all(set(each.layouts) <= set(LAYOUTS) for each in manifests)
    assert all(source.layout in each.layouts for each in manifests for source in each.downloads)


def test_the_first_two_examples_are_short():
    assert [len(text.splitlines()) <= 10 for text in EXAMPLES[:2]] == [True, True]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split()[1])
def test_an_example_is_found_in_the_data_root(text, tmp_path):
    name = text.split()[1]
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / f"{name}.yaml").write_text(text)
    manifest = load_manifest(name, tmp_path)
    assert manifest.name == name and find_layout(manifest, tmp_path) is None
