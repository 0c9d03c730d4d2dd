"""What there is to run, and which of it ``workflow/config.yaml`` asks for. Every job reads this: torch is not loaded."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from tangent_lib.cli.options import given_parameters
from tangent_lib.modes import TRAININGS
from tangent_lib.runtime.errors import InputError, unknown

_ATTENTION = tuple(name for name, each in TRAININGS.items() if each.selection != "all")
_RANDOM = tuple(name for name, each in TRAININGS.items() if each.untrained)
SHARED = tuple(name for name in TRAININGS if name not in (*_ATTENTION, *_RANDOM))
# the notebooks in the order in which they start, the long ones first, and the trainings that each uses
PAGES = {
    "08_attention_only": (*SHARED, *_ATTENTION),
    "07_random_init": (*SHARED, *_RANDOM),
    "03_nonlinear_advantage": ("non-linear",),
    "05_linear_ft": SHARED,
    "04_disentanglement": SHARED,
    "06_ntk_localization": (),
    "10_at_scale": (),
    "11_cost": (),
    "12_reliability": (),
    "02_task_vectors": ("non-linear",),
    "01_miniature": (),
    "09_claims": (),
}
MINIATURE_ALONE = ("01_miniature", "10_at_scale", "12_reliability")
AT_SCALE = tuple(page for page in PAGES if page not in MINIATURE_ALONE)  # those that any model can fill
# the sections of a recorded file, and the trainings that each uses
SECTIONS = {
    "non-linear": ("non-linear",),
    "linear": ("linear",),
    "negation": SHARED,
    "attention": ("attention-only",),
    "untrained": ("random-non-linear",),
    "untrained linear": ("random-linear",),
    "ntk": (),
    "ablation": _ATTENTION,
    "xi_grids": ("non-linear",),
    "cost": (),
}
FIRST_SEED = ("xi_grids",)  # of one seed only
MEASURED = ("cost",)  # not kept in the store: measured where the record is written
SEEDS = (0, 1, 2, 3, 4)  # of what is recorded


class RecordedModel(BaseModel, extra="forbid", frozen=True):
    """One model of ``records``: the seeds and sections to record, and whether its own pages are executed."""

    seeds: list[int] = Field(list(SEEDS), min_length=1)
    sections: list[Literal[*SECTIONS]] = Field(list(SECTIONS), min_length=1)
    pages: bool = False


class Config(BaseModel, extra="forbid", frozen=True):
    """The keys of ``workflow/config.yaml``."""

    pages: str = ""
    common: str = ""
    records: dict[str, RecordedModel] = {}
    trainings: Literal["auto", "all", "none"] = "auto"
    gpus_per_job: int = Field(1, ge=0)
    threads: int | Literal["auto"] = "auto"


def read_config(config: Mapping[str, object]) -> Config:
    """The configuration that Snakemake read, checked.

    Example:
        >>> read_config({"records": {"ViT-B-32": {"seeds": [0]}}}).records["ViT-B-32"].pages
        False
    """
    given = {key: value for key, value in config.items() if value is not None}  # as in --config pages=
    try:
        return Config.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        *outer, key = first["loc"]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown("key of the configuration", key, (RecordedModel if outer else Config).model_fields) from error
        raise InputError(f"configuration, {place}: {first['msg']}; see workflow/config.yaml") from error


def read_arguments(line: str) -> dict[str, str]:
    """Parameters written as papermill takes them.

    Example:
        >>> read_arguments("-p model ViT-B-16 -p seeds 0,1")
        {'model': 'ViT-B-16', 'seeds': '0,1'}
    """
    try:
        given = shlex.split(line)
    except ValueError:  # a quote that is not closed
        given = [""]
    triples = list(itertools.zip_longest(*[iter(given)] * 3))
    if any(flag not in ("-p", "--parameters") or value is None for flag, _, value in triples):
        raise InputError(f"parameters '{line}': give them as -p NAME VALUE, such as -p seeds 0,1 -p steps 100")
    return given_parameters([(name, value) for _, name, value in triples])
