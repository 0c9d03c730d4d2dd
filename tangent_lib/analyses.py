"""What task vectors do to functions: disentanglement error, similarity, localisation of the NTK's eigenfunctions."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from tangent_lib.batches import batches
from tangent_lib.data import random_points
from tangent_lib.disentanglement import alpha_grid, xi_at
from tangent_lib.errors import InputError
from tangent_lib.fast.kernel import ntk_of_outputs
from tangent_lib.materials import Materials
from tangent_lib.memory import enough_memory
from tangent_lib.models import classify
from tangent_lib.modes import mode_named
from tangent_lib.ntk import local_energy, localisation
from tangent_lib.task_vectors import cosine

Pair = tuple[str, str]
NTK_NUMBERS = {"cpu": 2**28, "cuda": 2**32, "mps": 2**28}  # held at a time: 1 GB in fp32, on a GPU 17 GB


class Analyses(Materials):
    """Results that are no accuracies, by task pair, mode and seed."""

    def xi_grid(self, pair: Pair, mode_name: str, seed: int, count: int = 20, bound: float = 3.0) -> dict:
        """xi(alpha_1, alpha_2) on a grid over [-bound, bound]^2, on random test points (Figures 3, 9 to 11).

        Returns:
            ``alphas``, the values on both axes; for each distance ``xi[i][j]`` at alpha_1 = alphas[i], alpha_2 = alphas[j];
            ``points``, the number of test points of each task.
        """
        alphas = alpha_grid(count, bound)
        values = self._xi(pair, mode_name, seed, list(product(alphas, alphas)))
        grids = {name: [flat[i * count : (i + 1) * count] for i in range(count)] for name, flat in values["xi"].items()}
        return {"alphas": alphas, "points": values["points"], **grids}

    def xi_diagonal(self, pair: Pair, mode_name: str, seed: int, alphas: tuple[float, ...]) -> dict:
        """xi(alpha, alpha) of two tasks on random test points.

        Returns:
            ``alphas``; ``xi`` by prediction error and ``kl`` by KL divergence of the representations, as long.
        """
        values = self._xi(pair, mode_name, seed, [(alpha, alpha) for alpha in alphas])["xi"]
        return {"alphas": list(alphas), "xi": values["prediction error"], "kl": values["KL divergence"]}

    def _xi(self, pair: Pair, mode_name: str, seed: int, settings: list[tuple[float, float]]) -> dict:
        mode = mode_named(mode_name)
        if pair[0] == pair[1]:
            raise InputError(
                f"pair {pair[0]}-{pair[1]}: a task has no interference with itself; name two different tasks"
            )
        tests = [self.task(name).split("test") for name in pair]
        points, exact = self.parameters.points, self.parameters.exact_points
        counts = [points if exact else min(points, len(test)) for test in tests]
        data = [random_points(test, count) for test, count in zip(tests, counts)]

        def compute() -> tuple[dict, dict]:
            taus = [self._tau(name, mode, seed) for name in pair]
            heads = [self.head(name) for name in pair]
            f, theta_0, linear = self.clip.f, self.clip.theta_0, mode.linear_evaluation
            xi = xi_at(f, theta_0, taus, settings, heads, data, linear, batch_size=self.eval_batch)
            return {}, {"points": counts, "xi": xi}

        config = {
            **self._config(mode_name, seed, *pair),
            "settings": [list(each) for each in settings],
            "points": counts,
        }
        return self.store.fetch("xi", config, compute).values

    def cosines(self, mode_name: str, seed: int) -> dict:
        """Cosine similarities of the task vectors of all tasks (attention-only paper, Figure 10).

        Returns:
            ``tasks`` and the matrix ``cosines``, in their order.
        """
        mode, names = mode_named(mode_name), self.parameters.tasks

        def compute() -> tuple[dict, dict]:
            taus = [self._tau(name, mode, seed) for name in names]
            return {}, {"tasks": list(names), "cosines": [[cosine(a, b) for b in taus] for a in taus]}

        return self.store.fetch("cosines", self._config(mode_name, seed, *names), compute).values

    def local_energy(self, task: str, control: str, seed: int = 0, points: int = 200, classes: int = 10) -> dict:
        """Local energy of the NTK's eigenfunctions on the supports of a task and of a control (Section 6.1, Figure 6).

        Args:
            seed: of the choice of training points.
            points: of each of the two supports.
            classes: one kernel an output logit of the task, for so many classes at most.

        Returns:
            ``classes``; ``energy``, for each class E_loc at the task's points, then at the control's; ``trained``, how many
            are the task's; ``localisation``, the share of the energy on the task's points, averaged over classes.
        """
        names = self.task(task).classes[:classes]
        if task == control:
            raise InputError(f"task and control are both {task}: name two different tasks")

        def compute() -> tuple[dict, dict]:
            x = torch.cat([self._support(name, points, seed) for name in (task, control)])
            energy = [local_energy(kernel) for kernel in self._kernels(task, len(names), x, points)]
            shares = [localisation(each, points) for each in energy]
            values = {"classes": names, "trained": points, "localisation": sum(shares) / len(shares)}
            return {}, {**values, "energy": [each.tolist() for each in energy]}

        config = {
            **self.identity(task, control),
            "order": [task, control],
            "seed": seed,
            "points": points,
            "classes": names,
        }
        return self.store.fetch("local_energy", config, compute).values

    def kernel_on_supports(self, task: str, control: str, seed: int = 0, points: int = 200) -> Tensor:
        """The NTK of the first output logit between trained points of a task and three supports.

        Beyond Section 6.1: points of the task that were not trained on tell how much of the local energy a trained point
        owes to having a row of its own in the kernel.

        Returns:
            ``(points, 3 points)``: a row a trained point; columns are these, unseen points of the task, the control's.
        """

        def compute() -> tuple[dict, dict]:
            data = (self._support(task, 2 * points, seed), self._support(control, points, seed))
            return {"kernel": self._kernels(task, 1, torch.cat(data), points)[0]}, {}

        config = {**self.identity(task, control), "order": [task, control], "seed": seed, "points": points}
        return self.store.fetch("kernel_on_supports", config, compute).tensors["kernel"]

    def _support(self, name: str, points: int, seed: int) -> Tensor:
        data = random_points(self.task(name).split("train"), points, seed)
        return torch.cat([x for x, _ in batches(data, points, self.clip.device)])

    def _kernels(self, task: str, outputs: int, x: Tensor, trained: int) -> Tensor:
        head, f = self.head(task)[:outputs], self.clip.f
        logits = lambda params, images: classify(f(params, images), head)
        with enough_memory("the NTK", trained):
            return ntk_of_outputs(logits, self.clip.theta_0, x[:trained], x, NTK_NUMBERS[self.clip.device.type])

    def _config(self, mode_name: str, seed: int, *names: str) -> dict:
        mode = mode_named(mode_name)
        config = {
            **self.identity(*names),
            "order": list(names),
            "mode": mode_name,
            "seed": seed,
            "protocol": self.parameters.protocol.model_dump(),
        }
        if self.parameters.by_epochs:
            config["epochs"] = {name: self.protocol(name).steps for name in names if name != self.parameters.control}
        if self.imported and not mode.linear_training and mode.selection == "all":
            config["checkpoints"] = self.imported.digest
        return config
