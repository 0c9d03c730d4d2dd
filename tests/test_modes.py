"""Modes and trainings; selections of the parameters that are fine-tuned, and that all others stay as they were."""

import subprocess
import sys

import pytest
import torch

from tangent_lib.finetuning import Protocol, finetune
from tangent_lib.modes import (
    ABLATION_MODES,
    ALL_MODES,
    ALPHAS,
    ATTENTION_MODES,
    MINIATURES,
    MODES,
    PAPER_ZERO_SHOT,
    PARAMETERS,
    PARAMETERS_CELL,
    SELECTIONS,
    TRAININGS,
    automatic,
    mode_named,
    select,
    training_named,
)
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import subtract

PROTOCOL = Protocol(steps=3, batch_size=4, learning_rate=1e-2)


# -- modes -------------------------------------------------------------------------------------------------------------
def test_the_modes_are_the_papers():
    assert {name: (mode.training.name, mode.linearized) for name, mode in MODES.items()} == {
        "non-linear": ("non-linear", False),
        "post-hoc": ("non-linear", True),
        "linear": ("linear", True),
    }
    assert {name: (mode.training.name, mode.linearized) for name, mode in ATTENTION_MODES.items()} == {
        "attention-only": ("attention-only", False),
        "attention post-hoc": ("attention-only", True),
    }
    assert [mode.training.selection for mode in ATTENTION_MODES.values()] == ["attention weights"] * 2
    assert not any(mode.linearized for mode in ABLATION_MODES.values())
    assert [mode.training.selection for mode in ABLATION_MODES.values()] == [name for name in SELECTIONS if name != "all"]
    assert ALL_MODES.keys() == MODES.keys() | ATTENTION_MODES.keys() | ABLATION_MODES.keys()
    assert all(TRAININGS[mode.training.name] is mode.training for mode in ALL_MODES.values())
    assert all(name == each.name for named in (ALL_MODES, TRAININGS) for name, each in named.items())


def test_only_linear_training_is_linearised_and_only_random_training_untrained():
    assert {name for name, each in TRAININGS.items() if each.linearized} == {"linear", "random-linear"}
    assert {name for name, each in TRAININGS.items() if each.untrained} == {"random-non-linear", "random-linear"}
    assert {each.selection for each in TRAININGS.values()} == set(SELECTIONS)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"mode 'lineer': did you mean 'linear'.*non-linear, post-hoc, linear"):
        mode_named("lineer")
    with pytest.raises(InputError, match=r"training 'attention-onyl': did you mean 'attention-only'.*random-linear"):
        training_named("attention-onyl")


def test_the_grid_of_alphas_is_the_papers():
    assert ALPHAS[:3] == (0.0, 0.05, 0.1) and ALPHAS[-1] == 1.0 and len(ALPHAS) == 21
    assert all(alpha == round(alpha, 2) for alpha in ALPHAS)


def test_what_auto_stands_for_hangs_together():
    for model in (*MINIATURES, *PAPER_ZERO_SHOT):
        auto = automatic(model)
        assert len(auto.tasks) == 8 and auto.control not in auto.tasks and len(auto.pairs) == 3
        assert all(set(pair) <= set(auto.tasks) for pair in auto.pairs)
        assert Protocol(**auto.protocol).steps == (240 if model in MINIATURES else 2000)


def test_the_parameters_cell_gives_every_parameter_its_default():
    given: dict = {}
    exec(PARAMETERS_CELL, given)
    assert {name: given[name] for name in PARAMETERS} == PARAMETERS
    lines = PARAMETERS_CELL.splitlines()
    assert len(PARAMETERS) == len(lines) and all("  # " in line for line in lines)  # which papermill shows as help


def test_modes_are_constants_that_need_no_torch():
    code = "import sys, tangent_lib.modes; print([name for name in ('torch', 'open_clip', 'numpy') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


# -- selections --------------------------------------------------------------------------------------------------------


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
    with pytest.raises(InputError, match=r"trains nothing in this model: its weights, as 'stem.weight'.*ViT-B-16"):
        select({"stem.weight": torch.zeros(1)}, selection)


QKV = ("attn.qkv.weight", "attn.proj.weight")
APART = ("attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight", "attn.proj.weight")
POOL = ("attn_pool.q.weight", "attn_pool.kv.weight", "attn_pool.proj.weight")
OPEN_CLIPS_POOL = tuple(f"attn_pool.attn.{each}weight" for each in ("q_proj_", "k_proj_", "v_proj_", "out_proj."))
TOWERS = {  # of each family: the weights that are trained, and names beside them that are not
    "timm": (QKV, ("attn.qkv.bias", "attn.q_norm.weight", "norm1.weight", "mlp.fc1.weight", "attn.rel_pos.mlp.fc1.weight")),
    "EVA02": (APART, ("attn.q_proj.bias", "attn.norm.weight", "mlp.norm.weight", "mlp.fc1_g.weight")),
    "EVA01": (QKV, ("attn.q_bias", "attn.v_bias")),
    "SigLIP": ((*QKV, *POOL), ("attn_pool.latent", "attn_pool.norm.weight", "attn_pool.mlp.fc1.weight")),
    "CoCa": (("attn.in_proj_weight", "attn.out_proj.weight", *OPEN_CLIPS_POOL), ("attn_pool.query", "attn_pool.ln_k.weight")),
    "Swin": (QKV, ("attn.relative_position_bias_table",)),
}


def in_tower(name: str) -> str:
    return f"trunk.{name}" if name.startswith("attn_pool") else f"trunk.blocks.3.{name}"


@pytest.mark.parametrize("trained, others", TOWERS.values(), ids=TOWERS)
def test_attention_is_known_by_the_names_of_each_family(trained, others):
    names = [in_tower(each) for each in (*others, *trained)]
    assert select(names, "attention weights") == tuple(map(in_tower, trained))


@pytest.mark.parametrize("mlp", ["c_fc c_proj", "fc1 fc2", "fc1_g fc1_x fc2", "w0 w1 w2"])
def test_the_mlp_is_known_by_the_names_of_each_family_without_its_norm(mlp):
    names = [in_tower(f"mlp.{part}.{kind}") for part in (*mlp.split(), "norm") for kind in ("weight", "bias")]
    attention = [in_tower(each) for each in ("attn.qkv.weight", "attn.qkv.bias")]
    assert set(select([*names, *attention], "attention and MLP")) == {*names[:-2], *attention}


@pytest.mark.parametrize("odd", ["attn2.to_q.weight", "self_attn.in_proj_weight", "attn.proj_l.weight", "attention.k.weight"])
def test_attention_that_is_known_in_part_is_refused(odd):
    names = [in_tower(each) for each in (*QKV, odd)]
    with pytest.raises(InputError, match=f"trains only a part in this model: its weights, as '{names[-1]}', lack"):
        select(names, "attention weights")


@pytest.mark.parametrize("odd", ["mlp.gate.weight", "ffn.w1.weight"])
def test_an_mlp_that_is_known_in_part_is_refused_where_it_is_asked_for(odd):
    names = [in_tower(each) for each in (*QKV, "mlp.fc1.weight", odd)]
    assert select(names, "attention weights") == tuple(names[:2])
    with pytest.raises(InputError, match=f"trains only a part.*'{names[-1]}'"):
        select(names, "attention and MLP weights")


@pytest.mark.parametrize("linearized", [False, True])
@pytest.mark.parametrize("selection", ["attention weights", "attention and MLP"])
def test_what_is_not_selected_stays_bit_identical(random_clip, task, few, selection, linearized):
    theta_0, chosen = random_clip.theta_0, select(random_clip.theta_0, selection)
    data, head = few(task("Digits").split("train"), 12), torch.randn(10, 128)
    theta = finetune(random_clip.f, theta_0, head, data, PROTOCOL, linearized=linearized, trained=chosen)
    moved = [name for name, change in subtract(theta, theta_0).items() if change.any()]
    assert moved == list(chosen)
    assert all(torch.equal(theta[name], theta_0[name]) for name in theta_0 if name not in chosen)


@pytest.mark.parametrize("trained, named", [((), ""), (("proj", "no.such"), "no.such")])
def test_training_nothing_or_a_stranger_is_refused(random_clip, task, few, trained, named):
    data = few(task("Digits").split("train"), 12)
    with pytest.raises(InputError, match=f"nothing to train, or not of this model: .*{named}"):
        finetune(random_clip.f, random_clip.theta_0, torch.randn(10, 128), data, PROTOCOL, trained=trained)
