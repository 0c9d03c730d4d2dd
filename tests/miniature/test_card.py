"""The card of the shipped weights against the weights themselves."""

from __future__ import annotations

import hashlib
import json

import open_clip
import pytest

from tangent_lib import miniature
from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.data.tasks import load_task
from tangent_lib.evaluation import evaluate
from tangent_lib.miniature.pretrain import RECIPE
from tangent_lib.models.clip import load_clip, zero_shot_head
from tangent_lib.modes import MINIATURES

pytestmark = pytest.mark.slow

MODEL = "ViT-Mini-8"
ALL = task_names("miniature")
LEARNT = task_names("miniature", control=False)


@pytest.fixture(scope="module")
def card():
    return miniature.read_card(MODEL)


def zero_shot(clip, store, name) -> float:
    task = load_task(name, clip, store)
    head = zero_shot_head(clip, task.classes, task.manifest.templates)
    return 100 * evaluate(clip.f, clip.theta_0, head, task.split("test"))


@pytest.mark.parametrize("name", MINIATURES)
def test_checksum_is_that_of_the_file(name):
    data = miniature.weights_path(name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == miniature.read_card(name)["sha256"] and len(data) <= 13e6
    miniature.verify_weights(name)


def test_all_miniatures_together_are_light():
    assert sum(miniature.weights_path(name).stat().st_size for name in MINIATURES) <= 30e6


@pytest.mark.parametrize("model", [name for name in MINIATURES if name != MODEL])
def test_zero_shot_accuracy_of_the_other_miniatures_is_their_cards(model, store, task):
    other, found = load_clip(model), miniature.read_card(model)
    task("Signs")
    assert zero_shot(other, store, "Signs") == pytest.approx(found["zero_shot"]["Signs"], abs=0.5)
    assert found["zero_shot_average"] > 35 and found["model"] == model


@pytest.mark.parametrize("name", ALL)
def test_zero_shot_accuracy_is_the_cards(card, clip, store, task, name):
    task(name)
    assert zero_shot(clip, store, name) == pytest.approx(card["zero_shot"][name], abs=0.5)


@pytest.mark.parametrize("name", LEARNT)
def test_every_task_is_above_chance_and_leaves_something_to_learn(card, task, name):
    assert 100 / len(task(name).classes) + 5 < card["zero_shot"][name] < 90


def test_average_is_near_that_of_clip(card):
    assert set(card["zero_shot"]) == set(ALL)
    average = sum(card["zero_shot"][name] for name in LEARNT) / len(LEARNT)
    assert card["zero_shot_average"] == pytest.approx(average, abs=0.01) and 35 <= average <= 60


def test_random_weights_are_far_below(card, random_clip, store):
    average = sum(zero_shot(random_clip, store, name) for name in LEARNT) / len(LEARNT)
    assert average < 15 < card["zero_shot_average"] - 20


def test_the_card_names_model_recipe_and_size(card, clip):
    assert card["model"] == MODEL and card["parameters"] == sum(p.numel() for p in clip.model.parameters())
    assert card["recipe"] == RECIPE
    assert {"commit", "date", "machine", "versions", "torch"} <= card.keys()
    assert json.loads((miniature.FOLDER / MODEL / "card.json").read_text()) == card


def test_no_prompt_is_too_long_for_the_text_tower(clip):
    """A prompt that fills the context may have lost its end; the last place must be empty."""
    tokenizer = open_clip.get_tokenizer(MODEL)
    for name in ALL:
        manifest = load_manifest(name)
        tokens = tokenizer([template.format(each) for template in manifest.templates for each in manifest.classes])
        assert tokens.shape[1] == clip.model.context_length and (tokens[:, -1] == 0).all(), name


def test_prompts_of_two_classes_are_different_tokens():
    tokenizer = open_clip.get_tokenizer(MODEL)
    for name in ALL:
        manifest = load_manifest(name)
        tokens = tokenizer([manifest.templates[0].format(each) for each in manifest.classes])
        assert len({tuple(row.tolist()) for row in tokens}) == len(manifest.classes)


def test_all_tokens_are_in_the_vocabulary(clip):
    assert open_clip.get_tokenizer(MODEL).vocab_size <= clip.model.vocab_size
