"""Self-attention composed of single steps against PyTorch's own, and whole modules computed by fast operations."""

from __future__ import annotations

import inspect
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from tangent_lib._fast.dual import Dual
from tangent_lib.linearization import functional
from tangent_lib.models import fast_operations as operations
from tangent_lib.runtime.operations import fast_operations, self_attention

WIDTH, HEADS, TOKENS, BATCH = 12, 3, 5, 4
PRECISIONS = {torch.float64: 1e-10, torch.float32: 1e-5}


def attention(bias: bool = True, dtype: torch.dtype = torch.float64, **options) -> nn.MultiheadAttention:
    """In train mode, where PyTorch has no fused path of its own; biases are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, dtype=dtype, **options)
        for p in net.parameters():
            p.data += 0.3 * torch.randn_like(p)
        return net


def images(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def packed(net: nn.MultiheadAttention, dropout: float = 0.0) -> tuple:
    """What comes after query, key and value in the call that nn.MultiheadAttention makes."""
    both = (net.in_proj_weight, net.in_proj_bias, None, None, False, dropout, net.out_proj.weight, net.out_proj.bias)
    return (WIDTH, HEADS, *both)


def gradients(z: torch.Tensor, of: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad((z * images(*z.shape, dtype=z.dtype, seed=2)).sum(), of)


# -- attention ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_pytorchs_with_its_gradients(dtype, training, bias):
    net, x = attention(bias, dtype), images(TOKENS, BATCH, WIDTH, dtype=dtype).requires_grad_()
    options = {"training": training, "need_weights": False, "key_padding_mask": None, "attn_mask": None}
    options |= {"is_causal": False, "average_attn_weights": True}
    z, weights = self_attention(x, x, x, *packed(net), **options)
    expected, _ = F.multi_head_attention_forward(x, x, x, *packed(net), **options)
    close = {"rtol": PRECISIONS[dtype], "atol": PRECISIONS[dtype]}
    torch.testing.assert_close(z, expected, **close)
    assert weights is None and z.shape == x.shape
    leaves = [x, *net.parameters()]
    for mine, other in zip(gradients(z, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(mine, other, rtol=close["rtol"], atol=10 * close["atol"])


@pytest.mark.parametrize("shape", [(1, BATCH, WIDTH), (TOKENS, 1, WIDTH), (TOKENS, 0, WIDTH)])
def test_one_token_one_image_or_none(shape):
    net, x = attention(), images(*shape)
    expected, _ = F.multi_head_attention_forward(x, x, x, *packed(net), need_weights=False)
    torch.testing.assert_close(self_attention(x, x, x, *packed(net), need_weights=False)[0], expected)


def test_dropout_is_that_of_pytorch_and_of_training_alone():
    net, x = attention(), images(TOKENS, BATCH, WIDTH)
    results = []
    with torch.random.fork_rng():
        for function in (self_attention, F.multi_head_attention_forward):
            torch.manual_seed(3)
            given = (x, x, x, *packed(net, dropout=0.5))
            results.append([function(*given, training=mode, need_weights=False)[0] for mode in (True, False)])
    (dropped, kept), expected = results
    torch.testing.assert_close([dropped, kept], expected)
    assert not torch.allclose(dropped, kept)


X = images(TOKENS, BATCH, WIDTH)
MASK = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    "options",
    [
        {"need_weights": True},
        {"key": X.clone()},
        {"value": X.clone()},
        {"query": X.clone()},
        {"attn_mask": MASK},
        {"attn_mask": MASK, "is_causal": True},
        {"is_causal": True},
        {"key_padding_mask": torch.zeros(BATCH, TOKENS, dtype=torch.bool)},
        {"add_zero_attn": True},
        {"bias_k": X[:1, :1], "bias_v": X[:1, :1]},
        {"in_proj_weight": None, "use_separate_proj_weight": True},
        {"static_k": X},
        {"static_v": X},
        {"an_option_to_come": 1},
    ],
    ids=" ".join,
)
def test_anything_else_is_left_to_pytorch(options):
    net = attention()
    bound = inspect.signature(self_attention).bind(X, X, X, *packed(net), need_weights=False)
    assert self_attention(**bound.arguments) is not None
    assert self_attention(**bound.arguments | options) is None


def test_weights_are_wanted_by_default_and_one_sequence_alone_is_not_composed():
    assert self_attention(X, X, X, *packed(attention())) is None
    one = X[:, 0]
    assert self_attention(one, one, one, *packed(attention()), need_weights=False) is None


def test_options_that_ask_for_nothing_are_no_obstacle():
    options = {
        "need_weights": False,
        "static_k": None,
        "use_separate_proj_weight": False,
        "average_attn_weights": False,
    }
    assert self_attention(X, X, X, *packed(attention()), **options) is not None


# -- modules by fast operations ----------------------------------------------------------------------------------------
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
    x = images(
        TOKENS, TOKENS, WIDTH, dtype=torch.float32
    ).requires_grad_()  # as many images as tokens: a mix-up would show
    y = images(TOKENS, TOKENS, WIDTH, dtype=torch.float32, seed=3)
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    with fast_operations(dict(net.named_parameters()), x):
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
        f, theta_0 = functional(tower.train(train))
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
    with fast_operations({}, tensors[0]):
        z = F.linear(*args, **kwargs)
    assert torch.equal(z, F.linear(*args, **kwargs))


def test_where_operations_stay_as_they_are():
    plain = lambda params, x: isinstance(fast_operations(params, x), nullcontext)
    w, x = {"w": torch.ones(2)}, torch.ones(2)
    assert plain({"w": Dual(w["w"], (w["w"],))}, x) and plain(w, x.double()) and plain(w, torch.ones(0))
    assert plain(w, torch.ones(2, device="meta"))
    assert plain(w, x) != torch.backends.mkldnn.is_available()
