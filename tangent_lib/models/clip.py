"""open_clip models: image tower as a pure function, text tower for the zero-shot head.

Everything here treats the miniature as any other open_clip model; ``architectures`` makes it known to open_clip.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import torch
from jaxtyping import Float
from open_clip.model import set_model_preprocess_cfg
from open_clip.transformer import QuickGELU
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from tangent_lib import miniature
from tangent_lib.data.manifests import one_place
from tangent_lib.models import architectures, weights
from tangent_lib.models.fast_operations import fast_functional
from tangent_lib.modes import MINIATURES
from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.errors import InputError, first_line, unknown
from tangent_lib.task_vectors import Function, Params


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
        """A fingerprint of all weights, text tower included, and of what else the features depend on.

        That is QuickGELU if used, in the text tower alone or in both, a reader's own config, and preprocessing if it is not
        the model's usual one. The store knows the model by it.
        """
        quick_gelu = "-quickgelu" if _uses_quick_gelu(self.model.visual) else "-quicktext" * _uses_quick_gelu(self.model)
        own = architectures.distinction(self.name, self.model.visual.preprocess_cfg)
        return fingerprint(self.model.state_dict()) + quick_gelu + own

    @property
    def image_size(self) -> int:
        """The side of the square images that the image tower takes."""
        return architectures.image_size(self.model)

    @property
    def image_mean(self) -> tuple[float, ...]:
        """The mean that is subtracted from each colour of an image, whose values are from 0 to 1."""
        return tuple(self.model.visual.preprocess_cfg["mean"])

    @property
    def image_std(self) -> tuple[float, ...]:
        """What each colour is divided by after that."""
        return tuple(self.model.visual.preprocess_cfg["std"])


def find_weights(name: str, pretrained: str) -> str:
    """Resolve ``pretrained`` and refuse what cannot be loaded, without building or loading anything.

    Args:
        name: an open_clip model name, such as ``ViT-Mini-8`` or ``ViT-B-16``, or the path of a config file
            (``architectures.find_model``).
        pretrained: ``auto`` (the miniature's own weights, OpenAI's for a full-size model), ``none`` (random weights), an
            open_clip tag, or the path of a file: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin``, ``.ckpt`` as torch or
            TorchScript saves it. A state dict does not tell which activation function its weights were trained with. For
            those that come from OpenAI's add ``-quickgelu`` to the model's name, unless it is OpenAI's own TorchScript, or a
            safetensors file with ``quick_gelu`` set to ``true`` in its metadata.

    Returns:
        The tag, the path, or ``none``.

    Raises:
        InputError: for an unknown model, tag or file, or a file in another form.

    Example:
        >>> find_weights("ViT-B-16", "auto")
        'openai'
    """
    name = architectures.find_model(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained == "auto":
        pretrained = miniature.TAG if name in MINIATURES else "openai"
        if pretrained not in tags:
            raise InputError(
                f"pretrained 'auto' means OpenAI's weights, and there are none for {name}: give -p pretrained FILE, "
                f"or one of {', '.join(['none', *tags])}"
            )
    if pretrained != "none" and pretrained not in tags:
        if not pretrained.strip() or not (Path(pretrained).suffix or os.path.exists(pretrained)):
            raise unknown("pretrained", pretrained, ["auto", "none", *tags], f"Or a file: {', '.join(weights.SUFFIXES)}.")
        weights.check_file(Path(pretrained))
    return pretrained


def check_model(name: str, pretrained: str) -> str:
    """``find_weights``, and try out that the image tower can be built and linearised; no weights are loaded.

    Raises:
        InputError: as ``find_weights``; for a model that cannot be linearised.

    Example:
        >>> check_model("ViT-Mini-8", "none")
        'none'
    """
    pretrained = find_weights(name, pretrained)
    architectures.check_tower(architectures.find_model(name))
    return pretrained


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
    pretrained, name = check_model(name, pretrained), architectures.find_model(name)
    tag, state, quick_gelu = _open_weights(name, pretrained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model, train_transform, eval_transform = open_clip.create_model_and_transforms(
                name,
                pretrained=tag,
                force_quick_gelu=quick_gelu,
                pretrained_text=False,  # weights of half a model, from the hub, are of no use here
                **architectures.preprocessing(name),
            )
            tokenizer = open_clip.get_tokenizer(name)
        except (RuntimeError, OSError, SafetensorError, UnpicklingError) as error:
            raise InputError(
                f"the weights '{pretrained}' of {name}, or its tokenizer, could not be loaded ({first_line(error)}). "
                "They are neither whole in the cache nor to be had from the network: connect once, or give -p pretrained "
                "FILE.safetensors, or -p pretrained none for random weights, or -p model ViT-Mini-8, which needs no network."
            ) from error
    _check_tokens(name, model, tokenizer)
    if state is not None:
        weights.check_fit(state, model, Path(pretrained))
        model.load_state_dict(state)
    model.to(device).eval().requires_grad_(False)
    f, theta_0 = fast_functional(architectures.image_tower(model))
    return Clip(name, pretrained, f, theta_0, model, tokenizer, train_transform, eval_transform, torch.device(device))


def _open_weights(name: str, pretrained: str) -> tuple[str | None, dict[str, Tensor] | None, bool]:
    """The tag, or the state dict of a file, or neither, and whether to put QuickGELU where the model's config has none."""
    if pretrained == "none":
        return None, None, False
    if pretrained in open_clip.list_pretrained_tags_by_model(name):
        if name in MINIATURES:
            miniature.verify_weights(name)
        return pretrained, None, open_clip.pretrained.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
    path, named = Path(pretrained), open_clip.get_model_config(name).get("quick_gelu", False)
    return None, weights.read_weights(path), weights.says_quick_gelu(path, named)


def _check_tokens(name: str, model: nn.Module, tokenizer: Callable) -> None:
    # CLIP's tokenizer ends every text with the last token it has: an empty text tells whether the model knows them all
    known, last = getattr(model, "text", model).vocab_size, int(tokenizer([""]).max())
    if last >= known:
        raise InputError(
            f"model {name}: its text tower knows {known} tokens, its tokenizer gives up to {last + 1}. In text_cfg of its "
            "config, set vocab_size, or tokenizer_kwargs with the bpe_path of its own merges."
        )


def untrained(clip: Clip, seed: int) -> Clip:
    """The same model with its image tower at a random initialisation, theta_0^rd (tangent-space paper, Section 6.2).

    The text tower, and so the zero-shot head, stays the pre-trained one: only the weights that are edited are random. The
    paper does not say which activation function they work with. As in its released code it is that of the model's name:
    plain GELU for ViT-B-16, though OpenAI's weights of it need QuickGELU, which is left to the text tower then.

    Example:
        >>> clip = load_clip("ViT-Mini-8")
        >>> untrained(clip, 0).digest == clip.digest, torch.equal(untrained(clip, 1).theta_0["proj"], clip.theta_0["proj"])
        (False, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        visual = open_clip.create_model(clip.name, pretrained_text=False).visual
    text = {id(p): p for name, p in clip.model.named_parameters() if not name.startswith("visual.")}
    # a copy with another image tower, but for the text tower, which is never trained and serves both
    model = copy.deepcopy(clip.model, {**text, id(clip.model.visual): visual})
    set_model_preprocess_cfg(model, clip.model.visual.preprocess_cfg)
    visual.to(clip.device).eval().requires_grad_(False)
    activation = ", plain GELU" * (_uses_quick_gelu(clip.model.visual) and not _uses_quick_gelu(visual))
    f, theta_0 = fast_functional(architectures.image_tower(model))
    return replace(clip, model=model, f=f, theta_0=theta_0, pretrained=f"random image tower, seed {seed}{activation}")


def _uses_quick_gelu(model: nn.Module) -> bool:
    return any(isinstance(module, QuickGELU) for module in model.modules())


@torch.no_grad()
def zero_shot_head(clip: Clip, classes: list[str], templates: list[str]) -> Float[Tensor, "classes dim"]:
    """The frozen classification layer: a text embedding per class, times the logit scale.

    Each class is put into every prompt template; the embeddings are normalised, averaged and normalised again
    (tangent-space paper, Appendix A, after Radford et al.). The bias that SigLIP models add to their logits is left out:
    it is the same for all classes, so neither the softmax over them nor any accuracy depends on it.

    Raises:
        InputError: where the text tower reads two names alike, so that no accuracy could tell the classes apart; for no
            class, no template, or one without exactly one place, ``{}``, for the class.

    Example:
        >>> head = zero_shot_head(load_clip("ViT-Mini-8"), ["zero", "one"], ["a photo of the number {}."])
        >>> head.shape
        torch.Size([2, 128])
    """
    if not classes or not templates:
        raise InputError(f"{len(classes)} classes and {len(templates)} templates: a head needs at least one of each")
    try:
        templates = [one_place(template) for template in templates]
    except ValueError as error:
        raise InputError(str(error)) from error
    prompts, first = [clip.tokenizer([template.format(name) for template in templates]) for name in classes], {}
    for name, tokens in zip(classes, prompts):
        other = first.setdefault(tokens.numpy().tobytes(), name)
        if other != name:
            raise InputError(
                f"{clip.name} reads the classes '{other}' and '{name}' alike: it may not tell upper from lower case, and "
                f"reads {tokens.shape[1]} tokens at most. Give names that differ, or shorter templates"
            )
    rows = []
    for tokens in tqdm(prompts, desc="zero-shot head", unit="class", delay=2, leave=False, ncols=100):
        embedding = clip.model.encode_text(tokens.to(clip.device), normalize=True).mean(dim=0)
        rows.append(embedding / embedding.norm())
    return torch.stack(rows) * clip.model.logit_scale.exp()
