"""From a file's tensors to an image tower: exactly the weights asked for, and every mismatch refused."""

from __future__ import annotations

import pytest
import torch
from published import encoder_state, transformers_state
from torch import nn

from tangent_lib.checkpoints.families import FAMILIES
from tangent_lib.checkpoints.towers import TEXT_TOWER, encoder_names, to_image_tower, transformers_names
from tangent_lib.models.clip import untrained
from tangent_lib.runtime.errors import InputError

FORMS = {"encoder": FAMILIES["tall_masks"], "transformers": FAMILIES["tanganke"]}
BLOCK = "transformer.resblocks.2."


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture
def state(form, random_clip, starred):
    make = transformers_state if form.name == "tanganke" else lambda theta: encoder_state(random_clip, theta)
    return make(starred("Cars"))


@pytest.fixture
def fit(form, random_clip):
    return lambda state: to_image_tower(state, random_clip.theta_0, form.names, form.left)


def test_the_same_weights_come_out(form, state, fit, starred, random_clip):
    tower, expected = fit(state), starred("Cars")
    assert list(tower.tensors) == list(random_clip.theta_0) and tower.cast == ()
    frozen = {"proj"} if form.name == "tanganke" else set()
    assert set(tower.kept) == frozen
    for name, value in tower.tensors.items():
        assert torch.equal(value, (random_clip.theta_0 if name in frozen else expected)[name]), name
    assert set(tower.taken) | set(tower.left) == set(state) and not set(tower.taken) & set(tower.left)


def test_what_is_left_is_told(form, state, fit):
    left = {
        "tall_masks": {
            *("model.positional_embedding", "model.text_projection", "model.logit_scale"),
            *("model.token_embedding.weight", "model.ln_final.weight", "model.ln_final.bias"),
        },
        "tanganke": {"vision_model.embeddings.position_ids"},
    }
    assert set(fit(state).left) == left[form.name]
    without = {name: value for name, value in state.items() if name not in left[form.name]}
    assert fit(without).left == ()


def test_query_key_and_value_stay_apart():
    """Attention computed from the three projections is that of open_clip's one tensor."""
    torch.manual_seed(0)
    attention, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 5, 8)
    ours = {f"{BLOCK}attn.{name}": value for name, value in attention.state_dict().items()}
    foreign = transformers_state({"positional_embedding": torch.zeros(1), **ours})
    project = lambda letter: nn.functional.linear(
        x, *(foreign[f"vision_model.encoder.layers.2.self_attn.{letter}_proj.{kind}"] for kind in ("weight", "bias"))
    )
    q, k, v = (project(letter).view(1, 5, 2, 4).transpose(1, 2) for letter in "qkv")
    mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 5, 8)
    names = {name: transformers_names(name) for name in ours}
    joined = {name.rsplit("attn.")[1]: torch.cat([foreign[each] for each in theirs]) for name, theirs in names.items()}
    rebuilt = nn.MultiheadAttention(8, 2, batch_first=True)
    rebuilt.load_state_dict(joined)
    torch.testing.assert_close(rebuilt(x, x, x)[0], attention.out_proj(mixed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_are_cast_and_told(state, fit, dtype, starred):
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    tower = fit(cast)
    assert tower.cast == (str(dtype),)
    name = f"{BLOCK}ln_1.bias"
    assert torch.equal(tower.tensors[name], starred("Cars")[name].to(dtype).float())


def test_theta_0_is_left_alone(state, fit, random_clip):
    tower = fit(state)
    before = {name: value.clone() for name, value in random_clip.theta_0.items()}
    for name, value in tower.tensors.items():
        if name not in tower.kept:
            value.add_(1)
    assert all(torch.equal(random_clip.theta_0[name], before[name]) for name in before)


def test_the_distance_is_relative(random_clip):
    theta_0 = {"proj": torch.tensor([3.0, 4.0])}
    tower = to_image_tower({"model.visual.proj": torch.tensor([3.0, 5.0])}, theta_0, encoder_names, TEXT_TOWER)
    assert tower.distance == pytest.approx(1 / 5)


# -- mismatches --------------------------------------------------------------------------------------------------------
def test_any_one_weight_missing_is_refused(form, state, fit):
    for name in fit(state).taken:
        with pytest.raises(InputError, match="missing"):
            fit({other: value for other, value in state.items() if other != name})


@pytest.mark.parametrize("name", ["model.visual.extra", "visual.proj", "vision_model.extra", "model.params.0", "head.weight"])
def test_a_name_that_is_not_known_is_refused(state, fit, name):
    with pytest.raises(InputError, match=rf"not known \['{name}'\]"):
        fit({**state, name: torch.zeros(2)})


def test_any_other_shape_is_refused(form, state, fit):
    for name in fit(state).taken[::7]:
        value = state[name]
        for other in (value[:-1], torch.cat([value, value]), value[None], value.flatten()[:1].view(())):
            with pytest.raises(InputError, match=r"other shapes.*for \("):
                fit({**state, name: other})


def test_a_part_turned_or_parts_of_unlike_sizes_are_refused(random_clip, starred):
    state = transformers_state(starred("Cars"))
    q, k = (f"vision_model.encoder.layers.0.self_attn.{letter}_proj.weight" for letter in "qk")
    state[q], state[k] = torch.cat([state[q], state[k][:9]]), state[k][9:]
    with pytest.raises(InputError, match="other shapes"):
        to_image_tower(state, random_clip.theta_0, transformers_names, "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_numbers_that_are_not_finite_are_refused(form, state, fit, value):
    name = next(name for name in state if "ln_1.weight" in name or "layer_norm1.weight" in name)
    spoilt = state[name].double()
    spoilt[3] = value
    with pytest.raises(InputError, match=rf"1 of \d+ weights hold other things than finite numbers.*{name}"):
        fit({**state, name: spoilt})


def test_numbers_that_are_not_real_are_refused(state, fit):
    name = next(name for name in state if "ln_1.bias" in name or "layer_norm1.bias" in name)
    for other in (state[name].long(), state[name] > 0, state[name].to(torch.complex64)):
        with pytest.raises(InputError, match="finite numbers"):
            fit({**state, name: other})


def test_weights_fine_tuned_from_others_are_refused(form, fit, random_clip):
    """Another random initialisation has the same architecture, and nothing else in common with this one."""
    other = untrained(random_clip, seed=1)
    make = transformers_state if form.name == "tanganke" else lambda theta: encoder_state(other, theta)
    with pytest.raises(InputError, match=r"lie 1\.\d\d times.*fine-tuned from other weights"):
        fit(make(other.theta_0))


def test_another_architecture_is_refused(form, random_clip, starred):
    smaller = {name: value for name, value in starred("Cars").items() if "resblocks.5" not in name}
    make = transformers_state if form.name == "tanganke" else lambda theta: {f"model.visual.{k}": v for k, v in theta.items()}
    with pytest.raises(InputError, match="missing"):
        to_image_tower(make(smaller), random_clip.theta_0, form.names, form.left)
    with pytest.raises(InputError, match="not known"):
        to_image_tower(make(starred("Cars")), {k: random_clip.theta_0[k] for k in smaller}, form.names, form.left)


def test_transformers_has_no_names_for_a_network_of_another_kind():
    with pytest.raises(InputError, match=r"'trunk\.stem\.0\.weight' has no counterpart.*ViT-B-32"):
        transformers_names("trunk.stem.0.weight")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_family_is_described(family):
    assert family.models.keys() == {"ViT-B-32", "ViT-B-16", "ViT-L-14"} and len(family.tasks) == 8
    assert all((family.describes, family.page.startswith("https://"), family.licence, family.recipe))
    assert all(path.format(model="m", task="t") for path in (*family.paths, *family.zero_shot))
