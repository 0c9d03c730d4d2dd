"""Pre-train a miniature anew and write its weights and card: ``tangent pretrain``."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Annotated

from cyclopts import Parameter

from tangent_lib.modes import MINIATURES, PARAMETERS


def pretrain(
    *,
    model: Annotated[str, Parameter(help="the miniature", choices=MINIATURES)] = PARAMETERS["model"],
) -> None:
    """Train a miniature anew from captions, in place of the weights that are shipped: 20 minutes on two cores."""
    from safetensors.torch import save_file

    import tangent_lib.models.clip  # noqa: F401  (it makes the miniatures known to open_clip)
    from tangent_lib import miniature
    from tangent_lib.data.manifests import load_manifest, task_names
    from tangent_lib.miniature.pretrain import RECIPES
    from tangent_lib.miniature.pretrain import pretrain as train
    from tangent_lib.runtime.disk import ROOT
    from tangent_lib.runtime.provenance import provenance
    from tangent_lib.runtime.store import Store

    start, origin = time.time(), provenance()
    manifests = {name: load_manifest(name) for name in task_names("miniature")}
    trained = train(model, RECIPES[model], manifests, Store(ROOT / "runs" / "store"))
    path = miniature.weights_path(model)
    save_file({name: value.contiguous() for name, value in trained.state_dict().items()}, path)
    path.chmod(0o644)
    card = {
        "model": model,
        "recipe": RECIPES[model],
        "parameters": sum(p.numel() for p in trained.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "minutes": round((time.time() - start) / 60, 1),
        **origin,
    }
    card_path = path.with_name("card.json")
    card_path.write_text(json.dumps(card, indent=1) + "\n")
    card["zero_shot"] = zero_shot(model)
    tasks = task_names("miniature", control=False)
    card["zero_shot_average"] = round(sum(card["zero_shot"][task] for task in tasks) / len(tasks), 2)
    card_path.write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["zero_shot"], indent=1), card["zero_shot_average"])


def zero_shot(name: str) -> dict[str, float]:
    """Zero-shot test accuracy of a miniature on each task, in percent."""
    from tangent_lib.data.manifests import task_names
    from tangent_lib.data.tasks import load_task
    from tangent_lib.evaluation import evaluate
    from tangent_lib.models.clip import load_clip, zero_shot_head

    clip, result = load_clip(name), {}
    for task in task_names("miniature"):
        data = load_task(task, clip)
        head = zero_shot_head(clip, data.classes, data.manifest.templates)
        result[task] = round(100 * evaluate(clip.f, clip.theta_0, head, data.split("test")), 2)
    return result
