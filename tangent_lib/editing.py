"""Task addition and task negation: alpha chosen on validation, results reported on test (Appendix A).

Everything here works on plain accuracies, so that it can be read and tested without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tangent_lib.errors import InputError

ALPHAS = tuple(round(0.05 * i, 2) for i in range(21))
CONTROL_SHARE = 0.95


def check_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas of a sweep as a tuple.

    Raises:
        InputError: if there are none, or one is not in [0, 1].

    Example:
        >>> check_alphas([0.0, 0.5, 1.0])
        (0.0, 0.5, 1.0)
    """
    if not len(alphas):
        raise InputError("no alpha given: a sweep needs at least one in [0, 1]")
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha {alpha} is out of range: the sweep takes values in [0, 1], as the paper's")
    return tuple(float(alpha) for alpha in alphas)


def normalised(accuracies: Mapping[str, float], single_task: Mapping[str, float]) -> float:
    """The mean over tasks of the accuracy over the single-task accuracy of the same mode and split (equation 7).

    A task that its own model never gets right counts as 0.

    Raises:
        ValueError: if the tasks differ.

    Example:
        >>> normalised({"a": 0.4, "b": 0.9}, {"a": 0.8, "b": 0.9})
        0.75
    """
    if accuracies.keys() != single_task.keys():
        raise ValueError(f"accuracies of {sorted(accuracies)}, but single-task accuracies of {sorted(single_task)}")
    shares = [accuracies[task] / single_task[task] if single_task[task] else 0.0 for task in accuracies]
    return float(np.mean(shares))


def choose_addition_alpha(
    alphas: Sequence[float], val: Mapping[str, Sequence[float]], single_task_val: Mapping[str, float]
) -> float:
    """The one alpha for all tasks with the highest normalised validation accuracy; the smallest on a tie.

    Args:
        alphas: the values tried, ascending.
        val: for each task its validation accuracy at each alpha.
        single_task_val: validation accuracy of each single-task model of the same mode.

    Example:
        >>> choose_addition_alpha([0.0, 0.5, 1.0], {"a": [0.2, 0.6, 0.4], "b": [0.3, 0.5, 0.7]}, {"a": 0.8, "b": 0.8})
        0.5
    """
    scores = [normalised({t: val[t][i] for t in val}, single_task_val) for i in range(len(alphas))]
    return alphas[int(np.argmax(np.round(scores, 12)))]


def choose_negation_alpha(
    alphas: Sequence[float], target_val: Sequence[float], control_val: Sequence[float], control_zero_shot: float
) -> float:
    """The alpha with the lowest target accuracy among those that keep the control at 95 % of zero-shot (validation).

    At alpha = 0 the control is at 100 %, so a grid with 0 always has one that is allowed. The smallest on a tie.

    Raises:
        ValueError: if no alpha keeps the control.

    Example:
        >>> choose_negation_alpha([0.0, 0.5, 1.0], [0.5, 0.3, 0.1], [0.60, 0.58, 0.40], control_zero_shot=0.60)
        0.5
    """
    allowed = [i for i in range(len(alphas)) if control_val[i] >= CONTROL_SHARE * control_zero_shot]
    if not allowed:
        raise ValueError(f"no alpha in {list(alphas)} keeps the control at {CONTROL_SHARE:.0%} of {control_zero_shot}")
    return alphas[min(allowed, key=lambda i: (target_val[i], i))]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation; no spread for a single value.

    Example:
        >>> mean_and_spread([1.0, 3.0]), mean_and_spread([1.0])
        ((2.0, 1.4142135623730951), (1.0, None))
    """
    values: Float[ndarray, " seeds"] = np.asarray(values, float)
    return float(values.mean()), (float(values.std(ddof=1)) if len(values) > 1 else None)
