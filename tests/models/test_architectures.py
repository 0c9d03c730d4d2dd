"""A reader's own models from their config files, and what is refused before anything is downloaded."""

from __future__ import annotations

import importlib.util
import json
import logging
import os

import open_clip
import pytest
import torch
from open_clip.transformer import VisionTransformer

from tangent_lib import miniature
from tangent_lib.models.architectures import find_model
from tangent_lib.models.clip import check_model, load_clip
from tangent_lib.runtime.errors import InputError

TEXT = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
TIMM = {"image_size": 64, "timm_pool": "", "timm_proj": "linear", "timm_model_name": "test_convnext"}


def with_tower(tower: dict) -> dict:
    return {"embed_dim": 24, "vision_cfg": tower, "text_cfg": TEXT}


@pytest.fixture
def write(tmp_path):
    """Writes a config file and gives its path."""

    def written(content: object, name: str = "Own-other") -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return written


# -- what is taken -----------------------------------------------------------------------------------------------------
def test_own_model_goes_by_the_stem_of_its_file(write):
    path = write(with_tower(VIT), "Own-small")
    clip = load_clip(path, "none")
    assert clip.name == "Own-small" == find_model(path) and clip.name in open_clip.list_models()
    assert load_clip("Own-small", "none").digest == clip.digest
    assert clip.f(clip.theta_0, torch.zeros(2, 3, 32, 32)).shape == (2, 24)


def test_own_weights_are_loaded_into_own_model(tmp_path, write):
    path = write(with_tower({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}), "Own-residual")
    state = {name: value + 1 for name, value in load_clip(path, "none").model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "own.pt")
    loaded = load_clip(path, str(tmp_path / "own.pt")).model.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    with pytest.raises(InputError, match="another architecture"):
        load_clip(write(with_tower(TIMM), "Own-convolutions"), str(tmp_path / "own.pt"))


def test_own_model_never_gets_random_weights_unasked(write):
    with pytest.raises(InputError, match="there are none for Own-bare: give -p pretrained FILE, or one of none"):
        check_model(write(with_tower(VIT), "Own-bare"), "auto")


def test_own_model_is_told_from_another_of_the_same_weights(write):
    pair = {heads: with_tower(VIT | {"head_width": heads}) for heads in (16, 32)}
    one, other = (load_clip(write(config, f"Own-{heads}-wide"), "none") for heads, config in pair.items())
    assert all(torch.equal(one.theta_0[name], other.theta_0[name]) for name in one.theta_0)
    assert one.digest.split("-")[0] == other.digest.split("-")[0] and one.digest != other.digest
    assert load_clip(write(pair[32], "Own-renamed"), "none").digest == other.digest


def test_preprocessing_comes_with_the_config_as_on_the_hub(write):
    how = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "interpolation": "bilinear", "resize_mode": "squash", "size": 99}
    clip = load_clip(write({"model_cfg": with_tower(VIT), "preprocess_cfg": how}, "Own-prepared"), "none")
    assert (clip.image_size, clip.image_mean, clip.image_std) == (32, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert "bilinear" in str(clip.eval_transform) and "mean=(0.1, 0.2, 0.3)" in str(clip.train_transform)
    plain = load_clip(write({"model_cfg": with_tower(VIT), "preprocess_cfg": {}}, "Own-plain"), "none")
    assert clip.digest.split("-")[0] == plain.digest.split("-")[0] and clip.digest != plain.digest
    assert plain.digest == load_clip(write(with_tower(VIT), "Own-bare"), "none").digest


# -- what is refused ---------------------------------------------------------------------------------------------------
BROKEN = {
    "no file": (None, "not a readable JSON file"),
    "no JSON": ("{", "not a readable JSON file"),
    "a list": ([1], "model_cfg: .*dictionary"),
    "no text": ({"embed_dim": 8, "vision_cfg": VIT}, "no text_cfg.*get_model_config"),
    "unknown field": (with_tower(VIT | {"depth": 3}), "cannot be built.*depth"),
    "wrong type": (with_tower(VIT | {"width": "broad"}), "cannot be built"),
    "text is no table": (with_tower(VIT) | {"text_cfg": 3}, "cannot be built"),
    "numbers that do not fit": (with_tower(VIT) | {"text_cfg": TEXT | {"heads": 3}}, "cannot be built"),
    "unknown timm model": (with_tower(TIMM | {"timm_model_name": "no_such_net"}), "cannot be built.*no_such_net"),
    "not square": (with_tower(VIT | {"image_size": [32, 48]}), "32 x 48: only square"),
    "no pooling": (with_tower(TIMM | {"timm_proj": "none"}), r"features are \(1, 64, 2, 2\), text embeddings \(1, 24\)"),
    "odd preprocessing": ({"model_cfg": with_tower(VIT), "preprocess_cfg": {"mean": [0.5]}}, r"preprocess_cfg\.mean"),
    "more than a config": ({"model_cfg": with_tower(VIT), "weights": "w.pt"}, "weights: Extra"),
}


@pytest.mark.parametrize("content, said", BROKEN.values(), ids=BROKEN)
def test_a_config_that_cannot_be_used_is_refused_and_leaves_nothing(no_model, tmp_path, write, content, said):
    path = str(tmp_path / "none.json") if content is None else write(content)
    known = open_clip.list_models()
    for check in (check_model, load_clip):
        with pytest.raises(InputError, match=said):
            check(path, "none")
    assert open_clip.list_models() == known


def test_a_pipe_is_no_config_and_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "Own-pipe.json")
    with pytest.raises(InputError, match=r"Own-pipe.json' is not a readable JSON file: it is a folder, a pipe"):
        find_model(str(tmp_path / "Own-pipe.json"))


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-Mini-8"])
def test_a_config_that_hides_a_known_name_is_refused(write, name):
    with pytest.raises(InputError, match=f"'{name}' is a model of open_clip; give the file a name of its own"):
        find_model(write(with_tower(VIT), name))


def test_two_configs_of_one_name_are_refused(write):
    find_model(write(with_tower(VIT), "Own-twice"))
    with pytest.raises(InputError, match=r"Own-twice.json': another config of this name"):
        find_model(write(with_tower(VIT | {"layers": 1}), "Own-twice"))


def test_a_tower_without_a_forward_derivative_is_refused_before_it_is_loaded(no_model, write, monkeypatch):
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

    path, forward = write(with_tower(VIT), "Own-opaque"), VisionTransformer.forward
    with monkeypatch.context() as patch:
        patch.setattr(VisionTransformer, "forward", lambda self, x: Opaque.apply(forward(self, x)))
        with pytest.raises(InputError, match=r"Own-opaque.json' cannot be linearised: .*Towers that can: .*ViT-B-32"):
            check_model(path, "none")
    assert find_model(path) == "Own-opaque"


def test_a_tokenizer_with_more_tokens_than_the_text_tower_is_refused(write):
    config = json.loads((miniature.FOLDER / "ViT-Mini-8" / "config.json").read_text())
    with pytest.raises(InputError, match=r"knows 1280 tokens, its tokenizer gives up to 49408\..*bpe_path"):
        load_clip(write(config, "Own-mini"), "none")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="the package is installed")
@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32"])
def test_a_text_side_that_needs_another_package_is_refused_with_the_way_out(no_model, name):
    with pytest.raises(InputError, match=f"model {name}: .*pip install transformers"):
        check_model(name, "none")


def test_trying_out_says_nothing_and_leaves_seed_and_warnings(write, caplog, recwarn):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    find_model(write(with_tower(VIT), "Own-silent"))
    assert not caplog.records and not recwarn.list and torch.equal(torch.get_rng_state(), before)
    logging.warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_with_a_mark_of_the_order_of_bytes_is_taken(tmp_path, encoding):
    path = tmp_path / f"Own-{encoding}.json"
    path.write_text(json.dumps(with_tower(VIT)), encoding=encoding)
    assert find_model(str(path)) == f"Own-{encoding}"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"embed_dim": ' + "1" * 5000 + "}"], ids=["deep", "a long number"])
def test_json_that_python_cannot_hold_is_refused(tmp_path, text):
    (tmp_path / "Own-odd.json").write_text(text)
    with pytest.raises(InputError, match=r"Own-odd.json' is not a readable JSON file: "):
        find_model(str(tmp_path / "Own-odd.json"))
