"""Models of odd operations: f_lin, its gradient and the kernel are what torch.func gives, or the model is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from cases import Case
from torch import Tensor, nn
from torch.func import jacrev, jvp
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tangent_lib as tl
from tangent_lib.linearization import value_and_tangents
from tangent_lib.runtime.operations import forward_differentiable, linear

TANGENTS, KERNELS, PRODUCTS = "tangents of odd operations", "kernels of odd operations", "products with odd biases"
ODD_MODULES = "odd models"
EQUAL = "equal to torch.func"


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def given() -> tuple[dict, dict, Tensor]:
    """Weights, a task vector, and four points."""
    shapes = {"w": (3, 3), "v": (3,), "b": (), "one": (1,)}
    weights, tau = ({name: draw(*shape, seed=i + k) for i, (name, shape) in enumerate(shapes.items())} for k in (1, 9))
    return weights, tau, draw(4, 3)


def gap(found: list[Tensor], right: list[Tensor]) -> str:
    for mine, other in zip(found, right, strict=True):
        if mine.shape != other.shape:
            return f"shape {tuple(mine.shape)}, not {tuple(other.shape)}"
        if (off := (mine - other).abs().max().item()) > 1e-10 * (1 + other.abs().max().item()):
            return f"off by {off}"
    return EQUAL


def loss_gradients(z: Tensor, theta: dict) -> list[Tensor]:
    found = torch.autograd.grad(z.square().sum(), list(theta.values()), allow_unused=True)
    return [z, *(torch.zeros_like(value) if g is None else g for value, g in zip(theta.values(), found))]


def tangent(f: Callable) -> Callable[[Path], str]:
    """Value and tangent, with and without gradients around, and the gradient of a loss of f_lin, by auto."""

    def run(folder: Path) -> str:
        theta_0, tau, x = given()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.no_grad():
                value, (move,) = value_and_tangents(f, theta_0, [tau], x)
            theta = {name: (theta_0[name] + tau[name]).requires_grad_() for name in theta_0}
            mine = [value, move, *loss_gradients(tl.linearize(f, theta_0)(theta, x), theta)]
        with forward_differentiable():
            value, move = jvp(lambda params: f(params, x), (theta_0,), (tau,))
            minus = {name: theta[name] - theta_0[name] for name in theta}
            z = torch.add(*jvp(lambda params: f(params, x), (theta_0,), (minus,)))
        return gap(mine, [value, move, *loss_gradients(z, theta)])

    return run


def kernel(f: Callable) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        params, _, x = given()
        params = {name: value for name, value in params.items() if name in f.__code__.co_consts}
        with forward_differentiable():
            rows = torch.cat([row.reshape(*row.shape[:2], -1) for row in jacrev(f)(params, x).values()], dim=2)
        right = torch.einsum("icp,jcp->cij", rows, rows)
        return gap([tl.ntk(f, params, x), tl.ntk(f, params, x, implementation="plain")], [right, right])

    return run


def product(bias: Tensor) -> Callable[[Path], float]:
    return lambda folder: linear(torch.ones(2, 3), torch.ones(4, 3), bias).sum().item()


class Cubed(torch.autograd.Function):
    """With derivatives of its own, forwards and backwards."""

    generate_vmap_rule = True
    forward = staticmethod(lambda x: x**3)
    setup_context = staticmethod(lambda ctx, inputs, output: (ctx.save_for_backward(*inputs), ctx.save_for_forward(*inputs)))
    backward = staticmethod(lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g)
    jvp = staticmethod(lambda ctx, dx: 3 * ctx.saved_tensors[0] ** 2 * dx)


class Rounded(torch.autograd.Function):
    """Rounds, and lets derivatives through, as quantised networks do."""

    generate_vmap_rule = True
    forward = staticmethod(lambda x: x.round())
    setup_context = staticmethod(lambda ctx, inputs, output: None)
    backward = staticmethod(lambda ctx, g: g.clone())
    jvp = staticmethod(lambda ctx, dx: dx.clone())


class Flipped(torch.autograd.Function):
    """Hands on what it is given, and reverses gradients."""

    generate_vmap_rule = True
    forward = staticmethod(lambda x: x)
    setup_context = staticmethod(lambda ctx, inputs, output: None)
    backward = staticmethod(lambda ctx, g: -g)
    jvp = staticmethod(lambda ctx, dx: -dx)


class Older(torch.autograd.Function):
    """In the older form, with ``ctx``, which torch.func does not take."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return ctx.saved_tensors[0].cos() * g


def with_head(head: Tensor) -> Callable[[Path], str]:
    """The gradient of a head that f holds, beside the weights that are linearised."""

    def run(folder: Path) -> str:
        theta_0, tau, x = given()
        f = lambda params, x: torch.tanh(x @ params["w"]) @ head
        theta = {name: theta_0[name] + tau[name] for name in theta_0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = torch.autograd.grad(tl.linearize(f, theta_0)(theta, x).square().sum(), head)
        right = torch.autograd.grad(torch.add(*jvp(lambda p: f(p, x), (theta_0,), (tau,))).square().sum(), head)
        return gap(list(mine), list(right))

    return run


def of_tau(folder: Path) -> str:
    theta_0, tau, x = given()
    tau["w"].requires_grad_()
    f = lambda params, x: torch.tanh(x @ params["w"])
    mine = value_and_tangents(f, theta_0, [tau], x)[1][0]
    right = jvp(lambda params: f(params, x), (theta_0,), (tau,))[1]
    return gap(*(list(torch.autograd.grad(each.square().sum(), tau["w"])) for each in (mine, right)))


def without_grad(p: dict, x: Tensor) -> Tensor:
    z = x @ p["w"]
    with torch.no_grad():
        size = z.norm(dim=1, keepdim=True)
    return z / size


def through_numpy(p: dict, x: Tensor) -> Tensor:
    z = x @ p["w"]
    return z * torch.from_numpy(numpy.sin(z.detach().numpy()))


def written(write: Callable) -> Callable:
    def f(p: dict, x: Tensor) -> Tensor:
        write(z := x @ p["w"], p)
        return z * p["v"]

    return f


ATTEND, GATE = F.scaled_dot_product_attention, draw(3, 3, seed=5).requires_grad_()
heads = lambda x: x[:, None, None].expand(-1, 2, 2, 3)
hidden = lambda p, x: x @ p["w"]
ODD = {
    "torch.fft": lambda p, x: torch.fft.fft(hidden(p, x)).abs(),
    "real and inverse torch.fft": lambda p, x: torch.fft.irfft(torch.fft.rfft(hidden(p, x)) * p["v"][:2], n=3),
    "view_as_complex": lambda p, x: torch.view_as_complex(hidden(p, x)[:, :2].contiguous()).square().imag[:, None] * p["v"],
    "to(complex)": lambda p, x: (hidden(p, x).to(torch.complex128) * 1j).sigmoid().real,
    "a complex constant": lambda p, x: ((hidden(p, x) + 1j) @ p["w"].to(torch.complex128)).abs(),
    "the hyperbolic tangent of complex numbers": lambda p, x: (0.3j * x + p["v"]).tanh().imag,
    "bytes read as another type": lambda p, x: hidden(p, x).repeat(1, 2).view(torch.complex128).real @ p["w"],
    "an autograd.Function": lambda p, x: Cubed.apply(hidden(p, x)) @ p["w"],
    "an autograd.Function of a weight": lambda p, x: x @ Cubed.apply(p["w"]),
    "rounding with a derivative": lambda p, x: Rounded.apply(3 * hidden(p, x)) * p["v"],
    "reversed gradients": lambda p, x: Flipped.apply(hidden(p, x)) * p["v"],
    "reversed gradients of a weight": lambda p, x: x @ Flipped.apply(p["w"]),
    "a part under no_grad": without_grad,
    "attention of one query to all": lambda p, x: ATTEND(p["w"][None], x[:, None], hidden(p, x)[:, None])[:, 0],
    "attention to one set of keys": lambda p, x: ATTEND(hidden(p, x)[:, None], p["w"][None], p["w"][None].sin())[:, 0],
    "attention of one head to two": lambda p, x: ATTEND(hidden(p, x)[:, None, None], *[heads(x)] * 2)[:, 1, 0],
    "attention without a batch": lambda p, x: ATTEND(hidden(p, x), x, x * p["v"]),
    "a bias without dimensions": lambda p, x: F.linear(x, p["w"], p["b"]),
    "a bias of one number": lambda p, x: F.linear(x, p["w"], p["one"]),
    "a bias for each point": lambda p, x: F.linear(x, p["w"], x * p["v"]),
    "a weight that is a vector": lambda p, x: F.linear(x, p["v"])[:, None] * p["v"],
    "written through torch.ops": written(lambda z, p: torch.ops.aten.mul_.Tensor(z, p["v"])),
    "written by an option": written(lambda z, p: F.silu(z, True)),
    "written into a slice": written(lambda z, p: z[:, 0].mul_(p["v"][0])),
    "vmap within": lambda p, x: torch.func.vmap(lambda row: row * row.sum())(hidden(p, x)),
    "torch.func.grad within": lambda p, x: torch.func.vmap(torch.func.grad(lambda row: (row @ p["w"]).sin().sum()))(x),
    "single precision in between": lambda p, x: (hidden(p, x).float().double() + x) * p["v"],
    "a number taken out": lambda p, x: hidden(p, x) * hidden(p, x).sum().item(),
}  # fmt: skip
REFUSED = {
    "an autograd.Function of the older form": (
        lambda p, x: Older.apply(hidden(p, x)),
        "f has no forward derivative: .*setup_context",
    ),
    "weight normalisation": (
        lambda p, x: torch._weight_norm(p["w"], p["w"].norm(dim=1, keepdim=True)) @ x.mT,
        "f has no forward derivative: .*_weight_norm",
    ),
}  # fmt: skip
OF_KERNELS = {
    "a bias without dimensions": lambda p, x: F.linear(x, p["w"], p["b"]).tanh(),
    "a bias of one number": lambda p, x: F.linear(x, p["w"], p["one"]).tanh(),
    "one weight for scale and shift": lambda p, x: F.layer_norm(x, (3,), p["v"], p["v"]).tanh(),
    "one weight for product and bias": lambda p, x: F.linear(x[:, :1], p["v"].view(3, 1), p["v"]).tanh(),
    "a weight added to complex numbers": lambda p, x: (torch.fft.fft(x) + p["v"]).abs(),
    "torch.fft": lambda p, x: torch.fft.fft(F.linear(x, p["w"])).abs(),
    "an autograd.Function of a weight": lambda p, x: F.linear(x, Cubed.apply(p["w"])).tanh(),
    "reversed gradients of a weight": lambda p, x: F.linear(x, Flipped.apply(p["w"])).tanh(),
    "PReLU": lambda p, x: F.prelu(F.linear(x, p["w"]), p["v"]),
    "a recurrent cell": lambda p, x: torch.gru_cell(x, x.sin(), *[torch.cat([p["w"]] * 3)] * 2),
    "a number alone": lambda p, x: x * p["b"],
    "a part under no_grad": lambda p, x: F.linear(x, p["w"]) / F.linear(x, p["w"].detach()).norm(dim=1, keepdim=True),
}


def dropped(folder: Path) -> Tensor:
    return tl.ntk(lambda p, x: F.dropout(F.linear(x, p["w"])), {"w": draw(3, 3)}, draw(4, 3))


def complex_outputs(folder: Path) -> Tensor:
    return tl.ntk(lambda p, x: torch.fft.fft(x @ p["w"]), {"w": draw(3, 3)}, draw(4, 3))


class Anew(nn.Module):
    """One layer is computed anew in the backward pass."""

    def __init__(self, reentrant: bool):
        super().__init__()
        self.a, self.b, self.reentrant = nn.Linear(3, 3), nn.Linear(3, 2), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.b(checkpoint(self.a, x, use_reentrant=self.reentrant).tanh())


def anew(reentrant: bool) -> Callable[[Path], str]:
    """Kernel, and gradient of a loss, of weights that are not the module's own."""

    def run(folder: Path) -> str:
        f, own = tl.functional(Anew(reentrant).double())
        plain = lambda p, x: F.linear(F.linear(x, p["a.weight"], p["a.bias"]).tanh(), p["b.weight"], p["b.bias"])
        theta = {name: draw(*value.shape, seed=i).requires_grad_() for i, (name, value) in enumerate(own.items())}
        at, x = {name: value.detach() + 1 for name, value in theta.items()}, draw(4, 3)
        both = lambda g: [*loss_gradients(g(theta, x), theta), *loss_gradients(tl.linearize(g, at)(theta, x), theta)]
        return gap([tl.ntk(f, at, x), *both(f)], [tl.ntk(plain, at, x), *both(plain)])

    return run


def writing_into_x(folder: Path) -> str:
    params, tau, x = given()
    good, bad = (lambda p, x: (x - 0.5) @ p["w"]), (lambda p, x: x.sub_(0.5) @ p["w"])
    of = lambda f: [tl.ntk(f, {"w": params["w"]}, x), *value_and_tangents(f, params, [tau], x)[1], f(params, x.clone())]
    return gap([*of(bad), x], [*of(good), draw(4, 3)])


def odd(call: Callable) -> Callable[[Path], object]:
    """Of a function of weights ``w``, four points and something else that is odd."""
    return lambda folder: call({"w": draw(3, 3)}, draw(4, 3))


TWO = lambda p, x: (x @ p["w"], x)
CENTRED = lambda p, x: x @ p["w"] - (x @ p["w"]).mean(0)
CASES = [
    Case(ODD_MODULES, "a checkpoint within", anew(reentrant=False), right=EQUAL),
    Case(ODD_MODULES, "a reentrant checkpoint within", anew(reentrant=True), right=EQUAL),
    Case(ODD_MODULES, "one that writes into its input", writing_into_x, right=EQUAL),
    Case(ODD_MODULES, "two results", odd(lambda w, x: tl.linearize(TWO, w)(w, x)), refused="f gives tuple, where a tensor"),
    Case(ODD_MODULES, "two results, plain", odd(lambda w, x: tl.linearize(TWO, w, "plain")(w, x)), refused="f gives tuple"),
    Case(ODD_MODULES, "points centred", odd(lambda w, x: tl.ntk(CENTRED, w, x)), refused="f mixes points"),
    Case(
        ODD_MODULES,
        "batch normalisation in train mode",
        odd(lambda w, x: tl.ntk(*tl.functional(nn.BatchNorm1d(3).double()), x)),
        refused=r"f mixes points.*call eval\(\)",
    ),
    Case(
        ODD_MODULES,
        "None beside the tensors",
        odd(lambda w, x: tl.linearize(lambda p, x: x["a"] @ p["w"], w)(w, {"a": x, "b": None})),
        refused="the inputs are a dict with NoneType: give a tensor",
    ),
    *(Case(TANGENTS, name, tangent(f), right=EQUAL) for name, f in ODD.items()),
    *(Case(TANGENTS, name, tangent(f), refused=said) for name, (f, said) in REFUSED.items()),
    Case(TANGENTS, "a trained head that f holds", with_head(GATE), right=EQUAL),
    Case(TANGENTS, "a gradient of the task vector", of_tau, right=EQUAL),
    *(Case(KERNELS, name, kernel(f), right=EQUAL) for name, f in OF_KERNELS.items()),
    Case(KERNELS, "dropout in train mode", dropped, refused=r"f draws random numbers.*eval\(\)"),
    Case(KERNELS, "complex outputs", complex_outputs, refused="view_as_real of what is complex"),
    Case(PRODUCTS, "a bias without dimensions", product(torch.tensor(2.0)), right=8 * 5.0),
    Case(PRODUCTS, "a bias of one number", product(torch.tensor([2.0])), right=8 * 5.0),
    Case(PRODUCTS, "a bias for each row", product(torch.tensor([[2.0], [4.0]])), right=8 * 3.0 + 4 * 2 + 4 * 4),
    Case(PRODUCTS, "a bias that is a view", product(torch.tensor([1.0, 9.0] * 4)[::2]), right=8 * 4.0),
]
