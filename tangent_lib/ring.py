"""Kernels on a ring, where Propositions 1 to 3 can be checked exactly (tangent-space paper, Appendix C).

Functions on n equally spaced angles are vectors of length n, tasks live on arcs, and supports are boolean masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tangent_lib.kernels import eigendecomposition
from tangent_lib.runtime.errors import InputError


def equal_angles(count: int) -> Float[Tensor, " n"]:
    """Points equally spaced on the ring, from 0, in float64."""
    return 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count


def arc(angles: Float[Tensor, " n"], centre: float, width: float) -> Bool[Tensor, " n"]:
    """The support of a task: the angles within half a width of a centre, ends included.

    Example:
        >>> arc(equal_angles(4), centre=0.0, width=torch.pi)
        tensor([ True,  True, False,  True])
    """
    return ((angles - centre + torch.pi) % (2 * torch.pi) - torch.pi).abs() <= width / 2 + 1e-12


def fourier_modes(angles: Float[Tensor, " n"], highest: int) -> Float[Tensor, "n modes"]:
    """1, cos x, sin x, ..., cos(Mx), sin(Mx) as unit columns; on the whole ring they are orthonormal.

    Raises:
        InputError: if M is negative, or too high for n angles to tell 2M + 1 modes apart.
    """
    if not 0 <= 2 * highest < len(angles):
        raise InputError(f"highest {highest}: {len(angles)} angles tell modes apart up to {(len(angles) - 1) // 2}")
    waves = [wave(m * angles) for m in range(1, highest + 1) for wave in (torch.cos, torch.sin)]
    modes = torch.stack([torch.ones_like(angles), *waves], dim=1)
    return modes / modes.norm(dim=0)


def translation_invariant(angles: Float[Tensor, " n"], coefficients: Sequence[float]) -> Float[Tensor, "n n"]:
    """The kernel K_ij = (c_0 + 2 sum_m c_m cos(m (x_i - x_j))) / n, as an NTK at initialisation has on a ring.

    It depends on x_i - x_j alone, so the Fourier modes diagonalise it: its eigenvalues are c_0 and, twice each, c_m.

    Example:
        >>> torch.linalg.eigvalsh(translation_invariant(equal_angles(4), [3.0, 1.0])).round(decimals=6).abs()
        tensor([0., 1., 1., 3.], dtype=torch.float64)
    """
    difference = angles[:, None] - angles
    waves = [2 * c * torch.cos(m * difference) for m, c in enumerate(coefficients) if m > 0]
    return (coefficients[0] + sum(waves, torch.zeros_like(difference))) / len(angles)


def localised(kernel: Float[Tensor, "n n"], supports: Bool[Tensor, "tasks n"]) -> Float[Tensor, "n n"]:
    """sum_t 1[x in D_t] k(x, x') 1[x' in D_t]: each eigenfunction with lambda > 0 can be chosen to live on one D_t.

    Raises:
        InputError: if two supports share a point.

    Example:
        >>> localised(torch.ones(2, 2), torch.eye(2, dtype=torch.bool))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if (supports.sum(dim=0) > 1).any():
        raise InputError("the supports overlap: Propositions 1 to 3 are about disjoint D_t; take narrower arcs")
    return kernel * (supports.T.to(kernel.dtype) @ supports.to(kernel.dtype))


def regress(kernel: Float[Tensor, "n n"], support: Bool[Tensor, " n"], target: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Kernel regression without ridge on one task: f(x) = sum_{x_i in D_t} beta_i k(x_i, x), of least kernel norm.

    The target is read on the support only; f comes back on all points. Eigenvalues below 1e-13 of the largest of the
    kernel on the support count as zero.

    Example:
        >>> regress(torch.eye(2), torch.tensor([True, False]), torch.tensor([5.0, 7.0]))
        tensor([5., 0.])
    """
    values, phi = eigendecomposition(kernel[support][:, support])
    kept = values > 1e-13 * values[0]
    beta = phi[:, kept] @ ((phi[:, kept].T @ target[support]) / values[kept])
    return kernel[:, support] @ beta


def interference(functions: Float[Tensor, "tasks n"], supports: Bool[Tensor, "tasks n"]) -> float:
    """What the other tasks' functions add on each D_t, over what the task's own has there (the integral of equation 9).

        sqrt( sum_t int_{D_t} (sum_{t' != t} f_t')^2  /  sum_t int_{D_t} f_t^2 );    0 is task arithmetic

    Example:
        >>> f = torch.tensor([[1.0, 0.0], [0.5, 1.0]])   # the second function reaches half as high on the first support
        >>> round(interference(f, torch.eye(2, dtype=torch.bool)), 4)
        0.3536
    """
    others = functions.sum(dim=0) - functions
    return (others[supports].norm() / functions[supports].norm()).item()


def smallest_share(modes: Float[Tensor, "n modes"], outside: Bool[Tensor, " n"]) -> float:
    """The least share of its energy that a function in the span of orthonormal modes can have on ``outside``.

        min_{c != 0} ||Phi_out c||^2 / ||Phi c||^2 = lambda_min(Phi_out^T Phi_out)        (Slepian's concentration problem)

    Positive if and only if the modes are linearly independent on ``outside``: the assumption of Proposition 3.

    Example:
        >>> smallest_share(fourier_modes(equal_angles(8), 0), torch.tensor([True] * 2 + [False] * 6))   # a constant
        0.25
    """
    more_modes_than_points = outside.sum() < modes.shape[1]
    return 0.0 if more_modes_than_points else torch.linalg.svdvals(modes[outside])[-1].item() ** 2
