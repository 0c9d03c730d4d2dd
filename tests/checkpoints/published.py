"""Weights in the forms of the published families, written out here apart from the library."""

from __future__ import annotations

import copy
import sys
from contextlib import contextmanager
from types import ModuleType

import open_clip
import torch
from torch import nn

TASKS = ("Cars", "MNIST")


class ImageEncoder(nn.Module):
    """As the released code's: a whole CLIP, without its text transformer, and its preprocessing."""

    def __init__(self, clip, theta, keep_text: bool):
        super().__init__()
        self.model = copy.deepcopy(clip.model)
        self.model.visual.load_state_dict(theta)
        del self.model.transformer
        if not keep_text:
            for name in ("token_embedding", "ln_final", "positional_embedding", "text_projection", "logit_scale"):
                delattr(self.model, name)
        self.train_preprocess, self.val_preprocess = clip.train_transform, clip.eval_transform
        self.cache_dir = None


@contextmanager
def foreign(monkeypatch):
    """Inside, the class of encoders is that of a package that is not installed, and the tower's that of open_clip 2.0.2."""
    with monkeypatch.context() as patch:
        package, module = ModuleType("src"), ModuleType("src.modeling")
        patch.setattr(ImageEncoder, "__module__", "src.modeling")
        module.ImageEncoder = ImageEncoder
        patch.setitem(sys.modules, "src", package)
        patch.setitem(sys.modules, "src.modeling", module)
        old = type("VisualTransformer", (open_clip.transformer.VisionTransformer,), {"__module__": "open_clip.model"})
        patch.setattr(open_clip.model, "VisualTransformer", old, raising=False)
        yield old


def encoder_state(clip, theta):
    """The state dict of an image encoder."""
    return ImageEncoder(clip, theta, keep_text=True).state_dict()


def transformers_state(theta):
    """A tower under the names of transformers' CLIPVisionModel."""
    state = {"vision_model.embeddings.position_ids": torch.arange(len(theta["positional_embedding"]))[None]}
    for name, value in theta.items():
        if name == "proj":
            continue
        if name.startswith("transformer.resblocks."):
            _, _, layer, rest = name.split(".", 3)
            prefix = f"vision_model.encoder.layers.{layer}."
            if "in_proj" in rest:
                kind = rest.removeprefix("attn.in_proj_")
                for letter, part in zip("qkv", value.chunk(3)):
                    state[f"{prefix}self_attn.{letter}_proj.{kind}"] = part.clone()
                continue
            for ours, theirs in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("c_fc", "fc1"),
                ("c_proj", "fc2"),
            ):
                rest = rest.replace(ours, theirs)
            state[prefix + rest] = value.clone()
        else:
            for ours, theirs in (
                ("class_embedding", "embeddings.class_embedding"),
                ("positional_embedding", "embeddings.position_embedding.weight"),
                ("conv1", "embeddings.patch_embedding"),
                ("ln_pre", "pre_layrnorm"),
                ("ln_post", "post_layernorm"),
            ):
                name = name.replace(ours, theirs)
            state[f"vision_model.{name}"] = value.clone()
    return state
