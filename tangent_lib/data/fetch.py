"""Fetching a dataset: its sources one after the other, until one has brought everything.

A source is collected in a hidden folder, ``<dataset>/.fetch``, where a broken download is continued by the next run.
Archives are unpacked there too. Only what is whole and unpacked is moved to where datasets are looked for; then the
hidden folder goes, and the archives with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
from filelock import FileLock
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import filter_repo_objects

from tangent_lib.data.manifests import Download, File, Manifest
from tangent_lib.data.unpack import is_archive, leaves, place, unpack
from tangent_lib.runtime.disk import DiskFull, check_disk, full_disk, is_full
from tangent_lib.runtime.errors import InputError, needs_extra

STAGE = ".fetch"
FETCH_RECORD = "fetched.json"
HUB_TIMEOUT = 10  # seconds for the hub's first answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """Where a dataset's files lie now and where they came from.

    ``revision`` is the commit of a hub repository, or the SHA-256 of each file.
    """

    folder: Path
    origin: str
    revision: str


def fetch(manifest: Manifest, data_root: str | Path, only: int | None = None) -> Fetched:
    """Bring a dataset into the first of its manifest's folders, from the first source that has all of it.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> fetch(load_manifest("MNIST"), "data", only=9)
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: MNIST has no source number 9: allowed are 0 to 2
    """
    sources = _chosen(manifest, Path(data_root), only)
    folder = Path(data_root, manifest.folders[0])
    before = recorded(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.fetch.lock"):
            after = recorded(folder)
            if after is not None and after != before:  # another process has just fetched it
                return after
            try:
                folder.mkdir(exist_ok=True)
                return _first(manifest, sources, folder)
            finally:
                _prune(folder)
    except OSError as error:
        if is_full(error):
            raise full_disk(f"{manifest.name} (what came is kept)", 1e9 * _gigabytes(manifest), folder) from error
        raise InputError(f"{folder} cannot be written ({error.strerror}): give another data root") from error


def recorded(folder: Path) -> Fetched | None:
    """Where the files of a dataset's folder came from, if :func:`fetch` brought them.

    Example:
        >>> recorded(Path("data/copied_by_hand")) is None
        True
    """
    try:
        record = json.loads((folder / FETCH_RECORD).read_text())
        return Fetched(folder, record["origin"], record["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _chosen(manifest: Manifest, data_root: Path, only: int | None) -> list[Download]:
    count = len(manifest.downloads)
    if not count:
        raise InputError(
            f"{manifest.name} has no source that can be fetched ({manifest.source}; licence: {manifest.licence}). "
            + _by_hand(manifest, data_root)
        )
    if only is not None and not 0 <= only < count:
        raise InputError(f"{manifest.name} has no source number {only}: allowed are 0 to {count - 1}")
    return manifest.downloads if only is None else [manifest.downloads[only]]


def _first(manifest: Manifest, sources: list[Download], folder: Path) -> Fetched:
    reasons = []
    for source in sources:
        stage = folder / STAGE / _slug(source)
        try:
            _check_room(manifest, source, stage)
            tree, revision = _from_hub(source, stage) if source.hub else _from_files(source, stage, _most(manifest))
            place(tree, folder)
        except DiskFull:  # so it is for the other sources
            raise
        except InputError as error:
            reasons.append(f"{_label(source)}: {error}")
            logger.warning("%s: %s", manifest.name, reasons[-1])
        else:
            record = {"origin": _origin(source), "revision": revision}
            (folder / STAGE / FETCH_RECORD).write_text(json.dumps(record, indent=1))
            os.replace(folder / STAGE / FETCH_RECORD, folder / FETCH_RECORD)
            shutil.rmtree(folder / STAGE)
            return Fetched(folder, **record)
    hub = ""
    if any(source.hub for source in sources):
        offline = "HF_HUB_OFFLINE is set: unset it. " if constants.HF_HUB_OFFLINE else ""
        hub = f"{offline}If huggingface.co is blocked, set HF_ENDPOINT to a mirror of the hub. "
    said = ". ".join(reason.rstrip(".") for reason in reasons)
    raise InputError(
        f"{manifest.name} could not be fetched from any source. {said}. If the network failed, run it again: what came is "
        f"kept. {hub}{_by_hand(manifest, folder.parent)}"
    )


def _by_hand(manifest: Manifest, data_root: Path) -> str:
    folders = " or ".join(str(data_root / each) for each in manifest.folders)
    return (
        f"Without a download: copy the files to {folders} by hand, in one of the layouts {', '.join(manifest.layouts)}; "
        f"or prepare {manifest.name} on a machine that has them and copy {data_root / 'prepared' / manifest.name}. "
        "The page 'Getting the datasets' shows each way."
    )


def _gigabytes(manifest: Manifest) -> float:
    return manifest.gigabytes.download + manifest.gigabytes.prepared if manifest.gigabytes else 0.0


def _most(manifest: Manifest) -> float | None:
    """How many bytes an archive may hold: twice what the dataset takes, which its manifest gives about."""
    return 2e9 * _gigabytes(manifest) if manifest.gigabytes else None


def _check_room(manifest: Manifest, source: Download, stage: Path) -> None:
    """Check that what is still to come, what is unpacked from it and the prepared form will fit."""
    if manifest.gigabytes is None:
        return
    times = 2 if any(map(is_archive, _targets(source))) else 1
    to_come = max(manifest.gigabytes.download * times - _there(stage) / 1e9, 0)
    check_disk(stage, to_come + manifest.gigabytes.prepared, f"{manifest.name}, fetched and prepared,")


def _there(stage: Path) -> int:
    return sum(path.lstat().st_size for path in stage.rglob("*") if path.is_file())


def _origin(source: Download) -> str:
    if source.hub:
        return f"https://huggingface.co/datasets/{source.hub}"
    return ", ".join(file.url for file in source.files)


def _label(source: Download) -> str:
    first, *more = _origin(source).split(", ")
    return f"{first} and {len(more)} more" if more else first


def _slug(source: Download) -> str:
    """The folder of a source: another one for other addresses, so that no two are ever mixed."""
    return hashlib.sha256(_origin(source).encode()).hexdigest()[:12]


def _from_hub(source: Download, stage: Path) -> tuple[Path, str]:
    """Download by the hub's client, which continues what is there and checks it; returns the folder and the commit."""
    what, needed = f"{source.hub} (what came is kept)", 0
    try:
        # asked first because it fails at once without a network, where the download would try for long
        info = huggingface_hub.HfApi().dataset_info(
            source.hub, revision=source.revision, timeout=HUB_TIMEOUT, files_metadata=True
        )
        sizes = {each.rfilename: each.size or 0 for each in info.siblings or []}
        wanted = list(filter_repo_objects(sizes, allow_patterns=source.patterns))
        if not wanted:
            raise InputError(f"it has no files {', '.join(source.patterns)}, only {', '.join(list(sizes)[:5])}")
        needed = sum(sizes[name] for name in wanted)
        check_disk(stage, (needed - _there(stage)) / 1e9, what)
        huggingface_hub.snapshot_download(
            source.hub, repo_type="dataset", revision=info.sha, allow_patterns=source.patterns, local_dir=stage
        )
    except InputError:
        raise
    except Exception as error:  # those of the HTTP library behind the client, which changes with its version
        if is_full(error):
            raise full_disk(what, needed - _there(stage), stage) from error
        raise InputError(_hub_reason(source, error)) from error
    missing = [name for name in wanted if not (stage / name).is_file()]
    if missing:  # the client takes a begun folder for a whole one if the network fails after its first answer
        raise InputError(f"{len(missing)} of {len(wanted)} files did not come, {missing[0]} for one")
    shutil.rmtree(stage / ".cache", ignore_errors=True)  # the client's own notes
    return stage, info.sha


def _hub_reason(source: Download, error: BaseException) -> str:
    while True:  # the client's last words are less telling than what led to them
        if isinstance(error, GatedRepoError):
            return f"its terms must be accepted at {_origin(source)} first; then log in with `hf auth login`"
        if isinstance(error, RepositoryNotFoundError):
            return "there is no such repository, or it is private"
        if isinstance(error, RevisionNotFoundError):
            return f"it has no revision {source.revision}"
        if isinstance(error, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set"
        if error.__cause__ is None:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"the hub cannot be reached, or does not give it ({said})"
        error = error.__cause__


def _from_files(source: Download, stage: Path, most: float | None) -> tuple[Path, str]:
    """Download the files, check them, unpack the archives; returns the folder and the checksums."""
    with needs_extra("data", "downloading files"):
        from tangent_lib.data.resume import fetch_file
    tree, packed, unpacked = stage / "tree", stage / "packed", stage / "unpacked"
    targets, found = _targets(source), {}
    for target, file in targets.items():
        try:
            found[target] = fetch_file(file.url, (packed if is_archive(target) else tree) / target, file.md5, file.sha256)
        except DiskFull:
            raise
        except InputError as error:
            raise InputError(f"{target}: {error}" if len(targets) > 1 else str(error)) from error
        if _unchecked(file):
            logger.warning("%s has no checksum in the manifest; what came has the sha256 %s", file.url, found[target])
    shutil.rmtree(unpacked, ignore_errors=True)  # of an earlier run
    for target, file in targets.items():
        if is_archive(target):
            try:
                unpack(packed / target, unpacked / file.to, most)
            except DiskFull:
                raise
            except InputError:
                if _unchecked(file):  # it may have come damaged: the next run is to get it anew
                    (packed / target).unlink()
                raise
    for folder in (tree, unpacked):
        folder.mkdir(exist_ok=True)
    place(unpacked, tree)
    return tree, ", ".join(f"{target} sha256:{digest}" for target, digest in found.items())


def _unchecked(file: File) -> bool:
    return file.md5 is None and file.sha256 is None


def _targets(source: Download) -> dict[str, File]:
    """The files by where they go, relative to the dataset's folder."""
    targets = {}
    for file in source.files:
        name = Path(unquote(urlsplit(file.url).path)).name
        target = Path(file.to, name).as_posix()
        if not name or leaves(target):
            raise InputError(f"{file.url} cannot be put into '{file.to}' of the dataset's folder: mend the manifest")
        if target in targets:
            raise InputError(f"two files would be called {target}: give them different folders ('to') in the manifest")
        targets[target] = file
    return targets


def _prune(folder: Path) -> None:
    """Remove the folders that stayed empty."""
    for path in sorted([folder, *(folder / STAGE).rglob("*"), folder / STAGE], reverse=True):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.rmdir()
