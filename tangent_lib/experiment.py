"""One experiment: a model, tasks and a protocol; every result is asked for here and kept in the store."""

from __future__ import annotations

from tqdm import tqdm

from tangent_lib.analyses import Analyses
from tangent_lib.editing import choose_addition_alpha, choose_negation_alpha, normalised
from tangent_lib.evaluate import accuracies_along, predict
from tangent_lib.modes import Mode, mode_named
from tangent_lib.task_vectors import Params, negate, scale, total


class Experiment(Analyses):
    """Results by task, mode and seed, for one set of parameters. Accuracies are shares in [0, 1].

    Example:
        >>> from tangent_lib.parameters import check_parameters
        >>> run = Experiment(check_parameters(tasks="Digits,Signs"))
        >>> sorted(run.zero_shot("Digits"))
        ['test', 'val']
    """

    def _curve(self, name: str, tau: Params, mode: Mode, split: str, alphas: tuple[float, ...]) -> list[float]:
        """The accuracy at every alpha; at 0 it is that of the pre-trained model, which is known."""
        moved = [alpha for alpha in alphas if alpha]
        found = dict(zip(moved, self._accuracies(name, tau, moved, split, mode.linear_evaluation), strict=True))
        return [found[alpha] if alpha else self.zero_shot(name)[split] for alpha in alphas]

    def _accuracies(self, name: str, tau: Params, alphas: list[float], split: str, linear: bool) -> list[float]:
        if not alphas:
            return []
        head, data = self.head(name), self.task(name).split(split)
        return accuracies_along(self.clip.f, self.clip.theta_0, tau, alphas, head, data, linear, self.eval_batch)

    def zero_shot(self, name: str) -> dict[str, float]:
        """Accuracy of the pre-trained model on validation and test."""
        nothing = scale(self.clip.theta_0, 0.0)
        compute = lambda: ({}, {s: self._accuracies(name, nothing, [0.0], s, False)[0] for s in ("val", "test")})
        return self.store.fetch("zero_shot", self.identity(name), compute).values

    def single_task(self, name: str, mode_name: str, seed: int) -> dict[str, float]:
        """Validation and test accuracy of the model fine-tuned on a task, on that task (Figures 2, 5 and 7)."""
        mode = mode_named(mode_name)

        def compute() -> tuple[dict, dict]:
            tau = self._tau(name, mode, seed)
            return {}, {split: self._curve(name, tau, mode, split, (1.0,))[0] for split in ("val", "test")}

        config = self._config(mode_name, seed, name)
        del config["order"]  # of a single task
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
            tau = total(self._tau(name, mode, seed) for name in names)
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
        return self._negation(name, mode_name, seed)

    def _negation(self, name: str, mode_name: str, seed: int, kept_at: dict[str, list[float]] | None = None) -> dict:
        """``kept_at``: the control's accuracy at every alpha by split, where it is known."""
        mode, control = mode_named(mode_name), self.parameters.control

        def compute() -> tuple[dict, dict]:
            tau = negate(self._tau(name, mode, seed))
            target_val = self._curve(name, tau, mode, "val", self.alphas)
            control_val = kept_at["val"] if kept_at else self._curve(control, tau, mode, "val", self.alphas)
            alpha = choose_negation_alpha(self.alphas, target_val, control_val, self.zero_shot(control)["val"])
            at = self.alphas.index(alpha)
            kept = kept_at["test"][at] if kept_at else self._curve(control, tau, mode, "test", (alpha,))[0]
            return {}, {
                "alpha": alpha,
                "alphas": list(self.alphas),
                "target_val": target_val,
                "control_val": control_val,
                "target": self._curve(name, tau, mode, "test", (alpha,))[0],
                "control": kept,
            }

        return self.store.fetch("negation", self._editing_config(mode_name, seed, name, control), compute).values

    def negations(self, mode_name: str, seed: int) -> dict[str, dict]:
        """``negation`` of every task. f_lin passes over the control's images once for all task vectors and alphas."""
        names, kept_at = self.parameters.tasks, {}
        config = lambda name: self._editing_config(mode_name, seed, name, self.parameters.control)
        missing = [name for name in names if self.store.find("negation", config(name)) is None]
        if missing and mode_named(mode_name).linear_evaluation:
            kept_at = self._control_accuracies(missing, mode_named(mode_name), seed)
        watched = _watched(names, f"negation, {mode_name}")
        return {name: self._negation(name, mode_name, seed, kept_at.get(name)) for name in watched}

    def _control_accuracies(self, names: list[str], mode: Mode, seed: int) -> dict[str, dict[str, list[float]]]:
        """The control's accuracy by task whose vector is subtracted, split and alpha."""
        control, count = self.parameters.control, len(self.alphas)
        taus = [negate(self._tau(name, mode, seed)) for name in names]
        settings = [
            [alpha if s == t else 0.0 for s in range(len(names))] for t in range(len(names)) for alpha in self.alphas
        ]
        found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
        for split in ("val", "test"):
            given = (self.head(control), self.task(control).split(split), True, self.eval_batch)
            predictions, labels = predict(self.clip.f, self.clip.theta_0, taus, settings, *given)
            right = [each / len(labels) for each in (predictions == labels).sum(dim=1).tolist()]
            for t, name in enumerate(names):
                found[name][split] = right[t * count : (t + 1) * count]
        return found

    def summary(self, mode_name: str, seed: int, negation: bool = True) -> dict:
        """What the tables need of one mode and seed, all on test: single-task, addition and, unless left out, negation.

        ``curve`` is the average validation accuracy at every alpha of the addition sweep.
        """
        names, addition = self.parameters.tasks, self.addition(mode_name, seed)
        kept = {key: addition[key] for key in ("alpha", "absolute", "normalised", "test")}
        curve = [sum(addition["val"][name][i] for name in names) / len(names) for i in range(len(self.alphas))]
        result = {
            "single": {name: self.single_task(name, mode_name, seed)["test"] for name in names},
            "addition": {**kept, "curve": curve},
        }
        if negation:
            keys = ("alpha", "target", "control")
            negations = self.negations(mode_name, seed).items()
            result["negation"] = {name: {key: each[key] for key in keys} for name, each in negations}
        return result

    def _editing_config(self, mode_name: str, seed: int, *names: str) -> dict:
        return {**self._config(mode_name, seed, *names), "alphas": list(self.alphas)}


def _watched(names: tuple[str, ...], label: str) -> tqdm:
    """The names, with a progress bar that shows itself when the work takes longer than a moment."""
    return tqdm(names, desc=label, unit="task", delay=2, mininterval=5, ncols=100)
