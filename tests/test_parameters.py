"""Parameters: every misuse is refused with the value and the way out, before any model is built."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from tangent_lib.data import manifests
from tangent_lib.modes import ALPHAS, DEVICES, MINIATURE, PAPER, PARAMETERS
from tangent_lib.parameters import WAYS_OUT, Parameters, check_parameters, read_parameters
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tests.data.small_files import write_all

pytestmark = pytest.mark.usefixtures("no_model")


def tasks_of(value: object) -> tuple[str, ...]:
    return check_parameters(tasks=value).tasks


# -- what is taken -----------------------------------------------------------------------------------------------------
def test_automatic_values_of_the_miniature():
    parameters = check_parameters()
    assert parameters.tasks == MINIATURE.tasks and parameters.control == "Objects" and parameters.seeds == (0,)
    assert (parameters.model, parameters.pretrained) == ("ViT-Mini-8", "captions")
    assert parameters.protocol.model_dump().items() > MINIATURE.protocol.items()


def test_automatic_values_of_a_full_size_model_are_the_papers(tmp_path):
    write_all(tmp_path)
    parameters = check_parameters(model="ViT-B-16", data_root=str(tmp_path))
    assert parameters.tasks == PAPER.tasks and parameters.control == "ImageNet" and parameters.pretrained == "openai"
    assert (parameters.protocol.steps, parameters.protocol.batch_size, parameters.protocol.learning_rate) == (
        2000,
        128,
        1e-5,
    )


@pytest.mark.parametrize(
    "value",
    [
        "Signs,Digits",
        " Signs , Digits ",
        '["Signs","Digits"]',
        "['Signs', 'Digits']",
        "[Signs,Digits]",
        ["Signs", "Digits"],
        ("Signs", "Digits"),
        "Signs,Digits,",
    ],
)
def test_all_forms_of_a_list_are_one(value):
    assert tasks_of(value) == ("Signs", "Digits")


@pytest.mark.parametrize("value, seeds", [(0, (0,)), ("3", (3,)), ("0,1,2", (0, 1, 2)), ([2, 0], (2, 0)), ("[0, 1]", (0, 1))])
def test_seeds_in_all_forms(value, seeds):
    assert check_parameters(seeds=value).seeds == seeds


@pytest.mark.parametrize("value", [7, "7", " 7 "])
def test_numbers_may_be_words(value):
    protocol = check_parameters(steps=value, batch_size=value).protocol
    assert (protocol.steps, protocol.batch_size) == (7, 7)
    assert check_parameters(learning_rate="1e-4").protocol.learning_rate == 1e-4


def test_one_value_given_leaves_the_others_automatic():
    given, plain = check_parameters(steps=3).protocol, check_parameters().protocol
    assert given.model_copy(update={"steps": plain.steps}) == plain


def test_relative_paths_start_at_the_repository_and_absolute_ones_stay(monkeypatch, tmp_path):
    monkeypatch.delenv("TANGENT_STORE", raising=False)
    assert check_parameters().store == ROOT / "runs/store" and check_parameters().data_root == ROOT / "data"
    assert check_parameters(store="here").store == ROOT / "here"
    monkeypatch.setenv("TANGENT_STORE", str(tmp_path))
    assert check_parameters().store == tmp_path and check_parameters(store="/there").store == Path("/there")


def test_the_automatic_device_is_one_that_is_there():
    assert check_parameters().device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert check_parameters(device="cpu").device == "cpu"


# -- what is refused ---------------------------------------------------------------------------------------------------
REFUSED = {
    "unknown model": ({"model": "ViT-Mini-9"}, ["'ViT-Mini-9'", "did you mean 'ViT-Mini-8'", "ViT-B-16", "ViT-L-14"]),
    "unknown weights": ({"pretrained": "openai"}, ["pretrained 'openai'", "auto", "none", "captions", ".safetensors"]),
    "missing weights": ({"pretrained": "no.safetensors"}, ["no.safetensors'", "no such file"]),
    "pickled weights": ({"pretrained": "model.pkl"}, ["model.pkl'", "state_dict()", ".safetensors"]),
    "unknown task": (
        {"tasks": "Signs,Didgits"},
        ["task 'Didgits'", "did you mean 'Digits'", *MINIATURE.tasks, *PAPER.tasks],
    ),
    "task in other case": ({"tasks": "signs"}, ["task 'signs'", "did you mean 'Signs'"]),
    "no tasks": ({"tasks": ""}, ["no tasks", *MINIATURE.tasks]),
    "no tasks in a list": ({"tasks": []}, ["no tasks", *MINIATURE.tasks]),
    "task twice": ({"tasks": "Signs,Digits,Signs"}, ["differ", "Signs, Digits, Signs"]),
    "control among tasks": ({"tasks": "Signs,Objects"}, ["differ", "control Objects", "Signs, Objects"]),
    "chosen control among tasks": ({"tasks": "Signs,Digits", "control": "Digits"}, ["control Digits", "Signs, Digits"]),
    "unknown control": ({"control": "Object"}, ["control 'Object'", "did you mean 'Objects'", "ImageNet"]),
    "unknown device": ({"device": "gpu"}, ["device 'gpu'", *DEVICES]),
    "device by number": ({"device": "cuda:7"}, ["device 'cuda:7'", *DEVICES]),
    "unknown precision": ({"precision": "fp16"}, ["precision 'fp16'", "fp32", "bf16"]),
    "negative seed": ({"seeds": "0,-1"}, ["seeds -1", "0"]),
    "seed that is no number": ({"seeds": "0,x"}, ["seeds 'x'", "number"]),
    "automatic seed": ({"seeds": "auto"}, ["seeds", "auto"]),
    "no seed": ({"seeds": ""}, ["seed"]),
    "seed twice": ({"seeds": "1,1"}, ["seed", "1"]),
    "seed beyond torch's": ({"seeds": 2**64}, [f"seeds {2**64}", f"from 0 to {2**64 - 1}"]),
    "steps in words": ({"steps": "some"}, ["steps 'some'", "from 1 up, or auto, or epochs"]),
    "control by number": ({"control": 5}, ["control '5'", "Objects"]),
}
NUMBERS = [(name, value) for name in ("steps", "batch_size") for value in (0, "0", -1, "abc", 2.5, "2.5", "nan", "", None)]
NUMBERS += [("learning_rate", value) for value in (0, "0", -1e-5, "nan", "inf", float("nan"), float("inf"), "abc", "")]


@pytest.mark.parametrize("given, said", REFUSED.values(), ids=REFUSED)
def test_refused_with_the_value_and_the_allowed_ones(given, said):
    with pytest.raises(InputError) as error:
        check_parameters(**given)
    assert not [word for word in said if word not in str(error.value)], str(error.value)


@pytest.mark.parametrize("name, value", NUMBERS)
def test_numbers_out_of_range_are_refused_by_name_value_and_limit(name, value):
    with pytest.raises(InputError) as error:
        check_parameters(**{name: value})
    text, limit = str(error.value), "0" if name == "learning_rate" else "1"
    assert text.startswith(name) and str(value) in text and limit in text.removeprefix(f"{name} {value}")


@pytest.mark.parametrize("value", ["2.5", "1e3"])
def test_a_number_that_is_not_whole_is_not_called_no_number(value):
    with pytest.raises(InputError, match=f"steps '{value}'.*whole"):
        check_parameters(steps=value)


@pytest.mark.parametrize("there, taken", [(False, "cpu"), (True, "cuda")])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch, there, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert check_parameters().device == taken
    with pytest.raises(InputError, match="device 'mps' is not available.*cpu" + (", cuda" if there else ", or auto")):
        check_parameters(device="mps")


@pytest.mark.parametrize("given", [{"tasks": "DTD"}, {"control": "ImageNet"}], ids=["task", "control"])
def test_data_that_are_not_there_are_named_with_their_place_and_source(tmp_path, given):
    (name,) = given.values()
    with pytest.raises(InputError) as error:
        check_parameters(data_root=str(tmp_path), **given)
    manifest = manifests.load_manifest(name)
    for part in (
        f"no data for {name}:",
        str(tmp_path / manifest.folders[0]),
        f"tangent data prepare {name} --data-root {tmp_path}",
        manifest.source,
        "-p data_root",
    ):
        assert part in str(error.value)


def test_all_tasks_without_data_are_named_at_once(tmp_path):
    message = r"no data for Cars \(nor for MNIST, ImageNet\): .*/stanford_cars.*prepare Cars MNIST ImageNet"
    with pytest.raises(InputError, match=message):
        check_parameters(tasks="Signs,Cars,MNIST", control="ImageNet", data_root=str(tmp_path))


def test_an_empty_data_folder_is_no_data(tmp_path):
    (tmp_path / "dtd" / "train" / "dotted").mkdir(parents=True)
    (tmp_path / "dtd" / "test").mkdir()
    with pytest.raises(InputError, match=r"DTD.*test/"):
        check_parameters(tasks="DTD", data_root=str(tmp_path))


@pytest.mark.parametrize(
    "given",
    [{"taks": "Signs"}, {"tasks": "Sings"}, {"seeds": "auto"}, {"device": "gpu"}, {"store": ""}, {"checkpoints": "x"}],
    ids=str,
)
def test_what_can_be_judged_without_torch_is_refused_before_it_is_imported(given):
    code = f"""
import sys
from tangent_lib.parameters import check_parameters
try:
    check_parameters(**{given})
except ValueError as error:
    print(type(error).__name__, "torch" in sys.modules, "pandas" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == "InputError False False\n"


# -- a notebook's names ------------------------------------------------------------------------------------------------
def test_a_notebooks_names_are_read_and_its_other_names_left_alone():
    namespace = {
        "tasks": "Signs",
        "steps": 5,
        "_i1": "x",
        "In": [],
        "ALPHAS": (0.0,),
        "taks": "a name of the notebook's own",
        "Out": {},
        "torch": torch,
        "Path": Path,
        "read": tasks_of,
        "__name__": "__main__",
    }
    parameters = read_parameters(namespace)
    assert isinstance(parameters, Parameters) and parameters.tasks == ("Signs",) and parameters.protocol.steps == 5


@pytest.mark.parametrize("name, near", [("taks", "tasks"), ("learning_rates", "learning_rate"), ("batchsize", "batch_size")])
def test_a_misspelt_name_is_refused_with_all_names(name, near):
    said = f"parameter '{name}': did you mean '{near}'.*" + ", ".join(PARAMETERS)
    with pytest.raises(InputError, match=said):
        check_parameters(**{name: "1"})
    with pytest.raises(InputError, match=said):
        read_parameters({name: "1", "In": ["", "import os", f"# Parameters\n{name} = '1'\n"]})


CELL = 'model: str = "ViT-Mini-8"  # the model\ntasks: str = "auto"\n'


def test_a_misspelt_name_that_papermill_adds_is_refused_and_a_name_of_the_notebook_s_own_is_not():
    """papermill writes what is given with -p into a cell of its own, behind the parameters cell."""
    namespace = {"tasks": "Signs", "taks": "x", "In": ["", CELL, "taks = 'x'\n", "# a comment\ntaks: str = 'x'"]}
    assert read_parameters(namespace).tasks == ("Signs",)
    namespace["In"].append("# Parameters\ntaks = 'Signs'\n")
    with pytest.raises(InputError, match="unknown parameter 'taks': did you mean 'tasks'"):
        read_parameters(namespace)


def test_a_misspelt_name_counts_until_the_parameters_cell_is_run_again():
    wrong, right = CELL.replace("tasks", "taks"), CELL.replace("auto", "Digits")
    with pytest.raises(InputError, match="unknown parameter 'taks'"):
        read_parameters({"taks": "auto", "In": ["", wrong]})
    assert read_parameters({"taks": "auto", "tasks": "Digits", "In": ["", wrong, right]}).tasks == ("Digits",)
    unfinished, given = 'model: str = "ViT\n', "# Parameters\ntasks = 'Digits'\n"
    cells = ["", right, "# Parameters\ntaks = 'Digits'\n", unfinished, "%matplotlib inline", given]
    assert read_parameters({"taks": "Digits", "tasks": "Digits", "In": cells}).tasks == ("Digits",)


def test_a_value_is_checked_in_a_namespace_too():
    with pytest.raises(InputError, match="steps 0"):
        read_parameters({"steps": 0})


@pytest.mark.parametrize("field", ["model", "store", "data_root", "control", "alphas", "xi_alphas"])
def test_parameters_cannot_be_changed_later(field):
    with pytest.raises(ValueError, match="frozen"):
        setattr(check_parameters(), field, "other")


# -- alphas ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["0,0.5,1", " 0 , .5, 1.0 ", "[0, 0.5, 1]", [0, 0.5, 1], (0.0, 0.5, 1.0), ["0", ".5", "1"]])
def test_alphas_in_all_forms(value):
    assert check_parameters(alphas=value).alphas == check_parameters(xi_alphas=value).xi_alphas == (0.0, 0.5, 1.0)


def test_automatic_alphas_are_the_papers_and_those_of_xi_are_each_figures_own():
    assert check_parameters().alphas == ALPHAS and check_parameters().xi_alphas is None
    assert check_parameters(alphas=0.5).alphas == (0.5,) and check_parameters(xi_alphas="-3,0,3").xi_alphas == (-3, 0, 3)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"alphas": ""}, "no alpha given"),
        ({"alphas": "0,1.5"}, r"alpha 1.5 is out of range.*\[0, 1\]"),
        ({"alphas": "-0.1,0"}, r"alpha -0.1 is out of range.*\[0, 1\]"),
        ({"alphas": "nan"}, "alpha nan is out of range"),
        ({"alphas": "0.5,0"}, "alphas 0.5, 0.0: give each once, ascending"),
        ({"alphas": "0,0.5,0.5"}, "give each once, ascending"),
        ({"alphas": "0,half"}, "alphas '0,half': give numbers, such as 0,0.5,1, or auto"),
        ({"xi_alphas": ""}, "xi_alphas '': give finite numbers, each once, ascending, such as -1,0,1"),
        ({"xi_alphas": "1,-1"}, "xi_alphas '1,-1': give finite numbers, each once, ascending"),
        ({"xi_alphas": "0,0"}, "xi_alphas '0,0': give finite numbers"),
        ({"xi_alphas": "0,inf"}, "xi_alphas '0,inf': give finite numbers"),
        ({"xi_alphas": "-inf,0"}, "xi_alphas '-inf,0': give finite numbers"),
        ({"xi_alphas": "nan"}, "xi_alphas 'nan': give finite numbers"),
        ({"xi_alphas": "0,nan"}, "xi_alphas '0,nan': give finite numbers"),
        ({"xi_alphas": "-1,0,2"}, "xi_alphas '-1,0,2': the pages draw values in equal steps"),
        ({"xi_alphas": "2,3"}, r"xi_alphas '2,3': .* at least one of them in \[0, 1\]"),
        ({"xi_alphas": "one"}, "xi_alphas 'one': give numbers, such as 0,0.5,1, or auto"),
    ],
)
def test_alphas_that_make_no_sense_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        check_parameters(**given)


def test_ways_out_name_parameters_that_there_are():
    for setting, way in WAYS_OUT.items():
        assert setting in PARAMETERS and all(name in PARAMETERS for name in re.findall(r"-p (\w+)", way))
        assert f"-p {setting}" in way


# -- pairs and points --------------------------------------------------------------------------------------------------
def test_automatic_pairs_are_those_of_the_tasks_that_are_there():
    assert check_parameters().pairs == (("Textures", "Scenes"), ("Vehicles", "Aerial"), ("Digits", "ClutteredDigits"))
    assert check_parameters(tasks="Scenes,Signs,Textures").pairs == (("Textures", "Scenes"),)
    assert check_parameters(tasks="Signs,Digits,Scenes").pairs == (("Signs", "Digits"),)
    assert check_parameters(tasks="Signs").pairs == ()


def test_pairs_and_points_may_be_given():
    given = check_parameters(pairs="Signs-Digits, Scenes-Signs", points="7")
    assert given.pairs == (("Signs", "Digits"), ("Scenes", "Signs")) and (given.points, given.exact_points) == (7, True)
    for again in (given.pairs, [list(pair) for pair in given.pairs]):
        assert check_parameters(pairs=again).pairs == given.pairs
    assert (check_parameters().points, check_parameters().exact_points) == (200, False)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"pairs": "Signs-Signs"}, "pair 'Signs-Signs': a task has no interference with itself; name two different tasks"),
        ({"pairs": "Signs"}, "pair 'Signs': give two tasks with a hyphen"),
        ({"pairs": "Signs-Digit"}, "task in a pair 'Digit': did you mean 'Digits'"),
        ({"pairs": "Signs-Objects"}, "task in a pair 'Objects'"),
        ({"pairs": [["Signs", 3]]}, "unknown task in a pair '3'"),
        ({"pairs": [5]}, "pair '5': give two tasks with a hyphen"),
        ({"pairs": [None, {"Signs": "Digits"}]}, "pair 'None': give two tasks with a hyphen"),
        ({"pairs": "[]"}, "no pairs given"),
        ({"pairs": "Signs-Digits,Digits-Signs"}, "pair 'Digits-Signs' is given twice"),
        ({"points": 0}, "points 0 is out of range"),
    ],
)
def test_pairs_and_points_that_make_no_sense_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        check_parameters(**given)


# -- real scale --------------------------------------------------------------------------------------------------------
def test_steps_may_be_the_epochs_of_the_released_code():
    parameters = check_parameters(steps="epochs")
    assert parameters.by_epochs and not check_parameters().by_epochs
    assert parameters.protocol.steps == MINIATURE.protocol["steps"]


def test_micro_batches_are_no_part_of_the_protocol():
    assert check_parameters().micro_batch is None and check_parameters(micro_batch=16).micro_batch == 16
    assert check_parameters(micro_batch=16).protocol == check_parameters().protocol
    with pytest.raises(InputError, match="micro_batch 0"):
        check_parameters(micro_batch=0)


def test_imported_checkpoints_have_a_record_and_one_seed(tmp_path):
    assert check_parameters().checkpoints is None
    with pytest.raises(InputError, match=rf"no record.json in {tmp_path}.*tangent checkpoints import"):
        check_parameters(checkpoints=str(tmp_path))
    (tmp_path / "record.json").write_text("{}")
    assert check_parameters(checkpoints=str(tmp_path)).checkpoints == tmp_path
    with pytest.raises(InputError, match="come from one run, but there are 2 seeds"):
        check_parameters(checkpoints=str(tmp_path), seeds="0,1")


def test_a_manifest_of_ones_own_names_a_task(tmp_path):
    (tmp_path / "manifests").mkdir()
    text = "name: Mine\nkind: images\ndescription: d\nsource: s\nlicence: l\nfolders: [mine]\n"
    text += "templates: ['a {}.']\n"
    (tmp_path / "manifests" / "Mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"no data for Mine: expected in .*mine"):
        check_parameters(tasks="Mine,Signs", data_root=str(tmp_path))
    with pytest.raises(InputError, match=r"unknown task 'Mine'"):
        check_parameters(tasks="Mine,Signs")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_cell_of_a_page_or_a_reader_is_taken_for_the_parameters(path):
    """A page that was run to its end, and a reader's own loop over models: the setup cell can be run again."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    own = ["for model in [1]:\n    acc = 1", "model = 2\nacc = 3"]
    assert read_parameters({"tasks": "Digits", "In": ["", *cells, *own]}).tasks == ("Digits",)
