"""Operations without weights that random networks are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from grammar_network import GRAMMAR, MIXING, Network, Step
from torch import Tensor
from torch.nn import functional as F


def each(table: dict[str, Callable[[Tensor], Tensor]], least: int = 1, mixing: bool = False):
    """Operations without weights, of tensors that have so many dimensions beside that of the points."""

    def register(name: str, function: Callable[[Tensor], Tensor]):
        def make(net: Network, x: Tensor) -> Step | None:
            if x.dim() <= least:
                return None
            net.mixing |= mixing
            return lambda p, x: function(x)

        GRAMMAR[name] = make
        MIXING.extend([name] if mixing else [])

    for name, function in table.items():
        register(name, function)


class Squared(torch.autograd.Function):
    """A function with a derivative of its own, forwards and backwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def jvp(ctx, dx: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * dx


class Reversed(torch.autograd.Function):
    """The identity, with a derivative that is not its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor):
        pass

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return -0.5 * g

    @staticmethod
    def jvp(ctx, dx: Tensor) -> Tensor:
        return -0.5 * dx


def written(x: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    """What stands in a copy after something was written there."""
    write(copy := x * 1)
    return copy


def without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        size = 1 + x.square().flatten(1).sum(1)
    return x / size.view(-1, *[1] * (x.dim() - 1))


def into_zeros(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape, dtype=x.dtype) * x
    made[:, 0] = x[:, -1]
    return made + x


as_complex = lambda x: torch.complex(x, x.sin())
real = lambda z: 1 * torch.view_as_real(z)  # whose backward pass refuses some slices
each(
    {
        "sin": torch.sin,
        "cos": Tensor.cos,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "exp": lambda x: (-x * x).exp(),
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "mish": F.mish,
        "elu": F.elu,
        "selu": F.selu,
        "celu": F.celu,
        "softplus": F.softplus,
        "hardswish": F.hardswish,
        "hardtanh": F.hardtanh,
        "leaky relu": lambda x: F.leaky_relu(x, 0.2),
        "logsigmoid": F.logsigmoid,
        "softsign": F.softsign,
        "erf": torch.erf,
        "atan": torch.atan,
        "asinh": torch.asinh,
        "expm1": lambda x: torch.expm1(x.tanh()),
        "log": lambda x: (1 + x * x).log(),
        "log1p": lambda x: x.abs().log1p(),
        "sqrt": lambda x: (x.square() + 0.1).sqrt(),
        "rsqrt": lambda x: (x**2 + 1).rsqrt(),
        "abs": abs,
        "negated": lambda x: -x,
        "reciprocal": lambda x: 1 / (2 + x.sin()),
        "power": lambda x: x.tanh() ** 3,
        "power of zero": lambda x: x + x**0,
        "root": lambda x: (x.abs() + 0.1) ** 0.5,
        "clamp": lambda x: x.clamp(-0.7, 0.9),
        "clamp min": lambda x: torch.clamp(x, min=0.1),
        "powers": lambda x: torch.pow(1.5, x.tanh()),
        "sinc": torch.sinc,
        "power of itself": lambda x: torch.pow(x.sigmoid(), x.cos()),
        "atan2": lambda x: torch.atan2(x, 2 + x.cos()),
        "hypot": lambda x: torch.hypot(x, 1 + x.sin()),
        "xlogy": lambda x: torch.xlogy(x, 1 + x.square()),
        "logaddexp": lambda x: torch.logaddexp(x, -x),
        "lerp": lambda x: torch.lerp(x, x.sin(), 0.3),
        "sign": lambda x: x + x.sign(),
        "maximum": lambda x: torch.maximum(x, x.roll(1, -1).sin()),
        "minimum": lambda x: torch.minimum(x, x.cos()),
        "where": lambda x: torch.where(x > 0, x, x.sin()),
        "where number": lambda x: torch.where(x > 0, x, 0.0),
        "masked fill": lambda x: x.masked_fill(x < 0, 0.5),
        "round": lambda x: x + x.round(),
        "floor": lambda x: x - x.floor(),
        "nan to num": torch.nan_to_num,
        "addcmul": lambda x: torch.addcmul(x, x, x.sin(), value=0.3),
        "fmod": lambda x: x.fmod(0.9),
        "addcdiv": lambda x: torch.addcdiv(x, x, 2 + x.sin()),
        "rsub": lambda x: 2 - x,
        "alpha": lambda x: torch.add(x, x.sin(), alpha=2),
        "true division": lambda x: x / (1 + x.square()),
        "multiplied from left": lambda x: 0.7 * x,
        "detached": lambda x: x * x.detach(),
        "gathered number": lambda x: x * x.flatten(1).select(1, 0).view(-1, *[1] * (x.dim() - 1)),
        "without grad": without_grad,
    }
)
each(
    {
        "softmax": lambda x: x.softmax(-1),
        "log softmax": lambda x: F.log_softmax(x, dim=1),
        "cumsum": lambda x: x.cumsum(-1),
        "cumprod": lambda x: x.tanh().cumprod(1),
        "logcumsumexp": lambda x: x.tanh().logcumsumexp(-1),  # of numbers far apart, torch.func.jvp is wrong itself
        "cummax": lambda x: x.cummax(1).values,
        "normalize": lambda x: F.normalize(x + 0.1, dim=-1),
        "mean": lambda x: x - x.mean(-1, keepdim=True),
        "var": lambda x: x * x.var(-1, keepdim=True, correction=0),
        "sum": lambda x: x + x.sum(dim=1, keepdim=True),
        "amax": lambda x: x - x.amax(-1, keepdim=True),
        "max": lambda x: x * x.max(dim=1, keepdim=True)[0],
        "amin": lambda x: x + x.amin(dim=1, keepdim=True),
        "median": lambda x: x - x.median(-1, keepdim=True).values,
        "aminmax": lambda x: x - sum(x.aminmax(dim=-1, keepdim=True)),
        "logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
        "norm": lambda x: x / (1 + x.norm(dim=-1, keepdim=True)),
        "vector norm": lambda x: x * torch.linalg.vector_norm(x + 0.1, ord=3, dim=-1, keepdim=True),
        "prod": lambda x: x + x.tanh().prod(-1, keepdim=True),
        "std mean": lambda x: x + torch.var_mean(x, dim=-1, keepdim=True, correction=0)[1],
        "nansum": lambda x: x * x.nansum(1, keepdim=True),
        "sort": lambda x: x.sort(dim=-1).values * x,
        "topk": lambda x: x.gather(-1, x.topk(1, dim=-1).indices) * x,
        "argsort": lambda x: x.take_along_dim(x.argsort(-1), -1),
        "argmax": lambda x: x + x.argmax(-1, keepdim=True),
        "kthvalue": lambda x: x - x.kthvalue(1, dim=-1, keepdim=True).values,
        "roll": lambda x: x.roll(1, -1) - x,
        "flip": lambda x: x.flip(-1) * x,
        "repeat": lambda x: torch.cat([x, x.repeat(*[1] * (x.dim() - 1), 2)], -1),
        "repeat interleave": lambda x: x.repeat_interleave(2, dim=1),
        "pad": lambda x: F.pad(x, (1, 2)),
        "pad with a number": lambda x: F.pad(x, (0, 1), value=0.5),
        "cat": lambda x: torch.cat([x, x.sin()], dim=1),
        "cat number": lambda x: torch.cat([torch.ones_like(x), x], dim=-1),
        "stack": lambda x: torch.stack([x, x.cos()], 1),
        "hstack": lambda x: torch.hstack([x, x * x]),
        "split": lambda x: x.split(1, dim=1)[-1] * x,
        "chunk": lambda x: x.chunk(2, dim=-1)[0].sin(),
        "unbind": lambda x: sum(x.unbind(1)).unsqueeze(1) + x,
        "tensor split": lambda x: x.tensor_split(2, dim=-1)[0],
        "narrow": lambda x: x.narrow(1, 0, 1) * x,
        "select": lambda x: x.select(1, -1).unsqueeze(1) + x,
        "slice": lambda x: x[:, ::2],
        "index": lambda x: x[:, [0, -1, 0]],
        "index by a tensor": lambda x: x[:, torch.tensor([0, 0])],
        "ellipsis": lambda x: x[..., None].squeeze(-1) * x[..., -1:],
        "index select": lambda x: x.index_select(1, torch.tensor([0, 0])),
        "gather": lambda x: x.gather(-1, torch.zeros_like(x, dtype=torch.long)) + x,
        "scatter": lambda x: x.scatter(-1, torch.zeros_like(x[..., :1], dtype=torch.long), x[..., :1].sin()),
        "index add": lambda x: x.index_add(1, torch.tensor([0]), x[:, :1]),
        "transposed": lambda x: x.movedim(1, -1) * 1.5,
        "permuted": lambda x: x.permute(0, *range(x.dim() - 1, 0, -1)),
        "flat": lambda x: x.flatten(1),
        "reshaped": lambda x: x.reshape(len(x), -1, 1),
        "unsqueezed": lambda x: x.unsqueeze(1),
        "squeezed": lambda x: x.unsqueeze(-1).squeeze(-1) * 2,
        "expanded": lambda x: x.unsqueeze(2).expand(-1, -1, 2, *x.shape[2:]),
        "as strided": lambda x: x.contiguous().as_strided(x.shape, x.contiguous().stride()) + x,
        "unfolded": lambda x: x.unfold(-1, 1, 1),
        "diff": lambda x: F.pad(x, (1, 0)).diff(dim=-1),
        "viewed": lambda x: x.contiguous().view(len(x), -1),
        "outer": lambda x: x.flatten(1).unsqueeze(2) * x.flatten(1).unsqueeze(1)[:, :, :3],
        "einsum": lambda x: torch.einsum("n...i,n...j->n...ij", x[..., :2], x),
        "glu": lambda x: F.glu(torch.cat([x, x.sin()], -1)),
        "cosine": lambda x: x * F.cosine_similarity(x, x.cos(), dim=-1).unsqueeze(-1),
        "trapezoid": lambda x: x + torch.trapezoid(x, dim=-1).unsqueeze(-1),
    }
)
each(
    {
        "bmm": lambda x: torch.bmm(x.flatten(2), x.flatten(2).mT),
        "baddbmm": lambda x: torch.baddbmm(x.flatten(2), x.flatten(2), x.flatten(2).mT @ x.flatten(2), beta=0.5, alpha=0.2),
        "mT": lambda x: x.mT @ x,
        "tril": torch.tril,
        "triu": lambda x: x.triu(1) + x,
        "diagonal": lambda x: x.diagonal(dim1=1, dim2=-1).sin(),
        "inverse": lambda x: torch.linalg.solve(
            x.flatten(2).mT @ x.flatten(2) + 2 * torch.eye(x.flatten(2).shape[2], dtype=x.dtype), x.flatten(2).mT
        ),
        "cholesky": lambda x: torch.linalg.cholesky(
            x.flatten(2).mT @ x.flatten(2) + 2 * torch.eye(x.flatten(2).shape[2], dtype=x.dtype)
        ),
        "meshed": lambda x: torch.kron(torch.ones(1, 1, 2, dtype=x.dtype), x.flatten(2)),
        "matrix norm": lambda x: x / (1 + torch.linalg.matrix_norm(x.flatten(2))).view(-1, *[1] * (x.dim() - 1)),
        "attention to itself": lambda x: F.scaled_dot_product_attention(*[x.flatten(2)] * 3),
        "causal attention": lambda x: F.scaled_dot_product_attention(
            x.flatten(2), x.flatten(2).sin(), x.flatten(2), is_causal=True
        ),
        "attention of heads": lambda x: F.scaled_dot_product_attention(
            *[x.flatten(2).unsqueeze(1).expand(-1, 2, -1, -1)] * 3, scale=0.4
        ).sum(1),
        "masked attention": lambda x: F.scaled_dot_product_attention(
            *[x.flatten(2)] * 3, attn_mask=torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        ),
        "average pooling": lambda x: F.avg_pool1d(F.pad(x.flatten(2), (1, 1)), 2),
        "max pooling": lambda x: F.max_pool1d(F.pad(x.flatten(2), (1, 1)), 3, 1),
        "adaptive pooling": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 2),
        "adaptive max pooling": lambda x: F.adaptive_max_pool1d(x.flatten(2), 1),
        "power pooling": lambda x: F.lp_pool1d(x.flatten(2).abs() + 0.1, 2, 1),
        "interpolated": lambda x: F.interpolate(x.flatten(2), size=3, mode="linear"),
        "nearest": lambda x: F.interpolate(x.flatten(2), scale_factor=2),
        "instance norm": lambda x: F.instance_norm(F.pad(x.flatten(2), (1, 1), value=0.3)),
        "circular pad": lambda x: F.pad(F.pad(x.flatten(2), (1, 1)), (1, 1), mode="circular"),
        "group norm": lambda x: F.group_norm(x, 1, eps=0.1),
        "pixel shuffle": lambda x: F.pixel_shuffle(x.flatten(2).unsqueeze(1).repeat(1, 4, 1, 1), 2),
        "images pooled": lambda x: F.max_pool2d(F.pad(x.flatten(2), (1, 1, 1, 1)).unsqueeze(1), 2),
        "patches": lambda x: F.unfold(F.pad(x.flatten(2), (1, 0, 1, 0)).unsqueeze(1), 2),
    },
    least=2,
)
each(
    {
        "float and double": lambda x: x.float().double().to(x.dtype),
        "to float": lambda x: x + x.to(torch.float32),
        "complex": lambda x: as_complex(x).abs(),
        "complex product": lambda x: (as_complex(x) * as_complex(x.cos())).imag,
        "to complex": lambda x: (x.to(torch.complex128) * 1j).sigmoid().real,
        "complex tanh": lambda x: torch.tanh(0.5 * as_complex(x.tanh())).real,
        "complex exp": lambda x: (1j * x).exp().real,
        "complex power": lambda x: (2 + as_complex(x.tanh())).pow(2).real,
        "conjugate": lambda x: (as_complex(x).conj() * (1 + 2j)).imag,
        "angle": lambda x: (2.5 + as_complex(x.tanh())).angle(),
        "complex sum": lambda x: real(as_complex(x).sum(-1, keepdim=True)).flatten(2) + x[..., :1].unsqueeze(-1).flatten(2),
        "fft": lambda x: torch.fft.fft(x).abs(),
        "rfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) * (0.5 + 1j), n=x.shape[-1]),
        "fft2": lambda x: torch.fft.fftn(x, dim=tuple(range(1, x.dim()))).real,
        "polar": lambda x: torch.polar(1 + x * x, x).imag,
        "complex added": lambda x: (x + torch.ones(x.shape, dtype=x.dtype) * 1j).square().imag,
        "viewed as complex": lambda x: torch.view_as_complex(torch.stack([x, -x], -1)).abs(),
        "viewed as real": lambda x: real(as_complex(x)),
        "dtype viewed": lambda x: (
            torch.stack([x, x.sin()], -1)
            .view(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
            .squeeze(-1)
            .abs()
        ),
        "whole numbers": lambda x: x * (1 + x.long() % 3),
        "truth": lambda x: x * (x > 0),
        "own function": Squared.apply,
        "own function halved": lambda x: Squared.apply(x) / 2 + x,
        "reversed": Reversed.apply,
        "reversed and kept": lambda x: Reversed.apply(x.sin()) + x,
        "added in place": lambda x: written(x, lambda c: c.add_(x.sin())),
        "multiplied in place": lambda x: written(x, lambda c: c.mul_(2)),
        "relu in place": lambda x: written(x, lambda c: F.relu(c, True)),
        "silu in place": lambda x: F.silu(x * 1, inplace=True),
        "set": lambda x: written(x, lambda c: c.__setitem__((slice(None), 0), 0.3)),
        "filled": lambda x: written(x, lambda c: c.masked_fill_(x > 0, 0.1)),
        "copied": lambda x: written(x, lambda c: c.copy_(x.sin())),
        "view written": lambda x: written(x, lambda c: c.select(1, 0).mul_(3)),
        "aten in place": lambda x: written(x, lambda c: torch.ops.aten.mul_.Tensor(c, c.detach())),
        "into zeros": into_zeros,
        "aten": lambda x: torch.ops.aten.sin(x),
        "mapped": lambda x: torch.func.vmap(lambda row: row * row.sum())(x),
        "checked": lambda x: x if x.isfinite().all() else 0 * x,
        "like": lambda x: x + torch.full_like(x, 0.3) * x.new_ones(()),
        "type as": lambda x: x.sin().type_as(x),
        "shape of": lambda x: x.sin().view_as(x),
        "out of": lambda x: torch.sin(x, out=None),
        "by name": lambda x: torch.sum(input=x, dim=-1, keepdim=True) + torch.mul(input=x, other=x),
    }
)
each(
    {
        "softmax over points": lambda x: x.softmax(0),
        "rolled points": lambda x: x.roll(1, 0) * x,
        "points summed": lambda x: x - x.mean(0),
        "points sorted": lambda x: x.sort(dim=0).values,
        "cumulated points": lambda x: x.cumsum(0),
        "dropout": lambda x: F.dropout(x.contiguous(), 0.3),
        "alpha dropout": lambda x: F.alpha_dropout(x.contiguous(), 0.2, training=True),
        "noise": lambda x: x * torch.rand_like(x.contiguous()),
        "batch statistics": lambda x: F.batch_norm(x, None, None, training=True, eps=0.1),
        "dropped attention": lambda x: F.scaled_dot_product_attention(*[x.flatten(1).unsqueeze(1)] * 3, dropout_p=0.2),
        "dropout in place": lambda x: F.dropout(x.contiguous() * 1, 0.3, inplace=True),
        "feature dropout": lambda x: F.dropout1d(x.flatten(1).unsqueeze(1), 0.5),
    },
    mixing=True,
)
