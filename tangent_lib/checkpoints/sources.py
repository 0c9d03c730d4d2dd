"""Where the files of a family are found: in a folder, or on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from tangent_lib.checkpoints.families import Family
from tangent_lib.runtime.errors import InputError, unknown


@dataclass(frozen=True)
class Source:
    """A file that is there, what it is called where it comes from, and the commit of its repository on the hub."""

    path: Path
    name: str
    revision: str | None = None


class Unreachable(InputError):
    """A file of the hub is not in its cache, and there is no network."""


class Folder:
    """Checkpoints that lie in a folder, as on the hub or from any folder of it downwards."""

    def __init__(self, family: Family, model: str, folder: Path):
        if not folder.is_dir():
            raise InputError(f"there is no folder '{folder}': give the one that the checkpoints of {family.name} lie in")
        self.family, self.folder = family, folder
        self.spellings = tuple(dict.fromkeys((family.model(model), model)))

    def finetuned(self, tasks: Sequence[str]) -> dict[str, Source]:
        """The file of every task."""
        found = {task: self._first(self.family.paths, task) for task in tasks}
        missing = [task for task in tasks if found[task] is None]
        if missing:
            first = self._candidates(self.family.paths, missing[0])[0]
            raise InputError(
                f"no checkpoint of {', '.join(missing)} in '{self.folder}': {self.family.name} files it as {first}, there or "
                f"from any folder of this path downwards. Get it from {self.family.page}"
            )
        return {task: source for task, source in found.items() if source}

    def zero_shot(self, tasks: Sequence[str]) -> Source | None:
        """The family's own pre-trained weights, if they lie there."""
        return next(filter(None, (self._first(self.family.zero_shot, task) for task in tasks)), None)

    def _candidates(self, paths: Sequence[str], task: str) -> list[str]:
        its = self.family.tasks[task]
        return [path.format(model=m, task=its) for path in self.family.local_paths(paths) for m in self.spellings]

    def _first(self, paths: Sequence[str], task: str) -> Source | None:
        there = (path for path in self._candidates(paths, task) if (self.folder / path).is_file())
        return next((Source(self.folder / path, path) for path in there), None)


class Hub:
    """Checkpoints on the hub, downloaded into its cache; ``revision`` is a commit, without which the newest is taken."""

    def __init__(self, family: Family, model: str, revision: str | None = None):
        if family.repository is None:
            raise InputError(f"{family.name} is not on the hub: download it from {family.page} and give --from FOLDER")
        if family.model(model) not in family.models.values():
            raise unknown(f"model of {family.name}", model, family.models)
        self.family, self.model, self.revision = family, family.model(model), revision

    def finetuned(self, tasks: Sequence[str]) -> dict[str, Source]:
        """The file of every task."""
        found = {}
        for task in tasks:
            source = self._first(self.family.paths, task)
            if source is None:
                raise InputError(
                    f"the hub has no {self._path(self.family.paths[0], task)} in {self._repository(task)}. {self._by_hand()}"
                )
            found[task] = source
        return found

    def zero_shot(self, tasks: Sequence[str]) -> Source | None:
        """The family's own pre-trained weights, if it has them and they are within reach."""
        try:
            return self._first(self.family.zero_shot, tasks[0])
        except Unreachable:
            return None

    def _first(self, paths: Sequence[str], task: str) -> Source | None:
        repository, unreachable = self._repository(task), None
        for path in (self._path(each, task) for each in paths):
            try:
                file = Path(huggingface_hub.hf_hub_download(repository, path, revision=self.revision))
            except LocalEntryNotFoundError as error:
                unreachable = error
            except EntryNotFoundError:
                continue
            except (OSError, ValueError) as error:
                reason = str(error).strip().split("\n")[0][:200]
                raise InputError(f"{repository}/{path} could not be downloaded ({reason}). {self._by_hand()}") from error
            else:
                return Source(file, f"{repository}/{path}", _commit(file))
        if unreachable:
            raise Unreachable(
                f"{repository}/{self._path(paths[0], task)} is neither in the hub's cache nor to be had from the network. "
                f"{self._by_hand()}"
            ) from unreachable
        return None

    def _path(self, path: str, task: str) -> str:
        return path.format(model=self.model, task=self.family.tasks[task])

    def _repository(self, task: str) -> str:
        return self._path(str(self.family.repository), task)

    def _by_hand(self) -> str:
        return (
            f"Download it by hand from {self.family.page}, unpack archives, and give --from FOLDER; or fill the cache where "
            "there is a network and point HF_HOME to it"
        )


def _commit(file: Path) -> str | None:
    """The hub's cache keeps the files of a commit in a folder of that name."""
    parts = file.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None
