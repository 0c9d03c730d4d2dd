"""The command line: what is printed, where, and with which exit status."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import small_files
from prepared import forget_manifests, write

from tangent_lib.data import prepare as preparation
from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.prepare import prepare, prepared_folder, read_dataset_card


@pytest.fixture
def root(tmp_path):
    """Small files of two datasets."""
    write("DTD", "dtd", tmp_path)
    write("MNIST", "mnist", tmp_path)
    return tmp_path


@pytest.fixture
def run(run):
    """Run a command of ``tangent data``; returns the status and the lines of both outputs."""
    return partial(run, "data")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(preparation, "fetch", lambda *args: pytest.fail("downloaded"))


# -- prepare -----------------------------------------------------------------------------------------------------------
def test_prepare_says_what_there_is_now(root, run):
    folder = prepared_folder(root, "DTD")
    assert run("prepare", "DTD", "--data-root", root) == (
        0,
        [f"DTD: 1 val, 12 test, 11 train, 3 classes, from files in dtd, in {folder}"],
        [],
    )
    assert read_dataset_card(root, "DTD").layout == "dtd" and read_dataset_card(root, "MNIST") is None


def test_prepare_shows_which_class_is_which_where_the_files_call_it_otherwise(run, tmp_path):
    write("GTSRB", "parquet", tmp_path / "hub")
    write("GTSRB", "gtsrb", tmp_path)
    names = sorted(load_manifest("GTSRB", tmp_path).classes.items())
    pairs = [f"  {folder} is {name}" for folder, name in names]
    assert len(pairs) == 3
    for _ in range(2):  # made, and found made
        assert run("prepare", "GTSRB", "--data-root", tmp_path)[1][1:] == pairs
    assert len(run("prepare", "GTSRB", "--data-root", tmp_path / "hub")[1]) == 1  # the hub's names are the manifest's


def test_what_a_terminal_would_obey_is_written_out(root, run):
    run("prepare", "DTD", "--data-root", root)
    path = prepared_folder(root, "DTD") / "card.json"
    path.write_text(path.read_text().replace("banded", "\\u001b[31mred"))
    out = run("verify", "DTD", "--classes", "--data-root", root)[1]
    assert all(line.isprintable() for line in out) and out[-3].startswith(r"\x1b[31mred")


def test_prepare_several_goes_on_after_one_that_fails(root, run):
    status, out, err = run("prepare", "Cars", "MNIST", "SVHN", "DTD", "--offline", "--data-root", root)
    assert status == 2
    assert [line.split(":")[0] for line in out] == ["MNIST", "DTD"]
    assert len(err) == 2 and all(line.startswith(f"error: no data for {name}: ") for line, name in zip(err, ("Cars", "SVHN")))


def test_prepare_all_takes_every_dataset_and_one_of_the_readers_own(root, run, monkeypatch):
    (root / "manifests" / "Cats.yaml").write_text(
        "{name: Cats, kind: images, description: x, source: x, licence: x, folders: [cats], templates: ['a {}']}"
    )
    asked = []
    monkeypatch.setattr(preparation, "prepare", lambda name, *args, **more: asked.append(name) or prepare("MNIST", root))
    assert run("prepare", "all", "--data-root", root)[0] == 0
    assert asked == sorted([*small_files.LAYOUTS, "Cats"])


def test_prepare_from_elsewhere(root, run, tmp_path):
    assert run("prepare", "MNIST", "--from", root, "--data-root", tmp_path / "other")[0] == 0
    assert prepared_folder(tmp_path / "other", "MNIST").is_dir() and not (root / "prepared").exists()


def test_prepare_again(root, run):
    run("prepare", "MNIST", "--data-root", root)
    (prepared_folder(root, "MNIST") / "card.json").write_text("{}")
    status, out, err = run("prepare", "MNIST", "--data-root", root)
    assert (status, out, len(err)) == (2, [], 1) and f"prepare MNIST --data-root {root} --again" in err[0]
    assert run("prepare", "MNIST", "--data-root", root, "--again")[0] == 0
    assert run("verify", "MNIST", "--data-root", root)[0] == 0


@pytest.mark.parametrize("offline", [True, False])
def test_only_prepare_without_offline_downloads(tmp_path, run, monkeypatch, offline):
    monkeypatch.setattr(preparation, "prepare", lambda *args, **more: pytest.skip() if more["download"] != offline else 1 / 0)
    with pytest.raises(pytest.skip.Exception):
        run("prepare", "Cars", "--data-root", tmp_path, *(["--offline"] if offline else []))


def test_an_interruption_says_how_to_go_on(root, run, monkeypatch):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "prepare", interrupt)
    status, out, err = run("prepare", "DTD", "--data-root", root)
    assert (status, out, len(err)) == (130, [], 1) and "again" in err[0]


# -- verify ------------------------------------------------------------------------------------------------------------
def test_verify_passes_sound_data(root, run):
    run("prepare", "MNIST", "--data-root", root)
    status, out, err = run("verify", "MNIST", "--data-root", root)
    assert (status, err) == (0, [])
    assert "ok    MNIST: test: 12 images, as the manifest says" in out
    assert "ok    MNIST: no test image is in val or train" in out


def test_verify_fails_on_a_fault(root, run):
    run("prepare", "MNIST", "DTD", "--data-root", root)
    pixels = np.memmap(prepared_folder(root, "DTD") / "test.pixels", np.uint8, "r+")
    pixels[0] ^= 1
    pixels.flush()
    status, out, _ = run("verify", "DTD", "MNIST", "--data-root", root)
    assert status == 1
    assert [line for line in out if line.startswith("fault")] == [
        "fault DTD: test: 1 of 12 images differ from their checksums: numbers 0"
    ]


def test_verify_of_what_is_not_prepared_fails(root, run):
    assert run("verify", "Cars", "--data-root", root) == (1, [f"fault Cars: not prepared in {root}"], [])


def test_verify_shows_counts_by_class(root, run):
    run("prepare", "DTD", "--data-root", root)
    _, out, _ = run("verify", "DTD", "--classes", "--data-root", root)
    table = [line.split() for line in out[-4:]]
    assert table[0] == ["class", "val", "test", "train"]
    assert [row[0::2] for row in table[1:]] == [["banded", "4"], ["blotchy", "4"], ["polka-dotted", "4"]]
    assert [int(row[1]) + int(row[3]) for row in table[1:]] == [4, 4, 4]


# -- list --------------------------------------------------------------------------------------------------------------
def listed(out):
    """Rows of the table by name; columns are two spaces apart."""
    starts = [0] + [i for i in range(2, len(out[0])) if out[0][i - 2 : i] == "  " and out[0][i] != " "]
    rows = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])] for line in out]
    return rows[0], {row[0]: row[1:] for row in rows[1:]}


def test_list_shows_what_is_ready(root, run):
    run("prepare", "DTD", "--data-root", root)
    status, out, err = run("list", "--data-root", root)
    head, rows = listed(out)
    assert (status, err) == (0, [])
    assert head == ["name", "prepared", "files", "images", "classes", "disk", "licence", "first source"]
    assert rows.keys() == set(small_files.LAYOUTS)
    assert rows["DTD"][:4] == ["yes", "dtd (dtd)", "24", "3"] and rows["DTD"][4].endswith(" kB")
    assert rows["MNIST"][:4] == ["no", "MNIST (mnist)", "24", "3"]
    cars = load_manifest("Cars")
    assert rows["Cars"][:3] == ["no", "no", f"{cars.sizes.train + cars.sizes.test:,}"]
    assert rows["Cars"][4] == f"{cars.gigabytes.download:g} + {cars.gigabytes.prepared:g} GB"
    assert rows["Cars"][5] == cars.licence and rows["Cars"][6] == f"hub {cars.downloads[0].hub}"


def test_list_takes_names(root, run):
    _, rows = listed(run("list", "Cars", "MNIST", "--data-root", root)[1])
    assert list(rows) == ["Cars", "MNIST"]


def test_list_works_where_nothing_is(tmp_path, run):
    status, out, _ = run("list", "--data-root", tmp_path / "none")
    assert status == 0 and len(out) == 1 + len(small_files.LAYOUTS) and not (tmp_path / "none").exists()


def test_list_says_what_is_incomplete_or_damaged(root, run):
    run("prepare", "DTD", "--data-root", root)
    (prepared_folder(root, "DTD") / "card.json").write_text("")
    next(root.rglob("t10k-labels*")).unlink()
    status, out, _ = run("list", "DTD", "MNIST", "--data-root", root)
    _, rows = listed(out[:3])
    assert status == 0 and rows["DTD"][0] == "damaged" and rows["MNIST"][1] == "incomplete"
    assert "card.json is damaged" in out[3] and "MNIST is not complete" in out[4]


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["list", "prepare", "verify"])
def test_an_unknown_name_is_refused_in_one_line_before_any_work(root, run, what):
    status, out, err = run(what, "MNIST", "Carz", "--data-root", root)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("error: unknown dataset 'Carz': did you mean 'Cars'? Allowed: Cars, ") and "manifests/" in err[0]
    assert not (root / "prepared").exists()


def test_a_miniature_is_no_dataset_to_prepare(run):
    status, _, err = run("prepare", "Digits")
    assert status == 2 and "'Digits' is a task of the miniatures, which the library draws" in err[0]


def test_a_dataset_of_ones_own_may_have_a_miniature_task_s_name(root, run):
    (root / "manifests" / "Digits.yaml").write_text(
        "{name: Digits, kind: images, description: x, source: x, licence: x, folders: [own], templates: ['a {}']}"
    )
    forget_manifests()
    status, out, _ = run("list", "Digits", "--data-root", root)
    assert status == 0 and out[1].startswith("Digits  no")


def test_an_invalid_manifest_is_refused_in_a_message(root, run):
    (root / "manifests" / "MNIST.yaml").write_text("{name: MNIST, colour: red}")
    forget_manifests()
    status, out, err = run("prepare", "MNIST", "--data-root", root)
    assert (status, out) == (2, []) and "MNIST.yaml is not a valid manifest" in err[0]


def test_an_invalid_manifest_stops_what_it_is_of_and_all(root, run):
    (root / "manifests" / "Bad.yaml").write_text("{name: Bad, colour: red}")
    forget_manifests()
    for what in ("prepare", "verify", "list"):
        assert run(what, "MNIST", "--data-root", root)[0] == 0
        for name in ("Bad", "all"):
            status, out, err = run(what, "MNIST", name, "--data-root", root)
            assert (status, out, len(err)) == (2, [], 1) and "Bad.yaml is not a valid manifest" in err[0]
    assert "did you mean 'MNIST'? Allowed: Bad, Cars, " in run("prepare", "MNST", "--data-root", root)[2][0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("", "Usage: tangent data COMMAND"),
        ("prepare", "'tangent data prepare --help'"),
        ("verify", "'tangent data verify --help'"),
        ("remove MNIST", "Available commands: list, prepare, verify."),
        ("list --from x", "Unknown option: --from."),
    ],
)
def test_other_commands_are_refused_with_the_usage(run, arguments, message):
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, []) and message in "\n".join(err)
