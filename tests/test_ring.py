"""Propositions 1 to 3 on kernels whose eigenfunctions are known."""

import math

import pytest
import torch

from tangent_lib.kernels import eigendecomposition, local_energy, localisation
from tangent_lib.ring import (
    arc,
    equal_angles,
    fourier_modes,
    interference,
    localised,
    regress,
    smallest_share,
    translation_invariant,
)
from tangent_lib.runtime.errors import InputError

X = equal_angles(90)
COEFFICIENTS = [1.0, 0.8, 0.5, 0.3]
K = translation_invariant(X, COEFFICIENTS)
SUPPORTS = torch.stack([arc(X, 1.5, 1.6), arc(X, 4.5, 2.0)])
TARGETS = torch.stack([torch.cos(2 * (X - 1.5)), torch.sin(3 * (X - 4.5))])
fit = lambda kernel: torch.stack([regress(kernel, D, target) for D, target in zip(SUPPORTS, TARGETS)])


def test_eigenvalues_are_the_fourier_coefficients():
    values, phi = eigendecomposition(K)
    expected = torch.tensor([1.0, 0.8, 0.8, 0.5, 0.5, 0.3, 0.3] + [0.0] * 83, dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-13)
    modes = fourier_modes(X, 3)
    torch.testing.assert_close(modes.T @ modes, torch.eye(7).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(phi[:, :7] @ phi[:, :7].T, modes @ modes.T, rtol=0, atol=1e-12)


def test_propositions_1_and_2_localised_eigenfunctions_do_task_arithmetic_exactly():
    kernel = localised(K, SUPPORTS)
    values, phi = eigendecomposition(kernel)
    shares = torch.stack([phi[D].square().sum(dim=0) for D in SUPPORTS])[:, values > 1e-8]
    torch.testing.assert_close(shares.max(dim=0).values, torch.ones(shares.shape[1]).double())
    f = fit(kernel)
    assert interference(f, SUPPORTS) == 0 and f[:, ~SUPPORTS.any(dim=0)].abs().max() == 0
    for D, target in zip(SUPPORTS, TARGETS):
        torch.testing.assert_close(f.sum(dim=0)[D], target[D], rtol=0, atol=1e-8)


def test_proposition_3_a_translation_invariant_kernel_cannot():
    """An arc with as many points as modes determines the function, so each fit is its target all around the ring."""
    f = fit(K)
    torch.testing.assert_close(f, TARGETS, rtol=0, atol=1e-6)
    assert (
        interference(f, SUPPORTS) == pytest.approx(interference(TARGETS, SUPPORTS), abs=1e-6)
        and interference(f, SUPPORTS) > 0.9
    )


def test_no_function_of_finitely_many_modes_hides_and_random_ones_do_no_better_than_the_bound(rng):
    outside, modes = ~SUPPORTS[0], fourier_modes(X, 3)
    share = smallest_share(modes, outside)
    c = torch.randn(7, 500, generator=rng).double()
    tried = (modes @ c)[outside].square().sum(dim=0) / (modes @ c).square().sum(dim=0)
    assert 1e-3 < share < tried.min()
    values, best = torch.linalg.eigh(modes[outside].T @ modes[outside])
    assert share == pytest.approx(values[0].item()) == pytest.approx((modes @ best[:, 0])[outside].square().sum().item())


def test_the_bound_falls_with_every_mode_but_stays_positive():
    shares = [smallest_share(fourier_modes(X, highest), ~SUPPORTS[0]) for highest in range(10)]
    assert all(0 < b < a for a, b in zip(shares, shares[1:]))
    assert shares[0] == pytest.approx((~SUPPORTS[0]).double().mean().item())


def test_a_kernel_without_localised_eigenfunctions_can_do_task_arithmetic_by_cancellation():
    """The remark of Section 6.1: psi_1 + psi_2 and psi_1 - psi_2 are dependent on each support."""
    psi = SUPPORTS.double() / SUPPORTS.double().norm(dim=1, keepdim=True)
    modes = torch.stack([psi[0] + psi[1], psi[0] - psi[1]], dim=1) / math.sqrt(2)
    _, phi = eigendecomposition(modes @ torch.diag(torch.tensor([2.0, 1.0]).double()) @ modes.T)
    for D in SUPPORTS:
        torch.testing.assert_close(phi[D, :2].square().sum(dim=0), torch.tensor([0.5, 0.5]).double())
    assert interference(torch.stack([modes.sum(dim=1), modes[:, 0] - modes[:, 1]]), SUPPORTS) < 1e-15
    assert smallest_share(modes, SUPPORTS[1]) < 1e-30  # so the assumption of Proposition 3 fails


def test_more_modes_than_points_on_a_support_are_dependent_there():
    few = arc(X, X[60].item(), 4.1 * X[1].item())
    assert few.sum() == 5
    assert smallest_share(fourier_modes(X, 3), few) == 0 < smallest_share(fourier_modes(X, 2), few)


def test_the_local_energy_tells_the_two_kernels_apart():
    first, both = SUPPORTS[0], torch.cat([SUPPORTS[0].nonzero(), SUPPORTS[1].nonzero()]).squeeze()
    share = lambda kernel: localisation(local_energy(kernel[first][:, both]), int(first.sum()))
    assert share(localised(K, SUPPORTS)) == pytest.approx(1)
    assert share(K) < 0.5


def test_an_arc_wraps_around():
    assert arc(equal_angles(8), 0.0, 3 * torch.pi / 4).tolist() == [True, True, False, False, False, False, False, True]
    assert torch.equal(arc(X, 2 * torch.pi, 1.0), arc(X, 0.0, 1.0))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="supports overlap"):
        localised(K, torch.stack([SUPPORTS[0], SUPPORTS[0]]))
    for highest in (-1, 45):
        with pytest.raises(InputError, match=f"highest {highest}: 90 angles tell modes apart up to 44"):
            fourier_modes(X, highest)
