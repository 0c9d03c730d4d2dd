"""The jobs that follow from a configuration: read by ``workflow/Snakefile``.

A *part* is one model with its parameters: the pages of the book, or a model recorded over several seeds. Each needs
fine-tunings, one a task, training and seed; its pages and its recorded sections say which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tangent_lib.cli.workflow_config import (
    AT_SCALE,
    FIRST_SEED,
    MEASURED,
    PAGES,
    SHARED,
    Config,
    read_arguments,
)
from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.modes import MINIATURES, PARAMETERS, TRAININGS, automatic
from tangent_lib.runtime.digests import COMPUTED_BY, code_of
from tangent_lib.runtime.disk import ROOT, given_path
from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.words import command_line, seed_numbers, words

ALL = "all"


@dataclass(frozen=True)
class ModelJobs:
    """One model with its parameters, and what is to be computed for it.

    Attributes:
        trainings: the fine-tunings that are jobs of their own, one a task.
        together: or one for all tasks, where starting a process takes as long as fine-tuning.
    """

    name: str
    parameters: dict[str, str]
    pages: tuple[str, ...]
    sections: tuple[str, ...]
    trainings: tuple[str, ...]
    gpus_per_job: int
    together: bool = False

    @property
    def model(self) -> str:
        return given_or_default(self.parameters, "model")

    @property
    def seeds(self) -> list[int]:
        return list(seed_numbers(given_or_default(self.parameters, "seeds")))

    @property
    def folder(self) -> str:
        return self.model.replace("/", "_")

    @property
    def work(self) -> str:
        return f"runs/workflow/{self.name}/{self.folder}"

    @property
    def real(self) -> bool:
        """Not one of the miniatures, which need neither data nor a GPU."""
        return self.model not in MINIATURES

    @property
    def gpus(self) -> int:
        return self.gpus_per_job if self.real else 0

    @property
    def data_root(self) -> Path:
        given = given_or_default(self.parameters, "data_root")
        return given_path("data_root", "data" if given == "auto" else given)

    @property
    def tasks(self) -> list[str]:
        given = given_or_default(self.parameters, "tasks")
        return list(automatic(self.model).tasks if given == "auto" else words(given))

    @property
    def control(self) -> str:
        given = given_or_default(self.parameters, "control")
        return automatic(self.model).control if given == "auto" else given

    def prepared(self, *tasks: str) -> list[str]:
        """The marks of the image datasets among these tasks, or among all of its own and its control: they are prepared."""
        names = tasks or (*self.tasks, self.control)
        return [f"runs/workflow/data/{name}" for name in names if load_manifest(name, self.data_root).kind == "images"]

    @property
    def version(self) -> str:
        """Kept results are of no use once this changes: the code that computes them, and the card of shipped weights."""
        card, code = ROOT / "tangent_lib" / "miniature" / self.model / "card.json", code_of(*COMPUTED_BY)
        return code if self.real else f"{code}-{digest([card])}"

    def arguments(self, without: Iterable[str] = (), **others: object) -> str:
        """Its parameters as a command line gives them, some left out, some replaced."""
        given = {name: value for name, value in {**self.parameters, **others}.items() if name not in without}
        return " ".join(command_line("-p", name, value) for name, value in given.items())

    def named(self, task: str) -> list[str]:
        """The tasks that a fine-tuning job names: ``all`` stands for all."""
        return self.tasks if task == ALL else [task]

    def finetunings(self, trainings: Iterable[str], seeds: Iterable[int] | None = None) -> list[str]:
        """The receipts of those of these trainings that are jobs of their own."""
        return [
            f"{self.work}/{training}/{task}-{seed}.json"
            for training in TRAININGS
            if training in trainings and training in self.trainings
            for seed in (self.seeds if seeds is None else seeds)
            for task in ([ALL] if self.together else self.tasks)
        ]

    def evaluations(self) -> list[str]:
        """The receipts of its sections, one a seed, but for what is measured with the record."""
        return [
            f"{self.work}/evaluated/{section.replace(' ', '-')}-{seed}.json"
            for section in self.sections
            if section not in MEASURED
            for seed in (self.seeds[:1] if section in FIRST_SEED else self.seeds)
        ]


def read_parts(config: Config) -> dict[tuple[str, str], ModelJobs]:
    """The parts of a configuration: ``("book", FOLDER)`` first, then a ``("records", FOLDER)`` for each recorded model.

    Example:
        >>> from tangent_lib.cli.workflow_config import read_config
        >>> list(read_parts(read_config({"records": {"ViT-B-32": {}}})))
        [('book', 'ViT-Mini-8'), ('records', 'ViT-B-32')]
    """
    common = read_arguments(config.common)
    parts = [_part("book", {**common, **read_arguments(config.pages)}, PAGES, (), config)]
    for model, record in config.records.items():
        parameters = {**common, "model": model, "seeds": ",".join(map(str, record.seeds))}
        parts.append(_part("records", parameters, AT_SCALE if record.pages else (), record.sections, config))
    roots = {part.data_root for part in parts}
    if len(roots) > 1:
        names = " and ".join(map(str, roots))
        raise InputError(f"data_root {names}: all jobs read the same data; give it in common, not in pages")
    return {(part.name, part.folder): part for part in parts}


def _part(name: str, parameters: dict[str, str], pages: Iterable[str], sections: Iterable[str], config: Config) -> ModelJobs:
    model, imported = given_or_default(parameters, "model"), given_or_default(parameters, "checkpoints") != "none"
    short = name == "book" and model in MINIATURES  # starting a process for each would cost more than it gains
    trainings = {"auto": SHARED if short else tuple(TRAININGS), "all": tuple(TRAININGS), "none": ()}[config.trainings]
    if imported:  # they take the place of non-linear fine-tuning
        trainings = tuple(training for training in trainings if training != "non-linear")
    part = ModelJobs(name, parameters, tuple(pages), tuple(sections), trainings, config.gpus_per_job, together=short)
    if len(part.seeds) > 1 and imported:
        raise InputError(f"checkpoints come from one run, but {len(part.seeds)} seeds are asked for {model}: give one")
    known = task_names(data_root=part.data_root)
    for task in (*part.tasks, part.control):
        if task not in known:
            raise unknown("task", task, known)
    return part


def given_or_default(parameters: Mapping[str, str], name: str) -> str:
    """A parameter as it is given, or its default."""
    return parameters.get(name, PARAMETERS[name])


def digest(paths: Iterable[Path]) -> str:
    """One checksum of the contents of several files.

    Example:
        >>> digest([ROOT / "LICENSE"]) == digest([ROOT / "LICENSE"]) != digest([ROOT / "Makefile"])
        True
    """
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def library() -> list[Path]:
    """The files that decide what a page shows. Weights are known by their cards; the gallery reads finished pages.

    Commands and what the workflow reads start what makes a page, and show nothing on it.
    """
    own = [path for path in (ROOT / "tangent_lib").rglob("*") if path.suffix in (".py", ".html", ".json", ".gz")]
    others = [*(ROOT / "data_manifests").glob("*"), ROOT / "book" / "tangent.mplstyle", ROOT / "requirements.txt"]
    return [path for path in (*own, *others) if path.name != "gallery.py" and path.parent.name != "cli"]
