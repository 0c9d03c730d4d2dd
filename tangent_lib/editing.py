"""Task addition and task negation: alpha chosen on validation, results reported on test (Appendix A).

``task_addition`` and ``task_negation`` take any model f with its theta_0 and task vectors; the choices of alpha below them
work on plain accuracies, so that they can be read and tested without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from tangent_lib.evaluation import EVAL_BATCH, Head, accuracies
from tangent_lib.modes import ALPHAS, CONTROL_SHARE
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import check_alphas
from tangent_lib.task_vectors import Function, Params, negate, total

Splits = Mapping[str, Dataset]  # the datasets val and test of one task


@dataclass(frozen=True)
class Accuracies:
    """The accuracy of one model on the two splits of one task, in [0, 1]."""

    val: float
    test: float

    def __post_init__(self):
        if not (0 <= self.val <= 1 and 0 <= self.test <= 1):
            raise InputError(f"accuracies {self.val} and {self.test}: give shares from 0 to 1")


@dataclass(frozen=True)
class Addition:
    """Task addition: the sum of all task vectors, one alpha for all (Table 1, Figure 8). Accuracies are shares in [0, 1].

    Attributes:
        alpha: chosen on validation.
        alphas: all that were tried.
        val: per task the validation accuracy at every alpha.
        test: per task the test accuracy at ``alpha``.
        absolute: their mean.
        normalised: the mean of each over the single-task accuracy (equation 7).
    """

    alpha: float
    alphas: tuple[float, ...]
    val: dict[str, tuple[float, ...]]
    test: dict[str, float]
    absolute: float
    normalised: float

    @property
    def curve(self) -> tuple[float, ...]:
        """The average validation accuracy at every alpha."""
        return tuple(sum(each[i] for each in self.val.values()) / len(self.val) for i in range(len(self.alphas)))


@dataclass(frozen=True)
class Negation:
    """Task negation: one task forgotten, the control kept (Table 2). Accuracies are shares in [0, 1].

    Attributes:
        alpha: chosen on validation.
        alphas: all that were tried.
        target_val: validation accuracy of the task at every alpha.
        control_val: that of the control.
        target: test accuracy of the task at ``alpha``.
        control: that of the control.
    """

    alpha: float
    alphas: tuple[float, ...]
    target_val: tuple[float, ...]
    control_val: tuple[float, ...]
    target: float
    control: float


def task_addition(
    f: Function,
    theta_0: Params,
    taus: Mapping[str, Params],
    heads: Mapping[str, Head],
    data: Mapping[str, Splits],
    alphas: Sequence[float] = ALPHAS,
    *,
    linearized: bool = False,
    single: Mapping[str, Accuracies] | None = None,
    zero_shot: Mapping[str, Accuracies] | None = None,
    batch_size: int = EVAL_BATCH,
) -> Addition:
    """Add up all task vectors, with the one alpha that validation chooses (Section 2, Table 1).

    Args:
        f: the model, ``f(params, x)``.
        theta_0: the weights that the task vectors start from.
        taus: the task vector of each task.
        heads: its head.
        data: its datasets ``val`` and ``test``.
        alphas: the values tried.
        linearized: use the task vectors in f_lin, the linearisation at theta_0, instead of f.
        single: accuracies of f(.; theta_0 + tau_t) on its own task, where they are known; computed otherwise.
        zero_shot: accuracies at theta_0, where they are known.
        batch_size: points at a time.

    Raises:
        InputError: for no tasks, tasks that differ between the arguments, or alphas that ``check_alphas`` refuses.

    Example:
        >>> import torch
        >>> f = lambda params, x: x + params["w"]
        >>> points = torch.utils.data.TensorDataset(torch.tensor([[1.0, 0.9]]), torch.tensor([1]))
        >>> task = {"val": points, "test": points}
        >>> tau = {"w": torch.tensor([0.0, 0.4])}
        >>> added = task_addition(f, {"w": torch.zeros(2)}, {"a": tau}, {"a": torch.eye(2)}, {"a": task}, [0.0, 0.5, 1.0])
        >>> added.alpha, added.val["a"], added.absolute
        (0.5, (0.0, 1.0, 1.0), 1.0)
    """
    alphas, names = check_alphas(alphas), _tasks(taus, heads, data)
    at = _Line(f, theta_0, heads, data, linearized, zero_shot or {}, batch_size)
    alone = lambda name: single_task(f, theta_0, taus[name], heads[name], data[name], linearized, batch_size)
    single = {name: (single or {}).get(name) or alone(name) for name in names}
    tau = total(taus[name] for name in names)
    val = {name: at.accuracies(name, tau, "val", alphas) for name in names}
    alpha = choose_addition_alpha(alphas, val, {name: single[name].val for name in names})
    test = {name: at.accuracies(name, tau, "test", (alpha,))[0] for name in names}
    absolute = sum(test.values()) / len(test)
    return Addition(alpha, alphas, val, test, absolute, normalised(test, {name: single[name].test for name in names}))


def task_negation(
    f: Function,
    theta_0: Params,
    taus: Mapping[str, Params],
    heads: Mapping[str, Head],
    data: Mapping[str, Splits],
    alphas: Sequence[float] = ALPHAS,
    *,
    control: str,
    linearized: bool = False,
    zero_shot: Mapping[str, Accuracies] | None = None,
    batch_size: int = EVAL_BATCH,
) -> dict[str, Negation]:
    """Subtract each task vector by itself, with the alpha that forgets most and keeps the control (Section 2, Table 2).

    f_lin passes over the control's points once for all task vectors and alphas.

    Args:
        taus: the task vector of each task that is to be forgotten; other arguments as for ``task_addition``.
        heads: of these tasks and of the control.
        data: datasets ``val`` and ``test`` of these tasks and of the control.
        control: the name of the task that has to keep 95 % of its zero-shot accuracy.

    Returns:
        a ``Negation`` by task.

    Raises:
        InputError: as ``task_addition``; if no alpha keeps the control.

    Example:
        >>> import torch
        >>> f = lambda params, x: x - params["w"]
        >>> points = lambda x: dict.fromkeys(("val", "test"), torch.utils.data.TensorDataset(x, torch.tensor([0])))
        >>> data = {"task": points(torch.tensor([[1.0, 1.3]])), "kept": points(torch.tensor([[2.0, 0.0]]))}
        >>> heads, theta_0 = dict.fromkeys(data, torch.eye(2)), {"w": torch.tensor([0.0, 0.4])}
        >>> found = task_negation(f, theta_0, {"task": theta_0}, heads, data, [0.0, 0.5, 1.0], control="kept")
        >>> found["task"].alpha, found["task"].target, found["task"].control
        (0.5, 0.0, 1.0)
    """
    alphas, names = check_alphas(alphas), _tasks(taus, heads, data, control)
    if control in names:
        raise InputError(f"control '{control}' is among the tasks to forget, {', '.join(names)}: leave it out of taus")
    at = _Line(f, theta_0, heads, data, linearized, zero_shot or {}, batch_size)
    minus = {name: negate(taus[name]) for name in names}
    kept = at.together(control, minus, alphas) if linearized else {}
    untouched = at.accuracies(control, minus[names[0]], "val", (0.0,))[0]
    found = {}
    for name in names:
        of_control = lambda split, some, name=name: (
            tuple(kept[name][split][alphas.index(alpha)] for alpha in some)
            if kept
            else at.accuracies(control, minus[name], split, some)
        )
        target_val, control_val = at.accuracies(name, minus[name], "val", alphas), of_control("val", alphas)
        alpha = choose_negation_alpha(alphas, target_val, control_val, untouched)
        target = at.accuracies(name, minus[name], "test", (alpha,))[0]
        found[name] = Negation(alpha, alphas, target_val, control_val, target, of_control("test", (alpha,))[0])
    return found


def single_task(
    f: Function, theta_0: Params, tau: Params, head: Head, data: Splits, linearized: bool, batch_size: int = EVAL_BATCH
) -> Accuracies:
    """The accuracies of f(.; theta_0 + tau), or of f_lin, on the task that tau belongs to (Figures 2, 5 and 7)."""
    of = lambda split: accuracies(f, theta_0, [tau], [[1.0]], head, data[split], linearized, batch_size)[0]
    return Accuracies(of("val"), of("test"))


@dataclass(frozen=True)
class _Line:
    """Accuracies at theta_0 + alpha tau, for any tau; at alpha = 0 they may be known."""

    f: Function
    theta_0: Params
    heads: Mapping[str, Head]
    data: Mapping[str, Splits]
    linearized: bool
    zero_shot: Mapping[str, Accuracies]
    batch_size: int

    def accuracies(self, name: str, tau: Params, split: str, alphas: Sequence[float]) -> tuple[float, ...]:
        known = {0.0: getattr(self.zero_shot[name], split)} if name in self.zero_shot else {}
        moved = [alpha for alpha in alphas if alpha not in known]
        if moved:
            known |= dict(zip(moved, self._of(name, [tau], [[alpha] for alpha in moved], split), strict=True))
        return tuple(known[alpha] for alpha in alphas)

    def together(self, name: str, taus: Mapping[str, Params], alphas: Sequence[float]) -> dict[str, dict[str, list[float]]]:
        """By task vector, split and alpha: each by itself, all in one pass over the points."""
        n = len(alphas)
        settings = [[alpha * (s == t) for s in range(len(taus))] for t in range(len(taus)) for alpha in alphas]
        flat = {split: self._of(name, list(taus.values()), settings, split) for split in ("val", "test")}
        return {tau: {split: each[t * n : (t + 1) * n] for split, each in flat.items()} for t, tau in enumerate(taus)}

    def _of(self, name: str, taus: Sequence[Params], settings: Sequence[Sequence[float]], split: str) -> list[float]:
        given = (self.heads[name], self.data[name][split], self.linearized, self.batch_size)
        return accuracies(self.f, self.theta_0, taus, settings, *given)


def _tasks(taus: Mapping, heads: Mapping, data: Mapping, *more: str) -> tuple[str, ...]:
    for what, given in {"taus": taus, "heads": heads, "data": data}.items():
        if not isinstance(given, Mapping):
            raise InputError(f"{what} is a {type(given).__name__}: give a mapping with an entry for each task, by its name")
    names = tuple(taus)
    if not names:
        raise InputError("no task vectors given: editing needs at least one")
    for name in (*names, *more):
        lacking = [what for what, each in (("head", heads), ("data", data)) if name not in each]
        if lacking:
            raise InputError(f"task '{name}' has no {' and no '.join(lacking)}: give both for {', '.join((*names, *more))}")
        if missing := {"val", "test"} - data[name].keys():
            raise InputError(f"task '{name}' has no split {', '.join(sorted(missing))}: alpha needs val, results need test")
    return names


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
        InputError: if no alpha keeps the control.

    Example:
        >>> choose_negation_alpha([0.0, 0.5, 1.0], [0.5, 0.3, 0.1], [0.60, 0.58, 0.40], control_zero_shot=0.60)
        0.5
    """
    allowed = [i for i in range(len(alphas)) if control_val[i] >= CONTROL_SHARE * control_zero_shot]
    if not allowed:
        tried = ", ".join(map(str, alphas))
        raise InputError(
            f"no alpha of {tried} keeps the control at {CONTROL_SHARE:.0%} of {control_zero_shot}; 0 does", "alphas"
        )
    return alphas[min(allowed, key=lambda i: (target_val[i], i))]
