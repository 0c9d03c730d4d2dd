"""Accuracy of one set of weights, and of all weights along a line theta_0 + alpha tau."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from tangent_lib.data import batches
from tangent_lib.linearize import Function, value_and_tangent
from tangent_lib.models import classify
from tangent_lib.task_vectors import Params, apply

EVAL_BATCH = 250


@torch.no_grad()
def accuracy(f: Function, params: Params, head: Float[Tensor, "classes dim"], data: Dataset) -> float:
    """The share of images that the model f(.; params) with this head classifies rightly, in [0, 1].

    Example:
        >>> from tangent_lib.data import ImageArray
        >>> data = ImageArray(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]), (0.,) * 3, (1.,) * 3, 2)
        >>> accuracy(lambda params, x: params["w"].expand(len(x), 2), {"w": torch.tensor([1.0, 0.0])}, torch.eye(2), data)
        0.75
    """
    right = 0
    for x, y in batches(data, EVAL_BATCH, head.device):
        right += (classify(f(params, x), head).argmax(-1) == y).sum().item()
    return right / len(data)


@torch.no_grad()
def accuracies_along(
    f: Function, theta_0: Params, tau: Params, alphas: Sequence[float], head: Float[Tensor, "classes dim"],
    data: Dataset, linearized: bool,
) -> list[float]:
    """The accuracy at theta_0 + alpha tau for every alpha, of f, or of its linearisation f_lin.

    f_lin is affine in alpha, f_lin(x; theta_0 + alpha tau) = f(x; theta_0) + alpha J(x) tau (equation 3), so one pass over
    the data serves all alphas. For f there is one pass an alpha.

    Returns:
        one number in [0, 1] per alpha.
    """
    if not linearized:
        return [accuracy(f, apply(theta_0, tau, alpha), head, data) for alpha in alphas]
    right = torch.zeros(len(alphas), dtype=torch.long, device=head.device)
    steps = torch.tensor(alphas, device=head.device).view(-1, 1, 1)
    for x, y in batches(data, EVAL_BATCH, head.device):
        value, tangent = value_and_tangent(f, theta_0, tau, x)
        right += (classify(value + steps * tangent, head).argmax(-1) == y).sum(dim=-1)
    return (right / len(data)).tolist()
