"""What the grammar of random networks builds on: a network under construction, and the list of what it may be made of."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

Step = Callable[[dict, Tensor], Tensor]


@dataclass
class Network:
    """A network under construction: its weights, and steps of which each takes what the one before gave."""

    seed: int
    rng: random.Random
    generator: torch.Generator
    dtype: torch.dtype = torch.float64
    autocast: bool = False
    mixing: bool = False  # points with one another, or random numbers: then there is no kernel
    params: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    x: Tensor | None = None

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def weight(self, *shape: int) -> Callable[[dict], Tensor]:
        """A new weight, or one of this shape once more."""
        known = [name for name, value in self.params.items() if value.shape == shape]
        if not known or self.rng.random() < 0.8:
            known = [f"w{len(self.params)}"]
            self.params[known[0]] = self.draw(*shape) / max(1, shape[-1] if shape else 1) ** 0.5
        name = self.rng.choice(known)
        return lambda p: p[name]

    def bias(self, size: int) -> Callable[[dict], Tensor | None]:
        """None, of the usual shape, or of one that is broadcast."""
        shape = self.rng.choice([None, (size,), (size,), (1,), ()])
        return (lambda p: None) if shape is None else self.weight(*shape)

    def module(self, net: nn.Module, call: Callable = lambda net, x: net(x)) -> Step:
        """A layer of torch.nn, in train or eval mode, with random weights."""
        net = net.to(self.dtype)
        weights = {name: self.weight(*value.shape) for name, value in net.named_parameters()}
        outer = _Calling(net, call).train(self.rng.random() < 0.5)

        def step(p: dict, x: Tensor) -> Tensor:
            buffers = {f"net.{name}": value.clone() for name, value in net.named_buffers()}
            return functional_call(outer, {f"net.{name}": get(p) for name, get in weights.items()} | buffers, (x,))

        if outer.training and any(isinstance(each, (nn.modules.batchnorm._BatchNorm, nn.Dropout)) for each in net.modules()):
            self.mixing = True
        return step

    def run(self, x: Tensor, p: dict | None = None) -> list[Tensor]:
        kept, p = [], self.params if p is None else p
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            for step in self.steps:
                x = step[1](kept[step[0]], x) if isinstance(step, tuple) else step(p, x)
                kept.append(x)
        return kept

    def f(self, p: dict, x: Tensor) -> Tensor:
        return self.run(x, p)[-1].flatten(start_dim=1).to(self.dtype)


class _Calling(nn.Module):
    def __init__(self, net: nn.Module, call: Callable):
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.net, x)


GRAMMAR: dict[str, Callable[[Network, Tensor], Step | None]] = {}
MIXING: list[str] = []  # those that mix points, or draw random numbers


def operation(name: str):
    def register(make: Callable) -> Callable:
        GRAMMAR[name] = make
        return make

    return register
