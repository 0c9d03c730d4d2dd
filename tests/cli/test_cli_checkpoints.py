"""The command line: list, import, export; every bad input ends in one line and status 2."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch
from published import TASKS
from safetensors import safe_open
from safetensors.torch import load_file
from small_files import write_all

from tangent_lib import cli
from tangent_lib.checkpoints.families import FAMILIES
from tangent_lib.cli.zero_shot import check_zero_shot
from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.modes import PAPER, TRAININGS
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.disk import ROOT

main = lambda arguments: cli.main(["checkpoints", *arguments])
MINIATURE = ["--model", "ViT-Mini-8", "--pretrained", "none", "--tasks", "Cars,MNIST"]


def test_list_shows_every_family(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for word in ("tall_masks", "atlas", "tanganke", "ilharco", "ViT-L-14", "MIT", "--from FOLDER", "too favourably"):
        assert word in shown


def test_import_says_what_it_took_and_what_it_left(publish, tmp_path, capsys):
    root = publish("tanganke")
    assert main(["import", "tanganke", *MINIATURE, "--from", str(root), "--to", str(tmp_path / "to")]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Cars: ViT-Mini-8_stanford-cars/model.safetensors, ",
        f"took {6 * 16 + 7} tensors",
        "left 1: vision_model.embeddings.position_ids",
        "kept the pre-trained proj",
        "too favourably",
        "pre-trained weights were not there",
        "-p checkpoints",
    ):
        assert words in shown
    assert sorted(json.loads((tmp_path / "to/tanganke/ViT-Mini-8/record.json").read_text())["tasks"]) == sorted(TASKS)


def test_the_page_names_every_family_and_option_and_no_other(capsys):
    page = (ROOT / "book" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)", page, re.MULTILINE)
    assert {row for row in rows if not row.startswith("--")} == FAMILIES.keys()
    assert main(["import", "--help"]) == 0
    options = set(re.findall(r"--[\w-]+", capsys.readouterr().out)) - {"--help"}
    assert set(re.findall(r"--[\w-]+", " ".join(re.findall(r"^\| `--.*?\|", page, re.MULTILINE)))) == options


@pytest.mark.parametrize("damaged", [False, True], ids=["no folder", "a damaged record"])
def test_an_import_that_cannot_be_is_refused_before_weights_are_fetched(publish, tmp_path, capsys, monkeypatch, damaged):
    monkeypatch.setattr("tangent_lib.models.clip.load_clip", lambda *args: pytest.fail("loaded"))
    place = tmp_path / "atlas" / "ViT-Mini-8" / "record.json"
    if damaged:
        place.parent.mkdir(parents=True)
        place.write_text("{}")
    origin = publish("atlas") if damaged else tmp_path / "nowhere"
    assert main(["import", "atlas", *MINIATURE, "--from", str(origin), "--to", str(tmp_path)]) == 2
    said = f"'{place}' is damaged: remove the folder and import again (family: Field required)"
    assert (said if damaged else f"there is no folder '{origin}'") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "talmasks"], "did you mean 'tall_masks'"),
        (["import", "atlas", "--tasks", "Cras"], "did you mean 'Cars'"),
        (["import", "atlas", "--from", "nowhere", "--revision", "main"], "give one of the two"),
        (["import", "atlas", *MINIATURE, "--from", "nowhere"], f"there is no folder '{ROOT}/nowhere'"),
        (["import", "atlas", "--from", "$NOWHERE/a"], "--from '$NOWHERE/a': the variable $NOWHERE is not set"),
        (["import", "atlas", "--to", ""], "--to '' is not a path"),
        (["import", "atlas", *MINIATURE[:2], "--pretrained", "no.pt"], f"'{ROOT}/no.pt', no such file"),
        (["import", "atlas", "--model", "ViT-Mimi-8"], "unknown model 'ViT-Mimi-8'"),
        (["import", "atlas", *MINIATURE], "unknown model of atlas 'ViT-Mini-8'"),
        (["import", "ilharco", *MINIATURE], "is not on the hub"),
        (["export", "--task", "Signs", "--training", "lineer"], "did you mean 'linear'"),
        (["export", "--task", "Sings", "--training", "linear"], "did you mean 'Signs'"),
        (["export", "--task", "auto", "--training", "linear"], "unknown task 'auto'"),
        (["export", "--task", "", "--training", "linear", "-p", "tasks", "Signs"], "--task names no task"),
        (["export", "--task", "Digits", "--training", "linear", "-p", "tasks", "Signs"], "unknown task 'Digits'"),
        (["export", "--task", "Signs", "--training", "linear", "-p", "step", "3"], "did you mean 'steps'"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and message in shown.err and shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def data_root(tmp_path):
    """The tasks of the fabricated checkpoints, in their true formats and small."""
    write_all(tmp_path / "data", tasks=TASKS)
    return tmp_path / "data"


def test_export_writes_the_task_vectors_of_the_store(tmp_path, data_root, capsys):
    given = {"steps": "1", "batch_size": "2", "seeds": "0,1", "store": str(tmp_path / "store"), "data_root": str(data_root)}
    pairs = [word for name, value in given.items() for word in ("-p", name, value)]
    assert main(["export", "--task", "MNIST", "--training", "attention-only", "--to", str(tmp_path / "out"), *pairs]) == 0
    shown, run = capsys.readouterr().out, Materials(check_parameters(tasks="MNIST", control="Objects", **given))
    for seed in (0, 1):
        path = tmp_path / "out" / f"ViT-Mini-8-MNIST-attention-only-seed{seed}" / "task_vector.safetensors"
        assert f"wrote {path}" in shown
        expected, found = run.task_vector("MNIST", TRAININGS["attention-only"], seed), load_file(path)
        assert found.keys() == expected.keys() and all(torch.equal(found[name], v) for name, v in expected.items())
        assert found["transformer.resblocks.0.attn.in_proj_weight"].any() and not found["proj"].any()
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["seed"] == str(seed) and json.loads(file.metadata()["protocol"])["steps"] == 1


# -- zero-shot ---------------------------------------------------------------------------------------------------------
class Measured(Experiment):
    """A run whose zero-shot accuracies are given."""

    def __init__(self, accuracies, **changes):
        base = {"model": "ViT-B-32", "pretrained": "openai", "tasks": tuple(accuracies), **changes}
        self.parameters, self.accuracies = check_parameters().model_copy(update=base), accuracies
        self.materials = SimpleNamespace(clip=SimpleNamespace(pretrained=self.parameters.pretrained))

    def zero_shot(self, name):
        return Accuracies(0.0, self.accuracies[name])


def around(average):
    spread = (-0.3, -0.2, -0.1, 0.0, 0.0, 0.1, 0.2, 0.3)
    return {name: average + each for name, each in zip(PAPER.tasks, spread)}


@pytest.mark.parametrize(
    ("average", "changes", "paper", "agrees"),
    [
        (0.484, {}, 48.4, True),
        (0.4935, {}, 48.4, True),
        (0.4745, {}, 48.4, True),
        (0.4945, {}, 48.4, False),
        (0.473, {}, 48.4, False),
        (0.552, {"model": "ViT-B-16"}, 55.2, True),
        (0.644, {"model": "ViT-L-14-quickgelu"}, 64.4, True),
        (0.484, {"model": "ViT-B-16"}, 55.2, False),
        (0.484, {"pretrained": "laion2b_s34b_b79k"}, None, None),
        (0.484, {"model": "ViT-H-14"}, None, None),
    ],
)
def test_the_average_is_held_against_the_papers(average, changes, paper, agrees):
    table = check_zero_shot(Measured(around(average), **changes))
    assert (table.paper, table.agrees) == (paper, agrees) and table.average == pytest.approx(100 * average)
    assert f"{100 * average:5.1f} %" in str(table) and ("differs" in str(table)) == (agrees is False)


def test_fewer_tasks_have_no_average_in_the_paper():
    few = {name: value for name, value in around(0.484).items() if name != "SVHN"}
    assert check_zero_shot(Measured(few)).agrees is None


def test_import_checks_zero_shot_on_prepared_data(publish, tmp_path, capsys, data_root, monkeypatch):
    monkeypatch.setenv("TANGENT_STORE", str(tmp_path / "store"))
    root = publish("tall_masks")
    arguments = ["import", "tall_masks", *MINIATURE, "--from", str(root), "--to", str(tmp_path / "to")]
    assert main([*arguments, "--data-root", str(data_root)]) == 0
    shown = capsys.readouterr().out
    assert "Zero-shot accuracy" in shown and "no average for this model" in shown
    assert all(any(line.startswith(name) and line.endswith("%") for line in shown.splitlines()) for name in TASKS)


def test_data_that_are_not_there_are_refused_before_the_import(publish, tmp_path, capsys):
    arguments = ["import", "tall_masks", *MINIATURE, "--from", str(publish("tall_masks")), "--to", str(tmp_path / "to")]
    assert main([*arguments, "--data-root", str(tmp_path / "nothing")]) == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "to").exists()
