"""The neural tangent kernel of all outputs without a Jacobian (tangent-space paper, Section 6.1).

    K_c(x_i, x_j) = sum over layers of <sum_s g_is a_is^T, sum_t g_jt a_jt^T>

with what entered a layer at token s, a_is, and what comes back to it from output c, g_is. Layer by layer, the cheaper of two
ways is taken: the inner product of the sums, or sum_st (a_is . a_jt) (g_is . g_jt). ``kernels`` has the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangent_lib._fast.watched import NotWatched, Use, watch
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.gradients import gradients
from tangent_lib.runtime.inputs import Inputs, blocks, count, joined, on_each, same
from tangent_lib.runtime.operations import linear
from tangent_lib.runtime.private_doors import storage_number
from tangent_lib.task_vectors import Function, Params

ROWS = 64  # of a kernel of points with themselves, of which half is computed, at a time
CACHED = 2**21  # numbers of gradients at a time; on a processor, more leave its caches


@dataclass(frozen=True)
class _Side:
    """Some points, passed through f: their outputs, with a graph, and what their weights did."""

    outputs: Tensor
    uses: list[Use]
    rest: Tensor | None  # the Jacobian of weights that could not be watched, (points, outputs, numbers)

    def cotangents(self, output: int) -> list[Tensor]:
        if not self.uses or not self.outputs.requires_grad:  # all weights are among the rest, or f depends on none
            return [torch.zeros_like(use.y) for use in self.uses]
        with torch.enable_grad():
            total = self.outputs[:, output].sum()
        found = torch.autograd.grad(total, [use.y for use in self.uses], retain_graph=True, allow_unused=True)
        return [torch.zeros_like(use.y) if g is None else g for use, g in zip(self.uses, found, strict=True)]


def kernel_of_outputs(
    f: Function, params: Params, x: Inputs, x2: Inputs | None, memory: int
) -> Float[Tensor, "outputs n n2"]:
    """One neural tangent kernel an output, all from the same passes; arguments as for ``kernels.ntk``."""
    names = _watchable(f, params, blocks(x, 1)[0])
    while True:
        try:
            return _kernel(f, params, names, x, x2, memory)
        except NotWatched as found:  # only in the backward pass, as of what a checkpoint computes anew there
            names.remove(str(found))


def _kernel(
    f: Function, params: Params, names: list[str], x: Inputs, x2: Inputs | None, memory: int
) -> Float[Tensor, "outputs n n2"]:
    """With so many weights watched, and the others among the rest."""
    point, rest = blocks(x, 1)[0], [name for name in params if name not in names]
    at_a_time = _points_at_a_time(f, params, names, rest, point, memory)
    n = count(x)
    block = at_a_time if x2 is None and n <= at_a_time else max(1, at_a_time // 2)  # one side, or two
    x2 = x if x2 is None else x2
    # columns that are points of the rows: half of those suffices
    known = n if count(x2) >= n and same(on_each(lambda part: part[:n], x2), x) else 0
    rows = blocks(x, block)
    columns = [*(rows if known else ()), *blocks(on_each(lambda part: part[known:], x2), block)]
    bands: list[list[Tensor]] = []
    for i, here in enumerate(rows):
        left, band = _side(f, params, names, rest, here), []
        for j, there in enumerate(columns):
            if known and j < i:
                band.append(bands[j][i].mT)
            else:
                right = left if known and i == j else _side(f, params, names, rest, there)
                band.append(_block(left, right, memory))
        bands.append(band)
    return torch.cat([torch.cat(band, dim=2) for band in bands], dim=1)


def _watchable(f: Function, params: Params, point: Inputs) -> list[str]:
    """The names of the weights that can be watched."""
    names = list(params)
    while True:
        try:
            outputs, _ = watch(f, params, names, point)
            watch(f, params, names, joined([point, point]))  # what had one row by chance now has too few
        except NotWatched as found:
            names.remove(str(found))
            continue
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError):  # such as of compiled code, which watched weights cannot pass
            if not names:
                raise
            names = []
            continue
        if outputs.dim() != 2 or len(outputs) != 1:
            raise InputError(f"f gives {tuple(outputs.shape)} for one point, where the kernel needs (1, outputs)")
        return names


def _points_at_a_time(f: Function, params: Params, names: list[str], rest: list[str], point: Inputs, memory: int) -> int:
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[storage_number(tensor)] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs, uses = watch(f, params, names, point)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of torch.func within f, which lets nobody note
        return 1
    weights = {storage_number(value) for value in params.values()}
    graph = sum(numbers for storage, numbers in kept.items() if storage not in weights)
    held = sum(use.y.numel() + (0 if use.entered is None else use.entered.numel()) for use in uses)
    others = outputs.numel() * sum(params[name].numel() for name in rest)
    return max(1, memory // max(1, graph + held + 2 * others))


def _side(f: Function, params: Params, names: list[str], rest: list[str], x: Inputs) -> _Side:
    outputs, uses = watch(f, params, names, x)
    if not rest:
        return _Side(outputs, uses, None)
    some = {name: params[name] for name in rest}
    rows = gradients(lambda some, x: f({**params, **some}, x), some, x)
    return _Side(outputs, uses, torch.cat(list(rows.values()), dim=2))


def _block(left: _Side, right: _Side, memory: int) -> Float[Tensor, "outputs rows columns"]:
    numbers = min(memory // 8, CACHED)
    scratch = [left.outputs.new_empty(numbers) for _ in range(2)]  # to allocate anew takes longer than to compute
    return torch.stack([_of_output(left, right, output, scratch) for output in range(left.outputs.shape[1])])


def _of_output(left: _Side, right: _Side, output: int, scratch: list[Tensor]) -> Float[Tensor, "rows columns"]:
    total = torch.zeros(len(left.outputs), len(right.outputs), dtype=torch.float64, device=left.outputs.device)
    returned = left.cotangents(output)
    returned2 = returned if right is left else right.cotangents(output)
    for use, use2, g, g2 in zip(left.uses, right.uses, returned, returned2, strict=True):
        if use.direct is not None:
            first = use.direct(g)
            _add(total, first, first if right is left else use2.direct(g2))
        if use.entered is not None:
            sides = [_alike(use.entered, use.returned(g))]
            if right is not left:
                sides.append(_alike(use2.entered, use2.returned(g2)))
            _add_products(total, sides, scratch)
    if left.rest is not None:
        _add(total, left.rest[:, output], left.rest[:, output] if right is left else right.rest[:, output])
    if right is left:
        total = total.tril() + total.tril(-1).mT
    return total.to(left.outputs.dtype)


def _add(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the inner products of rows; of points with themselves, what is needed of the lower half."""
    if right is not left:
        total += linear(left, right)
        return
    for start in range(0, len(left), ROWS):
        total[start:, start : start + ROWS] += linear(left[start:], left[start : start + ROWS])


def _add_products(total: Tensor, sides: list[tuple[Tensor, Tensor]], scratch: list[Tensor]) -> None:
    """Add the inner products of the gradients of one weight, some of its rows at a time; one side: points with themselves."""
    a, g = sides[0]
    points, d_in, d_out = max(len(each) for each, _ in sides), a.shape[2], g.shape[2]
    rows = max(1, min(d_out, scratch[0].numel() // (points * d_in)))
    reached = [each.abs().amax(dim=0) != 0 for _, each in sides]  # (tokens, d_out); NaN counts
    for start in range(0, d_out, rows):
        some = slice(start, start + rows)
        parts = [_active(a, g[:, :, some], on[:, some].any(dim=1)) for (a, g), on in zip(sides, reached)]
        (a, g), (_, g2) = parts[0], parts[-1]
        if g.shape[1] * g2.shape[1] * (d_in + g.shape[2]) < d_in * g.shape[2]:
            total += _by_token(*parts[0], *parts[-1])
        else:
            sums = [_sums(*part, buffer) for part, buffer in zip(parts, scratch)]
            _add(total, sums[0], sums[-1])


def _alike(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Of one precision; under autocast the cotangent may be of half of it."""
    dtype = torch.promote_types(a.dtype, g.dtype)
    return a.to(dtype), g.to(dtype)


def _active(a: Tensor, g: Tensor, on: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that a cotangent comes back to at any point: behind the last attention it is the class token alone."""
    return (a, g) if on.all() else (a[:, on], g[:, on])


def _sums(a: Tensor, g: Tensor, buffer: Tensor) -> Float[Tensor, "points numbers"]:
    """The gradient at each point, sum_s g_s a_s^T, in a buffer if there is room."""
    numbers = len(a) * g.shape[2] * a.shape[2]
    fits = numbers <= buffer.numel() and buffer.dtype == a.dtype
    out = buffer[:numbers].view(len(a), g.shape[2], a.shape[2]) if fits else None
    return torch.bmm(g.mT, a, out=out).flatten(start_dim=1)


def _by_token(a: Tensor, g: Tensor, a2: Tensor, g2: Tensor) -> Float[Tensor, "rows columns"]:
    both = linear(a.flatten(0, 1), a2.flatten(0, 1)) * linear(g.flatten(0, 1), g2.flatten(0, 1))
    return both.view(len(a), a.shape[1], len(a2), a2.shape[1]).sum(dim=(1, 3))
