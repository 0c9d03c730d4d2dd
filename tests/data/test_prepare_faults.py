"""Preparation that is interrupted, or asked for with bad input: whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest
from prepared import as_nobody, edit_manifest, everything, numbered, offline, write

from tangent_lib.data import packed, prepare
from tangent_lib.data.layouts import Layout
from tangent_lib.data.listing import Item, Listing
from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.prepare import check_prepared, ensure_prepared, prepared_folder, read_dataset_card, split_items
from tangent_lib.runtime import disk
from tangent_lib.runtime.errors import InputError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def mnist(tmp_path):
    write("MNIST", "mnist", tmp_path)
    return tmp_path


# -- interrupted -------------------------------------------------------------------------------------------------------
@pytest.fixture
def own(tmp_path, monkeypatch):
    """Prepare ``MNIST`` from a listing of the test's own."""

    def run(listing, **more):
        layout = Layout("mnist", (), lambda folder, manifest: listing, "")
        monkeypatch.setattr(prepare, "find_layout", lambda *args: (layout, tmp_path / "raw"))
        return offline("MNIST", tmp_path, **more)

    run.folder = prepared_folder(tmp_path, "MNIST")
    return run


def with_late(listing, read):
    """The listing, its last but one training image being read in another way; it is not among those sampled before."""
    late = split_items(load_manifest("MNIST"), listing)["train"][-2]
    train = [Item(late.name, late.label, read) if item is late else item for item in listing.train]
    return Listing(listing.classes, train, listing.test)


def counting(items, log):
    def read(item):
        with open(log, "a") as file:
            file.write(f"{item.name}\n")
        return item.read()

    return [Item(item.name, item.label, partial(read, item)) for item in items]


def stop():
    raise KeyboardInterrupt


def die():
    os._exit(9)


def test_complete_splits_are_kept_when_a_preparation_breaks_off(own, tmp_path):
    listing = numbered(40)
    with pytest.raises(KeyboardInterrupt):
        own(with_late(listing, stop))
    assert {path.name for path in own.folder.iterdir()} == {
        f"{split}.{kind}" for split in ("val", "test") for kind in ("pixels", "safetensors", "checked")
    }
    assert read_dataset_card(tmp_path, "MNIST") is None
    log = tmp_path / "log"
    card = own(Listing(listing.classes, counting(listing.train, log), counting(listing.test, log)))
    assert set(log.read_text().split()) == {item.name for item in split_items(load_manifest("MNIST"), listing)["train"]}
    assert card.content == own(listing, again=True).content


def run_killed(own, listing):
    process = FORK.Process(target=own, args=(listing,))
    process.start()
    process.join(20)
    return process.exitcode


def test_a_killed_preparation_leaves_no_trace_in_the_next(own):
    listing = numbered(40)
    assert run_killed(own, with_late(listing, die)) == 9
    assert "train.pixels.part" in {path.name for path in own.folder.iterdir()}
    (own.folder / "old.pixels.part").write_bytes(b"left")
    card = own(listing)
    assert {path.suffix for path in own.folder.iterdir()} == {".pixels", ".safetensors", ".checked", ".json"}
    before = everything(own.folder)
    assert own(listing, again=True).content == card.content
    assert all(
        data == before[path] for path, data in everything(own.folder).items() if path.suffix not in (".json", ".checked")
    )


def test_two_processes_at_once_decode_once(own, tmp_path):
    listing, log = numbered(60), tmp_path / "log"
    listing = Listing(listing.classes, counting(listing.train, log), counting(listing.test, log))
    barrier, cards = FORK.Barrier(2), FORK.Queue()

    def work():
        barrier.wait()
        cards.put(own(listing).content)

    processes = [FORK.Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = cards.get(timeout=20), cards.get(timeout=20)
    for process in processes:
        process.join(20)
    assert first == second and all(process.exitcode == 0 for process in processes)
    assert len(log.read_text().split()) <= 63 + prepare.SAMPLED


# -- bad input ---------------------------------------------------------------------------------------------------------
def test_an_image_that_does_not_decode_is_named(tmp_path):
    write("DTD", "folders-val", tmp_path)
    path = sorted((tmp_path / "dtd" / "train").rglob("*.jpg"))[-1]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=rf"DTD.*{path.name}.* does not decode"):
        offline("DTD", tmp_path)
    assert read_dataset_card(tmp_path, "DTD") is None
    assert not list((tmp_path / "prepared").rglob("*.part")) and not list((tmp_path / "prepared").rglob("train.*"))


def test_too_little_disk_is_refused_before_anything_is_written(own, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda path: 43 * 18 - 1)
    with pytest.raises(InputError, match=r"MNIST, prepared, needs 774 bytes of disk, but only 773 bytes are free"):
        own(numbered(40))
    assert not own.folder.exists()
    monkeypatch.setattr(disk, "free_bytes", lambda path: 43 * 18)
    own(numbered(40))


def test_a_disk_that_fills_up_leaves_complete_splits_only(own, monkeypatch):
    def full(path, *args):
        return open("/dev/full" if path.name == "train.pixels.part" else path, *args)

    monkeypatch.setattr(packed, "open", full, raising=False)
    with pytest.raises(InputError, match=r"full after \d+ of 3600 images of train"):
        own(numbered(4000))
    assert {path.name.split(".")[0] for path in own.folder.iterdir()} == {"val", "test"}


OTHERS = [{"classes": ["zero", "1", "2"]}, {"classes": ["1", "0", "2"]}, {"control": True}, {"columns": {"label": "label"}}]


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_another_manifest_needs_another_preparation(mnist, change):
    offline("MNIST", mnist)
    edit_manifest(mnist, "MNIST", change)
    manifest = load_manifest("MNIST", mnist)
    for use in (lambda: offline("MNIST", mnist), lambda: check_prepared([manifest], mnist)):
        with pytest.raises(InputError, match=r"MNIST was prepared by another manifest.*prepare MNIST --data-root .* --again"):
            use()
    card = offline("MNIST", mnist, again=True)
    assert card.classes == change.get("classes", card.classes) and ("train" in card.content) == ("control" not in change)
    assert ensure_prepared("MNIST", mnist) == card


@pytest.mark.parametrize("change", [{"epochs": 7}, {"sizes": {"train": 5, "test": 5}}, {"templates": ["{}"]}], ids=str)
def test_what_does_not_concern_the_images_may_change(mnist, change):
    card = offline("MNIST", mnist)
    edit_manifest(mnist, "MNIST", change)
    assert offline("MNIST", mnist) == card


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "MNIST"}'], ids=repr)
def test_a_damaged_card_is_refused(mnist, content):
    offline("MNIST", mnist)
    (prepared_folder(mnist, "MNIST") / "card.json").write_text(content)
    with pytest.raises(InputError, match=r"card.json is damaged.*--again"):
        offline("MNIST", mnist)
    offline("MNIST", mnist, again=True)


def test_a_folder_around_the_class_folders_is_not_taken_for_the_only_class(own, tmp_path):
    items = [Item(f"images/{item.name}", 0, item.read) for item in numbered(40).train]
    with pytest.raises(InputError, match=rf"MNIST: the images in {tmp_path}/raw are of 1 class, 'images'; at least 2 .* up"):
        own(Listing(["images"], items, items))
    with pytest.raises(InputError, match=r"are of 1 class, 'b'"):  # named, without images of the other
        own(Listing(["a", "b"], *[[Item(item.name, 1, item.read) for item in items]] * 2))
    assert not own.folder.exists()


def test_a_miniature_is_not_prepared(tmp_path):
    with pytest.raises(InputError, match="Digits is a miniature"):
        offline("Digits", tmp_path)


def test_an_unknown_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'Cars'"):
        offline("Carz", tmp_path)


def test_a_place_that_cannot_be_written_is_refused(mnist):
    (mnist / "prepared").write_text("")
    with pytest.raises(InputError, match=rf"prepared cannot be written.*--data-root.*--from {mnist}"):
        offline("MNIST", mnist)


@pytest.mark.parametrize(
    ("way", "why"),
    [(Path.mkdir, "Is a directory|Permission"), (partial(Path.touch, mode=0o444), "Permission")],
)
def test_a_lock_that_cannot_be_had_is_named(mnist, way, why):
    (mnist / "prepared").mkdir(mode=0o777)
    (mnist / "prepared").chmod(0o777)
    way(mnist / "prepared" / ".MNIST.lock")
    with (
        as_nobody(mnist),
        pytest.raises(InputError, match=rf"prepared/.MNIST.lock cannot be locked \(({why}).*have its owner"),
    ):
        offline("MNIST", ".")


@pytest.mark.parametrize("again", [False, True])
def test_what_is_in_the_way_is_named_and_stays(mnist, again):
    folder = prepared_folder(mnist, "MNIST")
    folder.parent.mkdir()
    for make in (Path.touch, lambda path: path.symlink_to("nowhere")):
        make(folder)
        with pytest.raises(InputError, match=f"{folder} is in the way of what is prepared for MNIST: move it away"):
            offline("MNIST", mnist, again=again)
        folder.unlink()


def test_a_link_to_another_disk_is_prepared_anew_behind_the_link(mnist, tmp_path):
    card, folder = offline("MNIST", mnist), prepared_folder(mnist, "MNIST")
    folder.rename(tmp_path / "disk")
    folder.symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "notes.txt").touch()
    (folder / "card.json").unlink()
    (folder / "card.json").mkdir()
    with pytest.raises(InputError, match=r"card.json is damaged \(a folder\). Prepare it anew: .* --again"):
        offline("MNIST", mnist)
    assert offline("MNIST", mnist, again=True) == card and folder.is_symlink() and (folder / "notes.txt").is_file()


def test_an_image_folder_in_the_place_of_packed_images_is_named_before_any_work(mnist):
    (prepared_folder(mnist, "MNIST") / "test.pixels").mkdir(parents=True)
    with pytest.raises(InputError, match=r"MNIST/test.pixels is in the way"):
        offline("MNIST", mnist)
    assert offline("MNIST", mnist, again=True).counts["test"] == [4, 4, 4]
