"""From the tensors of a checkpoint to an image tower: every weight of theta_0 asks for its own, and nothing is left over.

A form of checkpoint is a function from open_clip's name of a weight to its names in the file, so that none can be overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import Params, norm, subtract

FARTHEST = 0.5  # |theta - theta_0| / |theta_0|; fine-tuning at 1e-5 stays within some hundredths, other weights lie past 1
TEXT_TOWER = (
    r"model\.(positional_embedding|text_projection|logit_scale|attn_mask|token_embedding\..+|ln_final\..+|transformer\..+)"
)

Naming = Callable[[str], tuple[str, ...]]


def encoder_names(name: str) -> tuple[str, ...]:
    """In the released code's ImageEncoder: open_clip's names, inside ``model.visual``.

    Example:
        >>> encoder_names("conv1.weight")
        ('model.visual.conv1.weight',)
    """
    return (f"model.visual.{name}",)


OUTSIDE_BLOCKS = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",  # spelled so
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
INSIDE_BLOCKS = {
    "ln_1": ("layer_norm1",),
    "ln_2": ("layer_norm2",),
    "attn.in_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out_proj": ("self_attn.out_proj",),
    "mlp.c_fc": ("mlp.fc1",),
    "mlp.c_proj": ("mlp.fc2",),
}
BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")


def transformers_names(name: str) -> tuple[str, ...]:
    """In transformers' CLIPVisionModel: query, key and value apart; ``proj`` is not in it.

    Example:
        >>> transformers_names("transformer.resblocks.3.mlp.c_fc.bias")
        ('vision_model.encoder.layers.3.mlp.fc1.bias',)
        >>> len(transformers_names("transformer.resblocks.3.attn.in_proj_bias")), transformers_names("proj")
        (3, ())
    """
    if name == "proj":
        return ()
    if name in OUTSIDE_BLOCKS:
        return (f"vision_model.{OUTSIDE_BLOCKS[name]}",)
    found = BLOCK.fullmatch(name)
    if not found or found[2] not in INSIDE_BLOCKS:
        raise InputError(f"'{name}' has no counterpart in a CLIPVisionModel: take a vision transformer, such as ViT-B-32")
    layer, part, kind = found.groups()
    return tuple(f"vision_model.encoder.layers.{layer}.{each}.{kind}" for each in INSIDE_BLOCKS[part])


@dataclass(frozen=True)
class Tower:
    """An image tower under open_clip's names, and what became of the tensors of the file.

    ``taken`` are the file's names that were used and ``left`` the known ones that were not; ``kept`` are weights that come
    from theta_0, since the family froze them; ``cast`` are dtypes other than theta_0's; ``distance`` is the norm of
    theta - theta_0 over that of theta_0.
    """

    tensors: Params
    taken: tuple[str, ...]
    left: tuple[str, ...]
    kept: tuple[str, ...]
    cast: tuple[str, ...]
    distance: float


def to_image_tower(state: dict[str, Tensor], theta_0: Params, names: Naming, left: str) -> Tower:
    """Fit the tensors of a file to theta_0, name by name; on the CPU, in the dtype of theta_0.

    Args:
        state: all tensors of the file.
        theta_0: the image tower that the checkpoint was fine-tuned from.
        names: for a weight of theta_0, the tensors of the file that it is made of, one below the other.
        left: a pattern of the names that may lie in the file besides.

    Raises:
        InputError: for a name that is missing or not known, another shape, numbers that are not finite or not real, or
            weights so far off that they were not fine-tuned from theta_0.

    Example:
        >>> state = {"model.visual.proj": torch.ones(2, 2), "model.logit_scale": torch.tensor(4.6)}
        >>> tower = to_image_tower(state, {"proj": torch.ones(2, 2)}, encoder_names, TEXT_TOWER)
        >>> tower.taken, tower.left
        (('model.visual.proj',), ('model.logit_scale',))
    """
    on_cpu = {name: value.cpu() for name, value in theta_0.items()}
    sources = {name: names(name) for name in on_cpu}
    wanted = {source: name for name, each in sources.items() for source in each}
    known = tuple(name for name in state if name not in wanted and re.fullmatch(left, name))
    missing = sorted(wanted.keys() - state.keys())
    extra = sorted(state.keys() - wanted.keys() - set(known))
    shapes = [
        f"{source} {tuple(state[source].shape)} for {shape}"
        for source, name in wanted.items()
        if source in state and tuple(state[source].shape) != (shape := _part(on_cpu[name], len(sources[name])))
    ]
    if missing or extra or shapes:
        raise InputError(
            f"not an image tower of this form and architecture: missing {missing[:3]}, not known {extra[:3]}, "
            f"other shapes {shapes[:3]}. Name the model that it belongs to with --model, or the family that it comes from"
        )
    real = {
        source: state[source].to(on_cpu[name].dtype) for source, name in wanted.items() if state[source].is_floating_point()
    }
    unfit = sorted(source for source in wanted if source not in real or not real[source].isfinite().all())
    if unfit:
        raise InputError(f"{len(unfit)} of {len(wanted)} weights hold other things than finite numbers, such as {unfit[:3]}")
    tensors = {name: _joined([real[source] for source in each], on_cpu[name]) for name, each in sources.items()}
    distance = norm(subtract(tensors, on_cpu)) / norm(on_cpu)
    if not distance <= FARTHEST:
        raise InputError(
            f"these weights lie {distance:.2f} times the norm of the pre-trained ones away from them, where fine-tuning "
            f"stays below {FARTHEST}: they were fine-tuned from other weights. Name these with --pretrained"
        )
    kept = tuple(name for name, each in sources.items() if not each)
    cast = {str(state[source].dtype) for source, name in wanted.items() if state[source].dtype != on_cpu[name].dtype}
    return Tower(tensors, tuple(wanted), known, kept, tuple(sorted(cast)), distance)


def _joined(parts: list[Tensor], frozen: Tensor) -> Tensor:
    """One below the other; of no part at all, the frozen weight."""
    return torch.cat(parts) if len(parts) > 1 else (*parts, frozen)[0]


def _part(value: Tensor, parts: int) -> tuple[int, ...]:
    """The shape of each part, where a weight is made of several, one below the other."""
    return tuple(value.shape) if parts == 1 else (value.shape[0] // parts, *value.shape[1:])
