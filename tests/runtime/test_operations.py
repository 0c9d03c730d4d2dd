"""Products through oneDNN against PyTorch's own in float64: values, gradients, what is kept, and where they are not used."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, jacrev, jvp, vmap
from torch.nn import functional as F

from tangent_lib.runtime import operations as products
from tangent_lib.runtime.operations import add_linear, linear, plain_products, through_onednn
from tangent_lib.runtime.private_doors import inside_func_transform, shapes_without_content

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


INPUTS = {
    "matrix": lambda: draw(7, 6),
    "one row": lambda: draw(1, 6),
    "vector": lambda: draw(6),
    "batch of tokens": lambda: draw(4, 5, 6),
    "tokens first": lambda: draw(5, 4, 6).transpose(0, 1),
    "four dimensions": lambda: draw(2, 3, 4, 6).permute(2, 0, 1, 3),
    "transposed": lambda: draw(6, 7).t(),
    "every other column": lambda: draw(7, 12)[:, ::2],
    "every other row": lambda: draw(14, 6)[::2],
    "a part of a batch": lambda: draw(4, 5, 8)[1:3, 2:, 1:7],
    "one row repeated": lambda: draw(1, 6).expand(7, 6),
    "one number repeated": lambda: draw(1, 1).expand(7, 6),
    "overlapping rows": lambda: draw(12).unfold(0, 6, 1),
    "no rows": lambda: draw(0, 6),
    "no images": lambda: draw(0, 5, 6),
}
WEIGHTS = {
    "matrix": lambda: draw(8, 6, seed=1),
    "transposed": lambda: draw(6, 8, seed=1).t(),
    "a slice of another": lambda: draw(24, 6, seed=1)[8:16],
    "every other column": lambda: draw(8, 12, seed=1)[:, ::2],
    "one row repeated": lambda: draw(1, 6, seed=1).expand(8, 6),
    "overlapping rows": lambda: draw(13, seed=1).unfold(0, 6, 1),
    "one row": lambda: draw(1, 6, seed=1),
    "no rows": lambda: draw(0, 6, seed=1),
}
BIASES = {
    "one number repeated": lambda: draw(1, seed=2).expand(8),
    "every other": lambda: draw(16, seed=2)[::2],
    "a column": lambda: draw(8, 3, seed=2)[:, 1],
    "a slice": lambda: draw(12, seed=2)[3:11],
}
PAIRS = [(x, "matrix") for x in INPUTS] + [(x, weight) for x in ("matrix", "tokens first") for weight in list(WEIGHTS)[1:]]


def assert_close(result: torch.Tensor, reference: torch.Tensor):
    """Within 1e-5 of the largest number of the reference, which is in float64."""
    assert result.shape == reference.shape and result.dtype == torch.float32
    limit = 1e-5 * reference.abs().max().item() if reference.numel() else 0.0
    torch.testing.assert_close(result.double(), reference, rtol=0, atol=limit)


@pytest.fixture
def only_onednn(monkeypatch):
    monkeypatch.setattr(F, "linear", lambda *args: pytest.fail("PyTorch's own product was taken"))


@pytest.fixture
def no_onednn(monkeypatch):
    monkeypatch.setattr(products, "_product", lambda *args: pytest.fail("oneDNN was taken"))


# -- values and gradients ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("layout, weight_layout", PAIRS)
def test_value_and_gradients_are_those_of_pytorch(layout, weight_layout, with_bias):
    given = [INPUTS[layout](), WEIGHTS[weight_layout]()]
    given += [draw(len(given[1]), seed=2)] if with_bias else []
    ours, theirs = ([each.to(dtype).requires_grad_() for each in given] for dtype in (torch.float32, torch.float64))
    z, expected = linear(*ours), F.linear(*theirs)
    assert_close(z, expected)
    for cotangent in (
        draw(*z.shape, seed=3),
        torch.ones(()).expand(z.shape),
        draw(*z.shape[::-1], seed=4).permute(*range(z.dim())[::-1]),
    ):
        gradients = torch.autograd.grad(z, ours, cotangent, retain_graph=True)
        for mine, other in zip(gradients, torch.autograd.grad(expected, theirs, cotangent.double(), retain_graph=True)):
            assert_close(mine, other)
    with torch.no_grad():
        assert_close(linear(*ours), expected)


@pytest.mark.parametrize("layout", BIASES)
def test_the_numbers_of_a_bias_may_lie_apart(layout):
    x, weight, bias = draw(7, 6), draw(8, 6, seed=1), BIASES[layout]()
    expected = F.linear(x.double(), weight.double(), bias.double())
    assert_close(linear(x, weight, bias), expected)
    assert_close(linear(x, weight, bias.requires_grad_()), expected)


@pytest.mark.parametrize("layout, weight_layout", PAIRS)
def test_a_product_is_added(layout, weight_layout):
    x, weight = INPUTS[layout](), WEIGHTS[weight_layout]()
    to = draw(*x.shape[:-1], len(weight), seed=5)
    expected = to.double() + F.linear(x.double(), weight.double())
    assert_close(add_linear(to, x, weight), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["transposed", "tokens first", "every other column"])
def test_a_product_is_added_to_a_sum_of_any_layout(dtype, layout):
    to = {
        "transposed": draw(8, 7).t(),
        "tokens first": draw(5, 4, 8).transpose(0, 1),
        "every other column": draw(7, 16)[:, ::2],
    }
    to, weight = to[layout].to(dtype), draw(8, 6).to(dtype)
    x = draw(*to.shape[:-1], 6).to(dtype)
    expected = to + F.linear(x, weight)
    torch.testing.assert_close(add_linear(to, x, weight), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (1, 8), (4, 8), (5, 1)])
def test_a_sum_of_another_shape_is_refused(shape):
    with pytest.raises(RuntimeError):
        add_linear(torch.ones(shape), draw(5, 6), draw(8, 6))


# -- what is computed, and what is kept for it -------------------------------------------------------------------------
@needs_onednn
def test_products_in_fp32_go_through_onednn(only_onednn):
    x, weight, bias = draw(4, 6), nn.Parameter(draw(8, 6)), nn.Parameter(draw(8))
    linear(x, weight, bias).sum().backward()
    with torch.no_grad():
        linear(x, weight), add_linear(draw(4, 8), x, weight)
    linear(x, weight.detach())


@needs_onednn
@pytest.mark.parametrize(
    "trained, kept", [("xwb", "xw"), ("xw", "xw"), ("wb", "x"), ("w", "x"), ("x", "w"), ("xb", "w"), ("b", "")]
)
def test_what_is_frozen_has_no_gradient_and_keeps_nothing(trained, kept):
    given = {"x": draw(3, 4, 6), "w": draw(8, 6), "b": draw(8)}
    for name in trained:
        given[name].requires_grad_()
    storages, names = [], {value.untyped_storage().data_ptr(): name for name, value in given.items()}
    with saved_tensors_hooks(lambda t: storages.append(t.untyped_storage().data_ptr()) or t, lambda t: t):
        z = linear(*given.values())
    assert sorted(names[each] for each in storages) == sorted(kept)
    z.square().sum().backward()
    assert {name for name, value in given.items() if value.grad is not None} == set(trained)
    expected = torch.autograd.grad(F.linear(*given.values()).square().sum(), [given[name] for name in trained])
    for name, gradient in zip(trained, expected):
        torch.testing.assert_close(given[name].grad, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_kept(grad_mode):
    with saved_tensors_hooks(lambda t: pytest.fail("a tensor was kept"), lambda t: t), grad_mode():
        assert not linear(draw(4, 6), nn.Parameter(draw(8, 6))).requires_grad
    with saved_tensors_hooks(lambda t: pytest.fail("a tensor was kept"), lambda t: t):
        assert not linear(draw(4, 6), draw(8, 6)).requires_grad


@needs_onednn
def test_a_second_derivative_is_refused():
    weight = draw(8, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(linear(draw(4, 6), weight).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@needs_onednn
def test_a_weight_changed_before_the_backward_pass_is_noticed():
    x, weight = draw(4, 6).requires_grad_(), draw(8, 6)
    z = linear(x, weight)
    weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


# -- where PyTorch's own products stay ---------------------------------------------------------------------------------
@pytest.mark.parametrize("products_of", [linear, F.linear], ids=["ours", "reference"])
def test_torch_func_looks_into_products(products_of, no_onednn):
    """Against closed forms, for the reference too, so that these cannot be wrong together."""
    x, w, v = draw(5, 6), draw(8, 6), draw(8, 6, seed=9)
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    close(grad(lambda w: products_of(x, w).sum())(w), x.sum(0).expand(8, 6))
    close(grad(grad(lambda s: products_of(x, s * w).square().sum()))(torch.ones(())), 2 * (x @ w.T).square().sum())
    close(jvp(lambda w: products_of(x, w), (w,), (v,))[1], x @ v.T)
    close(vmap(lambda row: products_of(row, w))(x), x @ w.T)
    close(vmap(lambda row: products_of(x, row[None])[:, 0])(w), w @ x.T)
    close(jacrev(lambda x: products_of(x, w))(x[0]), w)


def test_whether_torch_func_differentiates_is_known():
    seen = []
    note = lambda x: (seen.append((inside_func_transform(), through_onednn(torch.ones(1)))), x.sum())[1]
    grad(note)(torch.ones(2)), vmap(note)(torch.ones(2, 2)), jvp(note, (torch.ones(2),), (torch.ones(2),))
    assert seen == [(True, False)] * 3 and not inside_func_transform()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_pytorchs_own(no_onednn, dtype):
    x, weight, bias, to = (each.to(dtype) for each in (draw(4, 6), draw(8, 6), draw(8), draw(4, 8)))
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert torch.equal(add_linear(to.clone(), x, weight), to + F.linear(x, weight))
    twice = weight.double().requires_grad_()
    (gradient,) = torch.autograd.grad(linear(x.double(), twice).square().sum(), twice, create_graph=True)
    gradient.sum().backward()  # twice differentiable, as in PyTorch
    torch.testing.assert_close(twice.grad, (2 * x.double().T @ x.double()).sum(1).expand(8, 6))


def test_autocast_is_pytorchs_own(no_onednn):
    x, weight, bias = draw(4, 6), draw(8, 6), draw(8)
    with torch.autocast("cpu", torch.bfloat16):
        z, expected = linear(x, weight, bias), F.linear(x, weight, bias)
        added = add_linear(z.clone(), x, weight)
    assert z.dtype == added.dtype == torch.bfloat16 and torch.equal(z, expected)
    torch.testing.assert_close(added.float(), F.linear(2 * x, weight, bias), rtol=0.05, atol=0.1)


def test_tensors_without_content_keep_their_shape(no_onednn):
    with shapes_without_content():
        assert linear(torch.empty(2, 5, 6), torch.empty(8, 6), torch.empty(8)).shape == (2, 5, 8)
        assert add_linear(torch.empty(2, 5, 8), torch.empty(2, 5, 6), torch.empty(8, 6)).shape == (2, 5, 8)
        z = linear(torch.empty(2, 6), nn.Parameter(torch.empty(8, 6)))
        z.sum().backward()
    assert linear(torch.empty(2, 6, device="meta"), torch.empty(8, 6, device="meta")).shape == (2, 8)


def test_subclasses_are_left_to_themselves(no_onednn):
    class Named(torch.Tensor):
        pass

    assert isinstance(linear(draw(4, 6).as_subclass(Named), draw(8, 6)), Named)
    assert isinstance(linear(draw(4, 6), draw(8, 6).as_subclass(Named)), Named)


def test_where_onednn_is_switched_off_it_is_not_used(no_onednn, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert linear(draw(4, 6), draw(8, 6)).shape == (4, 8)


@needs_onednn
def test_plain_products_are_restored():
    x = draw(2, 6)
    with pytest.raises(KeyError), plain_products():
        with plain_products():
            assert not through_onednn(x)
        assert not through_onednn(x)
        raise KeyError
    assert through_onednn(x)


def test_inside_plain_products_a_second_derivative_exists(no_onednn):
    weight = draw(8, 6).requires_grad_()
    with plain_products():
        (gradient,) = torch.autograd.grad(linear(draw(4, 6), weight).square().sum(), weight, create_graph=True)
    gradient.sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("shape", [(), (1,), (5, 1), (5, 4)])
def test_a_bias_may_be_of_any_shape_that_can_be_expanded(shape):
    x, weight, bias = torch.randn(5, 3), torch.randn(4, 3), torch.randn(shape, requires_grad=True)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))
    assert torch.autograd.grad(linear(x, weight, bias).sum(), bias)[0].sum() == 5 * 4


def test_a_weight_may_be_a_vector():
    x, weight = torch.randn(2, 5, 3), torch.randn(3)
    torch.testing.assert_close(linear(x, weight), x @ weight)
    torch.testing.assert_close(add_linear(torch.ones(2, 5), x, weight), 1 + x @ weight)
