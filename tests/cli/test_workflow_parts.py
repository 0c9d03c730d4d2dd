"""What Snakemake reads without loading torch agrees with the library; bad input is refused; GPUs are handed out."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tangent_lib import modes
from tangent_lib.cli.workflow_config import MEASURED, PAGES, SECTIONS, SHARED, read_arguments, read_config
from tangent_lib.cli.workflow_parts import library, read_parts
from tangent_lib.data.manifests import task_names
from tangent_lib.disentanglement import XiGrid
from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Cosines, Experiment, XiDiagonal
from tangent_lib.experiments import recording
from tangent_lib.modes import MINIATURES, PARAMETERS, TRAININGS, mode_named
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.digests import COMPUTED_BY, code_of
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError


def test_lists_agree_with_the_library():
    assert sorted(PAGES) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert tuple(SECTIONS) == tuple(recording.MAKERS)
    used = {training for trainings in (*PAGES.values(), *SECTIONS.values()) for training in trainings}
    assert used == set(TRAININGS) and SHARED == ("non-linear", "linear")
    shipped = [card.parent.name for card in (ROOT / "tangent_lib" / "miniature").glob("*/card.json")]
    assert sorted(MINIATURES) == sorted(shipped)


def test_the_workflow_reads_its_configuration_without_torch():
    code = (
        "import sys; from tangent_lib.cli import gpus, workflow_config, workflow_parts as parts;"
        "found = parts.read_parts(workflow_config.read_config({'records': {'ViT-B-32': {}}}));"
        "print([(part.version, part.tasks) for part in found.values()] and 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_edited_code_or_other_shipped_weights_outdate_receipts():
    parts = read_parts(read_config({"records": {"ViT-B-32": {}, "ViT-Mini-4": {}}}))
    versions = [part.version for part in parts.values()]
    assert parts["records", "ViT-B-32"].version == code_of(*COMPUTED_BY) and len(set(versions)) == 3
    assert all(version.split("-")[0] == code_of(*COMPUTED_BY) for version in versions)


def test_what_runs_the_pages_does_not_outdate_them():
    names = {str(path.relative_to(ROOT)) for path in library()}
    assert {"tangent_lib/modes.py", "tangent_lib/report/tables.py", "tangent_lib/report/slider.html"} <= names
    assert not [name for name in names if name.startswith("tangent_lib/cli/") or name.endswith("gallery.py")]


@pytest.mark.parametrize(
    "model, tasks, control",
    [("ViT-Mini-4", modes.MINIATURE.tasks, []), ("ViT-B-16", modes.PAPER.tasks, ["ImageNet"])],
)
def test_tasks_are_those_of_the_model(model, tasks, control):
    part = read_parts(read_config({"pages": f"-p model {model}"}))["book", model]
    assert sorted(part.tasks) == sorted(tasks)
    assert sorted(part.prepared()) == sorted(f"runs/workflow/data/{task}" for task in [*tasks, *control] if control)


@pytest.mark.parametrize("model", ["ViT-Mini-8", "ViT-B-16"])
def test_automatic_tasks_are_the_manifests_of_their_kind(model):
    kind = "miniature" if model in MINIATURES else "images"
    part = read_parts(read_config({"pages": f"-p model {model}"}))["book", model]
    assert sorted(part.tasks) == sorted(task_names(kind, control=False))
    assert (part.control,) == task_names(kind, control=True)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_of_the_notebooks_can_be_given(name):
    other = "steps" if name != "steps" else "points"
    assert read_arguments(f"-p {name} x --parameters {other} 'a b'") == {name: "x", other: "a b"}


class Spy(Experiment):
    """An experiment that computes nothing and notes which trainings a recorded section uses."""

    def __init__(self, used, untrained=False):
        self.used, self.start = used, untrained
        self.parameters = check_parameters(tasks="Digits,Signs")

    def note(self, mode):
        trained = mode_named(mode).training
        same = lambda each: (each.linearized, each.selection) == (trained.linearized, trained.selection)
        self.used.update(name for name, each in TRAININGS.items() if same(each) and each.untrained == self.start)

    def single_task(self, name, mode, seed):
        return self.note(mode) or Accuracies(0.0, 0.0)

    def addition(self, mode, seed):
        return self.note(mode) or SimpleNamespace(alpha=0.0, absolute=0.0, normalised=0.0, test={}, curve=())

    def negations(self, mode, seed, names=()):
        return self.note(mode) or {}

    def cosines(self, mode, seed):
        return self.note(mode) or Cosines(("a", "b"), ((1.0, 0.0), (0.0, 1.0)))

    def xi_diagonal(self, pair, mode, seed, alphas):
        return self.note(mode) or XiDiagonal((), (), ())

    def xi_grid(self, pair, mode, seed, alphas):
        return self.note(mode) or XiGrid((), (), (), ())

    def untrained(self, seed):
        return Spy(self.used, untrained=True)

    def zero_shot(self, name):
        return Accuracies(0.0, 0.0)

    def kernel_on_supports(self, task, control, seed=0, points=200):
        return None


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in MEASURED])
def test_a_section_names_the_trainings_that_it_uses(section, monkeypatch):
    monkeypatch.setattr(recording, "support_shares", lambda kernel, leading: {})
    used = set()
    recording.MAKERS[section](Spy(used))
    assert used == set(SECTIONS[section])


@pytest.mark.parametrize(
    "config, message",
    [
        ({"page": ""}, "key of the configuration 'page': did you mean 'pages'"),
        ({"records": {"ViT-B-32": {"seed": [1]}}}, "'seed': did you mean 'seeds'"),
        ({"records": {"ViT-B-32": {"sections": ["linea"]}}}, "records.ViT-B-32.sections.0"),
        ({"gpus_per_job": -1}, "gpus_per_job"),
        ({"pages": "-p modl ViT-B-32"}, "parameter 'modl': did you mean 'model'"),
        ({"pages": "-k python3"}, "-p NAME VALUE"),
        ({"pages": "-p seeds"}, "-p NAME VALUE"),
        ({"pages": "-p tasks 'Signs"}, "-p NAME VALUE"),
        ({"pages": "-p seeds 0 -p seeds 1"}, "'seeds' is given twice"),
        ({"pages": "-p seeds 0,x"}, "seeds 'x'"),
        ({"pages": "-p seeds 1,1"}, "seeds '1,1'"),
        ({"pages": "-p seeds 1,01"}, "seeds '1,01'"),
        ({"pages": f"-p seeds {2**64}"}, f"seeds {2**64} is out of range"),
        ({"pages": "-p data_root ''"}, "data_root '' is not a path"),
        ({"pages": "-p seeds 0,1 -p checkpoints runs/x"}, "checkpoints come from one run"),
        ({"pages": "-p tasks Sings"}, "task 'Sings': did you mean 'Signs'"),
        ({"pages": "-p data_root a", "records": {"ViT-B-32": {}}}, "data_root"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_used_is_refused_before_any_job(config, message):
    with pytest.raises(InputError, match=message):
        read_parts(read_config(config))


# -- GPUs of one machine ---------------------------------------------------------------------------------------------------
def on_gpus(folder, count, *command, devices):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "tangent_lib.cli", "gpus", str(count), *command]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_two_jobs_share_a_gpu(tmp_path):
    noted = 'import os, time; a = time.time(); time.sleep(0.5); print(os.environ["CUDA_VISIBLE_DEVICES"], a, time.time())'
    started = [on_gpus(tmp_path, 1, sys.executable, "-c", noted, devices="4,5") for _ in range(3)]
    spans = [each.communicate()[0].split() for each in started]
    assert {gpu for gpu, *_ in spans} == {"4", "5"}
    for i, (gpu, start, end) in enumerate(spans):
        for other, begin, finish in spans[:i]:
            assert gpu != other or float(begin) >= float(end) or float(start) >= float(finish)


def test_more_gpus_than_there_are_is_refused_and_none_at_all_is_fine(tmp_path):
    refused = on_gpus(tmp_path, 3, "true", devices="0,1")
    assert "3 GPUs" in refused.communicate()[1] and refused.returncode == 2
    without = on_gpus(tmp_path, 1, "true", devices="")
    assert without.communicate() == ("", "") and without.returncode == 0
