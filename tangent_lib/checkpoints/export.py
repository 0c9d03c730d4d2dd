"""Task vectors for others: a safetensors file that any tool reads in one line, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path

import open_clip
from pydantic import BaseModel
from safetensors.torch import save_file

from tangent_lib.checkpoints.staging import staged
from tangent_lib.finetuning import Protocol
from tangent_lib.modes import MINIATURES
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.provenance import provenance
from tangent_lib.task_vectors import Params, norm

FILE, CARD = "task_vector.safetensors", "README.md"
CITATIONS = {
    "tangent space": "Ortiz-Jimenez, Favero, Frossard: Task Arithmetic in the Tangent Space (NeurIPS 2023), arXiv:2305.12827",
    "attention": "Jin, Hou, Xiao, Su, Shen: Fine-Tuning Attention Modules Only (2024), arXiv:2407.07089",
}
BASES = {
    "ViT-B-32": "openai/clip-vit-base-patch32",
    "ViT-B-16": "openai/clip-vit-base-patch16",
    "ViT-L-14": "openai/clip-vit-large-patch14",
}


class TaskVectorCard(BaseModel, extra="forbid", frozen=True):
    """What a task vector is; ``theta_0`` is the fingerprint of the image tower that it starts from."""

    model: str
    pretrained: str
    quick_gelu: bool
    task: str
    linear: bool
    selection: str
    seed: int
    protocol: Protocol
    theta_0: str

    @property
    def paper(self) -> str:
        """The paper whose method it is."""
        return CITATIONS["tangent space" if self.selection == "all" else "attention"]

    def metadata(self) -> dict[str, str]:
        """What stands in the file itself; safetensors allows text alone."""
        return {
            "format": "pt",
            "content": "task vector: fine-tuned minus pre-trained weights of an open_clip image tower",
            "model": self.model,
            "pretrained": self.pretrained,
            "quick_gelu": str(self.quick_gelu).lower(),
            "task": self.task,
            "training": "linear" if self.linear else "non-linear",
            "selection": self.selection,
            "seed": str(self.seed),
            "protocol": self.protocol.model_dump_json(),
            "theta_0": self.theta_0,
            "commit": provenance()["commit"],
            "paper": self.paper,
        }


def export_task_vector(tau: Params, folder: Path, card: TaskVectorCard) -> Path:
    """Write ``task_vector.safetensors`` and ``README.md`` into a folder of their own, together or not at all.

    Returns:
        The path of the file; elsewhere ``safetensors.torch.load_file(path)`` gives tau.

    Raises:
        InputError: if the folder holds something else or cannot be written, or tau is not finite.

    Example:
        >>> import tempfile, torch
        >>> from safetensors.torch import load_file
        >>> card = TaskVectorCard(model="ViT-B-32", pretrained="openai", quick_gelu=True, task="Cars", linear=True,
        ...                       selection="all", seed=0, protocol=Protocol(), theta_0="0123456789abcdef")
        >>> path = export_task_vector({"proj": torch.ones(2)}, Path(tempfile.mkdtemp(), "cars"), card)
        >>> load_file(path)
        {'proj': tensor([1., 1.])}
    """
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.glob("[!.]*")} - {FILE, CARD}):
        raise InputError(f"'{folder}' holds something else: name an empty folder, or one that is not there, with --to")
    unfit = sorted(name for name, value in tau.items() if not value.isfinite().all())
    if unfit or not tau:
        raise InputError(f"the task vector is not finite or is empty ({unfit[:3]}): did the training diverge?")
    tensors = {name: value.detach().cpu().contiguous() for name, value in tau.items()}
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    with staged(folder, last=CARD, size=size) as temporary:
        save_file(tensors, temporary / FILE, card.metadata())
        (temporary / CARD).write_text(_text(tau, card))
    return folder / FILE


def _text(tau: Params, card: TaskVectorCard) -> str:
    base = BASES.get(card.model.removesuffix("-quickgelu")) if card.pretrained == "openai" else None
    training, linear = card.metadata()["training"], card.linear
    facts = {
        "numbers": f"{sum(value.numel() for value in tau.values()):,}",
        "not zero": f"{sum(int(value.count_nonzero()) for value in tau.values()):,}",
        "Euclidean norm": f"{norm(tau):.4g}",
        **card.metadata(),
    }
    lines = [
        *("---", "library_name: open_clip", *([f"base_model: {base}"] if base else [])),
        *("tags:", "- task-arithmetic", "- task-vector", "- clip", "---", ""),
        *(f"# Task vector: {card.task}, {card.model}, {training} fine-tuning, seed {card.seed}", ""),
        "The difference between the fine-tuned and the pre-trained weights of an image tower, tau = theta - theta_0,",
        "under open_clip's names (those of `model.visual`). The text tower was frozen and is not in it.",
        *("", "## Load", "", "```python", "import safetensors.torch", ""),
        *(f'tau = safetensors.torch.load_file("{FILE}")', "```", ""),
        *("## Apply", "", APPLY_TO_F_LIN if linear else APPLY_TO_F, "", "```python", "import open_clip", *_imports(card), ""),
        *_model(card),
        "alpha = 1.0",
        "theta = {name: value + alpha * tau[name] for name, value in model.visual.named_parameters()}",
        *(APPLY_TO_F_LIN_CODE if linear else APPLY_TO_F_CODE),
        *("```", "", "## What it is", "", "| | |", "|---|---|"),
        *(f"| {name} | {value.replace('|', ' ')} |" for name, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _imports(card: TaskVectorCard) -> list[str]:
    lines = ["import tangent_lib.models.clip  # makes the model known to open_clip"] if card.model in MINIATURES else []
    return lines + (["from tangent_lib.linearization import functional, linearize"] if card.linear else [])


def _model(card: TaskVectorCard) -> list[str]:
    """The code that makes the pre-trained model; weights that open_clip has no tag for have to be loaded by hand."""
    tag = card.pretrained if card.pretrained in open_clip.list_pretrained_tags_by_model(card.model) else None
    lines = [
        "model, _, preprocess = open_clip.create_model_and_transforms(",
        f'    "{card.model}", pretrained={tag!r}, force_quick_gelu={card.quick_gelu}',
        ")",
    ]
    return lines if tag else [*lines, f"# now load the pre-trained weights, theta_0, into it: {card.pretrained}"]


APPLY_TO_F = (
    "Add it to the pre-trained weights, times alpha; a negative alpha forgets the task. Vectors of several tasks add up."
)
APPLY_TO_F_CODE = ("model.visual.load_state_dict(theta, strict=False)",)
APPLY_TO_F_LIN = (
    "It was fine-tuned in the tangent space. It belongs into the linearised model, not into the model itself:\n"
    "f_lin(x; theta) = f(x; theta_0) + (theta - theta_0) . grad f(x; theta_0)."
)
APPLY_TO_F_LIN_CODE = (
    "f, theta_0 = functional(model.visual.eval())",
    "features = linearize(f, theta_0)(theta, images)  # images: a preprocessed batch",
)
