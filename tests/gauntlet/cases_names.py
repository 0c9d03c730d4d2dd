"""Class names against folders, prompt templates, and manifests as editors, disks and other platforms leave them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import Case
from PIL import Image

from tangent_lib.data.listing import labels_of_names
from tangent_lib.data.manifests import Manifest, load_manifest, task_names
from tangent_lib.data.packed import open_split
from tangent_lib.data.prepare import prepare, prepared_folder
from tangent_lib.models.clip import load_clip, zero_shot_head

PAIRING, HUB = "class names against folders", "class names against those of a file"
PROMPTS, FILES = "prompt templates", "manifests as files"
YAML, SOURCES = "what stands in a manifest", "sources that all fail"
TWELVE = [f"word{letter}" for letter in "abcdefghijkl"]
FIELDS = {"name": "Pets", "kind": "images", "description": "d", "source": "s", "licence": "l", "folders": ["pets"],
          "templates": ["a {}."]}  # fmt: skip
TEXT = """name: Pets
kind: images
description: d
source: s
licence: l
folders: [pets]
templates: ['a {}.']
"""


def own(folder: Path, text: str | bytes, name: str = "Pets.yaml") -> Path:
    path = folder / "manifests" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def paired(classes: list | dict | None, folders: list[str]) -> Callable[[Path], dict]:
    """Write one grey value a folder, prepare, and look by the colour of the test images which name each folder has."""

    def run(folder: Path) -> dict:
        own(folder, TEXT if classes is None else f"{TEXT}classes: {classes}\n")
        for i, each in enumerate(folders):
            for split, count in (("train", 10), ("test", 1)):
                place = folder / "pets" / split / each
                place.mkdir(parents=True)
                for number in range(count):
                    Image.new("RGB", (4, 4), (i, number, count)).save(place / f"{number}.png")
        card = prepare("Pets", folder, download=False, progress=False)
        split = open_split(prepared_folder(folder, "Pets"), "test")
        colours = [int(np.asarray(split.image(i))[0, 0, 0]) for i in range(len(split))]
        found = {folders[i]: card.classes[int(label)] for i, label in zip(colours, split.labels)}
        if found != {each: card.called[each] for each in folders}:
            raise AssertionError(f"the card says {card.called}, the images are {found}")
        return found

    return run


def pairs(name: str, classes: list | dict | None, found: dict | str) -> Case:
    """A case of folders: what each is, or why none is known; in the latter case folders stand in the name of the case."""
    return Case(PAIRING, name, paired(classes, list(found)), right=found)


def unsure(name: str, classes: list | dict | None, folders: list[str], said: str) -> Case:
    return Case(PAIRING, name, paired(classes, folders), refused=said)


def hub(classes: list | dict | None, found: list[str]) -> Callable[[Path], dict]:
    def run(folder: Path) -> dict:
        names, labels = labels_of_names(Manifest(**FIELDS, classes=classes), found, "train.parquet")
        return {each: names[label] for each, label in zip(found, labels)}

    return run


def template(text: str, classes: str = "[a, b]") -> Callable[[Path], list]:
    def run(folder: Path) -> list:
        own(folder, TEXT.replace("'a {}.'", repr(text)) + f"classes: {classes}\n")
        return load_manifest("Pets", folder).templates

    return run


def read_alike(classes: list[str], text: str) -> Callable[[Path], tuple]:
    return lambda folder: tuple(zero_shot_head(load_clip("ViT-Mini-8"), classes, [text]).shape)


def file(make: Callable[[Path], object], name: str = "Pets") -> Callable[[Path], object]:
    """What a manifest names, after ``make`` in the folder of manifests."""

    def run(folder: Path) -> object:
        (folder / "manifests").mkdir()
        make(folder / "manifests")
        return load_manifest(name, folder).classes

    return run


def added(make: Callable[[Path], object]) -> Callable[[Path], list]:
    """The tasks that are there more than in the book."""

    def run(folder: Path) -> list:
        (folder / "manifests").mkdir()
        make(folder / "manifests")
        return sorted(set(task_names(data_root=folder)) - set(task_names()))

    return run


def text(more: str, name: str = "Pets", encoding: str = "utf-8") -> Callable[[Path], object]:
    whole = (TEXT.replace("Pets", name) + more).encode(encoding)
    return file(lambda place: (place / f"{name}.yaml").write_bytes(whole), name)


def miniature(name: str, classes: object) -> Callable[[Path], object]:
    drawn = TEXT.replace("images", "miniature").replace("folders: [pets]\n", "").replace("Pets", name)
    return file(lambda place: (place / f"{name}.yaml").write_text(f"{drawn}classes: {classes}\n"), name)


def fetched(downloads: str) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        own(folder, f"{TEXT}downloads: {downloads}\n")
        return prepare("Pets", folder, progress=False)

    return run


def nfd(word: str) -> str:
    return unicodedata.normalize("NFD", word)


BOMB = (
    "quirks: [&a [x, x], " + ", ".join(f"&{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")) + "]\n"
)
CASES = [
    pairs("two that differ in case", ["a", "A"], {"A": "A", "a": "a"}),
    pairs("three that differ in signs", ["C++", "C", "C#"], {"C": "C", "C#": "C#", "C++": "C++"}),
    pairs("signs alone", ["-", "+"], {"+": "+", "-": "-"}),
    pairs("numbers with a point and without", ["10", "1.0"], {"1.0": "1.0", "10": "10"}),
    pairs("vowel signs of Devanagari", ["की", "का"], {"का": "का", "की": "की"}),
    pairs("folders of a Mac's disk", ["zèbre", "âne"], {nfd("âne"): "âne", nfd("zèbre"): "zèbre"}),
    pairs("a list typed on a Mac", [nfd("zèbre"), nfd("âne")], {"âne": "âne", "zèbre": "zèbre"}),
    pairs("a map typed on a Mac", {nfd("zèbre"): "z", nfd("âne"): "a"}, {"âne": "a", "zèbre": "z"}),
    pairs("folders of a Mac's disk without names", None, {nfd("âne"): "âne", "bee": "bee"}),
    pairs("numbers from 0 to 11", TWELVE, {str(i): name for i, name in enumerate(TWELVE)}),
    pairs("words that end in numbers", TWELVE, {f"class_{i}": name for i, name in enumerate(TWELVE)}),
    pairs("numbers of five digits", TWELVE, {f"{i:05d}": name for i, name in enumerate(TWELVE)}),
    pairs("numbers below zero", ["no", "so-so", "yes"], {"-1": "no", "0": "so-so", "1": "yes"}),
    pairs("numbers with decimals", ["low", "mid", "high"], {"0.1": "low", "0.25": "mid", "0.5": "high"}),
    pairs("other case and separators", ["Sea Lake", "annual crop"], {"Annual-Crop": "annual crop", "sea_lake": "Sea Lake"}),
    pairs("a map that swaps two words", {"cat": "dog", "dog": "cat"}, {"cat": "dog", "dog": "cat"}),
    unsure("an odd folder that moves the others", ["cat", "dog", "eel"], ["ant", "cat", "dog"], "FOLDER: name"),
    unsure("numbers from 1 where names are from 0", ["0", "1", "2"], ["1", "2", "3"], "1 has another place"),
    unsure("words that begin with numbers", TWELVE, [f"{i}.x" for i in range(12)], "by number it is another"),
    unsure("a number written in two ways", ["x", "y", "z"], ["1", "01", "2"], "by number it is another"),
    unsure("thousands with a comma", ["five hundred", "a thousand"], ["500", "1,000"], "by number it is another"),
    unsure("decimals or versions", ["x", "y"], ["1.9", "1.10"], "by number it is another"),
    unsure("words with decimals", ["x", "y"], ["dose_0.25", "dose_0.5"], "by number it is another"),
    unsure("another spelling of the other", ["tumour", "no tumour"], ["no_tumor", "tumor"], "no_tumor has another place"),
    unsure("first letters of the others", ["male", "female"], ["F", "M"], "F has another place"),
    unsure("upper case before lower", ["x", "y"], ["Zoo", "ant"], "FOLDER: name"),
    unsure("one class in two spellings", ["a", "b"], ["a", "A"], "A, a are all the class 'a'"),
    unsure("one class in two forms of Unicode", ["âne", "b"], ["âne", nfd("âne")], "are all the class"),
    unsure("two folders that are one name", None, ["a_b", "a b"], "several classes are called 'a b'"),
    unsure("codes of a terminal in a folder's name", None, ["cat", "\x1b[31mred"], r"not printable .*'\\x1b\[31mred'"),
    unsure("codes of a terminal, and a list", ["cat", "red"], ["cat!", "\x1b[31mred"], r"not printable .*'\\x1b\[31mred'"),
    unsure("a line break in a folder's name", None, ["cat", "red\nhead"], r"not printable .*'red\\nhead'"),
    unsure("a folder's name in Latin-1", None, ["cat", os.fsdecode("âne".encode("latin-1"))], r"not printable .*'\\xe2ne'"),
    Case(
        HUB,
        "three that differ in signs",
        hub(["C++", "C", "C#"], ["C", "C#", "C++"]),
        right={c: c for c in ("C", "C#", "C++")},
    ),
    Case(HUB, "two that differ in case", hub(["a", "A"], ["A", "a"]), right={"A": "A", "a": "a"}),
    Case(
        HUB,
        "Unicode in two forms",
        hub(["zèbre", "âne"], [nfd("âne"), nfd("zèbre")]),
        right={nfd(x): x for x in ("âne", "zèbre")},
    ),
    Case(
        HUB,
        "two that changed places",
        hub(["a", "b", "c", "d", "e"], ["a", "b", "D", "C", "e, x"]),
        refused="another place for D, C",
    ),
    Case(
        HUB,
        "plurals that changed places",
        hub(["dog", "cat", "bird", "fish"], ["dog", "cat", "fishes", "birds"]),
        refused="another place for fishes, birds",
    ),
    Case(HUB, "a list of other words", hub(["cat", "dog"], ["chat", "chien"]), refused="does not have chat, chien"),
    Case(HUB, "one name for two classes", hub(None, ["crane", "dog", "crane"]), refused="several classes are called 'crane'"),
    Case(PROMPTS, "one place", template("a {}."), right=["a {}."]),
    Case(PROMPTS, "the place with its number, and braces", template("a {{}} of {0}"), right=["a {{}} of {0}"]),
    *[
        Case(PROMPTS, f"'{each}'", template(each), refused=r"Pets\.yaml .*templates\.0: .* needs \{\}")
        for each in (
            "a %s.",
            "a photo",
            "a {{}}.",
            "a {c}.",
            "{} and {}",
            "a {",
            "a }.",
            "a {!r}",
            "{:.1}",
            "{:999999999}",
            "｛｝",
        )
    ],
    Case(
        PROMPTS,
        "a template in which the class is cut off",
        read_alike(["cat", "dog"], "word " * 90 + "{}"),
        refused="alike.*24 tokens",
    ),
    Case(PROMPTS, "classes that the tokenizer reads alike", read_alike(["a", "A"], "a {}."), refused="'a' and 'A' alike"),
    Case(FILES, "a Mac's ._Pets.yaml", added(lambda place: (place / "._Pets.yaml").write_bytes(b"\0\5\x16\7")), right=[]),
    Case(FILES, "an editor's lock", added(lambda place: (place / ".#Pets.yaml").symlink_to("me@here")), right=[]),
    Case(FILES, "a backup", added(lambda place: (place / "Pets.yaml~").write_text(TEXT)), right=[]),
    Case(FILES, "Pets.yml", file(lambda place: (place / "Pets.yml").write_text(TEXT)), right=None),
    Case(
        FILES, "Pets.YAML", file(lambda place: (place / "Pets.YAML").write_text(TEXT + "classes: [a, b]")), right=["a", "b"]
    ),
    Case(
        FILES,
        "Pets.yml beside Pets.yaml",
        added(lambda place: [(place / f"Pets.{end}").write_text(TEXT) for end in ("yml", "yaml")]),
        refused=r"2 manifests of Pets: Pets\.yaml, Pets\.yml",
    ),
    Case(FILES, "a link to nothing", file(lambda place: (place / "Pets.yaml").symlink_to("x")), refused="a link to nothing"),
    Case(
        FILES,
        "a link to itself",
        file(lambda place: (place / "Pets.yaml").symlink_to("Pets.yaml")),
        refused="a link to nothing",
    ),
    Case(FILES, "a folder", file(lambda place: (place / "Pets.yaml").mkdir()), refused=r"Pets\.yaml is a folder"),
    Case(FILES, "a pipe", file(lambda place: os.mkfifo(place / "Pets.yaml")), refused="no regular file"),
    Case(
        FILES,
        "another name inside",
        file(lambda place: (place / "pets.yaml").write_text(TEXT), "pets"),
        refused=r"call the file Pets\.yaml",
    ),
    Case(
        FILES,
        "text in Latin-1",
        text("classes: [âne, b]", encoding="latin-1"),
        refused="byte 0xe2 in line 8.: save it as UTF-8",
    ),
    Case(FILES, "text in UTF-16", text("classes: [âne, b]", encoding="utf-16"), right=["âne", "b"]),
    Case(FILES, "text with a mark of its encoding", text("classes: [âne, b]", encoding="utf-8-sig"), right=["âne", "b"]),
    Case(FILES, "lines of Windows", text("classes:\r\n- a\r\n- b\r\n"), right=["a", "b"]),
    Case(FILES, "five megabytes", text("#" * 5_000_000), refused="the most is 500,000"),
    Case(
        YAML, "nested 20,000 deep", text("quirks: " + "[" * 20_000 + "]" * 20_000), refused="line 8: nested more than 10 deep"
    ),
    Case(
        YAML, "maps nested deep", text("quirks: " + "{a: " * 5_000 + "}" * 5_000), refused="line 8: nested more than 10 deep"
    ),
    Case(YAML, "anchors that unfold to 10^8 words", text(BOMB), refused="line 8: aliases"),
    Case(YAML, "an anchor in itself", text("quirks: &a [*a]"), refused="line 8: aliases"),
    Case(YAML, "a merged map", text("classes: {<<: *a}"), refused="line 8: aliases"),
    Case(YAML, "a name twice", text("classes: [cat, dog, cat]"), refused=r"Pets\.yaml .*several classes are called 'cat'"),
    Case(
        YAML, "a name twice but for a space", text("classes: [cat, dog, 'cat ']"), refused="several classes are called 'cat'"
    ),
    Case(YAML, "a name twice in a map", text("classes: {a: cat, b: cat}"), refused="several classes are called 'cat'"),
    Case(YAML, "a folder twice in a map", text("classes: {a: cat, a: dog}"), refused="line 8: 'a' is given twice"),
    Case(YAML, "a field twice", text("licence: x"), refused="line 8: 'licence' is given twice"),
    Case(YAML, "names that are no text", text("classes: [yes, no]"), refused="not True; put it in quotes"),
    Case(YAML, "an empty name", text("classes: [a, '']"), refused="class name '' is empty"),
    Case(YAML, "codes of a terminal in a name", text(r'classes: ["\e[2J", b]'), refused=r"class name '\\x1b\[2J'"),
    Case(YAML, "a number of 5,000 digits", text("epochs: " + "1" * 5_000), refused=r"Pets\.yaml is not a valid manifest"),
    Case(YAML, "a date that is none", text("split: 2024-13-45"), refused=r"Pets\.yaml is not a valid manifest"),
    Case(YAML, "code", text("quirks: !!python/object/apply:os.getcwd []"), refused="line 8: .*python/object"),
    Case(YAML, "a miniature that is not drawn", miniature("Pets", ["a", "b"]), refused="draws no task 'Pets', only Aerial"),
    Case(YAML, "a miniature in another order", miniature("Digits", list("1023456789")), refused="or another order"),
    Case(YAML, "a miniature with fewer classes", miniature("Digits", list("012")), refused="other classes than are drawn"),
    Case(YAML, "a miniature with a map", miniature("Digits", {"0": "zero"}), refused="a list, in the order"),
    Case(
        SOURCES,
        "files alone",
        fetched("[{files: [{url: 'http://127.0.0.1:9/x.zip'}], layout: folders}]"),
        refused="any source.*by hand",
    ),
    Case(
        SOURCES,
        "a file that goes elsewhere",
        fetched("[{files: [{url: 'http://127.0.0.1:9/x', to: ../..}], layout: folders}]"),
        refused="mend the manifest",
    ),
    Case(
        SOURCES,
        "files twice",
        fetched(str([{"files": [{"url": f"http://127.0.0.1:9/{i}.zip"}], "layout": "folders"} for i in range(2)])),
        refused=r"0\.zip: .*1\.zip: .*by hand",
    ),
]
