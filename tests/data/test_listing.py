"""Class folders and the names of a manifest: what does not decide is refused."""

from __future__ import annotations

import pytest

from tangent_lib.data.listing import labels_of_folders
from tangent_lib.data.manifests import Manifest
from tangent_lib.runtime.errors import InputError


def manifest(classes):
    fields = {"name": "Pets", "kind": "images", "description": "d", "source": "s", "licence": "l", "folders": ["pets"]}
    return Manifest(**fields, templates=["a {}."], classes=classes)


def test_one_odd_folder_does_not_move_the_others():
    with pytest.raises(InputError, match=r"Pets.*dogs.*FOLDER: name"):
        labels_of_folders(manifest(["cat", "dog", "airplane"]), ["airplane", "cat", "dogs"])


def test_where_names_are_in_the_order_of_folders_that_order_decides():
    names, labels = labels_of_folders(manifest(["cat", "dog"]), ["n01", "n02"])
    assert names == ["cat", "dog"] and labels == {"n01": 0, "n02": 1}
