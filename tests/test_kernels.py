"""The kernel against a dense Jacobian in float64, and the local energy on kernels whose eigenfunctions are known."""

import pytest
import torch
from torch import nn
from torch.func import jacrev

from tangent_lib import kernels
from tangent_lib.evaluation import classify
from tangent_lib.kernels import (
    SupportShares,
    eigendecomposition,
    local_energy,
    localisation,
    ntk,
    support_shares,
)
from tangent_lib.linearization import IMPLEMENTATIONS, functional
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.operations import forward_differentiable


class Attention(nn.Module):
    """One block of attention on three tokens, then one logit."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


EACH = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


@pytest.fixture(params=["mlp", "attention"])
def both(request):
    """``f`` with two logits, its parameters and 7 points, all in float64."""
    torch.manual_seed(0)
    mlp = request.param == "mlp"
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)) if mlp else Attention()
    f, params = functional(module.double().eval())
    return f, params, torch.randn(7, 4).double() if mlp else torch.randn(7, 3, 4).double()


@pytest.fixture
def model(both):
    """The same with the second logit alone."""
    f, params, x = both
    return lambda params, x: f(params, x)[:, 1], params, x


def numbers(params: dict) -> int:
    return sum(value.numel() for value in params.values())


@EACH
def test_it_is_the_jacobian_times_its_transpose(model, implementation):
    f, params, x = model
    with forward_differentiable():
        rows = jacrev(f)(params, x)
    dense = torch.cat([row.flatten(start_dim=1) for row in rows.values()], dim=1)
    kernel = ntk(f, params, x, implementation=implementation)
    assert dense.shape == (7, sum(p.numel() for p in params.values())) and kernel.dtype == torch.float64
    torch.testing.assert_close(kernel, dense @ dense.T, rtol=1e-12, atol=1e-12)


@EACH
def test_it_is_symmetric_and_positive_semi_definite(model, implementation):
    f, params, x = model
    kernel = ntk(f, params, x, None, implementation, 3 * numbers(params))
    assert torch.equal(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-12 * kernel.trace()


@EACH
@pytest.mark.parametrize("points", [1, 2, 3, 6])
def test_memory_changes_nothing(model, implementation, points):
    f, params, x = model
    memory = 2 * points * numbers(params)
    whole, some = ntk(f, params, x, None, implementation), ntk(f, params, x[:5], x, implementation)
    torch.testing.assert_close(ntk(f, params, x, None, implementation, memory), whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ntk(f, params, x[:5], x, implementation, memory), some, rtol=1e-12, atol=1e-14)


def test_the_formula_takes_as_many_points_as_fit(model, monkeypatch):
    """Here two a side; the gradients of columns are taken anew for each block of rows above them."""
    f, params, x = model
    sizes, gradients = [], kernels.gradients
    monkeypatch.setattr(kernels, "gradients", lambda *given: (sizes.append(len(given[2])), gradients(*given))[1])
    ntk(f, params, x, None, "plain", 2 * 2 * numbers(params))
    assert sizes == [2, 2, 2, 1, 2, 2, 1, 2, 1, 1]


@EACH
@pytest.mark.parametrize("memory", [400, 2**26])
def test_a_rectangular_kernel_is_a_block_of_the_square_one(model, implementation, memory):
    f, params, x = model
    square = ntk(*model, implementation=implementation)
    for columns in (slice(None), slice(3, None), slice(2, 5)):
        block = ntk(f, params, x[:3], x[columns], implementation, memory)
        torch.testing.assert_close(block, square[:3, columns], rtol=1e-12, atol=1e-14)


@EACH
def test_there_is_one_kernel_an_output(model, both, implementation):
    f, params, x = both
    found, (g, *_) = ntk(f, params, x[:4], x, implementation), model
    assert found.shape == (2, 4, 7)
    torch.testing.assert_close(found[1], ntk(g, params, x[:4], x, implementation), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found, ntk(f, params, x[:4], x, "plain", 1), rtol=1e-12, atol=1e-12)
    assert (found[0] - found[1]).abs().max() > 1e-3


@EACH
def test_only_the_given_parameters_are_differentiated(model, implementation):
    f, params, x = model
    some = {name: value for name, value in params.items() if "weight" in name}
    rest = {name: value for name, value in params.items() if "weight" not in name}
    gap = lambda chosen, fixed: ntk(lambda p, x: f({**fixed, **p}, x), chosen, x, implementation=implementation)
    torch.testing.assert_close(gap(some, rest) + gap(rest, some), ntk(*model))
    assert gap(rest, some).abs().max() > 1e-3


@EACH
def test_points_may_be_dicts_of_tensors(rng, implementation):
    """Token numbers and their mask; a point is one of each."""
    x = {"ids": torch.randint(5, (6, 3), generator=rng), "mask": torch.ones(6, 3).double()}
    x["mask"][::2, 1:] = 0
    params = {"table": torch.randn(5, 4, generator=rng).double(), "w": torch.randn(2, 4, generator=rng).double()}

    def f(params, x):
        mask = x["mask"].unsqueeze(-1)
        mean = (params["table"][x["ids"]] * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.tanh(nn.functional.linear(mean, params["w"]))

    rows = torch.cat([row.flatten(start_dim=2) for row in jacrev(f)(params, x).values()], dim=2)
    some = {name: part[:4] for name, part in x.items()}
    expected = torch.einsum("icn,jcn->cij", rows, rows)
    for memory in (None, 1):
        found = ntk(f, params, some, x, implementation, memory)
        torch.testing.assert_close(found, expected[:, :4], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ntk(f, params, x, None, implementation), expected, rtol=1e-12, atol=1e-12)


@EACH
def test_it_goes_through_the_image_tower_of_open_clip(random_clip, implementation):
    """K_ij is the change of f(x_j) along grad f(x_i), here by finite differences."""
    head = torch.randn(3, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta_0 = {name: value.double() for name, value in random_clip.theta_0.items()}
    f = lambda params, x: classify(random_clip.f(params, x), head)[:, 2]
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    kernel = ntk(f, theta_0, x, None, implementation, 4 * numbers(theta_0))
    gradient = torch.func.grad(lambda params: f(params, x[:1])[0])(theta_0)
    step = 1e-4 / kernel[0, 0].sqrt()
    moved = [f({name: value + sign * step * gradient[name] for name, value in theta_0.items()}, x) for sign in (1, -1)]
    torch.testing.assert_close((moved[0] - moved[1]) / (2 * step), kernel[0], rtol=1e-5, atol=1e-6)


def test_energy_is_one_on_the_task_and_zero_on_the_control_of_a_block_diagonal_kernel(rng):
    task = torch.randn(4, 6, generator=rng).double()
    energy = local_energy(torch.cat([task @ task.T, torch.zeros(4, 3).double()], dim=1))
    torch.testing.assert_close(energy, torch.tensor([1.0] * 4 + [0.0] * 3).double())
    assert localisation(energy, trained=4) == pytest.approx(1)


def test_energy_is_equal_on_task_and_control_where_their_blocks_are_equal(rng):
    task = torch.randn(4, 6, generator=rng).double()
    energy = local_energy((task @ task.T).repeat(1, 2))
    torch.testing.assert_close(energy, torch.full((8,), 0.5).double())
    assert localisation(energy, trained=4) == pytest.approx(0.5)


def test_a_square_kernel_would_measure_nothing(rng):
    """The reason for the rectangular one: here the control is never reached, and yet every point has energy 1."""
    task, control = torch.randn(2, 4, 6, generator=rng).double()
    square = torch.block_diag(task @ task.T, control @ control.T)
    torch.testing.assert_close(local_energy(square), torch.ones(8).double())
    assert localisation(local_energy(square[:4]), trained=4) == pytest.approx(1)


def test_energy_is_a_projection_whatever_the_scale_and_ignores_zero_singular_values(rng):
    rows = torch.randn(2, 9, generator=rng)
    kernel = torch.randn(5, 2, generator=rng) @ rows  # rank 2
    energy = local_energy(kernel)
    expected = (torch.linalg.pinv(rows.double()) @ rows.double()).diagonal()
    torch.testing.assert_close(energy, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(local_energy(1e-6 * kernel), energy, atol=1e-5, rtol=0)


def test_leading_eigenfunctions_are_those_of_the_largest_singular_values():
    kernel = torch.tensor([[0.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    assert local_energy(kernel, leading=1).tolist() == [1, 0, 0]
    assert torch.equal(local_energy(kernel, leading=2), local_energy(kernel))


def test_trained_points_weigh_more_even_where_the_control_is_the_task_itself(rng):
    """Why localisation needs a baseline: all points are alike here, and yet it lies far above 0.5."""
    features = torch.randn(60, 100, generator=rng).double()
    assert localisation(local_energy(features[:30] @ features.T), trained=30) > 0.7


def test_shares_of_three_supports_are_those_of_their_own_kernels(rng):
    kernel = torch.randn(5, 15, generator=rng).double()
    trained, unseen, control = kernel.split(5, dim=1)
    share = lambda *parts: localisation(local_energy(torch.cat(parts, dim=1)), 5)
    leading = localisation(local_energy(kernel, 2)[5:], 5)
    assert support_shares(kernel, 2) == SupportShares(share(trained, control), share(trained, unseen), leading)
    with pytest.raises(InputError, match="14 columns for 5 trained points: give 15"):
        support_shares(kernel[:, :14], 2)


def test_eigenvectors_are_orthonormal_and_rebuild_the_kernel(rng):
    rows = torch.randn(6, 4, generator=rng).double()
    values, phi = eigendecomposition(rows @ rows.T)
    torch.testing.assert_close(phi @ values.diag() @ phi.T, rows @ rows.T)
    torch.testing.assert_close(phi.T @ phi, torch.eye(6).double())
    assert (values.diff() <= 0).all() and values[4:].abs().max() < 1e-12


def test_bad_input_is_refused():
    linear, w = (lambda params, x: x @ params["w"]), {"w": torch.zeros(2)}
    x, one = torch.ones(3, 2), torch.ones(1, 2)
    for g, shape in (
        (lambda params, x: (x * params["w"]).unsqueeze(2), r"\(1, 2, 1\)"),
        (lambda params, x: linear(params, x).sum(), r"\(\)"),
        (lambda params, x: torch.cat([x * params["w"]] * 2), r"\(2, 2\)"),
    ):
        with pytest.raises(InputError, match=rf"f gives {shape} for one point, where the kernel needs \(1, outputs\)"):
            ntk(g, w, x)
    for given in ((linear, {}, x), (linear, w, x[:0]), (linear, w, x, x[:0])):
        with pytest.raises(InputError, match="at least one parameter, and one point"):
            ntk(*given)
    with pytest.raises(InputError, match="unknown implementation 'quick': Allowed: auto, plain, fast"):
        ntk(linear, w, x, implementation="quick")
    with pytest.raises(InputError, match="is zero"):
        local_energy(torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"\(0, 3\)"):
        local_energy(torch.zeros(0, 3))
    with pytest.raises(InputError, match="leading 0"):
        local_energy(torch.ones(2, 3), leading=0)
    with pytest.raises(InputError, match="not finite"):
        local_energy(one * float("nan"))
    for trained in (0, 4):
        with pytest.raises(InputError, match=f"trained {trained}: of 4 points, 1 to 3"):
            localisation(torch.ones(4), trained)
    with pytest.raises(InputError, match="zero at every point"):
        localisation(torch.zeros(4), 2)
    with pytest.raises(InputError, match="must be square"):
        eigendecomposition(torch.ones(2, 3))
    with pytest.raises(InputError, match="not symmetric"):
        eigendecomposition(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
