"""Fabricated checkpoints: the miniature's image tower in the true form of each published family."""

from __future__ import annotations

import sys

import open_clip
import pytest
import torch
from published import TASKS, ImageEncoder, encoder_state, foreign, transformers_state
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def starred(random_clip):
    """theta_star of a task by name: theta_0 and a little noise."""

    def make(task: str) -> dict[str, torch.Tensor]:
        rng = torch.Generator().manual_seed(TASKS.index(task))
        return {k: v + 1e-3 * torch.randn(v.shape, generator=rng) for k, v in random_clip.theta_0.items()}

    return make


@pytest.fixture
def encoder(random_clip, monkeypatch):
    """Write an image encoder as a whole module, with a function such as ``torch.save``."""

    def write(theta, path, save=torch.save, keep_text=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with foreign(monkeypatch) as old:
            made = ImageEncoder(random_clip, theta, keep_text)
            made.model.visual.__class__ = old
            save(made, path)
        assert "src.modeling" not in sys.modules and not hasattr(open_clip.model, "VisualTransformer")

    return write


@pytest.fixture
def publish(random_clip, starred, encoder, tmp_path):
    """Lay a family's files out in a folder, as it publishes them; returns the folder."""

    def tall_masks(root):
        base = root / "single_task" / "ViT-Mini-8"
        for task in TASKS:
            (base / f"{task}Val").mkdir(parents=True)
            torch.save(encoder_state(random_clip, starred(task)), base / f"{task}Val" / "nonlinear_finetuned.pt")
        torch.save(encoder_state(random_clip, random_clip.theta_0), base / "zeroshot.pt")

    def atlas(root):
        for task in TASKS:
            encoder(starred(task), root / "ViT-Mini-8" / f"{task}Val" / "finetuned.pt", keep_text=False)
            encoder(random_clip.theta_0, root / "ViT-Mini-8" / f"{task}Val" / "zeroshot.pt", keep_text=False)

    def tanganke(root):
        for task, theirs in (("Cars", "stanford-cars"), ("MNIST", "mnist")):
            folder = root / f"ViT-Mini-8_{theirs}"
            folder.mkdir(parents=True)
            save_file(transformers_state(starred(task)), folder / "model.safetensors", {"format": "pt"})

    def ilharco(root):
        for task in TASKS:
            encoder(starred(task), root / "ViT-Mini-8" / task / "finetuned.pt")
        encoder(random_clip.theta_0, root / "ViT-Mini-8" / "zeroshot.pt")

    makers = {"tall_masks": tall_masks, "atlas": atlas, "tanganke": tanganke, "ilharco": ilharco}

    def make(family: str):
        root = tmp_path / "published"
        makers[family](root)
        return root

    return make
