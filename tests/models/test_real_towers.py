"""Towers of every kind that open_clip has, in small: f_lin against differences, selections, heads, what weights ask for."""

from __future__ import annotations

import copy
import json
import re

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from tangent_lib.evaluation import classify
from tangent_lib.linearization import functional, value_and_tangent
from tangent_lib.models.architectures import check_tower, image_tower
from tangent_lib.models.clip import load_clip, untrained, zero_shot_head
from tangent_lib.modes import SELECTIONS, select
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply

pytestmark = pytest.mark.slow

TEXT = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
TIMM = {"image_size": 64, "timm_pool": "", "timm_proj": "linear"}
VIT = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
CONFIGS = {
    "Own-ViT": {"vision_cfg": VIT},
    "Own-ViT-quick": {"vision_cfg": VIT, "quick_gelu": True},
    "Own-pooled-ViT": {"vision_cfg": VIT | {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 3}},
    "Own-custom-block-ViT": {"vision_cfg": VIT | {"qk_norm": True, "scale_attn": True, "ls_init_value": 0.1}},
    "Own-ResNet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}},
    "Own-ConvNeXt": {"vision_cfg": TIMM | {"timm_model_name": "test_convnext", "timm_drop_path": 0.1}},
    "Own-ConvNeXt-V2": {"vision_cfg": TIMM | {"timm_model_name": "test_convnext2"}},
    "Own-timm-ViT": {"vision_cfg": TIMM | {"image_size": 160, "timm_model_name": "test_vit3"}},
    "Own-EfficientNet": {"vision_cfg": TIMM | {"timm_model_name": "test_efficientnet"}},
    "Own-biased": {"vision_cfg": VIT, "custom_text": True, "init_logit_bias": -10, "nonscalar_logit_scale": True},
    "Own-captioner": {
        "vision_cfg": VIT | {"output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 4},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": TEXT | {"vocab_size": 49408},
        "custom_text": True,
    },
}
FAMILIES = (  # a model of each kind of image tower among open_clip's, by the names of its parameters
    *("ViT-B-32", "coca_ViT-B-32", "EVA01-g-14", "EVA02-B-16", "ViT-B-16-SigLIP", "PE-Core-T-16-384", "ViTamin-S"),
    *("swin_base_patch4_window7_224", "vit_medium_patch16_gap_256", "vit_relpos_medium_patch16_cls_224", "MobileCLIP-B"),
    *("convnext_base", "RN50", "MobileCLIP-S1"),
)
CONVOLUTIONS = ("Own-ResNet", "Own-ConvNeXt", "Own-ConvNeXt-V2", "Own-EfficientNet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "text_cfg": TEXT, **config}))
    return folder


@pytest.fixture(scope="module")
def own(folder):
    """A reader's own model by name, with random weights."""
    return lambda name: load_clip(str(folder / f"{name}.json"), "none")


def shaken(clip, seed: int = 0):
    """The image tower in float64 with weights and statistics where none is zero or one, and some images."""
    rng = torch.Generator().manual_seed(seed)
    tower = copy.deepcopy(clip.model.visual).double()
    for value in (*tower.parameters(), *tower.buffers()):
        if value.is_floating_point():
            value.data += 0.05 * torch.rand(value.shape, generator=rng, dtype=value.dtype)
    f, theta_0 = functional(tower)
    x = torch.randn(2, 3, clip.image_size, clip.image_size, generator=rng, dtype=torch.float64)
    tau = {name: torch.randn(value.shape, generator=rng, dtype=value.dtype) for name, value in theta_0.items()}
    return f, theta_0, tau, x


# -- the tangent model of each kind of tower ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", CONFIGS)
def test_tangent_is_the_limit_of_differences(own, name):
    f, theta_0, tau, x = shaken(own(name))
    value, tangent = value_and_tangent(f, theta_0, tau, x)
    torch.testing.assert_close(value, f(theta_0, x), rtol=1e-10, atol=1e-12)
    e = 1e-7
    difference = (f(apply(theta_0, tau, e), x) - f(apply(theta_0, tau, -e), x)) / (2 * e)
    assert tangent.norm() > 0.1 and (tangent - difference).norm() < 1e-5 * tangent.norm()


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14", "convnext_base", "RN50", "EVA02-B-16", "coca_ViT-B-32"])
def test_full_size_towers_can_be_linearised(name):
    check_tower(name)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("selection", ["attention weights", "attention"])
def test_attention_only_is_refused_where_there_is_no_attention(own, name, selection):
    with pytest.raises(InputError, match=f"'{selection}' trains nothing in this model.*Take a vision transformer"):
        select(own(name).theta_0, selection)


def test_every_model_of_open_clip_trains_all_of_its_attention_or_is_refused():
    """Names of each image tower, built on the meta device: what is left of attention is a norm, a token or a position."""
    trained, refused = set(), set()
    for name in FAMILIES:
        with torch.device("meta"):
            tower = open_clip.create_model(name, load_weights=False, device="meta").visual
        names = [each for each, _ in tower.named_parameters()]
        try:
            chosen = {selection: set(select(names, selection)) for selection in SELECTIONS}
        except InputError:
            refused.add(name)
            continue
        trained.add(name)
        left = [each for each in names if each not in chosen["attention and MLP"] and re.search("attn|mlp", each)]
        assert not [each for each in left if not re.search(r"norm|ln_|query|latent|rel_pos|position_bias", each)], name
        assert chosen["attention weights"] == {each for each in chosen["attention"] if each.endswith("weight")}
    assert refused == {"convnext_base", "RN50", "MobileCLIP-S1"} and len(trained) == len(FAMILIES) - 3


@pytest.mark.parametrize("name", ["Own-ViT", "Own-pooled-ViT", "Own-captioner"])
def test_attention_only_finds_the_blocks_of_open_clips_own_transformers(own, name):
    chosen = select(own(name).theta_0, "attention weights")
    assert sum("resblocks" in each for each in chosen) == 2 * VIT["layers"]
    assert all(select(own(name).theta_0, selection) for selection in SELECTIONS)


# -- fingerprint and preprocessing --------------------------------------------------------------------------------------
def test_digest_sees_the_statistics_of_batch_norm(own):
    clip = own("Own-ResNet")
    before = clip.digest
    clip.model.visual.bn1.running_mean[0] += 1
    assert clip.digest != before


@pytest.mark.parametrize("name", CONFIGS)
def test_images_are_prepared_as_the_tower_wants_them(own, name):
    clip = own(name)
    size = CONFIGS[name]["vision_cfg"]["image_size"]
    assert clip.image_size == size and f"size=({size}, {size})" in str(clip.eval_transform)
    assert clip.image_mean == open_clip.OPENAI_DATASET_MEAN and clip.image_std == open_clip.OPENAI_DATASET_STD


# -- activation and preprocessing of published weights, without the weights --------------------------------------------
@pytest.fixture
def weightless(monkeypatch):
    """Models are built as for their weights, which are then not loaded, on the meta device."""
    create = open_clip.create_model_and_transforms

    def built(name, **options):
        with torch.device("meta"):
            return create(name, load_weights=False, device="meta", **options)

    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *args, **options: "not there")
    monkeypatch.setattr(open_clip, "create_model_and_transforms", built)


@pytest.mark.parametrize(
    "name, tag, quick",
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-16", "openai", True),
        ("ViT-L-14", "openai", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-L-14", "laion2b_s32b_b82k", False),
        ("ViT-B-32", "laion400m_e32", True),
        ("ViT-B-16", "none", False),
        ("ViT-B-16-quickgelu", "none", True),
    ],
)
def test_both_towers_have_the_activation_of_the_weights(weightless, name, tag, quick):
    clip = load_clip(name, tag, "meta")
    for tower in (clip.model.visual.transformer, clip.model.transformer):
        assert {type(block.mlp.gelu).__name__ for block in tower.resblocks} == {"QuickGELU" if quick else "GELU"}


def test_images_are_prepared_as_for_the_weights_and_the_digest_knows(weightless, monkeypatch):
    monkeypatch.setattr("tangent_lib.models.clip.fingerprint", lambda tensors: "weights")
    usual, other = (load_clip("ViT-L-14", tag, "meta") for tag in ("laion400m_e32", "laion2b_s32b_b82k"))
    assert usual.image_mean == open_clip.OPENAI_DATASET_MEAN and other.image_mean == (0.5, 0.5, 0.5)
    assert load_clip("ViT-L-14", "none", "meta").digest == "weights" and other.digest not in ("weights", usual.digest)


# -- zero-shot heads ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["Own-ViT", "Own-biased", "Own-captioner"])
def test_texts_are_cut_to_the_models_own_context(own, name):
    clip = own(name)
    assert clip.tokenizer(["word " * 50]).shape == (1, 16)
    head = zero_shot_head(clip, ["cat", "very " * 40 + "long"], ["a photo of a {}.", "{}"])
    scale = clip.model.logit_scale.exp().expand(2)
    torch.testing.assert_close(head.norm(dim=1), scale, rtol=1e-5, atol=0)


def test_probabilities_are_those_of_the_model_with_its_logit_bias(own, rng):
    clip, classes = own("Own-biased"), ["cat", "dog", "newt"]
    x = torch.randn(4, 3, 32, 32, generator=rng)
    logits, _ = clip.model.get_logits(x, clip.tokenizer([f"a {name}" for name in classes]))
    ours = classify(clip.f(clip.theta_0, x), zero_shot_head(clip, classes, ["a {}"]))
    torch.testing.assert_close(ours - 10, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.softmax(-1), logits.softmax(-1), rtol=1e-4, atol=1e-5)


# -- random image towers -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["Own-ViT-quick", "Own-ResNet", "Own-ConvNeXt", "Own-biased"])
def test_untrained_is_another_image_tower_with_the_same_text_tower(own, name):
    clip = own(name)
    other = untrained(clip, 3)
    assert other.name == clip.name and any(not torch.equal(other.theta_0[key], clip.theta_0[key]) for key in clip.theta_0)
    mine, theirs = (dict(model.named_parameters()) for model in (clip.model, other.model))
    assert all((mine[key] is theirs[key]) != key.startswith("visual.") for key in mine)
    assert "quick" in other.digest or "quick" not in name
    x = torch.zeros(1, 3, clip.image_size, clip.image_size)
    torch.testing.assert_close(other.f(other.theta_0, x), image_tower(other.model)(x), rtol=1e-5, atol=1e-5)
    assert other.digest == untrained(clip, 3).digest != untrained(clip, 4).digest and clip.digest == own(name).digest


@pytest.mark.parametrize("config, quick", [("Own-ViT", False), ("Own-ViT-quick", True)])
def test_a_random_image_tower_has_the_activation_of_the_name_not_of_the_weights(own, folder, config, quick):
    clip = own(config)
    save_file(clip.model.state_dict(), folder / "openai.safetensors", {"quick_gelu": "true"})
    opened = load_clip(str(folder / f"{config}.json"), str(folder / "openai.safetensors"))
    other, plain = untrained(opened, 3), untrained(clip, 3)
    towers = (other.model.visual.transformer, other.model.transformer)
    kinds = [{type(block.mlp.gelu).__name__ for block in tower.resblocks} for tower in towers]
    assert kinds == [{"QuickGELU" if quick else "GELU"}, {"QuickGELU"}]
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(other.f(other.theta_0, x), plain.f(plain.theta_0, x))
    assert ("-quickgelu" in other.digest, "-quicktext" in other.digest) == (quick, not quick)
    assert other.pretrained == f"random image tower, seed 3{'' if quick else ', plain GELU'}"
