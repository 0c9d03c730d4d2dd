"""Dataset manifests: what a task is called, its classes in CLIP's wording, its prompts, where its images come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tangent_lib.errors import InputError, unknown

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "data_manifests"


class Manifest(BaseModel):
    """One YAML file of ``data_manifests/``.

    ``classes`` may be left out for a folder dataset: then the names of the class folders are used, ``_`` as a space.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["miniature", "folder"]
    control: bool = False
    mirrors: str | None = None
    description: str
    source: str
    licence: str
    folder: str | None = None
    classes: dict[str, str] | list[str] | None = Field(
        None, description="names in CLIP's wording, in label order; or a map from class folder to name"
    )
    templates: list[str] = Field(min_length=1)


@cache
def load_manifest(name: str) -> Manifest:
    """Read and check one manifest.

    Raises:
        InputError: for an unknown task, or a file that does not fit the schema.

    Example:
        >>> load_manifest("Digits").mirrors
        'MNIST'
    """
    path = FOLDER / f"{name}.yaml"
    if name not in task_names():
        raise unknown("task", name, task_names())
    try:
        return Manifest.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise InputError(f"{path.name} is not a valid manifest: {error}") from error


@cache
def task_names(kind: str | None = None, control: bool | None = None) -> tuple[str, ...]:
    """The names of all manifests, or those of one kind, with or without the control tasks.

    Example:
        >>> task_names("miniature", control=True)
        ('Objects',)
    """
    if not FOLDER.is_dir():
        raise InputError(
            f"no manifests at {FOLDER}: tangent_lib works from a checkout; install it with pip install -e ."
        )
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if kind is not None:
        names = [name for name in names if load_manifest(name).kind == kind]
    if control is not None:
        names = [name for name in names if load_manifest(name).control == control]
    return tuple(names)
