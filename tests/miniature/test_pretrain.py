"""Pre-training of the miniatures: its pictures and captions, its recipes, and what a stage trains."""

from __future__ import annotations

import copy

import numpy as np
import open_clip
import pytest
import torch

from tangent_lib.data.manifests import load_manifest
from tangent_lib.miniature.pretrain import RECIPE, RECIPES, fit, training_images, warmup_cosine, write_captions
from tangent_lib.miniature.tasks import DRAWN
from tangent_lib.modes import MINIATURES

FEW = {**RECIPE, "images_per_task": 24, "batch_size": 8, "text": {**RECIPE["text"], "steps": 3, "warmup_steps": 1}}


@pytest.fixture(scope="module")
def manifests():
    return {name: load_manifest(name) for name in ("Signs", "Objects")}


@pytest.fixture(scope="module")
def drawn():
    return training_images(("Signs", "Objects"), FEW)


def test_every_miniature_has_a_recipe():
    assert set(RECIPES) == set(MINIATURES)
    assert {recipe.get("grown_from", MINIATURES[0]) for recipe in RECIPES.values()} == {MINIATURES[0]}


def test_pictures_come_with_what_they_show(drawn):
    images, shown = drawn
    assert images.shape == (48, 3, 32, 32) and images.dtype == np.uint8
    assert [task for task, _ in shown] == ["Signs"] * 24 + ["Objects"] * 24
    assert {label for task, label in shown if task == "Signs"} == set(range(len(DRAWN["Signs"])))


@pytest.mark.parametrize("stage", ["towers", "text"])
def test_every_picture_has_its_captions_in_turn(drawn, manifests, stage):
    _, shown = drawn
    captions = write_captions(shown, manifests, stage, FEW)
    assert len(captions) == FEW[stage]["captions_per_image"] * len(shown)
    assert captions == write_captions(shown, manifests, stage, FEW)


def test_a_stage_trains_the_weights_that_it_is_given_and_no_others(random_clip):
    model = copy.deepcopy(random_clip.model).requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    texts = open_clip.get_tokenizer(random_clip.name)([f"number {i}" for i in range(24)]).view(12, 2, -1)
    features = torch.nn.functional.normalize(torch.randn(12, 128, generator=torch.Generator().manual_seed(0)), dim=-1)
    trained = {name: value for name, value in model.named_parameters() if not name.startswith("visual.")}
    fit(model, lambda batch: features[batch], texts, trained.values(), "text", FEW)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed <= set(trained) and {"text_projection", "logit_scale"} <= changed


def test_the_learning_rate_rises_and_falls():
    plan = {"steps": 100, "warmup_steps": 20}
    shares = [warmup_cosine(step, plan) for step in range(101)]
    assert shares[:20] == pytest.approx([(step + 1) / 20 for step in range(20)]) and max(shares) == 1
    assert shares[20:] == sorted(shares[20:], reverse=True) and shares[60] == pytest.approx(0.5)
