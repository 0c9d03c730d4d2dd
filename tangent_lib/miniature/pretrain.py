"""Pre-train the miniature from captioned images, the way CLIP was: ``make pretrain``.

The pictures are drawn anew (never those of a task's splits; of the real digits, only training images are used) and each
comes with several noisy captions. Writes ``model.safetensors`` and ``card.json`` beside ``config.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from tangent_lib import miniature
from tangent_lib.manifests import load_manifest, task_names
from tangent_lib.miniature.captions import learn_merges, write_caption, write_merges
from tangent_lib.miniature.tasks import DRAWN, drawn_images, generator, handwritten_digits
from tangent_lib.provenance import provenance

RECIPE = {
    "steps": 2600,
    "batch_size": 192,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "warmup_steps": 100,
    "seed": 0,
    "images_per_task": 7000,
    "captions_per_image": 4,
    "merges": 700,
}


def captioned_images(recipe: dict) -> tuple[np.ndarray, list[list[str]]]:
    """The pre-training set: uint8 images ``(n, 3, 32, 32)``, and for each its captions."""
    images, captions = [], []
    for task in task_names("miniature"):
        manifest = load_manifest(task)
        if task in DRAWN:
            x, y = drawn_images(task, "pretrain", recipe["images_per_task"])
        else:
            x, y = handwritten_digits()["train"]
        rng = generator(task, "captions")
        images.append(x)
        captions += [
            [
                write_caption(task, manifest.classes[label], manifest.classes, manifest.templates, rng)
                for _ in range(recipe["captions_per_image"])
            ]
            for label in y
        ]
    return np.concatenate(images), captions


def train(model: nn.Module, images: Tensor, tokens: Tensor, recipe: dict) -> None:
    """CLIP's symmetric contrastive loss, AdamW, cosine schedule. In place.

    Args:
        model: an open_clip model.
        images: normalised, ``(n, 3, size, size)``, uint8.
        tokens: ``(n, captions, context)``.
    """
    rng = torch.Generator().manual_seed(recipe["seed"])
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe["learning_rate"], betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, recipe))
    loss = open_clip.ClipLoss()
    model.train()
    for _ in tqdm(range(recipe["steps"]), desc="pre-training", mininterval=10):
        batch = torch.randint(len(images), (recipe["batch_size"],), generator=rng)
        choice = torch.randint(tokens.shape[1], (len(batch),), generator=rng)
        x = (images[batch].float() / 255 - miniature.MEAN[0]) / miniature.STD[0]
        optimizer.zero_grad(set_to_none=True)
        loss(*model(x, tokens[batch, choice])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    model.eval()


def warmup_cosine(step: int, recipe: dict) -> float:
    """The share of the learning rate at a step: linear warm-up, then cosine to zero.

    Example:
        >>> [warmup_cosine(step, {"steps": 10, "warmup_steps": 2}) for step in (0, 2, 10)]
        [0.5, 1.0, 0.0]
    """
    steps, warmup = recipe["steps"], recipe["warmup_steps"]
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def zero_shot(name: str) -> dict[str, float]:
    """Zero-shot test accuracy of a miniature on each task, in percent."""
    from tangent_lib.data import load_task
    from tangent_lib.evaluate import accuracy
    from tangent_lib.models import load_clip, zero_shot_head

    clip = load_clip(name)
    result = {}
    for task in task_names("miniature"):
        data = load_task(task, clip)
        head = zero_shot_head(clip, data.classes, data.manifest.templates)
        result[task] = round(100 * accuracy(clip.f, clip.theta_0, head, data.split("test")), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-Mini-8", choices=miniature.NAMES)
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    args = parser.parse_args()
    recipe = {**RECIPE, "steps": args.steps}
    start, origin = time.time(), provenance()
    images, captions = captioned_images(recipe)
    texts = [text for each in captions for text in each]
    write_merges(learn_merges(texts, recipe["merges"]), miniature.FOLDER / "merges.txt.gz")
    tokens = open_clip.get_tokenizer(args.model)(texts).view(len(images), recipe["captions_per_image"], -1)
    torch.manual_seed(recipe["seed"])
    model = open_clip.create_model(args.model)
    train(model, torch.from_numpy(images), tokens, recipe)
    path = miniature.weights_path(args.model)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    path.chmod(0o644)
    card = {
        "model": args.model,
        "recipe": recipe,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "minutes": round((time.time() - start) / 60, 1),
        "zero_shot": {},
        **origin,
    }
    card_path = path.with_name("card.json")
    card_path.write_text(json.dumps(card, indent=1) + "\n")
    card["zero_shot"] = zero_shot(args.model)
    card["zero_shot_average"] = round(float(np.mean([card["zero_shot"][t] for t in task_names("miniature", False)])), 2)
    card_path.write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["zero_shot"], indent=1), card["zero_shot_average"])


if __name__ == "__main__":
    main()
