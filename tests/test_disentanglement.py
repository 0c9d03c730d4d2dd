"""The disentanglement error on models that are disentangled, or not, by construction."""

from itertools import product

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from tangent_lib.data.tasks import ImageArray
from tangent_lib.disentanglement import (
    DISTANCES,
    alpha_grid,
    disentanglement_error,
    distance_named,
    kl_divergence,
    prediction_error,
    xi_at,
    xi_grid,
)
from tangent_lib.runtime.errors import InputError


def two_tasks(leak):
    """Two points of each task, and a model whose task vector t changes task t, and the other one where it leaks."""

    def f(x, alphas):
        own = torch.where(x > 0, alphas[0], alphas[1])
        other = torch.where(x > 0, alphas[1], alphas[0])
        return (own + leak * other > 0.5).long()

    return f, (torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0]))


def xi(f, points, alphas):
    alone = [f(points[0], (alphas[0], 0.0)), f(points[1], (0.0, alphas[1]))]
    return disentanglement_error(alone, [f(x, alphas) for x in points]).item()


def test_it_is_zero_at_the_origin():
    assert xi(*two_tasks(leak=1.0), (0.0, 0.0)) == 0


def test_it_is_zero_everywhere_for_a_disentangled_model():
    assert all(xi(*two_tasks(leak=0.0), (a / 4, b / 4)) == 0 for a in range(-8, 9) for b in range(-8, 9))


def test_it_counts_every_changed_prediction_of_both_tasks():
    assert xi(*two_tasks(leak=1.0), (0.4, 0.4)) == 2
    assert xi(*two_tasks(leak=1.0), (0.4, 1.0)) == 1


def test_exchanging_the_tasks_changes_nothing():
    f, points = two_tasks(leak=0.7)
    assert xi(f, points, (0.3, 0.6)) == xi(lambda x, a: f(-x, a), points[::-1], (0.3, 0.6)) == xi(f, points, (0.6, 0.3))


def test_the_distance_is_an_argument():
    squared = lambda a, b: ((a - b) ** 2).mean(dim=-1)
    assert disentanglement_error([torch.tensor([1.0, 3.0])], [torch.tensor([1.0, 1.0])], squared) == 2


def test_prediction_error_keeps_leading_dimensions():
    assert prediction_error(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [1, 1]])).tolist() == [0.5, 0]


def test_numbers_of_tasks_must_agree():
    with pytest.raises(ValueError, match="1 tasks alone, but of 2"):
        disentanglement_error([torch.zeros(1)], [torch.zeros(1)] * 2)


# -- on a grid, with a model -------------------------------------------------------------------------------------------
def hand_made(leak):
    """Features of task 1 (x > 0) turn with w_1, those of task 2 with w_2, and with the other weight where it leaks."""

    def f(params, x):
        x = x[:, 0, 0, 0]
        own, other = (torch.where(x > 0, params[a], params[b]) for a, b in (("w_1", "w_2"), ("w_2", "w_1")))
        turn = own + leak * other
        return torch.stack([torch.full_like(turn, 0.5), turn], dim=1)

    theta_0 = {"w_1": torch.tensor(0.0), "w_2": torch.tensor(0.0)}
    taus = [{"w_1": torch.tensor(1.0), "w_2": torch.tensor(0.0)}, {"w_1": torch.tensor(0.0), "w_2": torch.tensor(1.0)}]
    images = torch.tensor([255, 255, 0, 0], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 1, 1)
    points = [ImageArray(images[part], torch.zeros(2).long(), (0.5,) * 3, (0.5,) * 3, 1) for part in (slice(2), slice(2, 4))]
    return f, theta_0, taus, [torch.eye(2)] * 2, points


class AsDicts(Dataset):
    """The points of another dataset, each as a dict of one tensor."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, y = self.data[i]
        return {"x": x}, y


def errors(leak, settings, linearized, exchanged=False):
    f, theta_0, taus, heads, points = hand_made(leak)
    if exchanged:
        taus, points, settings = taus[::-1], points[::-1], [each[::-1] for each in settings]
    return xi_at(f, theta_0, taus, settings, heads, points, linearized)


GRID = list(product(alpha_grid(7, 1.5), repeat=2))


@pytest.mark.parametrize("linearized", [False, True])
def test_a_grid_is_exact_on_a_model_that_is_disentangled_by_construction(linearized):
    for values in errors(0.0, GRID, linearized).values():
        assert values == [0.0] * len(GRID)


@pytest.mark.parametrize("linearized", [False, True])
def test_a_grid_is_exact_on_a_model_that_is_not(linearized):
    expected = [float((a > 0.5) != (a + b > 0.5)) + float((b > 0.5) != (a + b > 0.5)) for a, b in GRID]
    assert errors(1.0, GRID, linearized)["prediction error"] == expected and 2.0 in expected


@pytest.mark.parametrize("linearized", [False, True])
def test_a_grid_is_zero_where_nothing_is_edited_and_symmetric_under_exchange_of_the_tasks(linearized):
    there, back = (errors(0.7, GRID, linearized, exchanged) for exchanged in (False, True))
    for name in DISTANCES:
        assert there[name][GRID.index((0.0, 0.0))] == 0
        assert there[name] == pytest.approx(back[name]) and max(there[name]) > 0


@pytest.mark.parametrize("linearized", [False, True])
def test_a_grid_is_that_of_its_settings_line_by_line(linearized):
    f, theta_0, taus, heads, points = hand_made(0.7)
    alphas = alpha_grid(3, 1.5)
    grid = xi_grid(f, theta_0, taus, heads, points, alphas, linearized=linearized, batch_size=1)
    flat = errors(0.7, list(product(alphas, alphas)), linearized)
    for name in DISTANCES:
        assert [value for line in grid.by(name) for value in line] == pytest.approx(flat[name])
    assert (grid.alphas, grid.points) == (tuple(alphas), (2, 2))
    assert grid.by("prediction error") == grid.prediction_error and grid.by("KL divergence") == grid.kl_divergence
    with pytest.raises(InputError, match="distance 'euclid'"):
        grid.by("euclid")


@pytest.mark.parametrize("linearized", [False, True])
def test_points_may_be_dicts_and_a_head_any_readout(linearized):
    f, theta_0, taus, heads, points = hand_made(0.7)
    of_dicts = lambda params, x: f(params, x["x"])
    readouts, as_dicts = [lambda z: z @ torch.eye(2)] * 2, [AsDicts(each) for each in points]
    grid = xi_grid(of_dicts, theta_0, taus, readouts, as_dicts, alpha_grid(5, 1.5), linearized=linearized)
    assert grid == xi_grid(f, theta_0, taus, heads, points, alpha_grid(5, 1.5), linearized=linearized)


def test_a_grid_is_of_two_tasks():
    f, theta_0, taus, heads, points = hand_made(0.7)
    with pytest.raises(InputError, match="a grid is of two tasks: got 1 task vectors, 2 heads, 2 datasets"):
        xi_grid(f, theta_0, taus[:1], heads, points, [0.0])
    for axis in ([], [1.0, 0.0], [0.0, 0.0], [float("nan")]):
        with pytest.raises(InputError, match="give finite numbers, each once, ascending"):
            xi_grid(f, theta_0, taus, heads, points, axis)
    by_task = [dict(zip("ab", each)) for each in (taus, heads, points)]
    assert xi_grid(f, theta_0, *by_task, [0.0, 1.0]) == xi_grid(f, theta_0, taus, heads, points, [0.0, 1.0])


def test_the_kl_divergence_is_that_of_the_definition(rng):
    left, right = torch.randn(2, 2, 5, 3, generator=rng, dtype=torch.float64)
    p, q = left.softmax(-1), right.softmax(-1)
    expected = ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean(-1) / 2
    assert torch.allclose(kl_divergence(left, right), expected, atol=1e-12)
    assert kl_divergence(left, left).abs().max() == 0


def test_an_empty_grid_is_refused():
    for count, bound in ((0, 3.0), (-1, 3.0), (5, 0.0)):
        with pytest.raises(InputError, match="empty grid"):
            alpha_grid(count, bound)
    with pytest.raises(InputError, match="empty grid"):
        errors(0.0, [], False)


def test_an_unknown_distance_is_refused_with_the_known_ones():
    assert distance_named("KL divergence") is kl_divergence
    with pytest.raises(InputError, match=r"distance 'euclid'.*prediction error, KL divergence"):
        distance_named("euclid")
    f, theta_0, taus, heads, points = hand_made(1.0)
    with pytest.raises(InputError, match="distance 'euclid'"):
        xi_at(f, theta_0, taus, GRID, heads, points, False, ["euclid"])
    only = xi_at(f, theta_0, taus, GRID, heads, points, False, ["KL divergence"])
    assert only == {"KL divergence": errors(1.0, GRID, False)["KL divergence"]}


def test_outputs_that_are_nan_axes_that_are_not_finite_and_tasks_without_points_are_refused():
    theta_0, heads, points = {"w": torch.eye(2)}, [torch.eye(2)] * 2, TensorDataset(torch.eye(2), torch.zeros(2))
    f, none = lambda params, x: x @ params["w"], TensorDataset(torch.zeros(0, 2), torch.zeros(0))
    with pytest.raises(InputError, match="the model gives NaN"):
        xi_grid(lambda params, x: f(params, x) * float("nan"), theta_0, [theta_0] * 2, heads, [points] * 2, [0.0, 1.0])
    for alphas in ([0.0, float("nan")], [0.0, float("inf")]):
        with pytest.raises(InputError, match=r"^alphas '0,.*': give finite"):
            xi_grid(f, theta_0, [theta_0] * 2, heads, [points] * 2, alphas)
    with pytest.raises(InputError, match="at least one point a task"):
        xi_grid(f, theta_0, [theta_0] * 2, heads, [points, none], [0.0, 1.0])
    with pytest.raises(InputError, match="tasks differ: taus a, b; heads a, c; data a, b"):
        by = lambda values, names: dict(zip(names, values))
        xi_grid(f, theta_0, by([theta_0] * 2, "ab"), by(heads, "ac"), by([points] * 2, "ab"), [0.0])
    with pytest.raises(InputError, match="tasks differ: taus a, b; heads in order; data a, b"):
        xi_grid(f, theta_0, by([theta_0] * 2, "ab"), heads, by([points] * 2, "ab"), [0.0])
    with pytest.raises(InputError, match="empty grid"):
        alpha_grid(3, float("nan"))


@pytest.mark.parametrize("alone, together", [([], []), ([torch.tensor([0, 1])], [torch.tensor([0])])])
def test_outputs_that_cannot_be_compared_are_refused(alone, together):
    with pytest.raises(InputError, match="of shapes"):
        disentanglement_error(alone, together)


def test_xi_of_outputs_that_are_views_of_the_weights():
    """Alone the first task gives class 0 at alpha 0.1 and class 1 at 0.5; together with the second 0 and 1."""
    f = lambda params, x: params["w"].expand(len(x), 2)
    points = torch.utils.data.TensorDataset(torch.zeros(2, 1), torch.zeros(2).long())
    theta_0, taus = {"w": torch.tensor([1.0, 0.0])}, [{"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([0.0, -3.0])}]
    heads = [lambda z: z] * 2
    assert xi_grid(f, theta_0, taus, heads, [points] * 2, [0.1, 0.5]).prediction_error == ((0.0, 0.0), (1.0, 1.0))


def test_no_outputs_have_no_error():
    with pytest.raises(InputError, match="of shapes"):
        disentanglement_error([torch.zeros(0)], [torch.zeros(0)])
