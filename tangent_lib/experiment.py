"""One experiment: results by task, mode and seed, computed by the functions of the core and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from torch import Tensor

from tangent_lib.data.batches import batches
from tangent_lib.data.tasks import random_points
from tangent_lib.disentanglement import XiGrid, grid_of_values, xi_at
from tangent_lib.editing import Accuracies, Addition, Negation, single_task, task_addition, task_negation
from tangent_lib.evaluation import EVAL_BATCH, classify, evaluate
from tangent_lib.kernels import local_energy, localisation, ntk
from tangent_lib.modes import Mode, mode_named
from tangent_lib.parameters import WAYS_OUT
from tangent_lib.runtime.errors import InputError, ways_out
from tangent_lib.runtime.inputs import joined, where_float64_is
from tangent_lib.runtime.memory import enough_memory
from tangent_lib.task_vectors import Params, cosine

if TYPE_CHECKING:
    from tangent_lib.experiments.materials import Materials

Pair = tuple[str, str]


@dataclass(frozen=True)
class XiDiagonal:
    """xi(alpha, alpha) of two tasks: ``xi`` by changed predictions, ``kl`` by KL divergence, one number an alpha."""

    alphas: tuple[float, ...]
    xi: tuple[float, ...]
    kl: tuple[float, ...]


@dataclass(frozen=True)
class Cosines:
    """Cosine similarities of task vectors, a matrix in the order of ``tasks``."""

    tasks: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LocalEnergy:
    """Local energies of NTKs on the supports of a task and of a control (Section 6.1, Figure 6).

    Attributes:
        classes: the output logits, one kernel each.
        trained: how many points are the task's; as many are the control's.
        localisation: the share of the energy on the task's points, averaged over classes.
        energy: for each class E_loc at the task's points, then at the control's.
    """

    classes: tuple[str, ...]
    trained: int
    localisation: float
    energy: tuple[tuple[float, ...], ...]


class Experiment:
    """Results of one model on its tasks, each computed once.

    Args:
        materials: the model, the tasks with their heads, and fine-tuned weights (``experiments.materials.Materials``).

    Example:
        >>> from tangent_lib.experiments.materials import Materials
        >>> from tangent_lib.parameters import check_parameters
        >>> run = Experiment(Materials(check_parameters(tasks="Digits,Signs")))
        >>> run.zero_shot("Digits").test > 0.1
        True
    """

    def __init__(self, materials: "Materials"):  # noqa: UP037, a class of a floor above, known to type checkers alone
        self.materials, self.parameters, self.store = materials, materials.parameters, materials.store

    def untrained(self, seed: int) -> Experiment:
        """The same from a random initialisation theta_0^rd of the image tower (Section 6.2)."""
        return Experiment(self.materials.untrained(seed))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of tasks that are compared.

        Raises:
            InputError: if there is none, since there is only one task.
        """
        if not self.parameters.pairs:
            with ways_out(WAYS_OUT):
                raise InputError(f"a pair takes two tasks, but there is only {self.parameters.tasks[0]}", "tasks")
        return self.parameters.pairs

    # -- accuracies ------------------------------------------------------------------------------------------------------
    def zero_shot(self, name: str) -> Accuracies:
        """Accuracy of the pre-trained model."""
        f, theta_0 = self.materials.clip.f, self.materials.clip.theta_0

        def compute() -> Accuracies:
            head, task = self.materials.head(name), self.materials.task(name)
            of = lambda split: evaluate(f, theta_0, head, task.split(split), self._batch)
            return Accuracies(of("val"), of("test"))

        return self._kept("zero_shot", self.materials.identity(name), compute, Accuracies)

    def single_task(self, name: str, mode: str, seed: int) -> Accuracies:
        """Accuracy of the model fine-tuned on a task, on that task (Figures 2, 5 and 7)."""
        way, clip = mode_named(mode), self.materials.clip

        def compute() -> Accuracies:
            tau, head = self.materials.task_vector(name, way.training, seed), self.materials.head(name)
            return single_task(clip.f, clip.theta_0, tau, head, self._splits(name)[name], way.linearized, self._batch)

        config = self._config(way, seed, name)
        del config["order"]  # of a single task
        return self._kept("single_task", config, compute, Accuracies)

    def addition(self, mode: str, seed: int) -> Addition:
        """Task addition (Table 1, Figure 8) of all tasks."""
        names, way = self.parameters.tasks, mode_named(mode)
        single = {name: self.single_task(name, mode, seed) for name in names}
        zero_shot = {name: self.zero_shot(name) for name in names}
        compute = lambda: task_addition(*self._edited(way, seed, names), single=single, **self._options(way, zero_shot))
        return self._kept("addition", self._editing_config(way, seed, *names), compute, Addition)

    def negation(self, name: str, mode: str, seed: int) -> Negation:
        """Task negation (Table 2): forget one task, keep 95 % of the control."""
        return self.negations(mode, seed, (name,))[name]

    def negations(self, mode: str, seed: int, names: Sequence[str] = ()) -> dict[str, Negation]:
        """``negation`` of every task, or of some."""
        names, control, way = tuple(names) or self.parameters.tasks, self.parameters.control, mode_named(mode)
        config = {name: self._editing_config(way, seed, name, control) for name in names}
        missing = [name for name in names if self.store.find("negation", config[name]) is None]
        shared = missing if way.linearized else []  # f_lin passes over the control once for all of them
        known: dict[str, Negation] = {}

        def of(*some: str) -> dict[str, Negation]:
            zero_shot = {name: self.zero_shot(name) for name in (*some, control)}
            return task_negation(*self._edited(way, seed, some, control), control=control, **self._options(way, zero_shot))

        def compute(name: str) -> Negation:
            if name in shared and not known:
                known.update(of(*shared))
            return known[name] if name in known else of(name)[name]

        return {name: self._kept("negation", config[name], lambda name=name: compute(name), Negation) for name in names}

    # -- disentanglement -------------------------------------------------------------------------------------------------
    def xi_grid(self, pair: Pair, mode: str, seed: int, alphas: Sequence[float]) -> XiGrid:
        """xi(alpha_1, alpha_2) of two tasks on random test points (Figures 3, 9 to 11)."""
        found = self._xi(pair, mode, seed, [(a, b) for a in alphas for b in alphas])
        return grid_of_values(alphas, found["points"], found["xi"])

    def xi_diagonal(self, pair: Pair, mode: str, seed: int, alphas: Sequence[float]) -> XiDiagonal:
        """xi(alpha, alpha) of two tasks on random test points."""
        values = self._xi(pair, mode, seed, [(alpha, alpha) for alpha in alphas])["xi"]
        return XiDiagonal(tuple(alphas), tuple(values["prediction error"]), tuple(values["KL divergence"]))

    def _xi(self, pair: Pair, mode: str, seed: int, settings: list[tuple[float, float]]) -> dict:
        way, materials, points = mode_named(mode), self.materials, self.parameters.points
        if pair[0] == pair[1]:
            raise InputError(f"pair {pair[0]}-{pair[1]}: a task has no interference with itself; name two different tasks")
        tests = [materials.task(name).split("test") for name in pair]
        counts = [points if self.parameters.exact_points else min(points, len(test)) for test in tests]
        with ways_out(WAYS_OUT):
            data = [random_points(test, count) for test, count in zip(tests, counts)]

        def compute() -> tuple[dict, dict]:
            f, theta_0, taus, heads, _, _ = self._edited(way, seed, pair)
            given = (list(taus.values()), settings, [heads[name] for name in pair], data, way.linearized)
            return {}, {"points": counts, "xi": xi_at(f, theta_0, *given, batch_size=self._batch)}

        config = {**self._config(way, seed, *pair), "settings": [list(each) for each in settings], "points": counts}
        with ways_out(WAYS_OUT):
            return self.store.fetch("xi", config, compute).values

    def cosines(self, mode: str, seed: int) -> Cosines:
        """Cosine similarities of the task vectors of all tasks (attention-only paper, Figure 10)."""
        names, way = self.parameters.tasks, mode_named(mode)

        def compute() -> Cosines:
            taus = [self.materials.task_vector(name, way.training, seed) for name in names]
            return Cosines(names, tuple(tuple(cosine(a, b) for b in taus) for a in taus))

        return self._kept("cosines", self._config(way, seed, *names), compute, Cosines)

    # -- the NTK ---------------------------------------------------------------------------------------------------------
    def local_energy(self, task: str, control: str, seed: int = 0, points: int = 200, classes: int = 10) -> LocalEnergy:
        """Local energy of the NTK's eigenfunctions on the supports of a task and of a control (Section 6.1, Figure 6).

        Args:
            seed: of the choice of training points.
            points: of each of the two supports.
            classes: one kernel an output logit of the task, for so many classes at most.
        """
        names = self.materials.task(task).classes[:classes]
        if task == control:
            raise InputError(f"task and control are both {task}: name two different tasks")

        def compute() -> LocalEnergy:
            x = joined([self._support(name, points, seed) for name in (task, control)])
            energy = [local_energy(kernel) for kernel in self._kernels(task, len(names), x, points)]
            shares = [localisation(each, points) for each in energy]
            lines = tuple(tuple(each.tolist()) for each in energy)
            return LocalEnergy(tuple(names), points, sum(shares) / len(shares), lines)

        config = self._ntk_config(task, control, seed, points) | {"classes": names}
        return self._kept("local_energy", config, compute, LocalEnergy)

    def kernel_on_supports(self, task: str, control: str, seed: int = 0, points: int = 200) -> Tensor:
        """The NTK of the first output logit between trained points of a task and three supports.

        Beyond Section 6.1: points of the task that were not trained on tell how much of the local energy a trained point
        owes to having a row of its own in the kernel.

        Returns:
            ``(points, 3 points)``: a row a trained point; columns are these, unseen points of the task, the control's.
        """

        def compute() -> tuple[dict, dict]:
            data = [self._support(task, 2 * points, seed), self._support(control, points, seed)]
            return {"kernel": self._kernels(task, 1, joined(data), points)[0]}, {}

        with ways_out(WAYS_OUT):
            config = self._ntk_config(task, control, seed, points)
            return self.store.fetch("kernel_on_supports", config, compute).tensors["kernel"]

    def _support(self, name: str, points: int, seed: int) -> Tensor:
        data = random_points(self.materials.task(name).split("train"), points, seed)
        return joined([x for x, _ in batches(data, points, self.materials.clip.device)])

    def _kernels(self, task: str, outputs: int, x: Tensor, trained: int) -> Tensor:
        f, given = self.materials.clip.f, (self.materials.head(task)[:outputs], self.materials.clip.theta_0, x)
        head, theta_0, x = map(where_float64_is, given)
        with enough_memory("the NTK", trained):
            return ntk(lambda params, images: classify(f(params, images), head), theta_0, x[:trained], x)

    def _ntk_config(self, task: str, control: str, seed: int, points: int) -> dict:
        return {**self.materials.identity(task, control), "order": [task, control], "seed": seed, "points": points}

    # -- keeping ---------------------------------------------------------------------------------------------------------
    @property
    def _batch(self) -> int:
        """Images at a time: fewer than usual where the micro-batch says that memory is short."""
        return min(EVAL_BATCH, self.parameters.micro_batch or EVAL_BATCH)

    def _splits(self, *names: str) -> dict:
        return {name: self.materials.task(name).splits for name in names}

    def _edited(self, way: Mode, seed: int, names: Sequence[str], *more: str) -> tuple:
        """What editing takes: f, theta_0, taus of the named tasks, and heads and data of these and more, alphas."""
        clip, every = self.materials.clip, (*names, *more)
        taus: dict[str, Params] = {name: self.materials.task_vector(name, way.training, seed) for name in names}
        heads = {name: self.materials.head(name) for name in every}
        return clip.f, clip.theta_0, taus, heads, self._splits(*every), self.parameters.alphas

    def _options(self, way: Mode, zero_shot: dict[str, Accuracies]) -> dict:
        return {"linearized": way.linearized, "zero_shot": zero_shot, "batch_size": self._batch}

    def _kept(self, kind: str, config: dict, compute: Callable[[], object], result: type) -> object:
        """The result of this kind and configuration: out of the store, or computed and put there."""
        with ways_out(WAYS_OUT):
            values = self.store.fetch(kind, config, lambda: ({}, asdict(compute()))).values
        return TypeAdapter(result).validate_python(values)

    def _config(self, way: Mode, seed: int, *names: str) -> dict:
        config = {
            **self.materials.identity(*names),
            "order": list(names),
            "mode": way.name,
            "seed": seed,
            "protocol": self.parameters.protocol.model_dump(),
        }
        if self.parameters.by_epochs:
            trained = [name for name in names if name != self.parameters.control]
            config["epochs"] = {name: self.materials.protocol(name).steps for name in trained}
        if self.materials.replaces(way.training):
            config["checkpoints"] = self.materials.imported.digest
        return config

    def _editing_config(self, way: Mode, seed: int, *names: str) -> dict:
        return {**self._config(way, seed, *names), "alphas": list(self.parameters.alphas)}
