"""Predictions and accuracy of edited weights theta_0 + sum_t alpha_t tau_t, one setting or many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from tangent_lib.batches import batches
from tangent_lib.linearize import Function, value_and_tangent
from tangent_lib.memory import enough_memory
from tangent_lib.models import classify
from tangent_lib.task_vectors import Params, check_match

EVAL_BATCH = 250
Settings = Sequence[Sequence[float]]  # for each setting, one alpha per task vector


@torch.no_grad()
def predict(
    f: Function,
    theta_0: Params,
    taus: Sequence[Params],
    settings: Settings,
    head: Float[Tensor, "classes dim"],
    data: Dataset,
    linearized: bool,
    batch_size: int = EVAL_BATCH,
) -> tuple[Int[Tensor, "settings n"], Int[Tensor, " n"]]:
    """The class predicted for every image at every setting of the alphas, by f or by its linearisation f_lin.

    f_lin is affine in the alphas, f_lin(x; theta_0 + sum_t alpha_t tau_t) = f(x; theta_0) + sum_t alpha_t J(x) tau_t
    (equation 3), so its tangents are computed once and serve all settings. f takes one forward pass a setting.

    Returns:
        the predictions and the labels.

    Example:
        >>> from tangent_lib.data import ImageArray
        >>> data = ImageArray(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), (0.,) * 3, (1.,) * 3, 2)
        >>> f = lambda params, x: params["w"].expand(len(x), 2)
        >>> theta_0, tau = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}
        >>> predict(f, theta_0, [tau], [[0.0], [1.0]], torch.eye(2), data, linearized=True)
        (tensor([[0, 0],
                [1, 1]]), tensor([0, 1]))
    """
    predictions, labels = [], []
    for x, y in batches(data, batch_size, head.device):
        with enough_memory("evaluation", len(x)):
            features = features_at(f, theta_0, taus, settings, x, linearized)
            predictions.append(torch.stack([classify(z, head).argmax(-1) for z in features]))
        labels.append(y)
    return torch.cat(predictions, dim=1), torch.cat(labels)


def features_at(
    f: Function, theta_0: Params, taus: Sequence[Params], settings: Settings, x: Tensor, linearized: bool
) -> Iterator[Tensor]:
    """The features of a batch at theta_0 + sum_t alpha_t tau_t, setting by setting, by f or by f_lin.

    Example:
        >>> f = lambda params, x: x * params["w"] ** 2
        >>> theta_0, tau, x = {"w": torch.tensor(1.0)}, {"w": torch.tensor(1.0)}, torch.tensor(1.0)
        >>> [list(features_at(f, theta_0, [tau], [[0.0], [2.0]], x, linearized)) for linearized in (False, True)]
        [[tensor(1.), tensor(9.)], [tensor(1.), tensor(5.)]]
    """
    if linearized:
        value, tangents = None, []
        for tau in taus:
            value, tangent = value_and_tangent(f, theta_0, tau, x)
            tangents.append(tangent)
        for alphas in settings:
            yield value + sum(alpha * tangent for alpha, tangent in zip(alphas, tangents, strict=True))
        return
    for tau in taus:
        check_match(theta_0, tau)
    buffers = [{name: torch.empty_like(value) for name, value in theta_0.items()} for _ in taus[:2]]
    for alphas in settings:
        yield f(_edited(theta_0, taus, alphas, buffers), x)


def _edited(theta_0: Params, taus: Sequence[Params], alphas: Sequence[float], buffers: Sequence[Params]) -> Params:
    """theta_0 + sum_t alpha_t tau_t, in buffers that serve again: to allocate anew takes longer than to add."""
    moves = [(alpha, tau) for alpha, tau in zip(alphas, taus, strict=True) if alpha]
    if not moves:
        return theta_0
    theta = buffers[0]
    for name, start in theta_0.items():
        (alpha, tau), *others = moves
        torch.mul(tau[name], alpha, out=theta[name]).add_(start)
        for alpha, tau in others:
            theta[name].add_(torch.mul(tau[name], alpha, out=buffers[1][name]))
    return theta


def accuracies_along(
    f: Function,
    theta_0: Params,
    tau: Params,
    alphas: Sequence[float],
    head: Float[Tensor, "classes dim"],
    data: Dataset,
    linearized: bool,
    batch_size: int = EVAL_BATCH,
) -> list[float]:
    """The share of images classified rightly at theta_0 + alpha tau, for every alpha.

    Returns:
        one number in [0, 1] per alpha.
    """
    settings = [[alpha] for alpha in alphas]
    predictions, labels = predict(f, theta_0, [tau], settings, head, data, linearized, batch_size)
    return [right / len(labels) for right in (predictions == labels).sum(dim=1).tolist()]


@torch.no_grad()
def accuracy(f: Function, params: Params, head: Float[Tensor, "classes dim"], data: Dataset) -> float:
    """The share of images that the model f(.; params) classifies rightly, in [0, 1].

    Example:
        >>> from tangent_lib.data import ImageArray
        >>> data = ImageArray(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]), (0.,) * 3, (1.,) * 3, 2)
        >>> accuracy(lambda params, x: params["w"].expand(len(x), 2), {"w": torch.tensor([1.0, 0.0])}, torch.eye(2), data)
        0.75
    """
    predictions, labels = predict(f, params, [], [[]], head, data, linearized=False)
    return (predictions[0] == labels).sum().item() / len(labels)
