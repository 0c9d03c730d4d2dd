"""Self-attention composed of single steps against PyTorch's own."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tangent_lib.runtime.operations import self_attention

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
