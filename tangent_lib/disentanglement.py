"""The weight disentanglement error xi (tangent-space paper, Section 4, equation 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch  # noqa: F401, used by the examples
from jaxtyping import Int
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def prediction_error(left: Int[Tensor, "*settings n"], right: Int[Tensor, "*settings n"]) -> Tensor:
    """dist(y_1, y_2) = 1(y_1 != y_2), averaged over the points.

    Example:
        >>> prediction_error(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 0]))
        tensor(0.2500)
    """
    return (left != right).float().mean(dim=-1)


def disentanglement_error(
    alone: Sequence[Tensor], together: Sequence[Tensor], distance: Distance = prediction_error
) -> Tensor:
    """xi = sum_t E_{x ~ mu_t} dist(f(x; theta_0 + alpha_t tau_t), f(x; theta_0 + sum_t' alpha_t' tau_t')).

    Args:
        alone: for each task t, the outputs on its points with its own task vector alone.
        together: for each task t, the outputs on the same points with all task vectors.
        distance: between outputs, averaged over points; may keep leading dimensions, one per setting of the alphas.

    Returns:
        the sum over tasks (not the mean), between 0 and the number of tasks for the prediction error.

    Raises:
        ValueError: if the numbers of tasks differ.

    Example:
        >>> disentanglement_error([torch.tensor([0, 1]), torch.tensor([2, 2])], [torch.tensor([0, 0]), torch.tensor([2, 2])])
        tensor(0.5000)
    """
    if len(alone) != len(together):
        raise ValueError(f"outputs of {len(alone)} tasks alone, but of {len(together)} together")
    return sum(distance(a, b) for a, b in zip(alone, together))
