"""Random small networks, from a grammar of operations and layers: value, tangents, gradients and kernel against torch.func.

``python tests/_fast/networks.py 20000`` tries so many, ``... 5000 9000`` so many from seed 9000 on; disagreements come last,
by seed. A seed gives the same network again: ``built(7).names`` says of which operations.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable

import grammar_layers
import grammar_operations
import torch
from grammar_network import GRAMMAR, MIXING, Network
from torch import Tensor
from torch.func import jacrev, jvp

from tangent_lib.kernels import ntk
from tangent_lib.linearization import linearize, value_and_tangents
from tangent_lib.runtime.operations import forward_differentiable

POINTS, LARGEST, ALIKE = 3, 96, 1e-10
SINGLE, HALF = 1e-3, 0.15  # of the largest number: in single precision, and under autocast
WEIGHTED = [name for name, make in GRAMMAR.items() if make.__module__ == grammar_layers.__name__]
PLAIN = [name for name, make in GRAMMAR.items() if make.__module__ == grammar_operations.__name__]
SHAPES = [(4,), (3,), (1,), (3, 4), (2, 3), (4, 1), (1, 2, 3), (2, 3, 4), (2, 3, 3)]


def joins(net: Network, x: Tensor, kept: list[Tensor]) -> tuple[int, Callable] | None:
    """What came earlier comes in again: a residual connection, a product, or side by side."""
    place = net.rng.randrange(len(kept))
    alike = [torch.add, lambda a, b: a + b, lambda a, b: a * b, lambda a, b: torch.stack([a, b], 1), torch.sub]
    beside = [
        lambda a, b: torch.cat([a.flatten(1), b.flatten(1)], 1),
        lambda a, b: b * a.flatten(1).mean(1).view(-1, *[1] * (b.dim() - 1)),
    ]
    return place, net.rng.choice(alike if kept[place].shape == x.shape else beside)


def fits(x: Tensor) -> bool:
    usual = len(x) == POINTS and 2 <= x.dim() <= 4 and x.is_floating_point() and 0 < x[0].numel() <= LARGEST
    return usual and bool(x.isfinite().all()) and x.abs().max() < 30 and x.abs().max() > 1e-3


def built(seed: int) -> Network:
    """The network of a seed: a weight comes first, then as many operations as fit."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    kind, alone = rng.random(), rng.random() < 0.6
    net = Network(seed, rng, generator, torch.float64 if kind < 0.75 else torch.float32, autocast=kind > 0.92)
    net.x = x = net.draw(POINTS, *rng.choice(SHAPES))
    length, kept = rng.randint(1, 3 if net.autocast else 7), []
    while len(net.steps) < length or not net.params:
        beside = MIXING if rng.random() < 0.15 and not alone else PLAIN
        name = rng.choice(WEIGHTED if not net.params or rng.random() < 0.4 else beside)
        known, mixing = set(net.params), net.mixing
        try:
            if kept and rng.random() < 0.15:
                name, step = "earlier", joins(net, x, kept)
            else:
                step = GRAMMAR[name](net, x)
            if step:
                tried = Network(0, rng, generator, net.dtype, net.autocast, False, net.params, [*net.steps, step])
                with torch.random.fork_rng():
                    y = tried.run(net.x)[-1]
        except (RuntimeError, IndexError, ValueError, AssertionError, TypeError):
            step = None
        if not step or not fits(y) or (net.mixing and alone):
            net.params = {key: value for key, value in net.params.items() if key in known}
            net.mixing = mixing
            continue
        net.steps.append(step)
        net.names.append(name)
        kept.append(x := y)
    return net


# -- the judge ---------------------------------------------------------------------------------------------------------
def loss(z: Tensor) -> Tensor:
    return (z * torch.arange(1.0, z.numel() + 1, dtype=z.dtype).sin().view(z.shape)).sum() + z.square().sum() / 2


def plain_tangent(f: Callable, at: dict, tau: dict, x: Tensor) -> tuple[Tensor, Tensor]:
    with forward_differentiable():
        return jvp(lambda params: f(params, x), (at,), (tau,))


def plain_kernel(f: Callable, at: dict, x: Tensor) -> Tensor:
    with forward_differentiable():
        rows = jacrev(f)(at, x)
    rows = torch.cat([row.reshape(*row.shape[:2], -1) for row in rows.values()], dim=2).double()
    return torch.einsum("icp,jcp->cij", rows, rows)


def disagreements(seed: int) -> list[str]:
    """What of the network of a seed is not what torch.func gives; an error that torch.func raises itself is none."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return _disagreements(built(seed))


def _disagreements(net: Network) -> list[str]:
    moving = {name: net.rng.random() < 0.8 for name in net.params}
    taus = [{name: net.draw(*value.shape) * moving[name] for name, value in net.params.items()} for _ in range(2)]
    found = []

    def gradients(make: Callable) -> list[Tensor]:
        theta = {
            name: (value + taus[0][name]).requires_grad_() if moving[name] else value for name, value in net.params.items()
        }
        trained = [theta[name] for name in theta if moving[name]]
        z = make(theta)
        if not trained or not z.requires_grad:
            return [z]
        given = torch.autograd.grad(loss(z), trained, allow_unused=True)
        return [z, *(torch.zeros_like(each) if g is None else g for each, g in zip(trained, given))]

    def plain_gradients() -> list[Tensor]:
        minus = lambda theta: {name: theta[name] - value for name, value in net.params.items()}
        return gradients(lambda theta: torch.add(*plain_tangent(net.f, net.params, minus(theta), net.x)))

    def both_tangents() -> list[Tensor]:
        with torch.set_grad_enabled(net.seed % 2 == 0):
            value, tangents = value_and_tangents(net.f, net.params, taus, net.x)
        return [value, *tangents]

    def plain_tangents() -> list[Tensor]:
        pairs = []
        for tau in taus:
            torch.manual_seed(net.seed)
            pairs.append(plain_tangent(net.f, net.params, tau, net.x))
        return [pairs[0][0], *(tangent for _, tangent in pairs)]

    def compare(what: str, mine: Callable[[], list[Tensor]], reference: Callable[[], list[Tensor]]):
        results = []
        for compute in (reference, mine):
            torch.manual_seed(net.seed)
            try:
                results.append(compute())
            except Exception as error:  # whatever it is, it is told, unless torch.func raises too
                if compute is reference:
                    TORCH[f"{what}: {type(error).__name__}: {str(error)[:60]}"] += 1
                    return
                found.append(f"{what}: {type(error).__name__}: {str(error)[:150]}")
                return
        if net.autocast and gap(*results):  # torch.func may be less exact than what is judged
            net.autocast = False
            results[0], net.autocast = reference(), True
        if told := gap(*results):
            found.append(f"{what} {told}")

    def gap(rights: list[Tensor], mine: list[Tensor]) -> str:
        alike = HALF if net.autocast else SINGLE if net.dtype == torch.float32 else ALIKE
        largest = max(right.nan_to_num().abs().max().item() for right in rights)
        for i, (right, given) in enumerate(zip(rights, mine, strict=True)):
            if right.shape != given.shape:
                return f"{i}: of shape {tuple(given.shape)}, not {tuple(right.shape)}"
            known = right.isfinite()  # the gradient of a tangent may be none where that of f is
            off = (given.double() - right.double())[known].abs().max().item() if known.any() else 0.0
            if not off <= alike * (1 + largest):
                return f"{i}: off by {off:.1e} of {right[known].abs().max().item():.1e}"
        return ""

    compare("tangent", both_tangents, plain_tangents)
    compare("gradient", lambda: gradients(lambda theta: linearize(net.f, net.params)(theta, net.x)), plain_gradients)
    if not net.mixing:
        memory = 1 if net.rng.random() < 0.2 else None
        compare(
            "kernel", lambda: [ntk(net.f, net.params, net.x, memory=memory)], lambda: [plain_kernel(net.f, net.params, net.x)]
        )
    return found


TORCH: Counter = Counter()  # what torch.func itself refused


def main(count: str, start: str = "0"):
    """Try so many networks, from a seed on, with progress; what disagreed at the end."""
    torch.set_num_threads(1)
    first, last, began, wrong = int(start), int(start) + int(count), time.perf_counter(), {}
    for seed in range(first, last):
        if told := disagreements(seed):
            wrong[seed] = told
            print(f"seed {seed}: {built(seed).names}: {told}", flush=True)
        if (seed + 1 - first) % 500 == 0:
            print(
                f"{seed + 1 - first} of {count} networks, {len(wrong)} disagree, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
    for refused, times in TORCH.most_common():
        print(f"refused by torch.func, {times} times: {refused}")
    print(f"{count} networks from seed {first}: {len(wrong)} disagree: {sorted(wrong)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
