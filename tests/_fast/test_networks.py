"""Random networks against torch.func; ``networks.py`` tries more of them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from networks import GRAMMAR, built, disagreements

from tangent_lib._fast import dual, rules

SEEDS, AT_A_TIME = 500, 25


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_networks_from_the_grammar_are_what_torch_func_gives(first):
    assert {seed: told for seed in range(first, first + AT_A_TIME) if (told := disagreements(seed))} == {}


def test_the_networks_are_of_many_operations_and_kinds():
    made = [built(seed) for seed in range(SEEDS)]
    used = Counter(name for net in made for name in net.names)
    assert len(used) >= 200 and set(used) <= {*GRAMMAR, "earlier"}
    kinds = Counter((net.dtype, net.autocast, net.mixing) for net in made)
    assert len(kinds) == 6 and min(kinds.values()) >= 3


def test_a_seed_gives_the_same_network_again():
    one, other = built(11), built(11)
    assert one.names == other.names and torch.equal(one.f(one.params, one.x), other.f(other.params, other.x))


def test_a_wrong_rule_is_found(monkeypatch):
    product, right = torch.mul, rules.RULES[torch.Tensor.mul]

    def wrong(a, b, *rest):
        value, along = right(a, b, *rest)
        return value, lambda k: None if (move := along(k)) is None else product(move, 1 + 1e-8)

    monkeypatch.setitem(dual.RULES, torch.Tensor.mul, wrong)
    monkeypatch.setitem(dual.RULES, torch.Tensor.__mul__, wrong)
    assert any(disagreements(seed) for seed in range(40))


def test_the_forward_derivative_of_pytorch_that_networks_keep_clear_of():
    """Of numbers far apart, that of ``logcumsumexp`` differs from finite differences by more than 1 (PyTorch 2.15).

    Where this fails, PyTorch has mended it: the grammar may take any numbers, and ``book/api.md`` need not say so.
    """
    drawn = torch.Generator().manual_seed(69)
    spread = 10 ** (3 * torch.rand(1, generator=drawn, dtype=torch.float64).item())
    x, v = torch.randn(3, 5, generator=drawn, dtype=torch.float64), torch.randn(3, 5, generator=drawn, dtype=torch.float64)
    x = spread * x
    f = lambda x: torch.logcumsumexp(x, -1)
    finite = (f(x + 1e-6 * v) - f(x - 1e-6 * v)) / 2e-6
    assert (torch.func.jvp(f, (x,), (v,))[1] - finite).abs().max() > 1
