"""The layouts in which the images of a dataset may lie, and the search for the one in which they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tangent_lib.data import files, trees
from tangent_lib.data.listing import Listing, first_match
from tangent_lib.data.manifests import Manifest
from tangent_lib.runtime.errors import InputError, needs_extra, unknown


def _read_parquet(folder: Path, manifest: Manifest, test: str = "test") -> Listing:
    with needs_extra("data", "reading parquet files"):
        from tangent_lib.data.parquet import read_parquet
    return read_parquet(folder, manifest, test)


@dataclass(frozen=True)
class Layout:
    """One way in which images lie in a dataset's folder.

    ``needs`` are globs, of which each must fit something; ``|`` divides those of which one is enough.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Path, Manifest], Listing]
    describes: str


def _within(folders: str, pattern: str) -> str:
    return "|".join(f"{folder}/{pattern}" for folder in folders.split("|"))


_ALL = [
    Layout("folders", ("train/*/*", "test/*/*"), trees.read_folders, "train/<class>/<image> and test/<class>/<image>"),
    Layout(
        "folders-val",
        ("train/*/*", "val_in_folder/*/*|val/*/*"),
        partial(trees.read_folders, test="val_in_folder|val"),
        "train/<class>/<image> and val/<class>/<image>, where val serves as test",
    ),
    Layout(
        "folders-splits",
        ("train/*/*", "val/*/*", "test/*/*"),
        trees.read_folders,
        "{train,val,test}/<class>/<image>, where val is not used",
    ),
    Layout(
        "cars",
        (files.CARS_META, *files.CARS_ANNOTATIONS.values(), "cars_train/*", "cars_test/*"),
        files.read_cars,
        "devkit/, cars_train/, cars_test/ and cars_test_annos_withlabels.mat",
    ),
    Layout(
        "dtd",
        (
            _within(trees.DTD_IMAGES, "*/*"),
            *(_within("labels|dtd/labels", name) for names in trees.DTD_LISTS.values() for name in names),
        ),
        trees.read_dtd,
        "images/<class>/<image> and labels/{train1,val1,test1}.txt",
    ),
    Layout("eurosat", (_within(trees.EUROSAT_IMAGES, "*/*"),), trees.read_eurosat, "2750/<class>/<image>"),
    Layout(
        "gtsrb",
        (f"{files.GTSRB_TRAIN}/*/*.ppm", f"{files.GTSRB_TEST}/*.ppm", files.GTSRB_TABLE),
        files.read_gtsrb,
        "GTSRB/Training/<class>/*.ppm, GTSRB/Final_Test/Images/*.ppm and GT-final_test.csv",
    ),
    Layout(
        "mnist",
        tuple(files.either_compressed(need) for needs in files.MNIST_FILES for need in needs),
        files.read_mnist,
        "{train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, each with .gz or without",
    ),
    Layout(
        "resisc45",
        (f"{trees.RESISC45_IMAGES}/*/*", *(name for names in trees.RESISC45_LISTS.values() for name in names)),
        trees.read_resisc45,
        "NWPU-RESISC45/<class>/<image>, resisc45-train.txt and resisc45-test.txt",
    ),
    Layout(
        "sun397",
        (
            _within(trees.SUN397_IMAGES, "[a-z]/*/*"),
            *(trees.sun397_list(name) for names in trees.SUN397_LISTS.values() for name in names),
        ),
        trees.read_sun397,
        "SUN397/a/abbey/<image>, Training_01.txt and Testing_01.txt",
    ),
    Layout("svhn", files.SVHN_FILES, files.read_svhn, "train_32x32.mat and test_32x32.mat"),
    Layout(
        "parquet",
        ("*/train-*.parquet", "*/test-*.parquet"),
        _read_parquet,
        "data/train-*.parquet and data/test-*.parquet, as on the Hugging Face hub",
    ),
    Layout(
        "parquet-val",
        ("*/train-*.parquet", "*/validation-*.parquet"),
        partial(_read_parquet, test="validation"),
        "data/train-*.parquet and data/validation-*.parquet, where validation serves as test",
    ),
]
LAYOUTS = {layout.name: layout for layout in _ALL}


def _places(manifest: Manifest, data_root: Path) -> Iterator[Path]:
    """The folders that a manifest names; one that holds another of its own name, as archives make them, is both."""
    for folder in (data_root / name for name in manifest.folders):
        yield folder
        if folder.name and (folder / folder.name).is_dir():
            yield folder / folder.name


def find_layout(manifest: Manifest, data_root: str | Path) -> tuple[Layout, Path] | None:
    """The first layout, and folder, in which all that it needs is there: layouts before folders, as the manifest orders them.

    Returns:
        the layout and the dataset's folder, or None if nothing of any layout is there.

    Raises:
        InputError: if some is there, but no layout is complete, naming what is missing; or for an unknown layout.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> find_layout(load_manifest("Cars"), "no_such_folder") is None
        True
    """
    begun = []
    for name in manifest.layouts:
        if name not in LAYOUTS:
            raise unknown("layout", name, LAYOUTS, f"It stands in the manifest of {manifest.name}.")
        layout = LAYOUTS[name]
        for folder in _places(manifest, Path(data_root)):
            missing = [need for need in layout.needs if first_match(folder, need) is None]
            if not missing:
                return layout, folder
            if len(missing) < len(layout.needs):
                lacking = ", ".join(" or ".join(need.split("|")[:2]) for need in missing)
                begun.append(f"as layout '{name}' ({layout.describes}), {folder} lacks {lacking}")
    if begun:
        raise InputError(f"{manifest.name} is not complete: {'; '.join(begun)}. Add what is missing")
    return None
