"""Checkpoints that others fine-tuned, brought into one form: a safetensors file a task, and a record of where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from tangent_lib.checkpoints.families import Family, family_named
from tangent_lib.checkpoints.sources import Folder, Hub, Source
from tangent_lib.checkpoints.staging import staged
from tangent_lib.checkpoints.towers import Tower, to_image_tower
from tangent_lib.models.clip import Clip, fingerprint
from tangent_lib.models.tensors import read_tensors
from tangent_lib.runtime.errors import InputError, first_fault, unknown
from tangent_lib.runtime.provenance import provenance
from tangent_lib.task_vectors import MismatchError, Params, check_match

IMPORT_RECORD = "record.json"
LARGEST_DIFFERENCE = 1e-6  # between the pre-trained weights of a family and ours, as they are or rounded to fp16


class Origin(BaseModel, extra="forbid", frozen=True):
    """A file that was read: its name where it comes from, the commit if it is the hub's, its checksum."""

    file: str
    revision: str | None
    sha256: str


class ImportedTask(BaseModel, extra="forbid", frozen=True):
    """What was made of one checkpoint; the fields are those of ``towers.Tower``."""

    origin: Origin
    sha256: str
    taken: list[str]
    left: list[str]
    kept: list[str]
    cast: list[str]
    distance: float
    remark: str


class ZeroShot(BaseModel, extra="forbid", frozen=True):
    """The family's own pre-trained weights against ours: the largest difference, as they are and rounded to fp16."""

    origin: Origin
    difference: float
    difference_fp16: float


class ImportRecord(BaseModel, extra="forbid", frozen=True):
    """Where imported checkpoints come from, and what they were fine-tuned from; ``theta_0`` is its fingerprint."""

    family: str
    describes: str
    page: str
    licence: str
    recipe: str
    model: str
    pretrained: str
    theta_0: str
    tasks: dict[str, ImportedTask]
    zero_shot: ZeroShot | None
    provenance: dict[str, str]


class Imported:
    """Imported checkpoints of one model, opened with ``open_imported``."""

    def __init__(self, folder: Path, clip: Clip, record: ImportRecord, tasks: Sequence[str]):
        self.folder, self.record, self._clip = folder, record, clip
        self._tasks = tuple(tasks) or tuple(record.tasks)

    @property
    def digest(self) -> str:
        """A fingerprint of the weights of the tasks that it was opened for."""
        return _digest_of({task: self.record.tasks[task].sha256 for task in self._tasks})

    def tensors(self, task: str) -> Params:
        """theta_star of a task: names, shapes, dtypes and device of theta_0.

        Raises:
            InputError: for a task that was not imported, or a file that was changed since.
        """
        if task not in self.record.tasks:
            raise _not_imported(task, self.record, self.folder)
        path = self.folder / f"{task}.safetensors"
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != self.record.tasks[task].sha256:
                raise ValueError("it does not have the recorded checksum")
            tensors = load(data)
            theta = {name: tensors[name].to(value.device) for name, value in self._clip.theta_0.items()}
            check_match(theta, self._clip.theta_0)
        except (OSError, ValueError, KeyError, SafetensorError, MismatchError) as error:
            raise InputError(f"'{path}' is missing or damaged ({error}): import it again") from error
        return theta


def open_imported(folder: Path, clip: Clip, tasks: Sequence[str] = ()) -> Imported:
    """Open what ``import_family`` wrote, for the model that it belongs to.

    Args:
        folder: the one that holds ``record.json``.
        clip: the model whose theta_0 the checkpoints were fine-tuned from.
        tasks: those that will be asked for; all of them, if none is named.

    Raises:
        InputError: if there is no import, it is damaged, belongs to other weights, or lacks a task.
    """
    record = _read_record(folder)
    if record is None:
        raise InputError(f"no imported checkpoints in '{folder}': make some with tangent checkpoints import")
    if record.theta_0 != fingerprint(clip.theta_0):
        raise InputError(
            f"the checkpoints in '{folder}' were fine-tuned from {record.model}, {record.pretrained}, not from "
            f"{clip.name}, {clip.pretrained}: give these with -p model and -p pretrained, or import others"
        )
    for task in tasks:
        if task not in record.tasks:
            raise _not_imported(task, record, folder)
    return Imported(folder, clip, record, tasks)


def check_import(
    family: str, model: str, origin: str | Path, tasks: Sequence[str], to: Path, revision: str | None = None
) -> None:
    """Judge what can be judged of an import before the model is loaded, which may mean a download.

    Args:
        model: its name; the others are those of :func:`import_family`.

    Raises:
        InputError: for an unknown family or task, files that are not in the folder, or a damaged import to add to.
    """
    its = family_named(family)
    its.check(tasks)
    place = _place(its, model, origin, revision)
    if isinstance(place, Folder):
        place.finetuned(tasks)
    _read_record(to / its.name / model)


def import_family(
    family: str, clip: Clip, origin: str | Path, tasks: Sequence[str], to: Path, revision: str | None = None
) -> ImportRecord:
    """Import checkpoints into ``<to>/<family>/<model>/``; tasks that were imported before stay.

    Args:
        family: a key of ``FAMILIES``.
        clip: the model that they were fine-tuned from.
        origin: ``hub``, or the folder that they lie in.
        tasks: this project's names of them.
        revision: a commit of the hub's repository; the newest without.

    Raises:
        InputError: for anything that cannot be found, read, or fitted to the model. Nothing is written then.
    """
    its = family_named(family)
    its.check(tasks)
    folder = to / its.name / clip.name
    before, theta_0 = _read_record(folder), fingerprint(clip.theta_0)
    if before is not None and before.theta_0 != theta_0:
        raise InputError(f"'{folder}' holds an import for other pre-trained weights: name another folder with --to")
    plain = clip.name.removesuffix("-quickgelu")
    place = _place(its, clip.name, origin, revision)
    found = place.finetuned(tasks)
    zero_shot = _compare(its, place.zero_shot(tasks), clip.theta_0)
    size = sum(value.numel() * value.element_size() for value in clip.theta_0.values()) * len(tasks)
    with staged(folder, last=IMPORT_RECORD, size=size) as temporary:
        imported = {}
        for task, source in found.items():
            remark = its.remarks.get((plain, task), "")
            tower = _tower(its, source, clip.theta_0, remark)
            path = temporary / f"{task}.safetensors"
            save_file(tower.tensors, path, {"family": its.name, "task": task, "theta_0": theta_0})
            imported[task] = ImportedTask(
                origin=_origin(source),
                sha256=_sha256(path),
                taken=list(tower.taken),
                left=list(tower.left),
                kept=list(tower.kept),
                cast=list(tower.cast),
                distance=tower.distance,
                remark=remark,
            )
        record = ImportRecord(
            family=its.name,
            describes=its.describes,
            page=its.page,
            licence=its.licence,
            recipe=its.recipe,
            model=clip.name,
            pretrained=clip.pretrained,
            theta_0=theta_0,
            tasks={**(before.tasks if before else {}), **imported},
            zero_shot=zero_shot or (before.zero_shot if before else None),
            provenance=provenance(),
        )
        (temporary / IMPORT_RECORD).write_text(record.model_dump_json(indent=1) + "\n")
    return record


def _place(family: Family, model: str, origin: str | Path, revision: str | None) -> Folder | Hub:
    plain = model.removesuffix("-quickgelu")
    return Hub(family, plain, revision) if origin == "hub" else Folder(family, plain, Path(origin))


def _compare(family: Family, source: Source | None, theta_0: Params) -> ZeroShot | None:
    """Refuse a family whose own pre-trained weights are not ours."""
    if source is None:
        return None
    tensors = _tower(family, source, theta_0, "").tensors
    largest = lambda change: max(float((change(tensors[n]) - change(v.cpu())).abs().max()) for n, v in theta_0.items())
    exact, rounded = largest(Tensor.float), largest(lambda value: value.half().float())
    if not min(exact, rounded) <= LARGEST_DIFFERENCE:
        raise InputError(
            f"the pre-trained weights of {family.name} in '{source.path}' differ from the model's by up to {exact:.2g} "
            f"(rounded to fp16, {rounded:.2g}; allowed is {LARGEST_DIFFERENCE}): the model has others. Name these with "
            "--pretrained"
        )
    return ZeroShot(origin=_origin(source), difference=exact, difference_fp16=rounded)


def _tower(family: Family, source: Source, theta_0: Params, remark: str) -> Tower:
    try:
        state = read_tensors(source.path)
    except InputError as error:
        raise InputError(f"{error}{f'. {remark}' if remark else ''}") from error
    try:
        return to_image_tower(state, theta_0, family.names, family.left)
    except InputError as error:
        raise InputError(f"{family.name}, {source.name}: {error}") from error


def _origin(source: Source) -> Origin:
    return Origin(file=source.name, revision=source.revision, sha256=_sha256(source.path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read_record(folder: Path) -> ImportRecord | None:
    try:
        return ImportRecord.model_validate_json((folder / IMPORT_RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise InputError(f"'{folder / IMPORT_RECORD}' is damaged: remove the folder and import again ({reason})") from error


def _not_imported(task: str, record: ImportRecord, folder: Path) -> InputError:
    return unknown("imported task", task, record.tasks, f"Import it into '{folder}', too, or leave it out with -p tasks.")
