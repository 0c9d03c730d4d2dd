"""The disentanglement error on models that are disentangled, or not, by construction."""

import pytest
import torch

from tangent_lib.disentanglement import disentanglement_error, prediction_error


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
