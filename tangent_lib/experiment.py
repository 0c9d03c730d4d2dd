"""One experiment: a model, tasks and a protocol; every result is asked for here and kept in the store.

A mode is a pair of choices: is f or f_lin fine-tuned, and is f or f_lin evaluated (Sections 3 and 5)?
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from tangent_lib.data import Task, load_task
from tangent_lib.disentanglement import disentanglement_error
from tangent_lib.editing import ALPHAS, check_alphas, choose_addition_alpha, choose_negation_alpha, normalised
from tangent_lib.errors import unknown
from tangent_lib.evaluate import accuracies_along, predict
from tangent_lib.finetune import finetune
from tangent_lib.models import load_clip, zero_shot_head
from tangent_lib.parameters import Parameters
from tangent_lib.store import Store
from tangent_lib.task_vectors import Params, negate, scale, subtract, total


@dataclass(frozen=True)
class Mode:
    """How task vectors are made and how they are used."""

    name: str
    linear_training: bool
    linear_evaluation: bool
    symbol: str


MODES = {
    mode.name: mode
    for mode in (
        Mode("non-linear", False, False, "f(.; theta_0 + tau)"),
        Mode("post-hoc", False, True, "f_lin(.; theta_0 + tau)"),
        Mode("linear", True, True, "f_lin(.; theta_0 + tau_lin)"),
    )
}


def mode_named(name: str) -> Mode:
    """A mode by name.

    Raises:
        InputError: for an unknown mode.

    Example:
        >>> mode_named("post-hoc").linear_training, mode_named("post-hoc").linear_evaluation
        (False, True)
    """
    if name not in MODES:
        raise unknown("mode", name, MODES)
    return MODES[name]


class Experiment:
    """Results by task, mode and seed, for one set of parameters. Accuracies are shares in [0, 1].

    Example:
        >>> from tangent_lib.parameters import check_parameters
        >>> run = Experiment(check_parameters(tasks="Digits,Signs"))
        >>> sorted(run.zero_shot("Digits"))
        ['test', 'val']
    """

    def __init__(self, parameters: Parameters, alphas: tuple[float, ...] = ALPHAS):
        self.parameters, self.alphas = parameters, check_alphas(alphas)
        self.store = Store(parameters.store)
        self.clip = load_clip(parameters.model, parameters.pretrained, parameters.device)
        self._model_digest = self.clip.digest
        self._tasks: dict[str, Task] = {}
        self._heads: dict[str, Tensor] = {}

    # -- what an experiment works on -------------------------------------------------------------------------------
    def task(self, name: str) -> Task:
        """The images of a task, opened at its first use."""
        if name not in self._tasks:
            if name not in (*self.parameters.tasks, self.parameters.control):
                raise unknown("task", name, (*self.parameters.tasks, self.parameters.control), "Others: -p tasks.")
            self._tasks[name] = load_task(name, self.clip, self.store, self.parameters.data_root)
        return self._tasks[name]

    def head(self, name: str) -> Tensor:
        """The zero-shot head of a task, ``(classes, dim)``."""
        if name not in self._heads:
            classes, templates = self.task(name).classes, self.task(name).manifest.templates
            config = {"model": self._model_digest, "classes": classes, "templates": templates}
            compute = lambda: ({"head": zero_shot_head(self.clip, classes, templates)}, {})
            self._heads[name] = self.store.fetch("head", config, compute).tensors["head"].to(self.clip.device)
        return self._heads[name]

    def identity(self, *names: str) -> dict:
        """What determines any result on these tasks: weights, images, classes, prompts, kind of device."""
        return {
            "model": self.parameters.model,
            "weights": self._model_digest,
            "device": self.clip.device.type,
            "tasks": {name: self.task(name).digest for name in names},
        }

    def _curve(self, name: str, tau: Params, mode: Mode, split: str, alphas: tuple[float, ...]) -> list[float]:
        return accuracies_along(
            self.clip.f,
            self.clip.theta_0,
            tau,
            alphas,
            self.head(name),
            self.task(name).split(split),
            mode.linear_evaluation,
        )

    # -- results ---------------------------------------------------------------------------------------------------
    def zero_shot(self, name: str) -> dict[str, float]:
        """Accuracy of the pre-trained model on validation and test."""
        nothing = scale(self.clip.theta_0, 0.0)
        compute = lambda: (
            {},
            {s: self._curve(name, nothing, MODES["non-linear"], s, (0.0,))[0] for s in ("val", "test")},
        )
        return self.store.fetch("zero_shot", self.identity(name), compute).values

    def finetuned(self, name: str, linear: bool, seed: int) -> Params:
        """theta_star of a task: f fine-tuned, or with ``linear`` f_lin (Section 5)."""
        parameters = self.parameters
        protocol = parameters.protocol
        config = {**self.identity(name), "linear": linear, "seed": seed, "protocol": protocol.model_dump()}
        place = f" ({parameters.tasks.index(name) + 1} of {len(parameters.tasks)})" if name in parameters.tasks else ""
        label = f"{'linear' if linear else 'non-linear'} fine-tuning, {name}{place}, seed {seed}"

        def compute() -> tuple[Params, dict]:
            data = self.task(name).split("train")
            theta = finetune(self.clip.f, self.clip.theta_0, self.head(name), data, protocol, linear, seed, label)
            return theta, {}

        tensors = self.store.fetch("finetuned", config, compute).tensors
        return {key: value.to(self.clip.device) for key, value in tensors.items()}

    def task_vector(self, name: str, linear: bool, seed: int) -> Params:
        """tau = theta_star - theta_0 (Section 2)."""
        return subtract(self.finetuned(name, linear, seed), self.clip.theta_0)

    def single_task(self, name: str, mode_name: str, seed: int) -> dict[str, float]:
        """Validation and test accuracy of the model fine-tuned on a task, on that task (Figures 2, 5 and 7)."""
        mode = mode_named(mode_name)

        def compute() -> tuple[dict, dict]:
            tau = self.task_vector(name, mode.linear_training, seed)
            return {}, {split: self._curve(name, tau, mode, split, (1.0,))[0] for split in ("val", "test")}

        config = {
            **self.identity(name),
            "mode": mode_name,
            "seed": seed,
            "protocol": self.parameters.protocol.model_dump(),
        }
        return self.store.fetch("single_task", config, compute).values

    def addition(self, mode_name: str, seed: int) -> dict:
        """Task addition (Table 1, Figure 8): the sum of all task vectors, one alpha chosen on validation.

        Returns:
            ``alpha``; ``val``, per task the accuracy at every alpha; ``test``, per task the accuracy at ``alpha``;
            ``absolute`` and ``normalised``, the averages on test.
        """
        mode, names = mode_named(mode_name), self.parameters.tasks
        single = {split: {n: self.single_task(n, mode_name, seed)[split] for n in names} for split in ("val", "test")}

        def compute() -> tuple[dict, dict]:
            tau = total(self.task_vector(name, mode.linear_training, seed) for name in names)
            val = {n: self._curve(n, tau, mode, "val", self.alphas) for n in _watched(names, f"addition, {mode_name}")}
            alpha = choose_addition_alpha(self.alphas, val, single["val"])
            test = {name: self._curve(name, tau, mode, "test", (alpha,))[0] for name in names}
            return {}, {
                "alpha": alpha,
                "alphas": list(self.alphas),
                "val": val,
                "test": test,
                "absolute": sum(test.values()) / len(test),
                "normalised": normalised(test, single["test"]),
            }

        return self.store.fetch("addition", self._editing_config(mode_name, seed, *names), compute).values

    def negation(self, name: str, mode_name: str, seed: int) -> dict:
        """Task negation (Table 2): forget one task, keep 95 % of the control; alpha chosen on validation.

        Returns:
            ``alpha``; ``target_val`` and ``control_val``, the accuracies at every alpha; ``target`` and ``control``, the
            test accuracies at ``alpha``.
        """
        mode, control = mode_named(mode_name), self.parameters.control

        def compute() -> tuple[dict, dict]:
            tau = negate(self.task_vector(name, mode.linear_training, seed))
            target_val, control_val = (self._curve(n, tau, mode, "val", self.alphas) for n in (name, control))
            alpha = choose_negation_alpha(self.alphas, target_val, control_val, self.zero_shot(control)["val"])
            target, kept = (self._curve(n, tau, mode, "test", (alpha,))[0] for n in (name, control))
            return {}, {
                "alpha": alpha,
                "alphas": list(self.alphas),
                "target_val": target_val,
                "control_val": control_val,
                "target": target,
                "control": kept,
            }

        return self.store.fetch("negation", self._editing_config(mode_name, seed, name, control), compute).values

    def negations(self, mode_name: str, seed: int) -> dict[str, dict]:
        """``negation`` of every task."""
        return {n: self.negation(n, mode_name, seed) for n in _watched(self.parameters.tasks, f"negation, {mode_name}")}

    def xi_diagonal(
        self, pair: tuple[str, str], mode_name: str, seed: int, alphas: tuple[float, ...] | None = None
    ) -> dict:
        """xi(alpha, alpha) of two tasks on their test points, for some alphas or all of the sweep (equation 6).

        Returns:
            ``alphas`` and ``xi``, as long.
        """
        mode, alphas = mode_named(mode_name), check_alphas(alphas or self.alphas)

        def compute() -> tuple[dict, dict]:
            taus = [self.task_vector(name, mode.linear_training, seed) for name in pair]
            alone, together = [], []
            for t, name in enumerate(pair):
                own = [[alpha * (t == 0), alpha * (t == 1)] for alpha in alphas]
                both = [[alpha, alpha] for alpha in alphas]
                predicted, _ = predict(
                    self.clip.f,
                    self.clip.theta_0,
                    taus,
                    own + both,
                    self.head(name),
                    self.task(name).split("test"),
                    mode.linear_evaluation,
                )
                alone.append(predicted[: len(own)])
                together.append(predicted[len(own) :])
            return {}, {"alphas": list(alphas), "xi": disentanglement_error(alone, together).tolist()}

        config = {**self._editing_config(mode_name, seed, *pair), "alphas": list(alphas)}
        return self.store.fetch("xi_diagonal", config, compute).values

    def summary(self, mode_name: str, seed: int) -> dict:
        """What the tables need of one mode and seed, all on test: single-task, addition, negation."""
        addition, negations = self.addition(mode_name, seed), self.negations(mode_name, seed)
        keep = ("alpha", "absolute", "normalised", "test")
        return {
            "single": {name: self.single_task(name, mode_name, seed)["test"] for name in self.parameters.tasks},
            "addition": {key: addition[key] for key in keep},
            "negation": {
                name: {key: each[key] for key in ("alpha", "target", "control")} for name, each in negations.items()
            },
        }

    def _editing_config(self, mode_name: str, seed: int, *names: str) -> dict:
        return {
            **self.identity(*names),
            "order": list(names),
            "mode": mode_name,
            "seed": seed,
            "alphas": list(self.alphas),
            "protocol": self.parameters.protocol.model_dump(),
        }


def _watched(names: tuple[str, ...], label: str) -> tqdm:
    """The names, with a progress bar that shows itself when the work takes longer than a moment."""
    return tqdm(names, desc=label, unit="task", delay=2, mininterval=5, ncols=100)
