"""What an experiment works on: a loaded model, opened tasks, zero-shot heads and fine-tuned weights, kept in the store."""

from __future__ import annotations

from torch import Tensor

from tangent_lib.checkpoints.imported import open_imported
from tangent_lib.data import Task, load_task
from tangent_lib.disk import check_disk
from tangent_lib.editing import ALPHAS, check_alphas
from tangent_lib.errors import InputError, unknown
from tangent_lib.evaluate import EVAL_BATCH
from tangent_lib.finetune import Protocol, finetune
from tangent_lib.models import Clip, load_clip, untrained, zero_shot_head
from tangent_lib.modes import Mode
from tangent_lib.parameters import Parameters
from tangent_lib.processes import fetch_together
from tangent_lib.selection import select
from tangent_lib.snapshots import Snapshots
from tangent_lib.store import Store
from tangent_lib.task_vectors import Params, subtract


class Materials:
    """Model, tasks, heads and fine-tuned weights for one set of parameters. Everything is opened at its first use."""

    def __init__(self, parameters: Parameters, alphas: tuple[float, ...] = ALPHAS, clip: Clip | None = None):
        self.parameters, self.alphas = parameters, check_alphas(alphas)
        self.store = Store(parameters.store)
        self.clip = clip or load_clip(parameters.model, parameters.pretrained, parameters.device)
        self._model_digest = self.clip.digest
        folder = parameters.checkpoints if clip is None else None  # a random initialisation has none
        self.imported = open_imported(folder, self.clip, parameters.tasks) if folder else None
        self._tasks: dict[str, Task] = {}
        self._heads: dict[str, Tensor] = {}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of tasks that are compared.

        Raises:
            InputError: if there is none, since there is only one task.
        """
        if not self.parameters.pairs:
            raise InputError(f"a pair takes two tasks, but there is only {self.parameters.tasks[0]}: name more with -p tasks")
        return self.parameters.pairs

    @property
    def eval_batch(self) -> int:
        """Images at a time in evaluation: fewer than usual where the micro-batch says that memory is short."""
        return min(EVAL_BATCH, self.parameters.micro_batch or EVAL_BATCH)

    def untrained(self, seed: int) -> Materials:
        """The same with the image tower at a random initialisation theta_0^rd (Section 6.2)."""
        return type(self)(self.parameters, self.alphas, untrained(self.clip, seed))

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

    def finetuned(self, name: str, linear: bool, seed: int, selection: str = "all") -> Params:
        """theta_star of a task: f fine-tuned, or with ``linear`` f_lin (Section 5); all weights or a selection of them.

        Imported checkpoints take the place of non-linear fine-tuning of all weights.
        """
        if self.imported and not linear and selection == "all":
            return self.imported.tensors(name)
        config = self.finetuned_config(name, linear, seed, selection)
        trained = select(self.clip.theta_0, selection)
        snapshots = Snapshots(self.store.beside("finetuned", config, ".state"))

        def compute() -> tuple[Params, dict]:
            size = sum(self.clip.theta_0[key].nbytes for key in trained)
            check_disk(self.store.root, 4 * size / 1e9, f"fine-tuning {name}, with its state,")  # weights three times, result
            theta = finetune(
                self.clip.f,
                self.clip.theta_0,
                self.head(name),
                self.task(name).split("train"),
                self.protocol(name),
                linear,
                seed,
                self._label(name, linear, seed, selection),
                trained,
                self.parameters.micro_batch,
                snapshots,
            )
            return {key: theta[key] for key in trained}, {}

        tensors = fetch_together(self.store, "finetuned", config, compute, self.clip.device).tensors
        snapshots.discard()
        return self.clip.theta_0 | {key: value.to(self.clip.device) for key, value in tensors.items()}

    def finetuned_config(self, name: str, linear: bool, seed: int, selection: str = "all") -> dict:
        """What determines the fine-tuned weights: by this the store knows them."""
        config = {**self.identity(name), "linear": linear, "seed": seed, "protocol": self.protocol(name).model_dump()}
        return config if selection == "all" else {**config, "selection": selection}

    def protocol(self, name: str) -> Protocol:
        """The protocol of a task: one for all, or with the number of epochs of the released code."""
        parameters = self.parameters
        if not parameters.by_epochs:
            return parameters.protocol
        epochs, images = self.task(name).manifest.epochs, len(self.task(name).split("train"))
        if epochs is None:
            raise InputError(f"steps 'epochs': the manifest of {name} names no epochs; add them, or give a number of steps")
        batches = max(1, images // parameters.protocol.batch_size)
        return parameters.protocol.model_copy(update={"steps": epochs * batches})

    def _label(self, name: str, linear: bool, seed: int, selection: str) -> str:
        tasks = self.parameters.tasks
        place = f" ({tasks.index(name) + 1} of {len(tasks)})" if name in tasks else ""
        kind = ("linear" if linear else "non-linear") + (f" ({selection})" if selection != "all" else "")
        return f"{kind} fine-tuning, {name}{place}, seed {seed}"

    def task_vector(self, name: str, linear: bool, seed: int, selection: str = "all") -> Params:
        """tau = theta_star - theta_0 (Section 2)."""
        return subtract(self.finetuned(name, linear, seed, selection), self.clip.theta_0)

    def _tau(self, name: str, mode: Mode, seed: int) -> Params:
        return self.task_vector(name, mode.linear_training, seed, mode.selection)
