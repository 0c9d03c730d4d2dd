"""Pre-train the miniature from captioned images, the way CLIP was: ``tangent pretrain``.

The pictures are drawn anew (never those of a task's splits; of the real digits, only training images are used) and each
comes with several noisy captions. Once both towers are trained, the text tower is trained anew against the locked image tower
(as in LiT, Zhai et al. 2022), which is cheap and sets how well the tasks' own words are known.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from tangent_lib import miniature
from tangent_lib.miniature.captions import learn_merges, write_caption, write_merges
from tangent_lib.miniature.grow import grow
from tangent_lib.miniature.tasks import DRAWN, drawn_images, generator, handwritten_digits
from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.store import Store

RECIPE = {
    "seed": 0, "images_per_task": 7000, "batch_size": 192, "learning_rate": 1e-3, "weight_decay": 0.1, "merges": 700,
    "towers": {"steps": 2600, "warmup_steps": 100, "captions_per_image": 4, "formal": 0.08},
    "text": {"steps": 800, "warmup_steps": 50, "captions_per_image": 2, "formal": 0.01},
}  # fmt: skip
GROWN = {"grown_from": "ViT-Mini-8", "batch_size": 128}
RECIPES = {
    "ViT-Mini-8": RECIPE,
    "ViT-Mini-4": {**RECIPE, **GROWN, "towers": {**RECIPE["towers"], "steps": 700}},
    "ViT-Mini-L-8": {**RECIPE, **GROWN, "towers": {**RECIPE["towers"], "steps": 1200}},
}


@runtime_checkable
class Wording(Protocol):
    """What captions are made of: the manifest of a task."""

    classes: list[str]
    templates: list[str]


def training_images(tasks: Iterable[str], recipe: dict) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """The pre-training pictures, uint8 ``(n, 3, 32, 32)``, and what each shows: task and class number."""
    images, shown = [], []
    for task in tasks:
        if task in DRAWN:
            x, y = drawn_images(task, "pretrain", recipe["images_per_task"])
        else:
            x, y = handwritten_digits()["train"]
        images.append(x)
        shown += [(task, int(label)) for label in y]
    return np.concatenate(images), shown


def write_captions(shown: list[tuple[str, int]], manifests: Mapping[str, Wording], stage: str, recipe: dict) -> list[str]:
    """The captions of a stage, ``captions_per_image`` for every picture in turn."""
    rngs = {task: generator(task, "captions") for task in manifests}
    texts = []
    for task, label in shown:
        manifest = manifests[task]
        for _ in range(recipe[stage]["captions_per_image"]):
            texts.append(
                write_caption(task, manifest.classes[label], manifest.classes, manifest.templates, rngs[task],
                              recipe[stage]["formal"])
            )  # fmt: skip
    return texts


def fit(model: nn.Module, encode: Callable[[Tensor], Tensor], tokens: Tensor, weights: Iterable[nn.Parameter],
        stage: str, recipe: dict) -> None:  # fmt: skip
    """CLIP's symmetric contrastive loss, AdamW, cosine schedule, on some of the weights. In place.

    Args:
        encode: the normalised image features of a batch of indices.
        tokens: ``(images, captions, context)``.
        weights: what is trained.
        stage: ``towers`` or ``text``.
    """
    plan, weights = recipe[stage], list(weights)
    rng = torch.Generator().manual_seed(recipe["seed"])
    groups = [{"params": [p for p in weights if p.ndim >= 2], "weight_decay": recipe["weight_decay"]},
              {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=recipe["learning_rate"], betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, plan))
    loss = open_clip.ClipLoss()
    for _ in tqdm(range(plan["steps"]), desc=f"pre-training, {stage}", mininterval=10, ncols=100):
        batch = torch.randint(len(tokens), (recipe["batch_size"],), generator=rng)
        choice = torch.randint(tokens.shape[1], (len(batch),), generator=rng)
        optimizer.zero_grad(set_to_none=True)
        text = model.encode_text(tokens[batch, choice], normalize=True)
        loss(encode(batch), text, model.logit_scale.exp()).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))


def pretrain(name: str, recipe: dict, manifests: Mapping[str, Wording], store: Store) -> nn.Module:
    """Both towers together on captions in everyday words; then the text tower anew, with the image tower locked, on
    captions in which the tasks' own words are rare. The first stage is kept in the store, so a killed run goes on.

    Args:
        manifests: of all drawn tasks, by name, in the order in which their pictures are drawn.
    """
    images, shown = training_images(manifests, recipe)
    pixels = torch.from_numpy(images)
    first = write_captions(shown, manifests, "towers", recipe)
    source = recipe.get("grown_from")
    if source is None:
        write_merges(learn_merges(first, recipe["merges"]), miniature.FOLDER / "merges.txt.gz")
    tokenizer = open_clip.get_tokenizer(name)

    def tokens(texts: list[str], stage: str) -> Tensor:
        return tokenizer(texts).view(len(images), recipe[stage]["captions_per_image"], -1)

    def features(model: nn.Module, batch: Tensor) -> Tensor:
        return model.encode_image((pixels[batch].float() / 255 - miniature.MEAN[0]) / miniature.STD[0], normalize=True)

    def towers() -> tuple[dict[str, Tensor], dict]:
        torch.manual_seed(recipe["seed"])
        model = open_clip.create_model(name)
        if source is not None:
            model.load_state_dict(grow(load_file(miniature.weights_path(source)), model))
        fit(model, lambda batch: features(model, batch), tokens(first, "towers"), model.parameters(), "towers", recipe)
        return model.state_dict(), {}

    config = {
        "model": open_clip.get_model_config(name)["vision_cfg"],
        "recipe": {**recipe, "text": None},
        "images": fingerprint({"pixels": pixels}),
        "captions": hashlib.sha256(json.dumps(first).encode()).hexdigest(),
        "merges": hashlib.sha256((miniature.FOLDER / "merges.txt.gz").read_bytes()).hexdigest(),
        "source": miniature.read_card(source)["sha256"] if source else None,
    }
    state = store.fetch("pretrain", config, towers).tensors
    torch.manual_seed(recipe["seed"])
    model = open_clip.create_model(name)
    model.visual.load_state_dict({key.removeprefix("visual."): v for key, v in state.items() if key.startswith("visual.")})
    with torch.no_grad():
        locked = torch.cat([features(model, batch) for batch in torch.arange(len(images)).split(500)])
    trained = [p for key, p in model.named_parameters() if not key.startswith("visual.")]
    second = write_captions(shown, manifests, "text", recipe)
    fit(model, lambda batch: locked[batch], tokens(second, "text"), trained, "text", recipe)
    return model


def warmup_cosine(step: int, plan: dict) -> float:
    """The share of the learning rate at a step: linear warm-up, then cosine to zero.

    Example:
        >>> [warmup_cosine(step, {"steps": 10, "warmup_steps": 2}) for step in (0, 2, 10)]
        [0.5, 1.0, 0.0]
    """
    steps, warmup = plan["steps"], plan["warmup_steps"]
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
