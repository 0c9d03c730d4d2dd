"""What is trained, where it is used, and with which values: the constants of the papers and of this book, without torch.

The tangent-space paper has three modes (Sections 3 and 5); the attention-only paper adds a selection of the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from tangent_lib.runtime.errors import InputError, unknown

# -- which weights: rules over the names of open_clip's and timm's transformers; what is not named stays, bit for bit ----
ATTENTION = r"(?:^|\.)attn(?:_pool)?\.(?:[qkv]|kv|qkv|proj|(?:in|out|[qkv])_proj)[._]"
MLP = r"(?:blocks\.\d+|attn_pool)\.mlp\.(?:c_fc|c_proj|fc\d(?:_[gx])?|w\d)\."
_NORM = r"^(?!.*(?:norm|ln_|bn|rel_pos))"
_ODD = rf"{_NORM}.*att(?:n|ention).*[._](?:[qkv]|kv|qkv|to_\w+|query|key|value|\w*proj\w*)[._].*weight$"
UNKNOWN = _ODD, rf"{_ODD}|{_NORM}.*blocks\.\d+\.(?:mlp|ffn?|feed_forward)\..*weight$"  # of attention; of attention and MLP

SELECTIONS = {  # attention-only paper, Sections 3 and 3.4, Table 5
    "all": ("",),
    "attention weights": (f"{ATTENTION}weight$",),  # W_q, W_k, W_v, W_o of blocks and pools: the paper's method
    "attention": (f"{ATTENTION}weight$", f"{ATTENTION}bias$"),
    "attention and MLP weights": (f"{ATTENTION}weight$", f"{MLP}weight$"),
    "attention and MLP": tuple(f"{part}{kind}$" for part in (ATTENTION, MLP) for kind in ("weight", "bias")),
}


def select(names: Iterable[str], selection: str) -> tuple[str, ...]:
    """The names of the parameters that a selection trains, in the order of theta_0.

    Args:
        names: of the parameters of an image tower, such as theta_0 itself.
        selection: a key of ``SELECTIONS``.

    Raises:
        InputError: for an unknown selection, or one that trains nothing, or not all that it names, in this model.

    Example:
        >>> select(["blocks.0.attn.in_proj_weight", "blocks.0.mlp.c_fc.weight"], "attention weights")
        ('blocks.0.attn.in_proj_weight',)
    """
    if selection not in SELECTIONS:
        raise unknown("selection", selection, SELECTIONS)
    names, rules = tuple(names), SELECTIONS[selection]
    chosen = tuple(name for name in names if any(re.search(rule, name) for rule in rules))
    lacking = not all(any(re.search(rule, name) for name in names) for rule in rules)
    left = [name for name in names if name not in chosen and re.search(UNKNOWN["MLP" in selection], name)]
    if lacking or left:
        raise InputError(
            f"the selection '{selection}' trains {'only a part' if chosen else 'nothing'} in this model: its weights, as "
            f"{(*left, *names, '')[0]!r}, lack what it names. Take a vision transformer, such as ViT-B-16, or 'all' of them"
        )
    return chosen


# -- how fine-tuned weights are made, and how they are used ------------------------------------------------------------
@dataclass(frozen=True)
class Training:
    """One kind of fine-tuning.

    Attributes:
        linearized: f_lin is trained, rather than f.
        selection: which weights, a key of ``SELECTIONS``.
        untrained: it starts from a random initialisation of the image tower (tangent-space paper, Section 6.2).
    """

    name: str
    linearized: bool = False
    selection: str = "all"
    untrained: bool = False


@dataclass(frozen=True)
class Mode:
    """A kind of fine-tuning, and whether its task vectors are used in f or, ``linearized``, in f_lin."""

    name: str
    training: Training
    linearized: bool


def _by_name(*each: Training | Mode) -> dict:
    return {one.name: one for one in each}


TRAININGS: dict[str, Training] = _by_name(
    Training("non-linear"),
    Training("linear", linearized=True),
    Training("attention-only", selection="attention weights"),
    Training("attention-biases", selection="attention"),
    Training("attention-mlp", selection="attention and MLP weights"),
    Training("attention-mlp-biases", selection="attention and MLP"),
    Training("random-non-linear", untrained=True),
    Training("random-linear", linearized=True, untrained=True),
)
MODES: dict[str, Mode] = _by_name(
    Mode("non-linear", TRAININGS["non-linear"], False),
    Mode("post-hoc", TRAININGS["non-linear"], True),
    Mode("linear", TRAININGS["linear"], True),
)
ATTENTION_MODES: dict[str, Mode] = _by_name(
    Mode("attention-only", TRAININGS["attention-only"], False),
    Mode("attention post-hoc", TRAININGS["attention-only"], True),
)
ABLATION_MODES: dict[str, Mode] = _by_name(
    ATTENTION_MODES["attention-only"],
    Mode("attention + biases", TRAININGS["attention-biases"], False),
    Mode("attention + MLP", TRAININGS["attention-mlp"], False),
    Mode("attention + MLP + biases", TRAININGS["attention-mlp-biases"], False),
)
ALL_MODES: dict[str, Mode] = MODES | ATTENTION_MODES | ABLATION_MODES


def mode_named(name: str) -> Mode:
    """A mode by name.

    Raises:
        InputError: for an unknown mode.

    Example:
        >>> mode_named("post-hoc").training.linearized, mode_named("post-hoc").linearized
        (False, True)
    """
    if name not in ALL_MODES:
        raise unknown("mode", name, ALL_MODES)
    return ALL_MODES[name]


def training_named(name: str) -> Training:
    """A training by name.

    Raises:
        InputError: for an unknown one.

    Example:
        >>> training_named("random-linear")
        Training(name='random-linear', linearized=True, selection='all', untrained=True)
    """
    if name not in TRAININGS:
        raise unknown("training", name, TRAININGS)
    return TRAININGS[name]


# -- automatic values --------------------------------------------------------------------------------------------------
MINIATURES = ("ViT-Mini-8", "ViT-Mini-4", "ViT-Mini-L-8")
ALPHAS = tuple(round(0.05 * i, 2) for i in range(21))  # of addition and negation (tangent-space paper, Appendix A)
CONTROL_SHARE = 0.95  # of its zero-shot accuracy that the control keeps in negation


@dataclass(frozen=True)
class Automatic:
    """What ``auto`` stands for.

    Attributes:
        pairs: of tasks for xi: the first as in Figure 9 (and Figure 6 of the attention-only paper), the second as in its
            Figure 8.
        points: test points a task for xi; fewer where a task has fewer.
        protocol: of fine-tuning, where it is not the paper's.
    """

    tasks: tuple[str, ...]
    control: str
    pairs: tuple[tuple[str, str], ...]
    points: int
    protocol: dict[str, float | int] = field(default_factory=dict)


PAPER = Automatic(
    tasks=("Cars", "DTD", "EuroSAT", "GTSRB", "MNIST", "RESISC45", "SUN397", "SVHN"),
    control="ImageNet",
    pairs=(("DTD", "SUN397"), ("Cars", "RESISC45"), ("MNIST", "SVHN")),
    points=2048,
)
MINIATURE = Automatic(
    tasks=("Vehicles", "Textures", "LandCover", "Signs", "Digits", "Aerial", "Scenes", "ClutteredDigits"),
    control="Objects",
    pairs=(("Textures", "Scenes"), ("Vehicles", "Aerial"), ("Digits", "ClutteredDigits")),
    points=200,
    protocol={"steps": 240, "batch_size": 32, "learning_rate": 6e-4},
)
PAPER_ZERO_SHOT = {"ViT-B-32": 48.4, "ViT-B-16": 55.2, "ViT-L-14": 64.4}  # tangent-space paper, Table 1, in percent


def automatic(model: str) -> Automatic:
    """What ``auto`` stands for with this model."""
    return MINIATURE if model in MINIATURES else PAPER


# -- the protocol of fine-tuning --------------------------------------------------------------------------------------
PRECISIONS = ("fp32", "bf16")
Precision = Literal[PRECISIONS]


class Protocol(BaseModel, extra="forbid", frozen=True):
    """How to fine-tune: AdamW, linear warm-up, cosine to zero, gradient clipping, weight decay on every parameter.

    The defaults are the paper's for CLIP: 2,000 iterations of 128 images at 1e-5 with 200 warm-up steps. Weight decay pulls
    theta, not theta - theta_0, towards zero, in the tangent space too.
    """

    steps: int = Field(2000, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    precision: Precision = "fp32"

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        Example:
            >>> protocol = Protocol(steps=20, learning_rate=1.0)
            >>> [round(protocol.learning_rate_at(step), 3) for step in (0, 1, 2, 11, 19)]
            [0.5, 1.0, 1.0, 0.5, 0.008]
        """
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))


# -- the parameters of every notebook: its parameters cell, whose comments papermill shows as help ---------------------
DEVICES = ("auto", "cpu", "cuda", "mps")
PARAMETERS_CELL = """\
model: str = "ViT-Mini-8"  # open_clip model: ViT-Mini-8 (the embedded miniature), ViT-B-32, ViT-B-16, ViT-L-14, ...
pretrained: str = "auto"  # weights: auto, none (random), an open_clip tag, or a file: .safetensors, .pt, .pth, .bin
tasks: str = "auto"  # task names, comma-separated; auto: the eight of the model's scale
control: str = "auto"  # control task of negation; auto: Objects for a miniature, ImageNet otherwise
seeds: str = "0"  # seeds of fine-tuning, comma-separated; tables show mean and spread over them
alphas: str = "auto"  # values of alpha for addition and negation, comma-separated; auto: 0 to 1 in steps of 0.05
pairs: str = "auto"  # pairs of tasks for xi and the NTK, such as Textures-Scenes,Signs-Digits; auto: three
xi_alphas: str = "auto"  # values of both alphas in grids of xi, such as -1,0,1; auto: as in the figures of the papers
points: str = "auto"  # test points a task for xi; auto: 200 for a miniature, 2048 otherwise
steps: str = "auto"  # fine-tuning steps; auto: 240 for a miniature, 2000 otherwise; epochs: as in the released code
batch_size: str = "auto"  # images a step; auto: 32 for a miniature, 128 otherwise
learning_rate: str = "auto"  # peak learning rate of AdamW; auto: 6e-4 for a miniature, 1e-5 otherwise
device: str = "auto"  # auto, cpu, cuda or mps
precision: str = "fp32"  # fp32 or bf16
micro_batch: str = "auto"  # images at a time on the device; auto: the whole batch. Fewer need less memory
checkpoints: str = "none"  # none, or a folder of imported checkpoints, in place of non-linear fine-tuning
store: str = "auto"  # folder where results are kept; auto: runs/store, or $TANGENT_STORE
data_root: str = "auto"  # folder of the full-size datasets; auto: data
"""
PARAMETERS: dict[str, str] = dict(re.findall(r'^(\w+): str = "(.*?)"', PARAMETERS_CELL, re.MULTILINE))  # with defaults
