"""Loading: what is taken and what is refused; the model's fingerprint; the zero-shot head."""

from __future__ import annotations

import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from jaxtyping import TypeCheckError
from safetensors.torch import save_file

from tangent_lib import miniature
from tangent_lib.evaluation import classify
from tangent_lib.models.clip import check_model, fingerprint, load_clip, zero_shot_head
from tangent_lib.runtime.errors import InputError

MODEL = "ViT-Mini-8"


@pytest.fixture
def state(random_clip):
    return {name: value.clone() for name, value in random_clip.model.state_dict().items()}


@pytest.fixture
def asked(monkeypatch):
    """What open_clip is asked for; it answers as it does without network."""
    calls = []

    def unreachable(name, **options):
        calls.append({"name": name, **options})
        raise RuntimeError("Failed to download weights\nlong traceback")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", unreachable)
    return calls


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the package's folder, to be tampered with."""
    folder = tmp_path / "miniature"
    shutil.copytree(miniature.FOLDER, folder)
    monkeypatch.setattr(miniature, "FOLDER", folder)
    return folder / MODEL / "model.safetensors"


# -- a loaded model ----------------------------------------------------------------------------------------------------
def test_f_is_the_image_tower_in_eval_mode_and_frozen(random_clip, rng):
    x = torch.randn(3, 3, 32, 32, generator=rng)
    torch.testing.assert_close(random_clip.f(random_clip.theta_0, x), random_clip.model.encode_image(x), rtol=1e-5, atol=1e-5)
    assert not random_clip.model.training and not any(p.requires_grad for p in random_clip.model.parameters())
    assert random_clip.theta_0.keys() == dict(random_clip.model.visual.named_parameters()).keys()


def test_random_weights_are_those_of_seed_0_and_leave_the_global_seed(random_clip):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert load_clip(MODEL, "none").digest == random_clip.digest
    assert torch.equal(torch.get_rng_state(), state)


def test_shipped_weights_are_not_the_random_ones(clip, random_clip):
    assert clip.pretrained == "captions" and clip.digest != random_clip.digest


def test_a_file_of_weights_is_loaded_as_it_is(tmp_path, state, random_clip):
    save_file({name: 2 * value for name, value in state.items()}, tmp_path / "mine.safetensors")
    loaded = load_clip(MODEL, str(tmp_path / "mine.safetensors"))
    assert all(torch.equal(loaded.theta_0[name], 2 * random_clip.theta_0[name]) for name in loaded.theta_0)
    assert all(torch.equal(value, 2 * state[name]) for name, value in loaded.model.state_dict().items())


def test_a_copy_of_the_shipped_weights_is_the_same_model_with_the_same_preprocessing(tmp_path, clip):
    shutil.copy(miniature.weights_path(MODEL), tmp_path / "copy.safetensors")
    copy = load_clip(MODEL, str(tmp_path / "copy.safetensors"))
    assert copy.digest == clip.digest
    assert copy.model.visual.image_mean == clip.model.visual.image_mean == miniature.MEAN
    assert str(copy.eval_transform) == str(clip.eval_transform)


def test_fingerprint_sees_values_names_shapes_and_dtypes_and_not_the_order():
    base = {"a": torch.zeros(4), "b": torch.tensor(1.0)}
    others = [
        {**base, "a": torch.tensor([0, 0, 0, 1e-40])},
        {"c": base["a"], "b": base["b"]},
        {**base, "a": torch.zeros(2, 2)},
        {**base, "a": torch.zeros(2).double()},
        {"a": base["a"]},
        {**base, "a": torch.tensor([0, 0, 0, -0.0])},
    ]
    assert len({fingerprint(each) for each in [base, *others]}) == 7
    assert fingerprint(dict(reversed(base.items()))) == fingerprint(base)
    assert fingerprint({"a": torch.arange(6.0).view(2, 3).T}) == fingerprint(
        {"a": torch.arange(6.0).view(2, 3).T.contiguous()}
    )


# -- the head ----------------------------------------------------------------------------------------------------------
CLASSES, TEMPLATES = ["stop", "yield", "no entry"], ["a {} sign", "{}", "photo of the {} by the street"]


def test_rows_of_the_head_are_unit_embeddings_times_the_logit_scale(random_clip):
    head = zero_shot_head(random_clip, CLASSES, TEMPLATES)
    scale = random_clip.model.logit_scale.exp()
    torch.testing.assert_close(head.norm(dim=1), scale.expand(3), rtol=1e-5, atol=0)
    assert scale > 5 and not head.requires_grad


def test_a_row_is_the_mean_of_the_normalised_prompts_of_its_class(random_clip):
    head = zero_shot_head(random_clip, CLASSES, TEMPLATES)
    for row, name in zip(head, CLASSES):
        prompts = random_clip.model.encode_text(random_clip.tokenizer([each.replace("{}", name) for each in TEMPLATES]))
        mean = sum(each / each.norm() for each in prompts)
        torch.testing.assert_close(row / row.norm(), mean / mean.norm(), rtol=0, atol=1e-5)
    assert torch.cdist(head, head)[~torch.eye(3, dtype=torch.bool)].min() > 0.01


@pytest.mark.parametrize("template", ["a {c}.", "{} {}", "a {", "photo", "{{}}", "%s", "a {}\nb", "a {} \x1b[31m"])
def test_a_template_without_one_place_for_the_class_is_refused(random_clip, template):
    with pytest.raises(InputError, match=r"the template .* (exactly once|control codes)"):
        zero_shot_head(random_clip, ["cat", "dog"], ["a {}.", template])


def test_a_head_of_nothing_is_refused(random_clip):
    with pytest.raises(InputError, match="0 classes and 1 templates"):
        zero_shot_head(random_clip, [], ["a {}."])


@pytest.mark.parametrize(("classes", "templates"), [(["b", "a", "B"], ["a {}."]), (["cat", "dog"], ["word " * 90 + "{}"])])
def test_classes_that_the_text_tower_reads_alike_are_refused(random_clip, classes, templates):
    with pytest.raises(InputError, match=f"ViT-Mini-8 reads the classes '{classes[0]}' and '{classes[-1]}' alike"):
        zero_shot_head(random_clip, classes, templates)
    assert len(zero_shot_head(random_clip, ["b", "a", "b"], ["a {}."])) == 3  # one name for two classes, as ImageNet has


def test_logits_are_cosines_times_the_norms_of_the_head(rng):
    features, head = torch.randn(2, 5, 4, generator=rng).double(), torch.randn(3, 4, generator=rng).double()
    cosines = torch.nn.functional.cosine_similarity(features[:, :, None], head, dim=-1)
    torch.testing.assert_close(classify(features, head), cosines * head.norm(dim=1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(classify(7 * features, head), classify(features, head), rtol=1e-12, atol=1e-12)


def test_half_precision_features_give_logits_of_the_heads_dtype(rng):
    features = torch.randn(5, 4, generator=rng).bfloat16()
    assert torch.equal(classify(features, torch.eye(4)), classify(features.float(), torch.eye(4)))


def test_shapes_in_signatures_are_enforced():
    with pytest.raises(TypeCheckError, match="head"):
        classify(torch.zeros(2, 3), torch.zeros(4, 5))


# -- what open_clip is asked for ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, pretrained, tag, quick",
    [
        ("ViT-B-16", "auto", "openai", True),
        ("ViT-B-16", "openai", "openai", True),
        ("ViT-L-14", "auto", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", "laion2b_s34b_b79k", False),
        ("ViT-B-32", "laion400m_e32", "laion400m_e32", True),
        ("ViT-B-32", "none", None, False),
    ],
)
def test_quick_gelu_is_used_where_the_weights_were_trained_with_it(asked, name, pretrained, tag, quick):
    with pytest.raises(InputError):
        load_clip(name, pretrained)
    assert [(call["name"], call["pretrained"], call["force_quick_gelu"]) for call in asked] == [(name, tag, quick)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no route"),
        OSError("no route"),
        ConnectionError("no route"),
        FileNotFoundError("no route"),
        TimeoutError("no route"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_without_network_the_ways_out_are_named(monkeypatch, error):
    def create(*args, **options):
        raise error

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with pytest.raises(InputError, match="'openai' of ViT-B-16") as caught:
        load_clip("ViT-B-16")
    for way in ("no route", "network", "-p pretrained FILE.safetensors", "-p pretrained none", "-p model ViT-Mini-8"):
        assert way in str(caught.value)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, pretrained, said",
    [
        ("ViT-B-61", "auto", "did you mean 'ViT-B-16'"),
        (MODEL, "caption", "did you mean 'captions'"),
        ("ViT-B-16", "captions", "openai"),
        (MODEL, "none.safetensors", "no such file"),
        (MODEL, "none.pt", "no such file"),
        (MODEL, "x" * 300, "unknown pretrained 'xxx"),
        (MODEL, "x" * 300 + ".json", "are read from"),
        (MODEL, "x" * 300 + ".pt", "cannot be read: .*File name too long"),
        (MODEL, "weights.pkl", r"\.safetensors, \.pt, \.pth, \.bin, \.ckpt alone"),
        ("convnext_base", "auto", "no.* for convnext_base: .*none, laion400m"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "Allowed: auto, none, openai"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before(no_model, name, pretrained, said):
    for check in (check_model, load_clip):
        with pytest.raises(InputError, match=said):
            check(name, pretrained)


# -- the shipped weights -----------------------------------------------------------------------------------------------
def test_intact_shipped_weights_are_verified(shipped):
    miniature.verify_weights(MODEL)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


TAMPER = {
    "flipped bit": flip,
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "missing": Path.unlink,
    "no card": lambda p: p.with_name("card.json").unlink(),
    "empty card": lambda p: p.with_name("card.json").write_text(""),
}


@pytest.mark.parametrize("tamper", TAMPER.values(), ids=TAMPER)
def test_altered_shipped_weights_are_refused_before_a_model_is_built(no_model, shipped, tamper):
    tamper(shipped)
    for check in (lambda: miniature.verify_weights(MODEL), lambda: load_clip(MODEL)):
        with pytest.raises(InputError, match=f"{MODEL}.*git checkout"):
            check()
