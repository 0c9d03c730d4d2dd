"""Modules by fast operations against the modules themselves: values, gradients, and where operations stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from tangent_lib._fast.dual import Dual
from tangent_lib.linearization import functional
from tangent_lib.models import fast_operations as operations
from tangent_lib.models.fast_operations import fast_functional
from tangent_lib.runtime.operations import self_attention
from tests.runtime.test_attention import TOKENS, WIDTH, attention, gradients, images


@pytest.fixture
def composed(monkeypatch):
    """The calls of attention, and whether each was composed."""
    seen = []
    noted = lambda *args, **kwargs: seen.append(self_attention(*args, **kwargs)) or seen[-1]
    monkeypatch.setattr(operations, "self_attention", noted)
    yield seen
    monkeypatch.undo()


CALLS = {
    "self": (lambda net, x, y, mask: net(x, x, x, need_weights=False), True),
    "weights": (lambda net, x, y, mask: net(x, x, x), False),
    "mask": (lambda net, x, y, mask: net(x, x, x, need_weights=False, attn_mask=mask), False),
    "causal": (lambda net, x, y, mask: net(x, x, x, need_weights=False, attn_mask=mask, is_causal=True), False),
    "others": (lambda net, x, y, mask: net(x, y, y, need_weights=False), False),
    "one": (lambda net, x, y, mask: net(x[0], x[0], x[0], need_weights=False), False),
}


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_a_module_gives_the_same_by_fast_operations(composed, call, batch_first, train):
    function, is_composed = CALLS[call]
    net = attention(dtype=torch.float32, batch_first=batch_first).train(train)
    x = images(TOKENS, TOKENS, WIDTH, dtype=torch.float32).requires_grad_()  # as many images as tokens: a mix-up would show
    y = images(TOKENS, TOKENS, WIDTH, dtype=torch.float32, seed=3)
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    with operations._FastOperations():
        z, weights = function(net, x, y, mask)
    assert [each is not None for each in composed] == [is_composed]
    expected, expected_weights = function(net, x, y, mask)
    torch.testing.assert_close(z, expected, rtol=1e-5, atol=1e-5)
    assert (weights is None) == (expected_weights is None)
    leaves = [x, *net.parameters()]
    for mine, other in zip(gradients(z, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@torch.no_grad()
def test_the_miniature_has_the_same_features(random_clip, composed, train):
    tower, x = random_clip.model.visual, torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    was = tower.training
    try:
        f, theta_0 = fast_functional(tower.train(train))
        expected = functional_call(tower, theta_0, (x,))
        z = f(theta_0, x)
    finally:
        tower.train(was)
    assert (z - expected).norm() < 1e-5 * expected.norm()
    # in eval mode without gradients PyTorch's fused attention would be taken, were nobody to look at each operation
    assert len(composed) == len(tower.transformer.resblocks) and None not in composed


def test_fast_operations_have_the_gradients_of_the_plain_ones(random_clip):
    x, theta_0 = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), random_clip.theta_0
    theta = {name: value.clone().requires_grad_() for name, value in theta_0.items()}
    fast = gradients(random_clip.f(theta, x), list(theta.values()))
    plain = gradients(functional_call(random_clip.model.visual, theta, (x,)), list(theta.values()))
    for name, mine, other in zip(theta, fast, plain, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7, name


@pytest.mark.parametrize(
    "given", [((0, 1, 2), ()), ((0, 1), ("bias",)), ((0,), ("weight", "bias")), ((), ("input", "weight"))]
)
def test_a_linear_layer_may_be_called_by_keywords(given):
    tensors = [torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)]
    names = ("input", "weight", "bias")
    args, kwargs = [tensors[i] for i in given[0]], {name: tensors[names.index(name)] for name in given[1]}
    with operations._FastOperations():
        z = F.linear(*args, **kwargs)
    assert torch.equal(z, F.linear(*args, **kwargs))


def test_where_operations_stay_as_they_are(monkeypatch):
    seen = []

    class Noted(operations._FastOperations):
        def __enter__(self):
            seen.append(True)
            return super().__enter__()

    monkeypatch.setattr(operations, "_FastOperations", Noted)
    f, w = fast_functional(nn.Linear(2, 2))
    x, tangents = torch.ones(1, 2), {name: Dual(value, (value,)) for name, value in w.items()}
    double = {name: value.double() for name, value in w.items()}
    for params, given in ((tangents, x), (double, x.double()), (w, torch.ones(0, 2))):
        f(params, given)
    f({name: value.to("meta") for name, value in w.items()}, x.to("meta"))
    grad(lambda params: f(params, x).sum())(w)
    assert not seen
    f(w, x)
    assert bool(seen) == torch.backends.mkldnn.is_available()


def test_inputs_may_be_a_dict_of_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x["a"] * x["b"])

    net, x = Two(), {"a": torch.ones(4, 2), "b": torch.full((4, 2), 2.0)}
    (f, theta_0), (plain, _) = fast_functional(net), functional(net)
    torch.testing.assert_close(f(theta_0, x), plain(theta_0, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(f(theta_0, x), net(x), rtol=1e-5, atol=1e-5)
