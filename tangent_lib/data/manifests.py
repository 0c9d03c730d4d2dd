"""Dataset manifests: what a task is called, its classes in CLIP's wording, its prompts, where its images come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError, unknown

MANIFESTS = ROOT / "data_manifests"
OWN = "manifests"  # the folder of a reader's own manifests, in data_root


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

    name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    kind: Literal["miniature", "images"]
    control: bool = False
    mirrors: str | None = None
    description: str
    source: str
    licence: str
    folders: list[str] = Field([], description="where images may lie in data_root already; downloads go to the first")
    layouts: list[str] = Field(["folders"], description="how they may lie there, in order of preference")
    columns: dict[Literal["image", "label"], str] = Field({}, description="of parquet files, where there are several")
    downloads: list[Download] = Field([], description="in order of preference")
    split: str = Field("", description="how train and test come about")
    sizes: Sizes | None = None
    gigabytes: Gigabytes | None = None
    epochs: int | None = Field(None, ge=1, description="of fine-tuning in the released code, about 2,000 steps")
    classes: dict[str, str] | list[str] | None = Field(
        None, description="names in CLIP's wording, in label order; or a map from class folder to name, sorted by folder"
    )
    templates: list[str] = Field(min_length=1)
    quirks: list[str] = []

    @model_validator(mode="after")
    def _images_lie_somewhere(self) -> Manifest:
        if (self.kind == "images") != bool(self.folders):
            raise ValueError("folders are given for kind images, and for no other")
        return self


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
    try:
        manifest = Manifest.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise InputError(f"{path.name} is not a valid manifest: {error}") from error
    if manifest.name != name:
        raise InputError(f"{path} is the manifest of '{manifest.name}': call the file {manifest.name}.yaml")
    return manifest


def _paths(data_root: str | Path | None) -> dict[str, Path]:
    if not MANIFESTS.is_dir():
        raise InputError(f"no manifests at {MANIFESTS}: tangent_lib works from a checkout; install it with pip install -e .")
    own = [] if data_root is None else Path(data_root, OWN).glob("*.yaml")
    return {path.stem: path for path in (*MANIFESTS.glob("*.yaml"), *own)}


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
