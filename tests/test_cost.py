"""The cost of a step: what is counted is what the backward pass keeps."""

import torch

from tangent_lib.cost import step_costs
from tangent_lib.linearize import functional


def test_the_linear_step_keeps_more_than_the_non_linear_one(random_clip):
    head, x = torch.randn(5, 128), torch.randn(8, 3, 32, 32)
    costs = step_costs(random_clip.f, random_clip.theta_0, head, x, torch.arange(8) % 5, repeats=1)
    assert costs["linear"].saved_bytes > 1.2 * costs["non-linear"].saved_bytes > 0
    assert all(cost.seconds > 0 for cost in costs.values())


def test_weights_are_not_counted_as_activations():
    f, theta_0 = functional(torch.nn.Linear(4, 3, bias=False))
    small = step_costs(f, theta_0, torch.eye(3), torch.ones(1, 4), torch.zeros(1, dtype=torch.long), repeats=1)
    large = step_costs(f, theta_0, torch.eye(3), torch.ones(10, 4), torch.zeros(10, dtype=torch.long), repeats=1)
    assert 0 < small["non-linear"].saved_bytes < large["non-linear"].saved_bytes
