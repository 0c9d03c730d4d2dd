"""Task arithmetic in the tangent space: what the two papers define, as functions of any model f(params, x).

This folder holds the papers; around it lie ``models`` (CLIP towers), ``data`` (tasks as datasets), ``miniature`` (the
embedded default), ``checkpoints`` (what others published), ``experiments`` (results kept over seeds), ``cost`` (what a step
takes), ``runtime`` (store, processes, errors), ``report`` (what pages show) and ``cli`` (the command ``tangent``). ``_fast``
computes f_lin and kernels near the least that they take. A name is looked up when first used: importing this costs no torch.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    # task vectors, tau = theta_star - theta_0 (Section 2)
    "add": "task_vectors",  # the sum of two task vectors
    "subtract": "task_vectors",  # the task vector, theta_star - theta_0
    "scale": "task_vectors",  # a task vector times alpha
    "negate": "task_vectors",  # the vector that forgets a task, -tau
    "total": "task_vectors",  # the sum of many task vectors
    "apply": "task_vectors",  # the edited weights theta_0 + alpha tau
    "norm": "task_vectors",  # the length of a task vector
    "cosine": "task_vectors",  # of the angle between two task vectors
    # models and their linearisation (Section 3, Appendix B)
    "functional": "linearization",  # a module as f(params, x), and its theta_0
    "linearize": "linearization",  # the model in its tangent space, f_lin
    "value_and_tangents": "linearization",  # the terms of f_lin for several task vectors at once
    # fine-tuning (Section 5, Appendix A; attention-only paper, Section 3)
    "Protocol": "modes",  # steps, batch size, learning rate
    "finetune": "finetuning",  # the fine-tuned weights theta_star, of f or f_lin
    "select": "modes",  # which weights a selection trains
    # accuracies, addition, negation (Sections 2 and 5)
    "evaluate": "evaluation",  # the accuracy of one model on one task
    "task_addition": "editing",  # the sum of task vectors, alpha chosen on validation
    "task_negation": "editing",  # one task forgotten, the control kept
    # weight disentanglement (Section 4)
    "disentanglement_error": "disentanglement",  # the error xi, from outputs
    "alpha_grid": "disentanglement",  # the values of alpha on an axis
    "xi_grid": "disentanglement",  # the error xi over alpha_1 and alpha_2
    # the neural tangent kernel (Section 6.1)
    "ntk": "kernels",  # the kernels of all outputs
    "local_energy": "kernels",  # the weight of eigenfunctions at each point
    "localisation": "kernels",  # the share of that energy on a task
    # everything together, kept in a store
    "check_parameters": "parameters",  # the parameters of an experiment, checked
    "Materials": "experiments.materials",  # model, tasks, heads, fine-tuned weights
    "Experiment": "experiment",  # results by task, mode and seed
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tangent_lib' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(f"tangent_lib.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
