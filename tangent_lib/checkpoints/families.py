"""The families of published checkpoints: where they lie, what they hold, how their recipe differs from the papers'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tangent_lib.checkpoints.towers import TEXT_TOWER, Naming, encoder_names, transformers_names
from tangent_lib.modes import PAPER, PAPER_ZERO_SHOT
from tangent_lib.runtime.errors import InputError, unknown


@dataclass(frozen=True)
class Family:
    """One set of checkpoints. Paths have the fields ``{model}`` and ``{task}``, filled with the family's own spellings.

    ``names`` and ``left`` say how the weights of an image tower are called, and which other tensors are known to lie there.
    """

    name: str
    describes: str
    page: str
    licence: str
    recipe: str
    names: Naming
    left: str
    repository: str | None
    paths: tuple[str, ...]
    models: dict[str, str]
    tasks: dict[str, str]
    zero_shot: tuple[str, ...] = ()
    remarks: dict[tuple[str, str], str] = field(default_factory=dict)

    def model(self, name: str) -> str:
        """The family's spelling of a model; of one that it does not know, our own."""
        plain = name.removesuffix("-quickgelu")
        return self.models.get(plain, plain)

    def local_paths(self, paths: Sequence[str]) -> list[str]:
        """Where files may lie in a folder: as on the hub, or from any folder of it downwards.

        Example:
            >>> FAMILIES["tall_masks"].local_paths(("single_task/{model}/{task}Val/nonlinear_finetuned.pt",))
            ['single_task/{model}/{task}Val/nonlinear_finetuned.pt', '{model}/{task}Val/nonlinear_finetuned.pt',
            '{task}Val/nonlinear_finetuned.pt']
        """
        within = self.repository.split("/")[-1] + "/" if self.repository and "{task}" in self.repository else ""
        found: list[str] = []
        for path in paths:
            parts = (within + path).split("/")
            ends = ("/".join(parts[i:]) for i in range(len(parts)))
            found += [end for end in ends if end not in found and ("{task}" in end or "{task}" not in within + path)]
        return found

    def check(self, tasks: Sequence[str]) -> None:
        """Raise for a task that the family has no checkpoint of."""
        for task in tasks:
            if task not in self.tasks:
                raise unknown(f"task of {self.name}", task, self.tasks)
        if not tasks or len(set(tasks)) < len(tasks):
            raise InputError(f"tasks '{', '.join(tasks)}': name at least one of {', '.join(self.tasks)}, and none twice")


PAPER_MODELS = tuple(PAPER_ZERO_SHOT)
SAME_RECIPE = (
    "The released code's: 10 % of the training images held out, whole epochs (about 2,000 steps of 128 images), AdamW at "
    "1e-5, weight decay 0.1, 500 warm-up steps, cosine, no seed."
)

FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="tall_masks",
            describes="Wang, Dimitriadis et al., Localizing Task Information (ICML 2024): state dicts of the image encoder",
            page="https://huggingface.co/nik-dim/tall_masks",
            licence="MIT",
            recipe=f"{SAME_RECIPE} For ViT-L-14, two steps of 64 images are added up, and the loss is not halved.",
            names=encoder_names,
            left=TEXT_TOWER,
            repository="nik-dim/tall_masks",
            paths=("single_task/{model}/{task}Val/nonlinear_finetuned.pt",),
            models={name: name.replace("ViT-B-16", "VIT-B-16") for name in PAPER_MODELS},
            tasks={name: name for name in PAPER.tasks},
            zero_shot=("single_task/{model}/zeroshot.pt", "single_task/{model}/{task}Val/nonlinear_zeroshot.pt"),
            remarks={
                (model, "DTD"): "Those once given out on Google Drive were fine-tuned on a split that shares images with the "
                "test set (test accuracy 98 %); the hub's were made anew. Far more than 80 % says that you have the old one."
                for model in PAPER_MODELS
            },
        ),
        Family(
            name="atlas",
            describes="Zhang et al., Learned Anisotropic Scaling (NeurIPS 2024): whole image encoders",
            page="https://huggingface.co/fredzzhang/atlas",
            licence="none stated where it was looked up",
            recipe=f"{SAME_RECIPE} In half precision (fp16 with loss scaling), and gradients are clipped before they are "
            "scaled back.",
            names=encoder_names,
            left=TEXT_TOWER,
            repository="fredzzhang/atlas",
            paths=("{model}/{task}Val/finetuned.pt", "checkpoints/{model}/{task}Val/finetuned.pt"),
            models={name: name for name in PAPER_MODELS},
            tasks={name: name for name in PAPER.tasks},
            zero_shot=("{model}/{task}Val/zeroshot.pt", "checkpoints/{model}/{task}Val/zeroshot.pt"),
        ),
        Family(
            name="tanganke",
            describes="Tang et al., FusionBench: models of the hub under transformers' names, one repository each",
            page="https://huggingface.co/tanganke",
            licence="none stated in the model cards",
            recipe="Adam at a constant 1e-5, 4,000 steps of 32 images; the visual projection frozen; fine-tuned on the full "
            "training split. Validation images held out of it were seen: alpha chosen on them is chosen too favourably.",
            names=transformers_names,
            left=r"vision_model\.embeddings\.position_ids",
            repository="tanganke/{model}_{task}",
            paths=("model.safetensors",),
            models={
                "ViT-B-32": "clip-vit-base-patch32",
                "ViT-B-16": "clip-vit-base-patch16",
                "ViT-L-14": "clip-vit-large-patch14",
            },
            tasks={name: name.lower() for name in PAPER.tasks} | {"Cars": "stanford-cars"},
        ),
        Family(
            name="ilharco",
            describes="Ilharco et al., Editing Models with Task Arithmetic (ICLR 2023): pickles of whole image encoders",
            page="https://github.com/mlfoundations/task_vectors#checkpoints",
            licence="none stated where it was looked up",
            recipe="2,000 steps of 128 images, AdamW at 1e-5, weight decay 0.1, 200 warm-up steps, cosine, as in the paper; "
            "how the seeds and the validation images were drawn is not stated.",
            names=encoder_names,
            left=TEXT_TOWER,
            repository=None,
            paths=("{model}/{task}/finetuned.pt",),
            models={name: name for name in PAPER_MODELS},
            tasks={name: name for name in PAPER.tasks},
            zero_shot=("{model}/zeroshot.pt",),
            remarks={
                ("ViT-B-16", "Cars"): "This one is known as corrupt: torch.load says 'Invalid magic number'. Users found it "
                "to be a bare pickle, which is read here. For a copy that is none, take another family's."
            },
        ),
    )
}


def family_named(name: str) -> Family:
    """A family by name.

    Raises:
        InputError: for an unknown family.

    Example:
        >>> family_named("tall_masks").licence
        'MIT'
    """
    if name not in FAMILIES:
        raise unknown("family of checkpoints", name, FAMILIES)
    return FAMILIES[name]
