"""Gradients of each output at each point, whether vmap knows the operations of f or not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tangent_lib.runtime import gradients as module
from tangent_lib.runtime.gradients import gradients

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NUMBER = torch.tensor([0.3], dtype=torch.float64)


def test_all_points_at_once(monkeypatch):
    monkeypatch.setattr(module, "blocks", lambda *given: pytest.fail("one by one"))
    found = gradients(lambda params, x: x**2 * params["w"], {"w": NUMBER[0]}, X)
    torch.testing.assert_close(found["w"], X.square().unsqueeze(2))


@pytest.mark.parametrize("shape", [(4,), (3,), (1,)])
def test_where_vmap_is_wrong_or_raises_points_go_one_by_one(shape):
    x = X[:, : shape[0]]
    found = gradients(lambda params, x: F.prelu(x, params["w"]), {"w": NUMBER}, x)
    torch.testing.assert_close(found["w"], x.clamp(max=0).unsqueeze(2))


def test_what_vmap_does_not_know_goes_one_by_one():
    found = gradients(lambda params, x: x * params["w"] * x.sum().item(), {"w": NUMBER}, X)
    torch.testing.assert_close(found["w"], (X * X.sum(dim=1, keepdim=True)).unsqueeze(2))


def test_of_a_weight_that_is_not_used_they_are_zero():
    found = gradients(lambda params, x: x * x.sum().item(), {"w": torch.ones(2, 3)}, X)
    assert found["w"].shape == (3, 4, 6) and not found["w"].any()


def test_random_numbers_that_differ_from_point_to_point_are_refused():
    with pytest.raises(RuntimeError, match="randomness"):
        gradients(lambda params, x: F.dropout(x * params["w"]), {"w": NUMBER}, X)


def test_gradients_of_a_table_may_be_sparse():
    f = lambda params, x: F.embedding((x > 0).long(), params["w"], sparse=True).flatten(start_dim=1)
    found, table = gradients(f, {"w": torch.ones(2, 1, dtype=torch.float64)}, X)["w"], (X > 0).double()
    torch.testing.assert_close(found, torch.stack([1 - table, table], dim=2))
