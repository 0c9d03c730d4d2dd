"""Dataset manifests: what a task is called, its classes in CLIP's wording, its prompts, where its images come from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError, unknown

MANIFESTS = ROOT / "data_manifests"
OWN = "manifests"  # the folder of a reader's own manifests, in data_root
RESERVED = {"all": "all datasets", "auto": "the tasks of the model's scale"}  # names that no dataset may have
MANIFEST_SUFFIXES = (".yaml", ".yml")
MOST_BYTES = 500_000  # of a manifest, which takes seconds to read; the book's largest, with ImageNet's names, has 28,000
DEEPEST = 10  # levels of a manifest; the schema has six


def composed(text: str) -> str:
    """Text in Unicode's composed form, NFC: what a Mac's disk calls ``e`` and an accent is one letter.

    Example:
        >>> len(composed("e\u0301"))
        1
    """
    return unicodedata.normalize("NFC", text)


def check_class_names(names: Sequence[str], namesakes: Collection[str] = ()) -> None:
    """Check that names are text that a prompt can take, and differ, but for those that classes share on purpose.

    Example:
        >>> check_class_names(["cat", "dog", "cat"])
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: several classes are called 'cat': ...
    """
    for name in names:
        if not name.strip() or any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in name):
            raise InputError(f"the class name '{name}' is empty, or has control codes or bytes that are not UTF-8: rename it")
    counts = Counter(" ".join(name.split()) for name in names)
    twice = [name for name, count in counts.items() if count > 1 and name not in namesakes]
    if twice:
        raise InputError(
            f"several classes are called '{twice[0]}', so nothing tells them apart: give each a name of its own, or, where "
            "it is meant, list the name under `namesakes` in the manifest"
        )


def one_place(template: str) -> str:
    """A prompt template in which the class has its one place; a ValueError for any other.

    Example:
        >>> one_place("a photo of a {}.")
        'a photo of a {}.'
    """
    if not template.isprintable():
        raise ValueError(f"the template '{template}' has control codes or line breaks: write it in one line of plain text")
    try:
        fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
    except ValueError:  # a brace without its other
        fields = []
    if fields not in ([["", "", None]], [["0", "", None]]):
        raise ValueError(f"the template '{template}' needs {{}}, the place of the class, exactly once, and no other braces")
    return template


def _no_word_of_ours(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"'{name}' stands for {RESERVED[name]} on the command line: give another name")
    return name


def _within(folder: str) -> str:
    if folder.startswith("~") or "$" in folder:
        raise ValueError(f"the folder '{folder}' is one of data_root, where ~ and $ mean nothing: write the path out")
    return folder


ImageFolder = Annotated[str, AfterValidator(_within)]
Name = Annotated[str, AfterValidator(composed)]
Template = Annotated[str, AfterValidator(composed), AfterValidator(one_place)]


class File(BaseModel, extra="forbid", frozen=True):
    """A file to be downloaded; an archive is unpacked where it lies."""

    url: str
    md5: str | None = None
    sha256: str | None = None
    to: str = Field("", description="the folder to put it in, within the dataset's own")


class Download(BaseModel, extra="forbid", frozen=True):
    """One way to get a dataset: a dataset repository on the Hugging Face hub, or files from elsewhere."""

    hub: str | None = Field(None, description="owner/name of a dataset repository")
    revision: str | None = Field(None, description="commit of the repository; without one the newest, which is recorded")
    patterns: list[str] = Field(["data/*.parquet"], description="which files of the repository")
    files: list[File] = []
    layout: str = Field(description="how the images lie once this is there; a key of data.layouts.LAYOUTS")
    note: str = ""

    @model_validator(mode="after")
    def _one_origin(self) -> Download:
        if (self.hub is None) == (not self.files):
            raise ValueError("give either hub, or files")
        return self


class Sizes(BaseModel, extra="forbid", frozen=True):
    """How many images there are, before validation is held out of train."""

    train: int = Field(ge=1)
    test: int = Field(ge=1)


class Gigabytes(BaseModel, extra="forbid", frozen=True):
    """About how much disk a dataset takes."""

    download: float = Field(ge=0)
    prepared: float = Field(ge=0)


class Manifest(BaseModel, extra="forbid", frozen=True):
    """One YAML file of ``data_manifests/``, or of ``<data_root>/manifests/`` for a dataset of one's own.

    ``classes`` may be left out where folders or a hub dataset name the classes: then these names are used, ``_`` as a space.
    """

    name: Annotated[str, AfterValidator(_no_word_of_ours)] = Field(pattern=r"^[A-Za-z0-9]+$")
    kind: Literal["miniature", "images"]
    control: bool = False
    mirrors: str | None = None
    description: str
    source: str
    licence: str
    folders: list[Annotated[str, AfterValidator(_within)]] = Field(
        [], description="where images may lie in data_root already; downloads go to the first"
    )
    layouts: list[str] = Field(["folders"], description="how they may lie there, in order of preference")
    columns: dict[Literal["image", "label"], str] = Field({}, description="of parquet files, where there are several")
    downloads: list[Download] = Field([], description="in order of preference")
    split: str = Field("", description="how train and test come about")
    sizes: Sizes | None = None
    gigabytes: Gigabytes | None = None
    epochs: int | None = Field(None, ge=1, description="of fine-tuning in the released code, about 2,000 steps")
    classes: dict[Name, Name] | list[Name] | None = Field(
        None, description="names in CLIP's wording, in label order; or a map from class folder to name, sorted by folder"
    )
    namesakes: list[Name] = Field([], description="names that several classes share on purpose")
    templates: list[Template] = Field(min_length=1, description="prompts, each with {} where the class's name goes")
    quirks: list[str] = []

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        if (self.kind == "images") != bool(self.folders):
            raise ValueError("folders are given for kind images, and for no other")
        if self.kind == "miniature" and not isinstance(self.classes, list):
            raise ValueError("classes of a miniature are a list, in the order in which they are drawn")
        if self.classes is not None:
            names = list(self.classes.values()) if isinstance(self.classes, dict) else self.classes
            if not names:
                raise ValueError("classes are empty: name them, or leave the field out where the files name them")
            check_class_names(names, self.namesakes)
        return self


class _Plain(yaml.SafeLoader):
    """YAML of bounded depth, without aliases, which unfold without bound, and without keys that stand there twice."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not taken: write the value out", problem_mark=mark)
        if self.depth == DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} deep", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and composed(key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is given twice", problem_mark=key.start_mark)
            seen |= {composed(key.value)} if isinstance(key, yaml.ScalarNode) else set()
        return super().construct_mapping(node, deep)


@cache
def load_manifest(name: str, data_root: str | Path | None = None) -> Manifest:
    """Read and check one manifest; a reader's own, in ``<data_root>/manifests/``, goes before one of the book's.

    Raises:
        InputError: for an unknown task, or a file that does not fit the schema.

    Example:
        >>> load_manifest("Digits").mirrors
        'MNIST'
    """
    paths = _paths(data_root)
    if name not in paths:
        raise unknown("task", name, task_names(data_root=data_root), "Others: a manifest in <data_root>/manifests/.")
    path = paths[name]
    text = _text(path)
    try:
        manifest = Manifest.model_validate(yaml.load(text, _Plain))
    except Exception as error:  # YAML's constructors raise errors of any type, on 2024-13-45 for one
        raise InputError(f"{path} is not a valid manifest: {_reason(error)}") from error
    if manifest.name != name:
        raise InputError(f"{path} is the manifest of '{manifest.name}': call the file {manifest.name}.yaml")
    if manifest.kind == "miniature" and path.parent != MANIFESTS:
        _check_drawn(manifest, path)
    return manifest


def _text(path: Path) -> str:
    if not path.is_file():
        kind = "a link to nothing" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"{path} is {kind}, where a manifest is a text file: remove it, or put a file in its place")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is no manifest: it has {path.stat().st_size:,} bytes, the most is {MOST_BYTES:,}")
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        said = f"byte {data[error.start]:#x} in line {line}"
        raise InputError(f"{path} is not UTF-8 text ({said}): save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False)
        places = [".".join(map(str, each["loc"])) or "the file" for each in found]
        said = [f"{place}: {each['msg']}{_given(each['input'])}" for place, each in zip(places, found)]
        return "; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else "")
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


def _given(value: object) -> str:
    """What was given, where it is no text: ``no`` and ``1`` are none unless they stand in quotes."""
    return f", not {value}; put it in quotes if it is a name" if isinstance(value, bool | int | float) else ""


def _check_drawn(own: Manifest, path: Path) -> None:
    """Check that a reader's manifest of a miniature names what is drawn; wording may differ, but not the order."""
    drawn = task_names("miniature")
    if own.name not in drawn:
        raise InputError(
            f"{path} has kind miniature, and the library draws no task '{own.name}', only {', '.join(drawn)}: take kind "
            "images, and folders where they lie"
        )
    names = load_manifest(own.name).classes
    moved = [name for given, name in zip(own.classes, names) if given != name and given in names]
    if moved or len(own.classes) != len(names):
        raise InputError(f"{path} has other classes than are drawn, or another order: give names for {', '.join(names)}")


def _paths(data_root: str | Path | None) -> dict[str, Path]:
    """The files by name; hidden ones, such as a Mac's ``._Cars.yaml`` or an editor's lock, are no manifests."""
    if not MANIFESTS.is_dir():
        raise InputError(f"no manifests at {MANIFESTS}: tangent_lib works from a checkout; install it with pip install -e .")
    paths = {}
    for folder in (MANIFESTS,) if data_root is None else (MANIFESTS, Path(data_root, OWN)):
        here = [each for each in folder.glob("*") if each.suffix.lower() in MANIFEST_SUFFIXES and each.name[0] != "."]
        for name, count in Counter(path.stem for path in here).items():
            if count > 1:
                files = ", ".join(sorted(path.name for path in here if path.stem == name))
                raise InputError(f"{folder} has {count} manifests of {name}: {files}. Leave one")
        paths |= {path.stem: path for path in here}
    return paths


@cache
def task_names(kind: str | None = None, control: bool | None = None, data_root: str | Path | None = None) -> tuple[str, ...]:
    """The names of all manifests, or those of one kind, with or without the control tasks.

    Example:
        >>> task_names("miniature", control=True)
        ('Objects',)
    """
    names = sorted(_paths(data_root))
    if kind is not None:
        names = [name for name in names if load_manifest(name, data_root).kind == kind]
    if control is not None:
        names = [name for name in names if load_manifest(name, data_root).control == control]
    return tuple(names)
