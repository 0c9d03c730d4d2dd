"""Layers and operations with weights that random networks are made of."""

from __future__ import annotations

import torch
from grammar_network import Network, Step, operation
from grammar_operations import Reversed, Squared
from torch import Tensor, nn
from torch.nn import functional as F


# -- layers with weights -----------------------------------------------------------------------------------------------
@operation("linear")
def _linear(net: Network, x: Tensor) -> Step:
    out = net.rng.choice([1, 2, 3, 4, 5])
    w, b = net.weight(out, x.shape[-1]), net.bias(out)
    return lambda p, x: F.linear(x, w(p), b(p))


@operation("linear of a vector")
def _vector(net: Network, x: Tensor) -> Step:
    w, b = net.weight(x.shape[-1]), net.weight()
    return lambda p, x: F.linear(x, w(p), b(p)).unsqueeze(1) if x.dim() == 2 else F.linear(x, w(p))


@operation("square layer twice")
def _twice(net: Network, x: Tensor) -> Step:
    w, b = net.weight(x.shape[-1], x.shape[-1]), net.bias(x.shape[-1])
    return lambda p, x: F.linear(torch.tanh(F.linear(x, w(p), b(p))), w(p), b(p))


@operation("product")
def _product(net: Network, x: Tensor) -> Step:
    w, way = net.weight(x.shape[-1], 3), net.rng.choice([torch.matmul, Tensor.matmul, lambda x, w: x @ w])
    return lambda p, x: way(x, w(p))


@operation("product transposed")
def _transposed(net: Network, x: Tensor) -> Step:
    w = net.weight(4, x.shape[-1])
    return lambda p, x: x @ w(p).T + x[..., :1]


@operation("sum with a weight")
def _add(net: Network, x: Tensor) -> Step:
    shape = list(x.shape[net.rng.randrange(1, x.dim()) :])
    if net.rng.random() < 0.5:
        shape[net.rng.randrange(len(shape))] = 1
    w, way = (
        net.weight(*shape),
        net.rng.choice([lambda x, w: x + w, lambda x, w: w + x, torch.add, torch.sub, lambda x, w: w - x]),
    )
    return lambda p, x: way(x, w(p))


@operation("number")
def _number(net: Network, x: Tensor) -> Step:
    w, way = net.weight(), net.rng.choice([lambda x, w: x * w, lambda x, w: x + w, lambda x, w: x * w.exp(), torch.add])
    return lambda p, x: way(x, w(p))


@operation("scale")
def _scale(net: Network, x: Tensor) -> Step:
    w = net.weight(x.shape[-1])
    way = net.rng.choice(
        [
            lambda x, w: x * w,
            lambda x, w: x / (1 + w * w),
            lambda x, w: torch.addcmul(x, x, w),
            lambda x, w: torch.fft.ifft(torch.fft.fft(x) + w).real,
            lambda x, w: x * w.softmax(0),
        ]
    )
    return lambda p, x: way(x, w(p))


@operation("layer norm")
def _layer_norm(net: Network, x: Tensor) -> Step:
    over = tuple(x.shape[net.rng.choice([-1, -1, 1]) :])
    w, b, bare = net.weight(*over), net.weight(*over), net.rng.choice(["both", "w", "b", "same", "none"])
    parts = {
        "both": (w, b),
        "w": (w, lambda p: None),
        "b": (lambda p: None, b),
        "same": (w, w),
        "none": (lambda p: None,) * 2,
    }[bare]
    return lambda p, x: F.layer_norm(x, over, parts[0](p), parts[1](p), 0.1)


@operation("RMS norm")
def _rms_norm(net: Network, x: Tensor) -> Step:
    return net.module(nn.RMSNorm(x.shape[-1], eps=0.1))


@operation("batch norm")
def _batch_norm(net: Network, x: Tensor) -> Step:
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}.get(x.dim())
    return kind and net.module(kind(x.shape[1], eps=0.1, affine=net.rng.random() < 0.7))


@operation("group norm with weights")
def _group_norm(net: Network, x: Tensor) -> Step:
    return x[0].numel() > 1 and net.module(nn.GroupNorm(1, x.shape[1], eps=0.1))


@operation("PReLU")
def _prelu(net: Network, x: Tensor) -> Step:
    return net.module(nn.PReLU(net.rng.choice([1, x.shape[1]])))


@operation("convolution")
def _conv1d(net: Network, x: Tensor) -> Step | None:
    kind = net.rng.choice([nn.Conv1d, nn.ConvTranspose1d])
    size, pad = net.rng.choice([1, 2, 3]), net.rng.choice([1, 2])
    padded = {"padding": pad} if kind is nn.Conv1d else {}
    return x.dim() == 3 and net.module(kind(x.shape[1], net.rng.choice([1, 3]), size, bias=net.rng.random() < 0.6, **padded))


@operation("convolution of images")
def _conv2d(net: Network, x: Tensor) -> Step | None:
    options = net.rng.choice(
        [{}, {"stride": 2}, {"padding": "same"}, {"dilation": (1, 2), "padding": (1, 2)}, {"groups": x.shape[1]}]
    )
    kind = nn.Conv2d(x.shape[1], 2 * x.shape[1], net.rng.choice([1, 2, (1, 2)]), bias=net.rng.random() < 0.6, **options)
    mode = lambda conv, x: conv(F.pad(x, (1, 1, 1, 1)))
    return x.dim() == 4 and net.module(kind, mode)


@operation("attention")
def _attention(net: Network, x: Tensor) -> Step | None:
    weights, bias = net.rng.random() < 0.3, net.rng.random() < 0.6
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if net.rng.random() < 0.3 else None
    call = lambda net, x: net(x, x, x, need_weights=weights, attn_mask=mask)[0]
    return x.dim() == 3 and net.module(nn.MultiheadAttention(x.shape[2], 1, bias=bias, batch_first=True), call)


@operation("attention to weights")
def _pooled(net: Network, x: Tensor) -> Step | None:
    q, k, v = net.weight(1, 2, x.shape[-1]), net.weight(1, 4, x.shape[-1]), net.weight(1, 4, 3)
    way = net.rng.choice(
        [lambda p, x: (q(p), x, x), lambda p, x: (x, k(p), v(p)), lambda p, x: (q(p), k(p), v(p) + 0 * x[:, :1, :1])]
    )
    return (lambda p, x: F.scaled_dot_product_attention(*way(p, x))) if x.dim() == 3 else None


@operation("transformer block")
def _transformer(net: Network, x: Tensor) -> Step | None:
    if x.dim() != 3:
        return None
    kind = {"activation": net.rng.choice(["relu", "gelu"]), "norm_first": net.rng.random() < 0.5, "layer_norm_eps": 0.1}
    return net.module(nn.TransformerEncoderLayer(x.shape[2], 1, 4, dropout=0.0, batch_first=True, **kind))


@operation("token")
def _token(net: Network, x: Tensor) -> Step | None:
    w = net.weight(*x.shape[2:])
    return (lambda p, x: torch.cat([w(p).expand(len(x), 1, *x.shape[2:]), x], dim=1)) if x.dim() > 2 else None


@operation("table")
def _table(net: Network, x: Tensor) -> Step:
    w, way = (
        net.weight(4, 3),
        net.rng.choice(
            [
                F.embedding,
                lambda i, w: w[i],
                lambda i, w: F.one_hot(i, 4).to(w.dtype) @ w,
                lambda i, w: w.index_select(0, i.flatten()).view(*i.shape, 3),
            ]
        ),
    )
    return lambda p, x: way((x.detach().abs() * 3).long() % 4, w(p)) * x.unsqueeze(-1)


@operation("bilinear")
def _bilinear(net: Network, x: Tensor) -> Step:
    w, b = net.weight(2, x.shape[-1], x.shape[-1]), net.weight(2)
    return lambda p, x: F.bilinear(x, x.sin(), w(p), b(p))


@operation("einsum with a weight")
def _einsum(net: Network, x: Tensor) -> Step:
    w = net.weight(x.shape[-1], 2, 2)
    return lambda p, x: torch.einsum("n...i,ijk->n...jk", x, w(p)).flatten(-2)


@operation("addmm")
def _addmm(net: Network, x: Tensor) -> Step | None:
    w, b = net.weight(x.shape[-1], 3), net.bias(3)
    return (lambda p, x: torch.addmm(x[:, :1] if b(p) is None else b(p), x, w(p), beta=0.5)) if x.dim() == 2 else None


@operation("recurrent cell")
def _cell(net: Network, x: Tensor) -> Step:
    kind = net.rng.choice([nn.GRUCell, nn.LSTMCell, nn.RNNCell])
    call = lambda net, x: net(x.flatten(1)) if kind is not nn.LSTMCell else net(x.flatten(1))[1]
    return net.module(kind(x[0].numel(), 3), call)


@operation("weight of weights")
def _hyper(net: Network, x: Tensor) -> Step:
    a, b, way = (
        net.weight(3, 2),
        net.weight(2, x.shape[-1]),
        net.rng.choice([lambda w: w, torch.tanh, Squared.apply, Reversed.apply, lambda w: w / w.norm(dim=1, keepdim=True)]),
    )
    return lambda p, x: F.linear(x, way(a(p) @ b(p)))


@operation("stack of layers")
def _stack(net: Network, x: Tensor) -> Step:
    acting = net.rng.choice(
        [nn.ReLU(inplace=True), nn.GELU(), nn.Tanh(), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.ELU()]
    )
    return net.module(nn.Sequential(nn.Linear(x.shape[-1], 3), acting, nn.LayerNorm(3, eps=0.1), nn.Linear(3, 2, bias=False)))
