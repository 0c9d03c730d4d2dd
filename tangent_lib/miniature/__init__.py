"""The embedded miniature: a small CLIP and nine small tasks, so that everything runs offline on a laptop.

The weights, their configs and cards lie beside this file; ``models.architectures`` makes them known to open_clip, so that
``open_clip.create_model("ViT-Mini-8", pretrained="captions")`` works as for any other model.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tangent_lib.runtime.errors import InputError

FOLDER = Path(__file__).parent
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


def verify_weights(name: str) -> None:
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
