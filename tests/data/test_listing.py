"""Class folders and the names of a manifest: what does not decide is refused."""

from __future__ import annotations

import unicodedata

import pytest
from torchvision.models._meta import _IMAGENET_CATEGORIES

from tangent_lib.data.listing import labels_of_folders, labels_of_names, numbered_classes, same_classes
from tangent_lib.data.manifests import Manifest, load_manifest
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


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a", "A"], ["A", "a"]),
        (["C++", "C", "C#"], ["C", "C#", "C++"]),
        (["-", "+"], ["+", "-"]),
        (["1.0", "10", "-1", "1"], ["-1", "1", "1.0", "10"]),
        (["\u0915\u0940", "\u0915\u093e"], ["\u0915\u093e", "\u0915\u0940"]),  # vowel signs are no letters
    ],
)
def test_an_exact_spelling_goes_before_any_other(names, folders):
    assert labels_of_folders(manifest(names), folders)[1] == {name: names.index(name) for name in folders}
    assert labels_of_names(manifest(names), folders, "x")[1] == [names.index(name) for name in folders]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_and_accents_may_be_one_code_or_two(form):
    names = ["z\u00e8bre", "\u00e2ne"]
    folders = [unicodedata.normalize(form, name) for name in names]
    assert labels_of_folders(manifest(names), folders)[1] == dict(zip(folders, (0, 1)))
    assert labels_of_folders(manifest(None), folders)[0] == sorted(names)


@pytest.mark.parametrize("before", ["", "class", "n0", "c-"])
def test_folders_that_end_in_numbers_go_by_these(before):
    names = [f"word{letter}" for letter in "abcdefghijkl"]
    folders = [f"{before}{number}" for number in range(12)]
    assert labels_of_folders(manifest(names), folders)[1] == {folder: i for i, folder in enumerate(folders)}


@pytest.mark.parametrize(
    "folders",
    [
        ["-1", "0", "1"],
        ["-10", "-5", "20"],
        ["\u22122", "\u22121", "0"],  # with a typographer's minus
        ["+1", "+2", "+10"],
        ["0.1", "0.25", "0.5"],
        ["-1.0", "0.0", "1.0"],
        ["0-2", "4-6", "15-20"],  # ranges, which end in a number
        ["dose_0.1", "dose_0.2", "dose_0.5"],  # in each way to read them
        ["q1", "q2", "q10"],
    ],
)
def test_numbers_in_one_notation_go_by_their_value(folders):
    assert labels_of_folders(manifest(["x", "y", "z"]), folders[::-1])[1] == dict(zip(folders, range(3)))


def test_a_map_with_numbers_as_keys_is_in_their_order():
    numbers = {str(number): f"word{number}" for number in range(12)}
    assert numbered_classes(manifest(numbers), {}) == [f"word{number}" for number in range(12)]


@pytest.mark.parametrize(
    "folders",
    [
        ["1.x", "10.x", "2.x"],  # by number it is another order
        ["1", "01", "2"],
        ["Zoo", "ant", "fly"],  # and so without regard to case
        ["cat!", "Dog", "eel"],  # the dog's is the third place
        ["A ", "a ", "b"],
        ["1,000", "500", "900"],
        ["1.250", "500", "900"],  # thousands perhaps
        ["1 000 m", "500 m", "900 m"],
        ["1e3", "5e2", "9e2"],
        ["1.9", "1.10", "2.1"],  # versions perhaps
        ["0_1", "0_25", "0_5"],
        ["dose_0.1", "dose_0.25", "dose_0.5"],
        ["-1 C", "-2 C", "0 C"],
        ["c-1", "c0", "c1"],
        ["\u00b2", "1", "3"],
        ["\u4e00", "\u4e8c", "\u4e09"],  # one, two, three
    ],
)
def test_an_order_that_is_not_sure_decides_nothing(folders):
    names = ["a", "A", "b"] if "b" in folders else ["x", "y", "dog"]
    with pytest.raises(InputError, match="FOLDER: name"):
        labels_of_folders(manifest(names), folders)


def test_names_of_files_that_are_known_elsewhere_are_refused_though_most_are_in_their_places():
    names = ["ant", "bee", "cat", "dog", "eel"]
    with pytest.raises(InputError, match="another place for Dog, Cat"):
        labels_of_names(manifest(names), ["ant", "bee", "Dog", "Cat", "eel, an"], "x")
    assert labels_of_names(manifest(names), ["ant", "bee", "cat", "dog", "eel, an"], "x")[1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["tumour", "no tumour"], ["no_tumor", "tumor"]),
        (["cats", "dogs", "birds"], ["bird", "cat", "dog"]),
        (["male", "female"], ["F", "M"]),
        (["tumour", "no tumour"], ["no", "yes"]),
        (["January", "February", "March"], ["Feb", "Jan", "Mar"]),
        (["melanoma", "dermatofibroma"], ["df", "mel"]),
    ],
)
def test_folders_that_resemble_or_abbreviate_names_of_other_places_are_refused(names, folders):
    with pytest.raises(InputError, match=r"since \w+ has another place in it: .*FOLDER: name"):
        labels_of_folders(manifest(names), folders)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["no tumour", "tumour"], ["no_tumor", "tumor"]),
        (["birds", "cats", "dogs"], ["bird", "cat", "dog"]),
        (["female", "male"], ["F", "M"]),
        (["no tumor", "tumor"], ["healthy", "tumor"]),
        (["cat", "dog"], ["chat", "chien"]),
        (["class 1", "class 2"], ["n01440764", "n01443537"]),
        (["benign", "malignant"], ["0_normal", "1_cancer"]),
    ],
)
def test_names_that_resemble_those_of_their_own_places_or_none_go_by_order(names, folders):
    assert labels_of_folders(manifest(names), folders)[1] == {folder: i for i, folder in enumerate(folders)}


def test_names_of_files_that_resemble_each_others_are_refused_though_most_are_in_their_places():
    names = ["dog", "cat", "bird", "fish"]
    with pytest.raises(InputError, match="another place for fishes, birds"):
        labels_of_names(manifest(names), ["dog", "cat", "fishes", "birds"], "x")
    assert labels_of_names(manifest(names), ["dog", "cat", "birds", "fishes"], "x")[1] == [0, 1, 2, 3]


def test_the_first_names_of_imagenet_are_in_the_order_of_its_manifest():
    assert labels_of_names(load_manifest("ImageNet"), _IMAGENET_CATEGORIES, "x")[1] == list(range(1000))


@pytest.mark.parametrize("folders", [["a_b", "a b"], ["a\x1b[31m", "b"], ["caf\udce9", "b"], ["_", "b"]])
def test_folders_whose_names_no_prompt_can_take_or_tell_apart_are_refused(folders):
    with pytest.raises(InputError, match=r"^Pets: .*class") as error:
        labels_of_folders(manifest(None), folders)
    assert str(error.value).isprintable()


def test_train_and_test_in_two_forms_of_unicode_are_refused_as_such():
    with pytest.raises(InputError, match="composed and decomposed"):
        same_classes("Pets", ["\u00e2ne"], ["a\u0302ne"])
