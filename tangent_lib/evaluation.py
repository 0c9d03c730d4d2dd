"""Predictions and accuracy of edited weights theta_0 + sum_t alpha_t tau_t, one setting or many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from tangent_lib.data.batches import batches
from tangent_lib.linearization import value_and_tangents
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.functions import pure
from tangent_lib.runtime.inputs import Inputs, count, device_of
from tangent_lib.runtime.memory import enough_memory
from tangent_lib.task_vectors import Function, Params, check_match

EVAL_BATCH = 125  # on a processor, activations of more leave its caches; a GPU is busy with as many
Head = Tensor | Callable[[Tensor], Tensor]  # weights of a zero-shot head, (classes, dim), or any readout of the features
Settings = Sequence[Sequence[float]]  # for each setting, one alpha per task vector
FeaturesAt = Callable[[Settings, Sequence[int]], Iterator[list[Tensor]]]


def classify(
    features: Float[Tensor, "*batch dim"], head: Float[Tensor, "classes dim"] | Callable[[Tensor], Tensor]
) -> Float[Tensor, "*batch classes"]:
    """Logits: what the head reads from the features.

    A tensor is a zero-shot head: features are normalised, after any linearisation (Appendix B), and multiplied by it.

    Example:
        >>> classify(torch.tensor([[3.0, 4.0]]), torch.eye(2)), classify(torch.tensor([[3.0, 4.0]]), lambda z: 2 * z)
        (tensor([[0.6000, 0.8000]]), tensor([[6., 8.]]))
    """
    zero_shot = isinstance(head, Tensor)
    return torch.nn.functional.normalize(features.to(head.dtype), dim=-1) @ head.T if zero_shot else head(features)


def predicted(logits: Float[Tensor, "*batch classes"]) -> Int[Tensor, "*batch"]:
    """The class of the largest logit of each point. NaN is refused: argmax would take it for the largest."""
    if logits.isnan().any():
        raise InputError("the model gives NaN, from which no class can be read: are its weights, inputs and alphas finite?")
    return logits.argmax(dim=-1)


def check_labels(y: Tensor, logits: Tensor) -> None:
    """Refuse what is not one class number a point, of the logits' classes: it would count as wrong, or not at all."""
    whole = not y.is_floating_point() and y.shape == logits.shape[:1]
    if not whole or not 0 <= int(y.min()) <= int(y.max()) < logits.shape[-1]:
        given = f"labels of {y.dtype}, shape {tuple(y.shape)}, from {y.min()} to {y.max()}, outputs of {tuple(logits.shape)}"
        raise InputError(f"{given}: give one class number a point, 0 to {logits.shape[-1] - 1}")


@torch.no_grad()
def predict(
    f: Function,
    theta_0: Params,
    taus: Sequence[Params],
    settings: Settings,
    head: Head,
    data: Dataset,
    linearized: bool,
    batch_size: int = EVAL_BATCH,
) -> tuple[Int[Tensor, "settings n"], Int[Tensor, " n"]]:
    """The class predicted for every point at every setting of the alphas, by f or by its linearisation f_lin; the labels.

    f_lin is affine in the alphas, f_lin(x; theta_0 + sum_t alpha_t tau_t) = f(x; theta_0) + sum_t alpha_t J(x) tau_t
    (equation 3), so its tangents are computed once and serve all settings. f takes one forward pass a setting.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
        >>> f = lambda params, x: params["w"].expand(len(x), 2)
        >>> theta_0, tau = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}
        >>> predict(f, theta_0, [tau], [[0.0], [1.0]], torch.eye(2), data, linearized=True)
        (tensor([[0, 0],
                [1, 1]]), tensor([0, 1]))
    """
    predictions, labels = [], []
    if not len(data):
        raise InputError("the dataset is empty: an accuracy needs at least one point")
    for x, y in batches(data, batch_size, device_of(theta_0)):
        with enough_memory("evaluation", count(x)):
            logits = [classify(z, head) for (z,) in features_at(f, theta_0, taus, [x], linearized)(settings, [0])]
            check_labels(y, logits[0])
            predictions.append(torch.stack([predicted(each) for each in logits]))
        labels.append(y.long())
    return torch.cat(predictions, dim=1), torch.cat(labels)


def features_at(
    f: Function, theta_0: Params, taus: Sequence[Params], parts: Sequence[Inputs], linearized: bool
) -> FeaturesAt:
    """A function that gives the features of chosen batches at theta_0 + sum_t alpha_t tau_t, setting by setting.

    For f_lin, one pass over the batches serves all settings that are asked for, now and later: it is affine in the alphas.

    Args:
        parts: batches; the function takes the numbers of those that are wanted.

    Example:
        >>> f = lambda params, x: x * params["w"] * params["w"]
        >>> theta_0, tau, x = {"w": torch.tensor(1.0)}, {"w": torch.tensor(1.0)}, torch.tensor(1.0)
        >>> [list(features_at(f, theta_0, [tau], [x], linearized)([[0.0], [2.0]], [0])) for linearized in (False, True)]
        [[[tensor(1.)], [tensor(9.)]], [[tensor(1.)], [tensor(5.)]]]
    """
    f = pure(f)
    if not linearized:
        return lambda settings, chosen: (
            [f(theta, parts[i]).clone() for i in chosen] for theta in edited_weights(theta_0, taus, settings)
        )
    passes = [value_and_tangents(f, theta_0, taus, x) for x in parts]

    def affine(settings: Settings, chosen: Sequence[int]) -> Iterator[list[Tensor]]:
        for alphas in settings:
            moves = [zip(alphas, passes[i][1], strict=True) for i in chosen]
            yield [passes[i][0] + sum(alpha * tau for alpha, tau in move) for i, move in zip(chosen, moves)]

    return affine


def edited_weights(theta_0: Params, taus: Sequence[Params], settings: Settings) -> Iterator[Params]:
    """theta_0 + sum_t alpha_t tau_t, setting by setting; what is yielded is overwritten by the next: outputs may be views.

    The first alphas that a setting shares with the one before it are not added again: on a grid, all but the last.

    Example:
        >>> theta_0, taus = {"w": torch.tensor(1.0)}, [{"w": torch.tensor(1.0)}, {"w": torch.tensor(10.0)}]
        >>> [theta["w"].item() for theta in edited_weights(theta_0, taus, [[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]])]
        [1.0, 3.0, 33.0]
    """
    for tau in taus:
        check_match(theta_0, tau)
    buffers = [{name: torch.empty_like(value) for name, value in theta_0.items()} for _ in taus]
    before: Sequence[float] = ()
    sums: list[Params] = []  # theta_0 + alpha_1 tau_1, that + alpha_2 tau_2, and so on
    for alphas in settings:
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(alphas, before))))
        del sums[shared:]
        for alpha, tau, buffer in list(zip(alphas, taus, buffers, strict=True))[shared:]:
            sums.append(_moved(sums[-1] if sums else theta_0, tau, alpha, buffer))
        before = alphas
        yield sums[-1] if sums else theta_0


def _moved(theta: Params, tau: Params, alpha: float, buffer: Params) -> Params:
    """theta + alpha tau, in a buffer that serves again: to allocate anew takes longer than to add."""
    if not alpha:
        return theta
    for name, value in theta.items():
        torch.add(value, tau[name], alpha=alpha, out=buffer[name])
    return buffer


def accuracies(
    f: Function,
    theta_0: Params,
    taus: Sequence[Params],
    settings: Settings,
    head: Head,
    data: Dataset,
    linearized: bool,
    batch_size: int = EVAL_BATCH,
) -> list[float]:
    """The share of points classified rightly at theta_0 + sum_t alpha_t tau_t, for each setting of the alphas, in [0, 1]."""
    predictions, labels = predict(f, theta_0, taus, settings, head, data, linearized, batch_size)
    return [right / len(labels) for right in (predictions == labels).sum(dim=1).tolist()]


def evaluate(f: Function, params: Params, head: Head, data: Dataset, batch_size: int = EVAL_BATCH) -> float:
    """The accuracy of the model f(.; params), in [0, 1]; for the linear model give f_lin of ``linearize``.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(4, 3), torch.tensor([0, 0, 0, 1]))
        >>> evaluate(lambda params, x: params["w"].expand(len(x), 2), {"w": torch.tensor([1.0, 0.0])}, torch.eye(2), data)
        0.75
    """
    return accuracies(f, params, [], [[]], head, data, linearized=False, batch_size=batch_size)[0]
