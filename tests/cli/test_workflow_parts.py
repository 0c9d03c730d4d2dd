"""What Snakemake reads without loading torch agrees with the library; bad input is refused; GPUs are handed out."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tangent_lib import miniature, parameters, recorded
from tangent_lib.cli import finetune as jobs
from tangent_lib.cli.workflow_config import (
    MEASURED,
    MINIATURES,
    PAGES,
    SECTIONS,
    TRAININGS,
    defaults,
    listed,
    read_config,
)
from tangent_lib.cli.workflow_parts import read_parts
from tangent_lib.experiment import Experiment
from tangent_lib.modes import ALL_MODES
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError


def test_lists_agree_with_the_library():
    assert sorted(PAGES) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert tuple(jobs.TRAININGS) == TRAININGS
    assert tuple(SECTIONS) == tuple(recorded.SECTIONS)
    assert set(MINIATURES) == set(MINIATURES)
    assert set(defaults()) == set(parameters.NAMES)


@pytest.mark.parametrize("model, tasks", [("ViT-Mini-4", parameters.MINIATURE_TASKS), ("ViT-B-16", parameters.PAPER_TASKS)])
def test_tasks_are_those_of_the_model(model, tasks):
    part = read_parts(read_config({"pages": f"-p model {model}"}))["book", model]
    assert sorted(part.tasks) == sorted(tasks)
    control = [] if part.model in MINIATURES else ["ImageNet"]
    assert sorted(part.prepared()) == sorted(f"runs/workflow/data/{task}" for task in [*tasks, *control] if control)


@pytest.mark.parametrize("text", ["Signs", "Signs,Digits", "Signs, Digits", '["Signs", "Digits"]', "['a']", "0,1", "3", ""])
def test_lists_are_read_as_the_parameters_are(text):
    assert tuple(listed(text)) == parameters.words(text)


class Spy(Experiment):
    """An experiment that computes nothing and notes which trainings a recorded section uses."""

    def __init__(self, used, untrained=False):
        self.used, self.start = used, untrained
        self.parameters = parameters.check_parameters(tasks="Digits,Signs")

    def note(self, mode):
        of_weights = lambda name: (ALL_MODES[name].linear_training, ALL_MODES[name].selection)
        same = lambda each: of_weights(each.mode) == of_weights(mode) and each.untrained == self.start
        self.used.update(name for name, each in jobs.TRAININGS.items() if same(each))

    def summary(self, mode, seed, negation=True):
        return self.note(mode) or {}

    def negations(self, mode, seed):
        return self.note(mode) or {}

    def cosines(self, mode, seed):
        return self.note(mode) or {"cosines": np.eye(2)}

    def xi_diagonal(self, pair, mode, seed, alphas):
        return self.note(mode) or {"xi": [], "kl": []}

    def xi_grid(self, pair, mode, seed, count):
        return self.note(mode) or {"alphas": [], "points": [], "prediction error": []}

    def untrained(self, seed):
        return Spy(self.used, untrained=True)

    def zero_shot(self, name):
        return {}

    def kernel_on_supports(self, first, second, seed):
        return None


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in MEASURED])
def test_a_section_names_the_trainings_that_it_uses(section, monkeypatch):
    monkeypatch.setattr(recorded, "support_shares", lambda kernel, leading: {})
    used = set()
    recorded.SECTIONS[section](Spy(used))
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
        ({"pages": "-p seeds 0,x"}, "seeds '0,x'"),
        ({"pages": "-p seeds 1,1"}, "seeds '1,1'"),
        ({"pages": "-p seeds 0,1 -p checkpoints runs/x"}, "checkpoints come from one run"),
        ({"pages": "-p tasks Sings"}, "task 'Sings': did you mean 'Signs'"),
        ({"pages": "-p data_root a", "records": {"ViT-B-32": {}}}, "data_root"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_used_is_refused_before_any_job(config, message):
    with pytest.raises(InputError, match=message):
        read_parts(read_config(config))


def test_a_job_of_some_sections_leaves_a_receipt_and_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "SECTIONS", {"a": lambda run: {"summaries": {"linear": {"3": {}}}}})
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "recorded")
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: {})
    options = ["--sections", "a", "--seeds", "3", "-p", "tasks", "Signs,Digits", "-p", "store", str(tmp_path / "store")]
    assert recorded.main([*options, "--receipt", str(tmp_path / "new" / "receipt.json")]) == 0
    receipt = json.loads((tmp_path / "new" / "receipt.json").read_text())
    assert receipt["sections"] == ["a"] and receipt["seeds"] == [3] and not (tmp_path / "recorded").exists()
    assert recorded.main([*options, "-p", "precison", "bf16"]) == 2


# -- GPUs of one machine ---------------------------------------------------------------------------------------------------
def on_gpus(folder, count, *command, devices):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "tangent_lib.cli.gpus", str(count), *command]
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
    assert "3 GPUs" in refused.communicate()[1] and refused.returncode == 1
    without = on_gpus(tmp_path, 1, "true", devices="")
    assert without.communicate() == ("", "") and without.returncode == 0
