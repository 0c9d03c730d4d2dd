"""The names of ``tangent_lib``: each is the documented one, and importing the package costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import tangent_lib as tl
from tangent_lib.runtime.disk import ROOT

DOCUMENTED = {  # name: what it is looked up in, and the first words of its documentation
    "add": ("task_vectors", "left + right"),
    "subtract": ("task_vectors", "left - right"),
    "scale": ("task_vectors", "alpha * tau"),
    "negate": ("task_vectors", "-tau"),
    "total": ("task_vectors", "The sum of task vectors"),
    "apply": ("task_vectors", "theta_0 + alpha * tau"),
    "norm": ("task_vectors", "The Euclidean norm"),
    "cosine": ("task_vectors", "The cosine"),
    "functional": ("linearization", "A module as a pure function"),
    "linearize": ("linearization", "f_lin, with the signature of f"),
    "value_and_tangents": ("linearization", "f(x; theta_0) and tau_t^T grad_theta f(x; theta_0)"),
    "Protocol": ("finetuning", "How to fine-tune"),
    "finetune": ("finetuning", "Fine-tune the model f, or its linearisation f_lin"),
    "select": ("modes", "The names of the parameters that a selection trains"),
    "evaluate": ("evaluation", "The accuracy of the model"),
    "task_addition": ("editing", "Add up all task vectors"),
    "task_negation": ("editing", "Subtract each task vector by itself"),
    "disentanglement_error": ("disentanglement", "xi = "),
    "alpha_grid": ("disentanglement", "``count`` equispaced values"),
    "xi_grid": ("disentanglement", "xi(alpha_1, alpha_2)"),
    "ntk": ("kernels", "The neural tangent kernel"),
    "local_energy": ("kernels", "How much the eigenfunctions"),
    "localisation": ("kernels", "The share of the local energy"),
    "check_parameters": ("parameters", "Resolve and check parameters"),
    "Materials": ("experiments.materials", "Model, tasks, heads and fine-tuned weights"),
    "Experiment": ("experiment", "Results of one model on its tasks"),
}


def test_all_names_are_the_documented_ones():
    assert tl.__all__ == list(DOCUMENTED) and set(tl.__all__) <= set(dir(tl))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_name_is_that_of_its_module(name):
    module, said = DOCUMENTED[name]
    found = getattr(tl, name)
    assert found is getattr(import_module(f"tangent_lib.{module}"), name) and found.__name__ == name
    assert found.__doc__.startswith(said)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'tangent_lib' has no attribute 'linearise'"):
        tl.linearise  # noqa: B018
    with pytest.raises(ImportError):
        exec("from tangent_lib import linearise")


def python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.strip()


def test_importing_takes_less_than_a_second_beside_torch_and_brings_nothing_large():
    """Processor time, so that a busy machine does not matter."""
    code = """
import sys, time
import torch
start = time.process_time()
import tangent_lib as tl
tl.linearize, tl.ntk, tl.select
print(time.process_time() - start < 1, [name for name in ("open_clip", "matplotlib", "snakemake") if name in sys.modules])
"""
    assert python(code) == "True []"


def test_importing_alone_does_not_bring_torch():
    assert python("import sys, tangent_lib, tangent_lib.modes; print('torch' in sys.modules)") == "False"


def test_the_core_brings_neither_open_clip_nor_plots():
    code = """
import sys
import tangent_lib as tl
tl.finetune, tl.evaluate, tl.task_addition, tl.xi_grid, tl.ntk
print([name for name in ("open_clip", "timm", "matplotlib", "snakemake") if name in sys.modules])
"""
    assert python(code) == "[]"
