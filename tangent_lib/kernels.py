"""The empirical neural tangent kernel and the local energy of its eigenfunctions (tangent-space paper, Section 6.1).

k(x, x') = grad_theta f(x; theta_0)^T grad_theta f(x'; theta_0),        E_loc(x) = sum_rho phi_rho(x)^2
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangent_lib.linearization import check_implementation
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.functions import output_alone, pure
from tangent_lib.runtime.gradients import gradients
from tangent_lib.runtime.inputs import NO_FLOAT64, Inputs, blocks, count, device_of, in_float64
from tangent_lib.task_vectors import Function, Params

NUMBERS_HELD = {"cuda": 2**32}  # at a time, on a GPU: 17 GB in fp32
NUMBERS_HELD_ELSEWHERE = 2**28  # 1 GB


def ntk(
    f: Function,
    params: Params,
    x: Inputs,
    x2: Inputs | None = None,
    implementation: str = "auto",
    memory: int | None = None,
) -> Float[Tensor, "*outputs n n2"]:
    """The neural tangent kernel, one an output (Section 6.1, after Jacot et al.).

        K_cij = grad_theta f_c(x_i; theta_0) . grad_theta f_c(x_j'; theta_0)

    Args:
        f: a function ``f(params, x)`` with some numbers a point, ``(batch, outputs)``: the logits; or with one,
            ``(batch,)``. It may not mix points, as batch normalisation does in train mode.
        params: theta_0; the gradient is with respect to these alone, so that ``f`` may hold others fixed.
        x: the points of the rows.
        x2: the points of the columns; None for those of the rows.
        implementation: ``plain``, the formula, from all gradients; ``fast``, which is ``auto``, from what enters each layer
            and what comes back to it.
        memory: about so many numbers are held at a time, beside the kernels; points are taken in blocks that fit. It changes
            speed, not the result. By default ``NUMBERS_HELD``, by kind of device.

    Returns:
        K, ``(outputs, n, n2)``, or ``(n, n2)`` where f has one number a point, in the dtype of the parameters.

    Raises:
        InputError: for no parameters, no points, an ``f`` with another shape, one that mixes points or draws random numbers,
            or an unknown implementation.

    Example:
        >>> f = lambda params, x: x @ params["w"]   # linear, so that grad_theta f(x) = x
        >>> ntk(f, {"w": torch.zeros(2)}, torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
        tensor([[1., 1.],
                [1., 5.]])
    """
    check_implementation(implementation)
    f = pure(f)
    if not params or count(x) == 0 or (x2 is not None and count(x2) == 0):
        raise InputError("the kernel needs at least one parameter, and one point for its rows and its columns")
    if device_of(x).type in NO_FLOAT64:
        raise InputError(f"the kernel is summed in float64, which {device_of(x)} has not: give params and points on the cpu")
    shape = tuple((one := output_alone(f, params, x)).shape)
    if not all(each.is_floating_point() for each in (one, *params.values())):
        raise InputError("the kernel is one of real outputs and weights: take torch.view_as_real of what is complex")
    if shape != (1,) and (len(shape) != 2 or shape[0] != 1):
        raise InputError(f"f gives {shape} for one point, where the kernel needs (1, outputs), or (1,)")
    of_outputs = (lambda params, x: f(params, x).unsqueeze(1)) if shape == (1,) else f
    memory = NUMBERS_HELD.get(device_of(x).type, NUMBERS_HELD_ELSEWHERE) if memory is None else memory
    if implementation != "plain":
        from tangent_lib._fast.kernel import kernel_of_outputs
    compute = kernel_of_gradients if implementation == "plain" else kernel_of_outputs
    kernel = compute(of_outputs, params, x, x2, memory)
    return kernel[0] if shape == (1,) else kernel


def kernel_of_gradients(
    f: Function, params: Params, x: Inputs, x2: Inputs | None, memory: int
) -> Float[Tensor, "outputs n n2"]:
    """The formula: all gradients of some points, and their inner products; ``ntk`` with ``implementation="plain"``."""
    outputs = f(params, blocks(x, 1)[0]).shape[1]
    size = max(1, memory // (2 * outputs * sum(value.numel() for value in params.values())))
    rows, columns = blocks(x, size), blocks(x if x2 is None else x2, size)
    bands: list[list[Tensor]] = []
    for i, here in enumerate(rows):
        left, band = gradients(f, params, here), []
        for j, there in enumerate(columns):
            if x2 is None and j < i:
                band.append(bands[j][i].mT)  # symmetric
            else:
                right = left if x2 is None and i == j else gradients(f, params, there)
                products = [torch.einsum("icp,jcp->cij", left[name], right[name]) for name in left]
                band.append(torch.stack(products).sum(dim=0, dtype=torch.float64).to(products[0].dtype))
        bands.append(band)
    return torch.cat([torch.cat(band, dim=2) for band in bands], dim=1)


def local_energy(kernel: Float[Tensor, "trained points"], leading: int | None = None) -> Float[Tensor, " points"]:
    """How much the eigenfunctions that a predictor can use weigh at each point (Section 6.1, Appendix A).

        E_loc(x_j) = sum_rho phi_rho(x_j)^2,    K = sum_rho s_rho u_rho phi_rho^T,    s_rho > 0

    The rows of K are the points x_i in D_t that were trained on, the columns those of D_t and of a control D_t'. After
    linear fine-tuning on D_t the predictor is f(.; theta_0) + sum_i beta_i k(x_i, .), by the representer theorem: on the
    columns it moves within the row space of K, which the right singular vectors phi_rho span. E_loc is the diagonal of
    the orthogonal projection on that space, so it lies in [0, 1] and sums to the rank of K.

    K has to be rectangular. The eigenvectors of an invertible square kernel are an orthonormal basis of all functions
    on the points, so that their squares sum to exactly 1 at every point, whatever the kernel: nothing would be measured.

    Args:
        kernel: one row a trained point; one column a point of the task, then of the control.
        leading: sum over so many phi_rho only, those of the largest singular values; None for all.

    Returns:
        The local energy of every column, in float64. Singular values below max(shape) * eps of the kernel's dtype times
        the largest one count as zero, as in ``torch.linalg.matrix_rank``.

    Raises:
        InputError: for a kernel that is not a non-empty matrix of finite numbers, or is zero; for ``leading`` below 1.

    Example:
        >>> local_energy(torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))   # nothing reaches the third point
        tensor([1., 1., 0.], dtype=torch.float64)
    """
    _check_matrix(kernel)
    if leading is not None and leading < 1:
        raise InputError(f"leading {leading}: sum over at least 1 eigenfunction, or None for all")
    _, values, phi = torch.linalg.svd(in_float64(kernel), full_matrices=False)
    threshold = values[0] * max(kernel.shape) * torch.finfo(kernel.dtype).eps
    if values[0] == 0:
        raise InputError("the kernel is zero: it has no singular vectors whose energy could be measured")
    return phi[values > threshold][:leading].square().sum(dim=0)


def localisation(energy: Float[Tensor, " points"], trained: int) -> float:
    """The share of the local energy that lies on the task: one number for Figures 6, 14 and 15, not in the paper.

        sum_{j in D_t} E_loc(x_j) / sum_{j in D_t u D_t'} E_loc(x_j)

    For as many control points as trained ones, 0.5 says that the eigenfunctions weigh equally on both, and 1 that they
    vanish on the control. It is a plain share, not rescaled. A value above 0.5 does not yet mean that the kernel tells
    two tasks apart: any kernel is larger on its diagonal, so the points in its rows weigh more than points it has not
    seen. The same number with further points of the task in place of the control is the baseline to compare with.

    Args:
        energy: as ``local_energy`` gives it, the task's points first.
        trained: how many points are the task's.

    Raises:
        InputError: if ``trained`` is not between 1 and the number of points minus 1, or the energy is zero throughout.

    Example:
        >>> localisation(torch.tensor([1.0, 1.0, 0.5, 0.0]), trained=2)
        0.8
    """
    if not 0 < trained < len(energy):
        raise InputError(f"trained {trained}: of {len(energy)} points, 1 to {len(energy) - 1} can be the task's")
    energy = in_float64(energy)
    total = energy.sum()
    if total <= 0:
        raise InputError("the local energy is zero at every point: it has no share on the task")
    return (energy[:trained].sum() / total).item()


@dataclass(frozen=True)
class SupportShares:
    """Three numbers for localisation, in [0, 1], of one kernel (``support_shares``).

    Attributes:
        control: the share of the local energy on the trained points against the control (Section 6.1).
        unseen: the same with unseen points of the task in the control's place, a baseline.
        leading: the share of the energy of the leading eigenfunctions on unseen points of the task against the control; 0.5
            means no preference.
    """

    control: float
    unseen: float
    leading: float


def support_shares(kernel: Float[Tensor, "trained points"], leading: int) -> SupportShares:
    """Three numbers for localisation, from a kernel on trained points, as many unseen ones of the task, and a control's.

    Args:
        kernel: a row a trained point; columns are the trained points, unseen points of the task, the control's points.
        leading: how many eigenfunctions ``leading`` counts.

    Raises:
        InputError: if the columns are not three times the rows.

    Example:
        >>> task_only = torch.cat([torch.eye(2), torch.eye(2), torch.zeros(2, 2)], dim=1)
        >>> shares = support_shares(task_only, 2)
        >>> round(shares.control, 6), round(shares.unseen, 6), round(shares.leading, 6)
        (1.0, 0.5, 1.0)
    """
    n, columns = kernel.shape
    if columns != 3 * n:
        raise InputError(f"{columns} columns for {n} trained points: give {3 * n}, trained, unseen and control points")
    trained, unseen, control = kernel.split(n, dim=1)
    share = lambda *parts: localisation(local_energy(torch.cat(parts, dim=1)), n)
    first = local_energy(kernel, leading)[n:]
    return SupportShares(share(trained, control), share(trained, unseen), localisation(first, n))


def eigendecomposition(kernel: Float[Tensor, "n m"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """The eigenvalues and eigenvectors of a kernel on all pairs of some points.

        K = sum_rho lambda_rho phi_rho phi_rho^T,    lambda_1 >= lambda_2 >= ...

    Args:
        kernel: square (m = n) and symmetric.

    Returns:
        ``lambda``, largest first, and ``phi``, whose column rho is the unit eigenvector phi_rho on the points.

    Raises:
        InputError: for a kernel that is not square, symmetric and finite.

    Example:
        >>> values, phi = eigendecomposition(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> values, phi.abs()
        (tensor([3., 1.]), tensor([[0., 1.], [1., 0.]]))
    """
    _check_matrix(kernel)
    if kernel.shape[0] != kernel.shape[1]:
        raise InputError(f"a kernel of shape {tuple(kernel.shape)} has no eigenvectors: it must be square")
    gap = (kernel - kernel.T).abs().max().item()
    if gap > 100 * torch.finfo(kernel.dtype).eps * kernel.abs().max().item():
        raise InputError(f"the kernel is not symmetric: K and its transpose differ by up to {gap:.2g}")
    values, phi = torch.linalg.eigh(kernel)
    return values.flip(0), phi.flip(1)


def _check_matrix(kernel: Tensor) -> None:
    if kernel.ndim != 2 or 0 in kernel.shape:
        raise InputError(f"a kernel of shape {tuple(kernel.shape)}: it must be a matrix with a row and a column")
    if not kernel.isfinite().all():
        raise InputError("the kernel holds numbers that are not finite")
