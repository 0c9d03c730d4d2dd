"""What an experiment works on: a loaded model, opened tasks, zero-shot heads and fine-tuned weights, kept in the store."""

from __future__ import annotations

from torch import Tensor

from tangent_lib.checkpoints.imported import open_imported
from tangent_lib.data.tasks import Task, load_task
from tangent_lib.finetuning import Execution, Protocol, finetune
from tangent_lib.models.clip import Clip, load_clip, untrained, zero_shot_head
from tangent_lib.modes import Training, select
from tangent_lib.parameters import WAYS_OUT, Parameters
from tangent_lib.runtime.disk import check_disk
from tangent_lib.runtime.errors import InputError, unknown, ways_out
from tangent_lib.runtime.processes import fetch_together
from tangent_lib.runtime.snapshots import Snapshots
from tangent_lib.runtime.store import Store
from tangent_lib.task_vectors import Params, subtract


class Materials:
    """Model, tasks, heads and fine-tuned weights for one set of parameters. Everything is opened at its first use.

    Example:
        >>> from tangent_lib.parameters import check_parameters
        >>> materials = Materials(check_parameters(tasks="Digits,Signs"))
        >>> materials.head("Digits").shape
        torch.Size([10, 128])
    """

    def __init__(self, parameters: Parameters, clip: Clip | None = None):
        with ways_out(WAYS_OUT):
            self.parameters, self.store = parameters, Store(parameters.store)
            self.clip = clip or load_clip(parameters.model, parameters.pretrained, parameters.device)
        self._model_digest = self.clip.digest
        folder = parameters.checkpoints if clip is None else None  # a random initialisation has none
        self.imported = open_imported(folder, self.clip, parameters.tasks) if folder else None
        self._tasks: dict[str, Task] = {}
        self._heads: dict[str, Tensor] = {}

    def untrained(self, seed: int) -> Materials:
        """The same with the image tower at a random initialisation theta_0^rd (Section 6.2)."""
        return Materials(self.parameters, untrained(self.clip, seed))

    def task(self, name: str) -> Task:
        """The images of a task, opened at its first use."""
        if name not in self._tasks:
            names = (*self.parameters.tasks, self.parameters.control)
            if name not in names:
                raise unknown("task", name, names, "Others: -p tasks.")
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

    def finetuned(self, name: str, training: Training, seed: int) -> Params:
        """theta_star of a task: f fine-tuned, or f_lin (Section 5); all weights or a selection of them.

        Imported checkpoints take the place of non-linear fine-tuning of all weights.
        """
        if self.replaces(training):
            return self.imported.tensors(name)
        trained = select(self.clip.theta_0, training.selection)  # or refused, before images are opened
        config = self.finetuned_config(name, training, seed)
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
                linearized=training.linearized,
                seed=seed,
                trained=trained,
                execution=Execution(self.parameters.micro_batch, snapshots, self._label(name, training, seed)),
            )
            return {key: theta[key] for key in trained}, {}

        with ways_out(WAYS_OUT):
            tensors = fetch_together(self.store, "finetuned", config, compute, self.clip.device).tensors
        snapshots.discard()
        return self.clip.theta_0 | {key: value.to(self.clip.device) for key, value in tensors.items()}

    def finetuned_config(self, name: str, training: Training, seed: int) -> dict:
        """What determines the fine-tuned weights: by this the store knows them."""
        protocol = self.protocol(name).model_dump()
        config = {**self.identity(name), "linear": training.linearized, "seed": seed, "protocol": protocol}
        return config if training.selection == "all" else {**config, "selection": training.selection}

    def replaces(self, training: Training) -> bool:
        """Whether imported checkpoints take the place of this training."""
        replaced = not (training.linearized or training.untrained) and training.selection == "all"
        return self.imported is not None and replaced

    def task_vector(self, name: str, training: Training, seed: int) -> Params:
        """tau = theta_star - theta_0 (Section 2)."""
        return subtract(self.finetuned(name, training, seed), self.clip.theta_0)

    def _label(self, name: str, training: Training, seed: int) -> str:
        tasks, selection = self.parameters.tasks, training.selection
        place = f" ({tasks.index(name) + 1} of {len(tasks)})" if name in tasks else ""
        kind = ("linear" if training.linearized else "non-linear") + (f" ({selection})" if selection != "all" else "")
        return f"{kind} fine-tuning, {name}{place}, seed {seed}"
