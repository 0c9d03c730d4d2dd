"""A task vector for others: read elsewhere in one line, with its origin in the file, and a card whose code runs."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from tangent_lib.checkpoints.export import TaskVectorCard, export_task_vector
from tangent_lib.finetuning import Protocol
from tangent_lib.linearization import linearize
from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply


@pytest.fixture
def tau(clip):
    rng = torch.Generator().manual_seed(0)
    return {name: 0.01 * torch.randn(value.shape, generator=rng) for name, value in clip.theta_0.items()}


@pytest.fixture
def card(clip):
    return TaskVectorCard(
        model=clip.name,
        pretrained=clip.pretrained,
        quick_gelu=False,
        task="Signs",
        linear=False,
        selection="all",
        seed=3,
        protocol=Protocol(steps=7),
        theta_0=fingerprint(clip.theta_0),
    )


def code(folder):
    """All Python of the card, as one script."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))


def test_one_line_loads_it(tau, card, tmp_path):
    path = export_task_vector(tau, tmp_path / "out", card)
    assert path == tmp_path / "out" / "task_vector.safetensors"
    assert sorted(os.listdir(path.parent)) == ["README.md", "task_vector.safetensors"]
    found = load_file(path)
    assert found.keys() == tau.keys() and all(torch.equal(found[name], value) for name, value in tau.items())


def test_the_file_says_what_it_is(tau, card, tmp_path):
    with safe_open(export_task_vector(tau, tmp_path / "out", card), framework="pt") as file:
        metadata = file.metadata()
    expected = {"model": "ViT-Mini-8", "pretrained": "captions", "task": "Signs", "training": "non-linear", "seed": "3"}
    assert expected.items() <= metadata.items() and metadata["theta_0"] == card.theta_0
    assert Protocol(**json.loads(metadata["protocol"])) == card.protocol
    assert metadata["commit"] and "2305.12827" in metadata["paper"]


def test_a_selection_is_the_second_papers(card):
    assert "2407.07089" in card.model_copy(update={"selection": "attention weights"}).paper


def test_the_card_has_front_matter_for_the_hub(tau, card, tmp_path):
    given = {"model": "ViT-B-32", "pretrained": "openai", "quick_gelu": True}
    path = export_task_vector(tau, tmp_path / "out", card.model_copy(update=given))
    front = yaml.safe_load((path.parent / "README.md").read_text().split("---")[1])
    assert front["base_model"] == "openai/clip-vit-base-patch32" and "task-arithmetic" in front["tags"]
    assert "force_quick_gelu=True" in code(path.parent)
    path = export_task_vector(tau, tmp_path / "miniature", card)
    assert "base_model" not in yaml.safe_load((path.parent / "README.md").read_text().split("---")[1])


@pytest.mark.parametrize("linear", [False, True])
def test_the_code_of_the_card_gives_the_edited_model(tau, card, clip, tmp_path, monkeypatch, rng, linear):
    path = export_task_vector(tau, tmp_path / "out", card.model_copy(update={"linear": linear}))
    monkeypatch.chdir(path.parent)
    images = torch.randn(2, 3, 32, 32, generator=rng)
    names = {"images": images}
    with torch.no_grad():
        exec(code(path.parent), names)
        found = names["features"] if linear else names["model"].eval().encode_image(images)
        f = linearize(clip.f, clip.theta_0) if linear else clip.f
        expected, before = f(apply(clip.theta_0, tau), images), clip.f(clip.theta_0, images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (expected - before).abs().max() > 0.01


def test_weights_without_a_tag_are_to_be_loaded_by_hand(tau, card, tmp_path):
    path = export_task_vector(tau, tmp_path / "out", card.model_copy(update={"pretrained": "mine.safetensors"}))
    script = code(path.parent)
    assert "pretrained=None" in script and "load the pre-trained weights, theta_0, into it: mine.safetensors" in script


def test_it_is_written_anew_in_its_own_folder_and_in_no_other(tau, card, tmp_path):
    export_task_vector({name: 2 * value for name, value in tau.items()}, tmp_path / "out", card)
    (tmp_path / "out" / ".0a.unfinished").write_text("of a run that was killed")
    path = export_task_vector(tau, tmp_path / "out", card)
    assert torch.equal(load_file(path)["proj"], tau["proj"])
    (tmp_path / "out" / "model.pt").write_text("")
    (tmp_path / "file").write_text("")
    for folder in ("out", "file"):
        with pytest.raises(InputError, match=r"holds something else.*--to"):
            export_task_vector(tau, tmp_path / folder, card)


def test_what_is_not_finite_is_not_written(tau, card, tmp_path):
    tau["proj"][0, 0] = float("nan")
    for spoilt in (tau, {}):
        with pytest.raises(InputError, match="did the training diverge"):
            export_task_vector(spoilt, tmp_path / "out", card)
    assert not (tmp_path / "out").exists()
