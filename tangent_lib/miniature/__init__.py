"""The embedded miniature: a small CLIP and nine small tasks, so that everything runs offline on a laptop.

Importing this package registers the model with open_clip: configuration, tokenizer and pre-trained weights. From then on
``open_clip.create_model("ViT-Mini-8", pretrained="captions")`` works as for any other model.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import open_clip

from tangent_lib.errors import InputError

FOLDER = Path(__file__).parent
NAMES = ("ViT-Mini-8", "ViT-Mini-4", "ViT-Mini-L-8")
TAG = "captions"
MEAN = STD = (0.5, 0.5, 0.5)


def weights_path(name: str) -> Path:
    """The shipped weights of a miniature."""
    return FOLDER / name / "model.safetensors"


def read_card(name: str) -> dict:
    """The model card as data: configuration, seed, commit, date, zero-shot accuracy per task, checksum.

    Example:
        >>> sorted(read_card("ViT-Mini-8")["zero_shot"])[:2]
        ['Aerial', 'ClutteredDigits']
    """
    try:
        return json.loads((FOLDER / name / "card.json").read_text())
    except (OSError, ValueError) as error:
        way_out = "restore it with 'git checkout -- tangent_lib/miniature'"
        raise InputError(f"the card of {name} is damaged: {way_out}") from error


def verify(name: str) -> None:
    """Check the shipped weights against the checksum on their card.

    Raises:
        InputError: if the file is missing, truncated or altered.
    """
    path, wanted = weights_path(name), read_card(name)["sha256"]
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != wanted:
        raise InputError(
            f"the weights of {name} are damaged: {path.name} has checksum {found[:12]}, its card says "
            f"{wanted[:12]}. Restore them with 'git checkout -- tangent_lib/miniature'."
        )


def register() -> None:
    """Make the miniatures known to open_clip (done once, on import)."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            config = json.loads((FOLDER / name / "config.json").read_text())
            config["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(FOLDER / "merges.txt.gz")}
            Path(folder, f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)
    for name in NAMES:
        tag = {"file": str(weights_path(name)), "mean": MEAN, "std": STD, "interpolation": "bicubic"}
        open_clip.pretrained._PRETRAINED[name] = {TAG: tag}  # the registry has no public way in


register()
