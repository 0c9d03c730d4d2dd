"""The weight disentanglement error xi (tangent-space paper, Section 4, equation 6; attention-only paper, equation 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from tangent_lib.data.batches import batches
from tangent_lib.evaluation import EVAL_BATCH, FeaturesAt, Head, Settings, classify, features_at, predicted
from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.inputs import count, device_of
from tangent_lib.runtime.memory import enough_memory
from tangent_lib.runtime.words import check_axis
from tangent_lib.task_vectors import Function, Params

Distance = Callable[[Tensor, Tensor], Tensor]


def prediction_error(left: Int[Tensor, "*settings n"], right: Int[Tensor, "*settings n"]) -> Tensor:
    """dist(y_1, y_2) = 1(y_1 != y_2) of predicted classes, averaged over the points.

    Example:
        >>> prediction_error(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 0]))
        tensor(0.2500)
    """
    return (left != right).float().mean(dim=-1)


def kl_divergence(left: Float[Tensor, "*settings n dim"], right: Float[Tensor, "*settings n dim"]) -> Tensor:
    """Symmetrised Kullback-Leibler divergence of softmaxed representations, averaged over the points, in nats.

        (KL(p, q) + KL(q, p)) / 2 = 1/2 sum_k (p_k - q_k) (log p_k - log q_k),  p = softmax(left), q = softmax(right)

    Example:
        >>> left, right = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, -1.0]])
        >>> kl_divergence(left, left).item(), round(kl_divergence(left, right).item(), 4)
        (0.0, 0.3808)
    """
    log_p, log_q = left.log_softmax(dim=-1), right.log_softmax(dim=-1)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean(dim=-1)


DISTANCES: dict[str, Distance] = {"prediction error": prediction_error, "KL divergence": kl_divergence}


def distance_named(name: str) -> Distance:
    """A distance by name.

    Raises:
        InputError: for an unknown distance.
    """
    if name not in DISTANCES:
        raise unknown("distance", name, DISTANCES)
    return DISTANCES[name]


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
        InputError: if there are no tasks or no outputs, or their numbers or the shapes of their outputs differ.

    Example:
        >>> disentanglement_error([torch.tensor([0, 1]), torch.tensor([2, 2])], [torch.tensor([0, 0]), torch.tensor([2, 2])])
        tensor(0.5000)
    """
    shapes = [[tuple(each.shape) for each in outputs] for outputs in (alone, together)]
    if not shapes[0] or shapes[0] != shapes[1] or not all(each.numel() for each in alone):
        raise InputError(f"outputs of {len(alone)} tasks alone, but of {len(together)} together, of shapes {shapes}")
    return sum(distance(a, b) for a, b in zip(alone, together))


def alpha_grid(count: int = 20, bound: float = 3.0) -> list[float]:
    """``count`` equispaced values in [-bound, bound]; axes of a grid of xi (Appendix A: 20 in [-3, 3]). One alone is -bound.

    Raises:
        InputError: for an empty grid.

    Example:
        >>> alpha_grid(3, 2.0)
        [-2.0, 0.0, 2.0]
    """
    if count < 1 or not 0 < bound < float("inf"):
        raise InputError(f"empty grid: {count} values up to {bound}; give at least one value and a bound above 0")
    steps = max(count - 1, 1)
    return [bound * (2 * i - steps) / steps for i in range(count)]  # exactly 0 in the middle of an odd number


@dataclass(frozen=True)
class XiGrid:
    """xi of two tasks at every pair of values of alpha_1 and alpha_2 (Figures 3, 9 to 11).

    Attributes:
        alphas: the values on both axes.
        points: how many points of each task xi is averaged over.
        prediction_error: ``xi[i][j]`` at alpha_1 = alphas[i], alpha_2 = alphas[j], by changed predictions.
        kl_divergence: the same by KL divergence of the representations, in nats.
    """

    alphas: tuple[float, ...]
    points: tuple[int, ...]
    prediction_error: tuple[tuple[float, ...], ...]
    kl_divergence: tuple[tuple[float, ...], ...]

    def by(self, distance: str) -> tuple[tuple[float, ...], ...]:
        """The grid by one of ``DISTANCES``."""
        distance_named(distance)
        return {"prediction error": self.prediction_error, "KL divergence": self.kl_divergence}[distance]


def xi_grid(
    f: Function,
    theta_0: Params,
    taus: Sequence[Params] | Mapping[str, Params],
    heads: Sequence[Head] | Mapping[str, Head],
    data: Sequence[Dataset] | Mapping[str, Dataset],
    alphas: Sequence[float],
    *,
    linearized: bool = False,
    batch_size: int = EVAL_BATCH,
) -> XiGrid:
    """xi(alpha_1, alpha_2) of two tasks on a grid (Section 4, Figures 3, 9 to 11).

    Args:
        f: the model, ``f(params, x)``.
        theta_0: the weights that both task vectors start from.
        taus: the two task vectors, in order or by task.
        heads: the head of each.
        data: the points of each.
        alphas: the values on both axes, such as ``alpha_grid(20, 3.0)``.
        linearized: use f_lin, the linearisation at theta_0, instead of f.
        batch_size: points at a time.

    Raises:
        InputError: if there are not two tasks, or no alphas.

    Example:
        >>> f = lambda params, x: x @ params["w"]
        >>> points = torch.utils.data.TensorDataset(torch.eye(2), torch.zeros(2))
        >>> theta_0, tau = {"w": torch.eye(2)}, {"w": torch.eye(2)}
        >>> xi_grid(f, theta_0, [tau, tau], [torch.eye(2)] * 2, [points] * 2, [0.0, 1.0]).prediction_error
        ((0.0, 0.0), (0.0, 0.0))
    """
    if not len(taus) == len(heads) == len(data) == 2:
        raise InputError(f"a grid is of two tasks: got {len(taus)} task vectors, {len(heads)} heads, {len(data)} datasets")
    named = [", ".join(sorted(each)) if isinstance(each, Mapping) else "in order" for each in (taus, heads, data)]
    if len(set(named)) > 1:
        raise InputError(f"tasks differ: taus {named[0]}; heads {named[1]}; data {named[2]}")
    if isinstance(taus, Mapping):
        taus, heads, data = ([each[name] for name in taus] for each in (taus, heads, data))
    alphas = check_axis(alphas)
    settings = list(product(alphas, alphas))
    values = xi_at(f, theta_0, taus, settings, heads, data, linearized, batch_size=batch_size)
    return grid_of_values(alphas, [len(each) for each in data], values)


def grid_of_values(alphas: Sequence[float], points: Sequence[int], values: dict[str, list[float]]) -> XiGrid:
    """The values that ``xi_at`` gives at all pairs of alphas, line by line."""
    n = len(alphas)
    lines = {name: tuple(tuple(flat[i * n : (i + 1) * n]) for i in range(n)) for name, flat in values.items()}
    return XiGrid(tuple(alphas), tuple(points), lines["prediction error"], lines["KL divergence"])


@torch.no_grad()
def xi_at(
    f: Function,
    theta_0: Params,
    taus: Sequence[Params],
    settings: Settings,
    heads: Sequence[Head],
    data: Sequence[Dataset],
    linearized: bool,
    distances: Sequence[str] = tuple(DISTANCES),
    batch_size: int = EVAL_BATCH,
) -> dict[str, list[float]]:
    """xi at many settings (alpha_1, ..., alpha_T), by prediction error and by KL divergence of the representations.

    The sum over tasks is that of ``disentanglement_error``. What a task's own vector does alone is computed once for each
    value of its alpha, not once a setting.

    Args:
        settings: the alphas, one per task in each setting.
        heads: the head of each task, whose argmax is the prediction on the task's own points.
        data: the points of each task.
        linearized: use f_lin.
        distances: some of ``DISTANCES``; the predictions and features that they need are the same.
        batch_size: points at a time.

    Returns:
        for each distance the value at every setting.

    Raises:
        InputError: for no settings, a task without points, outputs that are NaN, or an unknown distance.
    """
    if not len(settings) or not all(map(len, data)):
        raise InputError("empty grid: give at least one setting of the alphas, and at least one point a task")
    chosen = {name: distance_named(name) for name in distances}
    errors: dict[str, list[Tensor]] = {name: [] for name in chosen}
    with enough_memory("evaluation", batch_size):
        parts = [(t, x) for t, points in enumerate(data) for x, _ in batches(points, batch_size, device_of(theta_0))]
        features = features_at(f, theta_0, taus, [x for _, x in parts], linearized)
        alone = _alone(features, settings, [t for t, _ in parts])
        for alphas, together in zip(settings, features(settings, range(len(parts)))):
            for name, distance in chosen.items():
                pairs = [
                    (_output(alone[i][alphas[t]], heads[t], name), _output(z, heads[t], name))
                    for i, ((t, _), z) in enumerate(zip(parts, together))
                ]
                shares = [count(x) / len(data[t]) for t, x in parts]
                errors[name].append(sum(share * distance(*pair) for share, pair in zip(shares, pairs)))
    return {name: torch.stack(values).tolist() for name, values in errors.items()}


def _alone(features: FeaturesAt, settings: Settings, tasks: Sequence[int]) -> list[dict[float, Tensor]]:
    """For each batch the features that its own task vector gives by itself, by the value of its alpha."""
    alone: list[dict[float, Tensor]] = [{} for _ in tasks]
    for t in dict.fromkeys(tasks):
        own = [i for i, task in enumerate(tasks) if task == t]
        values = sorted({alphas[t] for alphas in settings})
        only = [[value if s == t else 0.0 for s in range(len(settings[0]))] for value in values]
        for value, outputs in zip(values, features(only, own)):
            for i, z in zip(own, outputs):
                alone[i][value] = z
    return alone


def _output(features: Tensor, head: Head, distance: str) -> Tensor:
    return predicted(classify(features, head)) if distance == "prediction error" else features.float()
