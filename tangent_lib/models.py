"""open_clip models: image tower as a pure function, text tower for the zero-shot head.

Everything here treats the miniature as any other open_clip model; ``tangent_lib.miniature`` registers it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import open_clip
import torch
from jaxtyping import Float
from open_clip.transformer import QuickGELU
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tangent_lib import miniature
from tangent_lib.errors import InputError, unknown
from tangent_lib.linearize import Function, functional
from tangent_lib.task_vectors import Params


@dataclass(frozen=True)
class Clip:
    """A loaded model: ``f(params, x)`` is its image tower, ``theta_0`` the weights it starts from."""

    name: str
    pretrained: str
    f: Function
    theta_0: Params
    model: nn.Module
    tokenizer: Callable
    train_transform: Callable
    eval_transform: Callable
    device: torch.device

    @property
    def digest(self) -> str:
        """A fingerprint of all weights, text tower included, and QuickGELU if used: what the store knows the model by."""
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        return fingerprint(weights) + "-quickgelu" * _uses_quick_gelu(self.model)


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """The first 16 hex digits of the SHA-256 of named tensors.

    Example:
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.ones(2)})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def check_model(name: str, pretrained: str) -> str:
    """Resolve ``pretrained`` and refuse what cannot be loaded, without loading it.

    Args:
        name: an open_clip model name, such as ``ViT-Mini-8`` or ``ViT-B-16``.
        pretrained: ``auto`` (the miniature's own weights, OpenAI's for a full-size model), ``none`` (random weights), an
            open_clip tag, or the path of a safetensors file.

    Returns:
        The tag, the path, or ``none``.

    Raises:
        InputError: for an unknown model, tag or file, or a file that is not safetensors.

    Example:
        >>> check_model("ViT-B-16", "auto")
        'openai'
    """
    if name not in open_clip.list_models():
        raise unknown(
            "model",
            name,
            [*miniature.NAMES, "ViT-B-32", "ViT-B-16", "ViT-L-14"],
            "Any other name that open_clip.list_models() gives works too.",
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained == "auto":
        pretrained = miniature.TAG if name in miniature.NAMES else "openai"
    if pretrained == "none" or pretrained in tags:
        return pretrained
    path = Path(pretrained)
    if path.suffix in {".pt", ".pth", ".bin", ".pkl"}:
        raise InputError(
            f"pretrained '{pretrained}' looks like a pickle, which can run code when it is read. "
            "Convert it to .safetensors with safetensors.torch.save_file, where you trust it."
        )
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"pretrained '{pretrained}': there is no such file")
        return pretrained
    raise unknown("pretrained", pretrained, ["auto", "none", *tags], "Or the path of a .safetensors file.")


def load_clip(name: str = "ViT-Mini-8", pretrained: str = "auto", device: str | torch.device = "cpu") -> Clip:
    """Load an open_clip model in eval mode, all weights frozen.

    The weights are the tag's own activation function too: OpenAI's need QuickGELU, which open_clip drops in silence when
    they are loaded under the plain architecture name. Random weights (``none``) are those of seed 0.

    Raises:
        InputError: as ``check_model``; for weights that are damaged, of another architecture, or not to be had offline.

    Example:
        >>> clip = load_clip("ViT-Mini-8")
        >>> clip.f(clip.theta_0, torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 128])
    """
    pretrained = check_model(name, pretrained)
    from_file = pretrained.endswith(".safetensors")
    tag = None if from_file or pretrained == "none" else pretrained
    quick_gelu = bool(tag) and open_clip.pretrained.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    if name in miniature.NAMES and tag:
        miniature.verify(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model, train_transform, eval_transform = open_clip.create_model_and_transforms(
                name, pretrained=tag, force_quick_gelu=quick_gelu, device=device, **_small(name)
            )
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"the weights '{tag}' of {name} could not be loaded ({_first_line(error)}). They are neither in the cache "
                "nor to be had from the network: connect once, or give -p pretrained FILE.safetensors, or "
                "-p pretrained none for random weights, or -p model ViT-Mini-8, which needs no network."
            ) from error
    if from_file:
        model.load_state_dict(read_weights(Path(pretrained), model))
    model.eval().requires_grad_(False)
    f, theta_0 = functional(model.visual)
    return Clip(
        name,
        pretrained,
        f,
        theta_0,
        model,
        open_clip.get_tokenizer(name),
        train_transform,
        eval_transform,
        torch.device(device),
    )


def untrained(clip: Clip, seed: int) -> Clip:
    """The same model with its image tower at a random initialisation, theta_0^rd (tangent-space paper, Section 6.2).

    The text tower, and so the zero-shot head, stays the pre-trained one: only the weights that are edited are random.

    Example:
        >>> clip = load_clip("ViT-Mini-8")
        >>> untrained(clip, 0).digest == clip.digest, torch.equal(untrained(clip, 1).theta_0["proj"], clip.theta_0["proj"])
        (False, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = open_clip.create_model(clip.name, force_quick_gelu=_uses_quick_gelu(clip.model))
    model = copy.deepcopy(clip.model)
    model.visual.load_state_dict(fresh.visual.state_dict())
    f, theta_0 = functional(model.visual)
    return replace(clip, model=model, f=f, theta_0=theta_0, pretrained=f"random image tower, seed {seed}")


def _uses_quick_gelu(model: nn.Module) -> bool:
    return any(isinstance(module, QuickGELU) for module in model.modules())


def _small(name: str) -> dict:
    return {"image_mean": miniature.MEAN, "image_std": miniature.STD} if name in miniature.NAMES else {}


def read_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The state dict in a safetensors file, checked against the model's names and shapes.

    Raises:
        InputError: if the file is truncated or foreign, or belongs to another architecture.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{path}' is not a readable safetensors file ({_first_line(error)}): fetch or save it anew"
        ) from error
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{k} {tuple(state[k].shape)} for {tuple(wanted[k].shape)}"
        for k in wanted.keys() & state.keys()
        if state[k].shape != wanted[k].shape
    ]
    if missing or extra or shapes:
        raise InputError(
            f"'{path}' holds weights of another architecture: missing {missing[:3]}, not known "
            f"{extra[:3]}, other shapes {sorted(shapes)[:3]}. Name the model that they belong to with -p model."
        )
    return state


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


@torch.no_grad()
def zero_shot_head(clip: Clip, classes: list[str], templates: list[str]) -> Float[Tensor, "classes dim"]:
    """The frozen classification layer: a text embedding per class, times the logit scale.

    Each class is put into every prompt template; the embeddings are normalised, averaged and normalised again
    (tangent-space paper, Appendix A, after Radford et al.).

    Example:
        >>> head = zero_shot_head(load_clip("ViT-Mini-8"), ["zero", "one"], ["a photo of the number {}."])
        >>> head.shape
        torch.Size([2, 128])
    """
    rows = []
    for name in classes:
        tokens = clip.tokenizer([template.format(name) for template in templates]).to(clip.device)
        embedding = clip.model.encode_text(tokens, normalize=True).mean(dim=0)
        rows.append(embedding / embedding.norm())
    return torch.stack(rows) * clip.model.logit_scale.exp()


def classify(
    features: Float[Tensor, "*batch dim"], head: Float[Tensor, "classes dim"]
) -> Float[Tensor, "*batch classes"]:
    """Logits: features, normalised after any linearisation (Appendix B), times the head.

    Example:
        >>> classify(torch.tensor([[3.0, 4.0]]), torch.eye(2))
        tensor([[0.6000, 0.8000]])
    """
    return torch.nn.functional.normalize(features.to(head.dtype), dim=-1) @ head.T
