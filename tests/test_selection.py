"""Selections of the parameters that are fine-tuned, and that all others stay as they were."""

import pytest
import torch
from tangent_lib.selection import SELECTIONS, select

from tangent_lib.finetuning import Protocol, finetune
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import subtract

PROTOCOL = Protocol(steps=3, batch_size=4, learning_rate=1e-2)


def test_the_method_trains_the_four_projections_of_every_block_and_nothing_else(random_clip):
    chosen = select(random_clip.theta_0, "attention weights")
    blocks = {name.split(".attn.")[0] for name in random_clip.theta_0 if ".attn." in name}
    assert set(chosen) == {f"{block}.attn.{w}" for block in blocks for w in ("in_proj_weight", "out_proj.weight")}
    assert len(blocks) == 6


@pytest.mark.parametrize(
    "selection, per_block", [("attention", 4), ("attention and MLP weights", 4), ("attention and MLP", 8)]
)
def test_the_ablation_adds_biases_and_the_mlp(random_clip, selection, per_block):
    chosen = select(random_clip.theta_0, selection)
    assert len(chosen) == 6 * per_block and not any("ln_" in name or "conv1" in name for name in chosen)
    assert any(".mlp." in name for name in chosen) == ("MLP" in selection)


def test_all_is_everything(random_clip):
    assert select(random_clip.theta_0, "all") == tuple(random_clip.theta_0)


def test_an_unknown_selection_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"selection 'atention weights': did you mean 'attention weights'"):
        select({"w": torch.zeros(1)}, "atention weights")


@pytest.mark.parametrize("selection", [name for name in SELECTIONS if name != "all"])
def test_a_selection_that_trains_nothing_is_refused(selection):
    with pytest.raises(InputError, match=r"trains nothing in this model: none of its 1 parameters.*'stem.weight'.*ViT-B-16"):
        select({"stem.weight": torch.zeros(1)}, selection)


@pytest.mark.parametrize("linearized", [False, True])
@pytest.mark.parametrize("selection", ["attention weights", "attention and MLP"])
def test_what_is_not_selected_stays_bit_identical(random_clip, task, few, selection, linearized):
    theta_0, chosen = random_clip.theta_0, select(random_clip.theta_0, selection)
    data, head = few(task("Digits").split("train"), 12), torch.randn(10, 128)
    theta = finetune(random_clip.f, theta_0, head, data, PROTOCOL, linearized, 0, trained=chosen)
    moved = [name for name, change in subtract(theta, theta_0).items() if change.any()]
    assert moved == list(chosen)
    assert all(torch.equal(theta[name], theta_0[name]) for name in theta_0 if name not in chosen)


@pytest.mark.parametrize("trained, named", [((), ""), (("proj", "no.such"), "no.such")])
def test_training_nothing_or_a_stranger_is_refused(random_clip, task, few, trained, named):
    data = few(task("Digits").split("train"), 12)
    with pytest.raises(InputError, match=f"nothing to train, or not of this model: .*{named}"):
        finetune(random_clip.f, random_clip.theta_0, torch.randn(10, 128), data, PROTOCOL, False, 0, trained=trained)
