"""Start a miniature from a trained one: smaller patches, or more blocks.

Pre-training from nothing costs most of its time on what all miniatures have in common. A grown one starts from the trained
weights of another and is then pre-trained further in its own shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BLOCKS = "visual.transformer.resblocks."


def grow(source: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a trained model in the shape of another one.

    Patches: the kernels of the patch embedding and the grid of positional embeddings are resized (in the spirit of FlexiViT,
    Beyer et al. 2023, without its pseudo-inverse: the response to a constant image keeps its direction, and about half its
    length where patches are halved). Blocks: between the trained blocks new ones are put whose output projections are
    zero, so that a deeper tower computes at first exactly what the trained one does (after Net2Net, Chen et al. 2016).

    Args:
        source: state dict of the trained model.
        model: the model to start; with a multiple of the source's blocks.

    Returns:
        a state dict for ``model``.

    Example:
        >>> import open_clip, tangent_lib.models.architectures
        >>> small, deep = open_clip.create_model("ViT-Mini-8"), open_clip.create_model("ViT-Mini-L-8")
        >>> _ = deep.load_state_dict(grow(small.state_dict(), deep))
        >>> x = torch.rand(2, 3, 32, 32)
        >>> bool(torch.allclose(small.eval().encode_image(x), deep.eval().encode_image(x), atol=1e-5))
        True
    """
    wanted = model.state_dict()
    depth, times = _depth(source), _depth(wanted) // _depth(source)
    if depth * times != _depth(wanted):
        raise ValueError(f"{_depth(wanted)} blocks cannot be grown from {depth}: give a multiple")
    grown = {}
    for name, like in wanted.items():
        value = source[_origin(name, times)].clone()
        if name == "visual.conv1.weight":
            value = _resize(value, like.shape[-1]) * (value.shape[-1] / like.shape[-1])
        elif name == "visual.positional_embedding":
            value = _resize_grid(value, len(like))
        elif _is_new(name, times) and ("out_proj" in name or "c_proj" in name):
            value = torch.zeros_like(like)
        if value.shape != like.shape:
            raise ValueError(f"{name}: {tuple(value.shape)} cannot be grown to {tuple(like.shape)}")
        grown[name] = value
    return grown


def _depth(state: dict[str, Tensor]) -> int:
    return len({name.removeprefix(BLOCKS).split(".")[0] for name in state if name.startswith(BLOCKS)})


def _block(name: str) -> int | None:
    return int(name.removeprefix(BLOCKS).split(".")[0]) if name.startswith(BLOCKS) else None


def _origin(name: str, times: int) -> str:
    block = _block(name)
    return name if block is None else name.replace(f"{BLOCKS}{block}.", f"{BLOCKS}{block // times}.", 1)


def _is_new(name: str, times: int) -> bool:
    block = _block(name)
    return block is not None and block % times != 0


def _resize(kernels: Tensor, size: int) -> Tensor:
    if kernels.shape[-1] == size:
        return kernels
    return nn.functional.interpolate(kernels, (size, size), mode="bilinear", antialias=True, align_corners=False)


def _resize_grid(embedding: Tensor, tokens: int) -> Tensor:
    if len(embedding) == tokens:
        return embedding
    old, new = math.isqrt(len(embedding) - 1), math.isqrt(tokens - 1)
    grid = embedding[1:].T.reshape(1, -1, old, old)
    grid = nn.functional.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], grid.reshape(embedding.shape[1], -1).T])
