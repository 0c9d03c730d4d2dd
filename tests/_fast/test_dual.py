"""Tensors that carry tangents: what has no rule, what cannot have one, random numbers, and several directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tangent_lib._fast import dual, rules  # noqa: F401  operations learn there how to move tangents
from tangent_lib._fast.dual import RULES, Dual, NotCovered, takes, tangent_of, value_of
from tangent_lib.linearization import functional, linearize, listing_1, value_and_tangent, value_and_tangents
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
NO_RULE = "has no tangent rule: torch.func.jvp differentiates"


@pytest.fixture(autouse=True)
def said_anew():
    """Each test hears the warnings, which are given once, and has its own random numbers."""
    dual._say.cache_clear()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def moved(*shape: int, directions: int = 1) -> Dual:
    return Dual(random(*shape), [random(*shape) for _ in range(directions)])


# -- the tensor --------------------------------------------------------------------------------------------------------
def test_what_is_asked_about_it_is_asked_of_its_value():
    x = Dual(torch.ones(2, 3).t().requires_grad_(), [torch.ones(3, 2)])
    asked = lambda x: (x.shape, x.dtype, x.device, x.ndim, x.dim(), x.size(), x.size(0), x.numel(), len(x), x.layout)
    assert asked(x) == asked(x.value)
    assert x.requires_grad and x.is_floating_point() and not x.is_contiguous() and x.stride() == (1, 3)


def test_without_a_tangent_it_is_the_value_alone():
    x = torch.ones(2)
    assert dual.dual(x, [None, None]) is x and dual.dual(x, []) is x and value_of(x) is x
    assert isinstance(dual.dual(x, [None, x]), Dual) and tangent_of(x, 3) is None and value_of("x") == "x"


def test_a_tangent_is_made_where_it_is_needed():
    made = []
    x = Dual(torch.tensor(3.0), [lambda: (made.append(1), torch.tensor(2.0))[1], None])
    y = x.reshape(1)
    assert made == [1] and torch.equal(tangent_of(y, 0), torch.tensor([2.0])) and tangent_of(y, 1) is None
    y * y
    assert made == [1]


def test_the_value_keeps_its_graph_and_tangents_have_none():
    w = torch.tensor(3.0, requires_grad=True)
    y = Dual(w, [torch.tensor(1.0, requires_grad=True)]).exp() / 2
    assert not tangent_of(y, 0).requires_grad
    y.value.backward()
    torch.testing.assert_close(w.grad, w.detach().exp() / 2)


def test_an_operation_that_goes_past_the_rules_is_refused():
    with torch._C.DisableTorchFunctionSubclass(), pytest.raises(NotCovered, match="add"):
        moved(2) + 1


def test_a_rule_is_asked_for_its_options():
    assert takes(RULES[F.conv2d], "stride") and not takes(RULES[F.conv2d], "strides")
    assert takes(RULES[torch.mean], "whatever") and not takes(RULES[torch.mul], "out")


# -- operations without a rule -----------------------------------------------------------------------------------------
with torch.random.fork_rng():
    torch.manual_seed(0)
    POOLING = nn.MultiheadAttention(4, 2, batch_first=True).double().requires_grad_(False)


def attended(x: Tensor, y: Tensor, **options: bool) -> tuple[Tensor, Tensor | None]:
    """Attention from one sequence to another, as in attentional pooling; its weights are None, unless they are wanted."""
    return POOLING(x[None], y[None], y[None], **{"need_weights": False, **options})


def batch_norm(x: Tensor, y: Tensor, training: bool) -> Tensor:
    return F.batch_norm(x, torch.zeros(4).double(), torch.ones(4).double(), y[0], y[1], training=training)


WITHOUT = {
    "softmax": lambda x, y: x.softmax(-1),
    "div": lambda x, y: x / (3 + y * y),
    "rsub": lambda x, y: 2 - x,
    "bmm": lambda x, y: torch.bmm(x[None], y.mT[None]),
    "einsum": lambda x, y: torch.einsum("ij,kj->ik", x, y),
    "batch_norm": lambda x, y: batch_norm(x, y, training=False),
    "batch_norm in training": lambda x, y: batch_norm(x, y, training=True),
    "group_norm": lambda x, y: F.group_norm(x, 2, y[0], y[1]),
    "silu": lambda x, y: F.silu(x, inplace=False),
    "avg_pool1d": lambda x, y: F.avg_pool1d(x, 2),
    "normalize": lambda x, y: F.normalize(x, dim=-1),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "hstack": lambda x, y: torch.hstack([x, y]),
    "cumsum": lambda x, y: x.cumsum(0),
    "zeros_like": lambda x, y: x * torch.zeros_like(y) + y,
    "detach": lambda x, y: x.detach() * y,
    "max": lambda x, y: x.max(dim=1).values * x.max(dim=1)[0],
    "sort": lambda x, y: y * torch.sort(x, dim=1)[0] + x[:, x[0].sort().indices],
    "topk": lambda x, y: y.gather(1, x.topk(2, dim=1).indices),
    "var_mean": lambda x, y: torch.stack(torch.var_mean(x, dim=1)),
    "multi_head_attention_forward": lambda x, y: attended(x, y)[0],
    "multi_head_attention_forward with weights": lambda x, y: attended(x, y, need_weights=True)[1],
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_has_no_rule_is_left_to_jvp_with_a_warning(name):
    f = lambda params, x: WITHOUT[name](x + params["x"], x * params["y"])
    theta_0, x = {"x": random(3, 4), "y": random(3, 4)}, random(3, 4)
    taus = [{"x": random(3, 4), "y": random(3, 4)} for _ in range(2)]
    with pytest.warns(UserWarning, match=f"{name.split()[0]}.* {NO_RULE} it, which is slower"):
        value, tangents = value_and_tangents(f, theta_0, taus, x)
    for tau, tangent in zip(taus, tangents, strict=True):
        expected = value_and_tangent(f, theta_0, tau, x)
        torch.testing.assert_close((value, tangent), expected, **CLOSE)


@pytest.mark.parametrize("name", WITHOUT)
def test_arguments_and_directions_without_a_tangent_are_zero_for_jvp(name):
    x, y, dx, dy = (random(3, 4) for _ in range(4))
    z = WITHOUT[name](Dual(x, [dx, None, None]), Dual(y, [None, dy, None]))
    for k, (move, other) in enumerate([(dx, 0 * dy), (0 * dx, dy), (0 * dx, 0 * dy)]):
        function = lambda params, _: WITHOUT[name](params["x"], params["y"])
        expected = value_and_tangent(function, {"x": x, "y": y}, {"x": move, "y": other}, x)[1]
        mine = torch.zeros_like(expected) if tangent_of(z, k) is None else tangent_of(z, k)
        torch.testing.assert_close(mine, expected, **CLOSE)


def test_the_warning_is_given_once():
    x = moved(3)
    with pytest.warns(UserWarning, match="sinh") as seen:
        x.sinh() + x.sinh() + x.cosh()
    assert [str(each.message).split()[0] for each in seen] == ["sinh", "cosh"]


def test_results_keep_their_form():
    x = moved(3, 4, directions=2)
    largest = x.max(dim=1)
    assert isinstance(largest, torch.return_types.max) and isinstance(largest.values, Dual)
    numbers = [largest.indices, x.argmax(), x > 0, x.long(), x.isfinite(), torch.count_nonzero(x)]
    assert not any(isinstance(each, Dual) for each in numbers)
    assert (
        isinstance(x.shape, torch.Size)
        and x.tolist() == x.value.tolist()
        and torch.equal(x[x > 0].value, x.value[x.value > 0])
    )
    assert [type(part) for part in x.split(2)] == [Dual, Dual] and isinstance(x.split(2), tuple)


# -- operations that write into what they are given --------------------------------------------------------------------
WRITING = {
    "add_": lambda x: x.add_(1),
    "+=": lambda x: x.__iadd__(x),
    "setitem": lambda x: x.__setitem__(0, 0.0),
    "clamp_": lambda x: torch.clamp_(x, min=0),
    "relu": lambda x: F.relu(x, inplace=True),
    "silu": lambda x: F.silu(x, inplace=True),
    "leaky_relu": lambda x: nn.LeakyReLU(inplace=True)(x),
    "dropout": lambda x: F.dropout(x, inplace=True),
    "out": lambda x: torch.add(x, 1, out=torch.empty(3, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", WRITING)
def test_what_writes_into_its_argument_is_not_covered(name):
    x = moved(3)
    before = x.value.clone()
    with pytest.raises(NotCovered):
        WRITING[name](x)
    assert torch.equal(x.value, before)


@pytest.mark.parametrize("name", [name for name in WRITING if name not in ("out", "+=", "dropout")])
def test_a_model_that_writes_into_its_tensors_is_differentiated_whole(name):
    def f(params, x):
        hidden = x @ params["w"]
        WRITING[name](hidden)  # what is written is seen where the tensor is used afterwards
        return hidden * params["v"]

    draw = lambda: {"w": random(3, 3), "v": random(3)}
    theta_0, taus, x = draw(), [draw(), draw()], random(3)
    with pytest.warns(UserWarning, match=f"{NO_RULE} the whole model"):
        value, tangents = value_and_tangents(f, theta_0, taus, x)
    for tau, tangent in zip(taus, tangents, strict=True):
        torch.testing.assert_close((value, tangent), value_and_tangent(f, theta_0, tau, x), **CLOSE)
    outputs = []
    for make in (linearize, listing_1):
        theta = {name: p.requires_grad_() for name, p in apply(theta_0, taus[0]).items()} | {"v": theta_0["v"]}
        z = make(f, theta_0)(theta, x)
        outputs.append((z, *torch.autograd.grad(z.square().sum(), theta["w"])))
    torch.testing.assert_close(*outputs, **CLOSE)


# -- random numbers ----------------------------------------------------------------------------------------------------
def attention_dropped(x: Tensor) -> Tensor:
    constant = torch.arange(12.0, dtype=torch.float64).reshape(1, 3, 4).sin()
    return F.scaled_dot_product_attention(constant, constant, x[None], dropout_p=0.5)


RANDOM = {
    "dropout": lambda x: F.dropout(x),
    "module": lambda x: nn.Dropout(0.3)(x),
    "torch.dropout": lambda x: torch.dropout(x, 0.5, True),
    "twice": lambda x: F.dropout(F.dropout(x, 0.2), 0.4),
    "channels": lambda x: F.dropout1d(x),
    "attention": attention_dropped,
    "mask": lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "in place": lambda x: F.dropout((2 * x).mul_(1), inplace=True),
    "whole model": lambda x: F.dropout(F.dropout(x).mul_(2)),
}


@pytest.mark.parametrize("implementation", ["auto", "plain"])
@pytest.mark.parametrize("name", RANDOM)
def test_value_and_tangents_share_their_random_numbers(name, implementation):
    """Euler: a model that is linear in its weights has itself as its tangent along them."""
    f, theta_0 = (lambda params, x: RANDOM[name](x * params["w"])), {"w": random(3, 4)}
    drawn = []
    for _ in range(8):
        taus = [theta_0, {"w": 2 * theta_0["w"]}]
        value, (tangent, twice) = value_and_tangents(f, theta_0, taus, random(3, 4).exp(), implementation)
        torch.testing.assert_close((tangent, twice), (value, 2 * value), **CLOSE)
        drawn.append(value == 0 if "attention" not in name else value)
    assert len({str(each) for each in drawn}) > 1  # the next pass draws others


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_those_of_the_plain_formula(name):
    f, theta_0, x = (lambda params, x: RANDOM[name](x * params["w"]).sin()), {"w": random(3, 4)}, random(3, 4)
    results = []
    for make in (linearize, listing_1):
        torch.manual_seed(5)
        theta = {"w": (theta_0["w"] + 1).requires_grad_()}
        z = make(f, theta_0)(theta, x)
        results.append((z, torch.autograd.grad(z.sum(), theta["w"])[0], torch.rand(())))
    torch.testing.assert_close(*results, **CLOSE)


def test_in_eval_mode_nothing_is_dropped():
    f, theta_0 = functional(nn.Sequential(nn.Linear(3, 3), nn.Dropout()).double().eval())
    tau, x = {name: random(*value.shape) for name, value in theta_0.items()}, random(2, 3)
    value, (tangent,) = value_and_tangents(f, theta_0, [tau], x)
    torch.testing.assert_close(tangent, x @ tau["0.weight"].T + tau["0.bias"], **CLOSE)
    torch.testing.assert_close(value, x @ theta_0["0.weight"].T + theta_0["0.bias"], **CLOSE)


# -- what only the whole model shows ------------------------------------------------------------------------------------
class Signed(torch.autograd.Function):
    """With a forward derivative that is not that of what it computes."""

    forward = staticmethod(lambda x: x)
    setup_context = staticmethod(lambda ctx, inputs, output: None)
    backward = staticmethod(lambda ctx, g: -g)
    jvp = staticmethod(lambda ctx, dx: -dx)


@pytest.mark.parametrize("graphs", [True, False])
def test_the_derivative_of_a_function_is_its_own(graphs):
    theta_0 = {"w": random(3)}
    with torch.set_grad_enabled(graphs), pytest.warns(UserWarning, match=f"{NO_RULE} the whole model"):
        value, (tangent,) = value_and_tangents(lambda params, x: Signed.apply(params["w"] * x), theta_0, [theta_0], random(3))
    torch.testing.assert_close(tangent, -value, **CLOSE)


@pytest.mark.parametrize("graphs", [True, False])
def test_a_tensor_that_is_trained_beside_the_weights_has_its_gradient(graphs):
    head, theta_0, x = random(3).requires_grad_(), {"w": random(3)}, random(3)
    f = lambda params, x: params["w"] * x * head * head
    with torch.set_grad_enabled(graphs):
        value, (tangent,) = value_and_tangents(f, theta_0, [theta_0], x)
        z = linearize(f, theta_0)({"w": 3 * theta_0["w"]}, x)
    torch.testing.assert_close((tangent, z), (value, 3 * value), **CLOSE)
    assert tangent.requires_grad == value.requires_grad == z.requires_grad == graphs
    if graphs:
        torch.testing.assert_close(torch.autograd.grad(z.sum(), head)[0], 6 * theta_0["w"] * x * head, **CLOSE)


def test_derivatives_of_a_tangent_are_those_of_the_formula():
    f, theta_0 = (lambda params, x: x * params["w"] ** 3), {"w": torch.tensor(2.0)}
    x, tau = torch.tensor(5.0, requires_grad=True), {"w": torch.tensor(7.0, requires_grad=True)}
    tangent = value_and_tangents(f, theta_0, [tau], x)[1][0]
    assert [g.item() for g in torch.autograd.grad(tangent, [x, tau["w"]])] == [3 * 4 * 7, 5 * 3 * 4]
    seen = torch.func.grad(lambda x: value_and_tangents(f, theta_0, [{"w": torch.tensor(7.0)}], x)[1][0])(x.detach())
    assert seen == 3 * 4 * 7


def test_a_tangent_of_another_shape_is_not_taken():
    with pytest.raises(NotCovered, match=r"\(3,\) for a value of \(2,\)"):
        dual.dual(torch.ones(2), [torch.ones(3)])


def test_what_numpy_computes_is_not_covered():
    with pytest.raises(NotCovered, match="NumPy"):
        moved(3).detach().numpy()


def test_running_means_are_updated_once():
    mean, variance, theta_0, x = torch.zeros(2).double(), torch.ones(2).double(), {"w": random(2)}, random(4, 2)
    f = lambda params, x: F.batch_norm(x * params["w"], mean, variance, training=True, momentum=0.5)
    value_and_tangents(f, theta_0, [theta_0, theta_0], x)
    torch.testing.assert_close(mean, 0.5 * (x * theta_0["w"]).mean(dim=0), **CLOSE)


def test_a_function_that_has_no_forward_derivative_is_refused_in_one_line():
    f, theta_0 = (lambda params, x: torch._weight_norm(params["v"], params["g"])), {"v": random(2, 3), "g": random(2, 1)}
    for implementation in ("auto", "plain"):
        with pytest.raises(InputError, match=r"^f has no forward derivative: .*_weight_norm[^\n]*$"):
            value_and_tangents(f, theta_0, [theta_0], random(3), implementation)
