"""Checking a prepared dataset: counts, checksums, and test images that training has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.data.packed import PackedSplit, open_split
from tangent_lib.data.prepare import MOST_HELD_OUT, Card, count_seen, current_card, prepared_folder, source_changed
from tangent_lib.runtime.errors import InputError

MOST_SEEN = 0.01  # of the test images: some datasets hold a few images twice, a bad split shares many


@dataclass(frozen=True)
class Finding:
    """One result of a check; a ``note`` is worth knowing, a ``fault`` makes results wrong."""

    level: Literal["ok", "note", "fault"]
    text: str


def verify_dataset(name: str, data_root: str | Path, progress: bool = True) -> list[Finding]:
    """Check a prepared dataset against its manifest, its card and its own checksums; reads every pixel.

    Faults are: a dataset that is not prepared or damaged, other numbers of images than the manifest gives, pixels that differ
    from their checksum, other files than it was prepared from, and more than 1 % of the test images in train or val.

    Raises:
        InputError: for an unknown name.
    """
    manifest = load_manifest(name, data_root)
    try:
        card = current_card(manifest, data_root)
        if card is None:
            return [Finding("fault", f"not prepared in {data_root}")]
        splits = {split: open_split(prepared_folder(data_root, name), split) for split in card.content}
    except InputError as error:
        return [Finding("fault", str(error))]
    findings = []
    if source_changed(card, prepared_folder(data_root, name)):
        text = "the files that it was prepared from are no longer what they were, or where: prepare it, which reads them anew"
        findings.append(Finding("fault", text))
    for split, packed in splits.items():
        findings += _size(manifest, split, packed)
        if packed.content == card.content[split]:
            findings += [*_classes(card, split, packed), _checksums(card, split, packed, progress)]
        else:
            findings.append(Finding("fault", f"{split}: images or labels are not those that the card records"))
    return [*findings, _seen(splits)]


def _size(manifest: Manifest, split: str, packed: PackedSplit) -> list[Finding]:
    if manifest.sizes is None:
        return []
    held_out = min(MOST_HELD_OUT, manifest.sizes.train // 10)
    said = {"train": manifest.sizes.train - held_out, "val": held_out, "test": manifest.sizes.test}[split]
    if len(packed) == said:
        return [Finding("ok", f"{split}: {said:,} images, as the manifest says")]
    return [Finding("fault", f"{split}: {len(packed):,} images instead of {said:,}, as the manifest says")]


def _classes(card: Card, split: str, packed: PackedSplit) -> list[Finding]:
    counts = packed.labels.bincount(minlength=len(card.classes)).tolist()
    if counts != card.counts[split]:
        return [Finding("fault", f"{split}: the images of each class are not as many as the card says")]
    empty = [name for name, count in zip(card.classes, counts) if not count]
    if not empty:
        return []
    return [Finding("note", f"{split}: no images of {len(empty)} of {len(counts)} classes: {_some(empty)}")]


def _checksums(card: Card, split: str, packed: PackedSplit, progress: bool) -> Finding:
    numbers = tqdm(range(len(packed)), f"{card.name} {split}", unit=" images", disable=None if progress else True)
    bad = [i for i in numbers if not packed.intact(i)]
    if not bad:
        return Finding("ok", f"{split}: every image has its checksum")
    text = f"{split}: {len(bad):,} of {len(packed):,} images differ from their checksums: numbers {_some(bad)}"
    return Finding("fault", text)


def _some(values: list) -> str:
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def _seen(splits: dict[str, PackedSplit]) -> Finding:
    test, others = splits["test"], {split: packed for split, packed in splits.items() if split != "test"}
    count, places = count_seen(test, *others.values()), " or ".join(others)
    if not count:
        return Finding("ok", f"no test image is in {places}")
    each = ", ".join(f"{count_seen(test, packed):,} in {split}" for split, packed in others.items())
    text = f"{count:,} of {len(test):,} test images are in {places} too ({each})"
    if count <= MOST_SEEN * len(test):
        return Finding("note", text)
    return Finding("fault", f"{text}: accuracy on test means nothing")
